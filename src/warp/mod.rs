//! [`Warp`]: from pixels of the mosaic's grid to pixels of a layer's reference grid in another CRS (SPEC §6.1, §6.2).
//!
//! The exact transformation is taken at the nodes of a lattice and interpolated between them. The lattice lies at
//! absolute multiples of 32 pixels in the mosaic's CRS, whatever the grid's own corner; a cell of it is halved until
//! interpolation errs by less than the bound, down to single pixels. So a position depends on its place alone: not on
//! a window, nor on bounds of the same phase. A pixel that does not map is NaN.

pub mod footprint;

use std::collections::HashMap;

use crate::crs::transform::Transformer;
use crate::geometry::{GeoTransform, Window};
use crate::resample::gather::Place;

/// Pixels on a side of a lattice cell.
const CELL_PX: i64 = 32;
/// Cells that a thread keeps: those of a block of 4096 pixels.
const MOST_CELLS: usize = 20_000;
/// Cells kept pixel by pixel, at 48 bytes a pixel.
const MOST_FINE_CELLS: usize = 96;
/// Errors beyond this are a fold or a jump, not curvature.
const SMOOTH_PX: f64 = 1.0;

/// The way from grid to reference pixels.
#[derive(Debug)]
pub struct Warp {
    /// From the layer's CRS to the mosaic's.
    transformer: Transformer,
    reference: GeoTransform,
    axes: [Lattice; 2],
    error_px: f64,
    wrap: Option<Wrap>,
}

/// Longitudes of a reference grid count on past 180° or 360°: columns or rows of a turn.
#[derive(Debug, Clone, Copy)]
struct Wrap {
    /// World x that lies in the middle of the layer.
    center: f64,
    /// A full turn in units of the CRS.
    turn: f64,
}

/// One axis of the grid in absolute pixels: pixel `index` of the grid is absolute pixel `index + first`, and
/// its centre lies at `(absolute + 0.5 + fraction) * step` in the world.
#[derive(Debug, Clone, Copy)]
struct Lattice {
    first: i64,
    fraction: f64,
    step: f64,
}

impl Lattice {
    fn new(origin: f64, step: f64) -> Lattice {
        // Noise of the origin must not move the lattice: a millionth of a pixel is kept.
        const STEPS: f64 = (1u32 << 20) as f64;
        let at = ((origin / step) * STEPS).round() / STEPS;
        Lattice { first: at.floor() as i64, fraction: at - at.floor(), step }
    }

    fn world(&self, absolute: f64) -> f64 {
        (absolute + 0.5 + self.fraction) * self.step
    }
}

/// Cells that were computed, of one thread.
#[derive(Debug, Default)]
pub struct WarpScratch {
    cells: HashMap<(u32, i64, i64), Cell>,
    fine: usize,
    points: Vec<[f64; 2]>,
}

/// What is known of a cell of the lattice.
#[derive(Debug)]
enum Cell {
    /// Interpolated between `[left top, right top, left bottom, right bottom]`.
    Smooth { corners: [[f64; 2]; 4], error: f64 },
    /// Each pixel by itself, row by row; NaN where it does not map.
    Fine(Box<[Place]>),
    /// No pixel maps.
    Nowhere,
}

impl Warp {
    /// The way from a north-up grid to a reference grid. `center_x` is the world x, in the layer's CRS, of the middle of
    /// the layer; `turn` the length of a full turn in units of that CRS where it is geographic. `error_px` is the most
    /// that a position may be off, in reference pixels; 0 takes every pixel exactly.
    pub fn new(
        transformer: Transformer,
        reference: GeoTransform,
        grid: &GeoTransform,
        error_px: f64,
        turn: Option<f64>,
        center_x: f64,
    ) -> Warp {
        let [x0, dx, _, y0, _, dy] = grid.coefficients();
        let axes = [Lattice::new(x0, dx), Lattice::new(y0, dy)];
        let wrap = turn.map(|turn| Wrap { center: center_x, turn });
        Warp { transformer, reference, axes, error_px, wrap }
    }

    /// From the layer's CRS to the mosaic's.
    pub fn transformer(&self) -> &Transformer {
        &self.transformer
    }

    /// Where the pixels `cols` of a row lie in the reference grid. `layer` tells layers apart that share a scratch.
    pub fn map_row(
        &self,
        layer: u32,
        row: u32,
        cols: std::ops::Range<u32>,
        scratch: &mut WarpScratch,
        places: &mut Vec<Place>,
    ) {
        let [cell_axis, row_axis] = self.axes;
        let absolute_row = row_axis.first + i64::from(row);
        let mut col = cell_axis.first + i64::from(cols.start);
        let end = cell_axis.first + i64::from(cols.end);
        while col < end {
            let key = (col.div_euclid(CELL_PX), absolute_row.div_euclid(CELL_PX));
            let next = ((key.0 + 1) * CELL_PX).min(end);
            let y = absolute_row.rem_euclid(CELL_PX);
            let start = places.len();
            match self.cell(layer, key, scratch) {
                Cell::Nowhere => places.extend((col..next).map(|_| NOWHERE)),
                Cell::Fine(all) => {
                    let from = (y * CELL_PX + col.rem_euclid(CELL_PX)) as usize;
                    places.extend_from_slice(&all[from..from + (next - col) as usize]);
                }
                Cell::Smooth { corners, .. } => {
                    let fy = y as f64 / CELL_PX as f64;
                    places.extend((col..next).map(|c| {
                        let fx = c.rem_euclid(CELL_PX) as f64 / CELL_PX as f64;
                        interpolate(corners, CELL_PX, fx, fy)
                    }));
                }
            }
            if self.error_px <= 0.0 {
                self.make_exact(col, absolute_row, &mut places[start..], &mut scratch.points);
            }
            col = next;
        }
    }

    /// Replaces positions by exact ones; the scale stays that of the lattice.
    fn make_exact(&self, col: i64, row: i64, places: &mut [Place], points: &mut Vec<[f64; 2]>) {
        points.clear();
        points.extend((0..places.len()).map(|i| [(col + i as i64) as f64, row as f64]));
        self.exact(points);
        for (place, [u, v]) in places.iter_mut().zip(points.iter()) {
            (place.u, place.v) = (*u, *v);
        }
    }

    /// A box `[left, top, right, bottom]` that holds the positions of all pixels of a window, and the largest scale among
    /// them; `None` if none of them maps.
    pub fn bounds(
        &self,
        layer: u32,
        window: Window,
        scratch: &mut WarpScratch,
    ) -> Option<([f64; 4], f64)> {
        let [x, y] = self.axes;
        let (left, right) =
            (x.first + i64::from(window.col), x.first + i64::from(window.col_end()));
        let (top, bottom) =
            (y.first + i64::from(window.row), y.first + i64::from(window.row_end()));
        let mut all = EMPTY;
        let mut scale = 0.0f64;
        for cell_row in top.div_euclid(CELL_PX)..=(bottom - 1).div_euclid(CELL_PX) {
            for cell_col in left.div_euclid(CELL_PX)..=(right - 1).div_euclid(CELL_PX) {
                let (c0, r0) = (cell_col * CELL_PX, cell_row * CELL_PX);
                let cols = (left - c0).max(0)..(right - c0).min(CELL_PX);
                let rows = (top - r0).max(0)..(bottom - r0).min(CELL_PX);
                match self.cell(layer, (cell_col, cell_row), scratch) {
                    Cell::Nowhere => {}
                    Cell::Smooth { corners, error } => {
                        // Bilinear: the extremes lie at the corners.
                        for c in [cols.start, cols.end - 1] {
                            for r in [rows.start, rows.end - 1] {
                                let side = CELL_PX as f64;
                                let at =
                                    interpolate(corners, CELL_PX, c as f64 / side, r as f64 / side);
                                let off =
                                    if self.error_px <= 0.0 { 2.0 * error + 0.01 } else { 0.0 };
                                take_in(&mut all, at.u, at.v, off);
                                scale = scale.max(steepest(&at));
                            }
                        }
                    }
                    Cell::Fine(places) => {
                        for r in rows.clone() {
                            let from = (r * CELL_PX + cols.start) as usize;
                            for place in &places[from..from + (cols.end - cols.start) as usize] {
                                take_in(&mut all, place.u, place.v, 0.0);
                                scale = scale.max(steepest(place));
                            }
                        }
                    }
                }
            }
        }
        (all[0] <= all[2]).then_some((all, scale))
    }

    fn cell<'s>(&self, layer: u32, key: (i64, i64), scratch: &'s mut WarpScratch) -> &'s Cell {
        let key = (layer, key.0, key.1);
        if !scratch.cells.contains_key(&key) {
            if scratch.cells.len() >= MOST_CELLS || scratch.fine >= MOST_FINE_CELLS {
                scratch.cells.clear();
                scratch.fine = 0;
            }
            let cell = self.make_cell(key.1 * CELL_PX, key.2 * CELL_PX);
            scratch.fine += usize::from(matches!(cell, Cell::Fine(_)));
            scratch.cells.insert(key, cell);
        }
        &scratch.cells[&key]
    }

    /// The cell whose first pixel is an absolute one.
    fn make_cell(&self, col: i64, row: i64) -> Cell {
        let mut corners = square(col, row, CELL_PX);
        self.exact(&mut corners);
        let (error, _) = self.middle(col, row, CELL_PX, &corners);
        // Exact positions are taken pixel by pixel; the lattice then tells scale and bounds only.
        let most = if self.error_px <= 0.0 { SMOOTH_PX } else { self.tolerance() };
        if error <= most {
            return Cell::Smooth { corners, error };
        }
        let mut places = vec![NOWHERE; (CELL_PX * CELL_PX) as usize].into_boxed_slice();
        self.refine([col, row], [0, 0], CELL_PX, &corners, &mut places);
        if places.iter().all(|place| place.u.is_nan()) { Cell::Nowhere } else { Cell::Fine(places) }
    }

    /// The error that is looked for at five points stays below half of the bound, so that it stays below the
    /// bound everywhere.
    fn tolerance(&self) -> f64 {
        self.error_px * 0.5
    }

    /// Error of interpolation at the middle and the middles of the edges (NaN where anything does not map), and the exact
    /// positions there: top, left, middle, right, bottom.
    fn middle(
        &self,
        col: i64,
        row: i64,
        side: i64,
        corners: &[[f64; 2]; 4],
    ) -> (f64, [[f64; 2]; 5]) {
        let half = side as f64 / 2.0;
        let (c, r) = (col as f64, row as f64);
        let mut exact = [
            [c + half, r],
            [c, r + half],
            [c + half, r + half],
            [c + side as f64, r + half],
            [c + half, r + side as f64],
        ];
        self.exact(&mut exact);
        let fractions = [[0.5, 0.0], [0.0, 0.5], [0.5, 0.5], [1.0, 0.5], [0.5, 1.0]];
        let mut worst = 0.0f64;
        for (exact, [fx, fy]) in exact.iter().zip(fractions) {
            let near = interpolate(corners, side, fx, fy);
            let error = (near.u - exact[0]).abs().max((near.v - exact[1]).abs());
            // NaN must win.
            worst = if error.is_nan() || worst.is_nan() { f64::NAN } else { worst.max(error) };
        }
        (worst, exact)
    }

    /// Fills the pixels of a square within a cell: interpolated where that is good enough, else by quarters.
    fn refine(
        &self,
        origin: [i64; 2],
        at: [i64; 2],
        side: i64,
        corners: &[[f64; 2]; 4],
        places: &mut [Place],
    ) {
        let (col, row) = (origin[0] + at[0], origin[1] + at[1]);
        if side == 1 {
            places[(at[1] * CELL_PX + at[0]) as usize] = self.single(col, row, corners[0]);
            return;
        }
        let (error, [top, left, middle, right, bottom]) = self.middle(col, row, side, corners);
        if error <= self.tolerance() {
            for y in 0..side {
                for x in 0..side {
                    let fraction = [x as f64 / side as f64, y as f64 / side as f64];
                    let place = interpolate(corners, side, fraction[0], fraction[1]);
                    places[((at[1] + y) * CELL_PX + at[0] + x) as usize] = place;
                }
            }
            return;
        }
        let [a, b, c, d] = *corners;
        let half = side / 2;
        let quarters = [
            ([0, 0], [a, top, left, middle]),
            ([half, 0], [top, b, middle, right]),
            ([0, half], [left, middle, c, bottom]),
            ([half, half], [middle, right, bottom, d]),
        ];
        for (offset, corners) in quarters {
            let at = [at[0] + offset[0], at[1] + offset[1]];
            self.refine(origin, at, half, &corners, places);
        }
    }

    /// One pixel at its exact position, with the scale from its immediate neighborhood.
    fn single(&self, col: i64, row: i64, [u, v]: [f64; 2]) -> Place {
        if !(u.is_finite() && v.is_finite()) {
            return NOWHERE;
        }
        const STEP: f64 = 1.0 / 128.0;
        let (c, r) = (col as f64, row as f64);
        let mut around = [[c - STEP, r], [c + STEP, r], [c, r - STEP], [c, r + STEP]];
        self.exact(&mut around);
        let slope = |low: [f64; 2], high: [f64; 2], axis: usize| {
            let slope = (high[axis] - low[axis]) / (2.0 * STEP);
            // On the rim of the domain, or across a jump, there is no slope.
            if slope.is_finite() && slope.abs() < 1e6 { slope } else { 0.0 }
        };
        let [west, east, north, south] = around;
        let jacobian = [
            slope(west, east, 0),
            slope(north, south, 0),
            slope(west, east, 1),
            slope(north, south, 1),
        ];
        Place { u, v, jacobian }
    }

    /// Reference positions of absolute pixels' centres, in place.
    fn exact(&self, points: &mut [[f64; 2]]) {
        for point in points.iter_mut() {
            *point = [self.axes[0].world(point[0]), self.axes[1].world(point[1])];
        }
        self.transformer.inverse(points);
        for point in points.iter_mut() {
            let [mut x, y] = *point;
            if let Some(Wrap { center, turn }) = self.wrap {
                x -= ((x - center) / turn).round() * turn;
            }
            *point = self.reference.invert(x, y);
        }
    }
}

const EMPTY: [f64; 4] = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];

const NOWHERE: Place = Place { u: f64::NAN, v: f64::NAN, jacobian: [1.0, 0.0, 0.0, 1.0] };

/// Corners of a square of absolute pixels: left top, right top, left bottom, right bottom.
fn square(col: i64, row: i64, side: i64) -> [[f64; 2]; 4] {
    let (c, r, s) = (col as f64, row as f64, side as f64);
    [[c, r], [c + s, r], [c, r + s], [c + s, r + s]]
}

/// The position at a fraction of a square between its corners, and its change from pixel to pixel.
fn interpolate(corners: &[[f64; 2]; 4], side: i64, fx: f64, fy: f64) -> Place {
    let side = side as f64;
    let [a, b, c, d] = corners;
    let along = |axis: usize| {
        let (top, bottom) = (b[axis] - a[axis], d[axis] - c[axis]);
        let upper = a[axis] + fx * top;
        let lower = c[axis] + fx * bottom;
        [upper + fy * (lower - upper), (top + fy * (bottom - top)) / side, (lower - upper) / side]
    };
    let ([u, ux, uy], [v, vx, vy]) = (along(0), along(1));
    Place { u, v, jacobian: [ux, uy, vx, vy] }
}

/// Reference pixels per pixel along the steeper axis; 0 where nothing maps.
fn steepest(place: &Place) -> f64 {
    let [x, y] = place.scale();
    if place.u.is_nan() { 0.0 } else { x.max(y) }
}

fn take_in(all: &mut [f64; 4], u: f64, v: f64, off: f64) {
    if u.is_finite() && v.is_finite() {
        *all = [all[0].min(u - off), all[1].min(v - off), all[2].max(u + off), all[3].max(v + off)];
    }
}

#[cfg(test)]
mod tests;
