//! The disk fails at the k-th operation, for every k: the run fails with the right kind of error, the
//! output is absent or as it was, nothing is left beside it, and the next run works.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smalti::codec::Compression;
use smalti::engine::{self, Reader, WriteOptions};
use smalti::io::{IoMode, StagedFile, Target};
use smalti::mosaic::{Mosaic, MosaicOptions};
use smalti::source::discover::discover;
use smalti::source::open::{OpenOptions, open_all};
use smalti::{Error, ErrorKind};

use support::fixtures;

/// Passes everything on but the `fail_at`-th operation, and all after it if `persistent`.
struct Faulty {
    inner: StagedFile,
    fail_at: u64,
    persistent: bool,
    done: Arc<AtomicU64>,
}

impl Faulty {
    fn step(&self) -> io::Result<()> {
        let step = self.done.fetch_add(1, Ordering::SeqCst);
        let fails = step == self.fail_at || (self.persistent && step > self.fail_at);
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Target for Faulty {
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        self.inner.write_all_at(offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.step()?;
        self.inner.flush()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.step()?;
        self.inner.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step()?;
        self.inner.sync()
    }

    fn publish(self: Box<Self>) -> io::Result<()> {
        self.step()?;
        Box::new(self.inner).publish()
    }
}

fn sample() -> Mosaic {
    let pattern = fixtures("sources/relief_*.tif");
    let paths = discover(&[pattern]).unwrap();
    assert_eq!(paths.len(), 6);
    let opened = open_all(&paths, &OpenOptions::default(), &()).unwrap();
    Mosaic::new(opened.sources, &MosaicOptions { mask: true, ..MosaicOptions::default() }).unwrap()
}

fn options() -> WriteOptions {
    WriteOptions { chunk: 64, threads: 3, overwrite: true, ..WriteOptions::default() }
}

fn write_with(
    mosaic: &Mosaic,
    output: &Path,
    fail_at: u64,
    persistent: bool,
) -> (u64, Result<(), Error>) {
    let done = Arc::new(AtomicU64::new(0));
    let inner = StagedFile::create(output, true).unwrap();
    let target = Faulty { inner, fail_at, persistent, done: Arc::clone(&done) };
    let result = engine::write_to(mosaic, Box::new(target), &options(), &());
    (done.load(Ordering::SeqCst), result.map(|_| ()))
}

#[test]
fn every_failing_operation_leaves_the_output_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.tif");
    let mosaic = sample();
    let (operations, whole) = write_with(&mosaic, &output, u64::MAX, false);
    whole.unwrap();
    let expected = fs::read(&output).unwrap();
    assert!(operations > 100, "{operations} operations");
    let mut faults = 0;
    for old in [None, Some(b"an older file".as_slice())] {
        for persistent in [false, true] {
            for fail_at in 0..operations {
                let _ = fs::remove_file(&output);
                if let Some(old) = old {
                    fs::write(&output, old).unwrap();
                }
                let (_, result) = write_with(&mosaic, &output, fail_at, persistent);
                let error = result.expect_err("the fault is an error");
                let full = |e: &io::Error| e.kind() == io::ErrorKind::StorageFull;
                assert!(matches!(error.kind(), ErrorKind::Io(e) if full(e)), "{fail_at}: {error}");
                assert_eq!(fs::read(&output).ok().as_deref(), old, "fault at {fail_at}");
                let files = fs::read_dir(folder.path()).unwrap().count();
                assert_eq!(files, usize::from(old.is_some()), "fault at {fail_at}");
                faults += 1;
            }
        }
    }
    assert_eq!(faults, 4 * operations);
    write_with(&mosaic, &output, u64::MAX, false).1.unwrap();
    assert!(fs::read(&output).unwrap() == expected, "the run after the faults");
}

/// Blocks are read, not mapped: a file that shrinks under them is an error and no signal.
#[test]
fn a_source_that_shrinks_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("raw.tif");
    let raw = WriteOptions { compression: Compression::None, ..options() };
    engine::write(&sample(), &input, &raw, &()).unwrap();
    let paths = discover(&[folder.path().to_path_buf()]).unwrap();
    let opened = open_all(&paths, &OpenOptions::default(), &()).unwrap();
    let mosaic = Mosaic::new(opened.sources, &MosaicOptions::default()).unwrap();
    let window = mosaic.grid.size.window().unwrap();
    let whole = fs::read(&input).unwrap();
    let reader = Reader::new(&mosaic, 0, IoMode::Auto);
    reader.read(window).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&input).unwrap();
    let stop = AtomicU64::new(0);
    let (mut read, mut failed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stop.load(Ordering::SeqCst) == 0 {
                file.set_len(0).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &whole, 0).unwrap();
            }
        });
        while read < 20_000 && failed < 50 {
            failed += u64::from(reader.read(window).is_err());
            read += 1;
        }
        stop.store(1, Ordering::SeqCst);
    });
    assert!(failed > 0, "{read} reads met no short file");
    // For good: the error says what happened.
    file.set_len(whole.len() as u64 / 2).unwrap();
    let error = reader.read(window).unwrap_err();
    assert_eq!(error.path(), Some(input.as_path()), "{error}");
    assert!(error.to_string().contains("shorter than when it was opened"), "{error}");
}

/// A source that fails to decode after the run began: the same promises, and the file and block named.
#[test]
fn a_source_that_breaks_during_the_run_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("a.tif"), folder.path().join("out.tif"));
    fs::copy(fixtures("sources/relief_1.tif"), &input).unwrap();
    let paths = discover(&[folder.path().to_path_buf()]).unwrap();
    let opened = open_all(&paths, &OpenOptions::default(), &()).unwrap();
    let mosaic = Mosaic::new(opened.sources, &MosaicOptions::default()).unwrap();
    // Shorter than when its headers were read.
    let whole = fs::read(&input).unwrap();
    fs::write(&input, &whole[..whole.len() / 2]).unwrap();
    let error = engine::write(&mosaic, &output, &options(), &()).unwrap_err();
    assert_eq!(error.path(), Some(input.as_path()), "{error}");
    assert!(error.to_string().contains("changed while it was in use"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
