//! A pool of open files, bounded below the process's limit whatever the number of sources.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, FormatError, Result, ResultExt};
use crate::io;
use crate::source::open::{stamp_of, with_suffix};
use crate::source::{FileStamp, Source};
use crate::tiff::FileOf;

/// Open files of sources, least recently used closed first.
#[derive(Debug)]
pub struct FilePool {
    capacity: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<(u32, FileOf), (Handle, u64)>,
    clock: u64,
}

/// An open source file.
#[derive(Debug, Clone)]
pub struct Handle {
    /// The file, open for reading.
    pub file: Arc<File>,
}

impl FilePool {
    /// A pool that leaves room for `threads` files in use beyond it.
    pub fn new(threads: usize) -> FilePool {
        let capacity = io::handle_limit().saturating_sub(threads).max(1);
        FilePool { capacity, open: Mutex::default() }
    }

    /// A file of source number `id`, opened if need be.
    ///
    /// # Errors
    /// [`FormatError::Changed`] if it is not as it was when its headers were read; I/O errors.
    pub fn get(&self, id: u32, which: FileOf, source: &Source) -> Result<Handle> {
        let id = (id, which);
        if let Some(handle) = self.lookup(id) {
            return Ok(handle);
        }
        let path = &*match which {
            FileOf::Main => Cow::Borrowed(source.path()),
            _ => Cow::Owned(with_suffix(source.path(), which.suffix())),
        };
        let beside = source.beside.iter().find(|(file, _)| *file == which);
        let stamp = beside.map_or(&source.stamp, |(_, stamp)| stamp);
        let file = io::open_regular(path).at(path)?;
        check_stamp(&file, stamp).at(path)?;
        let handle = Handle { file: Arc::new(file) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let clock = open.clock;
        if open.files.len() >= self.capacity {
            // A scan of at most a thousand entries, next to an `open` that costs more.
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            oldest.and_then(|id| open.files.remove(&id));
        }
        open.files.insert(id, (handle.clone(), clock));
        Ok(handle)
    }

    fn lookup(&self, id: (u32, FileOf)) -> Option<Handle> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let clock = open.clock;
        let (handle, used) = open.files.get_mut(&id)?;
        *used = clock;
        Some(handle.clone())
    }
}

fn check_stamp(file: &File, expected: &FileStamp) -> Result<()> {
    let found = stamp_of(&file.metadata()?);
    if found == *expected {
        return Ok(());
    }
    let what = if found.len == expected.len { "modified or replaced" } else { "its length" };
    Err(Error::new(FormatError::Changed(what)))
}
