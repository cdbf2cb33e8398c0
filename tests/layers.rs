//! The direction of imports, the homes of threads, files and printing, and the repository's root.
//!
//! The modules stand in one total order and a module names only modules to its left. The sources are read as
//! text: a path `crate::name` (or `smalti::name` in the program, which sees the library from outside) in
//! code, unit tests included, is an edge; comments are left out. `lib.rs` and `main.rs` are free.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first.
#[rustfmt::skip]
const ORDER: &[&str] = &[
    "error", "digest", "observer", "ordered", "io", "sample", "geometry", "raster",
    "crs", "grid", "codec", "tiff",
    "source", "resample", "warp", "composite", "mosaic", "engine", "cli",
];

/// Last module of the vocabulary (layer 0).
const VOCABULARY_END: &str = "raster";

/// Modules that see the vocabulary only.
const PURE: &[&str] = &["resample", "composite", "codec"];

/// Parts of the standard library that few modules may name; unit tests are free of this.
const STD_HOMES: &[(&str, &[&str])] = &[("fs", &["io", "source", "cli"]), ("thread", &["ordered"])];

/// Words that few modules may hold, unit tests included.
const WORD_HOMES: &[(&str, &[&str])] = &[
    ("unsafe", &["io"]),
    ("print!", &["cli", "main"]),
    ("println!", &["cli", "main"]),
    ("eprint!", &["cli", "main"]),
    ("eprintln!", &["cli", "main"]),
];

/// One source file: its module, its path for messages, its code without comments.
struct Source {
    module: String,
    path: PathBuf,
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inner = path.strip_prefix(&src).unwrap();
                let first = inner.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
                let code = code_of(&fs::read_to_string(&path).unwrap());
                found.push(Source { module, path, code });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The text without line comments, documentation included; `//` inside a string ends its line too, which
/// loses nothing that we look for.
fn code_of(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first names that `code` puts after one of `starts`, grouped imports included.
fn names_after(code: &str, starts: &[&str]) -> BTreeSet<String> {
    let words = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let dense = words.replace(":: ", "::").replace(" ::", "::");
    let mut found = BTreeSet::new();
    for start in starts {
        for (index, _) in dense.match_indices(start) {
            if !dense[..index].ends_with(is_word) {
                found.extend(heads(&dense[index + start.len()..]));
            }
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The modules that `code` names by `crate::…` or `smalti::…`.
fn edges(code: &str) -> BTreeSet<String> {
    names_after(code, &["crate::", "smalti::"])
}

/// First names of a path or of a `{…}` group of paths.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|&c| is_word(c)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut names, mut item) = (1, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                names.push(name(item.trim()));
                item.clear();
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
        item.push(c);
    }
    names.push(name(item.trim()));
    names
}

/// What is wrong with the files under this order, and the number of edges that were looked at.
fn check(sources: &[Source], order: &[&str]) -> (Vec<String>, usize) {
    let place = |name: &str| order.iter().position(|&module| module == name);
    let vocabulary_end = place(VOCABULARY_END).unwrap();
    let (mut faults, mut seen) = (Vec::new(), 0);
    for source in sources.iter().filter(|source| !matches!(source.module.as_str(), "lib" | "main"))
    {
        let path = source.path.display();
        let Some(here) = place(&source.module) else {
            faults.push(format!("{path}: module `{}` has no place in the order", source.module));
            continue;
        };
        for target in edges(&source.code) {
            // Macros and re-exports at the crate's root are names, not modules.
            let Some(there) = place(&target).filter(|&there| there != here) else { continue };
            seen += 1;
            if here < there {
                faults.push(format!("{path}: `{}` must not see `{target}`", source.module));
            }
            if PURE.contains(&source.module.as_str()) && vocabulary_end < there {
                faults.push(format!(
                    "{path}: `{}` sees the vocabulary only, not `{target}`",
                    source.module
                ));
            }
        }
    }
    (faults, seen)
}

/// Uses of threads, files, printing and `unsafe` outside their homes.
fn strays(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let here = source.module.as_str();
        let tests =
            source.code.rsplit_once("#[cfg(test)]").filter(|(_, tail)| tail.contains("mod tests"));
        let product = tests.map_or(source.code.as_str(), |(product, _)| product);
        let std_names = names_after(product, &["std::"]);
        let strays = STD_HOMES.iter().filter(|(name, _)| std_names.contains(*name));
        let words: BTreeSet<&str> = source.code.split(|c: char| !is_word(c) && c != '!').collect();
        let strays = strays.chain(WORD_HOMES.iter().filter(|(word, _)| words.contains(word)));
        for (name, homes) in strays.filter(|(_, homes)| !homes.contains(&here)) {
            faults.push(format!("{}: `{name}` belongs to {homes:?}", source.path.display()));
        }
    }
    faults
}

#[test]
fn modules_import_only_lower_modules() {
    let sources = sources();
    let (faults, seen) = check(&sources, ORDER);
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(MINIMUM_EDGES <= seen, "saw only {seen} edges: the scanner is broken");
}

/// Far below the true number, far above what a broken scanner would find.
const MINIMUM_EDGES: usize = 3;

#[test]
fn a_turned_order_is_refused() {
    let turned: Vec<&str> = ORDER.iter().rev().copied().collect();
    let (faults, seen) = check(&sources(), &turned);
    assert!(seen <= faults.len(), "{seen} edges, but only {} faults", faults.len());
    assert!(!faults.is_empty());
}

#[test]
fn threads_files_printing_and_unsafe_stay_at_home() {
    let faults = strays(&sources());
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_scanner_sees_what_it_should() {
    let code = "
        use crate::{error::Error, grid::{Grid, Size}, tiff};
        // crate::engine
        fn f<'a>() -> crate :: io::ReadAt { g(crate::codec::lzw(), &mycrate::warp()) }
    ";
    let seen = edges(&code_of(code));
    let wanted = ["codec", "error", "grid", "io", "tiff"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    let stray = |module: &str, code: &str| {
        strays(&[Source { module: module.into(), path: "x.rs".into(), code: code_of(code) }]).len()
    };
    assert_eq!(stray("grid", "use std::fs;"), 1);
    assert_eq!(stray("grid", "use std::{cmp, fs::File};"), 1);
    assert_eq!(stray("io", "use std::fs; unsafe { x() }"), 0);
    assert_eq!(stray("grid", "unsafe { x() }"), 1);
    assert_eq!(stray("grid", "eprintln!(\"x\")"), 1);
    assert_eq!(stray("engine", "std::thread::spawn(f)"), 1);
    assert_eq!(
        stray("engine", "// std::thread::spawn(f)\n#[cfg(test)]\nmod tests { use std::fs; }"),
        0
    );
}

#[test]
fn the_root_holds_what_it_should() {
    #[rustfmt::skip]
    const ALLOWED: &[&str] = &[
        "Cargo.toml", "Cargo.lock", "src", "fixtures", "tests", "benches",
        "README.md", "LICENSE-MIT", "LICENSE-APACHE",
    ];
    let names: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let wanted: BTreeSet<String> = ALLOWED.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(names, wanted, "the root holds {names:?}");
}
