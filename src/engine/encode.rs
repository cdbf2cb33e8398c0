//! From a rendered canvas to encoded blocks: invalid pixels filled, statistics, padding, predictor,
//! codec.

use crate::codec::{Compression, Encoder, Predictor, RowLayout, predictor};
use crate::composite;
use crate::engine::render::Canvas;
use crate::engine::stats::BandStats;
use crate::error::Result;
use crate::geometry::Window;
use crate::sample::Sample;

/// A block on its way to the file.
#[derive(Debug)]
pub(crate) enum Encoded {
    /// Not to be stored.
    Sparse,
    /// Its bytes.
    Bytes(Vec<u8>),
}

impl Encoded {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Encoded::Sparse => &[],
            Encoded::Bytes(bytes) => bytes,
        }
    }
}

/// How blocks are encoded; the same for a whole run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockFormat<T> {
    pub(crate) chunk: u32,
    /// Bands of the output, alpha included.
    pub(crate) bands: u32,
    pub(crate) pixel_interleaved: bool,
    pub(crate) compression: Compression,
    pub(crate) level: Option<u8>,
    pub(crate) predictor: Predictor,
    pub(crate) nodata: Option<T>,
    pub(crate) nudge: bool,
    pub(crate) sparse: bool,
    pub(crate) statistics: bool,
    /// Value of a valid pixel in the alpha band that is added, if one is.
    pub(crate) alpha: Option<T>,
    pub(crate) mask: bool,
}

/// What became of a canvas.
#[derive(Debug)]
pub(crate) struct EncodedCanvas {
    /// One for each band of the canvas (and alpha), or one for all.
    pub(crate) blocks: Vec<Encoded>,
    pub(crate) mask: Option<Encoded>,
    /// One for each band of the canvas (and alpha).
    pub(crate) stats: Vec<BandStats>,
    pub(crate) clashes: u64,
    pub(crate) invalid: u64,
}

/// Scratch memory and codec state of one thread that encodes.
#[derive(Debug)]
pub(crate) struct BlockEncoder<T> {
    format: BlockFormat<T>,
    encoder: Encoder,
    mask_encoder: Option<Encoder>,
    block: Vec<T>,
    bits: Vec<u8>,
    scratch: Vec<u8>,
    encoded: Vec<u8>,
    /// The encoded block of nothing but fill.
    blank: Option<Vec<u8>>,
    alpha: Vec<T>,
    any: Vec<u8>,
}

impl<T: Sample> BlockEncoder<T> {
    pub(crate) fn new(format: BlockFormat<T>) -> Result<BlockEncoder<T>> {
        Ok(BlockEncoder {
            encoder: Encoder::new(format.compression, format.level)?,
            mask_encoder: if format.mask {
                Some(Encoder::new(Compression::Deflate, None)?)
            } else {
                None
            },
            format,
            block: Vec::new(),
            bits: Vec::new(),
            scratch: Vec::new(),
            encoded: Vec::new(),
            blank: None,
            alpha: Vec::new(),
            any: Vec::new(),
        })
    }

    /// Finishes the canvas's samples and encodes them.
    pub(crate) fn encode(&mut self, canvas: &mut Canvas<T>) -> Result<EncodedCanvas> {
        let bands = canvas.bands.len();
        let mut out = EncodedCanvas {
            blocks: Vec::with_capacity(bands),
            mask: None,
            stats: Vec::with_capacity(bands),
            clashes: 0,
            invalid: 0,
        };
        if canvas.is_blank() {
            return self.encode_blank(canvas, out);
        }
        for index in 0..bands {
            self.finish_band(canvas, index, &mut out);
        }
        if self.format.mask || self.format.alpha.is_some() {
            self.any_valid(canvas);
        }
        if let Some(opaque) = self.format.alpha {
            self.alpha.clear();
            self.alpha.extend(self.any.iter().map(|v| if *v != 0 { opaque } else { T::ZERO }));
            out.stats.push(self.band_stats(&self.alpha, None));
        }
        if self.format.mask {
            out.mask = Some(self.encode_mask(canvas.window)?);
        }
        if self.format.pixel_interleaved {
            let empty = canvas.is_empty() && !canvas.keeps_nan;
            let block = if empty && self.format.sparse {
                Encoded::Sparse
            } else {
                self.interleave(canvas);
                self.encode_block(self.format.bands as usize)?
            };
            out.blocks.push(block);
            return Ok(out);
        }
        for index in 0..bands {
            let sparse = self.format.sparse
                && !canvas.keeps_nan
                && composite::count_valid(canvas.valid_of(index)) == 0;
            let block = if sparse { Encoded::Sparse } else { self.encode_band(canvas, index)? };
            out.blocks.push(block);
        }
        if self.format.alpha.is_some() {
            let alpha = std::mem::take(&mut self.alpha);
            pad(&alpha, canvas.window, self.format.chunk, &mut self.block);
            self.alpha = alpha;
            out.blocks.push(self.encode_block(1)?);
        }
        Ok(out)
    }

    /// A canvas that no source left anything on.
    fn encode_blank(
        &mut self,
        canvas: &Canvas<T>,
        mut out: EncodedCanvas,
    ) -> Result<EncodedCanvas> {
        let (bands, pixels) = (canvas.bands.len(), canvas.window.pixels());
        let alpha = usize::from(self.format.alpha.is_some());
        out.invalid = pixels * bands as u64;
        for _ in 0..bands {
            let mut stats = BandStats::default();
            stats.add_invalid(pixels);
            out.stats.push(stats);
        }
        if alpha == 1 {
            self.alpha.clear();
            self.alpha.resize(pixels as usize, T::ZERO);
            out.stats.push(self.band_stats(&self.alpha, None));
        }
        if self.format.mask {
            self.any.clear();
            self.any.resize(pixels as usize, 0);
            out.mask = Some(if self.format.sparse {
                Encoded::Sparse
            } else {
                self.encode_mask(canvas.window)?
            });
        }
        let count = if self.format.pixel_interleaved { 1 } else { bands };
        if self.format.sparse {
            out.blocks.extend((0..count).map(|_| Encoded::Sparse));
            if alpha == 1 && !self.format.pixel_interleaved {
                out.blocks.push(Encoded::Sparse);
            }
            return Ok(out);
        }
        for _ in 0..count {
            let blank = self.blank_block(bands, alpha)?;
            out.blocks.push(Encoded::Bytes(blank));
        }
        if alpha == 1 && !self.format.pixel_interleaved {
            self.fill_block(1, T::ZERO);
            out.blocks.push(self.encode_block(1)?);
        }
        Ok(out)
    }

    fn fill_block(&mut self, samples_per_pixel: usize, value: T) {
        self.block.clear();
        self.block.resize((self.format.chunk as usize).pow(2) * samples_per_pixel, value);
    }

    fn blank_block(&mut self, bands: usize, alpha: usize) -> Result<Vec<u8>> {
        if let Some(blank) = &self.blank {
            return Ok(blank.clone());
        }
        let fill = self.format.nodata.unwrap_or(T::ZERO);
        let spp = if self.format.pixel_interleaved { bands + alpha } else { 1 };
        self.fill_block(spp, fill);
        if spp > bands {
            self.block.chunks_exact_mut(spp).for_each(|pixel| pixel[bands] = T::ZERO);
        }
        let blank = self.encode_block(spp)?.bytes().to_vec();
        self.blank = Some(blank.clone());
        Ok(blank)
    }

    /// Fills invalid samples, counts clashes, takes statistics.
    fn finish_band(&self, canvas: &mut Canvas<T>, index: usize, out: &mut EncodedCanvas) {
        let keeps_nan = canvas.keeps_nan;
        let (samples, valid) = canvas.band_mut(index);
        let ones = composite::count_valid(valid);
        let all = ones == samples.len() as u64;
        if let Some(nodata) = self.format.nodata {
            out.clashes += composite::clashes(samples, valid, nodata, self.format.nudge);
        }
        if !all {
            let fill = self.format.nodata.unwrap_or(T::ZERO);
            composite::fill_invalid(samples, valid, fill, keeps_nan);
            out.invalid += samples.len() as u64 - ones;
        }
        out.stats.push(self.band_stats(samples, Some(valid)));
    }

    fn band_stats(&self, samples: &[T], valid: Option<&[u8]>) -> BandStats {
        let mut stats = BandStats::default();
        if !self.format.statistics {
            let ones = valid.map_or(samples.len() as u64, composite::count_valid);
            (stats.total, stats.valid) = (samples.len() as u64, ones);
            return stats;
        }
        match valid {
            Some(valid) => stats.add_row(samples, valid),
            None => stats.add_row(samples, &vec![1; samples.len()]),
        }
        stats
    }

    /// Pixels that are valid in any band.
    fn any_valid(&mut self, canvas: &Canvas<T>) {
        self.any.clear();
        self.any.extend_from_slice(canvas.valid_of(0));
        if !canvas.is_shared() {
            for index in 1..canvas.bands.len() {
                for (any, v) in self.any.iter_mut().zip(canvas.valid_of(index)) {
                    *any |= *v;
                }
            }
        }
    }

    fn encode_band(&mut self, canvas: &mut Canvas<T>, index: usize) -> Result<Encoded> {
        let window = canvas.window;
        let (samples, _) = canvas.band_mut(index);
        if window.width == self.format.chunk && window.height == self.format.chunk {
            // Whole blocks are encoded where they lie; the canvas is not needed after this.
            return encode_samples(
                samples,
                1,
                &self.format,
                &mut self.encoder,
                &mut self.scratch,
                &mut self.encoded,
            );
        }
        pad(samples, window, self.format.chunk, &mut self.block);
        self.encode_block(1)
    }

    fn encode_block(&mut self, samples_per_pixel: usize) -> Result<Encoded> {
        let Self { block, format, encoder, scratch, encoded, .. } = self;
        encode_samples(block, samples_per_pixel, format, encoder, scratch, encoded)
    }

    /// All bands, pixel by pixel, padded to a whole block.
    fn interleave(&mut self, canvas: &Canvas<T>) {
        let window = canvas.window;
        let (width, height) = (window.width as usize, window.height as usize);
        let (chunk, spp) = (self.format.chunk as usize, self.format.bands as usize);
        self.block.clear();
        self.block.resize(chunk * chunk * spp, T::ZERO);
        let pixels = width * height;
        for row in 0..chunk {
            let src = row.min(height - 1) * width;
            let out = &mut self.block[row * chunk * spp..][..chunk * spp];
            let (data, padding) = out.split_at_mut(width * spp);
            let bands = canvas.samples.chunks_exact(pixels).chain(self.alpha.chunks_exact(pixels));
            for (band, samples) in bands.take(spp).enumerate() {
                let line = &samples[src..src + width];
                for (pixel, sample) in data.chunks_exact_mut(spp).zip(line) {
                    pixel[band] = *sample;
                }
            }
            let last = &data[(width - 1) * spp..];
            padding.chunks_exact_mut(spp).for_each(|pixel| pixel.copy_from_slice(last));
        }
    }

    /// The mask block: 1 bit a pixel, most significant first; padding is 0.
    fn encode_mask(&mut self, window: Window) -> Result<Encoded> {
        let (width, chunk) = (window.width as usize, self.format.chunk as usize);
        let row_bytes = chunk / 8;
        self.bits.clear();
        self.bits.resize(row_bytes * chunk, 0);
        for (line, out) in self.any.chunks_exact(width).zip(self.bits.chunks_exact_mut(row_bytes)) {
            for (part, byte) in line.chunks(8).zip(out) {
                *byte = part.iter().enumerate().fold(0, |byte, (bit, v)| byte | (*v << (7 - bit)));
            }
        }
        if let Some(encoder) = &mut self.mask_encoder {
            encoder.encode(&self.bits, &mut self.encoded)?;
        }
        Ok(Encoded::Bytes(self.encoded.as_slice().to_vec()))
    }
}

/// Copies a window to a whole block; the last column and row are repeated, which compresses to little.
fn pad<T: Sample>(samples: &[T], window: Window, chunk: u32, block: &mut Vec<T>) {
    let (width, height, chunk) = (window.width as usize, window.height as usize, chunk as usize);
    block.clear();
    block.reserve(chunk * chunk);
    for row in 0..chunk {
        let line = &samples[row.min(height - 1) * width..][..width];
        block.extend_from_slice(line);
        block.resize((row + 1) * chunk, line[width - 1]);
    }
}

fn encode_samples<T: Sample>(
    samples: &mut [T],
    samples_per_pixel: usize,
    format: &BlockFormat<T>,
    encoder: &mut Encoder,
    scratch: &mut Vec<u8>,
    encoded: &mut Vec<u8>,
) -> Result<Encoded> {
    let rows =
        RowLayout { dtype_size: size_of::<T>(), samples_per_pixel, width: format.chunk as usize };
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(samples);
    predictor::encode(format.predictor, rows, bytes, scratch);
    encoder.encode(bytes, encoded)?;
    // A copy of the right size: what waits for its turn holds no more than its bytes.
    Ok(Encoded::Bytes(encoded.as_slice().to_vec()))
}
