//! Renders windows of a mosaic ([`Reader`]) and writes it as one GeoTIFF ([`write()`]).

pub mod budget;
mod canvas;
mod encode;
pub mod estimate;
mod journal;
mod layers;
mod origin;
mod overview;
mod paint;
pub mod passthrough;
mod provenance;
mod pyramid;
mod reduce;
mod render;
mod rows;
mod run;
mod sink;
mod spec;
pub mod stats;
mod tile;
mod write;

use crate::error::{Error, InputError, Result};
use crate::geometry::Window;
use crate::io::IoMode;
use crate::mosaic::Mosaic;
use crate::raster::{AnyRaster, Mask, Raster};
use crate::sample::Sample;
use crate::source::blocks::Blocks;
use crate::with_dtype;

pub use budget::MemoryLimit;
pub use reduce::OverviewKernel;
pub use write::{BigTiff, NodataClash, PredictorChoice, Report, WriteOptions, write, write_to};

use canvas::Canvas;
use paint::Uses;
use render::{RenderScratch, Renderer};

/// Reads windows of a mosaic, one at a time or from many threads.
///
/// Holds a cache of decoded blocks, so windows next to each other are cheap.
#[derive(Debug)]
pub struct Reader<'a> {
    mosaic: &'a Mosaic,
    blocks: Blocks<'a>,
}

impl<'a> Reader<'a> {
    /// A reader that keeps up to `cache_bytes` of decoded blocks.
    pub fn new(mosaic: &'a Mosaic, cache_bytes: u64, io: IoMode) -> Reader<'a> {
        Reader { mosaic, blocks: Blocks::new(mosaic.sources(), cache_bytes, 4, io) }
    }

    /// All bands of a window of the mosaic's grid, in the mosaic's type, and which samples are valid.
    /// Invalid samples hold the mosaic's nodata, or 0 if it has none (NaN where a float source has).
    ///
    /// # Examples
    /// ```
    /// use smalti::engine::Reader;
    /// use smalti::geometry::Window;
    /// use smalti::io::IoMode;
    /// use smalti::mosaic::{Mosaic, MosaicOptions};
    /// use smalti::source::{discover::discover, open};
    ///
    /// let paths = discover(&["fixtures/sources/relief_*.tif".into()])?;
    /// let opened = open::open_all(&paths, &open::OpenOptions::default(), &())?;
    /// let mosaic = Mosaic::new(opened.sources, &MosaicOptions::default())?;
    /// let reader = Reader::new(&mosaic, 64 << 20, IoMode::Auto);
    /// let window = Window::new(0, 0, 16, 8).expect("not empty");
    /// let (pixels, mask) = reader.read(window)?;
    /// assert_eq!(pixels.size().width, 16);
    /// assert!(mask.count_valid() <= 16 * 8 * u64::from(pixels.bands()));
    /// # Ok::<(), smalti::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InputError::Extent`] if the window does not lie in the grid; errors of the sources it needs.
    pub fn read(&self, window: Window) -> Result<(AnyRaster, Mask)> {
        let inside = self.mosaic.grid.size.window().is_some_and(|all| all.contains(window));
        if !inside {
            let size = self.mosaic.grid.size;
            let reason =
                format!("{window:?} does not lie in {} × {} pixels", size.width, size.height);
            return Err(Error::new(InputError::Extent(reason)));
        }
        with_dtype!(self.mosaic.dtype, T => self.read_as::<T>(window))
    }

    fn read_as<T: Sample>(&self, window: Window) -> Result<(AnyRaster, Mask)>
    where
        AnyRaster: From<Raster<T>>,
    {
        let renderer = Renderer {
            mosaic: self.mosaic,
            blocks: &self.blocks,
            uses: Uses::Unknown,
            shared: render::shares_validity(self.mosaic),
        };
        let mut canvas = Canvas::<T>::new();
        let mut scratch = RenderScratch::default();
        let bands = self.mosaic.bands;
        renderer.render(window, 0..bands, &mut canvas, &mut scratch, None)?;
        canvas.prepare_blank();
        let fill = self.mosaic.nodata.and_then(|v| v.as_sample::<T>()).unwrap_or(T::ZERO);
        let keeps_nan = canvas.keeps_nan;
        for index in 0..bands as usize {
            let (samples, valid) = canvas.band_mut(index);
            crate::composite::fill_invalid(samples, valid, fill, keeps_nan);
        }
        let size = window.size();
        let raster = Raster::from_samples(size, bands, canvas.samples);
        Ok((raster.into(), Mask::new(size, canvas.valid)))
    }
}
