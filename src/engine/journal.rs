//! What a run needs to go on where another one ended (SPEC §8.8): how far it was, the sums so far, and the
//! overviews that are incomplete. Written anew every few seconds, after the blocks that it speaks of.
//!
//! ```text
//! magic │ digest of the request │ tickets done │ end of the blocks │ digest of the blocks │ sums │ overviews │ digest of all this
//! ```
//! Numbers are of 64 bits, little-endian. Nothing in it is believed before all digests are right.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read, Write};

use crate::digest::{TextDigest, digest};
use crate::engine::overview::Region;
use crate::engine::pyramid::{Finished, Key, Place, Pyramid};
use crate::engine::reduce::Tile;
use crate::engine::stats::BandStats;
use crate::engine::write::WritePlan;
use crate::error::Result;
use crate::geometry::Window;
use crate::observer::Stats;
use crate::sample::Sample;

const MAGIC: u64 = u64::from_le_bytes(*b"smaltij2");

/// Where a run is, but for its overviews.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Progress {
    /// Work items done.
    pub(crate) tickets: u64,
    /// Where the next block goes.
    pub(crate) end: u64,
    /// Sum of the digests of all blocks.
    pub(crate) digest: u64,
    /// Blocks written, sparse, copied, unchecked, of overviews; samples invalid, zeroed,
    /// saturated; clashes; seen.
    pub(crate) counts: [u64; 10],
    /// `end` and `digest` of the file that says where pixels come from.
    pub(crate) provenance: [u64; 2],
    pub(crate) bands: Vec<BandStats>,
}

impl Progress {
    pub(crate) fn counts_of(stats: &Stats, seen: u64) -> [u64; 10] {
        [
            stats.blocks_written,
            stats.blocks_sparse,
            stats.blocks_copied,
            stats.blocks_unchecked,
            stats.overview_blocks,
            stats.samples_invalid,
            stats.samples_zeroed,
            stats.samples_saturated,
            stats.nodata_clashes,
            seen,
        ]
    }

    /// Puts the counts where they came from; returns the number of blocks seen.
    pub(crate) fn restore(&self, stats: &mut Stats) -> u64 {
        let [
            written,
            sparse,
            copied,
            unchecked,
            overviews,
            invalid,
            zeroed,
            saturated,
            clashes,
            seen,
        ] = self.counts;
        (stats.blocks_written, stats.blocks_sparse) = (written, sparse);
        (stats.blocks_copied, stats.blocks_unchecked) = (copied, unchecked);
        stats.overview_blocks = overviews;
        (stats.samples_invalid, stats.samples_zeroed) = (invalid, zeroed);
        stats.samples_saturated = saturated;
        (stats.nodata_clashes, stats.blocks_resumed) = (clashes, seen);
        seen
    }
}

/// What tells one request from another: version, grid, rules, options, and the sources with their size and
/// time of change. What only says how fast it goes is left out.
pub(crate) fn fingerprint(plan: &WritePlan<'_>) -> u64 {
    let (mosaic, options) = (plan.mosaic, plan.options);
    let mut text = TextDigest::default();
    // Writing to a digest cannot fail.
    let _ = write!(text, "{} {:?} {:?}", env!("CARGO_PKG_VERSION"), plan.spec, plan.levels);
    let _ = write!(text, "{:?} {} ", options.level, plan.budget.band_group);
    let _ = write!(text, "{} {} {:?}", options.sparse, options.statistics, options.nodata_clash);
    let _ = write!(text, "{:?} {:?} {}", mosaic.grid, mosaic.dtype, mosaic.bands);
    let _ = write!(text, "{:?} {:?} {:?}", mosaic.nodata, mosaic.nodata_mode, mosaic.validity);
    let _ = write!(text, "{:?} {:?} {:?}", mosaic.overlap, mosaic.kernel, mosaic.valid_fraction);
    let _ = write!(text, "{:?} {:?}", mosaic.facts, mosaic.source_dtype);
    let _ = write!(text, "{:?} {:?}", mosaic.reprojections(), mosaic.warp_error_px);
    let _ = write!(text, "{} {:?}", options.skip_bad_blocks, options.provenance);
    for (id, source) in mosaic.sources().iter().enumerate() {
        let (stamp, place) = (source.stamp, mosaic.placement(id as u32));
        let _ = write!(text, "{:?} {} {}", source.path(), stamp.len, stamp.modified_ns);
        let _ = write!(text, "{:?} {:?} {place:?}", source.nodata, source.view);
    }
    text.value()
}

/// Writes numbers and bytes, and digests them.
struct Out<'a> {
    to: &'a mut dyn Write,
    digest: u64,
}

impl Out<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest = digest(self.digest, bytes);
        self.to.write_all(bytes)
    }

    fn words(&mut self, words: &[u64]) -> io::Result<()> {
        words.iter().try_for_each(|word| self.bytes(&word.to_le_bytes()))
    }

    fn window(&mut self, window: Window) -> io::Result<()> {
        let Window { col, row, width, height } = window;
        self.words(&[col, row, width, height].map(u64::from))
    }

    fn tile<T: Sample>(&mut self, tile: Option<&Tile<T>>) -> io::Result<()> {
        self.words(&[u64::from(tile.is_some())])?;
        let Some(tile) = tile else { return Ok(()) };
        self.bytes(bytemuck::cast_slice(&tile.samples))?;
        self.bytes(&tile.valid)
    }
}

/// Writes a journal. `made` are blocks of overviews that are complete, but not in the file yet, each with its
/// turn.
pub(crate) fn save<T: Sample>(
    to: &mut dyn Write,
    fingerprint: u64,
    progress: &Progress,
    overviews: Option<&Pyramid<T>>,
    made: &VecDeque<(u64, Finished<T>)>,
) -> io::Result<()> {
    let mut out = Out { to, digest: 0 };
    out.words(&[MAGIC, fingerprint, progress.tickets, progress.end, progress.digest])?;
    out.words(&progress.counts)?;
    out.words(&progress.provenance)?;
    out.words(&[progress.bands.len() as u64])?;
    progress.bands.iter().try_for_each(|band| out.words(&band.to_words()))?;
    out.words(&[made.len() as u64])?;
    for (turn, block) in made {
        out.words(&[*turn])?;
        out.words(&[block.level, block.bx, block.by].map(u64::from))?;
        out.tile(block.tile.as_deref())?;
    }
    if let Some(pyramid) = overviews {
        out.words(&[pyramid.pending.len() as u64])?;
        for (key, pending) in &pyramid.pending {
            match key {
                Key::Block(level, bx, by) => {
                    out.words(&[0, (*level).into(), (*bx).into(), (*by).into()])?;
                }
                Key::Region(region) => {
                    out.words(&[1, region.level.into()])?;
                    out.window(region.window)?;
                    out.window(region.below)?;
                }
            }
            out.words(&[pending.filled])?;
            match &pending.place {
                Place::Blank => out.tile::<T>(None)?,
                Place::Memory(tile) => out.tile(Some(tile))?,
                Place::Scratch(at) => {
                    let tile = pyramid.load(pending.window, *at).map_err(io::Error::other)?;
                    out.tile(Some(&tile))?;
                }
            }
        }
    }
    let sum = out.digest;
    out.to.write_all(&sum.to_le_bytes())
}

/// Reads what [`Out`] wrote.
struct In<R> {
    from: R,
    digest: u64,
}

impl<R: Read> In<R> {
    fn bytes(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(bytes)?;
        self.digest = digest(self.digest, bytes);
        Ok(())
    }

    fn word(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn words<const N: usize>(&mut self) -> io::Result<[u64; N]> {
        let mut words = [0; N];
        for word in &mut words {
            *word = self.word()?;
        }
        Ok(words)
    }

    fn small(&mut self) -> io::Result<u32> {
        u32::try_from(self.word()?).map_err(io::Error::other)
    }

    fn window(&mut self) -> io::Result<Window> {
        let sides = [self.small()?, self.small()?, self.small()?, self.small()?];
        let [col, row, width, height] = sides;
        Window::new(col, row, width, height).ok_or_else(|| io::Error::other("an empty window"))
    }
}

/// A journal that was read: [`Progress`], the overviews that wait to be encoded, and those that are
/// incomplete.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    pub(crate) progress: Progress,
    pub(crate) made: Vec<(u64, Finished<T>)>,
}

/// Reads a journal into an empty pyramid; `None` if it is not that of this request, or not whole.
///
/// # Errors
/// Those of the pyramid's scratch file.
pub(crate) fn load<T: Sample>(
    journal: impl Read,
    fingerprint: u64,
    pyramid: Option<&mut Pyramid<T>>,
) -> Result<Option<Kept<T>>> {
    let mut from = In { from: BufReader::with_capacity(1 << 18, journal), digest: 0 };
    // Anything that does not parse is not ours: the run starts anew.
    match read(&mut from, fingerprint, pyramid) {
        Ok(kept) => Ok(kept),
        Err(error) => {
            log::debug!("journal: {error}");
            Ok(None)
        }
    }
}

fn read<T: Sample, R: Read>(
    from: &mut In<R>,
    fingerprint: u64,
    pyramid: Option<&mut Pyramid<T>>,
) -> io::Result<Option<Kept<T>>> {
    let [magic, request, tickets, end, blocks] = from.words()?;
    if magic != MAGIC || request != fingerprint {
        return Ok(None);
    }
    let (counts, provenance) = (from.words()?, from.words()?);
    let mut progress =
        Progress { tickets, end, digest: blocks, counts, provenance, bands: Vec::new() };
    for _ in 0..from.word()? {
        progress.bands.push(BandStats::from_words(from.words()?));
    }
    let mut made = Vec::new();
    let count = from.word()?;
    if let Some(pyramid) = pyramid {
        for _ in 0..count {
            let turn = from.word()?;
            let (level, bx, by) = (from.small()?, from.small()?, from.small()?);
            let window = pyramid.window_of(&Key::Block(level, bx, by)).map_err(io::Error::other)?;
            let tile = read_tile(from, pyramid, window)?.map(std::sync::Arc::new);
            made.push((turn, Finished { level, bx, by, tile }));
        }
        for _ in 0..from.word()? {
            let key = match (from.word()?, from.small()?) {
                (0, level) => Key::Block(level, from.small()?, from.small()?),
                (1, level) => {
                    let (window, below) = (from.window()?, from.window()?);
                    Key::Region(Region { level, window, below })
                }
                _ => return Ok(None),
            };
            let filled = from.word()?;
            let window = pyramid.window_of(&key).map_err(io::Error::other)?;
            let tile = read_tile(from, pyramid, window)?;
            pyramid.restore(key, filled, tile).map_err(io::Error::other)?;
        }
    }
    let sum = from.digest;
    Ok((from.word()? == sum).then_some(Kept { progress, made }))
}

fn read_tile<T: Sample, R: Read>(
    from: &mut In<R>,
    pyramid: &Pyramid<T>,
    window: Window,
) -> io::Result<Option<Tile<T>>> {
    if from.word()? == 0 {
        return Ok(None);
    }
    let mut tile = pyramid.empty(window);
    from.bytes(bytemuck::cast_slice_mut(&mut tile.samples))?;
    from.bytes(&mut tile.valid)?;
    Ok(Some(tile))
}
