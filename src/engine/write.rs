//! The main job: a mosaic to one tiled GeoTIFF, in one pass.

use std::path::Path;
use std::time::Instant;

use crate::codec::{Compression, Predictor};
use crate::engine::budget::{Budget, Demand, MemoryLimit};
use crate::engine::canvas::Canvas;
use crate::engine::encode::{BlockEncoder, BlockFormat, Encoded, EncodedCanvas};
use crate::engine::paint::Uses;
use crate::engine::render::{RenderScratch, Renderer, shares_validity};
use crate::engine::stats::{BandStats, digits};
use crate::error::{Error, InputError, Result, ResultExt, bytes_text};
use crate::io::{self, IoMode, StagedFile, Target};
use crate::mosaic::bands::opaque_alpha;
use crate::mosaic::plan::Schedule;
use crate::mosaic::{Mosaic, NodataMode, Overlap, ValidityOutput};
use crate::observer::{Job, Observer, Stats, Warning};
use crate::ordered::{self, run_ordered, thread_count};
use crate::sample::{DataType, Sample};
use crate::source::blocks::Blocks;
use crate::source::open::is_source;
use crate::tiff::gdal_metadata::{BandMetadata, GdalMetadata, Item};
use crate::tiff::reader::raster_bytes;
use crate::tiff::writer::{ImageSpec, Plane, Writer};
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
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions {
            threads: 0,
            memory: MemoryLimit::Auto,
            io: IoMode::Auto,
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
    let plan = WritePlan::new(mosaic, options)?;
    plan.check_space(path, observer)?;
    let target = StagedFile::create(path, options.overwrite)?;
    run(&plan, Box::new(target), observer).at(path)
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
    run(&WritePlan::new(mosaic, options)?, target, observer)
}

/// Everything about a run that is decided before it starts.
struct WritePlan<'a> {
    mosaic: &'a Mosaic,
    options: &'a WriteOptions,
    spec: ImageSpec,
    budget: Budget,
    wanted_threads: usize,
    schedule: Schedule,
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
        let spec = image_spec(mosaic, options)?;
        let threads = thread_count(options.threads);
        let demand = Demand {
            threads,
            chunk,
            block_pixels: u64::from(chunk).pow(2),
            sample_bytes: mosaic.dtype.size() as u64,
            bands: mosaic.output_bands(),
            // Judged by pixel, each group of bands would need the blocks of all others.
            separable: !options.pixel_interleaved
                && mosaic.validity == ValidityOutput::Nodata
                && mosaic.nodata_mode == NodataMode::Band,
            shared_validity: shares_validity(mosaic),
            pixel_interleaved: options.pixel_interleaved,
            compression: options.compression,
        };
        let budget = demand.share(mosaic, options.memory.bytes()?)?;
        let schedule = Schedule::new(mosaic, chunk);
        Ok(WritePlan { mosaic, options, spec, budget, wanted_threads: threads, schedule })
    }

    /// Items of work at each cell: groups of bands.
    fn groups(&self) -> u64 {
        u64::from(self.mosaic.output_bands().div_ceil(self.budget.band_group))
    }

    fn raw_bytes(&self) -> u64 {
        raster_bytes(self.mosaic.dtype, self.mosaic.grid.size.pixels(), self.mosaic.output_bands())
    }

    /// Refuses what cannot fit on the disk, warns of what may not.
    fn check_space(&self, path: &Path, observer: &dyn Observer) -> Result<()> {
        let Some(free) = io::free_bytes(path) else { return Ok(()) };
        let raw = self.raw_bytes();
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

    fn format<T: Sample>(&self) -> BlockFormat<T> {
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

fn image_spec(mosaic: &Mosaic, options: &WriteOptions) -> Result<ImageSpec> {
    let facts = &mosaic.facts;
    let bands = mosaic.output_bands();
    let color_bands = match facts.photometric {
        2 if mosaic.bands >= 3 => 3,
        5 if mosaic.bands >= 4 => 4,
        3 => 1,
        _ => 1,
    };
    let photometric = match facts.photometric {
        2 if mosaic.bands < 3 => 1,
        5 if mosaic.bands < 4 => 1,
        3 if facts.palette.is_none() || !matches!(mosaic.dtype, DataType::U8 | DataType::U16) => 1,
        0..=3 | 5 => facts.photometric,
        _ => 1,
    };
    let mut extra_samples = facts.extra_samples.clone();
    extra_samples.resize((mosaic.bands - color_bands) as usize, 0);
    if mosaic.validity == ValidityOutput::Alpha {
        // Unassociated alpha (TIFF 6.0 §18).
        extra_samples.push(2);
    }
    let predictor = choose_predictor(mosaic.dtype, options)?;
    let raw = raster_bytes(
        mosaic.dtype,
        u64::from(mosaic.grid.size.width).next_multiple_of(u64::from(options.chunk))
            * u64::from(mosaic.grid.size.height).next_multiple_of(u64::from(options.chunk)),
        bands,
    );
    let mut spec = ImageSpec {
        size: mosaic.grid.size,
        bands,
        dtype: mosaic.dtype,
        chunk: options.chunk,
        pixel_interleaved: options.pixel_interleaved,
        compression: options.compression,
        predictor,
        big_tiff: options.big_tiff == BigTiff::Yes,
        mask: mosaic.validity == ValidityOutput::Mask,
        photometric,
        extra_samples,
        palette: facts.palette.as_ref().filter(|_| photometric == 3).map(|p| p.to_vec()),
        transform: mosaic.grid.transform,
        crs: mosaic.grid.crs.as_deref().cloned(),
        pixel_is_point: facts.pixel_is_point,
        // Readers would prefer it to the mask or alpha that says the same better (SPEC §5.3).
        nodata: mosaic.nodata.filter(|_| mosaic.validity == ValidityOutput::Nodata),
    };
    let worst = worst_bytes(raw, &spec);
    let certain = if options.compression == Compression::None && !options.sparse { raw } else { 0 };
    let most = u64::from(u32::MAX);
    if options.big_tiff == BigTiff::No && certain > most {
        let need = bytes_text(raw);
        let reason = format!("{need} do not fit a classic TIFF (4 GiB); pass --bigtiff auto");
        return Err(InputError::Output(reason).into());
    }
    spec.big_tiff |= options.big_tiff == BigTiff::Auto && worst > most;
    Ok(spec)
}

/// Most bytes that the file can come to.
fn worst_bytes(raw: u64, spec: &ImageSpec) -> u64 {
    let block = u64::from(spec.chunk).pow(2) * spec.dtype.size() as u64;
    let encoded =
        spec.compression.max_encoded_len(usize::try_from(block).unwrap_or(usize::MAX / 4)) as u64;
    let mask = if spec.mask { spec.size.pixels() / 4 } else { 0 };
    (raw as f64 * (encoded as f64 / block as f64)) as u64 + spec.overhead_bytes() + mask
}

fn choose_predictor(dtype: DataType, options: &WriteOptions) -> Result<Predictor> {
    let has_one =
        matches!(options.compression, Compression::Lzw | Compression::Deflate | Compression::Zstd);
    let refuse = |reason: String| Err(InputError::Option { option: "--predictor", reason }.into());
    match options.predictor {
        // Readers do not agree on what a predictor does to pairs of numbers.
        PredictorChoice::Auto if !has_one || dtype.is_complex() => Ok(Predictor::None),
        PredictorChoice::Auto if dtype.is_float() => Ok(Predictor::Float),
        PredictorChoice::Auto => Ok(Predictor::Horizontal),
        PredictorChoice::Fixed(Predictor::None) => Ok(Predictor::None),
        PredictorChoice::Fixed(_) if !has_one => {
            refuse(format!("{} has none; leave it out", options.compression))
        }
        PredictorChoice::Fixed(_) if dtype.is_complex() => {
            refuse("complex samples have none; leave it out".into())
        }
        PredictorChoice::Fixed(Predictor::Float) if !dtype.is_float() => {
            refuse(format!("float is for floating-point samples, not {dtype}"))
        }
        PredictorChoice::Fixed(predictor) => Ok(predictor),
    }
}

fn run(plan: &WritePlan<'_>, target: Box<dyn Target>, observer: &dyn Observer) -> Result<Report> {
    with_dtype!(plan.mosaic.dtype, T => run_as::<T>(plan, target, observer))
}

/// Per-thread state of a run.
struct Worker<T> {
    canvas: Canvas<T>,
    scratch: RenderScratch<T>,
    encoder: Result<BlockEncoder<T>>,
}

/// What a work item gave, and how long it took.
struct Rendered {
    encoded: EncodedCanvas,
    saturated: u64,
    first_band: u32,
    render_seconds: f64,
    encode_seconds: f64,
}

fn run_as<T: Sample>(
    plan: &WritePlan<'_>,
    target: Box<dyn Target>,
    observer: &dyn Observer,
) -> Result<Report> {
    let (mosaic, budget, groups) = (plan.mosaic, plan.budget, plan.groups());
    let cells = plan.schedule.cells();
    announce(plan, observer);
    let blocks = Blocks::new(mosaic.sources(), budget.cache_bytes, budget.threads, plan.options.io);
    let uses = Uses::Cells { schedule: &plan.schedule, band_group: budget.band_group };
    let shared = shares_validity(mosaic);
    let renderer = Renderer { mosaic, blocks: &blocks, uses, shared };
    let mut writer = Writer::create(target, plan.spec.clone())?;
    let mut sums = Sums::new(mosaic.output_bands());
    let window = ordered::Window {
        threads: budget.threads,
        items: budget.threads * 8,
        bytes: budget.window_bytes,
        reserve_bytes: budget.reserve_bytes,
    };
    let format = plan.format::<T>();
    let waited = run_ordered(
        cells * groups,
        window,
        observer,
        || Worker {
            canvas: Canvas::new(),
            scratch: RenderScratch::default(),
            encoder: BlockEncoder::new(format),
        },
        |worker, ticket| {
            let cell = plan.schedule.cell(ticket.index / groups);
            let first = (ticket.index % groups) as u32 * budget.band_group;
            let bands = first..(first + budget.band_group).min(mosaic.bands);
            let began = Instant::now();
            let Worker { canvas, scratch, encoder } = worker;
            renderer.render(cell.window, bands, canvas, scratch, Some(ticket))?;
            let rendered = began.elapsed();
            ticket.check()?;
            let encoder = match encoder {
                Ok(encoder) => encoder,
                Err(error) => {
                    return Err(std::mem::replace(
                        error,
                        Error::new(InputError::Output(String::new())),
                    ));
                }
            };
            let saturated = canvas.saturated;
            let encoded = encoder.encode(canvas)?;
            let encode_seconds = (began.elapsed() - rendered).as_secs_f64();
            Ok(Rendered {
                encoded,
                saturated,
                first_band: first,
                render_seconds: rendered.as_secs_f64(),
                encode_seconds,
            })
        },
        |item| weight(&item.encoded),
        |index, item| {
            let cell = plan.schedule.cell(index / groups);
            sums.take_in(&item, &mut writer, (cell.bx, cell.by), observer)
        },
    )?;
    sums.stats.wait_seconds = waited.as_secs_f64();
    sums.finish(plan, writer, &blocks, observer)
}

fn weight(encoded: &EncodedCanvas) -> u64 {
    let blocks = encoded.blocks.iter().chain(&encoded.mask);
    blocks.map(|block| block.bytes().len() as u64 + 64).sum()
}

fn announce(plan: &WritePlan<'_>, observer: &dyn Observer) {
    let budget = &plan.budget;
    log::debug!("{budget:?}; cells in {} columns", plan.schedule.column_count());
    observer.started(&Job {
        sources: plan.mosaic.sources().len() as u64,
        blocks: plan.spec.blocks(),
        raw_bytes: plan.raw_bytes(),
        threads: budget.threads,
        cache_bytes: budget.cache_bytes,
        planned_bytes: budget.total_bytes,
    });
    for warning in plan.mosaic.warnings() {
        observer.warning(&warning);
    }
    if budget.threads < plan.wanted_threads {
        observer.warning(&Warning::FewerThreads {
            used: budget.threads,
            wanted: plan.wanted_threads,
            budget_bytes: budget.total_bytes,
        });
    }
}

/// What the coordinating thread adds up.
struct Sums {
    stats: Stats,
    bands: Vec<BandStats>,
    blocks_seen: u64,
}

impl Sums {
    fn new(bands: u32) -> Sums {
        let bands = vec![BandStats::default(); bands as usize];
        Sums { stats: Stats::default(), bands, blocks_seen: 0 }
    }

    fn take_in(
        &mut self,
        item: &Rendered,
        writer: &mut Writer,
        (bx, by): (u32, u32),
        observer: &dyn Observer,
    ) -> Result<()> {
        let began = Instant::now();
        for (band, block) in item.encoded.blocks.iter().enumerate() {
            match block {
                Encoded::Sparse => self.stats.blocks_sparse += 1,
                Encoded::Bytes(bytes) => {
                    writer.append(Plane::Image(item.first_band + band as u32), bx, by, bytes)?;
                    self.stats.blocks_written += 1;
                }
            }
            observer.block_written(self.blocks_seen, block.bytes().len() as u64);
            self.blocks_seen += 1;
        }
        if let Some(Encoded::Bytes(bytes)) = &item.encoded.mask {
            writer.append(Plane::Mask, bx, by, bytes)?;
        }
        for (index, stats) in item.encoded.stats.iter().enumerate() {
            self.bands[item.first_band as usize + index].merge(stats);
        }
        self.stats.nodata_clashes += item.encoded.clashes;
        self.stats.samples_saturated += item.saturated;
        self.stats.samples_invalid += item.encoded.invalid;
        self.stats.samples_zeroed += item.encoded.invalid - item.encoded.kept_nan;
        self.stats.render_seconds += item.render_seconds;
        self.stats.encode_seconds += item.encode_seconds;
        self.stats.write_seconds += began.elapsed().as_secs_f64();
        Ok(())
    }

    fn finish(
        mut self,
        plan: &WritePlan<'_>,
        writer: Writer,
        blocks: &Blocks<'_>,
        observer: &dyn Observer,
    ) -> Result<Report> {
        self.warn(plan, observer)?;
        let metadata = metadata(plan, &self.bands);
        let began = Instant::now();
        self.stats.output_bytes = writer.finish(&metadata)?;
        self.stats.write_seconds += began.elapsed().as_secs_f64();
        let waits = self.stats.wait_seconds;
        blocks.add_to(&mut self.stats);
        // Rendering calls for blocks, so its time holds theirs.
        let reading =
            self.stats.read_seconds + self.stats.decode_seconds + self.stats.wait_seconds - waits;
        self.stats.render_seconds = (self.stats.render_seconds - reading).max(0.0);
        observer.finished(&self.stats);
        Ok(Report {
            stats: self.stats,
            bands: self.bands,
            budget: plan.budget,
            columns: plan.schedule.column_count(),
        })
    }

    fn warn(&self, plan: &WritePlan<'_>, observer: &dyn Observer) -> Result<()> {
        let (count, nodata) = (self.stats.nodata_clashes, plan.spec.nodata);
        if let (1.., Some(nodata)) = (count, nodata) {
            let nodata = nodata.to_string();
            match plan.options.nodata_clash {
                NodataClash::Error => return Err(InputError::NodataClash { count, nodata }.into()),
                NodataClash::Warn => observer.warning(&Warning::NodataClash { count, nodata }),
                NodataClash::Nudge => observer.warning(&Warning::Nudged { count, nodata }),
            }
        }
        if self.stats.samples_saturated > 0 {
            let (count, dtype) = (self.stats.samples_saturated, plan.mosaic.dtype.to_string());
            observer.warning(&Warning::Saturated { count, dtype });
        }
        // A count of 0 is no hole.
        let unmarked = nodata.is_none()
            && plan.mosaic.validity == ValidityOutput::Nodata
            && plan.mosaic.overlap != Overlap::Count;
        if unmarked && plan.mosaic.facts.alpha_band.is_none() && self.stats.samples_zeroed > 0 {
            observer.warning(&Warning::Uncovered { count: self.stats.samples_zeroed });
        }
        Ok(())
    }
}

/// The sources' common metadata with the statistics of the output (GDAL's names).
fn metadata(plan: &WritePlan<'_>, bands: &[BandStats]) -> GdalMetadata {
    let mut metadata = plan.mosaic.facts.metadata.clone();
    if !plan.options.statistics {
        return metadata;
    }
    metadata.bands.resize(bands.len(), BandMetadata::default());
    for (band, stats) in metadata.bands.iter_mut().zip(bands) {
        let Some([minimum, maximum, mean, deviation]) = stats.summary() else { continue };
        let items = [
            ("STATISTICS_MAXIMUM", maximum),
            ("STATISTICS_MEAN", mean),
            ("STATISTICS_MINIMUM", minimum),
            ("STATISTICS_STDDEV", deviation),
            ("STATISTICS_VALID_PERCENT", stats.valid_percent()),
        ];
        band.items.extend(items.map(|(name, value)| Item {
            name: name.into(),
            value: digits(value),
            domain: String::new(),
        }));
    }
    metadata
}
