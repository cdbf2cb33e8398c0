//! From arguments to opened sources: the same for every command that takes many inputs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::anyhow;
use smalti::error::{Error, ErrorKind, InputError, Result};
use smalti::mosaic::{MosaicOptions, Overlap};
use smalti::observer::{Observer, Warning};
use smalti::source::catalog;
use smalti::source::entry::{Entries, Hints};
use smalti::source::open::{OpenOptions, Opened, open_entries};
use smalti::source::sort::sort;
use smalti::source::{Source, SourceNodata};

use crate::cli::args::{AlignArg, GridArgs, InputArgs, RunArgs};
use crate::cli::config;
use crate::cli::output::{clean, say};
use crate::cli::report::Failure;

/// What is to be opened, in order: what is named, then what `--input-list` names.
pub(crate) fn gather(inputs: &[PathBuf], input: &InputArgs) -> Result<Entries> {
    catalog::gather(inputs, input.input_list.as_deref(), input.asset.as_deref())
}

/// All files that are named, directly or by lists and descriptors, and those themselves.
pub(crate) fn named(entries: &Entries) -> impl Iterator<Item = &PathBuf> {
    entries.list.iter().map(|entry| &entry.path).chain(&entries.descriptors).chain(&entries.nested)
}

/// Whether an option says what the grid is.
pub(crate) fn is_grid_chosen(grid: &GridArgs) -> bool {
    grid.res.is_some()
        || grid.resolution.is_some()
        || grid.bounds.is_some()
        || grid.tap
        || grid.crs.is_some()
        || grid.like.is_some()
        || !matches!(grid.align, AlignArg::Corner)
}

/// What a descriptor says of the whole mosaic counts where no option does; whether it gave the grid.
pub(crate) fn take_hints(hints: &Hints, grid: &GridArgs, options: &mut MosaicOptions) -> bool {
    options.nodata = options.nodata.or(hints.nodata);
    options.dtype = options.dtype.or(hints.dtype);
    if is_grid_chosen(grid) || hints.grid.is_none() {
        return false;
    }
    options.like = hints.grid.clone();
    true
}

/// Puts `--src-nodata` into the sources themselves.
pub(crate) fn override_nodata(sources: &mut [Source], options: &mut MosaicOptions) -> Result<()> {
    let Some(values) = options.src_nodata.take() else { return Ok(()) };
    for source in sources {
        source.nodata = match values.as_slice() {
            [] => SourceNodata::None,
            [one] => SourceNodata::All(*one),
            many if many.len() == source.bands() as usize => {
                SourceNodata::Bands(many.iter().copied().map(Some).collect())
            }
            many => {
                let (values, bands) = (many.len(), source.bands());
                let reason =
                    format!("{values} values for {bands} bands; give one, or one for each");
                return Err(InputError::Option { option: "--src-nodata", reason }.into());
            }
        };
        source.overridden = true;
    }
    Ok(())
}

/// Takes down what the library says while inputs are opened; prints it, unless told to be quiet.
pub(crate) struct Notes {
    quiet: bool,
    silent: bool,
    stop: Arc<AtomicBool>,
    warnings: Mutex<Vec<String>>,
}

impl Notes {
    /// `stop` ends what is under way once it is true.
    pub(crate) fn new(quiet: bool, stop: Arc<AtomicBool>) -> Notes {
        Notes { quiet, silent: false, stop, warnings: Mutex::default() }
    }

    /// One that prints nothing at all, for those who print it themselves.
    pub(crate) fn silent(stop: Arc<AtomicBool>) -> Notes {
        Notes { quiet: true, silent: true, stop, warnings: Mutex::default() }
    }

    /// One more warning.
    pub(crate) fn add(&self, text: &str) {
        if !self.quiet {
            say(&format!("smalti: warning: {}", clean(text)));
        }
        self.list().push(text.to_owned());
    }

    /// All warnings so far.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.list().clone()
    }

    fn list(&self) -> MutexGuard<'_, Vec<String>> {
        // A panic while it is held leaves texts that are whole.
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Notes {
    fn source_skipped(&self, error: &Error) {
        if !self.silent {
            say(&format!("smalti: skipped: {}", clean(&error.to_string())));
        }
        self.list().push(format!("skipped: {error}"));
    }

    fn warning(&self, warning: &Warning) {
        self.add(&warning.to_string());
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Opens all inputs and sorts them.
pub(crate) fn open(
    entries: &Entries,
    input: &InputArgs,
    run: &RunArgs,
    overlap: Overlap,
    observer: &dyn Observer,
) -> std::result::Result<Opened, Failure> {
    open_with(entries, input, &config::open_options(input, config::threads(run)), overlap, observer)
}

/// The same with more of the headers.
pub(crate) fn open_with(
    entries: &Entries,
    input: &InputArgs,
    options: &OpenOptions,
    overlap: Overlap,
    observer: &dyn Observer,
) -> std::result::Result<Opened, Failure> {
    let mut opened =
        open_entries(&entries.list, options, observer).map_err(|error| match error.kind() {
            ErrorKind::BadSources(_) if input.skip_bad => {
                Failure::usage(anyhow!("none of the inputs can be used"))
            }
            _ => error.into(),
        })?;
    sort(&mut opened.sources, &config::sort_key(input), overlap == Overlap::First)?;
    Ok(opened)
}
