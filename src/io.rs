//! Bytes from and to files: positioned reads, memory maps, and outputs that appear whole or not at all.
//!
//! The one module with `unsafe`: a memory map is sound only while nobody truncates the file. Maps are
//! made for one block at a time, and only because the user asked for them. (Positioned reads of
//! uncompressed blocks take less time than maps: 0.65 against 0.97 s of CPU for 300 MB in strips, 0.53 and 0.53 s
//! in tiles, of which each map and its faults cost what the copy does; 2026-11, two cores of a virtual
//! machine.)

mod staged;

use std::fs::File;
use std::io::{self, ErrorKind as IoKind};
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

use crate::error::{FormatError, Result};

pub use staged::{ScratchFile, StagedFile, Target, check_target, kept_work};
pub(crate) use staged::{left_companion, note_companion, withdraw};

/// Something that can be read at any offset by many threads at once.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// As the operating system says; `UnexpectedEof` if the data end before the buffer is full.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn byte_len(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    #[cfg(unix)]
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(self, buffer, offset) {
                Ok(0) => return Err(IoKind::UnexpectedEof.into()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == IoKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for &[u8] {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| IoKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(IoKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(IoKind::UnexpectedEof)?);
        Ok(())
    }

    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buffer)
    }

    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// Opens a file to read, but nothing else that has a name: a pipe would be waited for without end.
///
/// # Errors
/// Those of the system; what is no regular file is `InvalidInput`, a directory `IsADirectory`.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let meta = std::fs::metadata(path)?;
    if meta.is_dir() {
        return Err(IoKind::IsADirectory.into());
    }
    if !meta.is_file() {
        let reason = "it is no regular file, but a pipe or a device; pass a copy of it";
        return Err(io::Error::new(IoKind::InvalidInput, reason));
    }
    File::open(path)
}

/// How the bytes of local sources are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoMode {
    /// Positioned reads, as [`IoMode::Read`]: a file that shrinks gives an error, never a signal.
    #[default]
    Auto,
    /// Positioned reads only.
    Read,
    /// Maps everything; trusts that no source shrinks during the run.
    Mmap,
}

/// Maps `len` bytes from `offset`, with the pages already read in.
///
/// # Errors
/// [`FormatError::Truncated`] if the file is shorter by now, else as the operating system says.
#[expect(unsafe_code, reason = "a memory map; see the head of this file")]
pub fn map(file: &File, offset: u64, len: usize) -> Result<Mmap> {
    let file_len = file.metadata()?.len();
    let end = offset.saturating_add(len as u64);
    if end > file_len {
        return Err(FormatError::Truncated { what: "a block", end, file_len }.into());
    }
    // SAFETY: the range was inside the file a moment ago and the map is read-only. A process that
    // truncates or rewrites the file while the map lives breaks the contract; the map lives for one
    // block, on the user's word (IoMode::Mmap).
    let map = unsafe { MmapOptions::new().offset(offset).len(len).populate().map(file)? };
    Ok(map)
}

/// Most files that this process may have open, less some for its own use.
pub fn handle_limit() -> usize {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let soft = limit.current.map_or(4096, |n| usize::try_from(n).unwrap_or(4096));
        // Standard streams, the output, its directory, a list file, and the embedder's own.
        soft.saturating_sub(24).clamp(4, 1000)
    }
    #[cfg(not(unix))]
    {
        // Windows' C library stops at 512.
        200
    }
}

/// Bytes free for this user on the file system of `path`'s directory; `None` where unknown.
pub fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let stat = rustix::fs::statvfs(parent).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// The bytes of the file in a folder that has a name, whatever its case; `None` where there is none, or a larger one.
pub fn read_named(folder: &Path, name: &str, most_bytes: u64) -> Option<Vec<u8>> {
    let entries = std::fs::read_dir(folder).ok()?;
    let is_it = |entry: &std::fs::DirEntry| entry.file_name().eq_ignore_ascii_case(name);
    let entry = entries.flatten().find(is_it)?;
    let is_small = std::fs::metadata(entry.path()).is_ok_and(|meta| meta.len() <= most_bytes);
    if is_small { std::fs::read(entry.path()).ok() } else { None }
}

/// The text of a small file of the system (`/proc`, `/sys`); `None` where there is none.
pub fn read_system_file(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
