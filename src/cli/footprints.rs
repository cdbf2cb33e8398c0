//! `smalti footprints`: outlines of sources, gaps and overlaps as GeoJSON (RFC 7946), one feature a line.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use smalti::crs::Crs;
use smalti::crs::transform::{self, Transformer};
use smalti::error::{Error, InputError, Result as LibraryResult};
use smalti::mosaic::Mosaic;
use smalti::mosaic::coverage::{Coverage, Region};
use smalti::mosaic::reproject::ReprojectOptions;
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
    let native = args.native || args.set.grid.crs.is_some();
    let projector = Projector::new(&mosaic, native, &options.reproject)?;
    projector.note.iter().for_each(|note| notes.add(note));
    if to_stdout {
        let mut out = io::BufWriter::new(io::stdout().lock());
        write(&mosaic, &projector, &options.reproject, &args.layers, &mut out)
            .map_err(|error| Failure::new(error, Phase::Running))?;
        out.flush()?;
    } else {
        save(&args.output, args.overwrite, |out| {
            write(&mosaic, &projector, &options.reproject, &args.layers, out)
        })
        .map_err(|error| Failure::new(error, Phase::Preparing))?;
    }
    Ok(if opened.skipped.is_empty() { Exit::Done } else { Exit::Skipped })
}

/// How coordinates get from the mosaic's CRS into the file.
enum Way {
    /// They are longitude and latitude, or nobody knows better.
    Same,
    /// To WGS 84.
    Shift(Box<Transformer>),
    /// To longitude and latitude on the CRS's own datum.
    OwnDatum(Arc<Crs>),
}

struct Projector {
    way: Way,
    /// `crs` member of GeoJSON of 2008, where coordinates are not longitude and latitude.
    member: Option<Value>,
    is_degrees: bool,
    /// x of a full turn of the file's coordinates, where they have one.
    turn: Option<f64>,
    note: Option<String>,
}

impl Projector {
    fn new(mosaic: &Mosaic, native: bool, options: &ReprojectOptions) -> LibraryResult<Projector> {
        let Some(crs) = &mosaic.grid.crs else {
            let note = "the inputs have no CRS: coordinates are theirs as they are".to_owned();
            let (member, is_degrees, turn) = (None, false, None);
            return Ok(Projector { way: Way::Same, member, is_degrees, turn, note: Some(note) });
        };
        let wgs84 = Crs::from_epsg(4326)?;
        if crs.same_as(&wgs84) {
            return Ok(Projector::degrees(Way::Same, None));
        }
        let own = |note: Option<String>| {
            let name = match crs.epsg() {
                Some(code) => format!("urn:ogc:def:crs:EPSG::{code}"),
                None => crs.to_string(),
            };
            let member = json!({"type": "name", "properties": {"name": name}});
            let (member, turn) = (Some(member), transform::turn(crs));
            let is_degrees = turn == Some(360.0) && crs.is_geographic();
            Projector { way: Way::Same, member, is_degrees, turn, note }
        };
        if native {
            return Ok(own(None));
        }
        let bounds = mosaic.grid.bounds();
        let middle = [(bounds.min_x + bounds.max_x) / 2.0, (bounds.min_y + bounds.max_y) / 2.0];
        let place = transform::place_of(crs, middle, options.engine);
        if let Ok(shift) = Transformer::new(crs, &wgs84, &options.at(place)) {
            return Ok(Projector::degrees(Way::Shift(Box::new(shift)), None));
        }
        if transform::to_degrees(crs, &mut [[0.0, 0.0]]).is_ok() {
            let note = format!(
                "longitude and latitude are those of {crs}, not of WGS 84: no datum operation is known; \
                 they differ by some metres up to some hundred"
            );
            let way = Way::OwnDatum(Arc::clone(crs));
            return Ok(Projector::degrees(way, Some(note)));
        }
        Ok(own(Some(format!(
            "coordinates are those of {crs}, which smalti cannot turn into longitude and latitude"
        ))))
    }

    /// A way to longitude and latitude.
    fn degrees(way: Way, note: Option<String>) -> Projector {
        Projector { way, member: None, is_degrees: true, turn: Some(360.0), note }
    }

    /// The way of a source whose CRS is not the mosaic's.
    fn of_source(
        mosaic: &Mosaic,
        source: &Source,
        crs: &Crs,
        native: bool,
        options: &ReprojectOptions,
    ) -> LibraryResult<Projector> {
        let target = match &mosaic.grid.crs {
            Some(own) if native => Crs::clone(own),
            _ => Crs::from_epsg(4326)?,
        };
        let size = source.size();
        let middle = [f64::from(size.width) / 2.0, f64::from(size.height) / 2.0];
        let middle = source.transform().apply(middle[0], middle[1]);
        let place = transform::place_of(crs, middle, options.engine);
        let way = Way::Shift(Box::new(Transformer::new(crs, &target, &options.at(place))?));
        let turn = transform::turn(&target);
        let is_degrees = turn == Some(360.0) && target.is_geographic();
        Ok(Projector { way, member: None, is_degrees, turn, note: None })
    }

    /// A ring in the file's coordinates; edges are densified where they bend. What does not map is left out.
    fn ring(&self, ring: &[[f64; 2]]) -> Vec<[f64; 2]> {
        if matches!(self.way, Way::Same) {
            return ring.to_vec();
        }
        const PARTS: u32 = 20;
        let mut points = Vec::with_capacity(ring.len() * PARTS as usize);
        for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            points.extend((0..PARTS).map(|part| {
                let t = f64::from(part) / f64::from(PARTS);
                [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t]
            }));
        }
        match &self.way {
            Way::Same => {}
            Way::Shift(shift) => shift.forward(&mut points),
            // It was tried before.
            Way::OwnDatum(crs) => drop(transform::to_degrees(crs, &mut points)),
        }
        points.retain(|p| p.iter().all(|v| v.is_finite()));
        // A ring does not jump round the world.
        let mut last = points.first().map_or(0.0, |p| p[0]);
        if let Some(turn) = self.turn {
            for point in &mut points {
                point[0] -= ((point[0] - last) / turn).round() * turn;
                last = point[0];
            }
        }
        points
    }

    /// Rings, the outer one first, as a geometry; cut at the antimeridian (RFC 7946 §3.1.9).
    fn geometry(&self, rings: &[Vec<[f64; 2]>]) -> Value {
        let rings: Vec<Vec<[f64; 2]>> = rings.iter().map(|ring| self.ring(ring)).collect();
        let beyond = |p: &[f64; 2]| p[0] > 180.0 + 1e-9 || p[0] < -180.0 - 1e-9;
        if !self.is_degrees || !rings.iter().flatten().any(beyond) {
            let rings: Vec<Value> =
                rings.iter().filter(|r| r.len() >= 3).map(|r| closed(r)).collect();
            return json!({"type": "Polygon", "coordinates": rings});
        }
        let mut parts = Vec::new();
        for turn in [-360.0, 0.0, 360.0] {
            let part: Vec<Value> = rings
                .iter()
                .map(|ring| ring.iter().map(|[x, y]| [x + turn, *y]).collect::<Vec<_>>())
                .map(|ring| cut(&cut(&ring, -180.0, 1.0), 180.0, -1.0))
                .filter(|ring| ring.len() >= 3 && area(ring).abs() > 1e-12)
                .map(|ring| closed(&ring))
                .collect();
            if !part.is_empty() {
                parts.push(part);
            }
        }
        json!({"type": "MultiPolygon", "coordinates": parts})
    }
}

fn write(
    mosaic: &Mosaic,
    projector: &Projector,
    options: &ReprojectOptions,
    layers: &[LayerArg],
    out: &mut dyn Write,
) -> LibraryResult<()> {
    out.write_all(b"{\"type\":\"FeatureCollection\",\n")?;
    if let Some(crs) = &projector.member {
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
        let mut others: Vec<(Arc<Crs>, Projector)> = Vec::new();
        for (index, source) in mosaic.sources().iter().enumerate() {
            let own = foreign_crs(mosaic, source);
            let at = |crs: &Arc<Crs>| others.iter().position(|(other, _)| Arc::ptr_eq(other, crs));
            let place = own.and_then(at);
            let geometry = match (own, place) {
                (None, _) => projector.geometry(&[outline(source)]),
                (Some(_), Some(at)) => others[at].1.geometry(&[outline(source)]),
                (Some(crs), None) => {
                    let native = projector.member.is_some();
                    let other = Projector::of_source(mosaic, source, crs, native, options)?;
                    let geometry = other.geometry(&[outline(source)]);
                    others.push((Arc::clone(crs), other));
                    geometry
                }
            };
            feature(geometry, source_properties(index, source))?;
        }
    }
    let (gaps, overlaps) = (layers.contains(&LayerArg::Gaps), layers.contains(&LayerArg::Overlaps));
    if gaps || overlaps {
        let coverage = Coverage::new(mosaic);
        for region in coverage.regions(|depth| (gaps && depth == 0) || (overlaps && depth > 1)) {
            let kind = if region.depth == 0 { "gap" } else { "overlap" };
            let properties = json!({"kind": kind, "depth": region.depth,
                                    "pixels": region.pixels, "exact": coverage.exact});
            feature(projector.geometry(&world_rings(mosaic, &region)), properties)?;
        }
    }
    out.write_all(b"\n]}\n")?;
    Ok(())
}

/// The CRS of a source, if it is not that of the mosaic.
fn foreign_crs<'a>(mosaic: &Mosaic, source: &'a Source) -> Option<&'a Arc<Crs>> {
    let own = source.dataset.crs.as_ref()?;
    let same = |other: &Arc<Crs>| Arc::ptr_eq(other, own) || other.same_as(own);
    (!mosaic.grid.crs.as_ref().is_some_and(same)).then_some(own)
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

/// The four corners of a source, counterclockwise, not closed.
fn outline(source: &Source) -> Vec<[f64; 2]> {
    let (transform, size) = (source.transform(), source.size());
    let (w, h) = (f64::from(size.width), f64::from(size.height));
    let mut ring: Vec<[f64; 2]> =
        [(0.0, 0.0), (0.0, h), (w, h), (w, 0.0)].map(|(c, r)| transform.apply(c, r)).to_vec();
    if area(&ring) < 0.0 {
        ring.reverse();
    }
    ring
}

/// The part of a ring where `(x - limit) * side >= 0` (Sutherland and Hodgman, 1974).
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

/// A ring that ends where it begins, with as many digits as a millimetre needs.
fn closed(ring: &[[f64; 2]]) -> Value {
    let short = |v: f64| (v * 1e9).round() / 1e9;
    let points = ring.iter().chain(ring.first());
    points.map(|p| json!(p.map(short))).collect()
}

/// Signed area of a ring; positive if it is counterclockwise.
fn area(ring: &[[f64; 2]]) -> f64 {
    let pairs = ring.iter().zip(ring.iter().cycle().skip(1));
    // From the first corner: coordinates of millions would lose the digits that count.
    let [x0, y0] = ring.first().copied().unwrap_or_default();
    pairs.map(|(a, b)| (a[0] - x0) * (b[1] - y0) - (b[0] - x0) * (a[1] - y0)).sum::<f64>() / 2.0
}

/// Rings of a region in the mosaic's CRS, not closed.
fn world_rings(mosaic: &Mosaic, region: &Region) -> Vec<Vec<[f64; 2]>> {
    let world =
        |[col, row]: &[u32; 2]| mosaic.grid.transform.apply(f64::from(*col), f64::from(*row));
    let open = |ring: &Vec<[u32; 2]>| ring.iter().skip(1).map(world).collect();
    region.rings.iter().map(open).collect()
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
