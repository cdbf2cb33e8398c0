//! TIFF, BigTIFF and GeoTIFF: bytes of a file <-> headers, blocks of samples, and tags.
//!
//! ```text
//! header ─► directory (IFD) ─► tags ─┬─► Layout: where each block of pixels lies
//!                                    ├─► geotransform, CRS (GeoKeys)
//!                                    └─► nodata, colour, GDAL_METADATA
//! ```

pub(crate) mod cog;
pub(crate) mod directory;
pub mod gdal_metadata;
pub mod geokeys;
pub(crate) mod ifd;
pub mod layout;
pub mod reader;
pub(crate) mod saved;
pub(crate) mod tables;
pub mod tag;
pub mod writer;
