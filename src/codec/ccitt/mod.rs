//! CCITT fax blocks: rows of modified Huffman codes (TIFF 6.0 §10), group 3 in one or two dimensions
//! (ITU-T T.4), group 4 (T.6).
//!
//! In: a block's bytes, most significant bit first. Out: rows of 1-bit samples, each padded to a byte,
//! 0 for white. Refused: the uncompressed mode, rows that are longer or shorter than the image is wide,
//! and blocks that end before their last row.

mod codes;

use super::image::ImageBlock;
use super::{Compression, broken};
use crate::error::{Error, Result};

/// Longest run code in bits.
const MAX_CODE: u32 = 13;

#[cold]
fn fail(reason: &str) -> Error {
    broken(Compression::CcittG3, reason)
}

/// Decodes a block into `dst`.
pub(super) fn decode(
    compression: Compression,
    block: &ImageBlock<'_>,
    src: &[u8],
    dst: &mut [u8],
) -> Result<()> {
    let width = u32::try_from(block.width * block.samples).unwrap_or(u32::MAX);
    // Each row has a code of at least one bit.
    if block.height / 8 > src.len() {
        return Err(fail("fewer bits than rows"));
    }
    let tables = Tables::new();
    let mut bits = Bits { src, at: 0 };
    let (mut above, mut changes) = (Vec::new(), Vec::new());
    for row in dst.chunks_exact_mut((width as usize).div_ceil(8).max(1)) {
        changes.clear();
        match compression {
            Compression::CcittRle | Compression::CcittRleWords => {
                let words = compression == Compression::CcittRleWords;
                one_dimension(&mut bits, &tables, width, &mut changes)?;
                bits.at = bits.at.next_multiple_of(if words { 16 } else { 8 });
            }
            Compression::CcittG3 => {
                bits.skip_end_of_line()?;
                if block.params.t4_options & 1 == 0 || bits.take(1) == 1 {
                    one_dimension(&mut bits, &tables, width, &mut changes)?;
                } else {
                    two_dimensions(&mut bits, &tables, width, &above, &mut changes)?;
                }
            }
            _ => two_dimensions(&mut bits, &tables, width, &above, &mut changes)?,
        }
        if bits.at > src.len() * 8 {
            return Err(fail("it ends too early"));
        }
        paint(&changes, row);
        std::mem::swap(&mut above, &mut changes);
    }
    Ok(())
}

/// Sets the bits of the black runs, which begin at every second change.
fn paint(changes: &[u32], row: &mut [u8]) {
    row.fill(0);
    for run in changes.chunks(2) {
        let &[start, end] = run else { continue };
        let (start, end) = (start as usize, end as usize);
        if start == end {
            continue;
        }
        let (first, last) = (start / 8, (end - 1) / 8);
        let (head, tail) = (0xFFu8 >> (start % 8), 0xFFu8 << (7 - (end - 1) % 8));
        if first == last {
            row[first] |= head & tail;
        } else {
            row[first] |= head;
            row[first + 1..last].fill(0xFF);
            row[last] |= tail;
        }
    }
}

struct Bits<'a> {
    src: &'a [u8],
    /// Position in bits.
    at: usize,
}

impl Bits<'_> {
    /// The next `count` bits, at most 24; zeros behind the end.
    #[inline]
    fn peek(&self, count: u32) -> u32 {
        let at = self.at / 8;
        let word = match self.src.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
            Some(bytes) => u32::from_be_bytes(*bytes),
            None => (0..4).fold(0, |word, i| {
                word << 8 | u32::from(self.src.get(at + i).copied().unwrap_or(0))
            }),
        };
        word << (self.at % 8) >> (32 - count)
    }

    #[inline]
    fn take(&mut self, count: u32) -> u32 {
        let value = self.peek(count);
        self.at += count as usize;
        value
    }

    /// Goes behind the next end mark: at least 11 zeros and a one.
    fn skip_end_of_line(&mut self) -> Result<()> {
        let end = self.src.len() * 8;
        while self.peek(11) != 0 {
            self.at += 1;
        }
        self.at += 11;
        while self.at < end {
            if self.take(1) == 1 {
                return Ok(());
            }
        }
        Err(fail("a row without an end mark before it"))
    }
}

/// Runs by the next [`MAX_CODE`] bits: length of the code, 0 for none, and pixels.
struct Tables {
    white: Vec<(u8, u16)>,
    black: Vec<(u8, u16)>,
}

impl Tables {
    fn new() -> Tables {
        let table = |ends: &[(u8, u16)], longs: &[(u8, u16)]| {
            let mut table = vec![(0u8, 0u16); 1 << MAX_CODE];
            let long = longs.iter().chain(&codes::LONGER).zip((64u16..).step_by(64));
            for ((length, code), run) in ends.iter().zip(0u16..).chain(long) {
                let shift = MAX_CODE - u32::from(*length);
                let first = usize::from(*code) << shift;
                table[first..first + (1 << shift)].fill((*length, run));
            }
            table
        };
        Tables {
            white: table(&codes::WHITE, &codes::WHITE_LONG),
            black: table(&codes::BLACK, &codes::BLACK_LONG),
        }
    }

    /// Pixels of a run: any number of long codes and an end.
    fn run(&self, bits: &mut Bits<'_>, black: bool) -> Result<u32> {
        let table = if black { &self.black } else { &self.white };
        let mut pixels = 0u32;
        loop {
            let (length, run) = table[bits.peek(MAX_CODE) as usize];
            if length == 0 {
                return Err(fail("a code that is not defined"));
            }
            bits.at += usize::from(length);
            pixels = pixels.saturating_add(u32::from(run));
            if run < 64 {
                return Ok(pixels);
            }
        }
    }
}

/// A row of alternating runs, white first.
fn one_dimension(
    bits: &mut Bits<'_>,
    tables: &Tables,
    width: u32,
    changes: &mut Vec<u32>,
) -> Result<()> {
    let mut at = 0u32;
    let mut black = false;
    while at < width {
        let run = tables.run(bits, black)?;
        push(changes, at.saturating_add(run), width)?;
        at += run;
        black = !black;
    }
    if changes.len() % 2 == 1 {
        changes.push(width);
    }
    Ok(())
}

fn push(changes: &mut Vec<u32>, at: u32, width: u32) -> Result<()> {
    if at > width || changes.last().is_some_and(|last| at < *last) {
        return Err(fail("a run beyond the row"));
    }
    changes.push(at);
    Ok(())
}

/// A row told by how it differs from the one above (T.4 §4.2, T.6 §2.2).
fn two_dimensions(
    bits: &mut Bits<'_>,
    tables: &Tables,
    width: u32,
    above: &[u32],
    changes: &mut Vec<u32>,
) -> Result<()> {
    let reference = |index: usize| above.get(index).copied().unwrap_or(width);
    // Where the last change was; before the row at first, so that a change at 0 is to its right.
    let mut start: Option<u32> = None;
    let (mut black, mut index) = (false, 0usize);
    while start.is_none_or(|at| at < width) {
        // b1: the first change above to the right, to the other color.
        index = index.saturating_sub(1);
        if (index % 2 == 1) != black {
            index += 1;
        }
        while reference(index) < width && start.is_some_and(|at| reference(index) <= at) {
            index += 2;
        }
        let b1 = reference(index);
        let code = bits.peek(7);
        let (length, offset) = match code {
            64.. => (1, 0),
            48..=63 => (3, 1),
            32..=47 => (3, -1),
            6..=7 => (6, 2),
            4..=5 => (6, -2),
            3 => (7, 3),
            2 => (7, -3),
            16..=31 => {
                bits.at += 3;
                let at = start.unwrap_or(0);
                let first = at.saturating_add(tables.run(bits, black)?);
                push(changes, first, width)?;
                let second = first.saturating_add(tables.run(bits, !black)?);
                push(changes, second, width)?;
                start = Some(second);
                continue;
            }
            8..=15 => {
                bits.at += 4;
                start = Some(reference(index + 1));
                continue;
            }
            1 => return Err(fail("the uncompressed mode, which is not supported")),
            _ => return Err(fail("it ends too early")),
        };
        bits.at += length;
        let at = i64::from(b1) + offset;
        let at = u32::try_from(at).map_err(|_| fail("a change before the row"))?;
        push(changes, at, width)?;
        start = Some(at);
        black = !black;
    }
    if changes.len() % 2 == 1 {
        changes.push(width);
    }
    Ok(())
}
