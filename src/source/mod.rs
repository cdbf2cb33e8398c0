//! Sources: opened datasets, placed in a mosaic. Headers only; pixels come through [`blocks`].

pub mod blocks;
pub mod cache;
pub mod catalog;
pub mod discover;
pub mod entry;
pub mod files;
mod gti;
mod href;
pub mod index;
pub mod manifest;
mod mosaicjson;
pub mod open;
pub mod overview;
pub mod relative;
pub mod sort;
mod stac;
pub(crate) mod streams;

pub mod view;
mod vrt_flatten;
mod vrt_in;
mod xml;

use std::path::Path;
use std::sync::Arc;

use crate::geometry::{GeoTransform, Size, Window};
use crate::sample::{DataType, Nodata};
use crate::tiff::FileOf;
use crate::tiff::layout::Layout;
use crate::tiff::reader::Dataset;

pub use view::{Among, Pick, Rescale, View};

/// Nodata of a source, by band.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceNodata {
    /// None in any band.
    None,
    /// The same in all bands.
    All(Nodata),
    /// One for each band.
    Bands(Arc<[Option<Nodata>]>),
}

impl SourceNodata {
    /// The nodata of one band.
    pub fn band(&self, band: u32) -> Option<Nodata> {
        match self {
            SourceNodata::None => None,
            SourceNodata::All(value) => Some(*value),
            SourceNodata::Bands(values) => values.get(band as usize).copied().flatten(),
        }
    }
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Length in bytes.
    pub len: u64,
    /// Modification time in nanoseconds since 1970, 0 where unknown.
    pub modified_ns: i128,
    /// Device and inode, zeros where unknown.
    pub identity: (u64, u64),
}

/// A dataset as it is used in a mosaic: with the nodata that holds for it, and the part of it that
/// counts.
///
/// A CRS, a geotransform, or a scale and offset that a manifest gives in place of the file's own stand
/// in [`Source::dataset`]: what it says is what holds.
#[derive(Debug, Clone)]
pub struct Source {
    /// The opened file.
    pub dataset: Arc<Dataset>,
    /// Its state when it was opened.
    pub stamp: FileStamp,
    /// The state of the files beside it that belong to it (`.ovr`, `.msk`).
    pub beside: Box<[(FileOf, FileStamp)]>,
    /// Its nodata, after `--src-nodata`; by band of the source, not of the dataset.
    pub nodata: SourceNodata,
    /// The part of the dataset that is the source, its bands and their values; all of it, as it is,
    /// without one.
    pub view: Option<Arc<View>>,
    /// Where a manifest wants it in the stack: the higher, the further on top; 0 without a word.
    pub priority: f64,
    /// Something counts in place of what the file itself says.
    pub overridden: bool,
}

impl Source {
    /// Path as given.
    pub fn path(&self) -> &Path {
        &self.dataset.path
    }

    /// Type of the samples.
    pub fn dtype(&self) -> DataType {
        self.dataset.image.dtype
    }

    /// Type of the samples of the mosaic that the source alone would make: its own, but for what a
    /// view computes. Palettes hold colours of 8 bits; rescaled samples are floats that hold at least
    /// the digits of the file's.
    pub fn value_dtype(&self) -> DataType {
        use DataType::{F32, F64, I8, I16, U8, U16};
        let Some(view) = &self.view else { return self.dtype() };
        let own = if view.expand_palette { U8 } else { self.dtype() };
        match own {
            _ if view.rescale.is_none() => own,
            U8 | I8 | U16 | I16 | F32 => F32,
            _ if own.is_complex() => own,
            _ => F64,
        }
    }

    /// Number of bands, after the band map.
    pub fn bands(&self) -> u32 {
        let own = self.dataset.image.bands;
        self.view.as_ref().map_or(own, |view| view.band_count(own))
    }

    /// What a band of the source is made from; `None` where the source has no samples of that band.
    pub fn pick(&self, band: u32) -> Option<Pick> {
        let own = self.dataset.image.bands;
        match &self.view {
            Some(view) => view.pick(band, own),
            None => (band < own).then_some(Pick::Band(band)),
        }
    }

    /// The band of the dataset that a band of the source is made from; `None` where the source has no
    /// samples of that band.
    pub fn dataset_band(&self, band: u32) -> Option<u32> {
        self.pick(band).map(|pick| match pick {
            Pick::Band(band) => band,
            Pick::Color(_) => 0,
        })
    }

    /// The pixels of the dataset that are the source.
    pub fn window(&self) -> Window {
        let Size { width, height } = self.dataset.image.size;
        let all = Window { col: 0, row: 0, width, height };
        self.view.as_ref().and_then(|view| view.window).unwrap_or(all)
    }

    /// Width and height in pixels: those of [`Source::window`].
    pub fn size(&self) -> Size {
        self.window().size()
    }

    /// Pixel corners of [`Source::window`] to world.
    pub fn transform(&self) -> GeoTransform {
        let Window { col, row, .. } = self.window();
        if (col, row) == (0, 0) {
            return self.dataset.transform;
        }
        self.dataset.transform.shifted(f64::from(col), f64::from(row))
    }

    /// What is done to the valid samples of a band when they are read; `None` for nothing.
    pub fn rescale(&self, band: u32) -> Option<Rescale> {
        self.view.as_ref()?.rescale_of(band)
    }

    /// Whether a band is the dataset's alpha, where that counts.
    pub fn is_alpha(&self, band: u32) -> bool {
        self.alpha_band().is_some_and(|alpha| self.pick(band) == Some(Pick::Band(alpha)))
    }

    /// The dataset's internal mask, where it counts.
    pub fn mask(&self) -> Option<&Layout> {
        if self.ignores_mask() { None } else { self.dataset.mask.as_deref() }
    }

    /// Band of the dataset that is its alpha, where it counts; it need not be a band of the source.
    pub fn alpha_band(&self) -> Option<u32> {
        if self.ignores_mask() { None } else { self.dataset.alpha_band() }
    }

    fn ignores_mask(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.ignore_mask)
    }

    /// Whether a band has a nodata that its samples can equal.
    pub fn has_nodata(&self) -> bool {
        let fits = |value: &Nodata| value.fits(self.dtype());
        match &self.nodata {
            SourceNodata::None => false,
            SourceNodata::All(value) => fits(value),
            SourceNodata::Bands(values) => values.iter().flatten().any(fits),
        }
    }

    /// Whether it has samples of all its bands, but for one that is alpha in others.
    pub fn has_all_bands(&self, alpha: Option<u32>) -> bool {
        let Some(view) = self.view.as_ref().filter(|v| v.bands.is_some() || v.among.is_some())
        else {
            return true;
        };
        view.among.is_none()
            && (0..self.bands()).all(|band| self.pick(band).is_some() || alpha == Some(band))
    }

    /// Whether every pixel is valid whatever its value: no nodata that the type can hold, no float
    /// (NaN), no mask, no alpha, no band left out.
    pub fn is_opaque(&self) -> bool {
        !self.has_nodata()
            && self.has_all_bands(None)
            && !self.dtype().is_float()
            && self.mask().is_none()
            && self.alpha_band().is_none()
    }
}
