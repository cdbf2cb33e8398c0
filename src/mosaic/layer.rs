//! Layers: co-registered sources share one reference grid (SPEC §2), and its scale and phase against
//! the mosaic's grid are computed once (SPEC §4.5a), so that no source's own rounding moves a pixel.

use std::collections::HashMap;

use crate::geometry::{GeoTransform, Size, Window};
use crate::resample::rounded;

/// Corners of co-registered sources lie this near to whole pixels of their reference grid.
pub const ALIGNED_PX: f64 = 1e-3;

/// From pixels of the mosaic's grid to pixels of a layer's reference grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mapping {
    /// Pixel for pixel: reference index = grid index + shift. Samples are copied bit for bit.
    Shift {
        /// Columns.
        col: i64,
        /// Rows.
        row: i64,
    },
    /// Axes stay axes: `u = (col + 0.5) * scale[0] + phase[0]`, `v = (row + 0.5) * scale[1] + phase[1]`.
    Axis {
        /// Reference pixels per grid pixel; negative where an axis is flipped.
        scale: [f64; 2],
        /// Reference position of the grid's corner.
        phase: [f64; 2],
    },
    /// `u = a[0] + (col + 0.5) * a[1] + (row + 0.5) * a[2]`, `v` likewise with `a[3..6]`.
    Affine([f64; 6]),
    /// Another CRS: the mosaic's warp of the layer's group tells; what is asked of the mapping itself is NaN.
    Warped,
}

impl Mapping {
    /// The mapping from a grid to a reference grid of the same CRS.
    pub fn new(grid: &GeoTransform, size: Size, reference: &GeoTransform) -> Mapping {
        let at = |[col, row]: [f64; 2]| {
            let [x, y] = grid.apply(col, row);
            reference.invert(x, y)
        };
        // The phase is rounded (SPEC §4.5a), so that the last digits of a corner, which depend on how an
        // extent is cut into files, do not reach the positions: at the grid's corner that lies next to the
        // reference's origin, which is the same one for any part of the grid.
        let [x, y] = reference.apply(0.0, 0.0);
        let anchor = grid.invert(x, y).map(f64::round);
        let [u, v] = at(anchor).map(rounded);
        let [_, dx, rx, _, ry, dy] = grid.coefficients();
        if grid.is_axis_aligned() && reference.is_axis_aligned() {
            let scale = reference.invert_step(dx, dy);
            let phase = [u - anchor[0] * scale[0], v - anchor[1] * scale[1]];
            return Mapping::axis(scale, phase, size);
        }
        let [u_col, v_col] = reference.invert_step(dx, ry);
        let [u_row, v_row] = reference.invert_step(rx, dy);
        let u0 = u - anchor[0] * u_col - anchor[1] * u_row;
        let v0 = v - anchor[0] * v_col - anchor[1] * v_row;
        Mapping::Affine([u0, u_col, u_row, v0, v_col, v_row])
    }

    fn axis(scale: [f64; 2], phase: [f64; 2], size: Size) -> Mapping {
        let aligned = |scale: f64, phase: f64, side: u32| {
            let drift = (scale - 1.0) * f64::from(side);
            let near = |v: f64| (v - v.round()).abs() <= ALIGNED_PX;
            // Both ends lie near the same whole shift.
            near(phase) && (phase + drift - phase.round()).abs() <= ALIGNED_PX
        };
        if aligned(scale[0], phase[0], size.width) && aligned(scale[1], phase[1], size.height) {
            return Mapping::Shift { col: phase[0].round() as i64, row: phase[1].round() as i64 };
        }
        Mapping::Axis { scale, phase }
    }

    /// Reference position of the centre of grid pixel `(col, row)`.
    pub fn center(&self, col: u32, row: u32) -> [f64; 2] {
        let (c, r) = (f64::from(col) + 0.5, f64::from(row) + 0.5);
        match *self {
            Mapping::Shift { col, row } => [c + col as f64, r + row as f64],
            Mapping::Axis { scale, phase } => [c * scale[0] + phase[0], r * scale[1] + phase[1]],
            Mapping::Affine(a) => [a[0] + c * a[1] + r * a[2], a[3] + c * a[4] + r * a[5]],
            Mapping::Warped => [f64::NAN; 2],
        }
    }

    /// Grid position of a reference position.
    fn invert(&self, u: f64, v: f64) -> [f64; 2] {
        match *self {
            Mapping::Shift { col, row } => [u - col as f64, v - row as f64],
            Mapping::Axis { scale, phase } => {
                [(u - phase[0]) / scale[0], (v - phase[1]) / scale[1]]
            }
            Mapping::Affine(a) => {
                let (du, dv) = (u - a[0], v - a[3]);
                let determinant = a[1] * a[5] - a[2] * a[4];
                [(du * a[5] - dv * a[2]) / determinant, (dv * a[1] - du * a[4]) / determinant]
            }
            Mapping::Warped => [f64::NAN; 2],
        }
    }

    /// Bounding box in grid pixels `[min_col, min_row, max_col, max_row]` of a rectangle of the
    /// reference grid.
    pub fn grid_box(&self, col: i64, row: i64, size: Size) -> [f64; 4] {
        let (c, r) = (col as f64, row as f64);
        let (w, h) = (f64::from(size.width), f64::from(size.height));
        let corners =
            [(c, r), (c + w, r), (c, r + h), (c + w, r + h)].map(|(u, v)| self.invert(u, v));
        corners.iter().fold([f64::MAX, f64::MAX, f64::MIN, f64::MIN], |b, [x, y]| {
            [b[0].min(*x), b[1].min(*y), b[2].max(*x), b[3].max(*y)]
        })
    }

    /// Grid pixels that the rounding of a reference position may be worth.
    fn rounding(&self) -> [f64; 2] {
        const ROUNDING_PX: f64 = 1e-6;
        match *self {
            Mapping::Shift { .. } | Mapping::Warped => [ROUNDING_PX; 2],
            Mapping::Axis { scale, .. } => scale.map(|s| ROUNDING_PX * s.abs().recip().max(1.0)),
            Mapping::Affine(_) => {
                let ([x0, y0], ends) = (self.invert(0.0, 0.0), [(1.0, 0.0), (0.0, 1.0)]);
                let steps = ends.map(|(u, v)| self.invert(u, v));
                let most = |axis: usize, at: f64| {
                    ROUNDING_PX * steps.iter().map(|s| (s[axis] - at).abs()).sum::<f64>().max(1.0)
                };
                [most(0, x0), most(1, y0)]
            }
        }
    }

    /// The grid pixels whose centre may lie in a rectangle of the reference grid, cut to `within`:
    /// exact for [`Mapping::Shift`], up to a pixel more on each side otherwise.
    pub fn grid_window(&self, col: i64, row: i64, size: Size, within: Window) -> Option<Window> {
        if let Mapping::Shift { col: dc, row: dr } = *self {
            let (c, r) = (col - dc, row - dr);
            let (w, h) = (i64::from(size.width), i64::from(size.height));
            return Window::from_corners(c, r, c + w, r + h)?.intersection(within);
        }
        let [min_col, min_row, max_col, max_row] = self.grid_box(col, row, size);
        // Positions are rounded in reference pixels, of which a grid pixel may be a small part.
        let [slack_x, slack_y] = self.rounding();
        // A pixel's centre is in the box if its index is from ceil(min - 0.5) to floor(max - 0.5).
        let low = |v: f64, slack: f64| (v - 0.5 - slack).ceil() as i64;
        let high = |v: f64, slack: f64| (v - 0.5 + slack).floor() as i64 + 1;
        Window::from_corners(
            low(min_col, slack_x),
            low(min_row, slack_y),
            high(max_col, slack_x),
            high(max_row, slack_y),
        )?
        .intersection(within)
    }
}

/// Co-registered sources that are consecutive in z-order, after reordering what does not overlap.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The reference grid's transform: that of one source, chosen whatever the order of inputs.
    pub reference: GeoTransform,
    /// From the mosaic's grid to the reference grid.
    pub mapping: Mapping,
    /// Sources of the layer, bottom to top.
    pub sources: Vec<u32>,
}

/// Where a source lies in its group's reference grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Number of the co-registered group.
    pub group: u32,
    /// Reference column of the source's first column.
    pub col: i64,
    /// Reference row of the source's first row.
    pub row: i64,
}

/// Sorts sources in co-registered groups. Returns the groups' reference transforms and each source's
/// place. Does not depend on the order of the inputs: only the transforms and sizes decide.
pub fn register(rasters: &[(GeoTransform, Size)]) -> (Vec<GeoTransform>, Vec<Placement>) {
    let key = |index: usize| {
        let [x0, dx, rx, y0, ry, dy] = rasters[index].0.coefficients();
        let size = rasters[index].1;
        ([dx, dy, rx, ry, x0, -y0], size.width, size.height)
    };
    let mut order: Vec<usize> = (0..rasters.len()).collect();
    order.sort_by(|a, b| {
        let ((a, aw, ah), (b, bw, bh)) = (key(*a), key(*b));
        let numbers = a.iter().zip(&b).map(|(x, y)| x.total_cmp(y));
        numbers
            .fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
            .then((aw, ah).cmp(&(bw, bh)))
    });
    let mut groups: Vec<GeoTransform> = Vec::new();
    let mut by_phase: HashMap<[i64; 6], Vec<u32>> = HashMap::new();
    let none = Placement { group: 0, col: 0, row: 0 };
    let mut places = vec![none; rasters.len()];
    for index in order.iter().copied() {
        let (transform, size) = rasters[index];
        let candidates = phase_keys(&transform);
        let found = candidates
            .iter()
            .flat_map(|key| by_phase.get(key).into_iter().flatten())
            .find_map(|group| {
                let [col, row] = offset_in(&groups[*group as usize], &transform, size)?;
                Some(Placement { group: *group, col, row })
            });
        places[index] = found.unwrap_or_else(|| {
            let group = groups.len() as u32;
            groups.push(transform);
            by_phase.entry(candidates[0]).or_default().push(group);
            Placement { group, col: 0, row: 0 }
        });
    }
    move_to_corners(rasters, &order, &mut groups, &mut places);
    (groups, places)
}

/// Lets each group begin at its own first column and row, if a raster begins there: then the reference
/// of a raster that was cut into tiles is bit for bit that of the whole, however it is turned.
fn move_to_corners(
    rasters: &[(GeoTransform, Size)],
    order: &[usize],
    groups: &mut [GeoTransform],
    places: &mut [Placement],
) {
    let mut first = vec![[i64::MAX; 2]; groups.len()];
    for place in places.iter() {
        let [col, row] = &mut first[place.group as usize];
        (*col, *row) = (place.col.min(*col), place.row.min(*row));
    }
    let mut corner: Vec<Option<usize>> = vec![None; groups.len()];
    for index in order {
        let Placement { group, col, row } = places[*index];
        if [col, row] == first[group as usize] {
            corner[group as usize].get_or_insert(*index);
        }
    }
    // Only where all sources keep to whole pixels of it.
    for index in order {
        let Placement { group, col, row } = places[*index];
        let [col0, row0] = first[group as usize];
        let Some(at) = corner[group as usize] else { continue };
        let (transform, size) = rasters[*index];
        if offset_in(&rasters[at].0, &transform, size) != Some([col - col0, row - row0]) {
            corner[group as usize] = None;
        }
    }
    for place in places.iter_mut() {
        let group = place.group as usize;
        let Some(at) = corner[group] else { continue };
        groups[group] = rasters[at].0;
        place.col -= first[group][0];
        place.row -= first[group][1];
    }
}

/// Buckets in which a transform's group may be found; its own first. Resolutions that differ in the
/// sixth digit or phases that differ by a sixteenth pixel are never co-registered.
fn phase_keys(transform: &GeoTransform) -> Vec<[i64; 6]> {
    const BINS: i64 = 16;
    let [x0, dx, rx, y0, ry, dy] = transform.coefficients();
    // Bits of a float without its last 33: 19 bits of significand, a relative step of 2e-6.
    let coarse = |v: f64| (((v + 0.0) as f32).to_bits() >> 4) as i64;
    let resolution = [dx, rx, ry, dy].map(coarse);
    let phase = |v: f64, step: f64| {
        let position = v / step;
        ((position - position.floor()) * BINS as f64) as i64 % BINS
    };
    let (px, py) =
        if transform.is_axis_aligned() { (phase(x0, dx), phase(y0, dy)) } else { (0, 0) };
    let mut keys = Vec::with_capacity(81);
    for by in [0, 1, -1] {
        for bx in [0, 1, -1] {
            let (px, py) = ((px + bx).rem_euclid(BINS), (py + by).rem_euclid(BINS));
            for (step_x, step_y) in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)] {
                let [dx, rx, ry, dy] = resolution;
                keys.push([dx + step_x, rx, ry, dy + step_y, px, py]);
            }
        }
    }
    keys
}

/// Whole offset of a raster in a reference grid, if every corner lies within [`ALIGNED_PX`] of it.
pub fn offset_in(
    reference: &GeoTransform,
    transform: &GeoTransform,
    size: Size,
) -> Option<[i64; 2]> {
    let (w, h) = (f64::from(size.width), f64::from(size.height));
    let at = |col: f64, row: f64| {
        let [x, y] = transform.apply(col, row);
        reference.invert(x, y)
    };
    let [col, row] = at(0.0, 0.0).map(f64::round);
    // 2^52: beyond it a pixel has no fraction.
    if !(col.abs() < 4.5e15 && row.abs() < 4.5e15) {
        return None;
    }
    for (c, r) in [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)] {
        let [u, v] = at(c, r);
        let near = (u - col - c).abs() <= ALIGNED_PX && (v - row - r).abs() <= ALIGNED_PX;
        if !near {
            return None;
        }
    }
    Some([col as i64, row as i64])
}

/// Arranges sources in few runs of one group each, never swapping two that overlap. `above` lists for
/// each source those that overlap it from above. Returns the runs, bottom to top, each with its group
/// and its sources in z-order.
///
/// A greedy search from each of the first groups; the shortest arrangement wins. With two groups it is
/// the best there is.
pub fn stack(groups: &[u32], above: &[Vec<u32>]) -> Vec<(u32, Vec<u32>)> {
    const MOST_STARTS: u32 = 8;
    // Beyond this the search would take longer than it is worth: the input order stands.
    const MOST_GROUPS: u32 = 2000;
    let group_count = groups.iter().max().map_or(0, |g| g + 1);
    if group_count > MOST_GROUPS {
        let ids: Vec<u32> = (0..groups.len() as u32).collect();
        let same = |a: &u32, b: &u32| groups[*a as usize] == groups[*b as usize];
        let runs = ids.chunk_by(same);
        return runs.map(|run| (groups[run[0] as usize], run.to_vec())).collect();
    }
    (0..group_count.min(MOST_STARTS))
        .map(|start| stack_from(start, group_count, groups, above))
        .min_by_key(Vec::len)
        .unwrap_or_default()
}

fn stack_from(
    start: u32,
    group_count: u32,
    groups: &[u32],
    above: &[Vec<u32>],
) -> Vec<(u32, Vec<u32>)> {
    let mut below = vec![0u32; groups.len()];
    for source in above.iter().flatten() {
        below[*source as usize] += 1;
    }
    // Sources with nothing left below them, by group.
    let mut ready: Vec<Vec<u32>> = vec![Vec::new(); group_count as usize];
    for (source, _) in below.iter().enumerate().filter(|(_, count)| **count == 0) {
        ready[groups[source] as usize].push(source as u32);
    }
    let mut runs = Vec::new();
    let mut group = start as usize;
    while ready.iter().any(|list| !list.is_empty()) {
        if ready[group].is_empty() || !runs.is_empty() {
            // The group that can place most now; the lowest number wins a tie.
            let most = ready.iter().enumerate().rev().max_by_key(|(_, list)| list.len());
            group = most.map_or(0, |(group, _)| group);
        }
        let mut run = Vec::new();
        while let Some(source) = ready[group].pop() {
            run.push(source);
            for next in &above[source as usize] {
                below[*next as usize] -= 1;
                if below[*next as usize] == 0 {
                    ready[groups[*next as usize] as usize].push(*next);
                }
            }
        }
        run.sort_unstable();
        runs.push((group as u32, run));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn north_up(x: f64, y: f64, res: f64) -> GeoTransform {
        GeoTransform::north_up(x, y, res, res).unwrap()
    }

    const SIZE: Size = Size { width: 100, height: 80 };

    #[test]
    fn co_registered_rasters_share_a_group_in_any_order() {
        let third = 1.0 / 3.0;
        let mut rasters = vec![
            (north_up(0.0, 0.0, third), SIZE),
            (north_up(100.0 * third, -50.0 * third, third + 1e-12), SIZE),
            (north_up(0.5 * third, 0.0, third), SIZE),
            (north_up(7.0, 7.0, 0.5), SIZE),
        ];
        let (groups, places) = register(&rasters);
        assert_eq!(groups.len(), 3);
        assert_eq!(places[0].group, places[1].group);
        assert_eq!((places[1].col - places[0].col, places[1].row - places[0].row), (100, 50));
        rasters.reverse();
        let (reversed, _) = register(&rasters);
        assert_eq!(groups, reversed);
    }

    #[test]
    fn shift_axis_and_affine_are_told_apart() {
        let grid = north_up(0.0, 1000.0, 10.0);
        let size = Size { width: 1000, height: 1000 };
        let shift = Mapping::new(&grid, size, &north_up(50.0, 900.0, 10.0));
        assert_eq!(shift, Mapping::Shift { col: -5, row: -10 });
        // A hundredth of a pixel of drift over the side is not a copy.
        let drift = Mapping::new(&grid, size, &north_up(0.0, 1000.0, 10.0001));
        assert!(matches!(drift, Mapping::Axis { .. }), "{drift:?}");
        let half = Mapping::new(&grid, size, &north_up(5.0, 1000.0, 10.0));
        assert_eq!(half, Mapping::Axis { scale: [1.0, 1.0], phase: [-0.5, 0.0] });
        let south_up = GeoTransform::new([0.0, 10.0, 0.0, 0.0, 0.0, 10.0]).unwrap();
        let flipped = Mapping::new(&grid, size, &south_up);
        assert_eq!(flipped, Mapping::Axis { scale: [1.0, -1.0], phase: [0.0, 100.0] });
        assert_eq!(flipped.center(0, 0), [0.5, 99.5]);
        let rotated = GeoTransform::new([0.0, 7.0, 7.0, 1000.0, 7.0, -7.0]).unwrap();
        let affine = Mapping::new(&grid, size, &rotated);
        let [u, v] = affine.center(3, 4);
        let [x, y] = grid.pixel_center(3, 4);
        let [eu, ev] = rotated.invert(x, y);
        assert!((u - eu).abs() < 1e-5 && (v - ev).abs() < 1e-5);
    }

    #[test]
    fn stacks_have_few_layers_and_keep_overlapping_order() {
        // 0 and 2 are of group 0, 1 of group 1; only 1 and 2 overlap: two layers.
        let runs = stack(&[0, 1, 0], &[vec![], vec![2], vec![]]);
        assert_eq!(runs, vec![(1, vec![1]), (0, vec![0, 2])]);
        // Alternating groups that do not overlap make one layer each.
        let none = vec![Vec::new(); 6];
        assert_eq!(stack(&[0, 1, 0, 1, 0, 1], &none), vec![(0, vec![0, 2, 4]), (1, vec![1, 3, 5])]);
        // A chain of overlaps keeps its order.
        let chain = vec![vec![1], vec![2], vec![]];
        assert_eq!(stack(&[0, 1, 0], &chain), vec![(0, vec![0]), (1, vec![1]), (0, vec![2])]);
    }
}
