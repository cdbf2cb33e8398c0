//! Rules that look at all sources of a pixel: extremes, sums, medians (SPEC §5.1).

use crate::sample::Sample;

/// Puts the smaller or larger of two valid samples into `dst`, or the one that is valid. `valid` stays
/// as it is.
pub fn take_extreme<T: Sample>(
    dst: &mut [T],
    valid: &[u8],
    src: &[T],
    src_valid: Option<&[u8]>,
    largest: bool,
) {
    for (index, (d, s)) in dst.iter_mut().zip(src).enumerate() {
        let counts = src_valid.is_none_or(|valid| valid[index] != 0);
        let wins = if largest { *s > *d } else { *s < *d };
        *d = if counts & ((valid[index] == 0) | wins) { *s } else { *d };
    }
}

/// Adds `weights * src` to `sums` where valid.
pub fn add_weighted(sums: &mut [f64], src: &[f64], valid: &[u8], weights: &[f64]) {
    for (((sum, s), v), w) in sums.iter_mut().zip(src).zip(valid).zip(weights) {
        *sum += if *v != 0 { *s * *w } else { 0.0 };
    }
}

/// Adds `src` to `sums` where valid.
pub fn add_valid(sums: &mut [f64], src: &[f64], valid: &[u8]) {
    for ((sum, s), v) in sums.iter_mut().zip(src).zip(valid) {
        *sum += if *v != 0 { *s } else { 0.0 };
    }
}

/// Adds the number of valid samples to `counts`.
pub fn add_count(counts: &mut [f64], valid: &[u8]) {
    for (count, v) in counts.iter_mut().zip(valid) {
        *count += f64::from(*v);
    }
}

/// Keeps the value that all valid samples of a pixel have so far, NaN where they differ. `seen` is 0
/// where there was none yet.
pub fn keep_equal(equal: &mut [f64], seen: &[u8], src: &[f64], valid: &[u8]) {
    for (((e, seen), s), v) in equal.iter_mut().zip(seen).zip(src).zip(valid) {
        let next = if (*seen == 0) | (*e == *s) { *s } else { f64::NAN };
        *e = if *v != 0 { next } else { *e };
    }
}

/// Puts the value that all samples of a pixel have in place of their mean, which rounding may have
/// taken off it.
pub fn restore_equal(means: &mut [f64], equal: &[f64]) {
    for (mean, e) in means.iter_mut().zip(equal) {
        *mean = if e.is_nan() { *mean } else { *e };
    }
}

/// Divides where there is something to divide by.
pub fn divide(sums: &mut [f64], weights: &[f64]) {
    for (sum, w) in sums.iter_mut().zip(weights) {
        *sum = if *w > 0.0 { *sum / *w } else { 0.0 };
    }
}

/// The median; of an even number the mean of the middle two. `None` if there are no values.
pub fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let upper = *values.select_nth_unstable_by(middle, f64::total_cmp).1;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values[..middle].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Not (a + b) / 2, which may overflow.
    Some(lower / 2.0 + upper / 2.0)
}

/// Of some values the number that goes with the one nearest to `value`; of those as near the largest number.
pub fn nearest_to(value: f64, values: impl Iterator<Item = (f64, u32)>) -> u32 {
    let mut best = (f64::INFINITY, 0);
    for (own, number) in values {
        let distance = if own == value { 0.0 } else { (own - value).abs() };
        if best.1 == 0 || distance < best.0 || (distance == best.0 && number > best.1) {
            best = (distance, number);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_valid_samples_only() {
        let valid = [1u8, 1, 0, 0];
        let mut dst = [5i16, 5, 9, 9];
        take_extreme(&mut dst, &valid, &[3, 7, 12, 1], Some(&[1, 1, 1, 0]), false);
        assert_eq!(dst, [3, 5, 12, 9]);
        let mut dst = [5i16, 5, 9, 9];
        take_extreme(&mut dst, &valid, &[3, 7, 1, 1], None, true);
        assert_eq!(dst, [5, 7, 1, 1]);
    }

    #[test]
    fn the_mean_of_equal_samples_is_their_value() {
        let (mut equal, mut seen) = ([0.0; 4], [0u8; 4]);
        for (src, valid) in
            [([0.1, 7.0, 3.0, 9.0], [1, 1, 0, 0]), ([0.1, 8.0, 4.0, 9.0], [1, 1, 1, 0])]
        {
            keep_equal(&mut equal, &seen, &src, &valid);
            seen.iter_mut().zip(valid).for_each(|(s, v)| *s |= v);
        }
        let mut means = [0.100_000_000_000_000_02, 7.5, 4.0, 0.0];
        restore_equal(&mut means, &equal);
        assert_eq!(means[..3], [0.1, 7.5, 4.0]);
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&mut [7.0]), Some(7.0));
        assert_eq!(median(&mut [-1e308, 1e308]), Some(0.0));
        assert_eq!(median(&mut [5.0, f64::NEG_INFINITY]), Some(f64::NEG_INFINITY));
        assert_eq!(median(&mut []), None);
    }
}
