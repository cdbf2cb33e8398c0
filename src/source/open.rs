//! Headers of all inputs, in parallel, result in order; what is bad is collected, not met one by one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::image::Params;
use crate::crs::Crs;
use crate::error::{Error, ErrorKind, FormatError, Result, ResultExt};
use crate::io::{self, ReadAt, open_regular};
use crate::observer::{Observer, Warning};
use crate::ordered::{Window, run_ordered, thread_count};
use crate::source::entry::Entry;
use crate::source::{FileStamp, Source, SourceNodata};
use crate::tiff::FileOf;
use crate::tiff::geokeys::world_file_candidates;
use crate::tiff::reader::{Beside, Dataset, ReadOptions, Shared};

/// Most bytes of an `.aux.xml` that are read.
const MOST_AUX_BYTES: u64 = 16 << 20;

/// How inputs are opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Threads that read headers; 0 for all cores.
    pub threads: usize,
    /// Drop inputs that cannot be used, and go on with the rest.
    pub skip_bad: bool,
    /// Inputs without a CRS have this one.
    pub assign_crs: Option<Arc<Crs>>,
    /// All inputs have this one, whatever they say.
    pub override_crs: Option<Arc<Crs>>,
    /// What is read of each file's headers.
    pub read: ReadOptions,
}

/// The inputs that can be used, in order, each once.
#[derive(Debug)]
pub struct Opened {
    /// Opened inputs.
    pub sources: Vec<Source>,
    /// Why the others were dropped (`skip_bad`).
    pub skipped: Vec<Error>,
}

/// Opens one input that has a place in the world.
///
/// # Errors
/// As [`Dataset::open`]; [`crate::error::InputError::NoGeoreference`],
/// [`crate::error::InputError::GcpOnly`]; I/O errors.
pub fn open_source(path: &Path) -> Result<Source> {
    let source = open_any(path, ReadOptions::default())?;
    source.dataset.check_placed()?;
    Ok(source)
}

/// Opens one input, whether it has georeferencing or not ([`Dataset::unplaced`]).
///
/// # Errors
/// As [`Dataset::open`]; I/O errors.
pub fn open_any(path: &Path, options: ReadOptions) -> Result<Source> {
    let file = open_regular(path).at(path)?;
    let meta = file.metadata().at(path)?;
    let beside = BesideFile { path, stamps: RefCell::default() };
    let dataset = Dataset::open_with(path, &file, &beside, options)
        .map_err(|error| name_format(error, path))?;
    let nodata = match (dataset.nodata, &dataset.band_nodata) {
        (Some(value), _) => SourceNodata::All(value),
        (None, Some(values)) => SourceNodata::Bands(Arc::clone(values)),
        (None, None) => SourceNodata::None,
    };
    let beside = beside.stamps.into_inner().into();
    Ok(Source {
        dataset: Arc::new(dataset),
        stamp: stamp_of(&meta),
        beside,
        nodata,
        view: None,
        priority: 0.0,
        overridden: false,
    })
}

/// The files beside a raster on a disk.
struct BesideFile<'a> {
    path: &'a Path,
    /// Those that were opened.
    stamps: RefCell<Vec<(FileOf, FileStamp)>>,
}

impl Beside for BesideFile<'_> {
    fn world_file(&self) -> Result<Option<String>> {
        world_file(self.path)
    }

    fn aux_xml(&self) -> Result<Option<String>> {
        let path = with_suffix(self.path, ".aux.xml");
        let text = read_start(&path, MOST_AUX_BYTES).map(|bytes| {
            Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|text| !text.is_empty())
        });
        or_missing(text, &path)
    }

    fn open(&self, file: FileOf) -> Result<Option<Box<dyn ReadAt>>> {
        let path = with_suffix(self.path, file.suffix());
        let opened = fs::metadata(&path).and_then(|meta| {
            if !meta.is_file() {
                return Ok(None);
            }
            self.stamps.borrow_mut().push((file, stamp_of(&meta)));
            Ok(Some(Box::new(File::open(&path)?) as Box<dyn ReadAt>))
        });
        or_missing(opened, &path)
    }
}

/// A file that is not there is none; anything else that goes wrong is an error.
fn or_missing<T>(result: std::io::Result<Option<T>>, path: &Path) -> Result<Option<T>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match result {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        // A name that is too long with a suffix names no file.
        Err(error) if error.raw_os_error() == Some(36) => Ok(None),
        other => other.at(path),
    }
}

/// A path with more behind its last name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens all inputs. An input that is named more than once keeps its last place, with a warning.
///
/// # Errors
/// [`ErrorKind::BadSources`] with every input that cannot be used, unless `skip_bad`;
/// [`ErrorKind::Cancelled`].
pub fn open_all(
    paths: &[PathBuf],
    options: &OpenOptions,
    observer: &dyn Observer,
) -> Result<Opened> {
    let entries: Vec<Entry> = paths.iter().cloned().map(Entry::new).collect();
    open_entries(&entries, options, observer)
}

/// Opens all inputs, with what is said about each in place of its file. The headers that an index holds
/// of a file count while the file has the same size and time; else they are read again, unless the
/// index also holds what counts in place of them.
///
/// # Errors
/// As [`open_all`].
pub fn open_entries(
    entries: &[Entry],
    options: &OpenOptions,
    observer: &dyn Observer,
) -> Result<Opened> {
    let mut sources = Vec::with_capacity(entries.len());
    let mut stale = 0usize;
    let mut bad = Vec::new();
    let mut interner = Interner::default();
    run_ordered(
        entries.len() as u64,
        // A thread holds up to three files: the raster and those beside it.
        Window::light(thread_count(options.threads).min((io::handle_limit() / 3).max(1))),
        observer,
        || (),
        |(), ticket| Ok(open_entry(&entries[ticket.index as usize], options.read)),
        |_| 0,
        |_, result| {
            match result {
                Ok((source, state)) => {
                    for what in &*source.dataset.oddities {
                        let path = source.path().display().to_string();
                        observer.warning(&Warning::Odd { path, what: what.clone() });
                    }
                    stale += usize::from(state == State::Stale);
                    let saved = state == State::Saved;
                    sources.push(interner.intern(source, options, saved));
                }
                Err(error) => bad.push(error),
            }
            Ok(())
        },
    )?;
    if stale > 0 {
        observer.warning(&Warning::Other(format!(
            "{stale} files changed since the index was made; their headers were read again"
        )));
    }
    let sources = keep_last(sources, observer);
    if !options.skip_bad && !bad.is_empty() {
        return Err(match bad.len() {
            1 => bad.remove(0),
            _ => ErrorKind::BadSources(bad).into(),
        });
    }
    for error in &bad {
        observer.source_skipped(error);
    }
    if sources.is_empty() {
        return Err(ErrorKind::BadSources(bad).into());
    }
    Ok(Opened { sources, skipped: bad })
}

/// Where the headers of a source come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The file.
    Read,
    /// An index.
    Saved,
    /// The file, because it is not as it was when the index was made.
    Stale,
}

fn open_entry(entry: &Entry, options: ReadOptions) -> Result<(Source, State)> {
    let path = &entry.path;
    let mut state = State::Read;
    // An index does not hold where the blocks of overviews lie.
    let enough = |saved: &Source| !options.overviews || saved.dataset.overviews.is_empty();
    if let Some(saved) = entry.saved.as_ref().filter(|saved| saved.overridden || enough(saved)) {
        let stamp = stamp_of(&fs::metadata(path).at(path)?);
        if (stamp.len, stamp.modified_ns) == (saved.stamp.len, saved.stamp.modified_ns) {
            return Ok((Source { stamp, ..(**saved).clone() }, State::Saved));
        }
        if saved.overridden {
            let error = Error::new(FormatError::Changed("since the index was made; make it again"));
            return Err(error.with_path(path));
        }
        state = State::Stale;
    }
    let source = open_any(path, options)?;
    source.dataset.check_placed()?;
    match &entry.overrides {
        Some(overrides) => Ok((overrides.apply(source).at(path)?, state)),
        None => Ok((source, state)),
    }
}

/// Keeps the last of each file, known by device and inode, so that other spellings are found too. Parts
/// of files and files that are placed twice are not the same source.
fn keep_last(sources: Vec<Source>, observer: &dyn Observer) -> Vec<Source> {
    let key = |source: &Source| {
        let coefficients = source.dataset.transform.coefficients().map(f64::to_bits);
        (source.stamp.identity, coefficients)
    };
    let whole = |source: &Source| source.view.is_none() && source.stamp.identity != (0, 0);
    let mut count: HashMap<_, usize> = HashMap::with_capacity(sources.len());
    for source in sources.iter().filter(|source| whole(source)) {
        *count.entry(key(source)).or_default() += 1;
    }
    if count.values().all(|times| *times == 1) {
        return sources;
    }
    let mut seen = count.clone();
    sources
        .into_iter()
        .filter(|source| {
            if !whole(source) {
                return true;
            }
            let left = seen.entry(key(source)).or_default();
            *left -= 1;
            let times = count.get(&key(source)).copied().unwrap_or(1);
            if *left == 0 && times > 1 {
                let path = source.path().display().to_string();
                observer.warning(&Warning::Repeated { path, times });
            }
            *left == 0
        })
        .collect()
}

/// Makes sources share what is equal in them.
#[derive(Default)]
struct Interner {
    crs: HashMap<Arc<Crs>, Arc<Crs>>,
    shared: Vec<Arc<Shared>>,
    params: Vec<Arc<Params>>,
}

impl Interner {
    /// Different metadata that are compared with each new source, newest first.
    const MOST_SHARED: usize = 64;

    /// Tiles of one series have the same JPEG tables.
    fn share_params(&mut self, dataset: &mut Dataset) {
        let Some(own) = &mut dataset.image.params else { return };
        match self.params.iter().rev().find(|params| *params == own) {
            Some(params) => *own = Arc::clone(params),
            None if self.params.len() < Interner::MOST_SHARED => self.params.push(Arc::clone(own)),
            None => {}
        }
    }

    /// `saved`: an index shares what is equal already.
    fn intern(&mut self, source: Source, options: &OpenOptions, saved: bool) -> Source {
        if saved && options.assign_crs.is_none() && options.override_crs.is_none() {
            return source;
        }
        let mut overridden = source.overridden;
        // The only reference: nobody else has seen this dataset yet.
        let mut dataset = Arc::unwrap_or_clone(source.dataset);
        dataset.crs = match (&options.override_crs, dataset.crs, &options.assign_crs) {
            (Some(crs), ..) | (None, None, Some(crs)) => {
                overridden = true;
                Some(Arc::clone(crs))
            }
            (None, Some(crs), _) => {
                Some(Arc::clone(self.crs.entry(Arc::clone(&crs)).or_insert(crs)))
            }
            (None, None, None) => None,
        };
        match self.shared.iter().rev().find(|shared| ***shared == *dataset.shared) {
            Some(shared) => dataset.shared = Arc::clone(shared),
            None => {
                if self.shared.len() >= Interner::MOST_SHARED {
                    self.shared.remove(0);
                }
                self.shared.push(Arc::clone(&dataset.shared));
            }
        }
        dataset.oddities = Box::default();
        self.share_params(&mut dataset);
        Source { dataset: Arc::new(dataset), overridden, ..source }
    }
}

/// The first bytes of a regular file, at most `most`.
fn read_start(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if fs::metadata(path)?.is_file() {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn world_file(path: &Path) -> Result<Option<String>> {
    for candidate in world_file_candidates(path) {
        match read_start(&candidate, 4097) {
            // A world file is six short lines; anything long is something else.
            Ok(bytes) if (1..=4096).contains(&bytes.len()) => {
                return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from(error).with_path(&candidate)),
        }
    }
    Ok(None)
}

/// Names rasters of other formats, so that the user learns what to convert (SPEC §3.1).
fn name_format(error: Error, path: &Path) -> Error {
    if !matches!(error.kind(), ErrorKind::Format(FormatError::NotATiff)) {
        return error;
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let format = match extension.as_deref() {
        Some("jp2" | "j2k" | "jpx") => "JPEG 2000",
        Some("hgt") => "SRTM HGT",
        Some("asc" | "grd") => "an ASCII or GRD grid",
        Some("img") => "ERDAS Imagine",
        Some("vrt") => "a GDAL VRT",
        Some("nc" | "hdf" | "h5" | "hdf5") => "netCDF or HDF",
        Some("png" | "jpg" | "jpeg" | "gif" | "webp") => "a picture (PNG, JPEG, …)",
        Some("bil" | "bip" | "bsq" | "dat" | "flt") => "a raw raster (ENVI, EHdr, …)",
        Some("dem" | "dt0" | "dt1" | "dt2" | "ecw" | "sid" | "pix" | "gpkg" | "zarr") => {
            "its format"
        }
        _ => return error,
    };
    Error::unsupported(
        format!("{format} as an input"),
        "convert it to GeoTIFF: gdal_translate IN OUT.tif",
    )
    .with_path(path)
}

/// What tells this state of a file from another.
#[cfg(unix)]
pub fn stamp_of(meta: &Metadata) -> FileStamp {
    use std::os::unix::fs::MetadataExt;
    let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    FileStamp { len: meta.len(), modified_ns, identity: (meta.dev(), meta.ino()) }
}

/// What tells this state of a file from another.
#[cfg(not(unix))]
pub fn stamp_of(meta: &Metadata) -> FileStamp {
    let modified_ns = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |time| time.as_nanos() as i128);
    FileStamp { len: meta.len(), modified_ns, identity: (0, 0) }
}

/// Whether a path names one of some files, under whatever name.
pub fn is_among(path: &Path, files: &[PathBuf]) -> bool {
    let Ok(meta) = fs::metadata(path) else { return false };
    let stamp = stamp_of(&meta);
    let same = |other: &PathBuf| {
        fs::metadata(other).is_ok_and(|meta| stamp_of(&meta).identity == stamp.identity)
    };
    stamp.identity != (0, 0) && files.iter().any(same)
}

/// Whether a path names one of the sources' files.
pub fn is_source(path: &Path, sources: &[Source]) -> bool {
    let Ok(meta) = fs::metadata(path) else { return false };
    let stamp = stamp_of(&meta);
    if stamp.identity == (0, 0) {
        let canonical = fs::canonicalize(path).ok();
        return sources.iter().any(|s| fs::canonicalize(s.path()).ok() == canonical);
    }
    sources.iter().any(|source| source.stamp.identity == stamp.identity)
}
