//! Replays what fuzzing has found (`fixtures/fuzz`), then mutates files and streams with a seeded
//! generator. Coverage-guided fuzzers run the same targets (`support/targets.rs`).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "support/targets.rs"]
mod targets;

/// Inputs in fixtures/fuzz: the first byte names the target.
const CORPUS: usize = 2;
/// Mutated inputs in all.
const CASES: u32 = 200_000;
/// An input must be done within this time.
const LIMIT: Duration = Duration::from_secs(2);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn files(folder: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(fixtures().join(folder)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_none_or(|e| e != "csv" && e != "xml"));
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn timed(target: u8, data: &[u8], what: &str) {
    let began = Instant::now();
    targets::run(target, data);
    assert!(began.elapsed() < LIMIT, "{what} took {:?}", began.elapsed());
}

/// xorshift64*: numbers that are the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }
}

#[test]
fn what_was_found_once_stays_mended() {
    let corpus = files("fuzz");
    assert_eq!(corpus.len(), CORPUS);
    for (index, input) in corpus.iter().enumerate() {
        if let Some((target, data)) = input.split_first() {
            timed(*target, data, &format!("input {index} of fixtures/fuzz"));
        }
    }
}

/// Every file cut at every 97th byte.
#[test]
fn cut_files_do_no_harm() {
    let mut cases = 0u32;
    for (number, bytes) in files("odd").iter().enumerate() {
        for end in (0..bytes.len()).step_by(97) {
            timed(0, &bytes[..end], &format!("odd file {number} cut at {end}"));
            cases += 1;
        }
    }
    assert!(cases > 5_000, "{cases} cuts");
}

/// Headers and streams of all fixtures with bits flipped, bytes replaced, numbers made extreme.
#[test]
fn mutated_files_do_no_harm() {
    let mut corpus = files("odd");
    corpus.extend(files("sources"));
    corpus.extend(files("corrupt"));
    corpus.retain(|bytes| !bytes.is_empty() && bytes.len() <= 16 << 10);
    assert!(corpus.len() > 150, "{} files", corpus.len());
    let mut random = Random(0x5EED_2026);
    for case in 0..CASES {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        timed(0, &bytes, &format!("case {case}"));
    }
}

/// Most mutations hit the first kilobyte, where headers lie.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let range = if random.below(3) > 0 { bytes.len().min(1024) } else { bytes.len() };
    let at = random.below(range);
    match random.below(5) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => {
            let extreme: [u32; 8] =
                [0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF, 0x0001_0000];
            let value = extreme[random.below(8)].to_le_bytes();
            let end = (at + 4).min(bytes.len());
            let len = end - at;
            bytes[at..end].copy_from_slice(&value[..len]);
        }
        3 => {
            let from = random.below(bytes.len());
            let len = random.below(24).min(bytes.len() - from).min(bytes.len() - at);
            let part = bytes[from..from + len].to_vec();
            bytes[at..at + len].copy_from_slice(&part);
        }
        _ => {
            let len = random.below(8).min(bytes.len() - at - 1);
            bytes.drain(at..at + len);
        }
    }
}

/// The other targets get mutated pieces of the files, with random heads.
#[test]
fn mutated_streams_do_no_harm() {
    let corpus = files("odd");
    let mut random = Random(0x57_2EA4);
    for case in 0..20_000u32 {
        let file = &corpus[random.below(corpus.len())];
        let start = random.below(file.len());
        let mut data: Vec<u8> = (0..8).map(|_| random.next() as u8).collect();
        data.extend_from_slice(&file[start..(start + 2048).min(file.len())]);
        mutate(&mut data, &mut random);
        timed(1 + (case % u32::from(targets::TARGETS - 1)) as u8, &data, &format!("case {case}"));
    }
}
