//! From a mosaic and options to the tags of the output: its [`ImageSpec`], overviews, metadata.

use crate::codec::{Compression, Predictor};
use crate::engine::overview::{Levels, Rounding};
use crate::engine::reduce::OverviewKernel;
use crate::engine::stats::{BandStats, digits};
use crate::engine::write::{BigTiff, PredictorChoice, WriteOptions};
use crate::error::{InputError, Result, bytes_text};
use crate::mosaic::{Mosaic, ValidityOutput};
use crate::sample::DataType;
use crate::tiff::gdal_metadata::{BandMetadata, GdalMetadata, Item};
use crate::tiff::reader::raster_bytes;
use crate::tiff::writer::ImageSpec;

/// The overviews that are asked for.
///
/// # Errors
/// [`InputError::Option`] for a kernel that would mix palette entries.
pub(crate) fn levels(mosaic: &Mosaic, options: &WriteOptions) -> Result<Option<Levels>> {
    if !options.cog && !options.overviews {
        return Ok(None);
    }
    let facts = &mosaic.facts;
    let palette = facts.photometric == 3 && facts.palette.is_some();
    let thematic = |band: &BandMetadata| {
        band.items.iter().any(|item| item.name == "LAYER_TYPE" && item.value == "thematic")
    };
    let complex = mosaic.dtype.is_complex();
    let categorical = palette || complex || facts.metadata.bands.iter().any(thematic);
    let default = if categorical { OverviewKernel::Nearest } else { OverviewKernel::Average };
    let kernel = options.overview_kernel.unwrap_or(default);
    if (palette || complex) && !matches!(kernel, OverviewKernel::Nearest | OverviewKernel::Mode) {
        let name = kernel.name();
        let reason = if palette {
            format!("{name} would mix the entries of a palette; take nearest or mode")
        } else {
            format!(
                "{name} is for real samples; complex ones are copied only: take nearest or mode"
            )
        };
        return Err(InputError::Option { option: "--overview-resampling", reason }.into());
    }
    let round = if options.cog { Rounding::Down } else { Rounding::Up };
    Ok(Some(Levels::new(mosaic.grid.size, options.chunk, kernel, round)))
}

/// The file that a mosaic becomes.
///
/// # Errors
/// [`InputError`] if the options contradict each other or the data.
pub(crate) fn image_spec(
    mosaic: &Mosaic,
    options: &WriteOptions,
    levels: Option<&Levels>,
) -> Result<ImageSpec> {
    let facts = &mosaic.facts;
    let bands = mosaic.output_bands();
    let color_bands = match facts.photometric {
        2 if mosaic.bands >= 3 => 3,
        5 if mosaic.bands >= 4 => 4,
        3 => 1,
        _ => 1,
    };
    let photometric = match facts.photometric {
        2 if mosaic.bands < 3 => 1,
        5 if mosaic.bands < 4 => 1,
        3 if facts.palette.is_none() || !matches!(mosaic.dtype, DataType::U8 | DataType::U16) => 1,
        0..=3 | 5 => facts.photometric,
        _ => 1,
    };
    let mut extra_samples = facts.extra_samples.clone();
    extra_samples.resize((mosaic.bands - color_bands) as usize, 0);
    if mosaic.validity == ValidityOutput::Alpha {
        // Unassociated alpha (TIFF 6.0 §18).
        extra_samples.push(2);
    }
    let predictor = choose_predictor(mosaic.dtype, options)?;
    let raw = raster_bytes(
        mosaic.dtype,
        u64::from(mosaic.grid.size.width).next_multiple_of(u64::from(options.chunk))
            * u64::from(mosaic.grid.size.height).next_multiple_of(u64::from(options.chunk)),
        bands,
    );
    let mut spec = ImageSpec {
        size: mosaic.grid.size,
        bands,
        dtype: mosaic.dtype,
        chunk: options.chunk,
        pixel_interleaved: options.pixel_interleaved,
        compression: options.compression,
        predictor,
        big_tiff: options.big_tiff == BigTiff::Yes,
        mask: mosaic.validity == ValidityOutput::Mask,
        photometric,
        extra_samples,
        palette: facts.palette.as_ref().filter(|_| photometric == 3).map(|p| p.to_vec()),
        transform: mosaic.grid.transform,
        crs: mosaic.grid.crs.as_deref().cloned(),
        pixel_is_point: facts.pixel_is_point,
        // Readers would prefer it to the mask or alpha that says the same better (SPEC §5.3).
        nodata: mosaic.nodata.filter(|_| mosaic.validity == ValidityOutput::Nodata),
        overviews: levels.map_or_else(Vec::new, |levels| levels.sizes[1..].to_vec()),
        cog: options.cog,
    };
    // Each level has a quarter of the pixels of the one below.
    let raw = if levels.is_some() { raw + raw / 3 } else { raw };
    let worst = worst_bytes(raw, &spec);
    let certain = if options.compression == Compression::None && !options.sparse { raw } else { 0 };
    let most = u64::from(u32::MAX);
    if options.big_tiff == BigTiff::No && certain > most {
        let need = bytes_text(raw);
        let reason = format!("{need} do not fit a classic TIFF (4 GiB); pass --bigtiff auto");
        return Err(InputError::Output(reason).into());
    }
    spec.big_tiff |= options.big_tiff == BigTiff::Auto && worst > most;
    Ok(spec)
}

/// Most bytes that the file can come to.
pub(crate) fn worst_bytes(raw: u64, spec: &ImageSpec) -> u64 {
    let block = u64::from(spec.chunk).pow(2) * spec.dtype.size() as u64;
    let encoded =
        spec.compression.max_encoded_len(usize::try_from(block).unwrap_or(usize::MAX / 4)) as u64;
    let mask = if spec.mask { spec.size.pixels() / 4 } else { 0 };
    (raw as f64 * (encoded as f64 / block as f64)) as u64 + spec.overhead_bytes() + mask
}

fn choose_predictor(dtype: DataType, options: &WriteOptions) -> Result<Predictor> {
    let has_one =
        matches!(options.compression, Compression::Lzw | Compression::Deflate | Compression::Zstd);
    let refuse = |reason: String| Err(InputError::Option { option: "--predictor", reason }.into());
    match options.predictor {
        // Readers do not agree on what a predictor does to pairs of numbers.
        PredictorChoice::Auto if !has_one || dtype.is_complex() => Ok(Predictor::None),
        PredictorChoice::Auto if dtype.is_float() => Ok(Predictor::Float),
        PredictorChoice::Auto => Ok(Predictor::Horizontal),
        PredictorChoice::Fixed(Predictor::None) => Ok(Predictor::None),
        PredictorChoice::Fixed(_) if !has_one => {
            refuse(format!("{} has none; leave it out", options.compression))
        }
        PredictorChoice::Fixed(_) if dtype.is_complex() => {
            refuse("complex samples have none; leave it out".into())
        }
        PredictorChoice::Fixed(Predictor::Float) if !dtype.is_float() => {
            refuse(format!("float is for floating-point samples, not {dtype}"))
        }
        PredictorChoice::Fixed(predictor) => Ok(predictor),
    }
}

/// The sources' common metadata with the statistics of the output (GDAL's names).
pub(crate) fn metadata(
    mosaic: &Mosaic,
    options: &WriteOptions,
    bands: &[BandStats],
) -> GdalMetadata {
    let mut metadata = mosaic.facts.metadata.clone();
    if !options.statistics {
        return metadata;
    }
    metadata.bands.resize(bands.len(), BandMetadata::default());
    for (band, stats) in metadata.bands.iter_mut().zip(bands) {
        let Some([minimum, maximum, mean, deviation]) = stats.summary() else { continue };
        let items = [
            ("STATISTICS_MAXIMUM", maximum),
            ("STATISTICS_MEAN", mean),
            ("STATISTICS_MINIMUM", minimum),
            ("STATISTICS_STDDEV", deviation),
            ("STATISTICS_VALID_PERCENT", stats.valid_percent()),
        ];
        band.items.extend(items.map(|(name, value)| Item {
            name: name.into(),
            value: digits(value),
            domain: String::new(),
        }));
    }
    metadata
}
