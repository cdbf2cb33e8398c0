//! What is known about EPSG codes without a full table: kind, unit, base, UTM zones, datums.
//!
//! Looks into the generated `epsg_kinds` and `epsg_values`. A code that the data set does not
//! have takes the kind of the codes below it.

use super::epsg_kinds::{CLASSES, DATUMS, RUNS};
use super::epsg_values::{ALIASES, ANGULAR, BASES, ELLIPSOIDS, LINEAR, MERIDIANS, UTM};

/// What sort of CRS an EPSG code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Projected,
    Geographic,
    Geographic3d,
    Geocentric,
    Vertical,
    Compound,
}

/// Kind of a code and the EPSG code of its unit (0: none).
pub(super) fn class_of(code: u16) -> (Kind, u16) {
    let after = RUNS.partition_point(|(first, _)| *first <= code);
    let class = RUNS[after.saturating_sub(1)].1;
    CLASSES[usize::from(class)]
}

/// Value beside `key` in a sorted table.
fn lookup<V: Copy>(table: &[(u16, V)], key: u16) -> Option<V> {
    table.binary_search_by_key(&key, |row| row.0).ok().map(|at| table[at].1)
}

/// Length of a linear unit in metres.
pub(super) fn metres(unit: u16) -> Option<f64> {
    lookup(LINEAR, unit)
}

/// Size of an angular unit in radians.
pub(super) fn radians(unit: u16) -> Option<f64> {
    lookup(ANGULAR, unit)
}

/// Longitude of a prime meridian in degrees east of Greenwich.
pub(super) fn meridian_degrees(code: u16) -> Option<f64> {
    lookup(MERIDIANS, code)
}

/// Semi-major axis in metres and inverse flattening (0: sphere).
pub(super) fn ellipsoid(code: u16) -> Option<[f64; 2]> {
    let at = ELLIPSOIDS.binary_search_by_key(&code, |row| row.0).ok()?;
    Some([ELLIPSOIDS[at].1, ELLIPSOIDS[at].2])
}

/// The code that speaks for a geographic CRS, its 3D form and other axis orders; for WGS 84 also
/// for its realisations.
pub(super) fn main_geographic(code: u16) -> u16 {
    lookup(ALIASES, code).unwrap_or(code)
}

/// The geographic CRS in degrees from Greenwich on a datum.
pub(super) fn geographic_of_datum(datum: u16) -> Option<u16> {
    // EPSG numbered the older datums 2000 above their geographic CRS; from 4801 on the prime
    // meridian is another one.
    let paired = || (6001..6800).contains(&datum).then(|| datum - 2000);
    let code = lookup(DATUMS, datum).or_else(paired)?;
    (class_of(code) == (Kind::Geographic, 9102)).then(|| main_geographic(code))
}

/// Base geographic CRS of a projected one, as [`main_geographic`] gives it.
pub(super) fn base_of(projected: u16) -> Option<u16> {
    let after = BASES.partition_point(|(first, _)| *first <= projected);
    let base = BASES[after.checked_sub(1)?].1;
    (base != 0 && class_of(projected).0 == Kind::Projected).then_some(base)
}

/// The projected CRS of a UTM zone in metres on a base geographic CRS.
pub(super) fn utm_zone(base: u16, zone: u8, south: bool) -> Option<u16> {
    UTM.iter()
        .find(|(b, s, first, last, _)| {
            (*b, *s) == (base, south) && (*first..=*last).contains(&zone)
        })
        .map(|(_, _, first, _, code)| code + u16::from(zone - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        assert!(RUNS.is_sorted_by_key(|r| r.0) && DATUMS.is_sorted_by_key(|r| r.0));
        assert!(ALIASES.is_sorted_by_key(|r| r.0) && BASES.is_sorted_by_key(|r| r.0));
        assert!(MERIDIANS.is_sorted_by_key(|r| r.0) && ELLIPSOIDS.is_sorted_by_key(|r| r.0));
        assert!(LINEAR.is_sorted_by_key(|r| r.0) && ANGULAR.is_sorted_by_key(|r| r.0));
    }

    #[test]
    fn codes_have_their_kind() {
        let cases = [
            (4326, Kind::Geographic, 9102),
            (4087, Kind::Projected, 9001),
            (4390, Kind::Projected, 9001),
            (4807, Kind::Geographic, 9105),
            (4978, Kind::Geocentric, 9001),
            (4979, Kind::Geographic3d, 9102),
            (2263, Kind::Projected, 9003),
            (32633, Kind::Projected, 9001),
            (5773, Kind::Vertical, 9001),
            (6360, Kind::Vertical, 9003),
            (9055, Kind::Geographic, 9102),
        ];
        for (code, kind, unit) in cases {
            assert_eq!(class_of(code), (kind, unit), "EPSG:{code}");
        }
        assert_eq!(class_of(7415).0, Kind::Compound);
        assert_eq!(base_of(2193), Some(4167));
        assert_eq!(base_of(3857), Some(4326));
        assert_eq!(utm_zone(4258, 33, false), Some(25833));
        assert_eq!(utm_zone(4326, 60, true), Some(32760));
        assert_eq!(geographic_of_datum(6326), Some(4326));
        assert_eq!(geographic_of_datum(1116), Some(6318));
        assert_eq!(main_geographic(9755), 4326);
    }
}
