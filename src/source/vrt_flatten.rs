//! From a VRT to entries: each part of a file becomes a source, with the geotransform that its place in the
//! VRT gives it; parts of VRTs inside VRTs become parts of the files in those.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, ResultExt};
use crate::geometry::{GeoTransform, Window};
use crate::grid::Grid;
use crate::sample::Nodata;
use crate::source::catalog::extension;
use crate::source::entry::{Entries, Entry, Hints, Overrides};
use crate::source::vrt_in::{self, Part, PartBand, Rect, Vrt};
use crate::source::{Rescale, SourceNodata, View};

/// Deepest nesting of VRTs.
const MAX_DEPTH: u32 = 8;
/// Most parts of all nested VRTs together.
const MAX_PARTS: usize = 10_000_000;
/// Rectangles lie this near to whole pixels.
const WHOLE_PX: f64 = 1e-3;
/// Most parts of a nested VRT of which it is worked out whether they cover it.
const MOST_COVERING: usize = 4000;
const HINT: &str = "write it as a GeoTIFF first: gdal_translate IN.vrt OUT.tif";

/// A part whose file is no VRT.
struct Flat {
    path: Arc<PathBuf>,
    /// Pixels of the file: columns, rows, half-open.
    cols: [i64; 2],
    rows: [i64; 2],
    /// VRT column = `x[0] + x[1] * file column`; rows likewise.
    x: [f64; 2],
    y: [f64; 2],
    use_mask: bool,
    bands: Vec<Option<PartBand>>,
}

/// What a VRT file describes.
///
/// # Errors
/// I/O errors; what [`vrt_in::read`] does not read; nested VRTs whose gaps would have to be painted.
pub(super) fn entries(path: &Path) -> Result<Entries> {
    let mut reader = Reader::default();
    let vrt = reader.load(path)?;
    let flats = reader.flatten(&vrt, path, 0)?;
    let transform = vrt
        .transform
        .ok_or_else(|| Error::new(crate::error::InputError::NoGeoreference).with_path(path))?;
    let band_count = vrt.nodata.len();
    let mut list = Vec::with_capacity(flats.len());
    for flat in flats {
        list.push(entry(&flat, &transform, &vrt, band_count)?);
    }
    let nodata = vrt.nodata[0];
    if vrt.nodata.iter().any(|own| *own != nodata) {
        return Err(Error::unsupported("bands of different nodata in a VRT", HINT).with_path(path));
    }
    let grid =
        transform.is_north_up().then(|| Grid { crs: vrt.crs.clone(), transform, size: vrt.size });
    let hints = Hints { grid, nodata, dtype: Some(vrt.dtype) };
    Ok(Entries { list, hints, descriptors: reader.nested, nested: Vec::new() })
}

fn entry(flat: &Flat, grid: &GeoTransform, vrt: &Vrt, band_count: usize) -> Result<Entry> {
    let side = |range: [i64; 2]| u32::try_from(range[1] - range[0]).ok();
    let start = |range: [i64; 2]| u32::try_from(range[0]).ok();
    let window = match (start(flat.cols), start(flat.rows), side(flat.cols), side(flat.rows)) {
        (Some(col), Some(row), Some(width), Some(height)) => Window::new(col, row, width, height),
        _ => None,
    };
    let Some(window) = window else {
        let feature = "a source rectangle without pixels in a VRT";
        return Err(Error::unsupported(feature, HINT).with_path(&flat.path));
    };
    let [x0, y0] = grid.apply(flat.x[0], flat.y[0]);
    let [_, dx, rx, _, ry, dy] = grid.coefficients();
    let (sx, sy) = (flat.x[1], flat.y[1]);
    let transform = GeoTransform::new([x0, dx * sx, rx * sy, y0, ry * sx, dy * sy])?;
    let band = |index: usize| flat.bands.get(index).copied().flatten();
    let all = || (0..band_count).map(band);
    let nodata: Vec<Option<Nodata>> = all().map(|band| band?.nodata).collect();
    let rescale: Vec<Rescale> =
        all().map(|band| band.and_then(|b| b.rescale).unwrap_or(Rescale::NONE)).collect();
    let plain = rescale.iter().all(|rescale| *rescale == Rescale::NONE);
    let first = nodata[0];
    let nodata = if nodata.iter().all(|own| *own == first) {
        // The file's own nodata is part of its mask.
        match first {
            None if flat.use_mask => None,
            None => Some(SourceNodata::None),
            Some(value) => Some(SourceNodata::All(value)),
        }
    } else {
        Some(SourceNodata::Bands(nodata.into()))
    };
    let view = View {
        window: Some(window),
        bands: Some(all().map(|band| band.map(|b| b.band)).collect()),
        rescale: (!plain).then(|| rescale.into()),
        ignore_mask: !flat.use_mask,
        ..View::default()
    };
    let overrides = Overrides {
        nodata,
        crs: vrt.crs.clone(),
        transform: Some(transform),
        view,
        ..Overrides::default()
    };
    let overrides = Some(Box::new(overrides));
    Ok(Entry { path: flat.path.to_path_buf(), overrides, saved: None })
}

#[derive(Default)]
struct Reader {
    /// Nested VRTs that were read.
    read: HashMap<PathBuf, Arc<Vrt>>,
    nested: Vec<PathBuf>,
    parts: usize,
}

impl Reader {
    fn load(&mut self, path: &Path) -> Result<Arc<Vrt>> {
        if let Some(vrt) = self.read.get(path) {
            return Ok(Arc::clone(vrt));
        }
        let vrt = Arc::new(vrt_in::read(path)?);
        self.read.insert(path.to_path_buf(), Arc::clone(&vrt));
        Ok(vrt)
    }

    fn flatten(&mut self, vrt: &Vrt, path: &Path, depth: u32) -> Result<Vec<Flat>> {
        if depth > MAX_DEPTH {
            let feature = format!("VRTs nested more than {MAX_DEPTH} deep (a loop?)");
            return Err(Error::unsupported(feature, HINT).with_path(path));
        }
        let mut flats = Vec::with_capacity(vrt.parts.len());
        for part in &vrt.parts {
            let file = &vrt.files[part.file as usize];
            let mut flat = flat(part, file, vrt).at(path)?;
            flat.bands = part.bands.clone();
            if extension(file).as_deref() == Some("vrt") {
                let nested = self.load(file)?;
                if !self.nested.contains(file) {
                    self.nested.push(file.to_path_buf());
                }
                let inner = self.flatten(&nested, file, depth + 1)?;
                flats.extend(compose(&flat, &nested, inner, vrt).at(path)?);
            } else {
                flats.push(flat);
            }
            self.parts += 1;
            if self.parts > MAX_PARTS || flats.len() > MAX_PARTS {
                let feature = format!("more than {MAX_PARTS} sources in nested VRTs");
                return Err(Error::unsupported(feature, HINT).with_path(path));
            }
        }
        Ok(flats)
    }
}

/// The whole pixels of a part and its place. A rectangle may end inside a pixel only where the VRT ends
/// too: there the rest of the pixel is cut off with everything else.
fn flat(part: &Part, path: &Arc<PathBuf>, vrt: &Vrt) -> Result<Flat> {
    let (src, dst): (&Rect, &Rect) = (&part.src, &part.dst);
    let axis = |start: f64, length: f64, to: f64, to_length: f64, side: u32| {
        let scale = to_length / length;
        let whole = |at: f64| (at - at.round()).abs() <= WHOLE_PX;
        let first_ok = whole(start) || to <= WHOLE_PX;
        let last_ok = whole(start + length) || to + to_length >= f64::from(side) - WHOLE_PX;
        if !(first_ok && last_ok) {
            return Err(Error::unsupported(
                "a source rectangle that ends inside a pixel, in a VRT",
                HINT,
            ));
        }
        let first = (start + WHOLE_PX).floor().max(0.0) as i64;
        let last = (start + length - WHOLE_PX).ceil() as i64;
        Ok(([first, last], [to - start * scale, scale]))
    };
    let (cols, x) = axis(src.x, src.width, dst.x, dst.width, vrt.size.width)?;
    let (rows, y) = axis(src.y, src.height, dst.y, dst.height, vrt.size.height)?;
    let (path, use_mask) = (Arc::clone(path), part.use_mask);
    Ok(Flat { path, cols, rows, x, y, use_mask, bands: Vec::new() })
}

/// The parts of a nested VRT as parts of the one around it.
fn compose(outer: &Flat, nested: &Vrt, inner: Vec<Flat>, around: &Vrt) -> Result<Vec<Flat>> {
    if nested.dtype != around.dtype {
        let feature = format!("a nested VRT of {} in one of {}", nested.dtype, around.dtype);
        return Err(Error::unsupported(feature, HINT));
    }
    let bands = outer.bands.iter().flatten();
    for band in bands {
        check_gaps(outer, *band, nested, &inner)?;
    }
    let mut flats = Vec::with_capacity(inner.len());
    for flat in inner {
        let cut = |own: [i64; 2], map: [f64; 2], outer: [i64; 2]| -> Result<Option<[i64; 2]>> {
            // Edges of the outer part's window, in pixels of the file.
            let to_file = |at: i64| (at as f64 - map[0]) / map[1];
            let [first, last] = outer.map(to_file);
            let near = |at: f64| (at - at.round()).abs() <= WHOLE_PX;
            let cuts_first = first > own[0] as f64 + WHOLE_PX && first < own[1] as f64;
            let cuts_last = last < own[1] as f64 - WHOLE_PX && last > own[0] as f64;
            if (cuts_first && !near(first)) || (cuts_last && !near(last)) {
                let feature = "a nested VRT whose sources are cut inside a pixel";
                return Err(Error::unsupported(feature, HINT));
            }
            let start = if cuts_first { first.round() as i64 } else { own[0] };
            let end = if cuts_last { last.round() as i64 } else { own[1] };
            let outside = first >= own[1] as f64 - WHOLE_PX || last <= own[0] as f64 + WHOLE_PX;
            Ok((!outside && start < end).then_some([start, end]))
        };
        let cols = cut(flat.cols, flat.x, outer.cols)?;
        let rows = cut(flat.rows, flat.y, outer.rows)?;
        let (Some(cols), Some(rows)) = (cols, rows) else { continue };
        let chain = |outer: [f64; 2], inner: [f64; 2]| {
            [outer[0] + outer[1] * inner[0], outer[1] * inner[1]]
        };
        let mut bands = Vec::with_capacity(outer.bands.len());
        for own in &outer.bands {
            bands.push(chain_band(*own, &flat)?);
        }
        if bands.iter().all(Option::is_none) {
            continue;
        }
        let (x, y) = (chain(outer.x, flat.x), chain(outer.y, flat.y));
        flats.push(Flat { cols, rows, x, y, bands, ..flat });
    }
    Ok(flats)
}

/// What a part of the nested VRT gives to a band of the outer one.
fn chain_band(own: Option<PartBand>, inner: &Flat) -> Result<Option<PartBand>> {
    let Some(own) = own else { return Ok(None) };
    let Some(below) = inner.bands.get(own.band as usize).copied().flatten() else {
        return Ok(None);
    };
    if below.rescale.is_some() && (own.rescale.is_some() || own.nodata.is_some()) {
        return Err(Error::unsupported(
            "a rescaled source in a nested VRT that is changed again",
            HINT,
        ));
    }
    let nodata = match (own.nodata, below.nodata) {
        (Some(a), Some(b)) if a != b => {
            return Err(Error::unsupported(
                "a nested VRT with another NODATA than its sources",
                HINT,
            ));
        }
        (a, b) => a.or(b),
    };
    let rescale = own.rescale.or(below.rescale);
    Ok(Some(PartBand { band: below.band, nodata, rescale }))
}

/// GDAL paints the nodata, or zeros, of a nested VRT's gaps, unless told to leave that value out; here
/// gaps are gaps. Refuses where that would differ.
fn check_gaps(outer: &Flat, own: PartBand, nested: &Vrt, inner: &[Flat]) -> Result<()> {
    let Some(declared) = nested.nodata.get(own.band as usize).copied() else {
        return Err(Error::unsupported("a band that a nested VRT does not have", HINT));
    };
    let gap = declared.unwrap_or(Nodata::Int(0));
    let left_out =
        own.nodata == Some(gap) || (outer.use_mask && (declared.is_some() || nested.has_mask));
    if left_out {
        return Ok(());
    }
    let opaque = |flat: &&Flat| {
        let band = flat.bands.get(own.band as usize).copied().flatten();
        band.is_some_and(|band| band.nodata.is_none()) && !flat.use_mask
    };
    let rects: Vec<[f64; 4]> = inner
        .iter()
        .filter(opaque)
        .map(|flat| {
            let at = |map: [f64; 2], v: i64| map[0] + map[1] * v as f64;
            [
                at(flat.x, flat.cols[0]),
                at(flat.y, flat.rows[0]),
                at(flat.x, flat.cols[1]),
                at(flat.y, flat.rows[1]),
            ]
        })
        .collect();
    let window =
        [outer.cols[0] as f64, outer.rows[0] as f64, outer.cols[1] as f64, outer.rows[1] as f64];
    if rects.len() <= MOST_COVERING && covers(&rects, window) {
        return Ok(());
    }
    let feature = "a nested VRT with gaps or nodata whose value the outer one does not leave out";
    Err(Error::unsupported(feature, HINT))
}

/// Whether rectangles `[x0, y0, x1, y1]` cover a window, but for slivers below [`WHOLE_PX`].
fn covers(rects: &[[f64; 4]], window: [f64; 4]) -> bool {
    let mut ys: Vec<f64> =
        rects.iter().flat_map(|r| [r[1], r[3]]).chain([window[1], window[3]]).collect();
    ys.retain(|y| *y >= window[1] && *y <= window[3]);
    ys.sort_by(f64::total_cmp);
    ys.windows(2).filter(|pair| pair[1] - pair[0] > WHOLE_PX).all(|pair| {
        let middle = f64::midpoint(pair[0], pair[1]);
        let mut spans: Vec<[f64; 2]> = rects
            .iter()
            .filter(|r| r[1] <= middle && middle <= r[3])
            .map(|r| [r[0], r[2]])
            .collect();
        spans.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let mut reached = window[0];
        for [start, end] in spans {
            if start > reached + WHOLE_PX {
                return false;
            }
            reached = reached.max(end);
        }
        reached >= window[2] - WHOLE_PX
    })
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn cover_is_found_by_strips() {
        let window = [0.0, 0.0, 10.0, 10.0];
        assert!(covers(&[[0.0, 0.0, 10.0, 10.0]], window));
        assert!(covers(
            &[[0.0, 0.0, 6.0, 10.0], [5.0, 0.0, 10.0, 4.0], [6.0, 4.0, 12.0, 11.0]],
            window
        ));
        assert!(!covers(
            &[[0.0, 0.0, 6.0, 10.0], [5.0, 0.0, 10.0, 4.0], [6.0, 4.5, 12.0, 11.0]],
            window
        ));
        assert!(!covers(&[[0.0, 1.0, 10.0, 10.0]], window));
        assert!(!covers(&[], window));
    }
}
