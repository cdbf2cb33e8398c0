//! Resampling: a raster that is cut in pieces mosaics back to what the whole one gives, whatever the
//! kernel; kernels against brute force in f64 and against GDAL; what is true at the limits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use smalti::geometry::Bounds;
use smalti::mosaic::target::{Resolution, TargetOptions};
use smalti::mosaic::{MosaicOptions, NodataMode, Overlap};
use smalti::resample::Kernel;
use smalti::sample::Nodata;

use support::builder::{Geotiff, Random};
use support::mosaics::{DTYPES, Files, difference, kernels, read_all};

// ---- split and merge -----------------------------------------------------------------------------

/// A raster, how it is cut, and the grid that it is mosaicked on.
#[derive(Debug, Clone)]
struct Split {
    size: [usize; 3],
    dtype: (u16, u16),
    /// 0 none, 1 a nodata value, 2 one for each band, 3 NaN (floats).
    holes: usize,
    has_mask: bool,
    placement: usize,
    target: usize,
    overlap: Overlap,
    seed: u64,
}

fn splits() -> impl Strategy<Value = Split> {
    let overlaps = prop_oneof![
        3 => Just(Overlap::Last),
        2 => Just(Overlap::First),
        1 => Just(Overlap::Min),
        1 => Just(Overlap::Max),
        1 => Just(Overlap::Mean),
        1 => Just(Overlap::Median),
    ];
    let size = [3..44usize, 3..40, 1..4];
    let choice = (0..DTYPES.len(), 0..4usize, any::<bool>(), 0..PLACEMENTS.len(), 0..TARGETS);
    (size, choice, overlaps, any::<u64>()).prop_map(|(size, choice, overlap, seed)| {
        let (dtype, holes, has_mask, placement, target) = choice;
        // A sum of three f64 may round, so a third of it is not always the sample.
        let rounds = overlap == Overlap::Mean && DTYPES[dtype] == (64, 3);
        let overlap = if rounds { Overlap::Last } else { overlap };
        Split { size, dtype: DTYPES[dtype], holes, has_mask, placement, target, overlap, seed }
    })
}

/// Geotransforms: north-up with round and with ugly numbers, south-up, both axes flipped, turned,
/// sheared.
const PLACEMENTS: [[f64; 6]; 7] = [
    [500_000.0, 10.0, 0.0, 5_300_000.0, 0.0, -10.0],
    [13.7, 1.0 / 3600.0, 0.0, 47.3, 0.0, -1.0 / 3600.0],
    [123_456.789, 0.3, 0.0, 5_432_109.876, 0.0, -0.7],
    [500_000.1, 10.0, 0.0, 5_300_000.3, 0.0, 10.0],
    [123_456.789, -0.3, 0.0, 5_432_109.876, 0.0, 0.7],
    [
        500_000.1,
        8.910_065_241_883_68,
        4.539_904_997_395_468,
        5_300_000.3,
        4.539_904_997_395_468,
        -8.910_065_241_883_68,
    ],
    [123_456.789, 1.0, 0.3, 5_432_109.876, -0.1, -1.1],
];

/// Number of target grids.
const TARGETS: usize = 9;

fn target(split: &Split, whole: &Geotiff) -> TargetOptions {
    let [x0, dx, rx, y0, ry, dy] = whole.transform;
    let res = [dx.hypot(ry), rx.hypot(dy)];
    let fixed = |x: f64, y: f64| Resolution::Fixed([res[0] * x, res[1] * y]);
    let mut random = Random(split.seed ^ 7);
    let mut any = |low: f64, high: f64| low + (high - low) * random.below(1000) as f64 / 1000.0;
    let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)].map(|(c, r)| {
        let (c, r) = (c * whole.width as f64, r * whole.height as f64);
        [x0 + c * dx + r * rx, y0 + c * ry + r * dy]
    });
    let low = |axis: usize| corners.iter().map(|c| c[axis]).fold(f64::MAX, f64::min);
    let high = |axis: usize| corners.iter().map(|c| c[axis]).fold(f64::MIN, f64::max);
    let moved = |x: f64, y: f64| {
        Some(Bounds {
            min_x: low(0) + x * res[0],
            min_y: low(1) + y * res[1],
            max_x: high(0) + x * res[0],
            max_y: high(1) + y * res[1],
        })
    };
    let resolution = match split.target {
        1 => fixed(0.37, 0.61),
        2 => fixed(2.5, 2.0),
        3 => fixed(9.3, 7.1),
        5 => fixed(1.0 / 3.0, 0.125),
        6 => fixed(0.7, 1.4),
        7 | 8 => fixed(any(0.2, 4.0), any(0.2, 4.0)),
        _ => Resolution::Highest,
    };
    let bounds = match split.target {
        4 => moved(0.3, -0.45),
        8 => moved(any(-2.0, 2.0), any(-2.0, 2.0)),
        _ => None,
    };
    TargetOptions { resolution, bounds, tap: split.target == 6, ..TargetOptions::default() }
}

fn whole_of(split: &Split) -> Geotiff {
    let mut random = Random(split.seed);
    let (bits, format) = split.dtype;
    let is_float = format == 3;
    let nan = split.holes == 3 && is_float;
    let mut value = |band: usize, row: usize, col: usize| {
        let patch = (row / 5 + col / 7).is_multiple_of(3) && random.below(3) > 0;
        if split.holes > 0 && (patch || random.below(20) == 0) {
            return if nan { f64::NAN } else { hole(split, band) };
        }
        let wave = (col as f64 * 0.7).sin() + (row as f64 * 0.4 + band as f64).cos();
        match (bits, format) {
            (8, 1) => (wave * 50.0 + 128.0).round(),
            (8, _) => (wave * 50.0).round(),
            (16, 1) => (wave * 9000.0 + 30000.0).round() + random.below(64) as f64,
            (16, _) => (wave * 9000.0).round() + random.below(64) as f64,
            (32, 1) => (wave * 1e9 + 2.1e9).round() + random.below(64) as f64,
            (32, 2) => (wave * 1e9).round() + random.below(64) as f64,
            _ => wave * 1234.567 + random.below(1000) as f64 / 7.0,
        }
    };
    let mut whole = Geotiff::typed(split.size, split.dtype, &mut value);
    whole.transform = PLACEMENTS[split.placement];
    whole.epsg = Some(if split.placement == 1 { 4326 } else { 32633 });
    if split.holes == 1 {
        whole.nodata = Some(hole(split, 0).to_string());
    }
    if split.has_mask {
        let pixels = whole.width * whole.height;
        whole.mask = Some((0..pixels).map(|at| at % 11 < 6 || random.below(4) > 0).collect());
    }
    whole
}

/// The nodata of a band.
fn hole(split: &Split, band: usize) -> f64 {
    if split.holes == 2 { 7.0 + band as f64 } else { 7.0 }
}

fn options_of(split: &Split, whole: &Geotiff, kernel: Kernel) -> MosaicOptions {
    let values = (0..whole.bands).map(|band| Nodata::from_f64(hole(split, band)));
    MosaicOptions {
        target: target(split, whole),
        kernel,
        overlap: split.overlap,
        src_nodata: (split.holes == 2).then(|| values.collect()),
        nodata: (split.holes == 2).then_some(Nodata::from_f64(7.0)),
        nodata_mode: [None, Some(NodataMode::All), Some(NodataMode::Any)][split.seed as usize % 3],
        valid_fraction: if split.seed.is_multiple_of(5) { 0.6 } else { 0.0 },
        ..MosaicOptions::default()
    }
}

/// Cuts a raster at random into tiles that together cover it, with random overlaps, stored in many
/// ways, in random order.
fn cut_up(whole: &Geotiff, random: &mut Random) -> Vec<Geotiff> {
    let mut pending = vec![[0, 0, whole.width, whole.height]];
    let mut tiles = Vec::new();
    let mut cuts = 0;
    while let Some([left, top, right, bottom]) = pending.pop() {
        let (width, height) = (right - left, bottom - top);
        if cuts > 0 && (cuts > 11 || width * height < 9 || random.below(6) == 0) {
            tiles.push([left, top, right, bottom]);
            continue;
        }
        cuts += 1;
        if width > height {
            let at = left + 1 + random.below(width - 1);
            pending.extend([[left, top, at, bottom], [at, top, right, bottom]]);
        } else {
            let at = top + 1 + random.below(height - 1);
            pending.extend([[left, top, right, at], [left, at, right, bottom]]);
        }
        random.shuffle(&mut pending);
    }
    let grows = random.below(3) > 0;
    let mut parts: Vec<Geotiff> = tiles
        .into_iter()
        .map(|[left, top, right, bottom]| {
            let mut more = || if grows { random.below(6) } else { 0 };
            let (left, top) = (left.saturating_sub(more()), top.saturating_sub(more()));
            let right = (right + more()).min(whole.width);
            let bottom = (bottom + more()).min(whole.height);
            let mut part = whole.crop(left, top, right - left, bottom - top);
            part.tile = [None, Some((16, 16)), Some((32, 16))][random.below(3)];
            part.rows_per_strip = 1 + random.below(20);
            part.planar = random.below(2) == 0;
            part
        })
        .collect();
    random.shuffle(&mut parts);
    parts
}

fn split_and_merge(split: &Split, counts: &Cell<[usize; 3]>) -> Result<(), TestCaseError> {
    let whole = whole_of(split);
    let parts = cut_up(&whole, &mut Random(split.seed ^ 1));
    let (whole_files, part_files) = (Files::new(std::slice::from_ref(&whole)), Files::new(&parts));
    for kernel in kernels() {
        let options = options_of(split, &whole, kernel);
        let uncut = whole_files.mosaic(&options).unwrap();
        let merged = part_files.mosaic(&options).unwrap();
        // Where a side is a whole number of pixels and a half, the last digit of the tiles' own corners
        // decides whether there is one more (floor(extent / res + 0.5), SPEC §4.4).
        let sides = [uncut.grid.size, merged.grid.size].map(|size| [size.width, size.height]);
        if sides[0] != sides[1] {
            let bounds = whole_files.mosaic(&MosaicOptions::default()).unwrap().grid.bounds();
            let [x, y] = uncut.grid.transform.resolution();
            let half = |side: f64| (side.fract() - 0.5).abs() < 1e-6;
            let tie = half(bounds.width() / x) || half(bounds.height() / y);
            let what = format!("{sides:?}");
            return Err(if tie { TestCaseError::reject(what) } else { TestCaseError::fail(what) });
        }
        let [a, b] = [&uncut, &merged].map(|mosaic| read_all(mosaic).unwrap());
        let [mosaics, samples, valid] = counts.get();
        let pixels = uncut.grid.size.pixels() as usize;
        counts.set([mosaics + 1, samples + pixels, valid + b.1.count_valid() as usize]);
        if let Some(difference) = difference(&a, &b) {
            let what = format!("{kernel:?}, {} parts: {difference}", parts.len());
            return Err(TestCaseError::fail(what));
        }
    }
    Ok(())
}

#[test]
fn a_cut_raster_mosaics_to_what_the_whole_gives() {
    const CASES: u32 = 160;
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let counts = Cell::new([0; 3]);
    runner.run(&splits(), |split| split_and_merge(&split, &counts)).unwrap();
    let [mosaics, samples, valid] = counts.get();
    assert!(mosaics >= CASES as usize * 14, "{mosaics} mosaics");
    assert!(samples > 1_000_000 && valid > 500_000, "{samples} samples, {valid} valid");
}
