//! Sources read from their overviews (SPEC §5.8): for pictures that are coarser than the sources are.

use std::sync::Arc;

use crate::error::Result;
use crate::geometry::{GeoTransform, Size};
use crate::source::Source;

/// An output must be this many times coarser before overviews are read.
const LEAST_RATIO: f64 = 2.0;
/// Overviews have whole sizes: one of 171 pixels for 512 is as fine as a third.
const SLACK: f64 = 1.01;

/// The source on the coarsest of its overviews that is at least as fine as `resolution`, in units of its
/// CRS; the source itself where there is none, or only a part of it counts. Needs a dataset that was
/// opened with its overviews' blocks.
///
/// # Errors
/// [`crate::error::FormatError::Georeference`] if the overview's pixels have no area.
pub fn reduced(source: &Source, resolution: [f64; 2]) -> Result<Source> {
    let dataset = &*source.dataset;
    let own = source.transform().resolution();
    let wanted = (resolution[0] / own[0]).min(resolution[1] / own[1]);
    let window = source.view.as_ref().is_some_and(|view| view.window.is_some());
    if window || wanted.is_nan() || wanted < LEAST_RATIO {
        return Ok(source.clone());
    }
    let Size { width, height } = dataset.image.size;
    let factors = |size: Size| {
        [f64::from(width) / f64::from(size.width), f64::from(height) / f64::from(size.height)]
    };
    let fitting = dataset.overviews.iter().filter_map(|overview| {
        let layouts = overview.layouts.as_deref()?;
        let [x, y] = factors(overview.size);
        let alike = layouts.image.bands == dataset.image.bands
            && layouts.image.dtype == dataset.image.dtype
            && layouts.mask.is_some() == dataset.mask.is_some()
            && layouts.image.size == overview.size;
        (alike && x.max(y) <= wanted * SLACK).then_some((x.max(y), overview.size, layouts))
    });
    let Some((_, size, layouts)) = fitting.max_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Ok(source.clone());
    };
    let [fx, fy] = factors(size);
    let [x0, dx, rx, y0, ry, dy] = dataset.transform.coefficients();
    let mut coarse = dataset.clone();
    coarse.image = layouts.image.clone();
    coarse.mask = layouts.mask.clone().map(Box::new);
    coarse.transform = GeoTransform::new([x0, dx * fx, rx * fy, y0, ry * fx, dy * fy])?;
    coarse.overviews = Box::default();
    Ok(Source { dataset: Arc::new(coarse), ..source.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::open::open_any;
    use crate::tiff::reader::ReadOptions;
    use std::path::Path;

    #[test]
    fn the_coarsest_that_is_fine_enough_is_read() {
        let path = Path::new("fixtures/sources/overviews.tif");
        let source = open_any(path, ReadOptions { overviews: true }).unwrap();
        let Size { width, height } = source.size();
        let [x, y] = source.transform().resolution();
        let sizes: Vec<Size> = source.dataset.overviews.iter().map(|o| o.size).collect();
        assert!(!sizes.is_empty());
        let mut cases = 0;
        for ratio in [1.0, 1.9, 2.0, 3.0, 4.0, 7.0, 100.0] {
            let coarse = reduced(&source, [x * ratio, y * ratio]).unwrap();
            let factor = f64::from(width) / f64::from(coarse.size().width);
            let finer = sizes.iter().map(|s| f64::from(width) / f64::from(s.width));
            let best = finer.filter(|f| ratio >= 2.0 && *f <= ratio * 1.01).fold(1.0, f64::max);
            assert!((factor - best).abs() < 0.1, "{ratio}: {factor}, not {best}");
            // The footprint stays.
            let (a, b) = (
                source.transform().bounds(source.size()),
                coarse.transform().bounds(coarse.size()),
            );
            assert!((a.max_x - b.max_x).abs() < 1e-6 && (a.min_y - b.min_y).abs() < 1e-6);
            cases += usize::from(coarse.size().height < height);
        }
        assert!(cases >= 1);
        let plain = open_any(path, ReadOptions::default()).unwrap();
        assert_eq!(reduced(&plain, [x * 8.0, y * 8.0]).unwrap().size(), plain.size());
    }
}
