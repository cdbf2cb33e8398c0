//! The geographic CRS, datum and ellipsoid in a list of GeoKeys, brought to one form.

use super::epsg::{self, Kind};
use super::keys::{self, KeySet};

/// Relative tolerance of parameters. Must tell the flattenings of GRS 80 and WGS 84 apart, which
/// differ by 4.9e-9.
const TOLERANCE: f64 = 1e-9;

/// A geographic CRS without its unit.
#[derive(Debug, Clone)]
pub(super) enum Geodetic {
    /// EPSG code, as [`epsg::main_geographic`] gives it.
    Code(u16),
    User {
        datum: Datum,
        meridian_degrees: f64,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Datum {
    Code(u16),
    /// Neither code nor parameters.
    Unknown,
    Parameters {
        /// Name as in the citation, reduced to letters and digits; empty if none is known.
        name: String,
        semi_major: f64,
        inverse_flattening: f64,
        to_wgs84: Vec<f64>,
    },
}

impl Geodetic {
    pub(super) fn same_as(&self, other: &Geodetic) -> bool {
        match (self, other) {
            (Geodetic::Code(a), Geodetic::Code(b)) => a == b,
            (
                Geodetic::User { datum: a, meridian_degrees: m },
                Geodetic::User { datum: b, meridian_degrees: n },
            ) => close(*m, *n) && a.same_as(b),
            _ => false,
        }
    }
}

impl Datum {
    fn same_as(&self, other: &Datum) -> bool {
        match (self, other) {
            (Datum::Code(a), Datum::Code(b)) => a == b,
            (Datum::Unknown, Datum::Unknown) => true,
            (
                Datum::Parameters { name: n, semi_major: a, inverse_flattening: f, to_wgs84: t },
                Datum::Parameters { name: m, semi_major: b, inverse_flattening: g, to_wgs84: u },
            ) => {
                let shifts = t.len() == u.len() && t.iter().zip(u).all(|(t, u)| close(*t, *u));
                n == m && close(*a, *b) && close(*f, *g) && shifts
            }
            _ => false,
        }
    }
}

/// Equal within [`TOLERANCE`]; 1e-12 absolute for what should be 0.
pub(super) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= (TOLERANCE * a.abs().max(b.abs())).max(1e-12)
}

/// Letters and digits in lower case: what is left when writers differ in spelling.
pub(super) fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The geographic code; some writers put a geographic code into the projected key, or a projected
/// one into the geographic key.
pub(super) fn geographic_code(keys: &KeySet) -> Option<u16> {
    let kind = |code: u16| epsg::class_of(code).0;
    let is_geographic = |code: &u16| matches!(kind(*code), Kind::Geographic | Kind::Geographic3d);
    let own = keys.code(keys::GEOGRAPHIC).filter(|code| kind(*code) != Kind::Projected);
    own.or_else(|| keys.code(keys::PROJECTED).filter(is_geographic))
}

/// Angular unit of a user-defined geographic CRS in radians; degrees if the keys name none.
pub(super) fn angular_unit(keys: &KeySet) -> Option<f64> {
    match keys.short(keys::ANGULAR_UNITS) {
        None => epsg::radians(9102),
        Some(keys::USER_DEFINED) => keys.number(keys::ANGULAR_UNIT_SIZE),
        Some(unit) => Some(epsg::radians(unit).unwrap_or(-f64::from(unit))),
    }
}

/// The geographic CRS, `None` if no key says anything about it.
pub(super) fn geodetic(keys: &KeySet) -> Option<Geodetic> {
    if let Some(code) = geographic_code(keys) {
        return Some(Geodetic::Code(epsg::main_geographic(code)));
    }
    let degrees_per_unit = angular_unit(keys).filter(|u| *u > 0.0).map_or(1.0, f64::to_degrees);
    let meridian_degrees = match keys.code(keys::PRIME_MERIDIAN) {
        Some(code) => epsg::meridian_degrees(code).unwrap_or(f64::from(code) * 1e3),
        None => keys.number(keys::PRIME_MERIDIAN_LONGITUDE).unwrap_or(0.0) * degrees_per_unit,
    };
    let datum = datum(keys);
    if let Datum::Unknown = datum {
        keys.short(keys::GEOGRAPHIC)?;
    }
    if let Datum::Code(code) = &datum
        && close(meridian_degrees, 0.0)
        && let Some(code) = epsg::geographic_of_datum(*code)
    {
        return Some(Geodetic::Code(code));
    }
    Some(Geodetic::User { datum, meridian_degrees })
}

fn datum(keys: &KeySet) -> Datum {
    if let Some(code) = keys.code(keys::GEOG_DATUM) {
        return Datum::Code(code);
    }
    let name = keys.text(keys::GEOG_CITATION).map(datum_name).unwrap_or_default();
    if let Some(code) = known_datum(&name) {
        return Datum::Code(code);
    }
    let Some([semi_major, inverse_flattening]) = ellipsoid(keys) else {
        return Datum::Unknown;
    };
    let shift = keys.numbers(keys::TO_WGS84);
    // Three parameters are seven with zeros, none are zeros.
    let used = shift.iter().rposition(|v| *v != 0.0).map_or(0, |last| last + 1);
    Datum::Parameters { name, semi_major, inverse_flattening, to_wgs84: shift[..used].to_vec() }
}

/// Semi-major axis in metres and inverse flattening.
fn ellipsoid(keys: &KeySet) -> Option<[f64; 2]> {
    let known = keys.code(keys::ELLIPSOID).and_then(epsg::ellipsoid);
    let Some(a) = keys.number(keys::SEMI_MAJOR_AXIS) else {
        return known;
    };
    let minor = keys.number(keys::SEMI_MINOR_AXIS).filter(|b| *b > 0.0);
    let inverse_flattening = match (keys.number(keys::INVERSE_FLATTENING), minor) {
        (Some(inverse), _) => inverse,
        (None, Some(b)) if a != b => a / (a - b),
        (None, Some(_)) => 0.0,
        (None, None) => known.map_or(0.0, |known| known[1]),
    };
    Some([a, inverse_flattening])
}

/// Datum's name out of a citation such as `GCS Name = …|Datum = …|Ellipsoid = …`, in letters and
/// digits; empty where the writer did not know one.
fn datum_name(citation: &str) -> String {
    let named = citation.split('|').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == "Datum").then(|| letters(value.trim().trim_start_matches("D_")))
    });
    let unknown = ["unknown", "unnamed", "notspecified", "userdefined"];
    named.filter(|name| !unknown.iter().any(|word| name.starts_with(word))).unwrap_or_default()
}

/// Datums that writers name without a code, as [`letters`] leaves their ESRI and EPSG names.
fn known_datum(name: &str) -> Option<u16> {
    Some(match name {
        "wgs1984" | "wgs84" | "worldgeodeticsystem1984" => 6326,
        "northamerican1983" | "northamericandatum1983" | "nad83" => 6269,
        "northamerican1927" | "northamericandatum1927" | "nad27" => 6267,
        "etrs1989" | "etrs89" | "europeanterrestrialreferencesystem1989" => 6258,
        "european1950" | "europeandatum1950" => 6230,
        "gda1994" | "geocentricdatumofaustralia1994" => 6283,
        "gda2020" | "geocentricdatumofaustralia2020" => 1168,
        "nzgd2000" | "newzealandgeodeticdatum2000" => 6167,
        "nad832011" | "nad83nationalspatialreferencesystem2011" => 1116,
        "osgb1936" => 6277,
        _ => return None,
    })
}
