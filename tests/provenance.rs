//! `--provenance` (SPEC §8.10): the source of each pixel under every rule against brute force, through
//! resampling and reprojection, whatever threads and memory; and that it appears with the output or not at all.

mod support;

use std::fs;
use std::time::Instant;

use support::builder::{Geotiff, Random};
use support::reader::Picture;
use support::{NOISE, Running, TestEnv};

/// A picture with holes of its own in each band, few different values (so that there are ties), and its place.
fn picture(size: [usize; 3], [col, row]: [i64; 2], seed: u64) -> (Geotiff, [i64; 2]) {
    let mut random = Random(seed);
    let mut picture = Geotiff::typed(size, (16, 1), |_, row, col| {
        let hole = (row / 5 + col / 4 + seed as usize).is_multiple_of(3);
        if hole && random.below(3) > 0 { 7.0 } else { 10.0 + random.below(4) as f64 }
    });
    picture.nodata = Some("7".into());
    (picture.moved(col as f64, row as f64), [col, row])
}

/// Five sources on one grid of 70 × 60 pixels.
fn scene(bands: usize) -> Vec<(Geotiff, [i64; 2])> {
    let places = [[0, 0], [24, 10], [12, 25], [40, 0], [33, 21]];
    let sizes = [[40, 33], [33, 31], [44, 35], [30, 20], [37, 39]];
    (places.into_iter().zip(sizes).enumerate())
        .map(|(k, (place, [w, h]))| picture([w, h, bands], place, k as u64 + 1))
        .collect()
}

fn names_of(env: &TestEnv, scene: &[(Geotiff, [i64; 2])]) -> Vec<String> {
    let name = |k: usize| format!("s{k}.tif");
    scene.iter().enumerate().for_each(|(k, (picture, _))| picture.write(&env.path(name(k))));
    (0..scene.len()).map(name).collect()
}

fn mosaic(env: &TestEnv, names: &[String], more: &[&str]) -> (Picture, Picture) {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fixed = ["-o", "out.tif", "--provenance", "p.tif", "--overwrite", "-q"];
    env.ok(&[&["mosaic"][..], &names, &fixed, more].concat());
    (env.picture("out.tif"), env.picture("p.tif"))
}

/// The sample of a source at a pixel of the scene, if it is valid.
fn at((picture, [c, r]): &(Geotiff, [i64; 2]), band: usize, col: i64, row: i64) -> Option<f64> {
    let (col, row) = (usize::try_from(col - c).ok()?, usize::try_from(row - r).ok()?);
    if col >= picture.width || row >= picture.height {
        return None;
    }
    Some(picture.value(band, row, col)).filter(|v| *v != 7.0)
}

/// Distance from a pixel's centre to the nearest side of an invalid pixel.
fn distance(source: &(Geotiff, [i64; 2]), band: usize, col: i64, row: i64, most: i64) -> f64 {
    let mut best = most as f64;
    for r in row - most - 1..=row + most + 1 {
        for c in col - most - 1..=col + most + 1 {
            if at(source, band, c, r).is_none() {
                let side = |d: i64| (d.abs() as f64 - 0.5).max(0.0);
                best = best.min(side(c - col).hypot(side(r - row)));
            }
        }
    }
    best
}

/// The source of a sample by a rule: from 1, 0 if there is none. Ties go to the one on top, the later.
fn source_of(scene: &[(Geotiff, [i64; 2])], rule: &str, band: usize, col: i64, row: i64) -> usize {
    let valid: Vec<(usize, f64)> = (scene.iter().enumerate())
        .filter_map(|(k, source)| Some((k + 1, at(source, band, col, row)?)))
        .collect();
    let by = |key: &dyn Fn(&(usize, f64)) -> f64| {
        let best = valid.iter().map(key).fold(f64::MIN, f64::max);
        valid.iter().rev().find(|v| key(v) == best).map_or(0, |(id, _)| *id)
    };
    match rule {
        "first" => valid.first().map_or(0, |(id, _)| *id),
        "min" => by(&|(_, v)| -v),
        "max" => by(&|(_, v)| *v),
        "median" => {
            let mut values: Vec<f64> = valid.iter().map(|(_, v)| *v).collect();
            values.sort_by(f64::total_cmp);
            let Some(last) = values.len().checked_sub(1) else { return 0 };
            let median = (values[last / 2] + values[values.len() / 2]) / 2.0;
            by(&|(_, v)| -(v - median).abs())
        }
        "feather:4" => by(&|(id, _)| distance(&scene[id - 1], band, col, row, 4) as f32 as f64),
        _ => valid.last().map_or(0, |(id, _)| *id),
    }
}

/// The source of a pixel: the one that gave most bands, of those the one on top.
fn source_of_pixel(scene: &[(Geotiff, [i64; 2])], bands: usize, rule: &str, at: [i64; 2]) -> usize {
    let ids: Vec<usize> =
        (0..bands).map(|band| source_of(scene, rule, band, at[0], at[1])).collect();
    let mut best = (0, 0);
    let mut order: Vec<usize> = (1..=scene.len()).collect();
    if rule != "first" {
        order.reverse();
    }
    for id in order {
        let count = ids.iter().filter(|own| **own == id).count();
        if count > best.1 {
            best = (id, count);
        }
    }
    best.0
}

const RULES: [&str; 9] =
    ["last", "first", "min", "max", "median", "mean", "sum", "count", "feather:4"];

#[test]
fn each_rule_names_the_source_that_gave_the_pixel() {
    let mut cases = 0;
    for bands in [1, 3] {
        let env = TestEnv::new();
        let scene = scene(bands);
        let names = names_of(&env, &scene);
        for rule in RULES {
            // In a picture of three bands a dark one is data; here each band is judged by itself.
            let args = ["--overlap", rule, "-c", "16", "--nodata-mode", "band"];
            let (_, got) = mosaic(&env, &names, &args);
            assert_eq!((got.width, got.height, got.bands), (70, 60, 1), "{rule}");
            assert_eq!(
                (got.dtype().as_str(), got.nodata.as_deref()),
                ("uint8", Some("0")),
                "{rule}"
            );
            for row in 0..60 {
                for col in 0..70 {
                    let want = source_of_pixel(&scene, bands, rule, [col as i64, row as i64]);
                    assert_eq!(got.value(0, row, col), want as f64, "{rule}: {col}, {row}");
                    cases += 1;
                }
            }
        }
        let table = fs::read_to_string(env.path("p.json")).unwrap();
        let lines: Vec<&str> = table.lines().filter(|line| line.contains("\"index\"")).collect();
        assert_eq!(lines.len(), 5, "{table}");
        for (k, line) in lines.iter().enumerate() {
            assert!(line.contains(&format!("\"index\":{},", k + 1)), "{line}");
            assert!(line.contains(&format!("\"path\":\"s{k}.tif\"")), "{line}");
        }
    }
    assert_eq!(cases, 2 * 9 * 70 * 60);
}

#[test]
fn neither_threads_nor_memory_nor_the_layout_change_it() {
    let env = TestEnv::new();
    let names = names_of(&env, &scene(2));
    let of = |more: &[&str]| {
        let (out, got) = mosaic(&env, &names, more);
        (fs::read(env.path("p.tif")).unwrap(), got, out)
    };
    for rule in ["last", "max", "feather:4"] {
        let base = ["--overlap", rule, "-c", "16"];
        let (bytes, want, out) = of(&[&base[..], &["--threads", "1"]].concat());
        let same = of(&[&base[..], &["--threads", "7", "--memory", "16M"]].concat());
        assert!(same.0 == bytes, "{rule}: bytes depend on threads or memory");
        for more in [
            &["--cog"][..],
            &["--overviews", "--mask"],
            &["--alpha"],
            &["--interleave", "pixel", "--sparse"],
            &["--stats", "none", "--compress", "deflate"],
        ] {
            let (_, got, _) = of(&[&base[..], more].concat());
            assert!(got.samples == want.samples, "{rule} {more:?}");
        }
        // The option changes nothing in the output.
        let plain: Vec<&str> = names.iter().map(String::as_str).collect();
        let args = [&["mosaic"][..], &plain, &["-o", "plain.tif", "-q", "--overwrite"], &base];
        env.ok(&args.concat());
        assert!(env.picture("plain.tif").samples == out.samples, "{rule}");
    }
}

#[test]
fn copied_blocks_have_a_source_too() {
    let env = TestEnv::new();
    let mut names = Vec::new();
    for k in 0..4i64 {
        let mut tile =
            Geotiff::new(64, 64, 1, k as u64).moved((k % 2 * 64) as f64, (k / 2 * 64) as f64);
        tile.tile = Some((32, 32));
        tile.nodata = Some("0".into());
        tile.set(3, 4, 0);
        names.push(format!("t{k}.tif"));
        tile.write(&env.path(&names[k as usize]));
    }
    let plain: Vec<&str> = names.iter().map(String::as_str).collect();
    let more =
        ["-o", "out.tif", "-c", "auto", "--stats", "none", "--provenance", "p.tif", "--json"];
    let run = env.ok(&[&["mosaic"][..], &plain, &more].concat());
    assert!(run.stdout.contains("\"blocks_copied\":16"), "{}", run.stdout);
    let got = env.picture("p.tif");
    for row in 0..128 {
        for col in 0..128 {
            let hole = col % 64 == 3 && row % 64 == 4;
            let want = if hole { 0 } else { 1 + col / 64 + row / 64 * 2 };
            assert_eq!(got.value(0, row, col), want as f64, "{col}, {row}");
        }
    }
}

/// Sources of one grid of 10 m under a grid of `size` m that begins at its corner: what the pixel under the centre
/// says, or where areas count the source with most of the area.
#[test]
fn resampled_layers_say_the_source_under_the_centre_or_that_of_most_of_the_area() {
    let env = TestEnv::new();
    let scene = scene(1);
    let names = names_of(&env, &scene);
    let mut cases = 0;
    for (res, kernel) in [
        ("4", "nearest"),
        ("4", "bilinear"),
        ("4", "cubic"),
        ("30", "bilinear"),
        ("30", "average"),
        ("30", "mode"),
    ] {
        for rule in ["last", "max", "mean"] {
            let (out, got) = mosaic(
                &env,
                &names,
                &["--overlap", rule, "--res", res, "--resampling", kernel, "-c", "16"],
            );
            let size: f64 = res.parse().unwrap();
            for row in 0..got.height {
                for col in 0..got.width {
                    let source = |c: i64, r: i64| source_of(&scene, rule, 0, c, r);
                    let want = if ["average", "mode"].contains(&kernel) {
                        let (c0, r0) = (col as i64 * 3, row as i64 * 3);
                        let all: Vec<usize> =
                            (0..9).map(|k| source(c0 + k % 3, r0 + k / 3)).collect();
                        let count = |id: usize| all.iter().filter(|own| **own == id).count();
                        (1..=5)
                            .filter(|id| count(*id) > 0)
                            .max_by_key(|id| (count(*id), *id))
                            .unwrap_or(0)
                    } else {
                        let under =
                            |at: usize| ((at as f64 + 0.5) * size / 10.0 + 1e-6).floor() as i64;
                        source(under(col), under(row))
                    };
                    let at = format!("{rule} {kernel} {res}: {col}, {row}");
                    assert_eq!(got.value(0, row, col), want as f64, "{at}");
                    assert_eq!(out.value(0, row, col) != 7.0, want != 0, "{at}");
                    cases += 1;
                }
            }
        }
    }
    assert!(cases > 100_000, "{cases}");
}

/// Two grids, of 10 m and of 7 m; with nearest a pixel of each is taken.
#[test]
fn across_layers_the_rule_decides() {
    let env = TestEnv::new();
    let mut scene = scene(1);
    for (k, (picture, _)) in scene.iter_mut().enumerate().filter(|(k, _)| k % 2 == 1) {
        picture.transform = [500_013.0 + 91.0 * k as f64, 7.0, 0.0, 5_299_957.0, 0.0, -7.0];
    }
    let names = names_of(&env, &scene);
    let mut cases = 0;
    for rule in ["last", "first", "min", "max", "mean", "sum"] {
        let (out, got) = mosaic(&env, &names, &["--overlap", rule, "--res", "5", "-c", "32"]);
        let [x0, _, _, y0, _, _] = got.transform.unwrap();
        for row in 0..got.height {
            for col in 0..got.width {
                let (x, y) = (x0 + (col as f64 + 0.5) * 5.0, y0 - (row as f64 + 0.5) * 5.0);
                let values: Vec<(usize, f64)> = (scene.iter().enumerate())
                    .filter_map(|(k, (p, _))| {
                        let [px, dx, _, py, _, dy] = p.transform;
                        let (c, r) =
                            (((x - px) / dx + 1e-9).floor(), ((y - py) / dy + 1e-9).floor());
                        let inside =
                            c >= 0.0 && r >= 0.0 && c < p.width as f64 && r < p.height as f64;
                        let value = inside.then(|| p.value(0, r as usize, c as usize))?;
                        (value != 7.0).then_some((k + 1, value))
                    })
                    .collect();
                let key = |v: &(usize, f64)| match rule {
                    "first" => -(v.0 as f64),
                    "min" => -v.1,
                    "max" => v.1,
                    _ => 0.0,
                };
                let best = values.iter().map(key).fold(f64::MIN, f64::max);
                let want = values.iter().rev().find(|v| key(v) == best).map_or(0, |v| v.0);
                assert_eq!(got.value(0, row, col), want as f64, "{rule}: {col}, {row}");
                assert_eq!(out.value(0, row, col) != 7.0, want != 0, "{rule}: {col}, {row}");
                cases += 1;
            }
        }
    }
    assert!(cases > 80_000, "{cases}");
}

/// Twins of the sources whose samples are their numbers: warped with nearest they say what is wanted.
#[test]
fn reprojected_sources_are_those_that_show() {
    let env = TestEnv::new();
    let scene = scene(1);
    let names = names_of(&env, &scene);
    let mut twins = Vec::new();
    for (k, (picture, _)) in scene.iter().enumerate() {
        let mut twin = picture.clone();
        for (at, sample) in picture.samples.chunks_exact(2).enumerate() {
            let value = if sample[0] == 7 { 0 } else { k as u8 + 1 };
            twin.samples[at * 2] = value;
        }
        twin.nodata = Some("0".into());
        twins.push(format!("twin{k}.tif"));
        twin.write(&env.path(&twins[k]));
    }
    let twins: Vec<&str> = twins.iter().map(String::as_str).collect();
    for rule in ["last", "first"] {
        let fixed = ["--crs", "EPSG:4326", "--overlap", rule, "-c", "32"];
        let args =
            [&["mosaic"][..], &twins, &["-o", "w.tif", "-q", "--overwrite"], &fixed].concat();
        env.ok(&args);
        let want = env.picture("w.tif");
        for kernel in ["nearest", "bilinear", "cubic", "average"] {
            let (out, got) =
                mosaic(&env, &names, &[&fixed[..], &["--resampling", kernel]].concat());
            assert_eq!((got.width, got.height), (want.width, want.height));
            let (mut seen, mut other) = ([0u32; 6], 0);
            for row in 0..want.height {
                for col in 0..want.width {
                    let (id, expected) = (got.value(0, row, col), want.value(0, row, col));
                    assert_eq!(out.value(0, row, col) != 7.0, id != 0.0, "{kernel} {col} {row}");
                    if kernel == "average" {
                        other += u32::from(id != expected);
                    } else {
                        assert_eq!(id, expected, "{rule} {kernel}: {col}, {row}");
                    }
                    seen[id as usize] += 1;
                }
            }
            assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
            // Areas reach over holes and edges.
            assert!(f64::from(other) < 0.4 * (want.width * want.height) as f64, "{other}");
        }
    }
}

#[test]
fn more_than_255_sources_need_wider_numbers() {
    let env = TestEnv::new();
    let names: Vec<String> = (0..300).map(|k| format!("t{k:03}.tif")).collect();
    for (k, name) in names.iter().enumerate() {
        let place = ((k % 20) as f64 * 4.0, (k / 20) as f64 * 4.0);
        Geotiff::new(4, 4, 1, k as u64).moved(place.0, place.1).write(&env.path(name));
    }
    let (_, got) = mosaic(&env, &names, &["-c", "16"]);
    assert_eq!(got.dtype(), "uint16");
    for row in 0..60 {
        for col in 0..80 {
            assert_eq!(got.value(0, row, col), (1 + col / 4 + row / 4 * 20) as f64);
        }
    }
}

#[test]
fn names_that_cannot_be_are_refused_and_nothing_is_left() {
    let env = TestEnv::new();
    let names = names_of(&env, &scene(1));
    let run = |more: &[&str], words: &[&str]| {
        let fixed = ["mosaic", "s0.tif", "s1.tif", "-o", "out.tif"];
        env.fails(&[&fixed[..], more].concat(), 2, words);
        assert!(!env.path("out.tif").exists(), "{more:?}");
        let parts = env.names().iter().filter(|name| name.contains("smalti")).count();
        assert_eq!(parts, 0, "{more:?}: {:?}", env.names());
    };
    run(&["--provenance", "out.tif"], &["out.tif", "twice"]);
    run(&["--provenance", "s1.tif"], &["s1.tif", "one of the inputs"]);
    run(&["--provenance", "p.json"], &["p.json"]);
    run(&["--provenance", "p.tif", "--receipt", "p.json"], &["p.json", "twice"]);
    run(&["--provenance", "no/p.tif"], &["no/p.tif", "no directory"]);
    fs::write(env.path("p.tif"), b"mine").unwrap();
    run(&["--provenance", "p.tif"], &["p.tif", "--overwrite"]);
    fs::remove_file(env.path("p.tif")).unwrap();
    fs::write(env.path("p.json"), b"mine").unwrap();
    run(&["--provenance", "p.tif"], &["p.json", "--overwrite"]);
    assert_eq!(fs::read(env.path("p.json")).unwrap(), b"mine");
    // A run that fails at its end.
    let fixed =
        ["mosaic", &names[0], &names[1], "-o", "out.tif", "--overwrite", "--provenance", "p.tif"];
    let clash = ["--nodata", "10", "--on-nodata-clash", "error"];
    env.fails(&[&fixed[..], &clash].concat(), 1, &[]);
    assert!(!env.path("p.tif").exists() && !env.path("out.tif").exists());
    assert_eq!(fs::read(env.path("p.json")).unwrap(), b"mine");
}

#[test]
fn killed_and_resumed_it_has_the_same_bytes() {
    let env = TestEnv::new();
    env.write_noise(1300, 900.0, |picture| picture.nodata = Some("0".into()));
    let mut args = vec!["mosaic".to_owned()];
    args.extend(NOISE.map(str::to_owned));
    let more = [
        "-o",
        "out.tif",
        "--provenance",
        "p.tif",
        "--compress",
        "deflate",
        "--level",
        "9",
        "-c",
        "64",
        "--threads",
        "1",
        "--json",
    ];
    args.extend(more.map(str::to_owned));
    let both = || (fs::read(env.path("out.tif")).unwrap(), fs::read(env.path("p.tif")).unwrap());
    let clean = || {
        ["out.tif", "p.tif", "p.json"].iter().for_each(|n| {
            let _ = fs::remove_file(env.path(n));
        });
    };
    let (mut resumed, mut anew) = (0, 0);
    for cog in [false, true] {
        let mut args = args.clone();
        args.extend(cog.then(|| "--cog".to_owned()));
        let time = env.ok(&args).time;
        let want = both();
        clean();
        args.push("--resume".into());
        for moment in [3, 5, 7, 9] {
            let start = Instant::now();
            let mut running = Running::start(&env.path(""), &args);
            let killed = !running.wait(time * moment / 12);
            running.finish(start);
            if killed && !env.path("out.tif").exists() {
                // Of the two files one may be damaged: then neither is trusted.
                if moment == 5 && env.path(".out.tif.smalti-journal").exists() {
                    let part = env.path(".p.tif.smalti-part");
                    let mut bytes = fs::read(&part).unwrap();
                    let at = bytes.len() / 3;
                    bytes[at] ^= 4;
                    fs::write(&part, bytes).unwrap();
                }
                let text = env.ok(&args).stdout;
                resumed += u32::from(!text.contains("\"blocks_resumed\":0"));
                anew += u32::from(text.contains("begins anew"));
            }
            assert!(both() == want, "cog {cog}, moment {moment}");
            clean();
            let left: Vec<String> =
                env.names().into_iter().filter(|n| n.starts_with('.')).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
    assert!(resumed >= 2, "{resumed} resumed, {anew} anew");
}
