//! What the user names → an ordered list of paths: files, directories, patterns, lists.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, InputError, Result, ResultExt};

/// Deepest directory below one that is named.
const MAX_DEPTH: usize = 64;

/// Expands inputs, in order (SPEC §3.1): a directory to its `*.tif` and `*.tiff` (any case, recursive,
/// sorted bytewise), `@list.txt` to the lines of the file, a pattern with `*`, `?` or `[` that is no
/// file to its matches, anything else to itself.
///
/// # Errors
/// [`InputError::NoInputs`] if one of them gives nothing; I/O errors of directories and lists;
/// [`crate::error::Unsupported`] for what is more than a path, as [`super::catalog::gather`] takes it.
/// Files are not opened: a missing one is found later, together with all others.
pub fn discover(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let entries = super::catalog::gather(inputs, None, None)?.list;
    let mut paths = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.overrides.is_some() || entry.saved.is_some() {
            let hint = "open it by catalog::gather and open::open_entries";
            return Err(Error::unsupported("more than a path", hint).with_path(&entry.path));
        }
        paths.push(entry.path);
    }
    Ok(paths)
}

/// Expands one input that is no list.
pub(super) fn expand(input: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let text = input.to_string_lossy();
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
