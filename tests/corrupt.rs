//! Broken files: each must end in the right exit code and words, fast, with no panic and no output.

mod support;

use std::fs;
use std::time::Duration;

use smalti::tiff::reader::{BlockId, Dataset, Part, Scratch};
use support::builder::{Geotiff, Random};
use support::{Run, TestEnv, csv, fixtures, sha256};

/// Files in fixtures/corrupt.
const CORRUPT: usize = 49;
/// Files in fixtures/sources, usable or not.
const SOURCES: usize = 107;
/// A broken file must be told within this time.
const LIMIT: Duration = Duration::from_secs(2);

/// What no broken file may cause.
fn assert_sane(run: &Run, what: &str) {
    assert_eq!(run.panicked(), None, "{what}:\n{}", run.stderr);
    assert!(run.time < LIMIT, "{what} took {:?}", run.time);
    assert!(matches!(run.code, Some(0..=3)), "{what}: {:?}\n{}", run.code, run.stderr);
}

#[test]
fn every_broken_fixture_is_told_as_expected() {
    let table = csv(&fixtures("corrupt/EXPECTED.csv"));
    let on_disk = fs::read_dir(fixtures("corrupt")).unwrap().count() - 1;
    assert_eq!((table.len(), on_disk), (CORRUPT, CORRUPT));
    let mut faults = Vec::new();
    for row in table {
        let [file, _kind, stage, words, note] = row.as_slice() else { panic!("{row:?}") };
        let env = TestEnv::new();
        fs::copy(fixtures("corrupt").join(file), env.path(file)).unwrap();
        let info = env.run(&["info", file]);
        assert_sane(&info, &format!("info {file}"));
        let run = env.run(&["mosaic", file, "-o", "out.tif"]);
        assert_sane(&run, file);
        let codes: &[i32] = match stage.as_str() {
            "open" => &[2],
            "decode" => &[1],
            "any" => &[1, 2],
            "place" => &[2],
            "warns" => &[0],
            other => panic!("stage {other}"),
        };
        if !run.code.is_some_and(|c| codes.contains(&c)) {
            faults.push(format!(
                "{file} ({note}): exit {:?}, expected {codes:?}\n{}",
                run.code, run.stderr
            ));
            continue;
        }
        let message = run.stderr.to_lowercase();
        if !message.contains(file.as_str()) {
            faults.push(format!("{file} is not named:\n{}", run.stderr));
        }
        if !words.split('|').any(|w| message.contains(&w.to_lowercase())) {
            faults.push(format!("{file} ({note}): none of {words} in\n{}", run.stderr));
        }
        if stage == "warns" {
            // All that there is was read.
            fs::remove_file(env.path("out.tif")).unwrap();
        } else if run.errors().len() != 1 {
            faults.push(format!("{file}: not one clear line\n{}", run.stderr));
        }
        if stage == "open" && info.code != Some(2) {
            faults.push(format!("info {file}: exit {:?}\n{}", info.code, info.stderr));
        }
        if env.names() != [file.as_str()] {
            faults.push(format!("{file}: left behind {:?}", env.names()));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn broken_fixtures_can_be_skipped() {
    let env = TestEnv::new();
    let mut good = Geotiff::new(20, 16, 1, 1);
    // The fixtures hold u8.
    good.dtype = (8, 1);
    good.samples.truncate(20 * 16);
    good.write(&env.path("good.tif"));
    let mut args = vec!["mosaic".to_owned(), "good.tif".to_owned()];
    let table = csv(&fixtures("corrupt/EXPECTED.csv"));
    for row in table.iter().filter(|r| r[2] == "open") {
        args.push(fixtures("corrupt").join(&row[0]).to_string_lossy().into_owned());
    }
    let bad = args.len() - 2;
    assert!(bad > 30);
    args.extend(["-o", "out.tif", "--skip-bad"].map(str::to_owned));
    let run = env.run(&args);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    for row in table.iter().filter(|r| r[2] == "open") {
        assert!(run.stderr.contains(row[0].as_str()), "{} is not listed:\n{}", row[0], run.stderr);
    }
    let picture = env.picture("out.tif");
    assert_eq!((picture.width, picture.height), (20, 16));
    assert_eq!(picture.samples, good.samples);
}

/// A file that is cut must be refused, or give exactly its pixels if only slack was cut off.
#[test]
fn cut_files_are_refused_or_whole() {
    let table = csv(&fixtures("sources/EXPECTED.csv"));
    assert_eq!(table.len(), SOURCES);
    let mut cuts = 0u32;
    for row in table {
        let (file, digest) = (&row[0], &row[5]);
        let whole = fs::read(fixtures("sources").join(file)).unwrap();
        let env = TestEnv::new();
        // A process for each cut at every 97th byte of every file would take minutes; six cuts a
        // file here, each 97th in `cut_files_in_process`.
        let step = (whole.len() / 6).next_multiple_of(97).max(97);
        for end in (0..whole.len()).step_by(step).skip(1) {
            fs::write(env.path("cut.tif"), &whole[..end]).unwrap();
            let what = format!("{file} cut at {end} of {}", whole.len());
            assert_sane(&env.run(&["info", "cut.tif"]), &what);
            let run = env.run(&["mosaic", "cut.tif", "-o", "out.tif"]);
            assert_sane(&run, &what);
            if run.code == Some(0) {
                let got = env.picture("out.tif");
                let same = sha256(&got.samples) == *digest;
                assert!(same, "{what}: success, but other pixels");
                fs::remove_file(env.path("out.tif")).unwrap();
            }
            assert_eq!(env.names(), ["cut.tif"], "{what}");
            cuts += 1;
        }
    }
    assert!(cuts > 400, "{cuts} cuts");
}

/// Through the library, which costs no process for each cut: nothing panics, and what opens and reads
/// has the right shape.
#[test]
fn cut_files_in_process() {
    let (mut cuts, mut whole_ones) = (0u32, 0u32);
    for row in csv(&fixtures("sources/EXPECTED.csv")) {
        let whole = fs::read(fixtures("sources").join(&row[0])).unwrap();
        for end in (0..whole.len()).step_by(97) {
            open_and_read(&whole[..end]);
            cuts += 1;
        }
        whole_ones += u32::from(open_and_read(&whole));
    }
    assert!(cuts > 10_000, "{cuts} cuts");
    assert!(whole_ones > 90, "{whole_ones} whole files read");
}

/// Single bytes changed, most of them in the headers: nothing panics, hangs or takes much memory.
#[test]
fn flipped_bytes_in_process() {
    let mut random = Random(7);
    let mut cases = 0u32;
    for row in csv(&fixtures("sources/EXPECTED.csv")) {
        let whole = fs::read(fixtures("sources").join(&row[0])).unwrap();
        for _ in 0..200 {
            let mut bytes = whole.clone();
            let range = if random.below(4) > 0 { whole.len().min(600) } else { whole.len() };
            let at = random.below(range);
            bytes[at] = random.next().to_le_bytes()[0];
            open_and_read(&bytes);
            cases += 1;
        }
    }
    assert!(cases > 20_000, "{cases} cases");
}

/// Opens a file that lies in memory and decodes its first blocks; whether that went well.
fn open_and_read(bytes: &[u8]) -> bool {
    const MOST_BLOCKS: u32 = 64;
    const MOST_BYTES: u64 = 1 << 26;
    let path = std::path::Path::new("case.tif");
    let Ok(dataset) = Dataset::open(path, &bytes, &()) else { return false };
    let mut scratch = Scratch::default();
    for part in [Part::Image, Part::Mask] {
        let Some(layout) = dataset.layout(part) else { continue };
        if layout.max_decoded_bytes() > MOST_BYTES {
            return false;
        }
        for by in 0..layout.down().min(MOST_BLOCKS) {
            for bx in 0..layout.across().min(MOST_BLOCKS) {
                let id = BlockId { bx, by, plane: 0 };
                let Ok(raster) = dataset.read_block(&bytes, part, id, &mut scratch) else {
                    return false;
                };
                assert_eq!(raster.size(), layout.decoded_size(by));
            }
        }
    }
    true
}

/// Any byte of a file may lie; the program must not crash, hang or leave anything behind.
#[test]
fn flipped_bytes_do_no_harm() {
    let files = [
        "u16_lzw_p2_strip_single_classic_le.tif",
        "i32_deflate_p2_tile_chunky_big_be.tif",
        "f32_zstd_p3_strip_chunky_big_be.tif",
        "u8_packbits_p1_tile_single_classic_le.tif",
        "mask_u8_deflate.tif",
        "alpha_rgba_chunky.tif",
        "descriptions.tif",
        "sparse_nodata.tif",
    ];
    let mut random = Random(20_260);
    for file in files {
        let whole = fs::read(fixtures("sources").join(file)).unwrap();
        let env = TestEnv::new();
        for _ in 0..20 {
            let mut bytes = whole.clone();
            // Half of the flips hit the header and the first directory.
            let range = if random.below(2) == 0 { whole.len().min(400) } else { whole.len() };
            let at = random.below(range);
            bytes[at] = random.next().to_le_bytes()[0];
            fs::write(env.path("flip.tif"), &bytes).unwrap();
            let what = format!("{file}: byte {at} is {}", bytes[at]);
            // The flip may ask for a huge mosaic; the budget keeps that from being tried.
            let args = [
                "mosaic",
                "flip.tif",
                "-o",
                "out.tif",
                "--memory",
                "64M",
                "--bounds",
                "499980,5299730,500430,5300040",
                "--res",
                "10",
            ];
            let run = env.run(&args);
            assert_sane(&run, &what);
            if run.code == Some(0) {
                fs::remove_file(env.path("out.tif")).unwrap();
            }
            assert_eq!(env.names(), ["flip.tif"], "{what}\n{}", run.stderr);
        }
    }
}
