//! Extents in other CRSs: `--bounds-crs`, `info --crs`, `footprints --crs`. Expected values are pyproj's
//! (`Transformer.transform_bounds` with `densify_pts=5000`, PROJ 9), worked out beforehand.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use serde_json::Value;
use smalti::crs::Crs;
use smalti::crs::transform::TransformOptions;
use smalti::geometry::GeoTransform;
use smalti::warp::footprint::bounds_in;
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
