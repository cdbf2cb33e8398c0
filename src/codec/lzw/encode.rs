//! The LZW encoder.
//!
//! Codes go to a plain array. Their widths follow from their number since the last clear code, so
//! they are packed into bits in tight loops when the table is full.
//!
//! On noisy imagery strings are 1 to 3 bytes long, and a branch on "is the string known?" is a coin
//! toss. Hence two ways to find strings in one hash table, whose buckets have two slots:
//!
//! - [`Encoder::extend`] branches, and misses no string: where a bucket is full, the next one is taken.
//! - [`Encoder::extend_all`] does not branch: both slots of one bucket are compared, and the bucket is
//!   written back with the string in it whether it was known or not. A third string pushes out the
//!   one that was used least recently. That is allowed: the decoder's table has it nonetheless, we
//!   only never name it again. A step is then a chain of about ten cycles that waits for memory, so
//!   [`LANES`] parts of the block are encoded side by side and joined by clear codes.
//!
//! A table filled in the first way tells whether the second one pays: strings were short, and many
//! more tables will follow, so that one started too often costs little.
//!
//! Measured 2026-11-23, 2-core shared Xeon, `cargo bench --bench codec -- lzw`, MiB/s of raw bytes:
//!
//! ```text
//!               encode        decode
//!             ours weezl    ours weezl
//! noise16      342    75     684   186
//! noise16_p2   381    95     852   244
//! smooth16_p2  428    99    1477   566
//! dem_p3       386    91     727   297
//! photo8       386    73     832   211
//! constant     341   231   31070 24082
//! ```
//!
//! Against libtiff 4.7.0 on 20 blocks of 512² (noise to constant, with and without predictor): -3.0
//! to +1.2 % in size, +0.2 % on noise.

use super::{CLEAR, CODE_COUNT, END, FIRST, boxed};

/// Codes of a full table. libtiff clears when its next string would be 4094 (`CODE_MAX - 1`).
const TABLE_CODES: usize = 4094 - FIRST as usize;
/// Buckets of the hash table: 64 KiB. Half of it costs 0.5 to 1 % in size and gains nothing.
const BUCKETS: usize = 1 << 13;
/// A slot without a string: its prefix would be 4095, which is never a code.
const NO_STRING: u32 = u32::MAX;
const NO_STRINGS: u64 = u64::MAX;
/// Parts of a section that are encoded side by side; a fourth one gains 5 %.
const LANES: usize = 3;
/// Bytes that are encoded side by side before the data is judged again.
const SECTION_LEN: usize = 1 << 20;
/// Fewer tables in a section than this, and the tables that are not filled cost over 1 %.
const MIN_TABLES: usize = 8;
/// Longer strings than in a table of this many bytes, and a lost one costs too much.
const MAX_TABLE_LEN: usize = 16 << 10;

/// Bytes after a clear code that need no code of 10 bits, the next clear code included.
const LITERALS: usize = 253;

/// Most bytes that a stream of `len` bytes comes to.
pub(in crate::codec) const fn max_encoded_len(len: usize) -> usize {
    // 9 bits for each byte and for the clear code after each 253, the first clear code, the end.
    len + len / 8 + (len / LITERALS + 3) * 9 / 8 + 1
}

/// Reusable state.
///
/// The tables of all lanes are one array each: with a pointer for each lane, the hot loop runs out
/// of registers.
pub(crate) struct Encoder {
    lanes: [Lane; LANES],
    /// Bucket `b` of lane `k` is number `k * BUCKETS + b`: two slots, the low half used last. A
    /// slot is `prefix << 20 | byte << 12 | code`.
    buckets: Box<[u64; LANES * BUCKETS]>,
    /// Code `c` of lane `k` since its last clear code is number `k * CODE_COUNT + c`.
    codes: Box<[u16; LANES * CODE_COUNT]>,
}

/// A stream in the making.
#[derive(Default)]
struct Lane {
    /// Code of the string that the next byte may extend.
    prefix: u32,
    /// Codes since the table was cleared.
    count: usize,
    /// What was written when the table was cleared.
    bits: BitWriter,
}

impl Encoder {
    /// An encoder; allocates 220 KiB.
    pub(crate) fn new() -> Encoder {
        Encoder { lanes: Default::default(), buckets: boxed(0), codes: boxed(0) }
    }

    /// Replaces what `dst` holds by the stream of `src`.
    pub(crate) fn encode(&mut self, src: &[u8], dst: &mut Vec<u8>) {
        let bits = &mut self.lanes[0].bits;
        bits.restart(std::mem::take(dst));
        bits.put(CLEAR.into(), 9);
        match src.split_first() {
            None => bits.put(END.into(), 9),
            Some((&byte, rest)) => {
                self.start(0, byte);
                self.encode_rest(rest);
            }
        }
        if self.lanes[0].bits.len > max_encoded_len(src.len()) {
            self.encode_literally(src);
        }
        *dst = self.lanes[0].bits.finish();
    }

    /// Writes every byte as a code of its own and clears before codes need 10 bits: 1.13 times the
    /// bytes, where strings of noise cost up to 1.5 times.
    fn encode_literally(&mut self, src: &[u8]) {
        let bits = &mut self.lanes[0].bits;
        let bytes = std::mem::take(&mut bits.bytes);
        bits.restart(bytes);
        bits.put(CLEAR.into(), 9);
        let mut parts = src.chunks(LITERALS).peekable();
        while let Some(part) = parts.next() {
            let codes = &mut self.codes[..part.len()];
            codes.iter_mut().zip(part).for_each(|(code, byte)| *code = u16::from(*byte));
            bits.put_codes(codes);
            let last = if parts.peek().is_some() { CLEAR } else { END };
            bits.put(last.into(), 9);
        }
    }

    /// Encodes what follows the first byte of a block.
    fn encode_rest(&mut self, mut rest: &[u8]) {
        loop {
            let table_len = self.extend(0, rest);
            rest = &rest[table_len..];
            if rest.is_empty() {
                return self.end_with(0, END);
            }
            let (section, after) = rest.split_at(rest.len().min(SECTION_LEN));
            if table_len <= MAX_TABLE_LEN && section.len() >= table_len * MIN_TABLES {
                self.encode_section(section, if after.is_empty() { END } else { CLEAR });
                let Some((&byte, after)) = after.split_first() else { return };
                self.start(0, byte);
                rest = after;
            }
        }
    }

    /// Encodes a section side by side, and then `last_code`. The first lane's table is empty.
    fn encode_section(&mut self, section: &[u8], last_code: u16) {
        let part_len = section.len() / LANES;
        let mut parts: [&[u8]; LANES] = std::array::from_fn(|k| {
            let end = if k + 1 < LANES { (k + 1) * part_len } else { section.len() };
            &section[k * part_len..end]
        });
        for (k, part) in parts.iter_mut().enumerate().skip(1) {
            // Not empty: a section is longer than a few tables.
            self.start(k, part[0]);
            *part = &part[1..];
            let bits = &mut self.lanes[k].bits;
            let bytes = std::mem::take(&mut bits.bytes);
            bits.restart(bytes);
        }
        let common = part_len - 1;
        self.extend_all(parts.map(|part| &part[..common]));
        for (k, part) in parts.iter().enumerate() {
            let mut rest = &part[common..];
            while !rest.is_empty() {
                rest = &rest[self.extend(k, rest)..];
            }
            self.end_with(k, if k + 1 < LANES { CLEAR } else { last_code });
        }
        let [first, others @ ..] = &mut self.lanes;
        for lane in others {
            first.bits.append(&lane.bits);
        }
    }

    /// Begins a table with `byte` pending; the clear code before it is written already.
    fn start(&mut self, k: usize, byte: u8) {
        self.lanes[k].prefix = byte.into();
        self.clear(k);
    }

    fn clear(&mut self, k: usize) {
        self.lanes[k].count = 0;
        self.buckets[k * BUCKETS..(k + 1) * BUCKETS].fill(NO_STRINGS);
    }

    /// Packs a full table's codes and clears it.
    fn next_table(&mut self, k: usize) {
        self.pack(k, CLEAR);
        self.clear(k);
    }

    /// Writes the pending string and then `code`.
    fn end_with(&mut self, k: usize, code: u16) {
        let lane = &mut self.lanes[k];
        self.codes[k * CODE_COUNT + lane.count] = lane.prefix as u16;
        lane.count += 1;
        self.pack(k, code);
    }

    /// Writes the table's codes and then `code`.
    fn pack(&mut self, k: usize, code: u16) {
        let Lane { count, bits, .. } = &mut self.lanes[k];
        bits.put_codes(&self.codes[k * CODE_COUNT..][..*count]);
        bits.put(code.into(), width(*count));
    }

    /// Encodes bytes on one lane up to where its table is full (and cleared again), or to the end.
    /// Returns how many bytes that is. Finds every string.
    fn extend(&mut self, k: usize, src: &[u8]) -> usize {
        let Lane { mut prefix, mut count, .. } = self.lanes[k];
        let buckets = &mut self.buckets.as_chunks_mut::<BUCKETS>().0[k];
        let codes = &mut self.codes.as_chunks_mut::<CODE_COUNT>().0[k];
        let mut read = 0;
        for byte in src {
            read += 1;
            let byte = u32::from(*byte);
            let key = prefix << 20 | byte << 12;
            let index = bucket_of(prefix, byte);
            let slots = buckets[index];
            let mut found = find(slots, key);
            if found >= CODE_COUNT as u32 {
                let string = key | (count as u32 + u32::from(FIRST));
                if (slots >> 32) as u32 == NO_STRING {
                    buckets[index] = slots << 32 | u64::from(string);
                } else {
                    found = find_beyond(buckets, index, string);
                }
            }
            if found < CODE_COUNT as u32 {
                prefix = found;
                continue;
            }
            codes[count % CODE_COUNT] = prefix as u16;
            count += 1;
            prefix = byte;
            if count == TABLE_CODES {
                break;
            }
        }
        self.lanes[k].prefix = prefix;
        self.lanes[k].count = count;
        if count == TABLE_CODES {
            self.next_table(k);
        }
        read
    }

    /// Encodes parts of one length, one on each lane. May lose strings.
    fn extend_all(&mut self, parts: [&[u8]; LANES]) {
        let len = parts[0].len();
        let mut pos = 0;
        while pos < len {
            // A byte adds one code at most, so no table overflows within this many.
            let most = self.lanes.iter().map(|lane| lane.count).max().unwrap_or(0);
            let end = len.min(pos + (TABLE_CODES - most));
            self.extend_within_tables(parts.map(|part| &part[pos..end]));
            pos = end;
            for k in 0..LANES {
                if self.lanes[k].count == TABLE_CODES {
                    self.next_table(k);
                }
            }
        }
    }

    /// The hot loop: extends each lane by the bytes of its part. No table may become full before
    /// the last byte. Compiles to conditional moves; the only branch is the loop's.
    #[expect(clippy::needless_range_loop, reason = "one index for all lanes")]
    #[inline(never)]
    fn extend_within_tables(&mut self, parts: [&[u8]; LANES]) {
        let len = parts[0].len();
        let parts = parts.map(|part| &part[..len]);
        let (buckets, codes) = (&mut *self.buckets, &mut *self.codes);
        let mut prefixes: [u32; LANES] = std::array::from_fn(|k| self.lanes[k].prefix);
        let mut counts: [usize; LANES] = std::array::from_fn(|k| self.lanes[k].count);
        for i in 0..len {
            for k in 0..LANES {
                let (prefix, count) = (prefixes[k], counts[k]);
                let byte = u32::from(parts[k][i]);
                let key = prefix << 20 | byte << 12;
                let bucket = &mut buckets[k * BUCKETS + bucket_of(prefix, byte)];
                let slots = *bucket;
                let found = find(slots, key);
                let known = found < CODE_COUNT as u32;
                let in_low = (slots as u32) ^ key < CODE_COUNT as u32;
                let code = if known { found } else { count as u32 + u32::from(FIRST) };
                *bucket = if in_low { slots } else { slots << 32 | u64::from(key | code) };
                codes[k * CODE_COUNT + count % CODE_COUNT] = prefix as u16;
                prefixes[k] = if known { found } else { byte };
                counts[k] = count + usize::from(!known);
            }
        }
        for k in 0..LANES {
            self.lanes[k].prefix = prefixes[k];
            self.lanes[k].count = counts[k];
        }
    }
}

/// The bucket of a string. The byte's part of the hash is not on the path from one prefix to the
/// next; a multiplication of both ran 10 % slower and lost as many strings.
#[inline(always)]
fn bucket_of(prefix: u32, byte: u32) -> usize {
    (prefix ^ byte.wrapping_mul(0x9E5)) as usize % BUCKETS
}

/// The code of a string, or any number from `CODE_COUNT` on if it is not in the bucket.
#[inline(always)]
fn find(slots: u64, key: u32) -> u32 {
    // The same key leaves the code, any other more than 12 bits.
    ((slots as u32) ^ key).min((slots >> 32) as u32 ^ key)
}

/// Looks in the buckets after a full one, and adds the string where it is missing.
#[cold]
fn find_beyond(table: &mut [u64; BUCKETS], mut index: usize, string: u32) -> u32 {
    let key = string & !(CODE_COUNT as u32 - 1);
    loop {
        // There are four times as many slots as strings.
        index = (index + 1) % BUCKETS;
        let slots = table[index];
        let found = find(slots, key);
        if found < CODE_COUNT as u32 {
            return found;
        }
        if (slots >> 32) as u32 == NO_STRING {
            table[index] = slots << 32 | u64::from(string);
            return found;
        }
    }
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

    /// Appends the first codes of a table.
    fn put_codes(&mut self, codes: &[u16]) {
        self.reserve(BitWriter::SLACK);
        // `width` grows when FIRST and the number of codes make a power of two.
        let up_to = |end: usize| codes.len().min(end - usize::from(FIRST));
        self.put_wide::<9>(&codes[..up_to(1 << 9)]);
        self.put_wide::<10>(&codes[up_to(1 << 9)..up_to(1 << 10)]);
        self.put_wide::<11>(&codes[up_to(1 << 10)..up_to(1 << 11)]);
        self.put_wide::<12>(&codes[up_to(1 << 11)..]);
    }

    /// Appends codes of `WIDTH` bits, four at a time while there are four.
    fn put_wide<const WIDTH: u32>(&mut self, codes: &[u16]) {
        let (quads, rest) = codes.as_chunks::<4>();
        for quad in quads {
            let high = u64::from(quad[0]) << WIDTH | u64::from(quad[1]);
            let low = u64::from(quad[2]) << WIDTH | u64::from(quad[3]);
            self.put(high << (2 * WIDTH) | low, 4 * WIDTH);
        }
        for code in rest {
            self.put(u64::from(*code), WIDTH);
        }
    }

    /// Appends the bits of another writer.
    fn append(&mut self, other: &BitWriter) {
        self.reserve(other.len + BitWriter::SLACK);
        let (words, rest) = other.bytes[..other.len].as_chunks::<8>();
        // Shifting by 64 bits is not defined; no pending bits make no carry.
        let back = 64 - self.pending;
        let shifted_out = |word: u64| word.checked_shl(back).unwrap_or(0);
        let mut carry = shifted_out(self.acc);
        for word in words {
            let word = u64::from_be_bytes(*word);
            let joined = (carry | word >> self.pending).to_be_bytes();
            self.bytes[self.len..self.len + 8].copy_from_slice(&joined);
            carry = shifted_out(word);
            self.len += 8;
        }
        self.acc = carry.checked_shr(back).unwrap_or(0);
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
