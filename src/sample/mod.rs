//! Sample types: the tag outside ([`DataType`]), the generic inside ([`Sample`]), conversion between
//! them, and nodata values that keep their exact literal ([`Nodata`]).

mod complex;

use std::fmt;

pub use self::complex::{ComplexF32, ComplexF64, ComplexI16, ComplexI32};
use crate::error::{Error, InputError, Result};

/// Type of the samples of a raster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it: unsigned, signed, float, complex, and the bits")]
pub enum DataType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    CI16,
    CI32,
    CF32,
    CF64,
}

/// Runs `$body` with `$T` bound to the Rust type of `$dtype`.
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::sample::DataType::U8 => {
                type $T = u8;
                $body
            }
            $crate::sample::DataType::I8 => {
                type $T = i8;
                $body
            }
            $crate::sample::DataType::U16 => {
                type $T = u16;
                $body
            }
            $crate::sample::DataType::I16 => {
                type $T = i16;
                $body
            }
            $crate::sample::DataType::U32 => {
                type $T = u32;
                $body
            }
            $crate::sample::DataType::I32 => {
                type $T = i32;
                $body
            }
            $crate::sample::DataType::U64 => {
                type $T = u64;
                $body
            }
            $crate::sample::DataType::I64 => {
                type $T = i64;
                $body
            }
            $crate::sample::DataType::F32 => {
                type $T = f32;
                $body
            }
            $crate::sample::DataType::F64 => {
                type $T = f64;
                $body
            }
            $crate::sample::DataType::CI16 => {
                type $T = $crate::sample::ComplexI16;
                $body
            }
            $crate::sample::DataType::CI32 => {
                type $T = $crate::sample::ComplexI32;
                $body
            }
            $crate::sample::DataType::CF32 => {
                type $T = $crate::sample::ComplexF32;
                $body
            }
            $crate::sample::DataType::CF64 => {
                type $T = $crate::sample::ComplexF64;
                $body
            }
        }
    };
}

impl DataType {
    /// All types.
    pub const ALL: [DataType; 14] = [
        DataType::U8,
        DataType::I8,
        DataType::U16,
        DataType::I16,
        DataType::U32,
        DataType::I32,
        DataType::U64,
        DataType::I64,
        DataType::F32,
        DataType::F64,
        DataType::CI16,
        DataType::CI32,
        DataType::CF32,
        DataType::CF64,
    ];

    /// Bytes of one sample.
    pub fn size(self) -> usize {
        with_dtype!(self, T => size_of::<T>())
    }

    /// Whether it is a floating-point type, also of complex numbers.
    pub fn is_float(self) -> bool {
        matches!(self, DataType::F32 | DataType::F64 | DataType::CF32 | DataType::CF64)
    }

    /// Whether its samples are complex: copied only, never computed with.
    pub fn is_complex(self) -> bool {
        with_dtype!(self, T => <T as Sample>::IS_COMPLEX)
    }

    /// The type of each of a complex sample's two parts; a real type itself.
    pub fn part(self) -> DataType {
        match self {
            DataType::CI16 => DataType::I16,
            DataType::CI32 => DataType::I32,
            DataType::CF32 => DataType::F32,
            DataType::CF64 => DataType::F64,
            real => real,
        }
    }

    /// Whether it is an integer type with a sign.
    pub fn is_signed_integer(self) -> bool {
        matches!(self, DataType::I8 | DataType::I16 | DataType::I32 | DataType::I64)
    }

    /// Name as rasterio and numpy spell it (`uint8`, …, `float64`; `complex_int16`, `complex64`).
    pub fn name(self) -> &'static str {
        match self {
            DataType::U8 => "uint8",
            DataType::I8 => "int8",
            DataType::U16 => "uint16",
            DataType::I16 => "int16",
            DataType::U32 => "uint32",
            DataType::I32 => "int32",
            DataType::U64 => "uint64",
            DataType::I64 => "int64",
            DataType::F32 => "float32",
            DataType::F64 => "float64",
            DataType::CI16 => "complex_int16",
            DataType::CI32 => "complex_int32",
            DataType::CF32 => "complex64",
            DataType::CF64 => "complex128",
        }
    }

    /// Parses rasterio's, GDAL's and our own names (`uint16`, `UInt16`, `u16`, `Byte`); `None` if unknown.
    pub fn parse(name: &str) -> Option<DataType> {
        let name = name.to_ascii_lowercase();
        let short = [
            "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "cint16", "cint32",
            "cfloat32", "cfloat64",
        ];
        if name == "byte" {
            return Some(DataType::U8);
        }
        DataType::ALL
            .into_iter()
            .zip(short)
            .find(|(t, s)| t.name() == name || *s == name)
            .map(|p| p.0)
    }

    /// The smallest type that holds every value of both (SPEC §5.4), or `None` where there is none
    /// (`u64` with a signed type or a float; complex with real).
    pub fn promote(self, other: DataType) -> Option<DataType> {
        if self == other {
            return Some(self);
        }
        if self.is_complex() || other.is_complex() {
            if self.is_complex() != other.is_complex() {
                return None;
            }
            let part = self.part().promote(other.part())?;
            return DataType::ALL.into_iter().find(|t| t.is_complex() && t.part() == part);
        }
        let holds = |t: DataType, s: DataType| {
            let (tl, th) = t.integer_range();
            let (sl, sh) = s.integer_range();
            match (t.is_float(), s.is_float()) {
                (true, true) => t.size() >= s.size(),
                (false, true) => false,
                // A float holds an integer if its significand has the bits.
                (true, false) => s.size() * 8 <= if t == DataType::F32 { 24 } else { 53 },
                (false, false) => tl <= sl && th >= sh,
            }
        };
        DataType::ALL
            .into_iter()
            .filter(|t| !t.is_complex() && holds(*t, self) && holds(*t, other))
            .min_by_key(|t| (t.size(), t.is_float()))
    }

    /// Least and largest value of an integer type; zeros for floats.
    fn integer_range(self) -> (i128, i128) {
        with_dtype!(self, T => (<T as Sample>::MIN_INT, <T as Sample>::MAX_INT))
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod private {
    pub trait Sealed {}
}

/// A Rust type that a raster's samples can have.
///
/// Sealed: implemented for the types of [`DataType`]. Complex types are for copying only: what asks for
/// one number gives or takes the real part.
pub trait Sample:
    bytemuck::Pod + PartialOrd + PartialEq + fmt::Debug + Send + Sync + private::Sealed + 'static
{
    /// The tag of this type.
    const DTYPE: DataType;
    /// Zero.
    const ZERO: Self;
    /// Whether this is a floating-point type, or a pair of such.
    const IS_FLOAT: bool;
    /// Whether this is a complex type.
    const IS_COMPLEX: bool = false;
    /// Least value of an integer type, 0 for floats.
    const MIN_INT: i128;
    /// Largest value of an integer type, 0 for floats.
    const MAX_INT: i128;

    /// The value as `f64`: exact but for 64-bit integers beyond 2^53.
    fn to_f64(self) -> f64;
    /// Rounds half away from zero, saturates, and takes NaN to 0 for integers (SPEC §5.4).
    fn from_f64(value: f64) -> Self;
    /// The imaginary part; 0 of a real type.
    #[inline]
    fn imaginary(self) -> f64 {
        0.0
    }
    /// A complex number of its parts, each as [`Sample::from_f64`] makes it; a real type drops `im`.
    #[inline]
    fn from_parts(re: f64, im: f64) -> Self {
        let _ = im;
        Self::from_f64(re)
    }
    /// The value of an integer; floats are truncated (never used for them).
    fn to_i128(self) -> i128;
    /// Saturates for integers, rounds to nearest for floats.
    fn from_i128(value: i128) -> Self;
    /// Whether it is NaN; constant `false` for integers.
    fn is_nan(self) -> bool;
    /// Whether it is invalid for being this nodata: it equals it. Of float32 beyond ±3.4e38, which programs
    /// round each in its own way, all of one sign are equal (as in GDAL).
    fn is_nodata(self, nodata: Self) -> bool {
        self == nodata
    }
    /// The next representable value, upwards, or downwards from the type's largest value.
    fn next_value(self) -> Self;
    /// The value with its bytes reversed.
    fn swapped(self) -> Self;
}

macro_rules! integer_sample {
    ($($t:ident $tag:ident),*) => { $(
        impl private::Sealed for $t {}
        impl Sample for $t {
            const DTYPE: DataType = DataType::$tag;
            const ZERO: Self = 0;
            const IS_FLOAT: bool = false;
            const MIN_INT: i128 = $t::MIN as i128;
            const MAX_INT: i128 = $t::MAX as i128;
            #[inline]
            fn to_f64(self) -> f64 { self as f64 }
            // `as` from a float saturates and takes NaN to 0. Half is added as the number just below it:
            // the sum with 0.49999999999999994 would round up to 1 otherwise, and sums of other halves
            // round to the whole number as they should. `f64::round` is a call on plain x86-64.
            #[inline]
            fn from_f64(value: f64) -> Self {
                const HALF: f64 = 0.499_999_999_999_999_94;
                (value + HALF.copysign(value)) as $t
            }
            #[inline]
            fn to_i128(self) -> i128 { self as i128 }
            #[inline]
            fn from_i128(value: i128) -> Self { value.clamp(Self::MIN_INT, Self::MAX_INT) as $t }
            #[inline]
            fn is_nan(self) -> bool { false }
            #[inline]
            fn next_value(self) -> Self { if self == $t::MAX { self - 1 } else { self + 1 } }
            #[inline]
            fn swapped(self) -> Self { self.swap_bytes() }
        }
    )* };
}
integer_sample!(u8 U8, i8 I8, u16 U16, i16 I16, u32 U32, i32 I32, u64 U64, i64 I64);

macro_rules! float_sample {
    ($($t:ident $tag:ident $huge:expr),*) => { $(
        impl private::Sealed for $t {}
        impl Sample for $t {
            const DTYPE: DataType = DataType::$tag;
            const ZERO: Self = 0.0;
            const IS_FLOAT: bool = true;
            const MIN_INT: i128 = 0;
            const MAX_INT: i128 = 0;
            #[inline]
            fn to_f64(self) -> f64 { self as f64 }
            /// Saturates at the largest finite value; infinities stay.
            #[inline]
            fn from_f64(value: f64) -> Self {
                let cast = value as $t;
                if cast.is_infinite() && value.is_finite() { $t::MAX.copysign(cast) } else { cast }
            }
            #[inline]
            fn to_i128(self) -> i128 { self as i128 }
            #[inline]
            fn from_i128(value: i128) -> Self { value as $t }
            #[inline]
            fn is_nan(self) -> bool { self != self }
            #[inline]
            fn is_nodata(self, nodata: Self) -> bool {
                let alike = |v: $t| (v.abs() >= $huge) & v.is_finite();
                (self == nodata)
                    | (alike(nodata) & alike(self) & (self.is_sign_negative() == nodata.is_sign_negative()))
            }
            #[inline]
            fn next_value(self) -> Self {
                if self == $t::MAX { self.next_down() } else { self.next_up() }
            }
            #[inline]
            fn swapped(self) -> Self { $t::from_bits(self.to_bits().swap_bytes()) }
        }
    )* };
}
float_sample!(f32 F32 3.4e38, f64 F64 f64::INFINITY);

/// Converts one sample (SPEC §5.4): integers never pass through a float on the way to integers.
#[inline]
pub fn convert<S: Sample, T: Sample>(value: S) -> T {
    if S::IS_COMPLEX || T::IS_COMPLEX {
        return T::from_parts(value.to_f64(), value.imaginary());
    }
    // Integers of up to 32 bits are exact in a double, which floats are made from faster.
    if S::IS_FLOAT || (T::IS_FLOAT && size_of::<S>() <= 4) {
        T::from_f64(value.to_f64())
    } else {
        T::from_i128(value.to_i128())
    }
}

/// A nodata value that keeps its exact literal: a 64-bit integer does not fit an `f64`.
#[derive(Debug, Clone, Copy)]
pub enum Nodata {
    /// A whole number.
    Int(i128),
    /// Any other number, NaN and the infinities.
    Float(f64),
}

impl Nodata {
    /// Parses what GDAL, Arc and people write: `-9999`, `0`, `nan`, `-1.#QNAN`, `1e20`, `-inf`.
    ///
    /// # Errors
    /// [`InputError::Option`] if it is not a number.
    pub fn parse(text: &str) -> Result<Nodata> {
        let text = text.trim().trim_end_matches('\0').trim();
        if let Ok(value) = text.parse::<i128>() {
            return Ok(Nodata::Int(value));
        }
        let lower = text.to_ascii_lowercase();
        let value = match lower.as_str() {
            "nan" | "+nan" | "-nan" | "1.#qnan" | "-1.#qnan" | "1.#ind" | "-1.#ind"
            | "nan(ind)" | "-nan(ind)" | "1.#snan" => f64::NAN,
            "1.#inf" | "+1.#inf" => f64::INFINITY,
            "-1.#inf" => f64::NEG_INFINITY,
            _ => lower.parse::<f64>().map_err(|_| {
                Error::new(InputError::Option {
                    option: "nodata",
                    reason: format!("{text:?} is not a number"),
                })
            })?,
        };
        Ok(Nodata::from_f64(value))
    }

    /// The value of a float, kept as a whole number where it is one.
    pub fn from_f64(value: f64) -> Nodata {
        // Whole numbers above 2^63 stay floats: their literal is a float's.
        if value.fract() == 0.0 && value.abs() < 9.2e18 {
            Nodata::Int(value as i128)
        } else {
            Nodata::Float(value)
        }
    }

    /// The sample that equals this nodata, or `None` where the type cannot hold it: then no sample
    /// can equal it. A float32 nodata is compared after rounding to float32 (SPEC §5.2).
    pub fn as_sample<T: Sample>(self) -> Option<T> {
        match self {
            Nodata::Int(value) if T::IS_FLOAT => Some(T::from_f64(value as f64)),
            Nodata::Int(value) => {
                (T::MIN_INT..=T::MAX_INT).contains(&value).then(|| T::from_i128(value))
            }
            Nodata::Float(value) if T::IS_FLOAT => {
                let sample = T::from_f64(value);
                // A double beyond float32's range is not its largest value, unless it rounds to it.
                let same = value.is_nan() || (sample.to_f64() - value).abs() <= value.abs() * 1e-6;
                (same || value.is_infinite()).then_some(sample)
            }
            Nodata::Float(value) => {
                let exact = value.fract() == 0.0
                    && value >= T::MIN_INT as f64
                    && value <= T::MAX_INT as f64;
                exact.then(|| T::from_f64(value))
            }
        }
    }

    /// The value as `f64`: exact but for whole numbers beyond 2^53.
    pub fn to_f64(self) -> f64 {
        match self {
            Nodata::Int(value) => value as f64,
            Nodata::Float(value) => value,
        }
    }

    /// Whether a type can hold it.
    pub fn fits(self, dtype: DataType) -> bool {
        with_dtype!(dtype, T => self.as_sample::<T>().is_some())
    }
}

/// Equal literals; NaN equals NaN.
impl PartialEq for Nodata {
    fn eq(&self, other: &Nodata) -> bool {
        match (self, other) {
            (Nodata::Int(a), Nodata::Int(b)) => a == b,
            (a, b) => {
                let (a, b) = (a.to_f64(), b.to_f64());
                a == b || (a.is_nan() && b.is_nan())
            }
        }
    }
}

impl fmt::Display for Nodata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nodata::Int(value) => write!(f, "{value}"),
            Nodata::Float(value) if value.is_nan() => f.write_str("nan"),
            Nodata::Float(value) if value.is_infinite() => {
                f.write_str(if *value > 0.0 { "inf" } else { "-inf" })
            }
            // Exponents keep 1.7e308 short; both forms round-trip.
            Nodata::Float(value) if value.abs() >= 1e17 || value.abs() < 1e-5 => {
                write!(f, "{value:e}")
            }
            Nodata::Float(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_follows_the_spec() {
        use DataType::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        let table = [
            (U8, I16, Some(I16)),
            (U16, I16, Some(I32)),
            (I32, F32, Some(F64)),
            (U16, F32, Some(F32)),
            (U8, I8, Some(I16)),
            (U32, I32, Some(I64)),
            (U32, F32, Some(F64)),
            (U64, I8, None),
            (U64, F32, None),
            (I64, F64, None),
            (U64, U8, Some(U64)),
            (F32, F64, Some(F64)),
        ];
        for (a, b, expected) in table {
            assert_eq!(a.promote(b), expected, "{a} with {b}");
            assert_eq!(b.promote(a), expected, "{b} with {a}");
        }
    }

    #[test]
    fn conversion_rounds_half_away_and_saturates() {
        assert_eq!(convert::<f64, u8>(2.5), 3);
        assert_eq!(convert::<f64, i8>(-2.5), -3);
        assert_eq!(convert::<f32, u8>(300.7), 255);
        assert_eq!(convert::<f32, u8>(f32::NAN), 0);
        assert_eq!(convert::<i64, u64>(-1), 0);
        assert_eq!(convert::<u64, i64>(u64::MAX), i64::MAX);
        assert_eq!(convert::<i64, i64>(i64::MIN + 1), i64::MIN + 1);
        assert_eq!(convert::<f64, f32>(1e300), f32::MAX);
        assert_eq!(convert::<f64, f32>(f64::NEG_INFINITY), f32::NEG_INFINITY);
    }

    #[test]
    fn nodata_matches_only_what_a_type_can_hold() {
        let parse = |t: &str| Nodata::parse(t).unwrap();
        assert_eq!(parse("-9999").as_sample::<u16>(), None);
        assert_eq!(parse("-9999").as_sample::<i16>(), Some(-9999));
        assert_eq!(parse("9223372036854775807").as_sample::<i64>(), Some(i64::MAX));
        assert_eq!(parse("-3.4028234663852886e+38").as_sample::<f32>(), Some(f32::MIN));
        assert_eq!(parse("-3.40282347e+38").as_sample::<f32>(), Some(f32::MIN));
        assert_eq!(parse("-1.7976931348623157e+308").as_sample::<f32>(), None);
        assert_eq!(parse("0.1").as_sample::<f32>(), Some(0.1));
        assert_eq!(parse("0.5").as_sample::<u8>(), None);
        assert!(parse("-1.#QNAN").as_sample::<f32>().unwrap().is_nan());
        assert_eq!(parse("nan").as_sample::<u8>(), None);
        assert_eq!(parse("nan"), parse("-nan"));
        assert_eq!(parse("255.0").to_string(), "255");
        assert!(Nodata::parse("none").is_err());
    }
}
