//! Statistics of a band, gathered block by block and merged in the order of the blocks.
//!
//! Integers up to 32 bits are summed exactly; floats and 64-bit integers in double-double arithmetic
//! (Dekker 1971; Knuth, TAOCP 2, §4.2.2), so that the result does not depend on how the pixels were
//! cut in blocks.

use crate::sample::Sample;

/// An unevaluated sum of two doubles.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Double {
    high: f64,
    low: f64,
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

/// Product and its rounding error, by splitting (no fused multiply-add on the baseline machine).
fn two_product(a: f64, b: f64) -> (f64, f64) {
    // 2^27 + 1
    const SPLIT: f64 = 134_217_729.0;
    let split = |v: f64| {
        let t = v * SPLIT;
        let high = t - (t - v);
        (high, v - high)
    };
    let product = a * b;
    let ((ah, al), (bh, bl)) = (split(a), split(b));
    let error = ((ah * bh - product) + ah * bl + al * bh) + al * bl;
    // Beyond about 1e300 the split overflows; the error is then unknown, not infinite.
    (product, if error.is_finite() { error } else { 0.0 })
}

impl Double {
    fn add(&mut self, value: f64) {
        let (high, error) = two_sum(self.high, value);
        self.high = high;
        self.low += error;
    }

    fn plus(mut self, other: Double) -> Double {
        self.add(other.high);
        self.low += other.low;
        let (high, low) = two_sum(self.high, self.low);
        Double { high, low }
    }

    fn times(self, other: Double) -> Double {
        let (high, error) = two_product(self.high, other.high);
        Double { high, low: error + self.high * other.low + self.low * other.high }
    }

    fn over(self, divisor: f64) -> Double {
        let high = self.high / divisor;
        let (back, error) = two_product(high, divisor);
        Double { high, low: ((self.high - back) - error + self.low) / divisor }
    }

    fn value(self) -> f64 {
        self.high + self.low
    }
}

/// Sums that run side by side.
const LANES: usize = 8;

/// High and low parts of sums of differences, then of their squares.
#[derive(Default)]
struct Lanes([[f64; LANES]; 4]);

impl Lanes {
    #[inline(always)]
    fn add<T: Sample>(&mut self, samples: &[T; LANES], valid: &[u8; LANES], pivot: f64) {
        let [sums, sums_low, squares, squares_low] = &mut self.0;
        for lane in 0..LANES {
            let value = if valid[lane] != 0 { samples[lane].to_f64() } else { pivot };
            // The difference of two float32 and its square round in the last bit of a double at most,
            // which no 12 digits show; those of doubles are taken with their errors.
            let (difference, rest) =
                if size_of::<T>() <= 4 { (value - pivot, 0.0) } else { two_sum(value, -pivot) };
            let (sum, error) = two_sum(sums[lane], difference);
            sums[lane] = sum;
            sums_low[lane] += error + rest;
            let (square, square_error) = if size_of::<T>() <= 4 {
                (difference * difference, 0.0)
            } else {
                two_product(difference, difference)
            };
            let (sum, error) = two_sum(squares[lane], square);
            squares[lane] = sum;
            squares_low[lane] += error + square_error + 2.0 * difference * rest;
        }
    }
}

/// Count, extremes and moments of valid samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BandStats {
    /// Valid samples.
    pub valid: u64,
    /// All samples.
    pub total: u64,
    extremes: Option<(f64, f64)>,
    exact_sum: i128,
    exact_squares: u128,
    /// Floats are summed as differences from one of them, so that squares stay small.
    pivot: Option<f64>,
    sum: Double,
    squares: Double,
}

impl BandStats {
    /// Takes in a row.
    pub fn add_row<T: Sample>(&mut self, samples: &[T], valid: &[u8]) {
        self.total += samples.len() as u64;
        let mut count = 0u64;
        let mut extremes: Option<(T, T)> = None;
        // Short runs keep the small sums from overflowing and the compiler's loops tight.
        for (samples, valid) in samples.chunks(256).zip(valid.chunks(256)) {
            let ones = valid.iter().map(|v| u64::from(*v)).sum::<u64>();
            if ones == 0 {
                continue;
            }
            count += ones;
            let (low, high) = extremes_of(samples, valid, ones == samples.len() as u64);
            extremes = Some(match extremes {
                Some((l, h)) => (if low < l { low } else { l }, if high > h { high } else { h }),
                None => (low, high),
            });
            self.add_moments(samples, valid);
        }
        self.valid += count;
        if let Some((low, high)) = extremes {
            self.add_extremes(low.to_f64(), high.to_f64());
        }
    }

    fn add_extremes(&mut self, low: f64, high: f64) {
        let (l, h) = self.extremes.unwrap_or((low, high));
        self.extremes = Some((l.min(low), h.max(high)));
    }

    fn add_moments<T: Sample>(&mut self, samples: &[T], valid: &[u8]) {
        if !T::IS_FLOAT && size_of::<T>() <= 2 {
            // 256 samples of 16 bits fit 32 bits, their squares 64.
            let (mut sum, mut squares) = (0i32, 0u64);
            for (s, v) in samples.iter().zip(valid) {
                let value = s.to_i128() as i32 * i32::from(*v);
                sum += value;
                squares += u64::from((value as u32).wrapping_mul(value as u32));
            }
            self.exact_sum += i128::from(sum);
            self.exact_squares += u128::from(squares);
        } else if !T::IS_FLOAT && size_of::<T>() <= 4 {
            let (mut sum, mut squares) = (0i64, 0u128);
            for (s, v) in samples.iter().zip(valid) {
                let value = s.to_i128() as i64 * i64::from(*v);
                sum += value;
                squares += u128::from(value.unsigned_abs().pow(2));
            }
            self.exact_sum += i128::from(sum);
            self.exact_squares += squares;
        } else {
            self.add_float_moments(samples, valid);
        }
    }

    /// Eight sums side by side, so that the additions do not wait for each other.
    fn add_float_moments<T: Sample>(&mut self, samples: &[T], valid: &[u8]) {
        let first = samples.iter().zip(valid).find(|(s, v)| **v != 0 && s.to_f64().is_finite());
        let own = first.map_or(0.0, |(s, _)| s.to_f64());
        let pivot = *self.pivot.get_or_insert(own);
        let mut lanes = Lanes::default();
        let (groups, rest) = samples.as_chunks::<LANES>();
        let (valid_groups, valid_rest) = valid.as_chunks::<LANES>();
        for (samples, valid) in groups.iter().zip(valid_groups) {
            lanes.add(samples, valid, pivot);
        }
        let (mut last, mut last_valid) = ([T::ZERO; LANES], [0; LANES]);
        last[..rest.len()].copy_from_slice(rest);
        last_valid[..rest.len()].copy_from_slice(valid_rest);
        lanes.add(&last, &last_valid, pivot);
        for lane in 0..LANES {
            let [sum, sum_low, square, square_low] = lanes.0.map(|part| part[lane]);
            self.sum = self.sum.plus(Double { high: sum, low: sum_low });
            self.squares = self.squares.plus(Double { high: square, low: square_low });
        }
    }

    /// Takes in samples that are all invalid.
    pub fn add_invalid(&mut self, count: u64) {
        self.total += count;
    }

    /// Takes in valid samples that are all 0.
    pub fn add_zeros<T: Sample>(&mut self, count: u64) {
        if count > 0 {
            if T::IS_FLOAT || size_of::<T>() > 4 {
                // Differences from a pivot of 0, all of them 0.
                debug_assert!(self.pivot.is_none());
                self.pivot = Some(0.0);
            }
            self.total += count;
            self.valid += count;
            self.add_extremes(0.0, 0.0);
        }
    }

    /// All of it as numbers, for a journal; see [`BandStats::from_words`].
    pub(crate) fn to_words(&self) -> [u64; BandStats::WORDS] {
        let half = |v: u128| [v as u64, (v >> 64) as u64];
        let ([sum, sum_high], [squares, squares_high]) =
            (half(self.exact_sum as u128), half(self.exact_squares));
        let (low, high) = self.extremes.unwrap_or_default();
        [
            self.valid,
            self.total,
            u64::from(self.extremes.is_some()) + 2 * u64::from(self.pivot.is_some()),
            low.to_bits(),
            high.to_bits(),
            sum,
            sum_high,
            squares,
            squares_high,
            self.pivot.unwrap_or_default().to_bits(),
            self.sum.high.to_bits(),
            self.sum.low.to_bits(),
            self.squares.high.to_bits(),
            self.squares.low.to_bits(),
        ]
    }

    /// Numbers of [`BandStats::to_words`].
    pub(crate) const WORDS: usize = 14;

    /// What [`BandStats::to_words`] was given.
    pub(crate) fn from_words(words: [u64; BandStats::WORDS]) -> BandStats {
        let [valid, total, has, low, high, sum, sum_high, squares, squares_high, rest @ ..] = words;
        let [pivot, sum_a, sum_b, squares_a, squares_b] = rest.map(f64::from_bits);
        let whole = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
        BandStats {
            valid,
            total,
            extremes: (has & 1 != 0).then_some((f64::from_bits(low), f64::from_bits(high))),
            exact_sum: whole(sum, sum_high) as i128,
            exact_squares: whole(squares, squares_high),
            pivot: (has & 2 != 0).then_some(pivot),
            sum: Double { high: sum_a, low: sum_b },
            squares: Double { high: squares_a, low: squares_b },
        }
    }

    /// Takes in the statistics of later blocks.
    pub fn merge(&mut self, other: &BandStats) {
        self.valid += other.valid;
        self.total += other.total;
        if let Some((low, high)) = other.extremes {
            self.add_extremes(low, high);
        }
        self.exact_sum += other.exact_sum;
        self.exact_squares += other.exact_squares;
        let Some(theirs) = other.pivot else { return };
        let own = *self.pivot.get_or_insert(theirs);
        // Their differences are from their pivot: moved by the distance of the two.
        let (high, low) = two_sum(theirs, -own);
        let (by, count) = (Double { high, low }, Double { high: other.valid as f64, low: 0.0 });
        let moved = by.times(count);
        let cross = by.times(other.sum);
        self.sum = self.sum.plus(other.sum).plus(moved);
        self.squares =
            self.squares.plus(other.squares).plus(cross).plus(cross).plus(by.times(moved));
    }

    /// Minimum, maximum, mean and standard deviation (of the population, as GDAL's), or `None` if no
    /// sample is valid.
    pub fn summary(&self) -> Option<[f64; 4]> {
        let (low, high) = self.extremes?;
        let count = self.valid as f64;
        if let Some(pivot) = self.pivot {
            let about = self.sum.over(count);
            let mean = about.plus(Double { high: pivot, low: 0.0 }).value();
            let square = about.times(about);
            let minus = Double { high: -square.high, low: -square.low };
            let variance = self.squares.over(count).plus(minus).value();
            return Some([low, high, mean, variance.max(0.0).sqrt()]);
        }
        let n = i128::from(self.valid);
        let middle = self.exact_sum.div_euclid(n);
        let rest = self.exact_sum - middle * n;
        // Squares about the whole number next to the mean: exact, and small.
        let squares =
            self.exact_squares as i128 - 2 * middle * self.exact_sum + n * middle * middle;
        let offset = rest as f64 / count;
        let variance = (squares as f64 / count - offset * offset).max(0.0);
        Some([low, high, middle as f64 + offset, variance.sqrt()])
    }

    /// Share of valid samples in percent.
    pub fn valid_percent(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.valid as f64 * 100.0 / self.total as f64 }
    }
}

/// Least and largest valid sample; at least one is valid. In lanes, since a chain of comparisons of
/// floats must not be reordered by the compiler.
fn extremes_of<T: Sample>(samples: &[T], valid: &[u8], all: bool) -> (T, T) {
    let start = valid.iter().position(|v| *v != 0).unwrap_or(0);
    let first = samples[start];
    if all && !T::IS_FLOAT {
        // The compiler makes lanes of this by itself.
        return samples.iter().fold((first, first), |(low, high), s| {
            (if *s < low { *s } else { low }, if *s > high { *s } else { high })
        });
    }
    let (mut low, mut high) = ([first; LANES], [first; LANES]);
    let mut take = |lane: usize, s: T| {
        low[lane] = if s < low[lane] { s } else { low[lane] };
        high[lane] = if s > high[lane] { s } else { high[lane] };
    };
    let (groups, rest) = samples.as_chunks::<LANES>();
    let (valid_groups, valid_rest) = valid.as_chunks::<LANES>();
    if all {
        for group in groups {
            (0..LANES).for_each(|lane| take(lane, group[lane]));
        }
    } else {
        for (group, valid) in groups.iter().zip(valid_groups) {
            (0..LANES)
                .for_each(|lane| take(lane, if valid[lane] != 0 { group[lane] } else { first }));
        }
    }
    for (s, v) in rest.iter().zip(valid_rest) {
        take(0, if *v != 0 { *s } else { first });
    }
    let least = low.into_iter().fold(first, |a, b| if b < a { b } else { a });
    let largest = high.into_iter().fold(first, |a, b| if b > a { b } else { a });
    (least, largest)
}

/// A number with 12 significant digits, in its shortest form (SPEC §5.9).
pub fn digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.11e}").parse().unwrap_or(value);
    if rounded != 0.0 && (rounded.abs() >= 1e15 || rounded.abs() < 1e-5) {
        format!("{rounded:e}")
    } else {
        format!("{rounded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats<T: Sample>(samples: &[T], part: usize) -> BandStats {
        let mut all = BandStats::default();
        for chunk in samples.chunks(part) {
            let mut one = BandStats::default();
            one.add_row(chunk, &vec![1; chunk.len()]);
            all.merge(&one);
        }
        all
    }

    #[test]
    fn small_integers_match_a_hand_count() {
        // 2 4 4 4 5 5 7 9: mean 5, standard deviation 2 (the textbook example).
        let summary = stats(&[2u8, 4, 4, 4, 5, 5, 7, 9], 3).summary().unwrap();
        assert_eq!(summary, [2.0, 9.0, 5.0, 2.0]);
        let summary = stats(&[-32768i16, 32767], 1).summary().unwrap();
        assert_eq!(summary, [-32768.0, 32767.0, -0.5, 32767.5]);
        let summary = stats(&[u32::MAX, u32::MAX - 2], 1).summary().unwrap();
        assert_eq!(summary, [4294967293.0, 4294967295.0, 4294967294.0, 1.0]);
    }

    #[test]
    fn invalid_samples_do_not_count() {
        let mut all = BandStats::default();
        all.add_row(&[1.0f32, f32::NAN, 3.0, -9999.0], &[1, 0, 1, 0]);
        assert_eq!(all.summary(), Some([1.0, 3.0, 2.0, 1.0]));
        assert_eq!(all.valid_percent(), 50.0);
        assert_eq!(BandStats::default().summary(), None);
    }

    #[test]
    fn large_floats_keep_their_spread_however_they_are_cut() {
        let samples: Vec<f64> = (0..10_000).map(|i| 1e9 + f64::from(i % 7) * 1e-3).collect();
        let texts: Vec<[String; 4]> = [1, 3, 100, 10_000]
            .map(|part| stats(&samples, part).summary().unwrap().map(digits))
            .into();
        assert!(texts.iter().all(|t| *t == texts[0]), "{texts:?}");
        // numpy: ((np.arange(10000) % 7) * 1e-3).std() = 0.0019999497..., to the step of 1e9 doubles.
        let deviation: f64 = texts[0][3].parse().unwrap();
        assert!((deviation - 1.99995e-3).abs() < 1e-7, "{deviation}");
    }

    #[test]
    fn numbers_have_twelve_digits() {
        assert_eq!(digits(1.0 / 3.0), "0.333333333333");
        assert_eq!(digits(-9999.0), "-9999");
        assert_eq!(digits(0.0), "0");
        assert_eq!(digits(1.5e300), "1.5e300");
    }
}
