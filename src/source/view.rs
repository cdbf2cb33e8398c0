//! What of a dataset is a source, where that is not all of it: a part of its pixels, some of its bands,
//! rescaled samples. Comes from manifests, VRTs and catalogues. Plain data; the engine obeys it.

use std::sync::Arc;

use crate::error::{Error, InputError, Result};
use crate::geometry::{Size, Window};

/// A linear change of samples: `value * scale + offset`, in f64, before conversion to the mosaic's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rescale {
    /// Factor.
    pub scale: f64,
    /// Summand.
    pub offset: f64,
}

impl Rescale {
    /// No change.
    pub const NONE: Rescale = Rescale { scale: 1.0, offset: 0.0 };

    /// The changed value.
    pub fn apply(self, value: f64) -> f64 {
        value * self.scale + self.offset
    }
}

/// Colours of a colour map.
const COLORS: u32 = 3;

/// What of a dataset is a source. The default is all of it, as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// The pixels of the dataset that are the source; no others are ever read for it, as taps of a
    /// kernel neither. All without one.
    pub window: Option<Window>,
    /// For each band of the source the band of the dataset, counted from 0; `None` for a band of which
    /// this source has no samples: all of them are invalid, but those of the mosaic's alpha band are
    /// opaque where the pixel is valid. All bands in order without one.
    pub bands: Option<Arc<[Option<u32>]>>,
    /// Change of the valid samples, by band of the source. Validity is judged before it.
    pub rescale: Option<Arc<[Rescale]>>,
    /// Internal mask and alpha of the dataset do not make pixels invalid.
    pub ignore_mask: bool,
    /// The bands are those of the dataset's colour map (0 red, 1 green, 2 blue), which its first band
    /// points into; all three without a band map. Validity is judged by the index.
    pub expand_palette: bool,
    /// The bands chosen above are only some of the source's, which has no samples of the others.
    pub among: Option<Among>,
}

/// Where the bands of a view stand among those of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Among {
    /// Band of the source that the first band of the view is, from 0.
    pub first: u32,
    /// Bands of the source.
    pub count: u32,
}

/// What a band of a source is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// This band of the dataset.
    Band(u32),
    /// This colour (0 red, 1 green, 2 blue) of what the first band of the dataset points to.
    Color(u32),
}

impl View {
    /// Whether it is all of the dataset, as it is.
    pub fn is_whole(&self) -> bool {
        *self == View::default()
    }

    /// Bands that the view has of a dataset of `bands` bands, those that it has none of included.
    pub fn band_count(&self, bands: u32) -> u32 {
        let all = if self.expand_palette { COLORS } else { bands };
        let own =
            self.bands.as_ref().map_or(all, |map| u32::try_from(map.len()).unwrap_or(u32::MAX));
        self.among.map_or(own, |among| among.count)
    }

    /// What a band of the source is made from; `None` where the source has no samples of it.
    pub fn pick(&self, band: u32, bands: u32) -> Option<Pick> {
        let band = self.own_band(band)?;
        let all = if self.expand_palette { COLORS } else { bands };
        let picked = match &self.bands {
            Some(map) => map.get(band as usize).copied().flatten(),
            None => (band < all).then_some(band),
        };
        picked.map(if self.expand_palette { Pick::Color } else { Pick::Band })
    }

    /// Change of a band of the source; `None` for none.
    pub fn rescale_of(&self, band: u32) -> Option<Rescale> {
        let rescale = self.rescale.as_ref()?.get(self.own_band(band)? as usize).copied();
        rescale.filter(|rescale| *rescale != Rescale::NONE)
    }

    /// Number within the view of a band of the source.
    fn own_band(&self, band: u32) -> Option<u32> {
        self.among.map_or(Some(band), |among| band.checked_sub(among.first))
    }

    /// Checks a view against the dataset that it is of.
    ///
    /// # Errors
    /// [`InputError::Option`] if the window does not lie in `size`, there is no band or one beyond
    /// `bands`, or the rescaling is not one finite change for each band.
    pub fn check(&self, size: Size, bands: u32) -> Result<()> {
        let refuse =
            |option, reason: String| Err(Error::from(InputError::Option { option, reason }));
        let inside = |window| size.window().is_some_and(|all| all.contains(window));
        if let Some(window) = self.window.filter(|window| !inside(*window)) {
            let Window { col, row, width, height } = window;
            let reason = format!(
                "{width} × {height} pixels from ({col}, {row}) do not lie in an image of {} × {}",
                size.width, size.height
            );
            return refuse("source window", reason);
        }
        let bands = if self.expand_palette { COLORS } else { bands };
        let own = self.bands.as_ref().map_or(bands as usize, |map| map.len());
        if own == 0 {
            return refuse("bands", "none are chosen".into());
        }
        let beyond = |band: &u32| *band >= bands;
        let mut map = self.bands.iter().flat_map(|map| map.iter().flatten());
        if let Some(band) = map.find(|band| beyond(band)) {
            return refuse("bands", format!("there is no band {}; the file has {bands}", band + 1));
        }
        let Some(rescale) = &self.rescale else { return Ok(()) };
        let finite = |r: &Rescale| r.scale.is_finite() && r.offset.is_finite();
        if rescale.len() != own || !rescale.iter().all(finite) {
            return refuse("scale and offset", format!("expected {own} finite pairs, one a band"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 100, height: 80 };

    #[test]
    fn a_view_must_lie_in_its_dataset() {
        let window = |col, row, width, height| View {
            window: Window::new(col, row, width, height),
            ..View::default()
        };
        assert!(window(0, 0, 100, 80).check(SIZE, 3).is_ok());
        assert!(window(99, 79, 1, 1).check(SIZE, 3).is_ok());
        assert!(window(99, 79, 2, 1).check(SIZE, 3).is_err());
        assert!(window(100, 0, 1, 1).check(SIZE, 3).is_err());
        let bands = |map: &[Option<u32>]| View { bands: Some(map.into()), ..View::default() };
        assert!(bands(&[Some(2), None, Some(2)]).check(SIZE, 3).is_ok());
        let error = bands(&[Some(3)]).check(SIZE, 3).unwrap_err();
        assert!(error.to_string().contains("no band 4"), "{error}");
        assert!(bands(&[]).check(SIZE, 3).is_err());
        let rescale = |count, scale| View {
            rescale: Some(vec![Rescale { scale, offset: 1.0 }; count].into()),
            ..View::default()
        };
        assert!(rescale(3, 0.1).check(SIZE, 3).is_ok());
        assert!(rescale(2, 0.1).check(SIZE, 3).is_err());
        assert!(rescale(3, f64::INFINITY).check(SIZE, 3).is_err());
        assert!(View::default().is_whole() && !window(0, 0, 1, 1).is_whole());
    }

    #[test]
    fn rescaling_multiplies_first() {
        assert_eq!(Rescale { scale: 0.5, offset: -3.0 }.apply(10.0), 2.0);
        assert_eq!(Rescale::NONE.apply(7.25), 7.25);
    }
}
