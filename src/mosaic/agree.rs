//! What the sources of a mosaic must have in common, and what is kept where they happen to agree.

use std::sync::Arc;

use crate::crs::Crs;
use crate::error::{Error, InputError, Result};
use crate::mosaic::{MosaicOptions, NodataMode, Overlap, mismatch};
use crate::resample::Kernel;
use crate::sample::DataType;
use crate::source::Source;
use crate::tiff::gdal_metadata::{BandMetadata, GdalMetadata};
use crate::tiff::reader::Shared;

/// The CRS that all sources share (SPEC §4.1).
///
/// # Errors
/// [`InputError::MixedCrs`] with each CRS, its number of files and an example.
pub fn crs(sources: &[Source]) -> Result<Option<Arc<Crs>>> {
    // Sources that were opened together share one `Arc` for equal keys, so few are compared.
    let mut groups: Vec<(Option<Arc<Crs>>, usize, &Source)> = Vec::new();
    for source in sources {
        let crs = &source.dataset.crs;
        let same = |other: &Option<Arc<Crs>>| match (crs, other) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.same_as(b),
            (None, None) => true,
            _ => false,
        };
        match groups.iter_mut().find(|(other, ..)| same(other)) {
            Some((_, count, _)) => *count += 1,
            None => groups.push((crs.clone(), 1, source)),
        }
    }
    if groups.len() <= 1 {
        return Ok(groups.pop().and_then(|(crs, ..)| crs));
    }
    const MOST_LISTED: usize = 20;
    let count = groups.len();
    let missing = groups.iter().any(|(crs, ..)| crs.is_none());
    let hint = if count == 2 && missing {
        "pass --assign-crs EPSG:n for those that have none"
    } else {
        "pass --crs EPSG:n (or --crs auto) to bring them to one, or --override-crs EPSG:n if they are \
         mislabelled"
    };
    groups.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    let line = |(crs, count, example): &(Option<Arc<Crs>>, usize, &Source)| {
        let name = crs.as_ref().map_or_else(|| "no CRS".to_owned(), |crs| crs.to_string());
        let files = if *count == 1 { "file" } else { "files" };
        format!("  {name}: {count} {files}, e.g. {}", example.path().display())
    };
    let mut listing: Vec<String> = groups.iter().take(MOST_LISTED).map(line).collect();
    if count > MOST_LISTED {
        listing.push(format!("  … and {} more", count - MOST_LISTED));
    }
    Err(InputError::MixedCrs { count, hint, listing: listing.join("\n") }.into())
}

/// A CRS with the heights that all sources share; `None` if they have none.
///
/// # Errors
/// [`InputError::MixedCrs`] if heights differ.
pub fn heights(sources: &[Source]) -> Result<Option<Arc<Crs>>> {
    let mut first: Option<&Source> = None;
    let none = |source: &Source| source.dataset.crs.as_ref().is_none_or(|crs| !crs.has_heights());
    for source in sources {
        let Some(other) = first else {
            first = Some(source);
            continue;
        };
        let same = match (&source.dataset.crs, &other.dataset.crs) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.same_heights(b),
            _ => none(source) && none(other),
        };
        if !same {
            // Lists all of them.
            return crs(sources);
        }
    }
    Ok(first.and_then(|source| source.dataset.crs.clone()).filter(|crs| crs.has_heights()))
}

/// The number of bands that all sources have.
///
/// # Errors
/// [`InputError::Mismatch`].
pub fn band_count(sources: &[Source]) -> Result<u32> {
    let Some(first) = sources.first() else {
        return Err(InputError::NoInputs("a mosaic needs at least one".into()).into());
    };
    match sources.iter().find(|source| source.bands() != first.bands()) {
        Some(other) => {
            let hint = "give inputs of one kind";
            Err(mismatch("the number of bands", first.bands(), other.bands(), other, hint))
        }
        None => Ok(first.bands()),
    }
}

/// The smallest type that holds every source's values (SPEC §5.4).
///
/// # Errors
/// [`InputError::Mismatch`] if there is none.
pub fn data_type(sources: &[Source]) -> Result<DataType> {
    let mut types: Vec<DataType> = sources.iter().map(Source::dtype).collect();
    types.sort_unstable();
    types.dedup();
    // The smallest type that holds all, not the result of promoting one by one: that depends on the
    // order (u8 with i8 gives i16, which u16 would turn into i32, but so would any other order; a
    // float met early would not).
    let holds_all = |t: &DataType| types.iter().all(|s| t.promote(*s) == Some(*t));
    let smallest =
        DataType::ALL.into_iter().filter(holds_all).min_by_key(|t| (t.size(), t.is_float()));
    smallest.ok_or_else(|| {
        let odd = sources.iter().find(|s| s.dtype() == DataType::U64).unwrap_or(&sources[0]);
        let other = sources.iter().find(|s| s.dtype() != odd.dtype()).unwrap_or(&sources[0]);
        let hint = "no type holds the values of both; choose one with --dtype";
        mismatch("the data type", odd.dtype(), other.dtype(), other, hint)
    })
}

/// The output's type: that of the sources, but for sums and counts, whose type is chosen so that no
/// result is too large for it.
///
/// # Errors
/// [`InputError::Option`] for sums of 64-bit integers without `--dtype`.
pub fn output_type(
    source_dtype: DataType,
    sources: usize,
    options: &MosaicOptions,
) -> Result<DataType> {
    use DataType::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    if let Some(dtype) = options.dtype {
        return Ok(dtype);
    }
    let sums = options.overlap == Overlap::Sum || options.kernel == Kernel::Sum;
    if options.overlap == Overlap::Count {
        return Ok(if sources <= usize::from(u16::MAX) { U16 } else { U32 });
    }
    // How many samples one result may add up is known for sources, not for pixels.
    let few = sources <= 1 << 16 && options.kernel != Kernel::Sum;
    Ok(match source_dtype {
        other if !sums => other,
        U8 | U16 if few => U32,
        I8 | I16 if few => I32,
        U8 | U16 | U32 => U64,
        I8 | I16 | I32 => I64,
        F32 | F64 => F64,
        other if other.is_complex() => other,
        _ => {
            let reason =
                format!("sums of {source_dtype} may exceed it; choose a type, e.g. --dtype f64");
            return Err(InputError::Option { option: "--dtype", reason }.into());
        }
    })
}

/// Colour and metadata of the mosaic's bands.
#[derive(Debug, Clone, PartialEq)]
pub struct BandFacts {
    /// PhotometricInterpretation, where all agree; else MinIsBlack.
    pub photometric: u16,
    /// ExtraSamples of the sources' bands beyond the colour bands.
    pub extra_samples: Vec<u16>,
    /// The palette that all share.
    pub palette: Option<Arc<Vec<u16>>>,
    /// The alpha band that all share.
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
    pub fn merge(sources: &[Source]) -> Result<BandFacts> {
        let first = sources.first().ok_or_else(|| {
            Error::new(InputError::NoInputs("a mosaic needs at least one".into()))
        })?;
        let own = &first.dataset.shared;
        let mut facts = BandFacts {
            photometric: own.color.photometric,
            extra_samples: own.color.extra_samples.clone(),
            palette: own.color.palette.clone(),
            alpha_band: first.dataset.alpha_band(),
            metadata: own.metadata.clone(),
            pixel_is_point: sources.iter().all(|s| s.dataset.pixel_is_point),
        };
        let mut last: *const Shared = Arc::as_ptr(own);
        for source in sources {
            let shared = &source.dataset.shared;
            // Equal facts are shared, so most sources cost one comparison of pointers.
            if Arc::as_ptr(shared) != last {
                facts.take_in(first, source)?;
                last = Arc::as_ptr(shared);
            }
        }
        Ok(facts)
    }

    fn take_in(&mut self, first: &Source, source: &Source) -> Result<()> {
        let (own, shared) = (&first.dataset.shared, &source.dataset.shared);
        if own.color.palette != shared.color.palette {
            let text = |p: &Option<Arc<Vec<u16>>>| match p {
                Some(palette) => format!("a palette of {} colours", palette.len() / 3),
                None => "no palette".to_owned(),
            };
            let hint = "the same number would be another colour; expand them to RGB first, e.g. \
                        gdal_translate -expand rgb";
            let (a, b) = (text(&own.color.palette), text(&shared.color.palette));
            return Err(mismatch("their palettes", a, b, source, hint));
        }
        for band in 0..first.bands() as usize {
            let scale = |metadata: &GdalMetadata| {
                let band = metadata.bands.get(band);
                let scale = band.and_then(|b| b.scale).unwrap_or(1.0);
                (scale, band.and_then(|b| b.offset).unwrap_or(0.0))
            };
            let (a, b) = (scale(&own.metadata), scale(&shared.metadata));
            if a != b {
                let text = |(scale, offset)| format!("scale {scale}, offset {offset}");
                let hint = "the same number would be another value; bring them to one scale first, \
                            e.g. gdal_translate -unscale";
                return Err(mismatch("scale or offset", text(a), text(b), source, hint));
            }
        }
        if self.photometric != shared.color.photometric {
            self.photometric = 1;
        }
        if self.alpha_band != source.dataset.alpha_band() {
            self.alpha_band = None;
        }
        if self.extra_samples != shared.color.extra_samples {
            self.extra_samples.clear();
        }
        keep_common(&mut self.metadata, &shared.metadata);
        Ok(())
    }

    /// `all` for RGB(A) pictures, else a dark band would speckle; `band` for the rest (SPEC §5.2).
    pub fn default_nodata_mode(&self, dtype: DataType) -> NodataMode {
        const RGB: u16 = 2;
        let picture = self.photometric == RGB && matches!(dtype, DataType::U8 | DataType::U16);
        if picture { NodataMode::All } else { NodataMode::Band }
    }
}

fn keep_common(metadata: &mut GdalMetadata, other: &GdalMetadata) {
    metadata.items.retain(|item| other.items.contains(item));
    let none = BandMetadata::default();
    for (index, band) in metadata.bands.iter_mut().enumerate() {
        let other = other.bands.get(index).unwrap_or(&none);
        band.items.retain(|item| other.items.contains(item));
        let keep = |own: &mut Option<String>, other: &Option<String>| {
            if own != other {
                *own = None;
            }
        };
        keep(&mut band.description, &other.description);
        keep(&mut band.unit, &other.unit);
        keep(&mut band.color, &other.color);
    }
}
