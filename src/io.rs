//! Bytes from and to files: positioned reads, memory maps, and outputs that appear whole or not at all.
//!
//! The one module with `unsafe`: a memory map is sound only while nobody truncates the file. Maps are
//! made for one block at a time, of local files whose length was just checked, or because the user
//! asked for them; reads are the default for everything else.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind as IoKind};
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use crate::error::{Error, FormatError, InputError, Result, ResultExt};

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

/// How the bytes of local sources are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoMode {
    /// Maps uncompressed blocks of files on a local disk, reads everything else.
    #[default]
    Auto,
    /// Positioned reads only.
    Read,
    /// Maps everything; trusts that no source shrinks during the run.
    Mmap,
}

/// Whether a file lies on a file system of this machine, where a map cannot fail for want of a network.
#[cfg(target_os = "linux")]
pub fn is_local(file: &File) -> bool {
    // Magic numbers of statfs(2): ext, xfs, btrfs, tmpfs, overlayfs, f2fs, zfs.
    const LOCAL: [u64; 7] =
        [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0xF2F5_2010, 0x2FC1_2FC1];
    rustix::fs::fstatfs(file).is_ok_and(|stat| LOCAL.contains(&(stat.f_type as u64)))
}

/// Whether a file lies on a file system of this machine: unknown here, so never mapped by itself.
#[cfg(not(target_os = "linux"))]
pub fn is_local(_file: &File) -> bool {
    false
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
    // block, on a local disk, or on the user's word (IoMode::Mmap).
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

/// Where an output's bytes go. Writes may overlap earlier ones; nothing is visible before `publish`.
///
/// Call order: any number of `write_all_at` and `flush`, then `sync`, then `publish`. Dropping it
/// before `publish` discards everything.
pub trait Target: Send {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As the operating system says.
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Sends what was written since the last call on its way to the disk, without waiting for it.
    ///
    /// # Errors
    /// As the operating system says.
    fn flush(&mut self) -> io::Result<()>;

    /// Sets the file's length; what lies beyond earlier writes reads as zeros.
    ///
    /// # Errors
    /// As the operating system says.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Returns once everything is on the disk.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives the file its name, replacing what has it.
    ///
    /// # Errors
    /// As the operating system says; then the old file, if any, is unchanged.
    fn publish(self: Box<Self>) -> io::Result<()>;

    /// Reads back what was written. Needed for Cloud Optimized GeoTIFF and for resuming only.
    ///
    /// # Errors
    /// [`IoKind::Unsupported`] where there is no reading; as the operating system says.
    fn read_exact_at(&mut self, _offset: u64, _buffer: &mut [u8]) -> io::Result<()> {
        Err(IoKind::Unsupported.into())
    }

    /// A second target beside this one that publishes under the same name, so that this one can serve as
    /// its spool.
    ///
    /// # Errors
    /// [`IoKind::Unsupported`] where there is none; as the operating system says.
    fn sibling(&mut self) -> io::Result<Box<dyn Target>> {
        Err(IoKind::Unsupported.into())
    }

    /// The file behind it, where there is one.
    fn file(&self) -> Option<&File> {
        None
    }

    /// Copies `len` bytes at `at` of another target to `offset`.
    ///
    /// # Errors
    /// As the operating system says.
    fn copy_from(
        &mut self,
        offset: u64,
        from: &mut dyn Target,
        at: u64,
        len: u64,
    ) -> io::Result<()> {
        plain_copy(from, at, len, |place, bytes| self.write_all_at(offset + place, bytes))
    }

    /// A nameless file for what does not fit in memory; gone with its handle.
    ///
    /// # Errors
    /// [`IoKind::Unsupported`] where there is none; as the operating system says.
    fn scratch(&mut self) -> io::Result<ScratchFile> {
        Err(IoKind::Unsupported.into())
    }
}

/// A nameless file for what does not fit in memory.
#[derive(Debug)]
pub struct ScratchFile(File);

impl ScratchFile {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        ReadAt::read_exact_at(&self.0, offset, buffer)
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.0, offset, bytes)
    }
}

/// Bytes that a plain copy moves at once.
const COPY_BYTES: u64 = 1 << 20;

/// Reads pieces and gives them to `write`, each with its place from the start.
fn plain_copy(
    from: &mut dyn Target,
    at: u64,
    len: u64,
    mut write: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; len.min(COPY_BYTES) as usize];
    for start in (0..len).step_by(COPY_BYTES as usize) {
        let buffer = &mut buffer[..(len - start).min(COPY_BYTES) as usize];
        from.read_exact_at(at + start, buffer)?;
        write(start, buffer)?;
    }
    Ok(())
}

fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }
    #[cfg(not(unix))]
    {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }
}

/// Copies inside the kernel what it can; returns how many bytes that was.
#[cfg(target_os = "linux")]
fn kernel_copy(from: &File, mut at: u64, to: &File, mut offset: u64, len: u64) -> u64 {
    let mut done = 0;
    while done < len {
        let part = usize::try_from(len - done).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut offset), part) {
            Ok(0) => break,
            Ok(count) => done += count as u64,
            Err(rustix::io::Errno::INTR) => {}
            // Another file system, an old kernel, a full disk: the plain copy does it, or says why not.
            Err(_) => break,
        }
    }
    done
}

#[cfg(not(target_os = "linux"))]
fn kernel_copy(_from: &File, _at: u64, _to: &File, _offset: u64, _len: u64) -> u64 {
    0
}

/// A [`Target`] on the local disk: a temporary file beside the output, renamed when it is complete.
///
/// The temporary's name follows from the output's (`.NAME.smalti-part`), and it is locked while in
/// use, so that two runs for one output cannot mix.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    published: bool,
    /// Range that holds all that was written since the last flush.
    unsent: Option<(u64, u64)>,
}

impl StagedFile {
    /// Creates and locks the temporary file for `target`.
    ///
    /// # Errors
    /// [`InputError::Output`] if `target` exists and `overwrite` is false, is a directory, or another
    /// run is writing it; [`crate::error::ErrorKind::Io`] if the directory cannot be written.
    pub fn create(target: &Path, overwrite: bool) -> Result<StagedFile> {
        let target = &check_target(target, overwrite)?;
        let temporary = own_name(target, "part")?;
        let file = loop {
            let file = open_own(&temporary).at(&temporary)?;
            lock(&file, target)?;
            // The one who held the lock before may have renamed or removed the file under us.
            if same_file(&file, &temporary) {
                break file;
            }
        };
        file.set_len(0).at(&temporary)?;
        let target = target.clone();
        Ok(StagedFile { file, temporary, target, published: false, unsent: None })
    }
}

impl StagedFile {
    fn mark(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        let (start, old_end) = self.unsent.unwrap_or((offset, end));
        self.unsent = Some((start.min(offset), old_end.max(end)));
    }
}

/// Where an output really goes: links are followed, so that a link stays one. Refuses an output that
/// exists, unless it may be overwritten, and what is no regular file.
///
/// # Errors
/// [`InputError::Output`].
pub fn check_target(target: &Path, overwrite: bool) -> Result<PathBuf> {
    let refuse = |reason: &str| Error::new(InputError::Output(reason.into())).with_path(target);
    let Ok(own) = std::fs::symlink_metadata(target) else { return Ok(target.to_path_buf()) };
    let real = if own.is_symlink() {
        std::fs::canonicalize(target)
            .map_err(|_| refuse("is a link to nothing; remove it, or name another file"))?
    } else {
        target.to_path_buf()
    };
    let meta = std::fs::metadata(&real).at(target)?;
    if meta.is_dir() {
        return Err(refuse("is a directory"));
    }
    if !meta.is_file() {
        return Err(refuse("is not a regular file; the output needs one, which it can replace"));
    }
    if !overwrite {
        return Err(refuse("exists; pass --overwrite to replace it"));
    }
    Ok(real)
}

/// Opens a file of ours beside an output, for reading and writing.
fn open_own(path: &Path) -> io::Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        // A link under our name would lead the output into another file.
        use std::os::unix::fs::OpenOptionsExt;
        open.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    }
    open.open(path)
}

/// `.NAME.smalti-KIND` beside the output `NAME`.
fn own_name(target: &Path, kind: &str) -> Result<PathBuf> {
    let Some(name) = target.file_name() else {
        return Err(Error::new(InputError::Output("is not a file name".into())).with_path(target));
    };
    // Most file systems allow names of 255 bytes; a longer name is known by its digest (FNV-1a).
    const MOST_BYTES: usize = 200;
    let bytes = name.as_encoded_bytes();
    let mut temporary = OsString::from(".");
    if bytes.len() <= MOST_BYTES {
        temporary.push(name);
    } else {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let digest = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
        temporary.push(format!("{digest:016x}"));
    }
    temporary.push(".smalti-");
    temporary.push(kind);
    Ok(target.with_file_name(temporary))
}

#[cfg(unix)]
fn lock(file: &File, target: &Path) -> Result<()> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(InputError::Output("another run is writing it; wait for it".into()))
                .with_path(target))
        }
        // File systems without locks (some network ones) are used without.
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn lock(_file: &File, _target: &Path) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => a.ino() == b.ino() && a.dev() == b.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_file: &File, _path: &Path) -> bool {
    true
}

impl Target for StagedFile {
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, offset, bytes)?;
        self.mark(offset, bytes.len() as u64);
        Ok(())
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        ReadAt::read_exact_at(&self.file, offset, buffer)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn sibling(&mut self) -> io::Result<Box<dyn Target>> {
        let temporary = own_name(&self.target, "cog").map_err(io::Error::other)?;
        let file = open_own(&temporary)?;
        // The lock on this file guards that one too.
        file.set_len(0)?;
        let target = self.target.clone();
        Ok(Box::new(StagedFile { file, temporary, target, published: false, unsent: None }))
    }

    fn copy_from(
        &mut self,
        offset: u64,
        from: &mut dyn Target,
        at: u64,
        len: u64,
    ) -> io::Result<()> {
        let done = from.file().map_or(0, |file| kernel_copy(file, at, &self.file, offset, len));
        self.mark(offset, len);
        let rest = offset + done;
        plain_copy(from, at + done, len - done, |place, bytes| {
            write_all_at(&self.file, rest + place, bytes)
        })
    }

    fn scratch(&mut self) -> io::Result<ScratchFile> {
        let path = own_name(&self.target, "spill").map_err(io::Error::other)?;
        let file = open_own(&path)?;
        std::fs::remove_file(&path)?;
        file.set_len(0)?;
        Ok(ScratchFile(file))
    }

    #[cfg(target_os = "linux")]
    fn flush(&mut self) -> io::Result<()> {
        use rustix::fs::{Advice, fadvise};
        // On Linux this starts to write the range and returns; where it cannot, `sync` writes it all.
        let Some((start, end)) = self.unsent.take() else { return Ok(()) };
        let len = std::num::NonZeroU64::new(end - start);
        let _ = fadvise(&self.file, start, len, Advice::DontNeed);
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn flush(&mut self) -> io::Result<()> {
        self.unsent = None;
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn publish(mut self: Box<Self>) -> io::Result<()> {
        std::fs::rename(&self.temporary, &self.target)?;
        self.published = true;
        // The name is durable once its directory is. The output is complete whatever comes of this:
        // some directories cannot be opened or synced.
        #[cfg(unix)]
        {
            let parent = self.target.parent().filter(|p| !p.as_os_str().is_empty());
            let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|d| d.sync_all());
            if let Err(error) = synced {
                log::warn!("{}: its directory could not be synced: {error}", self.target.display());
            }
        }
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.published {
            // Nothing can be done about a temporary that cannot be removed; the next run replaces it.
            let _ = std::fs::remove_file(&self.temporary);
        }
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

/// The text of a small file of the system (`/proc`, `/sys`); `None` where there is none.
pub fn read_system_file(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
