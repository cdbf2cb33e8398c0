//! smalti
pub mod codec;
pub mod error;
pub mod geometry;
pub mod raster;
pub mod sample;
