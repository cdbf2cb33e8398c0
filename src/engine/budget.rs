//! Memory: what a run may use, and how it is shared out. All in bytes.

use std::path::Path;

use crate::codec::Compression;
use crate::engine::layers::worker_bytes;
use crate::engine::overview::Levels;
use crate::engine::reduce::line_bytes;
use crate::engine::render::shares_validity;
use crate::engine::sink::turn_tickets;
use crate::error::{Error, InputError, Result, bytes_text};
use crate::geometry::{Size, Window};
use crate::mosaic::Mosaic;
use crate::source::streams::{MOST_STREAMS, STREAM_BYTES};

/// Default budget where the machine's memory cannot be known.
const UNKNOWN_BYTES: u64 = 256 << 20;
/// Largest default budget.
const MOST_DEFAULT_BYTES: u64 = 1 << 30;
/// Pending table entries of the output.
const FIXED_BYTES: u64 = 1 << 20;
/// Least cache that is worth a run: some table pages.
const LEAST_CACHE_BYTES: u64 = 1 << 20;
/// A source block may take this share of the budget (SPEC §7.3).
const LARGEST_SHARE: u64 = 8;
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
    /// Side of an output block.
    pub chunk: u32,
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
    /// Overviews that are made on the way.
    pub overviews: Option<OverviewDemand>,
    /// Bytes for each pixel of a window that say where its samples come from; 0 if nobody asks.
    pub origin_bytes: u64,
    /// Whether blocks of sources may be held, to be compared with those that are rendered, and copied.
    pub copies: bool,
}

/// What overviews cost, by the options.
#[derive(Debug, Clone, Copy)]
pub struct OverviewDemand {
    /// Bytes of a block of an overview with its validity.
    pub block_bytes: u64,
    /// Bytes of what a block gives to the level above, at most.
    pub piece_bytes: u64,
    /// Bytes of the lines that a thread makes of a block on the way to the level above.
    pub line_bytes: u64,
    /// Blocks of overviews that wait for more pixels when a row of cells is half done, at most.
    pub blocks: u64,
}

impl OverviewDemand {
    /// For a mosaic and its levels.
    pub(crate) fn new(mosaic: &Mosaic, levels: &Levels) -> OverviewDemand {
        let pixel = pixel_bytes(mosaic);
        let across = |size: &Size| u64::from(size.width.div_ceil(levels.chunk));
        OverviewDemand {
            block_bytes: u64::from(levels.chunk).pow(2) * pixel,
            piece_bytes: Levels::piece_bytes(levels.chunk, pixel),
            line_bytes: line_bytes(levels.chunk),
            blocks: levels.sizes[1..].iter().map(across).sum(),
        }
    }
}

/// Bytes of a pixel of all bands with its validity.
pub(crate) fn pixel_bytes(mosaic: &Mosaic) -> u64 {
    let planes = if shares_validity(mosaic) { 1 } else { u64::from(mosaic.bands) };
    mosaic.dtype.size() as u64 * u64::from(mosaic.bands) + planes
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
    /// Bytes of incomplete overviews that are held; more goes to a scratch file.
    pub overview_bytes: u64,
}

impl Demand {
    /// Worker's own buffers, and the bytes of one result at worst.
    fn costs(&self, mosaic: &Mosaic, needs: &SourceNeeds, group: u32) -> (u64, u64) {
        let SourceNeeds { decoded, stored, planar, chunky, masked, .. } = *needs;
        let planes = if self.shared_validity { 1 } else { group };
        let layers = worker_bytes(mosaic, self.chunk, group, planes, self.origin_bytes);
        let group = u64::from(group);
        let plane = self.block_pixels * self.sample_bytes;
        let validity = self.block_pixels * if self.shared_validity { 1 } else { group };
        // Of one source block.
        let mask = if masked { decoded } else { 0 };
        let block_samples = plane * if self.pixel_interleaved { u64::from(self.bands) } else { 1 };
        let encoded = self.compression.max_encoded_len(block_samples as usize) as u64;
        // A block being read, and one being taken apart if it is chunky; bands of planar sources are
        // held side by side where validity needs all of them; one spare.
        let held = match (planar, self.separable) {
            (false, _) => 1,
            (true, true) => group,
            (true, false) => u64::from(self.bands),
        };
        let reading = stored + needs.scratch + decoded * (held + 1 + u64::from(chunky));
        let reading = reading + if self.copies { (decoded + stored) * held } else { 0 };
        let interleaved = if self.pixel_interleaved { block_samples } else { 0 };
        // While a block is encoded with LZW it may come to half as much again as it has bytes.
        let encoding = if self.compression == Compression::Lzw { block_samples / 2 } else { 0 };
        let lines = self.overviews.map_or(0, |overviews| overviews.line_bytes);
        // Sources of samples, of pixels, and a block of them on its way into a file.
        let origins = match self.origin_bytes {
            0 => 0,
            bytes => self.block_pixels * (bytes + 4 + 8 + 5),
        };
        let samples = group * plane + validity + mask + interleaved + encoding;
        let thread = samples + reading + layers + lines + origins;
        let results = if self.pixel_interleaved { 1 } else { group };
        // Blocks are encoded into the memory in which they wait; a mask is next to nothing. With
        // overviews a result holds what its block gives to them.
        let pieces = self.overviews.map_or(0, |overviews| overviews.piece_bytes);
        let origins = if self.origin_bytes > 0 { self.block_pixels } else { 0 };
        (thread, encoded * results + self.block_pixels / 4 + pieces + origins)
    }

    /// Bytes of incomplete overviews that are held: all that a row of cells leaves behind, or an eighth of
    /// the budget.
    fn overview_bytes(&self, total_bytes: u64) -> u64 {
        let Some(OverviewDemand { block_bytes, blocks, .. }) = self.overviews else { return 0 };
        (block_bytes * (blocks + 4)).min(total_bytes / 8).max(block_bytes)
    }

    /// Blocks of overviews that are complete and wait to be encoded or written, and the coordinating
    /// thread's own.
    fn queued_bytes(&self) -> u64 {
        // Waiting ones as samples and as encoded; the canvas, the interleaved block, and the framed one; the
        // pieces at hand.
        self.overviews.map_or(0, |overviews| {
            overviews.block_bytes * (2 * turn_tickets(overviews.block_bytes) + 3)
                + overviews.line_bytes
                + overviews.piece_bytes
        })
    }

    /// Shares out a budget: all bands at once and all threads if they fit, then fewer bands at once,
    /// then fewer threads.
    ///
    /// # Errors
    /// [`InputError::Memory`] with the least budget that would do, if one thread does not fit.
    pub fn share(&self, mosaic: &Mosaic, total_bytes: u64) -> Result<Budget> {
        let needs = SourceNeeds::new(mosaic, self.chunk);
        let mut groups = vec![self.bands];
        if self.separable {
            // Halves of all bands, down to one.
            while let Some(group) = groups.last().copied().filter(|g| *g > 1) {
                groups.push(group.div_ceil(2));
            }
        }
        let fits = needs.decoded <= total_bytes / LARGEST_SHARE;
        for threads in (1..=self.threads.max(1)).rev().filter(|_| fits) {
            for group in &groups {
                if let Some(budget) = self.try_share(mosaic, &needs, total_bytes, threads, *group) {
                    return Ok(budget);
                }
            }
        }
        let group = groups.last().copied().unwrap_or(1);
        Err(self.refuse(mosaic, &needs, group, total_bytes))
    }

    fn try_share(
        &self,
        mosaic: &Mosaic,
        needs: &SourceNeeds,
        total_bytes: u64,
        threads: usize,
        group: u32,
    ) -> Option<Budget> {
        let (thread_bytes, reserve_bytes) = self.costs(mosaic, needs, group);
        let overview_bytes = self.overview_bytes(total_bytes);
        let fixed = FIXED_BYTES
            + needs.stream_bytes(threads)
            + thread_bytes * threads as u64
            + overview_bytes
            + self.queued_bytes();
        // Half a result more lets a thread that is done begin its next while another is behind.
        let least = reserve_bytes * threads as u64;
        let good = (total_bytes / WINDOW_SHARE).max(least + reserve_bytes / 2);
        // Where memory is tight, a block that is decoded twice costs more than a thread that waits.
        [(good, total_bytes / 2), (least, 0)].into_iter().find_map(|(window_bytes, enough)| {
            let cache_bytes = total_bytes.checked_sub(fixed + window_bytes)?;
            (cache_bytes >= needs.least_cache().max(enough)).then_some(Budget {
                total_bytes,
                threads,
                band_group: group,
                thread_bytes,
                window_bytes,
                reserve_bytes,
                cache_bytes,
                overview_bytes,
            })
        })
    }

    fn refuse(&self, mosaic: &Mosaic, needs: &SourceNeeds, group: u32, budget_bytes: u64) -> Error {
        let (thread, reserve) = self.costs(mosaic, needs, group);
        let together =
            FIXED_BYTES + needs.stream_bytes(self.threads) + thread + reserve + needs.least_cache();
        let overviews = self.overview_bytes(0) + self.queued_bytes();
        let together = together + overviews + overviews / 4;
        let need_bytes = together.max(needs.decoded * LARGEST_SHARE);
        let name = |id: usize| mosaic.sources()[id].path().display();
        let mebibytes = need_bytes.div_ceil(1 << 20);
        let rewrite = format!(
            "pass --memory {mebibytes}M, or rewrite the source in tiles, e.g. gdal_translate -co TILED=YES"
        );
        let (what, hint) = if needs.decoded > (budget_bytes / LARGEST_SHARE).max(1 << 20) {
            let bytes = bytes_text(needs.decoded);
            (format!("{}: a block of {bytes}", name(needs.largest)), rewrite)
        } else if needs.streams > 0 && needs.stream_rows * 2 >= needs.least_cache() {
            let source = &mosaic.sources()[needs.largest_stream].dataset.image;
            let bytes = source.size.pixels()
                * u64::from(source.samples_in_block())
                * source.dtype.size() as u64;
            let (bytes, name) = (bytes_text(bytes), name(needs.largest_stream));
            (format!("{name}: a compressed strip of {bytes}, read as a stream,"), rewrite)
        } else {
            let pixels = self.block_pixels;
            let hint = format!("pass --memory {mebibytes}M, or a smaller --chunk");
            (format!("a block of {pixels} pixels and {} bands", self.bands), hint)
        };
        InputError::Memory { what, need_bytes, budget_bytes, hint }.into()
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
    /// Most bytes that a decoder takes beside its block.
    scratch: u64,
    planar: bool,
    chunky: bool,
    masked: bool,
    /// Sources whose strips are decoded as streams.
    streams: usize,
    /// Bytes of the rows of such a source that a row of cells needs, at most.
    stream_rows: u64,
    largest_stream: usize,
    /// Bytes of the largest part of such a strip.
    stream_part: u64,
    /// Most such sources that lie over one place.
    stream_depth: usize,
}

impl SourceNeeds {
    fn new(mosaic: &Mosaic, chunk: u32) -> SourceNeeds {
        let mut needs = SourceNeeds::default();
        for (id, source) in mosaic.sources().iter().enumerate() {
            let image = &source.dataset.image;
            let mask = source.mask();
            for layout in [Some(image), mask].into_iter().flatten() {
                if layout.max_decoded_bytes() > needs.decoded {
                    (needs.decoded, needs.largest) = (layout.max_decoded_bytes(), id);
                }
                needs.stored = needs.stored.max(layout.max_stored_bytes);
                needs.scratch = needs.scratch.max(layout.scratch_bytes());
            }
            needs.planar |= image.planar;
            needs.chunky |= !image.planar && image.bands > 1;
            needs.masked |= mask.is_some();
            if image.is_streamed() {
                needs.add_stream(mosaic, id, chunk);
            }
        }
        needs
    }

    fn add_stream(&mut self, mosaic: &Mosaic, id: usize, chunk: u32) {
        let image = &mosaic.sources()[id].dataset.image;
        let window = mosaic.grid.size.window().and_then(|all| mosaic.source_window(id as u32, all));
        let Some(window) = window else { return };
        self.streams += 1;
        self.stream_part = self.stream_part.max(image.max_decoded_bytes());
        let corners =
            [(window.col, window.row), (window.col_end() - 1, window.row)].into_iter().chain([
                (window.col, window.row_end() - 1),
                (window.col_end() - 1, window.row_end() - 1),
            ]);
        let mut hits = Vec::new();
        for (col, row) in corners {
            // A cell about the corner: sources that only meet in one cell are read in turn there too.
            let half = chunk / 2;
            let (c, r) = (col.saturating_sub(half), row.saturating_sub(half));
            let Some(about) = Window::new(c, r, chunk, chunk) else { continue };
            mosaic.hits(about, &mut hits);
            let streamed = |id: &&u32| mosaic.sources()[**id as usize].dataset.image.is_streamed();
            self.stream_depth = self.stream_depth.max(hits.iter().filter(streamed).count());
        }
        let scale = f64::from(mosaic.sources()[id].size().height) / f64::from(window.height);
        let rows = (f64::from(chunk) * scale).min(f64::from(image.size.height));
        let row_bytes =
            f64::from(image.size.width) * f64::from(image.bands) * image.dtype.size() as f64;
        // The parts that straddle the borders of the row of cells come on top.
        let bytes = (rows * row_bytes) as u64 + 2 * image.max_decoded_bytes();
        if bytes > self.stream_rows {
            (self.stream_rows, self.largest_stream) = (bytes, id);
        }
    }

    /// Memory of the streams that are open at once, with the parts that threads left for each other.
    fn stream_bytes(&self, threads: usize) -> u64 {
        let each = STREAM_BYTES + self.stream_part * threads as u64;
        self.streams.min(MOST_STREAMS) as u64 * each
    }

    /// Below this a run would decode the same bytes again and again: a stream starts anew at the top.
    fn least_cache(&self) -> u64 {
        let at_once = self.stream_depth.max(self.streams.min(2)) as u64;
        LEAST_CACHE_BYTES.max(2 * self.decoded).max(self.stream_rows * at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_and_bytes_are_taken_at_their_word() {
        assert_eq!(MemoryLimit::Bytes(5).bytes().unwrap(), 5);
        for share in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
            assert!(MemoryLimit::Fraction(share).bytes().is_err(), "{share}");
        }
        let auto = MemoryLimit::Auto.bytes().unwrap();
        assert!(auto > 0 && auto <= MOST_DEFAULT_BYTES, "{auto}");
        assert!(MemoryLimit::Fraction(1.0).bytes().unwrap() > 0);
    }

    #[test]
    fn lines_that_are_no_memory_group_are_passed_over() {
        for line in ["", "0", "0:", "12:cpu,cpuacct:/a", "3:pids:/", "1:name=systemd:/init.scope"] {
            assert_eq!(cgroup_available(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_path_that_is_not_there_falls_back_to_its_parents() {
        // Whatever the root says (a limit or none), a group below it that is not there says the same;
        // what is used moves between the two readings, so only the kind of answer is compared.
        for prefix in ["0::", "9:memory:", "9:cpu,memory:"] {
            let root = cgroup_available(&format!("{prefix}/"));
            let below = cgroup_available(&format!("{prefix}/no/such:group/in here"));
            assert_eq!(root.is_some(), below.is_some(), "{prefix}");
        }
    }

    #[test]
    fn what_is_available_is_no_more_than_the_machine_has() {
        let Some(available) = available_bytes() else { return };
        let text = read("/proc/meminfo").unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib: u64 = total.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
        assert!(available <= kib * 1024);
    }

    #[cfg(all(feature = "jpeg", feature = "webp", feature = "lerc"))]
    #[test]
    fn what_decoders_take_is_counted() {
        // Bytes of scratch for each sample of a block: a plane and two bytes of coefficients; a copy and two
        // more; two copies of four bytes; none.
        let table = [
            ("odd/jpeg_ycbcr", 3),
            ("odd/webp_lossy", 3),
            ("odd/lerc_float32", 8),
            ("sources/relief_1", 0),
        ];
        for (name, each) in table {
            let path = format!("{}/fixtures/{name}.tif", env!("CARGO_MANIFEST_DIR"));
            let source = crate::source::open::open_source(Path::new(&path)).unwrap();
            let image = &source.dataset.image;
            let samples = image.max_decoded_bytes() / image.dtype.size() as u64;
            let mosaic =
                Mosaic::new(vec![source], &crate::mosaic::MosaicOptions::default()).unwrap();
            let needs = SourceNeeds::new(&mosaic, 64);
            assert_eq!(needs.scratch, samples * each, "{name}");
        }
    }

    #[test]
    fn more_bands_at_once_never_cost_less() {
        let needs = SourceNeeds { decoded: 1 << 20, stored: 1 << 18, ..SourceNeeds::default() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sources/relief_1.tif");
        let source = crate::source::open::open_source(&source).unwrap();
        let mosaic = Mosaic::new(vec![source], &crate::mosaic::MosaicOptions::default()).unwrap();
        let mut cases = 0;
        for chunk in [16u32, 256, 1024, 2048, 32768] {
            for pixel_interleaved in [false, true] {
                let demand = Demand {
                    threads: 1,
                    chunk,
                    block_pixels: u64::from(chunk).pow(2),
                    sample_bytes: 8,
                    bands: 12,
                    separable: true,
                    shared_validity: false,
                    pixel_interleaved,
                    compression: Compression::Lzw,
                    overviews: None,
                    origin_bytes: 0,
                    copies: false,
                };
                let costs: Vec<(u64, u64)> =
                    (1..=12).map(|g| demand.costs(&mosaic, &needs, g)).collect();
                assert!(costs.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{costs:?}");
                assert!(costs[11].0 >= 12 * 9 * demand.block_pixels, "{costs:?}");
                cases += 1;
            }
        }
        assert_eq!(cases, 10);
    }
}
