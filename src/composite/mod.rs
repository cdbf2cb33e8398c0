//! Rows of samples laid under what is already there, and what makes a sample invalid.
//!
//! Sources are visited from the one that counts most downwards, so a sample is written once: into a
//! place that has no valid one yet. Validity is a byte for each sample, 0 or 1. The loops have no
//! branches and no calls in them, so the compiler turns them into vector code.

pub mod distance;
pub mod rules;

use crate::sample::{Sample, convert};

/// Writes samples where `valid` is 0 and the source is valid. `valid` stays as it is: see
/// [`merge_valid`].
pub fn fill_under<T: Sample>(dst: &mut [T], valid: &[u8], src: &[T], src_valid: Option<&[u8]>) {
    match src_valid {
        None => {
            for ((d, v), s) in dst.iter_mut().zip(valid).zip(src) {
                *d = if *v == 0 { *s } else { *d };
            }
        }
        Some(src_valid) => {
            for (((d, v), s), sv) in dst.iter_mut().zip(valid).zip(src).zip(src_valid) {
                *d = if (*v == 0) & (*sv != 0) { *s } else { *d };
            }
        }
    }
}

/// Keeps a NaN that a source has where nothing valid is yet: in an output without nodata a hole in the
/// data must not read as 0.
///
/// `hit` tells which pixels lie in the source, where that is not all of the row.
pub fn keep_nan<T: Sample>(dst: &mut [T], valid: &[u8], src: &[T], hit: Option<&[u8]>) {
    for (index, ((d, v), s)) in dst.iter_mut().zip(valid).zip(src).enumerate() {
        let hit = hit.is_none_or(|hit| hit[index] != 0);
        *d = if (*v == 0) & s.is_nan() & hit { *s } else { *d };
    }
}

/// Adds a source's validity to that of the output; returns how many samples became valid.
pub fn merge_valid(valid: &mut [u8], src_valid: Option<&[u8]>) -> u64 {
    let before = count_valid(valid);
    match src_valid {
        None => valid.fill(1),
        Some(src_valid) => {
            for (v, s) in valid.iter_mut().zip(src_valid) {
                *v |= *s;
            }
        }
    }
    count_valid(valid) - before
}

/// A sample that is invalid, but whose pixel is valid by other bands: nothing below shows through.
pub const TAKEN: u8 = 2;

/// Marks as [`TAKEN`] what is valid as a pixel but not as a sample.
pub fn mark_taken(sample_valid: &mut [u8], pixel_valid: &[u8]) {
    for (s, p) in sample_valid.iter_mut().zip(pixel_valid) {
        *s |= (*p & !*s) * TAKEN;
    }
}

/// As [`merge_valid`] for marks that may be [`TAKEN`]; returns how many samples were free before.
pub fn merge_taken(valid: &mut [u8], src: &[u8]) -> u64 {
    let mut count = 0;
    for (v, s) in valid.iter_mut().zip(src) {
        count += u64::from((*v == 0) & (*s != 0));
        *v = if *v == 0 { *s } else { *v };
    }
    count
}

/// Makes [`TAKEN`] samples plainly invalid, once all sources are painted.
pub fn settle_taken(valid: &mut [u8]) {
    valid.iter_mut().for_each(|v| *v &= 1);
}

/// Number of ones in a row of validity.
pub fn count_valid(valid: &[u8]) -> u64 {
    // Sums of at most 255 bytes fit a byte, which keeps the inner loop in byte lanes.
    valid.chunks(255).map(|part| u64::from(part.iter().sum::<u8>())).sum()
}

/// Clears the validity of samples that equal `nodata` or are NaN.
pub fn mark_nodata<S: Sample>(valid: &mut [u8], src: &[S], nodata: Option<S>) {
    if let Some(nodata) = nodata {
        for (v, s) in valid.iter_mut().zip(src) {
            *v &= u8::from(!s.is_nodata(nodata));
        }
    }
    if S::IS_FLOAT {
        for (v, s) in valid.iter_mut().zip(src) {
            *v &= u8::from(!s.is_nan());
        }
    }
}

/// Clears the validity of samples whose alpha or mask is 0.
pub fn mark_zero<S: Sample>(valid: &mut [u8], src: &[S]) {
    for (v, s) in valid.iter_mut().zip(src) {
        *v &= u8::from(*s != S::ZERO);
    }
}

/// Converts a row (SPEC §5.4).
pub fn convert_row<S: Sample, T: Sample>(src: &[S], dst: &mut [T]) {
    for (d, s) in dst.iter_mut().zip(src) {
        *d = convert(*s);
    }
}

/// Number of valid samples that a type cannot hold: converted, they would be its least or largest
/// value.
pub fn count_saturated<S: Sample, T: Sample>(src: &[S], valid: &[u8]) -> u64 {
    let saturates = |value: f64| {
        if T::IS_FLOAT {
            value.is_finite()
                && T::from_f64(value).to_f64().abs() < value.abs()
                && value.abs() > 1e38
        } else {
            // The largest 64-bit integers are 2^63 and 2^64 as doubles, which saturate themselves.
            let round = value.round();
            let over = if size_of::<T>() < 8 {
                round > T::MAX_INT as f64
            } else {
                round >= T::MAX_INT as f64
            };
            over || round < T::MIN_INT as f64
        }
    };
    src.iter().zip(valid).map(|(s, v)| u64::from((*v != 0) & saturates(s.to_f64()))).sum()
}

/// Counts valid samples that equal `nodata`; moves them to the next value if `nudge`.
pub fn clashes<T: Sample>(samples: &mut [T], valid: &[u8], nodata: T, nudge: bool) -> u64 {
    let count: u64 =
        samples.iter().zip(valid).map(|(s, v)| u64::from((*s == nodata) & (*v != 0))).sum();
    if count > 0 && nudge {
        let next = nodata.next_value();
        for (s, v) in samples.iter_mut().zip(valid) {
            *s = if (*s == nodata) & (*v != 0) { next } else { *s };
        }
    }
    count
}

/// Writes `fill` where nothing is valid. With `keep_nan`, NaN stays; returns how many did.
pub fn fill_invalid<T: Sample>(samples: &mut [T], valid: &[u8], fill: T, keep_nan: bool) -> u64 {
    let mut kept = 0;
    if keep_nan {
        for (s, v) in samples.iter_mut().zip(valid) {
            let keep = (*v == 0) & s.is_nan();
            kept += u64::from(keep);
            *s = if (*v == 0) & !keep { fill } else { *s };
        }
    } else {
        for (s, v) in samples.iter_mut().zip(valid) {
            *s = if *v == 0 { fill } else { *s };
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_valid_sample_stays() {
        let mut dst = [9u16; 6];
        let mut valid = [0u8, 0, 0, 0, 1, 1];
        let top = [0u16, 5, 6, 0, 7, 0];
        let mut top_valid = [1u8; 6];
        mark_nodata(&mut top_valid, &top, Some(0));
        fill_under(&mut dst, &valid, &top, Some(&top_valid));
        assert_eq!(merge_valid(&mut valid, Some(&top_valid)), 2);
        fill_under(&mut dst, &valid, &[1; 6], None);
        assert_eq!(merge_valid(&mut valid, None), 2);
        assert_eq!(dst, [1, 5, 6, 1, 9, 9]);
        assert_eq!(valid, [1; 6]);
    }

    #[test]
    fn the_lowest_floats_are_all_the_nodata_that_is_one_of_them() {
        // GDAL takes -3.4e38, which some programs print, for -3.4028235e38, which they store.
        let row = [f32::MIN, -3.4e38, -3.3e38, 3.4e38, f32::NEG_INFINITY, 5.0];
        let mut cases = 0;
        for (nodata, expected) in [
            (-3.4e38, [0, 0, 1, 1, 1, 1]),
            (f32::MIN, [0, 0, 1, 1, 1, 1]),
            (f32::MAX, [1, 1, 1, 0, 1, 1]),
            (-3.3e38, [1, 1, 0, 1, 1, 1]),
            (f32::NEG_INFINITY, [1, 1, 1, 1, 0, 1]),
        ] {
            let mut valid = [1; 6];
            mark_nodata(&mut valid, &row, Some(nodata));
            assert_eq!(valid, expected, "{nodata}");
            cases += 1;
        }
        assert_eq!(cases, 5);
    }

    #[test]
    fn nan_is_invalid_whatever_the_nodata() {
        let row = [1.0f32, f32::NAN, -9999.0, f32::INFINITY];
        for (nodata, expected) in
            [(None, [1, 0, 1, 1]), (Some(-9999.0), [1, 0, 0, 1]), (Some(f32::NAN), [1, 0, 1, 1])]
        {
            let mut valid = [1u8; 4];
            mark_nodata(&mut valid, &row, nodata);
            assert_eq!(valid, expected, "nodata {nodata:?}");
        }
    }

    #[test]
    fn clashes_are_counted_and_nudged() {
        let mut row = [0u8, 255, 0, 7];
        assert_eq!(clashes(&mut row, &[1, 1, 0, 1], 0, false), 1);
        assert_eq!(row, [0, 255, 0, 7]);
        assert_eq!(clashes(&mut row, &[1, 1, 0, 1], 0, true), 1);
        assert_eq!(row, [1, 255, 0, 7]);
        assert_eq!(clashes(&mut row, &[1, 1, 0, 1], 255, true), 1);
        assert_eq!(row, [1, 254, 0, 7]);
    }

    #[test]
    fn what_a_type_cannot_hold_is_counted() {
        let sums = [255.4, 255.5, 256.0, -0.4, -0.5, -1.0, f64::NAN, 1e300];
        // 255.5, 256, -0.5 (rounds to -1), -1, 1e300.
        assert_eq!(count_saturated::<f64, u8>(&sums, &[1; 8]), 5);
        assert_eq!(count_saturated::<f64, u8>(&sums, &[1, 0, 1, 1, 1, 1, 1, 0]), 3);
        assert_eq!(count_saturated::<f64, f32>(&sums, &[1; 8]), 1);
        assert_eq!(count_saturated::<f64, f64>(&sums, &[1; 8]), 0);
        let large = [9.3e18, -9.3e18, 9.2e18, 1.8e19, 1.9e19];
        assert_eq!(count_saturated::<f64, i64>(&large, &[1; 5]), 4);
        assert_eq!(count_saturated::<f64, u64>(&large, &[1; 5]), 2);
        assert_eq!(count_saturated::<f32, i16>(&[32767.4, 32767.5], &[1; 2]), 1);
    }

    #[test]
    fn a_taken_sample_hides_what_lies_below() {
        let (pixel, mut sample) = ([1u8, 1, 0], [1u8, 0, 0]);
        mark_taken(&mut sample, &pixel);
        assert_eq!(sample, [1, TAKEN, 0]);
        let mut valid = [0u8; 3];
        assert_eq!(merge_taken(&mut valid, &sample), 2);
        assert_eq!(merge_taken(&mut valid, &[1, 1, 1]), 1);
        settle_taken(&mut valid);
        assert_eq!(valid, [1, 0, 1]);
    }

    #[test]
    fn long_rows_count_beyond_a_byte() {
        assert_eq!(count_valid(&vec![1; 100_000]), 100_000);
    }
}
