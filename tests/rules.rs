//! Overlap rules, within a layer and across layers, against brute force; and that pixels depend on
//! neither threads, blocks, memory nor windows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use smalti::engine::{self, MemoryLimit, Reader, WriteOptions};
use smalti::geometry::Window;
use smalti::io::IoMode;
use smalti::mosaic::target::{Resolution, TargetOptions};
use smalti::mosaic::{Mosaic, MosaicOptions, Overlap};
use smalti::resample::Kernel;
use smalti::sample::DataType;

use support::builder::{Geotiff, Random};
use support::mosaics::{Files, cut, kernels, read_all};
use support::oracle::{Composite, Place, Placed, across};
use support::reader;

const RULES: [Overlap; 10] = [
    Overlap::Last,
    Overlap::First,
    Overlap::Min,
    Overlap::Max,
    Overlap::Mean,
    Overlap::Median,
    Overlap::Sum,
    Overlap::Count,
    Overlap::Feather(5),
    Overlap::Feather(64),
];

/// A layer: the transform of its reference grid, and the pictures on it with their places.
struct Layer {
    transform: [f64; 6],
    pictures: Vec<(Geotiff, [i64; 2])>,
}

/// A picture with holes in the reference grid of a layer.
fn picture(
    transform: [f64; 6],
    [col, row]: [i64; 2],
    size: [usize; 3],
    dtype: (u16, u16),
    seed: u64,
) -> (Geotiff, [i64; 2]) {
    let mut random = Random(seed);
    let mut picture = Geotiff::typed(size, dtype, |band, row, col| {
        let gap = (row / 6 + col / 7 + seed as usize).is_multiple_of(4) && (row + col) % 5 != 0;
        if gap || random.below(14) == 0 {
            return 7.0;
        }
        let noise = 100.0 + random.below(900) as f64 + 1000.0 * band as f64;
        if dtype.1 == 3 { noise / 3.0 } else { noise }
    });
    picture.transform = transform;
    picture.nodata = Some("7".to_owned());
    picture.rows_per_strip = 5;
    (picture.moved(col as f64, row as f64), [col, row])
}

/// Layers of 10 m, of 7 m off the grid, and of 13 m, turned; they overlap in part.
fn layers(count: usize, size: [usize; 3], dtype: (u16, u16)) -> Vec<Layer> {
    let turned = [499_980.0, 12.0, 5.0, 5_300_010.0, 5.0, -12.0];
    let [w, h, bands] = size;
    [
        ([500_000.0, 10.0, 0.0, 5_300_000.0, 0.0, -10.0], 3),
        ([500_013.0, 7.0, 0.0, 5_299_957.0, 0.0, -7.0], 2),
        (turned, 2),
    ]
    .into_iter()
    .take(count)
    .enumerate()
    .map(|(layer, (transform, sources))| {
        let seed = layer as u64 * 10;
        // The first source begins at the reference's corner: its transform is the layer's.
        let places = [[0, 0], [w as i64 / 2, h as i64 / 3], [w as i64 / 3, h as i64 / 2 + 1]];
        let pictures = (0..sources)
            .map(|k| picture(transform, places[k], [w - k, h + k, bands], dtype, seed + k as u64))
            .collect();
        Layer { transform, pictures }
    })
    .collect()
}

fn files_of(layers: &[Layer]) -> Files {
    let all: Vec<Geotiff> =
        layers.iter().flat_map(|layer| layer.pictures.iter().map(|(p, _)| p.clone())).collect();
    Files::new(&all)
}

/// Compares a mosaic with the brute force; adds to the numbers compared, invalid, left out.
fn compare(layers: &[Layer], mosaic: &Mosaic, counts: &mut [usize; 3]) {
    let (rule, kernel) = (mosaic.overlap, mosaic.kernel);
    let (got, valid) = read_all(mosaic).unwrap();
    let grid = mosaic.grid.transform.coefficients();
    for band in 0..mosaic.bands {
        let composites: Vec<Composite> = layers
            .iter()
            .map(|layer| {
                let place =
                    |(p, at): &(Geotiff, [i64; 2])| Placed::new(p, band as usize, *at, Some(7.0));
                Composite::new(layer.pictures.iter().map(place).collect(), rule)
            })
            .collect();
        for row in 0..mosaic.grid.size.height {
            for col in 0..mosaic.grid.size.width {
                let places = layers.iter().map(|l| Place::new(grid, l.transform, col, row));
                let doubtful = places.clone().any(|p| p.is_doubtful());
                let found: Vec<_> =
                    composites.iter().zip(places).map(|(c, p)| c.at(kernel, &p, 0.0)).collect();
                let want = across(&found, rule);
                if doubtful || want.as_ref().is_some_and(|w| w.doubtful) {
                    counts[2] += 1;
                    continue;
                }
                let at = format!(
                    "{rule:?} {kernel:?}, {} layers, band {band} at {col}, {row}",
                    layers.len()
                );
                assert_eq!(valid.is_valid(band, col, row), want.is_some(), "{at}: {found:?}");
                let Some(want) = want else {
                    counts[1] += 1;
                    continue;
                };
                let value = got.get_f64(band, col, row);
                // Positions are rounded to 2^-20 px; samples are up to 3000, of up to 7 sources.
                let near = |w: &f64| (value - w).abs() <= 2e-6 * w.abs().max(3000.0) * want.slack;
                assert!(
                    want.values.iter().any(near),
                    "{at}: {value}, expected {want:?} of {found:?}"
                );
                counts[0] += 1;
            }
        }
    }
}

fn options(overlap: Overlap, kernel: Kernel, res: f64) -> MosaicOptions {
    let target =
        TargetOptions { resolution: Resolution::Fixed([res, res]), ..TargetOptions::default() };
    MosaicOptions {
        target,
        overlap,
        kernel,
        dtype: Some(DataType::F64),
        ..MosaicOptions::default()
    }
}

#[test]
fn every_rule_within_a_layer_is_its_brute_force() {
    let (mut counts, mut mosaics) = ([0; 3], 0);
    for dtype in [(16, 1), (32, 3), (64, 3)] {
        let layers = layers(1, [24, 17, 2], dtype);
        let files = files_of(&layers);
        for rule in RULES {
            for kernel in kernels() {
                for res in [10.0, 4.1, 23.0] {
                    let mosaic = files.mosaic(&options(rule, kernel, res)).unwrap();
                    compare(&layers, &mosaic, &mut counts);
                    mosaics += 1;
                }
            }
        }
    }
    assert_eq!(mosaics, 3 * 10 * 14 * 3);
    let [compared, invalid, left_out] = counts;
    assert!(compared > 1_000_000 && invalid > 100_000, "{counts:?}");
    assert!(left_out * 20 < compared, "{counts:?}");
}

/// Kernels that give one value, so that layers can be added up.
#[test]
fn every_rule_across_layers_is_its_brute_force() {
    let kernels = kernels()
        .into_iter()
        .filter(|k| !matches!(k, Kernel::Mode | Kernel::Q1 | Kernel::Med | Kernel::Q3));
    let (mut counts, mut mosaics) = ([0; 3], 0);
    for (count, dtype) in [(2, (32, 3)), (3, (16, 1)), (3, (64, 3))] {
        let layers = layers(count, [19, 16, 1], dtype);
        let files = files_of(&layers);
        for rule in RULES.into_iter().filter(|rule| *rule != Overlap::Median) {
            for kernel in kernels.clone() {
                for res in [10.0, 4.1, 23.0] {
                    let mosaic = files.mosaic(&options(rule, kernel, res)).unwrap();
                    compare(&layers, &mosaic, &mut counts);
                    mosaics += 1;
                }
            }
        }
        let refused = files.mosaic(&options(Overlap::Median, Kernel::Bilinear, 10.0));
        assert!(refused.unwrap_err().to_string().contains("median"));
    }
    assert_eq!(mosaics, 3 * 9 * 10 * 3);
    let [compared, invalid, left_out] = counts;
    assert!(compared > 500_000 && invalid > 50_000, "{counts:?}");
    assert!(left_out * 20 < compared, "{counts:?}");
}

/// Three sources of a layer: a gap of three pixels, then corner to corner.
#[test]
fn gaps_and_corners_are_their_brute_force() {
    let transform = [500_000.0, 10.0, 0.0, 5_300_000.0, 0.0, -10.0];
    let at = |place, size, seed| picture(transform, place, size, (32, 3), seed);
    let pictures =
        vec![at([0, 0], [10, 10, 1], 1), at([13, 0], [10, 10, 1], 2), at([23, 10], [8, 8, 1], 3)];
    let layers = [Layer { transform, pictures }];
    let files = files_of(&layers);
    let (mut counts, mut mosaics) = ([0; 3], 0);
    for rule in [Overlap::Last, Overlap::Mean, Overlap::Feather(4)] {
        for kernel in kernels() {
            for res in [3.7, 17.0, 41.0] {
                compare(&layers, &files.mosaic(&options(rule, kernel, res)).unwrap(), &mut counts);
                mosaics += 1;
            }
        }
    }
    assert_eq!(mosaics, 3 * 14 * 3);
    assert!(counts[0] > 50_000 && counts[1] > 50_000 && counts[2] * 20 < counts[0], "{counts:?}");
}

// ---- independence --------------------------------------------------------------------------------

/// A reading of the whole must be what each window of it, and each way to write it, gives.
fn is_independent(files: &Files, mosaic: &Mosaic, seed: u64) -> usize {
    let all = read_all(mosaic).unwrap();
    let what = format!("{:?} {:?}", mosaic.overlap, mosaic.kernel);
    let size = mosaic.grid.size;
    let mut random = Random(seed);
    let reader = Reader::new(mosaic, 0, IoMode::Read);
    for _ in 0..3 {
        let (col, row) = (random.below(size.width as usize), random.below(size.height as usize));
        let window = Window::new(
            col as u32,
            row as u32,
            1 + random.below(size.width as usize - col) as u32,
            1 + random.below(size.height as usize - row) as u32,
        )
        .unwrap();
        let part = reader.read(window).unwrap();
        let own = cut(&part, window.size().window().unwrap());
        let bits = |list: Vec<(f64, bool)>| -> Vec<(u64, bool)> {
            list.into_iter().map(|(v, valid)| (v.to_bits(), valid)).collect()
        };
        assert!(bits(own) == bits(cut(&all, window)), "{what}: {window:?}");
    }
    let ways = [(1, 16, 96 << 20, false), (3, 48, 96 << 20, true), (2, 1024, 512 << 20, false)];
    let chosen = [ways[seed as usize % 3]];
    for (threads, chunk, memory, pixel_interleaved) in chosen {
        let path = files.path("out.tif");
        let options = WriteOptions {
            threads,
            chunk,
            memory: MemoryLimit::Bytes(memory),
            pixel_interleaved,
            overwrite: true,
            ..WriteOptions::default()
        };
        let done = engine::write(mosaic, &path, &options, &());
        done.unwrap_or_else(|e| panic!("{what}, {chunk}, {threads}: {e}"));
        let picture = reader::read(&path).unwrap();
        let same = picture.samples == all.0.as_bytes();
        assert!(same, "{what}: {threads} threads, chunk {chunk}, {memory} bytes");
    }
    3 + chosen.len()
}

#[test]
fn pixels_depend_on_neither_threads_nor_blocks_nor_memory_nor_windows() {
    let several = layers(3, [31, 27, 2], (16, 1));
    let one = layers(1, [40, 30, 2], (32, 3));
    let (several_files, one_files) = (files_of(&several), files_of(&one));
    let mut runs = 0;
    for rule in RULES {
        for (index, kernel) in kernels().into_iter().enumerate() {
            let res = [4.3, 10.0, 31.0][index % 3];
            let files = if rule == Overlap::Median { &one_files } else { &several_files };
            let mosaic = files.mosaic(&options(rule, kernel, res)).unwrap();
            runs += is_independent(files, &mosaic, index as u64 + runs as u64);
        }
    }
    assert_eq!(runs, 10 * 14 * 4);
}

/// Turned by 45 degrees and 40 source pixels a pixel: what is under a pixel reaches far beyond its row.
#[test]
fn large_turned_pixels_do_not_depend_on_windows() {
    let side = 0.5f64.sqrt();
    let transform = [500_000.0, side, side, 5_300_000.0, side, -side];
    let (picture, _) = picture(transform, [0, 0], [400, 300, 1], (32, 3), 5);
    let files = Files::new(&[picture]);
    let mut runs = 0;
    for kernel in kernels() {
        let mosaic = files.mosaic(&options(Overlap::Last, kernel, 40.0)).unwrap();
        runs += is_independent(&files, &mosaic, 3);
    }
    assert_eq!(runs, 14 * 4);
}
