//! One level of overviews from the one below it: which samples an overview pixel is made of, with which
//! weights, and the sums. In: a rectangle of the level below, with its validity. Out: a rectangle of the
//! level. Pure; a pixel depends on the level below alone (SPEC §8.6), never on how it was cut.
//!
//! Invalid samples are left out and the weights of the others renormalised. A pixel is valid if any sample
//! that its area touches is valid, whatever the kernel (nearest: if its sample is), so that the edge of the
//! data is the same for all kernels.

use std::ops::Range;

use crate::geometry::Window;
use crate::sample::Sample;

/// How overview pixels are made of those below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverviewKernel {
    /// The sample at the pixel's upper left, as GDAL's overviews take it.
    Nearest,
    /// Mean by covered area.
    Average,
    /// Triangle, stretched by the factor.
    Bilinear,
    /// Catmull-Rom, stretched by the factor.
    Cubic,
    /// The most frequent value; of equals the one that is first to be.
    Mode,
}

impl OverviewKernel {
    /// The name as options spell it.
    pub fn name(self) -> &'static str {
        match self {
            OverviewKernel::Nearest => "nearest",
            OverviewKernel::Average => "average",
            OverviewKernel::Bilinear => "bilinear",
            OverviewKernel::Cubic => "cubic",
            OverviewKernel::Mode => "mode",
        }
    }

    /// Radius at scale 1; 0 for kernels that go by area.
    fn radius(self) -> f64 {
        match self {
            OverviewKernel::Bilinear => 1.0,
            OverviewKernel::Cubic => 2.0,
            _ => 0.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            OverviewKernel::Cubic if x <= 1.0 => x * x * (1.5 * x - 2.5) + 1.0,
            OverviewKernel::Cubic if x < 2.0 => x * (x * (-0.5 * x + 2.5) - 4.0) + 2.0,
            OverviewKernel::Cubic => 0.0,
            _ => (1.0 - x).max(0.0),
        }
    }
}

/// Slack when an edge is taken for whole, in pixels of the level below (GDAL's value).
const EDGE_PX: f64 = 1e-8;

/// Columns or rows of a level and of the one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) below: u32,
    pub(crate) above: u32,
    pub(crate) kernel: OverviewKernel,
}

impl Axis {
    pub(crate) fn ratio(&self) -> f64 {
        f64::from(self.below) / f64::from(self.above)
    }

    fn is_half(&self) -> bool {
        u64::from(self.below) == 2 * u64::from(self.above)
    }

    /// Pixels below that decide on validity: those that a pixel's area touches, or the nearest.
    fn covered(&self, pixel: u32) -> (u32, u32) {
        let ratio = self.ratio();
        if self.kernel == OverviewKernel::Nearest {
            let low = ((0.5 + f64::from(pixel) * ratio) as u32).min(self.below - 1);
            return (low, low + 1);
        }
        let low = (f64::from(pixel) * ratio + EDGE_PX) as u32;
        let high = ((f64::from(pixel) + 1.0) * ratio - EDGE_PX).ceil() as u32;
        let low = low.min(self.below - 1);
        (low, high.clamp(low + 1, self.below))
    }

    /// Pixels below that a pixel is made of; grows with the pixel at both ends.
    pub(crate) fn span(&self, pixel: u32) -> (u32, u32) {
        let radius = self.kernel.radius() * self.ratio().max(1.0);
        if radius == 0.0 {
            return self.covered(pixel);
        }
        let centre = (f64::from(pixel) + 0.5) * self.ratio();
        let (low, high) = self.covered(pixel);
        // The covered pixels decide on validity, so they are always among them.
        let from = (centre - radius + 0.5).floor().max(0.0) as u32;
        let to = (centre + radius + 0.5).floor() as u32;
        (from.min(low), to.clamp(high, self.below))
    }

    /// Weights of the pixels of [`Axis::span`], with sum 1.
    fn weights(&self, pixel: u32, out: &mut Vec<f64>) {
        let (low, high) = self.span(pixel);
        let start = out.len();
        let ratio = self.ratio();
        match self.kernel {
            OverviewKernel::Nearest | OverviewKernel::Mode => {
                out.extend((low..high).map(|_| 1.0));
            }
            OverviewKernel::Average => {
                let (from, to) = (f64::from(pixel) * ratio, (f64::from(pixel) + 1.0) * ratio);
                out.extend((low..high).map(|j| {
                    let cover = to.min(f64::from(j) + 1.0) - from.max(f64::from(j));
                    cover.clamp(EDGE_PX, 1.0)
                }));
            }
            kernel => {
                let (centre, scale) = ((f64::from(pixel) + 0.5) * ratio, ratio.max(1.0).recip());
                let weight = |j: u32| kernel.weight(scale * (f64::from(j) + 0.5 - centre));
                out.extend((low..high).map(weight));
            }
        }
        let sum: f64 = out[start..].iter().sum();
        out[start..].iter_mut().for_each(|w| *w /= sum);
    }
}

/// Weights for a run of pixels.
#[derive(Debug, Default)]
struct Taps {
    /// First pixel below, and where its weight lies; one more at the end.
    starts: Vec<(u32, usize)>,
    weights: Vec<f64>,
}

impl Taps {
    fn set(&mut self, axis: &Axis, first: u32, count: u32) {
        self.starts.clear();
        self.weights.clear();
        for pixel in first..first + count {
            self.starts.push((axis.span(pixel).0, self.weights.len()));
            axis.weights(pixel, &mut self.weights);
        }
        self.starts.push((0, self.weights.len()));
    }

    fn of(&self, index: usize) -> (u32, &[f64]) {
        let (first, at) = self.starts[index];
        (first, &self.weights[at..self.starts[index + 1].1])
    }
}

/// Rows of a level that are made at a time.
const STEP_ROWS: usize = 64;

/// Bytes of the lines that a reducer makes on the way, at most, for blocks of so many columns: sums and
/// weights of the rows below a step and those that kernels reach beyond it.
pub(crate) fn line_bytes(chunk: u32) -> u64 {
    let rows = 2 * STEP_ROWS as u64 + 24;
    rows * u64::from(chunk.div_ceil(2) + 1) * 2 * size_of::<f64>() as u64
}

/// Samples and validity of a rectangle of a level.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub(crate) window: Window,
    /// Index `(band * height + row) * width + col`.
    pub(crate) samples: &'a [T],
    /// One plane for each band, or one for all.
    pub(crate) valid: &'a [u8],
}

/// The same, owned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tile<T> {
    pub(crate) window: Window,
    pub(crate) samples: Vec<T>,
    pub(crate) valid: Vec<u8>,
}

impl<T: Sample> Tile<T> {
    /// All invalid.
    pub(crate) fn empty(window: Window, bands: usize, planes: usize) -> Tile<T> {
        let pixels = window.pixels() as usize;
        Tile { window, samples: vec![T::ZERO; pixels * bands], valid: vec![0; pixels * planes] }
    }

    pub(crate) fn view(&self) -> View<'_, T> {
        View { window: self.window, samples: &self.samples, valid: &self.valid }
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.samples.len() * size_of::<T>() + self.valid.len()) as u64
    }

    /// Copies what both have of a rectangle.
    pub(crate) fn paste(&mut self, from: View<'_, T>) {
        let Some(part) = self.window.intersection(from.window) else { return };
        paste(&mut self.samples, self.window, from.samples, from.window, part);
        paste(&mut self.valid, self.window, from.valid, from.window, part);
    }
}

fn paste<V: Copy>(dst: &mut [V], dst_window: Window, src: &[V], src_window: Window, part: Window) {
    let planes = src.len() / src_window.pixels() as usize;
    let at = |window: Window, plane: usize, row: u32| {
        (plane * window.height as usize + (row - window.row) as usize) * window.width as usize
            + (part.col - window.col) as usize
    };
    for plane in 0..planes {
        for row in part.row..part.row_end() {
            let (to, from) = (at(dst_window, plane, row), at(src_window, plane, row));
            let width = part.width as usize;
            dst[to..to + width].copy_from_slice(&src[from..from + width]);
        }
    }
}

/// Makes rectangles of a level; keeps scratch memory.
#[derive(Debug)]
pub(crate) struct Reducer<T> {
    pub(crate) kernel: OverviewKernel,
    pub(crate) bands: usize,
    /// Planes of validity: 1, or one for each band.
    pub(crate) planes: usize,
    /// The nodata of the file: no valid pixel becomes it.
    pub(crate) nodata: Option<T>,
    /// The band that holds alpha, where nodata means nothing.
    pub(crate) alpha_band: Option<u32>,
    /// NaN stays where nothing is valid.
    pub(crate) keeps_nan: bool,
    cols: Taps,
    rows: Taps,
    line: Vec<f64>,
    sums: Vec<f64>,
    weights: Vec<f64>,
    /// Sum of the weights of each column.
    full: Vec<f64>,
}

/// The rectangle of a level and the axes that lead to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    pub(crate) cols: Axis,
    pub(crate) rows: Axis,
    pub(crate) window: Window,
}

impl<T: Sample> Reducer<T> {
    pub(crate) fn new(kernel: OverviewKernel, bands: usize, planes: usize) -> Reducer<T> {
        Reducer {
            kernel,
            bands,
            planes,
            nodata: None,
            alpha_band: None,
            keeps_nan: false,
            cols: Taps::default(),
            rows: Taps::default(),
            line: Vec::new(),
            sums: Vec::new(),
            weights: Vec::new(),
            full: Vec::new(),
        }
    }

    /// The pixels of `area` from a view that holds all that they are made of.
    pub(crate) fn reduce(&mut self, src: View<'_, T>, area: &Area) -> Tile<T> {
        let mut out = Tile::empty(area.window, self.bands, self.planes);
        let (pixels, src_pixels) = (area.window.pixels() as usize, src.window.pixels() as usize);
        let half = area.cols.is_half() && area.rows.is_half();
        self.cols.set(&area.cols, area.window.col, area.window.width);
        self.rows.set(&area.rows, area.window.row, area.window.height);
        for plane in 0..self.planes {
            let valid = &mut out.valid[plane * pixels..][..pixels];
            reduce_validity(
                area,
                src.window,
                &src.valid[plane * src_pixels..][..src_pixels],
                valid,
            );
        }
        for band in 0..self.bands {
            let plane = if self.planes == 1 { 0 } else { band };
            let view = Band {
                window: src.window,
                samples: &src.samples[band * src_pixels..][..src_pixels],
                valid: &src.valid[plane * src_pixels..][..src_pixels],
            };
            let valid = &out.valid[plane * pixels..][..pixels];
            let samples = &mut out.samples[band * pixels..][..pixels];
            match self.kernel {
                OverviewKernel::Nearest => self.nearest(view, area, samples),
                OverviewKernel::Mode => self.mode(view, area, valid, samples),
                OverviewKernel::Average if half => average_half(view, area.window, samples),
                _ => self.convolve(view, area, valid, samples),
            }
            self.settle(view, area, band, valid, samples);
        }
        out
    }

    /// Valid pixels keep off nodata; invalid ones are 0, or NaN where that stays.
    fn settle(&self, src: Band<'_, T>, area: &Area, band: usize, valid: &[u8], out: &mut [T]) {
        let nodata = self.nodata.filter(|_| self.alpha_band != Some(band as u32));
        for (sample, valid) in out.iter_mut().zip(valid) {
            if *valid == 0 {
                *sample = T::ZERO;
            } else if nodata.is_some_and(|nodata| *sample == nodata) {
                *sample = sample.next_value();
            }
        }
        if !self.keeps_nan || !T::IS_FLOAT {
            return;
        }
        let width = area.window.width;
        for (index, sample) in out.iter_mut().enumerate().filter(|(i, _)| valid[*i] == 0) {
            let (col, row) = (index as u32 % width, index as u32 / width);
            let (cols, rows) = area.touched(area.window.col + col, area.window.row + row);
            let nan = (rows.0..rows.1)
                .flat_map(|row| (cols.0..cols.1).map(move |col| (col, row)))
                .find(|(col, row)| src.samples[src.at(*col, *row)].is_nan());
            if let Some((col, row)) = nan {
                *sample = src.samples[src.at(col, row)];
            }
        }
    }

    fn nearest(&self, src: Band<'_, T>, area: &Area, out: &mut [T]) {
        for (row, line) in out.chunks_exact_mut(area.window.width as usize).enumerate() {
            let (src_row, _) = self.rows.of(row);
            for (col, sample) in line.iter_mut().enumerate() {
                *sample = src.samples[src.at(self.cols.of(col).0, src_row)];
            }
        }
    }

    fn mode(&self, src: Band<'_, T>, area: &Area, valid: &[u8], out: &mut [T]) {
        let width = area.window.width as usize;
        let mut found: Vec<(T, f64)> = Vec::new();
        for (index, sample) in out.iter_mut().enumerate().filter(|(i, _)| valid[*i] != 0) {
            let ((col, wx), (row, wy)) = (self.cols.of(index % width), self.rows.of(index / width));
            found.clear();
            let mut best = 0.0;
            for (y, wy) in wy.iter().enumerate() {
                for (x, wx) in wx.iter().enumerate() {
                    let at = src.at(col + x as u32, row + y as u32);
                    if src.valid[at] == 0 {
                        continue;
                    }
                    let value = src.samples[at];
                    let place = found.iter().position(|(v, _)| *v == value);
                    let place = place.unwrap_or_else(|| {
                        found.push((value, 0.0));
                        found.len() - 1
                    });
                    found[place].1 += wx * wy;
                    // Sums of the same weights in another order are the same.
                    if found[place].1 > best + 1e-9 {
                        (best, *sample) = (found[place].1, value);
                    }
                }
            }
        }
    }

    /// Columns first, then rows; the sums of w·x and of w go through both and are divided once.
    /// So many rows at a time, which bounds the memory of the lines between.
    fn convolve(&mut self, src: Band<'_, T>, area: &Area, valid: &[u8], out: &mut [T]) {
        let width = area.window.width as usize;
        let all = src.valid.iter().all(|v| *v != 0);
        self.full.clear();
        self.full
            .extend((0..width).map(|col| self.cols.of(col).1.iter().map(|w| 1.0 * w).sum::<f64>()));
        for (index, out) in out.chunks_mut(STEP_ROWS * width).enumerate() {
            let rows = index * STEP_ROWS..index * STEP_ROWS + out.len() / width;
            let valid = &valid[rows.start * width..rows.end * width];
            self.convolve_rows(src, area, all, rows, valid, out);
        }
    }

    fn convolve_rows(
        &mut self,
        src: Band<'_, T>,
        area: &Area,
        all: bool,
        out_rows: Range<usize>,
        valid: &[u8],
        out: &mut [T],
    ) {
        let width = area.window.width as usize;
        let (last, weights) = self.rows.of(out_rows.end - 1);
        let rows = self.rows.of(out_rows.start).0..last + weights.len() as u32;
        self.sums.clear();
        self.weights.clear();
        for row in rows.clone() {
            self.convolve_line(src, row, width, all);
        }
        debug_assert_eq!(self.sums.len(), rows.len() * width);
        for (index, sample) in out.iter_mut().enumerate().filter(|(i, _)| valid[*i] != 0) {
            let (col, row) = (index % width, out_rows.start + index / width);
            let (start, wy) = self.rows.of(row);
            let base = (start - rows.start) as usize * width + col;
            let sum = |plane: &[f64]| -> f64 {
                wy.iter().enumerate().map(|(y, w)| w * plane[base + y * width]).sum()
            };
            // The same sum in the same order whether or not a plane of weights was made, so that the
            // last bit does not depend on what else is in the rectangle.
            let weight =
                if all { wy.iter().map(|w| w * self.full[col]).sum() } else { sum(&self.weights) };
            *sample = if weight >= 0.5 || (self.kernel.radius() <= 1.0 && weight > 0.0) {
                T::from_f64(sum(&self.sums) / weight)
            } else {
                // Negative lobes took more than half away.
                self.triangle(src, area, col as u32, row as u32)
            };
        }
    }

    fn convolve_line(&mut self, src: Band<'_, T>, row: u32, width: usize, all: bool) {
        let stride = src.window.width as usize;
        let at = src.at(src.window.col, row);
        let (samples, valid) = (&src.samples[at..at + stride], &src.valid[at..at + stride]);
        self.line.clear();
        self.line
            .extend(samples.iter().zip(valid).map(|(s, v)| if *v != 0 { s.to_f64() } else { 0.0 }));
        for col in 0..width {
            let (first, weights) = self.cols.of(col);
            let start = (first - src.window.col) as usize;
            let line = &self.line[start..start + weights.len()];
            self.sums.push(line.iter().zip(weights).map(|(x, w)| x * w).sum());
            if !all {
                let valid = &valid[start..start + weights.len()];
                self.weights.push(valid.iter().zip(weights).map(|(v, w)| f64::from(*v) * w).sum());
            }
        }
    }

    /// One pixel by bilinear weights over its valid samples.
    fn triangle(&self, src: Band<'_, T>, area: &Area, col: u32, row: u32) -> T {
        let axis = |axis: &Axis| Axis { kernel: OverviewKernel::Bilinear, ..*axis };
        let (cols, rows) = (axis(&area.cols), axis(&area.rows));
        let (col, row) = (area.window.col + col, area.window.row + row);
        let (mut wx, mut wy) = (Vec::new(), Vec::new());
        cols.weights(col, &mut wx);
        rows.weights(row, &mut wy);
        let (mut sum, mut weight) = (0.0, 0.0);
        for (y, wy) in wy.iter().enumerate() {
            for (x, wx) in wx.iter().enumerate() {
                let at = src.at(cols.span(col).0 + x as u32, rows.span(row).0 + y as u32);
                if src.valid[at] != 0 {
                    sum += wx * wy * src.samples[at].to_f64();
                    weight += wx * wy;
                }
            }
        }
        T::from_f64(if weight > 0.0 { sum / weight } else { 0.0 })
    }
}

impl Area {
    /// Columns and rows below that decide on the validity of a pixel.
    fn touched(&self, col: u32, row: u32) -> ((u32, u32), (u32, u32)) {
        (self.cols.covered(col), self.rows.covered(row))
    }
}

/// One band of a view.
#[derive(Debug, Clone, Copy)]
struct Band<'a, T> {
    window: Window,
    samples: &'a [T],
    valid: &'a [u8],
}

impl<T> Band<'_, T> {
    fn at(&self, col: u32, row: u32) -> usize {
        (row - self.window.row) as usize * self.window.width as usize
            + (col - self.window.col) as usize
    }
}

fn reduce_validity(area: &Area, window: Window, src: &[u8], out: &mut [u8]) {
    if src.iter().all(|v| *v != 0) {
        out.fill(1);
        return;
    }
    let plane = Band { window, samples: src, valid: src };
    let width = area.window.width as usize;
    let cols: Vec<(u32, u32)> =
        (0..area.window.width).map(|c| area.touched(area.window.col + c, 0).0).collect();
    for (index, line) in out.chunks_exact_mut(width).enumerate() {
        let rows = area.touched(area.window.col, area.window.row + index as u32).1;
        for row in rows.0..rows.1 {
            let start = plane.at(window.col, row);
            for (out, (from, to)) in line.iter_mut().zip(&cols) {
                let run =
                    &src[start + (from - window.col) as usize..start + (to - window.col) as usize];
                *out |= run.iter().fold(0, |any, v| any | *v);
            }
        }
    }
}

/// Means of 2 × 2 samples; integers of up to 32 bits exactly.
fn average_half<T: Sample>(src: Band<'_, T>, window: Window, out: &mut [T]) {
    let all = src.valid.iter().all(|v| *v != 0);
    for (index, line) in out.chunks_exact_mut(window.width as usize).enumerate() {
        let row = (window.row + index as u32) * 2;
        let (top, bottom) = (src.at(window.col * 2, row), src.at(window.col * 2, row + 1));
        let count = line.len() * 2;
        let part = |at: usize| (&src.samples[at..at + count], &src.valid[at..at + count]);
        let ((top, top_valid), (bottom, bottom_valid)) = (part(top), part(bottom));
        let (top, bottom) = (top.as_chunks::<2>().0, bottom.as_chunks::<2>().0);
        if all {
            for ((out, a), b) in line.iter_mut().zip(top).zip(bottom) {
                *out = mean_of_four([a[0], a[1], b[0], b[1]]);
            }
            continue;
        }
        let valid = top_valid.as_chunks::<2>().0.iter().zip(bottom_valid.as_chunks::<2>().0);
        for (((out, a), b), (va, vb)) in line.iter_mut().zip(top).zip(bottom).zip(valid) {
            *out = mean_of_valid([a[0], a[1], b[0], b[1]], [va[0], va[1], vb[0], vb[1]]);
        }
    }
}

#[inline(always)]
fn mean_of_four<T: Sample>(samples: [T; 4]) -> T {
    if T::IS_FLOAT || size_of::<T>() > 4 {
        return T::from_f64(samples.iter().map(|s| s.to_f64()).sum::<f64>() / 4.0);
    }
    let sum: i64 = samples.iter().map(|s| s.to_i128() as i64).sum();
    T::from_i128(i128::from(if sum >= 0 { (sum + 2) / 4 } else { (sum - 2) / 4 }))
}

fn mean_of_valid<T: Sample>(samples: [T; 4], valid: [u8; 4]) -> T {
    let count: i64 = valid.iter().map(|v| i64::from(*v)).sum();
    if count == 0 {
        return T::ZERO;
    }
    let pairs = samples.into_iter().zip(valid).filter(|(_, v)| *v != 0);
    if T::IS_FLOAT || size_of::<T>() > 4 {
        return T::from_f64(pairs.map(|(s, _)| s.to_f64()).sum::<f64>() / count as f64);
    }
    let sum: i64 = pairs.map(|(s, _)| s.to_i128() as i64).sum();
    let twice = 2 * sum.abs() + count;
    T::from_i128(i128::from(sum.signum() * (twice / (2 * count))))
}
