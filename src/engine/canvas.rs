//! Samples and validity of a window while it is painted.

use std::ops::Range;

use crate::composite;
use crate::engine::origin::Origins;
use crate::geometry::Window;
use crate::sample::Sample;

/// Samples and validity of a window; some of the mosaic's bands.
#[derive(Debug)]
pub(crate) struct Canvas<T> {
    pub(crate) window: Window,
    pub(crate) bands: Range<u32>,
    /// Index `(band - bands.start) * pixels + row * width + col`.
    pub(crate) samples: Vec<T>,
    /// One plane for each band, or one for all; 1 where valid.
    pub(crate) valid: Vec<u8>,
    pub(super) shared: bool,
    /// Samples of all planes that are not valid yet.
    pub(super) left: u64,
    /// NaN may stand where nothing is valid.
    pub(crate) keeps_nan: bool,
    /// Computed samples that were too large or too small for the type.
    pub(crate) saturated: u64,
    /// Whether the mosaic lets it.
    pub(super) may_keep_nan: bool,
    /// Where samples come from, if that is asked for.
    pub(super) origins: Option<Origins>,
    blank: bool,
}

impl<T: Sample> Canvas<T> {
    pub(crate) fn new() -> Canvas<T> {
        let window = Window { col: 0, row: 0, width: 1, height: 1 };
        Canvas {
            window,
            bands: 0..0,
            samples: Vec::new(),
            valid: Vec::new(),
            shared: true,
            left: 0,
            keeps_nan: false,
            saturated: 0,
            may_keep_nan: true,
            origins: None,
            blank: true,
        }
    }

    /// A canvas that no source has touched. Has no memory behind it until [`Canvas::prepare`].
    pub(super) fn restart(&mut self, window: Window, bands: Range<u32>, shared: bool) {
        let planes = if shared { 1 } else { bands.len() as u64 };
        self.left = window.pixels() * planes;
        (self.window, self.bands, self.shared) = (window, bands, shared);
        (self.keeps_nan, self.saturated, self.blank) = (false, 0, true);
    }

    /// Makes the samples and an all-invalid mask, before the first source.
    pub(super) fn prepare(&mut self) {
        self.blank = false;
        let pixels = self.pixels();
        // What is there from before is written over, or filled where nothing is valid; but an old NaN
        // could pass for one that a source has, where such stay.
        if self.may_keep_nan {
            self.samples.clear();
        }
        self.samples.resize(pixels * self.bands.len(), T::ZERO);
        self.valid.clear();
        self.valid.resize(self.left as usize, 0);
        if let Some(origins) = &mut self.origins {
            origins.clear(pixels, self.bands.len(), self.valid.len() / pixels);
        }
    }

    /// The same for a canvas that stays blank: for those who want its samples all the same.
    pub(crate) fn prepare_blank(&mut self) {
        if self.blank {
            self.prepare();
            self.blank = true;
        }
    }

    /// Makes it hold finished samples; `None` is a canvas that stays blank.
    pub(crate) fn load(
        &mut self,
        window: Window,
        bands: Range<u32>,
        planes: usize,
        finished: Option<(&[T], &[u8])>,
        keeps_nan: bool,
    ) {
        self.restart(window, bands, planes == 1);
        let Some((samples, valid)) = finished else { return };
        (self.blank, self.keeps_nan) = (false, keeps_nan);
        self.samples.clear();
        self.samples.extend_from_slice(samples);
        self.valid.clear();
        self.valid.extend_from_slice(valid);
        self.left -= composite::count_valid(valid);
    }

    /// Whether no source left anything here; then there are no samples either.
    pub(crate) fn is_blank(&self) -> bool {
        self.blank
    }

    /// Whether validity is one plane for all bands.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whether no sample is valid.
    pub(crate) fn is_empty(&self) -> bool {
        self.left == self.valid.len() as u64
    }

    pub(super) fn pixels(&self) -> usize {
        self.window.pixels() as usize
    }

    /// The plane of validity of the `index`-th band here.
    pub(crate) fn valid_of(&self, index: usize) -> &[u8] {
        let plane = if self.shared { 0 } else { index };
        &self.valid[plane * self.pixels()..][..self.pixels()]
    }

    /// The samples of the `index`-th band here, and their validity.
    pub(crate) fn band_mut(&mut self, index: usize) -> (&mut [T], &[u8]) {
        let pixels = self.pixels();
        let plane = if self.shared { 0 } else { index };
        (&mut self.samples[index * pixels..][..pixels], &self.valid[plane * pixels..][..pixels])
    }

    /// Whether every sample of all planes in a part of the window is valid.
    pub(super) fn is_full(&self, part: Window) -> bool {
        if self.is_blank() || self.is_empty() {
            return false;
        }
        (0..self.valid.len() / self.pixels()).all(|plane| {
            (part.row..part.row_end()).all(|row| {
                let at = plane * self.pixels() + self.index(part.col, row);
                self.valid[at..at + part.width as usize].iter().all(|v| *v != 0)
            })
        })
    }

    pub(super) fn index(&self, col: u32, row: u32) -> usize {
        (row - self.window.row) as usize * self.window.width as usize
            + (col - self.window.col) as usize
    }
}
