//! Texts of single arguments to values; each says what it expects. Rules between options are in
//! `config`.

use bytesize::ByteSize;
use smalti::crs::Crs;
use smalti::error::{ErrorKind, InputError};
use smalti::geometry::Bounds;
use smalti::mosaic::Overlap;
use smalti::resample::Kernel;
use smalti::sample::{DataType, Nodata};

/// Value of `--src-nodata`; empty for `none`.
#[derive(Debug, Clone)]
pub(crate) struct NodataList(pub(crate) Vec<Nodata>);

/// Value of `--bands`, counted from 0.
#[derive(Debug, Clone)]
pub(crate) struct BandList(pub(crate) Vec<u32>);

/// Value of `--res`: `[x, y]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PixelSize(pub(crate) [f64; 2]);

/// Value of `--stretch`: `[low, high]` in percent.
#[cfg(feature = "preview")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Percentiles(pub(crate) [f64; 2]);

/// `2,98`.
#[cfg(feature = "preview")]
pub(crate) fn percentiles(text: &str) -> Result<Percentiles, String> {
    match numbers(text).as_deref() {
        Some([low, high]) if *low >= 0.0 && low < high && *high <= 100.0 => {
            Ok(Percentiles([*low, *high]))
        }
        _ => Err("expected two percentages, the lower one first, e.g. 2,98".into()),
    }
}

/// What is wrong with a value, without the option's name: clap says that.
fn reason(error: &smalti::Error) -> String {
    match error.kind() {
        ErrorKind::Input(InputError::Option { reason, .. }) => reason.clone(),
        _ => error.to_string(),
    }
}

/// A CRS for the output, or `auto`.
#[derive(Debug, Clone)]
pub(crate) enum CrsChoice {
    Given(Crs),
    Auto,
}

/// A CRS, or `auto`.
pub(crate) fn crs_choice(text: &str) -> Result<CrsChoice, String> {
    if text.trim().eq_ignore_ascii_case("auto") {
        return Ok(CrsChoice::Auto);
    }
    crs(text).map(CrsChoice::Given)
}

/// A CRS as text, or the name of a `.prj`, `.wkt`, … file that holds one.
pub(crate) fn crs(text: &str) -> Result<Crs, String> {
    const MOST_BYTES: u64 = 1 << 18;
    let is_file =
        std::fs::metadata(text).is_ok_and(|meta| meta.is_file() && meta.len() <= MOST_BYTES);
    if is_file {
        let content = std::fs::read(text).map_err(|error| format!("{text}: {error}"))?;
        return Crs::parse(&String::from_utf8_lossy(&content)).map_err(|error| reason(&error));
    }
    Crs::parse(text).map_err(|error| reason(&error))
}

/// A number of pixels, 0 or more.
pub(crate) fn warp_error(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
    value.ok_or_else(|| "expected a number of pixels, 0 or more".to_owned())
}

/// A number, `nan` and `-inf` included.
pub(crate) fn nodata(text: &str) -> Result<Nodata, String> {
    Nodata::parse(text).map_err(|_| "expected a number, e.g. 0, -9999 or nan".to_owned())
}

/// `none`, or numbers between commas.
pub(crate) fn nodata_list(text: &str) -> Result<NodataList, String> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(NodataList(Vec::new()));
    }
    text.split(',').map(nodata).collect::<Result<_, _>>().map(NodataList).map_err(|_| {
        "expected a number, or numbers between commas (one for each band), or none".to_owned()
    })
}

/// Numbers from 1, between commas.
pub(crate) fn bands(text: &str) -> Result<BandList, String> {
    let band = |part: &str| part.trim().parse::<u32>().ok()?.checked_sub(1);
    let list: Option<Vec<u32>> = text.split(',').map(band).collect();
    list.filter(|list| list.len() <= 65_535)
        .map(BandList)
        .ok_or_else(|| "expected numbers of bands from 1, between commas, e.g. 3,2,1".to_owned())
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split(',').map(|part| part.trim().parse().ok().filter(|v: &f64| v.is_finite())).collect()
}

/// `10` or `10,20`.
pub(crate) fn pixel_size(text: &str) -> Result<PixelSize, String> {
    let size = match numbers(text).as_deref() {
        Some([side]) => [*side, *side],
        Some([x, y]) => [*x, *y],
        _ => return Err("expected X or X,Y, e.g. 10 or 10,20".into()),
    };
    if size.iter().all(|side| *side > 0.0) {
        Ok(PixelSize(size))
    } else {
        Err("expected a pixel size above 0".into())
    }
}

/// `xmin,ymin,xmax,ymax`.
pub(crate) fn bounds(text: &str) -> Result<Bounds, String> {
    let Some([min_x, min_y, max_x, max_y]) =
        numbers(text).and_then(|v| <[f64; 4]>::try_from(v).ok())
    else {
        return Err("expected four numbers: xmin,ymin,xmax,ymax".into());
    };
    if min_x < max_x && min_y < max_y {
        Ok(Bounds { min_x, min_y, max_x, max_y })
    } else {
        Err("expected xmin < xmax and ymin < ymax, in the order xmin,ymin,xmax,ymax".into())
    }
}

/// One of the ten sample types.
pub(crate) fn data_type(text: &str) -> Result<DataType, String> {
    DataType::parse(text).ok_or_else(|| {
        let names = DataType::ALL.map(DataType::name).join(" ");
        format!("expected one of {names}")
    })
}

/// A resampling kernel.
pub(crate) fn kernel(text: &str) -> Result<Kernel, String> {
    Kernel::parse(text).ok_or_else(|| {
        let names: Vec<&str> = Kernel::NAMES.iter().map(|(_, name)| *name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// A rule of overlap: `feather` may have a distance, `feather:100`.
pub(crate) fn overlap(text: &str) -> Result<Overlap, String> {
    const FEATHER_PX: u32 = 64;
    const MOST_FEATHER_PX: u32 = 1024;
    if let Some(px) = text.strip_prefix("feather:") {
        return px.parse().ok().filter(|px| (1..=MOST_FEATHER_PX).contains(px)).map_or_else(
            || Err(format!("expected whole pixels from 1 to {MOST_FEATHER_PX}, e.g. feather:100")),
            |px| Ok(Overlap::Feather(px)),
        );
    }
    Ok(match text {
        "last" => Overlap::Last,
        "first" => Overlap::First,
        "min" => Overlap::Min,
        "max" => Overlap::Max,
        "mean" => Overlap::Mean,
        "median" => Overlap::Median,
        "sum" => Overlap::Sum,
        "count" => Overlap::Count,
        "feather" => Overlap::Feather(FEATHER_PX),
        _ => {
            let names = "last, first, min, max, mean, median, sum, count, feather, feather:PX";
            return Err(format!("expected one of {names}"));
        }
    })
}

/// A share from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a number from 0 to 1, e.g. 0.5".to_owned())
}

/// `--chunk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// As the inputs have it.
    Auto,
    /// This side.
    Side(u32),
}

/// Side of a block, or `auto`.
pub(crate) fn chunk(text: &str) -> Result<Chunk, String> {
    if text == "auto" {
        return Ok(Chunk::Auto);
    }
    text.parse()
        .ok()
        .filter(|side: &u32| (16..=32768).contains(side) && side.is_multiple_of(16))
        .map(Chunk::Side)
        .ok_or_else(|| "expected auto, or a multiple of 16 from 16 to 32768".to_owned())
}

/// Bytes: `256M`, `1G`, `64MiB`, `268435456`. K, M, G and T are powers of 1024 with or without `iB`.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.strip_suffix("IB").or(upper.strip_suffix('B')).unwrap_or(&upper);
    let iec = if bare.ends_with(['K', 'M', 'G', 'T', 'P']) {
        format!("{bare}iB")
    } else {
        bare.to_owned()
    };
    match iec.parse::<ByteSize>() {
        Ok(ByteSize(bytes)) if bytes > 0 => Ok(bytes),
        _ => Err("expected a size such as 256M, 1G or 64MiB (powers of 1024)".into()),
    }
}

/// A share above 0 and at most 1.
pub(crate) fn fraction(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| "expected a number above 0 and at most 1, e.g. 0.5".to_owned())
}

/// A finite number.
pub(crate) fn coordinate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| "expected a number".to_owned())
}

/// A number above 0, or `all`.
pub(crate) fn number_or_all(text: &str) -> Result<String, String> {
    match text.parse::<u64>() {
        Ok(1..) => Ok(text.into()),
        _ if text == "all" => Ok(text.into()),
        _ => Err("give a number above 0, or all".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("256M", 256 << 20),
            ("256m", 256 << 20),
            ("256MB", 256 << 20),
            ("64MiB", 64 << 20),
            ("1.5G", 3 << 29),
            ("1T", 1 << 40),
            ("4096", 4096),
            ("4096B", 4096),
        ] {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in ["lots", "", "-1M", "0", "0K", "M", "1MM", "nan"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_of_nodata_may_be_none_or_negative() {
        assert_eq!(nodata_list("none").map(|list| list.0), Ok(vec![]));
        assert_eq!(nodata_list("-9999,0").map(|list| list.0.len()), Ok(2));
        assert!(nodata_list("x").is_err() && nodata_list("1,,2").is_err());
    }

    #[test]
    fn bands_count_from_one() {
        assert_eq!(bands("3,2, 1").map(|list| list.0), Ok(vec![2, 1, 0]));
        assert_eq!(bands("7").map(|list| list.0), Ok(vec![6]));
        for text in ["", "0", "1,,2", "1,0", "a", "-1", "1.5", "1-3", "4294967296"] {
            assert!(bands(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_must_enclose_something() {
        assert!(bounds("-1,-2.5,3,4e0").is_ok());
        for text in ["1,2,3", "0,0,0,1", "nan,0,1,1", "0,0,1,1,2", "3,0,1,1"] {
            assert!(bounds(text).is_err(), "{text}");
        }
    }
}
