//! From arguments to opened sources: the same for every command that takes many inputs.

use std::path::PathBuf;

use anyhow::anyhow;
use smalti::error::{ErrorKind, Result};
use smalti::mosaic::{MosaicOptions, Overlap};
use smalti::observer::Observer;
use smalti::source::catalog;
use smalti::source::entry::{Entries, Hints};
use smalti::source::open::{Opened, open_entries};
use smalti::source::sort::sort;

use crate::cli::args::{GridArgs, InputArgs, RunArgs};
use crate::cli::config;
use crate::cli::report::Failure;

/// What is to be opened, in order: what is named, then what `--input-list` names.
pub(crate) fn gather(inputs: &[PathBuf], input: &InputArgs) -> Result<Entries> {
    catalog::gather(inputs, input.input_list.as_deref())
}

/// All files that are named, directly or by lists and descriptors, and those themselves.
pub(crate) fn named(entries: &Entries) -> impl Iterator<Item = &PathBuf> {
    entries.list.iter().map(|entry| &entry.path).chain(&entries.descriptors)
}

/// What a descriptor says of the whole mosaic counts where no option does.
pub(crate) fn take_hints(hints: &Hints, grid: &GridArgs, options: &mut MosaicOptions) {
    let chosen = grid.res.is_some()
        || grid.resolution.is_some()
        || grid.bounds.is_some()
        || grid.tap
        || grid.like.is_some();
    if !chosen {
        options.like = hints.grid.clone();
    }
    options.nodata = options.nodata.or(hints.nodata);
}

/// Opens all inputs and sorts them.
pub(crate) fn open(
    entries: &Entries,
    input: &InputArgs,
    run: &RunArgs,
    overlap: Overlap,
    observer: &dyn Observer,
) -> std::result::Result<Opened, Failure> {
    let options = config::open_options(input, config::threads(run));
    let mut opened =
        open_entries(&entries.list, &options, observer).map_err(|error| match error.kind() {
            ErrorKind::BadSources(_) if input.skip_bad => {
                Failure::usage(anyhow!("none of the inputs can be used"))
            }
            _ => error.into(),
        })?;
    sort(&mut opened.sources, &config::sort_key(input), overlap == Overlap::First);
    Ok(opened)
}
