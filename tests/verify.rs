//! Receipts, and what `verify` finds with and without them (SPEC §8.10).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use support::TestEnv;
use support::builder::{Codec, Geotiff};

/// A mosaic of two with a receipt.
fn env_with_output(more: &[&str]) -> (TestEnv, Vec<u8>) {
    let env = TestEnv::new();
    for (name, col, seed) in [("a.tif", 0.0, 1), ("b.tif", 50.0, 2)] {
        let mut picture = Geotiff::new(64, 48, 2, seed).moved(col, 0.0);
        picture.codec = Codec::Deflate;
        picture.nodata = Some("0".into());
        picture.set(3, 3, 0);
        picture.write(&env.path(name));
    }
    let args = ["mosaic", "a.tif", "b.tif", "-o", "out.tif", "-q", "--receipt", "r.json"];
    env.ok(&[&args[..], more].concat());
    let bytes = fs::read(env.path("out.tif")).unwrap();
    (env, bytes)
}

const LAYOUTS: [&[&str]; 3] = [
    &["-c", "32", "--compress", "deflate"],
    &["-c", "16", "--cog"],
    &["-c", "32", "--overviews", "--mask", "--bigtiff", "yes"],
];

#[test]
fn what_was_written_is_without_fault() {
    for layout in LAYOUTS {
        let (env, _) = env_with_output(layout);
        let run = env.ok(&["verify", "out.tif"]);
        assert!(run.stdout.contains("no fault found"), "{}", run.stdout);
        let run = env.ok(&["verify", "out.tif", "--receipt", "r.json", "--rederive", "--json"]);
        assert!(run.stdout.contains("\"faults\":0"), "{}", run.stdout);
        assert!(!run.stdout.contains("\"blocks_rederived\":0"), "{}", run.stdout);
        let receipt = fs::read_to_string(env.path("r.json")).unwrap();
        for word in ["\"a.tif\"", "\"--receipt\"", "\"statistics\"", "\"modified_ns\""] {
            assert!(receipt.contains(word), "no {word} in {receipt}");
        }
    }
}

#[test]
fn any_changed_byte_is_found_with_a_receipt() {
    let mut changes = 0;
    for layout in LAYOUTS {
        let (env, whole) = env_with_output(layout);
        let places = (0..whole.len()).filter(|at| at % 97 == 0 || (at % 13 == 0 && *at < 600));
        for at in places {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(env.path("out.tif"), &bytes).unwrap();
            let run = env.run(&["verify", "out.tif", "--receipt", "r.json"]);
            assert_eq!(run.code, Some(1), "byte {at}: {}{}", run.stdout, run.stderr);
            assert_eq!(run.panicked(), None);
            changes += 1;
        }
        fs::write(env.path("out.tif"), [&whole[..], &[0]].concat()).unwrap();
        assert_eq!(env.run(&["verify", "out.tif", "--receipt", "r.json"]).code, Some(1));
        fs::write(env.path("out.tif"), &whole[..whole.len() - 1]).unwrap();
        assert_eq!(env.run(&["verify", "out.tif", "--receipt", "r.json"]).code, Some(1));
    }
    assert!(changes > 300, "{changes}");
}

/// Where in a classic file the values of the tables of offsets and counts of the first directory stand.
fn tables(file: &[u8]) -> [usize; 2] {
    let uint = |at: usize, len: usize| {
        file[at..at + len].iter().rev().fold(0, |sum, b| sum << 8 | usize::from(*b))
    };
    let at = uint(4, 4);
    let entry = |tag: usize| {
        (0..uint(at, 2)).map(|n| at + 2 + 12 * n).find(|at| uint(*at, 2) == tag).unwrap()
    };
    [324, 325].map(|tag| uint(entry(tag) + 8, 4))
}

#[test]
fn offsets_counts_streams_and_statistics_are_checked_without_one() {
    let (env, whole) = env_with_output(LAYOUTS[0]);
    let [offsets, counts] = tables(&whole);
    let check = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        assert_ne!(bytes, whole, "{name}");
        fs::write(env.path("out.tif"), &bytes).unwrap();
        let run = env.run(&["verify", "out.tif"]);
        assert_eq!(run.code, Some(1), "{name}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("fault: "), "{name}: {}", run.stdout);
    };
    check("an offset beyond the end", &|b| b[offsets + 3] = 0x40);
    check("an offset into the header", &|b| b[offsets..offsets + 4].copy_from_slice(&[4, 0, 0, 0]));
    check("an offset a little off", &|b| b[offsets] ^= 2);
    check("a short count", &|b| b[counts + 1] = 0);
    check("a count into the next block", &|b| b[counts + 4 + 1] ^= 4);
    let block = usize::from(whole[offsets]) + 256 * usize::from(whole[offsets + 1]);
    check("a stream", &|b| b[block + 40] ^= 0x20);
    check("a stream's head", &|b| b[block] ^= 0xff);
    let text = whole.windows(18).position(|w| w == b"STATISTICS_MAXIMUM").unwrap();
    let digit = text + whole[text..].iter().position(|b| b.is_ascii_digit() && *b != b'0').unwrap();
    check("a maximum", &|b| {
        let at = (digit..).find(|at| b[at - 1] == b'>').unwrap();
        b[at] = if b[at] == b'9' { b'8' } else { b[at] + 1 };
    });
    // A Cloud Optimized GeoTIFF has leaders and trailers too.
    let (env, whole) = env_with_output(LAYOUTS[1]);
    let [offsets, _] = tables(&whole);
    let block = usize::from(whole[offsets]) + 256 * usize::from(whole[offsets + 1]);
    let mut bytes = whole.clone();
    bytes[block - 4] ^= 1;
    fs::write(env.path("out.tif"), &bytes).unwrap();
    assert_eq!(env.run(&["verify", "out.tif"]).code, Some(1));
}

#[test]
fn inputs_that_give_other_samples_are_found() {
    let (env, _) = env_with_output(LAYOUTS[0]);
    let mut other = Geotiff::new(64, 48, 2, 9);
    other.codec = Codec::Deflate;
    other.nodata = Some("0".into());
    other.write(&env.path("a.tif"));
    let run = env.run(&["verify", "out.tif", "--receipt", "r.json", "--rederive"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("its inputs give other samples"), "{}", run.stdout);
    assert!(run.stdout.contains("a.tif: missing, or changed since"), "{}", run.stdout);
}

#[test]
fn what_is_no_geotiff_is_a_fault() {
    let env = TestEnv::new();
    fs::write(env.path("x.tif"), b"this is no TIFF").unwrap();
    assert_eq!(env.run(&["verify", "x.tif"]).code, Some(1));
    assert_eq!(env.run(&["verify", "missing.tif"]).code, Some(1));
}

/// Without a receipt the inputs can be named; what differs from what they give is found.
#[test]
fn inputs_that_are_named_give_the_same_samples() {
    let mut cases = 0;
    for layout in [
        &["-c", "32"][..],
        &["-c", "16", "--cog"],
        &["-c", "32", "--overviews", "--mask"],
        &["-c", "32", "--alpha", "--interleave", "pixel"],
        &["-c", "32", "--overlap", "mean", "--dtype", "f32"],
        &["-c", "16", "--on-nodata-clash", "nudge", "--nodata", "1234"],
        &["-c", "32", "--res", "7", "--resampling", "cubic"],
        &["-c", "32", "--crs", "EPSG:4326", "--resampling", "bilinear"],
        &["-c", "16", "--sparse", "--memory", "64M", "--threads", "3"],
    ] {
        let (env, whole) = env_with_output(layout);
        let pixels = ["--overlap", "--dtype", "--on-nodata-clash", "--resampling"];
        let pairs = layout.windows(2).filter(|pair| pixels.contains(&pair[0])).flatten().copied();
        let args: Vec<&str> =
            ["verify", "out.tif", "a.tif", "b.tif", "--json"].into_iter().chain(pairs).collect();
        let run = env.ok(&args);
        assert!(run.stdout.contains("\"faults\":0"), "{layout:?}: {}", run.stdout);
        assert!(!run.stdout.contains("\"blocks_rederived\":0"), "{layout:?}: {}", run.stdout);
        let by_receipt = ["verify", "out.tif", "--receipt", "r.json", "--rederive", "--json"];
        let run = env.ok(&by_receipt);
        assert!(run.stdout.contains("\"faults\":0"), "{layout:?}: {}", run.stdout);
        // One sample of one input.
        let mut other = Geotiff::new(64, 48, 2, 2).moved(50.0, 0.0);
        other.nodata = Some("0".into());
        other.set(3, 3, 0);
        other.set(40, 30, 900);
        other.write(&env.path("b.tif"));
        assert_eq!(env.run(&args).code, Some(1), "{layout:?}");
        assert_eq!(fs::read(env.path("out.tif")).unwrap(), whole);
        cases += 1;
    }
    assert_eq!(cases, 9);
    let (env, _) = env_with_output(LAYOUTS[0]);
    let run = env.run(&["verify", "out.tif", "a.tif", "--rederive", "1", "--json"]);
    assert!(
        run.stdout.contains("\"blocks_rederived\":1,")
            || run.stdout.contains("\"blocks_rederived\":1}")
    );
    env.fails(&["verify", "out.tif", "missing.tif"], 2, &["missing.tif"]);
    env.fails(&["verify", "out.tif", "a.tif", "--rederive", "0"], 2, &["--rederive"]);
}

/// Each byte of a small file, one after the other.
#[test]
fn every_byte_of_a_small_file_counts() {
    let env = TestEnv::new();
    Geotiff::new(20, 18, 1, 5).write(&env.path("a.tif"));
    for (name, more) in [("p.tif", &["-c", "16"][..]), ("c.tif", &["-c", "16", "--cog"])] {
        let fixed = ["mosaic", "a.tif", "-o", name, "-q", "--receipt", "r.json", "--overwrite"];
        env.ok(&[&fixed[..], more].concat());
        let whole = fs::read(env.path(name)).unwrap();
        for at in 0..whole.len() {
            // All of the tables and directories, a part of the streams.
            if at % 3 != 0 && at > 700 {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(env.path(name), &bytes).unwrap();
            let run = env.run(&["verify", name, "--receipt", "r.json"]);
            assert_eq!(run.code, Some(1), "{name}: byte {at}: {}", run.stdout);
        }
    }
}

/// Readers make do with any count of an uncompressed block; here it must be right.
#[test]
fn counts_of_uncompressed_blocks_are_checked_without_a_receipt() {
    let (env, whole) = env_with_output(&["-c", "32", "--compress", "none"]);
    let [_, counts] = tables(&whole);
    let blocks = 2 * 4 * 2;
    for at in counts..counts + 4 * blocks {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(env.path("out.tif"), &bytes).unwrap();
        assert_eq!(env.run(&["verify", "out.tif"]).code, Some(1), "byte {at}");
    }
}

/// Samples that equal the nodata read as missing, and the stated statistics say so.
#[test]
fn a_clash_with_nodata_is_no_fault() {
    let env = TestEnv::new();
    let mut value = |_: usize, row: usize, col: usize| ((row + col) % 120) as f64;
    Geotiff::typed([90, 70, 1], (8, 1), &mut value).write(&env.path("a.tif"));
    let made = env.ok(&["mosaic", "a.tif", "-o", "out.tif", "--nodata", "100"]);
    assert!(made.stderr.contains("equal the output nodata"), "{}", made.stderr);
    env.ok(&["verify", "out.tif"]);
    // A receipt is checked before the run, and never replaces a file unasked.
    env.fails(&["mosaic", "a.tif", "-o", "b.tif", "--receipt", "none/r.json"], 2, &["none"]);
    fs::write(env.path("r.json"), "mine").unwrap();
    env.fails(&["mosaic", "a.tif", "-o", "b.tif", "--receipt", "r.json"], 2, &["r.json"]);
    assert!(!env.path("b.tif").exists());
}
