//! Speed of the engine without the codecs, and of small mosaics end to end.
//!
//! `cargo bench --bench mosaic -- --quick` runs all in a minute. Data are synthetic and seeded, in a
//! temporary folder; the page cache is warm.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use smalti::engine::{self, Reader, WriteOptions};
use smalti::geometry::Window;
use smalti::io::IoMode;
use smalti::mosaic::{Mosaic, MosaicOptions};
use smalti::ordered::{self, run_ordered};
use smalti::source::blocks::{Blocks, ReadScratch, Request};
use smalti::source::open::{OpenOptions, open_all};
use smalti::tiff::reader::{BlockId, Part};

/// An uncompressed u16 GeoTIFF of one band in strips of 16 rows, pixels of 1 × 1; the same bytes each
/// time. `side` is a multiple of 16.
fn write_source(path: &Path, side: u32, [x, y]: [f64; 2]) {
    const HEAD: u32 = 400;
    let strips = side / 16;
    let strip_bytes = side * 16 * 2;
    let table = HEAD + 72;
    let data = table + strips * 8;
    let tags: [(u16, u16, u32, u32); 11] = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 1, 16),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, strips, if strips == 1 { data } else { table }),
        (277, 3, 1, 1),
        (278, 4, 1, 16),
        (279, 4, strips, if strips == 1 { strip_bytes } else { table + strips * 4 }),
        (33550, 12, 3, HEAD),
        (33922, 12, 6, HEAD + 24),
    ];
    let mut bytes = b"II\x2a\0\x08\0\0\0".to_vec();
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in tags {
        bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    bytes.resize(HEAD as usize, 0);
    let numbers = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, x, y, 0.0];
    bytes.extend(numbers.into_iter().flat_map(f64::to_le_bytes));
    bytes.extend((0..strips).flat_map(|i| (data + i * strip_bytes).to_le_bytes()));
    bytes.extend((0..strips).flat_map(|_| strip_bytes.to_le_bytes()));
    let mut state = u64::from(side) ^ x.to_bits();
    bytes.extend((0..side * side).flat_map(|i| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let wave = (i % side * 5 + i / side * 3) % 8000;
        (wave as u16 + (state >> 60) as u16).to_le_bytes()
    }));
    fs::write(path, bytes).unwrap();
}

/// `across` × `across` sources beside each other.
fn grid_of_sources(folder: &Path, across: u32, side: u32, phase: f64) -> Vec<PathBuf> {
    (0..across * across)
        .map(|index| {
            let path = folder.join(format!("{side}_{phase}_{index:04}.tif"));
            let place = [index % across, index / across].map(|i| f64::from(i * side));
            write_source(&path, side, [place[0] + phase, -place[1] - phase]);
            path
        })
        .collect()
}

fn mosaic_of(paths: &[PathBuf]) -> Mosaic {
    let opened = open_all(paths, &OpenOptions::default(), &()).unwrap();
    Mosaic::new(opened.sources, &MosaicOptions::default()).unwrap()
}

/// Pixels from cached blocks to a window: a copy, and through tables where the grid is half a pixel
/// off.
fn copy(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("copy");
    group.throughput(Throughput::Bytes(1024 * 1024 * 2));
    let mut paths = grid_of_sources(folder.path(), 2, 1024, 0.0);
    let window = Window::new(500, 500, 1024, 1024).unwrap();
    for (name, far) in [("aligned", None), ("unaligned", Some(-4096.5))] {
        if let Some(corner) = far {
            // A source far off whose corner sets the phase of the grid.
            let path = folder.path().join("corner.tif");
            write_source(&path, 16, [corner, -corner]);
            paths.push(path);
        }
        let mosaic = mosaic_of(&paths);
        let reader = Reader::new(&mosaic, 1 << 28, IoMode::Auto);
        let shift = far.map_or(0, |corner: f64| (-corner).ceil() as u32);
        let window = Window { col: window.col + shift, row: window.row + shift, ..window };
        group.bench_function(name, |b| b.iter(|| black_box(reader.read(window).unwrap())));
    }
    group.finish();
}

fn cache(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mosaic = mosaic_of(&grid_of_sources(folder.path(), 1, 1024, 0.0));
    let blocks = Blocks::new(mosaic.sources(), 1 << 28, 2, IoMode::Auto);
    let get = |by: u32, scratch: &mut ReadScratch| {
        let id = BlockId { bx: 0, by, plane: 0 };
        let request = Request { source: 0, part: Part::Image, id, uses: u64::MAX, takes: true };
        black_box(blocks.get(request, true, scratch).unwrap());
    };
    let mut group = c.benchmark_group("cache");
    for threads in [1u64, 2] {
        group.throughput(Throughput::Elements(threads));
        group.bench_function(format!("hit_{threads}"), |b| {
            b.iter_custom(|count| {
                let began = Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            let mut scratch = ReadScratch::default();
                            (0..count).for_each(|i| get((i % 64) as u32, &mut scratch));
                        });
                    }
                });
                began.elapsed()
            });
        });
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = grid_of_sources(folder.path(), 32, 16, 0.0).split_off(24);
    assert_eq!(paths.len(), 1000);
    let mut group = c.benchmark_group("open");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("headers_1000", |b| {
        b.iter(|| black_box(open_all(&paths, &OpenOptions::default(), &()).unwrap()));
    });
    group.finish();
}

/// What the machinery costs for an item without work.
fn ordered(c: &mut Criterion) {
    const ITEMS: u64 = 10_000;
    let mut group = c.benchmark_group("ordered");
    group.throughput(Throughput::Elements(ITEMS));
    for threads in [1, 2] {
        group.bench_function(format!("empty_{threads}"), |b| {
            b.iter(|| {
                let window = ordered::Window::light(threads);
                let item = |(): &mut (), ticket: &ordered::Ticket<'_>| Ok(ticket.index);
                run_ordered(ITEMS, window, &(), || (), item, |_| 0, |_, _| Ok(())).unwrap()
            });
        });
    }
    group.finish();
}

/// 64 small sources, headers and all, to one file.
fn mosaic(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let paths = grid_of_sources(folder.path(), 8, 256, 0.0);
    let output = folder.path().join("out.tif");
    let mut group = c.benchmark_group("mosaic");
    group.throughput(Throughput::Bytes(64 * 256 * 256 * 2));
    group.bench_function("small_64", |b| {
        b.iter(|| {
            let options = WriteOptions { chunk: 512, overwrite: true, ..WriteOptions::default() };
            engine::write(&mosaic_of(&paths), &output, &options, &()).unwrap()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = copy, cache, open, ordered, mosaic
}
criterion_main!(benches);
