//! Paths of sources as a descriptor names them: relative to its own folder, or absolute.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result, ResultExt};

/// Names paths as a file in one folder should.
#[derive(Debug)]
pub struct Namer {
    /// The folder of the descriptor, with links resolved; `None` for absolute names.
    folder: Option<PathBuf>,
    /// Folders of sources, with links resolved: most sources share a few.
    folders: HashMap<PathBuf, PathBuf>,
}

impl Namer {
    /// For a descriptor at `target`, which need not exist; its folder must.
    ///
    /// # Errors
    /// I/O errors of the folder.
    pub fn new(target: &Path, absolute: bool) -> Result<Namer> {
        let folder = match absolute {
            true => None,
            false => Some(fs::canonicalize(folder_of(target)).at(target)?),
        };
        Ok(Namer { folder, folders: HashMap::new() })
    }

    /// The name of a source, and whether it is relative.
    ///
    /// # Errors
    /// [`crate::error::Unsupported`] for a path that is not UTF-8; I/O errors of its folder.
    pub fn name(&mut self, path: &Path) -> Result<(String, bool)> {
        let folder = folder_of(path);
        if !self.folders.contains_key(folder) {
            let real = fs::canonicalize(folder).at(path)?;
            self.folders.insert(folder.to_path_buf(), real);
        }
        let real = &self.folders[folder];
        let full = real.join(path.file_name().unwrap_or_default());
        let name = self.folder.as_ref().and_then(|base| relative(base, &full));
        let is_relative = name.is_some();
        let text = name.unwrap_or(full).into_os_string().into_string();
        let text = text.map_err(|_| {
            let feature = "a path that is not UTF-8 in a descriptor file";
            Error::unsupported(feature, "rename the file").with_path(path)
        })?;
        Ok((text, is_relative))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The way from one folder to a file, both absolute and without links; `None` if there is none
/// (another drive).
fn relative(base: &Path, file: &Path) -> Option<PathBuf> {
    let (mut base, mut rest) = (base.components(), file.components());
    let (mut base_ahead, mut rest_ahead) = (base.clone(), rest.clone());
    while let (Some(a), Some(b)) = (base_ahead.next(), rest_ahead.next()) {
        if a != b {
            break;
        }
        (base, rest) = (base_ahead.clone(), rest_ahead.clone());
    }
    let mut way = PathBuf::new();
    for component in base {
        match component {
            Component::Normal(_) => way.push(".."),
            _ => return None,
        }
    }
    if matches!(rest.clone().next(), Some(Component::Prefix(_) | Component::RootDir)) {
        return None;
    }
    way.extend(rest);
    Some(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn ways_go_up_and_down() {
        for (base, file, way) in [
            ("/a/b", "/a/b/c.tif", "c.tif"),
            ("/a/b", "/a/c/d.tif", "../c/d.tif"),
            ("/", "/x.tif", "x.tif"),
            ("/a/bc", "/a/b/c.tif", "../b/c.tif"),
            ("/x/y", "/a.tif", "../../a.tif"),
        ] {
            assert_eq!(
                relative(Path::new(base), Path::new(file)),
                Some(way.into()),
                "{base} {file}"
            );
        }
    }

    #[test]
    fn names_lead_back_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("in");
        fs::create_dir(&inside).unwrap();
        let file = inside.join("a.tif");
        fs::write(&file, b"x").unwrap();
        let target = folder.path().join("m.json");
        let mut namer = Namer::new(&target, false).unwrap();
        assert_eq!(namer.name(&file).unwrap(), ("in/a.tif".into(), true));
        let mut namer = Namer::new(&target, true).unwrap();
        let (name, is_relative) = namer.name(&file).unwrap();
        assert!(!is_relative && Path::new(&name).is_absolute());
        assert_eq!(fs::read(name).unwrap(), b"x");
    }
}
