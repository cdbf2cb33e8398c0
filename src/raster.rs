//! Pixels in memory: [`Raster`] of one sample type, [`AnyRaster`] of any, and [`Mask`].

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Size;
use crate::sample::{ComplexF32, ComplexF64, ComplexI16, ComplexI32, DataType, Sample};
use crate::with_dtype;

/// Samples of a rectangle, band after band.
///
/// Sample of `band` at `(col, row)`: index `(band * height + row) * width + col`.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster<T> {
    size: Size,
    bands: u32,
    samples: Vec<T>,
}

impl<T: Sample> Raster<T> {
    /// From samples in the order of the index formula.
    ///
    /// # Panics
    /// If their number is not that of the shape.
    pub fn from_samples(size: Size, bands: u32, samples: Vec<T>) -> Raster<T> {
        let count = size.pixels().checked_mul(u64::from(bands));
        assert_eq!(count, Some(samples.len() as u64), "as many samples as the shape has");
        Raster { size, bands, samples }
    }

    /// A raster of zeros.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if its bytes do not fit the address space.
    pub fn zeros(size: Size, bands: u32) -> Result<Raster<T>> {
        let mut raster = Raster { size, bands: 0, samples: Vec::new() };
        raster.reset(size, bands)?;
        Ok(raster)
    }

    /// Makes it a raster of this shape, all zeros, in the memory it has where that suffices.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if its bytes do not fit the address space.
    pub fn reset(&mut self, size: Size, bands: u32) -> Result<()> {
        let count = sample_count::<T>(size, bands)?;
        self.samples.clear();
        self.samples.resize(count, T::ZERO);
        self.size = size;
        self.bands = bands;
        Ok(())
    }

    /// Makes it a raster of this shape in the memory it has where that suffices; the samples are
    /// whatever was there. Cheaper than [`Raster::reset`] where every sample is written next.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if its bytes do not fit the address space.
    pub fn reshape(&mut self, size: Size, bands: u32) -> Result<()> {
        let count = sample_count::<T>(size, bands)?;
        let room = self.samples.capacity();
        if count > room || count < room - room / 4 {
            // Growing in place would copy samples that nobody wants; far too much room would be
            // memory that no budget knows of.
            self.samples = Vec::with_capacity(count);
        }
        self.samples.resize(count, T::ZERO);
        self.size = size;
        self.bands = bands;
        Ok(())
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Number of bands.
    pub fn bands(&self) -> u32 {
        self.bands
    }

    /// Bytes of memory that it holds, used or not.
    pub fn capacity_bytes(&self) -> usize {
        self.samples.capacity() * size_of::<T>()
    }

    /// All samples, band after band.
    pub fn samples(&self) -> &[T] {
        &self.samples
    }

    /// All samples, band after band.
    pub fn samples_mut(&mut self) -> &mut [T] {
        &mut self.samples
    }

    /// The samples of one band, row after row.
    ///
    /// # Panics
    /// If there is no such band.
    pub fn band(&self, band: u32) -> &[T] {
        let count = self.size.pixels() as usize;
        &self.samples[band as usize * count..][..count]
    }

    /// The samples of one band, row after row.
    ///
    /// # Panics
    /// If there is no such band.
    pub fn band_mut(&mut self, band: u32) -> &mut [T] {
        let count = self.size.pixels() as usize;
        &mut self.samples[band as usize * count..][..count]
    }

    /// The sample of `band` at `(col, row)`.
    ///
    /// # Panics
    /// If it lies outside.
    pub fn get(&self, band: u32, col: u32, row: u32) -> T {
        assert!(col < self.size.width && row < self.size.height, "pixel inside the raster");
        self.band(band)[row as usize * self.size.width as usize + col as usize]
    }
}

/// Bytes of a raster of this shape as a count of samples.
fn sample_count<T: Sample>(size: Size, bands: u32) -> Result<usize> {
    let bytes = u128::from(size.pixels()) * u128::from(bands) * size_of::<T>() as u128;
    if bytes > isize::MAX as u128 {
        let need = u64::try_from(bytes).unwrap_or(u64::MAX);
        let max = isize::MAX as u64;
        return Err(Error::new(ErrorKind::Limit { what: "a raster in memory", need, max }));
    }
    Ok(bytes as usize / size_of::<T>())
}

/// Which samples of a raster are valid: a plane for each band, or one for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    size: Size,
    shared: bool,
    valid: Vec<u8>,
}

impl Mask {
    /// From bytes of 0 and 1: index `(plane * height + row) * width + col`. One plane is for all bands.
    pub fn new(size: Size, valid: Vec<u8>) -> Mask {
        Mask { size, shared: valid.len() as u64 <= size.pixels(), valid }
    }

    /// Whether the sample of `band` at `(col, row)` is valid.
    ///
    /// # Panics
    /// If it lies outside.
    pub fn is_valid(&self, band: u32, col: u32, row: u32) -> bool {
        assert!(col < self.size.width && row < self.size.height, "pixel inside the raster");
        let plane = if self.shared { 0 } else { band as usize };
        let at = plane * self.size.pixels() as usize
            + row as usize * self.size.width as usize
            + col as usize;
        self.valid[at] != 0
    }

    /// The plane that holds for `band`: bytes of 0 and 1, row after row.
    ///
    /// # Panics
    /// If there is no such band.
    pub fn plane(&self, band: u32) -> &[u8] {
        let count = self.size.pixels() as usize;
        let plane = if self.shared { 0 } else { band as usize };
        &self.valid[plane * count..][..count]
    }

    /// Number of valid samples, of all planes.
    pub fn count_valid(&self) -> u64 {
        self.valid.iter().map(|v| u64::from(*v)).sum()
    }
}

/// A [`Raster`] of any sample type.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "one variant per DataType")]
pub enum AnyRaster {
    U8(Raster<u8>),
    I8(Raster<i8>),
    U16(Raster<u16>),
    I16(Raster<i16>),
    U32(Raster<u32>),
    I32(Raster<i32>),
    U64(Raster<u64>),
    I64(Raster<i64>),
    F32(Raster<f32>),
    F64(Raster<f64>),
    CI16(Raster<ComplexI16>),
    CI32(Raster<ComplexI32>),
    CF32(Raster<ComplexF32>),
    CF64(Raster<ComplexF64>),
}

/// Runs `$body` with `$raster` bound to the typed raster inside `$any`.
#[macro_export]
macro_rules! with_raster {
    ($any:expr, $raster:ident => $body:expr) => {
        match $any {
            $crate::raster::AnyRaster::U8($raster) => $body,
            $crate::raster::AnyRaster::I8($raster) => $body,
            $crate::raster::AnyRaster::U16($raster) => $body,
            $crate::raster::AnyRaster::I16($raster) => $body,
            $crate::raster::AnyRaster::U32($raster) => $body,
            $crate::raster::AnyRaster::I32($raster) => $body,
            $crate::raster::AnyRaster::U64($raster) => $body,
            $crate::raster::AnyRaster::I64($raster) => $body,
            $crate::raster::AnyRaster::F32($raster) => $body,
            $crate::raster::AnyRaster::F64($raster) => $body,
            $crate::raster::AnyRaster::CI16($raster) => $body,
            $crate::raster::AnyRaster::CI32($raster) => $body,
            $crate::raster::AnyRaster::CF32($raster) => $body,
            $crate::raster::AnyRaster::CF64($raster) => $body,
        }
    };
}

impl AnyRaster {
    /// A raster of zeros.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if its bytes do not fit the address space.
    pub fn zeros(dtype: DataType, size: Size, bands: u32) -> Result<AnyRaster> {
        with_dtype!(dtype, T => Raster::<T>::zeros(size, bands).map(AnyRaster::from))
    }

    /// Type of the samples.
    pub fn dtype(&self) -> DataType {
        fn of<T: Sample>(_: &Raster<T>) -> DataType {
            T::DTYPE
        }
        with_raster!(self, raster => of(raster))
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        with_raster!(self, raster => raster.size())
    }

    /// Number of bands.
    pub fn bands(&self) -> u32 {
        with_raster!(self, raster => raster.bands())
    }

    /// Bytes of memory that it holds, used or not.
    pub fn capacity_bytes(&self) -> usize {
        with_raster!(self, raster => raster.capacity_bytes())
    }

    /// All samples as bytes in the machine's order.
    pub fn as_bytes(&self) -> &[u8] {
        with_raster!(self, raster => bytemuck::cast_slice(raster.samples()))
    }

    /// One sample as `f64`: exact but for 64-bit integers beyond 2^53; the real part
    /// of a complex one.
    ///
    /// # Panics
    /// If it lies outside.
    pub fn get_f64(&self, band: u32, col: u32, row: u32) -> f64 {
        with_raster!(self, raster => raster.get(band, col, row).to_f64())
    }
}

macro_rules! from_raster {
    ($($t:ident $tag:ident),*) => { $(
        impl From<Raster<$t>> for AnyRaster {
            fn from(raster: Raster<$t>) -> AnyRaster { AnyRaster::$tag(raster) }
        }
    )* };
}
from_raster!(u8 U8, i8 I8, u16 U16, i16 I16, u32 U32, i32 I32, u64 U64, i64 I64, f32 F32, f64 F64);
from_raster!(ComplexI16 CI16, ComplexI32 CI32, ComplexF32 CF32, ComplexF64 CF64);
