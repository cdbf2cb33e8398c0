//! The LZW encoder.
//!
//! Two ideas make it fast on noisy imagery, where strings are 1 to 3 bytes long and a branch on
//! "is the string known?" is a coin toss:
//!
//! - The step for a byte has no branch. A string is looked up in one bucket of two slots; both are
//!   compared, and the string is written back whether it was known or not. A third string of a
//!   bucket pushes out the oldest one. That is allowed: the decoder's table has it nonetheless, we
//!   only never name it again (about 1 string in 100 is lost so).
//! - Codes go to a plain array. Their widths follow from their number since the last clear code, so
//!   they are packed into bits in tight loops when the table is full.
//!
//! A step is then a chain of about ten cycles that waits for memory. Where the first table shows
//! that the block will need many tables, the rest of it is cut in [`LANES`] parts that are encoded
//! side by side in one loop and joined by clear codes, which costs a fraction of a table.

use super::{CLEAR, CODE_COUNT, END, FIRST, boxed};

/// Codes of a full table. libtiff clears when its next string would be 4094 (`CODE_MAX - 1`).
const TABLE_CODES: usize = 4094 - FIRST as usize;
/// Buckets of the hash table, two slots each: 64 KiB.
const BUCKETS: usize = 1 << 13;
/// A slot without a string: its prefix would be 4095, which is never a code.
const NO_STRINGS: u64 = u64::MAX;
/// Parts of a block that are encoded side by side.
const LANES: usize = 2;
/// Cut the block if the rest of it needs at least this number of tables.
const MIN_TABLES: usize = 32;

/// Reusable state: two hash tables and the second lane's output.
pub(crate) struct Encoder {
    lanes: [Lane; LANES],
}

impl Encoder {
    /// An encoder; allocates 150 KiB.
    pub(crate) fn new() -> Encoder {
        Encoder { lanes: std::array::from_fn(|_| Lane::new()) }
    }

    /// Appends the stream of `src` to `dst`, which is empty.
    pub(crate) fn encode(&mut self, src: &[u8], dst: &mut Vec<u8>) {
        let [first, second] = &mut self.lanes;
        first.bits.restart(std::mem::take(dst));
        first.bits.put(CLEAR.into(), 9);
        let Some((&byte, rest)) = src.split_first() else {
            first.bits.put(END.into(), 9);
            *dst = first.bits.finish();
            return;
        };
        first.start(byte);
        let table_len = run([first], [rest], true);
        let rest = &rest[table_len..];
        if rest.len() / table_len.max(1) < MIN_TABLES {
            run([first], [rest], false);
            first.end_with(END);
        } else {
            let (left, right) = rest.split_at(rest.len() / 2);
            // Not empty: longer than MIN_TABLES bytes.
            let (&byte, right) = (&right[0], &right[1..]);
            let bytes = std::mem::take(&mut second.bits.bytes);
            second.bits.restart(bytes);
            second.start(byte);
            let both = left.len().min(right.len());
            run([first, second], [&left[..both], &right[..both]], false);
            run([first], [&left[both..]], false);
            run([second], [&right[both..]], false);
            first.end_with(CLEAR);
            second.end_with(END);
            first.bits.append(&second.bits);
        }
        *dst = first.bits.finish();
    }
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

/// A stream in the making: a table, the codes since it was cleared, and the bits before those.
struct Lane {
    /// Code of the string that the next byte may extend.
    prefix: u32,
    /// Codes since the table was cleared.
    count: usize,
    /// Two slots a bucket, the younger string in the low half. A slot is
    /// `prefix << 20 | byte << 12 | code`.
    table: Box<[u64; BUCKETS]>,
    codes: Box<[u16; CODE_COUNT]>,
    bits: BitWriter,
}

impl Lane {
    fn new() -> Lane {
        Lane { prefix: 0, count: 0, table: boxed(0), codes: boxed(0), bits: BitWriter::default() }
    }

    /// Begins a stream whose first byte is `byte`; the clear code before it is written already.
    fn start(&mut self, byte: u8) {
        self.prefix = byte.into();
        self.count = 0;
        self.table.fill(NO_STRINGS);
    }

    /// Packs a full table's codes and clears it.
    fn next_table(&mut self) {
        self.bits.put_codes(&self.codes[..self.count]);
        self.bits.put(CLEAR.into(), width(self.count));
        self.count = 0;
        self.table.fill(NO_STRINGS);
    }

    /// Writes the pending string and then `code`.
    fn end_with(&mut self, code: u16) {
        self.codes[self.count] = self.prefix as u16;
        self.count += 1;
        self.bits.put_codes(&self.codes[..self.count]);
        self.bits.put(code.into(), width(self.count));
    }
}

/// Encodes parts of one length, one on each lane; returns how far it came: to the end, or with
/// `one_table` to where the first lane's table was full.
fn run<const K: usize>(mut lanes: [&mut Lane; K], parts: [&[u8]; K], one_table: bool) -> usize {
    let len = parts[0].len();
    let mut pos = 0;
    while pos < len {
        // A byte adds one code at most, so no table overflows within this many.
        let free = lanes.iter().map(|lane| TABLE_CODES - lane.count).min().unwrap_or(0);
        let end = len.min(pos + free);
        steps(&mut lanes, parts.map(|part| &part[pos..end]));
        pos = end;
        for lane in &mut lanes {
            if lane.count == TABLE_CODES {
                lane.next_table();
                if one_table {
                    return pos;
                }
            }
        }
    }
    pos
}

/// The hot loop: extends each lane by the bytes of its part. No table may become full before the
/// last byte.
#[expect(clippy::needless_range_loop, reason = "one index for all lanes")]
fn steps<const K: usize>(lanes: &mut [&mut Lane; K], parts: [&[u8]; K]) {
    let len = parts[0].len();
    let parts = parts.map(|part| &part[..len]);
    let mut prefixes: [u32; K] = std::array::from_fn(|k| lanes[k].prefix);
    let mut counts: [usize; K] = std::array::from_fn(|k| lanes[k].count);
    for i in 0..len {
        for k in 0..K {
            let byte = u32::from(parts[k][i]);
            let (prefix, count) = (prefixes[k], counts[k]);
            let lane = &mut *lanes[k];
            let key = prefix << 20 | byte << 12;
            let string = key | (count as u32 + u32::from(FIRST));
            let index = (prefix ^ spread(byte)) as usize % BUCKETS;
            let slots = lane.table[index];
            let mut found = find(slots, key);
            if found >= CODE_COUNT as u32 && slots >> 32 != NO_STRINGS >> 32 {
                found = find_beyond(&mut lane.table, index, key, string);
            } else {
                lane.table[index] =
                    if found < CODE_COUNT as u32 { slots } else { slots << 32 | u64::from(string) };
            }
            let known = found < CODE_COUNT as u32;
            lane.codes[count % CODE_COUNT] = prefix as u16;
            prefixes[k] = if known { found } else { byte };
            counts[k] = count + usize::from(!known);
        }
    }
    for k in 0..K {
        lanes[k].prefix = prefixes[k];
        lanes[k].count = counts[k];
    }
}

/// The code of a string, or any number from `CODE_COUNT` on if it is not in the bucket.
#[inline(always)]
fn find(slots: u64, key: u32) -> u32 {
    // The same key leaves the code, any other more than 12 bits.
    ((slots as u32) ^ key).min((slots >> 32) as u32 ^ key)
}

/// Looks in the buckets after a full one, and adds the string where it is missing.
#[cold]
fn find_beyond(table: &mut [u64; BUCKETS], mut index: usize, key: u32, string: u32) -> u32 {
    loop {
        // There are four times as many slots as strings.
        index = (index + 1) % BUCKETS;
        let slots = table[index];
        let found = find(slots, key);
        if found < CODE_COUNT as u32 {
            return found;
        }
        if slots >> 32 == NO_STRINGS >> 32 {
            table[index] = slots << 32 | u64::from(string);
            return found;
        }
    }
}

/// The byte's part of the hash, not on the path from one prefix to the next.
#[inline(always)]
fn spread(byte: u32) -> u32 {
    byte.wrapping_mul(0x9E5) & (BUCKETS as u32 - 1)
}

/// Bits of the code that follows `count` codes.
fn width(count: usize) -> u32 {
    // The decoder, one string behind, then has string 256 + count; early change counts one more.
    (count + usize::from(FIRST)).ilog2().max(8) + 1
}

/// Appends codes to bytes, most significant bit first.
#[derive(Default)]
struct BitWriter {
    /// Longer than what is written by up to [`BitWriter::SLACK`].
    bytes: Vec<u8>,
    len: usize,
    /// The low `pending` bits follow the first `len` bytes; higher ones are stale.
    acc: u64,
    pending: u32,
}

impl BitWriter {
    /// Room for a table's codes, a clear code and a store of 8 bytes.
    const SLACK: usize = TABLE_CODES * 3 / 2 + 32;

    /// Starts over in `bytes`, whose content is dropped.
    fn restart(&mut self, bytes: Vec<u8>) {
        *self = BitWriter { bytes, ..BitWriter::default() };
        self.reserve(BitWriter::SLACK);
    }

    /// Makes sure that `extra` more bytes and a store of 8 fit.
    fn reserve(&mut self, extra: usize) {
        let wanted = self.len + extra;
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
    }

    /// Appends the low `width` bits of `value`: 1 to 56 of them, the others zero.
    #[inline(always)]
    fn put(&mut self, value: u64, width: u32) {
        self.acc = self.acc << width | value;
        self.pending += width;
        let word = self.acc << (64 - self.pending);
        self.bytes[self.len..self.len + 8].copy_from_slice(&word.to_be_bytes());
        self.len += self.pending as usize / 8;
        self.pending %= 8;
    }

    /// Appends all codes of a table.
    fn put_codes(&mut self, codes: &[u16]) {
        self.reserve(BitWriter::SLACK);
        let mut start = 0;
        while start < codes.len() {
            let width = width(start);
            // `width` grows when `start + FIRST` becomes a power of two.
            let end = codes.len().min((1 << width) - usize::from(FIRST));
            let quads = codes[start..end].chunks_exact(4);
            let rest = quads.remainder();
            for quad in quads {
                let value = quad.iter().fold(0, |value, code| value << width | u64::from(*code));
                self.put(value, 4 * width);
            }
            for code in rest {
                self.put(u64::from(*code), width);
            }
            start = end;
        }
    }

    /// Appends the bits of another writer.
    fn append(&mut self, other: &BitWriter) {
        self.reserve(other.len + BitWriter::SLACK);
        let chunks = other.bytes[..other.len].chunks_exact(4);
        let rest = chunks.remainder();
        for chunk in chunks {
            let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.put(word, 32);
        }
        for byte in rest {
            self.put(u64::from(*byte), 8);
        }
        if other.pending > 0 {
            self.put(other.acc & ((1 << other.pending) - 1), other.pending);
        }
    }

    /// Pads the last byte with zeros and hands the bytes out.
    fn finish(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(self.len + usize::from(self.pending > 0));
        bytes
    }
}
