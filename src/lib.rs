//! Turns many overlapping GeoTIFFs into one, with flat memory, on every core, without GDAL.
//!
//! ```text
//! args ──► discover ──► open headers ──► Mosaic(grid + R-tree) ──► Plan ──► run_ordered ──► Writer ──► finish
//! cli      source       source           mosaic                   mosaic    engine  │        tiff       io
//!                                                                                   ▼ per output block, any thread
//!                                                        BlockCache ─► composite a layer ─► resample/warp it ─► composite layers ─► encode
//!                                                        source        pure kernels     pure         codec
//! ```
//!
//! # Code map, in reading order
//!
//! - [`error`], [`observer`], [`ordered`], [`io`], [`sample`], [`geometry`], [`raster`]: the words that
//!   everything else uses; they know nothing of rasters on disk.
//! - [`crs`], [`grid`], [`codec`], [`tiff`]: formats, bytes <-> values.
//! - [`source`]: inputs found, opened, and their blocks fetched, decoded and cached.
//! - [`resample`], [`warp`]: kernels, and where the pixels of another CRS lie.
//! - [`composite`]: rows of samples and their validity, and rules over all sources of a pixel.
//! - [`mosaic`]: the virtual mosaic (grid, sources, R-tree, order of blocks). No pixels.
//! - [`engine`]: renders windows of a mosaic, and writes it.
//!
//! # Invariants
//!
//! 1. No buffer holds a whole image.
//! 2. The output's bytes do not depend on the number of threads, nor on memory.
//! 3. On an error nothing appears at the destination.
//! 4. Headers are read once; pixels come through the cache only.
//! 5. Kernels never see a path, a nodata policy or a data type's tag.
//! 6. There is no global state.
//! 7. There is no `unsafe` but the memory map in [`io`].
//! 8. Every size that is read from a file meets a limit before anything is allocated for it.
//!
//! # Example
//!
//! ```
//! use smalti::engine::{self, MemoryLimit, WriteOptions};
//! use smalti::mosaic::{Mosaic, MosaicOptions};
//! use smalti::source::{discover::discover, open};
//!
//! # let folder = tempfile::tempdir()?;
//! # let output = folder.path().join("mosaic.tif");
//! let paths = discover(&["fixtures/sources/relief_*.tif".into()])?;
//! let opened = open::open_all(&paths, &open::OpenOptions::default(), &())?;
//! let mosaic = Mosaic::new(opened.sources, &MosaicOptions::default())?;
//! let options = WriteOptions { memory: MemoryLimit::Bytes(128 << 20), ..WriteOptions::default() };
//! let report = engine::write(&mosaic, &output, &options, &())?;
//! assert_eq!(report.stats.samples_invalid + report.bands[0].valid > 0, true);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod codec;
pub mod composite;
pub mod crs;
pub(crate) mod digest;
pub mod engine;
pub mod error;
pub mod geometry;
pub mod grid;
pub mod io;
pub mod mosaic;
pub mod observer;
pub mod ordered;
pub mod raster;
pub mod resample;
pub mod sample;
pub mod source;
pub mod tiff;
pub mod warp;

pub use error::{Error, ErrorKind, Result};
