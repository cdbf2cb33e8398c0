//! R-tree of source footprints, in pixels of the mosaic's grid.

use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, RTree};

use crate::geometry::Window;

/// Bounding boxes of sources; bulk-loaded, immutable.
#[derive(Debug, Clone)]
pub struct FootprintIndex {
    tree: RTree<GeomWithData<Rectangle<[f64; 2]>, u32>>,
}

impl FootprintIndex {
    /// From `[min_col, min_row, max_col, max_row]` of each source.
    pub fn new(boxes: impl Iterator<Item = [f64; 4]>) -> FootprintIndex {
        let items = boxes
            .enumerate()
            .map(|(id, [c0, r0, c1, r1])| {
                GeomWithData::new(Rectangle::from_corners([c0, r0], [c1, r1]), id as u32)
            })
            .collect();
        FootprintIndex { tree: RTree::bulk_load(items) }
    }

    /// Numbers of the sources whose box meets a window, in ascending order.
    ///
    /// Costs a walk down the tree and a sort of what is found. Boxes that only touch the window are
    /// found too.
    pub fn hits(&self, window: Window, found: &mut Vec<u32>) {
        let low = [f64::from(window.col), f64::from(window.row)];
        let high = [f64::from(window.col_end()), f64::from(window.row_end())];
        self.hits_in([low[0], low[1], high[0], high[1]], found);
    }

    /// As [`FootprintIndex::hits`], for a box `[min_col, min_row, max_col, max_row]`.
    pub fn hits_in(&self, [c0, r0, c1, r1]: [f64; 4], found: &mut Vec<u32>) {
        found.clear();
        let envelope = AABB::from_corners([c0, r0], [c1, r1]);
        found.extend(self.tree.locate_in_envelope_intersecting(envelope).map(|item| item.data));
        found.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_scan_finds() {
        let mut seed = 7u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        let boxes: Vec<[f64; 4]> = (0..500)
            .map(|_| {
                let (c, r) = (random(5000) as f64, random(5000) as f64);
                [c, r, c + random(300) as f64 + 0.5, r + random(300) as f64 + 0.5]
            })
            .collect();
        let index = FootprintIndex::new(boxes.iter().copied());
        let mut found = Vec::new();
        let mut hits = 0;
        for _ in 0..200 {
            let (c, r) = (random(5000) as u32, random(5000) as u32);
            let window = Window::new(c, r, 200, 100).unwrap();
            index.hits(window, &mut found);
            let (c, r) = (f64::from(c), f64::from(r));
            let scan: Vec<u32> = (0..500)
                .filter(|i| {
                    let b = boxes[*i as usize];
                    b[0] <= c + 200.0 && b[2] >= c && b[1] <= r + 100.0 && b[3] >= r
                })
                .collect();
            assert_eq!(found, scan);
            hits += found.len();
        }
        assert!(hits > 300, "{hits} hits");
    }
}
