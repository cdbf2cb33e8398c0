//! Blocks of the output that are a source's compressed bytes (SPEC §8.5): which ones headers alone tell, which
//! ones are compared once they are rendered, and the layout under which most can be copied.

use crate::codec::{Compression, Encoder, Predictor};
use crate::engine::canvas::Canvas;
use crate::engine::encode::Copies;
use crate::engine::write::{NodataClash, WriteOptions};
use crate::error::Result;
use crate::geometry::{Size, Window};
use crate::mosaic::layer::Mapping;
use crate::mosaic::{Mosaic, NodataMode, Overlap, ValidityOutput};
use crate::raster::AnyRaster;
use crate::sample::Sample;
use crate::source::Source;
use crate::source::blocks::{Block, Blocks, ReadScratch, Request};
use crate::tiff::format::Packing;
use crate::tiff::layout::Layout;
use crate::tiff::reader::{BlockId, Part, raster_bytes};
use crate::tiff::writer::ImageSpec;

/// How far a source's blocks can stand for those of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Another layout.
    No,
    /// The same layout; the pixels decide.
    Layout,
    /// Rendering such a block alone cannot change it.
    Pixels,
}

/// The sources whose blocks may be copied.
#[derive(Debug)]
pub(crate) struct Passthrough<'a> {
    mosaic: &'a Mosaic,
    chunk: u32,
    fits: Vec<Fit>,
}

/// A source block that lies exactly where an output block does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    source: u32,
    bx: u32,
    by: u32,
    /// Blocks of the source that make it up, from top to bottom: more than 1 for uncompressed strips.
    rows: u32,
    /// Bytes of a plane of that many, else of one that is a block as it is.
    raw_bytes: u64,
    /// Whether headers alone say that the output is the same.
    pub(crate) known: bool,
}

impl<'a> Passthrough<'a> {
    /// Looks at the headers of all sources.
    pub(crate) fn new<T: Sample>(
        mosaic: &'a Mosaic,
        spec: &ImageSpec,
        options: &WriteOptions,
    ) -> Passthrough<'a> {
        let fits = mosaic.sources().iter().map(|source| {
            let same = same_layout(source, mosaic, spec);
            match keeps_pixels::<T>(source, mosaic, spec, options) {
                true if same && (is_block(source, spec) || is_rows(source, spec)) => Fit::Pixels,
                false if same && is_block(source, spec) => Fit::Layout,
                _ => Fit::No,
            }
        });
        let fits: Vec<Fit> = fits.collect();
        // Without any there is no need to look at each block.
        let any = fits.iter().any(|fit| *fit != Fit::No);
        Passthrough { mosaic, chunk: spec.chunk, fits: if any { fits } else { Vec::new() } }
    }

    /// Whether any block may be copied.
    pub(crate) fn is_possible(&self) -> bool {
        !self.fits.is_empty()
    }

    /// The source block that may be the output block over `window`.
    pub(crate) fn find(&self, window: Window, hits: &mut Vec<u32>) -> Option<Candidate> {
        let whole = Size { width: self.chunk, height: self.chunk };
        if self.fits.is_empty() || window.size() != whole {
            return None;
        }
        self.mosaic.hits(window, hits);
        hits.retain(|id| self.mosaic.source_window(*id, window).is_some());
        let top = *hits.first()?;
        let fit = self.fits[top as usize];
        let (Mapping::Shift { col, row }, place) = self.mosaic.placement(top) else { return None };
        let col = u32::try_from(i64::from(window.col) + col - place.col).ok()?;
        let row = u32::try_from(i64::from(window.row) + row - place.row).ok()?;
        let layout = &self.mosaic.sources()[top as usize].dataset.image;
        if fit == Fit::No
            || !col.is_multiple_of(self.chunk)
            || col >= layout.size.width
            || row >= layout.size.height
        {
            return None;
        }
        let (bx, by) = (layout.block_col_of(col), layout.block_row_of(row));
        // A block that ends with the image has padding, or is short.
        let rows = rows_of(layout, (bx, by), Window { col, row, ..window })?;
        let known = hits.len() == 1 && fit == Fit::Pixels;
        let samples = if layout.planar { 1 } else { layout.bands };
        let raw_bytes = raster_bytes(layout.dtype, window.pixels(), samples);
        (known || rows == 1).then_some(Candidate { source: top, bx, by, rows, raw_bytes, known })
    }
}

impl Candidate {
    fn id(&self, plane: u32) -> BlockId {
        BlockId { bx: self.bx, by: self.by, plane }
    }

    /// The stored bytes of some planes of the block; `None` for one that is not stored.
    pub(crate) fn bytes(
        &self,
        blocks: &Blocks<'_>,
        planes: impl Iterator<Item = u32>,
    ) -> Result<Copies> {
        planes.map(|plane| self.stored(blocks, plane)).collect()
    }

    /// The stored bytes of a plane of the block.
    fn stored(&self, blocks: &Blocks<'_>, plane: u32) -> Result<Option<Vec<u8>>> {
        if self.rows == 1 {
            return blocks.stored(self.source, self.id(plane));
        }
        let mut all = Vec::with_capacity(self.raw_bytes as usize);
        for by in self.by..self.by + self.rows {
            let id = BlockId { bx: self.bx, by, plane };
            let Some(bytes) = blocks.stored(self.source, id)? else { return Ok(None) };
            all.extend_from_slice(&bytes);
        }
        // A strip that is stored short, or long, would shift all after it.
        Ok((all.len() as u64 == self.raw_bytes).then_some(all))
    }

    /// The decoded planes of the block, held so that what is rendered can be compared with them. Rendering
    /// takes them from the cache.
    pub(crate) fn hold(
        &self,
        blocks: &Blocks<'_>,
        planes: impl Iterator<Item = u32>,
        scratch: &mut ReadScratch,
    ) -> Result<Vec<Block>> {
        let mut held = Vec::new();
        for plane in planes {
            let (source, id) = (self.source, self.id(plane));
            let request = Request { source, part: Part::Image, id, uses: 1, takes: false };
            held.extend(blocks.get(request, true, scratch)?);
        }
        Ok(held)
    }

    /// The stored bytes of the planes that a finished canvas is equal to.
    pub(crate) fn compare<T: Sample>(
        &self,
        canvas: &Canvas<T>,
        held: &[Block],
        blocks: &Blocks<'_>,
    ) -> Result<Copies> {
        let count = canvas.window.pixels() as usize;
        let bands = canvas.bands.len();
        let plane =
            |index: usize| bytemuck::cast_slice::<T, u8>(&canvas.samples[index * count..][..count]);
        let copy = |same: bool, id: u32| {
            if same { blocks.stored(self.source, self.id(id)) } else { Ok(None) }
        };
        if let [all] = held
            && all.raster().bands() as usize == bands
        {
            let same = (0..bands).all(|band| same_bytes(plane(band), band_of(all.raster(), band)));
            return Ok(vec![copy(same, if bands == 1 { canvas.bands.start } else { 0 })?]);
        }
        let planes = canvas.bands.clone().zip(held).enumerate();
        planes
            .map(|(index, (id, block))| {
                copy(same_bytes(plane(index), band_of(block.raster(), 0)), id)
            })
            .collect()
    }
}

fn band_of(raster: &AnyRaster, band: usize) -> &[u8] {
    let bytes = raster.as_bytes();
    let count = bytes.len() / raster.bands().max(1) as usize;
    &bytes[band * count..][..count]
}

/// Word by word: musl's comparison is slow.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.chunks(4096).zip(b.chunks(4096)).all(|(a, b)| {
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
            let differ = a
                .iter()
                .zip(b)
                .fold(0, |all, (a, b)| all | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)));
            differ == 0 && a_rest == b_rest
        })
}

/// Whether the source's blocks have the size of those of the output.
fn is_block(source: &Source, spec: &ImageSpec) -> bool {
    let (layout, side) = (&source.dataset.image, Size { width: spec.chunk, height: spec.chunk });
    layout.stored_block_size() == side && layout.block_size() == side
}

/// Whether the source has strips as wide as a block of the output, of bytes that need only be put one after the
/// other.
fn is_rows(source: &Source, spec: &ImageSpec) -> bool {
    let layout = &source.dataset.image;
    !layout.tiled
        && layout.compression == Compression::None
        && layout.predictor == Predictor::None
        && layout.stored_block_size().width == spec.chunk
}

/// Blocks of an image, from one on, that cover a window exactly from top to bottom.
fn rows_of(layout: &Layout, (bx, by): (u32, u32), window: Window) -> Option<u32> {
    let (mut height, mut rows) = (0, 0);
    while height < window.height {
        if by + rows >= layout.down() {
            return None;
        }
        let block = layout.block_window(bx, by + rows);
        let place = (block.col, block.row, block.width);
        if place != (window.col, window.row + height, window.width) {
            return None;
        }
        (height, rows) = (height + block.height, rows + 1);
    }
    (height == window.height).then_some(rows)
}

/// Whether a decoded block of the source, of the right size, would be encoded as the source has it.
fn same_layout(source: &Source, mosaic: &Mosaic, spec: &ImageSpec) -> bool {
    let layout = &source.dataset.image;
    let rescaled = (0..source.bands()).any(|band| source.rescale(band).is_some());
    layout.packing == Packing::Whole
        && layout.params.is_none()
        && layout.dtype == spec.dtype
        && layout.bands == spec.bands
        && source.bands() == mosaic.bands
        && (layout.bands == 1 || layout.planar != spec.pixel_interleaved)
        && layout.compression == spec.compression
        && layout.predictor == spec.predictor
        && (!layout.big_endian || layout.dtype.size() == 1)
        && mosaic.validity == ValidityOutput::Nodata
        && !rescaled
        && source.view.as_ref().is_none_or(|view| view.is_whole())
}

/// Whether a block of it that no other source touches comes out as it is, whatever its pixels.
fn keeps_pixels<T: Sample>(
    source: &Source,
    mosaic: &Mosaic,
    spec: &ImageSpec,
    options: &WriteOptions,
) -> bool {
    let own = |band: u32| source.nodata.band(band).and_then(|value| value.as_sample::<T>());
    let out = spec.nodata.and_then(|value| value.as_sample::<T>());
    let bits = |value: Option<T>| value.map(|v| bytemuck::bytes_of(&v).to_vec());
    let same_nodata = (0..source.bands()).all(|band| bits(own(band)) == bits(out));
    let picks =
        mosaic.overlap.is_by_order() || matches!(mosaic.overlap, Overlap::Min | Overlap::Max);
    // A NaN becomes nodata; judged by pixel, good samples of a bad pixel do.
    let unchanged = out.is_none()
        || (!T::IS_FLOAT && (mosaic.nodata_mode != NodataMode::Any || mosaic.bands == 1));
    let clashes = out.is_some()
        && mosaic.nodata_mode != NodataMode::Band
        && options.nodata_clash == NodataClash::Error;
    // Samples that are as good as nodata become nodata itself (`Sample::is_nodata`).
    let alike = out.is_some_and(|out| out != out.next_value() && out.is_nodata(out.next_value()));
    same_nodata
        && !alike
        && picks
        && unchanged
        && !clashes
        && source.mask().is_none()
        && source.alpha_band().is_none()
        && !options.sparse
        && options.nodata_clash != NodataClash::Nudge
}

/// How the sources are stored, where they agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLayout {
    /// Side of a block in pixels.
    pub chunk: u32,
    /// All bands in one block.
    pub pixel_interleaved: bool,
    /// Codec.
    pub compression: Compression,
    /// Predictor.
    pub predictor: Predictor,
}

/// The layout of the output under which most source blocks can be copied.
///
/// # Errors
/// In words, why there is none: the sources differ, have blocks that an output cannot have, or do not lie
/// on whole blocks.
pub fn source_layout(mosaic: &Mosaic) -> std::result::Result<SourceLayout, String> {
    let of = |source: &Source| {
        let image = &source.dataset.image;
        (image.stored_block_size(), image.planar, image.compression, image.predictor)
    };
    let Some(first) = mosaic.sources().first() else { return Err("there are no inputs".into()) };
    let (block, planar, compression, predictor) = of(first);
    if let Some(other) = mosaic.sources().iter().find(|source| of(source) != of(first)) {
        return Err(format!(
            "the inputs differ in blocks, codec, predictor or order of bands ({} and {})",
            first.path().display(),
            other.path().display()
        ));
    }
    let Size { width: chunk, height } = block;
    if chunk != height || !chunk.is_multiple_of(16) || chunk > 32768 {
        return Err(format!(
            "the inputs' blocks are {chunk} × {height} pixels; an output has squares"
        ));
    }
    if Encoder::new(compression, None).is_err() {
        return Err(format!("the inputs' codec, {compression}, is read and not written"));
    }
    let aligned = (0..mosaic.sources().len() as u32).filter(|id| match mosaic.placement(*id) {
        (Mapping::Shift { col, row }, place) => {
            let whole = |offset: i64| offset.rem_euclid(i64::from(chunk)) == 0;
            whole(place.col - col) && whole(place.row - row)
        }
        _ => false,
    });
    let (aligned, all) = (aligned.count(), mosaic.sources().len());
    if aligned * 2 < all {
        return Err(format!("{aligned} of {all} inputs lie on whole blocks of {chunk} pixels"));
    }
    Ok(SourceLayout { chunk, pixel_interleaved: !planar, compression, predictor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_compared_to_the_last() {
        let a: Vec<u8> = (0..9001).map(|v| (v % 251) as u8).collect();
        assert!(same_bytes(&a, &a));
        assert!(!same_bytes(&a, &a[..9000]));
        for at in (0..9001).step_by(7) {
            let mut b = a.clone();
            b[at] ^= 1;
            assert!(!same_bytes(&a, &b), "{at}");
        }
    }
}
