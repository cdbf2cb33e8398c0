//! What an index holds of sources.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::crs::Crs;
use crate::error::{Error, Result};
use crate::grid::Grid;
use crate::sample::Nodata;
use crate::source::relative::Namer;
use crate::source::{Source, SourceNodata, View};
use crate::tiff::FileOf;
use crate::tiff::format::Packing;
use crate::tiff::gdal_metadata::{BandMetadata, Item};
use crate::tiff::geokeys;
use crate::tiff::layout::Layout;
use crate::tiff::reader::Shared;

use super::{
    Document, Profile, SavedBand, SavedCrs, SavedGrid, SavedShared, SavedSource, SavedView,
    VERSION, bad,
};

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
}

fn items_of(items: &[Item]) -> Vec<[String; 3]> {
    items.iter().map(|i| [i.name.clone(), i.value.clone(), i.domain.clone()]).collect()
}
