//! PROJ strings <-> [`Definition`]: `+proj=utm +zone=33 +datum=WGS84`.
//!
//! Reads CRSs, not pipelines. What would change coordinates and is not understood is refused.

use super::definition::{Base, Datum, Definition, Projection, Vertical, VerticalReference};
use super::params::Params;
use super::table::{self, Id};

/// PROJ's own names of ellipsoids, with their EPSG codes.
const ELLIPSOIDS: &[(&str, u32)] = &[
    ("wgs84", 7030),
    ("grs80", 7019),
    ("wgs72", 7043),
    ("wgs66", 7025),
    ("grs67", 7036),
    ("intl", 7022),
    ("clrk66", 7008),
    ("clrk80", 7034),
    ("clrk80ign", 7011),
    ("bessel", 7004),
    ("bess_nam", 7046),
    ("airy", 7001),
    ("mod_airy", 7002),
    ("aust_sa", 7003),
    ("krass", 7024),
    ("helmert", 7020),
    ("evrst30", 7015),
    ("evrst48", 7018),
    ("evrst56", 7044),
    ("evrst69", 7056),
    ("evrstss", 7016),
    ("nwl9d", 7025),
    ("hough", 7053),
];

/// PROJ's ellipsoids that EPSG does not have, or not with these axes: semi-major axis and inverse flattening.
const MORE_ELLIPSOIDS: &[(&str, [f64; 2])] = &[
    ("merit", [6_378_137.0, 298.257]),
    ("sgs85", [6_378_136.0, 298.257]),
    ("iau76", [6_378_140.0, 298.257]),
    ("apl4.9", [6_378_137.0, 298.25]),
    ("andrae", [6_377_104.43, 300.0]),
    ("danish", [6_377_019.256_3, 300.0]),
    ("gsk2011", [6_378_136.5, 298.256_415_1]),
    ("cpm", [6_375_738.7, 334.29]),
    ("delmbr", [6_376_428.0, 311.5]),
    ("engelis", [6_378_136.05, 298.2566]),
    ("fschr60", [6_378_166.0, 298.3]),
    ("fschr60m", [6_378_155.0, 298.3]),
    ("fschr68", [6_378_150.0, 298.3]),
    ("kaula", [6_378_163.0, 298.24]),
    ("lerch", [6_378_139.0, 298.257]),
    ("mprts", [6_397_300.0, 191.0]),
    ("new_intl", [6_378_157.5, 298.249_615_390_013_5]),
    ("plessis", [6_376_523.0, 308.640_997_095_837_35]),
    ("pz90", [6_378_136.0, 298.25784]),
    ("seasia", [6_378_155.0, 298.300_000_240_865_7]),
    ("walbeck", [6_376_896.0, 302.780_000_181_656_36]),
    ("wgs60", [6_378_165.0, 298.3]),
];

/// PROJ's `+datum=`: name, EPSG code of the datum, and the shift to WGS 84 where PROJ gives one.
const DATUMS: &[(&str, u32)] = &[
    ("wgs84", 6326),
    ("nad83", 6269),
    ("nad27", 6267),
    ("ggrs87", 6121),
    ("potsdam", 6314),
    ("carthage", 6223),
    ("hermannskogel", 6312),
    ("ire65", 6299),
    ("nzgd49", 6272),
    ("osgb36", 6277),
];

/// PROJ's names of units of length, with their sizes in metres.
const UNITS: &[(&str, f64)] = &[
    ("km", 1000.0),
    ("m", 1.0),
    ("dm", 0.1),
    ("cm", 0.01),
    ("mm", 0.001),
    ("kmi", 1852.0),
    ("in", 0.0254),
    ("ft", 0.3048),
    ("yd", 0.9144),
    ("mi", 1609.344),
    ("fath", 1.8288),
    ("ch", 20.1168),
    ("link", 0.201168),
    ("us-in", 100.0 / 3937.0),
    ("us-ft", 1200.0 / 3937.0),
    ("us-yd", 3600.0 / 3937.0),
    ("us-ch", 79200.0 / 3937.0),
    ("us-mi", 6_336_000.0 / 3937.0),
    ("ind-yd", 0.914_395_23),
    ("ind-ft", 0.304_798_41),
    ("ind-ch", 20.116_695_06),
];

/// PROJ's names of prime meridians, with their EPSG codes.
const MERIDIANS: &[(&str, u32)] = &[
    ("greenwich", 8901),
    ("lisbon", 8902),
    ("paris", 8903),
    ("bogota", 8904),
    ("madrid", 8905),
    ("rome", 8906),
    ("bern", 8907),
    ("jakarta", 8908),
    ("ferro", 8909),
    ("brussels", 8910),
    ("stockholm", 8911),
    ("athens", 8912),
    ("oslo", 8913),
];

/// Words of a PROJ string by name; the first of a name counts, as in PROJ.
struct Words<'a>(Vec<(&'a str, Option<&'a str>)>);

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Words<'a> {
        let word = |word: &'a str| {
            let word = word.strip_prefix('+').unwrap_or(word);
            match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            }
        };
        Words(text.split_whitespace().map(word).collect())
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| *own == name).and_then(|(_, value)| *value)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| *own == name)
    }

    fn number(&self, name: &str) -> Result<Option<f64>, String> {
        self.text(name).map(|text| number(name, text)).transpose()
    }
}

/// Reads the CRS that a PROJ string describes.
///
/// # Errors
/// What is not understood, in words.
pub(super) fn parse(text: &str) -> Result<Definition, String> {
    let words = Words::new(text);
    if let Some(init) = words.text("init") {
        let code = init.split_once(':').and_then(|(_, code)| code.parse().ok());
        let known = code.and_then(|code| Definition::of_code(Id::epsg(code)));
        return known.ok_or_else(|| format!("+init={init} names no CRS that smalti knows"));
    }
    let proj = words.text("proj").ok_or("there is no +proj=")?;
    if proj == "pipeline" || words.has("step") {
        return Err("it is a pipeline, not a CRS".into());
    }
    if matches!(proj, "geocent" | "cart") {
        return Err("it is geocentric, not a map".into());
    }
    let base = base(&words)?;
    let name = words.text("title").map(str::to_owned);
    let vertical = vertical(&words)?;
    let plain = Definition { id: None, name, base, projection: None, vertical };
    if matches!(proj, "longlat" | "latlong" | "latlon" | "lonlat") {
        return Ok(plain);
    }
    let unit = match (words.text("to_meter"), words.text("units")) {
        (Some(text), _) => fraction("to_meter", text)?,
        (None, Some(name)) => {
            let known = UNITS.iter().find(|(own, _)| *own == name);
            known.ok_or_else(|| format!("+units={name} is not known"))?.1
        }
        (None, None) => 1.0,
    };
    if !(unit > 0.0 && unit.is_finite()) {
        return Err("+to_meter must be positive".into());
    }
    let axes = match words.text("axis") {
        None | Some("enu" | "neu") => *b"en",
        Some("wsu") => *b"ws",
        Some("swu") => *b"sw",
        Some(other) => return Err(format!("+axis={other} is not understood")),
    };
    let params = projection(proj, &words)?;
    let (params, base) = match web_mercator(&words, &params, &plain.base) {
        Some((web, base)) => (web, base),
        None => (params, plain.base.clone()),
    };
    let params = params.on(base.datum.ellipsoid);
    Ok(Definition { base, projection: Some(Projection { params, unit, axes }), ..plain })
}

/// Words that do not belong to the projection.
const OTHERS: &[&str] = &[
    "proj",
    "ellps",
    "a",
    "b",
    "rf",
    "f",
    "es",
    "e",
    "R",
    "datum",
    "pm",
    "units",
    "to_meter",
    "no_defs",
    "type",
    "axis",
    "wktext",
    "nadgrids",
    "towgs84",
    "vunits",
    "vto_meter",
    "geoidgrids",
    "geoid_crs",
    "title",
    "over",
];

fn projection(proj: &str, words: &Words<'_>) -> Result<Params, String> {
    let mut values = Vec::new();
    let mut flags = Vec::new();
    for (name, value) in &words.0 {
        match (*name, value) {
            ("f", Some("0")) if proj == "ortho" => flags.push("f=0".to_owned()),
            (name, _) if OTHERS.contains(&name) => {}
            ("o_proj", Some(value)) => flags.push(format!("o_proj={value}")),
            ("shape" | "sweep", Some(value)) => flags.push(format!("{name}={value}")),
            (name, None) => flags.push(name.to_owned()),
            (name, Some(value)) => values.push((name, number(name, value)?)),
        }
    }
    Ok(Params::new(proj, values, flags.iter().map(String::as_str)))
}

/// `+proj=merc +a=6378137 +b=6378137 +nadgrids=@null`: how Web Mercator was written before it had
/// a name.
fn web_mercator(words: &Words<'_>, params: &Params, base: &Base) -> Option<(Params, Base)> {
    let is_sphere = base.datum.ellipsoid == [6_378_137.0, 0.0];
    let is_web = params.proj == "merc" && is_sphere && words.text("nadgrids") == Some("@null");
    if !is_web {
        return None;
    }
    let datum = Datum::of_code(Id::epsg(6326))?;
    Some((Params::new("webmerc", params.values(), params.flags()), Base { datum, ..base.clone() }))
}

fn base(words: &Words<'_>) -> Result<Base, String> {
    let mut datum = match words.text("datum") {
        Some(name) => {
            let code = DATUMS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            let code = code.ok_or_else(|| format!("+datum={name} is not known"))?.1;
            Datum::of_code(Id::epsg(code)).ok_or("the tables lack it")?
        }
        None => {
            let ellipsoid = ellipsoid(words)?;
            Datum { id: None, name: String::new(), ellipsoid, to_wgs84: Vec::new(), grids: None }
        }
    };
    if let Some(text) = words.text("towgs84") {
        let shift: Result<Vec<f64>, String> =
            text.split(',').map(|part| number("towgs84", part)).collect();
        let shift = shift?;
        if shift.len() != 3 && shift.len() != 7 {
            return Err("+towgs84 has neither 3 nor 7 numbers".into());
        }
        let used = shift.iter().rposition(|v| *v != 0.0).map_or(0, |last| last + 1);
        // Without a shift it is WGS 84 in all but name.
        match used {
            0 if same(datum.ellipsoid, [6_378_137.0, 298.257_223_563]) => {
                datum = Datum::of_code(Id::epsg(6326)).unwrap_or(datum);
            }
            0 => datum.to_wgs84 = vec![0.0; 3],
            _ => datum.to_wgs84 = shift[..used].to_vec(),
        }
    }
    match words.text("nadgrids") {
        None => {}
        Some("@null") if datum.ellipsoid == [6_378_137.0, 0.0] => {}
        Some("@null") => datum.to_wgs84 = vec![0.0; 3],
        Some(grids) => datum.grids = Some(grids.to_owned()),
    }
    let meridian_degrees = match words.text("pm") {
        None => 0.0,
        Some(name) => match MERIDIANS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
            Some((_, code)) => table::meridian_degrees(Id::epsg(*code)).unwrap_or(0.0),
            None => number("pm", name)?,
        },
    };
    Ok(Base { datum, meridian_degrees, unit: 1f64.to_radians() })
}

fn same(a: [f64; 2], b: [f64; 2]) -> bool {
    super::close(a[0], b[0]) && super::close(a[1], b[1])
}

fn ellipsoid(words: &Words<'_>) -> Result<[f64; 2], String> {
    if let Some(radius) = words.number("R")? {
        return positive(radius, 0.0);
    }
    let mut known = match words.text("ellps") {
        None => None,
        Some("sphere") => Some([6_370_997.0, 0.0]),
        Some(name) => {
            let code = ELLIPSOIDS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            let more = MORE_ELLIPSOIDS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            let own = code.and_then(|(_, code)| table::ellipsoid(Id::epsg(*code)));
            let own = own.or(more.map(|(_, ellipsoid)| *ellipsoid));
            Some(own.ok_or_else(|| format!("+ellps={name} is not known"))?)
        }
    };
    if let Some(a) = words.number("a")? {
        known = Some([a, known.map_or(0.0, |known| known[1])]);
    }
    let [a, own] = known.unwrap_or([6_378_137.0, 298.257_223_563]);
    let inverse = |flattening: f64| if flattening == 0.0 { 0.0 } else { 1.0 / flattening };
    let inverse_flattening = if let Some(rf) = words.number("rf")? {
        rf
    } else if let Some(f) = words.number("f")? {
        inverse(f)
    } else if let Some(b) = words.number("b")? {
        inverse((a - b) / a)
    } else if let Some(es) = words.number("es")? {
        inverse(1.0 - (1.0 - es).sqrt())
    } else if let Some(e) = words.number("e")? {
        inverse(1.0 - (1.0 - e * e).sqrt())
    } else {
        own
    };
    positive(a, inverse_flattening)
}

fn positive(a: f64, inverse_flattening: f64) -> Result<[f64; 2], String> {
    let is_flat = inverse_flattening == 0.0 || inverse_flattening > 1.0;
    if a > 0.0 && a.is_finite() && is_flat && inverse_flattening.is_finite() {
        return Ok([a, inverse_flattening]);
    }
    Err("the ellipsoid is none".into())
}

fn vertical(words: &Words<'_>) -> Result<Option<Vertical>, String> {
    let unit = match (words.text("vto_meter"), words.text("vunits")) {
        (Some(text), _) => Some(fraction("vto_meter", text)?),
        (None, Some(name)) => UNITS.iter().find(|(own, _)| *own == name).map(|(_, size)| *size),
        (None, None) => None,
    };
    // Plain heights above the ellipsoid in metres make no vertical CRS.
    let Some(grid) = words.text("geoidgrids") else { return Ok(None) };
    let reference = VerticalReference::Name(super::letters(grid));
    Ok(Some(Vertical { reference, unit: unit.unwrap_or(1.0), name: Some(grid.to_owned()) }))
}

/// A number; angles may be written as `12d30'15"E`.
fn number(name: &str, text: &str) -> Result<f64, String> {
    let wrong = || format!("+{name}={text} is not a number");
    if let Ok(value) = text.parse::<f64>() {
        return if value.is_finite() { Ok(value) } else { Err(wrong()) };
    }
    let (body, sign) = match text.as_bytes().last() {
        Some(b'W' | b'w' | b'S' | b's') => (&text[..text.len() - 1], -1.0),
        Some(b'E' | b'e' | b'N' | b'n') => (&text[..text.len() - 1], 1.0),
        _ => (text, 1.0),
    };
    let (body, sign) = body.strip_prefix('-').map_or((body, sign), |body| (body, -sign));
    let (mut value, mut size) = (0.0, 1.0);
    let parts = body.split(['d', 'D', '°', '\'', '"']).filter(|part| !part.is_empty());
    for part in parts {
        value += part.parse::<f64>().map_err(|_| wrong())? * size;
        size /= 60.0;
    }
    if size < 1.0 { Ok(sign * value) } else { Err(wrong()) }
}

/// A number that may be written as a fraction.
fn fraction(name: &str, text: &str) -> Result<f64, String> {
    match text.split_once('/') {
        Some((above, below)) => Ok(number(name, above)? / number(name, below)?),
        None => number(name, text),
    }
}

/// The PROJ string of a CRS, heights left out.
pub(super) fn write(definition: &Definition) -> String {
    let mut text = match &definition.projection {
        Some(projection) => projection.params.to_string(),
        None => "+proj=longlat".to_owned(),
    };
    let datum = &definition.base.datum;
    let is_web = definition
        .projection
        .as_ref()
        .is_some_and(|projection| projection.params.proj == "webmerc");
    let known = datum.id.and_then(|id| DATUMS[..3].iter().find(|(_, code)| id == Id::epsg(*code)));
    match known {
        Some((name, _)) => text += &format!(" +datum={}", name.to_uppercase()),
        None if datum.ellipsoid[1] == 0.0 => text += &format!(" +R={}", datum.ellipsoid[0]),
        None => text += &format!(" +a={} +rf={}", datum.ellipsoid[0], datum.ellipsoid[1]),
    }
    if is_web {
        text = text.replace("+proj=webmerc", "+proj=webmerc +lat_0=0");
    }
    if !datum.to_wgs84.is_empty() {
        let mut shift = datum.to_wgs84.clone();
        shift.resize(if shift.len() <= 3 { 3 } else { 7 }, 0.0);
        let shift: Vec<String> = shift.iter().map(f64::to_string).collect();
        text += &format!(" +towgs84={}", shift.join(","));
    }
    if let Some(grids) = &datum.grids {
        text += &format!(" +nadgrids={grids}");
    }
    if definition.base.meridian_degrees != 0.0 {
        text += &format!(" +pm={}", definition.base.meridian_degrees);
    }
    if let Some(projection) = &definition.projection {
        if projection.axes != *b"en" {
            text += &format!(" +axis={}u", String::from_utf8_lossy(&projection.axes));
        }
        if projection.unit == 1.0 {
            text += " +units=m";
        } else {
            text += &format!(" +to_meter={}", projection.unit);
        }
    }
    text + " +no_defs +type=crs"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str, code: u32) -> bool {
        parse(text).unwrap().same_horizontal(&Definition::of_code(Id::epsg(code)).unwrap())
    }

    #[test]
    fn strings_are_codes() {
        assert!(is("+proj=utm +zone=33 +datum=WGS84 +units=m +no_defs", 32633));
        assert!(is("+proj=longlat +datum=NAD83", 4269));
        assert!(is(
            "+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0=0 +x_0=0 +y_0=0 +k=1 +units=m \
                    +nadgrids=@null +wktext +no_defs",
            3857
        ));
        assert!(is("+init=epsg:32633", 32633));
        assert!(!is("+proj=utm +zone=33 +ellps=WGS84", 32633), "unknown datum");
        assert!(is(
            "+proj=lcc +lat_0=40.1666666666667 +lon_0=-74 +lat_1=41.0333333333333 \
                    +lat_2=40.6666666666667 +x_0=300000 +y_0=0 +datum=NAD83 +units=us-ft",
            2263
        ));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "",
            "+units=m",
            "+proj=pipeline +step +proj=utm",
            "+proj=geocent",
            "+proj=utm +zone=x",
            "+proj=merc +units=ell",
            "+proj=merc +axis=xyz",
            "+proj=merc +R=-1",
            "+proj=merc +datum=mars",
            "+proj=merc +towgs84=1,2",
            "+proj=longlat +a=nan",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let degrees = parse("+proj=merc +lon_0=12d30'E +datum=WGS84").unwrap();
        assert_eq!(degrees.projection.unwrap().params.value("lon_0"), 12.5);
    }

    #[test]
    fn written_strings_read_back() {
        for code in [32633, 4326, 2154, 27700, 2046, 4807, 2263, 3413, 5070, 3035] {
            let definition = Definition::of_code(Id::epsg(code)).unwrap();
            let again = parse(&write(&definition)).unwrap();
            let (a, b) = (definition.projection, again.projection);
            assert_eq!(a.map(|p| p.params), b.map(|p| p.params), "EPSG:{code}");
            assert_eq!(definition.base.meridian_degrees, again.base.meridian_degrees);
        }
    }
}
