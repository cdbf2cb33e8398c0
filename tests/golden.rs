//! One trial per folder of `fixtures/golden` and `fixtures/bands`: runs the program with the case's arguments and compares
//! its output with `expected.tif`, which GDAL or a brute force in numpy made (see `case.toml`).

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::reader::{self, Picture};
use support::{TestEnv, fixtures, same_nodata, same_pixels, same_transform};

/// Folders of cases, and how many there are: a case that is lost, or not counted here, fails the run.
const FOLDERS: [(&str, usize); 2] = [("golden", 113), ("bands", 59)];
#[rustfmt::skip]
const KEYS: [&str; 12] = [
    "also", "args", "commands", "gdal_differs", "ignore", "lacks", "metadata", "oracle", "reason",
    "says", "summary", "tolerance",
];

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let cases = |(folder, count): (&str, usize)| {
        let found: Vec<PathBuf> = std::fs::read_dir(fixtures(folder))
            .expect("the folder is there")
            .map(|entry| entry.expect("it can be listed").path())
            .collect();
        assert_eq!(found.len(), count, "cases in fixtures/{folder}");
        found
    };
    let mut folders: Vec<PathBuf> = FOLDERS.into_iter().flat_map(cases).collect();
    folders.sort();
    let trials: Vec<Trial> = folders
        .iter()
        .map(|folder| {
            let folder = folder.clone();
            let name = folder.file_name().expect("a folder has a name").to_string_lossy();
            Trial::test(name.into_owned(), move || run_case(&folder).map_err(Failed::from))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A case file: `key = value` lines whose values are JSON, which is TOML too.
fn read_case(path: &Path) -> Result<BTreeMap<String, Value>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut case = BTreeMap::new();
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (key, value) = line.split_once(" = ").ok_or_else(|| format!("no ` = ` in {line}"))?;
        if !KEYS.contains(&key) {
            return Err(format!("unknown key {key} in {}", path.display()));
        }
        let value = serde_json::from_str(value).map_err(|e| format!("{key}: {e}"))?;
        case.insert(key.to_owned(), value);
    }
    Ok(case)
}

fn strings(case: &BTreeMap<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let Some(value) = case.get(key) else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(|| format!("{key} is not a list"))?;
    list.iter().map(|v| v.as_str().map(str::to_owned).ok_or(format!("{key}: {v}"))).collect()
}

/// Every file of a folder must be the case, the expected picture or an argument.
fn check_files(folder: &Path, args: &[String]) -> Result<(), String> {
    for entry in folder.read_dir().map_err(|e| e.to_string())? {
        let name = entry.map_err(|e| e.to_string())?.file_name().to_string_lossy().into_owned();
        let known = name == "case.toml" || name == "expected.tif" || args.contains(&name);
        if !known {
            return Err(format!("{name} has no meaning in this case"));
        }
    }
    Ok(())
}

fn run_case(folder: &Path) -> Result<(), String> {
    let case = read_case(&folder.join("case.toml"))?;
    let args = strings(&case, "args")?;
    let ignore = strings(&case, "ignore")?;
    check_files(folder, &args)?;
    for key in ["summary", "oracle", "reason"] {
        let text = case.get(key).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            return Err(format!("case.toml has no {key}"));
        }
    }
    if case.get("tolerance").and_then(Value::as_u64) != Some(0) {
        return Err("these cases are exact; kernels need a harness that can tolerate".to_owned());
    }
    let want = reader::read(&folder.join("expected.tif"))?;

    let env = TestEnv::new();
    let out = env.path("out.tif");
    let mut line = vec!["mosaic".to_owned()];
    line.extend(args);
    line.extend(["-o".to_owned(), out.to_string_lossy().into_owned()]);
    let run = env.run_in(folder, &line);
    if run.code != Some(0) || run.panicked().is_some() {
        return Err(format!("smalti {}\nexit code {:?}\n{}", line.join(" "), run.code, run.stderr));
    }
    if env.names() != ["out.tif"] {
        return Err(format!("left behind: {:?}", env.names()));
    }
    let got = reader::read(&out)?;

    let checked = |part: &str| !ignore.iter().any(|i| i == part);
    let mut faults = Vec::new();
    faults.extend(same_pixels(&got, &want).err());
    faults.extend(same_transform(&got, &want).err());
    if checked("nodata") {
        faults.extend(same_nodata(&got, &want).err());
    }
    if checked("crs") && got.epsg != want.epsg {
        faults.push(format!("EPSG {:?}, expected {:?}", got.epsg, want.epsg));
    }
    if checked("mask") && got.mask != want.mask {
        faults.push(mask_fault(got.mask.as_deref(), want.mask.as_deref()));
    }
    if got.alpha != want.alpha {
        faults.push(format!("alpha {}, expected {}", got.alpha, want.alpha));
    }
    for part in strings(&case, "also")? {
        faults.extend(same_tag(&got, &want, &part).err());
    }
    let metadata = got.tags.get(&42112).map_or("", |field| field.text.as_str());
    for (key, text, wanted) in
        [("metadata", metadata, true), ("lacks", metadata, false), ("says", &run.stderr, true)]
    {
        for words in strings(&case, key)? {
            if text.contains(&words) != wanted {
                let not = if wanted { "does not hold" } else { "holds" };
                faults.push(format!("{key}: {not} {words:?}: {text}"));
            }
        }
    }
    if line.iter().any(|a| a == "--sparse") && got.absent_blocks == 0 {
        faults.push("--sparse stored every block".to_owned());
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("smalti {}\n{}\n{}", line.join(" "), faults.join("\n"), run.stderr))
}

/// Compares what the tags say of colours.
fn same_tag(got: &Picture, want: &Picture, part: &str) -> Result<(), String> {
    let tag = match part {
        "photometric" => 262,
        "palette" => 320,
        "extra_samples" => 338,
        other => return Err(format!("also: {other} is not known")),
    };
    let values = |picture: &Picture| picture.tags.get(&tag).map(|field| field.ints.clone());
    let (got, want) = (values(got), values(want));
    if got == want { Ok(()) } else { Err(format!("{part} {got:?}, expected {want:?}")) }
}

fn mask_fault(got: Option<&[bool]>, want: Option<&[bool]>) -> String {
    match (got, want) {
        (Some(got), Some(want)) => {
            let count = got.iter().zip(want).filter(|(g, w)| g != w).count();
            let first = got.iter().zip(want).position(|(g, w)| g != w);
            format!("the mask differs in {count} pixels, the first is number {first:?}")
        }
        (got, want) => format!("mask: {}, expected: {}", got.is_some(), want.is_some()),
    }
}
