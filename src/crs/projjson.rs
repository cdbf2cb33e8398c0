//! PROJJSON (schema 0.7) -> the tree of the same CRS in WKT2, which `wkt_read` understands.
//!
//! The JSON reader is ours and small: depth and size are limited, numbers must be finite.

use super::wkt::{Node, Value};
use super::wkt_read::node;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Text(String),
    Number(f64),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

const MOST_DEPTH: usize = 40;
const MOST_BYTES: usize = 1 << 18;

impl Json {
    fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(own, _)| own == name).map(|(_, v)| v),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Json::Number(number) => Some(*number),
            // A measure: {"value": ..., "unit": ...}.
            Json::Object(_) => self.get("value")?.number(),
            _ => None,
        }
    }

    fn list(&self) -> &[Json] {
        match self {
            Json::List(list) => list,
            _ => &[],
        }
    }
}

/// The WKT2 tree of a PROJJSON text.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.len() > MOST_BYTES {
        return Err(format!(
            "the PROJJSON has {} bytes, at most {MOST_BYTES} are read",
            text.len()
        ));
    }
    let mut parser = Parser { rest: text.trim_start_matches('\u{feff}') };
    let json = parser.value(0)?;
    if !parser.rest.trim().is_empty() {
        return Err("there is text after the PROJJSON".into());
    }
    crs(&json)
}

fn crs(json: &Json) -> Result<Node, String> {
    let kind = json.get("type").and_then(Json::text);
    // A base CRS need not say its type.
    let kind = kind.unwrap_or(if json.get("base_crs").is_some() {
        "ProjectedCRS"
    } else {
        "GeographicCRS"
    });
    let mut values = vec![name(json)];
    let keyword = match kind {
        "GeographicCRS" | "GeodeticCRS" => {
            values.extend(datum(json)?);
            "GEOGCRS"
        }
        "ProjectedCRS" => {
            let base = json.get("base_crs").ok_or("a projected CRS without base_crs")?;
            values.push(Value::Node(crs(base)?));
            let conversion = json.get("conversion").ok_or("a projected CRS without conversion")?;
            values.push(Value::Node(conversion_node(conversion)?));
            "PROJCRS"
        }
        "VerticalCRS" => "VERTCRS",
        "CompoundCRS" => {
            let parts = json.get("components").map_or(&[][..], Json::list);
            for part in parts {
                values.push(Value::Node(crs(part)?));
            }
            "COMPOUNDCRS"
        }
        "BoundCRS" => {
            for (member, keyword) in [("source_crs", "SOURCECRS"), ("target_crs", "TARGETCRS")] {
                let inner = json.get(member).ok_or("a bound CRS without its parts")?;
                values.push(Value::Node(node(keyword, vec![Value::Node(crs(inner)?)])));
            }
            let shift = json.get("transformation").ok_or("a bound CRS without a shift")?;
            let Node { values: inner, .. } = conversion_node(shift)?;
            values.push(Value::Node(node("ABRIDGEDTRANSFORMATION", inner)));
            "BOUNDCRS"
        }
        other => return Err(format!("PROJJSON of type {other:?} is no map's CRS")),
    };
    let axes = json.get("coordinate_system").and_then(|cs| cs.get("axis"));
    for axis in axes.map_or(&[][..], Json::list) {
        let direction = axis.get("direction").and_then(Json::text).unwrap_or_default();
        let unit = unit(axis.get("unit"), "LENGTHUNIT");
        let own = [name(axis), Value::Text(direction.to_owned())];
        values.push(Value::Node(node("AXIS", own.into_iter().chain(unit).collect())));
    }
    values.extend(id(json));
    Ok(node(keyword, values))
}

fn name(json: &Json) -> Value {
    Value::Text(json.get("name").and_then(Json::text).unwrap_or_default().to_owned())
}

/// `ID["EPSG", 4326]`.
fn id(json: &Json) -> Option<Value> {
    let id = json.get("id")?;
    let authority = Value::Text(id.get("authority")?.text()?.to_owned());
    let code = match id.get("code")? {
        Json::Number(code) => Value::Number(*code),
        Json::Text(code) => Value::Text(code.clone()),
        _ => return None,
    };
    Some(Value::Node(node("ID", vec![authority, code])))
}

/// A unit by name or as an object.
fn unit(json: Option<&Json>, keyword: &str) -> Option<Value> {
    let (name, size) = match json? {
        Json::Text(name) => {
            let size = match name.as_str() {
                "degree" => 1f64.to_radians(),
                _ => 1.0,
            };
            (name.clone(), size)
        }
        object => {
            let name = object.get("name").and_then(Json::text).unwrap_or_default();
            (name.to_owned(), object.get("conversion_factor")?.number()?)
        }
    };
    Some(Value::Node(node(keyword, vec![Value::Text(name), Value::Number(size)])))
}

/// Datum and prime meridian.
fn datum(json: &Json) -> Result<Vec<Value>, String> {
    let datum = json.get("datum").or_else(|| json.get("datum_ensemble"));
    let datum = datum.ok_or("a geographic CRS without a datum")?;
    let ellipsoid = datum.get("ellipsoid").ok_or("a datum without an ellipsoid")?;
    let length = |member: &str| {
        let measure = ellipsoid.get(member)?;
        let size = measure.get("unit").and_then(|unit| unit.get("conversion_factor"));
        Some(measure.number()? * size.and_then(Json::number).unwrap_or(1.0))
    };
    let a = length("semi_major_axis").or_else(|| length("radius"));
    let a = a.ok_or("an ellipsoid without an axis")?;
    let inverse = ellipsoid.get("inverse_flattening").and_then(Json::number);
    let inverse = inverse.unwrap_or_else(|| match length("semi_minor_axis") {
        Some(b) if b != a => a / (a - b),
        _ => 0.0,
    });
    let ellipsoid = vec![name(ellipsoid), Value::Number(a), Value::Number(inverse)];
    let mut values = vec![name(datum), Value::Node(node("ELLIPSOID", ellipsoid))];
    values.extend(id(datum));
    let mut all = vec![Value::Node(node("DATUM", values))];
    if let Some(meridian) = datum.get("prime_meridian") {
        let longitude = meridian.get("longitude");
        let own = [name(meridian), Value::Number(longitude.and_then(Json::number).unwrap_or(0.0))];
        let unit = unit(longitude.and_then(|measure| measure.get("unit")), "ANGLEUNIT");
        let unit =
            unit.or_else(|| super::projjson::unit(Some(&Json::Text("degree".into())), "ANGLEUNIT"));
        all.push(Value::Node(node(
            "PRIMEM",
            own.into_iter().chain(unit).chain(id(meridian)).collect(),
        )));
    }
    Ok(all)
}

/// Method and parameters.
fn conversion_node(json: &Json) -> Result<Node, String> {
    let method = json.get("method").ok_or("a conversion without a method")?;
    let mut values = vec![name(json), Value::Node(node("METHOD", vec![name(method)]))];
    for parameter in json.get("parameters").map_or(&[][..], Json::list) {
        let value = parameter.get("value").and_then(Json::number);
        let value = value.ok_or("a parameter without a number")?;
        let own = [name(parameter), Value::Number(value)];
        let unit = unit(parameter.get("unit"), "UNIT");
        values.push(Value::Node(node("PARAMETER", own.into_iter().chain(unit).collect())));
    }
    Ok(node("CONVERSION", values))
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, expected: &str) -> Result<T, String> {
        let found: String = self.rest.chars().take(12).collect();
        Err(format!("JSON: expected {expected}, found {found:?}"))
    }

    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > MOST_DEPTH {
            return Err(format!("JSON: nested deeper than {MOST_DEPTH}"));
        }
        if self.take("{") {
            return self.members(depth);
        }
        if self.take("[") {
            let mut list = Vec::new();
            while !self.take("]") {
                if !list.is_empty() && !self.take(",") {
                    return self.fail("a comma");
                }
                list.push(self.value(depth + 1)?);
            }
            return Ok(Json::List(list));
        }
        if self.take("\"") {
            return self.text().map(Json::Text);
        }
        if self.take("true") || self.take("false") || self.take("null") {
            return Ok(Json::Null);
        }
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        match self.rest[..end].parse::<f64>() {
            Ok(number) if number.is_finite() => {
                self.rest = &self.rest[end..];
                Ok(Json::Number(number))
            }
            _ => self.fail("a value"),
        }
    }

    fn members(&mut self, depth: usize) -> Result<Json, String> {
        let mut members = Vec::new();
        while !self.take("}") {
            if !members.is_empty() && !self.take(",") {
                return self.fail("a comma");
            }
            if !self.take("\"") {
                return self.fail("a name");
            }
            let name = self.text()?;
            if !self.take(":") {
                return self.fail("a colon");
            }
            members.push((name, self.value(depth + 1)?));
        }
        Ok(Json::Object(members))
    }

    /// A text after its opening quote. `\uXXXX` beyond the basic plane stays as it is written.
    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match characters.next().map(|(_, c)| c) {
                    Some('n' | 't' | 'r' | 'b' | 'f') => text.push(' '),
                    Some('u') => {
                        let digits: String = characters.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        text.push(code.unwrap_or('\u{fffd}'));
                    }
                    Some(other) => text.push(other),
                    None => break,
                },
                _ => text.push(c),
            }
        }
        self.fail("a closing quote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_it() {
        let deep = "[".repeat(100_000);
        for bad in
            ["", "{", "[1", "{\"a\":}", "{\"a\" 1}", "1e999", "\"x", "{} {}", "[1 2]", "nul", &deep]
        {
            assert!(parse(bad).is_err(), "{bad:.20}");
        }
        let text = r#"{"type": "GeographicCRS", "name": "a\u00e9\"", "datum": {"ellipsoid": {"radius": 1e3}}}"#;
        let tree = parse(text).unwrap();
        assert_eq!((tree.keyword.as_str(), tree.text(0)), ("GEOGCRS", Some("a\u{e9}\"")));
        for end in 0..text.len() {
            assert!(parse(&text[..end]).is_err(), "{end}");
        }
    }
}
