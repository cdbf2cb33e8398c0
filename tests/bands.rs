//! Bands, palettes, scales and rules of overlap: what is refused, and what is warned of. Pixels are
//! proven by `fixtures/bands` (tests/golden.rs).

mod support;

use support::builder::Geotiff;
use support::{TestEnv, fixture};

/// Runs a mosaic of fixtures that must fail with these words.
fn refused(args: &[&str], words: &[&str]) {
    let env = TestEnv::new();
    let mut line = vec!["mosaic".to_owned()];
    line.extend(args.iter().map(|arg| {
        if arg.ends_with(".tif") { fixture(&format!("bands/{arg}")) } else { (*arg).to_owned() }
    }));
    line.extend(["-o".to_owned(), "out.tif".to_owned()]);
    env.fails(&line, 2, words);
    assert!(env.names().is_empty(), "{:?}", env.names());
}

#[test]
fn disagreement_is_refused_by_name() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["bands_of_other_counts/a.tif", "bands_of_other_counts/b.tif"], &["bands", "--bands"]),
        (&["bands_reordered/a.tif", "--bands", "1,4"], &["no band 4", "3 bands", "a.tif"]),
        (&["palette_expanded/a.tif", "palette_expanded/b.tif"], &["palette", "--expand-palette"]),
        (&["palette_and_rgb/b.tif", "bands_reordered/a.tif"], &["bands"]),
        (
            &["palette_kept/a.tif", "--resampling", "cubic"],
            &["nearest", "mode", "--expand-palette"],
        ),
        (&["palette_kept/a.tif", "--overlap", "mean"], &["last or first", "--expand-palette"]),
        (&["unscale_i16/a.tif", "unscale_i16/b.tif"], &["scale and offset", "--unscale"]),
        (&["scale_kept/a.tif", "--overlap", "sum"], &["offset", "--unscale"]),
        (
            &["separate/a.tif", "separate/b.tif", "--separate", "--nodata-mode", "any"],
            &["--nodata-mode"],
        ),
        (&["min_i64/a.tif", "max_u64/a.tif"], &["int64", "uint64", "--dtype"]),
        (&["bands_reordered/a.tif", "--dtype", "complex64"], &["complex"]),
    ];
    for (args, words) in cases {
        refused(args, words);
    }
    assert_eq!(cases.len(), 11);
}

#[test]
fn a_count_of_nothing_is_no_hole() {
    let env = TestEnv::new();
    for (name, cols) in [("a.tif", 0.0), ("b.tif", 60.0)] {
        Geotiff::new(40, 30, 1, 1).moved(cols, 0.0).write(&env.path(name));
    }
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "--overlap", "count", "-o", "out.tif"]);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let picture = env.picture("out.tif");
    assert_eq!((picture.width, picture.dtype().as_str()), (100, "uint16"));
    let counts: Vec<f64> = [0, 39, 40, 59, 60, 99].map(|col| picture.value(0, 3, col)).into();
    assert_eq!(counts, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn clashes_after_resampling_are_counted() {
    let env = TestEnv::new();
    // Columns of 90 and 110 in turn; half a pixel to the right all but the last lie between: 100.
    let mut tiff = Geotiff::new(8, 3, 1, 1);
    (0..3).for_each(|row| (0..8).for_each(|col| tiff.set(col, row, 90 + 20 * (col as u64 % 2))));
    tiff.write(&env.path("a.tif"));
    let args = ["mosaic", "a.tif", "--bounds", "500005,5299970,500075,5300000", "--nodata", "100"];
    let run = env.ok(&[&args[..], &["--resampling", "bilinear", "-o", "out.tif"]].concat());
    assert!(run.stderr.contains("21 valid samples equal the output nodata 100"), "{}", run.stderr);
}

#[test]
fn masks_are_carried_through_resampling() {
    let env = TestEnv::new();
    let source = fixture("bands/mean_masked/a.tif");
    let args = ["mosaic", &source, "--resampling", "bilinear", "--res", "5", "-o", "out.tif"];
    env.ok(&args);
    let (got, own) = (env.picture("out.tif"), support::reader::read(source.as_ref()).unwrap());
    let (mask, of) = (got.mask.expect("a mask"), own.mask.expect("a mask"));
    // The pixel under a centre decides: twice as many pixels are each source pixel's quarters.
    let mut cases = 0;
    for row in 0..got.height {
        for col in 0..got.width {
            assert_eq!(mask[row * got.width + col], of[row / 2 * own.width + col / 2]);
            cases += 1;
        }
    }
    assert_eq!(cases, 40 * 28);
}
