//! Where the rows of a resampled layer go: onto the canvas by z-order or as extremes, or into sums that
//! all layers add to.

use std::ops::Range;

use crate::composite::{self, rules};
use crate::engine::canvas::Canvas;
use crate::engine::origin::{Origins, RowOrigins, Trace};
use crate::geometry::Window;
use crate::mosaic::bands::opaque_alpha;
use crate::mosaic::{Mosaic, Overlap};
use crate::resample::Kernel;
use crate::sample::{DataType, Sample, convert};
use crate::with_dtype;

/// A row of samples of any type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    dtype: DataType,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    pub(crate) fn new<S: Sample>(samples: &'a [S]) -> Values<'a> {
        Values { dtype: S::DTYPE, bytes: bytemuck::cast_slice(samples) }
    }

    fn convert_into<T: Sample>(self, out: &mut [T]) {
        with_dtype!(self.dtype, S => {
            // Cannot fail: the bytes are those of a slice of this type.
            composite::convert_row(bytemuck::cast_slice::<u8, S>(self.bytes), out);
        });
    }

    /// Number of valid samples that are too large or too small for `T`.
    fn count_saturated<T: Sample>(self, valid: &[u8]) -> u64 {
        with_dtype!(self.dtype, S => {
            // Cannot fail: as above.
            composite::count_saturated::<S, T>(bytemuck::cast_slice::<u8, S>(self.bytes), valid)
        })
    }
}

/// A row of pixels of the mosaic's grid.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    pub(crate) col: u32,
    pub(crate) row: u32,
    pub(crate) width: usize,
}

/// Takes the rows of a layer, in any order of rows: validity first, then each band, then the end.
pub(crate) trait TileSink {
    /// Validity of a row, plane after plane, and the weights of all samples in it where the rule has
    /// weights.
    fn begin_row(&mut self, run: Run, valid: &[u8], weights: Option<&[f64]>);
    /// The sources of the samples in that row, if they are asked for: before any band.
    fn origins(&mut self, _origins: &RowOrigins) {}
    /// The samples of a band in that row.
    fn band(&mut self, index: usize, values: Values<'_>);
    /// All bands were given.
    fn end_row(&mut self);
    /// Whether nothing that is given for a window can count any more.
    fn is_full(&self, _window: Window) -> bool {
        false
    }
}

/// What holds for the samples of a run besides their rule.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SinkRules {
    /// Samples may be too large for the canvas, and are counted.
    pub(crate) may_saturate: bool,
    /// Band of the mosaic that is alpha, and its value where anything is valid: sums and counts of
    /// alpha mean nothing.
    pub(crate) opaque: Option<(u32, f64)>,
}

impl SinkRules {
    pub(crate) fn new(mosaic: &Mosaic) -> SinkRules {
        let sums =
            matches!(mosaic.overlap, Overlap::Sum | Overlap::Count) || mosaic.kernel == Kernel::Sum;
        let alpha = mosaic.facts.alpha_band.filter(|_| sums);
        SinkRules {
            may_saturate: mosaic.may_saturate,
            opaque: alpha.map(|band| (band, opaque_alpha(mosaic.dtype))),
        }
    }

    /// Alpha of the band at `index` of `first..`, where it is not computed.
    fn opaque_at(&self, first: u32, index: usize) -> Option<f64> {
        let (band, value) = self.opaque?;
        (first as usize + index == band as usize).then_some(value)
    }
}

/// Onto the canvas: under what is there, or the lesser or larger of both.
pub(crate) struct CanvasSink<'a, T> {
    canvas: &'a mut Canvas<T>,
    overlap: Overlap,
    rules: SinkRules,
    judges_pixels: bool,
    scratch: &'a mut SinkScratch<T>,
    run: Run,
    /// Nothing valid is in the row yet: samples need not look for it.
    replaces: bool,
}

/// Memory of a sink.
#[derive(Debug)]
pub(crate) struct SinkScratch<T> {
    samples: Vec<T>,
    valid: Vec<u8>,
    pixel: Vec<u8>,
    ids: Vec<u32>,
}

// Not derived: that would ask for `T: Default`.
impl<T> Default for SinkScratch<T> {
    fn default() -> SinkScratch<T> {
        SinkScratch { samples: Vec::new(), valid: Vec::new(), pixel: Vec::new(), ids: Vec::new() }
    }
}

impl<'a, T: Sample> CanvasSink<'a, T> {
    pub(crate) fn new(
        canvas: &'a mut Canvas<T>,
        overlap: Overlap,
        rules: SinkRules,
        judges_pixels: bool,
        scratch: &'a mut SinkScratch<T>,
    ) -> CanvasSink<'a, T> {
        CanvasSink {
            canvas,
            overlap,
            rules,
            judges_pixels,
            scratch,
            run: Run::default(),
            replaces: false,
        }
    }

    fn at(&self, index: usize) -> usize {
        index * self.canvas.pixels() + self.canvas.index(self.run.col, self.run.row)
    }

    /// Notes the sources of what becomes valid in the row.
    fn note_origins(&mut self, planes: usize) {
        let Some(mut origins) = self.canvas.origins.take() else { return };
        let width = self.run.width;
        for (index, ids) in self.scratch.ids.chunks_exact(width).enumerate() {
            let plane = if planes == 1 { 0 } else { index };
            let (to, at) = (self.at(index), self.at(plane));
            let valid = &self.canvas.valid[at..at + width];
            let src_valid = &self.scratch.valid[plane * width..][..width];
            for x in (0..width).filter(|x| valid[*x] == 0 && src_valid[*x] != 0) {
                origins.ids[to + x] = ids[x];
            }
        }
        self.canvas.origins = Some(origins);
    }
}

impl<T: Sample> TileSink for CanvasSink<'_, T> {
    fn is_full(&self, window: Window) -> bool {
        self.overlap.is_by_order() && self.canvas.is_full(window)
    }

    fn begin_row(&mut self, run: Run, valid: &[u8], _: Option<&[f64]>) {
        self.run = run;
        if self.canvas.is_blank() {
            self.canvas.prepare();
        }
        let planes = if self.canvas.shared { 1 } else { self.canvas.bands.len() };
        // What is invalid stays invalid, and is filled at the end.
        self.replaces = (0..planes).all(|plane| {
            let at = self.at(plane);
            self.canvas.valid[at..at + run.width].iter().all(|v| *v == 0)
        });
        let SinkScratch { valid: own, pixel, .. } = &mut self.scratch;
        own.clear();
        own.extend_from_slice(valid);
        if !self.canvas.shared && self.judges_pixels {
            let width = self.run.width;
            pixel.clear();
            pixel.resize(width, 0);
            for plane in own.chunks_exact(width) {
                pixel.iter_mut().zip(plane).for_each(|(p, v)| *p |= *v);
            }
            for plane in own.chunks_exact_mut(width) {
                composite::mark_taken(plane, pixel);
            }
        }
    }

    fn origins(&mut self, origins: &RowOrigins) {
        self.scratch.ids.clone_from(&origins.ids);
    }

    fn band(&mut self, index: usize, values: Values<'_>) {
        let width = self.run.width;
        let at = self.at(index);
        let plane = if self.canvas.shared { 0 } else { index };
        let valid_at = self.at(plane);
        let first = self.canvas.bands.start;
        let opaque = self.rules.opaque_at(first, index);
        if self.rules.may_saturate && opaque.is_none() {
            // Only what is seen counts; marks of samples that hide others are not ones.
            let hidden = &self.canvas.valid[valid_at..valid_at + width];
            let src_valid = &self.scratch.valid[plane * width..][..width];
            let seen = src_valid.iter().zip(hidden).map(|(s, d)| u8::from(*s == 1 && *d == 0));
            self.scratch.pixel.clear();
            self.scratch.pixel.extend(seen);
            self.canvas.saturated += values.count_saturated::<T>(&self.scratch.pixel);
        }
        if self.replaces && opaque.is_none() {
            let keeps_nan = self.canvas.may_keep_nan;
            let dst = &mut self.canvas.samples[at..at + width];
            values.convert_into(dst);
            if keeps_nan {
                // A NaN where nothing is valid would pass for one that a source has.
                let valid = &self.scratch.valid[plane * width..][..width];
                dst.iter_mut().zip(valid).filter(|(_, v)| **v == 0).for_each(|(d, _)| *d = T::ZERO);
            }
            return;
        }
        self.scratch.samples.resize(width, T::ZERO);
        match opaque {
            Some(opaque) => self.scratch.samples.fill(T::from_f64(opaque)),
            None => values.convert_into(&mut self.scratch.samples),
        }
        let (src, src_valid) =
            (&self.scratch.samples, &self.scratch.valid[plane * width..][..width]);
        let dst = &mut self.canvas.samples[at..at + width];
        let dst_valid = &self.canvas.valid[valid_at..valid_at + width];
        match self.overlap {
            Overlap::Min | Overlap::Max => {
                let largest = self.overlap == Overlap::Max;
                if let Some(origins) = &mut self.canvas.origins {
                    let ids = &self.scratch.ids[index * width..][..width];
                    let (samples, valid) = ([&*dst, src], [dst_valid, src_valid]);
                    origins.rival(at, samples, valid, largest, |x| ids[x]);
                }
                rules::take_extreme(dst, dst_valid, src, Some(src_valid), largest);
            }
            _ => composite::fill_under(dst, dst_valid, src, Some(src_valid)),
        }
    }

    fn end_row(&mut self) {
        let width = self.run.width;
        let planes = self.scratch.valid.len() / width;
        self.note_origins(planes);
        for plane in 0..planes {
            let at = self.at(plane);
            let dst = &mut self.canvas.valid[at..at + width];
            let src = &self.scratch.valid[plane * width..][..width];
            self.canvas.left -= if self.canvas.shared || !self.judges_pixels {
                composite::merge_valid(dst, Some(src))
            } else {
                composite::merge_taken(dst, src)
            };
        }
    }
}

/// Into sums over all layers: the mean of what each gives, weighted by the weights that its samples
/// have, or the plain sum.
#[derive(Debug, Default)]
pub(crate) struct SumSink {
    overlap: Overlap,
    rules: SinkRules,
    first_band: u32,
    tile: Option<Window>,
    pixels: usize,
    shared: bool,
    /// Index `(band * pixels) + row * width + x`.
    values: Vec<f64>,
    /// The same by plane.
    weights: Vec<f64>,
    /// How many layers gave something: 0, 1, or 2 for more. The value of one layer stands as it is
    /// among `values`; those of more are multiplied by their weights and added, to be divided once.
    valid: Vec<u8>,
    /// Place of the row in the tile, and its width.
    at: usize,
    width: usize,
    row_valid: Vec<u8>,
    row_weights: Vec<f64>,
    buffer: Vec<f64>,
    origins: Option<Origins>,
    row_origins: RowOrigins,
}

impl SumSink {
    /// Asks for the sources of samples, or not.
    pub(crate) fn trace(&mut self, trace: Option<Trace>) {
        self.origins = trace.map(Origins::new);
    }

    pub(crate) fn begin(
        &mut self,
        overlap: Overlap,
        rules: SinkRules,
        tile: Window,
        bands: Range<u32>,
        shared: bool,
    ) {
        (self.overlap, self.rules, self.first_band) = (overlap, rules, bands.start);
        let bands = bands.len();
        self.tile = Some(tile);
        self.pixels = tile.pixels() as usize;
        self.shared = shared;
        let planes = if shared { 1 } else { bands };
        for (list, count) in [(&mut self.values, bands), (&mut self.weights, planes)] {
            list.clear();
            list.resize(count * self.pixels, 0.0);
        }
        self.valid.clear();
        self.valid.resize(planes * self.pixels, 0);
        if let Some(origins) = &mut self.origins {
            origins.clear(self.pixels, bands, planes);
        }
    }

    /// Puts the sums onto a canvas that holds nothing there yet.
    pub(crate) fn finish<T: Sample>(&self, canvas: &mut Canvas<T>, bands: Range<u32>) {
        let Some(tile) = self.tile.filter(|_| self.valid.iter().any(|v| *v != 0)) else { return };
        if canvas.is_blank() {
            canvas.prepare();
        }
        let width = tile.width as usize;
        let divides = !matches!(self.overlap, Overlap::Sum | Overlap::Count);
        let (mut row_valid, mut finals) = (Vec::new(), Vec::new());
        for row in 0..tile.height {
            let from = row as usize * width;
            let at = canvas.index(tile.col, tile.row + row);
            for index in 0..bands.len() {
                let plane = if self.shared { 0 } else { index * self.pixels };
                let layers = &self.valid[plane + from..][..width];
                let weights = &self.weights[plane + from..][..width];
                let values = &self.values[index * self.pixels + from..][..width];
                let to = index * canvas.pixels() + at;
                finals.clear();
                finals.extend(
                    values
                        .iter()
                        .zip(weights)
                        .zip(layers)
                        .map(|((v, w), layers)| if divides && *layers > 1 { *v / *w } else { *v }),
                );
                if self.rules.may_saturate {
                    row_valid.clear();
                    row_valid.extend(layers.iter().map(|layers| u8::from(*layers > 0)));
                    canvas.saturated += composite::count_saturated::<f64, T>(&finals, &row_valid);
                }
                for (d, v) in canvas.samples[to..to + width].iter_mut().zip(&finals) {
                    *d = convert(*v);
                }
            }
            for plane in 0..self.valid.len() / self.pixels {
                let layers = &self.valid[plane * self.pixels + from..][..width];
                row_valid.clear();
                row_valid.extend(layers.iter().map(|layers| u8::from(*layers > 0)));
                let to = plane * canvas.pixels() + at;
                if let (Some(origins), Some(own)) = (&mut canvas.origins, &self.origins) {
                    let ids = &own.ids[plane * self.pixels + from..][..width];
                    origins.ids[to..to + width].copy_from_slice(ids);
                }
                let valid = &mut canvas.valid[to..to + width];
                canvas.left -= composite::merge_valid(valid, Some(&row_valid));
            }
        }
    }
}

impl TileSink for SumSink {
    fn origins(&mut self, origins: &RowOrigins) {
        self.row_origins.ids.clone_from(&origins.ids);
        self.row_origins.weights.clone_from(&origins.weights);
    }

    fn begin_row(&mut self, run: Run, valid: &[u8], weights: Option<&[f64]>) {
        if let Some(tile) = self.tile {
            let (col, row) = ((run.col - tile.col) as usize, (run.row - tile.row) as usize);
            self.at = row * tile.width as usize + col;
        }
        self.width = run.width;
        self.row_valid.clear();
        self.row_valid.extend_from_slice(valid);
        self.row_weights.clear();
        match weights {
            // A kernel with negative lobes can make a weight vanish.
            Some(weights) => self.row_weights.extend(weights.iter().map(|w| w.max(1e-9))),
            None => self.row_weights.resize(valid.len(), 1.0),
        }
    }

    fn band(&mut self, index: usize, values: Values<'_>) {
        let (width, at) = (self.width, self.at);
        self.buffer.resize(width, 0.0);
        values.convert_into(&mut self.buffer);
        let plane = if self.shared { 0 } else { index };
        let sums = &mut self.values[index * self.pixels + at..][..width];
        let weights = &self.weights[plane * self.pixels + at..][..width];
        let valid = &self.row_valid[plane * width..][..width];
        if let Some(opaque) = self.rules.opaque_at(self.first_band, index) {
            sums.iter_mut().zip(valid).filter(|(_, v)| **v != 0).for_each(|(s, _)| *s = opaque);
            return;
        }
        if matches!(self.overlap, Overlap::Sum | Overlap::Count) {
            rules::add_valid(sums, &self.buffer, valid);
            return;
        }
        let own = &self.row_weights[plane * width..][..width];
        let layers = &self.valid[plane * self.pixels + at..][..width];
        for x in (0..width).filter(|x| valid[*x] != 0) {
            sums[x] = match layers[x] {
                0 => self.buffer[x],
                1 => sums[x] * weights[x] + self.buffer[x] * own[x],
                _ => sums[x] + self.buffer[x] * own[x],
            };
        }
    }

    fn end_row(&mut self) {
        let (width, at) = (self.width, self.at);
        for plane in 0..self.row_valid.len() / width {
            let valid = &self.row_valid[plane * width..][..width];
            let own = &self.row_weights[plane * width..][..width];
            let weights = &mut self.weights[plane * self.pixels + at..][..width];
            rules::add_valid(weights, own, valid);
            if let Some(origins) = &mut self.origins {
                let to = plane * self.pixels + at;
                let part = plane * width..(plane + 1) * width;
                origins.weigh_row(to, part, &self.row_origins, valid);
            }
            let all = &mut self.valid[plane * self.pixels + at..][..width];
            all.iter_mut().zip(valid).for_each(|(a, v)| *a = (*a + *v).min(2));
        }
    }
}
