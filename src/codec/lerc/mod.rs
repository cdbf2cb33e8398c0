//! LERC blocks: Esri's "limited error raster compression", versions 2 to 6 of its second format.
//!
//! In: one blob. Out: the samples, band after band. Invalid pixels of a blob become NaN in floats, 0 in
//! the last of the bands where that is an alpha band which the blob leaves out, and 0 elsewhere, as
//! libtiff does. Written here, after the published description of the format, because there is no
//! maintained crate for it that is not a wrapper of the C++ library.
//!
//! ```text
//! key, version, checksum, sizes, type, error, range │ mask (run lengths) │ ranges of bands │ pixels:
//!     raw, or Huffman codes (8 bits), or byte planes (lossless floats), or tiles of 8 × 8 pixels
//! ```

mod bits;
mod float;
mod huffman;
mod tiles;

use super::image::ImageBlock;
use super::{Compression, broken};
use crate::error::{Error, Result};
use crate::sample::{DataType, Sample};

#[cold]
fn fail(reason: &str) -> Error {
    broken(Compression::Lerc, reason)
}

/// Bytes of a slice, taken from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let parts = self.0.split_at_checked(count).ok_or_else(|| fail("it ends too early"))?;
        self.0 = parts.1;
        Ok(parts.0)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A count, which is never negative.
    fn count(&mut self) -> Result<usize> {
        let value = i32::from_le_bytes(self.array()?);
        usize::try_from(value).map_err(|_| fail("a negative size"))
    }

    fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A sample of a type.
    fn sample<T: Sample>(&mut self) -> Result<T> {
        let value = bytemuck::pod_read_unaligned::<T>(self.take(size_of::<T>())?);
        Ok(if cfg!(target_endian = "big") { value.swapped() } else { value })
    }
}

/// What the head of a blob says.
struct Header {
    version: u32,
    width: usize,
    height: usize,
    bands: usize,
    valid: usize,
    /// Bytes of the blob.
    blob_len: usize,
    tile: usize,
    /// Number of the type: `i8`, `u8`, `i16`, `u16`, `i32`, `u32`, `f32`, `f64`.
    kind: usize,
    max_error: f64,
    min: f64,
    max: f64,
}

const KEY: &[u8] = b"Lerc2 ";
const KINDS: [DataType; 8] = [
    DataType::I8,
    DataType::U8,
    DataType::I16,
    DataType::U16,
    DataType::I32,
    DataType::U32,
    DataType::F32,
    DataType::F64,
];

/// The most bytes that a blob of a block has: it is never much longer than the samples.
pub(super) fn max_encoded_len(block: &ImageBlock<'_>) -> usize {
    let samples = block.width.saturating_mul(block.height).saturating_mul(block.samples);
    samples.saturating_mul(block.sample_bytes + 1).saturating_add(64 * 1024)
}

/// Decodes a blob into `dst`.
pub(super) fn decode(block: &ImageBlock<'_>, src: &[u8], dst: &mut [u8]) -> Result<()> {
    if src.starts_with(b"CntZImage ") {
        return Err(fail("the first version of the format, which no TIFF has"));
    }
    let mut input = Input(src);
    let header = Header::read(&mut input, src)?;
    let bands = block.samples;
    let follows = src.get(header.blob_len..).is_some_and(|rest| rest.starts_with(KEY));
    if header.bands == 1 && bands > 1 && follows {
        return decode_each(block, src, dst);
    }
    let fits = header.bands == bands || (header.bands + 1 == bands && header.bands > 0);
    if (header.width, header.height) != (block.width, block.height) || !fits {
        let found = (header.width, header.height, header.bands);
        let expected = (block.width, block.height, bands);
        return Err(fail(&format!("{found:?} columns, rows and bands, not {expected:?}")));
    }
    typed_any(block, &header, input, dst, &Valid(None)).map(|_| ())
}

/// Decodes blobs that follow each other, one for each band: bands whose pixels are not valid alike.
fn decode_each(block: &ImageBlock<'_>, mut src: &[u8], dst: &mut [u8]) -> Result<()> {
    let mut valid = Valid(None);
    for plane in dst.chunks_exact_mut((dst.len() / block.samples).max(1)) {
        let mut input = Input(src);
        let header = Header::read(&mut input, src)?;
        if (header.width, header.height, header.bands) != (block.width, block.height, 1) {
            return Err(fail("blobs of bands that differ in size"));
        }
        // A blob may say that its mask is that of the one before.
        valid = typed_any(block, &header, input, plane, &valid)?;
        src = src.get(header.blob_len..).unwrap_or(&[]);
    }
    Ok(())
}

fn typed_any(
    block: &ImageBlock<'_>,
    header: &Header,
    input: Input<'_>,
    dst: &mut [u8],
    before: &Valid,
) -> Result<Valid> {
    if KINDS[header.kind] != block.dtype {
        return Err(fail(&format!("samples of type {}", KINDS[header.kind])));
    }
    match block.dtype {
        DataType::I8 => typed::<i8>(header, input, dst, before),
        DataType::U8 => typed::<u8>(header, input, dst, before),
        DataType::I16 => typed::<i16>(header, input, dst, before),
        DataType::U16 => typed::<u16>(header, input, dst, before),
        DataType::I32 => typed::<i32>(header, input, dst, before),
        DataType::U32 => typed::<u32>(header, input, dst, before),
        DataType::F32 => typed::<f32>(header, input, dst, before),
        _ => typed::<f64>(header, input, dst, before),
    }
}

impl Header {
    fn read(input: &mut Input<'_>, src: &[u8]) -> Result<Header> {
        if input.take(KEY.len())? != KEY {
            return Err(fail("it does not begin as one"));
        }
        let version = u32::from_le_bytes(input.array()?);
        if !(1..=6).contains(&version) {
            return Err(fail(&format!("version {version}; versions up to 6 are known")));
        }
        let checksum = if version >= 3 { Some(u32::from_le_bytes(input.array()?)) } else { None };
        let after_checksum = src.len() - input.0.len();
        let (height, width) = (input.count()?, input.count()?);
        let bands = if version >= 4 { input.count()? } else { 1 };
        let (valid, tile, blob_len, kind) =
            (input.count()?, input.count()?, input.count()?, input.count()?);
        if version >= 6 {
            // Number of blobs that follow, and flags.
            input.take(8)?;
        }
        let (max_error, min, max) = (input.f64()?, input.f64()?, input.f64()?);
        if version >= 6 {
            input.take(16)?;
        }
        let pixels = width.checked_mul(height).unwrap_or(0);
        if pixels == 0 || bands == 0 || valid > pixels || kind >= KINDS.len() || tile == 0 {
            return Err(fail("a header that makes no sense"));
        }
        if let Some(expected) = checksum {
            let checked = src.get(after_checksum..blob_len).ok_or_else(|| fail("it is cut"))?;
            if fletcher(checked) != expected {
                return Err(fail("its checksum does not match"));
            }
        }
        Ok(Header {
            version,
            width,
            height,
            bands,
            valid,
            blob_len,
            tile,
            kind,
            max_error,
            min,
            max,
        })
    }
}

/// Fletcher's checksum of 32 bits over big-endian 16-bit words, sums starting at 0xFFFF.
fn fletcher(bytes: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xFFFF) + (sum >> 16);
    let (mut low, mut high) = (0xFFFFu32, 0xFFFFu32);
    // 359 sums of 16-bit words fit 32 bits.
    let (whole, rest) = bytes.split_at(bytes.len() / 2 * 2);
    for run in whole.chunks(718) {
        for word in run.chunks_exact(2) {
            low += u32::from(word[0]) << 8 | u32::from(word[1]);
            high += low;
        }
        (low, high) = (fold(low), fold(high));
    }
    if let [last] = rest {
        low += u32::from(*last) << 8;
        high += low;
    }
    fold(high) << 16 | fold(low)
}

/// Which pixels of a blob are valid.
struct Valid(Option<Vec<u8>>);

impl Valid {
    #[inline]
    fn at(&self, pixel: usize) -> bool {
        self.0.as_ref().is_none_or(|bits| bits[pixel / 8] & (0x80 >> (pixel % 8)) != 0)
    }

    /// The mask: a byte count, then runs: a signed 16-bit count, so many bytes, or a byte to repeat if
    /// it is negative; -32768 ends it.
    fn read(input: &mut Input<'_>, header: &Header, before: &Valid) -> Result<Valid> {
        let len = input.count()?;
        let pixels = header.width * header.height;
        if header.valid == pixels {
            return Ok(Valid(None));
        }
        let mut bits = Vec::new();
        if header.valid == 0 {
            bits.resize(pixels.div_ceil(8), 0);
            return Ok(Valid(Some(bits)));
        }
        if len == 0 && before.0.as_ref().is_some_and(|bits| bits.len() == pixels.div_ceil(8)) {
            return Ok(Valid(before.0.clone()));
        }
        let mut runs = Input(input.take(len)?);
        loop {
            let count = i16::from_le_bytes(runs.array()?);
            if count == i16::MIN {
                break;
            }
            let len = usize::from(count.unsigned_abs());
            if bits.len() + len > pixels.div_ceil(8) {
                return Err(fail("a mask longer than the image"));
            }
            if count >= 0 {
                bits.extend_from_slice(runs.take(len)?);
            } else {
                let byte = runs.u8()?;
                bits.resize(bits.len() + len, byte);
            }
        }
        if bits.len() < pixels.div_ceil(8) {
            return Err(fail("a mask shorter than the image"));
        }
        Ok(Valid(Some(bits)))
    }
}

/// Samples of a blob while it is decoded: the bands of a pixel together.
struct Pixels<'a, T> {
    header: &'a Header,
    valid: &'a Valid,
    /// The largest value of each band.
    max: Vec<f64>,
    samples: Vec<T>,
}

fn typed<T: Sample>(
    header: &Header,
    mut input: Input<'_>,
    dst: &mut [u8],
    before: &Valid,
) -> Result<Valid> {
    let Ok(dst) = bytemuck::try_cast_slice_mut::<u8, T>(dst) else {
        return Err(fail("samples that are not aligned"));
    };
    let valid = Valid::read(&mut input, header, before)?;
    let pixels = header.width * header.height;
    let mut image = Pixels {
        header,
        valid: &valid,
        max: vec![header.max; header.bands],
        samples: vec![T::ZERO; pixels * header.bands],
    };
    if header.valid > 0 {
        image.read(&mut input)?;
    }
    for (band, out) in dst.chunks_exact_mut(pixels).enumerate() {
        for (pixel, sample) in out.iter_mut().enumerate() {
            *sample = match image.samples.get(pixel * header.bands + band) {
                _ if band >= header.bands => T::from_f64(if valid.at(pixel) { 255.0 } else { 0.0 }),
                _ if T::IS_FLOAT && !valid.at(pixel) => T::from_f64(f64::NAN),
                Some(value) => *value,
                None => T::ZERO,
            };
        }
    }
    Ok(valid)
}

impl<T: Sample> Pixels<'_, T> {
    fn read(&mut self, input: &mut Input<'_>) -> Result<()> {
        let header = self.header;
        let mut min = vec![header.min; header.bands];
        if header.min != header.max && header.version >= 4 {
            for value in &mut min {
                *value = input.sample::<T>()?.to_f64();
            }
            for value in &mut self.max {
                *value = input.sample::<T>()?.to_f64();
            }
        }
        if min == self.max {
            self.fill(&min);
            return Ok(());
        }
        if input.u8()? != 0 {
            return self.read_raw(input);
        }
        let small = T::DTYPE.size() == 1 && header.version >= 2 && header.max_error == 0.5;
        let lossless = T::IS_FLOAT && header.version >= 6 && header.max_error == 0.0;
        let mode = if small || lossless { input.u8()? } else { 0 };
        match mode {
            0 => tiles::read(self, input),
            1 if small => huffman::read_deltas(self, input),
            2 if small && header.version >= 4 => huffman::read_values(self, input),
            3 if lossless => float::read(self, input),
            _ => Err(fail(&format!("an unknown way of coding, {mode}"))),
        }
    }

    fn fill(&mut self, values: &[f64]) {
        let values: Vec<T> = values.iter().map(|v| T::from_f64(*v)).collect();
        for (pixel, samples) in self.samples.chunks_exact_mut(values.len()).enumerate() {
            if self.valid.at(pixel) {
                samples.copy_from_slice(&values);
            }
        }
    }

    fn read_raw(&mut self, input: &mut Input<'_>) -> Result<()> {
        for (pixel, samples) in self.samples.chunks_exact_mut(self.header.bands).enumerate() {
            if self.valid.at(pixel) {
                for sample in samples {
                    *sample = input.sample()?;
                }
            }
        }
        Ok(())
    }
}
