//! What of a row is valid before its samples are looked at: masks and alpha.

use super::Placed;
use super::place::source_pixel;
use super::row::BandLookup;
use crate::composite;
use crate::engine::rows::{Gather, mark_zero_row};
use crate::geometry::Window;

/// What limits the validity of a whole row, whatever the bands hold.
pub(super) struct Base<'a> {
    pub(super) mask: Option<&'a [u8]>,
    pub(super) part: Window,
    pub(super) row: u32,
}

impl Base<'_> {
    /// Writes the row's validity to `valid`; `false` if nothing limits it.
    pub(super) fn validity(
        &self,
        placed: &Placed<'_>,
        gather: &Gather<'_>,
        cols: &[u32],
        bands: &BandLookup<'_>,
        valid: &mut Vec<u8>,
        block: Window,
    ) -> bool {
        let width = self.part.width as usize;
        valid.clear();
        valid.resize(width, 1);
        if let Some(hit) = gather.hit() {
            valid.copy_from_slice(hit);
        }
        if let Some(mask) = self.mask {
            self.apply_mask(placed, gather, cols, mask, valid, block);
        }
        if let Some(alpha) = placed.source.alpha_band() {
            let (raster, local) = bands.get(alpha);
            mark_zero_row(raster, local, gather, valid);
            return true;
        }
        gather.hit().is_some() || self.mask.is_some()
    }

    pub(super) fn apply_mask(
        &self,
        placed: &Placed<'_>,
        gather: &Gather<'_>,
        cols: &[u32],
        mask: &[u8],
        valid: &mut [u8],
        block: Window,
    ) {
        let src = block;
        let stride = src.width as usize;
        match gather {
            Gather::Run { start, row } => {
                let row = block.row as usize + row - src.row as usize;
                let col = block.col as usize + start - src.col as usize;
                let mask = &mask[row * stride + col..][..valid.len()];
                composite::mark_zero(valid, mask);
            }
            Gather::Table { row, .. } => {
                let row = block.row as usize + row - src.row as usize;
                let at = (self.part.col - placed.dst.col) as usize;
                for (v, col) in valid.iter_mut().zip(&cols[at..]) {
                    *v &= mask[row * stride + (*col - src.col) as usize];
                }
            }
            Gather::Index { .. } => {
                for (index, v) in valid.iter_mut().enumerate().filter(|(_, v)| **v != 0) {
                    let col = self.part.col + index as u32;
                    if let Some((c, r)) = source_pixel(placed, col, self.row) {
                        *v = mask[(r - src.row) as usize * stride + (c - src.col) as usize];
                    }
                }
            }
        }
    }
}
