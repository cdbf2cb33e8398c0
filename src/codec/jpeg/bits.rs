//! Entropy-coded bytes → bits and Huffman symbols (ITU-T T.81 annexes B, C, F).

use crate::error::Result;

use super::fail;

/// Bits that one look into a table decides.
const LOOK_BITS: u32 = 9;

/// A Huffman table, for decoding.
#[derive(Debug, Clone)]
pub(super) struct Huffman {
    /// By the next [`LOOK_BITS`] bits: length of the code in the high byte, 0 for longer ones; symbol.
    look: Vec<u16>,
    /// By length: the largest code, left-aligned in 16 bits, plus 1; 0 if there is none.
    limit: [u32; 17],
    /// By length: what to add to a code to get the index of its symbol.
    delta: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// From the counts of codes of 1 to 16 bits and the symbols in order (T.81 §C.2).
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Huffman> {
        let mut table = Huffman {
            look: vec![0; 1 << LOOK_BITS],
            limit: [0; 17],
            delta: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = u32::from(counts[length as usize - 1]);
            table.delta[length as usize] = index as i32 - code as i32;
            if code + count > 1 << length {
                return Err(fail("a Huffman table with too many codes"));
            }
            for _ in 0..count {
                if length <= LOOK_BITS {
                    let entry = (length as u16) << 8 | u16::from(symbols[index]);
                    let first = (code << (LOOK_BITS - length)) as usize;
                    table.look[first..first + (1 << (LOOK_BITS - length))].fill(entry);
                }
                code += 1;
                index += 1;
            }
            table.limit[length as usize] = if count > 0 { code << (16 - length) } else { 0 };
            code <<= 1;
        }
        Ok(table)
    }
}

/// Bits of one entropy-coded segment; zeros after its end.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    src: &'a [u8],
    at: usize,
    /// The next bits, most significant first.
    buffer: u64,
    /// How many bits of `buffer` count.
    len: u32,
    /// Zero bits that were put in behind the end.
    padding: u32,
    ended: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(src: &'a [u8], at: usize) -> Bits<'a> {
        Bits { src, at, buffer: 0, len: 0, padding: 0, ended: false }
    }

    /// Fails if bits were used that the segment does not have.
    pub(super) fn check(&self) -> Result<()> {
        if self.padding > self.len { Err(fail("the image data end too early")) } else { Ok(()) }
    }

    /// Where the marker begins that ends the segment, after any bytes that were not used.
    pub(super) fn marker(&self) -> usize {
        let mut at = self.at;
        while let Some(rest) = self.src.get(at..)
            && rest.len() > 1
            && (rest[0] != 0xFF || matches!(rest[1], 0 | 0xFF))
        {
            at += 1;
        }
        at
    }

    #[inline]
    fn refill(&mut self) {
        if self.len > 32 {
            return;
        }
        if let Some(next) = self.src.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*next);
            // A byte of 0xFF is a zero byte of the complement.
            let inverse = !word;
            let has_ff = inverse.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            if has_ff == 0 {
                let bytes = (64 - self.len) / 8;
                let taken = if bytes == 8 { word } else { word & !(u64::MAX >> (bytes * 8)) };
                self.buffer |= taken >> self.len;
                self.at += bytes as usize;
                self.len += bytes * 8;
                return;
            }
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.len <= 56 {
            let byte = match (self.src.get(self.at), self.src.get(self.at + 1)) {
                _ if self.ended => None,
                (Some(0xFF), Some(0)) => {
                    self.at += 2;
                    Some(0xFF)
                }
                // Fill bytes before a marker (T.81 §B.1.1.2).
                (Some(0xFF), Some(0xFF)) => {
                    self.at += 1;
                    continue;
                }
                (Some(0xFF) | None, _) => None,
                (Some(byte), _) => {
                    self.at += 1;
                    Some(*byte)
                }
            };
            match byte {
                Some(byte) => self.buffer |= u64::from(byte) << (56 - self.len),
                None => {
                    self.ended = true;
                    // More of these than bits in the buffer: some were used.
                    self.padding = self.padding.saturating_add(8);
                }
            }
            self.len += 8;
        }
    }

    #[inline]
    fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.len -= count;
    }

    /// The next `count` bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        self.refill();
        let value = (self.buffer >> (64 - count)) as u32;
        self.skip(count);
        value
    }

    /// A number of `size` bits in JPEG's signed form (T.81 §F.2.2.1, EXTEND).
    #[inline]
    pub(super) fn take_signed(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let value = self.take(size) as i32;
        if value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
    }

    /// The next symbol.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Huffman) -> Result<u8> {
        self.refill();
        let entry = table.look[(self.buffer >> (64 - LOOK_BITS)) as usize];
        if entry >> 8 != 0 {
            self.skip(u32::from(entry >> 8));
            return Ok(entry as u8);
        }
        self.long_symbol(table)
    }

    fn long_symbol(&mut self, table: &Huffman) -> Result<u8> {
        let code = (self.buffer >> 48) as u32;
        for length in LOOK_BITS + 1..=16 {
            if code < table.limit[length as usize] {
                self.skip(length);
                let index = (code >> (16 - length)) as i32 + table.delta[length as usize];
                let symbol = usize::try_from(index).ok().and_then(|i| table.symbols.get(i));
                return symbol.copied().ok_or_else(|| fail("a Huffman code that is not defined"));
            }
        }
        self.check()?;
        Err(fail("a Huffman code that is not defined"))
    }
}
