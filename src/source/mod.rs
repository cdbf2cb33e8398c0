//! Sources: opened datasets, placed in a mosaic. Headers only; pixels come through [`blocks`].

pub mod blocks;
pub mod cache;
pub mod discover;
pub mod files;
pub mod open;
pub(crate) mod streams;

use std::path::Path;
use std::sync::Arc;

use crate::sample::{DataType, Nodata};
use crate::tiff::FileOf;
use crate::tiff::reader::Dataset;

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

/// A dataset with the nodata that holds for it in a mosaic.
#[derive(Debug, Clone)]
pub struct Source {
    /// The opened file.
    pub dataset: Arc<Dataset>,
    /// Its state when it was opened.
    pub stamp: FileStamp,
    /// The state of the files beside it that belong to it (`.ovr`, `.msk`).
    pub beside: Box<[(FileOf, FileStamp)]>,
    /// Its nodata, after `--src-nodata`.
    pub nodata: SourceNodata,
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

    /// Number of bands.
    pub fn bands(&self) -> u32 {
        self.dataset.image.bands
    }

    /// Whether every pixel is valid whatever its value: no nodata that the type can hold, no float
    /// (NaN), no mask, no alpha.
    pub fn is_opaque(&self) -> bool {
        let nodata = (0..self.bands())
            .any(|band| self.nodata.band(band).is_some_and(|value| value.fits(self.dtype())));
        !nodata
            && !self.dtype().is_float()
            && self.dataset.mask.is_none()
            && self.dataset.alpha_band().is_none()
    }
}
