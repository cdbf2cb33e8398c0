//! Layers in the order in which they lie, and where the pixels of each come from (SPEC §5.7).

use super::{Mosaic, Overlap};
use crate::geometry::{Size, Window};
use crate::mosaic::index::FootprintIndex;
use crate::mosaic::layer::{Mapping, Placement};
use crate::resample::Kernel;
use crate::resample::gather::Place;
use crate::warp::{Warp, WarpScratch};

impl Mosaic {
    /// The layers to composite and resample one by one; `None` if sources are painted straight onto the
    /// grid.
    pub(crate) fn stack(&self) -> Option<&Stack> {
        self.stack.as_ref()
    }

    /// Number of the layer of a source, bottom to top; 0 where there are none.
    pub(crate) fn layer_of(&self, source: u32) -> u32 {
        self.stack.as_ref().map_or(0, |stack| stack.layer_of[source as usize])
    }

    /// Mapping of a layer's group.
    pub(crate) fn layer_mapping(&self, layer: u32) -> Mapping {
        let group = self.stack.as_ref().map_or(0, |stack| stack.groups[layer as usize]);
        self.groups[group as usize].1
    }

    /// Whether a layer's sources are painted onto the grid one by one: copied, or read at single pixels.
    pub(crate) fn is_painted_directly(&self, layer: u32) -> bool {
        let copies = matches!(self.layer_mapping(layer), Mapping::Shift { .. });
        let warped = matches!(self.layer_mapping(layer), Mapping::Warped);
        self.overlap.is_by_order() && !warped && (copies || self.kernel == Kernel::Nearest)
    }

    /// Columns and rows of a source in the reference grid of its group: `[left, top, right, bottom]`,
    /// half-open.
    pub(crate) fn rectangle(&self, source: u32) -> [i64; 4] {
        let Placement { col, row, .. } = self.places[source as usize];
        let Size { width, height } = self.sources[source as usize].size();
        [col, row, col + i64::from(width), row + i64::from(height)]
    }

    /// Reference pixels of a layer beyond the one under a centre that a pixel may need.
    pub(crate) fn halo(&self, layer: u32) -> i64 {
        let feather = if let Overlap::Feather(px) = self.overlap { i64::from(px) } else { 0 };
        let scale = match self.layer_mapping(layer) {
            Mapping::Shift { .. } => return feather,
            Mapping::Axis { scale, .. } => scale,
            // The outline of a turned pixel reaches as far as its sides together.
            Mapping::Affine([_, ux, uy, _, vx, vy]) if self.kernel.is_area() => {
                [ux.abs() + uy.abs(), vx.abs() + vy.abs()]
            }
            Mapping::Affine([_, ux, uy, _, vx, vy]) => [ux.hypot(uy), vx.hypot(vy)],
            Mapping::Warped => self.layer_scale(layer),
        };
        feather + self.kernel.halo(scale[0].abs().max(scale[1].abs()))
    }

    /// Source pixels per pixel of the grid along the axes of a layer, at most.
    pub(crate) fn layer_scale(&self, layer: u32) -> [f64; 2] {
        match self.layer_mapping(layer) {
            Mapping::Shift { .. } => [1.0, 1.0],
            Mapping::Axis { scale, .. } => scale.map(f64::abs),
            Mapping::Affine([_, ux, uy, _, vx, vy]) => [ux.abs() + uy.abs(), vx.abs() + vy.abs()],
            Mapping::Warped => {
                self.stack.as_ref().map_or([1.0; 2], |stack| stack.scales[layer as usize])
            }
        }
    }

    /// The warp of a layer in another CRS.
    pub(crate) fn layer_warp(&self, layer: u32) -> Option<&Warp> {
        let group = self.stack.as_ref().map_or(0, |stack| stack.groups[layer as usize]);
        self.warps[group as usize].as_deref()
    }

    /// Bounding box of a source in grid pixels, `[min_col, min_row, max_col, max_row]`.
    pub(crate) fn grid_box(&self, source: u32) -> [f64; 4] {
        match self.warped_boxes.get(source as usize) {
            Some(own) => *own,
            None => {
                let (mapping, place) = self.placement(source);
                let size = self.sources[source as usize].size();
                mapping.grid_box(place.col, place.row, size)
            }
        }
    }

    /// Scale of a warped layer at some places of its sources, the largest.
    fn warped_scale(&self, warp: &Warp, ids: &[u32]) -> [f64; 2] {
        let mut scratch = WarpScratch::default();
        let (mut most, mut places) = ([0.0f64; 2], Vec::new());
        let size = self.grid.size;
        // A few sources stand for all.
        for id in ids.iter().step_by(ids.len().div_ceil(64)) {
            let [left, top, right, bottom] = self.grid_box(*id);
            for (fx, fy) in [(0.5, 0.5), (0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)] {
                let (x, y) = (left + fx * (right - left), top + fy * (bottom - top));
                let inside =
                    x >= 0.0 && y >= 0.0 && x < f64::from(size.width) && y < f64::from(size.height);
                if inside {
                    warp.map_row(0, y as u32, x as u32..x as u32 + 1, &mut scratch, &mut places);
                }
            }
        }
        for place in places.iter().filter(|place| place.u.is_finite()) {
            let scale = place.scale();
            most = [most[0].max(scale[0]), most[1].max(scale[1])];
        }
        most.map(|scale| scale.max(1e-3))
    }

    /// A box of a layer's reference grid that holds all that a window needs, with the kernel's halo;
    /// `None` if the window maps to nowhere.
    pub(crate) fn reference_box(
        &self,
        layer: u32,
        window: Window,
        scratch: &mut WarpScratch,
    ) -> Option<[i64; 4]> {
        if let Some(warp) = self.layer_warp(layer) {
            let (all, scale) = warp.bounds(layer, window, scratch)?;
            let feather = if let Overlap::Feather(px) = self.overlap { i64::from(px) } else { 0 };
            let halo = feather + self.kernel.halo(scale);
            let own = self.stack.as_ref()?.extents[layer as usize];
            let [left, top, right, bottom] = all.map(|v| v.clamp(-4.5e15, 4.5e15).floor() as i64);
            // Beyond the layer's sources there is nothing to read.
            let part = [
                (left - halo).max(own[0]),
                (top - halo).max(own[1]),
                (right + halo + 1).min(own[2]),
                (bottom + halo + 1).min(own[3]),
            ];
            return (part[0] < part[2] && part[1] < part[3]).then_some(part);
        }
        let mapping = self.layer_mapping(layer);
        let halo = self.halo(layer);
        let (right, bottom) = (window.col_end() - 1, window.row_end() - 1);
        let corners = [
            mapping.center(window.col, window.row),
            mapping.center(right, window.row),
            mapping.center(window.col, bottom),
            mapping.center(right, bottom),
        ];
        let low = |axis: usize| corners.iter().map(|c| c[axis]).fold(f64::MAX, f64::min).floor();
        let high = |axis: usize| corners.iter().map(|c| c[axis]).fold(f64::MIN, f64::max).floor();
        let all = [low(0), low(1), high(0), high(1)];
        // Beyond 2^52 pixels have no places.
        if all.iter().any(|v| v.abs() >= 4.5e15) {
            return None;
        }
        let [left, top, right, bottom] = all.map(|v| v as i64);
        Some([left - halo, top - halo, right + halo + 1, bottom + halo + 1])
    }

    /// Where the pixels of a row of a window lie in a layer's reference grid.
    pub(crate) fn places(
        &self,
        layer: u32,
        window: Window,
        row: u32,
        scratch: &mut WarpScratch,
        places: &mut Vec<Place>,
    ) {
        if let Some(warp) = self.layer_warp(layer) {
            places.clear();
            warp.map_row(layer, row, window.col..window.col_end(), scratch, places);
            return;
        }
        let mapping = self.layer_mapping(layer);
        let jacobian = match mapping {
            Mapping::Shift { .. } => [1.0, 0.0, 0.0, 1.0],
            Mapping::Axis { scale, .. } => [scale[0], 0.0, 0.0, scale[1]],
            Mapping::Affine([_, ux, uy, _, vx, vy]) => [ux, uy, vx, vy],
            Mapping::Warped => [f64::NAN; 4],
        };
        places.clear();
        places.extend((window.col..window.col_end()).map(|col| {
            let [u, v] = mapping.center(col, row);
            Place { u, v, jacobian }
        }));
    }

    /// Numbers of a layer's sources that may have pixels in a box `[min_col, min_row, max_col, max_row]`
    /// of its reference grid, the one that counts most first.
    pub(crate) fn layer_hits(&self, layer: u32, reference_box: [i64; 4], found: &mut Vec<u32>) {
        found.clear();
        let Some(stack) = &self.stack else { return };
        let group = stack.groups[layer as usize];
        stack.indexes[group as usize].hits_in(reference_box.map(|v| v as f64), found);
        found.iter_mut().for_each(|id| *id = stack.members[group as usize][*id as usize]);
        found.retain(|id| stack.layer_of[*id as usize] == layer);
        if self.overlap == Overlap::Last {
            found.reverse();
        }
    }
}

/// Sources by layer, bottom to top, and an index of each co-registered group in its reference grid.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    /// Group of each layer.
    pub(crate) groups: Vec<u32>,
    layer_of: Vec<u32>,
    /// Sources of each group in input order, and their index.
    members: Vec<Vec<u32>>,
    indexes: Vec<FootprintIndex>,
    /// By layer, for those that are warped: the largest scale, and the reference pixels that have sources.
    scales: Vec<[f64; 2]>,
    extents: Vec<[i64; 4]>,
}

impl Stack {
    pub(super) fn new(mosaic: &Mosaic) -> Stack {
        let group_count = mosaic.groups.len() as u32;
        let mut members = vec![Vec::new(); mosaic.groups.len()];
        for (id, place) in mosaic.places.iter().enumerate() {
            members[place.group as usize].push(id as u32);
        }
        let reference_box = |id: &u32| {
            let (place, size) = (mosaic.places[*id as usize], mosaic.sources[*id as usize].size());
            let (col, row) = (place.col as f64, place.row as f64);
            [col, row, col + f64::from(size.width), row + f64::from(size.height)]
        };
        let indexes =
            members.iter().map(|ids| FootprintIndex::new(ids.iter().map(reference_box))).collect();
        let mut layer_of = vec![0; mosaic.sources.len()];
        // Without an order there is nothing to keep in between: each group is one layer.
        let groups = if mosaic.overlap.is_by_order() {
            let runs = mosaic.stack_layers();
            for (layer, (_, sources)) in runs.iter().enumerate() {
                sources.iter().for_each(|id| layer_of[*id as usize] = layer as u32);
            }
            runs.into_iter().map(|(group, _)| group).collect()
        } else {
            for (id, place) in mosaic.places.iter().enumerate() {
                layer_of[id] = place.group;
            }
            (0..group_count).collect()
        };
        let groups: Vec<u32> = groups;
        let scale = |group: &u32| match &mosaic.warps[*group as usize] {
            Some(warp) => mosaic.warped_scale(warp, &members[*group as usize]),
            None => [1.0; 2],
        };
        let scales = groups.iter().map(scale).collect();
        let extent = |group: &u32| {
            let ids = members[*group as usize].iter();
            let all = ids
                .map(|id| mosaic.rectangle(*id))
                .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
            all.unwrap_or_default()
        };
        let extents = groups.iter().map(extent).collect();
        Stack { groups, layer_of, members, indexes, scales, extents }
    }
}
