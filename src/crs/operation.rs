//! The way from one datum to another, chosen for a place (SPEC §6.3).
//!
//! Same datum: nothing to do. Else the shift that a CRS carries itself; else an operation of the tables, in either
//! direction, or one on each side of WGS 84. Among several, the most accurate one whose area holds the place. None known there: ballpark, which takes longitude and latitude as they are, and must be asked for.

use std::path::Path;
use std::sync::Arc;

use super::definition::{Datum, Definition};
use super::helmert::{Ellipsoid, Step, turned};
use super::ntv2::Ntv2;
use super::table::{self, GridRow, Id, OperationRow};
use crate::io;

/// How datums are bridged, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct DatumShift {
    /// Name of the operation; of both, where it goes through WGS 84.
    pub name: String,
    /// Stated accuracy in metres, where it is known; 0 where the datums are one.
    pub accuracy_m: Option<f64>,
    /// Where it is meant to be used: west, south, east, north in degrees; `east < west` across 180°.
    pub area: Option<[f64; 4]>,
    /// No operation is known: longitude and latitude are taken as they are.
    pub is_ballpark: bool,
}

/// Why there is no way.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Missing {
    /// No operation is known; ballpark would do.
    Unknown { from: String, to: String },
    /// One is known and cannot be done.
    Beyond { operation: String, needs: String },
}

/// Steps on longitude and latitude, and what they are.
pub(super) type Way = (Vec<Step>, Option<DatumShift>);

/// The way between the datums of two CRSs at `place` (longitude and latitude in degrees).
pub(super) fn choose(
    src: &Definition,
    dst: &Definition,
    place: Option<[f64; 2]>,
    allow_ballpark: bool,
    folder: Option<&Path>,
) -> Result<Way, Missing> {
    let (from, to) = (&src.base.datum, &dst.base.datum);
    if from.same_as(to) && from.to_wgs84 == to.to_wgs84 {
        return Ok((Vec::new(), None));
    }
    let is_sea = |crs: &Definition| crs.id.and_then(table::crs).is_some_and(|row| row.is_offshore);
    let place = Place { place, folder, is_sea: is_sea(src) || is_sea(dst) };
    match between(from, to, place) {
        Err(Missing::Unknown { from, to }) if allow_ballpark => {
            let name = format!("ballpark from {from} to {to}");
            let shift = DatumShift { name, accuracy_m: None, area: None, is_ballpark: true };
            Ok((Vec::new(), Some(shift)))
        }
        Ok((steps, Some(shift))) => Ok((steps, Some(shift))),
        other => other,
    }
}

/// Where data lie.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    /// Longitude and latitude.
    place: Option<[f64; 2]>,
    /// Where grid files are.
    folder: Option<&'a Path>,
    /// One of the CRSs is a map of the sea.
    is_sea: bool,
}

fn between(from: &Datum, to: &Datum, place: Place<'_>) -> Result<Way, Missing> {
    if from.same_as(to) {
        // One of the two carries a shift of its own: it does not come into play.
        return Ok((Vec::new(), None));
    }
    let names_grids = from.grids.is_some() || to.grids.is_some();
    let carried = !from.to_wgs84.is_empty() || !to.to_wgs84.is_empty();
    let carried = carried || names_grids && place.folder.is_some();
    if let (Some(a), Some(b), false) = (from.id, to.id, carried)
        && let Some(way) = direct(a, b, place)?
    {
        return Ok(way);
    }
    let (first, first_shift) = to_wgs84(from, place)?;
    let (second, second_shift) = to_wgs84(to, place)?;
    let steps = first.into_iter().chain(turned(&second)).collect();
    Ok((steps, join(first_shift, second_shift.map(inverse_name))))
}

/// An operation of the tables in either direction; `None` if there is none.
fn direct(from: Id, to: Id, place: Place<'_>) -> Result<Option<Way>, Missing> {
    if let Some(way) = gridded(from, to, place)? {
        return Ok(Some(way));
    }
    if let Some((steps, shift)) = gridded(to, from, place)? {
        return Ok(Some((turned(&steps), shift.map(inverse_name))));
    }
    if let Some((steps, shift)) = pick(&table::operations(from, to), place)? {
        return Ok(Some((steps, Some(shift))));
    }
    let back = pick(&table::operations(to, from), place)?;
    Ok(back.map(|(steps, shift)| (turned(&steps), Some(inverse_name(shift)))))
}

/// An operation by a grid file that is there and is for the place: the most accurate. It beats those without a grid,
/// which are more accurate nowhere.
fn gridded(from: Id, to: Id, place: Place<'_>) -> Result<Option<Way>, Missing> {
    let Some(folder) = place.folder else { return Ok(None) };
    let mut rows: Vec<GridRow> = table::grid_operations(from, to)
        .filter(|row| place.place.is_none_or(|place| contains(row.area, place)))
        .collect();
    let rank = |row: &GridRow| (row.accuracy_m.unwrap_or(f64::INFINITY), size(row.area));
    rows.sort_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal));
    let (from, to) = (Datum::of_code(from), Datum::of_code(to));
    let Some((from, to)) = from.zip(to) else { return Ok(None) };
    for row in rows {
        let Some(grid) = grid_file(folder, row.file)? else { continue };
        let step = Step::Grids {
            grids: vec![grid],
            or_stay: false,
            ellipsoids: [from.ellipsoid, to.ellipsoid].map(Ellipsoid::new),
            inverse: false,
        };
        let name = format!("{} by {}", row.name, row.file);
        let (accuracy_m, area) = (row.accuracy_m, Some(row.area));
        return Ok(Some((
            vec![step],
            Some(DatumShift { name, accuracy_m, area, is_ballpark: false }),
        )));
    }
    Ok(None)
}

/// A grid file; `None` where the folder has none of that name.
fn grid_file(folder: &Path, name: &str) -> Result<Option<Arc<Ntv2>>, Missing> {
    // The largest that are published have 200 MB.
    const MOST_BYTES: u64 = 1 << 29;
    let Some(bytes) = io::read_named(folder, name, MOST_BYTES) else { return Ok(None) };
    let wrong = |reason| Missing::Beyond {
        operation: format!("the grid {name}"),
        needs: format!("another file: it {reason}"),
    };
    Ntv2::parse(&bytes).map(|grid| Some(Arc::new(grid))).map_err(wrong)
}

/// The grids that a CRS names itself: `a.gsb,@b.gsb,null`.
fn named_grids(
    names: &str,
    datum: &Datum,
    operation: &str,
    folder: Option<&Path>,
) -> Result<Way, Missing> {
    let (mut grids, mut or_stay) = (Vec::new(), false);
    for name in names.split(',') {
        let (plain, is_optional) = match name.trim().strip_prefix('@') {
            Some(plain) => (plain, true),
            None => (name.trim(), false),
        };
        if plain == "null" {
            or_stay = true;
            continue;
        }
        match folder.map(|folder| grid_file(folder, plain)).transpose()?.flatten() {
            Some(grid) => grids.push(grid),
            None if is_optional => {}
            None => {
                let needs = match folder {
                    None => format!("the grid {plain} (--grids names the folder that has it)"),
                    Some(_) => format!("the grid {plain}, which the folder of --grids lacks"),
                };
                return Err(Missing::Beyond { operation: operation.to_owned(), needs });
            }
        }
    }
    if grids.is_empty() && !or_stay {
        let needs = format!("one of the grids {names} (--grids names the folder that has it)");
        return Err(Missing::Beyond { operation: operation.to_owned(), needs });
    }
    let wgs84 = [6_378_137.0, 298.257_223_563];
    let ellipsoids = [datum.ellipsoid, wgs84].map(Ellipsoid::new);
    let name = format!("{operation} by {names}");
    let shift = DatumShift { name, accuracy_m: None, area: None, is_ballpark: false };
    Ok((vec![Step::Grids { grids, or_stay, ellipsoids, inverse: false }], Some(shift)))
}

#[expect(clippy::needless_pass_by_value, reason = "what `Option::map` hands over")]
fn inverse_name(shift: DatumShift) -> DatumShift {
    let name = match shift.name.strip_prefix("Inverse of ") {
        Some(name) => name.to_owned(),
        None => format!("Inverse of {}", shift.name),
    };
    DatumShift { name, ..shift }
}

fn join(a: Option<DatumShift>, b: Option<DatumShift>) -> Option<DatumShift> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => return a.or(b),
    };
    Some(DatumShift {
        name: format!("{} + {}", a.name, b.name),
        accuracy_m: a.accuracy_m.zip(b.accuracy_m).map(|(a, b)| a + b),
        area: a.area,
        is_ballpark: false,
    })
}

fn to_wgs84(datum: &Datum, place: Place<'_>) -> Result<Way, Missing> {
    let wgs84 = Id::epsg(6326);
    if datum.id == Some(wgs84) {
        return Ok((Vec::new(), None));
    }
    let name = || if datum.name.is_empty() { "an unknown datum" } else { &datum.name }.to_owned();
    if let Some(grids) = &datum.grids {
        let operation = format!("the shift from {} to WGS 84", name());
        return named_grids(grids, datum, &operation, place.folder);
    }
    if !datum.to_wgs84.is_empty() {
        let is_null = datum.to_wgs84.iter().all(|v| *v == 0.0);
        let steps = if is_null { Vec::new() } else { vec![Step::helmert(&datum.to_wgs84, false)] };
        let shift = DatumShift {
            name: format!("the shift from {} to WGS 84 that the CRS gives", name()),
            accuracy_m: None,
            area: None,
            is_ballpark: false,
        };
        return Ok((steps, Some(shift)));
    }
    let unknown = || Missing::Unknown { from: name(), to: "WGS 84".into() };
    let id = datum.id.ok_or_else(unknown)?;
    if let Some(way) = direct(id, wgs84, place)? {
        return Ok(way);
    }
    // Some German datums lead to ETRS89 only.
    let etrs89 = Id::epsg(6258);
    let (first, second) = (direct(id, etrs89, place)?, direct(etrs89, wgs84, place)?);
    let ((first, a), (second, b)) = first.zip(second).ok_or_else(unknown)?;
    Ok((first.into_iter().chain(second).collect(), join(a, b)))
}

/// The best of some operations for a place: the most accurate, then the one for the smaller area; one for the sea only
/// where it comes first, as in PROJ, or for a map of the sea. `None` if none is for the place; without a place, the
/// first.
fn pick(
    all: &[OperationRow],
    Place { place, is_sea, .. }: Place<'_>,
) -> Result<Option<(Vec<Step>, DatumShift)>, Missing> {
    let mut best: Option<&OperationRow> = None;
    for row in all.iter().filter(|row| place.is_none_or(|place| contains(row.area, place))) {
        let Some(own) = best else {
            best = Some(row);
            continue;
        };
        let rank = |row: &OperationRow| (row.accuracy_m.unwrap_or(f64::INFINITY), size(row.area));
        if place.is_some() && (is_sea || !row.is_offshore) && rank(row) < rank(own) {
            best = Some(row);
        }
    }
    let Some(row) = best else { return Ok(None) };
    let steps = Step::parse_all(&row.steps).map_err(|needs| Missing::Beyond {
        operation: format!("the datum operation {:?}", row.name),
        needs,
    })?;
    let name = row.name.clone();
    let area = Some(row.area);
    Ok(Some((steps, DatumShift { name, accuracy_m: row.accuracy_m, area, is_ballpark: false })))
}

/// Whether a box in degrees, which may cross 180°, holds a place.
pub(super) fn contains([west, south, east, north]: [f64; 4], [lon, lat]: [f64; 2]) -> bool {
    let width = if east < west { east + 360.0 - west } else { east - west };
    (south..=north).contains(&lat) && (lon - west).rem_euclid(360.0) <= width
}

fn size([west, south, east, north]: [f64; 4]) -> f64 {
    let width = if east < west { east + 360.0 - west } else { east - west };
    width * (north.to_radians().sin() - south.to_radians().sin())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shift(src: u32, dst: u32, place: [f64; 2]) -> Result<Option<DatumShift>, Missing> {
        let [src, dst] = [src, dst].map(|code| Definition::of_code(Id::epsg(code)).unwrap());
        choose(&src, &dst, Some(place), false, None).map(|(_, shift)| shift)
    }

    #[test]
    fn the_place_decides() {
        let name = |place| shift(4267, 4326, place).unwrap().unwrap().name;
        let west = name([-120.0, 40.0]);
        let east = name([-75.0, 40.0]);
        assert_ne!(west, east);
        assert!(west.starts_with("NAD27 to WGS 84 ("), "{west}");
        let nowhere = shift(4267, 4326, [20.0, 50.0]).unwrap_err();
        assert!(matches!(nowhere, Missing::Unknown { .. }));
    }

    #[test]
    fn one_datum_needs_no_shift() {
        assert_eq!(shift(32633, 4326, [15.0, 50.0]), Ok(None));
        assert_eq!(shift(9055, 32633, [15.0, 50.0]), Ok(None), "a realisation of WGS 84");
        let direct = shift(28355, 7855, [147.0, -37.0]).unwrap().unwrap();
        assert_eq!((direct.name.as_str(), direct.accuracy_m), ("GDA94 to GDA2020 (1)", Some(0.01)));
        let both = shift(2154, 2056, [6.5, 47.0]).unwrap().unwrap();
        assert!(both.name.contains(" + Inverse of "), "{}", both.name);
    }

    #[test]
    fn what_is_not_known_is_named() {
        let missing = shift(4555, 4326, [110.0, 30.0]).unwrap_err();
        assert_eq!(missing, Missing::Unknown { from: "New Beijing".into(), to: "WGS 84".into() });
        assert!(contains([170.0, -10.0, -170.0, 10.0], [-175.0, 0.0]));
        assert!(contains([170.0, -10.0, -170.0, 10.0], [179.0, 0.0]));
        assert!(!contains([170.0, -10.0, -170.0, 10.0], [0.0, 0.0]));
    }
}
