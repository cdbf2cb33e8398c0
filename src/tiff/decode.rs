//! Fetching and decoding blocks, which are two separate steps: stored bytes → typed samples, band after
//! band.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use crate::codec::image::{ImageBlock, Params};
use crate::codec::{Compression, Decoder, Predictor, RowLayout, predictor, stream};
use crate::error::{Error, FormatError, Place, Result, ResultExt};
use crate::geometry::{Size, Window};
use crate::io::ReadAt;
use crate::raster::AnyRaster;
use crate::sample::{DataType, Nodata, Sample};
use crate::tiff::format::Packing;
use crate::tiff::layout::{Extent, Layout};
use crate::tiff::packed;
use crate::{with_dtype, with_raster};

/// Decoded bytes of a block that are believed of any number of stored ones, if the memory budget says no more;
/// beyond it, [`BOMB_RATIO`] for each: a hostile file of a few megabytes must not take hundreds of them.
const BOMB_BYTES: u64 = 64 << 20;
/// More than real pictures have in blocks that large. (Strips are not concerned: they are streamed.)
const BOMB_RATIO: u64 = 32;
/// What JPEG and WebP reach where all is of one color.
const BOMB_RATIO_PICTURE: u64 = 128;
/// Raw bytes of a streamed strip that are believed of any number of stored ones; beyond it, as many for each
/// as Deflate makes at most.
const STREAM_BOMB_BYTES: u64 = 128 << 20;

/// A block that is believed may take this share of a memory budget.
const BUDGET_SHARE: u64 = 16;

/// Bytes read at once from a strip.
const INPUT_BYTES: usize = 128 * 1024;

/// Scratch memory of one thread that decodes blocks.
#[derive(Debug, Default)]
pub struct Scratch {
    decoder: Decoder,
    bytes: Vec<u8>,
    predictor: Vec<u8>,
    reversed: Vec<u8>,
    /// Decoded bytes of a block that are believed of any number of stored ones; 64 MiB always are.
    pub(crate) believed_bytes: u64,
}

impl Scratch {
    /// Scratch memory for a run with a budget: a sixteenth of it is believed of a block.
    pub fn for_budget(total_bytes: u64) -> Scratch {
        Scratch { believed_bytes: believed_bytes(total_bytes), ..Scratch::default() }
    }
}

/// Decoded bytes that are believed of a block of any length under a budget.
pub(crate) fn believed_bytes(total_bytes: u64) -> u64 {
    total_bytes / BUDGET_SHARE
}

/// The stored bytes of a block.
#[expect(missing_debug_implementations, reason = "a reader has none to show")]
pub enum Stored<'a> {
    /// None: the block is not in the file and holds the fill value everywhere.
    Absent,
    /// All of them.
    Bytes(&'a [u8]),
    /// The raw bytes of a strip, from where this part of it begins.
    Stream(&'a mut dyn Read),
}

impl Layout {
    /// Decodes an access block. `fill` is for blocks that are not in the file.
    ///
    /// The result has [`Layout::decoded_size`] and all bands of the block, band after band.
    ///
    /// # Errors
    /// [`FormatError::Codec`] or [`FormatError::BlockLength`] if the bytes are broken;
    /// [`FormatError::Expands`] if they would become more than is believed of so few.
    pub fn decode(
        &self,
        block: BlockId,
        stored: Stored<'_>,
        fill: Option<Nodata>,
        recycled: Option<AnyRaster>,
        scratch: &mut Scratch,
    ) -> Result<AnyRaster> {
        let size = self.decoded_size(block.by);
        let bands = self.samples_in_block();
        let place = Place::Block(self.block_index(block.bx, block.by, block.plane));
        if let Stored::Bytes(bytes) = &stored {
            self.check_ratio(bytes.len(), size, scratch.believed_bytes).in_place(place)?;
        }
        let mut raster = match recycled {
            Some(raster) if raster.dtype() == self.dtype => raster,
            _ => AnyRaster::zeros(self.dtype, Size { width: 0, height: 0 }, 0)?,
        };
        with_raster!(&mut raster, raster => raster.reshape(size, bands))?;
        if matches!(stored, Stored::Absent) {
            with_raster!(&mut raster, raster => fill_with(raster.samples_mut(), fill));
            return Ok(raster);
        }
        let inside = self.block_window(block.bx, block.by).height;
        with_raster!(&mut raster, raster => {
            self.decode_samples(size, inside, stored, raster.samples_mut(), scratch)
        })
        .map(|()| {
            if let AnyRaster::U8(raster) = &mut raster
                && self.params.as_ref().is_some_and(|params| params.cmyk)
            {
                cmyk_to_rgba(raster.samples_mut());
            }
        })
        .in_place(place)?;
        Ok(raster)
    }

    /// Fails before anything is allocated if so few bytes cannot make so many, or hardly do: a lying tag, or a
    /// bomb.
    fn check_ratio(&self, stored: usize, size: Size, believed_bytes: u64) -> Result<()> {
        // The most that one byte can become. Deflate: 258 bytes from 2 bits; LZW: the longest string
        // of a full table from 12 bits; Zstandard: 128 KiB from a block of 4 bytes, which is as much as
        // any. Raw blocks are measured when the file is opened.
        let most = match self.compression {
            Compression::PackBits => 64,
            Compression::Deflate => 1100,
            Compression::Lzw => 4096,
            Compression::None => return Ok(()),
            _ => 1 << 16,
        };
        let raw = self.rows_bytes(u64::from(size.height));
        let decoded = size.pixels().saturating_mul(u64::from(self.samples_in_block()));
        let decoded = decoded.saturating_mul(self.dtype.size() as u64);
        let stored_bytes = stored as u64;
        let ratio = match self.compression {
            Compression::Jpeg | Compression::WebP => BOMB_RATIO_PICTURE,
            _ => BOMB_RATIO,
        };
        if decoded
            > BOMB_BYTES.max(believed_bytes).saturating_add(stored_bytes.saturating_mul(ratio))
        {
            let enough = decoded.saturating_mul(BUDGET_SHARE);
            return Err(FormatError::Expands { stored: stored_bytes, decoded, enough }.into());
        }
        if (stored_bytes + 16).saturating_mul(most) < raw {
            let (codec, reason) = (self.compression.name(), format!("{stored} bytes for {raw}"));
            return Err(FormatError::Codec { codec, reason }.into());
        }
        Ok(())
    }

    /// The raw bytes of a strip that is decoded piece by piece.
    ///
    /// # Errors
    /// [`FormatError::Codec`] if so few bytes cannot make so many.
    pub(crate) fn stream(
        &self,
        stored: impl Read + Send + 'static,
        extent: Extent,
    ) -> Result<Box<dyn Read + Send>> {
        let raw = self.rows_bytes(u64::from(self.stored_block_size().height.min(self.size.height)));
        if raw > STREAM_BOMB_BYTES + extent.len.saturating_mul(1100) {
            let codec = self.compression.name();
            let reason = format!("{} bytes for {raw}", extent.len);
            return Err(FormatError::Codec { codec, reason }.into());
        }
        let reversed = self.params.as_ref().is_some_and(|params| params.reversed_bits);
        let stored: Box<dyn BufRead + Send> = if reversed {
            Box::new(BufReader::with_capacity(INPUT_BYTES, Reversed(stored)))
        } else {
            Box::new(BufReader::with_capacity(INPUT_BYTES, stored))
        };
        Ok(stream::reader(self.compression, stored))
    }

    pub(crate) fn read_block(
        &self,
        source: &dyn ReadAt,
        block: BlockId,
        fill: Option<Nodata>,
        scratch: &mut Scratch,
    ) -> Result<AnyRaster> {
        let index = self.block_index(block.bx, block.by, block.plane);
        let page = self.table_page(index).map(|page| self.read_table_page(source, page));
        let extent = self.extent(index, page.transpose()?.as_ref());
        let mut bytes = Vec::new();
        if extent.len == 0 {
            return self.decode(block, Stored::Absent, fill, None, scratch);
        }
        fetch(source, extent, &mut bytes)?;
        if !self.is_streamed() {
            return self.decode(block, Stored::Bytes(&bytes), fill, None, scratch);
        }
        let mut raw = self.stream(Cursor::new(bytes), extent)?;
        let (_, part) = self.part_of(index);
        for by in block.by - part..block.by {
            self.decode(
                BlockId { by, ..block },
                Stored::Stream(raw.as_mut()),
                None,
                None,
                scratch,
            )?;
        }
        self.decode(block, Stored::Stream(raw.as_mut()), None, None, scratch)
    }

    /// `inside` is how many of the rows lie in the image. Tiles at the bottom are sometimes stored
    /// without the others (GDAL reads them too); those are 0 then.
    fn decode_samples<T: Sample>(
        &self,
        size: Size,
        inside: u32,
        stored: Stored<'_>,
        samples: &mut [T],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Scratch { decoder, bytes, predictor: planes, reversed, .. } = scratch;
        let none = Params::default();
        let params = self.params.as_deref().unwrap_or(&none);
        let stored = match stored {
            Stored::Bytes(raw) if params.reversed_bits => {
                reversed.clear();
                reversed.extend(raw.iter().map(|byte| byte.reverse_bits()));
                Stored::Bytes(&reversed[..])
            }
            Stored::Bytes(raw) => Stored::Bytes(raw),
            Stored::Stream(stream) => Stored::Stream(stream),
            Stored::Absent => Stored::Absent,
        };
        let image = ImageBlock {
            width: size.width as usize,
            height: size.height as usize,
            inside: inside as usize,
            samples: self.samples_in_block() as usize,
            sample_bytes: size_of::<T>(),
            dtype: self.dtype,
            params,
        };
        if self.compression.is_image()
            && let Stored::Bytes(raw) = &stored
        {
            let bytes = bytemuck::cast_slice_mut(samples);
            decoder.decode_image(self.compression, &image, raw, bytes)?;
            self.swap_lerc(samples);
            return Ok(());
        }
        if self.packing != Packing::Whole {
            bytes.resize(self.rows_bytes(u64::from(size.height)) as usize, 0);
            self.packed_bytes(&image, inside, stored, bytes, (decoder, planes))?;
            packed::expand(self, size, bytes, samples);
            return Ok(());
        }
        let spp = self.samples_in_block() as usize;
        // The parts of complex samples are swapped one by one; predictors take them as one number.
        let parts = if T::IS_COMPLEX && self.predictor == Predictor::None { 2 } else { 1 };
        let rows = RowLayout {
            dtype_size: size_of::<T>() / parts,
            samples_per_pixel: spp * parts,
            width: size.width as usize,
        };
        if spp == 1 {
            let bytes = bytemuck::cast_slice_mut(samples);
            self.raw_bytes(stored, inside, bytes, decoder)?;
            predictor::decode(self.predictor, rows, self.big_endian, bytes, planes);
            return Ok(());
        }
        let swaps = self.big_endian != cfg!(target_endian = "big") && size_of::<T>() > 1;
        if let (Stored::Bytes(raw), Compression::None, false) = (&stored, self.compression, swaps) {
            // Nothing to undo: the samples are taken apart straight from the stored bytes.
            let expected = size_of_val(samples);
            if let Some(raw) = raw.get(..expected) {
                deinterleave(raw, spp, samples);
                return Ok(());
            }
        }
        bytes.resize(size_of_val(samples), 0);
        self.raw_bytes(stored, inside, bytes, decoder)?;
        predictor::decode(self.predictor, rows, self.big_endian, bytes, planes);
        deinterleave(bytes, spp, samples);
        Ok(())
    }

    /// libtiff brings samples to the file's byte order before it hands them to LERC.
    fn swap_lerc<T: Sample>(&self, samples: &mut [T]) {
        let swapped = self.big_endian == cfg!(target_endian = "little");
        if self.compression == Compression::Lerc && swapped && size_of::<T>() > 1 {
            samples.iter_mut().for_each(|sample| *sample = sample.swapped());
        }
    }

    /// Fills `bytes` with packed samples, those of whole bytes in the machine's order.
    fn packed_bytes(
        &self,
        image: &ImageBlock<'_>,
        inside: u32,
        stored: Stored<'_>,
        bytes: &mut [u8],
        (decoder, planes): (&mut Decoder, &mut Vec<u8>),
    ) -> Result<()> {
        match stored {
            Stored::Bytes(raw) if self.compression.is_fax() => {
                decoder.decode_fax(self.compression, image, raw, bytes)?;
            }
            stored => self.raw_bytes(stored, inside, bytes, decoder)?,
        }
        if matches!(
            self.packing,
            Packing::Half | Packing::Float24 | Packing::Lab | Packing::Inks { .. }
        ) {
            let rows = RowLayout {
                dtype_size: self.bits as usize / 8,
                samples_per_pixel: self.stored_samples() as usize,
                width: image.width,
            };
            predictor::decode(self.predictor, rows, self.big_endian, bytes, planes);
        } else if self.packing == Packing::Bits && self.bits == 24 && self.big_endian {
            // libtiff swaps samples of whole bytes; then GDAL takes their bits from the first on.
            bytes.as_chunks_mut::<3>().0.iter_mut().for_each(|sample| sample.reverse());
        }
        Ok(())
    }

    /// Fills `raw` from what is stored, of which `inside` rows must be there.
    fn raw_bytes(
        &self,
        stored: Stored<'_>,
        inside: u32,
        raw: &mut [u8],
        decoder: &mut Decoder,
    ) -> Result<()> {
        let needed = (self.rows_bytes(u64::from(inside)) as usize).min(raw.len());
        let (raw, outside) = raw.split_at_mut(needed);
        outside.fill(0);
        match stored {
            Stored::Absent => Ok(()),
            Stored::Bytes(bytes) => decoder.decode_into(self.compression, bytes, raw),
            Stored::Stream(stream) => stream.read_exact(raw).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => FormatError::Codec {
                    codec: self.compression.name(),
                    reason: "it ends before the strip is full".into(),
                }
                .into(),
                ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => {
                    let (codec, reason) = (self.compression.name(), error.to_string());
                    FormatError::Codec { codec, reason }.into()
                }
                _ => error.into(),
            }),
        }
    }
}

/// Bytes with their bits the other way round.
struct Reversed<R>(R);

impl<R: Read> Read for Reversed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        buffer[..count].iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        Ok(count)
    }
}

/// An access block of a layout; `plane` is 0 for chunky images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "column and row of blocks, and the plane")]
pub struct BlockId {
    pub bx: u32,
    pub by: u32,
    pub plane: u32,
}

/// Reads the stored bytes of a block into `buffer`; leaves it empty for one that is not in the file.
///
/// # Errors
/// [`FormatError::Changed`] if the file is shorter than when it was opened; I/O errors.
pub fn fetch(source: &dyn ReadAt, extent: Extent, buffer: &mut Vec<u8>) -> Result<()> {
    let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
    // Only what is longer than before is zeroed first.
    buffer.resize(len, 0);
    source.read_exact_at(extent.offset, buffer).map_err(|error| {
        if error.kind() == ErrorKind::UnexpectedEof {
            Error::new(FormatError::Changed("it is shorter than when it was opened"))
        } else {
            error.into()
        }
    })
}

fn fill_with<T: Sample>(samples: &mut [T], fill: Option<Nodata>) {
    samples.fill(fill.and_then(Nodata::as_sample).unwrap_or(T::ZERO));
}

/// Four bands of ink to three of light and an opaque one, as GDAL shows them.
fn cmyk_to_rgba(samples: &mut [u8]) {
    let pixels = samples.len() / 4;
    let (inks, black) = samples.split_at_mut(pixels * 3);
    for band in inks.chunks_exact_mut(pixels.max(1)) {
        for (ink, black) in band.iter_mut().zip(&*black) {
            // At most 255 * 255 / 255.
            *ink = (u32::from(255 - *black) * u32::from(255 - *ink) / 255) as u8;
        }
    }
    black.fill(255);
}

/// Pixel after pixel to band after band. `raw` holds native-endian samples.
fn deinterleave<T: Sample>(raw: &[u8], spp: usize, samples: &mut [T]) {
    let pixels = samples.len() / spp;
    let size = size_of::<T>();
    let read = |b: &[u8]| bytemuck::pod_read_unaligned::<T>(b);
    // Fixed counts let the compiler keep one strided loop for each of the common shapes.
    match spp {
        2 => split_bands::<T, 2>(raw, samples),
        3 => split_bands::<T, 3>(raw, samples),
        4 => split_bands::<T, 4>(raw, samples),
        _ => {
            // In stripes of pixels that stay in the first-level cache for all bands.
            const STRIPE: usize = 512;
            for start in (0..pixels).step_by(STRIPE) {
                let end = (start + STRIPE).min(pixels);
                for (band, out) in samples.chunks_exact_mut(pixels).enumerate() {
                    let stripe = &raw[start * spp * size..end * spp * size];
                    for (sample, pixel) in
                        out[start..end].iter_mut().zip(stripe.chunks_exact(spp * size))
                    {
                        *sample = read(&pixel[band * size..(band + 1) * size]);
                    }
                }
            }
        }
    }
}

fn split_bands<T: Sample, const N: usize>(raw: &[u8], samples: &mut [T]) {
    let pixels = samples.len() / N;
    let size = size_of::<T>();
    let mut bands = samples.chunks_exact_mut(pixels);
    let mut outs: [&mut [T]; N] = std::array::from_fn(|_| bands.next().unwrap_or_default());
    for (index, pixel) in raw.chunks_exact(N * size).enumerate() {
        for (band, out) in outs.iter_mut().enumerate() {
            out[index] = bytemuck::pod_read_unaligned(&pixel[band * size..(band + 1) * size]);
        }
    }
}

/// The access blocks of `layout` that meet `window`: columns and rows of blocks, both half-open.
pub fn blocks_of(layout: &Layout, window: Window) -> (std::ops::Range<u32>, std::ops::Range<u32>) {
    let cols = layout.block_col_of(window.col)..layout.block_col_of(window.col_end() - 1) + 1;
    let rows = layout.block_row_of(window.row)..layout.block_row_of(window.row_end() - 1) + 1;
    (cols, rows)
}

/// Bytes of a raster of this type and shape.
pub(crate) fn raster_bytes(dtype: DataType, pixels: u64, bands: u32) -> u64 {
    let size = with_dtype!(dtype, T => size_of::<T>()) as u64;
    pixels.saturating_mul(size).saturating_mul(u64::from(bands))
}
