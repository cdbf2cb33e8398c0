//! smalti
pub mod crs;
pub mod error;
pub mod geometry;
pub mod raster;
pub mod sample;
pub mod tiff;
