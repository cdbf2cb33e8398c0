//! Arguments to options of the library, and every rule between options.

use std::path::Path;
use std::sync::Arc;

use smalti::codec::{Compression, Encoder, Predictor};
use smalti::crs::transform::EngineChoice;
use smalti::engine::passthrough::source_layout;
use smalti::engine::{
    BigTiff, MemoryLimit, NodataClash, OverviewKernel, PredictorChoice, WriteOptions,
};
use smalti::error::{Error, InputError, Result};
use smalti::grid::Grid;
use smalti::io::{self, IoMode};
use smalti::mosaic::reproject::{ReprojectOptions, TargetCrs};
use smalti::mosaic::target::{Align, Resolution, TargetOptions};
use smalti::mosaic::{Mosaic, MosaicOptions, NodataMode};
use smalti::observer::{Observer, Warning};
use smalti::source::open::{OpenOptions, open_source};
use smalti::source::sort::SortKey;

use crate::cli::args::{
    AlignArg, BigTiffArg, ClashArg, CompressArg, EngineArg, EngineArgs, FormatArgs, GridArgs,
    InputArgs, InterleaveArg, IoArg, MosaicArgs, NodataModeArg, OverviewArg, PixelArgs,
    PredictorArg, ResolutionArg, RunArgs, SortArg, StatsArg,
};
use crate::cli::values::{Chunk, CrsChoice};

/// How inputs are opened.
pub(crate) fn open_options(input: &InputArgs, threads: usize) -> OpenOptions {
    OpenOptions {
        threads,
        skip_bad: input.skip_bad,
        assign_crs: input.assign_crs.clone().map(Arc::new),
        override_crs: input.override_crs.clone().map(Arc::new),
        read: smalti::tiff::reader::ReadOptions::default(),
    }
}

/// What the inputs are sorted by.
pub(crate) fn sort_key(input: &InputArgs) -> SortKey {
    match (&input.sort_by, input.sort) {
        (Some(item), _) => SortKey::parse_item(item),
        (None, SortArg::Input) => SortKey::Input,
        (None, SortArg::Name) => SortKey::Name,
        (None, SortArg::Date) => SortKey::Date,
        (None, SortArg::Resolution) => SortKey::Resolution,
    }
}

/// What the mosaic is made of.
pub(crate) fn mosaic_options(
    input: &InputArgs,
    grid: &GridArgs,
    pixels: &PixelArgs,
) -> Result<MosaicOptions> {
    let bands = &pixels.bands;
    if pixels.valid_fraction > 0.0 && !pixels.resampling.is_area() {
        let reason = format!(
            "is for average, mode, min, max, med, q1, q3, rms and sum, not for {}",
            pixels.resampling.name()
        );
        return Err(InputError::Option { option: "--valid-fraction", reason }.into());
    }
    Ok(MosaicOptions {
        target: target_options(grid),
        like: grid.like.as_deref().map(like_grid).transpose()?,
        overlap: pixels.overlap,
        src_nodata: input.src_nodata.as_ref().map(|list| list.0.clone()),
        nodata: pixels.nodata,
        nodata_mode: pixels.nodata_mode.map(|mode| match mode {
            NodataModeArg::Band => NodataMode::Band,
            NodataModeArg::All => NodataMode::All,
            NodataModeArg::Any => NodataMode::Any,
        }),
        dtype: pixels.dtype,
        alpha: pixels.alpha,
        mask: pixels.mask,
        kernel: pixels.resampling,
        valid_fraction: pixels.valid_fraction,
        bands: bands.bands.as_ref().map(|list| list.0.clone()),
        separate: bands.separate,
        expand_palette: bands.expand_palette,
        unscale: bands.unscale,
        reproject: reproject_options(input, grid),
    })
}

/// The part of [`mosaic_options`] that inputs and grid decide.
pub(crate) fn set_options(input: &InputArgs, grid: &GridArgs) -> Result<MosaicOptions> {
    Ok(MosaicOptions {
        target: target_options(grid),
        like: grid.like.as_deref().map(like_grid).transpose()?,
        src_nodata: input.src_nodata.as_ref().map(|list| list.0.clone()),
        reproject: reproject_options(input, grid),
        ..MosaicOptions::default()
    })
}

fn reproject_options(input: &InputArgs, grid: &GridArgs) -> ReprojectOptions {
    let crs = grid.crs.as_ref().map(|choice| match choice {
        CrsChoice::Given(crs) => TargetCrs::Given(Arc::new(crs.clone())),
        CrsChoice::Auto => TargetCrs::Auto,
    });
    let allow_ballpark = input.allow_ballpark;
    let (engine, grids) = (engine_choice(&input.engine), input.engine.grids.clone());
    ReprojectOptions { crs, error_px: grid.warp_error, allow_ballpark, engine, grids }
}

/// What computes coordinates.
pub(crate) fn engine_choice(args: &EngineArgs) -> EngineChoice {
    match args.crs_engine {
        EngineArg::Auto => EngineChoice::Auto,
        EngineArg::Pure => EngineChoice::Pure,
        EngineArg::Proj => EngineChoice::Proj,
    }
}

fn target_options(args: &GridArgs) -> TargetOptions {
    let resolution = match (args.res, args.resolution) {
        (Some(size), _) => Resolution::Fixed(size.0),
        (None, None | Some(ResolutionArg::Highest)) => Resolution::Highest,
        (None, Some(ResolutionArg::Lowest)) => Resolution::Lowest,
        (None, Some(ResolutionArg::Average)) => Resolution::Average,
        (None, Some(ResolutionArg::Common)) => Resolution::Common,
    };
    let align = match args.align {
        AlignArg::Corner => Align::Corner,
        AlignArg::Largest => Align::Largest,
    };
    let bounds_crs = args.bounds_crs.clone().map(Arc::new);
    TargetOptions { resolution, bounds: args.bounds, bounds_crs, tap: args.tap, align }
}

/// The grid of `--like`, which must be one that a mosaic can have.
fn like_grid(path: &Path) -> Result<Grid> {
    let dataset = open_source(path)?.dataset;
    if !dataset.transform.is_north_up() {
        let reason = "is rotated, sheared or south-up; a mosaic is north-up".into();
        return Err(Error::new(InputError::Option { option: "--like", reason }).with_path(path));
    }
    Ok(Grid { crs: dataset.crs.clone(), transform: dataset.transform, size: dataset.image.size })
}

/// Threads that are wanted; 0 for all cores.
pub(crate) fn threads(run: &RunArgs) -> usize {
    run.threads.map_or(0, usize::from)
}

/// How the mosaic is written. Checks the output's name and the codec's level, so that a wrong one is
/// told before ten thousand inputs are opened.
pub(crate) fn write_options(args: &MosaicArgs) -> Result<WriteOptions> {
    check_output(&args.output, args.format.overwrite)?;
    let skip_bad_blocks = args.input.skip_bad_blocks;
    Ok(WriteOptions { skip_bad_blocks, ..writing(&args.format, &args.pixels, &args.run)? })
}

/// The part of [`write_options`] that does not need an output.
pub(crate) fn writing(
    format: &FormatArgs,
    pixels: &PixelArgs,
    run: &RunArgs,
) -> Result<WriteOptions> {
    let compression = compression(format.compress);
    let defaults = WriteOptions::default();
    if format.overview_resampling.is_some() && !format.cog && !format.overviews {
        let reason = "there are no overviews without --cog or --overviews".into();
        return Err(InputError::Option { option: "--overview-resampling", reason }.into());
    }
    Encoder::new(compression, format.level)?;
    Ok(WriteOptions {
        threads: threads(run),
        memory: memory(run),
        io: match run.io {
            IoArg::Auto => IoMode::Auto,
            IoArg::Read => IoMode::Read,
            IoArg::Mmap => IoMode::Mmap,
        },
        skip_bad_blocks: false,
        chunk: match format.chunk {
            Some(Chunk::Side(side)) => side,
            _ if format.cog => 512,
            _ => defaults.chunk,
        },
        pixel_interleaved: match format.interleave {
            Some(order) => matches!(order, InterleaveArg::Pixel),
            None => format.cog,
        },
        compression,
        level: format.level,
        predictor: match format.predictor {
            None | Some(PredictorArg::Auto) => PredictorChoice::Auto,
            Some(PredictorArg::None) => PredictorChoice::Fixed(Predictor::None),
            Some(PredictorArg::Horizontal) => PredictorChoice::Fixed(Predictor::Horizontal),
            Some(PredictorArg::Float) => PredictorChoice::Fixed(Predictor::Float),
        },
        big_tiff: match format.bigtiff {
            BigTiffArg::Auto => BigTiff::Auto,
            BigTiffArg::Yes => BigTiff::Yes,
            BigTiffArg::No => BigTiff::No,
        },
        sparse: format.sparse,
        statistics: format.stats == StatsArg::Exact,
        overwrite: format.overwrite,
        nodata_clash: match pixels.on_nodata_clash {
            ClashArg::Error => NodataClash::Error,
            ClashArg::Warn => NodataClash::Warn,
            ClashArg::Nudge => NodataClash::Nudge,
        },
        cog: format.cog,
        overviews: format.overviews,
        resume: format.resume,
        provenance: format.provenance.clone(),
        overview_kernel: format.overview_resampling.map(|kernel| match kernel {
            OverviewArg::Nearest => OverviewKernel::Nearest,
            OverviewArg::Average => OverviewKernel::Average,
            OverviewArg::Bilinear => OverviewKernel::Bilinear,
            OverviewArg::Cubic => OverviewKernel::Cubic,
            OverviewArg::Mode => OverviewKernel::Mode,
        }),
    })
}

/// The memory budget that is asked for.
pub(crate) fn memory(run: &RunArgs) -> MemoryLimit {
    match (run.memory, run.cache_fraction) {
        (Some(bytes), _) => MemoryLimit::Bytes(bytes),
        (None, Some(share)) => MemoryLimit::Fraction(share),
        (None, None) => MemoryLimit::Auto,
    }
}

/// Takes the blocks of the inputs for those of the output (`-c auto`), but for what is asked for otherwise.
pub(crate) fn adopt_layout(
    format: &FormatArgs,
    mosaic: &Mosaic,
    options: &mut WriteOptions,
    observer: &dyn Observer,
) {
    let layout = match source_layout(mosaic) {
        Ok(layout) => layout,
        Err(reason) => {
            let chunk = options.chunk;
            let text = format!("-c auto: {reason}; the output has blocks of {chunk} pixels");
            observer.warning(&Warning::Other(text));
            return;
        }
    };
    options.chunk = layout.chunk;
    if format.interleave.is_none() {
        options.pixel_interleaved = layout.pixel_interleaved;
    }
    if format.compress.is_none() {
        options.compression = layout.compression;
    }
    if format.predictor.is_none() && options.compression == layout.compression {
        options.predictor = PredictorChoice::Fixed(layout.predictor);
    }
}

fn compression(wanted: Option<CompressArg>) -> Compression {
    match wanted {
        Some(CompressArg::None) => Compression::None,
        None | Some(CompressArg::Lzw) => Compression::Lzw,
        Some(CompressArg::Deflate) => Compression::Deflate,
        Some(CompressArg::Zstd) => Compression::Zstd,
        Some(CompressArg::Packbits) => Compression::PackBits,
    }
}

/// Refuses an output that cannot be made, before anything is opened.
pub(crate) fn check_output(path: &Path, overwrite: bool) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        let reason = format!("there is no directory {}; make it first", parent.display());
        return Err(Error::new(InputError::Output(reason)).with_path(path));
    }
    io::check_target(path, overwrite).map(|_| ())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn mosaic(more: &[&str]) -> std::result::Result<MosaicArgs, clap::Error> {
        let line = ["smalti", "mosaic", "a.tif", "-o", "no-such-output.tif"];
        match Cli::try_parse_from(line.iter().chain(more))?.command {
            Command::Mosaic(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_arguments_do_not_contradict_themselves() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        let args = mosaic(&[]).expect("it parses");
        let (ours, theirs) =
            (write_options(&args).expect("they are valid"), WriteOptions::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        let (ours, theirs) = (
            mosaic_options(&args.input, &args.grid, &args.pixels).expect("they are valid"),
            MosaicOptions::default(),
        );
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }

    #[test]
    fn negative_values_are_values() {
        let args =
            mosaic(&["--nodata", "-9999", "--bounds", "-10,-5,0,1", "--src-nodata", "-1,-2"]);
        let args = args.expect("it parses");
        let options = mosaic_options(&args.input, &args.grid, &args.pixels);
        let options = options.expect("they are valid");
        assert_eq!(options.target.bounds.map(|b| b.min_x), Some(-10.0));
        assert_eq!(options.src_nodata.map(|values| values.len()), Some(2));
    }

    #[test]
    fn contradictions_are_refused() {
        for more in [
            &["--alpha", "--mask"][..],
            &["--like", "b.tif", "--res", "10"],
            &["--like", "b.tif", "--align", "largest"],
            &["--bounds-crs", "EPSG:4326"],
            &["--memory", "1G", "--cache-fraction", "0.5"],
            &["--res", "10", "--resolution", "lowest"],
            &["--tap", "--align", "largest"],
            &["--resampling", "gauss"],
        ] {
            assert!(mosaic(more).is_err(), "{more:?}");
        }
        let level = mosaic(&["--level", "3"]).expect("it parses");
        assert!(write_options(&level).is_err(), "lzw has no levels");
    }
}
