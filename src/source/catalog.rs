//! What the user names → entries to open: files, directories, patterns, lists and manifests, and
//! descriptors of many rasters, each known by its name's ending.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, ErrorKind, FormatError, InputError, Result, ResultExt};
use crate::source::discover;
use crate::source::entry::{Entries, Entry, Hints};
use crate::source::{gti, index, manifest, mosaicjson, stac, vrt_flatten};

/// Most bytes of a JSON or CSV descriptor. An index of a million sources takes about 200 MB.
const MAX_BYTES: u64 = 2 << 30;

/// Expands inputs, in order (SPEC §3.1): as [`discover::discover`], with manifests and descriptors. A
/// list (`@list`, `list`) may be lines, `.csv` or `.json` (see [`manifest`]). Hints come from a
/// descriptor that is the only input.
///
/// `asset` is the key of the asset of STAC items that is wanted, where they have several.
///
/// # Errors
/// [`InputError::NoInputs`] if an input gives nothing; I/O errors of directories, lists and
/// descriptors; errors of what they say.
pub fn gather(inputs: &[PathBuf], list: Option<&Path>, asset: Option<&str>) -> Result<Entries> {
    let mut found = Entries::default();
    for input in inputs {
        gather_one(input, asset, &mut found)?;
    }
    if let Some(list) = list {
        gather_list(list, asset, &mut found)?;
    }
    if found.list.is_empty() {
        return Err(InputError::NoInputs("none were named".into()).into());
    }
    if inputs.len() + usize::from(list.is_some()) > 1 || found.descriptors.len() != 1 {
        found.hints = Hints::default();
    }
    Ok(found)
}

fn gather_one(input: &Path, asset: Option<&str>, found: &mut Entries) -> Result<()> {
    let text = input.to_string_lossy();
    if let Some(list) = text.strip_prefix('@').filter(|_| !input.exists()) {
        return gather_list(Path::new(list), asset, found);
    }
    let mut paths = Vec::new();
    discover::expand(input, &mut paths)?;
    paths.into_iter().try_for_each(|path| take_in(Entry::new(path), asset, found))
}

fn gather_list(list: &Path, asset: Option<&str>, found: &mut Entries) -> Result<()> {
    let entries = read_list(list)?;
    if list != Path::new("-") {
        found.descriptors.push(list.to_path_buf());
    }
    if entries.is_empty() {
        let reason = "the list names no file".into();
        return Err(Error::new(InputError::NoInputs(reason)).with_path(list));
    }
    for entry in entries {
        let mut paths = Vec::new();
        discover::expand(&entry.path, &mut paths)?;
        for path in paths {
            take_in(Entry { path, ..entry.clone() }, asset, found)?;
        }
    }
    Ok(())
}

/// The entries of a list file: lines, CSV or JSON, by its name's ending; `-` is standard input. Relative
/// paths are relative to the working directory, as on the command line; in CSV and JSON to the
/// file's own, if there is no such file in the former.
///
/// # Errors
/// I/O errors; errors of what it says.
pub fn read_list(list: &Path) -> Result<Vec<Entry>> {
    if list == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).at(Path::new("standard input"))?;
        return parse_lines(&text).at(list);
    }
    let text = read_text(list)?;
    let mut entries = match extension(list).as_deref() {
        Some("csv") => manifest::parse_csv(&text).at(list)?,
        Some("json") => manifest::parse_json(&parse_json(&text, list)?).at(list)?,
        _ => return parse_lines(&text).at(list),
    };
    beside(list, &mut entries);
    Ok(entries)
}

/// Names files beside a manifest where there are none in the working directory.
fn beside(manifest: &Path, entries: &mut [Entry]) {
    let Some(folder) = manifest.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return;
    };
    for entry in entries.iter_mut().filter(|entry| entry.path.is_relative()) {
        let other = folder.join(&entry.path);
        if !entry.path.exists() && other.exists() {
            entry.path = other;
        }
    }
}

fn parse_lines(text: &str) -> Result<Vec<Entry>> {
    // Lines may end in LF, CR LF, or CR alone (GDAL #3389); a byte order mark may come first.
    let lines = text.trim_start_matches('\u{feff}').split(['\n', '\r']);
    lines.filter_map(|line| manifest::parse_line(line).transpose()).collect()
}

/// Adds a raster, or what a descriptor describes.
fn take_in(entry: Entry, asset: Option<&str>, found: &mut Entries) -> Result<()> {
    let path = entry.path.clone();
    let Some(described) = describe(&path, asset).at(&path)? else {
        found.list.push(entry);
        return Ok(());
    };
    if entry.overrides.is_some() {
        let feature = "overrides for a file that describes other files";
        let hint = "say them of the files, in a manifest";
        return Err(Error::unsupported(feature, hint).with_path(&path));
    }
    if described.list.is_empty() {
        let reason = "it names no raster".into();
        return Err(Error::new(InputError::NoInputs(reason)).with_path(&path));
    }
    found.list.extend(described.list);
    found.hints = described.hints;
    found.nested.extend(described.descriptors);
    found.descriptors.push(path);
    Ok(())
}

/// What a descriptor describes; `None` for anything that is none by its name.
fn describe(path: &Path, asset: Option<&str>) -> Result<Option<Entries>> {
    // A file that is not there is named later, with all others.
    if path.is_dir() || !path.exists() {
        return Ok(None);
    }
    match extension(path).as_deref() {
        Some("csv") => {
            let mut list = manifest::parse_csv(&read_text(path)?)?;
            beside(path, &mut list);
            Ok(Some(Entries { list, ..Entries::default() }))
        }
        Some("vrt") => vrt_flatten::entries(path).map(Some),
        Some("gti") => gti::read_xml(path).map(Some),
        Some("json" | "geojson") => describe_json(path, asset).map(Some),
        _ => gti::refuse_container(path).map(|()| None),
    }
}

/// A JSON document by what it holds: an index, a STAC document, a MosaicJSON, a tile index, a manifest.
fn describe_json(path: &Path, asset: Option<&str>) -> Result<Entries> {
    let text = read_text(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    if index::is_index(&text) {
        return index::read(&text, folder);
    }
    let value = parse_json(&text, path)?;
    drop(text);
    let list = if mosaicjson::is_mosaicjson(&value) {
        mosaicjson::read(&value, folder)?
    } else if stac::is_stac(&value) {
        stac::read(&value, path, asset)?
    } else if gti::is_index(&value) {
        gti::read_geojson(&value, path)?
    } else {
        let mut list = manifest::parse_json(&value)?;
        beside(path, &mut list);
        list
    };
    Ok(Entries { list, ..Entries::default() })
}

/// A JSON document.
pub(super) fn read_json(path: &Path) -> Result<Value> {
    parse_json(&read_text(path)?, path)
}

/// Text of a file, at most [`MAX_BYTES`].
pub(super) fn read_text(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).at(path)?;
    let len = file.metadata().at(path)?.len();
    if len > MAX_BYTES {
        let kind = ErrorKind::Limit { what: "a text file", need: len, max: MAX_BYTES };
        return Err(Error::new(kind).with_path(path));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_BYTES).read_to_end(&mut bytes).at(path)?;
    String::from_utf8(bytes).map_err(|_| {
        let reason = "it is not UTF-8".into();
        Error::new(FormatError::Text { what: "the text", reason }).with_path(path)
    })
}

fn parse_json(text: &str, path: &Path) -> Result<Value> {
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        let reason = error.to_string();
        Error::new(FormatError::Text { what: "the JSON", reason }).with_path(path)
    })
}

/// The ending of a name, in lower case.
pub(super) fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase())
}
