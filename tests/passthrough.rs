//! Blocks that are copied as they are (SPEC §8.5): how many, that they are right, and what must not be copied.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use support::builder::{Codec, Geotiff};
use support::{TestEnv, same_pixels};

/// A number of the final event.
fn number(json: &str, name: &str) -> u64 {
    let line = json.lines().last().expect("there is a final event");
    let start = line.find(&format!("\"{name}\":")).expect("the event has it") + name.len() + 3;
    let digits: String = line[start..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("it is a number")
}

/// Runs, compares the pixels with those of a run in other blocks, and returns how many blocks were copied,
/// how many of those unseen, and how many source blocks were decoded.
fn copied(env: &TestEnv, inputs: &[&str], more: &[&str]) -> [u64; 3] {
    let mut args = vec!["mosaic", "-o", "out.tif", "--overwrite", "--json"];
    args.extend(inputs);
    args.extend(more);
    let json = env.ok(&args).stdout;
    let mut args = vec!["mosaic", "-o", "plain.tif", "--overwrite", "-q", "-c", "16"];
    args.extend(inputs);
    let pixels = ["--nodata", "--src-nodata", "--overlap", "--dtype"];
    for pair in more.windows(2).filter(|pair| pixels.contains(&pair[0])) {
        args.extend(pair);
    }
    args.extend(more.iter().filter(|option| matches!(**option, "--mask" | "--alpha")));
    env.ok(&args);
    same_pixels(&env.picture("out.tif"), &env.picture("plain.tif")).unwrap();
    ["blocks_copied", "blocks_unchecked", "blocks_decoded"].map(|name| number(&json, name))
}

/// A picture in tiles of 32 pixels.
fn tiled(width: usize, height: usize, bands: usize, seed: u64) -> Geotiff {
    let mut picture = Geotiff::new(width, height, bands, seed);
    picture.tile = Some((32, 32));
    picture.codec = Codec::Lzw;
    picture.predictor = true;
    picture
}

/// 2 × 2 neighbours of 64 pixels: 16 places for blocks.
fn grid(env: &TestEnv, change: impl Fn(&mut Geotiff)) -> [&'static str; 4] {
    let names = ["a.tif", "b.tif", "c.tif", "d.tif"];
    for (index, name) in names.iter().enumerate() {
        let (col, row) = ((index % 2) as f64 * 64.0, (index / 2) as f64 * 64.0);
        let mut picture = tiled(64, 64, 3, index as u64).moved(col, row);
        change(&mut picture);
        picture.write(&env.path(name));
    }
    names
}

#[test]
fn aligned_blocks_are_copied_under_every_layout() {
    let env = TestEnv::new();
    let mut cases = 0;
    for codec in [Codec::None, Codec::Lzw, Codec::Deflate, Codec::PackBits] {
        for planar in [false, true] {
            for predictor in [false, true] {
                if predictor && matches!(codec, Codec::None | Codec::PackBits) {
                    continue;
                }
                let names = grid(&env, |picture| {
                    (picture.codec, picture.planar, picture.predictor) = (codec, planar, predictor);
                });
                let blocks = if planar { 48 } else { 16 };
                let unseen = copied(&env, &names, &["-c", "auto", "--stats", "none"]);
                assert_eq!(unseen, [blocks, blocks, 0], "{codec:?} {planar} {predictor}");
                let seen = copied(&env, &names, &["-c", "auto"]);
                assert_eq!(seen, [blocks, 0, blocks], "{codec:?} {planar} {predictor}");
                let stats = &env.picture("out.tif").tags[&42112].text;
                assert!(stats.contains("STATISTICS_MEAN"), "{stats}");
                let plain = &env.picture("plain.tif").tags[&42112].text;
                assert_eq!(stats, plain);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 12);
}

#[test]
fn the_bytes_are_those_of_the_source() {
    let env = TestEnv::new();
    let names = grid(&env, |picture| picture.codec = Codec::Deflate);
    copied(&env, &names, &["-c", "auto", "--stats", "none"]);
    let out = fs::read(env.path("out.tif")).unwrap();
    let mut found = 0;
    for name in names {
        let (file, tags) = (fs::read(env.path(name)).unwrap(), env.picture(name).tags);
        for (offset, count) in tags[&324].ints.iter().zip(&tags[&325].ints) {
            let block = &file[*offset as usize..(*offset + *count) as usize];
            assert!(out.windows(block.len()).any(|window| window == block), "{name} at {offset}");
            found += 1;
        }
    }
    assert_eq!(found, 16);
}

#[test]
fn overviews_come_with_copied_blocks() {
    let env = TestEnv::new();
    let names = grid(&env, |_| {});
    for layout in ["--cog", "--overviews"] {
        let counts = copied(&env, &names, &["-c", "auto", layout, "--stats", "none"]);
        assert_eq!(counts, [16, 0, 16], "{layout}");
    }
}

#[test]
fn padding_short_strips_and_shifted_tiles_are_rendered() {
    let env = TestEnv::new();
    // 80 = 2.5 tiles: the last column has padding.
    tiled(80, 64, 1, 1).write(&env.path("a.tif"));
    assert_eq!(copied(&env, &["a.tif"], &["-c", "auto", "--stats", "none"]), [4, 4, 2]);
    // The neighbour begins in the middle of a block.
    tiled(64, 64, 1, 2).moved(80.0, 0.0).write(&env.path("b.tif"));
    assert_eq!(copied(&env, &["a.tif", "b.tif"], &["-c", "32", "--stats", "none"])[..2], [4, 4]);
    // Strips as high as they are wide are blocks, but for the short last one.
    let mut strips = Geotiff::new(32, 80, 1, 3);
    (strips.rows_per_strip, strips.codec) = (32, Codec::Deflate);
    strips.write(&env.path("s.tif"));
    assert_eq!(copied(&env, &["s.tif"], &["-c", "auto", "--stats", "none"]), [2, 2, 1]);
}

#[test]
fn uncompressed_strips_make_up_blocks() {
    let env = TestEnv::new();
    let mut cases = 0;
    for planar in [false, true] {
        // 80 rows: two blocks of 32 and a short one, which is rendered.
        for (rows, blocks) in [(1, 2), (8, 2), (16, 2), (32, 2), (24, 0)] {
            let mut picture = Geotiff::new(32, 80, 3, rows as u64);
            (picture.rows_per_strip, picture.planar, picture.codec) = (rows, planar, Codec::None);
            picture.write(&env.path("a.tif"));
            let interleave = if planar { "band" } else { "pixel" };
            let layout = ["-c", "32", "--compress", "none", "--interleave", interleave];
            let none = [&layout[..], &["--stats", "none"]].concat();
            let plan = env.ok(&[&["plan", "--json", "a.tif"], &none[..]].concat()).stdout;
            let blocks = if planar { blocks * 3 } else { blocks };
            assert_eq!(number(&plan, "copied"), blocks, "{planar} {rows}");
            let unseen = copied(&env, &["a.tif"], &none);
            assert_eq!(unseen[..2], [blocks, blocks], "{planar} {rows}");
            let seen = copied(&env, &["a.tif"], &layout);
            assert_eq!(seen[..2], [blocks, 0], "{planar} {rows}");
            cases += 1;
        }
    }
    assert_eq!(cases, 10);
}

#[test]
fn byte_order_type_codec_and_predictor_must_agree() {
    let env = TestEnv::new();
    let mut cases = 0;
    let mut check = |change: &dyn Fn(&mut Geotiff), more: &[&str], expected: u64| {
        let names = grid(&env, change);
        let args = [&["-c", "32", "--interleave", "pixel"], more].concat();
        assert_eq!(copied(&env, &names, &args)[0], expected, "{more:?}");
        cases += 1;
    };
    check(&|_| {}, &[], 16);
    check(&|p| p.big_endian = true, &[], 0);
    check(&|p| p.planar = true, &[], 0);
    check(&|p| p.codec = Codec::Deflate, &[], 0);
    check(&|p| p.predictor = false, &[], 0);
    check(&|p| p.tile = Some((32, 16)), &[], 0);
    check(&|p| p.tile = Some((16, 16)), &[], 0);
    check(&|p| p.big = true, &[], 16);
    check(&|_| {}, &["--dtype", "u32"], 0);
    check(&|_| {}, &["--mask"], 0);
    check(&|_| {}, &["--alpha"], 0);
    check(&|_| {}, &["--predictor", "none"], 0);
    check(&|_| {}, &["--level", "6", "--compress", "deflate"], 0);
    assert_eq!(cases, 13);
}

#[test]
fn nodata_and_overlaps_are_decided_by_pixels() {
    let env = TestEnv::new();
    let hole = |picture: &mut Geotiff| picture.set(5, 5, 7);
    let nodata = |picture: &mut Geotiff| {
        hole(picture);
        picture.nodata = Some("7".into());
    };
    // The same nodata on both sides: known from headers.
    let names = grid(&env, nodata);
    assert_eq!(copied(&env, &names, &["-c", "auto", "--stats", "none"]), [16, 16, 0]);
    // Another nodata: blocks without a hole are as they were.
    let other = copied(&env, &names, &["-c", "auto", "--stats", "none", "--nodata", "3"]);
    assert_eq!(other, [12, 0, 16]);
    // To be nudged or left out, blocks are looked at.
    for option in [&["--sparse"][..], &["--on-nodata-clash", "nudge"]] {
        let args = [&["-c", "auto", "--stats", "none"], option].concat();
        assert_eq!(copied(&env, &names, &args), [16, 0, 16], "{option:?}");
    }
    // One on top of another: the block of the one that shows is copied, its hole is not.
    let names = grid(&env, |_| {});
    let mut top = tiled(64, 64, 3, 9).moved(32.0, 32.0);
    nodata(&mut top);
    top.write(&env.path("top.tif"));
    let all = [&names[..], &["top.tif"]].concat();
    let [blocks, unseen, _] = copied(&env, &all, &["-c", "auto", "--stats", "none"]);
    assert_eq!((blocks, unseen), (15, 12));
}

#[test]
fn layouts_that_differ_are_told_and_fall_back() {
    let env = TestEnv::new();
    tiled(64, 64, 1, 1).write(&env.path("a.tif"));
    let mut other = tiled(64, 64, 1, 2).moved(64.0, 0.0);
    other.codec = Codec::Deflate;
    other.write(&env.path("b.tif"));
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "-o", "out.tif", "-c", "auto"]);
    assert!(run.stderr.contains("-c auto: the inputs differ"), "{}", run.stderr);
    assert_eq!(env.picture("out.tif").tags[&322].ints, [1024]);
    tiled(64, 64, 1, 2).moved(64.0, 10.0).write(&env.path("b.tif"));
    tiled(64, 64, 1, 2).moved(160.0, 10.0).write(&env.path("c.tif"));
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "c.tif", "-o", "o2.tif", "-c", "auto"]);
    assert!(run.stderr.contains("1 of 3 inputs lie on whole blocks"), "{}", run.stderr);
}

/// `smalti plan` counts by the rule of the run: copied for certain, and perhaps.
#[test]
fn a_plan_counts_as_the_run_copies() {
    let env = TestEnv::new();
    let (mut cases, mut seen) = (0, [0; 2]);
    let sets: [&dyn Fn(&mut Geotiff); 5] = [
        &|_| {},
        &|p| p.nodata = Some("7".into()),
        &|p| p.planar = true,
        &|p| p.set(5, 5, 7),
        &|p| p.big_endian = true,
    ];
    for (set, change) in sets.into_iter().enumerate() {
        let names = grid(&env, change);
        // One that lies off the blocks, one in another layout, one on top of others.
        tiled(64, 64, 3, 9).moved(136.0, 8.0).write(&env.path("off.tif"));
        let mut other = tiled(64, 64, 3, 10).moved(0.0, 128.0);
        other.predictor = false;
        other.write(&env.path("other.tif"));
        tiled(32, 32, 3, 11).moved(32.0, 0.0).write(&env.path("top.tif"));
        for more in [
            &["-c", "32", "--stats", "none", "--interleave", "pixel"][..],
            &["-c", "32", "--stats", "none"],
            &["-c", "32", "--stats", "none", "--interleave", "pixel", "--nodata", "9"],
            &["-c", "32", "--stats", "none", "--interleave", "pixel", "--sparse"],
            &["-c", "32", "--stats", "none", "--interleave", "pixel", "--overlap", "max"],
            &["-c", "32", "--stats", "none", "--interleave", "pixel", "--overlap", "mean"],
            &["-c", "32", "--stats", "none", "--compress", "deflate"],
            &["-c", "64", "--stats", "none", "--interleave", "pixel", "--cog"],
            &["-c", "32", "--stats", "none", "--interleave", "pixel", "--alpha"],
        ] {
            let args = [&names[..], &["off.tif", "other.tif", "top.tif"], more].concat();
            let plan = env.ok(&[&["plan", "--json"][..], &args].concat()).stdout;
            let [known, perhaps] = ["copied", "compared"].map(|name| number(&plan, name));
            let run =
                env.ok(&[&["mosaic", "-o", "o.tif", "--overwrite", "--json"][..], &args].concat());
            let [copied, unseen] =
                ["blocks_copied", "blocks_unchecked"].map(|name| number(&run.stdout, name));
            let at = format!("set {set} {more:?}: {known} {perhaps}, {copied} {unseen}");
            if !more.contains(&"--cog") {
                assert_eq!(known, unseen, "{at}");
            }
            assert!((known..=known + perhaps).contains(&copied), "{at}");
            seen = [seen[0] + known, seen[1] + perhaps];
            cases += 1;
        }
    }
    assert_eq!(cases, 45);
    assert!(seen[0] > 100 && seen[1] > 100, "{seen:?}");
}
