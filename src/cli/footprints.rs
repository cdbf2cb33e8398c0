//! `smalti footprints`: outlines of sources, gaps and overlaps as GeoJSON (RFC 7946), one feature a line.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};
use smalti::error::{Error, InputError, Result as LibraryResult};
use smalti::mosaic::Mosaic;
use smalti::mosaic::coverage::{Coverage, Region};
use smalti::source::Source;
use smalti::source::open::is_among;

use crate::cli::analysis_args::{FootprintsArgs, LayerArg};
use crate::cli::index::save;
use crate::cli::inputs::{self, Notes};
use crate::cli::report::{Exit, Failure, Phase};
use crate::cli::{config, stop_flag};

/// Writes the file.
pub(crate) fn run(args: &FootprintsArgs) -> Result<Exit, Failure> {
    let to_stdout = args.output == Path::new("-");
    if !to_stdout {
        config::check_output(&args.output, args.overwrite)?;
    }
    let mut options = config::set_options(&args.set.input, &args.set.grid)?;
    let entries = inputs::gather(&args.set.inputs, &args.set.input)?;
    if is_among(&args.output, &inputs::named(&entries).cloned().collect::<Vec<_>>()) {
        let reason = "is one of the inputs; choose another name".into();
        return Err(Error::new(InputError::Output(reason)).with_path(&args.output).into());
    }
    inputs::take_hints(&entries.hints, &args.set.grid, &mut options);
    let notes = Notes::new(args.quiet, stop_flag()?);
    let opened = inputs::open(&entries, &args.set.input, &args.run, options.overlap, &notes)?;
    let mosaic = Mosaic::new(opened.sources, &options)?;
    if crs_member(&mosaic).is_some() {
        notes.add(
            "coordinates are those of the mosaic's CRS, which the file names by a `crs` member; \
             RFC 7946 wants longitude and latitude",
        );
    }
    if to_stdout {
        let mut out = io::BufWriter::new(io::stdout().lock());
        write(&mosaic, &args.layers, &mut out)
            .map_err(|error| Failure::new(error, Phase::Running))?;
        out.flush()?;
    } else {
        save(&args.output, args.overwrite, |out| write(&mosaic, &args.layers, out))
            .map_err(|error| Failure::new(error, Phase::Preparing))?;
    }
    Ok(if opened.skipped.is_empty() { Exit::Done } else { Exit::Skipped })
}

/// The CRS as GeoJSON of 2008 names it, where coordinates are not longitude and latitude.
fn crs_member(mosaic: &Mosaic) -> Option<Value> {
    let crs = mosaic.grid.crs.as_ref().filter(|crs| !crs.is_geographic())?;
    let name = match crs.epsg() {
        Some(code) => format!("urn:ogc:def:crs:EPSG::{code}"),
        None => crs.to_string(),
    };
    Some(json!({"type": "name", "properties": {"name": name}}))
}

fn write(mosaic: &Mosaic, layers: &[LayerArg], out: &mut dyn Write) -> LibraryResult<()> {
    out.write_all(b"{\"type\":\"FeatureCollection\",\n")?;
    if let Some(crs) = crs_member(mosaic) {
        writeln!(out, "\"crs\":{crs},")?;
    }
    out.write_all(b"\"features\":[")?;
    let mut first = true;
    let mut feature = |geometry: Value, properties: Value| -> LibraryResult<()> {
        let comma = if std::mem::take(&mut first) { "" } else { "," };
        let feature = json!({"type": "Feature", "properties": properties, "geometry": geometry});
        Ok(write!(out, "{comma}\n{feature}")?)
    };
    if layers.contains(&LayerArg::Sources) {
        for (index, source) in mosaic.sources().iter().enumerate() {
            feature(outline(mosaic, source), source_properties(index, source))?;
        }
    }
    let (gaps, overlaps) = (layers.contains(&LayerArg::Gaps), layers.contains(&LayerArg::Overlaps));
    if gaps || overlaps {
        let coverage = Coverage::new(mosaic);
        for region in coverage.regions(|depth| (gaps && depth == 0) || (overlaps && depth > 1)) {
            let kind = if region.depth == 0 { "gap" } else { "overlap" };
            let properties = json!({"kind": kind, "depth": region.depth,
                                    "pixels": region.pixels, "exact": coverage.exact});
            feature(region_geometry(mosaic, &region), properties)?;
        }
    }
    out.write_all(b"\n]}\n")?;
    Ok(())
}

fn source_properties(index: usize, source: &Source) -> Value {
    let size = source.size();
    json!({
        "kind": "source",
        "path": source.path().to_string_lossy(),
        "index": index,
        "width": size.width,
        "height": size.height,
        "bands": source.bands(),
        "data_type": source.dtype().name(),
        "resolution": source.transform().resolution(),
        "nodata": source.nodata.band(0).map(|v| v.to_string()),
        "crs": source.dataset.crs.as_ref().map(|crs| crs.to_string()),
    })
}

/// The four corners of a source, counterclockwise; cut where it crosses the antimeridian (RFC 7946 §3.1.9).
fn outline(mosaic: &Mosaic, source: &Source) -> Value {
    let (transform, size) = (source.transform(), source.size());
    let (w, h) = (f64::from(size.width), f64::from(size.height));
    let mut ring: Vec<[f64; 2]> =
        [(0.0, 0.0), (0.0, h), (w, h), (w, 0.0)].map(|(c, r)| transform.apply(c, r)).to_vec();
    if area(&ring) < 0.0 {
        ring.reverse();
    }
    let geographic = mosaic.grid.crs.as_ref().is_some_and(|crs| crs.is_geographic());
    let beyond = ring.iter().any(|p| p[0] > 180.0 + 1e-9 || p[0] < -180.0 - 1e-9);
    if !(geographic && beyond) {
        return json!({"type": "Polygon", "coordinates": [closed(ring)]});
    }
    let mut parts = Vec::new();
    for turn in [-360.0, 0.0, 360.0] {
        let moved: Vec<[f64; 2]> = ring.iter().map(|[x, y]| [x + turn, *y]).collect();
        let part = cut(&cut(&moved, -180.0, 1.0), 180.0, -1.0);
        if part.len() >= 3 && area(&part) > 1e-12 {
            parts.push(json!([closed(part)]));
        }
    }
    json!({"type": "MultiPolygon", "coordinates": parts})
}

/// The part of a convex ring where `(x - limit) * side >= 0`.
fn cut(ring: &[[f64; 2]], limit: f64, side: f64) -> Vec<[f64; 2]> {
    let mut kept = Vec::new();
    for (index, a) in ring.iter().enumerate() {
        let b = &ring[(index + 1) % ring.len()];
        let (da, db) = ((a[0] - limit) * side, (b[0] - limit) * side);
        if da >= 0.0 {
            kept.push(*a);
        }
        if (da > 0.0 && db < 0.0) || (da < 0.0 && db > 0.0) {
            let t = da / (da - db);
            kept.push([limit, a[1] + (b[1] - a[1]) * t]);
        }
    }
    kept
}

fn closed(mut ring: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    ring.extend(ring.first().copied());
    ring
}

/// Signed area of a ring; positive if it is counterclockwise.
fn area(ring: &[[f64; 2]]) -> f64 {
    let pairs = ring.iter().zip(ring.iter().cycle().skip(1));
    // From the first corner: coordinates of millions would lose the digits that count.
    let [x0, y0] = ring.first().copied().unwrap_or_default();
    pairs.map(|(a, b)| (a[0] - x0) * (b[1] - y0) - (b[0] - x0) * (a[1] - y0)).sum::<f64>() / 2.0
}

fn region_geometry(mosaic: &Mosaic, region: &Region) -> Value {
    let world =
        |[col, row]: &[u32; 2]| mosaic.grid.transform.apply(f64::from(*col), f64::from(*row));
    let rings: Vec<Vec<[f64; 2]>> =
        region.rings.iter().map(|ring| ring.iter().map(world).collect()).collect();
    json!({"type": "Polygon", "coordinates": rings})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_cut_at_a_meridian() {
        let ring = [[170.0, 0.0], [190.0, 0.0], [190.0, 10.0], [170.0, 10.0]];
        let west = cut(&ring, 180.0, -1.0);
        assert!((area(&west) - 100.0).abs() < 1e-9 && west.iter().all(|p| p[0] <= 180.0));
        let moved: Vec<[f64; 2]> = ring.iter().map(|[x, y]| [x - 360.0, *y]).collect();
        let east = cut(&moved, -180.0, 1.0);
        assert!((area(&east) - 100.0).abs() < 1e-9 && east.iter().all(|p| p[0] >= -180.0));
    }
}
