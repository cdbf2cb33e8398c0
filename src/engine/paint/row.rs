//! Rows of source blocks: picked, converted, judged, and laid under what is there.

use super::base::Base;
use super::place::affine_row;
use super::{PaintScratch, Painter, Placed};
use crate::composite;
use crate::engine::canvas::Canvas;
use crate::engine::rows::{Gather, mark_row, row_as, row_changed};
use crate::geometry::Window;
use crate::mosaic::bands::opaque_alpha;
use crate::mosaic::layer::Mapping;
use crate::mosaic::{NodataMode, ValidityOutput};
use crate::raster::AnyRaster;
use crate::sample::Sample;
use crate::source::blocks::Block;
use crate::source::{Rescale, Source};

impl Painter<'_> {
    /// Paints the rows of a block onto a part of the canvas.
    pub(super) fn paint_rows<T: Sample>(
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
pub(super) enum Content {
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
pub(super) struct BandLookup<'a> {
    planes: &'a [(u32, Block)],
    planar: bool,
    /// 8-bit colours of a palette that is expanded: all reds, then greens, then blues.
    colors: Vec<u8>,
}

impl<'a> BandLookup<'a> {
    pub(super) fn get(&self, band: u32) -> (&'a AnyRaster, u32) {
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
