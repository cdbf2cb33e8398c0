//! Paints sources onto a canvas: which of their blocks, and rows of these, converted and judged.
//!
//! A canvas lies in a [`Frame`]: the mosaic's grid, or the reference grid of a layer. Sources are painted
//! from the one that counts most downwards, and a sample is written once. A source block is not even
//! decoded where everything under it is valid already.

use std::collections::HashMap;
use std::ops::Range;

use crate::composite;
use crate::engine::canvas::Canvas;
use crate::engine::rows::{Gather, mark_row, mark_zero_row, row_as, row_changed};
use crate::error::Result;
use crate::geometry::{Size, Window};
use crate::mosaic::bands::opaque_alpha;
use crate::mosaic::layer::{Mapping, Placement};
use crate::mosaic::plan::Schedule;
use crate::mosaic::{Mosaic, NodataMode, ValidityOutput};
use crate::ordered::Ticket;
use crate::raster::AnyRaster;
use crate::resample::pixel_index;
use crate::sample::Sample;
use crate::source::blocks::{Block, Blocks, ReadScratch, Request};
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

    /// Paints the rows of a block onto a part of the canvas.
    fn paint_rows<T: Sample>(
        &self,
        placed: &Placed<'_>,
        block: Window,
        part: Window,
        planes: &[(u32, Block)],
        canvas: &mut Canvas<T>,
        scratch: &mut PaintScratch<T>,
    ) {
        let PaintScratch { cols, rows, mask, row: buffers, .. } = scratch;
        let planar = placed.source.dataset.image.planar;
        let bands = BandLookup { planes, planar, colors: colors(placed.source) };
        let judges = self.judges(placed.source);
        for row in part.row..part.row_end() {
            let gather = match placed.mapping {
                Mapping::Shift { col: dc, row: dr } => Gather::Run {
                    start: (i64::from(part.col) + dc - placed.place.col - i64::from(block.col))
                        as usize,
                    row: (i64::from(row) + dr - placed.place.row - i64::from(block.row)) as usize,
                },
                Mapping::Axis { .. } => {
                    let at = (part.col - placed.dst.col) as usize;
                    Gather::Table {
                        cols: &cols[at..at + part.width as usize],
                        first: block.col,
                        row: (rows[(row - placed.dst.row) as usize] - block.row) as usize,
                    }
                }
                Mapping::Affine(_) | Mapping::Warped => {
                    affine_row(placed, block, part, row, &mut buffers.affine, &mut buffers.hit);
                    Gather::Index { at: &buffers.affine, hit: &buffers.hit }
                }
            };
            let base = Base { mask: placed.source.mask().map(|_| mask.as_slice()), part, row };
            let rows = RowBuffers {
                samples: &mut buffers.samples,
                valid: &mut buffers.valid,
                other: &mut buffers.other,
                alpha: &mut buffers.alpha,
            };
            let limited = base.validity(placed, &gather, cols, &bands, rows.valid, block);
            let place = canvas.index(part.col, row);
            let row = Row {
                id: placed.id,
                source: placed.source,
                judges,
                bands: &bands,
                gather: &gather,
            };
            self.paint_row(&row, limited, canvas, place, rows);
        }
    }

    /// Paints one row in all bands of the canvas, from the sample at `at` of each plane.
    /// `limited`: `buffers.valid` already excludes some pixels.
    fn paint_row<T: Sample>(
        &self,
        row: &Row<'_>,
        limited: bool,
        canvas: &mut Canvas<T>,
        at: usize,
        buffers: RowBuffers<'_, T>,
    ) {
        let RowBuffers { samples, valid, other, alpha: alpha_valid } = buffers;
        let Row { id, source, judges, bands, gather } = *row;
        let (width, pixels, shared) = (valid.len(), canvas.pixels(), canvas.shared);
        let by_pixel = judges && self.judges_pixels();
        let any = self.mosaic.nodata_mode == NodataMode::Any;
        if by_pixel {
            judge_pixels(row, any, valid, other);
        }
        let limited = limited || by_pixel;
        let keep_nan = self.keeps_nan::<T>(source);
        canvas.keeps_nan |= keep_nan;
        for (index, band) in canvas.bands.clone().enumerate() {
            // Of a band that the source has nothing of, what lies below shows.
            let Some(content) = self.pick(source, band) else { continue };
            let is_alpha = content == Content::Opaque || source.is_alpha(band);
            let src = self.row_of(content, bands, gather, width, samples);
            let plane = if shared { at } else { index * pixels + at };
            let src_valid = if shared || !judges {
                limited.then_some(valid.as_slice())
            } else if is_alpha {
                // Opaque only where some band is valid.
                alpha_valid.clone_from(valid);
                judge_pixels(row, false, alpha_valid, other);
                Some(alpha_valid.as_slice())
            } else {
                other.clone_from(valid);
                // Judged by pixel, only a NaN is left to find.
                let nodata = source.nodata.band(band).filter(|_| !by_pixel);
                let (raster, local) = bands.get(source.dataset_band(band).unwrap_or(0));
                mark_row(raster, local, gather, nodata, other);
                if by_pixel {
                    composite::mark_taken(other, valid);
                }
                Some(other.as_slice())
            };
            let dst = &mut canvas.samples[index * pixels + at..][..width];
            let dst_valid = &mut canvas.valid[plane..plane + width];
            composite::fill_under(dst, dst_valid, src, src_valid);
            if keep_nan {
                composite::keep_nan(dst, dst_valid, src, gather.hit());
            }
            if let Some(origins) = canvas.origins.as_mut().filter(|_| !shared) {
                origins.mark(plane, dst_valid, src_valid, id);
            }
            match src_valid {
                _ if shared => {}
                marks if self.judges_pixels() => {
                    // Another source may have taken samples here, so all marks keep to these rules.
                    let marks = marks.unwrap_or(valid);
                    canvas.left -= composite::merge_taken(dst_valid, marks);
                }
                _ => canvas.left -= composite::merge_valid(dst_valid, src_valid),
            }
        }
        if shared {
            let src_valid = limited.then_some(valid.as_slice());
            let dst_valid = &mut canvas.valid[at..at + width];
            if let Some(origins) = &mut canvas.origins {
                origins.mark(at, dst_valid, src_valid, id);
            }
            canvas.left -= composite::merge_valid(dst_valid, src_valid);
        }
    }

    /// The samples of a row as the canvas takes them.
    fn row_of<'b, T: Sample>(
        &self,
        content: Content,
        bands: &BandLookup<'b>,
        gather: &Gather<'_>,
        width: usize,
        buffer: &'b mut Vec<T>,
    ) -> &'b [T] {
        match content {
            Content::Band(own, None) => {
                let (raster, local) = bands.get(own);
                row_as(raster, local, gather, width, buffer)
            }
            Content::Band(own, Some(rescale)) => {
                let (raster, local) = bands.get(own);
                row_changed(raster, local, gather, width, buffer, |v| rescale.apply(v))
            }
            Content::Color(color, rescale) => {
                let (raster, local) = bands.get(0);
                let rescale = rescale.unwrap_or(Rescale::NONE);
                let color = |v: f64| rescale.apply(bands.color(v, color));
                row_changed(raster, local, gather, width, buffer, color)
            }
            Content::Opaque => {
                buffer.clear();
                buffer.resize(width, T::from_f64(opaque_alpha(self.mosaic.source_dtype)));
                buffer
            }
        }
    }

    /// Whether NaN of a source stays where nothing is valid: in a float output that has no other way to
    /// say so.
    fn keeps_nan<T: Sample>(&self, source: &Source) -> bool {
        T::IS_FLOAT
            && source.dtype().is_float()
            && self.mosaic.nodata.is_none()
            && self.mosaic.validity == ValidityOutput::Nodata
    }
}

/// What a band of a source is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    /// A band of the dataset, changed or not.
    Band(u32, Option<Rescale>),
    /// A colour of a palette.
    Color(u32, Option<Rescale>),
    /// Nothing: it is the alpha of a source that has none.
    Opaque,
}

/// A row of a source's block on its way to the canvas.
#[derive(Clone, Copy)]
struct Row<'a> {
    id: u32,
    source: &'a Source,
    /// Whether nodata or NaN is looked for.
    judges: bool,
    bands: &'a BandLookup<'a>,
    gather: &'a Gather<'a>,
}

/// Scratch memory for a row.
struct RowBuffers<'a, T> {
    samples: &'a mut Vec<T>,
    /// Validity of the row before its samples are judged.
    valid: &'a mut Vec<u8>,
    other: &'a mut Vec<u8>,
    alpha: &'a mut Vec<u8>,
}

/// Judges pixels by all their bands but alpha: invalid where all are nodata, or where `any` is (SPEC
/// §5.2).
fn judge_pixels(row: &Row<'_>, any: bool, valid: &mut [u8], other: &mut Vec<u8>) {
    other.clear();
    other.resize(valid.len() * 2, 0);
    let (some, own) = other.split_at_mut(valid.len());
    for band in (0..row.source.bands()).filter(|band| !row.source.is_alpha(*band)) {
        let Some(dataset_band) = row.source.dataset_band(band) else { continue };
        let (raster, local) = row.bands.get(dataset_band);
        let nodata = row.source.nodata.band(band);
        if any {
            mark_row(raster, local, row.gather, nodata, valid);
            continue;
        }
        own.fill(1);
        mark_row(raster, local, row.gather, nodata, own);
        for (some, own) in some.iter_mut().zip(own.iter()) {
            *some |= own;
        }
    }
    if !any {
        for (valid, some) in valid.iter_mut().zip(some.iter()) {
            *valid &= some;
        }
    }
}

/// Finds the raster and the band in it of a dataset's band.
struct BandLookup<'a> {
    planes: &'a [(u32, Block)],
    planar: bool,
    /// 8-bit colours of a palette that is expanded: all reds, then greens, then blues.
    colors: Vec<u8>,
}

impl<'a> BandLookup<'a> {
    fn get(&self, band: u32) -> (&'a AnyRaster, u32) {
        if !self.planar {
            return (self.planes[0].1.raster(), band);
        }
        // `Painter::planes` names every band that is asked for.
        let found = self.planes.iter().find(|(plane, _)| *plane == band);
        (found.unwrap_or(&self.planes[0]).1.raster(), 0)
    }

    /// A colour of an index; black beyond the palette.
    fn color(&self, index: f64, color: u32) -> f64 {
        let count = self.colors.len() / 3;
        let index = index as usize;
        let inside = index < count;
        if inside { f64::from(self.colors[color as usize * count + index]) } else { 0.0 }
    }
}

/// The colours that a source's indices stand for, where they are expanded.
fn colors(source: &Source) -> Vec<u8> {
    let expands = source.view.as_ref().is_some_and(|view| view.expand_palette);
    match source.dataset.shared.color.palette.as_deref() {
        Some(palette) if expands => colors_of(palette),
        _ => Vec::new(),
    }
}

/// Colours of 16 bits to 8. Some writers leave the upper byte of all of them empty.
fn colors_of(palette: &[u16]) -> Vec<u8> {
    let narrow = palette.iter().all(|value| *value < 256);
    palette.iter().map(|value| if narrow { *value as u8 } else { (*value >> 8) as u8 }).collect()
}

/// Where the first pixel of a source's dataset lies, from where that of the source does.
fn dataset_place(source: &Source, place: Placement) -> Placement {
    let Window { col, row, .. } = source.window();
    Placement { col: place.col - i64::from(col), row: place.row - i64::from(row), ..place }
}

/// What limits the validity of a whole row, whatever the bands hold.
struct Base<'a> {
    mask: Option<&'a [u8]>,
    part: Window,
    row: u32,
}

impl Base<'_> {
    /// Writes the row's validity to `valid`; `false` if nothing limits it.
    fn validity(
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

    fn apply_mask(
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

/// Cuts a window to the grid pixels whose centre is in the source, and finds the source pixels that
/// they need. Fills the tables of source columns and rows for [`Mapping::Axis`].
fn source_pixels<T>(
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
fn patch<T>(placed: &Placed<'_>, block: Window, scratch: &PaintScratch<T>) -> Option<Window> {
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
fn source_pixel(placed: &Placed<'_>, col: u32, row: u32) -> Option<(u32, u32)> {
    let [u, v] = placed.mapping.center(col, row);
    let c = u32::try_from(pixel_index(u) - placed.place.col).ok()?;
    let r = u32::try_from(pixel_index(v) - placed.place.row).ok()?;
    let Window { col, row, width, height } = placed.source.window();
    let inside = (col..col + width).contains(&c) && (row..row + height).contains(&r);
    inside.then_some((c, r))
}

/// Indices in a decoded block of the pixels of one grid row, and which of them are in it.
fn affine_row(
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
