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

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::crs::Crs;
use crate::error::{Error, FormatError, Result};
use crate::geometry::{GeoTransform, Size, Window};
use crate::grid::Grid;
use crate::sample::Nodata;
use crate::source::entry::{Entries, Entry, Hints};
use crate::source::relative::Namer;
use crate::source::{FileStamp, Rescale, Source, SourceNodata, View};
use crate::tiff::FileOf;
use crate::tiff::format::Packing;
use crate::tiff::gdal_metadata::{BandMetadata, GdalMetadata, Item};
use crate::tiff::geokeys;
use crate::tiff::layout::Layout;
use crate::tiff::reader::{Color, Dataset, Overview, Shared};
use crate::tiff::saved::Shape;

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

/// The text of an index.
///
/// # Errors
/// [`crate::error::Unsupported`] for a path that is not UTF-8; I/O errors of the sources' folders.
pub fn write(
    sources: &[Source],
    grid: Option<&Grid>,
    nodata: Option<Nodata>,
    namer: &mut Namer,
) -> Result<String> {
    let mut writer = Writer::default();
    let mut saved = Vec::with_capacity(sources.len());
    for source in sources {
        saved.push(writer.source(source, namer)?);
    }
    let grid = grid.map(|grid| SavedGrid {
        crs: writer.crs(grid.crs.as_ref()),
        transform: grid.transform.coefficients(),
        size: [grid.size.width, grid.size.height],
    });
    let document = Document {
        smalti_index: VERSION,
        program: concat!("smalti ", env!("CARGO_PKG_VERSION")).into(),
        grid,
        nodata: nodata.map(|value| value.to_string()),
        crs: writer.crss,
        metadata: writer.metadata,
        profiles: writer.profiles,
        sources: saved,
    };
    let text = serde_json::to_string(&document).map_err(|error| bad(error.to_string()))?;
    // One source a line, so that people and version control can read it.
    Ok(text.replacen("\"sources\":[[", "\"sources\":[\n[", 1).replace("],[\"", "],\n[\"") + "\n")
}

/// What is written once for all sources that share it.
#[derive(Default)]
struct Writer {
    crss: Vec<SavedCrs>,
    crs_of: HashMap<Arc<Crs>, u32>,
    metadata: Vec<SavedShared>,
    /// By address: sources that were opened together share what is equal.
    metadata_of: HashMap<*const Shared, u32>,
    profiles: Vec<Profile>,
    /// By the profile's own text.
    profile_of: HashMap<String, u32>,
}

impl Writer {
    fn crs(&mut self, crs: Option<&Arc<Crs>>) -> Option<u32> {
        let crs = crs?;
        if let Some(index) = self.crs_of.get(crs) {
            return Some(*index);
        }
        let tags = geokeys::tags_of(Some(crs), false);
        let ascii = String::from_utf8_lossy(&tags.ascii).into_owned();
        self.crss.push(SavedCrs { directory: tags.directory, doubles: tags.doubles, ascii });
        let index = self.crss.len() as u32 - 1;
        self.crs_of.insert(Arc::clone(crs), index);
        Some(index)
    }

    fn metadata(&mut self, shared: &Arc<Shared>) -> u32 {
        let address = Arc::as_ptr(shared);
        let next = self.metadata.len() as u32;
        let index = *self.metadata_of.entry(address).or_insert(next);
        if index == next {
            self.metadata.push(SavedShared::new(shared));
        }
        index
    }

    fn source<'a>(&mut self, source: &Source, namer: &mut Namer) -> Result<SavedSource<'a>> {
        let dataset = &*source.dataset;
        let [x0, dx, rx, y0, ry, dy] = dataset.transform.coefficients();
        let mut numbers = Vec::new();
        let text = |value: Nodata| value.to_string();
        let reopen = !is_plain(source);
        if source.view.as_ref().is_some_and(|v| v.expand_palette || v.among.is_some()) {
            let feature = "an index of expanded palettes or of bands that are separate";
            let hint = "index the inputs as they are, and say it to smalti mosaic";
            return Err(Error::unsupported(feature, hint).with_path(source.path()));
        }
        if reopen && (source.view.is_some() || source.overridden) {
            let feature = "an index of a part or a change of a file of this kind";
            let hint = "write it as a GeoTIFF of its own, e.g. smalti mosaic";
            return Err(Error::unsupported(feature, hint).with_path(source.path()));
        }
        let profile = Profile {
            image: dataset.image.save(&mut numbers),
            mask: dataset.mask.as_ref().map(|mask| mask.save(&mut numbers)),
            step: [dx, rx, ry, dy],
            pixel_is_point: dataset.pixel_is_point,
            crs: self.crs(dataset.crs.as_ref()),
            metadata: self.metadata(&dataset.shared),
            file_nodata: dataset.nodata.map(text),
            nodata: match &source.nodata {
                SourceNodata::None => None,
                SourceNodata::All(value) => Some(vec![Some(text(*value))]),
                SourceNodata::Bands(values) => Some(values.iter().map(|v| v.map(text)).collect()),
            },
            overviews: dataset.overviews.iter().map(|o| [o.size.width, o.size.height]).collect(),
            view: source.view.as_deref().map(SavedView::new),
            priority: source.priority,
            overridden: source.overridden,
            reopen,
        };
        let key = serde_json::to_string(&profile).map_err(|error| bad(error.to_string()))?;
        let next = self.profiles.len() as u32;
        let index = *self.profile_of.entry(key).or_insert(next);
        if index == next {
            self.profiles.push(profile);
        }
        let (name, _) = namer.name(source.path())?;
        let stamp = &source.stamp;
        let modified = i64::try_from(stamp.modified_ns).unwrap_or(0);
        let name = Cow::Owned(name);
        Ok(SavedSource(name, stamp.len, modified, index, x0, y0, dataset.date_time, numbers))
    }
}

/// Whether the headers of a source are all that an index can hold: no files beside it, nothing that a
/// codec must know, samples as in memory.
fn is_plain(source: &Source) -> bool {
    let dataset = &source.dataset;
    let plain = |layout: &Layout| {
        layout.params.is_none()
            && layout.compression.is_basic()
            && layout.file == FileOf::Main
            && (layout.packing == Packing::Whole || layout.bits == 1)
    };
    plain(&dataset.image)
        && dataset.image.packing == Packing::Whole
        && dataset.mask.as_deref().is_none_or(plain)
        && source.beside.is_empty()
        && dataset.unplaced.is_none()
        && dataset.band_nodata.is_none()
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

impl SavedCrs {
    fn load(&self) -> Result<Arc<Crs>> {
        let keys = geokeys::parse(&self.directory, &self.doubles, self.ascii.as_bytes())?;
        keys.crs.map(Arc::new).ok_or_else(|| bad("GeoKeys that describe no CRS"))
    }
}

impl SavedGrid {
    fn load(&self, crss: &[Arc<Crs>]) -> Result<Grid> {
        let [width, height] = self.size;
        if !self.size.iter().all(|side| (1..=i32::MAX as u32).contains(side)) {
            return Err(bad("a grid without pixels, or with too many"));
        }
        let transform = GeoTransform::new(self.transform)?;
        if !transform.is_north_up() {
            return Err(bad("a grid that is not north-up"));
        }
        let crs = self.crs.map(|index| pick(crss, index, "CRS").cloned()).transpose()?;
        Ok(Grid { crs, transform, size: Size { width, height } })
    }
}

fn items_of(items: &[Item]) -> Vec<[String; 3]> {
    items.iter().map(|i| [i.name.clone(), i.value.clone(), i.domain.clone()]).collect()
}

fn load_items(items: Vec<[String; 3]>) -> Vec<Item> {
    items.into_iter().map(|[name, value, domain]| Item { name, value, domain }).collect()
}

impl SavedShared {
    fn new(shared: &Shared) -> SavedShared {
        let Shared { color, metadata } = shared;
        let band = |band: &BandMetadata| SavedBand {
            description: band.description.clone(),
            scale: band.scale,
            offset: band.offset,
            unit: band.unit.clone(),
            color: band.color.clone(),
            items: items_of(&band.items),
        };
        SavedShared {
            photometric: color.photometric,
            extra_samples: color.extra_samples.clone(),
            palette: color.palette.as_deref().cloned(),
            items: items_of(&metadata.items),
            bands: metadata.bands.iter().map(band).collect(),
        }
    }

    fn load(self) -> Shared {
        let band = |band: SavedBand| BandMetadata {
            description: band.description,
            scale: band.scale,
            offset: band.offset,
            unit: band.unit,
            color: band.color,
            items: load_items(band.items),
        };
        Shared {
            color: Color {
                photometric: self.photometric,
                extra_samples: self.extra_samples,
                palette: self.palette.map(Arc::new),
            },
            metadata: GdalMetadata {
                items: load_items(self.items),
                bands: self.bands.into_iter().map(band).collect(),
            },
        }
    }
}

impl SavedView {
    fn new(view: &View) -> SavedView {
        SavedView {
            window: view.window.map(|w| [w.col, w.row, w.width, w.height]),
            bands: view.bands.as_ref().map(|bands| bands.to_vec()),
            rescale: view.rescale.as_ref().map(|r| r.iter().map(|r| [r.scale, r.offset]).collect()),
            ignore_mask: view.ignore_mask,
        }
    }

    fn load(&self, image: &Layout) -> Result<View> {
        let window = match self.window {
            None => None,
            Some([col, row, width, height]) => Some(
                Window::new(col, row, width, height)
                    .ok_or_else(|| bad("a window without pixels"))?,
            ),
        };
        let rescale = |list: &Vec<[f64; 2]>| -> Arc<[Rescale]> {
            list.iter().map(|[scale, offset]| Rescale { scale: *scale, offset: *offset }).collect()
        };
        let view = View {
            window,
            bands: self.bands.as_deref().map(Into::into),
            rescale: self.rescale.as_ref().map(rescale),
            ignore_mask: self.ignore_mask,
            ..View::default()
        };
        view.check(image.size, image.bands)?;
        Ok(view)
    }
}

/// A profile that was checked.
struct Loaded {
    /// Everything but path, length, position, date and tables.
    dataset: Dataset,
    step: [f64; 4],
    nodata: SourceNodata,
    view: Option<Arc<View>>,
    priority: f64,
    overridden: bool,
    reopen: bool,
}

impl Profile {
    fn load(&self, crss: &[Arc<Crs>], shared: &[Arc<Shared>]) -> Result<Loaded> {
        let image = Layout::load(&self.image)?;
        let mask = self.mask.as_ref().map(Layout::load).transpose()?;
        let fits = |mask: &Layout| mask.size == image.size && mask.bands == 1;
        if mask.as_ref().is_some_and(|mask| !fits(mask)) {
            return Err(bad("a mask that is not one of its image"));
        }
        let parse = |text: &String| Nodata::parse(text);
        let bands = |values: &[Option<String>]| -> Result<SourceNodata> {
            let values = values.iter().map(|v| v.as_ref().map(parse).transpose());
            Ok(SourceNodata::Bands(values.collect::<Result<Vec<_>>>()?.into()))
        };
        let nodata = match self.nodata.as_deref() {
            None | Some([]) => SourceNodata::None,
            Some([Some(one)]) => SourceNodata::All(parse(one)?),
            Some(many) => bands(many)?,
        };
        let [dx, rx, ry, dy] = self.step;
        let view = self.view.as_ref().map(|view| view.load(&image)).transpose()?;
        let shared = Arc::clone(pick(shared, self.metadata, "metadata")?);
        let palette = shared.color.palette.as_ref();
        if palette.is_some_and(|palette| image.bands != 1 || palette.len() % 3 != 0) {
            return Err(bad("a palette that is not one of its image"));
        }
        let dataset = Dataset {
            path: Default::default(),
            file_len: 0,
            mask: mask.map(Box::new),
            transform: GeoTransform::new([0.0, dx, rx, 0.0, ry, dy])?,
            pixel_is_point: self.pixel_is_point,
            crs: self.crs.map(|index| pick(crss, index, "CRS").cloned()).transpose()?,
            nodata: self.file_nodata.as_ref().map(parse).transpose()?,
            shared,
            overviews: self
                .overviews
                .iter()
                .map(|[width, height]| Overview {
                    size: Size { width: *width, height: *height },
                    layouts: None,
                })
                .collect(),
            date_time: None,
            image,
            unplaced: None,
            band_nodata: None,
            oddities: Box::default(),
        };
        Ok(Loaded {
            dataset,
            step: self.step,
            nodata,
            view: view.map(Arc::new),
            priority: if self.priority.is_finite() { self.priority } else { 0.0 },
            overridden: self.overridden,
            reopen: self.reopen,
        })
    }
}

impl SavedSource<'_> {
    fn load(&self, profiles: &[Loaded], folder: &Path) -> Result<Entry> {
        let SavedSource(name, len, modified, profile, x0, y0, date_time, numbers) = self;
        let profile = pick(profiles, *profile, "profile")?;
        if name.is_empty() {
            return Err(bad("it has no path"));
        }
        let path = folder.join(&**name);
        if profile.reopen {
            return Ok(Entry { path, overrides: None, saved: None });
        }
        let own = &profile.dataset;
        let mut numbers = numbers.as_slice();
        let [dx, rx, ry, dy] = profile.step;
        let image = own.image.with_tables(&mut numbers, *len)?;
        let mask = match &own.mask {
            Some(mask) => Some(Box::new(mask.with_tables(&mut numbers, *len)?)),
            None => None,
        };
        if !numbers.is_empty() {
            return Err(bad("more block tables than images"));
        }
        let dataset = Dataset {
            path: path.clone(),
            file_len: *len,
            image,
            mask,
            transform: GeoTransform::new([*x0, dx, rx, *y0, ry, dy])?,
            pixel_is_point: own.pixel_is_point,
            crs: own.crs.clone(),
            nodata: own.nodata,
            shared: Arc::clone(&own.shared),
            overviews: own.overviews.clone(),
            date_time: *date_time,
            unplaced: None,
            band_nodata: None,
            oddities: Box::default(),
        };
        let source = Source {
            dataset: Arc::new(dataset),
            stamp: FileStamp { len: *len, modified_ns: i128::from(*modified), identity: (0, 0) },
            beside: Box::default(),
            nodata: profile.nodata.clone(),
            view: profile.view.clone(),
            priority: profile.priority,
            overridden: profile.overridden,
        };
        Ok(Entry { path, overrides: None, saved: Some(Box::new(source)) })
    }
}
