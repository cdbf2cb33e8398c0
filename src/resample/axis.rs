//! Taps and weights of one axis: for each output index a run of source pixels, and what they weigh.
//!
//! Computed once for the columns and once for the rows of a window, never per pixel. Point kernels
//! follow GDAL's convolution (FACTS §2.4): taps `floor(c - r + 0.5) .. floor(c + r + 0.5)` about the
//! centre `c`, weights `K((j + 0.5 - c) / s)`, normalised to a sum of 1. Area kernels weigh each pixel
//! by the share of it that is covered: not normalised, so that whole numbers stay whole.

use crate::resample::{FLOOR_PX, Kernel, rounded};

/// Slack of an area's edges, in pixels, so that noise adds no pixel (GDAL's value).
const AREA_PX: f64 = 1e-8;

/// Taps and weights of consecutive output indices along one axis.
#[derive(Debug, Clone, Default)]
pub struct Axis {
    taps: Vec<Taps>,
    weights: Vec<f64>,
    weights32: Vec<f32>,
    /// Sum of all weights of an output index, added in the order of the taps.
    full: Vec<f64>,
    full32: Vec<f32>,
    nearest: Vec<i64>,
    /// Number of taps, if it is the same everywhere.
    uniform: Option<usize>,
}

/// The taps of one output index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taps {
    /// Source index of the first tap.
    pub first: i64,
    /// Number of taps, at least 1.
    pub count: usize,
    /// Index of the first weight.
    start: usize,
}

/// How output indices lie in the source: `position = (index + 0.5) * scale + phase`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Source pixels per output pixel; negative where the axis is flipped.
    pub scale: f64,
    /// Source position of output position 0.
    pub phase: f64,
}

impl Line {
    /// Source position of an output position.
    pub fn at(self, position: f64) -> f64 {
        rounded(position * self.scale + self.phase)
    }
}

impl Axis {
    /// Taps of the output indices `first .. first + count`, in memory that is there already.
    ///
    /// `keep_zeros`: taps that weigh nothing stay, so that all indices have as many taps; only for
    /// samples that are finite.
    pub fn fill(&mut self, kernel: Kernel, line: Line, first: u32, count: u32, keep_zeros: bool) {
        self.taps.clear();
        self.weights.clear();
        self.weights32.clear();
        self.full.clear();
        self.full32.clear();
        self.nearest.clear();
        for index in first..first + count {
            let center = line.at(f64::from(index) + 0.5);
            let nearest = (center + FLOOR_PX).floor() as i64;
            self.nearest.push(nearest);
            let start = self.weights.len();
            let first = match kernel {
                Kernel::Nearest => {
                    self.weights.push(1.0);
                    nearest
                }
                kernel if kernel.is_area() => {
                    let (a, b) = (line.at(f64::from(index)), line.at(f64::from(index) + 1.0));
                    self.push_area(a.min(b), a.max(b), nearest)
                }
                kernel => self.push_point(kernel, line.scale.abs(), center, keep_zeros),
            };
            let own = &self.weights[start..];
            self.weights32.extend(own.iter().map(|w| *w as f32));
            self.full.push(own.iter().sum());
            self.full32.push(self.weights32[start..].iter().sum());
            self.taps.push(Taps { first, count: own.len(), start });
        }
        let count = self.taps.first().map(|taps| taps.count);
        self.uniform = count.filter(|count| self.taps.iter().all(|taps| taps.count == *count));
    }

    fn push_point(&mut self, kernel: Kernel, scale: f64, center: f64, keep_zeros: bool) -> i64 {
        let stretch = scale.max(1.0);
        let radius = kernel.radius() * stretch;
        let (mut first, mut end) =
            ((center - radius + 0.5).floor() as i64, (center + radius + 0.5).floor() as i64);
        let weight = |tap: i64| kernel.weight((tap as f64 + 0.5 - center) / stretch);
        if !keep_zeros {
            while end - first > 1 && weight(first) == 0.0 {
                first += 1;
            }
            while end - first > 1 && weight(end - 1) == 0.0 {
                end -= 1;
            }
        }
        let start = self.weights.len();
        self.weights.extend((first..end).map(weight));
        let sum: f64 = self.weights[start..].iter().sum();
        self.weights[start..].iter_mut().for_each(|w| *w /= sum);
        first
    }

    fn push_area(&mut self, low: f64, high: f64, nearest: i64) -> i64 {
        let first = ((low + AREA_PX).floor() as i64).min(nearest);
        let end = ((high - AREA_PX).ceil() as i64).max(nearest + 1);
        self.weights.extend((first..end).map(|tap| {
            let tap = tap as f64;
            ((tap + 1.0).min(high) - tap.max(low)).max(0.0)
        }));
        first
    }

    /// Number of output indices.
    pub fn count(&self) -> usize {
        self.taps.len()
    }

    /// Taps of the output index at `at`, counted from the first.
    pub fn taps(&self, at: usize) -> Taps {
        self.taps[at]
    }

    /// Weights of the taps of the output index at `at`.
    pub fn weights(&self, at: usize) -> &[f64] {
        let Taps { start, count, .. } = self.taps[at];
        &self.weights[start..start + count]
    }

    /// Sum of all weights of the output index at `at`.
    pub fn full(&self, at: usize) -> f64 {
        self.full[at]
    }

    /// Source index under the centre of the output index at `at`.
    pub fn nearest(&self, at: usize) -> i64 {
        self.nearest[at]
    }

    /// Most taps of an output index.
    pub fn most_taps(&self) -> usize {
        self.taps.iter().map(|taps| taps.count).max().unwrap_or(0)
    }

    /// First source index that any tap needs, and the one after the last.
    pub fn span(&self) -> (i64, i64) {
        let first = self.taps.iter().map(|taps| taps.first).min().unwrap_or(0);
        let end = self.taps.iter().map(|taps| taps.first + taps.count as i64).max().unwrap_or(0);
        (first, end)
    }

    pub(super) fn all_taps(&self) -> &[Taps] {
        &self.taps
    }

    pub(super) fn uniform(&self) -> Option<usize> {
        self.uniform
    }
}

impl Taps {
    pub(super) fn start(self) -> usize {
        self.start
    }
}

/// The precision in which weighted sums are taken.
pub trait Float:
    Copy
    + std::fmt::Debug
    + Send
    + Sync
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + 'static
{
    /// Zero.
    const ZERO: Self;
    /// One half.
    const HALF: Self;
    /// The weights of an axis in this precision.
    fn weights(axis: &Axis) -> &[Self];
    /// Sums of all weights of each output index.
    fn full(axis: &Axis) -> &[Self];
    /// From a sample; exact for the samples that are summed in this precision.
    fn from_sample<S: crate::sample::Sample>(sample: S) -> Self;
    /// The square root.
    fn root(self) -> Self;
    /// As `f64`.
    fn to_double(self) -> f64;
}

impl Float for f64 {
    const ZERO: f64 = 0.0;
    const HALF: f64 = 0.5;
    fn weights(axis: &Axis) -> &[f64] {
        &axis.weights
    }
    fn full(axis: &Axis) -> &[f64] {
        &axis.full
    }
    #[inline]
    fn from_sample<S: crate::sample::Sample>(sample: S) -> f64 {
        sample.to_f64()
    }
    fn root(self) -> f64 {
        self.sqrt()
    }
    fn to_double(self) -> f64 {
        self
    }
}

impl Float for f32 {
    const ZERO: f32 = 0.0;
    const HALF: f32 = 0.5;
    fn weights(axis: &Axis) -> &[f32] {
        &axis.weights32
    }
    fn full(axis: &Axis) -> &[f32] {
        &axis.full32
    }
    #[inline]
    fn from_sample<S: crate::sample::Sample>(sample: S) -> f32 {
        sample.to_f64() as f32
    }
    fn root(self) -> f32 {
        self.sqrt()
    }
    fn to_double(self) -> f64 {
        f64::from(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(kernel: Kernel, scale: f64, phase: f64, count: u32) -> Axis {
        let mut axis = Axis::default();
        axis.fill(kernel, Line { scale, phase }, 0, count, false);
        axis
    }

    #[test]
    fn bilinear_halves_and_copies() {
        // Twice as fine: centres at 0.25, 0.75, …: three quarters of the pixel, one of its neighbour.
        let fine = axis(Kernel::Bilinear, 0.5, 0.0, 4);
        assert_eq!((fine.taps(0).first, fine.weights(0)), (-1, &[0.25, 0.75][..]));
        assert_eq!((fine.taps(1).first, fine.weights(1)), (0, &[0.75, 0.25][..]));
        // On the centres themselves only the pixel counts.
        let same = axis(Kernel::Cubic, 1.0, 3.0, 2);
        assert_eq!((same.taps(1).first, same.weights(1)), (4, &[1.0][..]));
    }

    #[test]
    fn stretched_kernels_reach_further() {
        // GDAL at ratio 2: radius 2 about 1: taps -1..3 of weights 1/8, 3/8, 3/8, 1/8.
        let coarse = axis(Kernel::Bilinear, 2.0, 0.0, 2);
        assert_eq!(
            (coarse.taps(0).first, coarse.weights(0)),
            (-1, &[0.125, 0.375, 0.375, 0.125][..])
        );
        assert_eq!(coarse.most_taps(), 4);
    }

    #[test]
    fn areas_cover_their_share() {
        let area = axis(Kernel::Average, 2.5, 0.0, 4);
        assert_eq!((area.taps(0).first, area.weights(0)), (0, &[1.0, 1.0, 0.5][..]));
        assert_eq!((area.taps(1).first, area.weights(1)), (2, &[0.5, 1.0, 1.0][..]));
        assert_eq!(area.full(3), 2.5);
        let flipped = axis(Kernel::Sum, -2.0, 10.0, 2);
        assert_eq!((flipped.taps(1).first, flipped.weights(1)), (6, &[1.0, 1.0][..]));
        let fine = axis(Kernel::Average, 0.25, 0.0, 4);
        assert_eq!((fine.taps(3).first, fine.weights(3)), (0, &[0.25][..]));
    }

    #[test]
    fn every_nearest_is_a_tap() {
        for (kernel, _) in Kernel::NAMES {
            for scale in [0.1, 0.7, 1.0, 1.3, 2.0, 7.7, -0.4, -3.0] {
                let axis = axis(kernel, scale, 0.3, 50);
                for at in 0..axis.count() {
                    let (taps, nearest) = (axis.taps(at), axis.nearest(at));
                    assert!(
                        taps.first <= nearest && nearest < taps.first + taps.count as i64,
                        "{kernel:?} {scale}"
                    );
                }
            }
        }
    }
}
