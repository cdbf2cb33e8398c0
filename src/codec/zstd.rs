//! Zstandard (RFC 8878) by `ruzstd`, with frame headers of our own in both directions.
//!
//! Decoding: `ruzstd` reserves the window that a frame claims, and refuses what libzstd's highest
//! levels claim. We know the block's length, so we hand it a header with a window of that length.
//!
//! Encoding: `ruzstd` keeps a Huffman table for the next block even where it then stores the block
//! raw, so that a decoder does not have that table (seen in its source, 0.9.1). We compress each
//! chunk of 128 KiB as a frame of its own, where no table can come from an earlier block, and join
//! the blocks in one frame. They do not depend on each other: matches stay within a chunk, offsets
//! are never repeated ones. The header names the content's length, which ruzstd's does not.

use std::io::{Cursor, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, FrameCompressor, MatchGeneratorDriver};

use super::{Compression, broken};
use crate::error::Result;

/// Raw bytes of a compressed block: the format's maximum (RFC 8878 §3.1.1.2.4).
pub(super) const CHUNK_LEN: usize = 128 << 10;

/// RFC 8878 §3.1.1: 0xFD2FB528, little-endian.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Bits of the frame header descriptor (RFC 8878 §3.1.1.1.1).
const SINGLE_SEGMENT: u8 = 0x20;
const RESERVED: u8 = 0x08;
const CHECKSUM: u8 = 0x04;
/// Exponent of the least window, 1 KiB (RFC 8878 §3.1.1.1.2).
const MIN_WINDOW_LOG: u32 = 10;
/// Block types (RFC 8878 §3.1.1.2.2).
const RLE_BLOCK: u32 = 1;
const BLOCK_HEADER_LEN: usize = 3;

/// `ruzstd`'s decoder, reset for each block.
pub(super) struct Decoder {
    frame: FrameDecoder,
}

impl Default for Decoder {
    fn default() -> Decoder {
        let mut frame = FrameDecoder::new();
        // Headers are ours, so windows are about as long as the block.
        frame.set_max_window_size(u64::MAX);
        Decoder { frame }
    }
}

impl Decoder {
    /// Fills `dst` as far as the first frame goes and returns how many bytes that is.
    pub(super) fn decode(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        let fail = |error: &dyn std::fmt::Display| broken(Compression::Zstd, error.to_string());
        let header = Header::parse(src)
            .ok_or_else(|| broken(Compression::Zstd, "bad or truncated frame header"))?;
        if header.has_dictionary {
            return Err(broken(Compression::Zstd, "needs a dictionary"));
        }
        let mut src = &src[header.len..];
        self.frame.reset(&header.replacement(dst.len())[..]).map_err(|e| fail(&e))?;
        let mut written = 0;
        loop {
            let step = BlockDecodingStrategy::UptoBytes(CHUNK_LEN);
            let finished = self.frame.decode_blocks(&mut src, step).map_err(|e| fail(&e))?;
            written += self.frame.read(&mut dst[written..])?;
            if written == dst.len() || finished {
                break;
            }
        }
        let checksums = (self.frame.get_checksum_from_data(), self.frame.get_calculated_checksum());
        if let (Some(expected), Some(found)) = checksums
            && self.frame.can_collect() == 0
            && expected != found
        {
            return Err(broken(Compression::Zstd, "checksum mismatch"));
        }
        Ok(written)
    }
}

/// What we need of a frame's header.
struct Header {
    len: usize,
    /// The window that the frame claims, in bytes.
    window: u64,
    has_checksum: bool,
    has_dictionary: bool,
}

impl Header {
    /// Parses a frame header; `None` if it is none or truncated.
    fn parse(src: &[u8]) -> Option<Header> {
        let (&descriptor, mut rest) = src.strip_prefix(&MAGIC)?.split_first()?;
        let single_segment = descriptor & SINGLE_SEGMENT != 0;
        let dictionary_len = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size_len = match descriptor >> 6 {
            0 => usize::from(single_segment),
            log => 1 << log,
        };
        let mut window = 0;
        if !single_segment {
            let (&byte, after) = rest.split_first()?;
            let base = 1_u64 << (MIN_WINDOW_LOG + u32::from(byte >> 3));
            window = base + base / 8 * u64::from(byte & 7);
            rest = after;
        }
        let (dictionary, rest) = rest.split_at_checked(dictionary_len)?;
        let (size, rest) = rest.split_at_checked(size_len)?;
        if single_segment {
            window = size.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            window += if size_len == 2 { 256 } else { 0 };
        }
        (descriptor & RESERVED == 0).then(|| Header {
            len: src.len() - rest.len(),
            window,
            has_checksum: descriptor & CHECKSUM != 0,
            has_dictionary: dictionary.iter().any(|byte| *byte != 0),
        })
    }

    /// A header for the same blocks with a window that reaches over `content_len` bytes at most.
    fn replacement(&self, content_len: usize) -> [u8; 6] {
        // A block is no longer than the window, so the window is no shorter than a block.
        let enough = content_len.max(CHUNK_LEN) as u64;
        let window = self.window.min(enough).max(1 << MIN_WINDOW_LOG);
        let log = window.next_power_of_two().ilog2() - MIN_WINDOW_LOG;
        let mut header = [0; 6];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = if self.has_checksum { CHECKSUM } else { 0 };
        // Cannot be cut: a slice's length has at most 63 bits, so log <= 54 - and 31 at 2 TiB.
        header[5] = (log.min(31) as u8) << 3;
        header
    }
}

/// `ruzstd`'s compressor with the buffers between it and us.
pub(super) struct Encoder {
    frame: FrameCompressor<Cursor<Vec<u8>>, Vec<u8>, MatchGeneratorDriver>,
}

impl Encoder {
    /// An encoder at ruzstd's only level, about libzstd's level 1.
    pub(super) fn new() -> Encoder {
        let mut frame = FrameCompressor::new(CompressionLevel::Fastest);
        frame.set_source(Cursor::new(Vec::new()));
        frame.set_drain(Vec::new());
        Encoder { frame }
    }

    /// Appends one frame to `dst`, which is empty.
    pub(super) fn encode(&mut self, src: &[u8], dst: &mut Vec<u8>) -> Result<()> {
        push_frame_header(src.len(), dst);
        let mut last_header = None;
        for chunk in src.chunks(CHUNK_LEN) {
            self.compress(chunk);
            let frame = self.frame.drain_mut().map_or(&[][..], |drain| drain.as_slice());
            last_header = append_blocks(frame, dst)
                .ok_or_else(|| broken(Compression::Zstd, "ruzstd wrote a broken frame"))?
                .or(last_header);
        }
        match last_header {
            Some(start) => dst[start] |= 1,
            // An empty raw block, the last one.
            None => dst.extend_from_slice(&[1, 0, 0]),
        }
        Ok(())
    }

    /// Compresses `chunk` as one frame into the drain.
    fn compress(&mut self, chunk: &[u8]) {
        let mut source = self.frame.take_source().unwrap_or_default();
        source.get_mut().clear();
        source.get_mut().extend_from_slice(chunk);
        source.set_position(0);
        self.frame.set_source(source);
        if let Some(drain) = self.frame.drain_mut() {
            drain.clear();
        }
        self.frame.compress();
    }
}

/// A header without checksum, with the content's length and a window of one chunk.
fn push_frame_header(content_len: usize, dst: &mut Vec<u8>) {
    dst.extend_from_slice(&MAGIC);
    let size_flag: u8 = if u32::try_from(content_len).is_ok() { 2 } else { 3 };
    let window_log = (CHUNK_LEN.ilog2() - MIN_WINDOW_LOG) as u8;
    dst.extend_from_slice(&[size_flag << 6, window_log << 3]);
    dst.extend_from_slice(&(content_len as u64).to_le_bytes()[..1 << size_flag]);
}

/// Appends the non-empty blocks of a frame, none marked as the last; returns where the header of
/// the last one starts in `dst`. The outer `None` is a frame that does not parse.
#[expect(clippy::option_option, reason = "the outer one is the error")]
fn append_blocks(frame: &[u8], dst: &mut Vec<u8>) -> Option<Option<usize>> {
    let mut rest = frame.get(Header::parse(frame)?.len..)?;
    let mut last_header = None;
    loop {
        let &[a, b, c] = rest.first_chunk::<BLOCK_HEADER_LEN>()?;
        let fields = u32::from_le_bytes([a, b, c, 0]);
        let size = (fields >> 3) as usize;
        let body_len = if fields >> 1 & 3 == RLE_BLOCK { 1 } else { size };
        let (block, after) = rest.split_at_checked(BLOCK_HEADER_LEN + body_len)?;
        if size > 0 {
            last_header = Some(dst.len());
            dst.extend_from_slice(block);
            dst[last_header?] &= !1;
        }
        if fields & 1 != 0 {
            return Some(last_header);
        }
        rest = after;
    }
}
