//! Saved mosaics (SPEC §9 `index`): a JSON file that holds the headers of all sources, so that they need
//! not be read again. What sources share is written once; a source is one short array.
//!
//! ```text
//! { "smalti_index": 1, "program": "…",
//!   "grid": … or null, "nodata": … or null,    what was asked for, where options do not say otherwise
//!   "crs": [GeoKey tags …], "metadata": [colour and GDAL_METADATA …], "profiles": [headers …],
//!   "sources": [[path, bytes, mtime ns, profile, x0, y0, DateTime or null, [block tables …]], …] }
//! ```
//!
//! Paths are relative to the file's folder, or absolute. Size and time are compared with the file's
//! when it is opened again; nothing else of it is read.

mod load;
mod write;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, FormatError, Result};
use crate::sample::Nodata;
use crate::source::entry::{Entries, Hints};
use crate::tiff::reader::Shared;
use crate::tiff::saved::Shape;

pub use write::write;

/// Version of the format.
const VERSION: u32 = 1;
/// First key of the file, by which it is known.
const KEY: &str = "\"smalti_index\"";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    smalti_index: u32,
    program: Cow<'a, str>,
    grid: Option<SavedGrid>,
    nodata: Option<String>,
    crs: Vec<SavedCrs>,
    metadata: Vec<SavedShared>,
    profiles: Vec<Profile>,
    #[serde(borrow)]
    sources: Vec<SavedSource<'a>>,
}

/// Path, bytes, time in ns since 1970, profile, x0, y0, DateTime, numbers of the block tables.
#[derive(Serialize, Deserialize)]
struct SavedSource<'a>(
    #[serde(borrow)] Cow<'a, str>,
    u64,
    i64,
    u32,
    f64,
    f64,
    Option<i64>,
    Vec<u64>,
);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedGrid {
    crs: Option<u32>,
    transform: [f64; 6],
    size: [u32; 2],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedCrs {
    directory: Vec<u16>,
    doubles: Vec<f64>,
    ascii: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedShared {
    photometric: u16,
    extra_samples: Vec<u16>,
    palette: Option<Vec<u16>>,
    /// Name, value, domain.
    items: Vec<[String; 3]>,
    bands: Vec<SavedBand>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedBand {
    description: Option<String>,
    scale: Option<f64>,
    offset: Option<f64>,
    unit: Option<String>,
    color: Option<String>,
    items: Vec<[String; 3]>,
}

/// What many sources have in common: their headers but for path, stamp, position, date and tables.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    image: Shape,
    mask: Option<Shape>,
    /// `dx, rx, ry, dy` of the geotransform.
    step: [f64; 4],
    pixel_is_point: bool,
    crs: Option<u32>,
    metadata: u32,
    file_nodata: Option<String>,
    /// `null`: none; one: for all bands; more: one a band.
    nodata: Option<Vec<Option<String>>>,
    overviews: Vec<[u32; 2]>,
    view: Option<SavedView>,
    priority: f64,
    overridden: bool,
    /// The headers are not all here: the file is opened again.
    reopen: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedView {
    window: Option<[u32; 4]>,
    bands: Option<Vec<Option<u32>>>,
    rescale: Option<Vec<[f64; 2]>>,
    ignore_mask: bool,
}

/// Whether a JSON text is an index: its first key says so.
pub(super) fn is_index(text: &str) -> bool {
    text.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with(KEY))
}

/// What an index in `folder` describes. Files are not looked at.
///
/// # Errors
/// [`FormatError::Text`] if it is none, or holds what no file has.
pub(super) fn read(text: &str, folder: &Path) -> Result<Entries> {
    let document: Document<'_> =
        serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    if document.smalti_index != VERSION {
        let found = document.smalti_index;
        return Err(bad(format!(
            "it is of version {found}, this program reads {VERSION}; make it again"
        )));
    }
    let crss = document.crs.iter().map(SavedCrs::load).collect::<Result<Vec<_>>>()?;
    let shared: Vec<Arc<Shared>> =
        document.metadata.into_iter().map(|shared| Arc::new(shared.load())).collect();
    let profiles = document.profiles.iter();
    let profiles = profiles.map(|p| p.load(&crss, &shared)).collect::<Result<Vec<_>>>()?;
    let mut list = Vec::with_capacity(document.sources.len());
    for (index, source) in document.sources.iter().enumerate() {
        let entry = source.load(&profiles, folder);
        list.push(entry.map_err(|error| bad(format!("source {}: {error}", index + 1)))?);
    }
    let grid = document.grid.map(|grid| grid.load(&crss)).transpose()?;
    let nodata = document.nodata.map(|text| Nodata::parse(&text)).transpose()?;
    Ok(Entries { list, hints: Hints { grid, nodata, dtype: None }, ..Entries::default() })
}

fn bad(reason: impl Into<String>) -> Error {
    FormatError::Text { what: "the index", reason: reason.into() }.into()
}

fn pick<'a, T>(list: &'a [T], index: u32, what: &str) -> Result<&'a T> {
    list.get(index as usize).ok_or_else(|| bad(format!("there is no {what} {index}")))
}
