//! What a run survives (SPEC §8.8): kills at random moments, signals, a full disk, lost permission, a power cut.
//! The same bytes in the end, and little done twice.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::builder::Random;
use support::{NOISE, Run, Running, TestEnv};

/// The least time between two journals.
const PACE: f64 = 0.2;

/// Sources that keep one thread busy for a second or so, and the arguments for a mosaic `out` of them.
fn env_for<'a>(out: &'a str, more: &[&'a str]) -> (TestEnv, Vec<&'a str>) {
    let env = TestEnv::new();
    env.write_noise(1100, 950.0, |_| {});
    let mut args = vec!["mosaic"];
    args.extend(NOISE);
    args.extend(["-o", out, "--compress", "deflate", "--level", "9", "--json"]);
    args.extend(["-c", "64", "--threads", "1"]);
    args.extend(more);
    (env, args)
}

fn resume<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &["--resume"]].concat()
}

/// The bytes of an undisturbed run, and how long it takes.
fn whole(env: &TestEnv, args: &[&str], out: &str) -> (Vec<u8>, Duration) {
    let run = env.ok(args);
    let bytes = fs::read(env.path(out)).unwrap();
    fs::remove_file(env.path(out)).unwrap();
    (bytes, run.time)
}

/// Where the blocks end that a journal speaks of: its fourth word.
fn journal_end(journal: &[u8]) -> u64 {
    u64::from_le_bytes(journal[24..32].try_into().unwrap())
}

/// Starts a run and calls `act` as soon as a journal is there.
fn at_journal(env: &TestEnv, args: &[&str], out: &str, act: impl FnOnce(&Running)) -> Run {
    let start = Instant::now();
    let mut running = Running::start(&env.path(""), args);
    let journal = env.path(out).with_file_name(".out.tif.smalti-journal");
    while !journal.exists() && start.elapsed().as_secs() < 60 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(journal.exists(), "no journal was written");
    act(&running);
    running.wait(Duration::from_secs(60));
    running.finish(start)
}

fn signal(running: &Running, name: &str) {
    let status = Command::new("kill").args([name, &running.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn thirty_kills_repeat_little() {
    let mut random = Random(6);
    let (mut moments, mut killed, mut resumed) = (0, 0, 0);
    let (mut lost, mut allowed) = (0.0, 0.0);
    for layout in [&["--overviews"][..], &["--cog"]] {
        let (env, args) = env_for("out.tif", layout);
        let (want, time) = whole(&env, &args, "out.tif");
        let (part, journal) =
            (env.path(".out.tif.smalti-part"), env.path(".out.tif.smalti-journal"));
        let args = resume(&args);
        for moment in 0..15 {
            let start = Instant::now();
            let mut running = Running::start(&env.path(""), &args);
            let ended = running.wait(time * random.below(1000) as u32 / 1000);
            running.finish(start);
            moments += 1;
            if !ended && !env.path("out.tif").exists() {
                let end = fs::read(&journal).map_or(0, |bytes| journal_end(&bytes));
                let written = fs::metadata(&part).map_or(0, |meta| meta.len());
                lost += written.saturating_sub(end) as f64 / want.len() as f64;
                allowed += 0.1 + PACE / time.as_secs_f64();
                killed += 1;
                resumed += u64::from(env.ok(&args).number("blocks_resumed") > 0);
            }
            assert!(fs::read(env.path("out.tif")).unwrap() == want, "{layout:?}, moment {moment}");
            fs::remove_file(env.path("out.tif")).unwrap();
            assert_eq!(env.names(), NOISE);
        }
    }
    assert_eq!(moments, 30);
    assert!(killed >= 15 && resumed >= 8, "{killed} killed, {resumed} resumed");
    assert!(lost <= allowed, "{lost} outputs were written twice, at most {allowed} may be");
}

#[test]
fn signals_keep_the_work_if_asked() {
    let (env, args) = env_for("out.tif", &[]);
    let (want, _) = whole(&env, &args, "out.tif");
    for name in ["-TERM", "-INT"] {
        let run = at_journal(&env, &resume(&args), "out.tif", |running| signal(running, name));
        assert_eq!(run.code, Some(130), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("--resume goes on with it"), "{name}: {}", run.stderr);
        assert!(!env.path("out.tif").exists());
        assert!(env.ok(&resume(&args)).number("blocks_resumed") > 0, "{name}");
        assert!(fs::read(env.path("out.tif")).unwrap() == want, "{name}");
        fs::remove_file(env.path("out.tif")).unwrap();
        // Not asked, and less than a minute of work: nothing stays.
        let run = at_journal(&env, &args, "out.tif", |running| signal(running, name));
        assert_eq!(run.code, Some(130), "{name}: {}", run.stderr);
        assert_eq!(env.names(), NOISE);
    }
}

/// A file system of a given size, gone when this is.
struct Tmpfs<'a>(&'a Path);

impl Tmpfs<'_> {
    fn mount(folder: &Path, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder);
        mount.output().is_ok_and(|done| done.status.success())
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_work_is_gone_on_with() {
    for layout in [&[][..], &["--cog"]] {
        let (env, args) = env_for("disk/out.tif", layout);
        let folder = env.path("disk");
        fs::create_dir(&folder).unwrap();
        let (want, _) = whole(&env, &args, "disk/out.tif");
        if !Tmpfs::mount(&folder, &format!("size={}", want.len() * 2 / 3)) {
            eprintln!("skipped: mounting a small file system is not permitted here");
            return;
        }
        let _mounted = Tmpfs(&folder);
        let run = env.run(&resume(&args));
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("out.tif") && run.stderr.contains("space"), "{}", run.stderr);
        assert!(!env.path("disk/out.tif").exists());
        assert!(Tmpfs::mount(&folder, "remount,size=64m"));
        env.ok(&resume(&args));
        assert!(fs::read(env.path("disk/out.tif")).unwrap() == want, "{layout:?}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}

#[test]
fn permission_that_is_lost_is_an_error() {
    let (env, args) = env_for("sub/out.tif", &[]);
    let folder = env.path("sub");
    fs::create_dir(&folder).unwrap();
    let (want, _) = whole(&env, &args, "sub/out.tif");
    let allow = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o555);
    if fs::write(folder.join("probe"), b"").is_ok() {
        fs::remove_file(folder.join("probe")).unwrap();
        eprintln!("skipped: this user may write to any directory");
        return;
    }
    allow(0o755);
    let run = at_journal(&env, &resume(&args), "sub/out.tif", |_| allow(0o555));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("ermission denied"), "{}", run.stderr);
    allow(0o755);
    assert!(env.ok(&resume(&args)).number("blocks_resumed") > 0);
    assert!(fs::read(env.path("sub/out.tif")).unwrap() == want);
}

#[test]
fn a_power_cut_loses_only_what_was_not_synced() {
    let mut cases = 0;
    for layout in [&[][..], &["--cog"]] {
        let (env, args) = env_for("out.tif", layout);
        let (want, _) = whole(&env, &args, "out.tif");
        let (part, journal) =
            (env.path(".out.tif.smalti-part"), env.path(".out.tif.smalti-journal"));
        let args = resume(&args);
        for case in ["truncated", "zeroed", "an older journal", "no journal"] {
            let mut first = Vec::new();
            at_journal(&env, &args, "out.tif", |running| {
                first = fs::read(&journal).unwrap();
                // A second one comes, which the disk may not have.
                let start = Instant::now();
                while fs::read(&journal).is_ok_and(|now| now == first)
                    && start.elapsed().as_secs() < 30
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                signal(running, "-KILL");
            });
            assert!(!env.path("out.tif").exists(), "{case}: it could not be killed in time");
            let last = fs::read(&journal).unwrap();
            assert!(journal_end(&last) > journal_end(&first));
            let mut bytes = fs::read(&part).unwrap();
            let (end, older) = (journal_end(&last) as usize, journal_end(&first) as usize);
            match case {
                "truncated" => bytes.truncate(end),
                "zeroed" => bytes[end..].fill(0),
                "an older journal" => {
                    bytes[older..].fill(0);
                    fs::write(&journal, &first).unwrap();
                }
                _ => fs::remove_file(&journal).unwrap(),
            }
            fs::write(&part, bytes).unwrap();
            let resumed = env.ok(&args).number("blocks_resumed");
            assert_eq!(resumed > 0, case != "no journal", "{case}");
            assert!(fs::read(env.path("out.tif")).unwrap() == want, "{layout:?} {case}");
            fs::remove_file(env.path("out.tif")).unwrap();
            assert_eq!(env.names(), NOISE);
            cases += 1;
        }
    }
    assert_eq!(cases, 8);
}

#[test]
fn a_run_without_provenance_says_what_one_with_it_left() {
    let (env, args) = env_for("out.tif", &[]);
    fs::create_dir(env.path("sub")).unwrap();
    let with = [&args[..], &["--provenance", "sub/p.tif"]].concat();
    let left = env.path("sub/.p.tif.smalti-part");
    let kill = || at_journal(&env, &resume(&with), "out.tif", |running| signal(running, "-KILL"));
    kill();
    assert!(left.exists());
    // The same run goes on with it, and has nothing to say of it.
    let run = env.ok(&resume(&with));
    assert!(run.number("blocks_resumed") > 0);
    assert!(!run.stdout.contains("smalti-part") && !left.exists(), "{}", run.stdout);
    for name in ["out.tif", "sub/p.tif", "sub/p.json"] {
        fs::remove_file(env.path(name)).unwrap();
    }
    for args in [args.clone(), resume(&args)] {
        kill();
        let run = env.ok(&args);
        assert!(run.stdout.contains("sub/.p.tif.smalti-part"), "{}", run.stdout);
        fs::remove_file(&left).unwrap();
        fs::remove_file(env.path("out.tif")).unwrap();
        assert_eq!(env.names(), ["a.tif", "b.tif", "c.tif", "d.tif", "sub"]);
    }
}

#[test]
fn a_pipe_is_refused_at_once() {
    let env = TestEnv::new();
    assert!(Command::new("mkfifo").arg(env.path("pipe.tif")).status().unwrap().success());
    env.fails(&["info", "pipe.tif"], 2, &["pipe.tif", "no regular file"]);
    env.fails(&["verify", "pipe.tif"], 1, &[]);
    env.fails(&["mosaic", "pipe.tif", "-o", "out.tif"], 2, &["pipe.tif", "no regular file"]);
}
