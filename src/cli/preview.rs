//! `smalti preview`: a small picture of a mosaic, its samples stretched between percentiles.

use std::io::Write;

use anyhow::anyhow;
use smalti::engine::Reader;
use smalti::error::{Error, InputError, Result as LibraryResult};
use smalti::geometry::{GeoTransform, Size, Window};
use smalti::grid::Grid;
use smalti::io::IoMode;
use smalti::mosaic::{Mosaic, MosaicOptions};
use smalti::observer::Observer;
use smalti::ordered::{self, run_ordered, thread_count};
use smalti::source::open::{OpenOptions, is_among};
use smalti::source::{Source, overview};
use smalti::tiff::reader::ReadOptions;
use smalti::with_raster;

use crate::cli::analysis_args::PreviewArgs;
use crate::cli::index::save;
use crate::cli::inputs::{self, Notes};
use crate::cli::report::{Exit, Failure, Phase};
use crate::cli::{config, stop_flag};

/// Bytes of decoded blocks that are kept.
const CACHE_BYTES: u64 = 64 << 20;
/// Side of what a thread renders at once.
const TILE: u32 = 128;
/// Most samples that percentiles are taken from.
const MOST_SAMPLES: usize = 1 << 20;
/// Color of outlines.
const LINE: [u8; 4] = [255, 200, 0, 255];

/// Draws the picture.
pub(crate) fn run(args: &PreviewArgs) -> Result<Exit, Failure> {
    config::check_output(&args.output, args.overwrite)?;
    let mut options = config::mosaic_options(&args.set.input, &args.set.grid, &args.pixels)?;
    let entries = inputs::gather(&args.set.inputs, &args.set.input)?;
    if is_among(&args.output, &inputs::named(&entries).cloned().collect::<Vec<_>>()) {
        let reason = "is one of the inputs; choose another name".into();
        return Err(Error::new(InputError::Output(reason)).with_path(&args.output).into());
    }
    inputs::take_hints(&entries.hints, &args.set.grid, &mut options);
    let notes = Notes::new(args.quiet, stop_flag()?);
    let open = OpenOptions {
        read: ReadOptions { overviews: !args.full },
        ..config::open_options(&args.set.input, config::threads(&args.run))
    };
    let opened = inputs::open_with(&entries, &args.set.input, &open, options.overlap, &notes)?;
    let full = Mosaic::new(opened.sources.clone(), &options)?;
    let mosaic = reduced(&full, opened.sources, &options, args.size)?;
    let shown = shown_bands(args, &mosaic)?;
    let threads = thread_count(config::threads(&args.run));
    let planes = render(&mosaic, &shown, threads, &notes)
        .map_err(|error| Failure::new(error, Phase::Running))?;
    let mut picture = color(&mosaic, &planes, args.stretch.0);
    if args.footprints {
        draw_outlines(&mosaic, &mut picture);
    }
    let size = mosaic.grid.size;
    save(&args.output, args.overwrite, |out| write_png(out, size, &picture))
        .map_err(|error| Failure::new(error, Phase::Preparing))?;
    Ok(if opened.skipped.is_empty() { Exit::Done } else { Exit::Skipped })
}

/// The mosaic on a grid whose longer side has `side` pixels, or on its own if that is smaller.
/// `sources` are those that `full` was made of.
fn reduced(
    full: &Mosaic,
    sources: Vec<Source>,
    options: &MosaicOptions,
    side: u32,
) -> LibraryResult<Mosaic> {
    let Size { width, height } = full.grid.size;
    let longest = width.max(height);
    if longest <= side {
        return Ok(full.clone());
    }
    let scaled =
        |own: u32| ((f64::from(own) * f64::from(side) / f64::from(longest)).round() as u32).max(1);
    let size = Size { width: scaled(width), height: scaled(height) };
    let [x0, dx, _, y0, _, dy] = full.grid.transform.coefficients();
    let step = |own: f64, from: u32, to: u32| own * f64::from(from) / f64::from(to);
    let transform = GeoTransform::north_up(
        x0,
        y0,
        step(dx, width, size.width),
        step(-dy, height, size.height),
    )?;
    let resolution = transform.resolution();
    let grid = Grid { crs: full.grid.crs.clone(), transform, size };
    let options = MosaicOptions { like: Some(grid), ..options.clone() };
    // The resolution is one of the mosaic's CRS: of a source in another one it says nothing.
    let same_crs = |source: &Source| match (&source.dataset.crs, &full.grid.crs) {
        (Some(a), Some(b)) => a.same_as(b),
        (a, b) => a.is_none() && b.is_none(),
    };
    let sources = sources.into_iter().map(|source| {
        if same_crs(&source) { overview::reduced(&source, resolution) } else { Ok(source) }
    });
    Mosaic::new(sources.collect::<LibraryResult<_>>()?, &options)
}

/// The bands that become red, green and blue, or gray.
fn shown_bands(args: &PreviewArgs, mosaic: &Mosaic) -> Result<Vec<u32>, Failure> {
    let bands = mosaic.bands;
    if !args.show.is_empty() {
        let right = args.show.iter().all(|band| (1..=bands).contains(band));
        if !right || !matches!(args.show.len(), 1 | 3) {
            return Err(Failure::usage(anyhow!(
                "--show: expected one or three bands from 1 to {bands}"
            )));
        }
        return Ok(args.show.iter().map(|band| band - 1).collect());
    }
    const RGB: u16 = 2;
    let colored = |band: usize, name: &str| {
        let facts = mosaic.facts.metadata.bands.get(band);
        facts.and_then(|b| b.color.as_deref()).is_some_and(|c| c.eq_ignore_ascii_case(name))
    };
    let named = |name: &str| (0..bands).find(|band| colored(*band as usize, name));
    if let (Some(r), Some(g), Some(b)) = (named("Red"), named("Green"), named("Blue")) {
        return Ok(vec![r, g, b]);
    }
    let rgb = mosaic.facts.photometric == RGB && bands >= 3;
    Ok(if rgb { vec![0, 1, 2] } else { vec![0] })
}

/// Samples of the bands that are shown; NaN where invalid.
fn render(
    mosaic: &Mosaic,
    shown: &[u32],
    threads: usize,
    observer: &dyn Observer,
) -> LibraryResult<Vec<Vec<f32>>> {
    let Size { width, height } = mosaic.grid.size;
    let mut planes = vec![vec![f32::NAN; width as usize * height as usize]; shown.len()];
    let reader = Reader::new(mosaic, CACHE_BYTES, IoMode::Auto);
    let (across, down) = (width.div_ceil(TILE), height.div_ceil(TILE));
    let window_of = |index: u64| {
        let (bx, by) = ((index % u64::from(across)) as u32, (index / u64::from(across)) as u32);
        let (col, row) = (bx * TILE, by * TILE);
        Window { col, row, width: TILE.min(width - col), height: TILE.min(height - row) }
    };
    run_ordered(
        u64::from(across) * u64::from(down),
        ordered::Window::light(threads),
        observer,
        || (),
        |(), ticket| {
            let window = window_of(ticket.index);
            let (raster, mask) = reader.read(window)?;
            let plane = |band: &u32| -> Vec<f32> {
                let valid = mask.plane(*band);
                with_raster!(&raster, raster => raster.band(*band).iter().zip(valid)
                    .map(|(v, ok)| if *ok != 0 { sample_f32(*v) } else { f32::NAN }).collect())
            };
            Ok(shown.iter().map(plane).collect::<Vec<_>>())
        },
        |_| 0,
        |index, tiles: Vec<Vec<f32>>| {
            let window = window_of(index);
            for (plane, tile) in planes.iter_mut().zip(&tiles) {
                let rows = tile.chunks_exact(window.width as usize);
                for (row, samples) in rows.enumerate() {
                    let at = (window.row as usize + row) * width as usize + window.col as usize;
                    plane[at..at + samples.len()].copy_from_slice(samples);
                }
            }
            Ok(())
        },
    )?;
    Ok(planes)
}

fn sample_f32<T: smalti::sample::Sample>(value: T) -> f32 {
    value.to_f64() as f32
}

/// RGBA bytes: palettes by their colors, the rest stretched; invalid pixels are transparent.
fn color(mosaic: &Mosaic, planes: &[Vec<f32>], percent: [f64; 2]) -> Vec<u8> {
    let mut picture = vec![0u8; planes[0].len() * 4];
    let pixels = picture.chunks_exact_mut(4);
    if let Some(palette) = mosaic.facts.palette.as_ref().filter(|_| planes.len() == 1) {
        let count = palette.len() / 3;
        for (pixel, value) in pixels.zip(&planes[0]) {
            if value.is_nan() {
                continue;
            }
            let at = (*value as usize).min(count.saturating_sub(1));
            let [r, g, b] = [0, 1, 2].map(|plane| (palette[plane * count + at] >> 8) as u8);
            pixel.copy_from_slice(&[r, g, b, 255]);
        }
        return picture;
    }
    // Bands of a picture are stretched alike, so that its colors stay.
    const RGB: u16 = 2;
    let together = mosaic.facts.photometric == RGB && planes.len() == 3;
    let ranges: Vec<[f32; 2]> = if together {
        let all: Vec<&[f32]> = planes.iter().map(Vec::as_slice).collect();
        vec![range(&all, percent); 3]
    } else {
        planes.iter().map(|plane| range(&[plane], percent)).collect()
    };
    for (index, pixel) in pixels.enumerate() {
        let value = |band: usize| {
            let band = band.min(planes.len() - 1);
            (planes[band][index], ranges[band])
        };
        let samples = [value(0), value(1), value(2)];
        // Valid if any band is.
        if samples.iter().all(|(v, _)| v.is_nan()) {
            continue;
        }
        let [r, g, b] = samples.map(|(v, range)| stretch(v, range));
        pixel.copy_from_slice(&[r, g, b, 255]);
    }
    picture
}

/// The values at two percentiles of all that is valid.
fn range(planes: &[&[f32]], percent: [f64; 2]) -> [f32; 2] {
    let count: usize = planes.iter().map(|plane| plane.len()).sum();
    let step = count.div_ceil(MOST_SAMPLES).max(1);
    let mut values: Vec<f32> = planes
        .iter()
        .flat_map(|plane| plane.iter().copied())
        .step_by(step)
        .filter(|v| v.is_finite())
        .collect();
    if values.is_empty() {
        return [0.0, 1.0];
    }
    let last = values.len() - 1;
    percent.map(|percent| {
        let at = ((percent / 100.0 * last as f64).round() as usize).min(last);
        *values.select_nth_unstable_by(at, f32::total_cmp).1
    })
}

fn stretch(value: f32, [low, high]: [f32; 2]) -> u8 {
    if value.is_nan() {
        return 0;
    }
    if high <= low {
        return if value < low {
            0
        } else if value > high {
            255
        } else {
            128
        };
    }
    ((value - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8
}

fn draw_outlines(mosaic: &Mosaic, picture: &mut [u8]) {
    let Size { width, height } = mosaic.grid.size;
    let most = [f64::from(width) - 1.0, f64::from(height) - 1.0];
    // Right and lower borders lie on the last pixel inside.
    let inside = |v: f64, most: f64| if (v - most - 1.0).abs() < 0.5 { most } else { v };
    for (id, source) in (0..).zip(mosaic.sources()) {
        let mut ring = outline(source);
        if let Some(way) = mosaic.transformer(id) {
            way.forward(&mut ring);
        }
        let at = |[x, y]: &[f64; 2]| {
            let [col, row] = mosaic.grid.transform.invert(*x, *y);
            [inside(col, most[0]), inside(row, most[1])]
        };
        for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            draw_line(picture, [width, height], at(a), at(b));
        }
    }
}

/// Points along the edges of a source: edges bend when they are projected.
fn outline(source: &Source) -> Vec<[f64; 2]> {
    const PARTS: u32 = 16;
    let (transform, size) = (source.transform(), source.size());
    let (w, h) = (f64::from(size.width), f64::from(size.height));
    let corners = [(0.0, 0.0), (w, 0.0), (w, h), (0.0, h)];
    let mut ring = Vec::with_capacity(4 * PARTS as usize);
    for (a, b) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        ring.extend((0..PARTS).map(|part| {
            let t = f64::from(part) / f64::from(PARTS);
            transform.apply(a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t)
        }));
    }
    ring
}

/// A line of single pixels, cut to the picture.
fn draw_line(picture: &mut [u8], [width, height]: [u32; 2], a: [f64; 2], b: [f64; 2]) {
    // The part of the line that meets the picture, so that far ends cost nothing.
    let (mut t0, mut t1) = (0.0f64, 1.0f64);
    for (axis, side) in [(0, f64::from(width)), (1, f64::from(height))] {
        let d = b[axis] - a[axis];
        if d == 0.0 {
            if a[axis] < 0.0 || a[axis] >= side {
                return;
            }
            continue;
        }
        let (low, high) = ((0.0 - a[axis]) / d, (side - a[axis]) / d);
        t0 = t0.max(low.min(high));
        t1 = t1.min(low.max(high));
    }
    // Also where an end is NaN.
    if t0.is_nan() || t1.is_nan() || t0 > t1 || a.iter().chain(&b).any(|v| v.is_nan()) {
        return;
    }
    let length = (b[0] - a[0]).abs().max((b[1] - a[1]).abs()) * (t1 - t0);
    // Twice a pixel: far ends cost digits, and no pixel is to be stepped over.
    let steps = (2.0 * length).ceil().clamp(1.0, 131_072.0) as u32;
    for step in 0..=steps {
        let t = t0 + (t1 - t0) * f64::from(step) / f64::from(steps);
        // All of this part meets the picture, but for the noise of far ends.
        let inside = |axis: usize, side: u32| {
            let v = a[axis] + (b[axis] - a[axis]) * t;
            (v.max(0.0) as usize).min(side as usize - 1)
        };
        let at = (inside(1, height) * width as usize + inside(0, width)) * 4;
        picture[at..at + 4].copy_from_slice(&LINE);
    }
}

fn write_png(out: &mut dyn Write, size: Size, picture: &[u8]) -> LibraryResult<()> {
    let fail = |error: png::EncodingError| match error {
        png::EncodingError::IoError(error) => Error::new(error),
        other => Error::new(std::io::Error::other(other)),
    };
    let mut encoder = png::Encoder::new(out, size.width, size.height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(picture).map_err(fail)?;
    writer.finish().map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_leave_the_ends_out() {
        let plane: Vec<f32> = (0..=100).map(|v| v as f32).chain([f32::NAN]).collect();
        assert_eq!(range(&[&plane], [2.0, 98.0]), [2.0, 98.0]);
        assert_eq!(range(&[&plane], [0.0, 100.0]), [0.0, 100.0]);
        assert_eq!(range(&[&[f32::NAN; 3]], [2.0, 98.0]), [0.0, 1.0]);
        let at = [2.0, 98.0];
        assert_eq!([0.0, 2.0, 50.0, 98.0, 100.0].map(|v| stretch(v, at)), [0, 0, 128, 255, 255]);
        assert_eq!(stretch(7.0, [7.0, 7.0]), 128);
    }

    #[test]
    fn lines_stay_in_the_picture() {
        let mut picture = vec![0u8; 8 * 6 * 4];
        draw_line(&mut picture, [8, 6], [-1e9, 2.0], [1e9, 2.0]);
        let row: Vec<bool> = picture.chunks(4).map(|p| p == LINE).collect();
        assert_eq!(row.iter().filter(|v| **v).count(), 8);
        assert!(row[16..24].iter().all(|v| *v));
        draw_line(&mut picture, [8, 6], [f64::NAN, 0.0], [1.0, 1.0]);
        draw_line(&mut picture, [8, 6], [3.0, -5.0], [3.0, 50.0]);
        assert_eq!(picture.chunks(4).filter(|p| *p == LINE).count(), 13);
    }
}
