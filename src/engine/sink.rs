//! The coordinating thread's side of a run: results go to the file in order, pieces of overviews are brought
//! together, sums are kept, and every few seconds a journal says how far it all is.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::engine::budget::pixel_bytes;
use crate::engine::canvas::Canvas;
use crate::engine::encode::{BlockEncoder, Encoded, EncodedCanvas};
use crate::engine::journal::{self, Kept, Progress};
use crate::engine::provenance::{self, Provenance};
use crate::engine::pyramid::{Finished, Pyramid};
use crate::engine::run::{Rendered, Run, Targets, lock};
use crate::engine::spec;
use crate::engine::stats::BandStats;
use crate::engine::write::{NodataClash, Report, WritePlan};
use crate::error::{ErrorKind, InputError, Result};
use crate::mosaic::plan::Cell;
use crate::mosaic::{Overlap, ValidityOutput};
use crate::observer::{Observer, Stats, Warning};
use crate::sample::Sample;
use crate::source::blocks::Blocks;
use crate::tiff::writer::{Plane, Writer};

/// A block of an overview is written so many work items after the one that completed it: time for a worker
/// to encode it meanwhile. At the end of a row of blocks each item completes one, so that so many are held:
/// the fewer, the larger they are. Places in the file depend on it, so it depends on nothing else.
pub(crate) fn turn_tickets(block_bytes: u64) -> u64 {
    const HELD_BYTES: u64 = 4 << 20;
    (HELD_BYTES / block_bytes.max(1)).clamp(2, 16)
}

/// Where results go, in order.
pub(super) struct Sink<'a, T> {
    run: &'a Run<'a, T>,
    pub(super) writer: Writer,
    /// Which source gave each pixel.
    pub(super) provenance: Option<Provenance>,
    overviews: Option<Overviews<T>>,
    /// Blocks of overviews that are complete, but not in the file, each with the number of done work items
    /// at which it is its turn: so their places in the file do not depend on threads.
    making: VecDeque<(u64, Finished<T>)>,
    turn_tickets: u64,
    /// Whether the file holds whole work items, and nothing else.
    whole: bool,
    pub(super) sums: Sums,
    /// As far as the journal knows; what counts for a new one is counted when it is written.
    pub(super) progress: Progress,
    pace: Pace,
    fingerprint: u64,
}

/// The pieces of overviews, and what encodes a block that no worker has begun.
struct Overviews<T> {
    pyramid: Pyramid<T>,
    canvas: Canvas<T>,
    encoder: BlockEncoder<T>,
}

impl<'a, T: Sample> Sink<'a, T> {
    /// Begins the file, or goes on with the one that a journal speaks of.
    pub(super) fn open(
        run: &'a Run<'a, T>,
        targets: Targets,
        observer: &dyn Observer,
    ) -> Result<Sink<'a, T>> {
        let plan = run.plan;
        let Targets { output: mut target, provenance, journal } = targets;
        let mut overviews = match &plan.levels {
            Some(levels) => {
                // Where there is no scratch file all is held.
                let (file, reducer) = (target.scratch().ok(), plan.reducer::<T>(levels));
                let bytes = plan.budget.overview_bytes;
                let pyramid = Pyramid::new(levels.clone(), reducer, bytes, file);
                let encoder = BlockEncoder::new(plan.format::<T>())?;
                Some(Overviews { pyramid, canvas: Canvas::new(), encoder })
            }
            None => None,
        };
        let fingerprint = journal::fingerprint(plan);
        let pyramid = overviews.as_mut().map(|overviews| &mut overviews.pyramid);
        let asked = journal.is_some();
        let kept = match journal {
            Some(journal) => journal::load(journal, fingerprint, pyramid)?,
            None => None,
        };
        let (mut provenance, kept) = provenance::open(plan, provenance, kept, asked)?;
        let place = kept.as_ref().map(|kept| (kept.progress.end, kept.progress.digest));
        // A damaged journal must not leave bytes behind that the file would be extended over.
        let place = if asked { Some(place.unwrap_or((0, 0))) } else { None };
        let (writer, found) = Writer::resume(target, plan.spec.clone(), place)?;
        if asked && !found {
            provenance = provenance.map(Provenance::restart).transpose()?;
        }
        let mut sink = Sink {
            run,
            writer,
            provenance,
            overviews,
            making: VecDeque::new(),
            turn_tickets: turn_tickets(
                u64::from(plan.options.chunk).pow(2) * pixel_bytes(plan.mosaic),
            ),
            whole: true,
            sums: Sums::new(plan.mosaic.output_bands()),
            progress: Progress::default(),
            pace: Pace::new(),
            fingerprint,
        };
        match kept.filter(|_| found) {
            Some(kept) => sink.go_on(kept, observer),
            None if asked => {
                if let Some(overviews) = &mut sink.overviews {
                    overviews.pyramid.clear();
                }
                let text = "what an earlier run left is damaged, or of other inputs or options; \
                            the run begins anew";
                observer.warning(&Warning::Other(text.into()));
            }
            None => {}
        }
        Ok(sink)
    }

    fn go_on(&mut self, kept: Kept<T>, observer: &dyn Observer) {
        let Kept { progress, made } = kept;
        self.sums.blocks_seen = progress.restore(&mut self.sums.stats);
        self.sums.bands.clone_from(&progress.bands);
        for index in 0..self.sums.blocks_seen {
            observer.block_written(index, 0);
        }
        for (turn, block) in made {
            self.making.push_back((turn, block.clone()));
            lock(&self.run.queue).push_back(block);
        }
        self.progress = progress;
    }

    pub(super) fn take_in(
        &mut self,
        cell: Cell,
        item: Rendered<T>,
        observer: &dyn Observer,
    ) -> Result<()> {
        self.whole = false;
        self.sums.take_in(&item, &mut self.writer, (cell.bx, cell.by), observer)?;
        if let (Some(provenance), Some(block)) = (&mut self.provenance, &item.origins) {
            provenance.append((cell.bx, cell.by), block)?;
        }
        let began = Instant::now();
        if let Some(Overviews { pyramid, .. }) = &mut self.overviews {
            pyramid.take_in(item.pieces)?;
            let mut queue = lock(&self.run.queue);
            for block in pyramid.finished.drain(..) {
                self.making.push_back((self.progress.tickets + self.turn_tickets, block.clone()));
                queue.push_back(block);
            }
        }
        self.sums.stats.render_seconds += began.elapsed().as_secs_f64();
        self.progress.tickets += 1;
        self.write_made(self.progress.tickets)?;
        self.whole = true;
        if self.writer.keeps_journal() && self.pace.is_due() { self.checkpoint() } else { Ok(()) }
    }

    /// Writes the blocks of overviews whose turn has come.
    fn write_made(&mut self, tickets: u64) -> Result<()> {
        while self.making.front().is_some_and(|(turn, _)| *turn <= tickets) {
            let Some((_, block)) = self.making.pop_front() else { break };
            let encoded = self.encoded(&block)?;
            let began = Instant::now();
            let place = (block.bx, block.by);
            for (band, bytes) in encoded.blocks.iter().enumerate() {
                if !matches!(bytes, Encoded::Sparse) {
                    let plane = Plane::Image(band as u32);
                    self.writer.append(block.level, plane, place, bytes.bytes())?;
                    self.sums.stats.overview_blocks += 1;
                }
            }
            if let Some(Encoded::Bytes(mask)) = &encoded.mask {
                self.writer.append(block.level, Plane::Mask, place, mask)?;
            }
            self.sums.stats.write_seconds += began.elapsed().as_secs_f64();
        }
        Ok(())
    }

    /// A block of an overview as a worker encoded it; one that no worker has begun is encoded here.
    fn encoded(&mut self, block: &Finished<T>) -> Result<EncodedCanvas> {
        let mut queue = lock(&self.run.queue);
        let waiting = queue.iter().position(|other| other.key() == block.key());
        let waiting = waiting.and_then(|at| queue.remove(at));
        drop(queue);
        if let (Some(block), Some(Overviews { canvas, encoder, .. })) =
            (waiting, &mut self.overviews)
        {
            let began = Instant::now();
            let encoded = self.run.encode_overview(&block, canvas, encoder);
            self.sums.stats.encode_seconds += began.elapsed().as_secs_f64();
            return encoded;
        }
        let mut done = lock(&self.run.done);
        loop {
            if let Some(encoded) = done.remove(&block.key()) {
                return encoded;
            }
            done = self.run.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the blocks: what is left of overviews, and a journal before blocks are laid in order.
    pub(super) fn complete(&mut self) -> Result<()> {
        self.whole = false;
        self.write_made(u64::MAX)?;
        self.whole = true;
        let empty = self.overviews.as_ref().is_none_or(|overviews| overviews.pyramid.is_empty());
        if !empty || !self.making.is_empty() {
            return Err(ErrorKind::Panicked("overviews are incomplete".into()).into());
        }
        let worth = self.run.plan.options.cog && self.pace.has_saved();
        if worth { self.checkpoint() } else { Ok(()) }
    }

    /// Writes a journal of all that is in the file.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        if !self.writer.keeps_journal() || !self.whole || self.progress.tickets == 0 {
            return Ok(());
        }
        let began = Instant::now();
        (self.progress.end, self.progress.digest) = self.writer.progress();
        if let Some(provenance) = &mut self.provenance {
            self.progress.provenance = provenance.hold()?;
        }
        self.progress.counts = Progress::counts_of(&self.sums.stats, self.sums.blocks_seen);
        self.progress.bands.clone_from(&self.sums.bands);
        let pyramid = self.overviews.as_ref().map(|overviews| &overviews.pyramid);
        let (progress, making) = (&self.progress, &self.making);
        self.writer.save_journal(&mut |to| {
            journal::save(to, self.fingerprint, progress, pyramid, making)
        })?;
        self.pace.saved(began.elapsed());
        self.sums.stats.write_seconds += began.elapsed().as_secs_f64();
        Ok(())
    }
}

/// When a journal is due: often enough that little is lost, seldom enough that it costs little.
struct Pace {
    began: Instant,
    last: Instant,
    /// What the last one took.
    cost: Option<Duration>,
}

impl Pace {
    const LEAST: Duration = Duration::from_millis(200);
    const MOST: Duration = Duration::from_secs(10);
    /// A journal takes at most a part of so many.
    const SHARE: u32 = 5;
    /// No more than a part of so many of the run so far is lost.
    const LOSS: u32 = 25;

    fn new() -> Pace {
        let now = Instant::now();
        Pace { began: now, last: now, cost: None }
    }

    fn is_due(&self) -> bool {
        let cheap = self.cost.unwrap_or_default() * Pace::SHARE;
        let wait = (self.began.elapsed() / Pace::LOSS).clamp(Pace::LEAST, Pace::MOST).max(cheap);
        self.last.elapsed() >= wait
    }

    fn has_saved(&self) -> bool {
        self.cost.is_some()
    }

    fn saved(&mut self, cost: Duration) {
        (self.last, self.cost) = (Instant::now(), Some(cost));
    }
}

/// What the coordinating thread adds up.
pub(super) struct Sums {
    pub(super) stats: Stats,
    bands: Vec<BandStats>,
    blocks_seen: u64,
}

impl Sums {
    fn new(bands: u32) -> Sums {
        let bands = vec![BandStats::default(); bands as usize];
        Sums { stats: Stats::default(), bands, blocks_seen: 0 }
    }

    fn take_in<T>(
        &mut self,
        item: &Rendered<T>,
        writer: &mut Writer,
        (bx, by): (u32, u32),
        observer: &dyn Observer,
    ) -> Result<()> {
        let began = Instant::now();
        for (band, block) in item.encoded.blocks.iter().enumerate() {
            match block {
                Encoded::Sparse => self.stats.blocks_sparse += 1,
                Encoded::Bytes(bytes) | Encoded::Copied(bytes) => {
                    let plane = Plane::Image(item.first_band + band as u32);
                    writer.append(0, plane, (bx, by), bytes)?;
                    self.stats.blocks_written += 1;
                    self.stats.blocks_copied += u64::from(matches!(block, Encoded::Copied(_)));
                }
            }
            observer.block_written(self.blocks_seen, block.bytes().len() as u64);
            self.blocks_seen += 1;
        }
        if let Some(Encoded::Bytes(bytes)) = &item.encoded.mask {
            writer.append(0, Plane::Mask, (bx, by), bytes)?;
        }
        for (index, stats) in item.encoded.stats.iter().enumerate() {
            self.bands[item.first_band as usize + index].merge(stats);
        }
        self.stats.blocks_unchecked += item.encoded.unchecked;
        self.stats.nodata_clashes += item.encoded.clashes;
        self.stats.samples_saturated += item.saturated;
        self.stats.samples_invalid += item.encoded.invalid;
        self.stats.samples_zeroed += item.encoded.invalid - item.encoded.kept_nan;
        self.stats.render_seconds += item.render_seconds;
        self.stats.encode_seconds += item.encode_seconds;
        self.stats.write_seconds += began.elapsed().as_secs_f64();
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        plan: &WritePlan<'_>,
        (writer, provenance): (Writer, Option<Provenance>),
        blocks: &Blocks<'_>,
        observer: &dyn Observer,
    ) -> Result<Report> {
        self.warn(plan, observer)?;
        let metadata = spec::metadata(plan.mosaic, plan.options, &self.bands);
        let began = Instant::now();
        self.stats.output_bytes = match provenance {
            Some(provenance) => provenance.publish_with(plan, writer, &metadata)?,
            None => writer.finish(&metadata)?,
        };
        self.stats.write_seconds += began.elapsed().as_secs_f64();
        let waits = self.stats.wait_seconds;
        blocks.add_to(&mut self.stats);
        self.warn_of_bad_blocks(observer);
        // Rendering calls for blocks, so its time holds theirs.
        let reading =
            self.stats.read_seconds + self.stats.decode_seconds + self.stats.wait_seconds - waits;
        self.stats.render_seconds = (self.stats.render_seconds - reading).max(0.0);
        observer.finished(&self.stats);
        Ok(Report {
            stats: self.stats,
            bands: self.bands,
            budget: plan.budget,
            columns: plan.schedule.column_count(),
        })
    }

    /// Names the first of the blocks that were left out; the statistics have them all.
    fn warn_of_bad_blocks(&self, observer: &dyn Observer) {
        const MOST: usize = 20;
        let bad = &self.stats.bad_blocks;
        bad.iter().take(MOST).for_each(|text| observer.warning(&Warning::BadBlock(text.clone())));
        if let Some(more @ 1..) = bad.len().checked_sub(MOST) {
            observer.warning(&Warning::Other(format!("{more} more blocks were left out")));
        }
    }

    fn warn(&self, plan: &WritePlan<'_>, observer: &dyn Observer) -> Result<()> {
        let (count, nodata) = (self.stats.nodata_clashes, plan.spec.nodata);
        if let (1.., Some(nodata)) = (count, nodata) {
            let nodata = nodata.to_string();
            match plan.options.nodata_clash {
                NodataClash::Error => return Err(InputError::NodataClash { count, nodata }.into()),
                NodataClash::Warn => observer.warning(&Warning::NodataClash { count, nodata }),
                NodataClash::Nudge => observer.warning(&Warning::Nudged { count, nodata }),
            }
        }
        if self.stats.samples_saturated > 0 {
            let (count, dtype) = (self.stats.samples_saturated, plan.mosaic.dtype.to_string());
            observer.warning(&Warning::Saturated { count, dtype });
        }
        // A count of 0 is no hole.
        let unmarked = nodata.is_none()
            && plan.mosaic.validity == ValidityOutput::Nodata
            && plan.mosaic.overlap != Overlap::Count;
        if unmarked && plan.mosaic.facts.alpha_band.is_none() && self.stats.samples_zeroed > 0 {
            observer.warning(&Warning::Uncovered { count: self.stats.samples_zeroed });
        }
        Ok(())
    }
}
