//! Manifests: lists of sources that say more of each than its path (nodata, bands, CRS, priority, scale
//! and offset). Three spellings of one thing:
//!
//! - lines of a list: the path, then a tab, then `key=value` pairs between spaces or tabs. A path in
//!   double quotes may be followed by a space instead.
//! - CSV (RFC 4180) with a header: `path` and any of the keys.
//! - JSON: an array of paths and of objects with `path` and any of the keys, or an object whose
//!   `sources` is one.
//!
//! Keys: `nodata` (a number, one for each band, or `none`), `bands` (counted from 1), `crs`,
//! `priority` (higher lies on top), `scale`, `offset`. A key that is none of these is refused by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::crs::Crs;
use crate::error::{Error, FormatError, InputError, Result};
use crate::sample::Nodata;
use crate::source::SourceNodata;
use crate::source::entry::{Entry, Overrides};

/// Most sources that a manifest may name.
const MAX_SOURCES: usize = 10_000_000;
/// Most bands that a list of values may have.
const MAX_VALUES: usize = 65_535;

/// One line of a list; `None` if it is blank or a comment.
///
/// # Errors
/// [`FormatError::Text`] if what follows the path is no known `key=value`.
pub fn parse_line(line: &str) -> Result<Option<Entry>> {
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.trim();
    let (path, rest) = match line.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        // A quote inside a longer name is part of it.
        Some((path, rest)) if rest.is_empty() || rest.starts_with([' ', '\t']) => (path, rest),
        _ => line.split_once('\t').unwrap_or((line, "")),
    };
    let mut entry = Entry::new(PathBuf::from(path.trim_end()));
    for pair in rest.split_whitespace() {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(fail(format!("{pair:?} is not key=value ({path})")));
        };
        set(&mut entry, key, value).map_err(|error| error.with_path(Path::new(path)))?;
    }
    Ok(Some(entry))
}

/// The entries of a CSV file.
///
/// # Errors
/// [`FormatError::Text`] with the number of the line, if the header or a value is not understood.
pub fn parse_csv(text: &str) -> Result<Vec<Entry>> {
    let mut records = Csv { rest: text.trim_start_matches('\u{feff}'), line: 1 };
    let header = records.next().transpose()?.unwrap_or_default();
    let header: Vec<String> = header.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    let Some(path_column) = header.iter().position(|name| name == "path") else {
        return Err(fail("the first line names no column `path`".into()));
    };
    if let Some(unknown) = header.iter().find(|name| !is_key(name) && *name != "path") {
        return Err(unknown_key(unknown));
    }
    let mut entries = Vec::new();
    loop {
        let line = records.line;
        let Some(record) = records.next().transpose()? else { return Ok(entries) };
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        let at = |error: Error| fail(format!("line {line}: {error}"));
        if record.len() > header.len() {
            return Err(fail(format!(
                "line {line}: {} fields, the header has {}",
                record.len(),
                header.len()
            )));
        }
        let path = record.get(path_column).map_or("", |path| path.trim());
        if path.is_empty() {
            return Err(fail(format!("line {line}: there is no path")));
        }
        let mut entry = Entry::new(PathBuf::from(path));
        let fields = header.iter().zip(&record).filter(|(name, _)| *name != "path");
        for (key, value) in fields.filter(|(_, value)| !value.trim().is_empty()) {
            set(&mut entry, key, value).map_err(at)?;
        }
        push(&mut entries, entry)?;
    }
}

/// The entries of a JSON manifest.
///
/// # Errors
/// [`FormatError::Text`] if it is not one.
pub fn parse_json(value: &Value) -> Result<Vec<Entry>> {
    let list = value.as_array().or_else(|| value.get("sources")?.as_array());
    let Some(list) = list else {
        return Err(fail("it is neither an array nor an object with `sources`".into()));
    };
    let mut entries = Vec::with_capacity(list.len().min(MAX_SOURCES));
    for (index, item) in list.iter().enumerate() {
        let at = |error: Error| fail(format!("source {}: {error}", index + 1));
        push(&mut entries, json_entry(item).map_err(at)?)?;
    }
    Ok(entries)
}

fn json_entry(item: &Value) -> Result<Entry> {
    if let Some(path) = item.as_str() {
        return Ok(Entry::new(PathBuf::from(path)));
    }
    let Some(object) = item.as_object() else {
        return Err(fail("expected a path or an object".into()));
    };
    let Some(path) = object.get("path").and_then(Value::as_str) else {
        return Err(fail("an object without `path`".into()));
    };
    let mut entry = Entry::new(PathBuf::from(path));
    for (key, value) in object.iter().filter(|(key, value)| *key != "path" && !value.is_null()) {
        set(&mut entry, key, &json_text(key, value)?)?;
    }
    Ok(entry)
}

/// A JSON value in the spelling of lists and CSV.
fn json_text(key: &str, value: &Value) -> Result<String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        // A band without nodata among others that have one.
        Value::Null => Some("none".into()),
        _ => None,
    };
    let text = match value {
        Value::Array(list) => {
            list.iter().map(scalar).collect::<Option<Vec<_>>>().map(|list| list.join(","))
        }
        other => scalar(other),
    };
    text.ok_or_else(|| fail(format!("{key}: expected a number, a text or a list of them")))
}

fn push(entries: &mut Vec<Entry>, entry: Entry) -> Result<()> {
    if entries.len() >= MAX_SOURCES {
        return Err(fail(format!("more than {MAX_SOURCES} sources")));
    }
    entries.push(entry);
    Ok(())
}

fn is_key(name: &str) -> bool {
    matches!(name, "nodata" | "bands" | "crs" | "priority" | "scale" | "offset")
}

fn unknown_key(name: &str) -> Error {
    let name: String = name.chars().take(40).collect();
    fail(format!("{name:?} is not one of path, nodata, bands, crs, priority, scale, offset"))
}

/// Takes in one key.
fn set(entry: &mut Entry, key: &str, value: &str) -> Result<()> {
    let value = value.trim();
    if !is_key(key) {
        return Err(unknown_key(key));
    }
    let overrides: &mut Overrides = entry.overrides.get_or_insert_default();
    match key {
        "nodata" => overrides.nodata = Some(nodata(value)?),
        "bands" => overrides.view.bands = Some(bands(value)?),
        "crs" => overrides.crs = Some(Arc::new(Crs::parse(value)?)),
        "scale" => overrides.scale = numbers("scale", value)?,
        "offset" => overrides.offset = numbers("offset", value)?,
        _ => overrides.priority = numbers("priority", value)?.first().copied(),
    }
    Ok(())
}

/// The parts of a list of values: between commas, semicolons or spaces, in brackets or not.
fn parts(value: &str) -> Vec<&str> {
    let value = value.trim().trim_start_matches('[').trim_end_matches(']');
    value
        .split([',', ';', ' ', '\t'])
        .filter(|part| !part.is_empty())
        .take(MAX_VALUES + 1)
        .collect()
}

fn nodata(value: &str) -> Result<SourceNodata> {
    let one = |text: &&str| -> Result<Option<Nodata>> {
        if text.eq_ignore_ascii_case("none") { Ok(None) } else { Nodata::parse(text).map(Some) }
    };
    match parts(value).iter().map(one).collect::<Result<Vec<_>>>()?.as_slice() {
        [] => Err(bad("nodata", value, "a number, one for each band, or none")),
        [None] => Ok(SourceNodata::None),
        [Some(one)] => Ok(SourceNodata::All(*one)),
        many => Ok(SourceNodata::Bands(many.into())),
    }
}

fn bands(value: &str) -> Result<Arc<[Option<u32>]>> {
    let wanted = || bad("bands", value, "numbers from 1, e.g. 3,2,1");
    let one = |text: &&str| {
        let number: u32 = text.parse().ok()?;
        number.checked_sub(1).map(Some)
    };
    let list: Option<Vec<_>> = parts(value).iter().map(one).collect();
    list.filter(|list| !list.is_empty()).map(Into::into).ok_or_else(wanted)
}

fn numbers(option: &'static str, value: &str) -> Result<Vec<f64>> {
    let one = |text: &&str| text.parse::<f64>().ok().filter(|v| v.is_finite());
    let list: Option<Vec<f64>> = parts(value).iter().map(one).collect();
    list.filter(|list| !list.is_empty()).ok_or_else(|| bad(option, value, "finite numbers"))
}

fn bad(option: &'static str, value: &str, expected: &str) -> Error {
    let value: String = value.chars().take(40).collect();
    InputError::Option { option, reason: format!("{value:?}: expected {expected}") }.into()
}

fn fail(reason: String) -> Error {
    FormatError::Text { what: "the manifest", reason }.into()
}

/// Records of a CSV text (RFC 4180): fields between commas, in double quotes where they hold commas,
/// quotes (doubled) or line ends.
struct Csv<'a> {
    rest: &'a str,
    /// Of the record that comes next.
    line: usize,
}

impl Iterator for Csv<'_> {
    type Item = Result<Vec<String>>;

    fn next(&mut self) -> Option<Result<Vec<String>>> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut fields, mut field, mut quoted, start) =
            (Vec::new(), String::new(), false, self.line);
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match (c, quoted) {
                ('"', true) if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    chars.next();
                    field.push('"');
                }
                ('"', true) => quoted = false,
                ('"', false) if field.trim().is_empty() => {
                    field.clear();
                    quoted = true;
                }
                (',', false) => fields.push(std::mem::take(&mut field)),
                ('\r', false) if chars.peek().is_some_and(|(_, next)| *next == '\n') => {}
                ('\n' | '\r', false) => {
                    fields.push(field);
                    self.line += 1;
                    self.rest = &self.rest[at + 1..];
                    return Some(Ok(fields));
                }
                (c, _) => {
                    self.line += usize::from(c == '\n');
                    field.push(c);
                }
            }
        }
        self.rest = "";
        if quoted {
            return Some(Err(fail(format!("line {start}: a quoted field does not end"))));
        }
        fields.push(field);
        Some(Ok(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(entry: &Entry) -> Overrides {
        entry.overrides.as_deref().cloned().unwrap_or_default()
    }

    #[test]
    fn lines_hold_a_path_and_pairs() {
        let entry = parse_line("a b.tif\tnodata=-9999 bands=3,1\tpriority=2.5").unwrap().unwrap();
        assert_eq!(entry.path, Path::new("a b.tif"));
        let own = overrides(&entry);
        assert_eq!(own.nodata, Some(SourceNodata::All(Nodata::Int(-9999))));
        assert_eq!(own.view.bands.as_deref(), Some(&[Some(2), Some(0)][..]));
        assert_eq!(own.priority, Some(2.5));
        let quoted =
            parse_line(" \"a b.tif\" crs=EPSG:32633 scale=0.1 offset=-5").unwrap().unwrap();
        assert_eq!(quoted.path, Path::new("a b.tif"));
        let own = overrides(&quoted);
        assert_eq!(own.crs.unwrap().epsg(), Some(32633));
        assert_eq!((own.scale, own.offset), (vec![0.1], vec![-5.0]));
        // Spaces, equals signs and quotes belong to a path where no tab follows.
        for path in ["x y=1.tif", "a\"b.tif", "a=b.tif"] {
            let entry = parse_line(path).unwrap().unwrap();
            assert_eq!((entry.path.to_str(), entry.overrides.is_none()), (Some(path), true));
        }
        assert!(parse_line("# c").unwrap().is_none() && parse_line(" ").unwrap().is_none());
        for bad in ["a\tnodata", "a\tcolor=1", "a\tbands=0", "a\tscale=x", "a\tcrs=EPSG:1"] {
            assert!(parse_line(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn csv_and_json_say_the_same() {
        let csv = "path,nodata,bands,priority\r\n\"a,b \"\"c\"\".tif\",\"0;none;2\",\"3 2 1\",\r\n\nplain.tif,none,,-1\n";
        let json: Value = serde_json::from_str(
            r#"{"sources": [{"path": "a,b \"c\".tif", "nodata": [0, null, 2], "bands": [3, 2, 1]},
                {"path": "plain.tif", "nodata": "none", "priority": -1}]}"#,
        )
        .unwrap();
        let (csv, json) = (parse_csv(csv).unwrap(), parse_json(&json).unwrap());
        assert_eq!(csv.len(), 2);
        for (a, b) in csv.iter().zip(&json) {
            assert_eq!((&a.path, overrides(a)), (&b.path, overrides(b)));
        }
        assert_eq!(overrides(&csv[1]).nodata, Some(SourceNodata::None));
        let expected =
            SourceNodata::Bands([Some(Nodata::Int(0)), None, Some(Nodata::Int(2))].into());
        assert_eq!(overrides(&csv[0]).nodata, Some(expected));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (csv, word) in [
            ("name\na.tif", "`path`"),
            ("path,colour\na.tif,red", "colour"),
            ("path,bands\na.tif,x", "line 2"),
            ("path\na.tif\nb.tif,1", "line 3"),
            ("path\n\"a.tif", "does not end"),
            ("path,nodata\n,1", "no path"),
        ] {
            let error = parse_csv(csv).unwrap_err().to_string();
            assert!(error.contains(word), "{csv:?}: {error}");
        }
        for (json, word) in [
            ("3", "sources"),
            ("[3]", "source 1"),
            ("[\"a\", {\"bands\": 1}]", "source 2"),
            ("[{\"path\": \"a\", \"scale\": {}}]", "scale"),
            ("[{\"path\": \"a\", \"zoom\": 1}]", "zoom"),
        ] {
            let error = parse_json(&serde_json::from_str(json).unwrap()).unwrap_err().to_string();
            assert!(error.contains(word), "{json}: {error}");
        }
    }
}
