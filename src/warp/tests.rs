//! Positions against the exact transformation, whatever is asked for and how.

use super::footprint::{World, footprint};
use super::*;
use crate::crs::Crs;
use crate::crs::transform::{self, TransformOptions};

fn transformer(src: &str, dst: &str) -> Transformer {
    let [src, dst] = [src, dst].map(|text| Crs::parse(text).unwrap());
    Transformer::new(&src, &dst, &TransformOptions::default()).unwrap()
}

fn warp(src: &str, dst: &str, reference: [f64; 6], grid: [f64; 4], error_px: f64) -> Warp {
    let turn = Crs::parse(src).unwrap().is_geographic().then_some(360.0);
    let grid = GeoTransform::north_up(grid[0], grid[1], grid[2], grid[3]).unwrap();
    let reference = GeoTransform::new(reference).unwrap();
    Warp::new(
        transformer(src, dst),
        reference,
        &grid,
        error_px,
        turn,
        reference.apply(500.0, 0.0)[0],
    )
}

fn row(warp: &Warp, row: u32, cols: std::ops::Range<u32>, scratch: &mut WarpScratch) -> Vec<Place> {
    let mut places = Vec::new();
    warp.map_row(0, row, cols, scratch, &mut places);
    places
}

/// UTM 33 at 10 m to Web Mercator, LAEA to geographic at coarse steps, polar to geographic.
fn cases() -> Vec<(Warp, [f64; 4])> {
    let utm = [5e5, 10.0, 0.0, 5.3e6, 0.0, -10.0];
    let laea = [3e6, 1000.0, 0.0, 4e6, 0.0, -1000.0];
    let polar = [-4e6, 25000.0, 0.0, 5e6, 0.0, -25000.0];
    let build =
        |src, dst, reference, grid: [f64; 4], error| (warp(src, dst, reference, grid, error), grid);
    vec![
        build("EPSG:32633", "EPSG:3857", utm, [1_670_003.0, 6_080_011.0, 15.0, 15.0], 0.125),
        build("EPSG:3035", "EPSG:4326", laea, [-12.0, 75.0, 0.05, 0.05], 0.125),
        build("EPSG:3413", "EPSG:4326", polar, [-180.0, 90.0, 0.5, 0.5], 0.125),
        build("EPSG:3413", "EPSG:4326", polar, [-180.0, 90.0, 0.5, 0.5], 0.0),
        build("EPSG:32660", "EPSG:4326", utm, [176.0, 60.0, 0.01, 0.01], 0.01),
    ]
}

#[test]
fn positions_are_exact_within_the_bound() {
    let mut seen = 0;
    for (index, (warp, grid)) in cases().into_iter().enumerate() {
        let mut scratch = WarpScratch::default();
        for r in (0..300).step_by(7) {
            for (c, place) in row(&warp, r, 0..500, &mut scratch).into_iter().enumerate() {
                let x = grid[0] + (c as f64 + 0.5) * grid[2];
                let y = grid[1] - (f64::from(r) + 0.5) * grid[3];
                let mut exact = [[x, y]];
                warp.transformer.inverse(&mut exact);
                let [u, v] = warp.reference.invert(exact[0][0], exact[0][1]);
                assert_eq!(u.is_nan(), place.u.is_nan(), "case {index} at {c}, {r}");
                if !u.is_nan() {
                    // 2^-21 px of the grid's phase are rounded away.
                    let bound = warp.error_px + 1e-4;
                    let error = (place.u - u).abs().max((place.v - v).abs());
                    assert!(error <= bound, "case {index} at {c}, {r}: {error}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 80_000, "{seen}");
}

#[test]
fn windows_and_bounds_change_no_bit() {
    for (warp, grid) in cases() {
        let whole = row(&warp, 100, 0..400, &mut WarpScratch::default());
        let part = row(&warp, 100, 133..147, &mut WarpScratch::default());
        let bits = |p: &Place| [p.u.to_bits(), p.v.to_bits(), p.jacobian[0].to_bits()];
        assert!(whole[133..147].iter().zip(&part).all(|(a, b)| bits(a) == bits(b)));
        // A grid of the same phase that begins elsewhere.
        let moved = GeoTransform::north_up(
            grid[0] + 77.0 * grid[2],
            grid[1] - 41.0 * grid[3],
            grid[2],
            grid[3],
        );
        let moved = Warp { axes: moved_axes(&moved.unwrap()), ..warp };
        let other = row(&moved, 59, 56..70, &mut WarpScratch::default());
        assert!(whole[133..147].iter().zip(&other).all(|(a, b)| bits(a) == bits(b)));
    }
}

fn moved_axes(grid: &GeoTransform) -> [Lattice; 2] {
    let [x0, dx, _, y0, _, dy] = grid.coefficients();
    [Lattice::new(x0, dx), Lattice::new(y0, dy)]
}

#[test]
fn boxes_hold_all_positions() {
    for (warp, _) in cases() {
        for window in [(0, 0, 300, 200), (100, 31, 1, 1), (250, 90, 64, 33)] {
            let window = Window::new(window.0, window.1, window.2, window.3).unwrap();
            let mut scratch = WarpScratch::default();
            let bounds = warp.bounds(0, window, &mut scratch);
            for r in window.row..window.row_end() {
                for place in row(&warp, r, window.col..window.col_end(), &mut scratch) {
                    let Some(([left, top, right, bottom], _)) = bounds else {
                        assert!(place.u.is_nan());
                        continue;
                    };
                    let inside =
                        (left..=right).contains(&place.u) && (top..=bottom).contains(&place.v);
                    assert!(place.u.is_nan() || inside, "{place:?} {bounds:?}");
                }
            }
        }
    }
}

fn world(dst: &str) -> World {
    let crs = Crs::parse(dst).unwrap();
    World { turn: transform::turn(&crs), y_range: transform::y_range(&crs) }
}

/// `gdalwarp` of GDAL 3.10.3 gives these extents for the first and third; the others follow from the geometry.
#[test]
fn footprints_cross_the_antimeridian_and_hold_poles() {
    let print = |src: &str, dst: &str, reference: [f64; 6], size: [f64; 2]| {
        let reference = GeoTransform::new(reference).unwrap();
        footprint(&transformer(src, dst), &reference, [0.0, 0.0, size[0], size[1]], &world(dst))
            .unwrap()
    };
    // A polar raster with the pole in its middle: the whole turn, up to the pole.
    let polar = print("EPSG:3413", "EPSG:4326", [-1e6, 1e4, 0.0, 1e6, 0.0, -1e4], [200.0, 200.0]);
    assert_eq!([polar.bounds.min_x, polar.bounds.max_x, polar.bounds.max_y], [-180.0, 180.0, 90.0]);
    assert!((76.0..78.0).contains(&polar.bounds.min_y), "{polar:?}");
    // UTM zone 1 a little across 180°.
    let utm =
        print("EPSG:32601", "EPSG:4326", [2e5, 1000.0, 0.0, 6e6, 0.0, -1000.0], [200.0, 100.0]);
    assert!(utm.bounds.width() < 4.0, "{utm:?}");
    assert!(utm.bounds.min_x < -180.0 || utm.bounds.max_x > 180.0, "{utm:?}");
    let web =
        print("EPSG:32601", "EPSG:3857", [2e5, 1000.0, 0.0, 6e6, 0.0, -1000.0], [200.0, 100.0]);
    assert!(web.bounds.width() < 5e5, "{web:?}");
    // The whole Earth in Web Mercator is a square.
    let earth =
        print("EPSG:4326", "EPSG:3857", [-180.0, 1.0, 0.0, 90.0, 0.0, -1.0], [360.0, 180.0]);
    for edge in [-earth.bounds.min_y, earth.bounds.max_y, -earth.bounds.min_x, earth.bounds.max_x] {
        assert!((edge - 20_037_508.342_789_244).abs() < 1e-3, "{earth:?}");
    }
    // The diagonal rule: a pixel of 1° at the equator, seen in metres along the diagonal.
    let near =
        print("EPSG:4326", "EPSG:3857", [0.0, 0.001, 0.0, 0.05, 0.0, -0.001], [100.0, 100.0]);
    assert!((near.resolution - 111.319_49).abs() < 1e-3, "{near:?}");
}
