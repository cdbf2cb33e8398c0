//! Resampling kernels: from a raster of samples and validity to samples at other places (SPEC §5.6).
//!
//! Pure functions of slices. Everything is computed at pixel centres; positions are continuous pixel
//! coordinates of the source raster, where pixel `i` covers `[i, i + 1)` and its centre is `i + 0.5`.
//!
//! - [`axis`]: taps and weights of one axis, computed once for each column or row.
//! - [`separable`]: two passes, rows then columns, where axes stay axes.
//! - [`gather`]: kernels that need all samples under a pixel, and any place on a rotated or warped grid.
//!
//! Where no tap is invalid, samples are those of GDAL's `RasterIO` (tests/resampling.rs compares seven
//! kernels, six ratios and five types with it; `fixtures/kernels`). Where GDAL differs, and why:
//!
//! - **Taps come from the neighbours in the layer.** GDAL's VRT resamples each file by itself, so that
//!   kernels end at the edges of files and leave seams there (`fixtures/pictures/seam.png`).
//! - **A pixel belongs to a source if its centre lies in it**, left and top edges in, right and bottom
//!   edges out; GDAL's VRT paints what a source touches by a thousandth of a pixel.
//! - **A pixel is valid if its nearest tap is** (point kernels). GDAL's `RasterIO` lets data grow into
//!   nodata by the kernel's radius.
//! - **Invalid taps are left out** by carrying the sums of `w x` and of `w` through both passes; GDAL's
//!   `RasterIO` makes the result of the first pass valid or invalid as a whole, so that its result
//!   depends on which axis comes first.
//! - **Negative lobes are guarded**: where the weights of the valid taps sum to less than half of all
//!   weights, bilinear weights take over, since to divide by so little makes spikes. That happens in
//!   the corners of the data too, where GDAL divides. GDAL drops a pixel if too many taps in a row are
//!   invalid.
//! - **Stretching begins at 1**, at 1.05 for warped and rotated sources (as in `gdalwarp` of GDAL 3.6;
//!   newer ones read four or sixteen samples up to a downsampling by two, which aliases). The scale is
//!   that of the place; that of `gdalwarp` is an estimate for each chunk. Where a cubic kernel that is
//!   not stretched lacks samples, warped and rotated sources are interpolated linearly, as there.
//! - **A layer on the grid is copied** whatever the kernel; `gdalwarp` blurs it with a B-spline.
//! - **Quantiles** are by covered area: the least sample at or below which that share of the area lies.
//!   `gdalwarp` counts samples. **Modes** are by area too, the least of equals.
//! - **Rotated sources** are resampled in one step, with kernels stretched along their own axes by the
//!   length of the gradient there, and areas as the exact cover of the turned pixel. `gdalbuildvrt`
//!   refuses them, `gdalwarp` takes the bounding box of a pixel.
//! - **A result that equals nodata** is counted, and changed only on request; GDAL moves it silently.

pub mod axis;
pub mod gather;
pub mod separable;

use std::f64::consts::PI;

/// A resampling kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kernel {
    /// The pixel that holds the centre.
    #[default]
    Nearest,
    /// Linear between centres.
    Bilinear,
    /// Cubic convolution with a = -0.5 (Keys 1981).
    Cubic,
    /// Cubic B-spline.
    CubicSpline,
    /// Windowed sinc of radius 3.
    Lanczos,
    /// Mean, weighted by covered area.
    Average,
    /// The value that covers the largest area; the least of equals.
    Mode,
    /// Least of the covered samples.
    Min,
    /// Largest of the covered samples.
    Max,
    /// Median by covered area.
    Med,
    /// First quartile by covered area.
    Q1,
    /// Third quartile by covered area.
    Q3,
    /// Root of the mean square, weighted by covered area.
    Rms,
    /// Sum, each sample by its covered share.
    Sum,
}

impl Kernel {
    /// All kernels with their names in options.
    pub const NAMES: [(Kernel, &'static str); 14] = [
        (Kernel::Nearest, "nearest"),
        (Kernel::Bilinear, "bilinear"),
        (Kernel::Cubic, "cubic"),
        (Kernel::CubicSpline, "cubicspline"),
        (Kernel::Lanczos, "lanczos"),
        (Kernel::Average, "average"),
        (Kernel::Mode, "mode"),
        (Kernel::Min, "min"),
        (Kernel::Max, "max"),
        (Kernel::Med, "med"),
        (Kernel::Q1, "q1"),
        (Kernel::Q3, "q3"),
        (Kernel::Rms, "rms"),
        (Kernel::Sum, "sum"),
    ];

    /// The kernel of a name in options; GDAL's `near` and `cubic_spline` too.
    pub fn parse(name: &str) -> Option<Kernel> {
        let name = name.to_ascii_lowercase();
        let name = match name.as_str() {
            "near" => "nearest",
            "cubic_spline" => "cubicspline",
            "median" => "med",
            other => other,
        };
        Kernel::NAMES.into_iter().find(|(_, own)| *own == name).map(|(kernel, _)| kernel)
    }

    /// Its name in options.
    pub fn name(self) -> &'static str {
        Kernel::NAMES.into_iter().find(|(own, _)| *own == self).map_or("", |(_, name)| name)
    }

    /// Whether it weighs samples by covered area, not by distance.
    pub fn is_area(self) -> bool {
        !matches!(
            self,
            Kernel::Nearest
                | Kernel::Bilinear
                | Kernel::Cubic
                | Kernel::CubicSpline
                | Kernel::Lanczos
        )
    }

    /// Whether some of its weights are negative.
    pub fn has_negative_lobes(self) -> bool {
        matches!(self, Kernel::Cubic | Kernel::Lanczos)
    }

    /// Whether it is a weighted sum of the taps of rows, then of columns.
    pub fn is_separable(self) -> bool {
        !matches!(
            self,
            Kernel::Mode | Kernel::Min | Kernel::Max | Kernel::Med | Kernel::Q1 | Kernel::Q3
        )
    }

    /// Whether its result can be none of the samples, so that indices of a palette must not meet it.
    pub fn blends(self) -> bool {
        !matches!(self, Kernel::Nearest | Kernel::Mode)
    }

    /// Distance from the centre beyond which a point kernel is 0, in pixels, before it is stretched.
    pub fn radius(self) -> f64 {
        match self {
            Kernel::Bilinear => 1.0,
            Kernel::Cubic | Kernel::CubicSpline => 2.0,
            Kernel::Lanczos => 3.0,
            _ => 0.5,
        }
    }

    /// Weight of a point kernel at a distance from its centre.
    pub fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Kernel::Bilinear => (1.0 - x).max(0.0),
            Kernel::Cubic if x <= 1.0 => x * x * (1.5 * x - 2.5) + 1.0,
            Kernel::Cubic if x <= 2.0 => x * (x * (-0.5 * x + 2.5) - 4.0) + 2.0,
            Kernel::CubicSpline if x <= 1.0 => x * x * (0.5 * x - 1.0) + 2.0 / 3.0,
            Kernel::CubicSpline if x <= 2.0 => {
                let rest = 2.0 - x;
                rest * rest * rest / 6.0
            }
            Kernel::Lanczos if x == 0.0 => 1.0,
            Kernel::Lanczos if x < 3.0 => {
                let angle = PI * x;
                3.0 * angle.sin() * (angle / 3.0).sin() / (angle * angle)
            }
            Kernel::Cubic | Kernel::CubicSpline | Kernel::Lanczos => 0.0,
            _ => f64::from(x <= 0.5),
        }
    }

    /// Source pixels beyond the one under a centre that a pixel may need, at `scale` source pixels per
    /// pixel.
    pub fn halo(self, scale: f64) -> i64 {
        let stretch = scale.abs().max(1.0);
        let reach = match self {
            Kernel::Nearest => 0.0,
            kernel if kernel.is_area() => scale.abs() / 2.0,
            kernel => kernel.radius() * stretch,
        };
        // One more for rounding.
        reach.ceil() as i64 + 1
    }
}

/// Rounds a position to 2^-20 px, so that the noise of a sum does not decide between two pixels (SPEC
/// §4.5a).
#[inline]
pub fn rounded(position: f64) -> f64 {
    const STEPS: f64 = (1u32 << 20) as f64;
    /// Beside this number doubles are whole: adding it and taking it off rounds without a call.
    const WHOLE: f64 = 1.5 * (1u64 << 52) as f64;
    let scaled = position * STEPS;
    if scaled.abs() < (1u64 << 51) as f64 {
        return (scaled + WHOLE - WHOLE) / STEPS;
    }
    // Beyond 2^53 there are no such digits to round.
    if scaled.abs() < 9.0e15 { scaled.round() / STEPS } else { position }
}

/// The whole number at or below a position. `f64::floor` is a call on plain x86-64.
#[inline]
pub fn floor_index(position: f64) -> i64 {
    let whole = position as i64;
    whole - i64::from(position < whole as f64)
}

/// Added before a position is floored (as GDAL does), so that noise below it moves no pixel.
pub const FLOOR_PX: f64 = 1e-10;

/// Index of the pixel that holds a position.
pub fn pixel_index(position: f64) -> i64 {
    floor_index(rounded(position) + FLOOR_PX)
}

/// Whether weighted sums are taken in `f32`: point kernels of at most 16 × 16 taps on integers of up to
/// 16 bits (SPEC §5.6).
pub fn sums_in_f32(kernel: Kernel, scale: [f64; 2], sample_bytes: usize, is_float: bool) -> bool {
    let taps = |scale: f64| 2.0 * kernel.radius() * scale.abs().max(1.0) + 1.0;
    !kernel.is_area()
        && sample_bytes <= 2
        && !is_float
        && scale.into_iter().all(|s| taps(s) <= 16.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_kernels_are_one_everywhere() {
        for (kernel, tolerance) in [
            (Kernel::Bilinear, 1e-15),
            (Kernel::Cubic, 1e-15),
            (Kernel::CubicSpline, 1e-15),
            (Kernel::Lanczos, 0.02),
        ] {
            for step in 0..100 {
                let at = f64::from(step) / 100.0;
                let sum: f64 = (-4..=4).map(|i| kernel.weight(at - f64::from(i))).sum();
                assert!((sum - 1.0).abs() <= tolerance, "{kernel:?} at {at}: {sum}");
            }
            assert_eq!(kernel.weight(kernel.radius() + 1e-9), 0.0);
        }
    }

    #[test]
    fn weights_are_those_of_the_papers() {
        // Keys 1981 with a = -0.5: w(1/2) = 9/16, w(3/2) = -1/16; B-spline: w(0) = 2/3, w(1) = 1/6,
        // w(1/2) = 23/48; Lanczos 3 at 1/2: 3 sin(pi/2) sin(pi/6) / (pi/2)^2 = 6 / pi^2.
        for (kernel, at, expected) in [
            (Kernel::Cubic, 0.5, 9.0 / 16.0),
            (Kernel::Cubic, -1.5, -1.0 / 16.0),
            (Kernel::Cubic, 1.0, 0.0),
            (Kernel::CubicSpline, 0.0, 2.0 / 3.0),
            (Kernel::CubicSpline, 1.0, 1.0 / 6.0),
            (Kernel::CubicSpline, 0.5, 23.0 / 48.0),
            (Kernel::Lanczos, 0.5, 6.0 / (PI * PI)),
            (Kernel::Bilinear, 0.25, 0.75),
        ] {
            let weight = kernel.weight(at);
            assert!((weight - expected).abs() < 1e-15, "{kernel:?} at {at}: {weight}");
        }
    }

    #[test]
    fn names_go_both_ways() {
        for (kernel, name) in Kernel::NAMES {
            assert_eq!((Kernel::parse(name), kernel.name()), (Some(kernel), name));
        }
        assert_eq!(Kernel::parse("Cubic_Spline"), Some(Kernel::CubicSpline));
        assert_eq!(Kernel::parse("gauss"), None);
    }
}
