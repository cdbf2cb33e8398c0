//! Deflate: one zlib stream (RFC 1950) for each block, by `flate2` with its pure-Rust back end.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Compression, broken};
use crate::error::Result;

/// State of inflate, reset for each block.
pub(super) struct Decoder {
    inflate: Decompress,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { inflate: Decompress::new(true) }
    }
}

impl Decoder {
    /// Fills `dst` as far as the stream goes and returns how many bytes that is.
    pub(super) fn decode(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        self.inflate.reset(true);
        let (mut read, mut written) = (0, 0);
        loop {
            let status = self
                .inflate
                .decompress(&src[read..], &mut dst[written..], FlushDecompress::Finish)
                .map_err(|error| broken(Compression::Deflate, error.to_string()))?;
            // Both counts are lengths within the slices, so they fit.
            let progress = (self.inflate.total_in() as usize, self.inflate.total_out() as usize);
            let stuck = progress == (read, written);
            (read, written) = progress;
            if status == Status::StreamEnd || written == dst.len() || stuck {
                return Ok(written);
            }
        }
    }
}

/// State of deflate, reset for each block.
pub(super) struct Encoder {
    deflate: Compress,
}

impl Encoder {
    /// An encoder of a level from 1 to 9.
    pub(super) fn new(level: u8) -> Encoder {
        let level = flate2::Compression::new(u32::from(level));
        Encoder { deflate: Compress::new(level, true) }
    }

    /// Appends the stream to `dst`, which is empty.
    pub(super) fn encode(&mut self, src: &[u8], dst: &mut Vec<u8>) -> Result<()> {
        self.deflate.reset();
        dst.reserve(Compression::Deflate.max_encoded_len(src.len()));
        loop {
            let read = self.deflate.total_in() as usize;
            let status = self
                .deflate
                .compress_vec(&src[read..], dst, FlushCompress::Finish)
                .map_err(|error| broken(Compression::Deflate, error.to_string()))?;
            if status == Status::StreamEnd {
                return Ok(());
            }
            // The bound was too small: cannot happen, but growing costs nothing.
            dst.reserve(1 << 16);
        }
    }
}
