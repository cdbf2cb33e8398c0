//! What a run would cost, without running it: kinds of blocks, expected decodes, and, from a few blocks that
//! are rendered and encoded, size and time.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::codec::{Encoder, Predictor, RowLayout, predictor};
use crate::engine::budget::Budget;
use crate::engine::passthrough::Passthrough;
use crate::engine::write::{Prepared, WriteOptions, prepare};
use crate::engine::{MemoryLimit, Reader};
use crate::error::Result;
use crate::geometry::Window;
use crate::io::IoMode;
use crate::mosaic::Mosaic;
use crate::mosaic::layer::Mapping;
use crate::mosaic::plan::{Cell, Schedule};
use crate::observer::Observer;
use crate::raster::AnyRaster;
use crate::sample::Sample;
use crate::tiff::reader::blocks_of;
use crate::{with_dtype, with_raster};

/// Cells that are rendered to learn size and time.
const SAMPLES: u64 = 12;
/// Bytes of decoded blocks that are kept while they are.
const SAMPLE_CACHE_BYTES: u64 = 32 << 20;
/// Cells that are looked at one by one; beyond, every n-th is.
const MOST_CELLS: u64 = 1 << 20;
/// Uses of source blocks beyond which decodes are not counted.
const MOST_USES: u64 = 20_000_000;

/// Blocks of the output by what is done for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// Headers alone say that they are a source's stored bytes, which are copied. (A source block that is not
    /// stored is rendered all the same.)
    pub copied: u64,
    /// Rendered ones that are compared with a source block in their place, and copied if they are the same.
    pub compared: u64,
    /// Decoded and put in their place pixel for pixel.
    pub placed: u64,
    /// Some of their sources are resampled.
    pub resampled: u64,
    /// No source touches them.
    pub empty: u64,
}

impl Kinds {
    /// Placed and resampled ones.
    pub fn rendered(&self) -> u64 {
        self.placed + self.resampled
    }
}

/// What a run would cost.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// How memory would be shared out.
    pub budget: Budget,
    /// Threads that were wanted.
    pub wanted_threads: usize,
    /// The least budget that would do, in bytes, with one thread.
    pub least_bytes: u64,
    /// Blocks of the output, all bands counted, by kind.
    pub kinds: Kinds,
    /// Whether every cell was looked at.
    pub kinds_exact: bool,
    /// Source blocks that are needed.
    pub source_blocks: u64,
    /// Decodes of source blocks, counted with the cache and order of the run; `None` where that would take
    /// too long.
    pub decodes: Option<u64>,
    /// Bytes of samples before compression.
    pub raw_bytes: u64,
    /// Bytes of the output, about.
    pub output_bytes: u64,
    /// Seconds, about, if disks keep up.
    pub seconds: f64,
    /// Cells that were rendered to learn size and time.
    pub sampled: u64,
}

/// Estimates a run. Reads the pixels of at most 12 cells.
///
/// # Errors
/// As [`crate::engine::write()`] before it writes; errors of the sources that are sampled.
pub fn estimate(
    mosaic: &Mosaic,
    options: &WriteOptions,
    observer: &dyn Observer,
) -> Result<Estimate> {
    let prepared = prepare(mosaic, options)?;
    let schedule = Schedule::new(mosaic, options.chunk);
    let planes = if options.pixel_interleaved { 1 } else { u64::from(mosaic.output_bands()) };
    let survey = survey(mosaic, options, &schedule, &prepared);
    let times = |count: u64| count.saturating_mul(planes);
    let kinds = Kinds {
        copied: times(survey.kinds.copied),
        compared: times(survey.kinds.compared),
        placed: times(survey.kinds.placed),
        resampled: times(survey.kinds.resampled),
        empty: times(survey.kinds.empty),
    };
    let (source_blocks, decodes) = decodes(mosaic, &schedule, prepared.budget.cache_bytes);
    let sample = sample(mosaic, options, &survey, &prepared, observer)?;
    let threads = prepared.budget.threads.max(1) as f64;
    let empty_bytes = if options.sparse { 0.0 } else { sample.empty_bytes_per_pixel };
    // The slack that is certain to do for tags is left out: they are small.
    let output_bytes = prepared.overhead_bytes.saturating_sub(1 << 20)
        + (sample.bytes_per_pixel * survey.busy_pixels) as u64
        + (empty_bytes * survey.empty_pixels) as u64;
    Ok(Estimate {
        budget: prepared.budget,
        wanted_threads: prepared.wanted_threads,
        least_bytes: prepared.least_bytes,
        kinds,
        kinds_exact: survey.step == 1,
        source_blocks,
        decodes,
        raw_bytes: prepared.raw_bytes,
        output_bytes,
        seconds: sample.seconds_per_pixel * survey.busy_pixels / threads,
        sampled: sample.cells,
    })
}

/// What the cells are.
struct Survey {
    kinds: Kinds,
    /// Every how many cells was looked at.
    step: u64,
    /// Some of the cells that are not empty, whole ones first.
    busy: Vec<Cell>,
    /// Pixels of all cells that are not empty.
    busy_pixels: f64,
    /// Pixels of those that are.
    empty_pixels: f64,
}

fn survey(
    mosaic: &Mosaic,
    options: &WriteOptions,
    schedule: &Schedule,
    prepared: &Prepared,
) -> Survey {
    let cells = schedule.cells();
    let step = cells.div_ceil(MOST_CELLS).max(1);
    let (mut kinds, mut whole, mut cut) = (Kinds::default(), Vec::new(), Vec::new());
    let (mut hits, mut stacked) = (Vec::new(), Vec::new());
    // The run's own rule, so that it does what is said here.
    let passthrough = with_dtype!(mosaic.dtype, T => {
        Passthrough::new::<T>(mosaic, &prepared.spec, options)
    });
    let (mut busy_pixels, mut empty_pixels) = (0.0, 0.0);
    let mut index = 0;
    while index < cells {
        let cell = schedule.cell(index);
        mosaic.hits(cell.window, &mut hits);
        hits.retain(|id| mosaic.source_window(*id, cell.window).is_some());
        let candidate = passthrough.find(cell.window, &mut stacked);
        kinds.compared += u64::from(candidate.is_some_and(|candidate| !candidate.known));
        let shifted = |id: &u32| matches!(mosaic.placement(*id).0, Mapping::Shift { .. });
        if hits.is_empty() {
            kinds.empty += 1;
        } else if candidate.is_some_and(|candidate| candidate.known) {
            kinds.copied += 1;
        } else if hits.iter().all(shifted) {
            kinds.placed += 1;
        } else {
            kinds.resampled += 1;
        }
        let pixels = cell.window.pixels() as f64 * step as f64;
        if hits.is_empty() {
            empty_pixels += pixels;
        } else {
            busy_pixels += pixels;
            let full = cell.window.width == options.chunk && cell.window.height == options.chunk;
            if full { whole.push(cell) } else { cut.push(cell) }
        }
        index += step;
    }
    let all = |count: u64| count.saturating_mul(step);
    let kinds = Kinds {
        copied: all(kinds.copied),
        compared: all(kinds.compared),
        placed: all(kinds.placed),
        resampled: all(kinds.resampled),
        empty: all(kinds.empty),
    };
    let mut busy = if whole.is_empty() { cut } else { whole };
    let keep = (busy.len() as u64).div_ceil(SAMPLES).max(1) as usize;
    busy = busy.into_iter().skip(keep / 2).step_by(keep).collect();
    Survey { kinds, step, busy, busy_pixels, empty_pixels }
}

/// Source blocks that are needed, and how often one is decoded with a cache of some bytes, least
/// recently used out first, over the cells in their order.
fn decodes(mosaic: &Mosaic, schedule: &Schedule, cache_bytes: u64) -> (u64, Option<u64>) {
    let mut cache = Lru::default();
    let (mut uses, mut hits) = (0u64, Vec::new());
    let mut distinct: HashMap<(u32, u64), ()> = HashMap::new();
    let mut decoded = 0u64;
    for index in 0..schedule.cells() {
        let window = schedule.cell(index).window;
        mosaic.hits(window, &mut hits);
        for id in &hits {
            let Some(src) = source_part(mosaic, *id, window) else { continue };
            let image = &mosaic.sources()[*id as usize].dataset.image;
            let planes = if image.planar { u64::from(image.bands) } else { 1 };
            let bytes = image.max_decoded_bytes().saturating_mul(planes);
            let (cols, rows) = blocks_of(image, src);
            uses += (cols.len() as u64).saturating_mul(rows.len() as u64);
            if uses > MOST_USES {
                return (count_blocks(mosaic), None);
            }
            for by in rows {
                for bx in cols.clone() {
                    let key = (*id, image.block_index(bx, by, 0));
                    if !cache.touch(key, bytes, cache_bytes) {
                        decoded += planes;
                        distinct.insert(key, ());
                    }
                }
            }
        }
    }
    let planes = |id: u32| {
        let image = &mosaic.sources()[id as usize].dataset.image;
        if image.planar { u64::from(image.bands) } else { 1 }
    };
    (distinct.keys().map(|(id, _)| planes(*id)).sum(), Some(decoded))
}

/// All blocks of all sources that touch the grid.
fn count_blocks(mosaic: &Mosaic) -> u64 {
    let Some(all) = mosaic.grid.size.window() else { return 0 };
    let touching = (0..mosaic.sources().len() as u32).filter_map(|id| {
        let src = source_part(mosaic, id, all)?;
        let image = &mosaic.sources()[id as usize].dataset.image;
        let (cols, rows) = blocks_of(image, src);
        let planes = if image.planar { u64::from(image.bands) } else { 1 };
        Some(cols.len() as u64 * rows.len() as u64 * planes)
    });
    touching.sum()
}

/// The pixels of a source's dataset under a window of the grid, about.
fn source_part(mosaic: &Mosaic, id: u32, window: Window) -> Option<Window> {
    let cut = mosaic.source_window(id, window)?;
    let (mapping, place) = mosaic.placement(id);
    let own = mosaic.sources()[id as usize].window();
    if matches!(mapping, Mapping::Warped) {
        // In proportion to its box; enough for an estimate.
        let [left, top, right, bottom] = mosaic.grid_box(id);
        let part = |at: u32, low: f64, high: f64, side: u32| {
            ((f64::from(at) - low) / (high - low) * f64::from(side)) as i64
        };
        let (c0, c1) =
            (part(cut.col, left, right, own.width), part(cut.col_end(), left, right, own.width));
        let (r0, r1) =
            (part(cut.row, top, bottom, own.height), part(cut.row_end(), top, bottom, own.height));
        let (col, row) = (i64::from(own.col), i64::from(own.row));
        return Window::from_corners(col + c0, row + r0, col + c1 + 1, row + r1 + 1)?
            .intersection(own);
    }
    let ends = [
        mapping.center(cut.col, cut.row),
        mapping.center(cut.col_end() - 1, cut.row),
        mapping.center(cut.col, cut.row_end() - 1),
        mapping.center(cut.col_end() - 1, cut.row_end() - 1),
    ];
    let range = |axis: usize, place: i64, start: u32| {
        let low = ends.iter().map(|p| p[axis]).fold(f64::MAX, f64::min).floor() as i64;
        let high = ends.iter().map(|p| p[axis]).fold(f64::MIN, f64::max).floor() as i64 + 1;
        [low - place + i64::from(start), high - place + i64::from(start)]
    };
    let ([c0, c1], [r0, r1]) = (range(0, place.col, own.col), range(1, place.row, own.row));
    Window::from_corners(c0, r0, c1, r1)?.intersection(own)
}

/// Blocks in a cache, by their time of last use.
#[derive(Default)]
struct Lru {
    used: HashMap<(u32, u64), (u64, u64)>,
    order: BTreeMap<u64, (u32, u64)>,
    clock: u64,
    bytes: u64,
}

impl Lru {
    /// Whether the block was there; it is now, if it fits.
    fn touch(&mut self, key: (u32, u64), bytes: u64, capacity: u64) -> bool {
        self.clock += 1;
        if let Some((used, _)) = self.used.get_mut(&key) {
            self.order.remove(used);
            *used = self.clock;
            self.order.insert(self.clock, key);
            return true;
        }
        if bytes > capacity {
            return false;
        }
        while self.bytes + bytes > capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some((_, bytes)) = self.used.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
        self.used.insert(key, (self.clock, bytes));
        self.order.insert(self.clock, key);
        self.bytes += bytes;
        false
    }
}

/// What rendering some cells has shown.
#[derive(Default)]
struct Sampled {
    cells: u64,
    bytes_per_pixel: f64,
    seconds_per_pixel: f64,
    /// Bytes of a pixel that no source touches.
    empty_bytes_per_pixel: f64,
}

fn sample(
    mosaic: &Mosaic,
    options: &WriteOptions,
    survey: &Survey,
    prepared: &Prepared,
    observer: &dyn Observer,
) -> Result<Sampled> {
    let encoder = || Encoder::new(options.compression, options.level);
    let mut sampled = Sampled::default();
    // Large blocks are sampled in part: what counts is bytes a pixel.
    let side = options.chunk.min(512);
    let planes = f64::from(mosaic.output_bands());
    let blank = vec![0u8; (u64::from(side) * u64::from(side)) as usize * mosaic.dtype.size()];
    let mut encoded = Vec::new();
    encoder()?.encode(&blank, &mut encoded)?;
    sampled.empty_bytes_per_pixel =
        encoded.len() as f64 * planes / (f64::from(side) * f64::from(side));
    let cache = SAMPLE_CACHE_BYTES.min(MemoryLimit::Auto.bytes()? / 4);
    let reader = Reader::new(mosaic, cache, IoMode::Read);
    let (mut pixels, mut bytes, mut seconds) = (0u64, 0u64, 0.0);
    for cell in &survey.busy {
        if observer.cancelled() {
            return Err(crate::error::ErrorKind::Cancelled.into());
        }
        let Window { col, row, width, height } = cell.window;
        let window = Window { col, row, width: width.min(side), height: height.min(side) };
        let began = Instant::now();
        let (raster, _) = reader.read(window)?;
        bytes += encoded_len(&raster, options, prepared.spec.predictor)?;
        seconds += began.elapsed().as_secs_f64();
        pixels += window.pixels();
        sampled.cells += 1;
    }
    if pixels > 0 {
        // Alpha bands and masks compress to next to nothing.
        sampled.bytes_per_pixel = bytes as f64 / pixels as f64;
        sampled.seconds_per_pixel = seconds / pixels as f64;
    }
    Ok(sampled)
}

/// Bytes that a window comes to when it is encoded.
fn encoded_len(raster: &AnyRaster, options: &WriteOptions, kind: Predictor) -> Result<u64> {
    with_raster!(raster, raster => {
        let (bands, width) = (raster.bands(), raster.size().width as usize);
        if options.pixel_interleaved && bands > 1 {
            let pixels = raster.size().pixels() as usize;
            let samples = raster.samples();
            let mixed: Vec<_> = (0..pixels * bands as usize)
                .map(|at| samples[at % bands as usize * pixels + at / bands as usize])
                .collect();
            return block_len(mixed, bands as usize, width, options, kind);
        }
        let mut bytes = 0;
        for band in 0..bands {
            bytes += block_len(raster.band(band).to_vec(), 1, width, options, kind)?;
        }
        Ok(bytes)
    })
}

fn block_len<T: Sample>(
    mut samples: Vec<T>,
    samples_per_pixel: usize,
    width: usize,
    options: &WriteOptions,
    kind: Predictor,
) -> Result<u64> {
    let rows = RowLayout { dtype_size: size_of::<T>(), samples_per_pixel, width };
    let raw: &mut [u8] = bytemuck::cast_slice_mut(&mut samples);
    predictor::encode(kind, rows, raw, &mut Vec::new());
    let mut encoder =
        Encoder::new(options.compression, options.level)?.with_row_bytes(rows.row_bytes());
    let mut bytes = Vec::new();
    encoder.encode(raw, &mut bytes)?;
    Ok(bytes.len() as u64)
}
