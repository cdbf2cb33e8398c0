//! Paints sources onto a canvas: which of their blocks, and rows of these, converted and judged.
//!
//! A canvas lies in a [`Frame`]: the mosaic's grid, or the reference grid of a layer. Sources are painted
//! from the one that counts most downwards, and a sample is written once. A source block is not even
//! decoded where everything under it is valid already.

mod base;
mod place;
mod row;

use std::collections::HashMap;
use std::ops::Range;

use self::place::{patch, source_pixels};
use self::row::Content;
use crate::engine::canvas::Canvas;
use crate::engine::rows::{Gather, mark_zero_row};
use crate::error::Result;
use crate::geometry::{Size, Window};
use crate::mosaic::bands::opaque_alpha;
use crate::mosaic::layer::{Mapping, Placement};
use crate::mosaic::plan::Schedule;
use crate::mosaic::{Mosaic, NodataMode};
use crate::ordered::Ticket;
use crate::sample::Sample;
use crate::source::blocks::{Blocks, ReadScratch, Request};
use crate::source::{Pick, Rescale, Source};
use crate::tiff::layout::Layout;
use crate::tiff::reader::{BlockId, Part, blocks_of};

/// What the pixels of a canvas are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Frame {
    /// Those of the mosaic's grid.
    Grid,
    /// Those of a layer's reference grid: the canvas begins at this reference pixel.
    Layer {
        col: i64,
        row: i64,
        /// Reference pixels beyond a window's own that its kernel reads.
        halo: i64,
    },
}

/// How often a source block is asked for in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Uses<'a> {
    /// Nobody knows: it stays while there is room.
    Unknown,
    /// Once for each cell that it meets, and there for each group of this many bands.
    Cells { schedule: &'a Schedule, band_group: u32 },
}

/// Paints sources of a mosaic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Painter<'a> {
    pub(crate) mosaic: &'a Mosaic,
    pub(crate) blocks: &'a Blocks<'a>,
    pub(crate) uses: Uses<'a>,
    pub(crate) frame: Frame,
    /// Blocks are asked for more than once in a cell, and count as used when it lets go of them.
    pub(crate) holds: bool,
}

/// A block that a cell has read, and will perhaps read again.
#[derive(Debug, Clone, Copy)]
struct Held {
    request: Request,
    /// Layer of its source, and its reference rows.
    layer: u32,
    rows: (i64, i64),
}

/// Scratch memory of one thread that paints.
#[derive(Debug)]
pub(crate) struct PaintScratch<T> {
    read: ReadScratch,
    held: HashMap<(u32, BlockId), Held>,
    cols: Vec<u32>,
    rows: Vec<u32>,
    mask: Vec<u8>,
    row: RowScratch<T>,
}

/// Rows on their way from a block to the canvas.
#[derive(Debug)]
struct RowScratch<T> {
    samples: Vec<T>,
    valid: Vec<u8>,
    other: Vec<u8>,
    alpha: Vec<u8>,
    hit: Vec<u8>,
    affine: Vec<u32>,
}

// Not derived: that would ask for `T: Default`.
impl<T> Default for PaintScratch<T> {
    fn default() -> PaintScratch<T> {
        PaintScratch {
            read: ReadScratch::default(),
            held: HashMap::new(),
            cols: Vec::new(),
            rows: Vec::new(),
            mask: Vec::new(),
            row: RowScratch {
                samples: Vec::new(),
                valid: Vec::new(),
                other: Vec::new(),
                alpha: Vec::new(),
                hit: Vec::new(),
                affine: Vec::new(),
            },
        }
    }
}

/// A source as it lies in a window.
struct Placed<'a> {
    id: u32,
    source: &'a Source,
    mapping: Mapping,
    /// Place of the dataset's first pixel, whether that is the source's or not.
    place: Placement,
    /// Grid pixels that it may have.
    dst: Window,
}

impl Painter<'_> {
    /// Paints a source under what is on the canvas, in a part of its window.
    pub(crate) fn paint_source<T: Sample>(
        &self,
        id: u32,
        within: Window,
        canvas: &mut Canvas<T>,
        scratch: &mut PaintScratch<T>,
        ticket: Option<&Ticket<'_>>,
    ) -> Result<()> {
        let source = &self.mosaic.sources()[id as usize];
        let (mapping, place) = match self.frame {
            Frame::Grid => self.mosaic.placement(id),
            Frame::Layer { col, row, .. } => {
                (Mapping::Shift { col, row }, self.mosaic.placement(id).1)
            }
        };
        if !self.gives(source, &canvas.bands) {
            return Ok(());
        }
        let Some(dst) = mapping.grid_window(place.col, place.row, source.size(), within) else {
            return Ok(());
        };
        let place = dataset_place(source, place);
        let Some((dst, src)) = source_pixels(source, mapping, place, dst, scratch) else {
            return Ok(());
        };
        if canvas.is_full(dst) {
            return Ok(());
        }
        let placed = Placed { id, source, mapping, place, dst };
        let layout = &source.dataset.image;
        let (cols, rows) = blocks_of(layout, src);
        // Neighbours on one row of cells read a striped scene in opposite directions: where the cache
        // cannot hold all strips that they share, what the one read last the other wants first.
        // (Strips that are decoded as a stream are read downwards only.)
        let upward = canvas.window.col / canvas.window.width % 2 == 1 && !layout.is_streamed();
        let rows =
            rows.clone().map(|by| if upward { rows.end - 1 - (by - rows.start) } else { by });
        // Blocks that another thread is decoding are left for last: two threads in one striped scene
        // would otherwise wait for each other at every strip.
        let mut deferred = Vec::new();
        for by in rows {
            for bx in cols.clone() {
                if let Some(ticket) = ticket {
                    ticket.check()?;
                }
                if !self.paint_block(&placed, bx, by, false, canvas, scratch)? {
                    deferred.push((bx, by));
                }
            }
        }
        for (bx, by) in deferred {
            self.paint_block(&placed, bx, by, true, canvas, scratch)?;
        }
        Ok(())
    }

    /// Paints what a block gives; `false` if another thread is decoding it and `wait` is false.
    fn paint_block<T: Sample>(
        &self,
        placed: &Placed<'_>,
        bx: u32,
        by: u32,
        wait: bool,
        canvas: &mut Canvas<T>,
        scratch: &mut PaintScratch<T>,
    ) -> Result<bool> {
        let layout = &placed.source.dataset.image;
        let block = layout.block_window(bx, by);
        let inside = block.intersection(placed.source.window());
        let Some(part) = inside.and_then(|block| patch(placed, block, scratch)) else {
            return Ok(true);
        };
        if canvas.is_full(part) {
            return Ok(true);
        }
        let mut planes = Vec::new();
        for plane in self.planes(placed.source, &canvas.bands) {
            let id = BlockId { bx, by, plane };
            let uses = self.uses_of(placed, layout, id, block);
            let takes = !self.holds;
            let request = Request { source: placed.id, part: Part::Image, id, uses, takes };
            // Once one plane is held the others are waited for.
            let wait = wait || !planes.is_empty();
            match self.blocks.get(request, wait, &mut scratch.read)? {
                Some(found) => planes.push((plane, found)),
                None => return Ok(false),
            }
            if !takes && uses != u64::MAX {
                let row = |row: u32| placed.place.row + i64::from(row);
                let (layer, rows) =
                    (self.mosaic.layer_of(placed.id), (row(block.row), row(block.row_end())));
                scratch.held.entry((placed.id, id)).or_insert(Held { request, layer, rows });
            }
        }
        if planes.iter().any(|(_, block)| block.is_bad()) {
            // Left out (`--skip-bad-blocks`): as if the source did not cover it.
            planes.into_iter().for_each(|(_, block)| self.blocks.give_back(block));
            return Ok(true);
        }
        self.read_mask(placed, block, scratch)?;
        if canvas.is_blank() {
            canvas.prepare();
        }
        self.paint_rows(placed, block, part, &planes, canvas, scratch);
        for (_, block) in planes {
            self.blocks.give_back(block);
        }
        Ok(true)
    }

    /// Whether a source has samples of some bands, or is opaque in one that is alpha.
    fn gives(&self, source: &Source, bands: &Range<u32>) -> bool {
        source.view.is_none() || bands.clone().any(|band| self.pick(source, band).is_some())
    }

    /// What a band of a source is made from.
    fn pick(&self, source: &Source, band: u32) -> Option<Content> {
        match source.pick(band) {
            Some(Pick::Band(own)) => Some(Content::Band(own, self.change(source, band))),
            Some(Pick::Color(color)) => Some(Content::Color(color, source.rescale(band))),
            None if self.mosaic.facts.alpha_band == Some(band) => Some(Content::Opaque),
            None => None,
        }
    }

    /// What is done to the samples of a band. Alpha of another type than the mosaic's keeps its share.
    fn change(&self, source: &Source, band: u32) -> Option<Rescale> {
        let (own, all) = (source.dtype(), self.mosaic.source_dtype);
        if own == all || !source.is_alpha(band) {
            return source.rescale(band);
        }
        let scale = opaque_alpha(all) / opaque_alpha(own);
        (scale != 1.0).then_some(Rescale { scale, offset: 0.0 })
    }

    /// Planes of a source's blocks that some bands need: their own, and those that decide on validity.
    fn planes(&self, source: &Source, bands: &Range<u32>) -> Vec<u32> {
        if !source.dataset.image.planar {
            return vec![0];
        }
        let alpha = self.mosaic.facts.alpha_band;
        let all = self.judges(source)
            && (self.judges_pixels() || alpha.is_some_and(|alpha| bands.contains(&alpha)));
        let bands = if all { 0..source.bands() } else { bands.clone() };
        let own = bands.filter_map(|band| source.dataset_band(band));
        let mut planes: Vec<u32> = own.chain(source.alpha_band()).collect();
        planes.sort_unstable();
        planes.dedup();
        planes
    }

    /// Whether nodata is judged by pixel, and not by band.
    pub(crate) fn judges_pixels(&self) -> bool {
        self.mosaic.nodata_mode != NodataMode::Band || self.mosaic.bands == 1
    }

    /// Whether nodata or NaN is looked for in this source.
    fn judges(&self, source: &Source) -> bool {
        source.dtype().is_float() || source.has_nodata()
    }

    /// Lets go of blocks that a cell is done with: those of a layer that lie beyond the reference rows
    /// that it still needs.
    pub(crate) fn release<T>(
        &self,
        scratch: &mut PaintScratch<T>,
        needed: impl Fn(u32) -> Option<Range<i64>>,
    ) {
        scratch.held.retain(|_, held| {
            let meets = |rows: Range<i64>| held.rows.0 < rows.end && held.rows.1 > rows.start;
            let keep = needed(held.layer).is_some_and(meets);
            if !keep {
                self.blocks.release(held.request);
            }
            keep
        });
    }

    fn uses_of(&self, placed: &Placed<'_>, layout: &Layout, id: BlockId, block: Window) -> u64 {
        let Uses::Cells { schedule, band_group } = self.uses else { return u64::MAX };
        let (mapping, place) = self.mosaic.placement(placed.id);
        let place = dataset_place(placed.source, place);
        let Some(block) = block.intersection(placed.source.window()) else { return 1 };
        let halo = if let Frame::Layer { halo, .. } = self.frame { halo } else { 0 };
        let (col, row) =
            (place.col + i64::from(block.col) - halo, place.row + i64::from(block.row) - halo);
        let grown = |side: u32| u32::try_from(i64::from(side) + 2 * halo).unwrap_or(u32::MAX);
        let size = Size { width: grown(block.width), height: grown(block.height) };
        if matches!(mapping, Mapping::Warped) {
            return u64::MAX;
        }
        let Some(all) = self.mosaic.grid.size.window() else { return 1 };
        let Some(window) = mapping.grid_window(col, row, size, all) else { return 1 };
        schedule.cells_of(window) * self.passes_of(placed.source, layout, id.plane, band_group)
    }

    /// Groups of bands that need a plane of a source's blocks.
    fn passes_of(&self, source: &Source, layout: &Layout, plane: u32, band_group: u32) -> u64 {
        // An alpha band that is added belongs to the last group.
        let groups = self.mosaic.output_bands().div_ceil(band_group);
        if source.view.is_none() {
            let shared = !layout.planar || Some(plane) == source.alpha_band();
            return if shared { u64::from(groups) } else { 1 };
        }
        let needs = |group: u32| {
            let first = group * band_group;
            let bands = first..(first + band_group).min(self.mosaic.bands);
            self.gives(source, &bands)
                && (!layout.planar || self.planes(source, &bands).contains(&plane))
        };
        (0..groups).filter(|group| needs(*group)).count() as u64
    }

    /// Fills `scratch.mask` with the internal mask over the pixels of a block, 1 where valid.
    fn read_mask<T>(
        &self,
        placed: &Placed<'_>,
        src: Window,
        scratch: &mut PaintScratch<T>,
    ) -> Result<()> {
        let Some(layout) = placed.source.mask() else { return Ok(()) };
        let width = src.width as usize;
        scratch.mask.clear();
        scratch.mask.resize(src.pixels() as usize, 1);
        let (cols, rows) = blocks_of(layout, src);
        let planes = if layout.planar { layout.bands } else { 1 };
        for (plane, by) in (0..planes).flat_map(|plane| rows.clone().map(move |by| (plane, by))) {
            for bx in cols.clone() {
                let id = BlockId { bx, by, plane };
                let request = Request {
                    source: placed.id,
                    part: Part::Mask,
                    id,
                    uses: u64::MAX,
                    takes: true,
                };
                let Some(block) = self.blocks.get(request, true, &mut scratch.read)? else {
                    continue;
                };
                let window = layout.block_window(bx, by);
                let Some(part) = window.intersection(src) else { continue };
                for row in part.row..part.row_end() {
                    let at = (row - src.row) as usize * width + (part.col - src.col) as usize;
                    let out = &mut scratch.mask[at..at + part.width as usize];
                    let gather = Gather::Run {
                        start: (part.col - window.col) as usize,
                        row: (row - window.row) as usize,
                    };
                    for band in 0..layout.samples_in_block() {
                        mark_zero_row(block.raster(), band, &gather, out);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where the first pixel of a source's dataset lies, from where that of the source does.
fn dataset_place(source: &Source, place: Placement) -> Placement {
    let Window { col, row, .. } = source.window();
    Placement { col: place.col - i64::from(col), row: place.row - i64::from(row), ..place }
}
