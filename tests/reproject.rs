//! Mosaics of sources in other CRSs: pixels where the exact transformation puts them, whatever the cut, the window and the
//! order; refusals.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use smalti::crs::Crs;
use smalti::crs::transform::{TransformOptions, Transformer};
use smalti::engine::Reader;
use smalti::geometry::{Bounds, Window};
use smalti::io::IoMode;
use smalti::mosaic::reproject::{ReprojectOptions, TargetCrs};
use smalti::mosaic::target::{Resolution, TargetOptions};
use smalti::mosaic::{Mosaic, MosaicOptions};
use smalti::resample::Kernel;
use smalti::source::open::{OpenOptions, open_all};
use smalti::with_raster;
use support::builder::Geotiff;

fn write_all(tiffs: &[Geotiff], folder: &Path) -> Vec<PathBuf> {
    let write = |(index, tiff): (usize, &Geotiff)| {
        let path = folder.join(format!("{index}.tif"));
        tiff.write(&path);
        path
    };
    tiffs.iter().enumerate().map(write).collect()
}

fn options(crs: &str, kernel: Kernel, error_px: f64) -> MosaicOptions {
    let crs = Some(TargetCrs::Given(Arc::new(Crs::parse(crs).unwrap())));
    let reproject = ReprojectOptions { crs, error_px, ..ReprojectOptions::default() };
    MosaicOptions { kernel, reproject, ..MosaicOptions::default() }
}

fn mosaic(paths: &[PathBuf], options: &MosaicOptions) -> Mosaic {
    let opened = open_all(paths, &OpenOptions::default(), &()).unwrap();
    Mosaic::new(opened.sources, options).unwrap()
}

/// All samples and their validity in a window.
fn pixels(mosaic: &Mosaic, window: Window) -> (Vec<String>, Vec<bool>) {
    let reader = Reader::new(mosaic, 16 << 20, IoMode::Read);
    let (raster, mask) = reader.read(window).unwrap();
    let (mut samples, mut valid) = (Vec::new(), Vec::new());
    for row in 0..window.height {
        for col in 0..window.width {
            valid.push(mask.is_valid(0, col, row));
            samples.push(with_raster!(&raster, raster => raster.get(0, col, row).to_string()));
        }
    }
    (samples, valid)
}

fn whole(mosaic: &Mosaic) -> Window {
    mosaic.grid.size.window().unwrap()
}

/// Every pixel is the source pixel under the exact position of its centre, unless that lies within a
/// thousandth of a pixel of an edge.
#[test]
fn nearest_takes_the_pixel_under_the_exact_position() {
    let folder = tempfile::tempdir().unwrap();
    let source = Geotiff::new(150, 130, 1, 5);
    let paths = write_all(std::slice::from_ref(&source), folder.path());
    let mut seen = 0;
    for target in ["EPSG:3857", "EPSG:4326", "EPSG:3035", "EPSG:32632"] {
        let mosaic = mosaic(&paths, &options(target, Kernel::Nearest, 0.0));
        let [from, to] = ["EPSG:32633", target].map(|text| Crs::parse(text).unwrap());
        let transformer = Transformer::new(&from, &to, &TransformOptions::default()).unwrap();
        let window = whole(&mosaic);
        let (samples, valid) = pixels(&mosaic, window);
        for row in 0..window.height {
            for col in 0..window.width {
                let at = (row * window.width + col) as usize;
                let mut point = [mosaic.grid.transform.pixel_center(col, row)];
                transformer.inverse(&mut point);
                let u = (point[0][0] - source.transform[0]) / source.transform[1];
                let v = (point[0][1] - source.transform[3]) / source.transform[5];
                if [u, v].iter().any(|p| (p - p.round()).abs() < 1e-3) {
                    continue;
                }
                let inside = u > 0.0 && v > 0.0 && u < 150.0 && v < 130.0;
                assert_eq!(valid[at], inside, "{target} {col} {row}: {u} {v}");
                if inside {
                    let expected = source.value(0, v as usize, u as usize).to_string();
                    assert_eq!(samples[at], expected, "{target} {col} {row}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 4 * 150 * 100, "{seen}");
}

/// SPEC §5.7: tiles, warped, are the whole, warped; in any order of inputs, and window by window.
#[test]
fn tiles_warp_as_the_whole_does() {
    let folder = tempfile::tempdir().unwrap();
    let source = Geotiff::new(120, 90, 1, 7);
    let one = write_all(std::slice::from_ref(&source), folder.path());
    let tiles = tempfile::tempdir().unwrap();
    let cuts: Vec<Geotiff> =
        (0..6).map(|i| source.crop(i % 3 * 40, i / 3 * 45, 40, 45)).rev().collect();
    let cut = write_all(&cuts, tiles.path());
    for kernel in [Kernel::Nearest, Kernel::Bilinear, Kernel::Cubic, Kernel::Average, Kernel::Mode]
    {
        let options = options("EPSG:3857", kernel, 0.125);
        let [one, cut] = [&one, &cut].map(|paths| mosaic(paths, &options));
        assert_eq!(one.grid.transform, cut.grid.transform);
        let window = whole(&one);
        let expected = pixels(&one, window);
        assert_eq!(expected, pixels(&cut, window), "{kernel:?}");
        let part = Window::new(37, 11, 29, 50).unwrap();
        let (samples, valid) = pixels(&one, part);
        for row in 0..part.height {
            for col in 0..part.width {
                let at = (row * part.width + col) as usize;
                let all = ((row + part.row) * window.width + col + part.col) as usize;
                assert_eq!((&samples[at], valid[at]), (&expected.0[all], expected.1[all]));
            }
        }
    }
}

/// No hole opens between neighbours, in one zone or in two.
#[test]
fn neighbours_leave_no_hole() {
    let folder = tempfile::tempdir().unwrap();
    let source = Geotiff::new(120, 90, 1, 9);
    let cuts: Vec<Geotiff> = (0..4).map(|i| source.crop(i * 30, 0, 30, 90)).collect();
    let paths = write_all(&cuts, folder.path());
    let mosaic = mosaic(&paths, &options("EPSG:3857", Kernel::Bilinear, 0.125));
    let window = whole(&mosaic);
    let (_, valid) = pixels(&mosaic, window);
    let mut rows = 0;
    for row in valid.chunks_exact(window.width as usize) {
        let (first, last) = (row.iter().position(|v| *v), row.iter().rposition(|v| *v));
        let (Some(first), Some(last)) = (first, last) else { continue };
        assert!(row[first..=last].iter().all(|v| *v));
        rows += 1;
    }
    assert!(rows > 80, "{rows}");
}

/// The bounds of a grid on the same phase move no bit.
/// Fixtures are what `gdalwarp -et 0` makes of a smooth surface with a hole. Its stretched kernels take one scale for
/// the whole image, ours that of the place, which shows at edges: hence the bound at 16.5 m.
#[test]
fn smooth_surfaces_equal_gdalwarp() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/warp");
    let mut seen = 0;
    for (name, kernel) in [("bilinear", Kernel::Bilinear), ("cubic", Kernel::Cubic)] {
        for (side, most) in [("15.0", 2e-7), ("15.4", 2e-7), ("16.5", 1e-3)] {
            let golden =
                mosaic(&[folder.join(format!("{name}_{side}.tif"))], &MosaicOptions::default());
            let side: f64 = side.parse().unwrap();
            let target = TargetOptions {
                resolution: Resolution::Fixed([side, side]),
                bounds: Some(golden.grid.bounds()),
                ..TargetOptions::default()
            };
            let own = MosaicOptions { target, ..options("EPSG:3857", kernel, 0.0) };
            let own = mosaic(&[folder.join("source.tif")], &own);
            let (ours, valid) = pixels(&own, whole(&own));
            let (theirs, expected) = pixels(&golden, whole(&golden));
            assert_eq!(valid, expected, "{name} {side}");
            for index in (0..ours.len()).filter(|index| valid[*index]) {
                let [a, b] = [&ours, &theirs].map(|all| all[index].parse::<f64>().unwrap());
                assert!((a - b).abs() <= most, "{name} {side} at {index}: {a}, not {b}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 17_680);
}

#[test]
fn bounds_of_one_phase_change_no_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write_all(&[Geotiff::new(120, 90, 1, 3)], folder.path());
    let resolution = Resolution::Fixed([12.0, 12.0]);
    let grid = |bounds: Option<Bounds>| {
        let target = TargetOptions { resolution, bounds, tap: true, ..TargetOptions::default() };
        MosaicOptions { target, ..options("EPSG:3857", Kernel::Cubic, 0.125) }
    };
    let all = mosaic(&paths, &grid(None));
    let Bounds { min_x, max_y, .. } = all.grid.bounds();
    let (x, y) = (min_x + 12.0 * 35.0, max_y - 12.0 * 22.0);
    let bounds = Bounds { min_x: x, min_y: y - 12.0 * 40.0, max_x: x + 12.0 * 33.0, max_y: y };
    let part = mosaic(&paths, &grid(Some(bounds)));
    let (window, own) = (Window::new(35, 22, 33, 40).unwrap(), whole(&part));
    assert_eq!(own.size(), window.size());
    assert_eq!(pixels(&all, window), pixels(&part, own));
}

#[test]
fn mixed_crss_are_refused_and_datums_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Geotiff::new(40, 40, 1, 2);
    other.epsg = Some(31467);
    other.transform = [3_500_000.0, 10.0, 0.0, 5_400_000.0, 0.0, -10.0];
    let paths = write_all(&[Geotiff::new(40, 40, 1, 1), other], folder.path());
    let opened = open_all(&paths, &OpenOptions::default(), &()).unwrap();
    let error = Mosaic::new(opened.sources, &MosaicOptions::default()).unwrap_err().to_string();
    for words in ["2 different CRSs", "--crs", "--override-crs", "EPSG:31467", "1 file"] {
        assert!(error.contains(words), "{error}");
    }
    let mosaic = mosaic(&paths, &options("EPSG:32633", Kernel::Nearest, 0.125));
    let said: Vec<String> = mosaic.reprojections().iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("DHDN to WGS 84") && said[0].contains("accuracy 3 m"), "{said:?}");
}
