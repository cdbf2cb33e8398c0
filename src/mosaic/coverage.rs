//! How many sources lie over each place of a mosaic's grid: gaps, overlaps, and their outlines. From
//! headers alone: what lies in a footprint counts as covered, nodata or not.

use std::collections::HashMap;

use crate::mosaic::Mosaic;
use crate::mosaic::layer::Mapping;

/// Most cells of a coverage.
const MAX_CELLS: usize = 1 << 24;
/// Cells along a side where the true ones would be too many.
const COARSE_SIDE: u32 = 4096;

/// Depth of coverage in cells between the edges of all footprints.
#[derive(Debug, Clone, PartialEq)]
pub struct Coverage {
    /// Columns of the grid at which a cell begins, then the grid's end.
    cols: Vec<u32>,
    /// Rows of the grid at which a cell begins, then the grid's end.
    rows: Vec<u32>,
    /// Sources over each cell, row by row.
    depth: Vec<u32>,
    /// Whether edges are where they are: false where they were too many, or sources are rotated or
    /// reprojected: then their bounding boxes count.
    pub exact: bool,
}

/// A region of equal depth: rings of grid positions, the outer one first, each closed; the outer one runs
/// counterclockwise where y points up (RFC 7946), the others clockwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Sources over it.
    pub depth: u32,
    /// Area in pixels of the grid.
    pub pixels: u64,
    /// Rings of `[col, row]`.
    pub rings: Vec<Vec<[u32; 2]>>,
}

impl Coverage {
    /// The coverage of a mosaic.
    pub fn new(mosaic: &Mosaic) -> Coverage {
        let all = mosaic.grid.size.window();
        let windows: Vec<[u32; 4]> = all
            .into_iter()
            .flat_map(|all| {
                (0..mosaic.sources().len() as u32)
                    .filter_map(move |id| mosaic.source_window(id, all))
            })
            .map(|w| [w.col, w.row, w.col_end(), w.row_end()])
            .collect();
        let rotated = (0..mosaic.sources().len() as u32)
            .any(|id| matches!(mosaic.placement(id).0, Mapping::Affine(_) | Mapping::Warped));
        let size = mosaic.grid.size;
        Coverage::of(&windows, size.width, size.height, !rotated)
    }

    /// The coverage of rectangles `[left, top, right, bottom]` in a grid.
    fn of(windows: &[[u32; 4]], width: u32, height: u32, exact: bool) -> Coverage {
        let edges = |low: usize, high: usize, side: u32| {
            let mut edges: Vec<u32> = windows.iter().flat_map(|w| [w[low], w[high]]).collect();
            edges.extend([0, side]);
            edges.sort_unstable();
            edges.dedup();
            edges
        };
        let (mut cols, mut rows) = (edges(0, 2, width), edges(1, 3, height));
        let mut exact = exact;
        if cols.len().saturating_mul(rows.len()) > MAX_CELLS {
            exact = false;
            let coarse = |side: u32| -> Vec<u32> {
                let cells = COARSE_SIDE.min(side);
                let at = |i: u32| (u64::from(side) * u64::from(i) / u64::from(cells)) as u32;
                (0..=cells).map(at).collect()
            };
            (cols, rows) = (coarse(width), coarse(height));
        }
        let (across, down) = (cols.len() - 1, rows.len() - 1);
        // Differences of depth along both axes, summed up afterwards.
        let stride = across + 1;
        let mut steps = vec![0i32; stride * (down + 1)];
        let near = |edges: &[u32], at: u32| {
            let next = edges.partition_point(|edge| *edge < at).min(edges.len() - 1);
            let before = next.saturating_sub(1);
            if at - edges[before].min(at) < edges[next].saturating_sub(at) { before } else { next }
        };
        for [left, top, right, bottom] in windows {
            let (c0, c1) = (near(&cols, *left), near(&cols, *right));
            let (r0, r1) = (near(&rows, *top), near(&rows, *bottom));
            steps[r0 * stride + c0] += 1;
            steps[r0 * stride + c1] -= 1;
            steps[r1 * stride + c0] -= 1;
            steps[r1 * stride + c1] += 1;
        }
        let mut depth = Vec::with_capacity(across * down);
        let mut column = vec![0i32; across];
        for row in 0..down {
            let mut sum = 0;
            for col in 0..across {
                sum += steps[row * stride + col];
                column[col] += sum;
                depth.push(column[col].max(0) as u32);
            }
        }
        Coverage { cols, rows, depth, exact }
    }

    fn across(&self) -> usize {
        self.cols.len() - 1
    }

    fn pixels_of(&self, cell: usize) -> u64 {
        let (row, col) = (cell / self.across(), cell % self.across());
        u64::from(self.cols[col + 1] - self.cols[col])
            * u64::from(self.rows[row + 1] - self.rows[row])
    }

    /// Pixels of the grid by depth, from 0 to the deepest.
    pub fn histogram(&self) -> Vec<u64> {
        let deepest = self.depth.iter().copied().max().unwrap_or(0);
        let mut pixels = vec![0; deepest as usize + 1];
        for (cell, depth) in self.depth.iter().enumerate() {
            pixels[*depth as usize] += self.pixels_of(cell);
        }
        pixels
    }

    /// The connected regions of equal depth among those that `wanted` takes, from top to bottom.
    pub fn regions(&self, wanted: impl Fn(u32) -> bool) -> Vec<Region> {
        let mut label = vec![u32::MAX; self.depth.len()];
        let mut regions = Vec::new();
        let mut open = Vec::new();
        for start in 0..self.depth.len() {
            let depth = self.depth[start];
            if label[start] != u32::MAX || !wanted(depth) {
                continue;
            }
            let own = regions.len() as u32;
            let mut cells = Vec::new();
            label[start] = own;
            open.push(start);
            while let Some(cell) = open.pop() {
                cells.push(cell);
                for next in self.neighbors(cell).into_iter().flatten() {
                    if label[next] == u32::MAX && self.depth[next] == depth {
                        label[next] = own;
                        open.push(next);
                    }
                }
            }
            let pixels = cells.iter().map(|cell| self.pixels_of(*cell)).sum();
            regions.push(Region { depth, pixels, rings: self.rings(&cells, &label, own) });
        }
        regions
    }

    /// Cells above, right of, below and left of a cell.
    fn neighbors(&self, cell: usize) -> [Option<usize>; 4] {
        let across = self.across();
        let (row, col) = (cell / across, cell % across);
        [
            (row > 0).then(|| cell - across),
            (col + 1 < across).then(|| cell + 1),
            (row + 2 < self.rows.len()).then(|| cell + across),
            (col > 0).then(|| cell - 1),
        ]
    }

    /// Outlines of a region: its border edges, each with the region on its left, chained.
    fn rings(&self, cells: &[usize], label: &[u32], own: u32) -> Vec<Vec<[u32; 2]>> {
        let across = self.across();
        // Corner → corners that border edges lead to from it; two where cells touch at a corner.
        let mut edges: HashMap<[u32; 2], Vec<[u32; 2]>> = HashMap::new();
        for cell in cells {
            let (row, col) = ((cell / across) as u32, (cell % across) as u32);
            let inside = self.neighbors(*cell).map(|n| n.is_some_and(|n| label[n] == own));
            let corners = [[col, row], [col + 1, row], [col + 1, row + 1], [col, row + 1]];
            // Rows point down: left, down, right, up is counterclockwise as people see it.
            for (side, (from, to)) in [(0, (1, 0)), (3, (0, 3)), (2, (3, 2)), (1, (2, 1))] {
                if !inside[side] {
                    edges.entry(corners[from]).or_default().push(corners[to]);
                }
            }
        }
        let mut starts: Vec<[u32; 2]> = edges.keys().copied().collect();
        starts.sort_unstable_by_key(|[col, row]| (*row, *col));
        let mut rings = Vec::new();
        for start in starts {
            while edges.get(&start).is_some_and(|ends| !ends.is_empty()) {
                let ring = chain(&mut edges, start);
                rings.push(ring.into_iter().map(|c| self.position(c)).collect::<Vec<_>>());
            }
        }
        // The outer ring holds all others: its area is the largest.
        rings.sort_by_key(|ring: &Vec<[u32; 2]>| std::cmp::Reverse(twice_area(ring).abs()));
        rings
    }

    fn position(&self, [col, row]: [u32; 2]) -> [u32; 2] {
        [self.cols[col as usize], self.rows[row as usize]]
    }
}

/// One ring of border edges from a corner back to it, without corners on straight lines.
fn chain(edges: &mut HashMap<[u32; 2], Vec<[u32; 2]>>, start: [u32; 2]) -> Vec<[u32; 2]> {
    let mut ring = vec![start];
    let (mut at, mut from) = (start, None::<[u32; 2]>);
    while let Some(ends) = edges.get_mut(&at).filter(|ends| !ends.is_empty()) {
        // Where two rings touch at a corner, turn to the left: the rings stay apart.
        let turn = |end: &[u32; 2]| {
            let Some(from) = from else { return 0 };
            let d = |a: [u32; 2], b: [u32; 2]| {
                (i64::from(b[0]) - i64::from(a[0]), i64::from(b[1]) - i64::from(a[1]))
            };
            let ((ax, ay), (bx, by)) = (d(from, at), d(at, *end));
            // Positive: a turn to the left, with y down.
            ay * bx - ax * by
        };
        let best = (0..ends.len()).max_by_key(|index| turn(&ends[*index])).unwrap_or(0);
        let next = ends.swap_remove(best);
        from = Some(at);
        at = next;
        let straight = ring.len() >= 2 && {
            let [a, b] = [ring[ring.len() - 2], ring[ring.len() - 1]];
            (a[0] == b[0] && b[0] == at[0]) || (a[1] == b[1] && b[1] == at[1])
        };
        if straight {
            ring.pop();
        }
        ring.push(at);
        if at == start {
            break;
        }
    }
    // The start may lie on a straight line itself.
    let count = ring.len();
    if count > 4 {
        let (before, after) = (ring[count - 2], ring[1]);
        let on_line = (before[0] == start[0] && after[0] == start[0])
            || (before[1] == start[1] && after[1] == start[1]);
        if on_line {
            ring.remove(0);
            ring.pop();
            ring.push(ring[0]);
        }
    }
    ring
}

/// Twice the signed area of a closed ring; positive if it is counterclockwise where y points up.
fn twice_area(ring: &[[u32; 2]]) -> i64 {
    let cross = |pair: &[[u32; 2]]| {
        let [a, b] = [pair[0].map(i64::from), pair[1].map(i64::from)];
        b[0] * a[1] - a[0] * b[1]
    };
    ring.windows(2).map(cross).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_those_of_a_count() {
        let mut seed = 5u64;
        let mut below = |bound: u32| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u32 % bound
        };
        for _ in 0..50 {
            let windows: Vec<[u32; 4]> = (0..below(8))
                .map(|_| {
                    let (c, r) = (below(30), below(20));
                    [c, r, (c + 1 + below(15)).min(31), (r + 1 + below(15)).min(21)]
                })
                .collect();
            let coverage = Coverage::of(&windows, 31, 21, true);
            let mut expected = vec![0u64; coverage.histogram().len()];
            for (c, r) in (0..21).flat_map(|r| (0..31).map(move |c| (c, r))) {
                let depth =
                    windows.iter().filter(|w| w[0] <= c && c < w[2] && w[1] <= r && r < w[3]);
                expected[depth.count()] += 1;
            }
            assert_eq!(coverage.histogram(), expected);
            // Areas of the rings are those of the regions, holes taken off.
            for region in coverage.regions(|_| true) {
                let area: i64 = region.rings.iter().map(|ring| twice_area(ring)).sum();
                assert_eq!(area, 2 * region.pixels as i64, "{region:?}");
                assert!(twice_area(&region.rings[0]) > 0);
                assert!(region.rings[1..].iter().all(|ring| twice_area(ring) < 0));
                assert!(
                    region.rings.iter().all(|ring| ring.first() == ring.last() && ring.len() >= 5)
                );
            }
        }
    }

    #[test]
    fn a_frame_has_a_hole() {
        let windows = [[0, 0, 9, 2], [0, 7, 9, 9], [0, 2, 2, 7], [7, 2, 9, 7]];
        let coverage = Coverage::of(&windows, 9, 9, true);
        let covered = coverage.regions(|depth| depth == 1);
        assert_eq!((covered.len(), covered[0].rings.len()), (1, 2));
        let gap = coverage.regions(|depth| depth == 0);
        assert_eq!(gap[0].pixels, 25);
        assert_eq!(gap[0].rings, vec![vec![[2, 2], [2, 7], [7, 7], [7, 2], [2, 2]]]);
    }

    #[test]
    fn too_many_edges_are_taken_together() {
        let windows: Vec<[u32; 4]> =
            (0..6000).map(|i| [i * 16, i * 16, i * 16 + 17, i * 16 + 17]).collect();
        let coverage = Coverage::of(&windows, 96_001, 96_001, true);
        assert!(!coverage.exact && coverage.depth.len() <= MAX_CELLS);
        let total: u64 = coverage.histogram().iter().sum();
        assert_eq!(total, 96_001 * 96_001);
    }
}
