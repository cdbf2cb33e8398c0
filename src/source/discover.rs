//! What the user names → an ordered list of paths: files, directories, patterns, lists.

use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, InputError, Result, ResultExt};

/// Deepest directory below one that is named.
const MAX_DEPTH: usize = 64;

/// Expands inputs, in order (SPEC §3.1): a directory to its `*.tif` and `*.tiff` (any case, recursive,
/// sorted bytewise), `@list.txt` to the lines of the file, a pattern with `*`, `?` or `[` that is no
/// file to its matches, anything else to itself.
///
/// # Errors
/// [`InputError::NoInputs`] if one of them gives nothing; I/O errors of directories and lists. Files
/// are not opened: a missing one is found later, together with all others.
pub fn discover(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for input in inputs {
        expand(input, &mut paths)?;
    }
    if paths.is_empty() {
        return Err(InputError::NoInputs("none were named".into()).into());
    }
    Ok(paths)
}

fn expand(input: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let text = input.to_string_lossy();
    if let Some(list) = text.strip_prefix('@').filter(|_| !input.exists()) {
        return read_list(Path::new(list), paths);
    }
    if input.is_dir() {
        let before = paths.len();
        walk(input, 0, &mut HashSet::new(), paths)?;
        if paths.len() == before {
            let reason = "the directory holds no *.tif or *.tiff".into();
            return Err(Error::new(InputError::NoInputs(reason)).with_path(input));
        }
        paths[before..]
            .sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
        return Ok(());
    }
    if text.contains(['*', '?', '[']) && !input.exists() {
        return expand_pattern(&text, input, paths);
    }
    paths.push(input.to_path_buf());
    Ok(())
}

/// Appends the paths that a list file names: one per line; blank lines and `#` are skipped; `-` is
/// standard input. Relative paths are relative to the working directory, as on the command line.
///
/// # Errors
/// I/O errors; [`InputError::NoInputs`] if it names none.
pub fn read_list(list: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let mut text = String::new();
    if list == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).at(Path::new("standard input"))?;
    } else {
        text = fs::read_to_string(list).at(list)?;
    }
    let before = paths.len();
    // Lines may end in LF, CR LF, or CR alone (GDAL #3389); a byte order mark may come first.
    let lines = text.trim_start_matches('\u{feff}').split(['\n', '\r']);
    paths.extend(lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(
        |line| {
            let line = line.trim();
            PathBuf::from(line.strip_prefix('"').and_then(|l| l.strip_suffix('"')).unwrap_or(line))
        },
    ));
    if paths.len() == before {
        let reason = "the list names no file".into();
        return Err(Error::new(InputError::NoInputs(reason)).with_path(list));
    }
    Ok(())
}

fn walk(
    directory: &Path,
    depth: usize,
    seen: &mut HashSet<PathBuf>,
    paths: &mut Vec<PathBuf>,
) -> Result<()> {
    // Links may lead in circles; each directory is walked once.
    if !seen.insert(fs::canonicalize(directory).at(directory)?) {
        return Ok(());
    }
    if depth > MAX_DEPTH {
        let reason =
            format!("directories are nested more than {MAX_DEPTH} deep (a loop of links?)");
        return Err(Error::new(InputError::NoInputs(reason)).with_path(directory));
    }
    for entry in fs::read_dir(directory).at(directory)? {
        let path = entry.at(directory)?.path();
        let extension = path.extension().map(|e| e.to_ascii_lowercase());
        // Our own unfinished outputs end in `.smalti-part` and so are never inputs.
        if path.is_dir() {
            walk(&path, depth + 1, seen, paths)?;
        } else if extension.is_some_and(|e| e == "tif" || e == "tiff") {
            paths.push(path);
        }
    }
    Ok(())
}

fn expand_pattern(pattern: &str, input: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let bad = |reason: String| Error::new(InputError::NoInputs(reason)).with_path(input);
    let matches = glob::glob(pattern).map_err(|error| bad(format!("the pattern: {error}")))?;
    let before = paths.len();
    for path in matches {
        let path = path.map_err(|error| {
            let path = error.path().to_path_buf();
            Error::from(std::io::Error::from(error)).with_path(&path)
        })?;
        paths.push(path);
    }
    if paths.len() == before {
        return Err(bad("nothing matches the pattern".into()));
    }
    Ok(())
}
