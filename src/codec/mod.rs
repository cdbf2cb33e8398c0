//! Compressed bytes of one TIFF block ↔ raw bytes, and the predictors that go with them.
//!
//! In: a slice that holds one tile or strip as it stands in the file. Out: the caller's buffer,
//! filled exactly. A codec sees neither files nor sample types; [`predictor`] knows the layout of a
//! row and no more. Refused: every scheme that is not listed in [`Compression`].
//!
//! ```text
//! read:  block ─► Decoder::decode_into ─► predictor::decode ─► native-endian samples
//! write: samples ─► predictor::encode ─► Encoder::encode ─► block
//! ```

#[cfg(feature = "ccitt")]
mod ccitt;
mod deflate;
pub mod image;
#[cfg(feature = "jpeg")]
mod jpeg;
#[cfg(feature = "lerc")]
mod lerc;
#[cfg(feature = "lzma")]
mod lzma;
mod lzw;
mod packbits;
pub mod predictor;
pub mod stream;
#[cfg(feature = "webp")]
mod webp;
mod zstd;

use std::fmt;

use crate::error::{Error, FormatError, InputError, Result};

/// A compression scheme (TIFF tag 259) that is read; those of [`Compression::ALL`] are written too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Raw bytes.
    None,
    /// LZW, most significant bit first (TIFF 6.0 §13).
    Lzw,
    /// A zlib stream (TIFF technote 2); read under its old number 32946 too.
    Deflate,
    /// Byte runs (TIFF 6.0 §9).
    PackBits,
    /// A Zstandard frame (RFC 8878), libtiff's private number 50000.
    Zstd,
    /// An xz stream, libtiff's private number 34925.
    Lzma,
    /// JPEG (TIFF technote 2).
    Jpeg,
    /// WebP, libtiff's private number 50001.
    WebP,
    /// LERC, Esri's number 34887, also within Deflate or Zstandard.
    Lerc,
    /// CCITT modified Huffman rows (TIFF 6.0 §10).
    CcittRle,
    /// The same with rows that begin at 16-bit words, number 32771.
    CcittRleWords,
    /// CCITT T.4, "fax group 3" (TIFF 6.0 §11).
    CcittG3,
    /// CCITT T.6, "fax group 4" (TIFF 6.0 §11).
    CcittG4,
}

impl Compression {
    /// All schemes that are written.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Lzw,
        Compression::Deflate,
        Compression::PackBits,
        Compression::Zstd,
    ];

    /// The scheme of a value of tag 259, or `None` if we do not know it.
    pub fn from_tag(tag: u16) -> Option<Compression> {
        match tag {
            1 => Some(Compression::None),
            5 => Some(Compression::Lzw),
            8 | 32946 => Some(Compression::Deflate),
            32773 => Some(Compression::PackBits),
            50000 => Some(Compression::Zstd),
            34925 => Some(Compression::Lzma),
            7 => Some(Compression::Jpeg),
            50001 => Some(Compression::WebP),
            34887 => Some(Compression::Lerc),
            2 => Some(Compression::CcittRle),
            32771 => Some(Compression::CcittRleWords),
            3 => Some(Compression::CcittG3),
            4 => Some(Compression::CcittG4),
            _ => None,
        }
    }

    /// Whether a block's bytes are all that its decoder must know.
    pub fn is_basic(self) -> bool {
        use Compression::{Deflate, Lzw, None, PackBits, Zstd};
        matches!(self, None | Lzw | Deflate | PackBits | Zstd)
    }

    /// The value of tag 259.
    pub fn tag(self) -> u16 {
        match self {
            Compression::None => 1,
            Compression::Lzw => 5,
            Compression::Deflate => 8,
            Compression::PackBits => 32773,
            Compression::Zstd => 50000,
            Compression::Lzma => 34925,
            Compression::Jpeg => 7,
            Compression::WebP => 50001,
            Compression::Lerc => 34887,
            Compression::CcittRle => 2,
            Compression::CcittRleWords => 32771,
            Compression::CcittG3 => 3,
            Compression::CcittG4 => 4,
        }
    }

    /// The name as options and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lzw => "lzw",
            Compression::Deflate => "deflate",
            Compression::PackBits => "packbits",
            Compression::Zstd => "zstd",
            Compression::Lzma => "lzma",
            Compression::Jpeg => "jpeg",
            Compression::WebP => "webp",
            Compression::Lerc => "lerc",
            Compression::CcittRle => "ccitt-rle",
            Compression::CcittRleWords => "ccitt-rle-words",
            Compression::CcittG3 => "ccitt-g3",
            Compression::CcittG4 => "ccitt-g4",
        }
    }

    /// The most bytes that [`Encoder::encode`] makes of `len` raw bytes.
    ///
    /// Saturates at `usize::MAX`.
    pub fn max_encoded_len(self, len: usize) -> usize {
        let extra = match self {
            Compression::None => 0,
            Compression::Lzw => return lzw::max_encoded_len(len),
            // Stored blocks; zlib's own bound for any level and state.
            Compression::Deflate => len / 8 + len / 256 + 64,
            // One count for each 128 literal bytes of a row, so one for each byte if rows have one.
            Compression::PackBits => len,
            // A raw block has a header of 3 bytes for 128 KiB; the frame's header is 14 at most.
            Compression::Zstd => 3 * (len / zstd::CHUNK_LEN + 1) + 16,
            // Never encoded.
            _ => 0,
        };
        len.saturating_add(extra)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Decodes blocks of any scheme; keeps tables and buffers from one block to the next.
///
/// One for each worker. Each codec's state is made when it is first used.
#[derive(Default)]
pub struct Decoder {
    lzw: Option<lzw::Decoder>,
    deflate: Option<deflate::Decoder>,
    zstd: Option<zstd::Decoder>,
}

impl Decoder {
    /// A decoder without any state yet.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Fills `dst` with the decoded bytes of `src`.
    ///
    /// Surplus output, trailing input and a missing end mark are tolerated, as libtiff does.
    ///
    /// # Errors
    /// [`FormatError::Codec`] if the stream is broken, [`FormatError::BlockLength`] if it ends
    /// before `dst` is full. What `dst` then holds is unspecified.
    pub fn decode_into(
        &mut self,
        compression: Compression,
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<()> {
        if dst.is_empty() {
            return Ok(());
        }
        let found = match compression {
            Compression::None => {
                let len = src.len().min(dst.len());
                dst[..len].copy_from_slice(&src[..len]);
                len
            }
            Compression::Lzw => self.lzw.get_or_insert_default().decode(src, dst)?,
            Compression::Deflate => self.deflate.get_or_insert_default().decode(src, dst)?,
            Compression::PackBits => packbits::decode(src, dst),
            Compression::Zstd => self.zstd.get_or_insert_default().decode(src, dst)?,
            #[cfg(feature = "lzma")]
            Compression::Lzma => lzma::decode(src, dst)?,
            _ => return Err(broken(compression, "its blocks are no plain bytes")),
        };
        if found < dst.len() {
            return Err(short(dst.len(), found));
        }
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

/// Encodes blocks with one scheme and level; keeps tables and buffers from one block to the next.
///
/// One for each worker.
pub struct Encoder {
    state: EncoderState,
}

enum EncoderState {
    None,
    Lzw(lzw::Encoder),
    Deflate(deflate::Encoder),
    PackBits { row_bytes: usize },
    Zstd(Box<zstd::Encoder>),
}

impl Encoder {
    /// An encoder; `level` is the codec's own, `None` its default (Deflate 6, Zstandard 1).
    ///
    /// # Errors
    /// [`InputError::Option`] if the codec has no such level: Deflate has 1 to 9, Zstandard 1, the
    /// others have none.
    pub fn new(compression: Compression, level: Option<u8>) -> Result<Encoder> {
        let levels = match compression {
            Compression::Deflate => Some(1..=9),
            Compression::Zstd => Some(1..=1),
            _ => None,
        };
        if let Some(level) = level
            && !levels.as_ref().is_some_and(|levels| levels.contains(&level))
        {
            return Err(bad_level(compression, level));
        }
        let state = match compression {
            Compression::None => EncoderState::None,
            Compression::Lzw => EncoderState::Lzw(lzw::Encoder::new()),
            Compression::Deflate => {
                EncoderState::Deflate(deflate::Encoder::new(level.unwrap_or(6)))
            }
            Compression::PackBits => EncoderState::PackBits { row_bytes: usize::MAX },
            Compression::Zstd => EncoderState::Zstd(Box::new(zstd::Encoder::new())),
            _ => {
                let reason = format!("{compression} is read, and not written");
                return Err(Error::new(InputError::Option { option: "--compress", reason }));
            }
        };
        Ok(Encoder { state })
    }

    /// The same encoder for blocks with rows of `row_bytes` bytes.
    ///
    /// PackBits then packs each row apart (TIFF 6.0 §9): GDAL reads long strips row by row, and
    /// libtiff drops what a run has beyond its row. The other codecs do not care. 0 is taken as 1.
    #[must_use]
    pub fn with_row_bytes(mut self, bytes: usize) -> Encoder {
        if let EncoderState::PackBits { row_bytes } = &mut self.state {
            *row_bytes = bytes.max(1);
        }
        self
    }

    /// Replaces what `dst` holds by the encoded bytes of `src`.
    ///
    /// `dst` grows to [`Compression::max_encoded_len`] at most.
    ///
    /// # Errors
    /// [`FormatError::Codec`] if the codec fails, which is a bug of it.
    pub fn encode(&mut self, src: &[u8], dst: &mut Vec<u8>) -> Result<()> {
        dst.clear();
        match &mut self.state {
            EncoderState::None => dst.extend_from_slice(src),
            EncoderState::Lzw(encoder) => encoder.encode(src, dst),
            EncoderState::Deflate(encoder) => encoder.encode(src, dst)?,
            EncoderState::PackBits { row_bytes } => {
                for row in src.chunks(*row_bytes) {
                    packbits::encode(row, dst);
                }
            }
            EncoderState::Zstd(encoder) => encoder.encode(src, dst)?,
        }
        Ok(())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// A predictor (TIFF tag 317): what a block's bytes stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Predictor {
    /// Samples as they are.
    None,
    /// Differences between samples of neighboring pixels in a row (TIFF 6.0 §14).
    Horizontal,
    /// Bytes of floats in planes, then differences between bytes (TIFF technote 3).
    Float,
}

impl Predictor {
    /// The predictor of a value of tag 317, or `None` if we do not know it.
    pub fn from_tag(tag: u16) -> Option<Predictor> {
        match tag {
            1 => Some(Predictor::None),
            2 => Some(Predictor::Horizontal),
            3 => Some(Predictor::Float),
            _ => None,
        }
    }

    /// The value of tag 317.
    pub fn tag(self) -> u16 {
        match self {
            Predictor::None => 1,
            Predictor::Horizontal => 2,
            Predictor::Float => 3,
        }
    }
}

/// How the samples of a block lie in its bytes: rows of pixels, the samples of a pixel together.
///
/// Sample `s` of pixel `(col, row)` starts at byte
/// `((row * width + col) * samples_per_pixel + s) * dtype_size`. In planar files
/// `samples_per_pixel` is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    /// Bytes of a sample: 1, 2, 4 or 8.
    pub dtype_size: usize,
    /// Samples of a pixel that lie together.
    pub samples_per_pixel: usize,
    /// Pixels of a row.
    pub width: usize,
}

impl RowLayout {
    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.dtype_size * self.samples_per_pixel * self.width
    }
}

#[cold]
fn broken(codec: Compression, reason: impl Into<String>) -> Error {
    Error::new(FormatError::Codec { codec: codec.name(), reason: reason.into() })
}

#[cold]
fn short(expected: usize, found: usize) -> Error {
    Error::new(FormatError::BlockLength { expected: expected as u64, found: found as u64 })
}

#[cold]
fn bad_level(compression: Compression, level: u8) -> Error {
    let reason = match compression {
        Compression::Deflate => format!("{level} is out of range; deflate has the levels 1 to 9"),
        Compression::Zstd => format!("{level} is not implemented; zstd is written at level 1 only"),
        _ => format!("{compression} has no levels; leave {level} out"),
    };
    Error::new(InputError::Option { option: "--level", reason })
}

#[cfg(test)]
mod tests;
