//! What the user named, one entry a source: a path, and what a manifest or catalogue says about it in
//! place of the file.

use std::path::PathBuf;
use std::sync::Arc;

use crate::crs::Crs;
use crate::error::{Error, InputError, Result};
use crate::geometry::GeoTransform;
use crate::grid::Grid;
use crate::sample::{DataType, Nodata};
use crate::source::{Source, SourceNodata, View};
use crate::tiff::gdal_metadata::BandMetadata;

/// A source that is to be opened.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Its file.
    pub path: PathBuf,
    /// What is said about it, where anything is.
    pub overrides: Option<Box<Overrides>>,
    /// Its headers, where an index holds them; they count while the file is as it was.
    pub saved: Option<Box<Source>>,
}

impl Entry {
    /// A file of which nothing is said.
    pub fn new(path: PathBuf) -> Entry {
        Entry { path, ..Entry::default() }
    }
}

/// What counts in place of what a file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Nodata: one value, or one for each band of the source.
    pub nodata: Option<SourceNodata>,
    /// CRS; nothing is reprojected.
    pub crs: Option<Arc<Crs>>,
    /// Pixel corners of the whole dataset to world.
    pub transform: Option<GeoTransform>,
    /// Scale: one value, or one for each band of the source.
    pub scale: Vec<f64>,
    /// Offset: one value, or one for each band of the source.
    pub offset: Vec<f64>,
    /// Place in the stack: the higher, the further on top.
    pub priority: Option<f64>,
    /// What of the dataset is the source.
    pub view: View,
}

/// What a descriptor of a whole mosaic says about the output, where options do not.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// The grid.
    pub grid: Option<Grid>,
    /// Output nodata.
    pub nodata: Option<Nodata>,
    /// Output type.
    pub dtype: Option<DataType>,
}

/// What is to be opened, in order.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// Bottom to top.
    pub list: Vec<Entry>,
    /// Of the one descriptor that was named; nothing if there were other inputs.
    pub hints: Hints,
    /// Lists and descriptors that were named.
    pub descriptors: Vec<PathBuf>,
    /// Descriptors that those name.
    pub nested: Vec<PathBuf>,
}

impl Overrides {
    /// The source with what is said here in place of what its file says.
    ///
    /// # Errors
    /// [`InputError::Option`] if a band, window or number of values does not fit the file.
    pub fn apply(&self, source: Source) -> Result<Source> {
        let Source { dataset, stamp, beside, nodata, .. } = source;
        let image = &dataset.image;
        let mut view = self.view.clone();
        // Descriptors may name more pixels than there are, as GDAL allows.
        let cut =
            |window| image.size.window().and_then(|all| all.intersection(window)).unwrap_or(window);
        view.window = view.window.map(cut).filter(|window| Some(*window) != image.size.window());
        view.check(image.size, image.bands)?;
        let identity =
            |map: &Arc<[Option<u32>]>| map.iter().copied().eq((0..image.bands).map(Some));
        if view.bands.as_ref().is_some_and(identity) {
            view.bands = None;
        }
        if dataset.mask.is_none() && dataset.alpha_band().is_none() {
            view.ignore_mask = false;
        }
        // Usually the only reference: nobody else has seen this dataset yet.
        let mut dataset = Arc::unwrap_or_clone(dataset);
        if let Some(crs) = &self.crs {
            dataset.crs = Some(Arc::clone(crs));
        }
        if let Some(transform) = self.transform {
            dataset.transform = transform;
        }
        let mut source = Source {
            dataset: Arc::new(dataset),
            stamp,
            beside,
            nodata: self.nodata.clone().unwrap_or(nodata),
            view: (!view.is_whole()).then(|| Arc::new(view)),
            priority: self.priority.unwrap_or(0.0),
            overridden: true,
        };
        if let SourceNodata::Bands(values) = &source.nodata {
            fit("nodata", values.len(), source.bands())?;
        }
        self.set_scale(&mut source)?;
        Ok(source)
    }

    fn set_scale(&self, source: &mut Source) -> Result<()> {
        let bands = source.bands();
        let pick = |what, values: &[f64], band: u32| -> Result<Option<f64>> {
            match values {
                [] => Ok(None),
                [one] => Ok(Some(*one)),
                many => {
                    fit(what, many.len(), bands)?;
                    Ok(many.get(band as usize).copied())
                }
            }
        };
        if self.scale.is_empty() && self.offset.is_empty() {
            return Ok(());
        }
        let mut dataset = (*source.dataset).clone();
        let mut shared = (*dataset.shared).clone();
        for band in 0..bands {
            let Some(own) = source.dataset_band(band) else { continue };
            let list = &mut shared.metadata.bands;
            if list.len() <= own as usize {
                list.resize_with(own as usize + 1, BandMetadata::default);
            }
            let facts = &mut list[own as usize];
            facts.scale = pick("scale", &self.scale, band)?.or(facts.scale);
            facts.offset = pick("offset", &self.offset, band)?.or(facts.offset);
        }
        dataset.shared = Arc::new(shared);
        source.dataset = Arc::new(dataset);
        Ok(())
    }
}

fn fit(option: &'static str, values: usize, bands: u32) -> Result<()> {
    if values == bands as usize {
        return Ok(());
    }
    let reason = format!("{values} values for {bands} bands; give one, or one for each");
    Err(Error::new(InputError::Option { option, reason }))
}
