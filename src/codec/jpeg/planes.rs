//! Decoded components → the samples of a block: upsampling and color, rounded as libjpeg does.

use super::frame::{Component, Frame};

/// A sample of 8 bits, or of 12 in a `u16`.
pub(super) trait Level: Copy + Default + bytemuck::Pod {
    const CENTER: i32;
    fn clamped(value: i32) -> Self;
    fn value(self) -> i32;
}

impl Level for u8 {
    const CENTER: i32 = 128;
    #[inline]
    fn clamped(value: i32) -> u8 {
        value.clamp(0, 255) as u8
    }
    #[inline]
    fn value(self) -> i32 {
        i32::from(self)
    }
}

impl Level for u16 {
    const CENTER: i32 = 2048;
    #[inline]
    fn clamped(value: i32) -> u16 {
        value.clamp(0, 4095) as u16
    }
    #[inline]
    fn value(self) -> i32 {
        i32::from(self)
    }
}

/// The samples of one component, with the padding of its last blocks.
pub(super) struct Plane<P> {
    pub(super) samples: Vec<P>,
    /// Samples from one row to the next.
    pub(super) stride: usize,
}

impl<P: Level> Plane<P> {
    pub(super) fn new(component: &Component) -> Plane<P> {
        let stride = component.blocks_across * 8;
        Plane { samples: vec![P::default(); stride * component.blocks_down * 8], stride }
    }

    /// Row `row` of those that count; beyond the last one, the last one again.
    fn row(&self, component: &Component, row: usize) -> &[P] {
        let row = row.min(component.height - 1);
        &self.samples[row * self.stride..][..component.width]
    }

    /// Writes a block of samples around 0.
    #[inline]
    pub(super) fn put(&mut self, col: usize, row: usize, block: &[i32; 64]) {
        for (y, line) in block.as_chunks::<8>().0.iter().enumerate() {
            let out = &mut self.samples[(row * 8 + y) * self.stride + col * 8..][..8];
            for (o, v) in out.iter_mut().zip(line) {
                *o = P::clamped(v + P::CENTER);
            }
        }
    }

    /// Writes a block of one value.
    #[inline]
    pub(super) fn put_flat(&mut self, col: usize, row: usize, value: i32) {
        let value = P::clamped(value + P::CENTER);
        for y in 0..8 {
            self.samples[(row * 8 + y) * self.stride + col * 8..][..8].fill(value);
        }
    }
}

/// One full-resolution row of a component, into `out`. `sums` is scratch.
///
/// Factors of 2 are interpolated with weights 3 and 1 (libjpeg's "fancy upsampling"), others repeat
/// samples.
pub(super) fn upsample<P: Level>(
    frame: &Frame,
    component: &Component,
    plane: &Plane<P>,
    row: usize,
    out: &mut [P],
    sums: &mut Vec<i32>,
) {
    let (h, v) = (frame.h_max / component.h, frame.v_max / component.v);
    let whole = frame.h_max.is_multiple_of(component.h) && frame.v_max.is_multiple_of(component.v);
    // The nearer row, and the one on its other side.
    let near = row / 2;
    let far = if row.is_multiple_of(2) { near.saturating_sub(1) } else { near + 1 };
    match (h, v) {
        (1, 1) if whole => out.copy_from_slice(&plane.row(component, row)[..out.len()]),
        (2, 1) if whole && component.width > 2 => {
            double(plane.row(component, row).iter().map(|s| s.value()), out, sums, 2, [1, 2]);
        }
        (1, 2) if whole => {
            let bias = if row.is_multiple_of(2) { 1 } else { 2 };
            let (near, far) = (plane.row(component, near), plane.row(component, far));
            for ((o, a), b) in out.iter_mut().zip(near).zip(far) {
                *o = P::clamped((a.value() * 3 + b.value() + bias) >> 2);
            }
        }
        (2, 2) if whole && component.width > 2 => {
            let (near, far) = (plane.row(component, near), plane.row(component, far));
            let column = near.iter().zip(far).map(|(a, b)| a.value() * 3 + b.value());
            double(column, out, sums, 4, [8, 7]);
        }
        _ => {
            let row = row * component.v / frame.v_max;
            let line = plane.row(component, row);
            for (x, o) in out.iter_mut().enumerate() {
                *o = line[(x * component.h / frame.h_max).min(line.len() - 1)];
            }
        }
    }
}

/// Twice as many samples: 3/4 of the nearer and 1/4 of the other neighbor; the outermost ones are taken
/// as they are. `bias` is for left and right samples, before a shift by `shift`.
fn double<P: Level>(
    values: impl Iterator<Item = i32>,
    out: &mut [P],
    sums: &mut Vec<i32>,
    shift: u32,
    bias: [i32; 2],
) {
    sums.clear();
    sums.extend(values);
    let last = sums.len() - 1;
    for (x, pair) in out.chunks_mut(2).enumerate() {
        let own = sums[x] * 3;
        let left = if x == 0 { sums[0] } else { sums[x - 1] };
        let right = if x == last { sums[last] } else { sums[x + 1] };
        pair[0] = P::clamped((own + left + bias[0]) >> shift);
        if let Some(sample) = pair.get_mut(1) {
            *sample = P::clamped((own + right + bias[1]) >> shift);
        }
    }
}

/// Rows of Y, Cb and Cr to R, G and B in place (JFIF 1.02), in 16 fraction bits.
pub(super) fn ycc_to_rgb<P: Level>(y: &mut [P], cb: &mut [P], cr: &mut [P]) {
    const HALF: i32 = 1 << 15;
    for ((y, cb), cr) in y.iter_mut().zip(cb).zip(cr) {
        let (light, blue, red) = (y.value(), cb.value() - P::CENTER, cr.value() - P::CENTER);
        // 1.402, 1.772, 0.71414 and 0.34414 times 2^16.
        *y = P::clamped(light + ((91_881 * red + HALF) >> 16));
        *cb = P::clamped(light + ((-46_802 * red - 22_554 * blue + HALF) >> 16));
        *cr = P::clamped(light + ((116_130 * blue + HALF) >> 16));
    }
}
