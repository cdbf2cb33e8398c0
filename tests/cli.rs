//! The program from outside: exit codes, messages, help, and what is (not) written.

mod support;

use std::fs;

use support::builder::Geotiff;
use support::{TestEnv, fixture};

/// Two neighbors of 30 × 20 pixels, `a.tif` and `b.tif`.
fn env_with_two() -> TestEnv {
    let env = TestEnv::new();
    Geotiff::new(30, 20, 1, 1).write(&env.path("a.tif"));
    Geotiff::new(30, 20, 1, 2).moved(30.0, 0.0).write(&env.path("b.tif"));
    env
}

// ---- help and usage -----------------------------------------------------------------------------

#[test]
fn help_mentions_every_option() {
    let env = TestEnv::new();
    let help = env.ok(&["mosaic", "--help"]).stdout;
    let options = "--input-list --resolution --res --bounds --tap --like --overlap --src-nodata --nodata \
        --nodata-mode --on-nodata-clash --alpha --mask --dtype --memory --cache-fraction --threads --io \
        --chunk --interleave --compress --level --predictor --bigtiff --sparse --stats --assign-crs \
        --override-crs --cog --overviews --overview-resampling --resume --receipt --overwrite --skip-bad --quiet --verbose --json --output";
    let missing: Vec<&str> = options.split_whitespace().filter(|o| !help.contains(o)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "not in the help:\n{help}");
    for short in ["-o", "-c", "-q", "-v"] {
        assert!(help.contains(&format!("{short},")), "no {short} in the help:\n{help}");
    }
}

#[test]
fn help_lists_the_commands() {
    let help = TestEnv::new().ok(&["--help"]).stdout;
    for command in ["mosaic", "info", "sample"] {
        assert!(help.contains(command), "no {command} in:\n{help}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    let run = TestEnv::new().ok(&["--version"]);
    assert_eq!(run.stdout.trim(), format!("smalti {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_arguments_are_wrong_usage() {
    let env = TestEnv::new();
    assert_eq!(env.run::<&str>(&[]).code, Some(2));
    assert_eq!(env.run(&["mosaic"]).code, Some(2));
    assert_eq!(env.run(&["mosaic", "-o", "out.tif"]).code, Some(2));
}

#[test]
fn unknown_option_is_named() {
    let env = env_with_two();
    env.fails(&["mosaic", "a.tif", "-o", "out.tif", "--frobnicate"], 2, &["--frobnicate"]);
    assert_eq!(env.names(), ["a.tif", "b.tif"]);
}

#[test]
fn impossible_option_values_are_wrong_usage() {
    let env = env_with_two();
    let cases: [&[&str]; 15] = [
        &["--bounds", "1,2,3"],
        &["--bounds", "500300,5299800,500000,5300000"],
        &["--bounds", "nan,0,1,1"],
        &["--res", "0"],
        &["--res", "-10"],
        &["--res", "abc"],
        &["--chunk", "100"],
        &["--chunk", "0"],
        &["--memory", "lots"],
        &["--cache-fraction", "2"],
        &["--dtype", "u7"],
        &["--overlap", "middle"],
        &["--compress", "rar"],
        &["--src-nodata", "x"],
        &["--assign-crs", "EPSG:banana"],
    ];
    for options in cases {
        let args = [&["mosaic", "a.tif", "b.tif", "-o", "out.tif"], options].concat();
        let run = env.run(&args);
        assert_eq!(run.code, Some(2), "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(options[0]), "{options:?} is not named: {}", run.stderr);
        assert_eq!(run.panicked(), None, "{options:?}");
        assert_eq!(env.names(), ["a.tif", "b.tif"], "{options:?}");
    }
}

#[test]
fn options_that_contradict_each_other_are_wrong_usage() {
    let env = env_with_two();
    let cases: [&[&str]; 5] = [
        &["--alpha", "--mask"],
        &["--like", "a.tif", "--res", "10"],
        &["--predictor", "float"],
        &["--memory", "256M", "--cache-fraction", "0.5"],
        &["--res", "10", "--resolution", "lowest"],
    ];
    for options in cases {
        let args = [&["mosaic", "a.tif", "b.tif", "-o", "out.tif"], options].concat();
        let run = env.run(&args);
        assert_eq!(run.code, Some(2), "{options:?}: {}", run.stderr);
        assert_eq!(env.names(), ["a.tif", "b.tif"], "{options:?}");
    }
}

// ---- inputs that cannot be used -------------------------------------------------------------------

#[test]
fn missing_file_is_named() {
    let env = env_with_two();
    let run = env.fails(&["mosaic", "a.tif", "gone.tif", "-o", "out.tif"], 2, &["gone.tif"]);
    assert_eq!(run.errors().len(), 1, "one clear line:\n{}", run.stderr);
    assert_eq!(env.names(), ["a.tif", "b.tif"]);
}

#[test]
fn text_is_not_a_tiff() {
    let env = env_with_two();
    fs::write(env.path("notes.tif"), "these are notes\n").unwrap();
    env.fails(&["mosaic", "a.tif", "notes.tif", "-o", "out.tif"], 2, &["notes.tif", "not a TIFF"]);
    env.fails(&["info", "notes.tif"], 2, &["notes.tif", "not a TIFF"]);
    assert_eq!(env.names(), ["a.tif", "b.tif", "notes.tif"]);
}

#[test]
fn other_raster_formats_are_refused_with_the_command_that_converts() {
    let env = env_with_two();
    fs::write(env.path("N47E013.hgt"), vec![0u8; 1000]).unwrap();
    let args = ["mosaic", "a.tif", "N47E013.hgt", "-o", "out.tif"];
    env.fails(&args, 2, &["N47E013.hgt", "gdal_translate"]);
}

#[test]
fn all_bad_inputs_are_listed_at_once() {
    let env = env_with_two();
    fs::write(env.path("text.tif"), "text").unwrap();
    let whole = fs::read(env.path("a.tif")).unwrap();
    fs::write(env.path("cut.tif"), &whole[..whole.len() / 2]).unwrap();
    fs::copy(fixture("sources/no_georeference.tif"), env.path("nowhere.tif")).unwrap();
    let args =
        ["mosaic", "a.tif", "text.tif", "cut.tif", "gone.tif", "nowhere.tif", "-o", "out.tif"];
    let run = env.fails(&args, 2, &["text.tif", "cut.tif", "gone.tif", "nowhere.tif"]);
    let lines: Vec<&str> = run.stderr.lines().filter(|l| l.contains("a.tif")).collect();
    assert_eq!(lines, Vec::<&str>::new(), "a.tif is good");
    assert!(!env.names().contains(&"out.tif".to_owned()));
}

#[test]
fn skip_bad_goes_on_and_says_so() {
    let env = env_with_two();
    fs::write(env.path("text.tif"), "text").unwrap();
    let args = ["mosaic", "a.tif", "text.tif", "gone.tif", "b.tif", "-o", "out.tif", "--skip-bad"];
    env.fails(&args, 3, &["text.tif", "gone.tif"]);
    let picture = env.picture("out.tif");
    assert_eq!((picture.width, picture.height), (60, 20));
    env.ok(&["mosaic", "a.tif", "b.tif", "-o", "good.tif"]);
    assert_eq!(fs::read(env.path("out.tif")).unwrap(), fs::read(env.path("good.tif")).unwrap());
}

#[test]
fn skip_bad_without_one_good_input_fails() {
    let env = TestEnv::new();
    fs::write(env.path("text.tif"), "text").unwrap();
    env.fails(&["mosaic", "text.tif", "-o", "out.tif", "--skip-bad"], 2, &["text.tif"]);
    assert_eq!(env.names(), ["text.tif"]);
}

#[test]
fn mixed_crss_are_listed_with_counts_and_the_flag() {
    let env = env_with_two();
    let other = Geotiff { epsg: Some(32634), ..Geotiff::new(30, 20, 1, 3) };
    other.write(&env.path("zone34.tif"));
    let run = env.run(&["mosaic", "a.tif", "b.tif", "zone34.tif", "-o", "out.tif"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    for word in ["32633", "32634", "zone34.tif"] {
        assert!(run.stderr.contains(word), "no {word} in:\n{}", run.stderr);
    }
    let line =
        |code: &str, count: &str| run.stderr.lines().any(|l| l.contains(code) && l.contains(count));
    assert!(line("32633", "2") && line("32634", "1"), "no counts in:\n{}", run.stderr);
    assert!(run.stderr.contains("-crs"), "no flag in:\n{}", run.stderr);
    assert_eq!(env.names(), ["a.tif", "b.tif", "zone34.tif"]);
    env.ok(&[
        "mosaic",
        "a.tif",
        "b.tif",
        "zone34.tif",
        "-o",
        "out.tif",
        "--override-crs",
        "EPSG:32633",
    ]);
    assert_eq!(env.picture("out.tif").epsg, Some(32633));
}

#[test]
fn differing_datums_are_not_equal() {
    let env = TestEnv::new();
    let args =
        ["mosaic", &fixture("sources/wgs84.tif"), &fixture("sources/etrs89.tif"), "-o", "out.tif"];
    env.fails(&args, 2, &["4326", "4258"]);
}

#[test]
fn missing_crs_asks_for_assign_crs() {
    let env = env_with_two();
    let none = Geotiff { epsg: None, ..Geotiff::new(30, 20, 1, 3).moved(60.0, 0.0) };
    none.write(&env.path("none.tif"));
    let args = ["mosaic", "a.tif", "b.tif", "none.tif", "-o", "out.tif"];
    env.fails(&args, 2, &["none.tif", "--assign-crs"]);
    let args = [args.as_slice(), &["--assign-crs", "EPSG:32633"]].concat();
    env.ok(&args);
    let picture = env.picture("out.tif");
    assert_eq!((picture.epsg, picture.width), (Some(32633), 90));
}

#[test]
fn no_georeference_names_the_file() {
    let env = TestEnv::new();
    let input = fixture("sources/no_georeference.tif");
    env.fails(&["mosaic", &input, "-o", "out.tif"], 2, &["no_georeference.tif", "georef"]);
    assert_eq!(env.names(), Vec::<String>::new());
}

#[test]
fn control_points_are_named() {
    let env = TestEnv::new();
    let input = fixture("sources/gcp_only.tif");
    env.fails(&["mosaic", &input, "-o", "out.tif"], 2, &["gcp_only.tif", "control points"]);
}

#[test]
fn band_counts_must_agree() {
    let env = env_with_two();
    Geotiff::new(30, 20, 3, 3).write(&env.path("rgb.tif"));
    env.fails(&["mosaic", "a.tif", "rgb.tif", "-o", "out.tif"], 2, &["band"]);
}

#[test]
fn types_without_a_common_one_ask_for_dtype() {
    let env = TestEnv::new();
    let (a, b) = (
        fixture("sources/u64_packbits_p1_strip_single_big_le.tif"),
        fixture("sources/i64_packbits_p1_strip_single_classic_be.tif"),
    );
    env.fails(&["mosaic", &a, &b, "-o", "out.tif"], 2, &["--dtype"]);
    env.ok(&["mosaic", &a, &b, "-o", "out.tif", "--dtype", "f64"]);
    assert_eq!(env.picture("out.tif").dtype(), "float64");
}

#[test]
fn nodata_must_fit_the_output_type() {
    let env = env_with_two();
    for value in ["-1", "65536", "0.5", "nan"] {
        let args = ["mosaic", "a.tif", "b.tif", "-o", "out.tif", "--nodata", value];
        env.fails(&args, 2, &["nodata"]);
    }
    let args = ["mosaic", "a.tif", "b.tif", "-o", "out.tif", "--dtype", "u8", "--nodata", "300"];
    env.fails(&args, 2, &["nodata", "300"]);
    assert_eq!(env.names(), ["a.tif", "b.tif"]);
}

#[test]
fn bounds_beside_all_sources_are_refused() {
    let env = env_with_two();
    let args = ["mosaic", "a.tif", "b.tif", "-o", "out.tif", "--bounds", "0,0,1000,1000"];
    env.fails(&args, 2, &["bounds"]);
    assert_eq!(env.names(), ["a.tif", "b.tif"]);
}

#[test]
fn memory_that_cannot_do_is_refused() {
    let env = env_with_two();
    let args = ["mosaic", "a.tif", "b.tif", "-o", "out.tif", "--memory", "1M", "-c", "8192"];
    env.fails(&args, 2, &["memory"]);
    assert_eq!(env.names(), ["a.tif", "b.tif"]);
}

#[test]
fn directory_without_rasters_is_refused() {
    let env = TestEnv::new();
    fs::create_dir(env.path("empty")).unwrap();
    env.fails(&["mosaic", "empty", "-o", "out.tif"], 2, &["empty"]);
}

// ---- outputs ----------------------------------------------------------------------------------------

#[test]
fn existing_output_needs_overwrite() {
    let env = env_with_two();
    fs::write(env.path("out.tif"), "precious").unwrap();
    let args = ["mosaic", "a.tif", "b.tif", "-o", "out.tif"];
    env.fails(&args, 2, &["out.tif", "--overwrite"]);
    assert_eq!(fs::read_to_string(env.path("out.tif")).unwrap(), "precious");
    env.ok(&["mosaic", "a.tif", "b.tif", "-o", "out.tif", "--overwrite"]);
    assert_eq!(env.picture("out.tif").width, 60);
    assert_eq!(env.names(), ["a.tif", "b.tif", "out.tif"]);
}

#[test]
fn output_that_is_an_input_is_refused() {
    let env = env_with_two();
    let before = fs::read(env.path("b.tif")).unwrap();
    for out in ["b.tif", "./b.tif"] {
        let args = ["mosaic", "a.tif", "b.tif", "-o", out, "--overwrite"];
        env.fails(&args, 2, &["b.tif", "input"]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(env.path("b.tif"), env.path("link.tif")).unwrap();
        let args = ["mosaic", "a.tif", "b.tif", "-o", "link.tif", "--overwrite"];
        assert_eq!(env.run(&args).code, Some(2));
        fs::hard_link(env.path("b.tif"), env.path("hard.tif")).unwrap();
        let args = ["mosaic", "a.tif", "b.tif", "-o", "hard.tif", "--overwrite"];
        assert_eq!(env.run(&args).code, Some(2));
    }
    assert_eq!(fs::read(env.path("b.tif")).unwrap(), before);
}

#[test]
fn output_in_a_missing_folder_fails_and_names_it() {
    let env = env_with_two();
    let run = env.run(&["mosaic", "a.tif", "b.tif", "-o", "no/such/out.tif"]);
    assert!(matches!(run.code, Some(1 | 2)), "{:?}: {}", run.code, run.stderr);
    assert!(run.stderr.contains("no/such"), "{}", run.stderr);
    assert_eq!(env.names(), ["a.tif", "b.tif"]);
}

#[test]
fn output_that_is_a_folder_is_refused() {
    let env = env_with_two();
    fs::create_dir(env.path("out.tif")).unwrap();
    let run = env.run(&["mosaic", "a.tif", "b.tif", "-o", "out.tif", "--overwrite"]);
    assert!(matches!(run.code, Some(1 | 2)), "{:?}: {}", run.code, run.stderr);
    assert_eq!(env.names(), ["a.tif", "b.tif", "out.tif"]);
}

#[test]
fn nothing_but_the_output_is_left() {
    let env = env_with_two();
    env.ok(&["mosaic", "a.tif", "b.tif", "-o", "out.tif"]);
    assert_eq!(env.names(), ["a.tif", "b.tif", "out.tif"]);
}

// ---- ways to name inputs ------------------------------------------------------------------------------

#[test]
fn lists_directories_and_patterns_give_the_same() {
    let env = TestEnv::new();
    fs::create_dir_all(env.path("in/deep")).unwrap();
    let names = ["in/1.tif", "in/2.TIF", "in/deep/3.tiff"];
    for (index, name) in names.iter().enumerate() {
        // They overlap, so that the order shows.
        Geotiff::new(30, 20, 1, 10 + index as u64)
            .moved(7.0 * index as f64, 3.0)
            .write(&env.path(name));
    }
    fs::write(env.path("in/readme.txt"), "not an input").unwrap();
    let list = format!("# tiles\n\n{}\n", names.join("\n"));
    fs::write(env.path("list.txt"), list).unwrap();
    env.ok(&["mosaic", names[0], names[1], names[2], "-o", "by_name.tif"]);
    let want = fs::read(env.path("by_name.tif")).unwrap();
    let ways: [(&str, &[&str]); 4] = [
        ("dir.tif", &["in"]),
        ("list.tif", &["--input-list", "list.txt"]),
        ("at.tif", &["@list.txt"]),
        ("glob.tif", &["in/*.[tT]*[fF]", "in/deep/*"]),
    ];
    for (out, inputs) in ways {
        env.ok(&[&["mosaic"], inputs, &["-o", out]].concat());
        assert!(fs::read(env.path(out)).unwrap() == want, "{inputs:?} gives another mosaic");
    }
}

#[test]
fn repeated_input_is_used_once_with_a_warning() {
    let env = env_with_two();
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "./a.tif", "-o", "out.tif"]);
    assert!(run.stderr.contains("a.tif"), "no warning:\n{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn odd_names_are_right_names() {
    let env = TestEnv::new();
    let names = ["with space.tif", "new\nline.tif", "-dash.tif", "grün·☃.tif", "\u{202e}fit.tif"];
    for (index, name) in names.iter().enumerate() {
        Geotiff::new(8, 8, 1, index as u64).moved(8.0 * index as f64, 0.0).write(&env.path(name));
    }
    let mut args = vec!["mosaic", "-o", "out put.tif", "--"];
    args.extend(names);
    env.ok(&args);
    assert_eq!(env.picture("out put.tif").width, 40);
    fs::write(env.path("bad\nname.tif"), "text").unwrap();
    let run = env.run(&["mosaic", "bad\nname.tif", "-o", "out.tif"]);
    assert_eq!(run.code, Some(2));
    assert_eq!(run.errors().len(), 1, "{}", run.stderr);
    assert!(!run.stderr.contains("bad\nname"), "the line break is printed raw:\n{}", run.stderr);
    use std::os::unix::ffi::OsStrExt;
    let raw = std::ffi::OsStr::from_bytes(b"latin\xe9.tif");
    Geotiff::new(8, 8, 1, 9).write(&env.path(raw));
    let run = env.run(&["mosaic".as_ref(), raw, "-o".as_ref(), "latin.tif".as_ref()]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

// ---- what is said ----------------------------------------------------------------------------------------

#[test]
fn errors_have_one_form() {
    let env = env_with_two();
    let run = env.run(&["mosaic", "gone.tif", "-o", "out.tif"]);
    let errors = run.errors();
    assert_eq!(errors.len(), 1, "{}", run.stderr);
    assert!(errors[0].starts_with("smalti: error: gone.tif: "), "{}", run.stderr);
    assert!(!errors[0].ends_with('.'), "{}", run.stderr);
    assert_eq!(run.stdout, "");
}

#[test]
fn uncovered_pixels_without_nodata_are_warned_of() {
    let env = TestEnv::new();
    Geotiff::new(10, 10, 1, 1).write(&env.path("a.tif"));
    Geotiff::new(10, 10, 1, 2).moved(10.0, 10.0).write(&env.path("b.tif"));
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "-o", "out.tif"]);
    assert!(run.stderr.contains("200"), "200 pixels are uncovered:\n{}", run.stderr);
    assert!(run.stderr.contains("--nodata"), "no flag:\n{}", run.stderr);
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "-o", "with.tif", "--nodata", "0"]);
    assert!(!run.stderr.contains("uncovered"), "{}", run.stderr);
}

#[test]
fn nodata_clash_is_counted_or_refused() {
    let env = TestEnv::new();
    let mut picture = Geotiff::new(10, 10, 1, 1);
    for col in 0..7 {
        picture.set(col, 4, 9);
    }
    picture.write(&env.path("a.tif"));
    let run = env.ok(&["mosaic", "a.tif", "-o", "out.tif", "--nodata", "9"]);
    assert!(run.stderr.contains('7'), "7 samples clash:\n{}", run.stderr);
    assert!(run.stderr.contains("nodata"), "{}", run.stderr);
    let args = ["mosaic", "a.tif", "-o", "no.tif", "--nodata", "9", "--on-nodata-clash", "error"];
    let run = env.run(&args);
    assert!(matches!(run.code, Some(1 | 2)), "{:?}: {}", run.code, run.stderr);
    assert_eq!(env.names(), ["a.tif", "out.tif"]);
}

#[test]
fn quiet_is_quiet() {
    let env = env_with_two();
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "-o", "out.tif", "--quiet"]);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let run = env.run(&["mosaic", "gone.tif", "-o", "x.tif", "-q"]);
    assert_eq!(run.errors().len(), 1, "errors are never quiet: {}", run.stderr);
}

#[test]
fn verbose_reports_decodes() {
    let env = env_with_two();
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "-o", "out.tif", "-v"]);
    let all = format!("{}{}", run.stdout, run.stderr).to_lowercase();
    for word in ["decode", "encode", "write"] {
        assert!(all.contains(word), "no {word} in:\n{all}");
    }
}

#[test]
fn json_events_parse() {
    let env = env_with_two();
    let run = env.ok(&["mosaic", "a.tif", "b.tif", "-o", "out.tif", "--json"]);
    let lines: Vec<&str> = run.stdout.lines().filter(|l| !l.is_empty()).collect();
    assert!(!lines.is_empty(), "no event on standard output; stderr:\n{}", run.stderr);
    for line in lines {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(value.is_object(), "{line}");
    }
}

#[test]
fn info_tells_what_gdalinfo_tells() {
    let env = TestEnv::new();
    let file = fixture("sources/nodata_nan_f32.tif");
    let text = env.ok(&["info", &file]).stdout;
    for word in ["45", "31", "f32", "EPSG:32633", "499980", "5300040", "10", "eflate"] {
        assert!(text.contains(word), "no {word} in:\n{text}");
    }
    assert!(text.to_lowercase().contains("nan"), "no nodata in:\n{text}");
}

#[test]
fn info_json_parses() {
    let env = TestEnv::new();
    let mut count = 0;
    for row in support::csv(&support::fixtures("sources/EXPECTED.csv")) {
        if row[9] != "ok" {
            continue;
        }
        let file = fixture(&format!("sources/{}", row[0]));
        let run = env.ok(&["info", &file, "--json"]);
        let value: serde_json::Value = serde_json::from_str(&run.stdout).expect(&run.stdout);
        let number = |key: &str| value.get(key).and_then(serde_json::Value::as_u64);
        assert_eq!(number("width"), row[4].parse().ok(), "{}: {}", row[0], run.stdout);
        assert_eq!(number("height"), row[3].parse().ok(), "{}: {}", row[0], run.stdout);
        count += 1;
    }
    assert_eq!(count, SOURCES_OK);
}

/// Usable files in fixtures/sources.
const SOURCES_OK: usize = 105;

#[test]
fn info_stats_are_those_of_the_samples() {
    let env = TestEnv::new();
    let mut picture = Geotiff::new(20, 20, 1, 5);
    picture.nodata = Some("0".to_owned());
    picture.set(3, 3, 0);
    picture.set(4, 4, 17);
    picture.set(5, 5, 65432);
    picture.write(&env.path("a.tif"));
    let text = env.ok(&["info", "a.tif", "--stats"]).stdout;
    assert!(text.contains("17") && text.contains("65432"), "no minimum or maximum in:\n{text}");
    let json = env.ok(&["info", "a.tif", "--stats", "--json"]).stdout;
    let value: serde_json::Value = serde_json::from_str(&json).expect(&json);
    assert!(value.is_object());
}

#[test]
fn sample_prints_the_values_at_a_point() {
    let env = TestEnv::new();
    let mut picture = Geotiff::new(20, 20, 2, 5);
    picture.set(3, 4, 12345);
    picture.set(19, 19, 54321);
    picture.write(&env.path("a.tif"));
    // Pixel (3, 4) spans x 500030 to 500040 and y 5299950 to 5299960.
    let run = env.ok(&["sample", "a.tif", "500030.5", "5299959.5", "500199", "5299801"]);
    assert_eq!(run.stdout.matches("12345").count(), 2, "two bands:\n{}", run.stdout);
    assert_eq!(run.stdout.matches("54321").count(), 2, "two bands:\n{}", run.stdout);
    let outside = env.run(&["sample", "a.tif", "0", "0"]);
    assert!(matches!(outside.code, Some(0 | 2)), "{:?}: {}", outside.code, outside.stderr);
    assert_eq!(outside.panicked(), None);
    env.fails(&["sample", "a.tif", "500030"], 2, &[]);
}
