//! Which pixels of a source a window of the canvas takes.

use std::ops::Range;

use super::{PaintScratch, Placed};
use crate::geometry::Window;
use crate::mosaic::layer::{Mapping, Placement};
use crate::resample::pixel_index;
use crate::source::Source;

/// Cuts a window to the grid pixels whose centre is in the source, and finds the source pixels that
/// they need. Fills the tables of source columns and rows for [`Mapping::Axis`].
pub(super) fn source_pixels<T>(
    source: &Source,
    mapping: Mapping,
    place: Placement,
    dst: Window,
    scratch: &mut PaintScratch<T>,
) -> Option<(Window, Window)> {
    let limit = source.window();
    match mapping {
        Mapping::Shift { col, row } => {
            // Exact: `grid_window` cut it to the source.
            let col0 = i64::from(dst.col) + col - place.col;
            let row0 = i64::from(dst.row) + row - place.row;
            let (w, h) = (i64::from(dst.width), i64::from(dst.height));
            Some((dst, Window::from_corners(col0, row0, col0 + w, row0 + h)?))
        }
        Mapping::Axis { scale, phase } => {
            let axis = |first: u32,
                        count: u32,
                        axis: usize,
                        offset: i64,
                        within: Range<u32>,
                        out: &mut Vec<u32>| {
                out.clear();
                let mut start = first;
                for index in first..first + count {
                    let u = (f64::from(index) + 0.5) * scale[axis] + phase[axis];
                    let position = pixel_index(u) - offset;
                    if (i64::from(within.start)..i64::from(within.end)).contains(&position) {
                        if out.is_empty() {
                            start = index;
                        }
                        out.push(position as u32);
                    }
                }
                start
            };
            let PaintScratch { cols, rows, .. } = scratch;
            let col = axis(dst.col, dst.width, 0, place.col, limit.col..limit.col_end(), cols);
            let row = axis(dst.row, dst.height, 1, place.row, limit.row..limit.row_end(), rows);
            let (c0, c1) = (cols.iter().min()?, cols.iter().max()?);
            let (r0, r1) = (rows.iter().min()?, rows.iter().max()?);
            let dst = Window::new(col, row, cols.len() as u32, rows.len() as u32)?;
            Some((dst, Window::new(*c0, *r0, c1 - c0 + 1, r1 - r0 + 1)?))
        }
        Mapping::Affine(_) | Mapping::Warped => {
            // The box of the four corner centres holds all centres; a pixel more for rounding.
            let corners = [
                (dst.col, dst.row),
                (dst.col_end() - 1, dst.row),
                (dst.col, dst.row_end() - 1),
                (dst.col_end() - 1, dst.row_end() - 1),
            ]
            .map(|(col, row)| mapping.center(col, row));
            let low = |axis: usize| {
                corners.iter().map(|c| c[axis]).fold(f64::MAX, f64::min).floor() as i64 - 1
            };
            let high = |axis: usize| {
                corners.iter().map(|c| c[axis]).fold(f64::MIN, f64::max).floor() as i64 + 2
            };
            let src = Window::from_corners(
                low(0) - place.col,
                low(1) - place.row,
                high(0) - place.col,
                high(1) - place.row,
            )?;
            Some((dst, src.intersection(limit)?))
        }
    }
}

/// The part of the placed source's grid pixels that a block gives.
pub(super) fn patch<T>(
    placed: &Placed<'_>,
    block: Window,
    scratch: &PaintScratch<T>,
) -> Option<Window> {
    let (col, row) =
        (placed.place.col + i64::from(block.col), placed.place.row + i64::from(block.row));
    match placed.mapping {
        Mapping::Shift { .. } | Mapping::Affine(_) | Mapping::Warped => {
            placed.mapping.grid_window(col, row, block.size(), placed.dst)
        }
        Mapping::Axis { .. } => {
            // The tables run up or down, so what lies in the block is one run.
            let run = |table: &[u32], start: u32, end: u32| {
                let inside = |v: &u32| (start..end).contains(v);
                let first = table.iter().position(inside)?;
                Some((first as u32, table[first..].iter().take_while(|v| inside(v)).count() as u32))
            };
            let (c, width) = run(&scratch.cols, block.col, block.col_end())?;
            let (r, height) = run(&scratch.rows, block.row, block.row_end())?;
            Window::new(placed.dst.col + c, placed.dst.row + r, width, height)
        }
    }
}

/// The source pixel that holds the centre of a grid pixel.
pub(super) fn source_pixel(placed: &Placed<'_>, col: u32, row: u32) -> Option<(u32, u32)> {
    let [u, v] = placed.mapping.center(col, row);
    let c = u32::try_from(pixel_index(u) - placed.place.col).ok()?;
    let r = u32::try_from(pixel_index(v) - placed.place.row).ok()?;
    let Window { col, row, width, height } = placed.source.window();
    let inside = (col..col + width).contains(&c) && (row..row + height).contains(&r);
    inside.then_some((c, r))
}

/// Indices in a decoded block of the pixels of one grid row, and which of them are in it.
pub(super) fn affine_row(
    placed: &Placed<'_>,
    block: Window,
    part: Window,
    row: u32,
    indices: &mut Vec<u32>,
    hit: &mut Vec<u8>,
) {
    indices.clear();
    hit.clear();
    // A decoded tile is as wide as its layout says, also at the image's edge.
    let stride = placed.source.dataset.image.block_size().width;
    for col in part.col..part.col_end() {
        let found = source_pixel(placed, col, row).filter(|(c, r)| {
            (block.col..block.col_end()).contains(c) && (block.row..block.row_end()).contains(r)
        });
        hit.push(u8::from(found.is_some()));
        indices.push(found.map_or(0, |(c, r)| (r - block.row) * stride + (c - block.col)));
    }
}
