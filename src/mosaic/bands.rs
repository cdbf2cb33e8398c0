//! What the bands of a mosaic are made from: gives each source the view that makes its bands those of
//! all others (SPEC §5.5). Selection and order, a band for each source, alpha that only some have,
//! palettes, scale and offset.

use std::sync::Arc;

use crate::error::{Error, InputError, Result, ResultExt};
use crate::mosaic::{MosaicOptions, mismatch};
use crate::sample::{DataType, Nodata};
use crate::source::{Among, Pick, Rescale, Source, SourceNodata, View};

/// Most bands of a TIFF: its count of samples has 16 bits.
const MOST_BANDS: usize = 65_535;

/// Alpha of an opaque pixel, as gdalwarp writes it: the largest value of 8- and 16-bit types, else 255.
pub fn opaque_alpha(dtype: DataType) -> f64 {
    match dtype {
        DataType::U16 => f64::from(u16::MAX),
        DataType::I16 => f64::from(i16::MAX),
        DataType::I8 => f64::from(i8::MAX),
        _ => 255.0,
    }
}

/// Gives the sources their views.
///
/// # Errors
/// [`InputError::Mismatch`] if they have different numbers of bands; [`InputError::Option`] for bands
/// that are not there.
pub(super) fn arrange(sources: &mut [Source], options: &MosaicOptions) -> Result<()> {
    for source in sources.iter() {
        let image = &source.dataset.image;
        let checked = source.view.as_ref().map_or(Ok(()), |v| v.check(image.size, image.bands));
        checked.at(source.path())?;
    }
    let mut views = Views::default();
    if options.expand_palette {
        for source in sources.iter_mut().filter(|source| has_palette(source)) {
            views.change(source, |view| {
                (view.expand_palette, view.bands) = (true, None);
            });
        }
    }
    match (&options.bands, options.separate) {
        (chosen, true) => separate(sources, chosen.as_deref().unwrap_or(&[0]), &mut views)?,
        (Some(chosen), false) => {
            let alphas = alpha_bands(sources);
            for source in sources.iter_mut() {
                select(source, chosen, &alphas, &mut views)?;
            }
        }
        (None, false) => share_alpha(sources, &mut views)?,
    }
    if options.unscale {
        sources.iter_mut().for_each(|source| unscale(source, &mut views));
    }
    Ok(())
}

/// Whether the samples are indices of a palette.
fn has_palette(source: &Source) -> bool {
    source.dataset.shared.color.palette.is_some()
        && source.bands() == 1
        && source.pick(0) == Some(Pick::Band(0))
}

/// Makes views, equal ones shared: a mosaic has many sources of few kinds.
#[derive(Default)]
struct Views {
    recent: Vec<Arc<View>>,
}

impl Views {
    const MOST_KINDS: usize = 16;

    fn change(&mut self, source: &mut Source, change: impl FnOnce(&mut View)) {
        let mut view = source.view.as_deref().cloned().unwrap_or_default();
        change(&mut view);
        source.view = if view.is_whole() { None } else { Some(self.share(view)) };
    }

    fn share(&mut self, view: View) -> Arc<View> {
        if let Some(found) = self.recent.iter().rev().find(|other| ***other == view) {
            return Arc::clone(found);
        }
        if self.recent.len() == Views::MOST_KINDS {
            self.recent.remove(0);
        }
        let view = Arc::new(view);
        self.recent.push(Arc::clone(&view));
        view
    }
}

/// Takes bands of a source in an order; `None` for a band that it has no samples of.
fn take(source: &mut Source, bands: &[Option<u32>], views: &mut Views) {
    let unchanged = bands.iter().enumerate().all(|(at, band)| *band == Some(at as u32));
    if unchanged && bands.len() == source.bands() as usize {
        return;
    }
    let picks: Vec<Option<u32>> = bands
        .iter()
        .map(|band| match source.pick((*band)?)? {
            Pick::Band(band) | Pick::Color(band) => Some(band),
        })
        .collect();
    let rescale = source.view.as_ref().and_then(|view| view.rescale.as_ref()).map(|_| {
        let of = |band: &Option<u32>| band.and_then(|band| source.rescale(band));
        bands.iter().map(|band| of(band).unwrap_or(Rescale::NONE)).collect()
    });
    if let SourceNodata::Bands(_) = source.nodata {
        let of = |band: &Option<u32>| band.and_then(|band| source.nodata.band(band));
        source.nodata = by_band(bands.iter().map(of).collect());
    }
    views.change(source, |view| {
        (view.bands, view.rescale, view.among) = (Some(picks.into()), rescale, None);
    });
}

fn by_band(values: Vec<Option<Nodata>>) -> SourceNodata {
    match values.first() {
        None | Some(None) if values.iter().all(Option::is_none) => SourceNodata::None,
        Some(Some(first)) if values.iter().all(|value| *value == Some(*first)) => {
            SourceNodata::All(*first)
        }
        _ => SourceNodata::Bands(values.into()),
    }
}

/// Bands that are the alpha of some source.
fn alpha_bands(sources: &[Source]) -> Vec<u32> {
    let mut bands: Vec<u32> = sources.iter().filter_map(own_alpha).collect();
    bands.sort_unstable();
    bands.dedup();
    bands
}

/// The band of a source that is its alpha.
fn own_alpha(source: &Source) -> Option<u32> {
    source.alpha_band()?;
    (0..source.bands()).find(|band| source.is_alpha(*band))
}

/// `--bands`. A source without alpha has none of the band that is alpha in others.
fn select(source: &mut Source, chosen: &[u32], alphas: &[u32], views: &mut Views) -> Result<()> {
    let own = source.bands();
    let opaque = |band: u32| band == own && alphas.contains(&band) && own_alpha(source).is_none();
    if let Some(band) = chosen.iter().find(|band| **band >= own && !opaque(**band)) {
        return Err(no_band(source, *band));
    }
    let bands: Vec<Option<u32>> =
        chosen.iter().map(|band| (*band < own).then_some(*band)).collect();
    if bands.is_empty() {
        let reason = "none are chosen".into();
        return Err(InputError::Option { option: "--bands", reason }.into());
    }
    take(source, &bands, views);
    Ok(())
}

fn no_band(source: &Source, band: u32) -> Error {
    let has = match source.bands() {
        1 => "1 band".to_owned(),
        count => format!("{count} bands"),
    };
    let reason = format!("there is no band {}; the file has {has}", band + 1);
    Error::new(InputError::Option { option: "--bands", reason }).with_path(source.path())
}

/// `--separate`: the chosen bands of each source are bands of their own.
fn separate(sources: &mut [Source], chosen: &[u32], views: &mut Views) -> Result<()> {
    let count = sources.len() * chosen.len();
    if count > MOST_BANDS {
        let reason = format!("{count} bands; a TIFF has at most {MOST_BANDS}");
        return Err(InputError::Option { option: "--separate", reason }.into());
    }
    let mut first = 0;
    for source in sources {
        select(source, chosen, &[], views)?;
        if let SourceNodata::Bands(own) = &source.nodata {
            let before = std::iter::repeat_n(None, first as usize);
            source.nodata = SourceNodata::Bands(before.chain(own.iter().copied()).collect());
        }
        let among = Among { first, count: count as u32 };
        views.change(source, |view| view.among = (count > 1).then_some(among));
        first += chosen.len() as u32;
    }
    Ok(())
}

/// Where some sources have alpha: the others are opaque (SPEC §5.2), and all have it at one place.
fn share_alpha(sources: &mut [Source], views: &mut Views) -> Result<()> {
    let Some(first) = sources.first() else {
        return Err(InputError::NoInputs("a mosaic needs at least one".into()).into());
    };
    let model = sources.iter().find_map(|source| Some((source.bands(), own_alpha(source)?)));
    let Some((count, alpha)) = model else {
        let hint = "pass --bands to take the same ones of each, e.g. --bands 1";
        return match sources.iter().find(|source| source.bands() != first.bands()) {
            Some(other) => {
                Err(mismatch("the number of bands", first.bands(), other.bands(), other, hint))
            }
            None => Ok(()),
        };
    };
    for source in sources.iter_mut() {
        let own = own_alpha(source);
        let fits = own == Some(alpha) || (own.is_none() && source.pick(alpha).is_none());
        if source.bands() == count && fits {
            continue;
        }
        let mut bands: Vec<Option<u32>> =
            (0..source.bands()).filter(|band| Some(*band) != own).map(Some).collect();
        if bands.len() + 1 != count as usize {
            let hint = "pass --bands to take the same ones of each, e.g. --bands 1";
            let what = "the number of bands besides alpha";
            return Err(mismatch(what, count - 1, bands.len(), source, hint));
        }
        bands.insert(alpha as usize, own);
        take(source, &bands, views);
    }
    Ok(())
}

/// `--unscale`: scale and offset of the file become part of how its samples are read.
fn unscale(source: &mut Source, views: &mut Views) {
    let metadata = &source.dataset.shared.metadata;
    let of = |band: Option<u32>| {
        let band = band.and_then(|band| metadata.bands.get(band as usize));
        band.map_or(Rescale::NONE, |band| Rescale {
            scale: band.scale.unwrap_or(1.0),
            offset: band.offset.unwrap_or(0.0),
        })
    };
    // Of the view itself, without the bands that other sources have.
    let first = source.view.as_ref().and_then(|view| view.among).map_or(0, |among| among.first);
    let own = match source.view.as_deref() {
        Some(View { bands: Some(bands), .. }) => bands.len() as u32,
        _ => source.bands(),
    };
    let changes: Vec<(Rescale, Rescale)> = (first..first + own)
        .map(|band| {
            let values = match source.pick(band) {
                Some(Pick::Band(own)) if !source.is_alpha(band) => of(Some(own)),
                _ => Rescale::NONE,
            };
            (source.rescale(band).unwrap_or(Rescale::NONE), values)
        })
        .collect();
    if changes.iter().all(|(_, values)| *values == Rescale::NONE) {
        return;
    }
    // First what the view does already.
    let both = |(first, then): &(Rescale, Rescale)| match (*first, *then) {
        (first, Rescale::NONE) => first,
        (Rescale::NONE, then) => then,
        (first, then) => Rescale {
            scale: first.scale * then.scale,
            offset: first.offset * then.scale + then.offset,
        },
    };
    let rescale = changes.iter().map(both).collect();
    views.change(source, |view| view.rescale = Some(rescale));
}
