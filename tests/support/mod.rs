//! What the black-box tests share: a temporary folder with the program in it, a TIFF reader and a
//! TIFF builder of their own, pixel differences, SHA-256.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file is a crate of its own and uses its share of this module"
)]

pub(crate) mod builder;
pub(crate) mod mosaics;
pub(crate) mod oracle;
pub(crate) mod reader;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use builder::{Codec, Geotiff};
use reader::Picture;

/// What [`TestEnv::write_noise`] writes.
pub(crate) const NOISE: [&str; 4] = ["a.tif", "b.tif", "c.tif", "d.tif"];

/// No run of a test may take longer; a hanging program fails its test instead of the whole job.
const LIMIT: Duration = Duration::from_secs(120);

/// A temporary folder, and the program to run in it.
#[derive(Debug)]
pub(crate) struct TestEnv {
    dir: tempfile::TempDir,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) time: Duration,
}

impl TestEnv {
    pub(crate) fn new() -> TestEnv {
        TestEnv { dir: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    /// Path of `name` in the temporary folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the program in the temporary folder.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Run {
        self.run_in(self.dir.path(), args)
    }

    /// Runs the program in `dir`.
    pub(crate) fn run_in<S: AsRef<OsStr>>(&self, dir: &Path, args: &[S]) -> Run {
        let start = Instant::now();
        let mut running = Running::start(dir, args);
        assert!(running.wait(LIMIT), "smalti runs for more than {LIMIT:?}");
        running.finish(start)
    }

    /// Runs and asserts success; returns the run for a look at its messages.
    pub(crate) fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> Run {
        let run = self.run(args);
        assert_eq!(run.code, Some(0), "smalti {args:?}\n{}", run.stderr);
        run
    }

    /// Runs and asserts the exit code and that the message holds each of `words`.
    pub(crate) fn fails<S>(&self, args: &[S], code: i32, words: &[&str]) -> Run
    where
        S: AsRef<OsStr> + std::fmt::Debug,
    {
        let run = self.run(args);
        assert_eq!(run.code, Some(code), "smalti {args:?}\n{}", run.stderr);
        assert_eq!(run.panicked(), None);
        for word in words {
            assert!(run.stderr.contains(word), "no {word:?} in the message:\n{}", run.stderr);
        }
        run
    }

    /// Reads an output with the tests' own reader.
    pub(crate) fn picture(&self, name: &str) -> Picture {
        reader::read(&self.path(name)).expect("the output is a right TIFF")
    }

    /// Writes `a.tif` to `d.tif`: noise of two bands, which no codec can shorten, overlapping by a tenth or more;
    /// `change` has a last word on each.
    pub(crate) fn write_noise(&self, side: usize, step: f64, change: impl Fn(&mut Geotiff)) {
        for (index, name) in NOISE.iter().enumerate() {
            let (col, row) = ((index % 2) as f64 * step, (index / 2) as f64 * step);
            let mut picture = Geotiff::new(side, side, 2, index as u64).moved(col, row);
            picture.codec = Codec::Deflate;
            change(&mut picture);
            picture.write(&self.path(name));
        }
    }

    /// Names in the temporary folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path())
            .expect("the temporary folder is there")
            .map(|e| e.expect("it can be listed").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Run {
    /// A number of the final event of `--json`.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let line = self.stdout.lines().last().expect("there is a final event");
        let start = line.find(&format!("\"{name}\":")).expect("the event has it") + name.len() + 3;
        let digits: String = line[start..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("it is a number")
    }

    /// The line that shows a bug of ours, if there is one.
    pub(crate) fn panicked(&self) -> Option<&str> {
        let bad = ["panicked", "internal error", "RUST_BACKTRACE"];
        self.stderr.lines().find(|l| bad.iter().any(|b| l.contains(b)))
    }

    /// Lines of stderr that report an error.
    pub(crate) fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter(|l| l.starts_with("smalti: error:")).collect()
    }
}

/// The program while it runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    ended: mpsc::Receiver<String>,
    stderr: std::thread::JoinHandle<String>,
    stdout: Option<String>,
}

impl Running {
    pub(crate) fn start<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_smalti"))
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo built the program");
        let mut out = child.stdout.take().expect("it is piped");
        let mut err = child.stderr.take().expect("it is piped");
        let (send, ended) = mpsc::channel();
        // Standard output closes when the program ends: waiting for that, with a time limit, needs
        // neither sleeping nor polling.
        std::thread::spawn(move || {
            // A receiver that has gone has seen its time limit; nobody waits any more.
            let _ = send.send(drain(&mut out));
        });
        let stderr = std::thread::spawn(move || drain(&mut err));
        Running { child, ended, stderr, stdout: None }
    }

    /// Number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end, at most `limit`; kills (SIGKILL) and returns false after that.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        match self.ended.recv_timeout(limit) {
            Ok(text) => {
                self.stdout = Some(text);
                true
            }
            Err(_) => {
                self.child.kill().expect("a child of ours can be killed");
                false
            }
        }
    }

    /// Collects what the program said; call after [`Running::wait`].
    pub(crate) fn finish(mut self, start: Instant) -> Run {
        let status = self.child.wait().expect("a child of ours can be waited for");
        Run {
            code: status.code(),
            stdout: self.stdout.take().unwrap_or_default(),
            stderr: self.stderr.join().expect("reading a pipe does not panic"),
            time: start.elapsed(),
        }
    }
}

fn drain(pipe: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).expect("a pipe can be read to its end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Folder of the fixtures.
pub(crate) fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)
}

/// A fixture's path as an argument.
pub(crate) fn fixture(name: &str) -> String {
    let path = fixtures(name);
    assert!(path.exists(), "no fixture {name}");
    path.to_str().expect("the checkout's path is UTF-8").to_owned()
}

/// Rows of a small CSV (no quotes in our files but round fields with commas), without its header.
pub(crate) fn csv(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).expect("the table is there");
    text.lines().skip(1).map(split_csv).collect()
}

fn split_csv(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

/// Compares shape, type and samples (NaN equals NaN); the error shows the first 5 differences.
pub(crate) fn same_pixels(got: &Picture, want: &Picture) -> Result<(), String> {
    let shape = |p: &Picture| (p.bands, p.height, p.width);
    if shape(got) != shape(want) {
        let (g, w) = (shape(got), shape(want));
        return Err(format!("shape (bands, rows, columns) {g:?}, expected {w:?}"));
    }
    if got.dtype() != want.dtype() {
        return Err(format!("type {}, expected {}", got.dtype(), want.dtype()));
    }
    let (mut count, mut shown) = (0u64, String::new());
    for band in 0..want.bands {
        for row in 0..want.height {
            for col in 0..want.width {
                if got.sample(band, row, col) == want.sample(band, row, col) {
                    continue;
                }
                let (g, w) = (got.show(band, row, col), want.show(band, row, col));
                if g == w && g == "NaN" {
                    continue;
                }
                count += 1;
                if count <= 5 {
                    shown += &format!("\n  band {band}, row {row}, col {col}: {g}, expected {w}");
                }
            }
        }
    }
    if count == 0 { Ok(()) } else { Err(format!("{count} samples differ:{shown}")) }
}

/// Compares geotransforms to a millionth of a pixel: they are written as doubles, but through scale
/// and tie point in one file and through a matrix in another.
pub(crate) fn same_transform(got: &Picture, want: &Picture) -> Result<(), String> {
    match (got.transform, want.transform) {
        (Some(g), Some(w)) => {
            let px = w[1].hypot(w[2]).min(w[4].hypot(w[5]));
            // The step is multiplied by the picture's side, so it must be closer than the corner.
            let side = want.width.max(want.height) as f64;
            let near = |i: usize, scale: f64| (g[i] - w[i]).abs() * scale < 1e-6 * px;
            let fits =
                [0, 3].iter().all(|i| near(*i, 1.0)) && [1, 2, 4, 5].iter().all(|i| near(*i, side));
            if fits { Ok(()) } else { Err(format!("geotransform {g:?}, expected {w:?}")) }
        }
        (None, None) => Ok(()),
        (g, w) => Err(format!("geotransform {g:?}, expected {w:?}")),
    }
}

/// Compares nodata as a number of the picture's type.
pub(crate) fn same_nodata(got: &Picture, want: &Picture) -> Result<(), String> {
    let value = |p: &Picture| -> Option<String> {
        let text = p.nodata.as_deref()?;
        Some(match (p.format, text.parse::<f64>()) {
            (3, Ok(v)) if p.bits == 32 => (v as f32).to_string(),
            (3, Ok(v)) => v.to_string(),
            // Integers compare as text, so that 64-bit ones stay exact; "0.0" is not an integer.
            _ => text.to_owned(),
        })
    };
    let (g, w) = (value(got), value(want));
    if g == w { Ok(()) } else { Err(format!("nodata {g:?}, expected {w:?}")) }
}

/// SHA-256 as lower-case hexadecimal (FIPS 180-4); for comparison with the fixtures' tables.
pub(crate) fn sha256(data: &[u8]) -> String {
    let (mut h, k) = sha256_constants();
    let mut padded = data.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - data.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(data.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut w = [0u32; 64];
        for (i, word) in block.chunks_exact(4).enumerate() {
            w[i] = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        }
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
        }
        let mut v = h;
        for i in 0..64 {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let t1 = v[7].wrapping_add(s1).wrapping_add(choice);
            let t1 = t1.wrapping_add(k[i]).wrapping_add(w[i]);
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(t1);
            v[0] = t1.wrapping_add(s0).wrapping_add(majority);
        }
        for i in 0..8 {
            h[i] = h[i].wrapping_add(v[i]);
        }
    }
    h.iter().map(|v| format!("{v:08x}")).collect()
}

/// The first 32 bits of the fractions of square and cube roots of the first primes.
fn sha256_constants() -> ([u32; 8], [u32; 64]) {
    let mut primes = Vec::new();
    for n in 2u32.. {
        if primes.iter().all(|p| n % p != 0) {
            primes.push(n);
        }
        if primes.len() == 64 {
            break;
        }
    }
    // Integer roots of p·2^64 (square) and p·2^96 (cube) keep every bit; f64 would lose some.
    let root = |p: u32, power: u32| -> u32 {
        let target = u128::from(p) << (32 * power);
        let mut r: u128 = 0;
        for bit in (0..36).rev() {
            let next = r | (1 << bit);
            if next.pow(power) <= target {
                r = next;
            }
        }
        u32::try_from(r & 0xFFFF_FFFF).expect("32 bits are kept")
    };
    let mut h = [0; 8];
    let mut k = [0; 64];
    h.iter_mut().zip(&primes).for_each(|(v, p)| *v = root(*p, 2));
    k.iter_mut().zip(&primes).for_each(|(v, p)| *v = root(*p, 3));
    (h, k)
}
