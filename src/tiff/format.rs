//! How the samples of an image are stored: type and bits, codec, predictor, and what the codec must know
//! beside the bytes. Read from tags; what is not read is refused by name.

use std::sync::Arc;

use crate::codec::image::Params;
use crate::codec::{Compression, Predictor};
use crate::error::{Error, FormatError, Result};
use crate::sample::DataType;
use crate::tiff::ifd::{HeaderReader, Ifd};
use crate::tiff::tag;

/// PhotometricInterpretation (TIFF 6.0 §22).
const YCBCR: u64 = 6;
/// PhotometricInterpretation: 1976 CIE L*a*b* (§23).
const CIELAB: u64 = 8;
/// PhotometricInterpretation: separated, by default into cyan, magenta, yellow and black (§16).
const CMYK: u64 = 5;

/// How a sample's bits become a sample of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As in memory, but for the byte order.
    Whole,
    /// Bits of an unsigned number, most significant first, one sample right after the other; each row
    /// starts at a byte.
    Bits,
    /// 8-bit YCbCr in clumps of `h` by `v` pixels: their Y, row by row, then one Cb and one Cr (TIFF 6.0
    /// §21). Expanded to R, G and B.
    YCbCr {
        /// Pixels across a clump.
        h: u8,
        /// Pixels down a clump.
        v: u8,
    },
    /// 8-bit CIE L*a*b* (§23). Expanded to R, G, B and an opaque alpha.
    Lab,
    /// 8-bit inks, of which the first four are read: cyan, magenta, yellow, black.
    Inks {
        /// Samples of a pixel.
        samples: u16,
    },
    /// 16-bit floats (IEEE 754 binary16).
    Half,
    /// 24-bit floats: 1 bit of sign, 7 of exponent, 16 of fraction (TIFF technote 3).
    Float24,
}

/// See the head of this file.
#[derive(Debug, Clone)]
pub(crate) struct Format {
    pub(crate) dtype: DataType,
    pub(crate) bits: u32,
    pub(crate) packing: Packing,
    pub(crate) compression: Compression,
    pub(crate) predictor: Predictor,
    pub(crate) params: Option<Arc<Params>>,
}

impl Format {
    pub(crate) fn read(reader: &HeaderReader<'_>, ifd: &Ifd, bands: u64) -> Result<Format> {
        let (dtype, bits, packing) = sample_type(reader, ifd, bands)?;
        let compression = read_compression(reader, ifd)?;
        let planar = bands > 1 && reader.number(ifd, 284)? == Some(2);
        let bytes = dtype == DataType::U8 && bits == 8;
        let photometric = reader.number(ifd, 262).unwrap_or(None);
        let refuse = |what: &str| Err(Error::unsupported(what, "convert it to RGB"));
        // What has other types or shapes GDAL shows as it is stored.
        let packing = match (photometric, compression.is_image()) {
            (Some(YCBCR), false) if bytes || !planar => clumps(reader, ifd, dtype, bands)?,
            (Some(CIELAB), false) if bytes && bands == 3 && !planar => Packing::Lab,
            (Some(CIELAB), _) if bytes && bands == 3 => {
                return refuse("CIELab color in planes or JPEG");
            }
            (Some(CMYK), image) if bytes && bands >= 4 && is_ink(reader, ifd) => match bands {
                _ if planar => return refuse("8-bit CMYK color in planes"),
                4 => packing,
                _ if image => return refuse("CMYK color of more than four bands"),
                _ => Packing::Inks { samples: bands as u16 },
            },
            _ => packing,
        };
        let predictor = read_predictor(reader, ifd, compression, dtype, bits)?;
        let params = read_params(reader, ifd, compression, bands)?;
        let params = (params != Params::default()).then(|| Arc::new(params));
        let format = Format { dtype, bits, packing, compression, predictor, params };
        format.check()?;
        Ok(format)
    }

    /// What a codec or predictor cannot have.
    fn check(&self) -> Result<()> {
        const HINT: &str = "convert it, e.g. gdal_translate -co COMPRESS=DEFLATE";
        let refuse = |what: &str| {
            let name = self.compression.name();
            Err(Error::unsupported(format!("{name} of {}-bit {what}", self.bits), HINT))
        };
        let whole = self.packing == Packing::Whole;
        match self.compression {
            scheme if scheme.is_fax() && self.bits != 1 => refuse("samples"),
            Compression::Jpeg
                if !matches!(
                    (self.dtype, self.bits),
                    (DataType::U8 | DataType::I8, 8) | (DataType::U16, 12)
                ) =>
            {
                refuse("samples")
            }
            Compression::WebP if self.dtype != DataType::U8 || self.bits != 8 => refuse("samples"),
            Compression::Lerc if !whole || self.dtype.is_complex() || self.dtype.size() > 8 => {
                refuse("samples of this kind")
            }
            _ if matches!(self.packing, Packing::YCbCr { .. })
                && self.predictor != Predictor::None =>
            {
                refuse("YCbCr samples with a predictor")
            }
            _ => Ok(()),
        }
    }
}

/// InkSet (TIFF 6.0 §16): by default cyan, magenta, yellow and black.
fn is_ink(reader: &HeaderReader<'_>, ifd: &Ifd) -> bool {
    reader.number(ifd, 332).unwrap_or(None).unwrap_or(1) == 1
}

/// YCbCr without JPEG: 8 bits, in clumps of sizes that libtiff reads too.
fn clumps(reader: &HeaderReader<'_>, ifd: &Ifd, dtype: DataType, bands: u64) -> Result<Packing> {
    let sides = match ifd.entry(530) {
        Some(entry) => reader.unsigned(entry)?,
        None => vec![2, 2],
    };
    let planar = reader.number(ifd, 284)? == Some(2);
    let (h, v) = (sides.first().copied().unwrap_or(2), sides.get(1).copied().unwrap_or(2));
    let known = matches!((h, v), (1, 1) | (1, 2) | (2, 1) | (2, 2) | (4, 1) | (4, 2) | (4, 4));
    if dtype != DataType::U8 || bands != 3 || planar || !known {
        let feature = format!("YCbCr color without JPEG, {dtype}, {h} × {v} pixels a clump");
        return Err(Error::unsupported(feature, "convert it to RGB"));
    }
    Ok(Packing::YCbCr { h: h as u8, v: v as u8 })
}

/// Numbers of a tag as bits of `f32`, or what they are by default.
fn float_bits<const N: usize>(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    tag: u16,
    default: [f32; N],
) -> Result<[u32; N]> {
    let found = match ifd.entry(tag) {
        Some(entry) => reader.floats(entry)?.iter().map(|v| *v as f32).collect(),
        None => Vec::new(),
    };
    let numbers: [f32; N] = found.try_into().unwrap_or(default);
    Ok(numbers.map(f32::to_bits))
}

/// X, Y and Z of the white point (318), by default that of D50 (as in libtiff), as bits of `f32`.
fn white(reader: &HeaderReader<'_>, ifd: &Ifd) -> Result<[u32; 3]> {
    const D50: [f32; 3] = [96.425, 100.0, 82.468];
    let sum: f32 = D50.iter().sum();
    let [x, y] = float_bits(reader, ifd, 318, [D50[0] / sum, D50[1] / sum])?.map(f32::from_bits);
    let y = if y == 0.0 { D50[1] / sum } else { y };
    Ok([x / y * 100.0, 100.0, (1.0 - x - y) / y * 100.0].map(f32::to_bits))
}

fn list(reader: &HeaderReader<'_>, ifd: &Ifd, tag: u16, bands: u64, default: u64) -> Result<u64> {
    const HINT: &str = "convert it, e.g. gdal_translate -ot UInt16 IN.tif OUT.tif";
    let Some(entry) = ifd.entry(tag) else { return Ok(default) };
    let values = reader.unsigned(entry)?;
    // One value may stand for all bands; values of bands that are not there do not count.
    let values = &values[..values.len().min(usize::try_from(bands).unwrap_or(usize::MAX))];
    let first = values.first().copied().unwrap_or(default);
    if values.iter().any(|v| *v != first) {
        let shown = &values[..values.len().min(8)];
        let feature = format!("bands of different {} ({shown:?})", tag::name(tag));
        return Err(Error::unsupported(feature, HINT));
    }
    Ok(first)
}

/// All bands must agree in bits and format; the rest is refused by name.
fn sample_type(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    bands: u64,
) -> Result<(DataType, u32, Packing)> {
    const HINT: &str = "convert it, e.g. gdal_translate -ot UInt16 IN.tif OUT.tif";
    let bits = list(reader, ifd, 258, bands, 1)?;
    let format = list(reader, ifd, 339, bands, 1)?;
    let whole = match (format, bits) {
        (1 | 4, 8) => Some(DataType::U8),
        (2, 8) => Some(DataType::I8),
        (1 | 4, 16) => Some(DataType::U16),
        (2, 16) => Some(DataType::I16),
        (1 | 4, 32) => Some(DataType::U32),
        (2, 32) => Some(DataType::I32),
        (1 | 4, 64) => Some(DataType::U64),
        (2, 64) => Some(DataType::I64),
        (3, 32) => Some(DataType::F32),
        (3, 64) => Some(DataType::F64),
        (5, 32) => Some(DataType::CI16),
        (5, 64) => Some(DataType::CI32),
        (6, 64) => Some(DataType::CF32),
        (6, 128) => Some(DataType::CF64),
        _ => None,
    };
    if let Some(dtype) = whole {
        return Ok((dtype, bits as u32, Packing::Whole));
    }
    // As GDAL: odd bit counts are unsigned, whatever the format says of the sign.
    let (dtype, packing) = match (format, bits) {
        (3, 16) => (DataType::F32, Packing::Half),
        (3, 24) => (DataType::F32, Packing::Float24),
        (1 | 2 | 4, 1..=7) => (DataType::U8, Packing::Bits),
        (1 | 2 | 4, 9..=15) => (DataType::U16, Packing::Bits),
        (1 | 2 | 4, 17..=31) => (DataType::U32, Packing::Bits),
        // As GDAL: what is too short for two numbers is one.
        (5 | 6, 8) => (DataType::U8, Packing::Whole),
        (5 | 6, 16) => (DataType::U16, Packing::Whole),
        (6, 32) => (DataType::U32, Packing::Whole),
        (5 | 6, bits) => {
            return Err(Error::unsupported(format!("complex samples of {bits} bits"), HINT));
        }
        (format, bits) => {
            let kind = match format {
                1 | 4 => "unsigned integer",
                2 => "signed integer",
                3 => "floating-point",
                _ => "unknown",
            };
            return Err(Error::unsupported(format!("{bits}-bit {kind} samples"), HINT));
        }
    };
    Ok((dtype, bits as u32, packing))
}

fn read_compression(reader: &HeaderReader<'_>, ifd: &Ifd) -> Result<Compression> {
    const HINT: &str = "convert it, e.g. gdal_translate -co COMPRESS=DEFLATE";
    let value = reader.number(ifd, 259)?.unwrap_or(1);
    if let Some(compression) = u16::try_from(value).ok().and_then(Compression::from_tag) {
        if let Some(feature) = compression.missing_feature() {
            let what = format!("{compression} (this build lacks the Cargo feature `{feature}`)");
            return Err(Error::unsupported(what, HINT));
        }
        return Ok(compression);
    }
    let name = match value {
        6 => "old-style JPEG",
        32766 => "NeXT RLE",
        32809 => "ThunderScan",
        34676 | 34677 => "SGI LogLuv",
        34712 => "JPEG 2000",
        34892 => "lossy DNG JPEG",
        34927 => "WebP of JPEG XR's number",
        50002 | 52546 => "JPEG XL",
        _ => "unknown",
    };
    Err(Error::unsupported(format!("compression {value} ({name})"), HINT))
}

fn read_predictor(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    compression: Compression,
    dtype: DataType,
    bits: u32,
) -> Result<Predictor> {
    // Only these codecs have predictors (TIFF 6.0 §14); others ignore the tag, as libtiff does.
    let has_one = matches!(
        compression,
        Compression::Lzw | Compression::Deflate | Compression::Zstd | Compression::Lzma
    );
    if !has_one {
        return Ok(Predictor::None);
    }
    let bad = |expected: &'static str, found: u64| -> Result<Predictor> {
        let (tag, found) = (317, found.to_string());
        Err(FormatError::BadTag { tag, name: tag::name(tag), expected, found }.into())
    };
    match reader.number(ifd, 317)?.unwrap_or(1) {
        1 => Ok(Predictor::None),
        2 if matches!(bits, 8 | 16 | 32 | 64) => Ok(Predictor::Horizontal),
        2 => bad("1: predictor 2 is for 8, 16, 32 or 64 bits", 2),
        3 if dtype.is_float() && !dtype.is_complex() => Ok(Predictor::Float),
        3 => bad("1 or 2 for integers", 3),
        other => bad("1, 2 or 3", other),
    }
}

fn read_params(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    compression: Compression,
    bands: u64,
) -> Result<Params> {
    let mut params = Params {
        // These codecs see the bytes as they are (as in libtiff).
        reversed_bits: reader.number(ifd, 266).unwrap_or(None) == Some(2)
            && !compression.is_image(),
        ..Params::default()
    };
    let photometric = reader.number(ifd, 262).unwrap_or(None);
    let planar = bands > 1 && reader.number(ifd, 284)? == Some(2);
    let bytes = list(reader, ifd, 258, bands, 1)? == 8 && list(reader, ifd, 339, bands, 1)? == 1;
    let inks = photometric == Some(CMYK) && is_ink(reader, ifd);
    params.cmyk = inks && bands >= 4 && bytes && !planar;
    if photometric == Some(CIELAB) {
        params.luma = white(reader, ifd)?;
    }
    if photometric == Some(YCBCR) && !compression.is_image() {
        // By default those of television (CCIR 601-1), and full ranges.
        params.luma = float_bits(reader, ifd, 529, [0.299, 0.587, 0.114])?;
        params.reference = float_bits(reader, ifd, 532, [0.0, 255.0, 128.0, 255.0, 128.0, 255.0])?;
    }
    match compression {
        Compression::Jpeg => {
            if let Some(entry) = ifd.entry(347) {
                params.jpeg_tables = reader.value_bytes(entry)?;
            }
            params.ycbcr = photometric == Some(YCBCR) && bands == 3 && !planar;
        }
        Compression::CcittG3 => {
            params.t4_options = reader.number(ifd, 292)?.unwrap_or(0) as u32;
        }
        Compression::Lerc => {
            let values = match ifd.entry(50674) {
                Some(entry) => reader.unsigned(entry)?,
                None => Vec::new(),
            };
            params.around_lerc = match values.get(1).copied().unwrap_or(0) {
                0 => None,
                1 => Some(Compression::Deflate),
                2 => Some(Compression::Zstd),
                other => {
                    let feature = format!("LERC within compression {other}");
                    return Err(Error::unsupported(feature, "convert it, e.g. gdal_translate"));
                }
            };
        }
        _ => {}
    }
    Ok(params)
}
