//! The main job: a mosaic to one tiled GeoTIFF, in one pass.

use std::path::{Path, PathBuf};

use crate::codec::{Compression, Predictor};
use crate::engine::budget::{Budget, Demand, MemoryLimit, OverviewDemand};
use crate::engine::encode::BlockFormat;
use crate::engine::origin::Trace;
use crate::engine::overview::Levels;
use crate::engine::passthrough::Passthrough;
use crate::engine::provenance;
use crate::engine::reduce::{OverviewKernel, Reducer};
use crate::engine::render::shares_validity;
use crate::engine::run::{Targets, run};
use crate::engine::spec;
use crate::engine::stats::BandStats;
use crate::error::{Error, ErrorKind, InputError, Result, ResultExt, bytes_text};
use crate::io::{self, IoMode, StagedFile, Target};
use crate::mosaic::bands::opaque_alpha;
use crate::mosaic::plan::Schedule;
use crate::mosaic::{Mosaic, NodataMode, ValidityOutput};
use crate::observer::{Observer, Stats, Warning};
use crate::ordered::thread_count;
use crate::sample::Sample;
use crate::source::open::is_source;
use crate::tiff::reader::raster_bytes;
use crate::tiff::writer::ImageSpec;
use crate::with_dtype;

/// Which predictor is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PredictorChoice {
    /// Horizontal differences for integers, floating-point for floats; none where the codec has none.
    #[default]
    Auto,
    /// This one.
    Fixed(Predictor),
}

/// Whether the output is a BigTIFF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BigTiff {
    /// If the file could exceed 4 GiB.
    #[default]
    Auto,
    /// Always.
    Yes,
    /// Never; fails if the data do not fit.
    No,
}

/// What happens to valid samples that equal the output nodata (SPEC §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodataClash {
    /// The run fails at its end, and leaves no output.
    Error,
    /// They are counted and warned of.
    #[default]
    Warn,
    /// They are moved to the next representable value, and counted.
    Nudge,
}

/// How a mosaic is written.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Worker threads; 0 for all cores.
    pub threads: usize,
    /// Memory that the run may use.
    pub memory: MemoryLimit,
    /// How sources are read.
    pub io: IoMode,
    /// Blocks of sources that cannot be decoded are left out, counted and listed, and do not fail the run.
    pub skip_bad_blocks: bool,
    /// Side of an output block in pixels: a multiple of 16, at most 32768.
    pub chunk: u32,
    /// All bands in one block, else a block for each.
    pub pixel_interleaved: bool,
    /// Codec.
    pub compression: Compression,
    /// Level of the codec, where it has levels.
    pub level: Option<u8>,
    /// Predictor.
    pub predictor: PredictorChoice,
    /// Classic or BigTIFF.
    pub big_tiff: BigTiff,
    /// Do not store blocks without data.
    pub sparse: bool,
    /// Take statistics and write them.
    pub statistics: bool,
    /// Replace an output that exists.
    pub overwrite: bool,
    /// Valid samples that equal the output nodata.
    pub nodata_clash: NodataClash,
    /// A Cloud Optimized GeoTIFF with overviews.
    pub cog: bool,
    /// Overviews in a plain GeoTIFF.
    pub overviews: bool,
    /// How overviews are made; the mean, or nearest for palettes and categories, without it.
    pub overview_kernel: Option<OverviewKernel>,
    /// Go on with what an earlier run for the same output left, if inputs and options are the same; and
    /// leave what there is if this run ends early.
    pub resume: bool,
    /// Also write which source gave each pixel, to this file (SPEC §8.10), and a table of the sources beside it.
    pub provenance: Option<PathBuf>,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions {
            threads: 0,
            memory: MemoryLimit::Auto,
            io: IoMode::Auto,
            skip_bad_blocks: false,
            chunk: 1024,
            pixel_interleaved: false,
            compression: Compression::Lzw,
            level: None,
            predictor: PredictorChoice::Auto,
            big_tiff: BigTiff::Auto,
            sparse: false,
            statistics: true,
            overwrite: false,
            nodata_clash: NodataClash::Warn,
            cog: false,
            overviews: false,
            overview_kernel: None,
            resume: false,
            provenance: None,
        }
    }
}

/// What a run has made.
#[derive(Debug, Clone)]
pub struct Report {
    /// Counts and times.
    pub stats: Stats,
    /// Statistics of each output band.
    pub bands: Vec<BandStats>,
    /// How memory was shared out.
    pub budget: Budget,
    /// Columns of cells in the order of blocks.
    pub columns: usize,
}

/// Writes a mosaic to `path`: to a temporary file beside it, which takes the name when it is complete.
///
/// # Errors
/// [`crate::error::ErrorKind::Input`] before anything is written if the options cannot be met, the
/// output exists or is an input; errors of sources, of the disk, and
/// [`crate::error::ErrorKind::Cancelled`]. Nothing is left behind, and an existing output is unchanged.
pub fn write(
    mosaic: &Mosaic,
    path: &Path,
    options: &WriteOptions,
    observer: &dyn Observer,
) -> Result<Report> {
    if is_source(path, mosaic.sources()) {
        let reason = "is one of the inputs; choose another name".into();
        return Err(Error::new(InputError::Output(reason)).with_path(path));
    }
    io::check_target(path, options.overwrite)?;
    provenance::check(mosaic, path, options)?;
    let plan = WritePlan::new(mosaic, options)?;
    plan.check_space(path, observer)?;
    // Before anything of the earlier run is removed, its note with it.
    let left = io::left_companion(path, options.provenance.as_deref());
    let (target, journal) = if options.resume {
        StagedFile::resume(path, options.overwrite)?
    } else {
        (StagedFile::create(path, options.overwrite)?, None)
    };
    if let Some(left) = left {
        let text = format!(
            "an earlier run for this output left {}, which is no part of this one; remove it",
            left.display()
        );
        observer.warning(&Warning::Other(text));
    }
    let provenance = provenance::target(options, journal.is_some())?;
    if let Some(companion) = &options.provenance {
        io::note_companion(path, companion)?;
    }
    run(&plan, Targets { output: Box::new(target), provenance, journal }, observer).at(path)
}

/// As [`write()`], into any target: for outputs of another kind, and for tests that make one fail.
///
/// # Errors
/// As [`write()`].
pub fn write_to(
    mosaic: &Mosaic,
    target: Box<dyn Target>,
    options: &WriteOptions,
    observer: &dyn Observer,
) -> Result<Report> {
    if options.provenance.is_some() {
        let reason = "needs an output that is a file".into();
        return Err(InputError::Option { option: "--provenance", reason }.into());
    }
    let targets = Targets { output: target, provenance: None, journal: None };
    run(&WritePlan::new(mosaic, options)?, targets, observer)
}

/// What is decided of a run before it starts, for those who want to know it without a run.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) budget: Budget,
    pub(crate) wanted_threads: usize,
    /// The least budget that would do, with one thread.
    pub(crate) least_bytes: u64,
    pub(crate) spec: ImageSpec,
    pub(crate) raw_bytes: u64,
    /// Bytes of the output beside its blocks.
    pub(crate) overhead_bytes: u64,
}

/// Decides it.
///
/// # Errors
/// As [`write()`] before it starts.
pub(crate) fn prepare(mosaic: &Mosaic, options: &WriteOptions) -> Result<Prepared> {
    let plan = WritePlan::new(mosaic, options)?;
    // The refusal of a budget of nothing says what would do.
    let nothing = WriteOptions { threads: 1, memory: MemoryLimit::Bytes(0), ..options.clone() };
    let least_bytes = match WritePlan::new(mosaic, &nothing).map_err(|error| error.into_kind()) {
        Err(ErrorKind::Input(InputError::Memory { need_bytes, .. })) => need_bytes,
        _ => plan.budget.total_bytes,
    };
    Ok(Prepared {
        budget: plan.budget,
        wanted_threads: plan.wanted_threads,
        least_bytes,
        raw_bytes: plan.raw_bytes(),
        overhead_bytes: plan.spec.overhead_bytes(),
        spec: plan.spec,
    })
}

/// Everything about a run that is decided before it starts.
pub(crate) struct WritePlan<'a> {
    pub(crate) mosaic: &'a Mosaic,
    pub(crate) options: &'a WriteOptions,
    pub(crate) spec: ImageSpec,
    pub(crate) levels: Option<Levels>,
    pub(crate) budget: Budget,
    pub(crate) wanted_threads: usize,
    pub(crate) schedule: Schedule,
}

impl<'a> WritePlan<'a> {
    fn new(mosaic: &'a Mosaic, options: &'a WriteOptions) -> Result<WritePlan<'a>> {
        let chunk = options.chunk;
        if chunk == 0 || !chunk.is_multiple_of(16) || chunk > 32768 {
            let reason = format!("{chunk} is not a multiple of 16 from 16 to 32768");
            return Err(InputError::Option { option: "--chunk", reason }.into());
        }
        let in_block = if options.pixel_interleaved { mosaic.output_bands() } else { 1 };
        let block = raster_bytes(mosaic.dtype, u64::from(chunk).pow(2), in_block);
        if block > 1 << 31 {
            let reason = format!("a block would hold {}; at most 2 GiB", bytes_text(block));
            return Err(InputError::Option { option: "--chunk", reason }.into());
        }
        let levels = spec::levels(mosaic, options)?;
        let spec = spec::image_spec(mosaic, options, levels.as_ref())?;
        let threads = thread_count(options.threads);
        let demand = Demand {
            threads,
            chunk,
            block_pixels: u64::from(chunk).pow(2),
            sample_bytes: mosaic.dtype.size() as u64,
            bands: mosaic.output_bands(),
            // Judged by pixel, each group of bands would need the blocks of all others.
            separable: !options.pixel_interleaved
                && levels.is_none()
                // A pixel's source is judged by all its bands.
                && options.provenance.is_none()
                && mosaic.validity == ValidityOutput::Nodata
                && mosaic.nodata_mode == NodataMode::Band,
            shared_validity: shares_validity(mosaic),
            pixel_interleaved: options.pixel_interleaved,
            compression: options.compression,
            overviews: levels.as_ref().map(|levels| OverviewDemand::new(mosaic, levels)),
            copies: with_dtype!(mosaic.dtype, T => {
                Passthrough::new::<T>(mosaic, &spec, options).is_possible()
            }),
            origin_bytes: options.provenance.as_ref().map_or(0, |_| {
                let planes = if shares_validity(mosaic) { 1 } else { u64::from(mosaic.bands) };
                Trace::new(mosaic).pixel_bytes(u64::from(mosaic.bands), planes)
            }),
        };
        let budget = demand.share(mosaic, options.memory.bytes()?)?;
        let schedule = match demand.overviews {
            Some(overviews) => Schedule::in_squares(mosaic, chunk, overviews.block_bytes),
            None => Schedule::new(mosaic, chunk),
        };
        Ok(WritePlan { mosaic, options, spec, levels, budget, wanted_threads: threads, schedule })
    }

    /// What makes overviews of samples of this type.
    pub(crate) fn reducer<T: Sample>(&self, levels: &Levels) -> Reducer<T> {
        let bands = self.mosaic.bands as usize;
        let mut reducer = Reducer::new(levels.kernel, bands, self.validity_planes());
        reducer.nodata = self.spec.nodata.and_then(|v| v.as_sample());
        reducer.alpha_band = self.mosaic.facts.alpha_band;
        reducer.keeps_nan = self.keeps_nan();
        reducer
    }

    /// Planes of validity in a block of all bands: 1, or one for each band.
    pub(crate) fn validity_planes(&self) -> usize {
        if shares_validity(self.mosaic) { 1 } else { self.mosaic.bands as usize }
    }

    /// Whether NaN stays where nothing is valid.
    pub(crate) fn keeps_nan(&self) -> bool {
        self.mosaic.nodata.is_none() && self.mosaic.validity == ValidityOutput::Nodata
    }

    /// Items of work at each cell: groups of bands.
    pub(crate) fn groups(&self) -> u64 {
        u64::from(self.mosaic.output_bands().div_ceil(self.budget.band_group))
    }

    pub(crate) fn raw_bytes(&self) -> u64 {
        raster_bytes(self.mosaic.dtype, self.mosaic.grid.size.pixels(), self.mosaic.output_bands())
    }

    /// Refuses what cannot fit on the disk, warns of what may not.
    fn check_space(&self, path: &Path, observer: &dyn Observer) -> Result<()> {
        let Some(free) = io::free_bytes(path) else { return Ok(()) };
        let raw = self.raw_bytes();
        let raw = if self.levels.is_some() { raw + raw / 3 } else { raw };
        // Blocks are collected in one file and laid in order in another.
        let raw = if self.options.cog { raw * 2 } else { raw };
        // Uncompressed blocks have a known size; compressed ones may come to next to nothing.
        let certain = if self.options.compression == Compression::None && !self.options.sparse {
            raw
        } else {
            self.spec.overhead_bytes() / 2
        };
        if certain > free {
            let (need, free) = (bytes_text(certain), bytes_text(free));
            let reason = format!("needs at least {need}, {free} are free on its disk");
            return Err(Error::new(InputError::Output(reason)).with_path(path));
        }
        if !self.options.sparse && raw > free {
            let (need, free) = (bytes_text(raw), bytes_text(free));
            let text = format!(
                "the output may need up to {need} before compression, {free} are free on its disk; \
                 --sparse stores no empty blocks"
            );
            observer.warning(&Warning::Other(text));
        }
        Ok(())
    }

    pub(crate) fn format<T: Sample>(&self) -> BlockFormat<T> {
        BlockFormat {
            chunk: self.options.chunk,
            pixel_interleaved: self.options.pixel_interleaved,
            samples_per_pixel: if self.options.pixel_interleaved {
                self.mosaic.output_bands() as usize
            } else {
                1
            },
            compression: self.options.compression,
            level: self.options.level,
            predictor: self.spec.predictor,
            fill: self.mosaic.nodata.and_then(|v| v.as_sample()).unwrap_or(T::ZERO),
            nodata: self.spec.nodata.and_then(|v| v.as_sample()),
            alpha_band: self.mosaic.facts.alpha_band,
            nudge: self.options.nodata_clash == NodataClash::Nudge,
            sparse: self.options.sparse,
            statistics: self.options.statistics,
            alpha: (self.mosaic.validity == ValidityOutput::Alpha)
                .then(|| T::from_f64(opaque_alpha(T::DTYPE))),
            mask: self.spec.mask,
        }
    }
}
