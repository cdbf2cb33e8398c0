//! The way from one datum to another, chosen for a place (SPEC §6.3).
//!
//! Same datum: nothing to do. Else the shift that a CRS carries itself; else an operation of the tables, in either
//! direction, or one on each side of WGS 84. Among several, the most accurate one whose area holds the place. None known there: ballpark, which takes longitude and latitude as they are, and must be asked for.

use super::definition::{Datum, Definition};
use super::helmert::{Step, turned};
use super::table::{self, Id, OperationRow};

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
) -> Result<Way, Missing> {
    let (from, to) = (&src.base.datum, &dst.base.datum);
    if from.same_as(to) && from.to_wgs84 == to.to_wgs84 {
        return Ok((Vec::new(), None));
    }
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

fn between(from: &Datum, to: &Datum, place: Option<[f64; 2]>) -> Result<Way, Missing> {
    if from.same_as(to) {
        // One of the two carries a shift of its own: it does not come into play.
        return Ok((Vec::new(), None));
    }
    let carried = !from.to_wgs84.is_empty() || !to.to_wgs84.is_empty();
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
fn direct(from: Id, to: Id, place: Option<[f64; 2]>) -> Result<Option<Way>, Missing> {
    if let Some((steps, shift)) = pick(&table::operations(from, to), place)? {
        return Ok(Some((steps, Some(shift))));
    }
    let back = pick(&table::operations(to, from), place)?;
    Ok(back.map(|(steps, shift)| (turned(&steps), Some(inverse_name(shift)))))
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

fn to_wgs84(datum: &Datum, place: Option<[f64; 2]>) -> Result<Way, Missing> {
    let wgs84 = Id::epsg(6326);
    if datum.id == Some(wgs84) {
        return Ok((Vec::new(), None));
    }
    let name = || if datum.name.is_empty() { "an unknown datum" } else { &datum.name }.to_owned();
    if let Some(grids) = &datum.grids {
        let operation = format!("the shift from {} to WGS 84", name());
        return Err(Missing::Beyond { operation, needs: format!("the grid {grids}") });
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
    direct(id, wgs84, place)?.ok_or_else(unknown)
}

/// The best of some operations for a place: the most accurate, then the one for the smaller area; one for the sea only
/// where it comes first, as in PROJ. `None` if none is for the place; without a place, the first.
fn pick(
    all: &[OperationRow],
    place: Option<[f64; 2]>,
) -> Result<Option<(Vec<Step>, DatumShift)>, Missing> {
    let mut best: Option<&OperationRow> = None;
    for row in all.iter().filter(|row| place.is_none_or(|place| contains(row.area, place))) {
        let Some(own) = best else {
            best = Some(row);
            continue;
        };
        let rank = |row: &OperationRow| (row.accuracy_m.unwrap_or(f64::INFINITY), size(row.area));
        if place.is_some() && !row.is_offshore && rank(row) < rank(own) {
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
        choose(&src, &dst, Some(place), false).map(|(_, shift)| shift)
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
