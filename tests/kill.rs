//! SIGKILL at any moment: an old output stays whole, a new one is whole or absent (SPEC 8.7).

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::builder::{Codec, Geotiff};
use support::{NOISE, Running, TestEnv, reader, same_pixels};

/// Moments at which a run is killed.
const MOMENTS: u32 = 10;

/// Sources that keep the program busy for a while.
fn env_with_sources() -> (TestEnv, Vec<&'static str>) {
    let env = TestEnv::new();
    env.write_noise(1000, 900.0, |_| {});
    let mut args = vec!["mosaic"];
    args.extend(NOISE);
    args.extend(["-o", "out.tif", "-c", "64", "--compress", "lzw", "--threads", "2"]);
    (env, args)
}

/// Runs to the end, returns how long that takes and what the output holds.
fn undisturbed(env: &TestEnv, args: &[&str]) -> (Duration, Vec<u8>) {
    let run = env.ok(args);
    let bytes = fs::read(env.path("out.tif")).expect("a run that ends well leaves an output");
    (run.time, bytes)
}

/// Starts a run and kills it after `delay`; true if it was still running.
fn kill_after(env: &TestEnv, args: &[&str], delay: Duration) -> bool {
    let start = Instant::now();
    let mut running = Running::start(&env.path(""), args);
    let killed = !running.wait(delay);
    let run = running.finish(start);
    if killed {
        // A run that ends by itself in the instant of the kill has an exit code.
        assert!(matches!(run.code, None | Some(0)), "{:?}: {}", run.code, run.stderr);
    }
    killed
}

#[test]
fn killed_run_leaves_no_output() {
    let (env, args) = env_with_sources();
    let (time, whole) = undisturbed(&env, &args);
    fs::remove_file(env.path("out.tif")).unwrap();
    let mut killed = 0;
    for moment in 0..MOMENTS {
        killed += u32::from(kill_after(&env, &args, time * moment / MOMENTS));
        if let Ok(bytes) = fs::read(env.path("out.tif")) {
            assert!(bytes == whole, "an output that is not whole, moment {moment}");
            fs::remove_file(env.path("out.tif")).unwrap();
        }
    }
    assert!(killed >= MOMENTS / 2, "only {killed} runs were killed while running");
    // What killed runs left behind must not disturb the next one, and it must clean up.
    let (_, again) = undisturbed(&env, &args);
    assert!(again == whole, "a run after kills gives other bytes");
    assert_eq!(env.names(), ["a.tif", "b.tif", "c.tif", "d.tif", "out.tif"]);
}

#[test]
fn killed_overwrite_leaves_the_old_content_or_the_new() {
    let (env, mut args) = env_with_sources();
    let (time, new) = undisturbed(&env, &args);
    let old = b"the old content, whatever it was".to_vec();
    args.push("--overwrite");
    let (mut killed, mut kept) = (0, 0);
    for moment in 0..MOMENTS {
        fs::write(env.path("out.tif"), &old).unwrap();
        killed += u32::from(kill_after(&env, &args, time * moment / MOMENTS));
        let found = fs::read(env.path("out.tif")).expect("the name is never empty");
        kept += u32::from(found == old);
        assert!(found == old || found == new, "neither old nor new, moment {moment}");
    }
    assert!(killed >= MOMENTS / 2, "only {killed} runs were killed while running");
    assert!(kept > 0, "no kill came in time to keep the old content");
    let (_, again) = undisturbed(&env, &args);
    assert!(again == new, "a run after kills gives other bytes");
}

#[cfg(unix)]
#[test]
fn inputs_are_never_written_to() {
    use std::os::unix::fs::PermissionsExt;
    let (env, args) = env_with_sources();
    let before: Vec<Vec<u8>> = ["a.tif", "b.tif", "c.tif", "d.tif"]
        .iter()
        .map(|n| fs::read(env.path(n)).unwrap())
        .collect();
    for name in ["a.tif", "b.tif", "c.tif", "d.tif"] {
        fs::set_permissions(env.path(name), fs::Permissions::from_mode(0o444)).unwrap();
    }
    let (time, _) = undisturbed(&env, &args);
    fs::remove_file(env.path("out.tif")).unwrap();
    kill_after(&env, &args, time / 2);
    for (name, bytes) in ["a.tif", "b.tif", "c.tif", "d.tif"].iter().zip(before) {
        assert!(fs::read(env.path(name)).unwrap() == bytes, "{name} changed");
    }
}

/// The sources of these tests are right: the mosaic of one is its own pixels.
#[test]
fn sources_of_these_tests_are_right() {
    let env = TestEnv::new();
    let mut picture = Geotiff::new(100, 70, 2, 3);
    picture.codec = Codec::Deflate;
    picture.write(&env.path("a.tif"));
    env.ok(&["mosaic", "a.tif", "-o", "out.tif"]);
    let (a, out) = (reader::read(&env.path("a.tif")).unwrap(), env.picture("out.tif"));
    assert_eq!(a.samples, picture.samples);
    same_pixels(&out, &a).unwrap();
}
