//! [`Meaning`]: what a list of GeoKeys says (SPEC §3.4), as far as it is understood.
//!
//! Where GDAL and the letter of GeoTIFF differ, GDAL's reading is taken, because that is what made the files: a code
//! beats the parameters beside it, but an explicit linear unit or base geographic CRS beats those of the code.

#![expect(clippy::result_large_err, reason = "once for each CRS, and its parts are wanted")]

use super::definition::{Base, Datum, Definition, Projection, Vertical, VerticalReference};
use super::keys::{self, KeySet};
use super::methods::{self, Method, Role, Roles};
use super::params::Params;
use super::table::{self, CrsKindRow, Id};
use super::{close, letters, to_keys, wkt, wkt_read};

/// What keys say.
#[derive(Debug, Clone)]
pub(super) struct Meaning {
    pub(super) horizontal: Horizontal,
    pub(super) vertical: Option<Vertical>,
    epoch: Option<f64>,
}

/// The horizontal CRS.
#[derive(Debug, Clone)]
pub(super) enum Horizontal {
    /// Understood; can be transformed where the engine can.
    Known(Box<Definition>),
    /// Can be compared with its like only.
    Opaque(Box<Opaque>),
}

/// A CRS that is not understood.
#[derive(Debug, Clone)]
pub(super) struct Opaque {
    pub(super) form: Form,
    base: Option<Base>,
    /// Metres or radians; negative: a unit of unknown size.
    pub(super) unit: f64,
    /// What is not understood, in words.
    pub(super) reason: String,
}

/// How an opaque CRS is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    /// A code that the tables do not have; or one whose projection they do not describe.
    Code { code: u16, projected: bool },
    /// EPSG code of the operation alone.
    Operation(u16),
    /// GeoTIFF's code of the method, and parameters in degrees and metres.
    Method { method: u16, parameters: Vec<(u16, f64)> },
    /// Nothing but text: an ESRI PE string or a citation.
    Text(String),
    /// A user-defined geographic CRS that says nothing about its datum.
    Geographic,
}

impl Meaning {
    /// Reads the keys.
    pub(super) fn new(keys: &KeySet) -> Meaning {
        let epoch = keys.number(keys::COORDINATE_EPOCH);
        let (horizontal, own_vertical) = match horizontal(keys) {
            Ok(mut definition) => {
                let own = definition.vertical.take();
                (Horizontal::Known(Box::new(definition)), own)
            }
            Err(opaque) => (Horizontal::Opaque(Box::new(opaque)), None),
        };
        Meaning { horizontal, vertical: vertical(keys).or(own_vertical), epoch }
    }

    /// The CRS where it is understood.
    pub(super) fn known(&self) -> Option<&Definition> {
        match &self.horizontal {
            Horizontal::Known(definition) => Some(definition),
            Horizontal::Opaque(_) => None,
        }
    }

    /// Whether both mean the same CRS but for heights.
    pub(super) fn same_horizontal(&self, other: &Meaning) -> bool {
        let horizontal = match (&self.horizontal, &other.horizontal) {
            (Horizontal::Known(a), Horizontal::Known(b)) => a.same_horizontal(b),
            (Horizontal::Opaque(a), Horizontal::Opaque(b)) => a.same_as(b),
            _ => false,
        };
        horizontal && self.epoch == other.epoch
    }

    /// Whether both mean the same CRS.
    pub(super) fn same_as(&self, other: &Meaning) -> bool {
        self.same_horizontal(other) && self.same_heights(other)
    }

    /// Whether both count heights from one surface in one unit; or neither has heights.
    pub(super) fn same_heights(&self, other: &Meaning) -> bool {
        match (&self.vertical, &other.vertical) {
            (Some(a), Some(b)) => a.reference == b.reference && close(a.unit, b.unit),
            (None, None) => true,
            _ => false,
        }
    }

    /// Metres or radians in one unit.
    pub(super) fn unit(&self) -> f64 {
        match &self.horizontal {
            Horizontal::Known(definition) => definition.unit(),
            Horizontal::Opaque(opaque) => opaque.unit,
        }
    }
}

impl Opaque {
    /// Whether it is a code and nothing beside it that changes what the code says.
    #[cfg(feature = "proj")]
    pub(super) fn code(&self) -> Option<Id> {
        let Form::Code { code, .. } = self.form else { return None };
        let id = code_id(code);
        let own_unit = table::crs(id).and_then(|row| match row.kind {
            CrsKindRow::Projected { unit, .. } => Some(unit.size),
            _ => None,
        });
        (self.base.is_none() && own_unit.is_none_or(|own| close(own, self.unit))).then_some(id)
    }

    fn same_as(&self, other: &Opaque) -> bool {
        let bases = match (&self.base, &other.base) {
            (Some(a), Some(b)) => a.same_as(b),
            (None, None) => true,
            _ => false,
        };
        let forms = match (&self.form, &other.form) {
            (
                Form::Method { method: m, parameters: p },
                Form::Method { method: n, parameters: q },
            ) => {
                let same = |((i, a), (j, b)): (&(u16, f64), &(u16, f64))| i == j && close(*a, *b);
                m == n && p.len() == q.len() && p.iter().zip(q).all(same)
            }
            (a, b) => a == b,
        };
        forms && bases && close(self.unit, other.unit)
    }
}

/// Whether the keys mean a projected CRS, `None` if that is not said.
fn is_projected(keys: &KeySet) -> bool {
    let kind_of =
        |id: u16| keys.code(id).and_then(|code| table::crs(code_id(code))).map(|c| c.kind);
    let geographic = |kind: &Option<CrsKindRow>| {
        matches!(kind, Some(CrsKindRow::Geographic { .. } | CrsKindRow::Geographic3d { .. }))
    };
    let projects = [keys::PROJECTED, keys::PROJECTION, keys::COORD_TRANS];
    let projects = projects.iter().any(|id| keys.short(*id).is_some());
    // Some writers put a code into the other kind's key.
    match keys.short(keys::MODEL_TYPE) {
        Some(1) => !geographic(&kind_of(keys::PROJECTED)),
        Some(2) => matches!(kind_of(keys::GEOGRAPHIC), Some(CrsKindRow::Projected { .. })),
        None if !projects => {
            matches!(kind_of(keys::GEOGRAPHIC), Some(CrsKindRow::Projected { .. }))
        }
        None => !geographic(&kind_of(keys::PROJECTED)),
        Some(_) => true,
    }
}

/// The CRS of a code in a GeoKey: EPSG's; above its range, ESRI's where it has one.
fn code_id(code: u16) -> Id {
    let esri = Id { authority: table::Authority::Esri, code: u32::from(code) };
    let is_private = code > keys::USER_DEFINED && table::crs(esri).is_some();
    if is_private { esri } else { Id::epsg(u32::from(code)) }
}

fn horizontal(keys: &KeySet) -> Result<Definition, Opaque> {
    if is_projected(keys) { projected(keys) } else { geographic(keys) }
}

fn opaque(form: Form, base: Option<Base>, unit: f64, reason: impl Into<String>) -> Opaque {
    Opaque { form, base, unit, reason: reason.into() }
}

/// The code of a geographic CRS, wherever the writer put it.
fn geographic_code(keys: &KeySet) -> Option<u16> {
    let kind = |code: u16| table::crs(code_id(code)).map(|row| row.kind);
    let is_projected = |code: &u16| matches!(kind(*code), Some(CrsKindRow::Projected { .. }));
    let is_geographic = |code: &u16| {
        let kind = kind(*code);
        matches!(kind, Some(CrsKindRow::Geographic { .. } | CrsKindRow::Geographic3d { .. }))
    };
    let own = keys.code(keys::GEOGRAPHIC).filter(|code| !is_projected(code));
    own.or_else(|| keys.code(keys::PROJECTED).filter(is_geographic))
}

fn geographic(keys: &KeySet) -> Result<Definition, Opaque> {
    if let Some(code) = geographic_code(keys) {
        let form = Form::Code { code, projected: false };
        let unknown = || {
            let unit = angular_unit(keys).unwrap_or(-1.0);
            opaque(form, None, unit, format!("EPSG:{code} is not in smalti's tables"))
        };
        // GDAL takes the unit of the code whatever the key says.
        let mut definition = Definition::of_code(code_id(code)).ok_or_else(unknown)?;
        // As GDAL writes a CRS with three axes.
        if let Some(solid) =
            keys.code(keys::VERTICAL).and_then(|code| solid_form(code, &definition))
        {
            definition.id = Some(solid);
        }
        return Ok(definition);
    }
    let unit = angular_unit(keys).unwrap_or(-1.0);
    match user_base(keys) {
        Some(base) => {
            let id = base.datum.id.and_then(table::geographic_of_datum);
            let coded = id.and_then(Definition::of_code);
            let plain = Definition { id: None, name: None, base, projection: None, vertical: None };
            Ok(coded.filter(|coded| coded.same_horizontal(&plain)).unwrap_or(plain))
        }
        None => {
            let reason = "a geographic CRS that says nothing about its datum";
            Err(opaque(Form::Geographic, None, unit, reason))
        }
    }
}

/// The 3D code in the vertical key of a geographic CRS, where it is the CRS's own.
fn solid_form(code: u16, flat: &Definition) -> Option<Id> {
    let id = Id::epsg(u32::from(code));
    let is_solid = matches!(table::crs(id)?.kind, CrsKindRow::Geographic3d { .. });
    let own = Definition::of_code(id)?;
    (is_solid && own.base.same_as(&flat.base)).then_some(id)
}

/// The base geographic CRS, from a code or parameters; `None` if no key says anything about it.
fn base(keys: &KeySet) -> Option<Base> {
    match geographic_code(keys) {
        Some(code) => Definition::of_code(code_id(code)).map(|definition| definition.base),
        None => user_base(keys),
    }
}

fn user_base(keys: &KeySet) -> Option<Base> {
    let unit = angular_unit(keys).filter(|unit| *unit > 0.0)?;
    let mut datum = match keys.code(keys::GEOG_DATUM) {
        Some(code) => Datum::of_code(Id::epsg(u32::from(code)))?,
        None => {
            let name = keys.text(keys::GEOG_CITATION).and_then(datum_name).unwrap_or_default();
            Datum::named(name, ellipsoid(keys))?
        }
    };
    let shift = keys.numbers(keys::TO_WGS84);
    // Three parameters are seven with zeros, none are zeros.
    let used = shift.iter().rposition(|v| *v != 0.0).map_or(0, |last| last + 1);
    datum.to_wgs84 = shift[..used].to_vec();
    let own = datum.id.and_then(table::datum).map_or(0.0, |row| row.meridian_degrees);
    let meridian_degrees = match keys.code(keys::PRIME_MERIDIAN) {
        Some(code) => table::meridian_degrees(Id::epsg(u32::from(code)))?,
        None => match keys.number(keys::PRIME_MERIDIAN_LONGITUDE) {
            Some(longitude) => longitude * unit.to_degrees(),
            None => own,
        },
    };
    Some(Base { datum, meridian_degrees, unit })
}

/// Angular unit of a user-defined geographic CRS in radians; degrees if the keys name none.
fn angular_unit(keys: &KeySet) -> Option<f64> {
    match keys.short(keys::ANGULAR_UNITS) {
        None => table::radians(9102),
        Some(keys::USER_DEFINED) => keys.number(keys::ANGULAR_UNIT_SIZE),
        Some(unit) => Some(table::radians(unit).unwrap_or(-f64::from(unit))),
    }
}

/// Semi-major axis in metres and inverse flattening.
fn ellipsoid(keys: &KeySet) -> Option<[f64; 2]> {
    let known =
        keys.code(keys::ELLIPSOID).and_then(|code| table::ellipsoid(Id::epsg(u32::from(code))));
    let Some(a) = keys.number(keys::SEMI_MAJOR_AXIS) else {
        return known.or_else(|| {
            let name = keys.text(keys::GEOG_CITATION)?.split('|').find_map(|part| {
                part.trim()
                    .strip_prefix("Ellipsoid")
                    .map(|rest| rest.trim_start_matches([' ', '=']))
            })?;
            table::ellipsoid_named(&letters(name))
        });
    };
    let minor = keys.number(keys::SEMI_MINOR_AXIS).filter(|b| *b > 0.0);
    let inverse_flattening = match (keys.number(keys::INVERSE_FLATTENING), minor) {
        (Some(inverse), _) => inverse,
        (None, Some(b)) if a != b => a / (a - b),
        (None, Some(_)) => 0.0,
        (None, None) => known.map_or(0.0, |known| known[1]),
    };
    let is_flat = inverse_flattening == 0.0 || inverse_flattening > 1.0;
    (a > 0.0 && is_flat).then_some([a, inverse_flattening])
}

/// Datum's name out of a citation such as `GCS Name = …|Datum = …|Ellipsoid = …`.
fn datum_name(citation: &str) -> Option<&str> {
    citation.split('|').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == "Datum").then(|| value.trim())
    })
}

fn projected(keys: &KeySet) -> Result<Definition, Opaque> {
    let is_projected = |code: &u16| {
        matches!(table::crs(code_id(*code)).map(|row| row.kind), Some(CrsKindRow::Projected { .. }))
    };
    // Some writers put a projected code into the geographic key; GDAL reads it as projected.
    let code =
        keys.code(keys::PROJECTED).or_else(|| keys.code(keys::GEOGRAPHIC).filter(is_projected));
    let explicit_unit = match keys.short(keys::LINEAR_UNITS) {
        None => None,
        Some(keys::USER_DEFINED) => keys.number(keys::LINEAR_UNIT_SIZE),
        Some(unit) => Some(table::metres(unit).unwrap_or(-f64::from(unit))),
    };
    let base = base(keys);
    match code {
        Some(code) => of_code(code, explicit_unit, keys, base),
        None => of_parameters(keys, explicit_unit.unwrap_or(1.0), &base),
    }
}

fn of_code(
    code: u16,
    explicit_unit: Option<f64>,
    keys: &KeySet,
    base: Option<Base>,
) -> Result<Definition, Opaque> {
    let id = code_id(code);
    // A user-defined base beside a code is only its description.
    let base = base.filter(|_| geographic_code(keys).is_some());
    let Some(mut definition) = Definition::of_code(id) else {
        let row = table::crs(id);
        let own_unit = row.and_then(|row| match row.kind {
            CrsKindRow::Projected { unit, .. } => Some(unit.size),
            _ => None,
        });
        let unit = explicit_unit.or(own_unit).unwrap_or(1.0);
        let reason = match own_unit {
            Some(_) => format!("the projection of {id}"),
            None => format!("{id} is not in smalti's tables"),
        };
        return Err(opaque(Form::Code { code, projected: true }, base, unit, reason));
    };
    let Some(projection) = &mut definition.projection else { return Ok(definition) };
    if let Some(unit) = explicit_unit.filter(|unit| !close(*unit, projection.unit)) {
        if unit < 0.0 {
            let form = Form::Code { code, projected: true };
            return Err(opaque(form, base, unit, "a linear unit of unknown size"));
        }
        projection.unit = unit;
        definition.id = None;
    }
    if let Some(base) = base.filter(|base| !base.same_as(&definition.base)) {
        definition.base = base;
        definition.id = None;
    }
    Ok(definition)
}

fn of_parameters(keys: &KeySet, unit: f64, base: &Option<Base>) -> Result<Definition, Opaque> {
    // Beside keys for what GeoTIFF has no method for, the text is what is meant: GDAL takes it, too.
    if keys.code(keys::PROJECTION).is_none()
        && keys.code(keys::COORD_TRANS).is_some()
        && let Some(text) = keys.text(keys::PROJECTED_CITATION).and_then(wkt_read::esri_text)
        && let Ok(definition) = wkt::parse(text).and_then(|root| wkt_read::read(&root))
        && let (Some(projection), Some(base)) = (definition.projection, base)
    {
        return Ok(finish(projection.params, projection.axes, projection.unit, base.clone()));
    }
    let fail = |form: Form, reason: String| opaque(form, base.clone(), unit, reason);
    if let Some(operation) = keys.code(keys::PROJECTION) {
        let form = Form::Operation(operation);
        let Some((text, axes)) = table::projection(operation) else {
            return Err(fail(form, format!("the map projection EPSG:{operation}")));
        };
        return match (Params::parse(&text), base.clone()) {
            (Some(params), Some(base)) => Ok(finish(params, axes, unit, base)),
            (None, _) => Err(fail(form, format!("the map projection EPSG:{operation}"))),
            (_, None) => Err(fail(form, "a projected CRS without a geographic one".into())),
        };
    }
    if let Some(code) = keys.code(keys::COORD_TRANS) {
        let form = Form::Method { method: code, parameters: plain_parameters(keys, unit) };
        let Some(method) = methods::coded(code) else {
            return Err(fail(form, format!("the projection method {code} of GeoTIFF")));
        };
        let roles = roles(keys, method, unit);
        return match (methods::projection(method, &roles), base.clone()) {
            (Ok((params, axes)), Some(base)) if unit > 0.0 => Ok(finish(params, axes, unit, base)),
            (Err(reason), _) => Err(fail(form, reason)),
            (_, None) => Err(fail(form, "a projected CRS without a geographic one".into())),
            _ => Err(fail(form, "a linear unit of unknown size".into())),
        };
    }
    let texts = [keys::PROJECTED_CITATION, keys::CITATION, keys::GEOG_CITATION];
    let texts = texts.map(|key| keys.text(key));
    if let Some(text) = texts.into_iter().flatten().find_map(wkt_read::esri_text) {
        let read = wkt::parse(text).and_then(|root| wkt_read::read(&root));
        return read.map_err(|reason| {
            fail(
                Form::Text(text.split_whitespace().collect()),
                format!("an ESRI PE string: {reason}"),
            )
        });
    }
    let text = texts[1].or(texts[0]).unwrap_or_default();
    Err(fail(
        Form::Text(text.split_whitespace().collect()),
        "a CRS that only a text describes".into(),
    ))
}

/// A projected CRS by parameters: that of the tables where they have it.
fn finish(params: Params, axes: [u8; 2], unit: f64, base: Base) -> Definition {
    let params = params.on(base.datum.ellipsoid);
    let projection = Some(Projection { params, unit, axes });
    let plain = Definition { id: None, name: None, base, projection, vertical: None };
    let coded = to_keys::find_code(&plain).and_then(Definition::of_code);
    match coded {
        Some(mut coded) => {
            coded.base.datum.to_wgs84 = plain.base.datum.to_wgs84;
            coded
        }
        None => plain,
    }
}

/// Keys of a role, the one that counts most first; as libgeotiff has it.
fn keys_of(role: Role, method: Method) -> &'static [u16] {
    let is_false_origin = matches!(method, Method::Lambert2);
    match role {
        Role::OriginLongitude if method == Method::Polar => &[3095, 3080, 3084, 3088],
        Role::OriginLongitude if is_false_origin => &[3084, 3080, 3088],
        Role::OriginLongitude => &[3080, 3084, 3088, 3095],
        Role::OriginLatitude if is_false_origin => &[3085, 3081, 3089],
        Role::OriginLatitude => &[3081, 3085, 3089],
        Role::FalseEasting => &[3082, 3086, 3090],
        Role::FalseNorthing => &[3083, 3087, 3091],
        Role::Scale => &[3092, 3093],
        Role::Parallel1 => &[3078],
        Role::Parallel2 => &[3079],
        Role::Azimuth => &[3094],
        Role::Gamma => &[3096],
        Role::Parallel | Role::PseudoParallel | Role::Height | Role::Sweep => &[],
    }
}

/// All roles that GeoKeys can give.
const ROLES: &[Role] = &[
    Role::OriginLongitude,
    Role::OriginLatitude,
    Role::FalseEasting,
    Role::FalseNorthing,
    Role::Scale,
    Role::Parallel1,
    Role::Parallel2,
    Role::Azimuth,
    Role::Gamma,
];

fn roles(keys: &KeySet, method: Method, unit: f64) -> Roles {
    let degrees = angular_unit(keys).filter(|u| *u > 0.0).map_or(1.0, f64::to_degrees);
    let mut roles = Roles::default();
    for role in ROLES {
        let numbers = keys_of(*role, method).iter().filter_map(|id| keys.number(*id));
        // A zero may be left over beside the key that is meant.
        let value = numbers.clone().find(|v| *v != 0.0).or_else(|| numbers.clone().next());
        if let Some(value) = value {
            let size = if role.is_length() {
                unit
            } else if role.is_angle() {
                degrees
            } else {
                1.0
            };
            roles.add(*role, value * size);
        }
    }
    roles
}

/// Parameters in degrees and metres by their keys, sorted, zeros left out: to compare what is not understood.
fn plain_parameters(keys: &KeySet, unit: f64) -> Vec<(u16, f64)> {
    let degrees = angular_unit(keys).filter(|u| *u > 0.0).map_or(1.0, f64::to_degrees);
    let mut found: Vec<(u16, f64)> = Vec::new();
    for role in ROLES {
        for id in keys_of(*role, Method::TransverseMercator) {
            let size = if role.is_length() {
                unit
            } else if role.is_angle() {
                degrees
            } else {
                1.0
            };
            found.extend(keys.number(*id).filter(|v| *v != 0.0).map(|v| (*id, v * size)));
        }
    }
    found.sort_by_key(|(id, _)| *id);
    found
}

fn vertical(keys: &KeySet) -> Option<Vertical> {
    let explicit = keys.short(keys::VERTICAL_UNITS);
    let explicit = explicit.map(|unit| table::metres(unit).unwrap_or(-f64::from(unit)));
    let code = keys.short(keys::VERTICAL)?;
    let unit = explicit.unwrap_or(1.0);
    if code != keys::USER_DEFINED {
        // GeoTIFF 1.0's own six codes: EPSG's are 600 above.
        let code = if (5101..=5106).contains(&code) { code + 600 } else { code };
        let row = table::crs(Id::epsg(u32::from(code)));
        return match row.as_ref().map(|row| &row.kind) {
            // Heights above the CRS's own ellipsoid: a third axis, but no vertical CRS.
            _ if (5001..=5033).contains(&code) => None,
            Some(CrsKindRow::Geographic3d { .. }) => None,
            _ => {
                let known = Vertical::of_code(Id::epsg(u32::from(code)));
                let reference = VerticalReference::Code(u32::from(code));
                let unit = explicit.or(known.as_ref().map(|v| v.unit)).unwrap_or(1.0);
                Some(Vertical { reference, unit, name: known.and_then(|v| v.name) })
            }
        };
    }
    if let Some(datum) = keys.code(keys::VERTICAL_DATUM) {
        let name = keys.text(keys::VERTICAL_CITATION).map(str::to_owned);
        return Some(Vertical {
            reference: VerticalReference::Datum(u32::from(datum)),
            unit,
            name,
        });
    }
    let name = keys.text(keys::VERTICAL_CITATION)?;
    (!letters(name).is_empty()).then(|| Vertical::named(name, Some(unit)))
}
