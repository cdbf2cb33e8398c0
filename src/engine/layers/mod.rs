//! Composites the sources of a layer at the layer's own resolution and resamples the result as one
//! raster, so that taps cross the borders of files (SPEC §5.7).
//!
//! A layer is worked off in strips of its rows (or, where axes do not stay axes or a kernel needs all
//! samples at once, in parts of the tile), so that memory depends on options only.

mod gather;
mod separable;
mod stack;

use std::ops::Range;

use crate::composite::distance::DistanceScratch;
use crate::engine::canvas::Canvas;
use crate::engine::origin::{Origins, RowOrigins, Trace, Trail};
use crate::engine::paint::{PaintScratch, Painter};
use crate::engine::tile::{Run, TileSink, Values};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Window;
use crate::mosaic::layer::Mapping;
use crate::mosaic::{Mosaic, Overlap};
use crate::ordered::Ticket;
use crate::resample::axis::{Axis, Line};
use crate::resample::gather::{Gatherer, Place, RowTaps};
use crate::resample::separable::TwoPass;
use crate::resample::{Kernel, sums_in_f32};
use crate::sample::Sample;
use crate::warp::WarpScratch;

/// Width of a strip in pixels of its layer that is wide enough to be read well.
pub(crate) const STRIP_PX: f64 = 8192.0;
/// Rows of a layer that tiles beside each other have in common.
pub(crate) const SHARED_ROWS: f64 = 512.0;
/// Bytes of sums over layers that are kept at once.
pub(crate) const SUM_BYTES: u64 = 4 << 20;

/// Most source pixels that one output pixel may need at once.
const MOST_PIXELS: u64 = 1 << 24;

/// Bytes of a composited strip, with what it takes to make it.
fn strip_bytes(mosaic: &Mosaic) -> u64 {
    match mosaic.overlap {
        // A strip must be high against the feather on both its sides.
        Overlap::Feather(_) => 8 << 20,
        _ => 1 << 20,
    }
}

/// Bytes that a thread needs at most to render `bands` bands of layers in cells of `chunk` pixels; 0
/// where there are none.
pub(crate) fn worker_bytes(
    mosaic: &Mosaic,
    chunk: u32,
    bands: u32,
    planes: u32,
    origin_bytes: u64,
) -> u64 {
    let Some(stack) = mosaic.stack() else { return 0 };
    let (bands, planes) = (u64::from(bands), u64::from(planes));
    let layers = 0..stack.groups.len() as u32;
    let resampled: Vec<[f64; 2]> = layers
        .filter(|layer| !mosaic.is_painted_directly(*layer))
        .map(|layer| mosaic.layer_scale(layer))
        .collect();
    if resampled.is_empty() {
        return 0;
    }
    let most = |axis: usize| resampled.iter().map(|scale| scale[axis]).fold(0.0, f64::max);
    let chunk = f64::from(chunk);
    let span =
        (chunk * most(0)).clamp(1.0, 1.5 * STRIP_PX) + 2.0 * mosaic.kernel.halo(most(0)) as f64;
    // Rows that the second pass keeps, of `f64` at worst, and what the rows were made from.
    let taps = 2.0 * mosaic.kernel.halo(most(1)) as f64;
    let kept = (taps * (chunk + span) * 8.0 * (bands + 2 * planes) as f64) as u64;
    let kept = if mosaic.kernel == Kernel::Nearest { 0 } else { kept };
    let kept = kept + (taps * span) as u64 * origin_bytes;
    let feather = if let Overlap::Feather(px) = mosaic.overlap {
        let margin = 2.0 * f64::from(px);
        let rows = strip_bytes(mosaic) as f64 / (span * (17 * bands + 10 * planes) as f64);
        // No more than there are under a tile.
        let rows = rows.min(chunk * most(1) + 2.0 * mosaic.kernel.halo(most(1)) as f64);
        ((span + margin) * (rows + margin) * (8 * bands + planes + 12) as f64) as u64
    } else {
        0
    };
    let sums = if mosaic.overlap.accumulates() && stack.groups.len() > 1 { SUM_BYTES } else { 0 };
    let traced = if origin_bytes > 0 { sums / 2 } else { 0 };
    strip_bytes(mosaic) + kept + feather + sums + traced
}

/// One layer in one tile.
#[derive(Clone)]
pub(crate) struct LayerTask<'a> {
    pub(crate) painter: Painter<'a>,
    pub(crate) layer: u32,
    /// Pixels of the mosaic.
    pub(crate) tile: Window,
    pub(crate) bands: Range<u32>,
    /// One plane of validity serves all bands.
    pub(crate) shared: bool,
    /// No other tile of the cell needs the layer's rows above those that are being read.
    pub(crate) is_last: bool,
    /// Its rows are read from the last to the first: where the cache cannot hold all blocks that two
    /// neighbours share, what the one read last the other wants first.
    pub(crate) upward: bool,
    /// Whether the sources of samples are asked for.
    pub(crate) trace: Option<Trace>,
    pub(crate) ticket: Option<&'a Ticket<'a>>,
}

impl LayerTask<'_> {
    fn mosaic(&self) -> &Mosaic {
        self.painter.mosaic
    }

    fn planes(&self) -> usize {
        if self.shared { 1 } else { self.bands.len() }
    }

    /// Whether the weights of samples must be resampled with them: other layers have some too.
    fn carries_weights(&self) -> bool {
        matches!(self.mosaic().overlap, Overlap::Mean | Overlap::Feather(_))
            && self.mosaic().stack().is_some_and(|stack| stack.groups.len() > 1)
    }

    fn check(&self) -> Result<()> {
        self.ticket.map_or(Ok(()), |ticket| ticket.check())
    }
}

/// Renders layers of a mosaic; behind it stands the type of the samples in the layers.
pub(crate) trait RenderLayer: std::fmt::Debug + Send {
    /// Gives the rows of a layer in a tile to a sink.
    fn render(&mut self, task: &LayerTask<'_>, sink: &mut dyn TileSink) -> Result<()>;
    /// Lets go of all blocks that were read.
    fn release(&mut self, painter: &Painter<'_>);
}

/// Memory of one thread that renders layers of samples `P`.
#[derive(Debug)]
pub(crate) struct LayerWorker<P> {
    canvas: Canvas<P>,
    /// One source, for rules that look at all of them.
    single: Canvas<P>,
    paint: PaintScratch<P>,
    /// Sources in the strip, and in all that a tile needs.
    hits: Vec<u32>,
    tile_hits: Vec<u32>,
    /// Weights of the samples of the canvas, by plane of validity.
    weights: Vec<f64>,
    /// What all samples of a pixel are, by band; NaN where they differ.
    equal: Vec<f64>,
    distance: Vec<f64>,
    distance_scratch: DistanceScratch,
    /// Sources one after the other, for a median.
    deep: Vec<Deep>,
    stack: Vec<f64>,
    passes32: TwoPass<f32>,
    passes64: TwoPass<f64>,
    cols: Axis,
    rows: Axis,
    gatherer: Gatherer,
    row_taps: RowTaps,
    warp: WarpScratch,
    row: RowScratch<P>,
    trail: Trail,
    origins: RowOrigins,
}

/// A source that waits for a median: samples, validity, its number.
type Deep = (Vec<f64>, Vec<u8>, u32);

/// One row on its way to the sink.
#[derive(Debug)]
struct RowScratch<P> {
    valid: Vec<u8>,
    covered: Vec<bool>,
    in_footprint: Vec<u8>,
    all: Vec<bool>,
    weights: Vec<f64>,
    values: Vec<f64>,
    typed: Vec<P>,
    /// Places whose taps are all valid.
    whole: Vec<bool>,
    /// A second row of validity, where bands have their own.
    spare: Vec<u8>,
    places: Vec<Place>,
    /// Places whose samples are all at hand, those of them that are valid in a plane, and those that are not quite.
    spots: Vec<gather::Spot>,
    ready: Vec<gather::Spot>,
    rest: Vec<usize>,
    blank: Vec<P>,
    invalid: Vec<u8>,
}

impl<P: Sample> LayerWorker<P> {
    pub(crate) fn new() -> LayerWorker<P> {
        LayerWorker {
            canvas: Canvas::new(),
            single: Canvas::new(),
            paint: PaintScratch::default(),
            hits: Vec::new(),
            tile_hits: Vec::new(),
            weights: Vec::new(),
            equal: Vec::new(),
            distance: Vec::new(),
            distance_scratch: DistanceScratch::default(),
            deep: Vec::new(),
            stack: Vec::new(),
            passes32: TwoPass::default(),
            passes64: TwoPass::default(),
            cols: Axis::default(),
            rows: Axis::default(),
            gatherer: Gatherer::default(),
            row_taps: RowTaps::default(),
            warp: WarpScratch::default(),
            trail: Trail::default(),
            origins: RowOrigins::default(),
            row: RowScratch {
                valid: Vec::new(),
                covered: Vec::new(),
                in_footprint: Vec::new(),
                all: Vec::new(),
                weights: Vec::new(),
                values: Vec::new(),
                typed: Vec::new(),
                whole: Vec::new(),
                spare: Vec::new(),
                places: Vec::new(),
                spots: Vec::new(),
                ready: Vec::new(),
                rest: Vec::new(),
                blank: Vec::new(),
                invalid: Vec::new(),
            },
        }
    }
}

impl<P: Sample> RenderLayer for LayerWorker<P> {
    fn render(&mut self, task: &LayerTask<'_>, sink: &mut dyn TileSink) -> Result<()> {
        let kernel = task.mosaic().kernel;
        if self.canvas.origins.as_ref().map(|origins| origins.trace) != task.trace {
            self.canvas.origins = task.trace.map(Origins::new);
        }
        match task.mosaic().layer_mapping(task.layer) {
            Mapping::Shift { col, row } => self.copy(task, col, row, sink),
            // Sums in `f64` would lose digits of 64-bit integers that are only picked.
            Mapping::Axis { scale, phase }
                if kernel.is_separable()
                    && (kernel != Kernel::Nearest || P::IS_FLOAT || size_of::<P>() < 8) =>
            {
                let lines = [0, 1].map(|axis| Line { scale: scale[axis], phase: phase[axis] });
                if sums_in_f32(kernel, scale, size_of::<P>(), P::IS_FLOAT) {
                    let mut passes = std::mem::take(&mut self.passes32);
                    let done = self.roll(task, lines, &mut passes, sink);
                    self.passes32 = passes;
                    return done;
                }
                let mut passes = std::mem::take(&mut self.passes64);
                let done = self.roll(task, lines, &mut passes, sink);
                self.passes64 = passes;
                done
            }
            mapping => self.gather_part(task, mapping, task.tile, sink),
        }
    }

    fn release(&mut self, painter: &Painter<'_>) {
        painter.release(&mut self.paint, |_| None);
    }
}

impl<P: Sample> LayerWorker<P> {
    /// Rows of a strip as wide as this, so that all that it takes fits [`strip_bytes`].
    fn strip_rows(&self, task: &LayerTask<'_>, width: u32) -> u32 {
        let mosaic = task.mosaic();
        let bands = task.bands.len() as u64;
        let one = bands * size_of::<P>() as u64 + task.planes() as u64;
        let each = match mosaic.overlap {
            Overlap::Last | Overlap::First => one,
            // As many as lie over each other somewhere in the layer's row.
            Overlap::Median => one * (self.tile_hits.len() as u64 + 2),
            _ => 2 * one + 8 * (task.planes() as u64 + bands),
        };
        let each =
            each + task.trace.map_or(0, |trace| trace.pixel_bytes(bands, task.planes() as u64));
        let rows = strip_bytes(mosaic) / (each * u64::from(width)).max(1);
        rows.clamp(1, 4096) as u32
    }

    /// A layer on the grid: its composite is what is wanted.
    fn copy(
        &mut self,
        task: &LayerTask<'_>,
        col: i64,
        row: i64,
        sink: &mut dyn TileSink,
    ) -> Result<()> {
        let Window { width, height, .. } = task.tile;
        let origin = [i64::from(task.tile.col) + col, i64::from(task.tile.row) + row];
        self.find(task, origin, [width, height]);
        let strip = self.strip_rows(task, width);
        let mut done = 0;
        while done < height {
            let rows = strip.min(height - done);
            let top = origin[1] + i64::from(done);
            if self.composite(task, [origin[0], top], [width, rows])? {
                self.hand_over(task, done, sink);
            }
            done += rows;
            self.let_go(task, top + i64::from(rows)..i64::MAX);
        }
        Ok(())
    }

    fn find(&mut self, task: &LayerTask<'_>, [col, row]: [i64; 2], [width, height]: [u32; 2]) {
        let ends = [col + i64::from(width), row + i64::from(height)];
        let within = [col, row, ends[0], ends[1]];
        task.mosaic().layer_hits(task.layer, within, &mut self.tile_hits);
    }

    /// Gives the rows of the canvas to the sink, from row `first` of the tile.
    fn hand_over(&mut self, task: &LayerTask<'_>, first: u32, sink: &mut dyn TileSink) {
        let (canvas, pixels) = (&self.canvas, self.canvas.pixels());
        let width = canvas.window.width as usize;
        let planes = task.planes();
        for row in 0..canvas.window.height {
            let at = row as usize * width;
            let RowScratch { valid, weights, .. } = &mut self.row;
            valid.clear();
            weights.clear();
            for plane in 0..planes {
                valid.extend_from_slice(&canvas.valid[plane * pixels + at..][..width]);
                if task.carries_weights() {
                    weights.extend_from_slice(&self.weights[plane * pixels + at..][..width]);
                }
            }
            if valid.iter().all(|v| *v == 0) {
                continue;
            }
            let weights = task.carries_weights().then_some(weights.as_slice());
            let run = Run { col: task.tile.col, row: task.tile.row + first + row, width };
            sink.begin_row(run, valid, weights);
            if task.trace.is_some() {
                Origins::row_of(canvas, at, &mut self.origins);
                sink.origins(&self.origins);
            }
            for index in 0..canvas.bands.len() {
                sink.band(index, Values::new(&canvas.samples[index * pixels + at..][..width]));
            }
            sink.end_row();
        }
    }

    /// Lets go of blocks beyond the reference rows that are still needed.
    fn let_go(&mut self, task: &LayerTask<'_>, rows: Range<i64>) {
        if task.is_last {
            let layer = task.layer;
            let needed =
                |other: u32| Some(if other == layer { rows.clone() } else { i64::MIN..i64::MAX });
            task.painter.release(&mut self.paint, needed);
        }
    }
}

fn limited(pixels: i64) -> Result<u32> {
    match u32::try_from(pixels) {
        Ok(pixels) if u64::from(pixels) <= MOST_PIXELS => Ok(pixels),
        _ => Err(too_many(pixels as u64)),
    }
}

#[cold]
fn too_many(need: u64) -> Error {
    Error::new(ErrorKind::Limit {
        what: "source pixels under one output pixel",
        need,
        max: MOST_PIXELS,
    })
}
