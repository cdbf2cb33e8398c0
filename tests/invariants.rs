//! What must hold for any input, with no oracle but the input itself: options that are about speed
//! and storage do not change pixels, and a mosaic of parts is the whole.

mod support;

use std::fs;

use support::builder::{Codec, Geotiff, Random};
use support::{TestEnv, csv, fixtures, reader, same_pixels, same_transform, sha256};

/// Rows of fixtures/sources/EXPECTED.csv.
const SOURCES: usize = 107;

// ---- the tests' own tools ---------------------------------------------------------------------------

#[test]
fn sha256_is_that_of_fips_180() {
    assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    let want = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
    assert_eq!(sha256(long.as_bytes()), want);
}

/// The reader that judges our outputs gives what GDAL and tifffile gave.
#[test]
fn test_reader_agrees_with_gdal() {
    let table = csv(&fixtures("sources/EXPECTED.csv"));
    assert_eq!(table.len(), SOURCES);
    for row in table {
        let got = reader::read(&fixtures("sources").join(&row[0])).unwrap();
        assert_eq!(got.dtype(), row[1], "{}", row[0]);
        let shape = [got.bands, got.height, got.width].map(|v| v.to_string());
        assert_eq!(shape.as_slice(), &row[2..5], "{}", row[0]);
        assert_eq!(sha256(&got.samples), row[5], "{}", row[0]);
        let want: Vec<f64> = row[6].split_whitespace().map(|v| v.parse().unwrap()).collect();
        match got.transform {
            Some(t) => {
                let near = t.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs());
                assert!(near && want.len() == 6, "{}: {t:?}, expected {want:?}", row[0]);
            }
            None => assert!(want.is_empty() || row[0].starts_with("worldfile"), "{}", row[0]),
        }
    }
}

#[test]
fn builder_and_reader_agree() {
    for (index, variant) in variants(&Geotiff::new(53, 38, 3, 4)).into_iter().enumerate() {
        let env = TestEnv::new();
        variant.write(&env.path("a.tif"));
        let got = env.picture("a.tif");
        assert!(got.samples == variant.samples, "variant {index}");
        assert_eq!(got.transform, Some(variant.transform), "variant {index}");
        assert_eq!((got.epsg, got.dtype().as_str()), (Some(32633), "uint16"), "variant {index}");
    }
}

/// No fixture is changed, added or lost without its line in the manifest; all stay small.
#[test]
fn fixtures_are_those_of_the_manifest() {
    let mut total = 0;
    let table = csv(&fixtures("MANIFEST.csv"));
    for row in &table {
        let bytes = fs::read(fixtures(&row[0])).unwrap_or_else(|e| panic!("{}: {e}", row[0]));
        assert_eq!(sha256(&bytes), row[2], "{}", row[0]);
        assert!(bytes.len() <= 65536, "{} is over 64 KiB", row[0]);
        total += bytes.len();
    }
    assert!(total <= 5_000_000, "{total} bytes of fixtures");
    let mut found = 0;
    let mut folders = [
        "sources", "golden", "bands", "corrupt", "kernels", "pictures", "odd", "fuzz", "crs",
        "warp",
    ]
    .map(fixtures)
    .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found += 1 }
        }
    }
    assert_eq!(found, table.len(), "files in fixtures and lines in MANIFEST.csv");
}

/// The mask of the fixtures is a disk (fixtures/generate/sources.py).
#[test]
fn test_reader_reads_masks() {
    for name in ["mask_u8_deflate.tif", "mask_u16_lzw_strip.tif", "mask_rgb_planar.tif"] {
        let mask = reader::read(&fixtures("sources").join(name)).unwrap().mask.expect(name);
        assert_eq!(mask.len(), 31 * 45, "{name}");
        for (index, valid) in mask.into_iter().enumerate() {
            let (x, y) = ((index % 45).abs_diff(22), (index / 45).abs_diff(15));
            assert_eq!(valid, x * x + y * y < 13 * 13, "{name}, pixel {index}");
        }
    }
}

/// The comparison that all tests rely on can fail, and shows where.
#[test]
fn pixel_differences_are_seen() {
    let a = reader::read(&fixtures("sources").join("nan_without_nodata_f32.tif")).unwrap();
    same_pixels(&a, &a).unwrap();
    let mut b = a.clone();
    let at = (7 * a.width + 20) * 4;
    b.samples[at..at + 4].copy_from_slice(&12.5f32.to_le_bytes());
    let message = same_pixels(&b, &a).unwrap_err();
    assert!(message.starts_with("1 samples differ"), "{message}");
    assert!(message.contains("row 7, col 20: 12.5"), "{message}");
    let mut moved = a.clone();
    moved.transform.as_mut().unwrap()[0] += 0.001;
    same_transform(&moved, &a).unwrap_err();
    moved.width -= 1;
    same_pixels(&moved, &a).unwrap_err();
}

#[test]
fn golden_expectations_can_be_read() {
    let mut count = 0;
    for entry in fs::read_dir(fixtures("golden")).unwrap() {
        let expected = reader::read(&entry.unwrap().path().join("expected.tif")).unwrap();
        assert!(expected.transform.is_some());
        count += 1;
    }
    assert_eq!(count, 113);
}

/// The same pixels stored in every way that the builder knows.
fn variants(picture: &Geotiff) -> Vec<Geotiff> {
    let mut out = Vec::new();
    for tile in [None, Some((16, 16)), Some((64, 32))] {
        for planar in [false, true] {
            for (codec, predictor) in [
                (Codec::None, false),
                (Codec::Lzw, false),
                (Codec::Lzw, true),
                (Codec::Deflate, true),
                (Codec::PackBits, false),
            ] {
                let index = out.len();
                let mut v = picture.clone();
                (v.tile, v.planar, v.codec, v.predictor) = (tile, planar, codec, predictor);
                v.rows_per_strip = [1, 7, 1000][index % 3];
                v.big = index.is_multiple_of(2);
                v.big_endian = (index / 2).is_multiple_of(2);
                out.push(v);
            }
        }
    }
    assert_eq!(out.len(), 30);
    out
}

// ---- inputs -------------------------------------------------------------------------------------------

/// Seven overlapping sources with holes, each stored in another way, one off the grid by 0.3 pixels.
fn env_with_sources() -> (TestEnv, Vec<String>) {
    let env = TestEnv::new();
    let mut random = Random(99);
    let mut names = Vec::new();
    for index in 0..7usize {
        let (col, row) = ((index % 3) as f64 * 70.0, (index / 3) as f64 * 60.0);
        let off = if index == 5 { 0.3 } else { 0.0 };
        let mut picture = Geotiff::new(90, 80, 2, index as u64).moved(col + off, row + off);
        for _ in 0..400 {
            picture.set(random.below(90), random.below(80), 0);
        }
        picture.nodata = Some("0".to_owned());
        let all = variants(&picture);
        let name = format!("{index}.tif");
        all[(index * 13 + 1) % all.len()].write(&env.path(&name));
        names.push(name);
    }
    (env, names)
}

fn mosaic(env: &TestEnv, inputs: &[String], out: &str, options: &[&str]) {
    let mut args = vec!["mosaic"];
    args.extend(inputs.iter().map(String::as_str));
    args.extend(["-o", out, "--overwrite"]);
    args.extend(options);
    env.ok(&args);
}

// ---- options that must not change anything ----------------------------------------------------------------

#[test]
fn bytes_do_not_depend_on_threads_memory_or_io() {
    let (env, inputs) = env_with_sources();
    mosaic(&env, &inputs, "base.tif", &["-c", "32"]);
    let base = fs::read(env.path("base.tif")).unwrap();
    let mut runs = 0;
    for threads in ["1", "2", "7"] {
        for memory in ["64M", "512M"] {
            for io in ["read", "mmap"] {
                let options = ["-c", "32", "--threads", threads, "--memory", memory, "--io", io];
                mosaic(&env, &inputs, "out.tif", &options);
                let same = fs::read(env.path("out.tif")).unwrap() == base;
                assert!(same, "other bytes with {options:?}");
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 12);
}

#[test]
fn pixels_do_not_depend_on_how_they_are_written() {
    let (env, inputs) = env_with_sources();
    mosaic(&env, &inputs, "base.tif", &[]);
    let base = env.picture("base.tif");
    assert!(!base.big);
    let options: [&[&str]; 22] = [
        &["-c", "16"],
        &["-c", "48"],
        &["-c", "256", "--interleave", "pixel"],
        &["--chunk", "2048"],
        &["--memory", "64M", "-c", "16"],
        &["--interleave", "band"],
        &["--interleave", "pixel"],
        &["--compress", "none"],
        &["--compress", "lzw"],
        &["--compress", "deflate"],
        &["--compress", "deflate", "--level", "1", "--interleave", "pixel"],
        &["--compress", "deflate", "--level", "9"],
        &["--compress", "zstd"],
        &["--compress", "packbits", "-c", "64"],
        &["--compress", "none", "--interleave", "pixel", "-c", "32"],
        &["--predictor", "none"],
        &["--predictor", "horizontal"],
        &["--predictor", "horizontal", "--interleave", "pixel", "--compress", "zstd"],
        &["--sparse", "-c", "16"],
        &["--stats", "none"],
        &["--cache-fraction", "0.1"],
        &["--bigtiff", "no"],
    ];
    for option in options {
        mosaic(&env, &inputs, "out.tif", option);
        same_pixels(&env.picture("out.tif"), &base).unwrap_or_else(|e| panic!("{option:?}: {e}"));
    }
}

#[test]
fn bigtiff_holds_the_same_pixels() {
    let (env, inputs) = env_with_sources();
    mosaic(&env, &inputs, "classic.tif", &["--bigtiff", "no"]);
    mosaic(&env, &inputs, "big.tif", &["--bigtiff", "yes"]);
    let (classic, big) = (env.picture("classic.tif"), env.picture("big.tif"));
    assert!(!classic.big && big.big);
    same_pixels(&big, &classic).unwrap();
    same_transform(&big, &classic).unwrap();
    assert_eq!((big.epsg, big.nodata), (classic.epsg, classic.nodata));
}

#[test]
fn pixels_do_not_depend_on_how_sources_are_stored() {
    let env = TestEnv::new();
    let mut random = Random(5);
    let mut lower = Geotiff::new(60, 50, 3, 1);
    let mut upper = Geotiff::new(60, 50, 3, 2).moved(25.0, 20.0);
    for picture in [&mut lower, &mut upper] {
        picture.nodata = Some("0".to_owned());
        for _ in 0..300 {
            picture.set(random.below(60), random.below(50), 0);
        }
    }
    lower.write(&env.path("lower.tif"));
    upper.write(&env.path("upper.tif"));
    mosaic(&env, &["lower.tif".into(), "upper.tif".into()], "base.tif", &["-c", "32"]);
    let base = env.picture("base.tif");
    for (index, (a, b)) in variants(&lower).iter().zip(variants(&upper).iter().rev()).enumerate() {
        a.write(&env.path("a.tif"));
        b.write(&env.path("b.tif"));
        mosaic(&env, &["a.tif".into(), "b.tif".into()], "out.tif", &["-c", "32"]);
        same_pixels(&env.picture("out.tif"), &base).unwrap_or_else(|e| panic!("{index}: {e}"));
    }
}

#[test]
fn two_runs_give_the_same_bytes() {
    let (env, inputs) = env_with_sources();
    mosaic(&env, &inputs, "a.tif", &[]);
    mosaic(&env, &inputs, "b.tif", &[]);
    assert!(fs::read(env.path("a.tif")).unwrap() == fs::read(env.path("b.tif")).unwrap());
}

// ---- the parts and the whole --------------------------------------------------------------------------------

/// The mosaic of one file is that file: every layout, type and nodata of fixtures/sources.
#[test]
fn mosaic_of_one_source_is_that_source() {
    // Invalid samples become 0 under a mask or alpha; turned grids change; -9999 is no u16.
    let other = ["rotated", "sheared", "south_up", "mask_", "alpha_", "nodata_minus9999"];
    let (mut count, mut faults) = (0, Vec::new());
    for row in csv(&fixtures("sources/EXPECTED.csv")) {
        if row[9] != "ok" || other.iter().any(|o| row[0].starts_with(o)) {
            continue;
        }
        count += 1;
        let env = TestEnv::new();
        let input = support::fixture(&format!("sources/{}", row[0]));
        let args = ["mosaic", input.as_str(), "-o", "out.tif", "--nodata-mode", "band", "-c", "16"];
        let run = env.run(&args);
        if run.code != Some(0) {
            faults.push(format!("{}: exit {:?}\n{}", row[0], run.code, run.stderr));
            continue;
        }
        let got = env.picture("out.tif");
        if got.dtype() != row[1] || sha256(&got.samples) != row[5] {
            let source = reader::read(input.as_ref()).unwrap();
            let why = same_pixels(&got, &source).err();
            faults.push(format!("{}: {}", row[0], why.unwrap_or_default()));
        }
        let want: Vec<f64> = row[6].split_whitespace().map(|v| v.parse().unwrap()).collect();
        let t = got.transform.unwrap_or([f64::NAN; 6]);
        if !t.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs()) {
            faults.push(format!("{}: geotransform {t:?}, expected {want:?}", row[0]));
        }
        if let Some(code) = row[8].strip_prefix("EPSG:")
            && got.epsg != code.parse().ok()
        {
            faults.push(format!("{}: EPSG {:?}, expected {code}", row[0], got.epsg));
        }
    }
    assert_eq!(count, 95);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn parts_in_any_order_give_the_whole() {
    let mut random = Random(17);
    let whole = Geotiff::new(97, 83, 2, 3);
    for (across, down) in [(1, 1), (2, 2), (3, 5), (7, 4)] {
        let env = TestEnv::new();
        whole.write(&env.path("whole.tif"));
        let cut = |side: usize, parts: usize, k: usize| side * k / parts;
        let mut names = Vec::new();
        for i in 0..across {
            for j in 0..down {
                let (left, top) = (cut(97, across, i), cut(83, down, j));
                let (right, bottom) = (cut(97, across, i + 1), cut(83, down, j + 1));
                let part = whole.crop(left, top, right - left, bottom - top);
                let name = format!("{i}_{j}.tif");
                let all = variants(&part);
                all[random.below(all.len())].write(&env.path(&name));
                names.push(name);
            }
        }
        let want = env.picture("whole.tif");
        let mut first = None;
        for round in 0..3 {
            random.shuffle(&mut names);
            mosaic(&env, &names, "out.tif", &["-c", "32"]);
            let what = format!("{across} × {down}, round {round}");
            let got = env.picture("out.tif");
            same_pixels(&got, &want).unwrap_or_else(|e| panic!("{what}: {e}"));
            same_transform(&got, &want).unwrap_or_else(|e| panic!("{what}: {e}"));
            // Permuting disjoint inputs changes nothing, not even bytes.
            let bytes = fs::read(env.path("out.tif")).unwrap();
            assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "{what}: other bytes");
        }
    }
}

#[test]
fn mosaic_of_mosaics_is_the_mosaic() {
    let (env, inputs) = env_with_sources();
    let aligned: Vec<String> = inputs.iter().filter(|n| *n != "5.tif").cloned().collect();
    mosaic(&env, &aligned, "all.tif", &[]);
    mosaic(&env, &aligned[..3], "lower.tif", &["-c", "32", "--interleave", "pixel"]);
    mosaic(&env, &aligned[3..], "upper.tif", &["--compress", "deflate"]);
    mosaic(&env, &["lower.tif".into(), "upper.tif".into()], "again.tif", &[]);
    same_pixels(&env.picture("again.tif"), &env.picture("all.tif")).unwrap();
}

#[test]
fn window_of_the_mosaic_is_the_mosaic_of_the_window() {
    let (env, inputs) = env_with_sources();
    mosaic(&env, &inputs, "all.tif", &[]);
    let all = env.picture("all.tif");
    let (col, row, width, height) = (33usize, 21usize, 101usize, 77usize);
    let (x, y) = (500_000.0 + col as f64 * 10.0, 5_300_000.0 - row as f64 * 10.0);
    let (right, bottom) = (x + width as f64 * 10.0, y - height as f64 * 10.0);
    let bounds = format!("{x},{bottom},{right},{y}");
    mosaic(&env, &inputs, "part.tif", &["--bounds", &bounds, "-c", "48"]);
    let part = env.picture("part.tif");
    assert_eq!((part.width, part.height), (width, height));
    let mut differ = 0;
    for band in 0..part.bands {
        for r in 0..height {
            for c in 0..width {
                differ += u32::from(part.sample(band, r, c) != all.sample(band, r + row, c + col));
            }
        }
    }
    assert_eq!(differ, 0, "samples differ");
}

#[test]
fn nearest_at_twice_the_resolution_repeats() {
    let env = TestEnv::new();
    let picture = Geotiff::new(31, 23, 2, 8);
    picture.write(&env.path("a.tif"));
    mosaic(&env, &["a.tif".into()], "out.tif", &["--res", "5", "-c", "16"]);
    let (a, out) = (env.picture("a.tif"), env.picture("out.tif"));
    assert_eq!((out.width, out.height), (62, 46));
    for row in 0..46 {
        for col in 0..62 {
            assert_eq!(out.sample(1, row, col), a.sample(1, row / 2, col / 2), "({col}, {row})");
        }
    }
}

#[test]
fn nothing_but_nodata_stays_nodata() {
    let env = TestEnv::new();
    let mut picture = Geotiff::new(40, 30, 1, 8);
    picture.samples.iter_mut().for_each(|b| *b = 7);
    picture.nodata = Some("1799".to_owned()); // 0x0707
    picture.write(&env.path("a.tif"));
    picture.clone().moved(20.0, 15.0).write(&env.path("b.tif"));
    mosaic(&env, &["a.tif".into(), "b.tif".into()], "out.tif", &["--sparse", "-c", "16"]);
    let out = env.picture("out.tif");
    assert_eq!(out.absent_blocks, 12, "60 × 45 pixels in blocks of 16: 4 × 3");
    assert!(out.samples.iter().all(|b| *b == 7));
    assert_eq!(out.nodata.as_deref(), Some("1799"));
}

// ---- what is written beside pixels ------------------------------------------------------------------------------

/// Text of one item of GDAL_METADATA.
fn item(metadata: &str, name: &str, band: usize) -> Option<f64> {
    let start = metadata.match_indices("<Item ").find(|(at, _)| {
        let head = metadata[*at..].split('>').next().unwrap_or_default();
        head.contains(&format!("name=\"{name}\"")) && head.contains(&format!("sample=\"{band}\""))
    })?;
    let text = metadata[start.0..].split('>').nth(1)?.split('<').next()?;
    text.trim().parse().ok()
}

#[test]
fn statistics_are_those_of_the_valid_samples() {
    let env = TestEnv::new();
    let mut random = Random(3);
    let mut picture = Geotiff::new(70, 50, 2, 6);
    picture.nodata = Some("0".to_owned());
    for _ in 0..500 {
        picture.set(random.below(70), random.below(50), 0);
    }
    picture.write(&env.path("a.tif"));
    mosaic(&env, &["a.tif".into()], "out.tif", &["-c", "16"]);
    let out = env.picture("out.tif");
    let metadata = &out.tags.get(&42112).expect("GDAL_METADATA is written").text;
    for band in 0..2 {
        let plane = &picture.samples[band * 7000..(band + 1) * 7000];
        let values: Vec<f64> = plane
            .chunks_exact(2)
            .map(|b| f64::from(u16::from_le_bytes([b[0], b[1]])))
            .filter(|v| *v != 0.0)
            .collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let stddev = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let want = [
            ("STATISTICS_MINIMUM", values.iter().copied().fold(f64::INFINITY, f64::min), 0.0),
            ("STATISTICS_MAXIMUM", values.iter().copied().fold(0.0, f64::max), 0.0),
            ("STATISTICS_MEAN", mean, 1e-10),
            ("STATISTICS_STDDEV", stddev, 1e-10),
            // GDAL writes it with few digits.
            ("STATISTICS_VALID_PERCENT", 100.0 * n / 3500.0, 1e-3),
        ];
        for (name, value, tolerance) in want {
            let got = item(metadata, name, band).unwrap_or_else(|| panic!("no {name}: {metadata}"));
            let near = (got - value).abs() <= tolerance * value;
            assert!(near, "{name} of band {band}: {got}, expected {value}");
        }
    }
    mosaic(&env, &["a.tif".into()], "none.tif", &["--stats", "none"]);
    let none = env.picture("none.tif").tags.get(&42112).map(|f| f.text.clone());
    assert!(!none.unwrap_or_default().contains("STATISTICS"), "--stats none");
}

#[test]
fn descriptions_units_and_scale_are_kept() {
    let env = TestEnv::new();
    let input = support::fixture("sources/descriptions.tif");
    env.ok(&["mosaic", &input, "-o", "out.tif"]);
    let out = env.picture("out.tif");
    let metadata = &out.tags.get(&42112).expect("GDAL_METADATA is written").text;
    // GDAL escapes values twice, and unescapes them twice.
    for word in ["near infrared", "red edge &amp;lt;&amp;amp;&amp;gt;", "reflectance"] {
        assert!(metadata.contains(word), "no {word} in {metadata}");
    }
    assert_eq!(item(metadata, "SCALE", 0), Some(0.0001), "{metadata}");
    assert_eq!(item(metadata, "OFFSET", 1), Some(-0.1), "{metadata}");
}

#[test]
fn layout_is_what_was_asked_for() {
    let (env, inputs) = env_with_sources();
    mosaic(&env, &inputs, "out.tif", &[]);
    let tag = |name: &str, tag: u16| env.picture(name).tags.get(&tag).map(|f| f.ints[0]);
    // Tile width and length, compression, planar configuration, predictor.
    let layout = |name: &str| [322, 323, 259, 284, 317].map(|t| tag(name, t));
    assert_eq!(layout("out.tif"), [Some(1024), Some(1024), Some(5), Some(2), Some(2)]);
    let options =
        ["-c", "64", "--compress", "zstd", "--interleave", "pixel", "--predictor", "none"];
    mosaic(&env, &inputs, "other.tif", &options);
    let got = layout("other.tif");
    assert_eq!(got[..4], [Some(64), Some(64), Some(50000), Some(1)]);
    assert!(matches!(got[4], None | Some(1)), "predictor {:?}", got[4]);
    for (codec, code) in [("none", 1), ("deflate", 8), ("packbits", 32773)] {
        mosaic(&env, &inputs, "out.tif", &["--compress", codec]);
        assert_eq!(tag("out.tif", 259), Some(code));
    }
}

/// NaN equals nothing, itself included: blocks of it must be left out, and encoded once, all the same.
#[test]
fn nan_as_nodata_is_as_sparse_as_any() {
    let env = TestEnv::new();
    let input = support::fixture("sources/nodata_nan_f32.tif");
    let wide = ["--bounds", "490000,5290000,510000,5305000", "-c", "256"];
    let mosaic = ["mosaic", &input, "-o", "out.tif"];
    env.ok(&[&mosaic[..], &wide, &["--sparse"]].concat());
    let stored =
        env.picture("out.tif").tags.get(&325).map(|f| f.ints.iter().filter(|v| **v > 0).count());
    assert!(stored.is_some_and(|count| (1..=4).contains(&count)), "{stored:?} blocks stored");
}

/// An input that cannot be used is an input all the same.
#[test]
fn a_bad_input_is_never_replaced() {
    let env = TestEnv::new();
    let input = support::fixture("sources/relief_1.tif");
    fs::write(env.path("bad.tif"), "not a raster").unwrap();
    let run = env.run(&["mosaic", &input, "bad.tif", "-o", "bad.tif", "--overwrite", "--skip-bad"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert_eq!(fs::read(env.path("bad.tif")).unwrap(), b"not a raster");
}
