//! Which samples are valid, and how the output says so (SPEC §5.2, §5.3).

use super::{MosaicOptions, NodataMode, Overlap, ValidityOutput};
use crate::error::{Error, InputError, Result};
use crate::mosaic::facts::BandFacts;
use crate::sample::{DataType, Nodata};
use crate::source::{Source, SourceNodata};

pub(super) fn source_nodata(
    values: &[Nodata],
    bands: u32,
    has_alpha: bool,
) -> Result<SourceNodata> {
    match values {
        [] => Ok(SourceNodata::None),
        [one] => Ok(SourceNodata::All(*one)),
        many if many.len() == (bands - u32::from(has_alpha)) as usize
            || many.len() == bands as usize =>
        {
            Ok(SourceNodata::Bands(many.iter().map(|v| Some(*v)).collect()))
        }
        many => Err(InputError::Option {
            option: "--src-nodata",
            reason: format!("{} values for {bands} bands; give one, or one for each", many.len()),
        }
        .into()),
    }
}

/// Bands that come from sources of their own are judged by themselves.
pub(super) fn nodata_mode(
    facts: &BandFacts,
    options: &MosaicOptions,
    dtype: DataType,
) -> Result<NodataMode> {
    match options.nodata_mode {
        Some(NodataMode::All | NodataMode::Any) if options.separate => {
            let reason = "bands of different inputs are judged each by itself; leave it out".into();
            Err(InputError::Option { option: "--nodata-mode", reason }.into())
        }
        _ if options.separate => Ok(NodataMode::Band),
        given => Ok(given.unwrap_or(facts.default_nodata_mode(dtype))),
    }
}

/// `--nodata`, else the first source's (SPEC §5.3). One that the first source's own type cannot hold
/// marks no pixel and is none.
pub(super) fn output_nodata(
    sources: &[Source],
    options: &MosaicOptions,
    dtype: DataType,
) -> Result<Option<Nodata>> {
    let refuse = |what: String, value: Nodata| -> Error {
        let reason =
            format!("{what}{value} cannot be held by {dtype}; pass one that can, or --dtype");
        InputError::Option { option: "--nodata", reason }.into()
    };
    if options.overlap == Overlap::Count {
        return match options.nodata {
            Some(value) if !value.fits(dtype) => Err(refuse(String::new(), value)),
            given => Ok(given),
        };
    }
    // Rescaled samples have another type, in which NaN can stand for what the file's nodata cannot.
    let rescaled = sources.first().is_some_and(|s| s.value_dtype() != s.dtype());
    match (options.nodata, own_nodata(sources)) {
        (Some(value), _) if !value.fits(dtype) => Err(refuse(String::new(), value)),
        (None, Some(value)) if !value.fits(dtype) && rescaled && dtype.is_float() => {
            Ok(Some(Nodata::Float(f64::NAN)))
        }
        (None, Some(value)) if !value.fits(dtype) => {
            Err(refuse("that of the first input, ".into(), value))
        }
        (given, own) => Ok(given.or(own)),
    }
}

/// Nodata of the first source. That of an expanded palette is an index, which no colour can stand for.
fn own_nodata(sources: &[Source]) -> Option<Nodata> {
    let first = sources.first().filter(|source| !is_expanded(source))?;
    let band = (0..first.bands()).find(|band| first.pick(*band).is_some())?;
    first.nodata.band(band).filter(|value| value.fits(first.dtype()))
}

fn is_expanded(source: &Source) -> bool {
    source.view.as_ref().is_some_and(|view| view.expand_palette)
}

/// Sources that carry a mask or alpha give an output that does, unless nodata says it there (SPEC
/// §5.3).
pub(super) fn validity_output(
    sources: &[Source],
    options: &MosaicOptions,
    facts: &BandFacts,
) -> ValidityOutput {
    let alpha = facts.alpha_band.is_some();
    if options.alpha && !alpha {
        return ValidityOutput::Alpha;
    }
    if options.mask {
        return ValidityOutput::Mask;
    }
    let nodata = options.nodata.is_some() || own_nodata(sources).is_some();
    // One mask cannot speak for bands of different sources, and every count is one.
    if nodata || options.alpha || options.separate || options.overlap == Overlap::Count {
        return ValidityOutput::Nodata;
    }
    if !alpha && sources.iter().any(|s| is_expanded(s) && s.has_nodata()) {
        return ValidityOutput::Alpha;
    }
    // An alpha band is 0 where a mask says so, too.
    let masks = |s: &Source| s.mask().is_some() || s.alpha_band().is_some();
    if !alpha && sources.iter().any(masks) { ValidityOutput::Mask } else { ValidityOutput::Nodata }
}
