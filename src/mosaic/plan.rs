//! The order of output blocks: a function of the mosaic and the chunk alone, so that the bytes of the
//! output do not depend on threads or memory.
//!
//! Output blocks at one place (all bands) are a *cell*. Cells go in columns of cells, each from top to
//! bottom, row by row inside a column. A wide column decodes no source block twice for want of a
//! neighbour on its side, but keeps the source blocks that straddle two rows of cells for longer; a
//! column ends where few source blocks would be cut.

use std::ops::Range;

use crate::geometry::{Size, Window};
use crate::mosaic::Mosaic;

/// Bytes of straddling source blocks that a column may hold before it looks for a place to end: a
/// quarter of the smallest budget that must work.
const COLUMN_BYTES: f64 = (16u64 << 20) as f64;
/// Share of the decoded bytes that may be decoded twice because a column ended.
const CUT_SHARE: f64 = 0.04;

/// The order of cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    size: Size,
    chunk: u32,
    /// First cell column of each column of cells, then the end.
    columns: Vec<u32>,
    /// Squares of cells that are done one after the other; empty if there are none.
    squares: Squares,
}

/// Squares of `side` cells in Morton order: the number of the first cell of each, then its column and row
/// of squares.
#[derive(Debug, Clone, PartialEq, Default)]
struct Squares {
    side: u32,
    order: Vec<(u64, u32, u32)>,
}

/// Most cells on a side of a square, and fewest.
const SQUARE_CELLS: std::ops::RangeInclusive<u32> = 8..=64;
/// Bytes of incomplete overviews that a row of cells in a square should leave behind at most.
const SQUARE_BYTES: u64 = 64 << 20;
/// Most squares: their list is held.
const MOST_SQUARES: u64 = 1 << 18;

/// One place in the output: its column and row of cells, and its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Column of cells.
    pub bx: u32,
    /// Row of cells.
    pub by: u32,
    /// Pixels of the mosaic, cut at its right and lower edge.
    pub window: Window,
}

impl Schedule {
    /// The order for a mosaic written in blocks of `chunk` pixels.
    pub fn new(mosaic: &Mosaic, chunk: u32) -> Schedule {
        let size = mosaic.grid.size;
        let across = size.width.div_ceil(chunk);
        let columns = column_ends(mosaic, chunk, across);
        Schedule { size, chunk, columns, squares: Squares::default() }
    }

    /// The same in squares, so that what overviews wait for stays bounded: a square is done before the
    /// next begins. `block_bytes` is what an incomplete block of an overview holds.
    pub fn in_squares(mosaic: &Mosaic, chunk: u32, block_bytes: u64) -> Schedule {
        let mut schedule = Schedule::new(mosaic, chunk);
        let mut side = *SQUARE_CELLS.end();
        while side > *SQUARE_CELLS.start() && u64::from(side) * block_bytes > SQUARE_BYTES {
            side /= 2;
        }
        let count = |side: u32| {
            let (across, down) = (schedule.across().div_ceil(side), schedule.down().div_ceil(side));
            u64::from(across) * u64::from(down)
        };
        while count(side) > MOST_SQUARES {
            side *= 2;
        }
        schedule.squares = Squares::new(schedule.across(), schedule.down(), side);
        schedule
    }

    /// Row by row over the whole mosaic.
    pub fn rows(size: Size, chunk: u32) -> Schedule {
        let columns = vec![0, size.width.div_ceil(chunk)];
        Schedule { size, chunk, columns, squares: Squares::default() }
    }

    /// Cells in a row of cells.
    pub fn across(&self) -> u32 {
        self.size.width.div_ceil(self.chunk)
    }

    /// Rows of cells.
    pub fn down(&self) -> u32 {
        self.size.height.div_ceil(self.chunk)
    }

    /// Number of cells.
    pub fn cells(&self) -> u64 {
        u64::from(self.across()) * u64::from(self.down())
    }

    /// Columns of cells.
    pub fn column_count(&self) -> usize {
        self.columns.len() - 1
    }

    /// The cell at a place in the order.
    pub fn cell(&self, index: u64) -> Cell {
        let (bx, by) = match self.squares.find(index, self.across(), self.down()) {
            Some((rest, cols, rows)) => self.cell_in_square(rest, cols, rows),
            None => self.cell_in_columns(index),
        };
        let (col, row) = (bx * self.chunk, by * self.chunk);
        let window = Window {
            col,
            row,
            width: self.chunk.min(self.size.width - col),
            height: self.chunk.min(self.size.height - row),
        };
        Cell { bx, by, window }
    }

    fn cell_in_square(&self, mut rest: u64, cols: Range<u32>, rows: Range<u32>) -> (u32, u32) {
        let mut start = cols.start;
        let ends = &self.columns[self.columns.partition_point(|end| *end <= start)..];
        for end in ends.iter().map(|end| (*end).min(cols.end)) {
            let width = u64::from(end - start);
            let cells = width * u64::from(rows.end - rows.start);
            if rest < cells {
                return (start + (rest % width) as u32, rows.start + (rest / width) as u32);
            }
            (rest, start) = (rest - cells, end);
        }
        // The last column ends where the mosaic does.
        (cols.end - 1, rows.end - 1)
    }

    fn cell_in_columns(&self, index: u64) -> (u32, u32) {
        let down = u64::from(self.down());
        // Cells before column `c` are `columns[c] * down`.
        let column = self.columns.partition_point(|start| u64::from(*start) * down <= index) - 1;
        let start = self.columns[column];
        let width = u64::from(self.columns[column + 1] - start);
        let rest = index - u64::from(start) * down;
        (start + (rest % width) as u32, (rest / width) as u32)
    }

    /// Number of cells that a window of the grid meets.
    pub fn cells_of(&self, window: Window) -> u64 {
        let span =
            |start: u32, end: u32| u64::from((end - 1) / self.chunk - start / self.chunk + 1);
        span(window.col, window.col_end()) * span(window.row, window.row_end())
    }
}

impl Squares {
    fn new(across: u32, down: u32, side: u32) -> Squares {
        let mut places: Vec<(u32, u32)> = (0..down.div_ceil(side))
            .flat_map(|y| (0..across.div_ceil(side)).map(move |x| (x, y)))
            .collect();
        places.sort_by_key(|(x, y)| morton(*x, *y));
        let mut first = 0;
        let order = places.into_iter().map(|(x, y)| {
            let own = first;
            let cells = |at: u32, all: u32| u64::from(side.min(all - at * side));
            first += cells(x, across) * cells(y, down);
            (own, x, y)
        });
        Squares { side, order: order.collect() }
    }

    /// The square of a cell: which of its cells it is, and its columns and rows of cells.
    fn find(&self, index: u64, across: u32, down: u32) -> Option<(u64, Range<u32>, Range<u32>)> {
        let place = self.order.partition_point(|(first, ..)| *first <= index).checked_sub(1)?;
        let (first, x, y) = self.order[place];
        let range =
            |at: u32, all: u32| at * self.side..((at + 1).saturating_mul(self.side)).min(all);
        Some((index - first, range(x, across), range(y, down)))
    }
}

/// The bits of both, interleaved.
fn morton(x: u32, y: u32) -> u64 {
    let spread =
        |v: u32| (0..32).fold(0u64, |sum, bit| sum | (u64::from(v >> bit & 1) << (2 * bit)));
    spread(x) | spread(y) << 1
}

/// What the source blocks cost at the borders between cell columns.
struct Costs {
    /// Decoded bytes of source blocks that a border before cell column `x` cuts.
    cut: Vec<f64>,
    /// Decoded bytes by the cell column of their middle.
    bytes: Vec<f64>,
    /// Bytes of source blocks that straddle a border between rows of cells, at the worst of them, by
    /// cell column; sources below each other are in play one after the other.
    straddle: Vec<f64>,
}

fn costs(mosaic: &Mosaic, chunk: u32, across: u32) -> Costs {
    let zeros = || vec![0.0; across as usize];
    let mut costs = Costs { cut: zeros(), bytes: zeros(), straddle: zeros() };
    let Some(all) = mosaic.grid.size.window() else { return costs };
    let grid_height = f64::from(mosaic.grid.size.height);
    for (id, source) in mosaic.sources().iter().enumerate() {
        let Some(window) = mosaic.source_window(id as u32, all) else { continue };
        let layout = &source.dataset.image;
        let (block, part) = (layout.block_size(), source.window());
        // Source pixels per grid pixel.
        let scale_x = f64::from(part.width) / f64::from(window.width).max(1.0);
        let pixel_bytes = f64::from(layout.bands) * layout.dtype.size() as f64;
        let block_cols = f64::from(block.width.min(layout.size.width)) / scale_x;
        let total = part.pixels() as f64 * pixel_bytes;
        let per_col = total / f64::from(window.width);
        let (first, last) = (window.col / chunk, (window.col_end() - 1) / chunk);
        // Sources lie below each other: a row of cells meets the share of them that its height is.
        let in_row = (f64::from(window.height) / grid_height).min(1.0);
        let straddle_rows = f64::from(block.height.min(layout.size.height).min(chunk));
        let scale_y = f64::from(part.height) / f64::from(window.height).max(1.0);
        let held = per_col * straddle_rows / (f64::from(window.height) * scale_y) * in_row;
        for x in first..=last {
            let (start, end) = (x * chunk, (x + 1).saturating_mul(chunk));
            let cols = f64::from(window.col_end().min(end) - window.col.max(start));
            costs.bytes[x as usize] += cols * per_col;
            costs.straddle[x as usize] += cols * held;
            // From the left edge of the dataset's blocks.
            let position = f64::from(start) - f64::from(window.col) + f64::from(part.col) / scale_x;
            if x > first && !block_border(position, block_cols) {
                // One column of source blocks is cut, over the source's height.
                costs.cut[x as usize] += per_col * block_cols.min(f64::from(window.width));
            }
        }
    }
    costs
}

/// Whether a position lies on a border between source blocks.
fn block_border(position: f64, block_cols: f64) -> bool {
    let blocks = position / block_cols;
    (blocks - blocks.round()).abs() * block_cols < 0.5
}

/// First cell columns of the columns, then the end.
fn column_ends(mosaic: &Mosaic, chunk: u32, across: u32) -> Vec<u32> {
    let costs = costs(mosaic, chunk, across);
    let mut ends = vec![0];
    let (mut held, mut bytes, mut cut) = (0.0, 0.0, 0.0);
    // The cheapest place to end since the column grew large enough to care.
    let mut best: Option<(u32, f64, f64)> = None;
    let mut x = 0;
    while x < across {
        let i = x as usize;
        let started = ends.last().copied().unwrap_or(0);
        if x > started && held >= COLUMN_BYTES / 4.0 {
            let affordable = cut + costs.cut[i] <= CUT_SHARE * bytes;
            if affordable && best.is_none_or(|(_, price, _)| costs.cut[i] <= price) {
                best = Some((x, costs.cut[i], bytes));
            }
        }
        if held > COLUMN_BYTES
            && let Some((place, price, _)) = best.take()
        {
            ends.push(place);
            cut += price;
            held = costs.straddle[place as usize..=i].iter().sum();
        } else {
            held += costs.straddle[i];
        }
        bytes += costs.bytes[i];
        x += 1;
    }
    ends.push(across);
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mosaic::MosaicOptions;
    use crate::source::Source;
    use crate::source::open::open_source;
    use crate::tiff::reader::blocks_of;
    use std::path::Path;

    #[test]
    fn every_cell_comes_once() {
        let size = Size { width: 1000, height: 700 };
        for columns in [vec![0, 10], vec![0, 3, 4, 10], vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            let schedule = Schedule { size, chunk: 100, columns, squares: Squares::default() };
            let mut seen = vec![0; 70];
            for index in 0..schedule.cells() {
                let cell = schedule.cell(index);
                assert_eq!(
                    cell.window,
                    Window::new(cell.bx * 100, cell.by * 100, 100, 100).unwrap()
                );
                seen[(cell.by * 10 + cell.bx) as usize] += 1;
            }
            assert_eq!(seen, vec![1; 70]);
        }
    }

    #[test]
    fn cells_of_a_window_are_counted() {
        let schedule = Schedule::rows(Size { width: 1000, height: 1000 }, 100);
        assert_eq!(schedule.cells_of(Window::new(0, 0, 100, 100).unwrap()), 1);
        assert_eq!(schedule.cells_of(Window::new(99, 99, 2, 2).unwrap()), 4);
        assert_eq!(schedule.cells_of(Window::new(0, 0, 1000, 101).unwrap()), 20);
    }

    #[test]
    fn ragged_edges_and_any_columns_make_a_partition() {
        let mut cases = 0;
        for (width, height) in [(1, 1), (99, 1), (100, 100), (101, 250), (333, 777), (1000, 3)] {
            for chunk in [16, 32, 100, 2048] {
                let size = Size { width, height };
                let across = width.div_ceil(chunk);
                for step in [1, 2, 7, 1000] {
                    let mut columns: Vec<u32> = (0..across).step_by(step).collect();
                    columns.push(across);
                    let schedule = Schedule { size, chunk, columns, squares: Squares::default() };
                    assert_partition(&schedule);
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 96);
    }

    fn assert_partition(schedule: &Schedule) {
        let Size { width, height } = schedule.size;
        let mut seen = vec![0u8; (width * height) as usize];
        for index in 0..schedule.cells() {
            let Window { col, row, width: w, height: h } = schedule.cell(index).window;
            for r in row..row + h {
                seen[(r * width + col) as usize..][..w as usize].iter_mut().for_each(|v| *v += 1);
            }
            assert_eq!(schedule.cells_of(schedule.cell(index).window), 1);
        }
        assert!(seen.iter().all(|count| *count == 1), "{schedule:?}");
    }

    #[test]
    fn columns_go_from_top_to_bottom_and_rows_from_left_to_right() {
        let size = Size { width: 500, height: 300 };
        let schedule =
            Schedule { size, chunk: 100, columns: vec![0, 2, 5], squares: Squares::default() };
        let order: Vec<(u32, u32)> =
            (0..15).map(|index| schedule.cell(index)).map(|cell| (cell.bx, cell.by)).collect();
        let expected = [
            [(0, 0), (1, 0), (0, 1)],
            [(1, 1), (0, 2), (1, 2)],
            [(2, 0), (3, 0), (4, 0)],
            [(2, 1), (3, 1), (4, 1)],
            [(2, 2), (3, 2), (4, 2)],
        ];
        assert_eq!(order, expected.concat());
    }

    #[test]
    fn cells_of_windows_equal_a_count() {
        let size = Size { width: 130, height: 90 };
        let schedule = Schedule::rows(size, 16);
        let mut cases = 0;
        for col in (0..130).step_by(7) {
            for row in (0..90).step_by(5) {
                for (width, height) in [(1, 1), (16, 16), (17, 40), (130, 90)] {
                    let window = Window::new(col, row, width, height).unwrap();
                    let Some(window) = window.intersection(size.window().unwrap()) else {
                        continue;
                    };
                    let met = (0..schedule.cells())
                        .filter(|i| schedule.cell(*i).window.intersection(window).is_some());
                    assert_eq!(schedule.cells_of(window), met.count() as u64, "{window:?}");
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 19 * 18 * 4);
    }

    #[test]
    fn block_borders_are_found_within_half_a_pixel() {
        for (position, block, expected) in [
            (0.0, 256.0, true),
            (512.0, 256.0, true),
            (512.4, 256.0, true),
            (511.4, 256.0, false),
            (100.0, 256.0, false),
            (768.0, 512.0, false),
        ] {
            assert_eq!(block_border(position, block), expected, "{position} of {block}");
        }
    }

    /// A source of u16 whose blocks are all absent: a file of headers. `tile` 0 makes strips of 16.
    fn source(path: &Path, size: [u32; 2], tile: u32, place: [f64; 2]) -> Source {
        let [width, height] = size;
        let blocks = if tile == 0 {
            height.div_ceil(16)
        } else {
            width.div_ceil(tile) * height.div_ceil(tile)
        };
        let (scale, tie, table) = (1000, 1024, 1072);
        // Four bytes of zeros stand in the entry itself.
        let table = if blocks == 1 { 0 } else { table };
        let mut tags =
            vec![(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 5)];
        match tile {
            0 => tags.extend([(273, 4, blocks, table), (278, 4, 1, 16), (279, 4, blocks, table)]),
            side => tags.extend([
                (322, 4, 1, side),
                (323, 4, 1, side),
                (324, 4, blocks, table),
                (325, 4, blocks, table),
            ]),
        }
        tags.extend([(33550, 12, 3, scale), (33922, 12, 6, tie)]);
        let mut bytes = b"II\x2a\0\x08\0\0\0".to_vec();
        bytes.extend((tags.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in tags {
            bytes.extend([u16::to_le_bytes(tag), u16::to_le_bytes(kind)].concat());
            bytes.extend([u32::to_le_bytes(count), u32::to_le_bytes(value)].concat());
        }
        bytes.resize(scale as usize, 0);
        let numbers = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, place[0], -place[1], 0.0];
        bytes.extend(numbers.into_iter().flat_map(f64::to_le_bytes));
        bytes.resize(bytes.len() + blocks as usize * 4, 0);
        std::fs::write(path, &bytes).unwrap();
        open_source(path).unwrap()
    }

    /// Decoded bytes of all source blocks, and of what is decoded if a block is decoded once for each
    /// column of cells that it meets.
    fn decoded_bytes(mosaic: &Mosaic, schedule: &Schedule) -> (f64, f64) {
        let (mut once, mut all) = (0.0, 0.0);
        for (id, source) in mosaic.sources().iter().enumerate() {
            let layout = &source.dataset.image;
            let window =
                mosaic.source_window(id as u32, mosaic.grid.size.window().unwrap()).unwrap();
            let (cols, rows) = blocks_of(layout, layout.size.window().unwrap());
            for bx in cols {
                let block = layout.block_window(bx, 0);
                let column = |col: u32| {
                    let x = col / schedule.chunk;
                    schedule.columns.partition_point(|start| *start <= x)
                };
                let (first, last) = (window.col + block.col, window.col + block.col_end() - 1);
                let bytes = f64::from(block.width) * rows.len() as f64;
                once += bytes;
                all += bytes * (column(last) - column(first) + 1) as f64;
            }
        }
        (once, all)
    }

    #[test]
    fn few_bytes_are_decoded_twice_because_a_column_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut seed = 1u64;
        let mut below = |bound: u32| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u32 % bound
        };
        let (mut worst, mut split) = (1.0f64, 0);
        for case in 0..60 {
            let kind = [0, 128, 512, 2048][case % 4];
            let across = 1 + below(6);
            let side = [4_000 + below(30_000), 3_000 + below(20_000)];
            let step = [f64::from(side[0] - below(2000)), f64::from(side[1] - below(2000))];
            let sources = (0..across * (1 + below(3))).map(|index| {
                let place =
                    [f64::from(index % across) * step[0], f64::from(index / across) * step[1]];
                let mixed = case >= 40 && index % 2 == 1;
                let tile = if mixed { 256 } else { kind };
                source(&folder.path().join(format!("{case}_{index}.tif")), side, tile, place)
            });
            let mosaic = Mosaic::new(sources.collect(), &MosaicOptions::default()).unwrap();
            let schedule = Schedule::new(&mosaic, [512, 1024][case % 2]);
            assert!(schedule.columns.is_sorted_by(|a, b| a < b), "{:?}", schedule.columns);
            assert_eq!(schedule.columns.first(), Some(&0));
            assert_eq!(schedule.columns.last(), Some(&schedule.across()));
            let (once, all) = decoded_bytes(&mosaic, &schedule);
            assert!(all <= 1.1 * once, "case {case}: {}, {:?}", all / once, schedule.columns);
            worst = worst.max(all / once);
            split += usize::from(schedule.column_count() > 1);
        }
        assert!(split > 10 && worst > 1.0, "{split} mosaics in columns, {worst} decodes per byte");
    }
}
