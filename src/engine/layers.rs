//! Composites the sources of a layer at the layer's own resolution and resamples the result as one
//! raster, so that taps cross the borders of files (SPEC §5.7).
//!
//! A layer is worked off in strips of its rows (or, where axes do not stay axes or a kernel needs all
//! samples at once, in parts of the tile), so that memory depends on options only.

use std::ops::Range;

use crate::composite::distance::{DistanceScratch, Inner, distances};
use crate::composite::{self, rules};
use crate::engine::canvas::Canvas;
use crate::engine::origin::{Origins, RowOrigins, Trace, Trail};
use crate::engine::paint::{Frame, PaintScratch, Painter};
use crate::engine::tile::{Run, TileSink, Values};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Window;
use crate::mosaic::layer::Mapping;
use crate::mosaic::{Mosaic, Overlap};
use crate::ordered::Ticket;
use crate::resample::axis::{Axis, Float, Line};
use crate::resample::gather::{Gatherer, LEAST_STRETCH, Patch, Place, RowTaps};
use crate::resample::separable::{Job, TwoPass};
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
    spots: Vec<Spot>,
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
    /// Composites a rectangle of the reference grid; `false` if no source left anything there.
    fn composite(
        &mut self,
        task: &LayerTask<'_>,
        [col, row]: [i64; 2],
        [width, height]: [u32; 2],
    ) -> Result<bool> {
        task.check()?;
        let mosaic = task.mosaic();
        let window = Window { col: 0, row: 0, width, height };
        let ends = [col + i64::from(width), row + i64::from(height)];
        mosaic.layer_hits(task.layer, [col, row, ends[0], ends[1]], &mut self.hits);
        self.canvas.restart(window, task.bands.clone(), task.shared);
        self.canvas.may_keep_nan = false;
        if self.hits.is_empty() {
            return Ok(false);
        }
        if !mosaic.overlap.is_by_order() {
            self.composite_all(task, [col, row], window)?;
            return Ok(!self.canvas.is_blank());
        }
        let painter = self.painter(task, [col, row]);
        for id in &self.hits {
            if self.canvas.left == 0 {
                break;
            }
            painter.paint_source(*id, window, &mut self.canvas, &mut self.paint, task.ticket)?;
        }
        if !self.canvas.shared && painter.judges_pixels() && !self.canvas.is_blank() {
            composite::settle_taken(&mut self.canvas.valid);
        }
        Ok(!self.canvas.is_blank())
    }

    fn painter<'a>(&self, task: &LayerTask<'a>, [col, row]: [i64; 2]) -> Painter<'a> {
        let halo = task.mosaic().halo(task.layer);
        Painter { frame: Frame::Layer { col, row, halo }, ..task.painter }
    }

    /// Composites by a rule that looks at all sources, one after the other.
    fn composite_all(
        &mut self,
        task: &LayerTask<'_>,
        origin: [i64; 2],
        window: Window,
    ) -> Result<()> {
        let mosaic = task.mosaic();
        // Pixels of each source beyond the window that decide on weights in it.
        let margin = if let Overlap::Feather(px) = mosaic.overlap { px } else { 0 };
        let own = Window {
            col: 0,
            row: 0,
            width: window.width + 2 * margin,
            height: window.height + 2 * margin,
        };
        let at = origin.map(|v| v - i64::from(margin));
        let painter = self.painter(task, at);
        let hits = std::mem::take(&mut self.hits);
        let mut deep = 0;
        for id in hits.iter().rev() {
            task.check()?;
            self.single.restart(own, task.bands.clone(), task.shared);
            self.single.may_keep_nan = false;
            painter.paint_source(*id, own, &mut self.single, &mut self.paint, task.ticket)?;
            if self.single.is_blank() {
                continue;
            }
            if !self.single.shared && painter.judges_pixels() {
                composite::settle_taken(&mut self.single.valid);
            }
            if self.canvas.is_blank() {
                self.canvas.prepare();
                self.canvas.samples.fill(P::ZERO);
                self.weights.clear();
                self.weights.resize(task.planes() * window.pixels() as usize, 0.0);
                self.equal.resize(task.bands.len() * window.pixels() as usize, 0.0);
            }
            match mosaic.overlap {
                Overlap::Median => self.put_aside(&mut deep, *id),
                Overlap::Feather(px) => self.add_feathered(window, margin, px, *id),
                overlap => self.add(overlap, *id),
            }
        }
        self.hits = hits;
        if !self.canvas.is_blank() {
            self.settle(mosaic.overlap, deep);
        }
        Ok(())
    }

    /// Adds the single source to the canvas.
    fn add(&mut self, overlap: Overlap, id: u32) {
        let pixels = self.canvas.pixels();
        for index in 0..self.canvas.bands.len() {
            let plane = if self.canvas.shared { 0 } else { index };
            let src = &self.single.samples[index * pixels..][..pixels];
            let src_valid = &self.single.valid[plane * pixels..][..pixels];
            let dst = &mut self.canvas.samples[index * pixels..][..pixels];
            let dst_valid = &self.canvas.valid[plane * pixels..][..pixels];
            match overlap {
                Overlap::Min | Overlap::Max => {
                    let largest = overlap == Overlap::Max;
                    if let Some(origins) = &mut self.canvas.origins {
                        let valid = [dst_valid, src_valid];
                        origins.rival(index * pixels, [&*dst, src], valid, largest, |_| id + 1);
                    }
                    rules::take_extreme(dst, dst_valid, src, Some(src_valid), largest);
                }
                // Sums are made in f64: `P` is that type for such rules.
                Overlap::Count => rules::add_count(bytemuck::cast_slice_mut(dst), src_valid),
                _ => {
                    let src = bytemuck::cast_slice(src);
                    if overlap == Overlap::Mean {
                        let equal = &mut self.equal[index * pixels..][..pixels];
                        rules::keep_equal(equal, dst_valid, src, src_valid);
                    }
                    rules::add_valid(bytemuck::cast_slice_mut(dst), src, src_valid);
                }
            }
        }
        if overlap == Overlap::Mean {
            rules::add_count(&mut self.weights, &self.single.valid);
        }
        if let (true, Some(origins)) = (overlap.accumulates(), &mut self.canvas.origins) {
            origins.weigh(0, &self.single.valid, None, id);
        }
        self.merge_valid();
    }

    fn merge_valid(&mut self) {
        self.canvas.left -=
            composite::merge_valid(&mut self.canvas.valid, Some(&self.single.valid));
    }

    /// Adds the single source, which reaches `margin` pixels beyond the window, by its distance to the
    /// edge of its data.
    fn add_feathered(&mut self, window: Window, margin: u32, px: u32, id: u32) {
        let (stride, margin) = (self.single.window.width as usize, margin as usize);
        let (width, height) = (window.width as usize, window.height as usize);
        let (pixels, own_pixels) = (self.canvas.pixels(), self.single.pixels());
        let planes = self.canvas.valid.len() / pixels;
        for plane in 0..planes {
            let valid = &self.single.valid[plane * own_pixels..][..own_pixels];
            let inner = Inner { stride, first: [margin, margin], size: [width, height] };
            distances(valid, inner, px, &mut self.distance_scratch, &mut self.distance);
            let bands =
                if self.canvas.shared { 0..self.canvas.bands.len() } else { plane..plane + 1 };
            for row in 0..height {
                let from = (row + margin) * stride + margin;
                let to = row * width;
                let valid = &valid[from..from + width];
                let weights = &self.distance[to..to + width];
                for band in bands.clone() {
                    let src = &self.single.samples[band * own_pixels + from..][..width];
                    let dst = &mut self.canvas.samples[band * pixels + to..][..width];
                    let (dst, src) = (bytemuck::cast_slice_mut(dst), bytemuck::cast_slice(src));
                    rules::add_weighted(dst, src, valid, weights);
                    let equal = &mut self.equal[band * pixels + to..][..width];
                    let seen = &self.canvas.valid[plane * pixels + to..][..width];
                    rules::keep_equal(equal, seen, src, valid);
                }
                if let Some(origins) = &mut self.canvas.origins {
                    origins.weigh(plane * pixels + to, valid, Some(weights), id);
                }
                let sums = &mut self.weights[plane * pixels + to..][..width];
                rules::add_valid(sums, weights, valid);
                let merged = &mut self.canvas.valid[plane * pixels + to..][..width];
                self.canvas.left -= composite::merge_valid(merged, Some(valid));
            }
        }
    }

    fn put_aside(&mut self, deep: &mut usize, id: u32) {
        if self.deep.len() == *deep {
            self.deep.push((Vec::new(), Vec::new(), id));
        }
        let (samples, valid, source) = &mut self.deep[*deep];
        *source = id;
        samples.clear();
        samples.extend_from_slice(bytemuck::cast_slice(&self.single.samples));
        valid.clone_from(&self.single.valid);
        *deep += 1;
        self.merge_valid();
    }

    /// Ends a rule once all sources were added.
    fn settle(&mut self, overlap: Overlap, deep: usize) {
        let pixels = self.canvas.pixels();
        for index in 0..self.canvas.bands.len() {
            let plane = if self.canvas.shared { 0 } else { index };
            let range = index * pixels..(index + 1) * pixels;
            let dst = &mut self.canvas.samples[range];
            let weights = &self.weights[plane * pixels..][..pixels];
            match overlap {
                Overlap::Mean | Overlap::Feather(_) => {
                    let means = bytemuck::cast_slice_mut(dst);
                    rules::divide(means, weights);
                    rules::restore_equal(means, &self.equal[index * pixels..][..pixels]);
                }
                Overlap::Median => {
                    let dst: &mut [f64] = bytemuck::cast_slice_mut(dst);
                    for (at, value) in dst.iter_mut().enumerate() {
                        self.stack.clear();
                        let (sample, mark) = (index * pixels + at, plane * pixels + at);
                        let valid =
                            self.deep[..deep].iter().filter(|(_, valid, _)| valid[mark] != 0);
                        self.stack.extend(valid.clone().map(|(samples, ..)| samples[sample]));
                        *value = rules::median(&mut self.stack).unwrap_or(0.0);
                        if let Some(origins) = &mut self.canvas.origins {
                            let own = valid.map(|(samples, _, id)| (samples[sample], *id + 1));
                            origins.ids[sample] = rules::nearest_to(*value, own);
                        }
                    }
                }
                _ => {}
            }
        }
    }

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

    /// Resamples in two passes, strip after strip.
    fn roll<A: Float + Sample>(
        &mut self,
        task: &LayerTask<'_>,
        lines: [Line; 2],
        passes: &mut TwoPass<A>,
        sink: &mut dyn TileSink,
    ) -> Result<()> {
        let (mosaic, tile, planes) = (task.mosaic(), task.tile, task.planes());
        let bands = task.bands.len();
        let carried = if task.carries_weights() { planes } else { 0 };
        let job = Job {
            kernel: mosaic.kernel,
            lines,
            first: [tile.col, tile.row],
            count: [tile.width, tile.height],
            valid_fraction: mosaic.valid_fraction,
            is_float: P::IS_FLOAT,
            weight_bands: carried,
        };
        // Before any of it is held: the columns of a row, and the rows under one.
        let reach = |axis: usize| 2.0 * mosaic.kernel.halo(lines[axis].scale) as f64;
        limited((f64::from(tile.width) * lines[0].scale.abs() + reach(0)) as i64)?;
        limited(reach(1) as i64)?;
        passes.begin(&job, bands + carried, planes);
        self.trail.clear();
        let [(left, right), (top, bottom)] = passes.span();
        let span = limited(right - left)?;
        mosaic.layer_hits(task.layer, [left, top, right, bottom], &mut self.tile_hits);
        if self.tile_hits.is_empty() {
            return Ok(());
        }
        let strip = i64::from(self.strip_rows(task, span));
        let feed = Feed { bands, planes, carried, span: span as usize };
        let up = task.upward;
        let descending = up != (lines[1].scale < 0.0);
        let row_at = |index: u32| if descending { tile.height - 1 - index } else { index };
        let (mut next, mut done) = (0, 0);
        while done < bottom - top && next < tile.height {
            let rows = strip.min(bottom - top - done);
            let first = if up { bottom - done - rows } else { top + done };
            let painted = self.composite(task, [left, first], [span, rows as u32])?;
            for step in 0..rows {
                let at = if up { rows - 1 - step } else { step };
                let source_row = first + at;
                // Rows between those that are needed: where pixels are picked from afar.
                let early =
                    |(low, high): (i64, i64)| if up { high < source_row } else { low > source_row };
                if next < tile.height && early(passes.rows_of(row_at(next) as usize)) {
                    continue;
                }
                self.push(passes, &feed, source_row, at as usize, painted);
                self.trail.push(&self.canvas, source_row, at as usize);
                let ready = |(low, high): (i64, i64)| {
                    if up { low >= source_row } else { high <= source_row }
                };
                while next < tile.height && ready(passes.rows_of(row_at(next) as usize)) {
                    self.emit(task, passes, &feed, row_at(next), sink);
                    next += 1;
                }
            }
            done += rows;
            self.let_go(task, if up { i64::MIN..first } else { first + rows..i64::MAX });
        }
        Ok(())
    }

    fn push<A: Float>(
        &mut self,
        passes: &mut TwoPass<A>,
        feed: &Feed,
        source_row: i64,
        at: usize,
        painted: bool,
    ) {
        let Feed { bands, planes, carried, span } = *feed;
        if !painted {
            self.row.invalid.clear();
            self.row.invalid.resize(span, 0);
            self.row.blank.resize(span, P::ZERO);
            let invalid = Some(self.row.invalid.as_slice());
            (0..planes).for_each(|plane| passes.push_valid(plane, source_row, invalid));
            for band in 0..bands + carried {
                let plane = if planes == 1 { 0 } else { band % bands };
                passes.push_samples(band, plane, source_row, &self.row.blank, invalid);
            }
            return;
        }
        let (canvas, pixels) = (&self.canvas, self.canvas.pixels());
        let from = at * span;
        let valid = |plane: usize| Some(&canvas.valid[plane * pixels + from..][..span]);
        (0..planes).for_each(|plane| passes.push_valid(plane, source_row, valid(plane)));
        for band in 0..bands {
            let plane = if planes == 1 { 0 } else { band };
            let samples = &canvas.samples[band * pixels + from..][..span];
            passes.push_samples(band, plane, source_row, samples, valid(plane));
        }
        for plane in 0..carried {
            let weights = &self.weights[plane * pixels + from..][..span];
            passes.push_samples(bands + plane, plane, source_row, weights, valid(plane));
        }
    }

    fn emit<A: Float + Sample>(
        &mut self,
        task: &LayerTask<'_>,
        passes: &mut TwoPass<A>,
        feed: &Feed,
        row: u32,
        sink: &mut dyn TileSink,
    ) {
        let Feed { bands, planes, carried, .. } = *feed;
        let (width, at) = (task.tile.width as usize, row as usize);
        self.trail.advance(passes, at, task.upward);
        let RowScratch { valid, all, weights, in_footprint, spare, .. } = &mut self.row;
        valid.resize(planes * width, 0);
        all.clear();
        for plane in valid.chunks_exact_mut(width) {
            all.push(passes.valid_row(at, all.len(), plane));
        }
        if task.mosaic().kernel.is_area() {
            let (cols, source_row) = (passes.columns(), passes.nearest_row(at));
            cover_row(task, &self.tile_hits, cols, source_row, in_footprint);
            for plane in valid.chunks_exact_mut(width) {
                plane.iter_mut().zip(in_footprint.iter()).for_each(|(v, c)| *v &= *c);
            }
        }
        if valid.iter().all(|v| *v == 0) {
            return;
        }
        spare.resize(width, 0);
        weights.clear();
        for (plane, all) in all.iter().enumerate().take(carried) {
            if planes > 1 {
                passes.valid_row(at, plane, spare);
            }
            weights.extend(passes.row(at, bands + plane, *all).iter().map(|w| w.to_double()));
        }
        let run = Run { col: task.tile.col, row: task.tile.row + row, width };
        sink.begin_row(run, valid, (carried > 0).then_some(weights.as_slice()));
        if task.trace.is_some() {
            let (kernel, span) = (task.mosaic().kernel, feed.span);
            self.trail.row_of(passes, kernel, span, at, &mut self.origins);
            sink.origins(&self.origins);
        }
        for band in 0..bands {
            let plane = if planes == 1 { 0 } else { band };
            if planes > 1 {
                passes.valid_row(at, plane, spare);
            }
            sink.band(band, Values::new(passes.row(at, band, all[plane])));
        }
        sink.end_row();
    }

    /// Resamples pixel by pixel a part of the tile, in halves where its sources are too much at once.
    fn gather_part(
        &mut self,
        task: &LayerTask<'_>,
        mapping: Mapping,
        part: Window,
        sink: &mut dyn TileSink,
    ) -> Result<()> {
        let mosaic = task.mosaic();
        if sink.is_full(part) {
            return Ok(());
        }
        let Some([left, top, right, bottom]) =
            mosaic.reference_box(task.layer, part, &mut self.warp)
        else {
            return Ok(());
        };
        mosaic.layer_hits(task.layer, [left, top, right, bottom], &mut self.tile_hits);
        if self.tile_hits.is_empty() {
            return Ok(());
        }
        let (width, height) = (right - left, bottom - top);
        let pixels = (width as u64).saturating_mul(height as u64);
        let rows = u64::from(self.strip_rows(task, u32::try_from(width).unwrap_or(u32::MAX)));
        // Parts that are far from square read more than they need.
        if pixels > rows * width as u64 && part.pixels() > 1 {
            for half in halves(part) {
                self.gather_part(task, mapping, half, sink)?;
            }
            return Ok(());
        }
        if pixels > MOST_PIXELS {
            return Err(too_many(pixels));
        }
        if !self.composite(task, [left, top], [width as u32, height as u32])? {
            return Ok(());
        }
        let frame = [left, top];
        if let Mapping::Axis { scale, phase } = mapping {
            let line = |axis: usize| Line { scale: scale[axis], phase: phase[axis] };
            let zeros = !P::IS_FLOAT;
            self.cols.fill(mosaic.kernel, line(0), part.col, part.width, zeros);
            self.rows.fill(mosaic.kernel, line(1), part.row, part.height, zeros);
        }
        for row in 0..part.height {
            self.gather_row(task, mapping, part, row, frame, sink);
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "buffers of one row go through all of it")]
    fn gather_row(
        &mut self,
        task: &LayerTask<'_>,
        mapping: Mapping,
        part: Window,
        row: u32,
        [left, top]: [i64; 2],
        sink: &mut dyn TileSink,
    ) {
        let (mosaic, planes, width) = (task.mosaic(), task.planes(), part.width as usize);
        let carries = task.carries_weights();
        let RowScratch { valid, values, weights, covered, places, typed, whole, spots, .. } =
            &mut self.row;
        mosaic.places(task.layer, part, part.row + row, &mut self.warp, places);
        covered.clear();
        // A point kernel looks at the pixel under the centre anyway.
        let area = mosaic.kernel.is_area();
        // What does not map lies nowhere.
        covered.extend(
            places.iter().map(|p| p.u.is_finite() && (!area || lies_in(task, &self.tile_hits, p))),
        );
        let (canvas, pixels) = (&self.canvas, self.canvas.pixels());
        let bands = canvas.bands.len();
        let stride = canvas.window.width as usize;
        let view = View { left, top, stride, height: pixels / stride, canvas_valid: &canvas.valid };
        valid.clear();
        valid.resize(planes * width, 0);
        values.clear();
        values.resize(bands * width, 0.0);
        let nearest = mosaic.kernel == Kernel::Nearest;
        typed.resize(if nearest { bands * width } else { 0 }, P::ZERO);
        let (gatherer, axes) = (&mut self.gatherer, [&self.cols, &self.rows]);
        let on_axes = matches!(mapping, Mapping::Axis { .. });
        if task.trace.is_some() {
            let axes = (on_axes && area).then_some((axes, row as usize));
            let frame = [left, top];
            self.origins.gather(mosaic.kernel, canvas, frame, places, axes, gatherer);
        }
        if !on_axes && planes == 1 && (nearest || mosaic.kernel == Kernel::Bilinear) && !carries {
            spots.clear();
            let patch = view.patch(&canvas.samples[..pixels], 0);
            for (x, place) in places.iter_mut().enumerate() {
                let Some((spot, [under, first])) = Spot::new(x, place) else { continue };
                let (at, count) = if nearest { (under, [1, 1]) } else { (first, [2, 2]) };
                let fits = nearest || spot.is_plain(place);
                if fits
                    && patch.get(under[0], under[1]).is_some()
                    && let Some(start) = view.all_valid(at, count)
                {
                    spots.push(Spot { start, ..spot });
                    valid[x] = 1;
                    // Done with it.
                    covered[x] = false;
                    place.u = f64::NAN;
                }
            }
            for band in 0..bands {
                let samples = &canvas.samples[band * pixels..][..pixels];
                if nearest {
                    let row = &mut typed[band * width..(band + 1) * width];
                    spots.iter().for_each(|spot| row[spot.x] = samples[spot.start]);
                } else {
                    let row = &mut values[band * width..(band + 1) * width];
                    spots.iter().for_each(|spot| row[spot.x] = spot.blend(samples, stride));
                }
            }
        }
        let points = !nearest && !area && !on_axes && covered.contains(&true);
        if points {
            let patch = view.patch(&canvas.samples[..pixels], 0);
            self.row_taps.fill(mosaic.kernel, &patch, places, planes == 1);
        }
        for band in 0..bands {
            let plane = if planes == 1 { 0 } else { band };
            let patch = view.patch(&canvas.samples[band * pixels..][..pixels], plane);
            if points && (planes > 1 || band == 0) {
                whole.clear();
                whole.extend((0..width).map(|x| self.row_taps.is_whole(x, &patch)));
            }
            for x in (0..width).filter(|x| covered[*x]) {
                if nearest {
                    let [col, row] = places[x].nearest();
                    let Some(sample) = patch.get(col, row) else { continue };
                    typed[band * width + x] = sample;
                } else {
                    let fraction = mosaic.valid_fraction;
                    let value = if points && whole[x] {
                        Some(self.row_taps.value(x, &patch))
                    } else if on_axes {
                        gatherer.on_axes(mosaic.kernel, &patch, axes, [x, row as usize], fraction)
                    } else {
                        gatherer.at(mosaic.kernel, &patch, &places[x], fraction)
                    };
                    let Some(value) = value else { continue };
                    values[band * width + x] = value;
                }
                valid[plane * width + x] = 1;
            }
        }
        if valid.iter().all(|v| *v == 0) {
            return;
        }
        weights.clear();
        if task.carries_weights() {
            let kernel = if area { Kernel::Average } else { mosaic.kernel };
            for (plane, own) in self.weights.chunks_exact(pixels).enumerate() {
                let patch = view.patch(own, plane);
                let weight = |p: &Place| gatherer.at(kernel, &patch, p, 0.0).unwrap_or(0.0);
                weights.extend(places.iter().map(weight));
            }
        }
        let run = Run { col: part.col, row: part.row + row, width };
        sink.begin_row(run, valid, (!weights.is_empty()).then_some(weights.as_slice()));
        if task.trace.is_some() {
            sink.origins(&self.origins);
        }
        for band in 0..bands {
            let range = band * width..(band + 1) * width;
            sink.band(
                band,
                if nearest { Values::new(&typed[range]) } else { Values::new(&values[range]) },
            );
        }
        sink.end_row();
    }
}

/// What is pushed for a source row: bands, their planes of validity, planes of weights after them.
#[derive(Debug, Clone, Copy)]
struct Feed {
    bands: usize,
    planes: usize,
    carried: usize,
    span: usize,
}

/// Where one pixel of a row takes its sample, or its four.
#[derive(Debug, Clone, Copy)]
struct Spot {
    /// Column in the row.
    x: usize,
    /// Index of the first sample.
    start: usize,
    /// Weights of the second column and row.
    fraction: [f64; 2],
}

impl Spot {
    /// The spot, the pixel under the place's centre, and the first of four pixels about it; `None` if the place is
    /// nowhere. Positions are whole 2^-20 px, so all of this is exact.
    fn new(x: usize, place: &Place) -> Option<(Spot, [[i64; 2]; 2])> {
        const BITS: u32 = 20;
        const STEPS: f64 = (1u32 << BITS) as f64;
        const HALF: i64 = 1 << (BITS - 1);
        let ticks = [place.u, place.v].map(|position| position * STEPS);
        // NaN is not less than anything.
        if !ticks.iter().all(|t| t.abs() < 9.0e15) {
            return None;
        }
        let ticks = ticks.map(|t| (t + 0.5f64.copysign(t)) as i64);
        let first = ticks.map(|t| (t - HALF) >> BITS);
        let fraction = ticks.map(|t| ((t - HALF) & (2 * HALF - 1)) as f64 / STEPS);
        Some((Spot { x, start: 0, fraction }, [ticks.map(|t| t >> BITS), first]))
    }

    /// Whether a bilinear kernel is not stretched here and has four taps.
    fn is_plain(&self, place: &Place) -> bool {
        let [ux, uy, vx, vy] = place.jacobian;
        // A little less: whatever is taken as plain here is not stretched by `RowTaps` either.
        const MOST: f64 = LEAST_STRETCH * LEAST_STRETCH - 1e-9;
        let plain = ux * ux + uy * uy <= MOST && vx * vx + vy * vy <= MOST;
        plain && self.fraction[0] > 0.0 && self.fraction[1] > 0.0
    }

    /// Bilinear, with the arithmetic of `RowTaps::value`.
    fn blend<P: Sample>(&self, samples: &[P], stride: usize) -> f64 {
        let [fx, fy] = self.fraction;
        let (upper, lower) = (&samples[self.start..][..2], &samples[self.start + stride..][..2]);
        let line = |row: &[P]| (1.0 - fx) * row[0].to_f64() + fx * row[1].to_f64();
        (1.0 - fy) * line(upper) + fy * line(lower)
    }
}

/// A composite, as kernels see it.
struct View<'a> {
    left: i64,
    top: i64,
    stride: usize,
    height: usize,
    canvas_valid: &'a [u8],
}

impl<'a> View<'a> {
    /// Index of the first of some taps if all of them are in the composite and valid, in its first plane.
    fn all_valid(&self, [col, row]: [i64; 2], [cols, rows]: [usize; 2]) -> Option<usize> {
        let x = usize::try_from(col - self.left).ok()?;
        let y = usize::try_from(row - self.top).ok()?;
        if x + cols > self.stride || y + rows > self.height {
            return None;
        }
        let start = y * self.stride + x;
        let is_valid = |at: usize| self.canvas_valid[at..at + cols].iter().all(|v| *v != 0);
        (0..rows).all(|row| is_valid(start + row * self.stride)).then_some(start)
    }

    fn patch<S>(&self, samples: &'a [S], plane: usize) -> Patch<'a, S> {
        let pixels = self.stride * self.height;
        Patch {
            col0: self.left,
            row0: self.top,
            width: self.stride,
            height: self.height,
            samples,
            valid: Some(&self.canvas_valid[plane * pixels..][..pixels]),
        }
    }
}

/// Whether the centre of a pixel lies in the footprint of one of the sources.
fn lies_in(task: &LayerTask<'_>, hits: &[u32], place: &Place) -> bool {
    let [col, row] = place.nearest();
    hits.iter().any(|id| {
        let [left, top, right, bottom] = task.mosaic().rectangle(*id);
        (left..right).contains(&col) && (top..bottom).contains(&row)
    })
}

/// Marks the columns of a row whose centre lies in the footprint of one of the sources.
fn cover_row(task: &LayerTask<'_>, hits: &[u32], cols: &Axis, row: i64, covered: &mut Vec<u8>) {
    let width = cols.count();
    covered.clear();
    covered.resize(width, 0);
    for id in hits {
        let [left, top, right, bottom] = task.mosaic().rectangle(*id);
        if !(top..bottom).contains(&row) {
            continue;
        }
        let mut all = true;
        for (x, c) in covered.iter_mut().enumerate() {
            *c |= u8::from((left..right).contains(&cols.nearest(x)));
            all &= *c != 0;
        }
        if all {
            return;
        }
    }
}

/// A window in two halves, across its longer side.
fn halves(Window { col, row, width, height }: Window) -> [Window; 2] {
    if width >= height {
        let half = width / 2;
        [
            Window { col, row, width: half, height },
            Window { col: col + half, row, width: width - half, height },
        ]
    } else {
        let half = height / 2;
        [
            Window { col, row, width, height: half },
            Window { col, row: row + half, width, height: height - half },
        ]
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
