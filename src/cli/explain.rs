//! `smalti explain`: which sources lie at a point, what they say there, and which one counts.

use std::fmt::Write as _;

use anyhow::anyhow;
use serde_json::{Value, json};
use smalti::engine::Reader;
use smalti::error::Result as LibraryResult;
use smalti::geometry::Window;
use smalti::io::IoMode;
use smalti::mosaic::{Mosaic, Overlap};
use smalti::resample::{FLOOR_PX, pixel_index};
use smalti::with_raster;

use crate::cli::analysis_args::ExplainArgs;
use crate::cli::inputs::{self, Notes};
use crate::cli::output::{clean, print};
use crate::cli::report::{Exit, Failure, Phase};
use crate::cli::{config, pixels, stop_flag};

/// Bytes of decoded blocks that are kept of each source: one pixel needs one block a band.
const CACHE_BYTES: u64 = 1 << 20;

/// What a source says at the point.
struct Said {
    id: u32,
    /// Pixel of its file.
    at: [i64; 2],
    /// Where in it the centre of the mosaic's pixel lies, in pixels of the file.
    position: [f64; 2],
    /// By band: the sample as text, and whether it is valid.
    samples: Vec<(String, bool)>,
    /// By band: its share of the result, where it is known without the samples around.
    weights: Vec<Option<f64>>,
}

/// Prints what is at the point. Points beyond the mosaic are said to be outside.
pub(crate) fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let mut options = config::mosaic_options(&args.set.input, &args.set.grid, &args.pixels)?;
    let entries = inputs::gather(&args.set.inputs, &args.set.input)?;
    inputs::take_hints(&entries.hints, &args.set.grid, &mut options);
    let notes = Notes::new(args.json, stop_flag()?);
    let opened = inputs::open(&entries, &args.set.input, &args.run, options.overlap, &notes)?;
    let mosaic = Mosaic::new(opened.sources, &options)?;
    let [u, v] = mosaic.grid.transform.invert(args.x, args.y).map(|at| (at + FLOOR_PX).floor());
    let size = mosaic.grid.size;
    let inside = u >= 0.0 && v >= 0.0 && u < f64::from(size.width) && v < f64::from(size.height);
    if !inside {
        let b = mosaic.grid.bounds();
        return Err(Failure::usage(anyhow!(
            "{}, {} lies outside of the mosaic, which is {}, {}, {}, {}",
            args.x,
            args.y,
            b.min_x,
            b.min_y,
            b.max_x,
            b.max_y
        )));
    }
    let (col, row) = (u as u32, v as u32);
    let window = Window { col, row, width: 1, height: 1 };
    let failed = |error| Failure::new(error, Phase::Running);
    let said = ask(&mosaic, window).map_err(failed)?;
    let result = result(&mosaic, window).map_err(failed)?;
    let text = if args.json {
        format!("{}\n", to_json(args, &mosaic, window, &said, &result))
    } else {
        to_text(args, &mosaic, window, &said, &result)
    };
    print(&text)?;
    Ok(if opened.skipped.is_empty() { Exit::Done } else { Exit::Skipped })
}

/// The mosaic's own samples, `None` where invalid.
fn result(mosaic: &Mosaic, window: Window) -> LibraryResult<Vec<Option<String>>> {
    let reader = Reader::new(mosaic, CACHE_BYTES.max(16 << 20), IoMode::Read);
    let (raster, mask) = reader.read(window)?;
    let value = |band: u32| {
        mask.is_valid(band, 0, 0)
            .then(|| with_raster!(&raster, raster => raster.get(band, 0, 0).to_string()))
    };
    Ok((0..raster.bands()).map(value).collect())
}

/// What each source says, the one on top first.
fn ask(mosaic: &Mosaic, window: Window) -> LibraryResult<Vec<Said>> {
    let mut hits = Vec::new();
    mosaic.hits(window, &mut hits);
    if !matches!(mosaic.overlap, Overlap::Last | Overlap::First) {
        // Rules that look at all sources take them from the bottom up.
        hits.reverse();
    }
    let mut all = Vec::new();
    for id in hits {
        let source = &mosaic.sources()[id as usize];
        let [u, v] = mosaic.position(id, window.col, window.row);
        // What does not map is nowhere.
        let index = |at: f64| if at.is_finite() { pixel_index(at) } else { -1 };
        let (col, row) = (index(u), index(v));
        let size = source.size();
        let outside = |at: i64, side: u32| at < 0 || at >= i64::from(side);
        if outside(col, size.width) || outside(row, size.height) {
            continue;
        }
        let own = pixels::own_mosaic_in(source, mosaic.nodata_mode)?;
        let reader = Reader::new(&own, CACHE_BYTES, IoMode::Read);
        let at = Window { col: col as u32, row: row as u32, width: 1, height: 1 };
        let (raster, mask) = reader.read(at)?;
        let sample = |band: u32| {
            let text = with_raster!(&raster, raster => raster.get(band, 0, 0).to_string());
            (text, mask.is_valid(band, 0, 0))
        };
        let start = source.window();
        all.push(Said {
            id,
            at: [col + i64::from(start.col), row + i64::from(start.row)],
            position: [u + f64::from(start.col), v + f64::from(start.row)],
            samples: (0..raster.bands()).map(sample).collect(),
            weights: Vec::new(),
        });
    }
    weigh(mosaic, &mut all);
    Ok(all)
}

/// The share of each source in each band of the result.
fn weigh(mosaic: &Mosaic, all: &mut [Said]) {
    let bands = all.iter().map(|said| said.samples.len()).max().unwrap_or(0);
    for band in 0..bands {
        let valid: Vec<usize> = (0..all.len())
            .filter(|index| all[*index].samples.get(band).is_some_and(|(_, valid)| *valid))
            .collect();
        let number = |index: usize| all[index].samples[band].0.parse::<f64>().unwrap_or(f64::NAN);
        if valid.is_empty() {
            all.iter_mut().for_each(|said| said.weights.push(Some(0.0)));
            continue;
        }
        let shares = shares(mosaic.overlap, &valid, number);
        for (index, said) in all.iter_mut().enumerate() {
            let share = match valid.iter().position(|v| *v == index) {
                Some(at) => shares[at],
                None => Some(0.0),
            };
            said.weights.push(share);
        }
    }
}

/// Shares of the valid sources `valid`, the one on top first. Those of `feather` depend on the samples
/// around, and those of a median of many on their order: `None` where there is more than one.
fn shares(overlap: Overlap, valid: &[usize], number: impl Fn(usize) -> f64) -> Vec<Option<f64>> {
    let winner = |best: Option<usize>| -> Vec<Option<f64>> {
        (0..valid.len()).map(|at| Some(f64::from(u8::from(best == Some(at))))).collect()
    };
    let all = |share: f64| vec![Some(share); valid.len()];
    let by = |sign: f64| {
        (0..valid.len()).reduce(|best, at| {
            let better = (number(valid[at]) - number(valid[best])) * sign > 0.0;
            if better { at } else { best }
        })
    };
    match overlap {
        _ if valid.len() == 1 && overlap != Overlap::Count => all(1.0),
        Overlap::Last | Overlap::First => winner((!valid.is_empty()).then_some(0)),
        Overlap::Min => winner(by(-1.0)),
        Overlap::Max => winner(by(1.0)),
        Overlap::Mean => all(1.0 / valid.len() as f64),
        Overlap::Sum | Overlap::Count => all(1.0),
        Overlap::Median => median_shares(valid, number),
        Overlap::Feather(_) => vec![None; valid.len()],
    }
}

/// One for the middle one, a half for each of the middle two.
fn median_shares(valid: &[usize], number: impl Fn(usize) -> f64) -> Vec<Option<f64>> {
    let mut order: Vec<usize> = (0..valid.len()).collect();
    order.sort_by(|a, b| number(valid[*a]).total_cmp(&number(valid[*b])));
    let mut shares = vec![Some(0.0); valid.len()];
    let count = order.len();
    let middle =
        if count % 2 == 1 { count / 2..count / 2 + 1 } else { count / 2 - 1..count / 2 + 1 };
    let share = 1.0 / middle.len() as f64;
    order[middle].iter().for_each(|at| shares[*at] = Some(share));
    shares
}

fn is_winner(said: &Said) -> bool {
    said.weights.iter().any(|weight| weight.is_none_or(|weight| weight > 0.0))
}

fn to_text(
    args: &ExplainArgs,
    mosaic: &Mosaic,
    window: Window,
    said: &[Said],
    result: &[Option<String>],
) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "point    {}, {}: pixel ({}, {}) of the mosaic",
        args.x, args.y, window.col, window.row
    );
    let line: Vec<&str> = result.iter().map(|v| v.as_deref().unwrap_or("nodata")).collect();
    let _ = writeln!(text, "result   {}", line.join("  "));
    if said.is_empty() {
        text.push_str("sources  none lies here\n");
    }
    for (index, own) in said.iter().enumerate() {
        let name = clean(&mosaic.sources()[own.id as usize].path().display().to_string());
        let mark = if is_winner(own) { "*" } else { " " };
        let samples: Vec<String> = own
            .samples
            .iter()
            .map(|(value, valid)| if *valid { value.clone() } else { format!("({value})") })
            .collect();
        let weights: Vec<String> = own
            .weights
            .iter()
            .map(|w| {
                w.map_or("?".to_owned(), |w| {
                    format!("{w:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
                })
            })
            .collect();
        let _ = writeln!(
            text,
            "{mark}{:<8}{name}: pixel ({}, {}): {}; weight {}",
            index + 1,
            own.at[0],
            own.at[1],
            samples.join("  "),
            weights.join("  ")
        );
    }
    if !said.is_empty() {
        text.push_str(
            "         sources from top to bottom; * counts; invalid samples are in brackets\n",
        );
    }
    text
}

fn to_json(
    args: &ExplainArgs,
    mosaic: &Mosaic,
    window: Window,
    said: &[Said],
    result: &[Option<String>],
) -> Value {
    let number = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    let sources: Vec<Value> = said
        .iter()
        .map(|own| {
            json!({
                "path": mosaic.sources()[own.id as usize].path().to_string_lossy(),
                "index": own.id,
                "col": own.at[0],
                "row": own.at[1],
                "position": own.position,
                "values": own.samples.iter().map(|(v, _)| number(v)).collect::<Vec<Value>>(),
                "valid": own.samples.iter().map(|(_, valid)| *valid).collect::<Vec<bool>>(),
                "weights": own.weights,
                "winner": is_winner(own),
            })
        })
        .collect();
    json!({
        "x": args.x,
        "y": args.y,
        "col": window.col,
        "row": window.row,
        "result": result.iter().map(|v| v.as_deref().map(number)).collect::<Vec<_>>(),
        "sources": sources,
    })
}
