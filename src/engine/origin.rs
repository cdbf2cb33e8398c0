//! Which source gave each pixel (SPEC §8.10). Samples carry the number of their source beside their validity,
//! through layers and rules; at the end a pixel is that of one source.
//!
//! By order, the source is the one that shows; of `min`, `max` and `median` the one that has the value; of `mean`,
//! `sum` and `count`, where all weigh the same, the one on top; of `feather` the one with the most weight. Where
//! a layer is resampled, it is the source of the layer's pixel under the centre, and for kernels of areas the one
//! that has most of the area. Where bands come from several sources, the one that gave most bands counts. Ties go
//! to the source on top.

use std::collections::VecDeque;
use std::ops::Range;

use crate::codec::{Compression, Predictor};
use crate::engine::canvas::Canvas;
use crate::engine::encode::{BlockEncoder, BlockFormat, Encoded};
use crate::error::Result;
use crate::geometry::Window;
use crate::mosaic::{Mosaic, Overlap};
use crate::resample::axis::{Axis, Float};
use crate::resample::gather::{Gatherer, Patch, Place};
use crate::resample::{Kernel, separable::TwoPass};
use crate::sample::{DataType, Sample};

/// What is kept of where samples come from, by the rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Bands may come from several sources though they share their validity.
    per_band: bool,
    /// Sources have weights.
    weighs: bool,
}

impl Trace {
    pub(crate) fn new(mosaic: &Mosaic) -> Trace {
        Trace {
            per_band: matches!(mosaic.overlap, Overlap::Min | Overlap::Max | Overlap::Median),
            weighs: matches!(mosaic.overlap, Overlap::Feather(_)),
        }
    }

    fn planes(self, bands: usize, valid_planes: usize) -> usize {
        if self.per_band { bands } else { valid_planes }
    }

    /// Bytes for each pixel of a canvas.
    pub(crate) fn pixel_bytes(self, bands: u64, valid_planes: u64) -> u64 {
        let planes = if self.per_band { bands } else { valid_planes };
        planes * if self.weighs { 8 } else { 4 }
    }
}

/// The sources of samples: planes as those of validity, or one for each band.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    pub(crate) trace: Trace,
    /// Number of the source, from 1; 0 where there is none.
    pub(crate) ids: Vec<u32>,
    /// Its weight, where sources have one.
    pub(crate) weights: Vec<f32>,
}

impl Origins {
    pub(crate) fn new(trace: Trace) -> Origins {
        Origins { trace, ..Origins::default() }
    }

    pub(crate) fn clear(&mut self, pixels: usize, bands: usize, valid_planes: usize) {
        let count = pixels * self.trace.planes(bands, valid_planes);
        self.ids.clear();
        self.ids.resize(count, 0);
        self.weights.clear();
        self.weights.resize(if self.trace.weighs { count } else { 0 }, 0.0);
    }

    /// Notes a source where nothing was valid and it is.
    pub(crate) fn mark(&mut self, at: usize, valid: &[u8], src: Option<&[u8]>, id: u32) {
        let ids = &mut self.ids[at..at + valid.len()];
        match src {
            None => ids.iter_mut().zip(valid).for_each(|(i, v)| {
                *i = if *v == 0 { id + 1 } else { *i };
            }),
            Some(src) => ids.iter_mut().zip(valid).zip(src).for_each(|((i, v), s)| {
                *i = if (*v == 0) & (*s != 0) { id + 1 } else { *i };
            }),
        }
    }

    /// Notes a source where it is valid and weighs more than what is there, or as much and lies above.
    pub(crate) fn weigh(&mut self, at: usize, src: &[u8], weights: Option<&[f64]>, id: u32) {
        for (x, _) in src.iter().enumerate().filter(|(_, v)| **v != 0) {
            let weight = weights.map_or(1.0, |weights| weights[x] as f32);
            self.put(at + x, id + 1, weight);
        }
    }

    /// Notes the sources of a part of a row by their weights.
    pub(crate) fn weigh_row(
        &mut self,
        at: usize,
        part: Range<usize>,
        row: &RowOrigins,
        valid: &[u8],
    ) {
        for (x, index) in part.enumerate() {
            if row.ids[index] != 0 && valid[x] != 0 {
                self.put(at + x, row.ids[index], row.weights.get(index).copied().unwrap_or(1.0));
            }
        }
    }

    /// Notes a source at one place by its weight.
    fn put(&mut self, at: usize, id: u32, weight: f32) {
        let old = self.ids[at];
        let Some(heaviest) = self.weights.get_mut(at) else {
            self.ids[at] = old.max(id);
            return;
        };
        if old == 0 || weight > *heaviest || (weight == *heaviest && id > old) {
            (self.ids[at], *heaviest) = (id, weight);
        }
    }

    /// Notes a source, or those of a row, where its sample is as small or as large as what is there.
    pub(crate) fn rival<P: Sample>(
        &mut self,
        at: usize,
        [dst, src]: [&[P]; 2],
        [valid, src_valid]: [&[u8]; 2],
        largest: bool,
        id: impl Fn(usize) -> u32,
    ) {
        for x in (0..src.len()).filter(|x| src_valid[*x] != 0) {
            let (own, new) = (&mut self.ids[at + x], id(x));
            let wins = if largest { src[x] > dst[x] } else { src[x] < dst[x] };
            if valid[x] == 0 || wins || (src[x] == dst[x] && new > *own) {
                *own = new;
            }
        }
    }

    /// A row of all planes, for the sink of a layer.
    fn row(&self, pixels: usize, at: usize, width: usize, out: &mut RowOrigins) {
        out.clear();
        for start in (0..self.ids.len()).step_by(pixels) {
            out.ids.extend_from_slice(&self.ids[start + at..][..width]);
            if self.trace.weighs {
                out.weights.extend_from_slice(&self.weights[start + at..][..width]);
            }
        }
    }

    /// The row of a canvas.
    pub(crate) fn row_of<P: Sample>(canvas: &Canvas<P>, at: usize, out: &mut RowOrigins) {
        if let Some(origins) = &canvas.origins {
            origins.row(canvas.pixels(), at, canvas.window.width as usize, out);
        }
    }
}

/// The sources of one row of a layer, plane after plane.
#[derive(Debug, Default)]
pub(crate) struct RowOrigins {
    pub(crate) ids: Vec<u32>,
    pub(crate) weights: Vec<f32>,
}

impl RowOrigins {
    fn clear(&mut self) {
        self.ids.clear();
        self.weights.clear();
    }

    /// A row of a composite that is resampled pixel by pixel. `axes` and the row in them, where axes stay axes.
    pub(crate) fn gather<P: Sample>(
        &mut self,
        kernel: Kernel,
        canvas: &Canvas<P>,
        [left, top]: [i64; 2],
        places: &[Place],
        axes: Option<([&Axis; 2], usize)>,
        gatherer: &mut Gatherer,
    ) {
        self.clear();
        let Some(origins) = &canvas.origins else { return };
        let (pixels, stride) = (canvas.pixels(), canvas.window.width as usize);
        let patch = |start: usize| Patch {
            col0: left,
            row0: top,
            width: stride,
            height: pixels / stride,
            samples: &origins.ids[start..start + pixels],
            valid: None,
        };
        for start in (0..origins.ids.len()).step_by(pixels) {
            let marks: Vec<u8> =
                origins.ids[start..start + pixels].iter().map(|id| u8::from(*id != 0)).collect();
            let patch = patch(start);
            let area = Patch { valid: Some(&marks), ..patch };
            for (x, place) in places.iter().enumerate() {
                let [col, row] = place.nearest();
                let id = if !place.u.is_finite() {
                    0
                } else if !kernel.is_area() {
                    patch.get(col, row).unwrap_or(0)
                } else if let Some((axes, y)) = axes {
                    most(gatherer.on_axes(Kernel::Mode, &area, axes, [x, y], 0.0), gatherer)
                } else {
                    most(gatherer.at(Kernel::Mode, &area, place, 0.0), gatherer)
                };
                self.ids.push(id);
            }
            if !origins.trace.weighs {
                continue;
            }
            let weights = Patch {
                col0: left,
                row0: top,
                width: stride,
                height: pixels / stride,
                samples: &origins.weights[start..start + pixels],
                valid: Some(&marks),
            };
            let kernel = if kernel.is_area() { Kernel::Max } else { Kernel::Nearest };
            let weigh = |p: &Place| gatherer.at(kernel, &weights, p, 0.0).unwrap_or(0.0) as f32;
            let weighed = places.iter().map(weigh);
            self.weights.extend(weighed);
        }
    }
}

/// The source with most of the area that was looked at, the one on top of those with as much.
fn most(found: Option<f64>, gatherer: &Gatherer) -> u32 {
    if found.is_none() {
        return 0;
    }
    // A mode leaves them in order.
    let runs = gatherer.covered().chunk_by(|a, b| a.0 == b.0);
    let areas = runs.map(|run| (run[0].0, run.iter().map(|(_, area)| area).sum::<f64>()));
    areas.fold((0.0, 0.0), |best, own| if own.1 >= best.1 { own } else { best }).0 as u32
}

/// Rows of sources that a layer in two passes still needs.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    rows: VecDeque<(i64, RowOrigins)>,
    spare: Vec<RowOrigins>,
    sums: Vec<(u32, f64)>,
}

impl Trail {
    /// Forgets all rows.
    pub(crate) fn clear(&mut self) {
        self.keep(|_| false);
    }

    /// Forgets some rows.
    fn keep(&mut self, keep: impl Fn(i64) -> bool) {
        for _ in 0..self.rows.len() {
            let Some((row, origins)) = self.rows.pop_front() else { return };
            if keep(row) {
                self.rows.push_back((row, origins));
            } else {
                self.spare.push(origins);
            }
        }
    }

    /// Takes in row `at` of a composite, which is source row `row`.
    pub(crate) fn push<P: Sample>(&mut self, canvas: &Canvas<P>, row: i64, at: usize) {
        if canvas.origins.is_none() || canvas.is_blank() {
            return;
        }
        let mut origins = self.spare.pop().unwrap_or_default();
        Origins::row_of(canvas, at * canvas.window.width as usize, &mut origins);
        self.rows.push_back((row, origins));
    }

    /// Forgets what no output row from `at` on needs: rows before its own, or those beyond if they go `up`.
    pub(crate) fn advance<A: Float>(&mut self, passes: &TwoPass<A>, at: usize, up: bool) {
        let (low, high) = passes.rows_of(at);
        self.keep(|row| if up { row <= high } else { row >= low });
    }

    /// The sources of output row `at`.
    pub(crate) fn row_of<A: Float>(
        &mut self,
        passes: &TwoPass<A>,
        kernel: Kernel,
        span: usize,
        at: usize,
        out: &mut RowOrigins,
    ) {
        out.clear();
        let planes = self.rows.front().map_or(0, |(_, row)| row.ids.len() / span);
        let weighs = self.rows.front().is_some_and(|(_, row)| !row.weights.is_empty());
        let cols = passes.columns();
        let left = cols.span().0;
        for plane in 0..planes.max(1) {
            let start = plane * span;
            for x in 0..cols.count() {
                let (id, weight) = if kernel.is_area() {
                    self.heaviest(passes, at, x, start, left)
                } else {
                    let place = start + (cols.nearest(x) - left) as usize;
                    let nearest = passes.nearest_row(at);
                    let found = self.rows.iter().find(|(row, _)| *row == nearest);
                    let weight = |row: &RowOrigins| row.weights.get(place).copied().unwrap_or(1.0);
                    found.map_or((0, 0.0), |(_, row)| (row.ids[place], weight(row)))
                };
                out.ids.push(id);
                if weighs {
                    out.weights.push(weight);
                }
            }
        }
    }

    /// The source with most of the area of an output pixel, each by its weight.
    fn heaviest<A: Float>(
        &mut self,
        passes: &TwoPass<A>,
        at: usize,
        x: usize,
        start: usize,
        left: i64,
    ) -> (u32, f32) {
        let (cols, rows) = (passes.columns(), passes.rows());
        let (tx, ty) = (cols.taps(x), rows.taps(at));
        let first = start + (tx.first - left) as usize;
        self.sums.clear();
        for (row, origins) in &self.rows {
            let index = usize::try_from(*row - ty.first).unwrap_or(usize::MAX);
            let Some(wy) = rows.weights(at).get(index) else { continue };
            for (k, wx) in cols.weights(x).iter().enumerate() {
                let (id, own) = (origins.ids[first + k], origins.weights.get(first + k));
                let weight = wx * wy * own.map_or(1.0, |own| f64::from(*own));
                if id == 0 || wx * wy <= 0.0 {
                    continue;
                }
                match self.sums.iter_mut().find(|(other, _)| *other == id) {
                    Some((_, sum)) => *sum += weight,
                    None => self.sums.push((id, weight)),
                }
            }
        }
        let best = self.sums.iter().max_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        best.map_or((0, 0.0), |(id, weight)| {
            (*id, (*weight / (cols.full(x) * rows.full(at))) as f32)
        })
    }
}

/// One source for each pixel of a rendered canvas, 0 where there is none; nothing for a blank canvas.
pub(crate) fn by_pixel<T: Sample>(canvas: &Canvas<T>, mosaic: &Mosaic, out: &mut Vec<u32>) {
    let pixels = canvas.pixels();
    out.clear();
    let Some(origins) = canvas.origins.as_ref().filter(|_| !canvas.is_blank()) else { return };
    let planes = origins.ids.len() / pixels;
    // Alpha comes with the other bands.
    let alpha = mosaic.facts.alpha_band.filter(|band| canvas.bands.contains(band) && planes > 1);
    let own = (0..planes).filter(|p| alpha != Some(canvas.bands.start + *p as u32));
    let own: Vec<&[u32]> = own.map(|p| &origins.ids[p * pixels..][..pixels]).collect();
    let first = mosaic.overlap == Overlap::First;
    // The one on top wins a tie.
    let above = |a: u32, b: u32| if first { a < b } else { a > b };
    out.extend((0..pixels).map(|x| {
        let mut best = (0, 0);
        let mut last = 0;
        for plane in &own {
            let id = plane[x];
            if id == 0 || id == last || id == best.0 {
                continue;
            }
            last = id;
            let count = own.iter().filter(|plane| plane[x] == id).count();
            if count > best.1 || (count == best.1 && above(id, best.0)) {
                best = (id, count);
            }
        }
        best.0
    }));
}

/// The smallest type that holds the numbers of so many sources.
pub(crate) fn dtype_of(sources: usize) -> DataType {
    match sources {
        0..=255 => DataType::U8,
        256..=65535 => DataType::U16,
        _ => DataType::U32,
    }
}

/// Encodes the sources of cells.
pub(crate) trait EncodeOrigins: std::fmt::Debug + Send {
    /// The block of a window.
    ///
    /// # Errors
    /// As the codec says.
    fn encode(&mut self, window: Window, ids: &[u32]) -> Result<Encoded>;
}

#[derive(Debug)]
struct OriginEncoder<S> {
    canvas: Canvas<S>,
    encoder: BlockEncoder<S>,
    samples: Vec<S>,
    valid: Vec<u8>,
}

impl<S: Sample> EncodeOrigins for OriginEncoder<S> {
    fn encode(&mut self, window: Window, ids: &[u32]) -> Result<Encoded> {
        // A blank canvas has a block that is encoded once and for all.
        let empty = ids.iter().all(|id| *id == 0);
        if !empty {
            self.samples.clear();
            self.samples.extend(ids.iter().map(|id| S::from_f64(f64::from(*id))));
            self.valid.clear();
            self.valid.extend(ids.iter().map(|id| u8::from(*id != 0)));
        }
        let found = (!empty).then_some((&self.samples[..], &self.valid[..]));
        self.canvas.load(window, 0..1, 1, found, false);
        let mut encoded = self.encoder.encode(&mut self.canvas, |_| Ok(Vec::new()))?;
        Ok(encoded.blocks.pop().unwrap_or(Encoded::Sparse))
    }
}

/// What encodes blocks of `chunk` pixels of type [`dtype_of`].
///
/// # Errors
/// As the codec says.
pub(crate) fn encoder(dtype: DataType, chunk: u32, sparse: bool) -> Result<Box<dyn EncodeOrigins>> {
    fn make<S: Sample>(chunk: u32, sparse: bool) -> Result<Box<dyn EncodeOrigins>> {
        let format = BlockFormat {
            chunk,
            pixel_interleaved: false,
            samples_per_pixel: 1,
            compression: Compression::Lzw,
            level: None,
            predictor: Predictor::None,
            fill: S::ZERO,
            nodata: Some(S::ZERO),
            alpha_band: None,
            nudge: false,
            sparse,
            statistics: false,
            alpha: None,
            mask: false,
        };
        Ok(Box::new(OriginEncoder::<S> {
            canvas: Canvas::new(),
            encoder: BlockEncoder::new(format)?,
            samples: Vec::new(),
            valid: Vec::new(),
        }))
    }
    match dtype {
        DataType::U8 => make::<u8>(chunk, sparse),
        DataType::U16 => make::<u16>(chunk, sparse),
        _ => make::<u32>(chunk, sparse),
    }
}
