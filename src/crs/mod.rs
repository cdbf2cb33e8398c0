//! Coordinate reference systems: values that are compared by meaning and written back as they were; and the
//! transformation between them.
//!
//! A [`Crs`] comes from the GeoKeys of a file, a code, or a text (WKT1, WKT2, PROJJSON, PROJ string). It keeps the
//! keys for the output, and works out what they mean when it is first asked. [`transform::Transformer`] carries
//! coordinates from one CRS to another; x is always easting or longitude. No file is read here.

mod definition;
mod helmert;
pub mod keys;
#[cfg(feature = "proj")]
mod linked;
mod meaning;
mod methods;
mod ntv2;
pub mod operation;
mod params;
mod proj_string;
mod projjson;
mod pure;
pub mod table;
mod to_keys;
pub mod transform;
mod wkt;
mod wkt_read;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use crate::crs::definition::{Definition, VerticalReference};
use crate::crs::keys::{KeySet, KeyValue};
use crate::crs::meaning::{Form, Horizontal, Meaning};
use crate::crs::table::{Authority, CrsKindRow, Id};
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

/// A coordinate reference system; immutable, cheap to clone.
///
/// Two notions of sameness: `==` and the hash are those of the keys as written, citations included,
/// and are cheap (for interning: of a million sources only distinct keys are kept); [`Crs::same_as`]
/// compares what they mean. Equal keys imply the same meaning.
#[derive(Debug, Clone)]
pub struct Crs {
    keys: KeySet,
    meaning: OnceLock<Arc<Meaning>>,
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
        if model == Some(3) {
            return Err(geocentric("in a file"));
        }
        let crs = Crs { keys, meaning: OnceLock::new() };
        if model.is_some() {
            return Ok(Some(crs));
        }
        let model = match crs.kind() {
            CrsKind::Projected => 1,
            CrsKind::Geographic => 2,
            CrsKind::Unknown => return Ok(Some(crs)),
        };
        let keys = crs.keys.with_short(keys::MODEL_TYPE, model);
        Ok(Some(Crs { keys, meaning: crs.meaning }))
    }

    /// The CRS of an EPSG code.
    ///
    /// # Errors
    /// [`InputError::Option`] for a code that is not in smalti's tables, or of a CRS that is no map's.
    pub fn from_epsg(code: u32) -> Result<Crs> {
        Crs::from_code(Id::epsg(code))
    }

    /// The CRS of a code.
    ///
    /// # Errors
    /// As [`Crs::from_epsg`].
    pub fn from_code(id: Id) -> Result<Crs> {
        let refuse = |reason: String| Err(InputError::Option { option: "CRS", reason }.into());
        let Some(row) = table::crs(id) else {
            return refuse(format!(
                "{id} is not among the codes that smalti knows (EPSG 11.022 and ESRI's); give the CRS as WKT \
                 or PROJ string"
            ));
        };
        match row.kind {
            CrsKindRow::Geocentric => return Err(geocentric(&id.to_string())),
            CrsKindRow::Vertical { .. } => {
                return refuse(format!("{id} is a vertical CRS; name a map's"));
            }
            _ => {}
        }
        match Definition::of_code(id) {
            Some(definition) => Crs::from_definition(&definition),
            None => match (u16::try_from(id.code), id.authority) {
                // A projection beyond us: it can still be named and compared.
                (Ok(code), Authority::Epsg) => {
                    let shorts = [(keys::MODEL_TYPE, 1), (keys::PROJECTED, code)];
                    let keys = KeySet::new(shorts.map(|(id, value)| (id, KeyValue::Short(value))));
                    Ok(Crs { keys, meaning: OnceLock::new() })
                }
                _ => refuse(format!("{id}: smalti does not know its projection")),
            },
        }
    }

    /// The CRS that a user names: a code (`EPSG:32633`, `ESRI:54009`, in any case), WKT1, WKT2, PROJJSON, or a PROJ
    /// string.
    ///
    /// # Errors
    /// [`InputError::Option`] that says what is not understood.
    pub fn parse(text: &str) -> Result<Crs> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let refuse = |reason: String| {
            let shown: String = text.chars().take(60).collect();
            let reason = format!("{shown:?} is not understood: {reason}");
            InputError::Option { option: "CRS", reason }
        };
        if text.eq_ignore_ascii_case("OGC:CRS84") || text.eq_ignore_ascii_case("WGS84") {
            return Crs::from_epsg(4326);
        }
        if let Some(id) = code_of(text) {
            return Crs::from_code(id.ok_or_else(|| refuse("it is no code".into()))?);
        }
        let read = if text.starts_with('{') {
            projjson::parse(text).and_then(|root| wkt_read::read(&root))
        } else if text.contains(['[', '(']) {
            wkt::parse(text).and_then(|root| wkt_read::read(&root))
        } else if text.contains("proj=") || text.starts_with("+init=") {
            proj_string::parse(text)
        } else {
            Err("expected EPSG:n, ESRI:n, WKT, PROJJSON or a PROJ string".into())
        };
        Crs::from_definition(&read.map_err(refuse)?)
    }

    fn from_definition(definition: &Definition) -> Result<Crs> {
        let refuse = |what: String| {
            let reason = format!("smalti cannot write {what}");
            Error::new(InputError::Option { option: "CRS", reason })
        };
        let keys = to_keys::write(definition).map_err(refuse)?;
        let crs = Crs { keys, meaning: OnceLock::new() };
        // What was read counts, and the keys must say the same; a code may say more (a name, an area).
        let same = crs.meaning().known().is_some_and(|own| own.same_horizontal(definition));
        if same { Ok(crs) } else { Err(refuse(format!("{definition} in GeoKeys"))) }
    }

    fn meaning(&self) -> &Meaning {
        self.meaning.get_or_init(|| Arc::new(Meaning::new(&self.keys)))
    }

    /// Whether both are the same CRS, however they were written (SPEC §3.4): codes, parameters and
    /// units count, citations do not. The realisations of WGS 84 are one CRS, and so are the 2D and
    /// 3D forms of any geographic CRS.
    pub fn same_as(&self, other: &Crs) -> bool {
        self == other || self.meaning().same_as(other.meaning())
    }

    /// Whether both count heights from the same surface in the same unit, or neither has heights.
    pub fn same_heights(&self, other: &Crs) -> bool {
        self.meaning().same_heights(other.meaning())
    }

    /// Whether both are the same CRS but for heights.
    pub fn same_horizontal(&self, other: &Crs) -> bool {
        self == other || self.meaning().same_horizontal(other.meaning())
    }

    /// Whether it says what heights are counted from.
    pub fn has_heights(&self) -> bool {
        self.meaning().vertical.is_some()
    }

    /// This horizontal CRS with the heights of another.
    #[must_use]
    pub fn with_heights_of(&self, other: &Crs) -> Crs {
        let is_vertical = |id: u16| (keys::VERTICAL..=keys::VERTICAL_UNITS).contains(&id);
        let own = self.keys.iter().filter(|(id, _)| !is_vertical(*id));
        let heights = other.keys.iter().filter(|(id, _)| is_vertical(*id));
        let all = own.chain(heights).map(|(id, value)| (id, value.clone()));
        Crs { keys: KeySet::new(all), meaning: OnceLock::new() }
    }

    /// What sort of coordinates it has.
    pub fn kind(&self) -> CrsKind {
        match &self.meaning().horizontal {
            Horizontal::Known(definition) => match definition.projection {
                Some(_) => CrsKind::Projected,
                None => CrsKind::Geographic,
            },
            Horizontal::Opaque(opaque) => match opaque.form {
                Form::Code { projected: false, .. } | Form::Geographic => CrsKind::Geographic,
                Form::Text(_) if self.keys.short(keys::MODEL_TYPE) != Some(1) => CrsKind::Unknown,
                _ => CrsKind::Projected,
            },
        }
    }

    /// Whether its coordinates are longitude and latitude.
    pub fn is_geographic(&self) -> bool {
        self.kind() == CrsKind::Geographic
    }

    /// EPSG code of the horizontal CRS, where the keys name one or their parameters are those of a
    /// UTM zone. For the realisations of WGS 84 it is the code that the file gives.
    pub fn epsg(&self) -> Option<u32> {
        self.id().filter(|id| id.authority == Authority::Epsg).map(|id| id.code)
    }

    /// Code of the horizontal CRS, as [`Crs::epsg`], of any authority.
    pub fn id(&self) -> Option<Id> {
        match &self.meaning().horizontal {
            Horizontal::Known(definition) => definition.id,
            Horizontal::Opaque(opaque) => match opaque.form {
                Form::Code { code, .. } if code < keys::USER_DEFINED && opaque.unit > 0.0 => {
                    Some(Id::epsg(u32::from(code)))
                }
                _ => None,
            },
        }
    }

    /// Length of one unit of a projected CRS in metres, size of one unit of a geographic CRS in
    /// radians; `None` if the unit is unknown.
    pub fn unit_size(&self) -> Option<f64> {
        Some(self.meaning().unit()).filter(|unit| *unit > 0.0)
    }

    /// The GeoKeys to write, without `GTRasterTypeGeoKey`.
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// A text that GDAL reads as this CRS, for a VRT's `<SRS>`: `EPSG:n`, `ESRI:n`, or a PROJ string. `None` for a CRS
    /// that smalti does not understand. Heights are left out.
    pub fn srs_text(&self) -> Option<String> {
        if let Some(id) = self.id() {
            return Some(id.to_string());
        }
        self.meaning().known().map(proj_string::write)
    }

    /// Name that the file or the code's authority gives, if it is one for people.
    pub fn name(&self) -> Option<String> {
        let own = match self.kind() {
            CrsKind::Geographic => keys::GEOG_CITATION,
            _ => keys::PROJECTED_CITATION,
        };
        let cited =
            [keys::CITATION, own].into_iter().find_map(|id| human_name(self.keys.text(id)?));
        cited.or_else(|| self.meaning().known()?.name.clone())
    }

    /// Code of the 3D form of a geographic CRS, where the vertical key names it.
    fn three_d_code(&self) -> Option<u16> {
        let code = self.keys.code(keys::VERTICAL)?;
        (self.is_geographic() && self.id() == Some(Id::epsg(u32::from(code)))).then_some(code)
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
        let meaning = self.meaning();
        match (self.id(), self.name(), &meaning.horizontal) {
            (Some(id), Some(name), _) => write!(f, "{id} ({name})")?,
            (Some(id), None, _) => write!(f, "{id}")?,
            (None, Some(name), _) => f.write_str(&name)?,
            (None, None, Horizontal::Known(definition)) => write!(f, "user-defined {definition}")?,
            (None, None, Horizontal::Opaque(_)) => f.write_str("user-defined projected CRS")?,
        }
        if self.id().is_none() && self.kind() == CrsKind::Projected {
            match self.unit_size() {
                Some(1.0) => {}
                Some(metres) => write!(f, ", unit {metres} m")?,
                None => f.write_str(", unit unknown")?,
            }
        }
        match &meaning.vertical {
            None => Ok(()),
            Some(_) if self.three_d_code().is_some() => Ok(()),
            Some(vertical) => match (&vertical.name, &vertical.reference) {
                (_, VerticalReference::Code(code)) => write!(f, " + EPSG:{code}"),
                (Some(name), _) => write!(f, " + {name}"),
                (None, _) => f.write_str(" + user-defined heights"),
            },
        }
    }
}

/// What the parameters say, for people.
impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.projection {
            None => f.write_str("geographic CRS"),
            Some(projection) => f.write_str(methods::title(&projection.params.proj)),
        }
    }
}

/// `None` if the text is no code at all, `Some(None)` if it looks like one and is not.
fn code_of(text: &str) -> Option<Option<Id>> {
    let text = text.strip_prefix("urn:ogc:def:crs:").unwrap_or(text);
    let (authority, code) = text.split_once(':')?;
    let authority = match authority.trim().to_ascii_uppercase().as_str() {
        "EPSG" => Authority::Epsg,
        "ESRI" => Authority::Esri,
        _ => return None,
    };
    // `EPSG:9.8.15:4326` and `EPSG::4326` are URNs.
    let code = code.rsplit(':').next()?.trim();
    Some(code.parse().ok().map(|code| Id { authority, code }))
}

/// Equal within a relative 1e-9; 1e-12 absolute for what should be 0. Must tell the flattenings of GRS 80 and WGS 84
/// apart, which differ by 4.9e-9.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= (1e-9 * a.abs().max(b.abs())).max(1e-12)
}

/// Letters and digits in lower case: what is left when writers differ in spelling.
fn letters(text: &str) -> String {
    // CH1903+ is not CH1903.
    let text = text.replace('+', "plus");
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn geocentric(what: &str) -> Error {
    Error::unsupported(
        format!("a geocentric CRS ({what})"),
        "give the raster the CRS of its map, e.g. gdal_edit.py -a_srs",
    )
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

#[cfg(test)]
mod tests;
