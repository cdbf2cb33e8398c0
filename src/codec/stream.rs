//! Decoding a stream a piece at a time, for strips too large to be held whole.
//!
//! In: a reader of the stored bytes. Out: a reader of the raw ones. Slower than [`crate::codec::Decoder`]
//! (LZW is `weezl`'s here), but its memory does not depend on the strip.

use std::io::{self, BufRead, Read};

use weezl::BitOrder;
use weezl::LzwStatus;

use crate::codec::Compression;

/// Whether blocks of a scheme can be decoded piece by piece.
pub fn can_stream(compression: Compression) -> bool {
    !compression.is_image() && !compression.is_fax()
}

/// The raw bytes of a compressed stream.
pub fn reader(compression: Compression, stored: Box<dyn BufRead + Send>) -> Box<dyn Read + Send> {
    match compression {
        Compression::None => Box::new(stored),
        Compression::Deflate => Box::new(flate2::bufread::ZlibDecoder::new(stored)),
        Compression::Lzw => Box::new(LzwReader { decoder: None, stored, done: false }),
        Compression::PackBits => Box::new(PackBitsReader { stored, run: Run::Literal(0) }),
        Compression::Zstd => Box::new(ZstdReader { stored: Some(stored), decoder: None }),
        #[cfg(feature = "lzma")]
        Compression::Lzma => {
            let memory = super::lzma::MEMORY_KIB;
            Box::new(lzma_rust2::XzReader::new_mem_limit(stored, false, memory))
        }
        // Never asked for: their blocks are decoded whole.
        _ => Box::new(io::empty()),
    }
}

struct LzwReader {
    /// Made when the first bytes are there.
    decoder: Option<weezl::decode::Decoder>,
    stored: Box<dyn BufRead + Send>,
    done: bool,
}

impl LzwReader {
    /// A decoder for what begins with these bytes: streams of before 1992 have their bits the other way
    /// round and change the width of codes later (as in [`crate::codec::Decoder`]).
    fn decoder_for(first: &[u8]) -> weezl::decode::Decoder {
        match first {
            [0, second, ..] if second & 1 != 0 => weezl::decode::Decoder::new(BitOrder::Lsb, 8),
            _ => weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8),
        }
    }

    /// Puts the first two bytes in front of the rest, whatever pieces they come in.
    fn begin(&mut self) -> io::Result<()> {
        let mut first = Vec::new();
        self.stored.by_ref().take(2).read_to_end(&mut first)?;
        self.decoder = Some(LzwReader::decoder_for(&first));
        let rest = std::mem::replace(&mut self.stored, Box::new(io::empty()));
        self.stored = Box::new(io::Cursor::new(first).chain(rest));
        Ok(())
    }
}

impl Read for LzwReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.decoder.is_none() {
            self.begin()?;
        }
        let Some(decoder) = &mut self.decoder else { return Ok(0) };
        while !self.done && !out.is_empty() {
            let input = self.stored.fill_buf()?;
            let ended = input.is_empty();
            let result = decoder.decode_bytes(input, out);
            self.stored.consume(result.consumed_in);
            match result
                .status
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            {
                LzwStatus::Ok => {}
                // A stream without its end code is read as far as it goes, as libtiff does.
                LzwStatus::NoProgress if !ended => {}
                LzwStatus::Done | LzwStatus::NoProgress => self.done = true,
            }
            if result.consumed_out > 0 {
                return Ok(result.consumed_out);
            }
        }
        Ok(0)
    }
}

/// What is left of the current PackBits run (TIFF 6.0 §9).
enum Run {
    Literal(usize),
    Repeat(usize, u8),
}

struct PackBitsReader {
    stored: Box<dyn BufRead + Send>,
    run: Run,
}

impl PackBitsReader {
    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.stored.fill_buf()?.first().copied();
        self.stored.consume(usize::from(byte.is_some()));
        Ok(byte)
    }
}

impl Read for PackBitsReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.run {
                Run::Literal(0) | Run::Repeat(0, _) => {
                    let Some(head) = self.byte()? else { return Ok(0) };
                    // 0..=127: that many literals and one; 129..=255: 257 - n repeats; 128: nothing.
                    self.run = match head {
                        0..=127 => Run::Literal(usize::from(head) + 1),
                        128 => Run::Literal(0),
                        129..=255 => match self.byte()? {
                            Some(value) => Run::Repeat(257 - usize::from(head), value),
                            None => return Ok(0),
                        },
                    };
                }
                Run::Literal(left) => {
                    let count = out.len().min(*left);
                    let read = self.stored.read(&mut out[..count])?;
                    *left -= read;
                    return Ok(read);
                }
                Run::Repeat(left, value) => {
                    let count = out.len().min(*left);
                    out[..count].fill(*value);
                    *left -= count;
                    return Ok(count);
                }
            }
        }
    }
}

type Zstd =
    ruzstd::decoding::StreamingDecoder<Box<dyn BufRead + Send>, ruzstd::decoding::FrameDecoder>;

/// Reads the frame header with the first bytes, so that making a reader cannot fail.
struct ZstdReader {
    stored: Option<Box<dyn BufRead + Send>>,
    decoder: Option<Zstd>,
}

impl Read for ZstdReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(stored) = self.stored.take() {
            let decoder = Zstd::new(stored);
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"));
            self.decoder = Some(decoder.map_err(invalid)?);
        }
        self.decoder.as_mut().map_or(Ok(0), |decoder| decoder.read(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoder;

    #[test]
    fn streams_give_what_was_encoded_in_any_pieces() {
        let raw: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(i) / 977) as u8).collect();
        let mut cases = 0;
        for compression in Compression::ALL {
            let mut stored = Vec::new();
            Encoder::new(compression, None).unwrap().encode(&raw, &mut stored).unwrap();
            for piece in [1usize, 999, 65_536] {
                let input = io::BufReader::with_capacity(piece, io::Cursor::new(stored.clone()));
                let mut stream = reader(compression, Box::new(input));
                let mut found = vec![0; raw.len()];
                for part in found.chunks_mut(piece.max(77)) {
                    stream.read_exact(part).unwrap();
                }
                assert!(found == raw, "{compression} in pieces of {piece}");
                cases += 1;
            }
        }
        assert_eq!(cases, 15);
    }

    #[test]
    fn lzw_of_old_is_streamed_too() {
        let raw: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(i) / 977) as u8).collect();
        let stored = weezl::encode::Encoder::new(BitOrder::Lsb, 8).encode(&raw).unwrap();
        for piece in [1usize, 2, 999] {
            let input = io::BufReader::with_capacity(piece, io::Cursor::new(stored.clone()));
            let mut found = vec![0; raw.len()];
            reader(Compression::Lzw, Box::new(input)).read_exact(&mut found).unwrap();
            assert!(found == raw, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_cut_stream_is_an_error_and_ends() {
        let raw: Vec<u8> = (0..50_000u32).map(|i| (i.wrapping_mul(7919) >> 5) as u8).collect();
        for compression in Compression::ALL {
            let mut stored = Vec::new();
            Encoder::new(compression, None).unwrap().encode(&raw, &mut stored).unwrap();
            stored.truncate(stored.len() / 2);
            let mut stream = reader(compression, Box::new(io::Cursor::new(stored)));
            assert!(stream.read_exact(&mut vec![0; raw.len()]).is_err(), "{compression}");
        }
    }
}
