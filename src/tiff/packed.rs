//! Samples of odd sizes → samples of a type: bits, short floats. Pure arithmetic.

use crate::codec::image::Params;
use crate::geometry::Size;
use crate::sample::Sample;
use crate::tiff::format::Packing;
use crate::tiff::layout::Layout;

/// Expands the rows of a block, pixel after pixel, to samples, band after band.
///
/// `bytes` holds rows of [`Layout::row_bytes`]; samples of whole bytes are in the machine's order.
pub(crate) fn expand<T: Sample>(layout: &Layout, size: Size, bytes: &[u8], samples: &mut [T]) {
    let shape = Shape {
        width: size.width as usize,
        bands: layout.stored_samples() as usize,
        row_bytes: layout.row_bytes() as usize,
    };
    match (layout.packing, size_of::<T>()) {
        (Packing::Whole, _) => {}
        (Packing::YCbCr { h, v }, _) => {
            let params = layout.params.as_deref();
            ycbcr(shape.width, (h.into(), v.into()), params, bytes, cast::<T, u8>(samples));
        }
        (Packing::Lab, _) => lab(layout.params.as_deref(), bytes, cast::<T, u8>(samples)),
        (Packing::Inks { .. }, _) => {
            let pixels = bytes.chunks_exact(shape.bands.max(1));
            let out = cast::<T, u8>(samples);
            let plane = out.len() / 4;
            for (index, pixel) in pixels.enumerate() {
                for (band, ink) in pixel.iter().take(4).enumerate() {
                    out[band * plane + index] = *ink;
                }
            }
        }
        (Packing::Bits, 1) => bits(layout.bits, shape, bytes, cast::<T, u8>(samples), |v| v as u8),
        (Packing::Bits, 2) => {
            bits(layout.bits, shape, bytes, cast::<T, u16>(samples), |v| v as u16);
        }
        (Packing::Bits, _) => bits(layout.bits, shape, bytes, cast::<T, u32>(samples), |v| v),
        (Packing::Half, _) => wide(shape, bytes, cast::<T, u32>(samples), half_of),
        (Packing::Float24, _) => wide(shape, bytes, cast::<T, u32>(samples), float24_of),
    }
}

#[derive(Clone, Copy)]
struct Shape {
    width: usize,
    bands: usize,
    row_bytes: usize,
}

/// The same memory; empty where the types do not fit, which the layout excludes.
fn cast<T: Sample, U: bytemuck::Pod>(samples: &mut [T]) -> &mut [U] {
    bytemuck::try_cast_slice_mut(samples).unwrap_or_default()
}

/// Clumps of YCbCr to bands of R, G and B, in 16 fraction bits as libtiff does.
fn ycbcr(
    width: usize,
    (h, v): (usize, usize),
    params: Option<&Params>,
    bytes: &[u8],
    out: &mut [u8],
) {
    let Some(params) = params else { return };
    let tables = Tables::new(params);
    let height = out.len() / 3 / width;
    let line = width.div_ceil(h) * (h * v + 2);
    for (row, clumps) in bytes.chunks_exact(line).enumerate() {
        for (col, clump) in clumps.chunks_exact(h * v + 2).enumerate() {
            let (light, chroma) = clump.split_at(h * v);
            for (index, y) in light.iter().enumerate() {
                let (x, y_at) = (col * h + index % h, row * v + index / h);
                if x < width && y_at < height {
                    let rgb = tables.rgb(*y, chroma[0], chroma[1]);
                    for (band, value) in rgb.into_iter().enumerate() {
                        out[(band * height + y_at) * width + x] = value;
                    }
                }
            }
        }
    }
}

/// CIE L*a*b* to sRGB bands and an opaque one, in steps of 1/1500 as libtiff does (tif_color.c).
fn lab(params: Option<&Params>, bytes: &[u8], out: &mut [u8]) {
    const STEPS: usize = 1500;
    /// CIE XYZ to linear sRGB (IEC 61966-2-1).
    const MATRIX: [[f32; 3]; 3] =
        [[3.2410, -1.5374, -0.4986], [-0.9692, 1.8760, 0.0416], [0.0556, -0.2040, 1.0570]];
    /// Light of a display that shows black.
    const DARK: f32 = 1.0;
    let Some(params) = params else { return };
    let [x0, y0, z0] = params.luma.map(f32::from_bits);
    let level = |step: usize| 255.0 * (step as f64 / STEPS as f64).powf(1.0 / 2.4) as f32;
    let levels: Vec<u8> = (0..=STEPS).map(|step| (level(step) + 0.5).min(255.0) as u8).collect();
    let step = (100.0 - DARK) / STEPS as f32;
    let far = |value: f32, white: f32| {
        if value < 0.2069 {
            white * (value - 0.13793) / 7.787
        } else {
            white * value * value * value
        }
    };
    let plane = out.len() / 4;
    for (index, pixel) in bytes.as_chunks::<3>().0.iter().enumerate() {
        let lightness = f32::from(pixel[0]) * 257.0 * 100.0 / 65_535.0;
        let (cube, y) = if lightness < 8.856 {
            let y = lightness * y0 / 903.292;
            (7.787 * (y / y0) + 16.0 / 116.0, y)
        } else {
            let cube = (lightness + 16.0) / 116.0;
            (cube, y0 * cube * cube * cube)
        };
        let (a, b) = (f32::from(pixel[1] as i8), f32::from(pixel[2] as i8));
        let (x, z) = (far(a / 500.0 + cube, x0), far(cube - b / 200.0, z0));
        for (band, row) in MATRIX.iter().enumerate() {
            let light = (row[0] * x + row[1] * y + row[2] * z).clamp(DARK, 100.0);
            let at = (((light - DARK) / step) as usize).min(STEPS);
            out[band * plane + index] = levels[at];
        }
        out[3 * plane + index] = 255;
    }
}

/// What each value of Y, Cb and Cr adds to red, green and blue (TIFF 6.0 §21).
struct Tables {
    y: [i32; 256],
    red: [i32; 256],
    /// Of Cr and of Cb, still with 16 fraction bits.
    green: [[i32; 256]; 2],
    blue: [i32; 256],
}

impl Tables {
    fn new(params: &Params) -> Tables {
        const HALF: i32 = 1 << 15;
        let [red, green, blue] = params.luma.map(f32::from_bits);
        let reference = params.reference.map(f32::from_bits);
        let fix = |factor: f32| (f64::from(factor.clamp(0.0, 2.0)) * 65_536.0 + 0.5) as i32;
        let (for_red, for_blue) = (2.0 - 2.0 * red, 2.0 - 2.0 * blue);
        let of_cr = [fix(for_red), -fix(red * for_red / green)];
        let of_cb = [fix(for_blue), -fix(blue * for_blue / green)];
        // A code between its references, scaled to `range`.
        let level = |code: i32, black: f32, white: f32, range: i32| -> i32 {
            let span = if white - black == 0.0 { 1.0 } else { white - black };
            let value = code.saturating_sub(black as i32) as f32 * range as f32 / span;
            value.clamp(-4096.0, 4096.0) as i32
        };
        let mut tables =
            Tables { y: [0; 256], red: [0; 256], green: [[0; 256]; 2], blue: [0; 256] };
        for (index, code) in (0..256i32).enumerate() {
            let around = code - 128;
            let cr = level(around, reference[4] - 128.0, reference[5] - 128.0, 127);
            let cb = level(around, reference[2] - 128.0, reference[3] - 128.0, 127);
            tables.red[index] = (of_cr[0] * cr + HALF) >> 16;
            tables.blue[index] = (of_cb[0] * cb + HALF) >> 16;
            tables.green[0][index] = of_cr[1] * cr;
            tables.green[1][index] = of_cb[1] * cb + HALF;
            tables.y[index] = level(code, reference[0], reference[1], 255);
        }
        tables
    }

    fn rgb(&self, y: u8, cb: u8, cr: u8) -> [u8; 3] {
        let (y, cb, cr) = (self.y[usize::from(y)], usize::from(cb), usize::from(cr));
        let green = (self.green[0][cr] + self.green[1][cb]) >> 16;
        [y + self.red[cr], y + green, y + self.blue[cb]].map(|v| v.clamp(0, 255) as u8)
    }
}

fn bits<U>(bits: u32, shape: Shape, bytes: &[u8], out: &mut [U], make: impl Fn(u32) -> U) {
    let Shape { width, bands, row_bytes } = shape;
    let pixels = out.len() / bands;
    for (row, line) in bytes.chunks_exact(row_bytes).enumerate() {
        let (mut buffer, mut have) = (0u64, 0u32);
        let mut next = line.iter();
        for col in 0..width {
            for band in 0..bands {
                while have < bits {
                    buffer = buffer << 8 | u64::from(next.next().copied().unwrap_or(0));
                    have += 8;
                }
                have -= bits;
                let value = (buffer >> have) as u32 & (u32::MAX >> (32 - bits));
                out[band * pixels + row * width + col] = make(value);
            }
        }
    }
}

fn wide<const SIZE: usize>(
    shape: Shape,
    bytes: &[u8],
    out: &mut [u32],
    make: impl Fn(&[u8; SIZE]) -> u32,
) {
    let Shape { width, bands, row_bytes } = shape;
    let pixels = out.len() / bands;
    for (row, line) in bytes.chunks_exact(row_bytes).enumerate() {
        for (index, sample) in line.as_chunks::<SIZE>().0.iter().enumerate() {
            out[index % bands * pixels + row * width + index / bands] = make(sample);
        }
    }
}

fn number3(bytes: &[u8; 3]) -> u32 {
    let [a, b, c] = bytes.map(u32::from);
    if cfg!(target_endian = "big") { a << 16 | b << 8 | c } else { c << 16 | b << 8 | a }
}

/// Bits of the `f32` that equals a short float of 1 sign bit, `exponent` and `fraction` bits.
fn widen(value: u32, exponent: u32, fraction: u32) -> u32 {
    let sign = (value >> (exponent + fraction)) << 31;
    let power = value >> fraction & ((1 << exponent) - 1);
    let rest = (value & ((1 << fraction) - 1)) << (23 - fraction);
    let bias = 127 - ((1 << (exponent - 1)) - 1);
    match power {
        // Zero, or a subnormal number, which is a normal one of the wider type.
        0 if rest == 0 => sign,
        0 => {
            let shift = rest.leading_zeros() - 8;
            sign | (bias + 1 - shift) << 23 | (rest << shift & 0x007F_FFFF)
        }
        all if all == (1 << exponent) - 1 => sign | 0x7F80_0000 | rest,
        _ => sign | (power + bias) << 23 | rest,
    }
}

fn half_of(bytes: &[u8; 2]) -> u32 {
    half_bits(u16::from_ne_bytes(*bytes))
}

fn float24_of(bytes: &[u8; 3]) -> u32 {
    float24_bits(number3(bytes))
}

fn half_bits(value: u16) -> u32 {
    widen(u32::from(value), 5, 10)
}

fn float24_bits(value: u32) -> u32 {
    widen(value, 7, 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_floats_keep_their_values() {
        // IEEE 754: 1, -2, 65504 (the largest), 2^-24 (the least), 1023 * 2^-24, infinity, a NaN.
        let halves = [
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x7BFF, 65_504.0),
            (0x0001, 2f32.powi(-24)),
            (0x03FF, 1023.0 * 2f32.powi(-24)),
            (0x8000, -0.0),
            (0x7C00, f32::INFINITY),
        ];
        for (bits, expected) in halves {
            assert_eq!(half_bits(bits), expected.to_bits(), "{bits:#x}");
        }
        assert!(f32::from_bits(half_bits(0x7E01)).is_nan());
        // 1.5 = 0x3F8000 with a bias of 63; the least subnormal is 2^-62 * 2^-16.
        assert_eq!(float24_bits(0x3F_8000), 1.5f32.to_bits());
        assert_eq!(float24_bits(1), 2f32.powi(-78).to_bits());
        assert_eq!(float24_bits(0xFF_0000), f32::NEG_INFINITY.to_bits());
    }

    #[test]
    fn bits_are_taken_apart_by_rows_and_bands() {
        // Two rows of two pixels of two bands of 3 bits: 12 bits and 4 bits of padding a row.
        let bytes = [0b0010_1001, 0b1100_0000, 0b1111_1010, 0b1000_1111];
        let mut out = [0u8; 8];
        bits(3, Shape { width: 2, bands: 2, row_bytes: 2 }, &bytes, &mut out, |v| v as u8);
        assert_eq!(out, [1, 3, 7, 5, 2, 4, 6, 0]);
        let mut out = [0u32; 2];
        let shape = Shape { width: 2, bands: 1, row_bytes: 8 };
        bits(31, shape, &[0xFF, 0xFF, 0xFF, 0xFD, 0, 0, 0, 4], &mut out, |v| v);
        assert_eq!(out, [0x7FFF_FFFE, 0x4000_0001]);
    }
}
