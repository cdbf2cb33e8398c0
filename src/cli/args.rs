//! Arguments and their help text. No logic: values are read in [`values`], rules are in `config`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use smalti::crs::Crs;
use smalti::geometry::Bounds;
use smalti::mosaic::Overlap;
use smalti::resample::Kernel;
use smalti::sample::{DataType, Nodata};

#[cfg(feature = "preview")]
use crate::cli::analysis_args::PreviewArgs;
use crate::cli::analysis_args::{ExplainArgs, FootprintsArgs, IndexArgs, PlanArgs};
use crate::cli::values::{self, BandList, Chunk, CrsChoice, NodataList, PixelSize};

/// Turns many overlapping GeoTIFFs into one, with flat memory, without GDAL.
#[derive(Debug, Parser)]
#[command(
    name = "smalti",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 done but inputs were \
                  skipped, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the mosaic of many GeoTIFFs as one tiled GeoTIFF; later inputs lie on top
    Mosaic(Box<MosaicArgs>),
    /// Show what the headers of a GeoTIFF say, and with --stats what its pixels are
    Info(InfoArgs),
    /// Print the values of all bands at points
    Sample(SampleArgs),
    /// Check a GeoTIFF: its structure, that every block decodes, its statistics; with a receipt all bytes
    Verify(Box<VerifyArgs>),
    /// Save the virtual mosaic as JSON, to open it at once later, or as a VRT for GDAL
    Index(Box<IndexArgs>),
    /// Show what a mosaic would be, what it would cost, and what is wrong, without writing it
    Plan(Box<PlanArgs>),
    /// Say of a point which inputs lie there, their values, and which one counts
    Explain(Box<ExplainArgs>),
    /// Write the outlines of inputs, gaps and overlaps as GeoJSON
    Footprints(Box<FootprintsArgs>),
    /// Draw a small picture of the mosaic as PNG
    #[cfg(feature = "preview")]
    Preview(Box<PreviewArgs>),
}

/// `smalti mosaic`.
#[derive(Debug, Args)]
pub(crate) struct MosaicArgs {
    /// Files, directories (searched for *.tif and *.tiff), patterns, @list.txt, manifests, catalogues
    #[arg(value_name = "IN", required_unless_present = "input_list")]
    pub(crate) inputs: Vec<PathBuf>,

    /// GeoTIFF to write; it appears under this name when it is complete
    #[arg(short, long, value_name = "OUT.tif")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) input: InputArgs,

    #[command(flatten)]
    pub(crate) grid: GridArgs,

    #[command(flatten)]
    pub(crate) pixels: PixelArgs,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

/// Which inputs, and what they are taken for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Inputs")]
pub(crate) struct InputArgs {
    /// Read more inputs from FILE, one a line (`-`: standard input; # starts a comment)
    #[arg(long, value_name = "FILE")]
    pub(crate) input_list: Option<PathBuf>,

    /// Leave out inputs that cannot be used, list them at the end, and exit with 3
    #[arg(long)]
    pub(crate) skip_bad: bool,

    /// Leave out blocks of inputs that cannot be decoded, list them at the end, and exit with 3
    #[arg(long)]
    pub(crate) skip_bad_blocks: bool,

    /// CRS of inputs that have none: EPSG:n, ESRI:n, WKT, PROJJSON, a PROJ string, or a file with one
    #[arg(long, value_name = "CRS", value_parser = values::crs)]
    pub(crate) assign_crs: Option<Crs>,

    /// CRS of all inputs, whatever they say; nothing is reprojected
    #[arg(long, value_name = "CRS", value_parser = values::crs, conflicts_with = "assign_crs")]
    pub(crate) override_crs: Option<Crs>,

    /// Reproject even where no datum operation is known: longitude and latitude are taken as they are
    #[arg(long)]
    pub(crate) allow_ballpark: bool,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Nodata of the inputs instead of their own: one value, or one for each band, or `none`
    #[arg(long, value_name = "V[,V...]", allow_hyphen_values = true, value_parser = values::nodata_list)]
    pub(crate) src_nodata: Option<NodataList>,

    /// Asset of STAC items to take, where they have several rasters
    #[arg(long, value_name = "KEY")]
    pub(crate) asset: Option<String>,

    /// Which input lies on top: the last named, the last by name, the newest, or the finest
    #[arg(long, value_name = "ORDER", value_enum, default_value_t = SortArg::Input)]
    pub(crate) sort: SortArg,

    /// Order by an item of GDAL_METADATA: the largest lies on top, with :desc the smallest
    #[arg(long, value_name = "KEY[:asc|desc]", conflicts_with = "sort")]
    pub(crate) sort_by: Option<String>,
}

/// What computes coordinates.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// What computes coordinates: smalti itself and, where it was built in, PROJ for what is beyond it; or one of them
    /// alone
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t = EngineArg::Auto)]
    pub(crate) crs_engine: EngineArg,

    /// Folder with NTv2 grid files (.gsb), under their published names, for datum operations by grids
    #[arg(long, value_name = "DIR")]
    pub(crate) grids: Option<PathBuf>,
}

/// `--crs-engine`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum EngineArg {
    Auto,
    Pure,
    Proj,
}

/// The output's grid.
#[derive(Debug, Args)]
#[command(next_help_heading = "Grid")]
pub(crate) struct GridArgs {
    /// CRS of the output: EPSG:n, ESRI:n, WKT, PROJJSON, a PROJ string, a file with one, or `auto` for that of the
    /// inputs that covers most [default: the one that all inputs share]
    #[arg(long, value_name = "CRS", value_parser = values::crs_choice)]
    pub(crate) crs: Option<CrsChoice>,

    /// Most that a reprojected position may be off, in input pixels (0: exact)
    #[arg(long, value_name = "PX", default_value_t = 0.125, value_parser = values::warp_error)]
    pub(crate) warp_error: f64,

    /// Pixel size from those of the inputs [default: highest]
    #[arg(long, value_name = "POLICY", value_enum, hide_possible_values = false)]
    pub(crate) resolution: Option<ResolutionArg>,

    /// Pixel size in units of the CRS, both positive
    #[arg(long, value_name = "X[,Y]", allow_hyphen_values = true, value_parser = values::pixel_size,
          conflicts_with = "resolution")]
    pub(crate) res: Option<PixelSize>,

    /// Extent in the mosaic's CRS, or that of --bounds-crs [default: all inputs]
    #[arg(long, value_name = "XMIN,YMIN,XMAX,YMAX", allow_hyphen_values = true,
          value_parser = values::bounds)]
    pub(crate) bounds: Option<Bounds>,

    /// CRS of --bounds: the extent is the box, in the mosaic's CRS, of all that lies in them
    #[arg(long, value_name = "CRS", value_parser = values::crs, requires = "bounds")]
    pub(crate) bounds_crs: Option<Crs>,

    /// Widen the extent to whole multiples of the pixel size
    #[arg(long)]
    pub(crate) tap: bool,

    /// Phase of the grid: the corner of the extent, or the largest group of inputs on one grid
    #[arg(long, value_name = "PHASE", value_enum, default_value_t = AlignArg::Corner,
          conflicts_with = "tap")]
    pub(crate) align: AlignArg,

    /// Take size, pixel size and position of the grid from this GeoTIFF
    #[arg(long, value_name = "FILE", conflicts_with_all = ["resolution", "res", "bounds", "tap", "align"])]
    pub(crate) like: Option<PathBuf>,
}

/// The output's pixels.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pixels")]
pub(crate) struct PixelArgs {
    /// What several valid samples of a pixel give: last, first (in the order the inputs are named),
    /// min, max, mean, median, sum, count, or feather[:PX], a mean weighted by the distance to the edge
    /// of an input's data, up to PX pixels [default: 64]
    #[arg(long, value_name = "RULE", default_value = "last", value_parser = values::overlap)]
    pub(crate) overlap: Overlap,

    /// How inputs off the grid are resampled: nearest, bilinear, cubic, cubicspline, lanczos, average,
    /// mode, min, max, med, q1, q3, rms, sum
    #[arg(long, value_name = "KERNEL", default_value = "nearest", value_parser = values::kernel)]
    pub(crate) resampling: Kernel,

    /// Least share of a pixel's area, 0 to 1, that must be valid for average, mode, min, max, med, q1,
    /// q3, rms and sum [default: any]
    #[arg(long, value_name = "F", default_value = "0", hide_default_value = true,
          value_parser = values::share)]
    pub(crate) valid_fraction: f64,

    /// Data type: u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 [default: the smallest that holds all]
    #[arg(long, value_name = "TYPE", value_parser = values::data_type)]
    pub(crate) dtype: Option<DataType>,

    /// Nodata of the output; may be negative, or nan [default: that of the first input]
    #[arg(long, value_name = "V", allow_hyphen_values = true, value_parser = values::nodata)]
    pub(crate) nodata: Option<Nodata>,

    /// When nodata makes a pixel invalid [default: all for RGB and RGBA pictures, else band]
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) nodata_mode: Option<NodataModeArg>,

    /// What to do when valid samples equal the output's nodata
    #[arg(long, value_name = "ACTION", value_enum, default_value_t = ClashArg::Warn)]
    pub(crate) on_nodata_clash: ClashArg,

    /// Say which pixels are valid by an alpha band
    #[arg(long, conflicts_with = "mask")]
    pub(crate) alpha: bool,

    /// Say which pixels are valid by an internal mask
    #[arg(long)]
    pub(crate) mask: bool,

    #[command(flatten)]
    pub(crate) bands: BandArgs,
}

/// The output's bands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bands")]
pub(crate) struct BandArgs {
    /// Bands of the inputs to take, from 1, in this order [default: all]
    #[arg(long, value_name = "N[,N...]", value_parser = values::bands)]
    pub(crate) bands: Option<BandList>,

    /// Make a band of each input: its first, or with --bands all that are named
    #[arg(long)]
    pub(crate) separate: bool,

    /// Make red, green and blue of the indices of palettes
    #[arg(long)]
    pub(crate) expand_palette: bool,

    /// Apply the inputs' scale and offset to their samples; makes f32 of integers up to 16 bits and of
    /// f32, else f64, unless --dtype says otherwise
    #[arg(long)]
    pub(crate) unscale: bool,
}

/// The output file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct FormatArgs {
    /// Replace OUT.tif if it exists; until the new one is complete the old one stays
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Write a receipt: inputs, options, statistics, and digests of all bytes, for `smalti verify`
    #[arg(long, value_name = "FILE.json")]
    pub(crate) receipt: Option<PathBuf>,

    /// Also write which input gave each pixel: a raster on the same grid with the input's number from 1 (0: no
    /// data), and FILE.json with the inputs by number. Of blends, and where bands come from several inputs,
    /// the one with the most weight
    #[arg(long, value_name = "FILE.tif")]
    pub(crate) provenance: Option<PathBuf>,

    /// Go on with what an earlier run for the same OUT.tif left, if inputs and options are the same
    #[arg(long)]
    pub(crate) resume: bool,

    /// Side of a block (tile) in pixels: a multiple of 16, at most 32768; auto: blocks, codec, predictor
    /// and order of bands as the inputs have them, so that their blocks can be copied
    /// [default: 1024, with --cog 512]
    #[arg(short, long, value_name = "N", value_parser = values::chunk)]
    pub(crate) chunk: Option<Chunk>,

    /// Each band in blocks of its own, or all bands of a pixel together [default: band, with --cog pixel]
    #[arg(long, value_name = "ORDER", value_enum)]
    pub(crate) interleave: Option<InterleaveArg>,

    /// Codec of the blocks [default: lzw]
    #[arg(long, value_name = "CODEC", value_enum)]
    pub(crate) compress: Option<CompressArg>,

    /// Level of the codec: deflate 1 to 9 [default: 6]; the others have none
    #[arg(long, value_name = "N")]
    pub(crate) level: Option<u8>,

    /// Predictor; auto: horizontal for integers, float for floats [default: auto]
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) predictor: Option<PredictorArg>,

    /// BigTIFF; auto: if the file could exceed 4 GiB
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = BigTiffArg::Auto)]
    pub(crate) bigtiff: BigTiffArg,

    /// Do not store blocks without valid pixels
    #[arg(long)]
    pub(crate) sparse: bool,

    /// Write a Cloud Optimized GeoTIFF, with overviews; needs room for a second copy on the disk
    #[arg(long)]
    pub(crate) cog: bool,

    /// Add overviews, each half as wide and high as the one before, down to one block
    #[arg(long, conflicts_with = "cog")]
    pub(crate) overviews: bool,

    /// How overviews are made [default: average; nearest for palettes and categories]
    #[arg(long, value_name = "KERNEL", value_enum)]
    pub(crate) overview_resampling: Option<OverviewArg>,

    /// Statistics of each band, taken while writing and stored in the file
    #[arg(long, value_name = "HOW", value_enum, default_value_t = StatsArg::Exact)]
    pub(crate) stats: StatsArg,
}

/// What the run may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Resources")]
pub(crate) struct RunArgs {
    /// Memory in bytes, or with K, M, G (powers of 1024): 256M, 1G, 64MiB
    /// [default: a quarter of what is available, at most 1G]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub(crate) memory: Option<u64>,

    /// Memory as a share of what is available, above 0 and at most 1
    #[arg(long, value_name = "F", value_parser = values::fraction, conflicts_with = "memory")]
    pub(crate) cache_fraction: Option<f64>,

    /// Worker threads, 1 to 1024 [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// How inputs are read; mmap trusts that no file shrinks during the run (else it crashes)
    #[arg(long, value_name = "MODE", value_enum, default_value_t = IoArg::Auto)]
    pub(crate) io: IoArg,
}

/// What is said.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct TalkArgs {
    /// Print errors, and inputs that are skipped, and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print at the end what the run did and where the time went; twice: diagnosis too
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print events as JSON, one a line, on standard output, in place of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `smalti verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// GeoTIFF to check
    pub(crate) file: PathBuf,

    /// Inputs that it was made of: its blocks are rendered anew from them on its grid, and compared; the
    /// options of the run that bear on pixels (--overlap, --resampling, …) are to be given again
    #[arg(value_name = "IN")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Receipt of the run that wrote it: digests of all bytes
    #[arg(long, value_name = "FILE.json")]
    pub(crate) receipt: Option<PathBuf>,

    /// Render blocks anew from the inputs, which are else those that the receipt names, and compare: so
    /// many, spread evenly, or all [default: all if inputs are named, else none]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "all",
          value_parser = values::number_or_all)]
    pub(crate) rederive: Option<String>,

    #[command(flatten)]
    pub(crate) input: InputArgs,

    #[command(flatten)]
    pub(crate) grid: GridArgs,

    #[command(flatten)]
    pub(crate) pixels: PixelArgs,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `smalti info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// GeoTIFF to look at
    pub(crate) file: PathBuf,

    /// Read all pixels: exact minimum, maximum, mean, standard deviation, share of valid samples
    #[arg(long)]
    pub(crate) stats: bool,

    /// Tell the bounds in this CRS too; x may lie beyond 180° where the file crosses it
    #[arg(long, value_name = "CRS", value_parser = values::crs)]
    pub(crate) crs: Option<Crs>,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `smalti sample`.
#[derive(Debug, Args)]
pub(crate) struct SampleArgs {
    /// GeoTIFF to look at
    pub(crate) file: PathBuf,

    /// Points in the file's CRS, or --crs: x (easting, longitude), then y (northing, latitude)
    #[arg(value_names = ["X", "Y"], num_args = 2.., required = true, allow_negative_numbers = true,
          value_parser = values::coordinate)]
    pub(crate) points: Vec<f64>,

    /// CRS of the points [default: that of the file]
    #[arg(long, value_name = "CRS", value_parser = values::crs)]
    pub(crate) crs: Option<Crs>,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Print a JSON array with one object for each point
    #[arg(long)]
    pub(crate) json: bool,
}

/// `--sort`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SortArg {
    Input,
    Name,
    Date,
    Resolution,
}

/// `--resolution`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ResolutionArg {
    Highest,
    Lowest,
    Average,
    Common,
}

/// `--align`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AlignArg {
    Corner,
    Largest,
}

/// `--nodata-mode`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NodataModeArg {
    Band,
    All,
    Any,
}

/// `--on-nodata-clash`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ClashArg {
    Error,
    Warn,
    Nudge,
}

/// `--interleave`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum InterleaveArg {
    Band,
    Pixel,
}

/// `--overview-resampling`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OverviewArg {
    Nearest,
    Average,
    Bilinear,
    Cubic,
    Mode,
}

/// `--compress`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CompressArg {
    None,
    Lzw,
    Deflate,
    Zstd,
    Packbits,
}

/// `--predictor`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PredictorArg {
    Auto,
    None,
    Horizontal,
    Float,
}

/// `--bigtiff`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BigTiffArg {
    Auto,
    Yes,
    No,
}

/// `--stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsArg {
    Exact,
    None,
}

/// `--io`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum IoArg {
    Auto,
    Read,
    Mmap,
}
