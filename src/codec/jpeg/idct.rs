//! The inverse cosine transform in integers: the algorithm of Loeffler, Ligtenberg and Moschytz (ICASSP
//! 1989, "Practical fast 1-D DCT algorithms with 11 multiplications") with 13-bit constants and the
//! rounding that libjpeg's `islow` has, so that pixels are those of every tool built on it.

/// Fraction bits of the constants.
const CONST_BITS: u32 = 13;

/// `round(x * 2^13)`.
const fn fix(x: f64) -> i32 {
    (x * 8192.0 + 0.5) as i32
}

const F_0_298: i32 = fix(0.298_631_336);
const F_0_390: i32 = fix(0.390_180_644);
const F_0_541: i32 = fix(0.541_196_100);
const F_0_765: i32 = fix(0.765_366_865);
const F_0_899: i32 = fix(0.899_976_223);
const F_1_175: i32 = fix(1.175_875_602);
const F_1_501: i32 = fix(1.501_321_110);
const F_1_847: i32 = fix(1.847_759_065);
const F_1_961: i32 = fix(1.961_570_560);
const F_2_053: i32 = fix(2.053_119_869);
const F_2_562: i32 = fix(2.562_915_447);
const F_3_072: i32 = fix(3.072_711_026);

/// Broken files have coefficients that overflow; they wrap.
#[inline(always)]
fn mul(a: i32, b: i32) -> i32 {
    a.wrapping_mul(b)
}

#[inline(always)]
fn add(a: i32, b: i32) -> i32 {
    a.wrapping_add(b)
}

#[inline(always)]
fn sub(a: i32, b: i32) -> i32 {
    a.wrapping_sub(b)
}

/// One dimension; the results still have `CONST_BITS` fraction bits.
#[inline(always)]
fn transform(x: [i32; 8]) -> [i32; 8] {
    let z1 = mul(add(x[2], x[6]), F_0_541);
    let tmp2 = sub(z1, mul(x[6], F_1_847));
    let tmp3 = add(z1, mul(x[2], F_0_765));
    let tmp0 = add(x[0], x[4]).wrapping_shl(CONST_BITS);
    let tmp1 = sub(x[0], x[4]).wrapping_shl(CONST_BITS);
    let even = [add(tmp0, tmp3), add(tmp1, tmp2), sub(tmp1, tmp2), sub(tmp0, tmp3)];
    let (t0, t1, t2, t3) = (x[7], x[5], x[3], x[1]);
    let (z1, z2, z3, z4) = (add(t0, t3), add(t1, t2), add(t0, t2), add(t1, t3));
    let z5 = mul(add(z3, z4), F_1_175);
    let z1 = mul(z1, -F_0_899);
    let z2 = mul(z2, -F_2_562);
    let z3 = add(mul(z3, -F_1_961), z5);
    let z4 = add(mul(z4, -F_0_390), z5);
    let odd = [
        add(mul(t3, F_1_501), add(z1, z4)),
        add(mul(t2, F_3_072), add(z2, z3)),
        add(mul(t1, F_2_053), add(z2, z4)),
        add(mul(t0, F_0_298), add(z1, z3)),
    ];
    [
        add(even[0], odd[0]),
        add(even[1], odd[1]),
        add(even[2], odd[2]),
        add(even[3], odd[3]),
        sub(even[3], odd[3]),
        sub(even[2], odd[2]),
        sub(even[1], odd[1]),
        sub(even[0], odd[0]),
    ]
}

/// Divides by `2^bits` and rounds half up.
#[inline(always)]
fn descale(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

/// Samples of a block around 0, row after row, of coefficients in natural order. `pass_bits` is how
/// many fraction bits are kept between the passes: 2 for 8-bit samples, 1 for 12-bit ones.
#[inline]
pub(super) fn inverse(coefficients: &[i32; 64], pass_bits: u32) -> [i32; 64] {
    let mut columns = [0i32; 64];
    for col in 0..8 {
        let input: [i32; 8] = std::array::from_fn(|row| coefficients[row * 8 + col]);
        if input[1..].iter().all(|v| *v == 0) {
            let value = input[0].wrapping_shl(pass_bits);
            (0..8).for_each(|row| columns[row * 8 + col] = value);
            continue;
        }
        let output = transform(input);
        for row in 0..8 {
            columns[row * 8 + col] = descale(output[row], CONST_BITS - pass_bits);
        }
    }
    let mut samples = [0i32; 64];
    for (input, output) in columns.as_chunks::<8>().0.iter().zip(samples.as_chunks_mut::<8>().0) {
        *output = transform(*input).map(|v| descale(v, CONST_BITS + pass_bits + 3));
    }
    samples
}

/// The one value of a block that has no coefficient but its mean.
#[inline]
pub(super) fn inverse_flat(mean: i32, pass_bits: u32) -> i32 {
    descale(mean.wrapping_shl(pass_bits), pass_bits + 3)
}
