//! The mosaic's grid: resolution, extent, alignment (SPEC §4).

use std::sync::Arc;

use crate::crs::Crs;
use crate::error::{Error, InputError, Result};
use crate::geometry::{Bounds, GeoTransform, Size};
use crate::mosaic::reproject::Candidate;

/// How the resolution follows from those of the sources, for each axis by itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Resolution {
    /// The smallest pixel.
    #[default]
    Highest,
    /// The largest pixel.
    Lowest,
    /// The arithmetic mean over the sources.
    Average,
    /// The greatest common divisor.
    Common,
    /// This pixel size, `[x, y]`, both positive.
    Fixed([f64; 2]),
}

/// Which phase the grid has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    /// The corner of the extent is a corner of a pixel, as in GDAL's VRT builder.
    #[default]
    Corner,
    /// The phase of the largest group of co-registered sources.
    Largest,
}

/// What the grid is made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetOptions {
    /// Resolution policy.
    pub resolution: Resolution,
    /// Extent; the union of the footprints without it.
    pub bounds: Option<Bounds>,
    /// CRS of `bounds`; that of the mosaic without it.
    pub bounds_crs: Option<Arc<Crs>>,
    /// Snap the extent outward to whole multiples of the resolution.
    pub tap: bool,
    /// Phase.
    pub align: Align,
}

/// Slack of `tap`, in pixels, so that float noise adds no row (gdalwarp's value).
const TAP_PX: f64 = 1e-8;
/// Most pixels on a side (SPEC §4.7).
const MAX_SIDE: f64 = 2_147_483_647.0;

/// The grid for rasters of one CRS. `largest` is the reference transform of the largest co-registered
/// group.
///
/// # Errors
/// [`InputError::Extent`] or [`InputError::Option`] if there is no such grid.
pub fn target_grid(
    candidates: &[Candidate],
    options: &TargetOptions,
    largest: &GeoTransform,
) -> Result<(GeoTransform, Size)> {
    let [res_x, res_y] = resolution(candidates, options.resolution)?;
    let union = candidates.iter().map(|candidate| candidate.bounds).reduce(Bounds::union);
    let Some(union) = union else {
        return Err(InputError::NoInputs("a mosaic needs at least one".into()).into());
    };
    let mut bounds = options.bounds.unwrap_or(union);
    if !(bounds.width() > 0.0 && bounds.height() > 0.0) {
        return Err(extent("minimum must be less than maximum"));
    }
    if !bounds.overlaps(union) {
        return Err(extent(&format!(
            "--bounds {}, {}, {}, {} touches no source; the sources cover {}, {}, {}, {}",
            bounds.min_x,
            bounds.min_y,
            bounds.max_x,
            bounds.max_y, //
            union.min_x,
            union.min_y,
            union.max_x,
            union.max_y
        )));
    }
    let snap = if options.tap {
        Some([0.0, 0.0])
    } else if options.align == Align::Largest {
        let [x0, _, _, y0, _, _] = largest.coefficients();
        Some([x0, y0])
    } else {
        None
    };
    if let Some([x, y]) = snap {
        let down = |v: f64, zero: f64, res: f64| ((v - zero) / res + TAP_PX).floor() * res + zero;
        let up = |v: f64, zero: f64, res: f64| ((v - zero) / res - TAP_PX).ceil() * res + zero;
        bounds = Bounds {
            min_x: down(bounds.min_x, x, res_x),
            min_y: down(bounds.min_y, y, res_y),
            max_x: up(bounds.max_x, x, res_x),
            max_y: up(bounds.max_y, y, res_y),
        };
    }
    let side = |length: f64, res: f64| -> Result<u32> {
        let pixels = (length / res + 0.5).floor().max(1.0);
        if pixels <= MAX_SIDE {
            return Ok(pixels as u32);
        }
        Err(extent(&format!(
            "{pixels} pixels on a side; at most {MAX_SIDE} are possible; choose a coarser --res or smaller --bounds"
        )))
    };
    let size = Size { width: side(bounds.width(), res_x)?, height: side(bounds.height(), res_y)? };
    Ok((GeoTransform::north_up(bounds.min_x, bounds.max_y, res_x, res_y)?, size))
}

fn extent(reason: &str) -> Error {
    InputError::Extent(reason.to_owned()).into()
}

fn resolution(candidates: &[Candidate], policy: Resolution) -> Result<[f64; 2]> {
    let axis = |axis: usize| -> Result<f64> {
        let values = candidates.iter().map(|candidate| candidate.resolution[axis]);
        let first = candidates.first().map_or(1.0, |candidate| candidate.resolution[axis]);
        Ok(match policy {
            Resolution::Highest => values.fold(first, f64::min),
            Resolution::Lowest => values.fold(first, f64::max),
            // Sources with one resolution give exactly it, without the rounding of a sum.
            Resolution::Average if candidates.iter().all(|c| c.resolution[axis] == first) => first,
            Resolution::Average => values.sum::<f64>() / candidates.len() as f64,
            Resolution::Common => common(values)?,
            Resolution::Fixed(fixed) => fixed[axis],
        })
    };
    let res = [axis(0)?, axis(1)?];
    if res.iter().all(|v| v.is_finite() && *v > 0.0) {
        return Ok(res);
    }
    Err(InputError::Option { option: "--res", reason: "must be positive".into() }.into())
}

/// Greatest common divisor of real numbers, with a relative tolerance of 1e-9 of the first.
fn common(mut values: impl Iterator<Item = f64>) -> Result<f64> {
    let Some(first) = values.next() else { return Ok(1.0) };
    let tolerance = first * 1e-9;
    let mut divisor = first;
    for value in values {
        let (mut a, mut b) = (value.max(divisor), value.min(divisor));
        while b > tolerance {
            let rest = a - (a / b).round() * b;
            (a, b) = (b, rest.abs());
        }
        divisor = a;
        if divisor < first * 1e-4 {
            let reason = "the resolutions of the sources have no common divisor; pass --res".into();
            return Err(InputError::Option { option: "--resolution common", reason }.into());
        }
    }
    Ok(divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster(x: f64, y: f64, res: f64, width: u32, height: u32) -> (GeoTransform, Size) {
        (GeoTransform::north_up(x, y, res, res).unwrap(), Size { width, height })
    }

    fn candidates(rasters: &[(GeoTransform, Size)]) -> Vec<Candidate> {
        let candidate = |(transform, size): &(GeoTransform, Size)| Candidate {
            bounds: transform.bounds(*size),
            resolution: transform.resolution(),
        };
        rasters.iter().map(candidate).collect()
    }

    fn grid(rasters: &[(GeoTransform, Size)], options: &TargetOptions) -> ([f64; 6], Size) {
        let (transform, size) = target_grid(&candidates(rasters), options, &rasters[0].0).unwrap();
        (transform.coefficients(), size)
    }

    #[test]
    fn the_size_is_rounded_as_gdal_does() {
        // 0 .. 20.4 at 1: GDAL's VRT builder gives int(20.4 + 0.5) = 20 columns.
        let rasters = [raster(0.0, 10.0, 1.0, 10, 10), raster(10.4, 10.0, 1.0, 10, 10)];
        let (transform, size) = grid(&rasters, &TargetOptions::default());
        assert_eq!(transform, [0.0, 1.0, 0.0, 10.0, 0.0, -1.0]);
        assert_eq!(size, Size { width: 20, height: 10 });
    }

    #[test]
    fn resolutions_follow_the_policy() {
        let rasters = [raster(0.0, 60.0, 10.0, 6, 6), raster(0.0, 60.0, 15.0, 4, 4)];
        let res =
            |resolution| grid(&rasters, &TargetOptions { resolution, ..Default::default() }).0[1];
        assert_eq!(res(Resolution::Highest), 10.0);
        assert_eq!(res(Resolution::Lowest), 15.0);
        assert_eq!(res(Resolution::Average), 12.5);
        assert_eq!(res(Resolution::Common), 5.0);
        assert_eq!(res(Resolution::Fixed([7.0, 7.0])), 7.0);
    }

    #[test]
    fn tap_snaps_outward_but_not_for_noise() {
        let rasters = [raster(10.0 + 1e-9, 20.0 - 1e-9, 10.0, 2, 2)];
        let options = TargetOptions { tap: true, ..Default::default() };
        assert_eq!(
            grid(&rasters, &options),
            ([10.0, 10.0, 0.0, 20.0, 0.0, -10.0], Size { width: 2, height: 2 })
        );
        let rasters = [raster(11.0, 19.0, 10.0, 2, 2)];
        assert_eq!(
            grid(&rasters, &options),
            ([10.0, 10.0, 0.0, 20.0, 0.0, -10.0], Size { width: 3, height: 3 })
        );
    }

    #[test]
    fn bounds_must_touch_a_source() {
        let rasters = [raster(0.0, 10.0, 1.0, 10, 10)];
        let bounds = Some(Bounds { min_x: 10.0, min_y: 0.0, max_x: 20.0, max_y: 10.0 });
        let options = TargetOptions { bounds, ..Default::default() };
        assert!(target_grid(&candidates(&rasters), &options, &rasters[0].0).is_err());
    }
}
