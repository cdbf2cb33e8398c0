//! Extents in other CRSs: `--bounds-crs`, `info --crs`, `footprints --crs`. Expected values are pyproj's
//! (`Transformer.transform_bounds` with `densify_pts=5000`, PROJ 9), worked out beforehand.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use serde_json::Value;
use smalti::crs::Crs;
use smalti::crs::transform::TransformOptions;
use smalti::engine::Reader;
use smalti::geometry::GeoTransform;
use smalti::io::IoMode;
use smalti::mosaic::reproject::{ReprojectOptions, TargetCrs};
use smalti::mosaic::{Mosaic, MosaicOptions};
use smalti::sample::Nodata;
use smalti::source::open::{OpenOptions, open_all};
use smalti::warp::footprint::bounds_in;
use smalti::with_raster;
use support::TestEnv;
use support::builder::Geotiff;

/// From, to, box there, box here. 180 and more instead of pyproj's turn to the west.
const BOXES: [(&str, &str, [f64; 4], [f64; 4]); 7] = [
    (
        "EPSG:4326",
        "EPSG:32633",
        [14.0, 45.0, 16.5, 46.0],
        [421_184.697, 4_982_950.400, 618_222.966, 5_095_141.281],
    ),
    (
        "EPSG:32633",
        "EPSG:4326",
        [420_000.0, 4_980_000.0, 520_000.0, 5_090_000.0],
        [13.967_601_805, 44.968_934_640, 15.258_119_431, 45.963_571_060],
    ),
    (
        "EPSG:4326",
        "EPSG:3413",
        [-60.0, 70.0, 0.0, 85.0],
        [-566_277.345, -2_187_927.631, 1_547_098.478, -383_228.329],
    ),
    // Round the pole.
    (
        "EPSG:3413",
        "EPSG:4326",
        [-500_000.0, -600_000.0, 400_000.0, 700_000.0],
        [-180.0, 82.071_117_461, 180.0, 90.0],
    ),
    (
        "EPSG:4326",
        "EPSG:3857",
        [170.0, -10.0, 190.0, 10.0],
        [18_924_313.435, -1_118_889.975, 21_150_703.250, 1_118_889.975],
    ),
    (
        "EPSG:4326",
        "EPSG:3035",
        [0.0, 40.0, 20.0, 60.0],
        [3_465_349.298, 1_878_468.324, 5_176_650.702, 4_139_313.259],
    ),
    (
        "EPSG:32601",
        "EPSG:4326",
        [200_000.0, 6_900_000.0, 800_000.0, 7_000_000.0],
        [177.070_045_850, 62.112_104_457, 188.929_954_150, 63.129_339_681],
    ),
];

#[test]
fn boxes_in_other_crss_are_those_of_proj() {
    for (from, to, [min_x, min_y, max_x, max_y], expected) in BOXES {
        let [a, b] = [from, to].map(|text| Crs::parse(text).unwrap());
        let reference = GeoTransform::north_up(min_x, max_y, max_x - min_x, max_y - min_y).unwrap();
        let options = TransformOptions::default();
        let found = bounds_in([&a, &b], &reference, [0.0, 0.0, 1.0, 1.0], &options);
        let found = found.unwrap().unwrap();
        let found = [found.min_x, found.min_y, found.max_x, found.max_y];
        // 33 points a side, where pyproj had 5000.
        let slack = [2, 3, 2, 3].map(|high| (expected[high] - expected[high - 2]) * 2e-4);
        for at in 0..4 {
            let off = (found[at] - expected[at]).abs();
            assert!(off <= slack[at] + 1e-3_f64.min(slack[at]), "{from} {to}: {found:?}");
        }
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn assert_near(found: &[f64], expected: &[f64], slack: f64) {
    let near = found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= slack);
    assert!(near, "{found:?}, expected {expected:?}");
}

fn facts(env: &TestEnv, args: &[&str]) -> Value {
    let args: Vec<&str> = ["info", "--json"].iter().chain(args).copied().collect();
    serde_json::from_str(&env.ok(&args).stdout).unwrap()
}

#[test]
fn bounds_may_be_in_another_crs() {
    let env = TestEnv::new();
    Geotiff::new(60, 60, 1, 3).write(&env.path("a.tif"));
    let bounds = "15.001,47.85,15.003,47.852";
    let lonlat = ["--bounds", bounds, "--bounds-crs", "EPSG:4326"];
    let mut args = vec!["mosaic", "a.tif", "-o", "out.tif"];
    args.extend(lonlat);
    env.ok(&args);
    // pyproj: 500074.809, 5299628.567 to 500224.434, 5299850.857, in pixels of 10 m.
    let found = facts(&env, &["out.tif"]);
    assert_near(&numbers(&found["bounds"])[..1], &[500_074.809], 0.05);
    assert_near(&numbers(&found["bounds"])[3..], &[5_299_850.857], 0.05);
    assert_eq!((&found["width"], &found["height"]), (&15.into(), &22.into()));
    // In the mosaic's own CRS it says nothing new.
    let own = ["--bounds", "500000,5299500,500300,5300000", "--bounds-crs", "EPSG:32633"];
    let mut args = vec!["plan", "a.tif", "--json"];
    args.extend(own);
    let plan: Value = serde_json::from_str(&env.ok(&args).stdout).unwrap();
    assert!(plan.to_string().contains("5299500"), "{plan}");
    env.fails(&["mosaic", "a.tif", "-o", "b.tif", "--bounds-crs", "EPSG:4326"], 2, &["--bounds"]);
    let far = ["--bounds", "80,10,81,11", "--bounds-crs", "EPSG:4326"];
    let mut args = vec!["mosaic", "a.tif", "-o", "b.tif"];
    args.extend(far);
    env.fails(&args, 2, &["touches no source"]);
}

#[test]
fn info_tells_bounds_in_another_crs() {
    let env = TestEnv::new();
    let mut tiff = Geotiff::new(30, 20, 1, 3);
    tiff.write(&env.path("a.tif"));
    let found = facts(&env, &["a.tif", "--crs", "EPSG:4326"]);
    assert_eq!(found["bounds_in"]["crs"]["epsg"], 4326);
    let expected = [15.0, 47.851_542_391_647, 15.004_010_337_107, 47.853_341_945_609];
    assert_near(&numbers(&found["bounds_in"]["bounds"]), &expected, 1e-8);
    assert_near(&numbers(&found["bounds"])[..1], &[500_000.0], 0.0);
    assert_eq!(facts(&env, &["a.tif"]).get("bounds_in"), None);
    let text = env.ok(&["info", "a.tif", "--crs", "EPSG:4326"]).stdout;
    let line = text.lines().find(|line| line.contains("in --crs")).unwrap();
    assert!(line.contains("47.8515423") && line.contains("EPSG:4326"), "{line}");
    tiff.epsg = None;
    tiff.write(&env.path("none.tif"));
    env.fails(&["info", "none.tif", "--crs", "EPSG:4326"], 2, &["no CRS"]);
}

/// In metres too an outline keeps its shape.
#[test]
fn footprints_are_in_any_crs() {
    let env = TestEnv::new();
    Geotiff::new(30, 20, 1, 3).write(&env.path("a.tif"));
    for (crs, name, expected) in [
        (
            "EPSG:3857",
            "urn:ogc:def:crs:EPSG::3857",
            [1_669_792.362, 6_082_192.220, 1_670_238.791, 6_082_490.748],
        ),
        (
            "EPSG:3035",
            "urn:ogc:def:crs:EPSG::3035",
            [4_695_071.691, 2_761_314.892, 4_695_384.344, 2_761_534.786],
        ),
    ] {
        let args = ["footprints", "a.tif", "--layers", "sources", "--crs", crs, "-o", "-"];
        let found: Value = serde_json::from_str(&env.ok(&args).stdout).unwrap();
        assert_eq!(found["crs"]["properties"]["name"], name);
        let ring = found["features"][0]["geometry"]["coordinates"][0].as_array().unwrap();
        let points: Vec<Vec<f64>> = ring.iter().map(numbers).collect();
        let extreme = |axis: usize, sign: f64| {
            sign * points.iter().map(|p| sign * p[axis]).fold(f64::MIN, f64::max)
        };
        let bounds = [extreme(0, -1.0), extreme(1, -1.0), extreme(0, 1.0), extreme(1, 1.0)];
        assert_near(&bounds, &expected, 0.01);
    }
}

/// What is told of a pixel is what the run takes, however far the lattice may be off.
#[test]
fn explained_positions_are_those_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let value = |_, row: usize, col: usize| (row * 200 + col + 1) as f64;
    let mut tiff = Geotiff::typed([200, 200, 1], (16, 1), value);
    tiff.epsg = Some(4326);
    tiff.transform = [0.0, 0.1, 0.0, 60.0, 0.0, -0.1];
    let path = folder.path().join("a.tif");
    tiff.write(&path);
    let crs = Some(TargetCrs::Given(Arc::new(Crs::parse("EPSG:3035").unwrap())));
    let reproject = ReprojectOptions { crs, error_px: 4.0, ..ReprojectOptions::default() };
    let options =
        MosaicOptions { reproject, nodata: Some(Nodata::Int(0)), ..MosaicOptions::default() };
    let opened = open_all(&[path], &OpenOptions::default(), &()).unwrap();
    let mosaic = Mosaic::new(opened.sources, &options).unwrap();
    let window = mosaic.grid.size.window().unwrap();
    let (raster, mask) = Reader::new(&mosaic, 1 << 24, IoMode::Read).read(window).unwrap();
    let way = mosaic.transformer(0).unwrap();
    let (mut seen, mut approximate) = (0, 0);
    for (row, col) in (0..window.height).flat_map(|r| (0..window.width).map(move |c| (r, c))) {
        if !mask.is_valid(0, col, row) {
            continue;
        }
        let [u, v] = mosaic.position(0, col, row);
        let expected = tiff.value(0, v.floor() as usize, u.floor() as usize).to_string();
        let found = with_raster!(&raster, raster => raster.get(0, col, row).to_string());
        assert_eq!(found, expected, "{col} {row}: {u} {v}");
        let mut exact = [mosaic.grid.transform.pixel_center(col, row)];
        way.inverse(&mut exact);
        let [x, y] = exact[0];
        seen += 1;
        approximate +=
            u32::from((x / 0.1).floor() != u.floor() || ((60.0 - y) / 0.1).floor() != v.floor());
    }
    assert!(seen > 20_000 && approximate > 100, "{seen}, {approximate}");
}

/// A raster of degrees, the value of a pixel its column and row from 1.
fn degrees(west: f64, north: f64, res: f64, size: [usize; 2]) -> Geotiff {
    let value = |_, row: usize, col: usize| (row * size[0] + col + 1) as f64;
    let mut tiff = Geotiff::typed([size[0], size[1], 1], (16, 1), value);
    tiff.epsg = Some(4326);
    tiff.transform = [west, res, 0.0, north, 0.0, -res];
    tiff
}

/// 0 to 360 degrees become the usual square of Web Mercator, whole, also where the extent is named; what crosses
/// 180 degrees stays in one piece, in the east.
#[test]
fn the_world_is_cut_where_it_should_be() {
    let env = TestEnv::new();
    degrees(0.0, 80.0, 2.0, [180, 80]).write(&env.path("all.tif"));
    degrees(170.0, 10.0, 0.1, [200, 200]).write(&env.path("date.tif"));
    let half = 20_037_508.342_789;
    // asinh(tan(80 degrees)) times the radius.
    let north = 15_538_711.096;
    let square = format!("{},{},{half},{north}", -half, -north);
    let bounds = ["--bounds", &square];
    for more in [&[][..], &bounds[..]] {
        let mut args = vec![
            "mosaic",
            "all.tif",
            "-o",
            "w.tif",
            "--overwrite",
            "--crs",
            "EPSG:3857",
            "--nodata",
            "0",
            "--res",
            "200000",
        ];
        args.extend(more);
        env.ok(&args);
        let found = numbers(&facts(&env, &["w.tif"])["bounds"]);
        assert_near(&found[..1], &[-half], 0.01);
        assert_near(&found[2..3], &[half], 200_000.0);
        let picture = env.picture("w.tif");
        let missing = (0..picture.width).filter(|col| picture.value(0, 70, *col) == 0.0).count();
        assert!(missing <= 1, "{more:?}: {missing} of {}", picture.width);
    }
    env.ok(&["mosaic", "date.tif", "-o", "d.tif", "--crs", "EPSG:3857"]);
    let found = numbers(&facts(&env, &["d.tif"])["bounds"]);
    // pyproj's x of 170 degrees, and a turn less its x of -170.
    assert_near(&found[..1], &[18_924_313.435], 0.01);
    assert_near(&found[2..3], &[21_150_703.250], 11_161.0);
}

/// A map of the world whose corners lie beyond it reaches all of it.
#[test]
fn a_sinusoidal_world_is_whole() {
    let options = TransformOptions::default();
    let [from, to] = ["ESRI:54008", "EPSG:4326"].map(|text| Crs::parse(text).unwrap());
    let reference =
        GeoTransform::north_up(-20_050_000.0, 10_050_000.0, 50_000.0, 50_000.0).unwrap();
    let found = bounds_in([&from, &to], &reference, [0.0, 0.0, 802.0, 402.0], &options);
    let found = found.unwrap().unwrap();
    let found = [found.min_x, found.min_y, found.max_x, found.max_y];
    assert_near(&found, &[-180.0, -90.0, 180.0, 90.0], 1e-3);
}

/// The middle of a world's map lies where no operation to a national CRS is: places within decide.
#[test]
fn a_world_goes_to_a_national_crs() {
    let env = TestEnv::new();
    degrees(-180.0, 90.0, 2.0, [180, 90]).write(&env.path("all.tif"));
    let bounds = "2500000,1500000,6000000,5500000";
    let args = ["mosaic", "all.tif", "-o", "e.tif", "--crs", "EPSG:3035", "--bounds", bounds, "-v"];
    let said = env.ok(&args).stderr;
    assert!(said.contains("lies outside of that area"), "{said}");
    // Row and column of 10 E, 52 N: pyproj's 4321000, 3210000 is that place.
    let shown = env.ok(&["sample", "e.tif", "4321000", "3210000"]).stdout;
    let value: f64 = shown.split_whitespace().last().unwrap().parse().unwrap();
    let near = [18.0, 19.0].map(|row| [94.0, 95.0].map(|col| row * 180.0 + col + 1.0));
    assert!(near.iter().flatten().any(|v| *v == value), "{shown}");
}
