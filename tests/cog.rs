//! Cloud Optimized GeoTIFF and overviews: the structure that readers count on, and pixels against brute
//! force (SPEC §8.6).

mod support;

use std::fs;

use support::builder::{Geotiff, Random};
use support::reader::{self, Picture};
use support::{TestEnv, same_pixels, sha256};

/// Two scenes of u16 that overlap, with a hole and a ragged edge.
fn env_with_scenes(bands: usize) -> TestEnv {
    let env = TestEnv::new();
    for (name, col, row, seed) in [("a.tif", 0.0, 0.0, 1), ("b.tif", 150.0, 40.0, 2)] {
        let mut scene = Geotiff::new(200, 260, bands, seed).moved(col, row);
        scene.nodata = Some("0".into());
        let mut random = Random(seed);
        for _ in 0..600 {
            scene.set(60 + random.below(80), 90 + random.below(80), 0);
        }
        scene.write(&env.path(name));
    }
    env
}

fn mosaic(env: &TestEnv, output: &str, more: &[&str]) {
    let mut args = vec!["mosaic", "a.tif", "b.tif", "-o", output, "--overwrite", "-q"];
    args.extend(more);
    env.ok(&args);
}

fn uint(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |sum, b| sum << 8 | usize::from(*b))
}

/// Offset, kind, width, offsets and counts of a directory.
type Directory = (usize, usize, usize, Vec<usize>, Vec<usize>);

/// The directories of a classic little-endian TIFF.
fn directories(file: &[u8]) -> Vec<Directory> {
    let mut found = Vec::new();
    let mut at = uint(&file[4..8]);
    while at != 0 {
        let count = uint(&file[at..at + 2]);
        let (mut kind, mut width, mut tables) = (0, 0, [Vec::new(), Vec::new()]);
        for entry in file[at + 2..at + 2 + 12 * count].chunks_exact(12) {
            let (tag, number, value) = (uint(&entry[..2]), uint(&entry[4..8]), uint(&entry[8..12]));
            match tag {
                254 => kind = value,
                256 => width = value,
                324 | 325 => {
                    let list =
                        if number == 1 { &entry[8..12] } else { &file[value..value + 4 * number] };
                    tables[tag - 324] = list.chunks_exact(4).map(uint).collect();
                }
                _ => {}
            }
        }
        let [offsets, counts] = tables;
        found.push((at, kind, width, offsets, counts));
        at = uint(&file[at + 2 + 12 * count..][..4]);
    }
    found
}

#[test]
fn directories_lead_and_blocks_follow_coarsest_first() {
    let env = env_with_scenes(2);
    for (masked, more) in
        [(false, &["--cog", "-c", "64"][..]), (true, &["--cog", "-c", "64", "--mask"])]
    {
        mosaic(&env, "out.tif", more);
        let file = fs::read(env.path("out.tif")).unwrap();
        let text = String::from_utf8_lossy(&file[8..260]).into_owned();
        assert!(text.starts_with("GDAL_STRUCTURAL_METADATA_SIZE=000"), "{text}");
        assert_eq!(text.contains("MASK_INTERLEAVED_WITH_IMAGERY=YES"), masked);
        let size = if masked { 174 } else { 140 };
        assert!(text.contains(&format!("SIZE=000{size} bytes\nLAYOUT=IFDS_BEFORE_DATA\n")));
        let all = directories(&file);
        // 350 × 300: 175 × 150, 87 × 75, 43 × 37.
        let widths: Vec<usize> = all.iter().map(|d| d.2).collect();
        let kinds: Vec<usize> = all.iter().map(|d| d.1).collect();
        if masked {
            assert_eq!(widths, [350, 350, 175, 175, 87, 87, 43, 43]);
            assert_eq!(kinds, [0, 4, 1, 5, 1, 5, 1, 5]);
        } else {
            assert_eq!(widths, [350, 175, 87, 43]);
            assert_eq!(kinds, [0, 1, 1, 1]);
        }
        assert!(all.is_sorted_by_key(|d| d.0));
        // All blocks in the order of the file: levels from the coarsest, each block with its mask.
        let mut expected = Vec::new();
        for level in all.chunks(if masked { 2 } else { 1 }).rev() {
            for block in 0..level[0].3.len() {
                expected.extend(level.iter().map(|d| (d.3[block], d.4[block])));
            }
        }
        assert_eq!(expected.len(), (30 + 9 + 4 + 1) * if masked { 2 } else { 1 });
        let mut at = expected[0].0 - 4;
        assert!(at > all.last().unwrap().0 && at % 8 == 0);
        for (offset, count) in expected {
            assert_eq!(offset, at + 4, "blocks follow each other");
            assert_eq!(uint(&file[at..at + 4]), count, "leader");
            let end = offset + count;
            assert_eq!(file[end..end + 4], file[end - 4..end], "trailer");
            at = end + 4;
        }
        assert_eq!(at, file.len());
    }
}

/// Mean of the valid samples of 2 × 2, half away from zero; 0 where none is valid.
fn mean(below: &Picture, band: usize, row: usize, col: usize) -> u64 {
    let samples = [(0, 0), (0, 1), (1, 0), (1, 1)]
        .map(|(r, c)| below.value(band, 2 * row + r, 2 * col + c) as u64);
    let valid: Vec<u64> = samples.into_iter().filter(|v| *v != 0).collect();
    let count = valid.len() as u64;
    if count == 0 { 0 } else { (2 * valid.iter().sum::<u64>() + count) / (2 * count) }
}

#[test]
fn means_are_those_of_brute_force() {
    let env = env_with_scenes(3);
    let mut pixels = 0;
    for more in [&["--cog", "-c", "32"][..], &["--overviews", "-c", "32"]] {
        mosaic(&env, "out.tif", more);
        let mut below = env.picture("out.tif");
        for level in reader::read_overviews(&env.path("out.tif")).unwrap() {
            if below.width % 2 == 1 || below.height % 2 == 1 {
                break;
            }
            for band in 0..3 {
                for row in 0..level.height {
                    for col in 0..level.width {
                        let want = mean(&below, band, row, col);
                        assert_eq!(level.value(band, row, col) as u64, want, "{band} {row} {col}");
                        pixels += 1;
                    }
                }
            }
            below = level;
        }
    }
    assert_eq!(pixels, 2 * 3 * 175 * 150);
}

/// Catmull-Rom and triangle, stretched by the factor.
fn weight(kernel: &str, x: f64) -> f64 {
    let x = x.abs();
    match kernel {
        "bilinear" => (1.0 - x).max(0.0),
        _ if x <= 1.0 => 1.5 * x.powi(3) - 2.5 * x * x + 1.0,
        _ if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x * x - 4.0 * x + 2.0,
        _ => 0.0,
    }
}

#[test]
fn kernels_are_those_of_brute_force_across_blocks() {
    let env = TestEnv::new();
    Geotiff::new(101, 77, 1, 5).write(&env.path("a.tif"));
    Geotiff::new(40, 77, 1, 6).moved(90.0, 0.0).write(&env.path("b.tif"));
    let mut pixels = 0;
    for kernel in ["bilinear", "cubic"] {
        mosaic(&env, "out.tif", &["--cog", "-c", "16", "--overview-resampling", kernel]);
        let below = env.picture("out.tif");
        let level = &reader::read_overviews(&env.path("out.tif")).unwrap()[0];
        assert_eq!((below.width, below.height, level.width, level.height), (130, 77, 65, 38));
        let ratio = [130.0 / 65.0, 77.0 / 38.0];
        let axis = |pixel: usize, ratio: f64, side: usize| -> Vec<(usize, f64)> {
            let centre = (pixel as f64 + 0.5) * ratio;
            let taps = (0..side).map(|j| (j, weight(kernel, (j as f64 + 0.5 - centre) / ratio)));
            taps.filter(|(_, w)| *w != 0.0).collect()
        };
        for row in 0..level.height {
            for col in 0..level.width {
                let (mut sum, mut full) = (0.0, 0.0);
                for (y, wy) in axis(row, ratio[1], below.height) {
                    for (x, wx) in axis(col, ratio[0], below.width) {
                        sum += wx * wy * below.value(0, y, x);
                        full += wx * wy;
                    }
                }
                let got = level.value(0, row, col);
                // Rounded to an integer; a tie may fall to either side.
                assert!((got - sum / full).abs() <= 0.5 + 1e-6, "{kernel} {row} {col}: {got}");
                pixels += 1;
            }
        }
    }
    assert_eq!(pixels, 2 * 65 * 38);
}

#[test]
fn overviews_do_not_depend_on_blocks_threads_or_memory() {
    let env = env_with_scenes(2);
    let mut runs = 0;
    for kernel in ["nearest", "average", "bilinear", "cubic", "mode"] {
        mosaic(&env, "one.tif", &["--cog", "-c", "16", "--overview-resampling", kernel]);
        let finest = reader::read_overviews(&env.path("one.tif")).unwrap();
        for chunk in ["32", "128"] {
            mosaic(&env, "two.tif", &["--cog", "-c", chunk, "--overview-resampling", kernel]);
            let overviews = reader::read_overviews(&env.path("two.tif")).unwrap();
            assert!(!overviews.is_empty() && overviews.len() < finest.len());
            for (a, b) in overviews.iter().zip(&finest) {
                same_pixels(a, b).unwrap();
            }
            runs += 1;
        }
    }
    let mut sums = Vec::new();
    for layout in ["--cog", "--overviews"] {
        for threads in ["1", "2", "7"] {
            for memory in ["4M", "64M"] {
                mosaic(
                    &env,
                    "out.tif",
                    &[
                        layout,
                        "-c",
                        "32",
                        "--overview-resampling",
                        "cubic",
                        "--threads",
                        threads,
                        "--memory",
                        memory,
                    ],
                );
                sums.push(sha256(&fs::read(env.path("out.tif")).unwrap()));
                runs += 1;
            }
        }
    }
    assert!(sums[..6].iter().all(|sum| *sum == sums[0]), "{sums:?}");
    assert_eq!(runs, 22);
    assert_eq!(env.names(), ["a.tif", "b.tif", "one.tif", "out.tif", "two.tif"]);
}

#[test]
fn palettes_are_not_averaged() {
    let env = TestEnv::new();
    env.fails(
        &[
            "mosaic",
            &support::fixture("sources/palette.tif"),
            "-o",
            "o.tif",
            "--cog",
            "--overview-resampling",
            "average",
        ],
        2,
        &["--overview-resampling", "palette", "mode"],
    );
}
