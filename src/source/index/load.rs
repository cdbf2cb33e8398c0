//! From an index to sources.

use std::path::Path;
use std::sync::Arc;

use crate::crs::Crs;
use crate::error::Result;
use crate::geometry::{GeoTransform, Size, Window};
use crate::grid::Grid;
use crate::sample::Nodata;
use crate::source::entry::Entry;
use crate::source::{FileStamp, Rescale, Source, SourceNodata, View};
use crate::tiff::gdal_metadata::{BandMetadata, GdalMetadata, Item};
use crate::tiff::geokeys;
use crate::tiff::layout::Layout;
use crate::tiff::reader::{Color, Dataset, Overview, Shared};

use super::{
    Profile, SavedBand, SavedCrs, SavedGrid, SavedShared, SavedSource, SavedView, bad, pick,
};

impl SavedCrs {
    pub(super) fn load(&self) -> Result<Arc<Crs>> {
        let keys = geokeys::parse(&self.directory, &self.doubles, self.ascii.as_bytes())?;
        keys.crs.map(Arc::new).ok_or_else(|| bad("GeoKeys that describe no CRS"))
    }
}

impl SavedGrid {
    pub(super) fn load(&self, crss: &[Arc<Crs>]) -> Result<Grid> {
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

fn load_items(items: Vec<[String; 3]>) -> Vec<Item> {
    items.into_iter().map(|[name, value, domain]| Item { name, value, domain }).collect()
}

impl SavedShared {
    pub(super) fn load(self) -> Shared {
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
    pub(super) fn load(&self, image: &Layout) -> Result<View> {
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
pub(super) struct Loaded {
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
    pub(super) fn load(&self, crss: &[Arc<Crs>], shared: &[Arc<Shared>]) -> Result<Loaded> {
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
    pub(super) fn load(&self, profiles: &[Loaded], folder: &Path) -> Result<Entry> {
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
