//! What can go wrong, as one public type: which file, where in it, what, and what to do.
//!
//! [`ErrorKind`] follows the remedy: `Format` (mend the file), `Unsupported` (convert it), `Input`
//! (change the request), `Limit` (raise it), `Io` (the environment). The path is attached by
//! [`ResultExt::at`] at the lowest place that knows it and is never overwritten higher up.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of everything that can fail in smalti.
pub type Result<T> = std::result::Result<T, Error>;

/// An error: a kind, and where known the file and the place in it.
///
/// `Display` reads like `scene_07.tif: block 12: not a valid LZW stream: code 700 before 300`.
#[derive(Debug)]
pub struct Error {
    path: Option<PathBuf>,
    place: Option<Place>,
    kind: Box<ErrorKind>,
}

/// A place inside a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Image file directory, counted from 0.
    Ifd(u32),
    /// Block (tile or strip), counted from 0 as in the offset table.
    Block(u64),
    /// TIFF tag.
    Tag(u16),
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is wrong.
    #[error("{0}")]
    Format(#[from] FormatError),
    /// The file is right, but we do not read or write such a thing.
    #[error("{0}")]
    Unsupported(#[from] Unsupported),
    /// The request is wrong.
    #[error("{0}")]
    Input(#[from] InputError),
    /// Several sources cannot be used; each error names its file.
    #[error("{} of the inputs cannot be used", .0.len())]
    BadSources(Vec<Error>),
    /// A size is over a limit.
    #[error("{what} needs {}, the limit is {}", bytes_text(*need), bytes_text(*max))]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Bytes that it needs.
        need: u64,
        /// Bytes that are allowed.
        max: u64,
    },
    /// The observer asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// A worker panicked: a bug of ours.
    #[error("internal error (please report it): {0}")]
    Panicked(String),
}

/// A file that breaks its format.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The first bytes are not those of a TIFF.
    #[error("not a TIFF file")]
    NotATiff,
    /// The file ends too early.
    #[error("truncated: {what} ends at byte {end}, the file at {file_len}")]
    Truncated {
        /// What lies beyond the end.
        what: &'static str,
        /// Where it would end, in bytes from the start of the file.
        end: u64,
        /// Length of the file in bytes.
        file_len: u64,
    },
    /// A tag is missing.
    #[error("tag {tag} ({name}) is missing")]
    MissingTag {
        /// Tag number.
        tag: u16,
        /// Tag name.
        name: &'static str,
    },
    /// A tag holds what it must not.
    #[error("tag {tag} ({name}): expected {expected}, found {found}")]
    BadTag {
        /// Tag number.
        tag: u16,
        /// Tag name.
        name: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Directories point at each other in a loop.
    #[error("image file directories form a loop at byte {offset}")]
    IfdLoop {
        /// Where the directory lies that was met twice.
        offset: u64,
    },
    /// A compressed stream is broken.
    #[error("not a valid {codec} stream: {reason}")]
    Codec {
        /// Codec name.
        codec: &'static str,
        /// What the decoder found.
        reason: String,
    },
    /// A block would become far larger than its stored bytes: sound, perhaps, or made to exhaust memory.
    #[error(
        "{} would become {}, more than is believed of so few; if the file is sound, pass --memory {}M, or \
         rewrite it in smaller blocks, e.g. gdal_translate -co TILED=YES",
        bytes_text(*stored),
        bytes_text(*decoded),
        enough.div_ceil(1 << 20)
    )]
    Expands {
        /// Bytes in the file.
        stored: u64,
        /// Bytes in memory.
        decoded: u64,
        /// A memory budget that allows it.
        enough: u64,
    },
    /// A block decodes to the wrong number of bytes.
    #[error("decodes to {found} bytes, expected {expected}")]
    BlockLength {
        /// Bytes that the block's size asks for.
        expected: u64,
        /// Bytes that came out.
        found: u64,
    },
    /// The georeferencing is unusable.
    #[error("georeferencing: {0}")]
    Georeference(&'static str),
    /// The file changed between opening and reading.
    #[error("the file changed while it was in use ({0})")]
    Changed(&'static str),
    /// Text (XML, numbers, world file) that does not parse.
    #[error("{what} does not parse: {reason}")]
    Text {
        /// Which text.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// A feature that is not read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("not supported: {feature}; {hint}")]
pub struct Unsupported {
    /// The feature, by name.
    pub feature: String,
    /// What would help.
    pub hint: &'static str,
}

/// A request that cannot be met.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// No input was given, or a directory, pattern or list is empty.
    #[error("no input rasters: {0}")]
    NoInputs(String),
    /// Sources do not share one CRS; the text lists each with its number of files and an example.
    #[error("the inputs are in {count} different CRSs; {hint}\n{listing}")]
    MixedCrs {
        /// How many CRSs.
        count: usize,
        /// The flags that solve it.
        hint: &'static str,
        /// One line per CRS.
        listing: String,
    },
    /// Coordinates cannot be carried from one CRS to another as exactly as is promised.
    #[error("cannot reproject {what}; {hint}")]
    Transform {
        /// The CRSs and what is missing, by name.
        what: String,
        /// What would help.
        hint: &'static str,
    },
    /// A source has no georeferencing.
    #[error("no georeferencing (no tags, no world file); give it one, e.g. gdal_edit.py -a_ullr")]
    NoGeoreference,
    /// A source is georeferenced by control points only.
    #[error("georeferenced by ground control points only; warp it first, e.g. gdalwarp")]
    GcpOnly,
    /// Sources disagree in a property that must be common.
    #[error("the inputs differ in {what}: {first} and {other}; {hint}")]
    Mismatch {
        /// The property.
        what: &'static str,
        /// Value of the first source.
        first: String,
        /// Value of another source, with its path.
        other: String,
        /// What solves it.
        hint: &'static str,
    },
    /// An option is out of range or contradicts another.
    #[error("{option}: {reason}")]
    Option {
        /// The option as the program spells it.
        option: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The mosaic would be empty or too large.
    #[error("the mosaic's extent: {0}")]
    Extent(String),
    /// The options cannot fit in memory.
    #[error(
        "{what} needs at least {} of memory, the budget is {}; {hint}",
        bytes_text(*need_bytes),
        bytes_text(*budget_bytes)
    )]
    Memory {
        /// What does not fit.
        what: String,
        /// The least that would do.
        need_bytes: u64,
        /// What was given.
        budget_bytes: u64,
        /// What to change.
        hint: String,
    },
    /// The output cannot be written as asked.
    #[error("output: {0}")]
    Output(String),
    /// Valid samples equal the output nodata.
    #[error(
        "{count} valid samples equal the output nodata {nodata}; \
         choose another --nodata, or --on-nodata-clash warn|nudge"
    )]
    NodataClash {
        /// Number of samples.
        count: u64,
        /// The output nodata.
        nodata: String,
    },
}

/// A number of bytes as people read it: `129.1 MiB`; exact below 10 KiB.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 10 * 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

impl Error {
    /// An error of `kind` that does not name a file yet.
    #[cold]
    pub fn new(kind: impl Into<ErrorKind>) -> Error {
        Error { path: None, place: None, kind: Box::new(kind.into()) }
    }

    /// An [`ErrorKind::Unsupported`]: `feature` by name, `hint` what would help.
    #[cold]
    pub fn unsupported(feature: impl Into<String>, hint: &'static str) -> Error {
        Error::new(Unsupported { feature: feature.into(), hint })
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// What went wrong, without the file and the place.
    pub fn into_kind(self) -> ErrorKind {
        *self.kind
    }

    /// The file that the error is about, where one is known.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The place in the file, where one is known.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// The same error with a path, unless it has one already.
    #[must_use]
    pub fn with_path(mut self, path: &Path) -> Error {
        if self.path.is_none() {
            self.path = Some(path.to_path_buf());
        }
        self
    }

    /// The same error with a place, unless it has one already.
    #[must_use]
    pub fn with_place(mut self, place: Place) -> Error {
        self.place.get_or_insert(place);
        self
    }

    /// Whether the request or an input is at fault, and not the run.
    pub fn is_input_error(&self) -> bool {
        matches!(
            *self.kind,
            ErrorKind::Input(_)
                | ErrorKind::BadSources(_)
                | ErrorKind::Format(_)
                | ErrorKind::Unsupported(_)
        )
    }
}

impl<K: Into<ErrorKind>> From<K> for Error {
    #[cold]
    fn from(kind: K) -> Error {
        Error::new(kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        match self.place {
            Some(Place::Ifd(index)) => write!(f, "directory {index}: ")?,
            Some(Place::Block(index)) => write!(f, "block {index}: ")?,
            Some(Place::Tag(tag)) => write!(f, "tag {tag}: ")?,
            None => {}
        }
        if let ErrorKind::BadSources(errors) = &*self.kind {
            write!(f, "{}", self.kind)?;
            for error in errors {
                write!(f, "\n  {error}")?;
            }
            return Ok(());
        }
        write!(f, "{}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The kind's own text is part of ours, so only causes below it are named.
        match &*self.kind {
            ErrorKind::Io(error) => error.get_ref().and_then(|inner| inner.source()),
            _ => None,
        }
    }
}

/// Attaches a path or a place to the error of a result.
pub trait ResultExt<T> {
    /// Names the file, unless the error names one already.
    ///
    /// # Errors
    /// The error that was there, with the path.
    fn at(self, path: &Path) -> Result<T>;

    /// Names the place in the file, unless the error names one already.
    ///
    /// # Errors
    /// The error that was there, with the place.
    fn in_place(self, place: Place) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| error.into().with_path(path))
    }

    fn in_place(self, place: Place) -> Result<T> {
        self.map_err(|error| error.into().with_place(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_path_wins() {
        let error = Error::new(FormatError::NotATiff)
            .with_path(Path::new("inner.tif"))
            .with_path(Path::new("outer.tif"))
            .with_place(Place::Block(3));
        assert_eq!(error.to_string(), "inner.tif: block 3: not a TIFF file");
    }
}
