//! Lossless floats (version 6): their bytes in planes, each a sequence of differences and coded by itself,
//! and the numbers differences of their neighbors.

use super::huffman::{Huffman, Words};
use super::{Input, Pixels, fail};
use crate::error::Result;
use crate::sample::Sample;

/// Most times that a plane is differenced.
const MAX_LEVEL: u8 = 5;

pub(super) fn read<T: Sample>(image: &mut Pixels<'_, T>, input: &mut Input<'_>) -> Result<()> {
    let header = image.header;
    let (width, height) = if header.bands == 1 {
        (header.width, header.height)
    } else {
        (header.bands, header.width * header.height)
    };
    let predictor = input.u8()?;
    if predictor > 2 {
        return Err(fail("an unknown predictor"));
    }
    let size = size_of::<T>();
    let count = image.samples.len();
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut image.samples);
    for _ in 0..size {
        let (index, level) = (usize::from(input.u8()?), input.u8()?);
        let len = u32::from_le_bytes(input.array()?) as usize;
        let coded = input.take(len)?;
        if index >= size || level > MAX_LEVEL {
            return Err(fail("a byte plane that makes no sense"));
        }
        let mut plane = read_plane(coded, count)?;
        for level in (1..=usize::from(level)).rev() {
            for at in level..count {
                plane[at] = plane[at].wrapping_add(plane[at - 1]);
            }
        }
        for (sample, byte) in bytes.chunks_exact_mut(size).zip(&plane) {
            sample[index] = *byte;
        }
    }
    if size == 4 {
        undo::<u32>(bytemuck::cast_slice_mut(bytes), width, height, predictor);
    } else {
        undo::<u64>(bytemuck::cast_slice_mut(bytes), width, height, predictor);
    }
    Ok(())
}

/// One plane of `count` bytes: a byte that says how, and the coded bytes.
fn read_plane(coded: &[u8], count: usize) -> Result<Vec<u8>> {
    let mut input = Input(coded);
    match input.u8()? {
        0 => {
            let book = Huffman::read(&mut input, 5)?;
            let mut words = Words::new(input.0);
            let mut plane = Vec::new();
            for _ in 0..count {
                plane.push(book.symbol(&mut words)? as u8);
            }
            words.used_bytes()?;
            Ok(plane)
        }
        1 => Ok(vec![input.u8()?; count]),
        2 => Ok(input.take(count)?.to_vec()),
        3 => {
            let mut plane = Vec::new();
            while plane.len() < count {
                let head = usize::from(input.u8()?);
                if head <= 127 {
                    plane.extend_from_slice(input.take(head + 1)?);
                } else {
                    let byte = input.u8()?;
                    plane.resize(plane.len() + head - 126, byte);
                }
            }
            plane.truncate(count);
            Ok(plane)
        }
        other => Err(fail(&format!("a byte plane coded in an unknown way, {other}"))),
    }
}

/// Bits of a float, with exponent and fraction added apart from each other.
trait Word: Copy + bytemuck::Pod {
    fn native(self) -> Self;
    fn plus(self, other: Self) -> Self;
    /// Moves the sign from behind the exponent, where 32-bit floats have it while they are coded.
    fn restored(self) -> Self;
}

impl Word for u32 {
    fn native(self) -> u32 {
        u32::from_le(self)
    }
    fn plus(self, other: u32) -> u32 {
        const FRACTION: u32 = (1 << 23) - 1;
        let high = (self & !FRACTION).wrapping_add(other & !FRACTION);
        high | (self.wrapping_add(other) & FRACTION)
    }
    fn restored(self) -> u32 {
        (self & 0x007F_FFFF) | (self >> 24) << 23 | (self >> 23 & 1) << 31
    }
}

impl Word for u64 {
    fn native(self) -> u64 {
        u64::from_le(self)
    }
    fn plus(self, other: u64) -> u64 {
        const FRACTION: u64 = (1 << 52) - 1;
        let high = (self & !FRACTION).wrapping_add(other & !FRACTION);
        high | (self.wrapping_add(other) & FRACTION)
    }
    fn restored(self) -> u64 {
        self
    }
}

/// Predictor 0: none; 1: differences along rows; 2: along rows, then down columns.
fn undo<W: Word>(words: &mut [W], width: usize, height: usize, predictor: u8) {
    words.iter_mut().for_each(|word| *word = word.native());
    if predictor == 2 {
        for at in width..width * height {
            words[at] = words[at].plus(words[at - width]);
        }
    }
    if predictor > 0 {
        for row in words.chunks_exact_mut(width) {
            for at in 1..width {
                row[at] = row[at].plus(row[at - 1]);
            }
        }
    }
    words.iter_mut().for_each(|word| *word = word.restored());
}
