//! Rows out of decoded blocks: picked, converted, judged. Where a block's type meets the output's.

use crate::composite;
use crate::raster::{AnyRaster, Raster};
use crate::sample::{Nodata, Sample};
use crate::with_raster;

/// Which samples of a block make a row of the output.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gather<'a> {
    /// Neighbours, from column `start` of a row of the block.
    Run { start: usize, row: usize },
    /// Columns `cols[i] - first` of a row of the block.
    Table { cols: &'a [u32], first: u32, row: usize },
    /// Any samples, by their index in a band of the block; `hit` is 0 where there is none.
    Index { at: &'a [u32], hit: &'a [u8] },
}

impl<'a> Gather<'a> {
    /// Which pixels of the row lie in the block, where that is not all of them.
    pub(crate) fn hit(&self) -> Option<&'a [u8]> {
        match self {
            Gather::Index { hit, .. } => Some(hit),
            _ => None,
        }
    }
}

/// Calls `each` with the position in the row and the sample.
fn pick<S: Sample>(band: &[S], width: usize, gather: &Gather<'_>, mut each: impl FnMut(usize, S)) {
    match gather {
        // Runs are taken as slices by the callers.
        Gather::Run { .. } => {}
        Gather::Table { cols, first, row } => {
            let line = &band[row * width..][..width];
            for (index, col) in cols.iter().enumerate() {
                each(index, line[(*col - first) as usize]);
            }
        }
        Gather::Index { at, .. } => {
            for (index, at) in at.iter().enumerate() {
                each(index, band[*at as usize]);
            }
        }
    }
}

/// The samples of a row as the output's type: in the block itself if nothing is to be done, else in
/// `buffer`.
pub(crate) fn row_as<'a, T: Sample>(
    raster: &'a AnyRaster,
    band: u32,
    gather: &Gather<'_>,
    count: usize,
    buffer: &'a mut Vec<T>,
) -> &'a [T] {
    with_raster!(raster, raster => typed_row(raster, band, gather, count, buffer))
}

fn typed_row<'a, S: Sample, T: Sample>(
    raster: &'a Raster<S>,
    band: u32,
    gather: &Gather<'_>,
    count: usize,
    buffer: &'a mut Vec<T>,
) -> &'a [T] {
    let width = raster.size().width as usize;
    let samples = raster.band(band);
    if let Gather::Run { start, row } = gather {
        let line = &samples[row * width + start..][..count];
        if S::DTYPE == T::DTYPE {
            return bytemuck::cast_slice(line);
        }
        buffer.resize(count, T::ZERO);
        composite::convert_row(line, &mut buffer[..count]);
        return &buffer[..count];
    }
    buffer.resize(count, T::ZERO);
    let out = &mut buffer[..count];
    pick(samples, width, gather, |index, sample| out[index] = crate::sample::convert(sample));
    out
}

/// The samples of a row, each changed in f64 before it takes the output's type.
pub(crate) fn row_changed<'a, T: Sample>(
    raster: &AnyRaster,
    band: u32,
    gather: &Gather<'_>,
    count: usize,
    buffer: &'a mut Vec<T>,
    change: impl Fn(f64) -> f64,
) -> &'a [T] {
    buffer.resize(count, T::ZERO);
    let out = &mut buffer[..count];
    with_raster!(raster, raster => {
        let (width, samples) = (raster.size().width as usize, raster.band(band));
        if let Gather::Run { start, row } = gather {
            let line = &samples[row * width + start..][..count];
            for (out, sample) in out.iter_mut().zip(line) {
                *out = T::from_f64(change(sample.to_f64()));
            }
        }
        pick(samples, width, gather, |at, sample| out[at] = T::from_f64(change(sample.to_f64())));
    });
    out
}

/// Clears the validity of samples that are nodata or NaN.
pub(crate) fn mark_row(
    raster: &AnyRaster,
    band: u32,
    gather: &Gather<'_>,
    nodata: Option<Nodata>,
    valid: &mut [u8],
) {
    fn mark<S: Sample>(
        raster: &Raster<S>,
        band: u32,
        gather: &Gather<'_>,
        nodata: Option<Nodata>,
        valid: &mut [u8],
    ) {
        let width = raster.size().width as usize;
        let nodata = nodata.and_then(Nodata::as_sample::<S>);
        if let Gather::Run { start, row } = gather {
            let line = &raster.band(band)[row * width + start..][..valid.len()];
            composite::mark_nodata(valid, line, nodata);
            return;
        }
        pick(raster.band(band), width, gather, |index, sample| {
            let invalid = sample.is_nan() || nodata.is_some_and(|nodata| sample.is_nodata(nodata));
            valid[index] &= u8::from(!invalid);
        });
    }
    with_raster!(raster, raster => mark(raster, band, gather, nodata, valid));
}

/// Clears the validity of samples that are 0: those of an alpha band or a mask.
pub(crate) fn mark_zero_row(raster: &AnyRaster, band: u32, gather: &Gather<'_>, valid: &mut [u8]) {
    fn mark<S: Sample>(raster: &Raster<S>, band: u32, gather: &Gather<'_>, valid: &mut [u8]) {
        let width = raster.size().width as usize;
        if let Gather::Run { start, row } = gather {
            let line = &raster.band(band)[row * width + start..][..valid.len()];
            composite::mark_zero(valid, line);
            return;
        }
        pick(raster.band(band), width, gather, |index, sample| {
            valid[index] &= u8::from(sample != S::ZERO);
        });
    }
    with_raster!(raster, raster => mark(raster, band, gather, valid));
}
