//! Codecs that know pixels: JPEG, WebP, LERC and CCITT fax. What they must know of a block beside its
//! bytes, and which of them this build has.

use super::{Compression, Decoder, broken};
use crate::error::Result;
use crate::sample::DataType;

/// What a file says to a codec beside the bytes of its blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params {
    /// JPEGTables (347): an abbreviated stream of tables (TIFF technote 2).
    pub jpeg_tables: Vec<u8>,
    /// JPEG components are Y, Cb and Cr, and are read as R, G and B.
    pub ycbcr: bool,
    /// Samples are cyan, magenta, yellow and black, and are read as red, green, blue and alpha.
    pub cmyk: bool,
    /// YCbCrCoefficients (529), bits of `f32`: weights of red, green and blue in Y.
    pub luma: [u32; 3],
    /// ReferenceBlackWhite (532), bits of `f32`.
    pub reference: [u32; 6],
    /// T4Options (292): bit 0 two-dimensional coding, bit 2 fill bits before end marks.
    pub t4_options: u32,
    /// The compression around LERC blobs: the second of LercParameters (50674).
    pub around_lerc: Option<Compression>,
    /// Bytes have their least significant bit first (FillOrder 2).
    pub reversed_bits: bool,
}

/// A block that an image codec fills.
#[derive(Debug, Clone, Copy)]
pub struct ImageBlock<'a> {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Rows that must be there: those inside the image. What has fewer rows than `height` gives zeros below.
    pub inside: usize,
    /// Samples of a pixel.
    pub samples: usize,
    /// Bytes of a sample of `dtype`.
    pub sample_bytes: usize,
    /// Type of the samples.
    pub dtype: DataType,
    /// What the file says beside.
    pub params: &'a Params,
}

impl Compression {
    /// Whether blocks are decoded by [`Decoder::decode_image`], which gives samples and not bytes.
    pub fn is_image(self) -> bool {
        matches!(self, Compression::Jpeg | Compression::WebP | Compression::Lerc)
    }

    /// Whether blocks are coded rows of 1-bit samples.
    pub fn is_fax(self) -> bool {
        use Compression::{CcittG3, CcittG4, CcittRle, CcittRleWords};
        matches!(self, CcittRle | CcittRleWords | CcittG3 | CcittG4)
    }

    /// The Cargo feature that this build lacks to read the scheme; `None` if it lacks none.
    pub fn missing_feature(self) -> Option<&'static str> {
        match self {
            Compression::Jpeg if !cfg!(feature = "jpeg") => Some("jpeg"),
            Compression::WebP if !cfg!(feature = "webp") => Some("webp"),
            Compression::Lerc if !cfg!(feature = "lerc") => Some("lerc"),
            Compression::Lzma if !cfg!(feature = "lzma") => Some("lzma"),
            scheme if scheme.is_fax() && !cfg!(feature = "ccitt") => Some("ccitt"),
            _ => None,
        }
    }
}

impl Decoder {
    /// Fills `dst` with the samples of a block, native-endian, band after band.
    ///
    /// # Errors
    /// [`crate::error::FormatError::Codec`] if the stream is broken or has another shape than the
    /// block. What `dst` then holds is unspecified.
    pub fn decode_image(
        &mut self,
        compression: Compression,
        block: &ImageBlock<'_>,
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<()> {
        match compression {
            #[cfg(feature = "jpeg")]
            Compression::Jpeg => super::jpeg::decode(block, src, dst),
            #[cfg(feature = "webp")]
            Compression::WebP => super::webp::decode(block, src, dst),
            #[cfg(feature = "lerc")]
            Compression::Lerc => {
                let Some(around) = block.params.around_lerc else {
                    return super::lerc::decode(block, src, dst);
                };
                let most = super::lerc::max_encoded_len(block);
                let mut blob = Vec::new();
                self.decode_up_to(around, src, most, &mut blob)?;
                super::lerc::decode(block, &blob, dst)
            }
            _ => {
                let _ = (block, src, dst);
                Err(broken(compression, "this build has no decoder for it"))
            }
        }
    }

    /// Fills `dst` with packed rows of 1-bit samples, each padded to a byte.
    ///
    /// # Errors
    /// [`crate::error::FormatError::Codec`] if the stream is broken.
    pub fn decode_fax(
        &mut self,
        compression: Compression,
        block: &ImageBlock<'_>,
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<()> {
        #[cfg(feature = "ccitt")]
        return super::ccitt::decode(compression, block, src, dst);
        #[cfg(not(feature = "ccitt"))]
        {
            let _ = (block, src, dst);
            Err(broken(compression, "this build has no decoder for it"))
        }
    }

    /// Replaces what `dst` holds by the decoded bytes of `src`, at most `most` of them.
    #[cfg(feature = "lerc")]
    fn decode_up_to(
        &mut self,
        compression: Compression,
        src: &[u8],
        most: usize,
        dst: &mut Vec<u8>,
    ) -> Result<()> {
        use std::io::Read;
        dst.clear();
        let stored: Box<dyn std::io::BufRead + Send> = Box::new(std::io::Cursor::new(src.to_vec()));
        let mut raw = super::stream::reader(compression, stored);
        raw.as_mut()
            .take(most as u64)
            .read_to_end(dst)
            .map_err(|error| broken(compression, error.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A build without a codec names the feature that would bring it.
    #[test]
    fn a_missing_codec_names_its_feature() {
        let features = [
            (Compression::Jpeg, "jpeg", cfg!(feature = "jpeg")),
            (Compression::WebP, "webp", cfg!(feature = "webp")),
            (Compression::Lerc, "lerc", cfg!(feature = "lerc")),
            (Compression::Lzma, "lzma", cfg!(feature = "lzma")),
            (Compression::CcittG4, "ccitt", cfg!(feature = "ccitt")),
            (Compression::CcittRle, "ccitt", cfg!(feature = "ccitt")),
        ];
        for (scheme, name, built_in) in features {
            assert_eq!(scheme.missing_feature(), (!built_in).then_some(name), "{scheme}");
            let params = Params::default();
            let block = ImageBlock {
                width: 8,
                height: 1,
                inside: 1,
                samples: 1,
                sample_bytes: 1,
                dtype: DataType::U8,
                params: &params,
            };
            // Nothing decodes from no bytes, with or without the codec.
            let mut decoder = Decoder::new();
            if scheme.is_image() {
                assert!(decoder.decode_image(scheme, &block, &[], &mut [0; 8]).is_err());
            } else if scheme.is_fax() {
                assert!(decoder.decode_fax(scheme, &block, &[], &mut [0; 1]).is_err());
            }
        }
        assert!(Compression::ALL.iter().all(|scheme| scheme.missing_feature().is_none()));
    }
}
