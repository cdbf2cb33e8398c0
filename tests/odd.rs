//! GeoTIFFs of the rarer kinds: bit counts, codecs, bit orders, linked images. Samples must be those that
//! were written, or that GDAL decodes (`fixtures/generate/odd.py`).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};

use smalti::codec::{Compression, Encoder};
use smalti::raster::AnyRaster;
use smalti::source::open::open_any;
use smalti::tiff::reader::{BlockId, Dataset, Part, ReadOptions, Scratch};
use support::{TestEnv, csv, fixtures, sha256};

/// TIFFs in fixtures/odd, without those beside others.
const FILES: usize = 127;
/// Rows of its table: images, masks, overviews.
const IMAGES: usize = 136;

fn part_of(name: &str) -> Part {
    let index = |text: &str| text.parse().unwrap();
    match name.split_once("overview ") {
        Some(("", rest)) => match rest.strip_prefix("mask ") {
            Some(rest) => Part::OverviewMask(index(rest)),
            None => Part::Overview(index(rest)),
        },
        _ if name == "mask" => Part::Mask,
        _ => Part::Image,
    }
}

/// Type, shape and SHA-256 of all samples of a part.
fn read(dataset: &Dataset, part: Part) -> Vec<String> {
    let layout = dataset.layout(part).unwrap();
    let shape = [layout.bands, layout.size.height, layout.size.width];
    let mut row = vec![layout.dtype.name().to_owned()];
    row.extend(shape.map(|n| n.to_string()));
    row.push(sha256(&samples(dataset, part)));
    row
}

/// All samples of a part.
fn samples(dataset: &Dataset, part: Part) -> Vec<u8> {
    let layout = dataset.layout(part).unwrap();
    let mut path = dataset.path.clone().into_os_string();
    path.push(layout.file.suffix());
    let file = File::open(path).unwrap();
    let size = layout.dtype.size();
    let (width, height) = (layout.size.width as usize, layout.size.height as usize);
    let mut all = vec![0; width * height * size * layout.bands as usize];
    let mut scratch = Scratch::default();
    for plane in 0..if layout.planar { layout.bands } else { 1 } {
        for by in 0..layout.down() {
            for bx in 0..layout.across() {
                let id = BlockId { bx, by, plane };
                let block = dataset.read_block(&file, part, id, &mut scratch).unwrap();
                let window = layout.block_window(bx, by);
                let at =
                    (plane as usize * height + window.row as usize) * width + window.col as usize;
                place(&block, at, (width, height), (window.width, window.height), size, &mut all);
            }
        }
    }
    if matches!(part, Part::Mask | Part::OverviewMask(_)) {
        all.iter_mut().for_each(|v| *v = u8::from(*v != 0));
    }
    all
}

fn place(
    block: &AnyRaster,
    at: usize,
    (width, height): (usize, usize),
    inside: (u32, u32),
    size: usize,
    all: &mut [u8],
) {
    let (across, down) = (block.size().width as usize, block.size().height as usize);
    for band in 0..block.bands() as usize {
        for row in 0..inside.1 as usize {
            let from = ((band * down + row) * across) * size;
            let to = (at + (band * height + row) * width) * size;
            let len = inside.0 as usize * size;
            all[to..to + len].copy_from_slice(&block.as_bytes()[from..from + len]);
        }
    }
}

#[test]
fn odd_files_have_the_pixels_that_were_written() {
    let table = csv(&fixtures("odd/EXPECTED.csv"));
    let on_disk = fs::read_dir(fixtures("odd")).unwrap();
    let tiffs =
        on_disk.filter(|e| e.as_ref().unwrap().path().extension().unwrap() == "tif").count();
    assert_eq!((table.len(), tiffs), (IMAGES, FILES));
    let mut by_file: BTreeMap<&str, Vec<&Vec<String>>> = BTreeMap::new();
    table.iter().for_each(|row| by_file.entry(&row[0]).or_default().push(row));
    let mut faults = Vec::new();
    for (file, rows) in &by_file {
        let options = ReadOptions { overviews: true };
        let source = match open_any(&fixtures("odd").join(file), options) {
            Ok(source) => source,
            Err(error) => {
                faults.push(format!("{error}"));
                continue;
            }
        };
        let overviews = rows.iter().filter(|row| row[1].starts_with("overview ")).count();
        let masks = rows.iter().filter(|row| row[1].starts_with("overview mask ")).count();
        if source.dataset.overviews.len() != overviews - masks {
            faults.push(format!("{file}: {} overviews", source.dataset.overviews.len()));
        }
        for row in rows {
            let found = read(&source.dataset, part_of(&row[1]));
            // rasterio's name of the type differs for the rare ones.
            if found != row[2..7] {
                faults.push(format!("{file}, {}: {found:?}, expected {:?}", row[1], &row[2..7]));
            }
        }
    }
    assert_eq!(by_file.len(), FILES);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Overviews and their headers are left alone where nobody asked for them.
#[test]
fn overviews_are_read_on_request_only() {
    for file in ["overviews_masks.tif", "ovr_beside.tif"] {
        let source = open_any(&fixtures("odd").join(file), ReadOptions::default()).unwrap();
        let sizes: Vec<_> = source.dataset.overviews.iter().map(|o| o.size.width).collect();
        assert_eq!(sizes, [64, 32], "{file}");
        assert!(source.dataset.layout(Part::Overview(0)).is_none());
    }
}

#[test]
fn files_beside_supply_what_the_tiff_lacks() {
    let source = open_any(&fixtures("odd").join("aux_beside.tif"), ReadOptions::default()).unwrap();
    let dataset = &source.dataset;
    assert_eq!(dataset.transform.coefficients(), [10.0, 0.5, 0.0, 50.0, 0.0, -0.5]);
    assert_eq!(dataset.crs.as_ref().unwrap().epsg(), Some(4326));
    assert_eq!(dataset.nodata.unwrap().to_f64(), 7.0);
    assert!(dataset.unplaced.is_none());
    // It goes before a world file, and tells of bands what the TIFF does not.
    let name = fixtures("odd").join("aux_and_world.tif");
    let source = open_any(&name, ReadOptions::default()).unwrap();
    let dataset = &source.dataset;
    assert_eq!(dataset.transform.coefficients(), [10.0, 0.5, 0.0, 50.0, 0.0, -0.5]);
    assert_eq!(dataset.nodata.unwrap().to_f64(), 7.0);
    let band = &dataset.shared.metadata.bands[0];
    assert_eq!((band.description.as_deref(), band.unit.as_deref()), (Some("depth"), Some("m")));
    assert_eq!((band.scale, band.offset), (Some(0.5), Some(3.0)));
    let env = TestEnv::new();
    fs::copy(fixtures("odd").join("aux_beside.tif"), env.path("alone.tif")).unwrap();
    let run = env.run(&["mosaic", "alone.tif", "-o", "out.tif"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("no georeferencing"), "{}", run.stderr);
}

#[test]
fn a_raster_without_a_place_is_shown_and_not_placed() {
    let env = TestEnv::new();
    fs::copy(fixtures("odd").join("no_place.tif"), env.path("a.tif")).unwrap();
    let info = env.run(&["info", "a.tif", "--json", "--stats"]);
    assert_eq!(info.code, Some(0), "{}", info.stderr);
    assert!(info.stdout.contains("\"no_georeferencing\": \"no georeferencing"), "{}", info.stdout);
    assert!(info.stdout.contains("\"valid\": 168"), "{}", info.stdout);
    assert_eq!(env.run(&["mosaic", "a.tif", "-o", "out.tif"]).code, Some(2));
}

/// What is read in the likeliest way is said.
#[test]
fn oddities_are_told() {
    let told = |file: &str| {
        let source = open_any(&fixtures("odd").join(file), ReadOptions::default()).unwrap();
        source.dataset.oddities.join("; ")
    };
    let expected = [
        ("counts_few.tif", "1 of 4 byte counts are missing; those blocks are absent"),
        ("counts_each.tif", "4 byte counts are too small for raw blocks"),
        ("next_beyond.tif", "directories are left out: truncated"),
        ("msk_unflagged.tif", "the .msk beside it is left out"),
        ("mask_bands.tif", "its mask has 3 bands"),
    ];
    for (file, words) in expected {
        assert!(told(file).contains(words), "{file}: {}", told(file));
    }
    assert_eq!(told("counts_none.tif") + &told("msk_beside.tif"), "");
}

/// Of a mask of several bands, all must be set.
#[test]
fn pixels_are_valid_where_all_bands_of_a_mask_are() {
    let name = fixtures("odd").join("mask_bands.tif");
    let dataset = open_any(&name, ReadOptions::default()).unwrap().dataset;
    let masks = samples(&dataset, Part::Mask);
    let valid = (0..96 * 128).filter(|at| (0..3).all(|band| masks[band * 96 * 128 + at] != 0));
    // Rows 30 to 80 and columns 20 to 90: the three masks are shifted against each other.
    assert_eq!(valid.clone().count(), 50 * 70);
    let env = TestEnv::new();
    fs::copy(&name, env.path("a.tif")).unwrap();
    fs::write(env.path("a.tfw"), "1\n0\n0\n-1\n0.5\n-0.5\n").unwrap();
    let run = env.run(&["mosaic", "a.tif", "--nodata", "0", "-o", "out.tif"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let image = samples(&dataset, Part::Image);
    let mut expected = vec![0; image.len()];
    for at in valid {
        for band in 0..3 {
            expected[band * 96 * 128 + at] = image[band * 96 * 128 + at];
        }
    }
    let out = open_any(&env.path("out.tif"), ReadOptions::default()).unwrap().dataset;
    assert!(samples(&out, Part::Image) == expected);
}

/// Complex samples go through a mosaic bit for bit; a mask beside is honored.
#[test]
fn odd_files_make_mosaics() {
    let table = csv(&fixtures("odd/EXPECTED.csv"));
    let mut cases = 0;
    for file in [
        "complex64.tif",
        "complex_int16_be.tif",
        "half_p3.tif",
        "jpeg_ycbcr.tif",
        "lerc_int16.tif",
        "bits12_lzw.tif",
    ] {
        let env = TestEnv::new();
        let input = fixtures("odd").join(file);
        let run = env.run(&["mosaic", &input.to_string_lossy(), "-o", "out.tif"]);
        assert_eq!(run.code, Some(0), "{file}: {}", run.stderr);
        let source = open_any(&env.path("out.tif"), ReadOptions::default()).unwrap();
        let expected = table.iter().find(|row| row[0] == file).unwrap();
        assert_eq!(read(&source.dataset, Part::Image), expected[2..7], "{file}");
        cases += 1;
    }
    assert_eq!(cases, 6);
}

/// Blocks that do not decode fail the run, or are left out, counted and listed.
#[test]
fn bad_blocks_fail_the_run_or_are_left_out() {
    let env = TestEnv::new();
    let mut bytes = fs::read(fixtures("odd").join("jpeg_ycbcr.tif")).unwrap();
    let whole = open_any(&fixtures("odd").join("jpeg_ycbcr.tif"), ReadOptions::default()).unwrap();
    assert_eq!((whole.dataset.image.across(), whole.dataset.image.down()), (2, 2));
    // The last start of a scan lies in the last tile; its data become a marker that ends the image.
    let scan = bytes.windows(2).rposition(|w| w == [0xFF, 0xDA]).unwrap();
    bytes[scan + 16..scan + 18].copy_from_slice(&[0xFF, 0xD9]);
    fs::write(env.path("bad.tif"), &bytes).unwrap();
    let run = env.run(&["mosaic", "bad.tif", "-o", "out.tif"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("bad.tif: block 3: not a valid jpeg stream"), "{}", run.stderr);
    let args =
        ["mosaic", "bad.tif", "-o", "out.tif", "--skip-bad-blocks", "--nodata", "0", "--json"];
    let run = env.run(&args);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stdout.contains("\"bad_blocks\":[\"bad.tif: block 3"), "{}", run.stdout);
    let picture = env.picture("out.tif");
    let original = whole.dataset.image.size;
    assert_eq!((picture.width as u32, picture.height as u32), (original.width, original.height));
    let valid: Vec<bool> =
        picture.samples.chunks(96).map(|row| row[64..].iter().all(|v| *v == 0)).collect();
    // Three bands of 80 rows, of which the last 16 lost their right part.
    assert_eq!(valid.iter().filter(|lost| **lost).count(), 3 * 16);
}

/// A BigTIFF whose pixels lie beyond 4 GiB, in a file that is a hole but for both ends.
#[test]
fn offsets_beyond_four_gib_are_followed() {
    use std::io::{Seek, SeekFrom, Write};
    const FAR: u64 = 5 << 30;
    let bytes = big_tiff(&[
        (256, 16),
        (257, 16),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, FAR),
        (278, 16),
        (279, 256),
    ]);
    let env = TestEnv::new();
    let mut file = File::create(env.path("far.tif")).unwrap();
    file.write_all(&bytes).unwrap();
    file.seek(SeekFrom::Start(FAR)).unwrap();
    let pixels: Vec<u8> = (0..=255).collect();
    file.write_all(&pixels).unwrap();
    let source = open_any(&env.path("far.tif"), ReadOptions::default()).unwrap();
    assert_eq!(read(&source.dataset, Part::Image)[4], sha256(&pixels));
    file.set_len(FAR + 255).unwrap();
    let error = open_any(&env.path("far.tif"), ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("truncated: a block of pixels ends at byte 5368709376"), "{error}");
}

/// A little-endian BigTIFF of one directory, whose tags have one value each: LONG8.
fn big_tiff(entries: &[(u16, u64)]) -> Vec<u8> {
    let mut bytes = b"II\x2B\0\x08\0\0\0".to_vec();
    bytes.extend(16u64.to_le_bytes());
    bytes.extend((entries.len() as u64).to_le_bytes());
    for (tag, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(16u16.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(0u64.to_le_bytes());
    bytes
}

/// One 8-bit block of `side` by `side` pixels behind the directory.
fn one_block(side: u64, tiled: bool, compression: u64, fill_order: u64, stored: &[u8]) -> Vec<u8> {
    let (offsets, counts) = if tiled { (324, 325) } else { (273, 279) };
    let mut entries = vec![(256, side), (257, side), (258, 8), (259, compression), (262, 1)];
    entries.extend([(266, fill_order), (offsets, 512), (counts, stored.len() as u64)]);
    entries.extend(if tiled { vec![(322, side), (323, side)] } else { vec![(278, side)] });
    entries.sort_unstable();
    let mut bytes = big_tiff(&entries);
    bytes.resize(512, 0);
    bytes.extend(stored);
    bytes
}

/// Tags that promise hundreds of megabytes of a few bytes are not believed; nothing is allocated.
#[test]
fn bombs_are_refused_before_they_are_decoded() {
    let env = TestEnv::new();
    let path = env.path("bomb.tif");
    let cases = [
        // As many as Deflate needs for so many zeros, in a tile: 400 MB at once.
        (20_000, true, 8, 390_000, "380.9 KiB would become 381.5 MiB"),
        // Streams, of which memory is small and time is not.
        (46_000, false, 50_000, 65_000, "65000 bytes for 2116000000"),
        (46_000, false, 34_925, 310_000, "310000 bytes for 2116000000"),
    ];
    for (side, tiled, compression, stored, words) in cases {
        fs::write(&path, one_block(side, tiled, compression, 1, &vec![0x78; stored])).unwrap();
        let dataset = open_any(&path, ReadOptions::default()).unwrap().dataset;
        let file = File::open(&path).unwrap();
        let id = BlockId { bx: 0, by: 0, plane: 0 };
        let error = dataset.read_block(&file, Part::Image, id, &mut Scratch::default());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // A tile of 64 MiB of one value is no bomb.
    let mut stored = Vec::new();
    let raw = vec![0; 8192 * 8192];
    Encoder::new(Compression::Deflate, None).unwrap().encode(&raw, &mut stored).unwrap();
    fs::write(&path, one_block(8192, true, 8, 1, &stored)).unwrap();
    let dataset = open_any(&path, ReadOptions::default()).unwrap().dataset;
    assert!(samples(&dataset, Part::Image) == raw);
    // A larger one is taken for one, unless the memory budget allows for it; and the message says so.
    let raw = vec![0; 9008 * 9008];
    Encoder::new(Compression::Deflate, None).unwrap().encode(&raw, &mut stored).unwrap();
    fs::write(&path, one_block(9008, true, 8, 1, &stored)).unwrap();
    let dataset = open_any(&path, ReadOptions::default()).unwrap().dataset;
    let file = File::open(&path).unwrap();
    let id = BlockId { bx: 0, by: 0, plane: 0 };
    let read = |mut scratch: Scratch| dataset.read_block(&file, Part::Image, id, &mut scratch);
    let error = read(Scratch::default()).unwrap_err().to_string();
    assert!(error.contains("77.4 MiB") && error.contains("--memory 1239M"), "{error}");
    assert!(read(Scratch::for_budget(1239 << 20)).is_ok());
}

/// A large strip is decoded piece by piece whatever the order of its bits.
#[test]
fn large_strips_of_reversed_bits_are_streamed() {
    let env = TestEnv::new();
    let raw: Vec<u8> = (0..3000u32 * 3000).map(|i| (i.wrapping_mul(i) >> 12) as u8).collect();
    for (compression, number) in [(Compression::Lzw, 5), (Compression::Deflate, 8)] {
        let mut stored = Vec::new();
        Encoder::new(compression, None).unwrap().encode(&raw, &mut stored).unwrap();
        stored.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        let path = env.path("reversed.tif");
        fs::write(&path, one_block(3000, false, number, 2, &stored)).unwrap();
        let dataset = open_any(&path, ReadOptions::default()).unwrap().dataset;
        assert!(dataset.image.is_streamed(), "{compression}");
        let file = File::open(&path).unwrap();
        let id = BlockId { bx: 0, by: dataset.image.down() - 1, plane: 0 };
        let last = dataset.read_block(&file, Part::Image, id, &mut Scratch::default()).unwrap();
        assert!(raw.ends_with(last.as_bytes()), "{compression}");
    }
}

/// Statistics of blocks that are not stored are known without a look at their pixels.
#[test]
fn absent_blocks_count_in_statistics() {
    let env = TestEnv::new();
    // 400 × 300 tiles of 16 × 16 pixels, of which the eighth is stored.
    let (across, down) = (400u64, 300u64);
    let count = across * down;
    let table = 4096u64;
    let data = table + count * 16;
    let entries = [
        (256, across * 16),
        (257, down * 16),
        (258, 8),
        (259, 1),
        (262, 1),
        (322, 16),
        (323, 16),
        (324, table),
        (325, table + count * 8),
    ];
    let mut bytes = big_tiff(&entries);
    // The two tables have many values, and so lie elsewhere.
    for index in [7, 8] {
        let at = 24 + index * 20 + 4;
        bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
    }
    bytes.resize(data as usize, 0);
    let put = |bytes: &mut Vec<u8>, at: u64, value: u64| {
        bytes[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(&mut bytes, table + 7 * 8, data);
    put(&mut bytes, table + (count + 7) * 8, 256);
    bytes.extend((0..=255u8).map(|v| v / 2 + 1));
    fs::write(env.path("sparse.tif"), &bytes).unwrap();
    let run = env.run(&["info", "sparse.tif", "--stats", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let pixels = count * 256;
    // The tile holds each of 1 to 128 twice: a sum of 2 * 128 * 129 / 2.
    let mean = 128.0 * 129.0 / pixels as f64;
    let found: f64 = number_after(&run.stdout, "\"mean\":");
    assert!((found - mean).abs() < 1e-9 * mean, "{found}, expected {mean}");
    for words in ["\"minimum\": 0", "\"maximum\": 128", &format!("\"valid\": {pixels}")] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
}

fn number_after(text: &str, words: &str) -> f64 {
    let at = text.find(words).unwrap() + words.len();
    let number: String = text[at..].trim_start().chars().take_while(|c| *c != ',').collect();
    number.trim().trim_end_matches(['}', '\n', ' ']).parse().unwrap()
}
