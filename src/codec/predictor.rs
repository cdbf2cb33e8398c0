//! Predictors (TIFF 6.0 §14, technote 3): raw bytes of a block ↔ samples, in place.
//!
//! A row is undone as one: the samples of a pixel are kept as sums in registers while the row is
//! read once. Rows do not depend on each other; bytes after the last whole row are left alone.

use super::{Predictor, RowLayout};

/// Undoes the predictor in place and leaves native-endian samples.
///
/// `big_endian` is the file's byte order; it does not concern [`Predictor::Float`], whose planes
/// are always most significant first. `scratch` is used by that predictor only.
///
/// # Panics
/// If `dtype_size` is none of 1, 2, 3, 4, 8, for [`Predictor::Horizontal`] 3, or for
/// [`Predictor::Float`] 1.
pub fn decode(
    predictor: Predictor,
    layout: RowLayout,
    big_endian: bool,
    data: &mut [u8],
    scratch: &mut Vec<u8>,
) {
    let swap = big_endian != cfg!(target_endian = "big");
    match (predictor, layout.dtype_size) {
        (Predictor::None, 1) => {}
        (Predictor::None, size) => {
            if swap {
                swap_all(size, data);
            }
        }
        (Predictor::Float, size) => {
            for row in rows(layout, data) {
                bytes_sum(layout.samples_per_pixel, row);
                scratch.clear();
                scratch.extend_from_slice(row);
                match size {
                    2 => join_planes::<2>(scratch, row),
                    3 => join_planes::<3>(scratch, row),
                    4 => join_planes::<4>(scratch, row),
                    8 => join_planes::<8>(scratch, row),
                    _ => {
                        panic!("the float predictor has samples of 2, 3, 4 or 8 bytes, not {size}")
                    }
                }
            }
        }
        (Predictor::Horizontal, size) => {
            if swap {
                swap_all(size, data);
            }
            for row in rows(layout, data) {
                sum(size, layout.samples_per_pixel, row);
            }
        }
    }
}

/// Applies the predictor in place, for little-endian files.
///
/// `scratch` is used by [`Predictor::Float`] only.
///
/// # Panics
/// If `dtype_size` is none of 1, 2, 4, 8, or for [`Predictor::Float`] none of 4, 8.
pub fn encode(predictor: Predictor, layout: RowLayout, data: &mut [u8], scratch: &mut Vec<u8>) {
    match (predictor, layout.dtype_size) {
        (Predictor::None, _) => {}
        (Predictor::Horizontal, size) => {
            for row in rows(layout, data) {
                difference(size, layout.samples_per_pixel, row);
            }
        }
        (Predictor::Float, size) => {
            for row in rows(layout, data) {
                scratch.clear();
                scratch.extend_from_slice(row);
                match size {
                    4 => split_planes::<4>(scratch, row),
                    8 => split_planes::<8>(scratch, row),
                    _ => panic!("the float predictor has samples of 4 or 8 bytes, not {size}"),
                }
                difference(1, layout.samples_per_pixel, row);
            }
            return;
        }
    }
    if cfg!(target_endian = "big") {
        swap_all(layout.dtype_size, data);
    }
}

/// The whole rows of a block; none if rows are empty.
fn rows(layout: RowLayout, data: &mut [u8]) -> std::slice::ChunksExactMut<'_, u8> {
    let row_bytes = layout.row_bytes();
    let whole = if row_bytes == 0 { 0 } else { data.len() };
    data[..whole].chunks_exact_mut(row_bytes.max(1))
}

/// Reverses the bytes of each sample.
fn swap_all(size: usize, data: &mut [u8]) {
    match size {
        1 => {}
        2 => swap::<2>(data),
        3 => swap::<3>(data),
        4 => swap::<4>(data),
        8 => swap::<8>(data),
        _ => panic!("a sample has 1, 2, 4 or 8 bytes, not {size}"),
    }
}

/// LLVM makes byte shuffles of this.
fn swap<const SIZE: usize>(data: &mut [u8]) {
    for sample in data.as_chunks_mut::<SIZE>().0 {
        sample.reverse();
    }
}

/// An unsigned integer that wraps: sums of signed and unsigned samples have the same bits.
trait Word: Copy {
    const ZERO: Self;
    const SIZE: usize;
    fn load(bytes: &[u8]) -> Self;
    fn store(self, bytes: &mut [u8]);
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
}

macro_rules! word {
    ($($t:ident),*) => { $(
        impl Word for $t {
            const ZERO: $t = 0;
            const SIZE: usize = size_of::<$t>();
            #[inline(always)]
            fn load(bytes: &[u8]) -> $t {
                bytemuck::pod_read_unaligned(bytes)
            }
            #[inline(always)]
            fn store(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_ne_bytes());
            }
            #[inline(always)]
            fn plus(self, other: $t) -> $t {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: $t) -> $t {
                self.wrapping_sub(other)
            }
        }
    )* };
}
word!(u8, u16, u32, u64);

/// Sums along a row of samples of `size` bytes.
fn sum(size: usize, samples_per_pixel: usize, row: &mut [u8]) {
    match size {
        1 => sum_words::<u8>(samples_per_pixel, row),
        2 => sum_words::<u16>(samples_per_pixel, row),
        4 => sum_words::<u32>(samples_per_pixel, row),
        8 => sum_words::<u64>(samples_per_pixel, row),
        _ => panic!("a sample has 1, 2, 4 or 8 bytes, not {size}"),
    }
}

fn bytes_sum(samples_per_pixel: usize, row: &mut [u8]) {
    sum_words::<u8>(samples_per_pixel, row);
}

fn sum_words<W: Word>(samples_per_pixel: usize, row: &mut [u8]) {
    match samples_per_pixel {
        1 => sum_pixels::<W, 1>(row),
        2 => sum_pixels::<W, 2>(row),
        3 => sum_pixels::<W, 3>(row),
        4 => sum_pixels::<W, 4>(row),
        _ => {
            let stride = samples_per_pixel * W::SIZE;
            for at in (stride..row.len()).step_by(W::SIZE) {
                let before = W::load(&row[at - stride..at - stride + W::SIZE]);
                let sample = &mut row[at..at + W::SIZE];
                W::load(sample).plus(before).store(sample);
            }
        }
    }
}

/// The sums of a pixel stay in registers.
fn sum_pixels<W: Word, const SAMPLES: usize>(row: &mut [u8]) {
    let mut sums = [W::ZERO; SAMPLES];
    for pixel in row.chunks_exact_mut(SAMPLES * W::SIZE) {
        for (sum, sample) in sums.iter_mut().zip(pixel.chunks_exact_mut(W::SIZE)) {
            *sum = sum.plus(W::load(sample));
            sum.store(sample);
        }
    }
}

/// Differences along a row of samples of `size` bytes.
fn difference(size: usize, samples_per_pixel: usize, row: &mut [u8]) {
    match size {
        1 => difference_words::<u8>(samples_per_pixel, row),
        2 => difference_words::<u16>(samples_per_pixel, row),
        4 => difference_words::<u32>(samples_per_pixel, row),
        8 => difference_words::<u64>(samples_per_pixel, row),
        _ => panic!("a sample has 1, 2, 4 or 8 bytes, not {size}"),
    }
}

fn difference_words<W: Word>(samples_per_pixel: usize, row: &mut [u8]) {
    match samples_per_pixel {
        1 => difference_pixels::<W, 1>(row),
        2 => difference_pixels::<W, 2>(row),
        3 => difference_pixels::<W, 3>(row),
        4 => difference_pixels::<W, 4>(row),
        _ => {
            let stride = samples_per_pixel * W::SIZE;
            for at in (stride..row.len()).step_by(W::SIZE).rev() {
                let before = W::load(&row[at - stride..at - stride + W::SIZE]);
                let sample = &mut row[at..at + W::SIZE];
                W::load(sample).minus(before).store(sample);
            }
        }
    }
}

fn difference_pixels<W: Word, const SAMPLES: usize>(row: &mut [u8]) {
    let mut before = [W::ZERO; SAMPLES];
    for pixel in row.chunks_exact_mut(SAMPLES * W::SIZE) {
        for (before, sample) in before.iter_mut().zip(pixel.chunks_exact_mut(W::SIZE)) {
            let value = W::load(sample);
            value.minus(*before).store(sample);
            *before = value;
        }
    }
}

/// Byte `i` of a sample, most significant first, lies in plane `i` of the row.
fn join_planes<const SIZE: usize>(planes: &[u8], row: &mut [u8]) {
    let count = planes.len() / SIZE;
    let planes: [&[u8]; SIZE] = std::array::from_fn(|i| &planes[i * count..(i + 1) * count]);
    for (col, sample) in row.as_chunks_mut::<SIZE>().0[..count].iter_mut().enumerate() {
        *sample = std::array::from_fn(|i| planes[native_plane::<SIZE>(i)][col]);
    }
}

/// The inverse of [`join_planes`].
fn split_planes<const SIZE: usize>(samples: &[u8], row: &mut [u8]) {
    let samples = samples.as_chunks::<SIZE>().0;
    for (i, plane) in row.chunks_exact_mut(samples.len()).enumerate() {
        for (byte, sample) in plane.iter_mut().zip(samples) {
            *byte = sample[native_plane::<SIZE>(i)];
        }
    }
}

/// The plane of byte `i` of a native-endian sample, and the byte of plane `i`.
const fn native_plane<const SIZE: usize>(i: usize) -> usize {
    if cfg!(target_endian = "big") { i } else { SIZE - 1 - i }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::Random;

    /// Integer samples of any size as one type.
    fn get(bytes: &[u8], big_endian: bool) -> u64 {
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
    }

    fn put(bytes: &mut [u8], value: u64, big_endian: bool) {
        let len = bytes.len();
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (value >> (8 * if big_endian { len - 1 - i } else { i })) as u8;
        }
    }

    const NATIVE: bool = cfg!(target_endian = "big");

    /// TIFF 6.0 §14 and technote 3, one sample at a time.
    fn naive_decode(predictor: Predictor, layout: RowLayout, big_endian: bool, data: &mut [u8]) {
        let RowLayout { dtype_size: size, samples_per_pixel: samples, width } = layout;
        let count = samples * width;
        for row in data.chunks_exact_mut(layout.row_bytes().max(1)) {
            let mut values: Vec<u64> =
                row.chunks(size).map(|sample| get(sample, big_endian)).collect();
            if predictor == Predictor::Horizontal {
                for i in samples..count {
                    values[i] = values[i].wrapping_add(values[i - samples]);
                }
            }
            if predictor == Predictor::Float {
                let mut bytes = row.to_vec();
                for i in samples..bytes.len() {
                    bytes[i] = bytes[i].wrapping_add(bytes[i - samples]);
                }
                for (i, value) in values.iter_mut().enumerate() {
                    *value = (0..size).fold(0, |v, k| v << 8 | u64::from(bytes[k * count + i]));
                }
            }
            for (sample, value) in row.chunks_mut(size).zip(values) {
                put(sample, value, NATIVE);
            }
        }
    }

    fn cases() -> Vec<(Predictor, RowLayout)> {
        let mut cases = Vec::new();
        for predictor in [Predictor::None, Predictor::Horizontal, Predictor::Float] {
            for dtype_size in [1, 2, 4, 8] {
                for samples_per_pixel in [1, 2, 3, 4, 5, 7] {
                    for width in [0, 1, 2, 3, 15, 16, 17, 64, 100] {
                        if predictor != Predictor::Float || dtype_size >= 4 {
                            cases.push((
                                predictor,
                                RowLayout { dtype_size, samples_per_pixel, width },
                            ));
                        }
                    }
                }
            }
        }
        assert_eq!(cases.len(), (4 + 4 + 2) * 6 * 9);
        cases
    }

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed);
        (0..len).map(|_| random.next() as u8).collect()
    }

    #[test]
    fn decoding_agrees_with_the_naive_version() {
        let mut scratch = Vec::new();
        for (predictor, layout) in cases() {
            for big_endian in [false, true] {
                let mut data = noise(layout.row_bytes() * 3, layout.width as u64);
                let mut expected = data.clone();
                naive_decode(predictor, layout, big_endian, &mut expected);
                decode(predictor, layout, big_endian, &mut data, &mut scratch);
                assert_eq!(data, expected, "{predictor:?} {layout:?} {big_endian}");
            }
        }
    }

    #[test]
    fn encoding_is_the_inverse() {
        let mut scratch = Vec::new();
        for (predictor, layout) in cases() {
            let samples = noise(layout.row_bytes() * 3, 1 + layout.width as u64);
            let mut data = samples.clone();
            encode(predictor, layout, &mut data, &mut scratch);
            decode(predictor, layout, false, &mut data, &mut scratch);
            assert_eq!(data, samples, "{predictor:?} {layout:?}");
        }
    }

    #[test]
    fn a_ramp_becomes_constant() {
        let layout = RowLayout { dtype_size: 2, samples_per_pixel: 1, width: 4 };
        let mut data: Vec<u8> = [1000_u16, 1003, 1006, 1009].map(u16::to_ne_bytes).concat();
        encode(Predictor::Horizontal, layout, &mut data, &mut Vec::new());
        assert_eq!(data, [1000_u16, 3, 3, 3].map(u16::to_le_bytes).concat());
    }

    #[test]
    fn float_planes_start_with_the_sign() {
        let layout = RowLayout { dtype_size: 4, samples_per_pixel: 1, width: 2 };
        // -2.0 is C0000000, 1.0 is 3F800000: planes C0 3F, 00 80, 00 00, 00 00.
        let mut data: Vec<u8> = [-2.0_f32, 1.0].map(f32::to_ne_bytes).concat();
        encode(Predictor::Float, layout, &mut data, &mut Vec::new());
        assert_eq!(data, [0xC0, 0x7F, 0xC1, 0x80, 0x80, 0, 0, 0]);
    }

    #[test]
    fn bytes_after_the_last_whole_row_stay() {
        let layout = RowLayout { dtype_size: 4, samples_per_pixel: 1, width: 2 };
        let mut data = noise(19, 3);
        let before = data.clone();
        encode(Predictor::Float, layout, &mut data, &mut Vec::new());
        assert_eq!(data[16..], before[16..]);
        encode(Predictor::Horizontal, layout, &mut data, &mut Vec::new());
        assert_eq!(data[16..], before[16..]);
    }
}
