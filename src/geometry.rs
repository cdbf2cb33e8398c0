//! Pixel rectangles, affine transforms and world rectangles. Plain values; no CRS, no files.

use crate::error::{FormatError, Result};

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// Number of pixels.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The window that covers all of it, or `None` if a side is 0.
    pub fn window(self) -> Option<Window> {
        Window::new(0, 0, self.width, self.height)
    }
}

/// A rectangle of pixels: columns `col .. col + width`, rows `row .. row + height` (half-open).
///
/// Never empty, and its ends fit `u32`. Kept inside its image by whoever makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First column.
    pub col: u32,
    /// First row.
    pub row: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

impl Window {
    /// A window, or `None` if it is empty or ends beyond `u32::MAX`.
    pub fn new(col: u32, row: u32, width: u32, height: u32) -> Option<Window> {
        let fits = col.checked_add(width).is_some() && row.checked_add(height).is_some();
        (width > 0 && height > 0 && fits).then_some(Window { col, row, width, height })
    }

    /// The window between two corners, the second one exclusive, cut to what `u32` holds.
    pub fn from_corners(col0: i64, row0: i64, col1: i64, row1: i64) -> Option<Window> {
        let clamp = |v: i64| v.clamp(0, i64::from(u32::MAX)) as u32;
        let (c0, r0, c1, r1) = (clamp(col0), clamp(row0), clamp(col1), clamp(row1));
        Window::new(c0, r0, c1.checked_sub(c0)?, r1.checked_sub(r0)?)
    }

    /// First column after the window.
    pub fn col_end(self) -> u32 {
        self.col + self.width
    }

    /// First row after the window.
    pub fn row_end(self) -> u32 {
        self.row + self.height
    }

    /// Width and height.
    pub fn size(self) -> Size {
        Size { width: self.width, height: self.height }
    }

    /// Number of pixels.
    pub fn pixels(self) -> u64 {
        self.size().pixels()
    }

    /// The pixels in both, or `None`.
    pub fn intersection(self, other: Window) -> Option<Window> {
        let col = self.col.max(other.col);
        let row = self.row.max(other.row);
        let col_end = self.col_end().min(other.col_end());
        let row_end = self.row_end().min(other.row_end());
        Window::new(col, row, col_end.checked_sub(col)?, row_end.checked_sub(row)?)
    }

    /// Whether every pixel of `other` is in this window.
    pub fn contains(self, other: Window) -> bool {
        self.intersection(other) == Some(other)
    }
}

/// A rectangle in world units.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Bounds {
    pub min_x: f64,
    pub min_y: f64,
    pub max_x: f64,
    pub max_y: f64,
}

impl Bounds {
    /// The smallest rectangle that holds both.
    #[must_use]
    pub fn union(self, other: Bounds) -> Bounds {
        Bounds {
            min_x: self.min_x.min(other.min_x),
            min_y: self.min_y.min(other.min_y),
            max_x: self.max_x.max(other.max_x),
            max_y: self.max_y.max(other.max_y),
        }
    }

    /// Whether the two share an area; touching edges do not.
    pub fn overlaps(self, other: Bounds) -> bool {
        self.min_x < other.max_x
            && other.min_x < self.max_x
            && self.min_y < other.max_y
            && other.min_y < self.max_y
    }

    /// Width in world units.
    pub fn width(self) -> f64 {
        self.max_x - self.min_x
    }

    /// Height in world units.
    pub fn height(self) -> f64 {
        self.max_y - self.min_y
    }
}

/// Six numbers in GDAL's order that map pixel corners to the world.
///
/// ```text
/// x = x0 + col*dx + row*rx        | x |   | dx rx x0 |   | col |
/// y = y0 + col*ry + row*dy        | y | = | ry dy y0 | * | row |
///                                                        |  1  |
/// ```
/// The origin `(x0, y0)` is the **outer corner of the top-left pixel**; for a north-up raster
/// `dy < 0` and `rx = ry = 0`. The centre of pixel `(col, row)` is at `(col + 0.5, row + 0.5)`.
/// All numbers are finite and the matrix can be inverted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeoTransform([f64; 6]);

impl GeoTransform {
    /// From `[x0, dx, rx, y0, ry, dy]`.
    ///
    /// # Errors
    /// [`FormatError::Georeference`] if a number is not finite or the pixel has no area.
    pub fn new(coefficients: [f64; 6]) -> Result<GeoTransform> {
        let [_, dx, rx, _, ry, dy] = coefficients;
        if !coefficients.iter().all(|v| v.is_finite()) {
            return Err(FormatError::Georeference("a coefficient is not finite").into());
        }
        let determinant = dx * dy - rx * ry;
        if determinant == 0.0 || !determinant.is_finite() || !determinant.recip().is_finite() {
            return Err(FormatError::Georeference("the pixels have no area").into());
        }
        Ok(GeoTransform(coefficients))
    }

    /// North-up: origin at the top-left corner, pixel size `res_x` by `res_y`, both positive.
    ///
    /// # Errors
    /// As [`GeoTransform::new`].
    pub fn north_up(x0: f64, y0: f64, res_x: f64, res_y: f64) -> Result<GeoTransform> {
        GeoTransform::new([x0, res_x, 0.0, y0, 0.0, -res_y])
    }

    /// `[x0, dx, rx, y0, ry, dy]`.
    pub fn coefficients(&self) -> [f64; 6] {
        self.0
    }

    /// Whether rows run east-west and columns north-south (flipped or not).
    pub fn is_axis_aligned(&self) -> bool {
        self.0[2] == 0.0 && self.0[4] == 0.0
    }

    /// Whether x grows with the column and y falls with the row, with no rotation.
    pub fn is_north_up(&self) -> bool {
        self.is_axis_aligned() && self.0[1] > 0.0 && self.0[5] < 0.0
    }

    /// Side lengths of a pixel in world units, both positive.
    pub fn resolution(&self) -> [f64; 2] {
        let [_, dx, rx, _, ry, dy] = self.0;
        if self.is_axis_aligned() { [dx.abs(), dy.abs()] } else { [dx.hypot(ry), rx.hypot(dy)] }
    }

    /// World position of the continuous pixel position `(col, row)`; whole numbers are corners.
    pub fn apply(&self, col: f64, row: f64) -> [f64; 2] {
        let [x0, dx, rx, y0, ry, dy] = self.0;
        [x0 + col * dx + row * rx, y0 + col * ry + row * dy]
    }

    /// World position of the centre of a pixel.
    pub fn pixel_center(&self, col: u32, row: u32) -> [f64; 2] {
        self.apply(f64::from(col) + 0.5, f64::from(row) + 0.5)
    }

    /// Continuous pixel position `[col, row]` of a world position.
    pub fn invert(&self, x: f64, y: f64) -> [f64; 2] {
        let [x0, _, _, y0, _, _] = self.0;
        self.invert_step(x - x0, y - y0)
    }

    /// Pixels that a step of `(dx, dy)` in the world makes, as `[columns, rows]`.
    pub fn invert_step(&self, dx: f64, dy: f64) -> [f64; 2] {
        let [_, sx, rx, _, ry, sy] = self.0;
        if self.is_axis_aligned() {
            return [dx / sx, dy / sy];
        }
        let determinant = sx * sy - rx * ry;
        [(dx * sy - dy * rx) / determinant, (dy * sx - dx * ry) / determinant]
    }

    /// The transform of the part of the raster that begins at pixel `(col, row)`.
    #[must_use]
    pub fn shifted(&self, col: f64, row: f64) -> GeoTransform {
        let [x, y] = self.apply(col, row);
        let [_, dx, rx, _, ry, dy] = self.0;
        GeoTransform([x, dx, rx, y, ry, dy])
    }

    /// Bounding box of a raster of this size.
    pub fn bounds(&self, size: Size) -> Bounds {
        let (w, h) = (f64::from(size.width), f64::from(size.height));
        let corners = [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)].map(|(c, r)| self.apply(c, r));
        let first = corners[0];
        let start = Bounds { min_x: first[0], min_y: first[1], max_x: first[0], max_y: first[1] };
        corners.iter().fold(start, |bounds, &[x, y]| {
            bounds.union(Bounds { min_x: x, min_y: y, max_x: x, max_y: y })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_half_open_and_never_empty() {
        let a = Window::new(0, 0, 10, 10).unwrap();
        assert_eq!(a.intersection(Window::new(10, 0, 5, 5).unwrap()), None);
        assert_eq!(a.intersection(Window::new(9, 3, 5, 50).unwrap()), Window::new(9, 3, 1, 7));
        assert_eq!(Window::new(0, 0, 0, 1), None);
        assert_eq!(Window::new(u32::MAX, 0, 1, 1), None);
        assert_eq!(Window::from_corners(-5, -5, 3, 4), Window::new(0, 0, 3, 4));
        assert_eq!(Window::from_corners(5, 0, 3, 4), None);
    }

    #[test]
    fn a_rotated_transform_inverts() {
        let gt = GeoTransform::new([100.0, 2.0, 0.5, 50.0, 0.25, -3.0]).unwrap();
        let [x, y] = gt.apply(7.25, -2.5);
        let [col, row] = gt.invert(x, y);
        assert!((col - 7.25).abs() < 1e-12 && (row + 2.5).abs() < 1e-12);
        assert!(GeoTransform::new([0.0, 1.0, 1.0, 0.0, 1.0, 1.0]).is_err());
        assert!(GeoTransform::new([0.0, f64::NAN, 0.0, 0.0, 0.0, 1.0]).is_err());
    }
}
