//! What a caller sees of a run while it goes on: progress, warnings, and its way to stop it.

use crate::error::{Error, bytes_text};

/// What a run is about to do. Plain numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Sources in the mosaic.
    pub sources: u64,
    /// Output blocks, all bands counted.
    pub blocks: u64,
    /// Bytes of samples before compression.
    pub raw_bytes: u64,
    /// Worker threads.
    pub threads: usize,
    /// Bytes of decoded source blocks that may be kept.
    pub cache_bytes: u64,
    /// Bytes of memory that the run plans to use at most.
    pub planned_bytes: u64,
}

/// What a run did. Times are summed over the threads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Bytes of the finished output file.
    pub output_bytes: u64,
    /// Output blocks that were stored.
    pub blocks_written: u64,
    /// Output blocks left out because they hold no data (`--sparse`).
    pub blocks_sparse: u64,
    /// Output blocks that are a source's compressed bytes, as they were; they count as stored.
    pub blocks_copied: u64,
    /// Those of them that were not even decoded: nobody has looked at their content.
    pub blocks_unchecked: u64,
    /// Blocks that an earlier run had finished, whose work was gone on with.
    pub blocks_resumed: u64,
    /// Blocks of overviews that were stored.
    pub overview_blocks: u64,
    /// Source blocks that were decoded.
    pub blocks_decoded: u64,
    /// Different source blocks that were decoded; `blocks_decoded` over this is the decode count.
    pub blocks_distinct: u64,
    /// Source blocks that could not be decoded and were left out, each with file, block and reason.
    pub bad_blocks: Vec<String>,
    /// Pixels (per band) that no source gave a valid value.
    pub samples_invalid: u64,
    /// Those of them that hold the fill value; the others kept the NaN of a source, in an output
    /// without nodata.
    pub samples_zeroed: u64,
    /// Valid samples that equal the output nodata.
    pub nodata_clashes: u64,
    /// Computed samples (sums, counts, means) that the output's type cannot hold: they became its least
    /// or largest value.
    pub samples_saturated: u64,
    /// Seconds spent reading compressed bytes.
    pub read_seconds: f64,
    /// Seconds spent decoding.
    pub decode_seconds: f64,
    /// Seconds spent placing pixels: compositing, resampling, conversion, statistics.
    pub render_seconds: f64,
    /// Seconds spent encoding.
    pub encode_seconds: f64,
    /// Seconds the coordinating thread spent writing and syncing.
    pub write_seconds: f64,
    /// Seconds workers waited: for a place in the window or for a block another worker decodes.
    pub wait_seconds: f64,
}

/// Something that the user should know, but that does not stop the run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// An input was named more than once; its last place counts.
    #[error("{path}: named {times} times; used once, at its last place")]
    Repeated {
        /// The file.
        path: String,
        /// How often it was named.
        times: usize,
    },
    /// Something odd in the headers of an input, which was read in the likeliest way.
    #[error("{path}: {what}")]
    Odd {
        /// The file.
        path: String,
        /// What was odd, and what was made of it.
        what: String,
    },
    /// A block of a source could not be decoded and was left out.
    #[error("{0}; its pixels were left out")]
    BadBlock(String),
    /// Pixels that no source covers, in an output without nodata.
    #[error(
        "{count} samples are covered by no valid pixel and became 0; \
         pass --nodata, --alpha or --mask to tell them from data"
    )]
    Uncovered {
        /// Number of samples.
        count: u64,
    },
    /// Valid samples equal the output nodata.
    #[error(
        "{count} valid samples equal the output nodata {nodata} and will read as missing; \
         choose another --nodata, or --on-nodata-clash nudge"
    )]
    NodataClash {
        /// Number of samples.
        count: u64,
        /// The output nodata.
        nodata: String,
    },
    /// Valid samples that equalled the output nodata were moved to the next value.
    #[error(
        "{count} valid samples equalled the output nodata {nodata} and were moved to the next value"
    )]
    Nudged {
        /// Number of samples.
        count: u64,
        /// The output nodata.
        nodata: String,
    },
    /// Computed samples that the output's type cannot hold.
    #[error(
        "{count} computed samples do not fit {dtype} and became its least or largest value; leave \
         --dtype out, or choose a larger type"
    )]
    Saturated {
        /// Number of samples.
        count: u64,
        /// The output's type.
        dtype: String,
    },
    /// Most sources lie off the output grid.
    #[error(
        "{off_grid} of {sources} sources lie off the output grid, by up to {largest_px:.3} pixels, \
         and are resampled; {best} would be copied on another phase (--align largest, --bounds or --like gives one)"
    )]
    OffGrid {
        /// Sources that are not aligned with the grid.
        off_grid: usize,
        /// All sources.
        sources: usize,
        /// Largest distance from the grid in pixels.
        largest_px: f64,
        /// Sources in the largest co-registered group.
        best: usize,
    },
    /// Threads were lowered to fit the memory budget.
    #[error("{used} of {wanted} threads are used, to fit a memory budget of {}", bytes_text(*budget_bytes))]
    FewerThreads {
        /// Threads used.
        used: usize,
        /// Threads asked for.
        wanted: usize,
        /// The budget.
        budget_bytes: u64,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// Sees a run. Every method does nothing by default; `()` implements it.
///
/// All methods but [`Observer::cancelled`] are called from the thread that started the run.
pub trait Observer: Sync {
    /// The run begins.
    fn started(&self, _job: &Job) {}
    /// A source was dropped (`--skip-bad`).
    fn source_skipped(&self, _error: &Error) {}
    /// Something the user should know.
    fn warning(&self, _warning: &Warning) {}
    /// An output block was finished; `bytes` is 0 for one that is not stored.
    fn block_written(&self, _index: u64, _bytes: u64) {}
    /// The output is complete.
    fn finished(&self, _stats: &Stats) {}
    /// Whether to stop; polled between blocks and at least ten times a second.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Observer for () {}
