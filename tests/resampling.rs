//! Resampling: a raster that is cut in pieces mosaics back to what the whole one gives, whatever the
//! kernel; kernels against brute force in f64 and against GDAL; what is true at the limits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use smalti::ErrorKind;
use smalti::geometry::Bounds;
use smalti::mosaic::target::{Resolution, TargetOptions};
use smalti::mosaic::{Mosaic, MosaicOptions, NodataMode, Overlap};
use smalti::resample::Kernel;
use smalti::sample::{DataType, Nodata};
use smalti::source::open::open_source;

use support::builder::{Geotiff, Random};
use support::mosaics::{DTYPES, Files, difference, kernels, read_all};
use support::oracle::{Composite, Place, Placed};
use support::{fixtures, reader};

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

// ---- brute force ---------------------------------------------------------------------------------

/// Pixel sizes of the output in those of the source, and a shift of the output.
const GEOMETRIES: [([f64; 2], [f64; 2]); 7] = [
    ([0.31, 0.43], [0.0, 0.0]),
    ([0.5, 0.25], [0.0, 0.0]),
    ([1.0, 1.0], [0.3, -0.45]),
    ([2.0, 3.0], [0.0, 0.0]),
    ([2.5, 1.7], [0.21, 0.13]),
    ([7.3, 0.6], [-1.37, 0.5]),
    ([9.7, 11.3], [2.11, -3.3]),
];

/// A source of 23 × 19 pixels with holes of a kind: 0 none, 1 nodata, 2 a mask, 3 NaN.
fn holed(dtype: (u16, u16), holes: usize, transform: [f64; 6]) -> Geotiff {
    let mut random = Random(u64::from(dtype.0) * 7 + u64::from(dtype.1) + holes as u64 * 100);
    let most = match dtype {
        (8, 1) => 255,
        (8, _) => 100,
        (16, 1) => 65535,
        _ => 30000,
    };
    let hole = if holes == 3 { f64::NAN } else { 7.0 };
    let mut picture = Geotiff::typed([23, 19, 1], dtype, |_, row, col| {
        let gap = (row / 4 + col / 5) % 3 == 0 && (row + col) % 4 != 0;
        if holes % 2 == 1 && (gap || random.below(8) == 0) {
            return hole;
        }
        let value = 8.0 + random.below(most - 8) as f64;
        if dtype.1 == 3 {
            value / 7.0 - 1000.0
        } else {
            value - if dtype.1 == 2 { 30.0 } else { 0.0 }
        }
    });
    picture.transform = transform;
    if holes == 1 {
        picture.nodata = Some("7".to_owned());
    }
    if holes == 2 {
        picture.mask = Some((0..23 * 19).map(|_| random.below(10) > 3).collect());
    }
    picture
}

#[test]
fn every_kernel_is_its_brute_force() {
    let data = [((8, 1), 1), ((16, 1), 0), ((16, 2), 2), ((32, 3), 3), ((64, 3), 1), ((32, 2), 2)];
    let [mut mosaics, mut compared, mut left_out, mut invalid] = [0usize; 4];
    for (placement, data_at) in
        [0, 2, 3, 4, 5, 6].into_iter().flat_map(|p| (0..6).map(move |d| (p, d)))
    {
        let (dtype, holes) = data[data_at];
        let picture = holed(dtype, holes, PLACEMENTS[placement]);
        let files = Files::new(std::slice::from_ref(&picture));
        let nodata = (holes == 1).then_some(7.0);
        let placed = Placed::new(&picture, 0, [0, 0], nodata);
        let composite = Composite::new(vec![placed], Overlap::Last);
        let values = composite.sources[0].values.iter().copied().filter(|v| !v.is_nan());
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        for (index, (scale, shift)) in GEOMETRIES.into_iter().enumerate() {
            for kernel in kernels() {
                let fraction = if (index + data_at) % 3 == 0 { 0.55 } else { 0.0 };
                let options = geometry_options(&picture, scale, shift, kernel, fraction);
                let mosaic = files.mosaic(&options).unwrap();
                let (got, valid) = read_all(&mosaic).unwrap();
                let grid = mosaic.grid.transform.coefficients();
                mosaics += 1;
                for row in 0..mosaic.grid.size.height {
                    for col in 0..mosaic.grid.size.width {
                        let place = Place::new(grid, picture.transform, col, row);
                        let want = composite.at(kernel, &place, fraction);
                        if place.is_doubtful() || want.as_ref().is_some_and(|w| w.doubtful) {
                            left_out += 1;
                            continue;
                        }
                        let at = format!(
                            "{kernel:?} {dtype:?} holes {holes} placement {placement} {scale:?} {shift:?} at {col}, {row}"
                        );
                        assert_eq!(
                            valid.is_valid(0, col, row),
                            want.is_some(),
                            "{at}: {want:?}, got {}",
                            got.get_f64(0, col, row)
                        );
                        let Some(want) = want else {
                            invalid += 1;
                            continue;
                        };
                        compared += 1;
                        let value = got.get_f64(0, col, row);
                        let tolerance = tolerance_of(kernel, dtype, low, high, scale, want.slack);
                        let near = |want: &f64| {
                            (value - saturated(*want, mosaic.dtype)).abs() <= tolerance
                        };
                        assert!(want.values.iter().any(near), "{at}: {value}, expected {want:?}");
                    }
                }
            }
        }
    }
    assert_eq!(mosaics, 6 * 6 * 7 * 14);
    assert!(left_out * 40 < compared, "{left_out} left out of {compared}");
    assert!(compared > 1_000_000 && invalid > 200_000, "{compared} compared, {invalid} invalid");
}

fn geometry_options(
    picture: &Geotiff,
    scale: [f64; 2],
    shift: [f64; 2],
    kernel: Kernel,
    valid_fraction: f64,
) -> MosaicOptions {
    let split = Split {
        size: [picture.width, picture.height, 1],
        dtype: picture.dtype,
        holes: 0,
        has_mask: false,
        placement: 0,
        target: 4,
        overlap: Overlap::Last,
        seed: 0,
    };
    let mut target = target(&split, picture);
    let [_, dx, rx, _, ry, dy] = picture.transform;
    let res = [dx.hypot(ry), rx.hypot(dy)];
    target.resolution = Resolution::Fixed([res[0] * scale[0], res[1] * scale[1]]);
    // The shift of the split is (0.3, -0.45).
    target.bounds = target.bounds.map(|b| Bounds {
        min_x: b.min_x + (shift[0] - 0.3) * res[0],
        max_x: b.max_x + (shift[0] - 0.3) * res[0],
        min_y: b.min_y + (shift[1] + 0.45) * res[1],
        max_y: b.max_y + (shift[1] + 0.45) * res[1],
    });
    MosaicOptions { target, kernel, valid_fraction, ..MosaicOptions::default() }
}

/// What a value of the brute force is in a type of integers: in its range.
fn saturated(value: f64, dtype: DataType) -> f64 {
    match dtype {
        DataType::U8 => value.clamp(0.0, 255.0),
        DataType::U16 => value.clamp(0.0, 65535.0),
        DataType::I8 => value.clamp(-128.0, 127.0),
        DataType::I16 => value.clamp(-32768.0, 32767.0),
        DataType::U32 | DataType::U64 => value.max(0.0),
        _ => value,
    }
}

/// Positions are rounded to 2^-20 px (SPEC §4.5a), half of which a value may change by, times its range
/// and for sums times the pixels under one; `f32` holds 24 bits; integers round by a half.
fn tolerance_of(
    kernel: Kernel,
    (bits, format): (u16, u16),
    low: f64,
    high: f64,
    scale: [f64; 2],
    slack: f64,
) -> f64 {
    let picks = matches!(
        kernel,
        Kernel::Nearest
            | Kernel::Mode
            | Kernel::Min
            | Kernel::Max
            | Kernel::Med
            | Kernel::Q1
            | Kernel::Q3
    );
    if picks {
        return 0.0;
    }
    let area = if kernel == Kernel::Sum { scale[0].max(1.0) * scale[1].max(1.0) } else { 1.0 };
    let moved = 3e-6 * (high - low).max(high.abs()).max(low.abs()) * area * slack;
    match (bits, format) {
        (_, 3) => moved,
        _ => 0.5 + moved.max(0.03),
    }
}

// ---- GDAL ----------------------------------------------------------------------------------------

/// The kernels of a fixture's bands.
const BANDS: [Kernel; 7] = [
    Kernel::Nearest,
    Kernel::Bilinear,
    Kernel::Cubic,
    Kernel::CubicSpline,
    Kernel::Lanczos,
    Kernel::Average,
    Kernel::Rms,
];

#[test]
fn kernels_on_single_sources_are_gdals() {
    let [mut pictures, mut compared, mut corners] = [0usize; 3];
    for name in ["uint8", "int16", "uint16", "float32", "float64"] {
        let path = fixtures("kernels").join(format!("source_{name}.tif"));
        let source = reader::read(&path).unwrap();
        let is_float = name.starts_with('f');
        for ratio in ["0.5", "0.75", "1.2", "2", "3", "6"] {
            let expected = fixtures("kernels").join(format!("{name}_{ratio}.tif"));
            if !expected.exists() {
                continue;
            }
            let want = reader::read(&expected).unwrap();
            pictures += 1;
            let ratio: f64 = ratio.parse().unwrap();
            for (band, kernel) in BANDS.into_iter().enumerate() {
                let res = Resolution::Fixed([10.0 * ratio; 2]);
                let target = TargetOptions { resolution: res, ..TargetOptions::default() };
                let options = MosaicOptions { target, kernel, ..MosaicOptions::default() };
                let mosaic = Mosaic::new(vec![open_source(&path).unwrap()], &options).unwrap();
                let (got, _) = read_all(&mosaic).unwrap();
                assert_eq!(
                    [got.size().width as usize, got.size().height as usize],
                    [want.width, want.height]
                );
                let number = |p: &reader::Picture, band, row, col| -> f64 {
                    p.show(band, row, col).parse().unwrap()
                };
                let all = (0..source.height).flat_map(|r| (0..source.width).map(move |c| (r, c)));
                let all = all.map(|(r, c)| number(&source, 0, r, c));
                let (low, high) = all.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
                let tolerance = if is_float { 1e-5 * (high - low) } else { 1.0 };
                for row in 0..want.height {
                    for col in 0..want.width {
                        // In corners so little of a kernel with negative lobes is left that bilinear
                        // weights take over (SPEC §5.6); GDAL has no such guard.
                        let edge = |at: usize, side: usize| {
                            (at.min(side - 1 - at) as f64 + 0.5) * ratio < ratio.max(1.0)
                        };
                        let lobes = matches!(kernel, Kernel::Cubic | Kernel::Lanczos);
                        if lobes && edge(col, want.width) && edge(row, want.height) {
                            corners += 1;
                            continue;
                        }
                        let (g, w) =
                            (got.get_f64(0, col as u32, row as u32), number(&want, band, row, col));
                        let at = format!("{name} {ratio} {kernel:?} at {col}, {row}");
                        assert!((g - w).abs() <= tolerance, "{at}: {g}, GDAL has {w}");
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(pictures, 29);
    assert!(compared > 90_000 && corners < 1000, "{compared} compared, {corners} corners");
}

// ---- limits ---------------------------------------------------------------------------------------

fn fixed(res: f64) -> TargetOptions {
    TargetOptions { resolution: Resolution::Fixed([res, res]), ..TargetOptions::default() }
}

/// A thousand source pixels a pixel, and all of a source in one pixel.
#[test]
fn huge_downsampling_is_its_brute_force() {
    let mut random = Random(8);
    let picture = Geotiff::typed([1100, 1030, 1], (16, 1), |_, row, col| {
        ((row * 13 + col * 7) % 4000) as f64 + random.below(3000) as f64
    });
    let files = Files::new(std::slice::from_ref(&picture));
    let composite = Composite::new(vec![Placed::new(&picture, 0, [0, 0], None)], Overlap::Last);
    let mut compared = 0;
    for res in [10_000.0, 11_000.0] {
        for kernel in kernels() {
            let options = MosaicOptions {
                target: fixed(res),
                kernel,
                dtype: Some(DataType::F64),
                ..MosaicOptions::default()
            };
            let mosaic = files.mosaic(&options).unwrap();
            assert_eq!(mosaic.grid.size.pixels(), 1, "{res}");
            let (got, valid) = read_all(&mosaic).unwrap();
            let place = Place::new(mosaic.grid.transform.coefficients(), picture.transform, 0, 0);
            let want = composite.at(kernel, &place, 0.0).unwrap();
            let value = got.get_f64(0, 0, 0);
            let near = |w: &f64| (value - w).abs() <= 1e-9 * w.abs();
            assert!(
                valid.is_valid(0, 0, 0) && want.values.iter().any(near),
                "{kernel:?}: {value}, {want:?}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 28);
}

/// A source of one pixel is that value wherever its footprint is, under every kernel, and nothing else.
#[test]
fn one_pixel_is_a_constant() {
    let mut picture = Geotiff::typed([1, 1, 1], (16, 1), |_, _, _| 1234.0);
    let mut cases = 0;
    for flip in [1.0, -1.0] {
        picture.transform[5] = -10.0 * flip;
        let files = Files::new(std::slice::from_ref(&picture));
        for kernel in kernels() {
            for (res, count) in [(2.5, 16), (10.0, 1), (3.0, 9), (25.0, 1), (4000.0, 1)] {
                let options =
                    MosaicOptions { target: fixed(res), kernel, ..MosaicOptions::default() };
                let mosaic = files.mosaic(&options).unwrap();
                assert_eq!(mosaic.grid.size.pixels(), count);
                let (got, valid) = read_all(&mosaic).unwrap();
                // The centre of a pixel that is more than twice as large lies outside: half-open.
                let inside = res < 20.0;
                for at in 0..mosaic.grid.size.width {
                    assert_eq!(valid.is_valid(0, at, at), inside, "{kernel:?} {res}");
                    let share =
                        if kernel == Kernel::Sum { (res / 10.0).min(1.0).powi(2) } else { 1.0 };
                    // The last of three pixels of 3 m ends at 9 m: all of it is covered.
                    let want = if inside { (1234.0 * share).round() } else { 0.0 };
                    assert_eq!(got.get_f64(0, at, at), want, "{kernel:?} {res}");
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 2 * 14 * (4 + 1 + 3 + 1 + 1));
}

/// 10 pixels in 3 of 4: the last centre lies on the right edge, which is outside.
#[test]
fn a_centre_beyond_the_footprint_is_no_data() {
    let picture = Geotiff::typed([10, 8, 1], (8, 1), |_, _, _| 9.0);
    let files = Files::new(&[picture]);
    let mut cases = 0;
    for kernel in kernels() {
        for valid_fraction in [0.0, 0.4, 0.5, 0.6, 1.0] {
            let options = MosaicOptions {
                target: TargetOptions {
                    resolution: Resolution::Fixed([40.0, 20.0]),
                    ..TargetOptions::default()
                },
                kernel,
                valid_fraction,
                ..MosaicOptions::default()
            };
            let mosaic = files.mosaic(&options).unwrap();
            let (_, valid) = read_all(&mosaic).unwrap();
            let row: Vec<bool> = (0..3).map(|col| valid.is_valid(0, col, 1)).collect();
            assert_eq!(row, [true, true, false], "{kernel:?} {valid_fraction}");
            cases += 1;
        }
    }
    assert_eq!(cases, 14 * 5);
}

/// Half of a pixel covered: valid up to a fraction of a half, for area kernels; others do not ask.
#[test]
fn valid_fraction_counts_covered_area() {
    let mut picture =
        Geotiff::typed([4, 4, 1], (8, 1), |_, _, col| if col % 2 == 0 { 50.0 } else { 7.0 });
    picture.nodata = Some("7".to_owned());
    let files = Files::new(&[picture]);
    let mut cases = 0;
    for kernel in kernels() {
        for (valid_fraction, covered) in
            [(0.0, true), (0.49, true), (0.5, true), (0.51, false), (1.0, false)]
        {
            let options = MosaicOptions {
                target: fixed(20.0),
                kernel,
                valid_fraction,
                ..MosaicOptions::default()
            };
            let mosaic = files.mosaic(&options).unwrap();
            let (_, valid) = read_all(&mosaic).unwrap();
            // The centre of (0, 0) lies at the corner of four pixels: nearest takes (1, 1), a hole.
            assert_eq!(
                valid.is_valid(0, 0, 0),
                kernel.is_area() && covered,
                "{kernel:?} {valid_fraction}"
            );
            cases += 1;
        }
    }
    assert_eq!(cases, 14 * 5);
}

/// What cannot be held is an error of its kind, not a try to hold it.
#[test]
fn too_many_pixels_under_one_are_refused() {
    let near = Geotiff::typed([1, 1, 1], (8, 1), |_, _, _| 9.0);
    let is_limit = |error: smalti::Error| matches!(error.kind(), ErrorKind::Limit { .. });
    // 6000 × 6000 pixels at once, of which two hold anything: kernels that sort them.
    let files = Files::new(&[near.clone(), near.clone().moved(5999.0, 5999.0)]);
    let mut cases = 0;
    for kernel in [Kernel::Mode, Kernel::Min, Kernel::Max, Kernel::Med, Kernel::Q1, Kernel::Q3] {
        let options = MosaicOptions { target: fixed(60_000.0), kernel, ..MosaicOptions::default() };
        assert!(is_limit(read_all(&files.mosaic(&options).unwrap()).unwrap_err()), "{kernel:?}");
        cases += 1;
    }
    // A row of 20 million pixels.
    let files = Files::new(&[near.clone(), near.moved(2e7, 0.0)]);
    for kernel in [Kernel::Average, Kernel::Bilinear, Kernel::Lanczos, Kernel::Sum, Kernel::Rms] {
        let options = MosaicOptions { target: fixed(2e8), kernel, ..MosaicOptions::default() };
        assert!(is_limit(read_all(&files.mosaic(&options).unwrap()).unwrap_err()), "{kernel:?}");
        cases += 1;
    }
    assert_eq!(cases, 11);
}
