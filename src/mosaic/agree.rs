//! What the sources of a mosaic must have in common, and what is kept where they happen to agree.

use std::sync::Arc;

use crate::crs::Crs;
use crate::error::{InputError, Result};
use crate::mosaic::facts::BandFacts;
use crate::mosaic::{MosaicOptions, Overlap, mismatch};
use crate::resample::Kernel;
use crate::sample::DataType;
use crate::source::Source;

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

/// The smallest type that holds every source's values (SPEC §5.4).
///
/// # Errors
/// [`InputError::Mismatch`] if there is none.
pub fn data_type(sources: &[Source]) -> Result<DataType> {
    let mut types: Vec<DataType> = sources.iter().map(Source::value_dtype).collect();
    types.sort_unstable();
    types.dedup();
    // The smallest type that holds all, not the result of promoting one by one: that depends on the
    // order (u8 with i8 gives i16, which u16 would turn into i32, but so would any other order; a
    // float met early would not).
    let holds_all = |t: &DataType| types.iter().all(|s| t.promote(*s) == Some(*t));
    let smallest =
        DataType::ALL.into_iter().filter(holds_all).min_by_key(|t| (t.size(), t.is_float()));
    smallest.ok_or_else(|| {
        let odd = |s: &&Source| s.dtype() == DataType::U64 || s.dtype().is_complex();
        let odd = sources.iter().find(odd).unwrap_or(&sources[0]);
        let other = sources.iter().find(|s| s.value_dtype() != odd.value_dtype());
        let other = other.unwrap_or(&sources[0]);
        let complex = types.iter().any(|t| t.is_complex());
        let hint = if complex {
            "complex samples mix with complex ones only"
        } else {
            "no type holds the values of both; choose one with --dtype"
        };
        mismatch("the data type", odd.value_dtype(), other.value_dtype(), other, hint)
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
    use DataType::{CF32, CF64, CI16, CI32, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
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
        // Refused before anything is computed with them.
        CI16 | CI32 | CF32 | CF64 => source_dtype,
        U64 | I64 => {
            let reason =
                format!("sums of {source_dtype} may exceed it; choose a type, e.g. --dtype f64");
            return Err(InputError::Option { option: "--dtype", reason }.into());
        }
    })
}

/// Refuses what complex samples and palettes cannot mean: they are copied, not computed with.
///
/// # Errors
/// [`InputError::Option`] that names the option.
pub fn check_computed(
    sources: &[Source],
    facts: &BandFacts,
    options: &MosaicOptions,
) -> Result<()> {
    let has_palette = facts.palette.is_some();
    let refuse = |option, reason: String| Err(InputError::Option { option, reason }.into());
    let (kernel, overlap) = (options.kernel, options.overlap);
    if let Some(source) = sources.iter().find(|source| source.dtype().is_complex()) {
        let name = source.path().display();
        let copied =
            format!("{name} has complex samples ({}), which are copied only", source.dtype());
        if kernel != Kernel::Nearest {
            return refuse("--resampling", format!("{copied}; pass --resampling nearest"));
        }
        if !overlap.is_by_order() {
            return refuse("--overlap", format!("{copied}; pass --overlap last or first"));
        }
        if sources.iter().any(|s| s.view.as_ref().is_some_and(|view| view.rescale.is_some())) {
            return refuse("scale and offset", format!("{copied}; leave --unscale out"));
        }
        if options.dtype.is_some_and(|dtype| !dtype.is_complex()) {
            return refuse("--dtype", format!("{copied}; choose a complex type, or leave it out"));
        }
    } else if let Some(dtype) = options.dtype.filter(|dtype| dtype.is_complex()) {
        return refuse("--dtype", format!("{dtype} is for complex samples, and no input has any"));
    }
    if has_palette && !matches!(kernel, Kernel::Nearest | Kernel::Mode) {
        let reason = "the samples are indices of a palette, between which there is nothing; pass \
                      --resampling nearest or mode, or --expand-palette";
        return refuse("--resampling", reason.into());
    }
    if has_palette && !overlap.is_by_order() && overlap != Overlap::Count {
        let reason = "the samples are indices of a palette, which have no order and no sum; pass \
                      --overlap last or first, or --expand-palette";
        return refuse("--overlap", reason.into());
    }
    let has_offset = facts.metadata.bands.iter().any(|b| b.offset.is_some_and(|v| v != 0.0));
    let (sums, squares) = (overlap == Overlap::Sum, matches!(kernel, Kernel::Sum | Kernel::Rms));
    if has_offset && (sums || squares) {
        let option = if sums { "--overlap" } else { "--resampling" };
        let reason = "the samples have an offset, which sums of them would hold more than once; pass \
                      --unscale";
        return refuse(option, reason.into());
    }
    Ok(())
}
