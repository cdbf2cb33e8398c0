//! The meaning of a WKT tree: WKT1 of GDAL and ESRI, and WKT2 (OGC 18-010r11) in one reader.
//!
//! What is written beats what a code says: a root code counts only where its CRS and the text agree, or where the text
//! is beyond us and the names agree.

use super::definition::{Base, Datum, Definition, Projection, Vertical};
use super::methods::{self, Roles};
use super::params::Params;
use super::table::{self, Authority, Id};
use super::wkt::{Node, Value};
use super::{close, letters, proj_string};

const GEOGRAPHIC: &[&str] =
    &["GEOGCS", "GEOGCRS", "GEODCRS", "GEOGRAPHICCRS", "GEODETICCRS", "BASEGEOGCRS", "BASEGEODCRS"];
const PROJECTED: &[&str] = &["PROJCS", "PROJCRS", "PROJECTEDCRS", "BASEPROJCRS"];
const COMPOUND: &[&str] = &["COMPD_CS", "COMPOUNDCRS"];
const VERTICAL: &[&str] = &["VERT_CS", "VERTCRS", "VERTICALCRS", "VERTCS"];
const UNIT: &[&str] = &["UNIT", "LENGTHUNIT", "ANGLEUNIT", "SCALEUNIT"];

/// Reads a CRS.
///
/// # Errors
/// What is not understood, in words.
pub(super) fn read(root: &Node) -> Result<Definition, String> {
    let keyword = root.keyword.as_str();
    if COMPOUND.contains(&keyword) {
        return compound(root);
    }
    if keyword == "BOUNDCRS" {
        return bound(root);
    }
    let read = if PROJECTED.contains(&keyword) {
        projected(root)
    } else if GEOGRAPHIC.contains(&keyword) {
        geographic(root)
    } else if VERTICAL.contains(&keyword) {
        return Err("it is a vertical CRS; name a map's".into());
    } else if keyword == "GEOCCS" {
        return Err("it is geocentric, not a map".into());
    } else {
        return Err(format!("{keyword} is no map's CRS"));
    };
    let coded = id(root).and_then(Definition::of_code);
    match (read, coded) {
        (Ok(read), Some(coded)) if read.same_horizontal(&coded) => Ok(Definition {
            vertical: read.vertical,
            base: keep_shift(coded.base, &read.base),
            ..coded
        }),
        (Ok(read), _) => Ok(read),
        (Err(_), Some(coded)) if names_agree(root, &coded) => Ok(coded),
        (Err(reason), _) => Err(reason),
    }
}

/// The shift to WGS 84 that a text gives beats those of the tables.
fn keep_shift(mut base: Base, written: &Base) -> Base {
    base.datum.to_wgs84.clone_from(&written.datum.to_wgs84);
    base.datum.grids.clone_from(&written.datum.grids);
    base
}

fn names_agree(root: &Node, coded: &Definition) -> bool {
    let plain = |text: &str| letters(text);
    root.text(0).zip(coded.name.as_deref()).is_some_and(|(a, b)| plain(a) == plain(b))
}

/// The code that a node names as its own.
fn id(node: &Node) -> Option<Id> {
    let own = node.node(&["AUTHORITY", "ID"])?;
    let authority = match own.text(0)?.to_ascii_uppercase().as_str() {
        "EPSG" => Authority::Epsg,
        "ESRI" => Authority::Esri,
        _ => return None,
    };
    let code = own.number(1).filter(|code| (1.0..1e9).contains(code) && code.fract() == 0.0)?;
    Some(Id { authority, code: code as u32 })
}

fn compound(root: &Node) -> Result<Definition, String> {
    let mut parts =
        root.nodes().filter(|node| !matches!(node.keyword.as_str(), "ID" | "AUTHORITY"));
    let horizontal = parts.next().ok_or("a compound CRS without parts")?;
    let mut definition = read(horizontal)?;
    if let Some(node) = parts.next() {
        definition.vertical = vertical(node);
        if definition.vertical.is_none() {
            return Err(format!("{} is no vertical CRS", node.keyword));
        }
    }
    Ok(definition)
}

/// `BOUNDCRS[SOURCECRS[...], TARGETCRS[...], ABRIDGEDTRANSFORMATION[...]]`.
fn bound(root: &Node) -> Result<Definition, String> {
    let source = root.node(&["SOURCECRS"]).and_then(|node| node.nodes().next());
    let mut definition = read(source.ok_or("a bound CRS without a source")?)?;
    let target = root.node(&["TARGETCRS"]).and_then(|node| node.nodes().next());
    let target = target.ok_or("a bound CRS without a target").map(read)??;
    let wgs84 = Datum::of_code(Id::epsg(6326)).ok_or("the tables lack WGS 84")?;
    if !target.base.datum.same_as(&wgs84) {
        return Err("it is bound to another CRS than WGS 84".into());
    }
    let shift = root.node(&["ABRIDGEDTRANSFORMATION"]).ok_or("a bound CRS without a shift")?;
    if let Some(file) = shift.node(&["PARAMETERFILE"]).and_then(|file| file.text(1)) {
        definition.base.datum.grids = Some(file.to_owned());
        return Ok(definition);
    }
    let method = shift.node(&["METHOD"]).and_then(|node| node.text(0)).map(letters);
    let is_frame = method.is_some_and(|name| name.contains("coordinateframe"));
    let mut numbers = [0.0; 7];
    for node in shift.nodes().filter(|node| node.keyword == "PARAMETER") {
        let at = match node.text(0).map(letters).as_deref() {
            Some("xaxistranslation") => 0,
            Some("yaxistranslation") => 1,
            Some("zaxistranslation") => 2,
            Some("xaxisrotation") => 3,
            Some("yaxisrotation") => 4,
            Some("zaxisrotation") => 5,
            Some("scaledifference") => 6,
            _ => return Err("a bound CRS with a shift that is not understood".into()),
        };
        let value = node.number(1).ok_or("a shift without a number")?;
        let unit = node.node(UNIT).and_then(|unit| unit.number(1)).unwrap_or(1.0);
        numbers[at] = match at {
            3..=5 if unit < 0.1 => (value * unit).to_degrees() * 3600.0,
            6 if unit < 0.1 => value * unit * 1e6,
            // In an abridged transformation the scale may be a factor.
            6 if value > 0.5 => (value - 1.0) * 1e6,
            _ => value,
        };
        if is_frame && (3..=5).contains(&at) {
            numbers[at] = -numbers[at];
        }
    }
    let used = numbers.iter().rposition(|v| *v != 0.0).map_or(3, |last| last + 1);
    definition.base.datum.to_wgs84 = numbers[..used].to_vec();
    Ok(definition)
}

fn vertical(node: &Node) -> Option<Vertical> {
    if !VERTICAL.contains(&node.keyword.as_str()) {
        return None;
    }
    let cs_unit = node.node(UNIT).or_else(|| node.node(&["AXIS"]).and_then(|axis| axis.node(UNIT)));
    let unit = cs_unit.and_then(|unit| unit.number(1));
    let coded = id(node).and_then(Vertical::of_code);
    match coded {
        Some(coded) if unit.is_none_or(|unit| close(unit, coded.unit)) => Some(coded),
        Some(coded) => Some(Vertical { unit: unit.unwrap_or(coded.unit), ..coded }),
        None => Some(Vertical::named(node.text(0)?, unit)),
    }
}

fn geographic(node: &Node) -> Result<Definition, String> {
    let base = base(node)?;
    let name = node.text(0).map(str::to_owned);
    let vertical = ellipsoidal_heights(node);
    Ok(Definition { id: None, name, base, projection: None, vertical })
}

/// ESRI writes heights as `VERTCS` beside the CRS.
fn ellipsoidal_heights(node: &Node) -> Option<Vertical> {
    node.node(&["VERTCS"]).and_then(vertical)
}

fn base(node: &Node) -> Result<Base, String> {
    let datum_node = node.node(&["DATUM", "GEODETICDATUM", "TRF", "ENSEMBLE"]);
    let datum_node = datum_node.ok_or("a geographic CRS without a datum")?;
    let ellipsoid_node = datum_node.node(&["SPHEROID", "ELLIPSOID"]);
    let ellipsoid = ellipsoid_node.map(ellipsoid).transpose()?;
    let name = datum_node.text(0).unwrap_or_default();
    let coded = id(datum_node).and_then(Datum::of_code);
    let coded = coded.filter(|datum| {
        ellipsoid.is_none_or(|own| {
            close(own[0], datum.ellipsoid[0]) && (own[1] - datum.ellipsoid[1]).abs() < 1e-5
        })
    });
    // Where neither the datum's code nor its name says anything, the CRS's code may.
    let by_crs = || {
        let base = id(node).and_then(Definition::of_code)?.base;
        (ellipsoid.is_none_or(|own| close(own[0], base.datum.ellipsoid[0]))
            && names_agree(node, &Definition::of_code(id(node)?)?))
        .then_some(base.datum)
    };
    let named = named_datum(node, name, ellipsoid);
    let datum = match (coded, named) {
        (Some(datum), _) => Some(datum),
        (None, Some(datum)) if datum.id.is_some() => Some(datum),
        (None, named) => by_crs().or(named),
    };
    let mut datum = datum.ok_or_else(|| format!("the datum {name:?} has no ellipsoid"))?;
    let shift = node.node(&["TOWGS84"]).or_else(|| datum_node.node(&["TOWGS84"]));
    if let Some(shift) = shift {
        let numbers: Vec<f64> = (0..7).filter_map(|at| shift.number(at)).collect();
        if numbers.len() != 3 && numbers.len() != 7 {
            return Err("TOWGS84 has neither 3 nor 7 numbers".into());
        }
        let used = numbers.iter().rposition(|v| *v != 0.0).map_or(3, |last| last + 1);
        datum.to_wgs84 = numbers[..used].to_vec();
    }
    if let Some(text) = extension(node)
        && let Some(grids) = text.split_whitespace().find_map(|word| {
            word.trim_start_matches('+').strip_prefix("nadgrids=").filter(|v| *v != "@null")
        })
    {
        datum.grids = Some(grids.to_owned());
    }
    let unit = angular_unit(node);
    let meridian = node.node(&["PRIMEM", "PRIMEMERIDIAN"]);
    let meridian_degrees = meridian.map_or(0.0, |node| {
        let known = id(node).and_then(table::meridian_degrees);
        let written = node.number(1).unwrap_or(0.0);
        // WKT2 gives the unit; WKT1 of GDAL degrees, though the standard means the CRS's unit.
        let size = node.node(UNIT).and_then(|unit| unit.number(1)).map_or(1.0, f64::to_degrees);
        let written = written * size;
        known.filter(|known| (known - written).abs() < 1e-6).unwrap_or(written)
    });
    Ok(Base { datum, meridian_degrees, unit })
}

/// A datum by name; EPSG has datums of their own for prime meridians, which ESRI names alike.
fn named_datum(node: &Node, name: &str, ellipsoid: Option<[f64; 2]>) -> Option<Datum> {
    let meridian = node.node(&["PRIMEM", "PRIMEMERIDIAN"]).filter(|m| m.number(1) != Some(0.0));
    let full = meridian.and_then(|meridian| Some(format!("{name} ({})", meridian.text(0)?)));
    let full = full.and_then(|full| Datum::named(&full, ellipsoid)).filter(|d| d.id.is_some());
    full.or_else(|| Datum::named(name, ellipsoid))
}

fn ellipsoid(node: &Node) -> Result<[f64; 2], String> {
    let unit = node.node(UNIT).and_then(|unit| unit.number(1)).unwrap_or(1.0);
    let a = node.number(1).ok_or("an ellipsoid without an axis")? * unit;
    let inverse_flattening = node.number(2).unwrap_or(0.0);
    let is_flat = inverse_flattening == 0.0 || inverse_flattening > 1.0;
    if a > 0.0 && a.is_finite() && is_flat {
        return Ok([a, inverse_flattening]);
    }
    Err("an ellipsoid that is none".into())
}

/// Radians in one unit of a geographic CRS; degrees without one.
fn angular_unit(node: &Node) -> f64 {
    let own = node.node(UNIT).or_else(|| node.node(&["AXIS"]).and_then(|axis| axis.node(UNIT)));
    let own = own.and_then(|unit| unit.number(1)).filter(|unit| (1e-9..10.0).contains(unit));
    // Writers round degrees differently.
    let degree = 1f64.to_radians();
    own.map_or(degree, |own| if (own / degree - 1.0).abs() < 1e-8 { degree } else { own })
}

fn extension(node: &Node) -> Option<&str> {
    node.nodes()
        .find(|node| node.keyword == "EXTENSION" && node.text(0) == Some("PROJ4"))
        .and_then(|node| node.text(1))
}

fn projected(node: &Node) -> Result<Definition, String> {
    let base_node = node.node(GEOGRAPHIC).ok_or("a projected CRS without a geographic one")?;
    let base = base(base_node)?;
    let unit = linear_unit(node);
    let projection = match extension(node) {
        // GDAL writes it where WKT1 has no words for the projection; so it tells more than they do.
        Some(text) => proj_string::parse(text)?.projection.map(|p| Projection { unit, ..p }),
        None => None,
    };
    let projection = match projection {
        Some(projection) => projection,
        None => {
            let conversion = node.node(&["CONVERSION", "DERIVINGCONVERSION"]).unwrap_or(node);
            let (params, axes) = conversion_of(conversion, unit, base.unit)?;
            let params = params.on(base.datum.ellipsoid);
            Projection { params, unit, axes: axes_of(node).unwrap_or(axes) }
        }
    };
    let name = node.text(0).map(str::to_owned);
    let vertical = ellipsoidal_heights(node);
    Ok(Definition { id: None, name, base, projection: Some(projection), vertical })
}

/// Metres in one unit of a map.
fn linear_unit(node: &Node) -> f64 {
    let own = node.node(UNIT).or_else(|| node.node(&["AXIS"]).and_then(|axis| axis.node(UNIT)));
    let size = own.and_then(|unit| unit.number(1)).filter(|unit| *unit > 0.0).unwrap_or(1.0);
    // Writers round the US survey foot differently.
    let survey = 1200.0 / 3937.0;
    if (size / survey - 1.0).abs() < 1e-9 { survey } else { size }
}

/// Directions of the axes where they are not those of common maps.
fn axes_of(node: &Node) -> Option<[u8; 2]> {
    let mut letters = node.nodes().filter(|node| node.keyword == "AXIS").map(|axis| {
        let direction = axis.text(1).unwrap_or_default().to_ascii_lowercase();
        // A bare word is the direction; polar axes say `south, MERIDIAN[...]`.
        direction.as_bytes().first().copied().unwrap_or(b'?')
    });
    match (letters.next()?, letters.next()?) {
        (b'w', b's') => Some(*b"ws"),
        (b's', b'w') => Some(*b"sw"),
        (b'e' | b'n', b'n' | b'e') => Some(*b"en"),
        // Both axes along meridians of a pole: east and north of a map all the same.
        (b's' | b'n', b's' | b'n') => Some(*b"en"),
        _ => None,
    }
}

fn conversion_of(node: &Node, linear: f64, angular: f64) -> Result<(Params, [u8; 2]), String> {
    let method_node = node.node(&["PROJECTION", "METHOD"]).ok_or("no projection method")?;
    let method_name = method_node.text(0).unwrap_or_default();
    let method = methods::named(&letters(method_name))
        .ok_or_else(|| format!("the projection method {method_name:?}"))?;
    let mut roles = Roles::default();
    for parameter in node.nodes().filter(|node| node.keyword == "PARAMETER") {
        let name = parameter.text(0).unwrap_or_default();
        let value = parameter.number(1).ok_or_else(|| format!("{name} has no number"))?;
        let plain = letters(name);
        let Some(role) = methods::role(&plain) else {
            if ignorable(&plain, value) {
                continue;
            }
            return Err(format!("the parameter {name:?} of {method_name}"));
        };
        let own = parameter.node(UNIT).and_then(|unit| unit.number(1));
        let value = if role.is_angle() {
            value * own.unwrap_or(angular).to_degrees()
        } else {
            value * own.unwrap_or(if role.is_length() { linear } else { 1.0 })
        };
        // Grads and seconds leave noise in the last digits.
        let value = if role.is_angle() { (value * 1e13).round() / 1e13 } else { value };
        if !roles.add(role, value) {
            return Err(format!("{method_name} gives {name} twice"));
        }
    }
    methods::projection(method, &roles)
}

/// Parameters that say what is understood anyway.
fn ignorable(plain: &str, value: f64) -> bool {
    match plain {
        // Of ESRI's Krovak, and of its Web Mercator.
        "xscale" => close(value.abs(), 1.0),
        "yscale" => close(value, 1.0),
        "auxiliaryspheretype" => true,
        "projectionplaneoriginheight" | "ellipsoidalheightofprojectioncentre" => value == 0.0,
        _ => false,
    }
}

/// The citation as a node that [`read`] understands: ESRI writes its WKT into a GeoKey.
pub(super) fn esri_text(citation: &str) -> Option<&str> {
    let at = citation.find("ESRI PE String")?;
    let rest = &citation[at..];
    rest.split_once('=').map(|(_, text)| text.trim().trim_end_matches('|'))
}

/// A node with these values; for readers of other notations.
pub(super) fn node(keyword: &str, values: Vec<Value>) -> Node {
    Node { keyword: keyword.to_owned(), values }
}
