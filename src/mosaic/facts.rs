//! Colour and metadata of a mosaic's bands: what of it all sources agree in.

use std::sync::Arc;

use crate::error::{Error, InputError, Result};
use crate::mosaic::{MosaicOptions, NodataMode, Overlap, mismatch};
use crate::sample::DataType;
use crate::source::{Pick, Source};
use crate::tiff::gdal_metadata::{BandMetadata, GdalMetadata};
use crate::tiff::reader::Shared;

/// PhotometricInterpretation (TIFF 6.0 §6, §16): grey, red green blue, palette, CMYK.
const GRAY: u16 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const CMYK: u16 = 5;
/// ExtraSamples (TIFF 6.0 §18): alpha that colours are not multiplied with.
const UNASSOCIATED: u16 = 2;

/// Colour and metadata of the mosaic's bands.
#[derive(Debug, Clone, PartialEq)]
pub struct BandFacts {
    /// PhotometricInterpretation, where all agree; else MinIsBlack.
    pub photometric: u16,
    /// ExtraSamples of the sources' bands beyond the colour bands.
    pub extra_samples: Vec<u16>,
    /// The palette that all share.
    pub palette: Option<Arc<Vec<u16>>>,
    /// The alpha band: alpha in every source that has samples of it.
    pub alpha_band: Option<u32>,
    /// Items that are the same in all sources.
    pub metadata: GdalMetadata,
    /// All sources are PixelIsPoint.
    pub pixel_is_point: bool,
}

impl BandFacts {
    /// What the sources have in common.
    ///
    /// # Errors
    /// [`InputError::Mismatch`] if palettes, scales or offsets differ: the same number would mean
    /// different things.
    pub fn merge(sources: &[Source], options: &MosaicOptions) -> Result<BandFacts> {
        let first = sources.first().ok_or_else(|| {
            Error::new(InputError::NoInputs("a mosaic needs at least one".into()))
        })?;
        let mut merge = Merge::new(first);
        let mut last = first;
        for source in &sources[1..] {
            // Equal facts are shared, so most sources cost one comparison of pointers.
            if !is_like(last, source) {
                merge.take_in(source, options)?;
                last = source;
            }
        }
        let alpha_band = merge.alpha_band();
        if options.overlap == Overlap::Count {
            merge.forget_values();
        }
        let mut facts = BandFacts {
            photometric: merge.photometric(),
            extra_samples: Vec::new(),
            palette: merge.palette.clone(),
            alpha_band,
            metadata: merge.metadata(options),
            pixel_is_point: sources.iter().all(|s| s.dataset.pixel_is_point),
        };
        let colors = facts.color_bands();
        // ExtraSamples speak of the bands beyond the colours only.
        facts.alpha_band = alpha_band.filter(|band| *band >= colors);
        let extra = (colors..merge.bands.len() as u32)
            .map(|band| if facts.alpha_band == Some(band) { merge.alpha_kind } else { 0 });
        facts.extra_samples = extra.collect();
        Ok(facts)
    }

    /// Bands that the photometric interpretation is about.
    pub fn color_bands(&self) -> u32 {
        match self.photometric {
            RGB => 3,
            CMYK => 4,
            _ => 1,
        }
    }

    /// `all` for RGB(A) pictures, else a dark band would speckle; `band` for the rest (SPEC §5.2).
    pub fn default_nodata_mode(&self, dtype: DataType) -> NodataMode {
        let picture = self.photometric == RGB && matches!(dtype, DataType::U8 | DataType::U16);
        if picture { NodataMode::All } else { NodataMode::Band }
    }
}

/// Whether what two sources say of their bands is the same object.
fn is_like(a: &Source, b: &Source) -> bool {
    let same_bands = match (&a.view, &b.view) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            Arc::ptr_eq(a, b)
                || ((a.expand_palette, a.among, a.ignore_mask)
                    == (b.expand_palette, b.among, b.ignore_mask)
                    && a.bands == b.bands)
        }
        _ => false,
    };
    same_bands && Arc::ptr_eq(&a.dataset.shared, &b.dataset.shared)
}

/// One band while facts are gathered.
#[derive(Default)]
struct Band {
    /// Of the first source that has samples of it; then only what others agree in.
    metadata: Option<BandMetadata>,
    /// Scale and offset, and whose.
    values: Option<(f64, f64)>,
    /// Colour interpretation by GDAL's names.
    color: Option<String>,
    /// It is alpha in a source; it is something else in one.
    is_alpha: bool,
    is_other: bool,
}

struct Merge {
    /// PhotometricInterpretation of all sources whose bands stand as they do in the file.
    photometric: Option<u16>,
    palette: Option<Arc<Vec<u16>>>,
    items: GdalMetadata,
    bands: Vec<Band>,
    alpha_kind: u16,
}

impl Merge {
    fn new(first: &Source) -> Merge {
        let shared = &first.dataset.shared;
        let mut merge = Merge {
            photometric: in_place(first).then_some(shared.color.photometric),
            palette: palette(first),
            items: GdalMetadata { items: shared.metadata.items.clone(), bands: Vec::new() },
            bands: (0..first.bands()).map(|_| Band::default()).collect(),
            alpha_kind: alpha_kind(first).unwrap_or(UNASSOCIATED),
        };
        for band in 0..first.bands() {
            merge.take_band(first, band);
        }
        merge
    }

    fn take_in(&mut self, source: &Source, options: &MosaicOptions) -> Result<()> {
        let shared = &source.dataset.shared;
        // Palettes of separate bands are not those of one picture.
        if !options.separate {
            self.check_palette(source)?;
        }
        self.check_alpha(source)?;
        if !options.unscale {
            self.check_values(source)?;
        }
        if self.photometric != in_place(source).then_some(shared.color.photometric) {
            self.photometric = None;
        }
        self.items.items.retain(|item| shared.metadata.items.contains(item));
        let bands = source.view.as_ref().and_then(|view| view.among.zip(view.bands.as_ref()));
        let own = match bands {
            Some((among, bands)) => among.first..among.first + bands.len() as u32,
            None => 0..source.bands(),
        };
        own.for_each(|band| self.take_band(source, band));
        Ok(())
    }

    fn check_palette(&self, source: &Source) -> Result<()> {
        let own = palette(source);
        if self.palette == own {
            return Ok(());
        }
        let text = |p: &Option<Arc<Vec<u16>>>| match p {
            Some(palette) => format!("a palette of {} colours", palette.len() / 3),
            None => "no palette".to_owned(),
        };
        let hint =
            "the same number would be another colour; pass --expand-palette to make RGB of them";
        Err(mismatch("their palettes", text(&self.palette), text(&own), source, hint))
    }

    fn check_alpha(&mut self, source: &Source) -> Result<()> {
        let Some(kind) = alpha_kind(source) else { return Ok(()) };
        if !self.bands.iter().any(|band| band.is_alpha) {
            self.alpha_kind = kind;
        }
        if kind == self.alpha_kind {
            return Ok(());
        }
        let text = |kind| match kind {
            UNASSOCIATED => "colours as they are",
            _ => "colours multiplied with alpha",
        };
        let hint = "bring them to one kind first";
        Err(mismatch("their alpha", text(self.alpha_kind), text(kind), source, hint))
    }

    fn check_values(&self, source: &Source) -> Result<()> {
        for (index, band) in self.bands.iter().enumerate() {
            let (Some(own), Some(other)) = (band.values, values(source, index as u32)) else {
                continue;
            };
            if own != other {
                let text = |(scale, offset)| format!("scale {scale}, offset {offset}");
                let (scales, offsets) = (own.0 != other.0, own.1 != other.1);
                let what = match (scales, offsets) {
                    (true, false) => "scale",
                    (false, true) => "offset",
                    _ => "scale and offset",
                };
                let hint = "the same number would be another value; pass --unscale to apply them";
                let first = format!("{} (band {})", text(own), index + 1);
                return Err(mismatch(what, first, text(other), source, hint));
            }
        }
        Ok(())
    }

    fn take_band(&mut self, source: &Source, index: u32) {
        let Some(pick) = source.pick(index) else { return };
        let (color, is_alpha) = (color_name(source, index), source.is_alpha(index));
        let none = BandMetadata::default();
        let all = &source.dataset.shared.metadata.bands;
        let own = match pick {
            Pick::Band(band) => all.get(band as usize).unwrap_or(&none),
            Pick::Color(_) => &none,
        };
        let band = &mut self.bands[index as usize];
        match &mut band.metadata {
            Some(metadata) => {
                keep_common(metadata, own);
                if band.color != color {
                    band.color = None;
                }
            }
            None => {
                band.metadata = Some(own.clone());
                band.color = color;
                band.values = values(source, index);
            }
        }
        band.is_alpha |= is_alpha;
        band.is_other |= !is_alpha;
    }

    /// A count is no sample: it has no colour, no unit and no scale.
    fn forget_values(&mut self) {
        (self.photometric, self.palette) = (Some(GRAY), None);
        for band in &mut self.bands {
            band.color = None;
            let Some(metadata) = &mut band.metadata else { continue };
            let description = metadata.description.take();
            *metadata = BandMetadata { description, ..BandMetadata::default() };
        }
    }

    fn alpha_band(&self) -> Option<u32> {
        let found = self.bands.iter().position(|band| band.is_alpha && !band.is_other)?;
        u32::try_from(found).ok()
    }

    /// That of the sources where it holds for the bands as they are, else what their colours make.
    fn photometric(&self) -> u16 {
        let colors = |names: &[&str]| {
            names.len() <= self.bands.len()
                && names.iter().zip(&self.bands).all(|(n, b)| b.color.as_deref() == Some(n))
        };
        match self.photometric {
            Some(RGB) if self.bands.len() >= 3 => RGB,
            Some(CMYK) if self.bands.len() >= 4 => CMYK,
            Some(own @ (0 | GRAY)) => own,
            _ if self.palette.is_some() => PALETTE,
            _ if colors(&["Red", "Green", "Blue"]) => RGB,
            _ => GRAY,
        }
    }

    fn metadata(&self, options: &MosaicOptions) -> GdalMetadata {
        let mut metadata = self.items.clone();
        let photometric = self.photometric();
        let all_in_place = self.photometric.is_some() || self.palette.is_some();
        for (index, band) in self.bands.iter().enumerate() {
            let mut own = band.metadata.clone().unwrap_or_default();
            if options.unscale {
                (own.scale, own.offset) = (None, None);
            }
            // What the tags do not say of bands that stand elsewhere than in their files.
            let told = match photometric {
                RGB => index < 3,
                CMYK => index < 4,
                _ => index == 0 && band.color.as_deref() == Some("Gray"),
            };
            if own.color.is_none() && !all_in_place && !told && !is_tagged_alpha(self, index) {
                own.color.clone_from(&band.color);
            }
            metadata.bands.push(own);
        }
        while metadata.bands.last().is_some_and(|band| *band == BandMetadata::default()) {
            metadata.bands.pop();
        }
        metadata
    }
}

/// Whether ExtraSamples say that a band is alpha.
fn is_tagged_alpha(merge: &Merge, index: usize) -> bool {
    let colors = if merge.photometric() == RGB { 3 } else { 1 };
    merge.alpha_band() == Some(index as u32) && index >= colors
}

/// The palette whose indices a source's samples are.
fn palette(source: &Source) -> Option<Arc<Vec<u16>>> {
    let is_index = source.bands() == 1 && source.pick(0) == Some(Pick::Band(0));
    source.dataset.shared.color.palette.clone().filter(|_| is_index)
}

/// Whether every band stands where it does in the file, and the file's colours are all there.
fn in_place(source: &Source) -> bool {
    let stays = |band: u32| {
        matches!(source.pick(band), None | Some(Pick::Band(_)))
            && source.dataset_band(band).is_none_or(|own| own == band)
    };
    let colors = match source.dataset.shared.color.photometric {
        RGB => 3,
        CMYK => 4,
        _ => 1,
    };
    let among = source.view.as_ref().is_some_and(|view| view.among.is_some());
    !among
        && (0..source.bands()).all(stays)
        && (0..colors.min(source.dataset.image.bands)).all(|band| source.pick(band).is_some())
}

fn alpha_kind(source: &Source) -> Option<u16> {
    source.alpha_band()?;
    source.dataset.shared.color.extra_samples.iter().copied().find(|kind| matches!(kind, 1 | 2))
}

/// Scale and offset of a band; `None` where the source has no samples of it.
fn values(source: &Source, band: u32) -> Option<(f64, f64)> {
    let none = BandMetadata::default();
    let metadata = match source.pick(band)? {
        Pick::Band(own) => source.dataset.shared.metadata.bands.get(own as usize),
        Pick::Color(_) => None,
    };
    let metadata = metadata.unwrap_or(&none);
    Some((metadata.scale.unwrap_or(1.0), metadata.offset.unwrap_or(0.0)))
}

/// What a band shows, by GDAL's names, from the metadata or the TIFF's own tags.
fn color_name(source: &Source, band: u32) -> Option<String> {
    let Shared { color, metadata } = &*source.dataset.shared;
    const COLORS: [&str; 3] = ["Red", "Green", "Blue"];
    let own = match source.pick(band)? {
        Pick::Color(color) => return COLORS.get(color as usize).map(|name| (*name).to_owned()),
        Pick::Band(own) => own,
    };
    if let Some(name) = metadata.bands.get(own as usize).and_then(|band| band.color.clone()) {
        return Some(name);
    }
    let name = match (color.photometric, own) {
        _ if source.is_alpha(band) => "Alpha",
        (RGB, 0..3) => COLORS[own as usize],
        (CMYK, 0..4) => ["Cyan", "Magenta", "Yellow", "Black"][own as usize],
        (PALETTE, 0) => "Palette",
        (_, 0) => "Gray",
        _ => return None,
    };
    Some(name.to_owned())
}

fn keep_common(metadata: &mut BandMetadata, other: &BandMetadata) {
    metadata.items.retain(|item| other.items.contains(item));
    let keep = |own: &mut Option<String>, other: &Option<String>| {
        if own != other {
            *own = None;
        }
    };
    keep(&mut metadata.description, &other.description);
    keep(&mut metadata.unit, &other.unit);
    keep(&mut metadata.color, &other.color);
}
