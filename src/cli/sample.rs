//! `smalti sample`: the values of all bands at points.

use std::fmt::Write as _;

use anyhow::anyhow;
use serde_json::{Value, json};
use smalti::crs::transform::{TransformOptions, Transformer, place_of};
use smalti::engine::Reader;
use smalti::error::Result as LibraryResult;
use smalti::geometry::Window;
use smalti::resample::FLOOR_PX;
use smalti::source::Source;
use smalti::source::open::open_source;
use smalti::with_raster;

use crate::cli::args::SampleArgs;
use crate::cli::config::engine_choice;
use crate::cli::output::print;
use crate::cli::pixels;
use crate::cli::report::{Exit, Failure, Phase};

/// A pixel and its values; `None` is nodata.
struct Sampled {
    col: u32,
    row: u32,
    values: Vec<Option<String>>,
}

/// Prints the values of all bands at each point, one line a point.
pub(crate) fn run(args: &SampleArgs) -> Result<Exit, Failure> {
    let (points, rest) = args.points.as_chunks::<2>();
    if !rest.is_empty() {
        let count = args.points.len();
        return Err(Failure::usage(anyhow!("{count} coordinates; expected pairs of X and Y")));
    }
    let source = open_source(&args.file)?;
    let mosaic = pixels::own_mosaic(&source)?;
    let reader = pixels::reader(&mosaic, &source.dataset.image);
    let mut text = String::new();
    let mut objects = Vec::new();
    for [x, y] in points {
        let [own_x, own_y] = own_place(args, &source, [*x, *y])?;
        let found = sample(&source, &reader, own_x, own_y)
            .map_err(|error| Failure::new(error, Phase::Running))?;
        if args.json {
            objects.push(object(*x, *y, found.as_ref()));
        } else {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{x}\t{y}\t{}", line(found.as_ref()));
        }
    }
    if args.json {
        text = format!("{}\n", Value::from(objects));
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// A point of `--crs` in the file's CRS; NaN where it has no place there.
fn own_place(args: &SampleArgs, source: &Source, point: [f64; 2]) -> LibraryResult<[f64; 2]> {
    let (Some(given), Some(own)) = (&args.crs, &source.dataset.crs) else { return Ok(point) };
    let (engine, grids) = (engine_choice(&args.engine), args.engine.grids.clone());
    let place = place_of(given, point, engine);
    let options = TransformOptions { place, allow_ballpark: false, engine, grids };
    let mut points = [point];
    Transformer::new(given, own, &options)?.forward(&mut points);
    Ok(points[0])
}

/// The pixel that holds a point; left and upper edges belong to it.
fn sample(source: &Source, reader: &Reader<'_>, x: f64, y: f64) -> LibraryResult<Option<Sampled>> {
    let size = source.dataset.image.size;
    let [u, v] = source.dataset.transform.invert(x, y).map(|at| (at + FLOOR_PX).floor());
    let inside = u >= 0.0 && v >= 0.0 && u < f64::from(size.width) && v < f64::from(size.height);
    if !inside {
        return Ok(None);
    }
    let (col, row) = (u as u32, v as u32);
    let (raster, mask) = reader.read(Window { col, row, width: 1, height: 1 })?;
    let alpha = pixels::plain_alpha(source);
    let value = |band: u32| {
        (alpha == Some(band) || mask.is_valid(band, 0, 0))
            .then(|| with_raster!(&raster, raster => raster.get(band, 0, 0).to_string()))
    };
    Ok(Some(Sampled { col, row, values: (0..raster.bands()).map(value).collect() }))
}

fn line(found: Option<&Sampled>) -> String {
    let Some(Sampled { values, .. }) = found else { return "outside".into() };
    let values: Vec<&str> = values.iter().map(|v| v.as_deref().unwrap_or("nodata")).collect();
    values.join("\t")
}

fn object(x: f64, y: f64, found: Option<&Sampled>) -> Value {
    match found {
        None => json!({"x": x, "y": y, "outside": true}),
        Some(Sampled { col, row, values }) => {
            let values: Vec<Value> = values.iter().map(number).collect();
            json!({"x": x, "y": y, "col": col, "row": row, "values": values})
        }
    }
}

/// A number as JSON; what JSON has no number for (infinity) is text.
fn number(value: &Option<String>) -> Value {
    match value {
        None => Value::Null,
        Some(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
    }
}
