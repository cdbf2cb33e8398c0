//! From a rendered canvas to encoded blocks: invalid pixels filled, statistics, padding, predictor,
//! codec.

use crate::codec::{Compression, Encoder, Predictor, RowLayout, predictor};
use crate::composite;
use crate::engine::canvas::Canvas;
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
    /// A source's bytes, as they are.
    Copied(Vec<u8>),
}

impl Encoded {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Encoded::Sparse => &[],
            Encoded::Bytes(bytes) | Encoded::Copied(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Encoded::Sparse => Vec::new(),
            Encoded::Bytes(bytes) | Encoded::Copied(bytes) => bytes,
        }
    }
}

/// Bytes that stand for a block of a finished canvas, by the block's index; `None` where it is encoded.
pub(crate) type Copies = Vec<Option<Vec<u8>>>;

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
    /// What invalid samples hold, but those of alpha bands: they hold 0.
    pub(crate) fill: T,
    /// The nodata that the file declares; then it is `fill`.
    pub(crate) nodata: Option<T>,
    /// The sources' alpha band.
    pub(crate) alpha_band: Option<u32>,
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
    /// Invalid samples that kept a NaN.
    pub(crate) kept_nan: u64,
    /// Blocks that were copied without being decoded.
    pub(crate) unchecked: u64,
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
    last_len: usize,
    /// Blocks that no source touches are encoded once: at most one for each value of fill.
    blanks: Vec<Blank<T>>,
    blank_mask: Vec<u8>,
    any: Vec<u8>,
}

/// The encoded block of which every pixel is the same.
#[derive(Debug)]
struct Blank<T> {
    pixel: Vec<T>,
    bytes: Vec<u8>,
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
            last_len: 0,
            blanks: Vec::new(),
            blank_mask: Vec::new(),
            any: Vec::new(),
        })
    }

    /// Finishes the canvas's samples and encodes them. The canvas is used up.
    ///
    /// `finished` sees the canvas in between, and may say which blocks need not be encoded.
    pub(crate) fn encode(
        &mut self,
        canvas: &mut Canvas<T>,
        finished: impl FnOnce(&Canvas<T>) -> Result<Copies>,
    ) -> Result<EncodedCanvas> {
        let bands = canvas.bands.len();
        let mut out = EncodedCanvas {
            blocks: Vec::with_capacity(bands + 1),
            mask: None,
            stats: Vec::with_capacity(bands + 1),
            clashes: 0,
            invalid: 0,
            kept_nan: 0,
            unchecked: 0,
        };
        if canvas.is_blank() {
            finished(canvas)?;
            return self.encode_blank(canvas, out);
        }
        for index in 0..bands {
            self.finish_band(canvas, index, &mut out);
        }
        let mut copies = finished(canvas)?;
        copies.resize(bands + 1, None);
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
        // The alpha band that is added is as empty as all others together, and reads as 0.
        let added = self.format.alpha.is_none() || self.reads_as_absent(T::ZERO);
        let all_sparse = added && sparse.iter().all(|s| *s);
        let plane = (self.format.chunk as usize).pow(2);
        expand(canvas, self.format.chunk);
        if self.format.pixel_interleaved {
            out.blocks.push(if all_sparse {
                Encoded::Sparse
            } else if let Some(bytes) = copies[0].take() {
                Encoded::Copied(bytes)
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
            let skip = sparse.get(index).copied().unwrap_or(all_sparse);
            out.blocks.push(match copies.get_mut(index).and_then(Option::take) {
                _ if skip => Encoded::Sparse,
                Some(bytes) => Encoded::Copied(bytes),
                None => self.encode_block(samples, 1)?,
            });
        }
        Ok(out)
    }

    /// Encodes a block of an overview: its samples are made, neither counted nor nudged any more.
    pub(crate) fn encode_plainly(&mut self, canvas: &mut Canvas<T>) -> Result<EncodedCanvas> {
        let BlockFormat { statistics, nudge, .. } = self.format;
        (self.format.statistics, self.format.nudge) = (false, false);
        let encoded = self.encode(canvas, |_| Ok(Vec::new()));
        (self.format.statistics, self.format.nudge) = (statistics, nudge);
        encoded
    }

    /// What an invalid sample of a band holds.
    fn fill_of(&self, band: u32) -> T {
        if self.format.alpha_band == Some(band) { T::ZERO } else { self.format.fill }
    }

    /// Whether a block that is not stored reads as this: as nodata, else 0.
    fn reads_as_absent(&self, value: T) -> bool {
        self.format.sparse && same(&[value], &[self.format.nodata.unwrap_or(T::ZERO)])
    }

    fn is_sparse(&self, canvas: &Canvas<T>, index: usize) -> bool {
        self.reads_as_absent(self.fill_of(canvas.bands.start + index as u32))
            && !canvas.keeps_nan
            && composite::count_valid(canvas.valid_of(index)) == 0
    }

    /// Fills invalid samples, counts clashes, takes statistics.
    fn finish_band(&self, canvas: &mut Canvas<T>, index: usize, out: &mut EncodedCanvas) {
        let (keeps_nan, band) = (canvas.keeps_nan, canvas.bands.start + index as u32);
        let (samples, valid) = canvas.band_mut(index);
        let ones = composite::count_valid(valid);
        let all = ones == samples.len() as u64;
        let is_alpha = self.format.alpha_band == Some(band);
        let mut clashes = 0;
        if let Some(nodata) = self.format.nodata.filter(|_| !is_alpha) {
            clashes = composite::clashes(samples, valid, nodata, self.format.nudge);
            out.clashes += clashes;
        }
        if !all {
            let fill = self.fill_of(band);
            out.kept_nan += composite::fill_invalid(samples, valid, fill, keeps_nan);
            out.invalid += samples.len() as u64 - ones;
        }
        let stays = self.format.nodata.filter(|_| clashes > 0 && !self.format.nudge);
        out.stats.push(match stays {
            // They will read as missing, so that statistics leave them out.
            Some(nodata) => {
                let differs = |(s, v): (&T, &u8)| u8::from(*v != 0 && *s != nodata);
                let seen: Vec<u8> = samples.iter().zip(valid.iter()).map(differs).collect();
                self.band_stats(samples, Some(&seen))
            }
            None => self.band_stats(samples, Some(valid)),
        });
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
            stats.add_zeros::<T>(pixels);
            out.stats.push(stats);
        }
        let fills: Vec<T> = canvas.bands.clone().map(|band| self.fill_of(band)).collect();
        let fills: Vec<T> = fills.into_iter().chain((0..alpha).map(|_| T::ZERO)).collect();
        let absent: Vec<bool> = fills.iter().map(|fill| self.reads_as_absent(*fill)).collect();
        if self.format.pixel_interleaved {
            out.blocks.push(if absent.iter().all(|absent| *absent) {
                Encoded::Sparse
            } else {
                Encoded::Bytes(self.blank_block(canvas, &fills)?)
            });
        } else {
            for (fill, absent) in fills.iter().zip(absent) {
                out.blocks.push(if absent {
                    Encoded::Sparse
                } else {
                    Encoded::Bytes(self.blank_block(canvas, &[*fill])?)
                });
            }
        }
        if self.format.mask {
            out.mask = Some(if self.format.sparse {
                Encoded::Sparse
            } else {
                Encoded::Bytes(self.blank_mask(canvas.window)?)
            });
        }
        Ok(out)
    }

    /// The encoded block of which every pixel is `pixel`.
    fn blank_block(&mut self, canvas: &mut Canvas<T>, pixel: &[T]) -> Result<Vec<u8>> {
        let found = self.blanks.iter().find(|blank| same(&blank.pixel, pixel));
        if let Some(blank) = found {
            return Ok(blank.bytes.clone());
        }
        let count = (self.format.chunk as usize).pow(2) * pixel.len();
        // The canvas's memory serves; a blank one has nothing in it that is wanted.
        let mut samples = std::mem::take(&mut canvas.samples);
        samples.resize(count, T::ZERO);
        samples.chunks_exact_mut(pixel.len()).for_each(|place| place.copy_from_slice(pixel));
        let bytes = self.encode_block(&mut samples, pixel.len())?.into_bytes();
        canvas.samples = samples;
        self.blanks.push(Blank { pixel: pixel.to_vec(), bytes: bytes.clone() });
        Ok(bytes)
    }

    fn blank_mask(&mut self, window: Window) -> Result<Vec<u8>> {
        if self.blank_mask.is_empty() {
            self.any.clear();
            self.blank_mask = self.encode_mask(window)?.into_bytes();
        }
        Ok(self.blank_mask.clone())
    }

    fn encode_block(&mut self, samples: &mut [T], samples_per_pixel: usize) -> Result<Encoded> {
        let parts = if T::IS_COMPLEX { 2 } else { 1 };
        let rows = RowLayout {
            dtype_size: size_of::<T>() / parts,
            samples_per_pixel: samples_per_pixel * parts,
            width: self.format.chunk as usize,
        };
        let raw: &mut [u8] = bytemuck::cast_slice_mut(samples);
        predictor::encode(self.format.predictor, rows, raw, &mut self.scratch);
        // Blocks are much alike: room for the last one's bytes seldom has to grow.
        let mut bytes = Vec::with_capacity(self.last_len + self.last_len / 16);
        self.encoder.encode(raw, &mut bytes)?;
        self.last_len = bytes.len();
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

/// The same bits: NaN is the same as itself.
fn same<T: Sample>(a: &[T], b: &[T]) -> bool {
    bytemuck::cast_slice::<T, u8>(a) == bytemuck::cast_slice::<T, u8>(b)
}

/// Makes whole blocks of the planes of a canvas at the mosaic's edge, in place. The padding is 0, as
/// libtiff's is: a repeated row of noise would be stored again and again.
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
        canvas.samples[(plane * chunk + height) * chunk..(plane + 1) * chunk * chunk].fill(T::ZERO);
        for row in (0..height).rev() {
            let (from, to) = (plane * pixels + row * width, (plane * chunk + row) * chunk);
            canvas.samples.copy_within(from..from + width, to);
            canvas.samples[to + width..to + chunk].fill(T::ZERO);
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
