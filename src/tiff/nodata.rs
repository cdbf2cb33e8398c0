//! `GDAL_NODATA` (tag 42113) and the nodata of an `.aux.xml`: the text as GDAL understands it, for the type
//! of the samples (measured with GDAL 3.6.2 and 3.10.3).
//!
//! The text is read as far as it is a number, with a comma for a point; text that starts with none is 0.
//! Fractions are cut for integers, and what lies beyond an integer type is no nodata. Of 64-bit integers
//! the leading whole number counts. Beyond float32 lies infinity.

use crate::sample::{DataType, Nodata};

/// The nodata that a text gives to samples of a type, and what is odd about it.
pub(crate) fn parse(text: &str, dtype: DataType) -> (Option<Nodata>, Option<String>) {
    let text = text.split('\0').next().unwrap_or_default();
    if text.is_empty() {
        return (None, None);
    }
    let word = text.trim_start();
    let special = special(word);
    let (value, used) = match special {
        Some(value) => (value, word.trim_end().len()),
        None => leading_number(word),
    };
    let odd = (used < word.trim_end().len() || used == 0).then(|| {
        let shown: String = text.chars().take(40).collect();
        format!("nodata {shown:?} is no plain number; it is read as {value}, as GDAL does")
    });
    let nodata = match dtype {
        DataType::U64 | DataType::I64 => special.is_none().then(|| whole(word, dtype)),
        DataType::F32 => Some(Nodata::from_f64(to_f32_range(value))),
        dtype if dtype.is_float() || dtype.is_complex() => Some(Nodata::from_f64(value)),
        dtype => cut(value, dtype),
    };
    (nodata, odd)
}

/// Names of what is no number or infinite; only the start counts.
fn special(word: &str) -> Option<f64> {
    let lower = word.trim_start_matches(['+', '-']).get(..3).map(str::to_ascii_lowercase);
    let negative = word.starts_with('-');
    let infinite = if negative { f64::NEG_INFINITY } else { f64::INFINITY };
    match lower.as_deref() {
        Some("nan") => Some(f64::NAN),
        Some("inf") => Some(infinite),
        // Microsoft's: 1.#QNAN, 1.#IND, 1.#INF.
        Some("1.#") if word.to_ascii_uppercase().contains("#INF") => Some(infinite),
        Some("1.#") => Some(f64::NAN),
        _ => None,
    }
}

/// The number that a text starts with, and how many bytes it has; 0 of none.
fn leading_number(word: &str) -> (f64, usize) {
    let bytes = word.as_bytes();
    let digits = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let mut found = digits(end);
    end += found;
    if matches!(bytes.get(end), Some(b'.' | b',')) {
        let fraction = digits(end + 1);
        found += fraction;
        // "5." is a number, "." is none.
        end += if found > 0 { 1 + fraction } else { 0 };
    }
    if found == 0 {
        return (0.0, 0);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits((end + 1 + sign).min(bytes.len()));
        end += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    (word[..end].replace(',', ".").parse().unwrap_or(0.0), end)
}

/// Beyond the largest float32, and what is rounded to it in print, lies infinity.
fn to_f32_range(value: f64) -> f64 {
    if value.abs() > f64::from(f32::MAX) * (1.0 + 1e-6) {
        value.signum() * f64::INFINITY
    } else {
        value
    }
}

/// The whole number that a text starts with: saturated, and for unsigned ones wrapped (as strtoull has it).
fn whole(word: &str, dtype: DataType) -> Nodata {
    let (sign, rest) = match word.strip_prefix(['+', '-']) {
        Some(rest) => (if word.starts_with('-') { -1 } else { 1 }, rest),
        None => (1, word),
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit);
    let value =
        digits.fold(0i128, |sum, digit| (sum * 10 + i128::from(digit - b'0')).min(1 << 100));
    Nodata::Int(if dtype == DataType::U64 {
        let value = u64::try_from(value).unwrap_or(u64::MAX);
        let negative = sign < 0 && value != u64::MAX;
        i128::from(if negative { value.wrapping_neg() } else { value })
    } else {
        (sign * value).clamp(i64::MIN.into(), i64::MAX.into())
    })
}

/// The integer below a number in size, where the type reaches to the number itself.
fn cut(value: f64, dtype: DataType) -> Option<Nodata> {
    let (min, max) = match dtype {
        DataType::U8 => (0.0, f64::from(u8::MAX)),
        DataType::I8 => (f64::from(i8::MIN), f64::from(i8::MAX)),
        DataType::U16 => (0.0, f64::from(u16::MAX)),
        DataType::I16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
        DataType::U32 => (0.0, f64::from(u32::MAX)),
        _ => (f64::from(i32::MIN), f64::from(i32::MAX)),
    };
    (min..=max).contains(&value).then(|| Nodata::from_f64(value.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::{F32, F64, I16, I64, U8, U16, U64};

    /// What GDAL 3.6.2 and 3.10.3 mask (`GetMaskBand` of rasters of one row); where the two differ the one
    /// that makes sense. `None`: nothing is masked.
    #[test]
    fn texts_mean_what_they_mean_to_gdal() {
        let nan = f64::NAN;
        let table: [(&str, DataType, Option<f64>); 57] = [
            ("5abc", U8, Some(5.0)),
            ("5abc", F32, Some(5.0)),
            ("abc", U8, Some(0.0)),
            ("none", F64, Some(0.0)),
            ("", U8, None),
            (" ", U8, Some(0.0)),
            (" 5 ", U8, Some(5.0)),
            ("5 6", I16, Some(5.0)),
            ("5,6", U8, Some(5.0)),
            ("5,6", F64, Some(5.6)),
            ("5,5,5", F64, Some(5.5)),
            ("-9999,0", I16, Some(-9999.0)),
            ("-9999,0", F32, Some(-9999.0)),
            ("-9999", U16, None),
            ("10.4", U8, Some(10.0)),
            ("10.6", U8, Some(10.0)),
            ("10.4", F32, Some(10.4)),
            ("254.6", U8, Some(254.0)),
            ("255.4", U8, None),
            ("-0.4", U8, None),
            ("-0.4", I16, Some(0.0)),
            ("256", U8, None),
            ("32767.5", I16, None),
            ("1e40", F32, Some(f64::INFINITY)),
            ("-1e40", F32, Some(f64::NEG_INFINITY)),
            ("1e40", F64, Some(1e40)),
            ("1e40", U8, None),
            ("1e400", F64, Some(f64::INFINITY)),
            ("nan", U8, None),
            ("nan", I64, None),
            ("nan", F32, Some(nan)),
            ("-nan", F64, Some(nan)),
            ("nan(ind)", F32, Some(nan)),
            ("-1.#QNAN", F32, Some(nan)),
            ("-1.#IND000", F64, Some(nan)),
            ("1.#INF00", F64, Some(f64::INFINITY)),
            ("-inf", F32, Some(f64::NEG_INFINITY)),
            ("-Infinity", F32, Some(f64::NEG_INFINITY)),
            ("0x10", F64, Some(0.0)),
            ("1e", U8, Some(1.0)),
            ("1e+", U8, Some(1.0)),
            ("--5", U8, Some(0.0)),
            ("1d5", F64, Some(1.0)),
            (".5", F64, Some(0.5)),
            ("5.", U8, Some(5.0)),
            (",5", F64, Some(0.5)),
            ("1.0e+5x", F64, Some(1e5)),
            ("-3.40282347e+38", F32, Some(-3.402_823_47e38)),
            ("-1.7976931348623157e+308", F32, Some(f64::NEG_INFINITY)),
            ("10.6", U64, Some(10.0)),
            ("1e5", I64, Some(1.0)),
            ("-1", U64, Some(18_446_744_073_709_551_615.0)),
            ("9223372036854775808", I64, Some(9_223_372_036_854_775_807.0)),
            ("-9223372036854775809", I64, Some(-9_223_372_036_854_775_808.0)),
            ("99999999999999999999", U64, Some(18_446_744_073_709_551_615.0)),
            ("5\0abc", U8, Some(5.0)),
            ("1_000", U16, Some(1.0)),
        ];
        for (text, dtype, expected) in table {
            let found = parse(text, dtype).0;
            assert_eq!(found, expected.map(Nodata::Float), "{text:?} for {dtype}");
        }
        assert_eq!(parse("9223372036854775807", I64).0, Some(Nodata::Int(i64::MAX.into())));
        for (text, odd) in
            [("5", false), (" 5 ", false), ("nan ", false), ("5 6", true), ("none", true)]
        {
            assert_eq!(parse(text, F32).1.is_some(), odd, "{text:?}");
        }
    }
}
