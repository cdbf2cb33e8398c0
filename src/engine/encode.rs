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

impl Encoded {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Encoded::Sparse => Vec::new(),
            Encoded::Bytes(bytes) => bytes,
        }
    }
}

/// How blocks are encoded; the same for a whole run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockFormat<T> {
    pub(crate) chunk: u32,
    pub(crate) pixel_interleaved: bool,
    /// Samples of a pixel in one block.
    pub(crate) samples_per_pixel: usize,
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

/// Codec state of one thread that encodes, and a little scratch memory.
#[derive(Debug)]
pub(crate) struct BlockEncoder<T> {
    format: BlockFormat<T>,
    encoder: Encoder,
    mask_encoder: Option<Encoder>,
    /// All bands of a block, if they are interleaved by pixel.
    block: Vec<T>,
    bits: Vec<u8>,
    scratch: Vec<u8>,
    blank: Option<Blank>,
    any: Vec<u8>,
}

/// Encoded blocks of nothing but fill, of alpha 0, and of an empty mask.
#[derive(Debug)]
struct Blank {
    fill: Vec<u8>,
    alpha: Vec<u8>,
    mask: Vec<u8>,
}

impl<T: Sample> BlockEncoder<T> {
    pub(crate) fn new(format: BlockFormat<T>) -> Result<BlockEncoder<T>> {
        Ok(BlockEncoder {
            // PackBits packs each row by itself, or some readers lose their place.
            encoder: Encoder::new(format.compression, format.level)?
                .with_row_bytes(format.chunk as usize * size_of::<T>() * format.samples_per_pixel),
            mask_encoder: if format.mask {
                Some(Encoder::new(Compression::Deflate, None)?)
            } else {
                None
            },
            format,
            block: Vec::new(),
            bits: Vec::new(),
            scratch: Vec::new(),
            blank: None,
            any: Vec::new(),
        })
    }

    /// Finishes the canvas's samples and encodes them. The canvas is used up.
    pub(crate) fn encode(&mut self, canvas: &mut Canvas<T>) -> Result<EncodedCanvas> {
        let bands = canvas.bands.len();
        let mut out = EncodedCanvas {
            blocks: Vec::with_capacity(bands + 1),
            mask: None,
            stats: Vec::with_capacity(bands + 1),
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
            let start = canvas.samples.len();
            canvas.samples.extend(self.any.iter().map(|v| if *v != 0 { opaque } else { T::ZERO }));
            out.stats.push(self.band_stats(&canvas.samples[start..], None));
        }
        if self.format.mask {
            out.mask = Some(self.encode_mask(canvas.window)?);
        }
        let sparse: Vec<bool> = (0..bands).map(|index| self.is_sparse(canvas, index)).collect();
        let all_sparse = sparse.iter().all(|s| *s);
        expand(canvas, self.format.chunk);
        let plane = (self.format.chunk as usize).pow(2);
        if self.format.pixel_interleaved {
            out.blocks.push(if all_sparse {
                Encoded::Sparse
            } else {
                interleave(&canvas.samples, plane, &mut self.block);
                let spp = canvas.samples.len() / plane;
                let mut block = std::mem::take(&mut self.block);
                let encoded = self.encode_block(&mut block, spp);
                self.block = block;
                encoded?
            });
            return Ok(out);
        }
        for (index, samples) in canvas.samples.chunks_exact_mut(plane).enumerate() {
            // The alpha band, if one is added, is as sparse as all others together.
            let skip = sparse.get(index).copied().unwrap_or(all_sparse);
            out.blocks.push(if skip { Encoded::Sparse } else { self.encode_block(samples, 1)? });
        }
        Ok(out)
    }

    fn is_sparse(&self, canvas: &Canvas<T>, index: usize) -> bool {
        self.format.sparse
            && !canvas.keeps_nan
            && composite::count_valid(canvas.valid_of(index)) == 0
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

    /// A canvas that no source touched: its blocks are encoded once and for all.
    fn encode_blank(
        &mut self,
        canvas: &mut Canvas<T>,
        mut out: EncodedCanvas,
    ) -> Result<EncodedCanvas> {
        let (bands, pixels) = (canvas.bands.len(), canvas.window.pixels());
        let alpha = usize::from(self.format.alpha.is_some());
        out.invalid = pixels * bands as u64;
        let mut stats = BandStats::default();
        stats.add_invalid(pixels);
        out.stats.resize(bands, stats);
        if alpha == 1 {
            let mut stats = BandStats::default();
            stats.add_zeros(pixels);
            out.stats.push(stats);
        }
        let planes = if self.format.pixel_interleaved { 1 } else { bands + alpha };
        if self.format.sparse {
            out.blocks.extend((0..planes).map(|_| Encoded::Sparse));
            out.mask = self.format.mask.then_some(Encoded::Sparse);
            return Ok(out);
        }
        if self.blank.is_none() {
            self.blank = Some(self.make_blank(canvas, alpha)?);
        }
        if let Some(blank) = &self.blank {
            let block = |index: usize| if index < bands { &blank.fill } else { &blank.alpha };
            out.blocks.extend((0..planes).map(|index| Encoded::Bytes(block(index).clone())));
            out.mask = self.format.mask.then(|| Encoded::Bytes(blank.mask.clone()));
        }
        Ok(out)
    }

    fn make_blank(&mut self, canvas: &mut Canvas<T>, alpha: usize) -> Result<Blank> {
        let plane = (self.format.chunk as usize).pow(2);
        let fill = self.format.nodata.unwrap_or(T::ZERO);
        let spp = if self.format.pixel_interleaved { canvas.bands.len() + alpha } else { 1 };
        // The canvas's memory serves; a blank one has nothing in it that is wanted.
        let mut samples = std::mem::take(&mut canvas.samples);
        let mut encode = |spp: usize, zeros_from: usize, value: T| -> Result<Vec<u8>> {
            samples.clear();
            samples.resize(plane * spp, value);
            samples.chunks_exact_mut(spp).for_each(|pixel| pixel[zeros_from..].fill(T::ZERO));
            Ok(self.encode_block(&mut samples, spp)?.into_bytes())
        };
        let blank = Blank {
            fill: encode(spp, spp - alpha.min(spp - 1), fill)?,
            alpha: if alpha == 1 { encode(1, 0, T::ZERO)? } else { Vec::new() },
            mask: Vec::new(),
        };
        canvas.samples = samples;
        self.any.clear();
        let window = Window { width: 1, height: 1, ..canvas.window };
        Ok(Blank { mask: self.encode_mask(window)?.into_bytes(), ..blank })
    }

    fn encode_block(&mut self, samples: &mut [T], samples_per_pixel: usize) -> Result<Encoded> {
        let rows = RowLayout {
            dtype_size: size_of::<T>(),
            samples_per_pixel,
            width: self.format.chunk as usize,
        };
        let raw: &mut [u8] = bytemuck::cast_slice_mut(samples);
        predictor::encode(self.format.predictor, rows, raw, &mut self.scratch);
        let mut bytes = Vec::new();
        self.encoder.encode(raw, &mut bytes)?;
        // What waits for its turn holds no more than its bytes.
        bytes.shrink_to_fit();
        Ok(Encoded::Bytes(bytes))
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
        let mut bytes = Vec::new();
        if let Some(encoder) = &mut self.mask_encoder {
            encoder.encode(&self.bits, &mut bytes)?;
        }
        bytes.shrink_to_fit();
        Ok(Encoded::Bytes(bytes))
    }
}

/// Makes whole blocks of the planes of a canvas at the mosaic's edge, in place. The last column and
/// row are repeated, which compresses to little.
fn expand<T: Sample>(canvas: &mut Canvas<T>, chunk: u32) {
    let (width, height) = (canvas.window.width as usize, canvas.window.height as usize);
    let (chunk, pixels) = (chunk as usize, width * height);
    if width == chunk && height == chunk {
        return;
    }
    let planes = canvas.samples.len() / pixels;
    canvas.samples.resize(planes * chunk * chunk, T::ZERO);
    // From the back, so that nothing is overwritten before it has moved.
    for plane in (0..planes).rev() {
        for row in (0..height).rev() {
            let (from, to) = (plane * pixels + row * width, (plane * chunk + row) * chunk);
            canvas.samples.copy_within(from..from + width, to);
            let last = canvas.samples[to + width - 1];
            canvas.samples[to + width..to + chunk].fill(last);
        }
        let last = (plane * chunk + height - 1) * chunk;
        for row in height..chunk {
            canvas.samples.copy_within(last..last + chunk, (plane * chunk + row) * chunk);
        }
    }
}

/// Planes, one after the other, to pixels.
fn interleave<T: Sample>(planes: &[T], plane: usize, block: &mut Vec<T>) {
    let spp = planes.len() / plane;
    block.resize(planes.len(), T::ZERO);
    // In stripes that stay in the first-level cache for all bands.
    const STRIPE: usize = 512;
    for start in (0..plane).step_by(STRIPE) {
        let end = (start + STRIPE).min(plane);
        let out = &mut block[start * spp..end * spp];
        for (band, samples) in planes.chunks_exact(plane).enumerate() {
            for (pixel, sample) in out.chunks_exact_mut(spp).zip(&samples[start..end]) {
                pixel[band] = *sample;
            }
        }
    }
}
