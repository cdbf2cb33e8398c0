//! The levels of an image, and how a block of one feeds the blocks of the next.
//!
//! The pixels of a level are cut where the samples that they are made of lie in other blocks of the level
//! below: most need one block (the *inner* part), those at its borders need two or four. An inner part is
//! made as soon as its block is there; a border part waits in a [`Region`], which collects the few rows or
//! columns that it needs from each block.

use crate::engine::reduce::{Area, Axis, OverviewKernel, Reducer, Tile, View};
use crate::geometry::{Size, Window};
use crate::sample::Sample;

/// How the sizes of levels are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// As GDAL's COG driver does.
    Down,
    /// As `gdaladdo` does.
    Up,
}

/// Full resolution and its overviews, down to one block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Levels {
    /// Full resolution first.
    pub(crate) sizes: Vec<Size>,
    pub(crate) chunk: u32,
    pub(crate) kernel: OverviewKernel,
}

/// Pixels along one axis that need the same blocks of the level below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    /// Pixels of the level.
    start: u32,
    end: u32,
    /// Pixels below.
    from: u32,
    to: u32,
    /// Blocks below, first and last.
    first: u32,
    last: u32,
}

/// Pixels of one block of a level that need the same blocks of the level below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Region {
    /// The level, at least 1.
    pub(crate) level: u32,
    /// Pixels of the level.
    pub(crate) window: Window,
    /// Pixels below that they are made of.
    pub(crate) below: Window,
}

/// What a block gives to the level above it.
#[derive(Debug)]
pub(crate) struct Piece<T> {
    pub(crate) region: Region,
    /// Pixels of the level if `done`, else of the level below.
    pub(crate) window: Window,
    pub(crate) done: bool,
    /// `None` where all is invalid.
    pub(crate) tile: Option<Tile<T>>,
}

impl Levels {
    pub(crate) fn new(full: Size, chunk: u32, kernel: OverviewKernel, round: Rounding) -> Levels {
        let half = |side: u32| match round {
            Rounding::Down => (side / 2).max(1),
            Rounding::Up => side.div_ceil(2),
        };
        let mut sizes = vec![full];
        let mut last = full;
        while last.width > chunk || last.height > chunk {
            last = Size { width: half(last.width), height: half(last.height) };
            sizes.push(last);
        }
        Levels { sizes, chunk, kernel }
    }

    /// Number of the coarsest level.
    pub(crate) fn top(&self) -> u32 {
        self.sizes.len() as u32 - 1
    }

    /// Pixels of a block, cut at the edges.
    pub(crate) fn block_window(&self, level: u32, bx: u32, by: u32) -> Window {
        let size = self.sizes[level as usize];
        let (col, row) = (bx * self.chunk, by * self.chunk);
        Window {
            col,
            row,
            width: self.chunk.min(size.width - col),
            height: self.chunk.min(size.height - row),
        }
    }

    /// The axes and pixels of a region.
    pub(crate) fn area(&self, region: &Region) -> Area {
        let (below, above) =
            (self.sizes[region.level as usize - 1], self.sizes[region.level as usize]);
        Area {
            cols: Axis { below: below.width, above: above.width, kernel: self.kernel },
            rows: Axis { below: below.height, above: above.height, kernel: self.kernel },
            window: region.window,
        }
    }

    /// The regions of `level + 1` that a block of `level` has a part in.
    fn regions(&self, level: u32, bx: u32, by: u32) -> Vec<(Region, bool)> {
        let (below, above) = (self.sizes[level as usize], self.sizes[level as usize + 1]);
        let axis = |below: u32, above: u32| Axis { below, above, kernel: self.kernel };
        let cols = segments(&axis(below.width, above.width), self.chunk, bx);
        let rows = segments(&axis(below.height, above.height), self.chunk, by);
        let mut found = Vec::with_capacity(cols.len() * rows.len());
        for row in &rows {
            for col in &cols {
                let window = |c: (u32, u32), r: (u32, u32)| Window {
                    col: c.0,
                    row: r.0,
                    width: c.1 - c.0,
                    height: r.1 - r.0,
                };
                let region = Region {
                    level: level + 1,
                    window: window((col.start, col.end), (row.start, row.end)),
                    below: window((col.from, col.to), (row.from, row.to)),
                };
                found.push((region, col.first == col.last && row.first == row.last));
            }
        }
        found
    }

    /// What a block of `level` gives to the level above; `view` is `None` if nothing in it is valid.
    pub(crate) fn split<T: Sample>(
        &self,
        level: u32,
        (bx, by): (u32, u32),
        view: Option<View<'_, T>>,
        reducer: &mut Reducer<T>,
    ) -> Vec<Piece<T>> {
        if level >= self.top() {
            return Vec::new();
        }
        let own = self.block_window(level, bx, by);
        let piece = |(region, inner): (Region, bool)| {
            // A region of this block needs some of its pixels.
            let part = region.below.intersection(own).unwrap_or(own);
            let window = if inner { region.window } else { part };
            let tile = view.map(|view| {
                if inner {
                    return reducer.reduce(view, &self.area(&region));
                }
                let mut tile = Tile::empty(part, reducer.bands, reducer.planes);
                tile.paste(view);
                tile
            });
            Piece { region, window, done: inner, tile }
        };
        self.regions(level, bx, by).into_iter().map(piece).collect()
    }

    /// Bytes of the pieces of a full-resolution block, at most.
    pub(crate) fn piece_bytes(chunk: u32, pixel_bytes: u64) -> u64 {
        let side = u64::from(chunk);
        // A quarter of the block, and borders of at most 12 pixels on its sides.
        (side * side / 4 + 4 * 12 * side + 1024) * pixel_bytes
    }
}

/// The runs of pixels that a block of the level below has a part in.
fn segments(axis: &Axis, chunk: u32, block: u32) -> Vec<Segment> {
    let (start, end) = (block * chunk, ((block + 1).saturating_mul(chunk)).min(axis.below));
    let guess = (f64::from(start) / axis.ratio()).floor() as u32;
    let mut pixel = guess.saturating_sub(8).min(axis.above - 1);
    while pixel < axis.above && axis.span(pixel).1 <= start {
        pixel += 1;
    }
    let mut found: Vec<Segment> = Vec::new();
    while pixel < axis.above && axis.span(pixel).0 < end {
        let (from, to) = axis.span(pixel);
        let (first, last) = (from / chunk, (to - 1) / chunk);
        let own = Segment { start: pixel, end: pixel + 1, from, to, first, last };
        match found.last_mut() {
            Some(s) if (s.first, s.last) == (first, last) && s.start / chunk == pixel / chunk => {
                (s.end, s.to) = (pixel + 1, to);
            }
            _ => found.push(own),
        }
        pixel += 1;
    }
    found
}
