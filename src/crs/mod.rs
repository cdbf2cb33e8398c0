//! Coordinate reference systems: values that are compared by meaning and written back as they were.
//!
//! A [`Crs`] comes from the GeoKeys of a file or from an EPSG code. It keeps the keys for the output
//! and works out once what they mean (`ident`), so that [`Crs::same_as`] sees through spelling.
//! Nothing is transformed here, and no file is read.

mod epsg;
mod epsg_kinds;
mod epsg_values;
mod geodetic;
mod ident;
pub mod keys;

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::crs::epsg::Kind;
use crate::crs::ident::{Identity, Projection};
use crate::crs::keys::{KeySet, KeyValue};
use crate::error::{Error, InputError, Result};

/// What sort of coordinates a CRS has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrsKind {
    /// Easting and northing.
    Projected,
    /// Longitude and latitude.
    Geographic,
    /// Plane coordinates that only a text describes (`GTModelTypeGeoKey` user-defined).
    Unknown,
}

/// A coordinate reference system; immutable.
///
/// Two notions of sameness: `==` and the hash are those of the keys as written, citations included,
/// and are cheap (for interning: of a million sources only distinct keys are kept); [`Crs::same_as`]
/// compares what they mean. Equal keys imply the same meaning.
#[derive(Debug, Clone)]
pub struct Crs {
    kind: CrsKind,
    keys: KeySet,
    identity: Identity,
}

impl Crs {
    /// The CRS that GeoKeys describe, or `None` if they describe none. `GTRasterTypeGeoKey` must
    /// not be among them: it belongs to the raster.
    ///
    /// # Errors
    /// [`crate::error::Unsupported`] for a geocentric CRS, whose coordinates are no map.
    pub fn from_keys(keys: KeySet) -> Result<Option<Crs>> {
        let model = keys.short(keys::MODEL_TYPE);
        let defines = [
            keys::GEOGRAPHIC,
            keys::GEOG_DATUM,
            keys::ELLIPSOID,
            keys::PROJECTED,
            keys::PROJECTION,
            keys::COORD_TRANS,
        ];
        let texts = [keys::CITATION, keys::PROJECTED_CITATION, keys::GEOG_CITATION];
        let defined = defines.iter().any(|id| keys.short(*id).is_some())
            || keys.number(keys::SEMI_MAJOR_AXIS).is_some()
            || (model.is_some() && texts.iter().any(|id| keys.text(*id).is_some()));
        if !defined {
            return Ok(None);
        }
        let kind = match model {
            Some(1) => CrsKind::Projected,
            Some(2) => CrsKind::Geographic,
            Some(3) => return Err(geocentric("in a file")),
            None if projects(&keys) => CrsKind::Projected,
            None => CrsKind::Geographic,
            Some(_) if projects(&keys) => CrsKind::Projected,
            Some(_) => CrsKind::Unknown,
        };
        Ok(Some(Crs::with_kind(settle_kind(kind, &keys), keys)))
    }

    /// The CRS of an EPSG code. The code need not be in the data set that smalti knows.
    ///
    /// # Errors
    /// [`InputError::Option`] for a code that no GeoTIFF can hold, or of a CRS that is neither
    /// projected nor geographic.
    pub fn from_epsg(code: u32) -> Result<Crs> {
        let refuse = |reason: String| InputError::Option { option: "CRS", reason };
        let short = u16::try_from(code).ok().filter(|c| (1024..keys::USER_DEFINED).contains(c));
        let Some(short) = short else {
            return Err(refuse(format!("EPSG:{code} is not a code between 1024 and 32766")).into());
        };
        let (kind, unit) = epsg::class_of(short);
        let code_key = match kind {
            Kind::Projected => keys::PROJECTED,
            Kind::Geographic | Kind::Geographic3d => keys::GEOGRAPHIC,
            Kind::Geocentric => return Err(geocentric(&format!("EPSG:{code}"))),
            Kind::Vertical => {
                return Err(refuse(format!("EPSG:{code} is a vertical CRS; name a map's")).into());
            }
            Kind::Compound => {
                let reason = format!("EPSG:{code} is a compound CRS; name its horizontal part");
                return Err(refuse(reason).into());
            }
        };
        // GDAL writes a 3D code so, and reads it as 2D if it stands in the geographic key.
        let flat = epsg::main_geographic(short);
        let heights = (kind == Kind::Geographic3d && flat != short).then_some(short);
        let code = if heights.is_some() { flat } else { short };
        let (kind, model, unit_key) = match kind {
            Kind::Projected => (CrsKind::Projected, 1, keys::LINEAR_UNITS),
            _ => (CrsKind::Geographic, 2, keys::ANGULAR_UNITS),
        };
        let shorts = [(keys::MODEL_TYPE, model), (code_key, code), (unit_key, unit)];
        let shorts = shorts.into_iter().chain(heights.map(|code| (keys::VERTICAL, code)));
        let keys = KeySet::new(shorts.map(|(id, value)| (id, KeyValue::Short(value))));
        Ok(Crs::with_kind(kind, keys))
    }

    /// The CRS that a user names: `EPSG:32633`, in any case.
    ///
    /// # Errors
    /// [`InputError::Option`] if it is not an EPSG code, or as [`Crs::from_epsg`].
    pub fn parse(text: &str) -> Result<Crs> {
        let code = text
            .trim()
            .split_once(':')
            .filter(|(authority, _)| authority.trim().eq_ignore_ascii_case("epsg"))
            .and_then(|(_, code)| code.trim().parse().ok());
        match code {
            Some(code) => Crs::from_epsg(code),
            None => {
                let reason = format!(
                    "{text:?} is not understood; only EPSG codes are read for now, e.g. EPSG:32633"
                );
                Err(InputError::Option { option: "CRS", reason }.into())
            }
        }
    }

    fn with_kind(kind: CrsKind, keys: KeySet) -> Crs {
        let identity = Identity::new(&keys, kind != CrsKind::Geographic);
        let keys = match kind {
            CrsKind::Projected if keys.short(keys::MODEL_TYPE).is_none() => {
                keys.with_short(keys::MODEL_TYPE, 1)
            }
            CrsKind::Geographic if keys.short(keys::MODEL_TYPE).is_none() => {
                keys.with_short(keys::MODEL_TYPE, 2)
            }
            _ => keys,
        };
        Crs { kind, keys, identity }
    }

    /// Whether both are the same CRS, however they were written (SPEC §3.4): codes, parameters and
    /// units count, citations do not. The realisations of WGS 84 are one CRS, and so are the 2D and
    /// 3D forms of any geographic CRS.
    pub fn same_as(&self, other: &Crs) -> bool {
        self == other || (self.kind == other.kind && self.identity.same_as(&other.identity))
    }

    /// What sort of coordinates it has.
    pub fn kind(&self) -> CrsKind {
        self.kind
    }

    /// Whether its coordinates are longitude and latitude.
    pub fn is_geographic(&self) -> bool {
        self.kind == CrsKind::Geographic
    }

    /// EPSG code of the horizontal CRS, where the keys name one or their parameters are those of a
    /// UTM zone. For the realisations of WGS 84 it is the code that the file gives.
    pub fn epsg(&self) -> Option<u32> {
        let meant = self.identity.epsg()?;
        let written = match self.kind {
            CrsKind::Geographic => {
                self.three_d_code().or_else(|| geodetic::geographic_code(&self.keys))
            }
            _ => self.keys.code(keys::PROJECTED),
        };
        Some(u32::from(written.unwrap_or(meant)))
    }

    /// Length of one unit of a projected CRS in metres, size of one unit of a geographic CRS in
    /// radians; `None` if the unit is unknown.
    pub fn unit_size(&self) -> Option<f64> {
        Some(self.identity.unit).filter(|unit| *unit > 0.0)
    }

    /// The GeoKeys to write, without `GTRasterTypeGeoKey`.
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// Code of the 3D form of a geographic CRS, where the vertical key names it.
    fn three_d_code(&self) -> Option<u16> {
        let code = self.keys.code(keys::VERTICAL)?;
        let flat = geodetic::geographic_code(&self.keys).map(epsg::main_geographic);
        let is_own = epsg::class_of(code).0 == Kind::Geographic3d
            && flat == Some(epsg::main_geographic(code));
        (self.kind == CrsKind::Geographic && is_own).then_some(code)
    }

    /// Name that the file gives, if it is one for people.
    fn name(&self) -> Option<String> {
        let own = match self.kind {
            CrsKind::Geographic => keys::GEOG_CITATION,
            _ => keys::PROJECTED_CITATION,
        };
        [keys::CITATION, own].into_iter().find_map(|id| human_name(self.keys.text(id)?))
    }
}

/// The same keys, byte for byte.
impl PartialEq for Crs {
    fn eq(&self, other: &Crs) -> bool {
        self.keys == other.keys
    }
}

impl Eq for Crs {}

impl Hash for Crs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.keys.hash(state);
    }
}

/// `EPSG:32633 (WGS 84 / UTM zone 33N)`, or as much of it as is known.
impl fmt::Display for Crs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.epsg(), self.name(), &self.identity.projection) {
            (Some(code), Some(name), _) => write!(f, "EPSG:{code} ({name})")?,
            (Some(code), None, _) => write!(f, "EPSG:{code}")?,
            (None, Some(name), _) => f.write_str(&name)?,
            (None, None, Some(Projection::Method { method, .. })) => {
                write!(f, "user-defined {}", method_name(*method))?;
            }
            (None, None, Some(_)) => f.write_str("user-defined projected CRS")?,
            (None, None, None) => f.write_str("user-defined geographic CRS")?,
        }
        if self.epsg().is_none() && self.kind == CrsKind::Projected {
            match self.unit_size() {
                Some(1.0) => {}
                Some(metres) => write!(f, ", unit {metres} m")?,
                None => f.write_str(", unit unknown")?,
            }
        }
        match self.keys.short(keys::VERTICAL) {
            None => Ok(()),
            Some(code) if self.three_d_code() == Some(code) => Ok(()),
            Some(keys::USER_DEFINED) => {
                let name = self.keys.text(keys::VERTICAL_CITATION).and_then(human_name);
                write!(f, " + {}", name.as_deref().unwrap_or("user-defined heights"))
            }
            Some(code) => write!(f, " + EPSG:{code}"),
        }
    }
}

fn geocentric(what: &str) -> Error {
    Error::unsupported(
        format!("a geocentric CRS ({what})"),
        "give the raster the CRS of its map, e.g. gdal_edit.py -a_srs",
    )
}

/// Whether a key says something about a projection.
fn projects(keys: &KeySet) -> bool {
    let ids = [keys::PROJECTED, keys::PROJECTION, keys::COORD_TRANS];
    ids.iter().any(|id| keys.short(*id).is_some())
}

/// Corrects the kind where a code was put into the other kind's key, as GDAL does.
fn settle_kind(kind: CrsKind, keys: &KeySet) -> CrsKind {
    let kind_of = |id: u16| keys.code(id).map(|code| epsg::class_of(code).0);
    match kind {
        CrsKind::Projected
            if matches!(kind_of(keys::PROJECTED), Some(Kind::Geographic | Kind::Geographic3d)) =>
        {
            CrsKind::Geographic
        }
        CrsKind::Geographic if kind_of(keys::GEOGRAPHIC) == Some(Kind::Projected) => {
            CrsKind::Projected
        }
        _ => kind,
    }
}

/// The part of a citation that names the CRS, if any: one line, at most 80 characters.
fn human_name(citation: &str) -> Option<String> {
    if citation.contains("ESRI PE String") || citation.starts_with("IMAGINE") {
        return None;
    }
    let first = citation.split(['|', '\n']).find(|part| !part.trim().is_empty())?.trim();
    let name = first
        .split_once('=')
        .filter(|(key, _)| key.trim_end().ends_with("Name"))
        .map_or(first, |(_, value)| value.trim());
    let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    let unknown = ["unknown", "unnamed", ""];
    (!unknown.contains(&name.to_ascii_lowercase().as_str())).then_some(name)
}

/// Name of a `ProjCoordTransGeoKey` (GeoTIFF 1.1 annex D, table D.20).
fn method_name(method: u16) -> String {
    let name = match method {
        1 => "Transverse Mercator",
        3 => "Oblique Mercator",
        7 => "Mercator",
        8 => "Lambert Conformal Conic (2 parallels)",
        9 => "Lambert Conformal Conic (1 parallel)",
        10 => "Lambert Azimuthal Equal Area",
        11 => "Albers Equal Area",
        12 => "Azimuthal Equidistant",
        14 => "Stereographic",
        15 => "Polar Stereographic",
        16 => "Oblique Stereographic",
        17 => "Equirectangular",
        18 => "Cassini-Soldner",
        21 => "Orthographic",
        22 => "Polyconic",
        24 => "Sinusoidal",
        27 => "Transverse Mercator (south-oriented)",
        28 => "Cylindrical Equal Area",
        other => return format!("projection (method {other})"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
