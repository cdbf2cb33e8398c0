//! The LZW decoder.
//!
//! A string of up to 7 bytes stands in its table entry, so that decoding a code is one load, one
//! store of 8 bytes (more than the string has; the next one overwrites the rest) and an addition.
//! Nothing but the position in the output waits for the code before. Longer strings are found in
//! the output itself, where their prefix was written last. The table is never cleared: codes that
//! do not exist since the last clear code are known by their number.

use super::{CLEAR, CODE_COUNT, END, FIRST, boxed};
use crate::codec::{Compression, broken};
use crate::error::{ErrorKind, Result};

/// Longest string that stands in an entry.
const SHORT_MAX: u64 = 7;

/// Longest string that is copied word by word.
const WORDS_MAX: usize = 64;

/// Reusable state: the table.
pub(crate) struct Decoder {
    table: Box<[Entry; CODE_COUNT]>,
}

impl Default for Decoder {
    fn default() -> Decoder {
        let mut table: Box<[Entry; CODE_COUNT]> = boxed(Entry(0));
        for byte in 0..=255_u8 {
            table[usize::from(byte)] = Entry::byte(byte);
        }
        // Marked as long ones, so that the loop takes the road of the rare codes.
        table[usize::from(CLEAR)] = Entry::long(0, 0, 0);
        table[usize::from(END)] = Entry::long(0, 0, 0);
        Decoder { table }
    }
}

/// A string, in one of two forms, by bit 63:
///
/// ```text
/// bits   short (1 to 7 bytes)             long (8 bytes or more)
///  0..8  first byte                       first byte
///  8..   further bytes, then zeros        8..24 length, 24..56 start in the output
/// 56..   length                           0x80
/// ```
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn byte(byte: u8) -> Entry {
        Entry(1 << 56 | u64::from(byte))
    }

    /// A string of `len` bytes (4096 at most) that stands at `start` (below 2^32) in the output.
    #[inline(always)]
    fn long(first: u8, start: usize, len: usize) -> Entry {
        Entry(1 << 63 | (start as u64) << 24 | (len as u64) << 8 | u64::from(first))
    }

    #[inline(always)]
    fn is_long(self) -> bool {
        self.0 >> 63 != 0
    }

    #[inline(always)]
    fn first(self) -> u8 {
        self.0 as u8
    }

    fn start(self) -> usize {
        (self.0 >> 24) as u32 as usize
    }

    #[inline(always)]
    fn len(self) -> usize {
        if self.is_long() { usize::from((self.0 >> 8) as u16) } else { (self.0 >> 56) as usize }
    }

    /// This string, which was written at `start`, and a byte after it.
    #[inline(always)]
    fn extended(self, start: usize, byte: u8) -> Entry {
        let short_len = self.0 >> 56;
        if short_len < SHORT_MAX {
            Entry((self.0 + (1 << 56)) | (u64::from(byte) << (8 * short_len)))
        } else {
            Entry::long(self.first(), start, self.len() + 1)
        }
    }
}

/// Where decoding stands.
struct Cursor {
    /// Bits read.
    bit: usize,
    /// Bytes written.
    pos: usize,
    /// The next string's code; one behind the encoder's.
    next: usize,
    /// The string written last and where; `None` after a clear code.
    prev: Option<(Entry, usize)>,
}

/// What a code asks for.
enum Step {
    More,
    Finished,
}

impl Decoder {
    /// Fills `dst` as far as the stream goes and returns how many bytes that is.
    pub(crate) fn decode(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        if let [0, second, ..] = src
            && second & 1 != 0
        {
            return decode_old_style(src, dst);
        }
        if dst.len() > u32::MAX as usize {
            let (need, max) = (dst.len() as u64, u64::from(u32::MAX));
            return Err(ErrorKind::Limit { what: "an LZW block", need, max }.into());
        }
        let mut cursor = Cursor { bit: 0, pos: 0, next: FIRST.into(), prev: None };
        loop {
            self.fast(&mut cursor, src, dst);
            if let Step::Finished = self.step(&mut cursor, src, dst)? {
                return Ok(cursor.pos);
            }
        }
    }

    /// Decodes one code of any kind, at any place.
    fn step(&mut self, cursor: &mut Cursor, src: &[u8], dst: &mut [u8]) -> Result<Step> {
        let width = width(cursor.next);
        if cursor.pos == dst.len() || cursor.bit + width as usize > src.len() * 8 {
            return Ok(Step::Finished);
        }
        let code = read_code(src, cursor.bit, width);
        cursor.bit += width as usize;
        match u16::try_from(code) {
            Ok(END) => return Ok(Step::Finished),
            Ok(CLEAR) => {
                cursor.next = FIRST.into();
                cursor.prev = None;
                return Ok(Step::More);
            }
            _ => {}
        }
        let start = cursor.pos;
        let entry = match cursor.prev {
            _ if code < 256 => self.table[code],
            Some(_) if code < cursor.next => self.table[code],
            // The string that this very code makes: the last one and its own first byte.
            Some((prev, at)) if code == cursor.next && code < CODE_COUNT => {
                prev.extended(at, prev.first())
            }
            _ => {
                let reason = format!("code {code} before string {}", cursor.next);
                return Err(broken(Compression::Lzw, reason));
            }
        };
        cursor.pos += write_string(entry, start, dst);
        if let Some((prev, at)) = cursor.prev
            && cursor.next < CODE_COUNT
        {
            self.table[cursor.next] = prev.extended(at, entry.first());
            cursor.next += 1;
        }
        cursor.prev = Some((entry, start));
        Ok(Step::More)
    }

    /// Decodes as many codes as it can while they name known strings, and neither input nor output
    /// is near its end.
    fn fast(&mut self, cursor: &mut Cursor, src: &[u8], dst: &mut [u8]) {
        while cursor.next < CODE_COUNT {
            let all = match width(cursor.next) {
                9 => self.fast_of_width::<9>(cursor, src, dst),
                10 => self.fast_of_width::<10>(cursor, src, dst),
                11 => self.fast_of_width::<11>(cursor, src, dst),
                _ => self.fast_of_width::<12>(cursor, src, dst),
            };
            if !all {
                return;
            }
        }
    }

    /// The hot loop: decodes codes of one width, and returns whether it did so to their end.
    fn fast_of_width<const WIDTH: usize>(
        &mut self,
        cursor: &mut Cursor,
        src: &[u8],
        dst: &mut [u8],
    ) -> bool {
        let Some((mut prev, mut prev_start)) = cursor.prev else { return false };
        let Cursor { mut bit, mut pos, mut next, .. } = *cursor;
        let limit = if WIDTH == 12 { CODE_COUNT } else { (1 << WIDTH) - 1 };
        'codes: while next < limit {
            let Some(word) = src.get(bit / 8..).and_then(|rest| rest.first_chunk()) else {
                break;
            };
            // A word has 57 bits that are wanted: four codes of 12, or more.
            let mut word = u64::from_be_bytes(*word) << (bit % 8);
            for _ in 0..(limit - next).min(4) {
                let code = (word >> (64 - WIDTH)) as usize;
                word <<= WIDTH;
                if code >= next {
                    break 'codes;
                }
                let entry = self.table[code];
                let start = pos;
                if entry.is_long() {
                    if code == usize::from(CLEAR)
                        || code == usize::from(END)
                        || !copy_long(entry, pos, dst)
                    {
                        break 'codes;
                    }
                    pos += entry.len();
                } else {
                    let Some(room) = dst.get_mut(pos..).and_then(|rest| rest.first_chunk_mut())
                    else {
                        break 'codes;
                    };
                    *room = entry.0.to_le_bytes();
                    pos += entry.len();
                }
                bit += WIDTH;
                self.table[next % CODE_COUNT] = prev.extended(prev_start, entry.first());
                next += 1;
                (prev, prev_start) = (entry, start);
            }
        }
        *cursor = Cursor { bit, pos, next, prev: Some((prev, prev_start)) };
        next == limit
    }
}

/// Bits of the code that may make string `next` (early change).
fn width(next: usize) -> u32 {
    (next + 1).min(CODE_COUNT - 1).ilog2() + 1
}

/// The code of `width` bits at bit `bit`; bits beyond the end are zeros.
fn read_code(src: &[u8], bit: usize, width: u32) -> usize {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(&src[bit / 8..]) {
        *to = *from;
    }
    (u32::from_be_bytes(word) << (bit % 8) >> (32 - width)) as usize
}

/// Copies a long string, which ends at `pos` or before, to `pos`; returns whether there was room.
///
/// Strings of up to [`WORDS_MAX`] bytes go word by word, the last word overlapping the one before:
/// musl's `memmove` takes as long for 32 bytes as for 200.
#[inline(always)]
fn copy_long(entry: Entry, pos: usize, dst: &mut [u8]) -> bool {
    let (start, len) = (entry.start(), entry.len());
    if len > dst.len() - pos {
        return false;
    }
    if len > WORDS_MAX {
        dst.copy_within(start..start + len, pos);
        return true;
    }
    let (before, room) = dst.split_at_mut(pos);
    let (from, to) = (&before[start..start + len], &mut room[..len]);
    for (to, from) in to.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<8>().0) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<8>(), from.last_chunk::<8>()) {
        *to = *from;
    }
    true
}

/// Writes as much of a string at `pos` as there is room, and returns how much that is.
fn write_string(entry: Entry, pos: usize, dst: &mut [u8]) -> usize {
    let len = entry.len().min(dst.len() - pos);
    if !entry.is_long() {
        dst[pos..pos + len].copy_from_slice(&entry.0.to_le_bytes()[..len]);
        return len;
    }
    let start = entry.start();
    // The last byte may be the first of what is being written.
    if start + len > pos {
        dst.copy_within(start..pos, pos);
        for i in pos - start..len {
            dst[pos + i] = dst[start + i];
        }
        return len;
    }
    dst.copy_within(start..start + len, pos);
    len
}

/// Streams of writers before TIFF 5.0: least significant bit first, no early change. They start
/// with a clear code of 9 bits, so with the bytes 0 and (odd), which no stream of ours does;
/// libtiff 4.7.0 tells them by the same bytes and reads the same out of them.
fn decode_old_style(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let mut decoder = weezl::decode::Decoder::new(weezl::BitOrder::Lsb, 8);
    let (mut read, mut written) = (0, 0);
    while written < dst.len() {
        let result = decoder.decode_bytes(&src[read..], &mut dst[written..]);
        read += result.consumed_in;
        written += result.consumed_out;
        match result.status {
            Ok(weezl::LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
            Ok(_) => break,
            Err(error) => return Err(broken(Compression::Lzw, error.to_string())),
        }
    }
    Ok(written)
}
