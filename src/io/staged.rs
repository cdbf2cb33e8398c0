//! Outputs that appear whole or not at all: a temporary file beside the output, the journal of a run that may
//! be resumed, and the lock that guards both.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind as IoKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, InputError, Result, ResultExt};
use crate::io::ReadAt;

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

    /// Whether it keeps a journal, with which a later run can go on.
    fn keeps_journal(&self) -> bool {
        false
    }

    /// The output is complete under its name by way of a sibling: nothing of this target is needed.
    fn give_up(&mut self) {}

    /// Returns once all that was written is on the disk and `write` has filled a new journal, which takes
    /// the place of the old one.
    ///
    /// # Errors
    /// Those of `write`; as the operating system says. The old journal is then as it was.
    fn save_journal(&mut self, write: JournalWriter<'_>) -> io::Result<()> {
        write(&mut io::sink())
    }

    /// Returns once all that was written is on the disk. It stays there if the run ends early: a journal of
    /// another target speaks of it.
    ///
    /// # Errors
    /// As the operating system says.
    fn hold(&mut self) -> io::Result<()> {
        self.sync()
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

/// What fills a journal.
pub(crate) type JournalWriter<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

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

/// A run that ends early keeps its work from here on.
const WORTH_KEEPING: Duration = Duration::from_secs(60);

/// A [`Target`] on the local disk: a temporary file beside the output, renamed when it is complete.
///
/// The temporary's name follows from the output's (`.NAME.smalti-part`), and it is locked while in
/// use, so that two runs for one output cannot mix. The journal of what is in it lies beside it
/// (`.NAME.smalti-journal`).
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    published: bool,
    /// Range that holds all that was written since the last flush.
    unsent: Option<(u64, u64)>,
    began: Instant,
    /// Whether a journal was saved or found.
    journaled: bool,
    /// Whether to keep what is journaled however little it is.
    keeps: bool,
}

impl StagedFile {
    /// Creates and locks the temporary file for `target`; what an earlier run left is discarded.
    ///
    /// # Errors
    /// [`InputError::Output`] if `target` exists and `overwrite` is false, is a directory, or another
    /// run is writing it; [`crate::error::ErrorKind::Io`] if the directory cannot be written.
    pub fn create(target: &Path, overwrite: bool) -> Result<StagedFile> {
        let mut staged = StagedFile::open(target, overwrite)?;
        staged.discard().at(target)?;
        Ok(staged)
    }

    /// As [`StagedFile::create`], but what an earlier run left stays; and what this one leaves will, if it
    /// ends early. Returns the journal that was found.
    ///
    /// # Errors
    /// As [`StagedFile::create`].
    pub fn resume(
        target: &Path,
        overwrite: bool,
    ) -> Result<(StagedFile, Option<Box<dyn io::Read>>)> {
        let mut staged = StagedFile::open(target, overwrite)?;
        staged.keeps = true;
        let journal = File::open(own_name(&staged.target, "journal")?).ok();
        if journal.is_none() {
            staged.discard().at(target)?;
        }
        staged.journaled = journal.is_some();
        Ok((staged, journal.map(|file| Box::new(file) as Box<dyn io::Read>)))
    }

    /// As [`StagedFile::create`] for a file that is made beside another, whose journal speaks of both. What an
    /// earlier run left stays if such a journal was `found`; what this one leaves will be kept if `keeps`.
    ///
    /// # Errors
    /// As [`StagedFile::create`].
    pub fn companion(
        target: &Path,
        overwrite: bool,
        keeps: bool,
        found: bool,
    ) -> Result<StagedFile> {
        let mut staged = StagedFile::open(target, overwrite)?;
        if !found {
            staged.discard().at(target)?;
        }
        (staged.keeps, staged.journaled) = (keeps, found);
        Ok(staged)
    }

    fn open(target: &Path, overwrite: bool) -> Result<StagedFile> {
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
        Ok(StagedFile::new(file, temporary, target.clone()))
    }

    fn new(file: File, temporary: PathBuf, target: PathBuf) -> StagedFile {
        StagedFile {
            file,
            temporary,
            target,
            published: false,
            unsent: None,
            began: Instant::now(),
            journaled: false,
            keeps: false,
        }
    }

    /// Empties the temporary and removes its journal, and what else a killed run left.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn discard(&mut self) -> io::Result<()> {
        self.remove_beside();
        self.journaled = false;
        self.file.set_len(0)
    }

    /// The directory of the output cannot change under us, so what cannot be removed is not there, or
    /// is replaced when it is needed.
    fn remove_beside(&self) {
        for kind in ["journal", "journal-new", "cog", "spill", "beside"] {
            if let Ok(path) = own_name(&self.target, kind) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn mark(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        let (start, old_end) = self.unsent.unwrap_or((offset, end));
        self.unsent = Some((start.min(offset), old_end.max(end)));
    }

    fn sync_directory(&self) -> io::Result<()> {
        #[cfg(unix)]
        {
            let parent = self.target.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }
}

/// Whether an earlier run for this output left work that [`StagedFile::resume`] would find.
pub fn kept_work(target: &Path) -> bool {
    own_name(target, "journal").is_ok_and(|path| path.is_file())
}

/// Notes beside the output that a run for it also makes `companion`, which may lie elsewhere: so that a later
/// run which makes none can say what a killed one left.
pub(crate) fn note_companion(target: &Path, companion: &Path) -> Result<()> {
    let note = own_name(target, "beside")?;
    let file = open_own(&note).at(&note)?;
    let path = std::path::absolute(companion).at(companion)?;
    file.set_len(0).at(&note)?;
    write_all_at(&file, 0, path.to_string_lossy().as_bytes()).at(&note)
}

/// The temporary that a killed run for this output left of a file beside `target`, other than `companion`.
/// It is only named, never removed: a note can be anyone's.
pub(crate) fn left_companion(target: &Path, companion: Option<&Path>) -> Option<PathBuf> {
    let note = std::fs::read_to_string(own_name(target, "beside").ok()?).ok()?;
    let noted = Path::new(&note);
    if companion.is_some_and(|path| std::path::absolute(path).is_ok_and(|own| own == noted)) {
        return None;
    }
    own_name(noted, "part").ok().filter(|path| path.is_file())
}

/// Takes back the name of a file that was published just now, because what belongs to it could not be.
pub(crate) fn withdraw(target: &Path) {
    // If it cannot be removed either, there is nothing left to do.
    let _ = std::fs::remove_file(target);
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
        Ok(Box::new(StagedFile::new(file, temporary, self.target.clone())))
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
        if let Err(error) = self.sync_directory() {
            log::warn!("{}: its directory could not be synced: {error}", self.target.display());
        }
        self.remove_beside();
        Ok(())
    }

    fn keeps_journal(&self) -> bool {
        true
    }

    fn give_up(&mut self) {
        self.journaled = false;
    }

    fn hold(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.journaled = true;
        Ok(())
    }

    fn save_journal(&mut self, write: JournalWriter<'_>) -> io::Result<()> {
        self.file.sync_data()?;
        let name = |kind: &str| own_name(&self.target, kind).map_err(io::Error::other);
        let (journal, new) = (name("journal")?, name("journal-new")?);
        let file = open_own(&new)?;
        file.set_len(0)?;
        let mut buffer = io::BufWriter::with_capacity(1 << 18, &file);
        write(&mut buffer)?;
        buffer.flush()?;
        drop(buffer);
        file.sync_data()?;
        std::fs::rename(&new, &journal)?;
        self.journaled = true;
        self.sync_directory()
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        let kept = self.journaled && (self.keeps || self.began.elapsed() >= WORTH_KEEPING);
        if self.published || kept {
            return;
        }
        // Nothing can be done about what cannot be removed; the next run replaces it.
        let _ = std::fs::remove_file(&self.temporary);
        if self.temporary.extension().is_some_and(|kind| kind == "smalti-part") {
            self.remove_beside();
        }
    }
}
