//! Huffman codes: of 8-bit samples or their differences, and of byte planes.

use super::{Input, Pixels, bits, fail};
use crate::error::Result;
use crate::sample::Sample;

/// Most symbols that a table has.
const MAX_SYMBOLS: usize = 1 << 15;
/// Bits that one look into a table decides.
const LOOK_BITS: u32 = 12;

/// A code book.
pub(super) struct Huffman {
    /// By the next bits: length, 0 for longer codes, and symbol.
    look: Vec<(u8, u16)>,
    /// Longer codes: length, code, symbol.
    long: Vec<(u32, u32, u16)>,
}

impl Huffman {
    /// A book: version, number of symbols, the range of symbols that have a code, lengths, codes.
    pub(super) fn read(input: &mut Input<'_>, version: u32) -> Result<Huffman> {
        let (own_version, size) = (input.count()?, input.count()?);
        let (first, end) = (input.count()?, input.count()?);
        if own_version < 2 || size == 0 || size > MAX_SYMBOLS || first >= end || end > 2 * size {
            return Err(fail("a code book that makes no sense"));
        }
        let mut lengths = Vec::new();
        bits::read(input, version, end - first, &mut lengths)?;
        if lengths.len() != end - first {
            return Err(fail("a code book of the wrong size"));
        }
        let mut book = Huffman { look: vec![(0, 0); 1 << LOOK_BITS], long: Vec::new() };
        let mut codes = Words::new(input.0);
        for (index, length) in lengths.iter().enumerate() {
            // The range may run over the last symbol and go on at the first.
            let symbol = (first + index) % size;
            match *length {
                0 => {}
                length @ 1..=32 => book.add(length, codes.take(length), symbol as u16),
                _ => return Err(fail("a code of more than 32 bits")),
            }
        }
        let used = codes.used_bytes()?;
        input.take(used)?;
        Ok(book)
    }

    fn add(&mut self, length: u32, code: u32, symbol: u16) {
        if length > LOOK_BITS {
            self.long.push((length, code, symbol));
            return;
        }
        let first = (code << (LOOK_BITS - length)) as usize;
        let count = 1usize << (LOOK_BITS - length);
        if let Some(entries) = self.look.get_mut(first..first + count) {
            entries.fill((length as u8, symbol));
        }
    }

    #[inline]
    pub(super) fn symbol(&self, words: &mut Words<'_>) -> Result<u16> {
        let next = words.peek();
        let (length, symbol) = self.look[(next >> (32 - LOOK_BITS)) as usize];
        if length > 0 {
            words.skip(u32::from(length));
            return Ok(symbol);
        }
        for (length, code, symbol) in &self.long {
            if next >> (32 - length) == *code {
                words.skip(*length);
                return Ok(*symbol);
            }
        }
        Err(fail("a code that is not in the book"))
    }
}

/// Bits of little-endian words of 32 bits, most significant first; zeros behind the end.
pub(super) struct Words<'a> {
    src: &'a [u8],
    at: usize,
    buffer: u64,
    have: u32,
    taken: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(src: &'a [u8]) -> Words<'a> {
        Words { src, at: 0, buffer: 0, have: 0, taken: 0 }
    }

    /// The next 32 bits.
    #[inline]
    fn peek(&mut self) -> u32 {
        if self.have < 32 {
            let word = self.src.get(self.at..).and_then(|rest| rest.first_chunk::<4>());
            let word = word.map_or(0, |word| u32::from_le_bytes(*word));
            self.at += 4;
            self.buffer = self.buffer << 32 | u64::from(word);
            self.have += 32;
        }
        (self.buffer >> (self.have - 32)) as u32
    }

    #[inline]
    fn skip(&mut self, count: u32) {
        self.have -= count;
        self.taken += count as usize;
    }

    fn take(&mut self, count: u32) -> u32 {
        let value = self.peek() >> (32 - count);
        self.skip(count);
        value
    }

    /// Bytes of the words that were begun.
    ///
    /// # Errors
    /// If there are not so many.
    pub(super) fn used_bytes(&self) -> Result<usize> {
        let bytes = self.taken.div_ceil(32) * 4;
        if bytes > self.src.len() { Err(fail("it ends too early")) } else { Ok(bytes) }
    }
}

/// What symbol 0 stands for, negated: signed samples are shifted to be counts.
fn shift<T: Sample>() -> i32 {
    if T::DTYPE.is_signed_integer() { 128 } else { 0 }
}

fn sample<T: Sample>(value: i32) -> T {
    // Of 8 bits, by wrapping.
    bytemuck::pod_read_unaligned(&[value as u8])
}

/// Differences to the pixel on the left, or above, band after band.
pub(super) fn read_deltas<T: Sample>(
    image: &mut Pixels<'_, T>,
    input: &mut Input<'_>,
) -> Result<()> {
    let book = Huffman::read(input, image.header.version)?;
    let mut words = Words::new(input.0);
    let (width, bands) = (image.header.width, image.header.bands);
    for band in 0..bands {
        let mut before = 0;
        for pixel in 0..width * image.header.height {
            if !image.valid.at(pixel) {
                continue;
            }
            let difference = i32::from(book.symbol(&mut words)?) - shift::<T>();
            let col = pixel % width;
            let above = (pixel >= width).then(|| pixel - width);
            let base = match above {
                _ if col > 0 && image.valid.at(pixel - 1) => before,
                Some(above) if image.valid.at(above) => {
                    image.samples[above * bands + band].to_i128() as i32
                }
                _ => before,
            };
            let value: T = sample(base + difference);
            before = value.to_i128() as i32;
            image.samples[pixel * bands + band] = value;
        }
    }
    words.used_bytes().map(|_| ())
}

/// Samples as they are, the bands of a pixel together.
pub(super) fn read_values<T: Sample>(
    image: &mut Pixels<'_, T>,
    input: &mut Input<'_>,
) -> Result<()> {
    let book = Huffman::read(input, image.header.version)?;
    let mut words = Words::new(input.0);
    for (pixel, samples) in image.samples.chunks_exact_mut(image.header.bands).enumerate() {
        if image.valid.at(pixel) {
            for value in samples {
                *value = sample(i32::from(book.symbol(&mut words)?) - shift::<T>());
            }
        }
    }
    words.used_bytes().map(|_| ())
}
