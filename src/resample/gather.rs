//! Resampling pixel by pixel: at any place of a rotated or warped grid, and for kernels that need all
//! samples under a pixel at once. Weighted sums are taken in `f64`.

use crate::resample::axis::Axis;
use crate::resample::{FLOOR_PX, Kernel, floor_index, rounded};
use crate::sample::Sample;

/// A window of samples in memory: those of pixel `(col, row)` have the index
/// `(row - row0) * width + col - col0`. What lies outside is invalid.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named in the line above")]
pub struct Patch<'a, P> {
    pub col0: i64,
    pub row0: i64,
    pub width: usize,
    pub height: usize,
    pub samples: &'a [P],
    /// Bytes of 0 and 1; all are valid without them.
    pub valid: Option<&'a [u8]>,
}

impl<P: Sample> Patch<'_, P> {
    fn index(&self, col: i64, row: i64) -> Option<usize> {
        let (c, r) = (col - self.col0, row - self.row0);
        let inside = (0..self.width as i64).contains(&c) && (0..self.height as i64).contains(&r);
        inside.then(|| r as usize * self.width + c as usize)
    }

    /// The sample of a pixel, if it is valid.
    pub fn get(&self, col: i64, row: i64) -> Option<P> {
        let index = self.index(col, row)?;
        let valid = self.valid.is_none_or(|valid| valid[index] != 0);
        valid.then(|| self.samples[index])
    }
}

/// Where an output pixel lies in the source, and how far its neighbours are from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Column position of its centre.
    pub u: f64,
    /// Row position of its centre.
    pub v: f64,
    /// Change of `u` from column to column, of `u` from row to row, then the same of `v`.
    pub jacobian: [f64; 4],
}

impl Place {
    /// Source pixels per output pixel along each axis of the source: the length of its gradient.
    pub fn scale(&self) -> [f64; 2] {
        let [ux, uy, vx, vy] = self.jacobian;
        // Not `hypot`: these are not so large or small that their squares were not numbers.
        [(ux * ux + uy * uy).sqrt(), (vx * vx + vy * vy).sqrt()]
    }

    /// Source column and row under the centre.
    pub fn nearest(&self) -> [i64; 2] {
        [self.u, self.v].map(|position| floor_index(rounded(position) + FLOOR_PX))
    }

    /// The corners of the pixel, in order.
    fn quad(&self) -> [[f64; 2]; 4] {
        let [ux, uy, vx, vy] = self.jacobian.map(|d| d / 2.0);
        let (u, v) = (rounded(self.u), rounded(self.v));
        [
            [u - ux - uy, v - vx - vy],
            [u + ux - uy, v + vx - vy],
            [u + ux + uy, v + vx + vy],
            [u - ux + uy, v - vx + vy],
        ]
    }
}

/// Memory of [`Gatherer`]'s calls.
#[derive(Debug, Default)]
pub struct Gatherer {
    weights: [Vec<f64>; 2],
    covered: Vec<(f64, f64)>,
}

impl Gatherer {
    /// The value at a place, if it is valid. `valid_fraction` is the least share of the covered area
    /// that must be valid, for area kernels.
    pub fn at<P: Sample>(
        &mut self,
        kernel: Kernel,
        patch: &Patch<'_, P>,
        place: &Place,
        valid_fraction: f64,
    ) -> Option<f64> {
        if !(place.u.is_finite() && place.v.is_finite()) {
            return None;
        }
        if kernel.is_area() {
            self.covered.clear();
            let covered = &mut self.covered;
            let mut full = 0.0;
            cover(place.quad(), |col, row, area| {
                full += area;
                if let Some(sample) = patch.get(col, row) {
                    covered.push((sample.to_f64(), area));
                }
            });
            return self.area_value(kernel, full, valid_fraction);
        }
        let [col, row] = place.nearest();
        let nearest = patch.get(col, row)?;
        if kernel == Kernel::Nearest {
            return Some(nearest.to_f64());
        }
        let scale = place.scale();
        let sums = self.point_sums(kernel, patch, place, scale);
        let keeps = match kernel {
            // As gdalwarp: with a part of its taps the kernel would lean to one side, by up to half a pixel.
            Kernel::Cubic if scale.map(stretch_of) == [1.0; 2] => sums.valid == sums.full,
            kernel if kernel.has_negative_lobes() => sums.valid >= 0.5 * sums.full,
            _ => true,
        };
        if keeps {
            return Some(sums.value());
        }
        Some(self.point_sums(Kernel::Bilinear, patch, place, scale).value())
    }

    /// The value of the output pixel at column `x` and row `y` of axes that were filled for an area
    /// kernel.
    pub fn on_axes<P: Sample>(
        &mut self,
        kernel: Kernel,
        patch: &Patch<'_, P>,
        [cols, rows]: [&Axis; 2],
        [x, y]: [usize; 2],
        valid_fraction: f64,
    ) -> Option<f64> {
        self.covered.clear();
        let (tx, ty) = (cols.taps(x), rows.taps(y));
        for (row, wy) in (ty.first..).zip(rows.weights(y)) {
            let Some(start) = patch.index(tx.first, row) else { continue };
            let samples = &patch.samples[start..start + tx.count];
            for (k, (sample, wx)) in samples.iter().zip(cols.weights(x)).enumerate() {
                let weight = wx * wy;
                if weight > 0.0 && patch.valid.is_none_or(|valid| valid[start + k] != 0) {
                    self.covered.push((sample.to_f64(), weight));
                }
            }
        }
        self.area_value(kernel, cols.full(x) * rows.full(y), valid_fraction)
    }

    /// The samples that the last area kernel looked at, each with its area; after a mode in ascending order.
    pub fn covered(&self) -> &[(f64, f64)] {
        &self.covered
    }

    /// What the covered samples give; `full` is the area of the pixel.
    fn area_value(&mut self, kernel: Kernel, full: f64, valid_fraction: f64) -> Option<f64> {
        let covered = &mut self.covered;
        let total: f64 = covered.iter().map(|(_, weight)| weight).sum();
        if covered.is_empty() || total < valid_fraction * full {
            return None;
        }
        let values = covered.iter().map(|(value, _)| *value);
        let weighted = |f: fn(f64) -> f64| -> f64 {
            covered.iter().map(|(value, weight)| f(*value) * weight).sum()
        };
        match kernel {
            Kernel::Sum => Some(weighted(|v| v)),
            Kernel::Rms => Some((weighted(|v| v * v) / total).sqrt()),
            Kernel::Min => values.reduce(f64::min),
            Kernel::Max => values.reduce(f64::max),
            Kernel::Mode => mode(covered),
            Kernel::Q1 => quantile(covered, 0.25 * total),
            Kernel::Med => quantile(covered, 0.5 * total),
            Kernel::Q3 => quantile(covered, 0.75 * total),
            _ => Some(weighted(|v| v) / total),
        }
    }

    fn point_sums<P: Sample>(
        &mut self,
        kernel: Kernel,
        patch: &Patch<'_, P>,
        place: &Place,
        scale: [f64; 2],
    ) -> Sums {
        let [wx, wy] = &mut self.weights;
        let col0 = taps_of(kernel, rounded(place.u), scale[0], wx);
        let row0 = taps_of(kernel, rounded(place.v), scale[1], wy);
        let mut sums = Sums::default();
        // The sums are those of the two passes of a separable kernel.
        for (row, wy) in (row0..).zip(wy.iter()) {
            let mut line = Sums::default();
            for (col, wx) in (col0..).zip(wx.iter()) {
                if let Some(sample) = patch.get(col, row) {
                    line.sum += wx * sample.to_f64();
                    line.valid += wx;
                }
                line.full += wx;
            }
            sums.sum += wy * line.sum;
            sums.valid += wy * line.valid;
            sums.full += wy * line.full;
        }
        sums
    }
}

/// Sums of weighted samples, of their weights, and of all weights.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    sum: f64,
    valid: f64,
    full: f64,
}

impl Sums {
    fn value(&self) -> f64 {
        if self.valid == self.full { self.sum } else { self.sum / self.valid }
    }
}

/// Scales up to here are no reduction. gdalwarp takes scales within 0.05 of 1 as 1; a kernel that is
/// stretched by so little is off its centre by a hundredth of a pixel, and smooths nothing.
pub(crate) const LEAST_STRETCH: f64 = 1.05;

/// How much a kernel is stretched at a scale: not at all up to [`LEAST_STRETCH`], then soon as much as the
/// scale, without a jump that would show as a line across the image.
fn stretch_of(scale: f64) -> f64 {
    const SLOPE: f64 = 3.0;
    (1.0 + SLOPE * (scale - LEAST_STRETCH)).clamp(1.0, scale.max(1.0))
}

/// Appends the weights of a point kernel about a centre, without taps that weigh nothing; returns the
/// first tap.
fn push_taps(kernel: Kernel, center: f64, scale: f64, weights: &mut Vec<f64>) -> i64 {
    let stretch = stretch_of(scale);
    if kernel == Kernel::Bilinear && stretch == 1.0 {
        let first = floor_index(center - 0.5);
        let fraction = center - 0.5 - first as f64;
        weights.push(1.0 - fraction);
        if fraction > 0.0 {
            weights.push(fraction);
        }
        return first;
    }
    let radius = kernel.radius() * stretch;
    let start = weights.len();
    let first = floor_index(center - radius + 0.5);
    let end = floor_index(center + radius + 0.5).max(first + 1);
    weights.extend((first..end).map(|tap| kernel.weight((tap as f64 + 0.5 - center) / stretch)));
    while weights.len() > start + 1 && weights.last() == Some(&0.0) {
        weights.pop();
    }
    let own = &weights[start..];
    let zeros = own.iter().take_while(|w| **w == 0.0).count().min(own.len() - 1);
    weights.drain(start..start + zeros);
    let sum: f64 = weights[start..].iter().sum();
    weights[start..].iter_mut().for_each(|w| *w /= sum);
    first + zeros as i64
}

fn taps_of(kernel: Kernel, center: f64, scale: f64, weights: &mut Vec<f64>) -> i64 {
    weights.clear();
    push_taps(kernel, center, scale, weights)
}

/// The taps of a row of places in a window, found once for all bands.
#[derive(Debug, Default)]
pub struct RowTaps {
    taps: Vec<PlaceTaps>,
    /// Of each place first those of the columns, then those of the rows.
    weights: Vec<f64>,
}

/// Taps of one place; no columns where not all of them lie in the window.
#[derive(Debug, Clone, Copy)]
struct PlaceTaps {
    /// Index in the window of the first tap.
    index: usize,
    /// Index of the first weight.
    start: usize,
    columns: usize,
    rows: usize,
}

impl RowTaps {
    /// Finds the taps of a point kernel at those `places` that are `wanted` in the window of `patch`. If its
    /// validity is that of all bands (`shared`), places that are invalid have none.
    pub fn fill<P: Sample>(
        &mut self,
        kernel: Kernel,
        patch: &Patch<'_, P>,
        places: &[Place],
        wanted: &[bool],
        shared: bool,
    ) {
        self.taps.clear();
        self.weights.clear();
        for (place, wanted) in places.iter().zip(wanted) {
            let start = self.weights.len();
            let mut taps = PlaceTaps { index: 0, start, columns: 0, rows: 0 };
            let [col, row] = place.nearest();
            let wanted = *wanted && (!shared || patch.get(col, row).is_some());
            if wanted && place.u.is_finite() && place.v.is_finite() {
                let scale = place.scale();
                let weights = &mut self.weights;
                let col = push_taps(kernel, rounded(place.u), scale[0], weights);
                let columns = weights.len() - start;
                let row = push_taps(kernel, rounded(place.v), scale[1], weights);
                let rows = weights.len() - start - columns;
                let last = patch.index(col + columns as i64 - 1, row + rows as i64 - 1);
                if let (Some(index), Some(_)) = (patch.index(col, row), last) {
                    taps = PlaceTaps { index, start, columns, rows };
                }
            }
            self.taps.push(taps);
        }
    }

    /// Whether all taps of the place at `at` lie in the window and are valid.
    pub fn is_whole<P: Sample>(&self, at: usize, patch: &Patch<'_, P>) -> bool {
        let PlaceTaps { index, columns, rows, .. } = self.taps[at];
        let whole = |valid: &[u8]| {
            (0..rows)
                .all(|row| valid[index + row * patch.width..][..columns].iter().all(|v| *v != 0))
        };
        columns > 0 && patch.valid.is_none_or(whole)
    }

    /// The value at a place whose taps are all valid: that of [`Gatherer::at`].
    pub fn value<P: Sample>(&self, at: usize, patch: &Patch<'_, P>) -> f64 {
        let PlaceTaps { index, start, columns, rows } = self.taps[at];
        if (columns, rows) == (2, 2)
            && let Some([wx0, wx1, wy0, wy1]) = self.weights[start..].first_chunk()
        {
            let line = |from: usize| {
                let samples = &patch.samples[from..from + 2];
                wx0 * samples[0].to_f64() + wx1 * samples[1].to_f64()
            };
            return wy0 * line(index) + wy1 * line(index + patch.width);
        }
        let (wx, wy) = self.weights[start..start + columns + rows].split_at(columns);
        let mut sum = 0.0;
        for (row, wy) in wy.iter().enumerate() {
            let samples = &patch.samples[index + row * patch.width..][..columns];
            let line: f64 =
                samples.iter().zip(wx).fold(0.0, |line, (sample, w)| line + w * sample.to_f64());
            sum += wy * line;
        }
        sum
    }
}

/// The value of the largest weight; the least of equals.
fn mode(covered: &mut [(f64, f64)]) -> Option<f64> {
    covered.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut best = None;
    for run in covered.chunk_by(|a, b| a.0 == b.0) {
        let weight: f64 = run.iter().map(|(_, weight)| weight).sum();
        if best.is_none_or(|(_, most)| weight > most) {
            best = Some((run[0].0, weight));
        }
    }
    best.map(|(value, _)| value)
}

/// The least value at or below which samples of this weight lie.
fn quantile(covered: &mut [(f64, f64)], weight: f64) -> Option<f64> {
    covered.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    for (value, own) in covered.iter() {
        sum += own;
        if sum >= weight {
            return Some(*value);
        }
    }
    covered.last().map(|(value, _)| *value)
}

/// Corners of a convex polygon: a quadrangle cut by a strip and by a square has at most 8.
#[derive(Debug, Clone, Copy)]
struct Polygon {
    corners: [[f64; 2]; 10],
    count: usize,
}

impl Polygon {
    fn new(corners: &[[f64; 2]]) -> Polygon {
        let mut polygon = Polygon { corners: [[0.0; 2]; 10], count: 0 };
        corners.iter().for_each(|corner| polygon.push(*corner));
        polygon
    }

    fn push(&mut self, corner: [f64; 2]) {
        if self.count < self.corners.len() {
            self.corners[self.count] = corner;
            self.count += 1;
        }
    }

    fn corners(&self) -> &[[f64; 2]] {
        &self.corners[..self.count]
    }

    /// The part with `sign * (coordinate - limit) >= 0` (Sutherland and Hodgman 1974).
    fn cut(&self, axis: usize, limit: f64, sign: f64) -> Polygon {
        let mut out = Polygon::new(&[]);
        let corners = self.corners();
        for (index, corner) in corners.iter().enumerate() {
            let before = corners[(index + self.count - 1) % self.count];
            let (a, b) = (sign * (before[axis] - limit), sign * (corner[axis] - limit));
            if (a < 0.0) != (b < 0.0) {
                let t = a / (a - b);
                let other = 1 - axis;
                let mut crossing = [limit; 2];
                crossing[other] = before[other] + t * (corner[other] - before[other]);
                out.push(crossing);
            }
            if b >= 0.0 {
                out.push(*corner);
            }
        }
        out
    }

    fn range(&self, axis: usize) -> (f64, f64) {
        self.corners().iter().fold((f64::MAX, f64::MIN), |(low, high), corner| {
            (low.min(corner[axis]), high.max(corner[axis]))
        })
    }

    fn area(&self) -> f64 {
        let corners = self.corners();
        let cross = |index: usize| {
            let ([x0, y0], [x1, y1]) = (corners[index], corners[(index + 1) % self.count]);
            x0 * y1 - x1 * y0
        };
        ((0..self.count).map(cross).sum::<f64>() / 2.0).abs()
    }
}

/// Calls `each` with the column and row of every pixel that a quadrangle covers, and the covered area.
fn cover(quad: [[f64; 2]; 4], mut each: impl FnMut(i64, i64, f64)) {
    // About its own corner, so that areas keep their digits far from the origin.
    let origin = quad[0].map(f64::floor);
    let quad = Polygon::new(&quad.map(|[u, v]| [u - origin[0], v - origin[1]]));
    // Slivers that are noise.
    const LEAST: f64 = 1e-9;
    let (top, bottom) = quad.range(1);
    for row in top.floor() as i64..bottom.ceil() as i64 {
        let strip = quad.cut(1, row as f64, 1.0).cut(1, (row + 1) as f64, -1.0);
        if strip.count < 3 {
            continue;
        }
        let (left, right) = strip.range(0);
        for col in left.floor() as i64..right.ceil() as i64 {
            let cell = strip.cut(0, col as f64, 1.0).cut(0, (col + 1) as f64, -1.0);
            let area = if cell.count < 3 { 0.0 } else { cell.area() };
            if area > LEAST {
                each(col + origin[0] as i64, row + origin[1] as i64, area);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_pixel_covers_its_area() {
        // A unit square turned by 45 degrees about the corner of four pixels: a quarter in each.
        let place = Place {
            u: 2.0,
            v: 3.0,
            jacobian: [0.5f64.sqrt(), -(0.5f64.sqrt()), 0.5f64.sqrt(), 0.5f64.sqrt()],
        };
        let mut cells = Vec::new();
        cover(place.quad(), |col, row, area| cells.push((col, row, area)));
        cells.sort_by_key(|(col, row, _)| (*row, *col));
        let places: Vec<_> = cells.iter().map(|(col, row, _)| (*col, *row)).collect();
        assert_eq!(places, [(1, 2), (2, 2), (1, 3), (2, 3)]);
        assert!(cells.iter().all(|(.., area)| (area - 0.25).abs() < 1e-12), "{cells:?}");
    }

    #[test]
    fn quantiles_take_the_first_that_reaches_the_share() {
        let mut covered = vec![(4.0, 1.0), (1.0, 1.0), (3.0, 1.0), (2.0, 1.0)];
        assert_eq!(quantile(&mut covered, 2.0), Some(2.0));
        assert_eq!(quantile(&mut covered, 1.0), Some(1.0));
        assert_eq!(quantile(&mut covered, 3.0), Some(3.0));
        let mut covered = vec![(1.0, 0.25), (9.0, 1.0), (5.0, 0.5)];
        assert_eq!(quantile(&mut covered, 0.5 * 1.75), Some(9.0));
    }

    #[test]
    fn the_mode_has_the_most_area_and_is_the_least_of_equals() {
        assert_eq!(mode(&mut [(7.0, 0.5), (3.0, 1.0), (7.0, 0.75)]), Some(7.0));
        assert_eq!(mode(&mut [(7.0, 1.0), (3.0, 0.5), (3.0, 0.5)]), Some(3.0));
    }

    #[test]
    fn places_of_an_unturned_grid_give_what_axes_give() {
        let samples: Vec<u16> = (0..400).map(|i| (i * 7919 % 1000) as u16).collect();
        let valid: Vec<u8> = (0..400).map(|i| u8::from(i % 7 != 3)).collect();
        let patch = Patch {
            col0: -3,
            row0: 5,
            width: 20,
            height: 20,
            samples: &samples,
            valid: Some(&valid),
        };
        let mut gatherer = Gatherer::default();
        let line = crate::resample::axis::Line { scale: 2.5, phase: 0.0 };
        let mut cases = 0;
        for kernel in [
            Kernel::Average,
            Kernel::Min,
            Kernel::Max,
            Kernel::Rms,
            Kernel::Sum,
            Kernel::Med,
            Kernel::Mode,
        ] {
            let (mut cols, mut rows) = (Axis::default(), Axis::default());
            cols.fill(kernel, line, 0, 4, false);
            rows.fill(kernel, line, 2, 4, false);
            for y in 0..4 {
                for x in 0..4 {
                    let on_axes = gatherer.on_axes(kernel, &patch, [&cols, &rows], [x, y], 0.0);
                    let (u, v) = ((x as f64 + 0.5) * 2.5, (y as f64 + 2.5) * 2.5);
                    let place = Place { u, v, jacobian: [2.5, 0.0, 0.0, 2.5] };
                    let at = gatherer.at(kernel, &patch, &place, 0.0);
                    let close = (at.unwrap() - on_axes.unwrap()).abs() < 1e-9;
                    assert!(close, "{kernel:?} {x} {y}: {at:?} {on_axes:?}");
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 112);
    }
}
