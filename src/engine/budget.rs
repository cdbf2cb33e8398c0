//! Memory: what a run may use, and how it is shared out. All in bytes.

use std::path::Path;

use crate::codec::Compression;
use crate::error::{InputError, Result};
use crate::mosaic::Mosaic;

/// Default budget where the machine's memory cannot be known.
const UNKNOWN_BYTES: u64 = 256 << 20;
/// Largest default budget.
const MOST_DEFAULT_BYTES: u64 = 1 << 30;
/// Pending table entries of the output.
const FIXED_BYTES: u64 = 1 << 20;
/// Least cache that is worth a run: some table pages.
const LEAST_CACHE_BYTES: u64 = 1 << 20;
/// Encoded blocks may take this share of the budget.
const WINDOW_SHARE: u64 = 3;

/// How much memory a run may use.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum MemoryLimit {
    /// A quarter of what is available to this process, at most 1 GiB; 256 MiB where unknown.
    #[default]
    Auto,
    /// This many bytes.
    Bytes(u64),
    /// This share of what is available to this process, above 0 and at most 1.
    Fraction(f64),
}

impl MemoryLimit {
    /// The budget in bytes.
    ///
    /// # Errors
    /// [`InputError::Option`] if the fraction is out of range.
    pub fn bytes(self) -> Result<u64> {
        match self {
            MemoryLimit::Bytes(bytes) => Ok(bytes),
            MemoryLimit::Auto => Ok(available_bytes()
                .map_or(UNKNOWN_BYTES, |bytes| (bytes / 4).min(MOST_DEFAULT_BYTES))),
            MemoryLimit::Fraction(share) if share > 0.0 && share <= 1.0 => {
                Ok((available_bytes().unwrap_or(4 * UNKNOWN_BYTES) as f64 * share) as u64)
            }
            MemoryLimit::Fraction(share) => {
                let reason = format!("{share} is not above 0 and at most 1");
                Err(InputError::Option { option: "--cache-fraction", reason }.into())
            }
        }
    }
}

/// Memory that this process can still have: the least of the machine's and its cgroups'.
pub fn available_bytes() -> Option<u64> {
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(cgroup_available);
    limits.chain(machine).min()
}

/// What one line of `/proc/self/cgroup` leaves: `0::/path` (version 2) or `4:memory:/path` (1).
fn cgroup_available(line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (root, limit, used) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max", "memory.current")
    } else if controllers.split(',').any(|c| c == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
    } else {
        return None;
    };
    // A limit anywhere above counts; in a container the path may not be there, but the root is.
    let mut least: Option<u64> = None;
    let mut path = path.trim_matches('/');
    loop {
        let directory = Path::new(root).join(path);
        let number = |name: &str| read(directory.join(name).to_str()?)?.trim().parse::<u64>().ok();
        if let (Some(limit), Some(used)) = (number(limit), number(used)) {
            let left = limit.saturating_sub(used);
            least = Some(least.map_or(left, |l| l.min(left)));
        }
        if path.is_empty() {
            return least;
        }
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}

fn read(path: &str) -> Option<String> {
    crate::io::read_system_file(Path::new(path))
}

/// What an output block costs, by the options.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// Threads that are wanted.
    pub threads: usize,
    /// Pixels of an output block.
    pub block_pixels: u64,
    /// Bytes of an output sample.
    pub sample_bytes: u64,
    /// Bands of the output.
    pub bands: u32,
    /// Whether bands can be rendered apart: planar output, and validity by band.
    pub separable: bool,
    /// Planes of validity for one band at a time, or shared by all.
    pub shared_validity: bool,
    /// Whether one block holds all bands.
    pub pixel_interleaved: bool,
    /// Codec of the output.
    pub compression: Compression,
}

/// How the budget is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Worker threads.
    pub threads: usize,
    /// Bands that are rendered together.
    pub band_group: u32,
    /// Bytes of each worker's own buffers.
    pub thread_bytes: u64,
    /// Bytes of encoded blocks that wait for their turn.
    pub window_bytes: u64,
    /// Bytes that one item of the window may come to.
    pub reserve_bytes: u64,
    /// Bytes of decoded source blocks that are kept.
    pub cache_bytes: u64,
}

impl Demand {
    /// Worker's own buffers, and the bytes of one result at worst.
    fn costs(&self, mosaic: &Mosaic, needs: &SourceNeeds, group: u32) -> (u64, u64) {
        let SourceNeeds { decoded, stored, planar, chunky, masked, .. } = *needs;
        let group = u64::from(group);
        let plane = self.block_pixels * self.sample_bytes;
        let validity = self.block_pixels * if self.shared_validity { 1 } else { group };
        let mask = if masked { self.block_pixels } else { 0 };
        let block_samples = plane * if self.pixel_interleaved { u64::from(self.bands) } else { 1 };
        let encoded = self.compression.max_encoded_len(block_samples as usize) as u64;
        // A block being read, and one being taken apart if it is chunky; bands of planar sources are
        // held side by side where validity needs all of them; one spare.
        let held = if planar && self.shared_validity { u64::from(mosaic.bands) } else { 1 };
        let reading = stored + decoded * (held + 1 + u64::from(chunky));
        let interleaved = if self.pixel_interleaved { block_samples } else { 0 };
        let thread = group * plane + validity + mask + interleaved + reading;
        let results = if self.pixel_interleaved { 1 } else { group };
        // Blocks are encoded into the memory in which they wait; a mask is next to nothing.
        (thread, encoded * results + self.block_pixels / 4)
    }

    /// Shares out a budget: all bands at once and all threads if they fit, then fewer bands at once,
    /// then fewer threads.
    ///
    /// # Errors
    /// [`InputError::Memory`] with the least budget that would do, if one thread does not fit.
    pub fn share(&self, mosaic: &Mosaic, total_bytes: u64) -> Result<Budget> {
        let needs = SourceNeeds::new(mosaic);
        let largest = needs.decoded;
        if largest > total_bytes / 8 {
            let source = &mosaic.sources()[needs.largest];
            let what = format!("{}: a source block of {largest} bytes", source.path().display());
            let hint = "raise --memory, or rewrite the source in smaller strips or tiles, e.g. \
                        gdal_translate -co TILED=YES";
            let (need_bytes, budget_bytes) = (largest * 8, total_bytes);
            return Err(
                InputError::Memory { what, need_bytes, budget_bytes, hint: hint.into() }.into()
            );
        }
        let mut groups = vec![self.bands];
        if self.separable {
            // Halves of all bands, down to one.
            while let Some(group) = groups.last().copied().filter(|g| *g > 1) {
                groups.push(group.div_ceil(2));
            }
        }
        for threads in (1..=self.threads.max(1)).rev() {
            for group in &groups {
                let (thread_bytes, reserve_bytes) = self.costs(mosaic, &needs, *group);
                let workers = thread_bytes * threads as u64;
                // Two results in the window for each thread keep all at work, if they can be had.
                let least_window = reserve_bytes * if threads > 1 { threads as u64 } else { 1 };
                // Half a result more lets a thread that is done begin its next while another is behind.
                let window_bytes =
                    (total_bytes / WINDOW_SHARE).max(least_window + reserve_bytes / 2);
                let cache_least = LEAST_CACHE_BYTES.max(2 * largest);
                let need = FIXED_BYTES + workers + window_bytes + cache_least;
                let small_window = FIXED_BYTES + workers + least_window + cache_least;
                if need <= total_bytes || small_window <= total_bytes {
                    let window_bytes =
                        if need <= total_bytes { window_bytes } else { least_window };
                    return Ok(Budget {
                        total_bytes,
                        threads,
                        band_group: *group,
                        thread_bytes,
                        window_bytes,
                        reserve_bytes,
                        cache_bytes: total_bytes - FIXED_BYTES - workers - window_bytes,
                    });
                }
            }
        }
        let group = groups.last().copied().unwrap_or(1);
        let (thread, reserve) = self.costs(mosaic, &needs, group);
        let need_bytes =
            (FIXED_BYTES + thread + reserve + LEAST_CACHE_BYTES.max(2 * largest)).max(largest * 8);
        let what = format!("a block of {} pixels and {} bands", self.block_pixels, self.bands);
        let hint = format!("pass --memory {}M, or a smaller --chunk", need_bytes.div_ceil(1 << 20));
        Err(InputError::Memory { what, need_bytes, budget_bytes: total_bytes, hint }.into())
    }
}

/// What the sources' blocks ask for.
#[derive(Debug, Clone, Copy, Default)]
struct SourceNeeds {
    /// Bytes of the largest decoded block.
    decoded: u64,
    /// Number of the first source that has it.
    largest: usize,
    /// Bytes of the largest stored block.
    stored: u64,
    planar: bool,
    chunky: bool,
    masked: bool,
}

impl SourceNeeds {
    fn new(mosaic: &Mosaic) -> SourceNeeds {
        let mut needs = SourceNeeds::default();
        for (id, source) in mosaic.sources().iter().enumerate() {
            let image = &source.dataset.image;
            let mask = source.dataset.mask.as_deref();
            for layout in [Some(image), mask].into_iter().flatten() {
                if layout.max_decoded_bytes() > needs.decoded {
                    (needs.decoded, needs.largest) = (layout.max_decoded_bytes(), id);
                }
                needs.stored = needs.stored.max(layout.max_stored_bytes);
            }
            needs.planar |= image.planar;
            needs.chunky |= !image.planar && image.bands > 1;
            needs.masked |= mask.is_some();
        }
        needs
    }
}
