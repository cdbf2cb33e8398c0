//! The engine from inside a process: pixels against brute force, how often a source block is decoded,
//! what is never read at all, and whether the memory plan adds up.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use smalti::ErrorKind;
use smalti::codec::{Compression, Encoder};
use smalti::engine::budget::{Budget, Demand};
use smalti::engine::{self, MemoryLimit, Reader, Report, WriteOptions};
use smalti::error::InputError;
use smalti::geometry::{Bounds, Window};
use smalti::io::IoMode;
use smalti::mosaic::target::{Resolution, TargetOptions};
use smalti::mosaic::{Mosaic, MosaicOptions, NodataMode, Overlap};
use smalti::sample::Nodata;
use smalti::source::open::{OpenOptions, open_all};

use support::builder::{Codec, Geotiff, Random};
use support::reader;

/// Random mosaics that are compared with brute force.
const CASES: u64 = 400;
/// Sample types of their sources: bits and SampleFormat.
const DTYPES: [(u16, u16); 8] =
    [(8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (32, 3), (64, 3)];

/// Positions are rounded to a part of a pixel (SPEC §4.5a).
const UNIT: f64 = 1_048_576.0;

// ---- brute force -----------------------------------------------------------------------------

/// A source with its samples as numbers and the nodata that holds for it, by band.
struct Scene {
    tiff: Geotiff,
    values: Vec<f64>,
    nodata: Vec<Option<f64>>,
}

/// Options of a case in the words of the brute force.
struct Rules {
    overlap: Overlap,
    mode: NodataMode,
    nodata: Option<f64>,
}

/// What a sample must be.
#[derive(Clone, Copy)]
struct Expected {
    value: f64,
    valid: bool,
    /// Not so near to a border between source pixels that rounding decides.
    certain: bool,
}

impl Scene {
    fn value(&self, band: usize, col: usize, row: usize) -> f64 {
        self.values[(band * self.tiff.height + row) * self.tiff.width + col]
    }

    /// Whether a step of the grid is a dyadic number of source pixels, so that floats are exact.
    fn is_exact(&self, grid: [f64; 6]) -> bool {
        let [_, dx, rx, _, ry, dy] = self.tiff.transform;
        let whole = |scale: f64| (scale * UNIT).fract() == 0.0;
        rx == 0.0 && ry == 0.0 && whole(grid[1] / dx) && whole(grid[5] / dy)
    }

    /// The source pixel that holds `(x, y)`, and whether that is certain (SPEC §4.5a, §5.6).
    fn pixel(&self, x: f64, y: f64, grid: [f64; 6]) -> (Option<(usize, usize)>, bool) {
        let [x0, dx, rx, y0, ry, dy] = self.tiff.transform;
        let determinant = dx * dy - rx * ry;
        let u = ((x - x0) * dy - (y - y0) * rx) / determinant;
        let v = ((y - y0) * dx - (x - x0) * ry) / determinant;
        let near = |u: f64| (u - u.round()).abs() < 4e-6;
        let certain = self.is_exact(grid) || !(near(u) || near(v));
        let floor = |u: f64| ((u * UNIT).round() / UNIT + 1e-10).floor();
        let (col, row) = (floor(u), floor(v));
        let inside = col >= 0.0
            && row >= 0.0
            && col < self.tiff.width as f64
            && row < self.tiff.height as f64;
        (inside.then_some((col as usize, row as usize)), certain)
    }

    /// Whether a sample is valid in all that SPEC §5.2 asks.
    fn is_valid(&self, mode: NodataMode, band: usize, col: usize, row: usize) -> bool {
        let own = |band: usize| {
            let value = self.value(band, col, row);
            !value.is_nan() && self.nodata[band] != Some(value)
        };
        let mut bands = 0..self.tiff.bands;
        match mode {
            NodataMode::Band => own(band),
            NodataMode::All => bands.any(own),
            NodataMode::Any => bands.all(own),
        }
    }
}

impl Expected {
    fn is(&self, got: f64) -> bool {
        same(got, self.value)
    }
}

/// All samples of a mosaic: `(band * height + row) * width + col`.
fn brute_force(mosaic: &Mosaic, scenes: &[Scene], rules: &Rules) -> Vec<Expected> {
    let grid = mosaic.grid.transform.coefficients();
    let size = mosaic.grid.size;
    let top_down: Vec<&Scene> = match rules.overlap {
        Overlap::Last => scenes.iter().rev().collect(),
        _ => scenes.iter().collect(),
    };
    let mut out = Vec::new();
    for band in 0..mosaic.bands as usize {
        for row in 0..size.height {
            for col in 0..size.width {
                let x = grid[0] + (f64::from(col) + 0.5) * grid[1];
                let y = grid[3] + (f64::from(row) + 0.5) * grid[5];
                let mut found = None;
                let (mut certain, mut hole) = (true, false);
                for scene in &top_down {
                    let (pixel, sure) = scene.pixel(x, y, grid);
                    certain &= sure;
                    let Some((c, r)) = pixel else { continue };
                    hole |= scene.value(band, c, r).is_nan();
                    if found.is_none() && scene.is_valid(rules.mode, band, c, r) {
                        found = Some(scene.value(band, c, r));
                    }
                }
                // A pixel that is valid by its other bands hides what is below, but NaN is no sample.
                let found = found.filter(|value: &f64| !value.is_nan());
                // Without a nodata a hole in a float source stays NaN (engine::Reader::read).
                let empty = rules.nodata.unwrap_or(if hole { f64::NAN } else { 0.0 });
                let (value, valid) = (found.unwrap_or(empty), found.is_some());
                out.push(Expected { value, valid, certain });
            }
        }
    }
    out
}

// ---- random sources --------------------------------------------------------------------------

fn sample_bytes((bits, format): (u16, u16), value: f64) -> Vec<u8> {
    match (bits, format) {
        (32, 3) => (value as f32).to_le_bytes().to_vec(),
        (64, 3) => value.to_le_bytes().to_vec(),
        _ => (value as i64).to_le_bytes()[..usize::from(bits / 8)].to_vec(),
    }
}

fn fits((bits, format): (u16, u16), value: f64) -> bool {
    let side = 2f64.powi(i32::from(bits) - i32::from(format == 2));
    match format {
        3 => true,
        2 => value >= -side && value < side,
        _ => (0.0..side).contains(&value),
    }
}

fn transform(random: &mut Random, resolution: f64) -> [f64; 6] {
    let step = [resolution, 0.5, 0.25, 0.3][random.below(4)];
    let place = |random: &mut Random| random.below(40) as f64 * step;
    let noise = if random.below(4) == 0 { 1e-7 * resolution } else { 0.0 };
    let (x, y) = (1000.0 + place(random) + noise, 2000.0 - place(random) - noise);
    let r = resolution;
    match random.below(8) {
        0 => [x, r, 0.0, y - 20.0, 0.0, r],
        1 => [x, 0.79 * r, 0.61 * r, y, 0.59 * r, -0.81 * r],
        _ => [x, r, 0.0, y, 0.0, -r],
    }
}

fn scene(random: &mut Random, bands: usize, common: f64, like: (u16, u16)) -> Scene {
    let (width, height) = (1 + random.below(40), 1 + random.below(40));
    let mut tiff = Geotiff::new(width, height, bands, random.next());
    tiff.dtype = if random.below(2) == 0 { like } else { DTYPES[random.below(DTYPES.len())] };
    let float = tiff.dtype.1 == 3;
    let resolution =
        if random.below(3) > 0 { common } else { [0.5, 1.0, 2.0, 1.7][random.below(4)] };
    tiff.transform = transform(random, resolution);
    let nodata = [None, None, Some(0.0), Some(7.0), Some(-99.0), Some(100.0)][random.below(6)];
    tiff.nodata = nodata.map(|v| v.to_string());
    let low = if tiff.dtype.1 == 1 { 0 } else { -100 };
    let holes = random.below(3);
    let values: Vec<f64> = (0..width * height * bands)
        .map(|_| match random.below(8) {
            0 | 1 if holes > 0 => nodata.filter(|v| fits(tiff.dtype, *v)).unwrap_or(3.0),
            2 if float && holes > 1 => f64::NAN,
            _ => (random.below(220) as i64 + low).min(127) as f64 + f64::from(float) * 0.5,
        })
        .collect();
    tiff.samples = values.iter().flat_map(|v| sample_bytes(tiff.dtype, *v)).collect();
    tiff.planar = bands > 1 && random.below(2) == 0;
    tiff.tile = [None, Some((16, 16)), Some((32, 16)), Some((16, 48))][random.below(4)];
    tiff.rows_per_strip = 1 + random.below(20);
    tiff.big_endian = random.below(4) == 0;
    tiff.codec = [Codec::None, Codec::Lzw, Codec::Deflate, Codec::PackBits][random.below(4)];
    tiff.predictor = !float && random.below(3) == 0 && matches!(tiff.codec, Codec::Lzw);
    let judged = nodata.filter(|v| fits(tiff.dtype, *v));
    Scene { tiff, values, nodata: vec![judged; bands] }
}

/// A case: sources, their files, the options of the mosaic and what they mean.
fn case(seed: u64, folder: &Path) -> (Vec<Scene>, Vec<PathBuf>, MosaicOptions, Rules) {
    let mut random = Random(seed);
    let random = &mut random;
    let bands = 1 + random.below(4);
    let common = [0.5, 1.0, 2.0, 1.7][random.below(4)];
    let like = DTYPES[random.below(DTYPES.len())];
    let count = 1 + random.below(8);
    let mut scenes: Vec<Scene> = (0..count).map(|_| scene(random, bands, common, like)).collect();
    let paths = write_all(scenes.iter().map(|s| &s.tiff), folder);
    let mode = [None, Some(NodataMode::Band), Some(NodataMode::All), Some(NodataMode::Any)]
        [random.below(4)];
    let mut options = MosaicOptions { nodata_mode: mode, ..MosaicOptions::default() };
    options.overlap = [Overlap::Last, Overlap::First][random.below(2)];
    options.target.resolution =
        [Resolution::Highest, Resolution::Lowest, Resolution::Fixed([1.0, 1.0])][random.below(3)];
    if random.below(4) == 0 {
        let count = if random.below(2) == 0 { 1 } else { bands };
        let values: Vec<f64> = (0..count).map(|_| [0.0, 3.0, -99.0][random.below(3)]).collect();
        options.src_nodata = Some(values.iter().map(|v| Nodata::from_f64(*v)).collect());
        for scene in &mut scenes {
            let of = |band: usize| values[band.min(values.len() - 1)];
            let judged = |band| Some(of(band)).filter(|v| fits(scene.tiff.dtype, *v));
            scene.nodata = (0..bands).map(judged).collect();
        }
    }
    let own = scenes[0].nodata[0];
    let given = [None, None, Some(5.0)][random.below(3)];
    options.nodata = given.map(Nodata::from_f64);
    let rules = Rules {
        overlap: options.overlap,
        mode: mode.unwrap_or(NodataMode::Band),
        nodata: given.or(own),
    };
    (scenes, paths, options, rules)
}

fn write_all<'a>(tiffs: impl Iterator<Item = &'a Geotiff>, folder: &Path) -> Vec<PathBuf> {
    tiffs
        .enumerate()
        .map(|(index, tiff)| {
            let path = folder.join(format!("{index:03}.tif"));
            tiff.write(&path);
            path
        })
        .collect()
}

fn mosaic_of(paths: &[PathBuf], options: &MosaicOptions) -> Mosaic {
    let opened = open_all(paths, &OpenOptions::default(), &()).unwrap();
    Mosaic::new(opened.sources, options).unwrap()
}

fn random_window(random: &mut Random, mosaic: &Mosaic) -> Window {
    let size = mosaic.grid.size;
    let span = |random: &mut Random, side: u32| {
        let start = random.below(side as usize) as u32;
        (start, 1 + random.below((side - start) as usize) as u32)
    };
    let ((col, width), (row, height)) = (span(random, size.width), span(random, size.height));
    Window::new(col, row, width, height).unwrap()
}

fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Compares a window that was read with what must be in it; returns samples compared and skipped.
fn check_window(
    mosaic: &Mosaic,
    reader: &Reader<'_>,
    window: Window,
    expected: &[Expected],
    name: &str,
) -> (u64, u64) {
    let (pixels, mask) = reader.read(window).unwrap();
    let size = mosaic.grid.size;
    let (mut compared, mut skipped) = (0, 0);
    for band in 0..mosaic.bands {
        for row in 0..window.height {
            for col in 0..window.width {
                let (c, r) = (window.col + col, window.row + row);
                let at = (u64::from(band) * u64::from(size.height) + u64::from(r))
                    * u64::from(size.width)
                    + u64::from(c);
                let want = expected[at as usize];
                if !want.certain {
                    skipped += 1;
                    continue;
                }
                compared += 1;
                let got = (pixels.get_f64(band, col, row), mask.is_valid(band, col, row));
                assert!(
                    want.is(got.0) && got.1 == want.valid,
                    "{name}: band {band}, col {c}, row {r} of {window:?}: {got:?}, expected {:?}",
                    (want.value, want.valid)
                );
            }
        }
    }
    (compared, skipped)
}

#[test]
fn windows_equal_brute_force() {
    let (mut compared, mut skipped, mut windows) = (0, 0, 0);
    for seed in 0..CASES {
        let folder = tempfile::tempdir().unwrap();
        let (scenes, paths, options, rules) = case(seed, folder.path());
        let mosaic = mosaic_of(&paths, &options);
        let expected = brute_force(&mosaic, &scenes, &rules);
        let mut random = Random(seed ^ 0xABCD);
        let cache_bytes = [0, 20_000, 1 << 24][random.below(3)];
        let reader = Reader::new(&mosaic, cache_bytes, IoMode::Auto);
        let mut list = vec![mosaic.grid.size.window().unwrap()];
        list.extend((0..3).map(|_| random_window(&mut random, &mosaic)));
        for window in list {
            let name = format!("case {seed}");
            let (some, none) = check_window(&mosaic, &reader, window, &expected, &name);
            (compared, skipped, windows) = (compared + some, skipped + none, windows + 1);
        }
    }
    assert_eq!(windows, 4 * CASES);
    assert!(skipped * 10 < compared, "{skipped} of {compared} samples are not certain");
}

fn write(mosaic: &Mosaic, output: &Path, options: &WriteOptions) -> Report {
    let options = WriteOptions { overwrite: true, ..options.clone() };
    engine::write(mosaic, output, &options, &()).unwrap()
}

/// A file that was written, read by a reader of another hand.
#[test]
fn written_files_equal_brute_force() {
    let mut compared = 0u64;
    for seed in 0..CASES {
        let folder = tempfile::tempdir().unwrap();
        let (scenes, paths, options, rules) = case(seed, folder.path());
        let mosaic = mosaic_of(&paths, &options);
        let expected = brute_force(&mosaic, &scenes, &rules);
        let mut random = Random(seed ^ 0x1234);
        let how = WriteOptions {
            threads: 1 + random.below(3),
            chunk: [16, 32, 64, 256][random.below(4)],
            pixel_interleaved: random.below(2) == 0,
            compression: [Compression::Lzw, Compression::None, Compression::Deflate]
                [random.below(3)],
            sparse: random.below(2) == 0,
            ..WriteOptions::default()
        };
        let output = folder.path().join("out.tif");
        let report = write(&mosaic, &output, &how);
        let picture = reader::read(&output).unwrap();
        let shape = (picture.width, picture.height, picture.bands);
        let size = mosaic.grid.size;
        assert_eq!(shape, (size.width as usize, size.height as usize, mosaic.bands as usize));
        for (at, want) in expected.iter().enumerate().filter(|(_, want)| want.certain) {
            let (rest, col) = (at / picture.width, at % picture.width);
            let (band, row) = (rest / picture.height, rest % picture.height);
            let got = picture.value(band, row, col);
            assert!(
                want.is(got),
                "case {seed}: band {band}, row {row}, col {col}: {got}, expected {}, {how:?}",
                want.value
            );
            compared += 1;
        }
        if expected.iter().all(|want| want.certain) {
            let invalid = expected.iter().filter(|want| !want.valid).count() as u64;
            assert_eq!(report.stats.samples_invalid, invalid, "case {seed}");
        }
    }
    assert!(compared > 1_000_000, "{compared} samples");
}

#[test]
fn the_mosaic_of_a_window_is_the_window_of_the_mosaic() {
    let (mut compared, mut exact_cases, mut differ) = (0, 0, 0);
    for seed in 0..CASES {
        let folder = tempfile::tempdir().unwrap();
        let (scenes, paths, mut options, _) = case(seed, folder.path());
        let whole = mosaic_of(&paths, &options);
        let window = random_window(&mut Random(seed ^ 0x77), &whole);
        options.target = same_phase(&whole, window);
        let part = mosaic_of(&paths, &options);
        assert_eq!(part.grid.size, window.size(), "case {seed}");
        let exact = scenes.iter().all(|s| s.is_exact(whole.grid.transform.coefficients()));
        let (samples, wrong) = compare_window(&whole, window, &part);
        assert!(!exact || wrong == 0, "case {seed}: {wrong} of {samples} samples differ");
        (compared, differ) = (compared + samples, differ + wrong);
        exact_cases += u64::from(exact);
    }
    assert!(exact_cases > CASES / 4, "{exact_cases} cases");
    assert_eq!(differ, 0, "of {compared} samples");
}

/// Options for the grid of a window of a mosaic.
fn same_phase(whole: &Mosaic, window: Window) -> TargetOptions {
    let [x0, dx, _, y0, _, dy] = whole.grid.transform.coefficients();
    let x = |col: u32| x0 + f64::from(col) * dx;
    let y = |row: u32| y0 + f64::from(row) * dy;
    TargetOptions {
        resolution: Resolution::Fixed([dx, -dy]),
        bounds: Some(Bounds {
            min_x: x(window.col),
            min_y: y(window.row_end()),
            max_x: x(window.col_end()),
            max_y: y(window.row),
        }),
        ..TargetOptions::default()
    }
}

/// Samples of a window of one mosaic, and how many of them differ in a mosaic of that window.
fn compare_window(whole: &Mosaic, window: Window, part: &Mosaic) -> (u64, u64) {
    let read = |mosaic: &Mosaic, window: Window| {
        Reader::new(mosaic, 1 << 24, IoMode::Auto).read(window).unwrap()
    };
    let (a, a_mask) = read(whole, window);
    let (b, b_mask) = read(part, part.grid.size.window().unwrap());
    let (mut samples, mut wrong) = (0, 0);
    for band in 0..whole.bands {
        for row in 0..window.height {
            for col in 0..window.width {
                let values = [&a, &b].map(|raster| raster.get_f64(band, col, row));
                let valid = [&a_mask, &b_mask].map(|mask| mask.is_valid(band, col, row));
                wrong += u64::from(!same(values[0], values[1]) || valid[0] != valid[1]);
                samples += 1;
            }
        }
    }
    (samples, wrong)
}

/// A centre that lies on a border of source pixels (here 17 × 0.5 = 5 × 1.7) stays on one side of it,
/// wherever the corner of the grid is.
#[test]
fn a_tie_between_source_pixels_does_not_move_with_the_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let mut tiff = Geotiff::new(40, 40, 1, 1);
    tiff.transform = [1000.0, 1.7, 0.0, 2000.0, 0.0, -1.7];
    let paths = write_all([&tiff].into_iter(), folder.path());
    let bounds = Bounds { min_x: 999.75, min_y: 1932.25, max_x: 1067.75, max_y: 2000.25 };
    let resolution = Resolution::Fixed([0.5, 0.5]);
    let target = TargetOptions { resolution, bounds: Some(bounds), ..TargetOptions::default() };
    let whole = mosaic_of(&paths, &MosaicOptions { target, ..MosaicOptions::default() });
    let mut wrong = 0;
    for start in 0..100 {
        let window = Window::new(start, start, 30, 30).unwrap();
        let target = same_phase(&whole, window);
        let part = mosaic_of(&paths, &MosaicOptions { target, ..MosaicOptions::default() });
        wrong += compare_window(&whole, window, &part).1;
    }
    assert_eq!(wrong, 0);
}

/// Where a rotated source has no pixel there is nothing, whatever its first sample is.
#[test]
fn a_rotated_source_with_nan_reads_as_zero_around_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut tiff = Geotiff::new(8, 8, 1, 1);
    tiff.dtype = (32, 3);
    tiff.transform = [1000.0, 0.8, 0.6, 2000.0, 0.6, -0.8];
    tiff.samples =
        (0..64).flat_map(|i| if i == 0 { f32::NAN } else { 1.0 }.to_le_bytes()).collect();
    let paths = write_all([&tiff].into_iter(), folder.path());
    let mosaic = mosaic_of(&paths, &MosaicOptions::default());
    let reader = Reader::new(&mosaic, 1 << 20, IoMode::Auto);
    let (pixels, mask) = reader.read(mosaic.grid.size.window().unwrap()).unwrap();
    // The corner of the bounding box is far from the rotated square.
    assert!(!mask.is_valid(0, 0, 0));
    assert_eq!(pixels.get_f64(0, 0, 0), 0.0);
}

// ---- how often a block is decoded ------------------------------------------------------------

/// Sets of sources that are hard on a cache, each with its name.
fn hard_sets() -> Vec<(String, Vec<Geotiff>)> {
    let mut sets = Vec::new();
    for rows in [1, 16, 64, 10_000] {
        let scenes = (0..5).map(|k| {
            let mut scene = Geotiff::new(300, 260, 3, k).moved(k as f64 * 90.0, k as f64 * 70.0);
            scene.rows_per_strip = rows;
            scene.codec = Codec::Deflate;
            scene.nodata = Some("0".into());
            // A collar, so that what lies beneath is asked for too.
            (0..40).for_each(|d| (0..260).for_each(|row| scene.set(d, row, 0)));
            scene
        });
        sets.push((format!("strips of {rows}"), scenes.collect()));
    }
    let tiles = (0..4).map(|k| {
        let mut scene = Geotiff::new(200, 200, 2, k).moved(k as f64 * 110.0, 30.0 * k as f64);
        scene.tile = Some((48, 80));
        scene.planar = k % 2 == 0;
        scene.codec = Codec::Lzw;
        scene
    });
    sets.push(("tiles".into(), tiles.collect()));
    let small = (0..48).map(|k| {
        let place = ((k % 8) as f64 * 36.0, (k / 8) as f64 * 36.0);
        let mut scene = Geotiff::new(40, 40, 1, k).moved(place.0, place.1);
        scene.rows_per_strip = 7;
        scene
    });
    sets.push(("small".into(), small.collect()));
    sets
}

fn options(threads: usize, memory: MemoryLimit) -> WriteOptions {
    WriteOptions { threads, memory, chunk: 64, ..WriteOptions::default() }
}

/// The least memory that one thread can do with, as the refusal says.
fn least_memory(mosaic: &Mosaic, output: &Path, chunk: u32) -> u64 {
    let how = options(1, MemoryLimit::Bytes(1));
    let options = WriteOptions { chunk, overwrite: true, ..how };
    let error = engine::write(mosaic, output, &options, &()).unwrap_err();
    match error.kind() {
        ErrorKind::Input(InputError::Memory { need_bytes, .. }) => *need_bytes,
        _ => panic!("{error}"),
    }
}

#[test]
fn a_source_block_is_decoded_once() {
    let mut runs = 0;
    for (name, set) in hard_sets() {
        let folder = tempfile::tempdir().unwrap();
        let mosaic = mosaic_of(&write_all(set.iter(), folder.path()), &MosaicOptions::default());
        for threads in [1, 2, 4] {
            let output = folder.path().join("out.tif");
            let stats = write(&mosaic, &output, &options(threads, MemoryLimit::Auto)).stats;
            assert!(stats.blocks_distinct > 0, "{name}");
            assert_eq!(stats.blocks_decoded, stats.blocks_distinct, "{name}, {threads} threads");
            runs += 1;
        }
    }
    assert_eq!(runs, 18);
}

#[test]
fn bytes_do_not_depend_on_threads_or_memory() {
    let mut runs = 0;
    for (name, set) in hard_sets() {
        let folder = tempfile::tempdir().unwrap();
        let mosaic = mosaic_of(&write_all(set.iter(), folder.path()), &MosaicOptions::default());
        let output = folder.path().join("out.tif");
        let least = least_memory(&mosaic, &output, 64);
        let mut first: Option<Vec<u8>> = None;
        for threads in [1, 2, 7] {
            for memory in [MemoryLimit::Bytes(least), MemoryLimit::Bytes(256 << 20)] {
                write(&mosaic, &output, &options(threads, memory));
                let bytes = fs::read(&output).unwrap();
                let same = first.as_ref().is_none_or(|first| *first == bytes);
                assert!(same, "{name}: {threads} threads, {memory:?}");
                first = Some(bytes);
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 36);
}

/// Writes zeros over blocks of a Deflate file: headers are right, these blocks cannot be decoded.
fn break_blocks(path: &Path, blocks: impl Fn(usize) -> bool) -> usize {
    let tags = reader::read(path).unwrap().tags;
    let list = |a: u16, b: u16| tags.get(&a).unwrap_or_else(|| &tags[&b]).ints.clone();
    let (offsets, counts) = (list(324, 273), list(325, 279));
    let mut bytes = fs::read(path).unwrap();
    for index in (0..offsets.len()).filter(|index| blocks(*index)) {
        let (offset, count) = (offsets[index] as usize, counts[index] as usize);
        bytes[offset..offset + count].fill(0);
    }
    fs::write(path, bytes).unwrap();
    offsets.len()
}

#[test]
fn what_lies_beneath_an_opaque_source_is_not_read() {
    let mut runs = 0;
    for chunk in [16, 64, 256] {
        for threads in [1, 3] {
            let folder = tempfile::tempdir().unwrap();
            let mut bottom = Geotiff::new(96, 96, 2, 1);
            (bottom.tile, bottom.codec) = (Some((16, 16)), Codec::Deflate);
            let mut top = Geotiff::new(70, 50, 2, 2);
            top.rows_per_strip = 9;
            let paths = write_all([&bottom, &bottom, &top].into_iter(), folder.path());
            // Tiles that lie wholly under the top: 4 across, 3 down. The middle one hides the rest.
            let hidden = |index: usize| index % 6 < 4 && index / 6 < 3;
            assert_eq!(break_blocks(&paths[0], |_| true), 36);
            break_blocks(&paths[1], hidden);
            let mosaic = mosaic_of(&paths, &MosaicOptions::default());
            let how = WriteOptions { chunk, ..options(threads, MemoryLimit::Auto) };
            let output = folder.path().join("out.tif");
            let stats = write(&mosaic, &output, &how).stats;
            assert_eq!(stats.blocks_decoded, 6 + 36 - 12, "chunk {chunk}");
            let picture = reader::read(&output).unwrap();
            for (col, row) in [(0, 0), (69, 49), (70, 49), (95, 95)] {
                let from = if col < 70 && row < 50 { &top } else { &bottom };
                let at = (from.width * row + col) * 2;
                assert_eq!(picture.sample(0, row, col), &from.samples[at..at + 2]);
            }
            // The broken file by itself does fail.
            let alone = mosaic_of(&paths[..1], &MosaicOptions::default());
            let error =
                engine::write(&alone, &folder.path().join("no.tif"), &how, &()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Format(_)), "{error}");
            runs += 1;
        }
    }
    assert_eq!(runs, 6);
}

#[cfg(all(feature = "cli", unix))]
#[test]
fn more_sources_than_file_handles() {
    let env = support::TestEnv::new();
    let tiffs: Vec<Geotiff> = (0..150)
        .map(|k| Geotiff::new(20, 20, 1, k).moved((k % 15) as f64 * 20.0, (k / 15) as f64 * 20.0))
        .collect();
    fs::create_dir(env.path("in")).unwrap();
    write_all(tiffs.iter(), &env.path("in"));
    env.ok(&["mosaic", "in", "-o", "free.tif", "--chunk", "64"]);
    let script = "ulimit -n 40 && exec \"$0\" mosaic in -o tight.tif --chunk 64 --threads 4";
    let status = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_smalti")])
        .current_dir(env.path(""))
        .status()
        .unwrap();
    assert!(status.success());
    assert!(fs::read(env.path("free.tif")).unwrap() == fs::read(env.path("tight.tif")).unwrap());
}

// ---- streamed strips -------------------------------------------------------------------------

/// Makes the one uncompressed strip of a little-endian file a ZSTD one.
fn compress_strip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let tags = reader::read(path).unwrap().tags;
    let (offset, count) = (tags[&273].ints[0] as usize, tags[&279].ints[0] as usize);
    let mut encoded = Vec::new();
    let mut encoder = Encoder::new(Compression::Zstd, None).unwrap();
    encoder.encode(&bytes[offset..offset + count], &mut encoded).unwrap();
    let word = |at: usize, bytes: &[u8]| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let ifd = word(4, &bytes) as usize;
    let entries = usize::from(u16::from_le_bytes([bytes[ifd], bytes[ifd + 1]]));
    let new_offset = bytes.len() as u32;
    for entry in (0..entries).map(|index| ifd + 2 + 12 * index) {
        let value = match u16::from_le_bytes([bytes[entry], bytes[entry + 1]]) {
            259 => 50_000,
            273 => new_offset,
            279 => encoded.len() as u32,
            _ => continue,
        };
        bytes[entry + 8..entry + 12].copy_from_slice(&value.to_le_bytes());
    }
    bytes.extend(encoded);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_streamed_strip_gives_the_pixels_of_its_tiled_twin() {
    let mut runs = 0;
    let mut tiled = Geotiff::new(1700, 2000, 1, 3);
    tiled.dtype = (32, 1);
    let values = tiled.samples.chunks_exact(2).map(|v| u16::from_le_bytes([v[0], v[1]]));
    tiled.samples = values.flat_map(|v| (u32::from(v) * 70_000).to_le_bytes()).collect();
    let mut strip = tiled.clone();
    (tiled.tile, strip.rows_per_strip) = (Some((256, 256)), 2000);
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.tif"), folder.path().join("out.tif"));
    tiled.write(&input);
    let one = || mosaic_of(std::slice::from_ref(&input), &MosaicOptions::default());
    let how = |threads, memory| WriteOptions { chunk: 256, ..options(threads, memory) };
    write(&one(), &output, &how(2, MemoryLimit::Auto));
    let expected = fs::read(&output).unwrap();
    let codecs = [Some(Codec::Deflate), Some(Codec::Lzw), Some(Codec::PackBits), None];
    for codec in codecs {
        strip.codec = codec.unwrap_or(Codec::None);
        strip.write(&input);
        if codec.is_none() {
            compress_strip(&input);
        }
        let mosaic = one();
        assert!(mosaic.sources()[0].dataset.image.is_streamed());
        let least = least_memory(&mosaic, &output, 256);
        let less = how(1, MemoryLimit::Bytes(least - 1));
        let less = WriteOptions { overwrite: true, ..less };
        let text = engine::write(&mosaic, &output, &less, &()).unwrap_err().to_string();
        assert!(text.contains("in.tif") && text.contains("as a stream"), "{text}");
        let limits = [MemoryLimit::Auto, MemoryLimit::Bytes(least)];
        for (threads, memory) in [1, 3].into_iter().flat_map(|t| limits.map(|m| (t, m))) {
            let stats = write(&mosaic, &output, &how(threads, memory)).stats;
            assert!(fs::read(&output).unwrap() == expected, "{codec:?}, {threads} threads");
            assert_eq!(stats.blocks_decoded, stats.blocks_distinct, "{codec:?} {memory:?}");
            runs += 1;
        }
    }
    assert_eq!(runs, 16);
}

// ---- the memory plan -------------------------------------------------------------------------

fn demand(threads: usize, chunk: u32, bands: u32, kind: usize, compression: Compression) -> Demand {
    Demand {
        threads,
        chunk,
        block_pixels: u64::from(chunk).pow(2),
        sample_bytes: [2, 4][kind % 2],
        bands,
        separable: kind < 2,
        shared_validity: kind.is_multiple_of(2),
        pixel_interleaved: kind >= 2,
        compression,
        overviews: None,
        origin_bytes: 0,
        copies: false,
    }
}

fn assert_adds_up(budget: &Budget, demand: &Demand, total: u64) {
    let sum =
        budget.cache_bytes + budget.window_bytes + budget.threads as u64 * budget.thread_bytes;
    assert!(sum <= total, "{sum} of {total}: {budget:?} for {demand:?}");
    assert_eq!(budget.total_bytes, total);
    assert!((1..=demand.threads).contains(&budget.threads), "{budget:?}");
    assert!((1..=demand.bands).contains(&budget.band_group), "{budget:?}");
    assert!(budget.reserve_bytes <= budget.window_bytes, "{budget:?}");
}

#[test]
fn the_memory_plan_adds_up_and_refusals_name_what_would_do() {
    let (mut granted, mut refused) = (0, 0);
    let folder = tempfile::tempdir().unwrap();
    for (index, bands) in [1u32, 3, 12].into_iter().enumerate() {
        let mut tiff = Geotiff::new(600, 600, bands as usize, 1);
        tiff.tile = Some((512, 512));
        tiff.planar = index == 2;
        let path = folder.path().join(format!("{bands}.tif"));
        tiff.write(&path);
        let mosaic = mosaic_of(&[path], &MosaicOptions::default());
        for threads in [1, 2, 16, 64] {
            for chunk in [256, 1024, 2048, 4096] {
                for kind in 0..4 {
                    for codec in [Compression::Lzw, Compression::None, Compression::Zstd] {
                        let demand = demand(threads, chunk, bands, kind, codec);
                        for total in [1 << 20, 64 << 20, 256 << 20, 1 << 30] {
                            match demand.share(&mosaic, total) {
                                Ok(budget) => {
                                    assert_adds_up(&budget, &demand, total);
                                    granted += 1;
                                }
                                Err(error) => {
                                    let ErrorKind::Input(InputError::Memory { need_bytes, .. }) =
                                        error.kind()
                                    else {
                                        panic!("{error}");
                                    };
                                    assert!(*need_bytes > total, "{error}");
                                    let budget = demand.share(&mosaic, *need_bytes).unwrap();
                                    assert_adds_up(&budget, &demand, *need_bytes);
                                    assert!(demand.share(&mosaic, *need_bytes - 1).is_err());
                                    refused += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(granted + refused, 3 * 4 * 4 * 4 * 3 * 4);
    assert!(granted > 1000 && refused > 400, "{granted} granted, {refused} refused");
}
