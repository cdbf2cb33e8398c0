//! Arguments of the commands that look at a mosaic or save it, without writing its pixels.

use std::path::PathBuf;

use clap::Args;
use smalti::sample::Nodata;

use crate::cli::args::{GridArgs, InputArgs, OverlapArg, PixelArgs, RunArgs};
use crate::cli::values;

/// Which mosaic.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Files, directories (searched for *.tif and *.tiff), patterns, @list.txt, manifests, catalogues
    #[arg(value_name = "IN", required_unless_present = "input_list")]
    pub(crate) inputs: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) input: InputArgs,

    #[command(flatten)]
    pub(crate) grid: GridArgs,
}

/// `smalti index`.
#[derive(Debug, Args)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    pub(crate) set: SetArgs,

    /// File to write: .json, which smalti opens at once, or .vrt, which GDAL reads too
    #[arg(short, long, value_name = "OUT.json|OUT.vrt")]
    pub(crate) output: PathBuf,

    /// Name the inputs by absolute paths, so that OUT can be moved
    #[arg(long)]
    pub(crate) absolute: bool,

    /// Replace OUT if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Which input counts where several have valid pixels, in the order they are named
    #[arg(long, value_name = "RULE", value_enum, default_value_t = OverlapArg::Last)]
    pub(crate) overlap: OverlapArg,

    /// Nodata of the mosaic; may be negative, or nan [default: that of the first input]
    #[arg(long, value_name = "V", allow_hyphen_values = true, value_parser = values::nodata)]
    pub(crate) nodata: Option<Nodata>,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Print errors, and inputs that are skipped, and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Pixels and resources, for those commands that need both.
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub(crate) pixels: PixelArgs,

    #[command(flatten)]
    pub(crate) run: RunArgs,
}
