//! TIFF, BigTIFF and GeoTIFF: bytes of a file <-> headers, blocks of samples, and tags.
//!
//! ```text
//! header ─► directory (IFD) ─► tags ─┬─► Layout: where each block of pixels lies
//!                                    ├─► geotransform, CRS (GeoKeys)
//!                                    └─► nodata, colour, GDAL_METADATA
//! ```

pub mod aux_xml;
pub(crate) mod cog;
pub mod decode;
pub(crate) mod directory;
pub mod format;
pub mod gdal_metadata;
pub mod geokeys;
pub(crate) mod ifd;
pub(crate) mod images;
pub mod inventory;
pub mod layout;
pub(crate) mod nodata;
pub(crate) mod packed;
pub mod reader;
pub(crate) mod saved;
pub(crate) mod table;
pub(crate) mod tables;
pub mod tag;
pub mod writer;

/// A file of a dataset: the raster itself, or one that lies beside it (as GDAL names them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileOf {
    /// The raster.
    Main,
    /// `NAME.ovr`: its overviews.
    Overviews,
    /// `NAME.msk`: its mask, and the mask's overviews.
    Mask,
}

impl FileOf {
    /// What its name has behind that of the raster.
    pub fn suffix(self) -> &'static str {
        match self {
            FileOf::Main => "",
            FileOf::Overviews => ".ovr",
            FileOf::Mask => ".msk",
        }
    }
}
