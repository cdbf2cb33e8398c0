//! `smalti info`: what the headers of a file say, and what its pixels are.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use smalti::codec::Predictor;
use smalti::crs::Crs;
use smalti::crs::transform::TransformOptions;
use smalti::engine::stats::{BandStats, digits};
use smalti::error::{InputError, Result as LibraryResult, ResultExt as _};
use smalti::geometry::Bounds;
use smalti::sample::Nodata;
use smalti::source::Source;
use smalti::source::open::open_any;
use smalti::tiff::gdal_metadata::{BandMetadata, Item};
use smalti::tiff::reader::{Dataset, ReadOptions};
use smalti::warp::footprint;

use crate::cli::args::InfoArgs;
use crate::cli::config::engine_choice;
use crate::cli::output::{clean, print};
use crate::cli::report::{Exit, Failure, Phase, bytes, count};
use crate::cli::{band_stats, pixels};

/// Everything that is shown; the JSON is just this.
#[derive(Debug, Serialize)]
struct Facts {
    path: String,
    file_bytes: u64,
    big_tiff: bool,
    byte_order: &'static str,
    width: u32,
    height: u32,
    band_count: u32,
    data_type: &'static str,
    crs: Option<CrsFacts>,
    /// Why the file has no place in the world; then the geotransform counts columns and rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_georeferencing: Option<String>,
    geotransform: [f64; 6],
    bounds: [f64; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    bounds_in: Option<BoundsIn>,
    resolution: [f64; 2],
    orientation: &'static str,
    pixel_is_point: bool,
    nodata: Value,
    block_size: [u32; 2],
    tiled: bool,
    interleave: &'static str,
    compression: &'static str,
    predictor: &'static str,
    mask: bool,
    alpha_band: Option<u32>,
    palette_colors: Option<usize>,
    overviews: Vec<[u32; 2]>,
    metadata: Vec<ItemFacts>,
    bands: Vec<BandFacts>,
}

#[derive(Debug, Serialize)]
struct CrsFacts {
    name: String,
    epsg: Option<u32>,
}

/// The bounds in the CRS of `--crs`; `None` where nothing of the file maps.
#[derive(Debug, Serialize)]
struct BoundsIn {
    crs: CrsFacts,
    bounds: Option<[f64; 4]>,
}

#[derive(Debug, Serialize)]
struct ItemFacts {
    name: String,
    value: String,
    domain: String,
}

#[derive(Debug, Serialize)]
struct BandFacts {
    band: u32,
    color: String,
    description: Option<String>,
    unit: Option<String>,
    scale: Option<f64>,
    offset: Option<f64>,
    metadata: Vec<ItemFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Value>,
    #[serde(skip)]
    stats: Option<BandStats>,
}

/// Prints the facts of one file.
pub(crate) fn run(args: &InfoArgs) -> Result<Exit, Failure> {
    let source = open_any(&args.file, ReadOptions::default())?;
    let mut facts = facts(&source)?;
    facts.bounds_in = args.crs.as_ref().map(|crs| bounds_in(args, &source, crs)).transpose()?;
    if args.stats {
        let stats =
            pixels::statistics(&source).map_err(|error| Failure::new(error, Phase::Running))?;
        for (band, stats) in facts.bands.iter_mut().zip(stats) {
            band.statistics = Some(band_stats(&stats));
            band.stats = Some(stats);
        }
    }
    if args.json {
        let json = serde_json::to_string_pretty(&facts).map_err(anyhow::Error::new);
        let json = json.map_err(|error| Failure { exit: Exit::Failed, error })?;
        print(&format!("{json}\n"))?;
    } else {
        print(&text(&facts))?;
    }
    Ok(Exit::Done)
}

/// The box of the file in another CRS.
fn bounds_in(args: &InfoArgs, source: &Source, crs: &Crs) -> LibraryResult<BoundsIn> {
    let dataset = &*source.dataset;
    let Some(own) = &dataset.crs else {
        let reason = "the file has no CRS, so its bounds are known in no other".into();
        return Err(InputError::Option { option: "--crs", reason }.into());
    };
    let (engine, grids) = (engine_choice(&args.engine), args.engine.grids.clone());
    let options = TransformOptions { engine, grids, ..TransformOptions::default() };
    let size = dataset.image.size;
    let all = [0.0, 0.0, f64::from(size.width), f64::from(size.height)];
    let bounds = footprint::bounds_in([own, crs], &dataset.transform, all, &options)?;
    Ok(BoundsIn { crs: crs_facts(crs), bounds: bounds.map(corners) })
}

fn crs_facts(crs: &Crs) -> CrsFacts {
    CrsFacts { name: crs.to_string(), epsg: crs.epsg() }
}

fn corners(bounds: Bounds) -> [f64; 4] {
    [bounds.min_x, bounds.min_y, bounds.max_x, bounds.max_y]
}

fn facts(source: &Source) -> LibraryResult<Facts> {
    let dataset = &*source.dataset;
    let (image, transform) = (&dataset.image, &dataset.transform);
    let block = image.stored_block_size();
    let bounds = transform.bounds(image.size);
    let metadata = &dataset.shared.metadata;
    Ok(Facts {
        path: dataset.path.to_string_lossy().into_owned(),
        file_bytes: dataset.file_len,
        big_tiff: is_big_tiff(&dataset.path).at(&dataset.path)?,
        byte_order: if image.big_endian { "big" } else { "little" },
        width: image.size.width,
        height: image.size.height,
        band_count: image.bands,
        data_type: image.dtype.name(),
        crs: dataset.crs.as_deref().map(crs_facts),
        no_georeferencing: dataset.unplaced.as_ref().map(ToString::to_string),
        geotransform: transform.coefficients(),
        bounds: corners(bounds),
        bounds_in: None,
        resolution: transform.resolution(),
        orientation: match (transform.is_north_up(), transform.is_axis_aligned()) {
            (true, _) => "north-up",
            (false, true) => "flipped (south-up or mirrored)",
            (false, false) => "rotated or sheared",
        },
        pixel_is_point: dataset.pixel_is_point,
        nodata: dataset.nodata.map_or(Value::Null, nodata_value),
        block_size: [block.width, block.height],
        tiled: image.tiled,
        interleave: if image.planar { "band" } else { "pixel" },
        compression: image.compression.name(),
        predictor: match image.predictor {
            Predictor::None => "none",
            Predictor::Horizontal => "horizontal",
            Predictor::Float => "float",
        },
        mask: dataset.mask.is_some(),
        alpha_band: dataset.alpha_band().map(|band| band + 1),
        palette_colors: dataset.shared.color.palette.as_ref().map(|palette| palette.len() / 3),
        overviews: dataset.overviews.iter().map(|o| [o.size.width, o.size.height]).collect(),
        metadata: items(&metadata.items),
        bands: (0..image.bands).map(|band| band_facts(dataset, band)).collect(),
    })
}

fn band_facts(dataset: &Dataset, band: u32) -> BandFacts {
    let none = BandMetadata::default();
    let own = dataset.shared.metadata.bands.get(band as usize).unwrap_or(&none);
    BandFacts {
        band: band + 1,
        color: own.color.clone().unwrap_or_else(|| color(dataset, band).to_owned()),
        description: own.description.clone(),
        unit: own.unit.clone(),
        scale: own.scale,
        offset: own.offset,
        metadata: items(&own.items),
        statistics: None,
        stats: None,
    }
}

/// Colour interpretation by the TIFF's own tags (TIFF 6.0, PhotometricInterpretation), in GDAL's words.
fn color(dataset: &Dataset, band: u32) -> &'static str {
    let names: &[&str] = match dataset.shared.color.photometric {
        2 => &["Red", "Green", "Blue"],
        3 => &["Palette"],
        5 => &["Cyan", "Magenta", "Yellow", "Black"],
        _ => &["Gray"],
    };
    if dataset.alpha_band() == Some(band) {
        return "Alpha";
    }
    names.get(band as usize).copied().unwrap_or("Undefined")
}

fn items(items: &[Item]) -> Vec<ItemFacts> {
    let fact = |item: &Item| ItemFacts {
        name: item.name.clone(),
        value: item.value.clone(),
        domain: item.domain.clone(),
    };
    items.iter().map(fact).collect()
}

/// A number where JSON can hold it exactly, else its text.
fn nodata_value(nodata: Nodata) -> Value {
    let text = nodata.to_string();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// Bytes 2 and 3 of a TIFF: 42, or 43 for BigTIFF.
fn is_big_tiff(path: &Path) -> std::io::Result<bool> {
    let mut header = [0; 4];
    File::open(path)?.read_exact(&mut header)?;
    Ok(header[2..] == [43, 0] || header[2..] == [0, 43])
}

/// Lines of a name and a value.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0 += &format!("{name:<13} {}\n", clean(&value.to_string()));
    }

    fn add_some(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

fn text(facts: &Facts) -> String {
    let mut lines = Lines(String::new());
    let [res_x, res_y] = facts.resolution;
    let bands = count(u64::from(facts.band_count), "band");
    let kind = if facts.big_tiff { "BigTIFF" } else { "TIFF" };
    let order = format!("{}, {kind}, {}-endian", bytes(facts.file_bytes), facts.byte_order);
    lines.add("file", &facts.path);
    lines.add("format", order);
    lines.add("size", format!("{} × {} pixels, {bands}", facts.width, facts.height));
    lines.add("type", short_type(facts.data_type));
    lines.add("CRS", facts.crs.as_ref().map_or("none", |crs| &crs.name));
    lines.add_some("placed", facts.no_georeferencing.as_deref());
    lines.add("pixel", format!("{res_x} × {res_y}, {}", facts.orientation));
    lines.add("bounds", joined(&facts.bounds));
    if let Some(BoundsIn { crs, bounds }) = &facts.bounds_in {
        let place = bounds.as_ref().map_or("no place".to_owned(), |bounds| joined(bounds));
        lines.add("  in --crs", format!("{place} ({})", crs.name));
    }
    lines.add("geotransform", joined(&facts.geotransform));
    lines.add("pixel is", if facts.pixel_is_point { "point" } else { "area" });
    lines.add("nodata", plain(&facts.nodata));
    let [width, height] = facts.block_size;
    let shape = if facts.tiled { "tiles" } else { "strips" };
    // A single band has no order.
    let order = match (facts.band_count, facts.interleave) {
        (1, _) => String::new(),
        (_, interleave) => format!(", {interleave}-interleaved"),
    };
    lines.add("blocks", format!("{shape} of {width} × {height}{order}"));
    lines.add("compression", format!("{}, predictor {}", facts.compression, facts.predictor));
    lines.add_some("mask", facts.mask.then_some("internal"));
    lines.add_some("alpha", facts.alpha_band.map(|band| format!("band {band}")));
    lines.add_some("palette", facts.palette_colors.map(|colors| format!("{colors} colors")));
    if !facts.overviews.is_empty() {
        let sizes = facts.overviews.iter().map(|[w, h]| format!("{w} × {h}"));
        lines.add("overviews", sizes.collect::<Vec<_>>().join(", "));
    }
    facts.metadata.iter().for_each(|item| lines.add("metadata", item_text(item)));
    facts.bands.iter().for_each(|band| band_text(band, &mut lines));
    lines.0
}

fn band_text(band: &BandFacts, lines: &mut Lines) {
    let description = band.description.as_ref().map(|text| format!(", {text}"));
    lines.add(
        &format!("band {}", band.band),
        format!("{}{}", band.color, description.unwrap_or_default()),
    );
    lines.add_some("  unit", band.unit.as_ref());
    lines.add_some("  scale", band.scale);
    lines.add_some("  offset", band.offset);
    band.metadata.iter().for_each(|item| lines.add("  metadata", item_text(item)));
    let Some(stats) = &band.stats else { return };
    match stats.summary() {
        None => lines.add("  statistics", "no valid pixel"),
        Some(summary) => {
            let [minimum, maximum, mean, deviation] = summary.map(digits);
            lines.add(
                "  statistics",
                format!(
                    "minimum {minimum}, maximum {maximum}, mean {mean}, stddev {deviation}, \
                     valid {} % ({} of {})",
                    digits(stats.valid_percent()),
                    stats.valid,
                    stats.total
                ),
            );
        }
    }
}

fn item_text(item: &ItemFacts) -> String {
    let domain = if item.domain.is_empty() { String::new() } else { format!(" ({})", item.domain) };
    format!("{}={}{domain}", item.name, item.value)
}

fn joined(numbers: &[f64]) -> String {
    numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `float32 (f32)`: numpy's name, and that of `--dtype`.
fn short_type(name: &str) -> String {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    format!("{name} ({}{digits})", &name[..1])
}
