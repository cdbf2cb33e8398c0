//! Arguments of the commands that look at a mosaic or save it, without writing its pixels.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use smalti::mosaic::Overlap;
use smalti::sample::Nodata;

use crate::cli::args::{FormatArgs, GridArgs, InputArgs, PixelArgs, RunArgs};
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

    /// Which input counts where several have valid pixels, in the order they are named: last or first
    #[arg(long, value_name = "RULE", default_value = "last", value_parser = values::overlap)]
    pub(crate) overlap: Overlap,

    /// Nodata of the mosaic; may be negative, or nan [default: that of the first input]
    #[arg(long, value_name = "V", allow_hyphen_values = true, value_parser = values::nodata)]
    pub(crate) nodata: Option<Nodata>,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Print errors, and inputs that are skipped, and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `smalti plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) set: SetArgs,

    #[command(flatten)]
    pub(crate) pixels: PixelArgs,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `smalti explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Easting or longitude of the point, in the mosaic's CRS
    #[arg(value_name = "X", allow_negative_numbers = true, value_parser = values::coordinate)]
    pub(crate) x: f64,

    /// Northing or latitude of the point
    #[arg(value_name = "Y", allow_negative_numbers = true, value_parser = values::coordinate)]
    pub(crate) y: f64,

    #[command(flatten)]
    pub(crate) set: SetArgs,

    #[command(flatten)]
    pub(crate) pixels: PixelArgs,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `smalti footprints`.
#[derive(Debug, Args)]
pub(crate) struct FootprintsArgs {
    #[command(flatten)]
    pub(crate) set: SetArgs,

    /// GeoJSON file to write, or - for standard output
    #[arg(short, long, value_name = "OUT.geojson")]
    pub(crate) output: PathBuf,

    /// What to write: outlines of sources, places that none covers, places that several cover
    #[arg(long, value_name = "WHAT[,WHAT]", value_enum, value_delimiter = ',',
          default_values_t = [LayerArg::Sources, LayerArg::Gaps, LayerArg::Overlaps])]
    pub(crate) layers: Vec<LayerArg>,

    /// Write coordinates of the mosaic's CRS, as --crs does, not longitude and latitude (RFC 7946)
    #[arg(long)]
    pub(crate) native: bool,

    /// Replace OUT.geojson if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Print errors, and inputs that are skipped, and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `--layers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayerArg {
    Sources,
    Gaps,
    Overlaps,
}

/// `smalti preview`.
#[cfg(feature = "preview")]
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    #[command(flatten)]
    pub(crate) set: SetArgs,

    /// PNG file to write
    #[arg(short, long, value_name = "OUT.png")]
    pub(crate) output: PathBuf,

    /// Pixels of the longer side
    #[arg(long, value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(16..=4096))]
    pub(crate) size: u32,

    /// Percentiles of the valid samples that become black and white; 0,100 for all
    #[arg(long, value_name = "LOW,HIGH", default_value = "2,98", value_parser = values::percentiles)]
    pub(crate) stretch: values::Percentiles,

    /// Bands for red, green and blue, or one for gray, counted from 1
    /// [default: the first three of RGB pictures, else the first]
    #[arg(long, value_name = "N[,N,N]", value_delimiter = ',')]
    pub(crate) show: Vec<u32>,

    /// Read the inputs themselves, not their overviews
    #[arg(long)]
    pub(crate) full: bool,

    /// Draw the outlines of the sources
    #[arg(long)]
    pub(crate) footprints: bool,

    #[command(flatten)]
    pub(crate) pixels: PixelArgs,

    /// Replace OUT.png if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Print errors, and inputs that are skipped, and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
