//! Complex samples: pairs that are copied as they are, and never computed with (SPEC §5.4).
//!
//! A pair lies in memory as it does in a TIFF: real part, then imaginary part.

use std::fmt;

use super::{DataType, Sample, private};

macro_rules! complex_sample {
    ($($name:ident $part:ident $tag:ident $float:literal $doc:literal),*) => { $(
        #[doc = $doc]
        ///
        /// Ordered by the real part first; kernels that need more than an order refuse it.
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub struct $name {
            /// Real part.
            pub re: $part,
            /// Imaginary part.
            pub im: $part,
        }
        impl private::Sealed for $name {}
        impl Sample for $name {
            const DTYPE: DataType = DataType::$tag;
            const ZERO: Self = $name { re: <$part as Sample>::ZERO, im: <$part as Sample>::ZERO };
            const IS_FLOAT: bool = $float;
            const IS_COMPLEX: bool = true;
            const MIN_INT: i128 = <$part as Sample>::MIN_INT;
            const MAX_INT: i128 = <$part as Sample>::MAX_INT;
            #[inline]
            fn to_f64(self) -> f64 { self.re.to_f64() }
            #[inline]
            fn from_f64(value: f64) -> Self {
                $name { re: <$part as Sample>::from_f64(value), ..Self::ZERO }
            }
            #[inline]
            fn imaginary(self) -> f64 { self.im.to_f64() }
            #[inline]
            fn from_parts(re: f64, im: f64) -> Self {
                $name {
                    re: <$part as Sample>::from_f64(re),
                    im: <$part as Sample>::from_f64(im),
                }
            }
            #[inline]
            fn to_i128(self) -> i128 { self.re.to_i128() }
            #[inline]
            fn from_i128(value: i128) -> Self {
                $name { re: <$part as Sample>::from_i128(value), ..Self::ZERO }
            }
            #[inline]
            fn is_nan(self) -> bool { self.re.is_nan() | self.im.is_nan() }
            #[inline]
            fn next_value(self) -> Self { $name { re: self.re.next_value(), im: self.im } }
            #[inline]
            fn swapped(self) -> Self {
                $name { re: self.re.swapped(), im: self.im.swapped() }
            }
        }
        /// `1+2i`.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{:+}i", self.re, self.im)
            }
        }
    )* };
}
complex_sample!(
    ComplexI16 i16 CI16 false "A complex number of two 16-bit integers (GDAL's `CInt16`).",
    ComplexI32 i32 CI32 false "A complex number of two 32-bit integers (GDAL's `CInt32`).",
    ComplexF32 f32 CF32 true "A complex number of two 32-bit floats (GDAL's `CFloat32`).",
    ComplexF64 f64 CF64 true "A complex number of two 64-bit floats (GDAL's `CFloat64`)."
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Nodata, convert};

    #[test]
    fn pairs_are_copied_and_converted_whole() {
        let pair = ComplexI16 { re: -3, im: 7 };
        assert_eq!(convert::<ComplexI16, ComplexF64>(pair), ComplexF64 { re: -3.0, im: 7.0 });
        assert_eq!(convert::<ComplexI16, ComplexI16>(pair), pair);
        let wide = ComplexF64 { re: 70_000.0, im: f64::NAN };
        assert_eq!(convert::<ComplexF64, ComplexI16>(wide), ComplexI16 { re: 32_767, im: 0 });
        assert_eq!(
            bytemuck::bytes_of(&pair.swapped()),
            [pair.re.to_be(), pair.im.to_be()].map(i16::to_ne_bytes).concat()
        );
        assert_eq!(pair.to_string(), "-3+7i");
        assert!(wide.is_nan() && !pair.is_nan());
    }

    #[test]
    fn complex_stays_complex() {
        let complex = [DataType::CI16, DataType::CI32, DataType::CF32, DataType::CF64];
        for dtype in complex {
            assert!(dtype.is_complex() && dtype.promote(DataType::F64).is_none());
            assert_eq!(DataType::parse(dtype.name()), Some(dtype));
        }
        assert_eq!(DataType::CI16.promote(DataType::CF32), Some(DataType::CF32));
        assert_eq!(DataType::CI32.promote(DataType::CF32), Some(DataType::CF64));
        assert_eq!(DataType::parse("CFloat32"), Some(DataType::CF32));
        assert_eq!(DataType::CF64.size(), 16);
    }

    #[test]
    fn nodata_of_complex_is_a_real_number() {
        let nodata = Nodata::Int(-9999).as_sample::<ComplexF32>();
        assert_eq!(nodata, Some(ComplexF32 { re: -9999.0, im: 0.0 }));
        assert_eq!(Nodata::Int(40_000).as_sample::<ComplexI16>(), None);
    }
}
