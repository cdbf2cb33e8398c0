//! [`Definition`] -> GeoKeys: a code where there is one, full parameters otherwise (SPEC §3.4).
//!
//! What GeoTIFF has no method for is written as GDAL and ESRI do, as WKT in a citation.

use std::ops::ControlFlow;

use super::close;
use super::definition::{Base, Definition, Projection, Vertical, VerticalReference};
use super::keys::{self, KeySet, KeyValue};
use super::methods::{self, Method};
use super::params::Params;
use super::proj_string;
use super::table::{self, Authority, CrsKindRow, Id};

type Keys = Vec<(u16, KeyValue)>;

/// The keys of a CRS.
///
/// # Errors
/// A projection that neither GeoTIFF nor ESRI's WKT has words for here, by name.
pub(super) fn write(definition: &Definition) -> Result<KeySet, String> {
    let mut keys = horizontal(definition)?;
    if let Some(vertical) = &definition.vertical {
        write_vertical(vertical, &mut keys);
    }
    Ok(KeySet::new(keys))
}

/// EPSG's code of a CRS that has a GeoKey for it.
fn short_code(id: Option<Id>) -> Option<u16> {
    let id = id.filter(|id| id.authority == Authority::Epsg)?;
    u16::try_from(id.code).ok().filter(|code| (1024..keys::USER_DEFINED).contains(code))
}

fn horizontal(definition: &Definition) -> Result<Keys, String> {
    let code = short_code(definition.id).or_else(|| short_code(find_code(definition)));
    match (&definition.projection, code) {
        (Some(projection), Some(code)) => {
            let mut keys = vec![short(keys::MODEL_TYPE, 1), short(keys::PROJECTED, code)];
            write_unit(projection.unit, "l", keys::LINEAR_UNITS, keys::LINEAR_UNIT_SIZE, &mut keys);
            Ok(keys)
        }
        (None, Some(code)) => {
            // GDAL writes a 3D code so, and reads it as 2D if it stands in the geographic key.
            let row = table::crs(Id::epsg(u32::from(code)));
            let flat = match row.map(|row| row.kind) {
                Some(CrsKindRow::Geographic3d { flat }) => short_code(Some(flat)),
                _ => None,
            };
            let mut keys = vec![short(keys::MODEL_TYPE, 2)];
            keys.push(short(keys::GEOGRAPHIC, flat.unwrap_or(code)));
            if flat.is_some() {
                keys.push(short(keys::VERTICAL, code));
            }
            write_angular_unit(definition.base.unit, &mut keys);
            Ok(keys)
        }
        (Some(projection), None) => projected(definition, projection),
        (None, None) => {
            let mut keys = vec![short(keys::MODEL_TYPE, 2)];
            write_base(&definition.base, definition.name.as_deref(), &mut keys);
            Ok(keys)
        }
    }
}

/// EPSG's code of a CRS that is known by its parameters: of several with one meaning, one that is not deprecated and
/// gives the easting first, then the lowest.
pub(super) fn find_code(definition: &Definition) -> Option<Id> {
    if definition.id.is_some_and(|id| id.authority == Authority::Epsg) {
        return definition.id;
    }
    let mut second = None;
    let kind = if definition.projection.is_some() { "P" } else { "G" };
    let first = table::find_crs(kind, |id, row| {
        let is_it = id.authority == Authority::Epsg
            && may_be(&row.kind, definition)
            && Definition::of_code(id).is_some_and(|coded| coded.same_horizontal(definition));
        match is_it {
            true if row.is_preferred => return ControlFlow::Break(id),
            true => second = second.or(Some(id)),
            false => {}
        }
        ControlFlow::Continue(())
    });
    first.or(second)
}

/// What can be told without looking up the base: the projection and its unit, or the datum.
fn may_be(row: &CrsKindRow, definition: &Definition) -> bool {
    match (row, &definition.projection) {
        (CrsKindRow::Projected { parameters, unit, .. }, Some(own)) => {
            close(unit.size, own.unit)
                && Params::parse(parameters).is_some_and(|params| {
                    params.on(definition.base.datum.ellipsoid).same_as(&own.params)
                })
        }
        (CrsKindRow::Geographic { datum, unit, .. }, None) => {
            // The realisations of WGS 84 need no look-up: 4326 comes before them.
            close(unit.size, definition.base.unit) && definition.base.datum.id == Some(*datum)
        }
        _ => false,
    }
}

fn short(id: u16, value: u16) -> (u16, KeyValue) {
    (id, KeyValue::Short(value))
}

fn number(id: u16, value: f64) -> (u16, KeyValue) {
    (id, KeyValue::Doubles(vec![value]))
}

fn text(id: u16, value: &str) -> (u16, KeyValue) {
    (id, KeyValue::Ascii(value.replace('|', "/")))
}

fn write_unit(size: f64, kind: &str, id: u16, size_id: u16, keys: &mut Keys) {
    match table::unit_of_size(size, kind) {
        Some((code, _)) => keys.push(short(id, code)),
        None => keys.extend([short(id, keys::USER_DEFINED), number(size_id, size)]),
    }
}

/// EPSG has three codes for the degree; readers know one.
fn write_angular_unit(size: f64, keys: &mut Keys) {
    if close(size, 1f64.to_radians()) {
        keys.push(short(keys::ANGULAR_UNITS, 9102));
    } else {
        write_unit(size, "a", keys::ANGULAR_UNITS, keys::ANGULAR_UNIT_SIZE, keys);
    }
}

fn write_base(base: &Base, name: Option<&str>, keys: &mut Keys) {
    let coded = base.datum.id.and_then(table::geographic_of_datum);
    let coded = coded.filter(|id| {
        let own = Definition::of_code(*id).map(|definition| definition.base);
        own.is_some_and(|own| {
            close(own.meridian_degrees, base.meridian_degrees) && close(own.unit, base.unit)
        })
    });
    if let Some(code) = short_code(coded) {
        keys.push(short(keys::GEOGRAPHIC, code));
        write_angular_unit(base.unit, keys);
        return;
    }
    keys.push(short(keys::GEOGRAPHIC, keys::USER_DEFINED));
    let datum = &base.datum;
    let known = datum.id.filter(|id| id.authority == Authority::Epsg);
    let known = known.and_then(|id| u16::try_from(id.code).ok()).filter(|code| *code < 32767);
    keys.push(short(keys::GEOG_DATUM, known.unwrap_or(keys::USER_DEFINED)));
    let datum_name = if datum.name.is_empty() { "unknown" } else { &datum.name };
    let name = name.unwrap_or("unknown").replace('|', "/");
    let citation = format!("GCS Name = {name}|Datum = {}|", datum_name.replace('|', "/"));
    keys.push((keys::GEOG_CITATION, KeyValue::Ascii(citation)));
    keys.push(short(keys::ELLIPSOID, keys::USER_DEFINED));
    let [a, inverse] = datum.ellipsoid;
    keys.push(number(keys::SEMI_MAJOR_AXIS, a));
    if inverse == 0.0 {
        keys.push(number(keys::SEMI_MINOR_AXIS, a));
    } else {
        keys.push(number(keys::INVERSE_FLATTENING, inverse));
    }
    if base.meridian_degrees != 0.0 {
        keys.push(short(keys::PRIME_MERIDIAN, keys::USER_DEFINED));
        let longitude = base.meridian_degrees.to_radians() / base.unit;
        keys.push(number(keys::PRIME_MERIDIAN_LONGITUDE, longitude));
    }
    if !datum.to_wgs84.is_empty() {
        let mut shift = datum.to_wgs84.clone();
        shift.resize(if shift.len() <= 3 { 3 } else { 7 }, 0.0);
        keys.push((keys::TO_WGS84, KeyValue::Doubles(shift)));
    }
    write_angular_unit(base.unit, keys);
}

fn write_vertical(vertical: &Vertical, keys: &mut Keys) {
    match &vertical.reference {
        VerticalReference::Code(code) => {
            keys.extend(u16::try_from(*code).ok().map(|code| short(keys::VERTICAL, code)));
        }
        VerticalReference::Datum(datum) => {
            keys.push(short(keys::VERTICAL, keys::USER_DEFINED));
            keys.extend(u16::try_from(*datum).ok().map(|code| short(keys::VERTICAL_DATUM, code)));
        }
        VerticalReference::Name(_) => keys.push(short(keys::VERTICAL, keys::USER_DEFINED)),
    }
    if let (Some(name), false) =
        (&vertical.name, matches!(vertical.reference, VerticalReference::Code(_)))
    {
        keys.push(text(keys::VERTICAL_CITATION, name));
    }
    // There is no key for the size of a vertical unit.
    keys.extend(
        table::unit_of_size(vertical.unit, "l").map(|(code, _)| short(keys::VERTICAL_UNITS, code)),
    );
}

/// `ProjCoordTransGeoKey` and the keys of the parameters by PROJ's names; as libgeotiff writes them.
fn geotiff_method(
    projection: &Projection,
    is_sphere: bool,
) -> Option<(u16, &'static [(&'static str, u16)])> {
    const NATURAL: &[(&str, u16)] =
        &[("lat_0", 3081), ("lon_0", 3080), ("k", 3092), ("x_0", 3082), ("y_0", 3083)];
    const CENTER: &[(&str, u16)] =
        &[("lat_0", 3089), ("lon_0", 3088), ("x_0", 3082), ("y_0", 3083)];
    const CONIC: &[(&str, u16)] = &[
        ("lat_1", 3078),
        ("lat_2", 3079),
        ("lat_0", 3081),
        ("lon_0", 3080),
        ("x_0", 3082),
        ("y_0", 3083),
    ];
    let params = &projection.params;
    let south = projection.axes == *b"ws";
    let one = params.value("lat_1");
    let is_tangent = one == params.value("lat_2");
    Some(match params.proj.as_str() {
        "tmerc" if south => (27, NATURAL),
        _ if projection.axes != *b"en" => return None,
        "tmerc" => (1, NATURAL),
        "lcc" if is_tangent && close(one, params.value("lat_0")) => (9, NATURAL),
        "lcc" if !params.has("k") => (
            8,
            &[
                ("lat_1", 3078),
                ("lat_2", 3079),
                ("lat_0", 3085),
                ("lon_0", 3084),
                ("x_0", 3086),
                ("y_0", 3087),
            ],
        ),
        "aea" => (11, CONIC),
        "eqdc" => (13, CONIC),
        "laea" if !params.is("R_A") => (10, CENTER),
        "aeqd" if !params.is("guam") => (12, CENTER),
        "merc" if params.has("lat_ts") => {
            (7, &[("lat_ts", 3078), ("lon_0", 3080), ("x_0", 3082), ("y_0", 3083)])
        }
        "merc" => (7, NATURAL),
        "stere" if params.value("lat_0").abs() == 90.0 && params.has("lat_ts") => {
            (15, &[("lat_ts", 3081), ("lon_0", 3095), ("k", 3092), ("x_0", 3082), ("y_0", 3083)])
        }
        "stere" if params.value("lat_0").abs() == 90.0 => {
            (15, &[("lat_0", 3081), ("lon_0", 3095), ("k", 3092), ("x_0", 3082), ("y_0", 3083)])
        }
        "stere" => {
            (14, &[("lat_0", 3089), ("lon_0", 3088), ("k", 3092), ("x_0", 3082), ("y_0", 3083)])
        }
        "sterea" => (16, NATURAL),
        "eqc" => (
            17,
            &[("lat_ts", 3078), ("lat_0", 3089), ("lon_0", 3088), ("x_0", 3082), ("y_0", 3083)],
        ),
        "cass" if !params.is("hyperbolic") => (18, NATURAL),
        "gnom" => (19, CENTER),
        "mill" if params.is("R_A") || is_sphere => (20, CENTER),
        "ortho" if !params.is("f=0") => (21, CENTER),
        "poly" => (22, NATURAL),
        "robin" => (23, CENTER),
        "sinu" => (24, CENTER),
        "vandg" if params.is("R_A") || is_sphere => (25, CENTER),
        "nzmg" => (26, NATURAL),
        "cea" if !params.is("R_A") => {
            (28, &[("lat_ts", 3078), ("lon_0", 3080), ("x_0", 3082), ("y_0", 3083)])
        }
        "omerc" if params.is("no_uoff") => (3, OBLIQUE),
        "omerc" | "somerc" => (9815, OBLIQUE),
        _ => return None,
    })
}

const OBLIQUE: &[(&str, u16)] = &[
    ("lat_0", 3089),
    ("lonc", 3088),
    ("lon_0", 3088),
    ("alpha", 3094),
    ("gamma", 3096),
    ("k", 3093),
    ("x_0", 3082),
    ("y_0", 3083),
];

fn projected(definition: &Definition, projection: &Projection) -> Result<Keys, String> {
    let mut keys = vec![short(keys::MODEL_TYPE, 1), short(keys::PROJECTED, keys::USER_DEFINED)];
    let params = &projection.params;
    let name = definition.name.as_deref().unwrap_or("unnamed");
    keys.push(text(keys::CITATION, name));
    write_base(&definition.base, None, &mut keys);
    keys.push(short(keys::PROJECTION, keys::USER_DEFINED));
    write_unit(projection.unit, "l", keys::LINEAR_UNITS, keys::LINEAR_UNIT_SIZE, &mut keys);
    let is_sphere = definition.base.datum.ellipsoid[1] == 0.0;
    let Some((method, names)) = geotiff_method(projection, is_sphere) else {
        let wkt = esri_wkt(definition, projection)
            .ok_or_else(|| format!("the projection {} in GeoKeys", params.proj))?;
        keys.push((keys::PROJECTED_CITATION, KeyValue::Ascii(format!("ESRI PE String = {wkt}"))));
        return Ok(keys);
    };
    keys.push(short(keys::COORD_TRANS, method));
    let degrees = definition.base.unit.to_degrees();
    for (own, id) in names {
        let mut value = params.value(own);
        match *own {
            // The oblique ones have one longitude, under either name.
            "lonc" | "lon_0" if method == 3 || method == 9815 => {
                if params.has(own) || (*own == "lonc" && !params.has("lon_0")) {
                    keys.push(number(*id, value / degrees));
                }
                continue;
            }
            "alpha" | "gamma" if params.proj == "somerc" => value = 90.0,
            _ => {}
        }
        let size = match *own {
            "x_0" | "y_0" => projection.unit,
            "k" => 1.0,
            _ => degrees,
        };
        keys.push(number(*id, value / size));
    }
    Ok(keys)
}

/// WKT in ESRI's way for a citation; with PROJ's parameters where ESRI has no words, as GDAL writes it.
fn esri_wkt(definition: &Definition, projection: &Projection) -> Option<String> {
    let params = &projection.params;
    let mut values =
        vec![("False_Easting", "x_0"), ("False_Northing", "y_0"), ("Central_Meridian", "lon_0")];
    let method = match params.proj.as_str() {
        "webmerc" => {
            values.push(("Standard_Parallel_1", "lat_ts"));
            Some("Mercator_Auxiliary_Sphere")
        }
        proj => methods::plain(proj).and_then(|proj| methods::esri_name(Method::Plain(proj))),
    };
    if projection.axes != *b"en" || definition.base.meridian_degrees != 0.0 {
        return None;
    }
    let [a, inverse] = definition.base.datum.ellipsoid;
    let datum = match definition.base.datum.id {
        Some(id) if id == Id::epsg(6326) => "D_WGS_1984".to_owned(),
        _ if definition.base.datum.name.is_empty() => "D_unknown".to_owned(),
        _ => definition.base.datum.name.replace([' ', '"'], "_"),
    };
    let name = definition.name.as_deref().unwrap_or("unnamed").replace('"', "_");
    let parameter = |(word, own): &(&str, &str)| {
        let size = if own.ends_with("_0") && *own != "lon_0" { projection.unit } else { 1.0 };
        format!("PARAMETER[\"{word}\",{:?}],", params.value(own) / size)
    };
    let (method, values, extension) = match method {
        Some(method) => (method, values.iter().map(parameter).collect::<String>(), String::new()),
        None => {
            let text = proj_string::write(definition).replace(" +type=crs", " +wktext");
            ("custom_proj4", String::new(), format!(",EXTENSION[\"PROJ4\",\"{text}\"]"))
        }
    };
    Some(format!(
        "PROJCS[\"{name}\",GEOGCS[\"GCS\",DATUM[\"{datum}\",SPHEROID[\"S\",{a:?},{inverse:?}]],\
         PRIMEM[\"Greenwich\",0.0],UNIT[\"Degree\",0.0174532925199433]],PROJECTION[\"{method}\"],\
         {values}UNIT[\"Meter\",{:?}]{extension}]",
        projection.unit,
    ))
}
