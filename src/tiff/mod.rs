//! TIFF files.
pub mod gdal_metadata;
pub mod geokeys;
