//! The order of output blocks: a function of the mosaic and the chunk alone, so that the bytes of the
//! output do not depend on threads or memory.
//!
//! Output blocks at one place (all bands) are a *cell*. Cells go in columns of cells, each from top to
//! bottom, row by row inside a column. A wide column decodes no source block twice for want of a
//! neighbour on its side, but keeps the source blocks that straddle two rows of cells for longer; a
//! column ends where few source blocks would be cut.

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
}

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
        Schedule { size, chunk, columns: column_ends(mosaic, chunk, across) }
    }

    /// Row by row over the whole mosaic.
    pub fn rows(size: Size, chunk: u32) -> Schedule {
        Schedule { size, chunk, columns: vec![0, size.width.div_ceil(chunk)] }
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
        let down = u64::from(self.down());
        // Cells before column `c` are `columns[c] * down`.
        let column = self.columns.partition_point(|start| u64::from(*start) * down <= index) - 1;
        let start = self.columns[column];
        let width = u64::from(self.columns[column + 1] - start);
        let rest = index - u64::from(start) * down;
        let (bx, by) = (start + (rest % width) as u32, (rest / width) as u32);
        let (col, row) = (bx * self.chunk, by * self.chunk);
        let window = Window {
            col,
            row,
            width: self.chunk.min(self.size.width - col),
            height: self.chunk.min(self.size.height - row),
        };
        Cell { bx, by, window }
    }

    /// Number of cells that a window of the grid meets.
    pub fn cells_of(&self, window: Window) -> u64 {
        let span =
            |start: u32, end: u32| u64::from((end - 1) / self.chunk - start / self.chunk + 1);
        span(window.col, window.col_end()) * span(window.row, window.row_end())
    }
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
        let block = layout.block_size();
        // Source pixels per grid pixel.
        let scale_x = f64::from(layout.size.width) / f64::from(window.width).max(1.0);
        let pixel_bytes = f64::from(layout.bands) * layout.dtype.size() as f64;
        let block_cols = f64::from(block.width.min(layout.size.width)) / scale_x;
        let total = layout.size.pixels() as f64 * pixel_bytes;
        let per_col = total / f64::from(window.width);
        let (first, last) = (window.col / chunk, (window.col_end() - 1) / chunk);
        // Sources lie below each other: a row of cells meets the share of them that its height is.
        let in_row = (f64::from(window.height) / grid_height).min(1.0);
        let straddle_rows = f64::from(block.height.min(layout.size.height).min(chunk));
        let scale_y = f64::from(layout.size.height) / f64::from(window.height).max(1.0);
        let held = per_col * straddle_rows / (f64::from(window.height) * scale_y) * in_row;
        for x in first..=last {
            let (start, end) = (x * chunk, (x + 1).saturating_mul(chunk));
            let cols = f64::from(window.col_end().min(end) - window.col.max(start));
            costs.bytes[x as usize] += cols * per_col;
            costs.straddle[x as usize] += cols * held;
            if x > first && !block_border(f64::from(start - window.col), block_cols) {
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

    #[test]
    fn every_cell_comes_once() {
        let size = Size { width: 1000, height: 700 };
        for columns in [vec![0, 10], vec![0, 3, 4, 10], vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            let schedule = Schedule { size, chunk: 100, columns };
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
}
