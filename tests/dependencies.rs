//! The default tree compiles no C and links no foreign library: read from `cargo tree`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::process::Command;

/// Build helpers that compile or look for C.
const BANNED: &[&str] = &["cc", "cmake", "bindgen", "pkg-config", "vcpkg", "nasm-rs"];

/// Kernel constants only; nothing is linked.
const ALLOWED_SYS: &[&str] = &["linux-raw-sys"];

/// Names of all crates that `cargo tree` lists for the default features, smalti included.
fn tree(more: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--quiet",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(Into::into)
        .collect()
}

/// The crates of a tree that need a C compiler or a C library.
fn foreign(crates: &BTreeSet<String>) -> Vec<&str> {
    let names = crates.iter().map(String::as_str);
    names
        .filter(|name| {
            BANNED.contains(name) || name.ends_with("-sys") && !ALLOWED_SYS.contains(name)
        })
        .collect()
}

fn assert_pure(more: &[&str]) {
    let crates = tree(more);
    assert!(crates.contains("smalti") && 20 < crates.len(), "{more:?}: saw only {crates:?}");
    assert_eq!(foreign(&crates), Vec::<&str>::new(), "{more:?}");
}

#[test]
fn the_static_build_has_no_c() {
    assert_pure(&["--target", "x86_64-unknown-linux-musl"]);
}

#[test]
fn the_host_build_has_no_c() {
    assert_pure(&[]);
}

#[test]
fn a_foreign_crate_is_found() {
    let crates = ["smalti", "cc", "zstd-sys", "linux-raw-sys", "ccfits"].map(str::to_owned);
    assert_eq!(foreign(&BTreeSet::from(crates)), ["cc", "zstd-sys"]);
}
