//! Runs that end early and are gone on with (SPEC §8.8): the same bytes in the end, whatever ended them, and
//! nothing trusted that is not the same request's.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::builder::Geotiff;
use support::{NOISE, Run, Running, TestEnv};

/// Sources that keep the program busy for a while.
fn env_with_sources() -> (TestEnv, Vec<&'static str>) {
    let env = TestEnv::new();
    env.write_noise(1000, 900.0, |picture| {
        picture.nodata = Some("0".into());
        for hole in 0..200 {
            picture.set(hole * 3, hole * 4, 0);
        }
    });
    let mut args = vec!["mosaic"];
    args.extend(NOISE);
    args.extend(["-o", "out.tif", "--compress", "deflate", "--level", "9", "--json"]);
    (env, args)
}

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

fn output(env: &TestEnv) -> Vec<u8> {
    fs::read(env.path("out.tif")).expect("there is an output")
}

/// The undisturbed output, and how long it takes.
fn whole(env: &TestEnv, args: &[&str]) -> (Vec<u8>, Duration) {
    let run = env.ok(args);
    let bytes = output(env);
    fs::remove_file(env.path("out.tif")).unwrap();
    (bytes, run.time)
}

/// Starts a run, ends it by SIGKILL after `delay`; `None` if it was done by then.
fn kill_after(env: &TestEnv, args: &[&str], delay: Duration) -> Option<Run> {
    let start = Instant::now();
    let mut running = Running::start(&env.path(""), args);
    let killed = !running.wait(delay);
    let run = running.finish(start);
    (killed && !env.path("out.tif").exists()).then_some(run)
}

#[test]
fn killed_at_any_moment_the_bytes_are_the_same() {
    let (env, args) = env_with_sources();
    let (mut killed, mut resumed) = (0, 0);
    for layout in [
        &["-c", "64"][..],
        &["--cog", "-c", "64", "--overview-resampling", "cubic"],
        &["--overviews", "-c", "128", "--mask"],
    ] {
        let args = with(&args, layout);
        let (want, time) = whole(&env, &args);
        let args = with(&args, &["--resume"]);
        for moment in 0..8u32 {
            let mut kills = 0;
            // Twice in one run, at other moments.
            for part in [8, 11] {
                kills += u32::from(kill_after(&env, &args, time * (moment + 1) / part).is_some());
            }
            killed += kills;
            if !env.path("out.tif").exists() {
                resumed += u64::from(env.ok(&args).number("blocks_resumed") > 0);
            }
            assert!(output(&env) == want, "{layout:?}, moment {moment}");
            fs::remove_file(env.path("out.tif")).unwrap();
            assert_eq!(env.names(), ["a.tif", "b.tif", "c.tif", "d.tif"]);
        }
    }
    assert!(killed >= 12 && resumed >= 6, "{killed} killed, {resumed} resumed");
}

/// A run that was killed with work in its journal; what it would have become.
fn killed(args: &[&str], env: &TestEnv) -> Vec<u8> {
    let (want, time) = whole(env, args);
    let args = with(args, &["--resume"]);
    for part in [70, 80, 60, 90, 50] {
        if kill_after(env, &args, time * part / 100).is_some()
            && env.path(".out.tif.smalti-journal").exists()
        {
            return want;
        }
        let _ = fs::remove_file(env.path("out.tif"));
    }
    panic!("no run could be killed in time");
}

#[test]
fn other_options_inputs_and_damage_begin_anew() {
    let (env, args) = env_with_sources();
    let args = with(&args, &["--cog", "-c", "64"]);
    let (part, journal) = (env.path(".out.tif.smalti-part"), env.path(".out.tif.smalti-journal"));
    let damage: [(&str, &dyn Fn()); 6] = [
        ("a byte of a block", &|| flip(&part, 100_000)),
        ("a byte of the tables", &|| flip(&part, 24)),
        ("a byte of the journal", &|| flip(&journal, -20)),
        ("a short part", &|| truncate(&part, 5000)),
        ("a short journal", &|| truncate(&journal, 100)),
        ("a foreign part", &|| fs::write(&part, b"this is not ours").unwrap()),
    ];
    let mut cases = 0;
    for (name, spoil) in damage {
        let want = killed(&args, &env);
        spoil();
        let run = env.ok(&with(&args, &["--resume"]));
        assert_eq!(run.number("blocks_resumed"), 0, "{name}");
        assert!(run.stdout.contains("begins anew"), "{name}: {}", run.stdout);
        assert!(output(&env) == want, "{name}");
        fs::remove_file(env.path("out.tif")).unwrap();
        cases += 1;
    }
    // Other options.
    killed(&args, &env);
    let other = with(&args, &["--sparse", "--level", "1"]);
    let other: Vec<&str> =
        other.into_iter().filter(|a| !["--level", "9", "1"].contains(a)).collect();
    let run = env.ok(&with(&other, &["--resume"]));
    assert_eq!(run.number("blocks_resumed"), 0);
    fs::remove_file(env.path("out.tif")).unwrap();
    // A changed input.
    killed(&args, &env);
    Geotiff::new(1000, 1000, 2, 77).write(&env.path("a.tif"));
    let run = env.ok(&with(&args, &["--resume"]));
    assert_eq!(run.number("blocks_resumed"), 0);
    let resumed = output(&env);
    fs::remove_file(env.path("out.tif")).unwrap();
    assert!(resumed == whole(&env, &args).0);
    assert_eq!(cases, 6);
}

fn flip(path: &Path, at: i64) {
    let mut bytes = fs::read(path).unwrap();
    let at = if at < 0 { bytes.len() as i64 + at } else { at };
    bytes[usize::try_from(at).unwrap()] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path, len: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..len.min(bytes.len() / 2)]).unwrap();
}

#[test]
fn a_run_without_resume_replaces_what_was_left() {
    let (env, args) = env_with_sources();
    let args = with(&args, &["-c", "64"]);
    let want = killed(&args, &env);
    let run = env.ok(&args);
    assert_eq!(run.number("blocks_resumed"), 0);
    assert!(output(&env) == want);
    assert_eq!(env.names(), ["a.tif", "b.tif", "c.tif", "d.tif", "out.tif"]);
}

/// Runs the program under a limit on the size of files.
#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_can_be_lifted() {
    let (env, args) = env_with_sources();
    for layout in [&["-c", "64"][..], &["--cog", "-c", "64"]] {
        let args = with(&args, layout);
        let (want, _) = whole(&env, &args);
        let quoted: Vec<String> = args.iter().map(|a| format!("'{a}'")).collect();
        let line = format!(
            "ulimit -f {}; exec '{}' {} --resume",
            want.len() / 1024 * 2 / 3,
            env!("CARGO_BIN_EXE_smalti"),
            quoted.join(" ")
        );
        let mut shell = Command::new("bash");
        let run = shell.args(["-c", &line]).current_dir(env.path("")).output().unwrap();
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{text}");
        assert!(text.contains("out.tif") && text.contains("too large"), "{text}");
        assert!(!env.path("out.tif").exists());
        env.ok(&with(&args, &["--resume"]));
        assert!(output(&env) == want);
        fs::remove_file(env.path("out.tif")).unwrap();
        assert_eq!(env.names(), ["a.tif", "b.tif", "c.tif", "d.tif"]);
    }
}

#[test]
fn a_directory_that_vanishes_is_an_error() {
    let (env, args) = env_with_sources();
    fs::create_dir(env.path("sub")).unwrap();
    let args: Vec<&str> =
        args.iter().map(|a| if *a == "out.tif" { "sub/out.tif" } else { *a }).collect();
    let args = with(&args, &["-c", "64", "--resume"]);
    let start = Instant::now();
    let mut running = Running::start(&env.path(""), &args);
    while !env.path("sub/.out.tif.smalti-part").exists() && start.elapsed().as_secs() < 60 {
        std::thread::yield_now();
    }
    fs::remove_dir_all(env.path("sub")).unwrap();
    assert!(running.wait(Duration::from_secs(120)));
    let run = running.finish(start);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("sub/out.tif"), "{}", run.stderr);
}
