//! What a list of GeoKeys means: the form in which two CRSs are compared (SPEC §3.4).
//!
//! Codes, parameters and synonyms are brought to one form once, when a [`super::Crs`] is made;
//! comparing is then cheap. Where GDAL and the letter of GeoTIFF differ, GDAL's reading is taken,
//! because that is what made the files: a code beats the parameters beside it, but an explicit
//! linear unit or base geographic CRS beats those of the code.

use super::epsg::{self, Kind};
use super::geodetic::{Geodetic, angular_unit, close, geodetic, geographic_code, letters};
use super::keys::{self, KeySet};

/// `ProjCoordTransGeoKey` of Transverse Mercator.
const TRANSVERSE_MERCATOR: u16 = 1;

// The keys that stand for all synonyms of a parameter.
const ORIGIN_LONGITUDE: u16 = 3080;
const ORIGIN_LATITUDE: u16 = 3081;
const FALSE_EASTING: u16 = 3082;
const FALSE_NORTHING: u16 = 3083;
const SCALE: u16 = 3092;

/// A CRS brought to a form that can be compared.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Geographic CRS; beneath a code only where it is not the code's own.
    base: Option<Geodetic>,
    pub(super) projection: Option<Projection>,
    /// Metres for a projected CRS, radians for a geographic one; negative: a unit of unknown size.
    pub(super) unit: f64,
    vertical: Option<Vertical>,
    epoch: Option<f64>,
}

/// How geographic coordinates become projected ones.
#[derive(Debug, Clone)]
pub(super) enum Projection {
    /// EPSG code of the whole projected CRS (or a private code above 32767).
    Crs(u16),
    /// EPSG code of the operation alone.
    Operation(u16),
    /// GeoTIFF method code, and parameters in degrees and metres, zeros left out.
    Method { method: u16, parameters: Vec<(u16, f64)> },
    /// Nothing but text: an ESRI PE string or a citation.
    Text(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Vertical {
    Code { code: u16, unit: u16 },
    Datum { datum: u16, unit: u16 },
    Name { name: String, unit: u16 },
}

impl Identity {
    /// The meaning of a list of keys; `projected` says that it is not a geographic CRS.
    pub(super) fn new(keys: &KeySet, projected: bool) -> Identity {
        let vertical = vertical(keys);
        let epoch = keys.number(keys::COORDINATE_EPOCH);
        let base = geodetic(keys);
        if projected {
            let (projection, unit) = projection(keys, base.as_ref());
            let base = match (&projection, base) {
                // A user-defined base beside a code is only its description.
                (Projection::Crs(_), Some(Geodetic::User { .. })) => None,
                (Projection::Crs(code), Some(Geodetic::Code(base))) => epsg::base_of(*code)
                    .is_some_and(|own| own != base)
                    .then_some(Geodetic::Code(base)),
                (_, base) => base,
            };
            return Identity { base, projection: Some(projection), unit, vertical, epoch };
        }
        let code = geographic_code(keys);
        let unit = match code.map(epsg::class_of) {
            // GDAL takes the unit of the code whatever the key says.
            Some((_, unit)) => epsg::radians(unit),
            None => angular_unit(keys),
        };
        Identity { base, projection: None, unit: unit.unwrap_or(-1.0), vertical, epoch }
    }

    /// EPSG code of the horizontal CRS that this is, where there is one.
    pub(super) fn epsg(&self) -> Option<u16> {
        match (&self.projection, &self.base) {
            (Some(Projection::Crs(code)), None) if *code < keys::USER_DEFINED => {
                let own_unit = epsg::metres(epsg::class_of(*code).1)?;
                close(self.unit, own_unit).then_some(*code)
            }
            (None, Some(Geodetic::Code(code))) => {
                let own_unit = epsg::radians(epsg::class_of(*code).1)?;
                close(self.unit, own_unit).then_some(*code)
            }
            _ => None,
        }
    }

    /// Whether both mean the same CRS.
    pub(super) fn same_as(&self, other: &Identity) -> bool {
        let bases = match (&self.base, &other.base) {
            (Some(a), Some(b)) => a.same_as(b),
            (None, None) => true,
            _ => false,
        };
        let projections = match (&self.projection, &other.projection) {
            (Some(a), Some(b)) => a.same_as(b),
            (None, None) => true,
            _ => false,
        };
        bases
            && projections
            && close(self.unit, other.unit)
            && self.vertical == other.vertical
            && self.epoch == other.epoch
    }
}

impl Projection {
    fn same_as(&self, other: &Projection) -> bool {
        match (self, other) {
            (Projection::Crs(a), Projection::Crs(b)) => a == b,
            (Projection::Operation(a), Projection::Operation(b)) => a == b,
            (Projection::Text(a), Projection::Text(b)) => a == b,
            (
                Projection::Method { method: m, parameters: p },
                Projection::Method { method: n, parameters: q },
            ) => {
                let same = |((i, a), (j, b)): (&(u16, f64), &(u16, f64))| i == j && close(*a, *b);
                m == n && p.len() == q.len() && p.iter().zip(q).all(same)
            }
            _ => false,
        }
    }
}

/// The projection, and the linear unit in metres.
fn projection(keys: &KeySet, base: Option<&Geodetic>) -> (Projection, f64) {
    let is_projected = |code: &u16| epsg::class_of(*code).0 == Kind::Projected;
    // Some writers put a projected code into the geographic key; GDAL reads it as projected.
    let code =
        keys.code(keys::PROJECTED).or_else(|| keys.code(keys::GEOGRAPHIC).filter(is_projected));
    let explicit_unit = match keys.short(keys::LINEAR_UNITS) {
        None => None,
        Some(keys::USER_DEFINED) => keys.number(keys::LINEAR_UNIT_SIZE),
        Some(unit) => Some(epsg::metres(unit).unwrap_or(-f64::from(unit))),
    };
    if let Some(code) = code {
        let own_unit = || epsg::metres(epsg::class_of(code).1);
        return (Projection::Crs(code), explicit_unit.or_else(own_unit).unwrap_or(1.0));
    }
    let unit = explicit_unit.unwrap_or(1.0);
    let projection = if let Some(operation) = keys.code(keys::PROJECTION) {
        of_operation(operation, base)
    } else if let Some(method) = keys.code(keys::COORD_TRANS) {
        Projection::Method { method, parameters: parameters(keys, unit) }
    } else {
        let texts = [keys::PROJECTED_CITATION, keys::CITATION].map(|key| keys.text(key));
        let is_esri = |text: &&str| text.contains("ESRI PE String");
        let esri = texts.into_iter().flatten().find(is_esri);
        let text = esri.or(texts[1]).or(texts[0]).unwrap_or_default();
        Projection::Text(text.split_whitespace().collect())
    };
    (as_utm_code(projection, base, unit), unit)
}

/// A projection by the EPSG code of its operation: UTM by its parameters.
fn of_operation(operation: u16, base: Option<&Geodetic>) -> Projection {
    let (zone, false_northing) = match operation {
        16001..=16060 => (operation - 16000, 0.0),
        16101..=16160 => (operation - 16100, 1e7),
        // Popular Visualisation Pseudo-Mercator, on WGS 84.
        3856 if matches!(base, Some(Geodetic::Code(4326))) => return Projection::Crs(3857),
        _ => return Projection::Operation(operation),
    };
    let longitude = f64::from(zone) * 6.0 - 183.0;
    let all = [
        (ORIGIN_LONGITUDE, longitude),
        (FALSE_EASTING, 5e5),
        (FALSE_NORTHING, false_northing),
        (SCALE, 0.9996),
    ];
    let parameters = all.into_iter().filter(|(_, value)| *value != 0.0).collect();
    Projection::Method { method: TRANSVERSE_MERCATOR, parameters }
}

/// The key that stands for a parameter under all its names, `None` if it is no parameter.
fn canonical_parameter(id: u16) -> Option<u16> {
    Some(match id {
        3080 | 3084 | 3088 | 3095 => ORIGIN_LONGITUDE,
        3081 | 3085 | 3089 => ORIGIN_LATITUDE,
        3082 | 3086 | 3090 => FALSE_EASTING,
        3083 | 3087 | 3091 => FALSE_NORTHING,
        3092 | 3093 => SCALE,
        3078 | 3079 | 3094 | 3096 => id,
        _ => return None,
    })
}

/// Parameters in degrees and metres, sorted, without those that have no effect.
fn parameters(keys: &KeySet, unit: f64) -> Vec<(u16, f64)> {
    let degrees = angular_unit(keys).filter(|u| *u > 0.0).map_or(1.0, f64::to_degrees);
    let mut found: Vec<(u16, f64)> = Vec::new();
    for (id, _) in keys.iter() {
        let (Some(name), Some(number)) = (canonical_parameter(id), keys.number(id)) else {
            continue;
        };
        let value = match name {
            FALSE_EASTING | FALSE_NORTHING => number * unit,
            SCALE => number,
            ORIGIN_LONGITUDE => (number * degrees + 180.0).rem_euclid(360.0) - 180.0,
            _ => number * degrees,
        };
        // Files that give two names of one parameter different values keep both apart.
        let taken = found.iter().any(|(other, v)| *other == name && !close(*v, value));
        found.push((if taken { id } else { name }, value));
    }
    found.retain(|(name, value)| !close(*value, if *name == SCALE { 1.0 } else { 0.0 }));
    found.sort_by_key(|(name, _)| *name);
    found.dedup_by_key(|(name, _)| *name);
    found
}

/// UTM by parameters becomes the code of the zone, where the base has one.
fn as_utm_code(projection: Projection, base: Option<&Geodetic>, unit: f64) -> Projection {
    let (
        Projection::Method { method: TRANSVERSE_MERCATOR, parameters },
        Some(Geodetic::Code(base)),
    ) = (&projection, base)
    else {
        return projection;
    };
    let value =
        |name: u16| parameters.iter().find(|(id, _)| *id == name).map_or(0.0, |found| found.1);
    let zone = (value(ORIGIN_LONGITUDE) + 183.0) / 6.0;
    let south = value(FALSE_NORTHING) != 0.0;
    let count = 3 + usize::from(south);
    let is_utm = close(zone, zone.round())
        && close(value(SCALE), 0.9996)
        && close(value(FALSE_EASTING), 5e5)
        && (!south || close(value(FALSE_NORTHING), 1e7))
        && close(unit, 1.0)
        && parameters.len() == count;
    // The zone is whole and between 0 and 61: longitudes lie in -180..180.
    match epsg::utm_zone(*base, zone.round() as u8, south) {
        Some(code) if is_utm => Projection::Crs(code),
        _ => projection,
    }
}

fn vertical(keys: &KeySet) -> Option<Vertical> {
    let unit = keys.short(keys::VERTICAL_UNITS);
    let code = keys.short(keys::VERTICAL)?;
    if code != keys::USER_DEFINED {
        let (kind, own_unit) = epsg::class_of(code);
        return match (code, kind) {
            // Heights above the CRS's own ellipsoid: a third axis, but no vertical CRS.
            (5001..=5033, _) | (_, Kind::Geographic3d) => None,
            // GeoTIFF 1.0's own six codes: EPSG's are 600 above.
            (5101..=5106, _) => {
                Some(Vertical::Code { code: code + 600, unit: unit.unwrap_or(9001) })
            }
            _ => Some(Vertical::Code { code, unit: unit.unwrap_or(own_unit) }),
        };
    }
    let unit = unit.unwrap_or(9001);
    if let Some(datum) = keys.code(keys::VERTICAL_DATUM) {
        return Some(Vertical::Datum { datum, unit });
    }
    let name = keys.text(keys::VERTICAL_CITATION).map(letters).filter(|name| !name.is_empty())?;
    Some(Vertical::Name { name, unit })
}
