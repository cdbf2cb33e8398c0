//! Manifests, order, descriptors (index, VRT, STAC, MosaicJSON, tile indexes), plan, explain, footprints and
//! preview, from outside. Expected pixels are painted here, sample by sample.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::TestEnv;
use support::builder::{Geotiff, Random};
use support::reader::Picture;

const W: usize = 30;
const H: usize = 20;

/// Three tiles of 30 × 20: `b` lies 20 columns right of `a`, `c` 10 rows below `a`; each has some zeros.
fn tiles() -> [Tile; 3] {
    let mut tiles = [(0, 0, 1), (20, 0, 2), (0, 10, 3)].map(|(col, row, seed)| {
        (Geotiff::new(W, H, 1, seed).moved(col as f64, row as f64), col, row)
    });
    for (tile, ..) in &mut tiles {
        for at in 0..W {
            tile.set(at, (at * 7) % H, 0);
        }
    }
    tiles
}

fn env_with_tiles() -> (TestEnv, [Tile; 3]) {
    let env = TestEnv::new();
    let tiles = tiles();
    for (name, (tile, ..)) in ["a.tif", "b.tif", "c.tif"].iter().zip(&tiles) {
        tile.write(&env.path(name));
    }
    (env, tiles)
}

fn sample(tile: &Geotiff, col: usize, row: usize) -> u16 {
    let at = (row * tile.width + col) * 2;
    u16::from_le_bytes([tile.samples[at], tile.samples[at + 1]])
}

/// A tile and its first column and row in the mosaic.
type Tile = (Geotiff, usize, usize);

/// Paints tiles in order, bottom first; `nodata` of a tile is left out, 0 is where nothing is.
fn paint(size: [usize; 2], layers: &[(&Tile, Option<u16>)]) -> Vec<u16> {
    let mut canvas = vec![0; size[0] * size[1]];
    for ((tile, col, row), nodata) in layers {
        for (r, c) in (0..tile.height).flat_map(|r| (0..tile.width).map(move |c| (r, c))) {
            let value = sample(tile, c, r);
            if Some(value) != *nodata {
                canvas[(row + r) * size[0] + col + c] = value;
            }
        }
    }
    canvas
}

fn assert_pixels(picture: &Picture, size: [usize; 2], expected: &[u16]) {
    assert_eq!([picture.width, picture.height], size);
    for (at, value) in expected.iter().enumerate() {
        let found = picture.value(0, at / size[0], at % size[0]);
        assert_eq!(found, f64::from(*value), "column {}, row {}", at % size[0], at / size[0]);
    }
}

const SIZE: [usize; 2] = [50, 30];

#[test]
fn manifests_say_nodata_and_priority_in_three_spellings() {
    let (env, [a, b, c]) = env_with_tiles();
    let expected = paint(SIZE, &[(&c, None), (&a, Some(0)), (&b, Some(0))]);
    fs::write(
        env.path("list.txt"),
        "a.tif\tnodata=0 priority=1\n# c\n\"b.tif\" nodata=0 priority=2\r\nc.tif\n",
    )
    .unwrap();
    fs::write(env.path("list.csv"), "path,nodata,priority\na.tif,0,1\n\"b.tif\",0,2\nc.tif,,\n")
        .unwrap();
    let manifest = json!([{"path": "a.tif", "nodata": 0, "priority": 1},
        {"path": "b.tif", "nodata": [0], "priority": 2}, "c.tif"]);
    fs::write(env.path("list.json"), manifest.to_string()).unwrap();
    let spellings: [&[&str]; 6] = [
        &["@list.txt"],
        &["@list.csv"],
        &["@list.json"],
        &["list.csv"],
        &["list.json"],
        &["--input-list", "list.csv"],
    ];
    for (number, spelling) in spellings.iter().enumerate() {
        let out = format!("{number}.tif");
        env.ok(&[&["mosaic"], *spelling, &["-o", &out, "--nodata", "9"]].concat());
        let mut expected = expected.clone();
        // What no tile covers, and what only invalid samples cover.
        let valid = |x: usize, y: usize| {
            [(&a, true), (&b, true), (&c, false)].iter().any(|((tile, col, row), skips)| {
                (*col..col + W).contains(&x)
                    && (*row..row + H).contains(&y)
                    && !(*skips && sample(tile, x - col, y - row) == 0)
            })
        };
        for (at, value) in expected.iter_mut().enumerate() {
            if !valid(at % SIZE[0], at / SIZE[0]) {
                *value = 9;
            }
        }
        assert_pixels(&env.picture(&out), SIZE, &expected);
    }
}

#[test]
fn manifests_that_say_what_is_not_known_are_refused() {
    let (env, _) = env_with_tiles();
    for (name, text, word) in [
        ("x.txt", "a.tif\tcolour=1\n", "colour"),
        ("y.csv", "path,zoom\na.tif,1\n", "zoom"),
        ("z.json", "[{\"path\": \"a.tif\", \"bands\": [2]}]", "no band 2"),
        ("w.json", "[{\"path\": \"a.tif\", \"nodata\": [1, 2]}]", "2 values for 1 bands"),
        ("v.json", "{\"tiles\": 3}", "sources"),
        ("u.json", "{", "JSON"),
    ] {
        fs::write(env.path(name), text).unwrap();
        env.fails(&["mosaic", &format!("@{name}"), "-o", "out.tif"], 2, &[word]);
    }
}

#[test]
fn the_best_lies_on_top() {
    let (env, [a, b, c]) = env_with_tiles();
    let now = SystemTime::now();
    for (name, age) in [("a.tif", 10), ("b.tif", 300), ("c.tif", 20)] {
        let file = fs::File::options().write(true).open(env.path(name)).unwrap();
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    }
    let mut cases = 0;
    for (options, order) in [
        (&["--sort", "date"][..], [&b, &c, &a]),
        (&["--sort", "name"], [&a, &b, &c]),
        (&["--sort", "input"], [&c, &a, &b]),
        (&["--sort", "resolution"], [&c, &a, &b]),
        // The best counts under either rule; ties keep the input order, turned round by `first`.
        (&["--sort", "date", "--overlap", "first"], [&b, &c, &a]),
        (&["--sort", "name", "--overlap", "first"], [&a, &b, &c]),
        (&["--overlap", "first"], [&b, &a, &c]),
    ] {
        let inputs = ["mosaic", "c.tif", "a.tif", "b.tif", "-o", "out.tif", "--overwrite"];
        env.ok(&[&inputs, options].concat());
        let layers: Vec<_> = order.iter().map(|tile| (*tile, None)).collect();
        assert_pixels(&env.picture("out.tif"), SIZE, &paint(SIZE, &layers));
        cases += 1;
    }
    assert_eq!(cases, 7);
    let inputs = ["mosaic", "c.tif", "a.tif", "-o", "out.tif", "--overwrite"];
    env.fails(
        &[&inputs, &["--sort-by", "NO_SUCH:desc"][..]].concat(),
        2,
        &["--sort-by", "NO_SUCH"],
    );
}

#[test]
fn the_finest_lies_on_top() {
    let env = TestEnv::new();
    let fine = Geotiff::new(40, 40, 1, 1);
    let mut coarse = Geotiff::new(20, 20, 1, 2);
    (coarse.transform[1], coarse.transform[5]) = (20.0, -20.0);
    fine.write(&env.path("fine.tif"));
    coarse.write(&env.path("coarse.tif"));
    env.ok(&["mosaic", "fine.tif", "coarse.tif", "-o", "out.tif", "--sort", "resolution"]);
    assert_pixels(&env.picture("out.tif"), [40, 40], &paint([40, 40], &[(&(fine, 0, 0), None)]));
}

// ---- index --------------------------------------------------------------------------------------

#[test]
fn an_index_gives_the_same_bytes_as_the_files() {
    let (env, _) = env_with_tiles();
    fs::create_dir(env.path("sub")).unwrap();
    let mosaic = |input: &str, out: &str| env.ok(&["mosaic", input, "-o", out, "--nodata", "0"]);
    env.ok(&["mosaic", "b.tif", "a.tif", "c.tif", "-o", "files.tif", "--nodata", "0"]);
    let files = fs::read(env.path("files.tif")).unwrap();
    for (index, more) in
        [("m.json", None), ("sub/r.json", None), ("sub/x.json", Some("--absolute"))]
    {
        let args = ["index", "b.tif", "a.tif", "c.tif", "-o", index];
        env.ok(&args.iter().copied().chain(more).collect::<Vec<_>>());
        let out = format!("{}.tif", index.replace('/', "_"));
        mosaic(index, &out);
        assert!(fs::read(env.path(&out)).unwrap() == files, "{index}");
    }
    let text = fs::read_to_string(env.path("sub/r.json")).unwrap();
    assert!(text.contains("\"../b.tif\""), "{text}");
    env.fails(&["index", "a.tif", "-o", "m.json"], 2, &["m.json", "--overwrite"]);
    env.fails(&["index", "a.tif", "-o", "m.txt"], 2, &[".json"]);
    // Its order and its rule are those of the index.
    env.ok(&["index", "b.tif", "a.tif", "c.tif", "-o", "f.json", "--overlap", "first"]);
    env.ok(&[
        "mosaic",
        "b.tif",
        "a.tif",
        "c.tif",
        "-o",
        "f.tif",
        "--overlap",
        "first",
        "--nodata",
        "0",
    ]);
    mosaic("f.json", "f2.tif");
    assert!(fs::read(env.path("f.tif")).unwrap() == fs::read(env.path("f2.tif")).unwrap());
}

#[test]
fn an_index_keeps_the_grid_that_was_asked_for() {
    let (env, _) = env_with_tiles();
    let bounds = ["--bounds", "500050,5299850,500250,5299950"];
    env.ok(&[&["index", "a.tif", "b.tif", "-o", "m.json"], &bounds[..]].concat());
    env.ok(&["mosaic", "m.json", "-o", "m.tif"]);
    env.ok(&[&["mosaic", "a.tif", "b.tif", "-o", "f.tif"], &bounds[..]].concat());
    assert!(fs::read(env.path("m.tif")).unwrap() == fs::read(env.path("f.tif")).unwrap());
}

#[test]
fn a_stale_entry_is_read_again_or_named() {
    let (env, [a, b, _]) = env_with_tiles();
    env.ok(&["index", "a.tif", "b.tif", "-o", "m.json"]);
    let (mut other, ..) = a.clone();
    other.rows_per_strip = 5;
    other.set(3, 3, 77);
    other.write(&env.path("a.tif"));
    let run = env.ok(&["mosaic", "m.json", "-o", "m.tif"]);
    assert!(run.stderr.contains("changed since the index was made"), "{}", run.stderr);
    let expected = paint([50, 20], &[(&(other, 0, 0), None), (&b, None)]);
    assert_pixels(&env.picture("m.tif"), [50, 20], &expected);
    // What a manifest said of it cannot be said again.
    fs::write(env.path("l.txt"), "a.tif\tnodata=0\nb.tif\n").unwrap();
    env.ok(&["index", "@l.txt", "-o", "n.json"]);
    a.0.write(&env.path("a.tif"));
    let file = fs::File::options().write(true).open(env.path("a.tif")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(99)).unwrap();
    env.fails(&["mosaic", "n.json", "-o", "n.tif"], 2, &["a.tif", "index"]);
    fs::remove_file(env.path("b.tif")).unwrap();
    env.fails(&["mosaic", "m.json", "-o", "o.tif"], 2, &["b.tif"]);
}

#[test]
fn no_index_makes_the_program_panic() {
    let (env, _) = env_with_tiles();
    env.ok(&["index", "a.tif", "b.tif", "c.tif", "-o", "m.json"]);
    let text = fs::read(env.path("m.json")).unwrap();
    let mut random = Random(5);
    let mut refused = 0;
    for case in 0..80 {
        let mut bad = text.clone();
        match case % 4 {
            0 => bad.truncate(random.below(bad.len())),
            1 => {
                let at = random.below(bad.len());
                bad[at] = b"0123456789-,[]{}\"ne."[random.below(20)];
            }
            // A number becomes another one.
            _ => {
                let digits: Vec<usize> =
                    (0..bad.len()).filter(|at| bad[*at].is_ascii_digit()).collect();
                let at = digits[random.below(digits.len())];
                let number: &[u8] = [
                    &b"0"[..],
                    b"1",
                    b"255",
                    b"65536",
                    b"4294967295",
                    b"18446744073709551615",
                    b"-1",
                ][random.below(7)];
                bad.splice(at..=at, number.iter().copied());
            }
        }
        fs::write(env.path("bad.json"), &bad).unwrap();
        let run =
            env.run(&["mosaic", "bad.json", "-o", "bad.tif", "--overwrite", "--memory", "64M"]);
        assert_eq!(run.panicked(), None, "case {case}: {}", String::from_utf8_lossy(&bad));
        assert!(matches!(run.code, Some(0..=2)), "case {case}: {:?}", run.code);
        refused += u32::from(run.code != Some(0));
    }
    assert!(refused > 40, "{refused} of 80");
}

// ---- VRT ----------------------------------------------------------------------------------------

fn vrt_source(file: &str, src: [usize; 4], dst: [usize; 2], more: &str) -> String {
    let [x, y, w, h] = src;
    let kind = if more.is_empty() { "SimpleSource" } else { "ComplexSource" };
    format!(
        "<{kind}><SourceFilename relativeToVRT=\"1\">{file}</SourceFilename><SourceBand>1</SourceBand>\
         <SrcRect xOff=\"{x}\" yOff=\"{y}\" xSize=\"{w}\" ySize=\"{h}\"/><DstRect xOff=\"{}\" yOff=\"{}\" \
         xSize=\"{w}\" ySize=\"{h}\"/>{more}</{kind}>",
        dst[0], dst[1]
    )
}

fn vrt(sources: &str, nodata: &str) -> String {
    format!(
        "<VRTDataset rasterXSize=\"50\" rasterYSize=\"30\"><SRS>EPSG:32633</SRS><GeoTransform>500000, 10, 0, \
         5300000, 0, -10</GeoTransform><VRTRasterBand dataType=\"UInt16\" band=\"1\">{nodata}{sources}\
         </VRTRasterBand></VRTDataset>"
    )
}

#[test]
fn a_vrt_is_its_sources() {
    let (env, [a, b, c]) = env_with_tiles();
    let whole = [0, 0, W, H];
    let sources = vrt_source("c.tif", whole, [0, 10], "")
        + &vrt_source("a.tif", whole, [0, 0], "<NODATA>0</NODATA>")
        + &vrt_source("b.tif", whole, [20, 0], "<NODATA>0</NODATA>");
    fs::write(env.path("m.vrt"), vrt(&sources, "<NoDataValue>0</NoDataValue>")).unwrap();
    env.ok(&["mosaic", "m.vrt", "-o", "m.tif", "--on-nodata-clash", "warn"]);
    let expected = paint(SIZE, &[(&c, None), (&a, Some(0)), (&b, Some(0))]);
    assert_pixels(&env.picture("m.tif"), SIZE, &expected);
    // Nested: the gaps of the inner one are its nodata, which the outer one leaves out.
    let outer = vrt_source("c.tif", whole, [0, 10], "")
        + &vrt_source("m.vrt", [0, 0, 50, 30], [0, 0], "<NODATA>0</NODATA>");
    fs::write(env.path("n.vrt"), vrt(&outer, "<NoDataValue>0</NoDataValue>")).unwrap();
    env.ok(&["mosaic", "n.vrt", "-o", "n.tif"]);
    assert_pixels(&env.picture("n.tif"), SIZE, &expected);
}

/// As `gdal_translate -of VRT` writes it of a file with a mask, but without the rectangles; and our own of a file with
/// a mask under one without.
#[test]
fn a_mask_band_is_the_masks_of_its_sources() {
    let env = TestEnv::new();
    let mut masked = Geotiff::new(W, H, 1, 5);
    masked.mask = Some((0..W * H).map(|at| at % 3 > 0).collect());
    masked.write(&env.path("a.tif"));
    let source = |band: &str| {
        format!(
            "<SimpleSource><SourceFilename relativeToVRT=\"1\">a.tif</SourceFilename><SourceBand>{band}</SourceBand>\
             </SimpleSource>"
        )
    };
    let text = format!(
        "<VRTDataset rasterXSize=\"{W}\" rasterYSize=\"{H}\"><SRS>EPSG:32633</SRS><GeoTransform>500000, 10, 0, \
         5300000, 0, -10</GeoTransform><VRTRasterBand dataType=\"UInt16\" band=\"1\">{}</VRTRasterBand><MaskBand>\
         <VRTRasterBand dataType=\"Byte\">{}</VRTRasterBand></MaskBand></VRTDataset>",
        source("1"),
        source("mask,1")
    );
    fs::write(env.path("m.vrt"), text).unwrap();
    env.ok(&["mosaic", "m.vrt", "-o", "m.tif"]);
    let picture = env.picture("m.tif");
    for at in (0..W * H).filter(|at| at % 3 > 0) {
        assert_eq!(picture.value(0, at / W, at % W), masked.value(0, at / W, at % W));
    }
    // Masks too; in another order the check fails.
    env.ok(&["verify", "m.tif", "a.tif"]);
    Geotiff::new(W, H, 1, 6).moved(9.0, 4.0).write(&env.path("b.tif"));
    env.ok(&["index", "a.tif", "b.tif", "-o", "two.vrt"]);
    env.ok(&["mosaic", "two.vrt", "-o", "two.tif"]);
    env.ok(&["verify", "two.tif", "a.tif", "b.tif"]);
    env.fails(&["verify", "two.tif", "b.tif", "a.tif"], 1, &[]);
}

#[test]
fn what_a_vrt_says_and_is_not_read_is_named() {
    let (env, _) = env_with_tiles();
    let whole = [0, 0, W, H];
    let one = |more: &str| vrt(&vrt_source("a.tif", whole, [0, 0], more), "");
    let nested = vrt(&vrt_source("gaps.vrt", [0, 0, 50, 30], [0, 0], ""), "");
    fs::write(env.path("gaps.vrt"), one("")).unwrap();
    let cases = [
        (
            "loop.vrt",
            vrt(&vrt_source("loop.vrt", [0, 0, 50, 30], [0, 0], "<NODATA>0</NODATA>"), ""),
            "nested",
        ),
        ("lut.vrt", one("<LUT>0:0,9:9</LUT>"), "LUT"),
        ("gone.vrt", one("").replace("a.tif", "gone.tif"), "gone.tif"),
        (
            "half.vrt",
            one("")
                .replace(
                    "xOff=\"0\" yOff=\"0\" xSize=\"30\"",
                    "xOff=\"0.5\" yOff=\"0\" xSize=\"29.2\"",
                )
                .replacen("DstRect xOff=\"0.5\"", "DstRect xOff=\"3\"", 1),
            "inside a pixel",
        ),
        ("nested.vrt", nested, "gaps"),
        ("xml.vrt", "<VRTDataset".into(), "VRT"),
        (
            "warped.vrt",
            one("").replace("<VRTDataset", "<VRTDataset subClass=\"VRTWarpedDataset\""),
            "VRTWarpedDataset",
        ),
        ("entity.vrt", format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{}", one("")), "document type"),
    ];
    assert_eq!(cases.len(), 8);
    for (name, text, word) in cases {
        fs::write(env.path(name), text).unwrap();
        env.fails(
            &["mosaic", name, "-o", "out.tif"],
            2,
            &[name.split('.').next().unwrap_or(""), word],
        );
    }
}

#[test]
fn an_exported_vrt_names_places_and_comes_back() {
    let (env, tiles) = env_with_tiles();
    tiles[1].0.write(&env.path("b & <b>.tif"));
    env.ok(&["index", "a.tif", "b & <b>.tif", "c.tif", "-o", "m.vrt", "--nodata", "9"]);
    let text = fs::read_to_string(env.path("m.vrt")).unwrap();
    for part in [
        "rasterXSize=\"50\" rasterYSize=\"30\"",
        "<SRS>EPSG:32633</SRS>",
        "<NoDataValue>9</NoDataValue>",
        "<SourceFilename relativeToVRT=\"1\">b &amp; &lt;b&gt;.tif</SourceFilename>",
        "<DstRect xOff=\"20\" yOff=\"0\" xSize=\"30\" ySize=\"20\"/>",
        "<DstRect xOff=\"0\" yOff=\"10\" xSize=\"30\" ySize=\"20\"/>",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    env.ok(&["mosaic", "m.vrt", "-o", "m.tif"]);
    env.ok(&["mosaic", "a.tif", "b & <b>.tif", "c.tif", "-o", "f.tif", "--nodata", "9"]);
    // (The CRS has another citation, so the bytes differ.)
    let (back, files) = (env.picture("m.tif"), env.picture("f.tif"));
    assert_eq!((back.samples, back.nodata), (files.samples, files.nodata));
    tiles[0].0.clone().moved(0.5, 0.0).write(&env.path("off.tif"));
    env.fails(
        &["index", "a.tif", "off.tif", "-o", "o.vrt"],
        2,
        &["off.tif", "off the mosaic's grid"],
    );
}

// ---- catalogues ---------------------------------------------------------------------------------

#[test]
fn catalogues_name_files() {
    let (env, [a, b, c]) = env_with_tiles();
    let url = format!("file://{}", env.path("b.tif").display());
    let asset = |href: &str| json!({"href": href, "type": "image/tiff; application=geotiff"});
    let item = |id: &str, href: &str| json!({"type": "Feature", "stac_version": "1.0.0", "id": id, "assets": {"data": asset(href)}});
    let items = json!({"type": "FeatureCollection", "features": [item("c", "c.tif"), item("a", "./a.tif"), item("b", &url)]});
    let catalog = json!({"type": "Catalog", "stac_version": "1.0.0", "links": [
        {"rel": "self", "href": "catalog.json"}, {"rel": "item", "href": "items.json"}]});
    let tile = |name: &str| json!({"type": "Feature", "geometry": null, "properties": {"location": name, "z": name.len()}});
    let index = json!({"type": "FeatureCollection", "features": [tile("c.tif"), tile("a.tif"), tile("b.tif")]});
    let documents = [
        ("items.json", items.to_string()),
        ("catalog.json", catalog.to_string()),
        ("tiles.geojson", index.to_string()),
        ("m.gti", "<GDALTileIndexDataset><IndexDataset>tiles.geojson</IndexDataset></GDALTileIndexDataset>".into()),
        ("mosaic.json", json!({"mosaicjson": "0.0.2", "tiles": {"0": ["b.tif", "a.tif"], "1": ["a.tif", "c.tif"]}}).to_string()),
    ];
    let expected = paint(SIZE, &[(&c, None), (&a, None), (&b, None)]);
    for (name, text) in &documents {
        fs::write(env.path(name), text).unwrap();
    }
    for (name, _) in &documents {
        env.ok(&["mosaic", name, "-o", "out.tif", "--overwrite"]);
        assert_pixels(&env.picture("out.tif"), SIZE, &expected);
    }
    let remote = item("r", "https://example.com/r.tif");
    fs::write(env.path("remote.json"), remote.to_string()).unwrap();
    env.fails(
        &["mosaic", "remote.json", "-o", "x.tif"],
        2,
        &["https://example.com/r.tif", "remote"],
    );
    fs::write(env.path("t.gpkg"), "SQLite format 3\0").unwrap();
    env.fails(&["mosaic", "t.gpkg", "-o", "x.tif"], 2, &["GeoPackage", "ogr2ogr"]);
}

// ---- plan ---------------------------------------------------------------------------------------

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn fields(plan: &Value, severity: &str) -> Vec<String> {
    let all = plan["findings"].as_array().unwrap().iter();
    let own = all.filter(|finding| finding["severity"] == severity);
    own.map(|finding| finding["field"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_plan_tells_everything_at_once() {
    let (env, tiles) = env_with_tiles();
    let mut other = Geotiff::new(W, H, 2, 4);
    other.epsg = Some(32634);
    other.write(&env.path("other.tif"));
    fs::write(env.path("bad.tif"), "no raster").unwrap();
    let run = env.run(&["plan", "a.tif", "other.tif", "bad.tif", "gone.tif", "--json"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    let plan = parsed(&run.stdout);
    let mut refused = fields(&plan, "refused");
    refused.sort();
    assert_eq!(refused, ["bands", "crs", "input", "input"]);
    assert_eq!((&plan["refused"], &plan["grid"]), (&json!(true), &Value::Null));
    // Half a pixel off, a copy, and a gap.
    tiles[0].0.clone().moved(0.5, 0.25).write(&env.path("off.tif"));
    tiles[0].0.write(&env.path("copy.tif"));
    let plan = parsed(&env.ok(&["plan", "a.tif", "b.tif", "c.tif", "copy.tif", "--json"]).stdout);
    assert_eq!(fields(&plan, "warning"), ["duplicate", "gaps"]);
    // a and c, and b beside them: 20 × 10 pixels at the lower right.
    assert_eq!(plan["coverage"]["gap_pixels"], json!(20 * 10));
    // The copy lies wholly on a; c overlaps their lower half, b their right third.
    let (mut depths, all) = ([0u64; 5], [[0, 0], [20, 0], [0, 10], [0, 0]]);
    for (x, y) in (0..30).flat_map(|y| (0..50).map(move |x| (x, y))) {
        let over =
            all.iter().filter(|[c, r]| (*c..c + 30).contains(&x) && (*r..r + 20).contains(&y));
        depths[over.count()] += 1;
    }
    let deepest = depths.iter().rposition(|count| *count > 0).unwrap();
    assert_eq!(plan["coverage"]["pixels_by_depth"], json!(depths[..=deepest]));
    assert_eq!(plan["coverage"]["exact"], json!(true));
    let plan = parsed(&env.ok(&["plan", "a.tif", "b.tif", "off.tif", "--json"]).stdout);
    let text = plan["findings"].to_string();
    assert!(text.contains("0.5000, 0.2500 pixels"), "{text}");
}

#[test]
fn a_plan_counts_blocks_and_comes_near_the_size() {
    let env = TestEnv::new();
    let mut wide = Geotiff::new(600, 400, 1, 9);
    wide.nodata = Some("0".into());
    wide.write(&env.path("a.tif"));
    wide.clone().moved(900.0, 0.0).write(&env.path("b.tif"));
    let args = ["a.tif", "b.tif", "-c", "64"];
    let plan = parsed(&env.ok(&[&["plan", "--json"], &args[..]].concat()).stdout);
    // 1500 × 400 pixels: 24 × 7 blocks; columns 10 to 13 lie in the gap of 300 (640 to 895).
    let blocks = &plan["cost"]["blocks"];
    assert_eq!((&blocks["empty"], &blocks["rendered"]), (&json!(4 * 7), &json!(20 * 7)));
    assert_eq!(plan["cost"]["decodes_per_block"], json!(1.0));
    env.ok(&[&["mosaic", "-o", "out.tif"], &args[..]].concat());
    let real = fs::metadata(env.path("out.tif")).unwrap().len() as f64;
    let told = plan["cost"]["output_bytes"].as_f64().unwrap();
    assert!((told / real - 1.0).abs() < 0.25, "{told} of {real}");
    let refused = env.run(&["plan", "a.tif", "--memory", "1M", "--json"]);
    assert_eq!(refused.code, Some(2));
    assert_eq!(fields(&parsed(&refused.stdout), "refused"), ["memory"]);
    let text = env.ok(&["plan", "a.tif", "b.tif"]).stdout;
    for word in ["coverage", "blocks", "decodes", "memory", "output", "time"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

// ---- explain, footprints, preview ---------------------------------------------------------------

#[test]
fn a_point_is_explained() {
    let (env, [a, b, _]) = env_with_tiles();
    // Column 25, row 4: a below b.
    let point = ["500255", "5299955"];
    let run = env.ok(&[&["explain"], &point[..], &["a.tif", "b.tif", "--json"]].concat());
    let told = parsed(&run.stdout);
    let (low, high) = (sample(&a.0, 25, 4), sample(&b.0, 5, 4));
    assert_eq!(
        (&told["col"], &told["row"], &told["result"]),
        (&json!(25), &json!(4), &json!([high]))
    );
    let sources = told["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 2);
    assert_eq!((&sources[0]["path"], &sources[0]["values"]), (&json!("b.tif"), &json!([high])));
    assert_eq!((&sources[0]["col"], &sources[0]["winner"]), (&json!(5), &json!(true)));
    assert_eq!((&sources[1]["values"], &sources[1]["weights"]), (&json!([low]), &json!([0.0])));
    // Where the upper one is nodata the lower one counts.
    let nodata = high.to_string();
    let more = ["a.tif", "b.tif", "--src-nodata", &nodata, "--json"];
    let told = parsed(&env.ok(&[&["explain"], &point[..], &more[..]].concat()).stdout);
    assert_eq!(told["result"], json!([low]));
    assert_eq!(told["sources"][0]["valid"], json!([false]));
    assert_eq!(told["sources"][1]["winner"], json!(true));
    let text =
        env.ok(&[&["explain"], &point[..], &["a.tif", "b.tif", "--overlap", "mean"]].concat());
    assert!(text.stdout.contains("weight 0.5"), "{}", text.stdout);
    env.fails(&["explain", "0", "0", "a.tif"], 2, &["outside"]);
}

#[test]
fn footprints_are_geojson() {
    let (env, _) = env_with_tiles();
    env.ok(&["footprints", "a.tif", "b.tif", "c.tif", "-o", "f.geojson", "--native"]);
    let native = parsed(&fs::read_to_string(env.path("f.geojson")).unwrap());
    assert_eq!(native["crs"]["properties"]["name"], json!("urn:ogc:def:crs:EPSG::32633"));
    let features = native["features"].as_array().unwrap();
    let of = |kind: &str| {
        features.iter().filter(|f| f["properties"]["kind"] == kind).collect::<Vec<_>>()
    };
    assert_eq!(of("source").len(), 3);
    let ring = &of("source")[0]["geometry"]["coordinates"][0];
    let expected = json!([
        [500000.0, 5300000.0],
        [500000.0, 5299800.0],
        [500300.0, 5299800.0],
        [500300.0, 5300000.0],
        [500000.0, 5300000.0]
    ]);
    assert_eq!(*ring, expected);
    let gaps = of("gap");
    assert_eq!((gaps.len(), &gaps[0]["properties"]["pixels"]), (1, &json!(200)));
    assert!(of("overlap").iter().any(|f| f["properties"]["depth"] == 3));
    // Expected: rasterio.warp.transform('EPSG:32633', 'EPSG:4326', [500300], [5299800]), PROJ 9.
    let run = env.ok(&["footprints", "a.tif", "-o", "-", "--layers", "sources"]);
    let degrees = parsed(&run.stdout);
    assert_eq!(degrees.get("crs"), None);
    let ring = degrees["features"][0]["geometry"]["coordinates"][0].as_array().unwrap();
    let near = |x: f64, y: f64| {
        ring.iter().any(|p| {
            (p[0].as_f64().unwrap() - x).abs() < 1e-7 && (p[1].as_f64().unwrap() - y).abs() < 1e-7
        })
    };
    assert!(near(LOWER_RIGHT[0], LOWER_RIGHT[1]), "{ring:?}");
    assert!(near(15.0, UPPER_LEFT_Y), "{ring:?}");
}

const LOWER_RIGHT: [f64; 2] = [15.004010198368, 47.851542391647];
const UPPER_LEFT_Y: f64 = 47.853341945609;

#[cfg(feature = "preview")]
fn png_of(path: &Path) -> (u32, u32, Vec<u8>) {
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgba);
    (info.width, info.height, bytes)
}

#[cfg(feature = "preview")]
#[test]
fn a_preview_is_stretched_and_transparent_where_nothing_is() {
    let (env, [a, b, c]) = env_with_tiles();
    env.ok(&["preview", "a.tif", "b.tif", "c.tif", "-o", "p.png", "--stretch", "0,100"]);
    let (width, height, pixels) = png_of(&env.path("p.png"));
    assert_eq!([width as usize, height as usize], SIZE);
    let expected = paint(SIZE, &[(&a, None), (&b, None), (&c, None)]);
    let most = f64::from(*expected.iter().max().unwrap());
    for (at, value) in expected.iter().enumerate() {
        let (x, y) = (at % 50, at / 50);
        let covered = y < 20 || x < 30;
        let gray = (f64::from(*value) / most * 255.0).round();
        let pixel = &pixels[at * 4..][..4];
        assert_eq!(pixel[3], if covered { 255 } else { 0 }, "{x}, {y}");
        if covered {
            assert!((f64::from(pixel[0]) - gray).abs() <= 1.0 && pixel[0] == pixel[2], "{x}, {y}");
        }
    }
    env.ok(&["preview", "a.tif", "b.tif", "-o", "q.png", "--size", "20", "--footprints"]);
    let (width, height, pixels) = png_of(&env.path("q.png"));
    assert_eq!((width, height), (20, 8));
    assert!(pixels.chunks(4).filter(|p| **p == [255, 200, 0, 255]).count() > 40);
    env.fails(&["preview", "a.tif", "-o", "r.png", "--show", "2"], 2, &["--show"]);
}
