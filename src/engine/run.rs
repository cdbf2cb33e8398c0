//! A run: cells rendered and encoded by workers, appended in order by the coordinating thread, which also
//! brings the pieces of overviews together.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::engine::canvas::Canvas;
use crate::engine::encode::{BlockEncoder, Encoded, EncodedCanvas};
use crate::engine::origin::{self, EncodeOrigins, Origins, Trace};
use crate::engine::overview::Piece;
use crate::engine::paint::Uses;
use crate::engine::passthrough::{Candidate, Passthrough};
use crate::engine::pyramid::Finished;
use crate::engine::reduce::{Reducer, View};
use crate::engine::render::{RenderScratch, Renderer, shares_validity};
use crate::engine::sink::Sink;
use crate::engine::stats::BandStats;
use crate::engine::write::{Report, WritePlan};
use crate::error::{Error, ErrorKind, InputError, Result};
use crate::io::Target;
use crate::mosaic::plan::Cell;
use crate::observer::{Job, Observer, Warning};
use crate::ordered::{self, Ticket, run_ordered};
use crate::sample::Sample;
use crate::source::blocks::{Blocks, ReadScratch};
use crate::with_dtype;

/// Where a run writes.
pub(crate) struct Targets {
    pub(crate) output: Box<dyn Target>,
    /// Which source gave each pixel.
    pub(crate) provenance: Option<Box<dyn Target>>,
    /// That of an earlier run, which speaks of both.
    pub(crate) journal: Option<Box<dyn Read>>,
}

pub(crate) fn run(
    plan: &WritePlan<'_>,
    targets: Targets,
    observer: &dyn Observer,
) -> Result<Report> {
    with_dtype!(plan.mosaic.dtype, T => run_as::<T>(plan, targets, observer))
}

/// Per-thread state of a run.
struct Worker<T> {
    canvas: Canvas<T>,
    scratch: RenderScratch<T>,
    encoder: BlockEncoder<T>,
    /// Cuts blocks of full resolution in pieces for overviews.
    reducer: Option<Reducer<T>>,
    hits: Vec<u32>,
    read: ReadScratch,
    origins: Option<(Box<dyn EncodeOrigins>, Vec<u32>)>,
}

/// What a work item gave, and how long it took.
pub(super) struct Rendered<T> {
    pub(super) encoded: EncodedCanvas,
    pub(super) saturated: u64,
    pub(super) first_band: u32,
    pub(super) pieces: Vec<Piece<T>>,
    /// Which source gave each pixel.
    pub(super) origins: Option<Encoded>,
    pub(super) render_seconds: f64,
    pub(super) encode_seconds: f64,
}

/// What all threads of a run share.
pub(super) struct Run<'a, T> {
    pub(super) plan: &'a WritePlan<'a>,
    renderer: Renderer<'a>,
    passthrough: Passthrough<'a>,
    /// Blocks of overviews that wait to be encoded.
    pub(super) queue: Mutex<VecDeque<Finished<T>>>,
    /// Those that are.
    pub(super) done: Mutex<BTreeMap<BlockKey, Result<EncodedCanvas>>>,
    pub(super) changed: Condvar,
}

/// Level, column and row of a block of an overview.
pub(super) type BlockKey = (u32, u32, u32);

/// Sees to it that a block that was taken from the queue turns up, whatever becomes of its worker.
struct Pledge<'a, 'b, T> {
    run: &'a Run<'b, T>,
    key: BlockKey,
    result: Option<Result<EncodedCanvas>>,
}

impl<T> Drop for Pledge<'_, '_, T> {
    fn drop(&mut self) {
        let lost = || Err(ErrorKind::Panicked("an overview was lost".into()).into());
        lock(&self.run.done).insert(self.key, self.result.take().unwrap_or_else(lost));
        self.run.changed.notify_all();
    }
}

fn run_as<T: Sample>(
    plan: &WritePlan<'_>,
    targets: Targets,
    observer: &dyn Observer,
) -> Result<Report> {
    let (mosaic, budget, groups) = (plan.mosaic, plan.budget, plan.groups());
    announce(plan, observer);
    let blocks = Blocks::new(mosaic.sources(), budget.cache_bytes, budget.threads, plan.options.io)
        .skipping_bad(plan.options.skip_bad_blocks)
        .within(budget.total_bytes);
    let uses = Uses::Cells { schedule: &plan.schedule, band_group: budget.band_group };
    let shared = shares_validity(mosaic);
    let renderer = Renderer { mosaic, blocks: &blocks, uses, shared };
    let passthrough = Passthrough::new::<T>(mosaic, &plan.spec, plan.options);
    let (queue, done, changed) = (Mutex::default(), Mutex::default(), Condvar::new());
    let run = Run::<T> { plan, renderer, passthrough, queue, done, changed };
    // Workers cannot fail when they are made, so options that no encoder has are found here.
    run.worker()?;
    let mut sink = Sink::open(&run, targets, observer)?;
    let window = ordered::Window {
        threads: budget.threads,
        items: budget.threads * 8,
        bytes: budget.window_bytes,
        reserve_bytes: budget.reserve_bytes,
    };
    let start = sink.progress.tickets;
    let outcome = run_ordered(
        (plan.schedule.cells() * groups).saturating_sub(start),
        window,
        observer,
        || run.worker(),
        |worker, ticket| match worker {
            Ok(worker) => run.compute(worker, ticket, start + ticket.index),
            Err(error) => Err(std::mem::replace(error, InputError::Output(String::new()).into())),
        },
        weight,
        |index, item| {
            let cell = plan.schedule.cell((start + index) / groups);
            sink.take_in(cell, item, observer)
        },
    );
    match outcome.and_then(|waited| sink.complete().map(|()| waited)) {
        Ok(waited) => sink.sums.stats.wait_seconds = waited.as_secs_f64(),
        Err(error) => {
            // What is finished may be worth keeping; why the run ended is more important than whether
            // that succeeds.
            let _ = sink.checkpoint();
            return Err(error);
        }
    }
    let Sink { sums, writer, provenance, .. } = sink;
    sums.finish(plan, (writer, provenance), &blocks, observer)
}

impl<T: Sample> Run<'_, T> {
    fn worker(&self) -> Result<Worker<T>> {
        let (mosaic, options) = (self.plan.mosaic, self.plan.options);
        let mut canvas = Canvas::new();
        let mut origins = None;
        if options.provenance.is_some() {
            canvas.origins = Some(Origins::new(Trace::new(mosaic)));
            let dtype = origin::dtype_of(mosaic.sources().len());
            origins = Some((origin::encoder(dtype, options.chunk, options.sparse)?, Vec::new()));
        }
        Ok(Worker {
            canvas,
            origins,
            scratch: RenderScratch::default(),
            encoder: BlockEncoder::new(self.plan.format::<T>())?,
            reducer: self.plan.levels.as_ref().map(|levels| self.plan.reducer(levels)),
            hits: Vec::new(),
            read: ReadScratch::default(),
        })
    }

    /// Encodes a block of an overview; the canvas and the encoder are those that blocks of full resolution
    /// use too, which saves the memory of another.
    pub(super) fn encode_overview(
        &self,
        block: &Finished<T>,
        canvas: &mut Canvas<T>,
        encoder: &mut BlockEncoder<T>,
    ) -> Result<EncodedCanvas> {
        let Some(levels) = &self.plan.levels else {
            return Err(Error::new(InputError::Output("no overviews are made".into())));
        };
        let window = levels.block_window(block.level, block.bx, block.by);
        let finished = block.tile.as_deref().map(|tile| (&tile.samples[..], &tile.valid[..]));
        let (bands, planes) = (0..self.plan.mosaic.bands, self.plan.validity_planes());
        canvas.load(window, bands, planes, finished, self.plan.keeps_nan());
        encoder.encode_plainly(canvas)
    }

    fn compute(
        &self,
        worker: &mut Worker<T>,
        ticket: &Ticket<'_>,
        index: u64,
    ) -> Result<Rendered<T>> {
        let (plan, groups) = (self.plan, self.plan.groups());
        let cell = plan.schedule.cell(index / groups);
        let first = (index % groups) as u32 * plan.budget.band_group;
        let bands = first..(first + plan.budget.band_group).min(plan.mosaic.bands);
        if let Some(block) = lock(&self.queue).pop_front() {
            let mut pledge = Pledge { run: self, key: block.key(), result: None };
            let (canvas, encoder) = (&mut worker.canvas, &mut worker.encoder);
            pledge.result = Some(self.encode_overview(&block, canvas, encoder));
        }
        let candidate = self.passthrough.find(cell.window, &mut worker.hits);
        let known = candidate.filter(|candidate| candidate.known);
        let looks = plan.options.statistics || plan.options.provenance.is_some();
        if let Some(candidate) = known.filter(|_| !looks && plan.levels.is_none())
            && let Some(encoded) = self.copy(&candidate, bands.clone())?
        {
            return Ok(Rendered::new(encoded, first));
        }
        self.render(worker, ticket, cell, bands, candidate)
    }

    /// Blocks that are copied without a look at their pixels; `None` if one is not stored.
    fn copy(&self, candidate: &Candidate, bands: Range<u32>) -> Result<Option<EncodedCanvas>> {
        let planes = self.planes(bands.clone());
        let copies = candidate.bytes(self.renderer.blocks, planes)?;
        let blocks: Option<Vec<Encoded>> =
            copies.into_iter().map(|bytes| bytes.map(Encoded::Copied)).collect();
        let Some(blocks) = blocks else { return Ok(None) };
        let stats = vec![BandStats::default(); bands.len()];
        let unchecked = blocks.len() as u64;
        let none = EncodedCanvas {
            clashes: 0,
            invalid: 0,
            kept_nan: 0,
            mask: None,
            stats,
            blocks,
            unchecked,
        };
        Ok(Some(none))
    }

    /// Planes of blocks that hold some bands.
    fn planes(&self, bands: Range<u32>) -> Range<u32> {
        if self.plan.spec.planes() == 1 { 0..1 } else { bands }
    }

    fn render(
        &self,
        worker: &mut Worker<T>,
        ticket: &Ticket<'_>,
        cell: Cell,
        bands: Range<u32>,
        candidate: Option<Candidate>,
    ) -> Result<Rendered<T>> {
        let Worker { canvas, scratch, encoder, reducer, read, origins, .. } = worker;
        let (began, first, blocks) = (Instant::now(), bands.start, self.renderer.blocks);
        let planes = self.planes(bands.clone());
        let held = match candidate {
            Some(candidate) if !candidate.known => candidate.hold(blocks, planes.clone(), read)?,
            _ => Vec::new(),
        };
        self.renderer.render(cell.window, bands, canvas, scratch, Some(ticket))?;
        let rendered = began.elapsed();
        ticket.check()?;
        let saturated = canvas.saturated;
        let given = match origins {
            Some((encoder, ids)) => {
                origin::by_pixel(canvas, self.plan.mosaic, ids);
                Some(encoder.encode(cell.window, ids)?)
            }
            None => None,
        };
        let mut pieces = Vec::new();
        let encoded = encoder.encode(canvas, |canvas| {
            if let (Some(reducer), Some(levels)) = (reducer, &self.plan.levels) {
                let view = (!canvas.is_blank()).then_some(View {
                    window: canvas.window,
                    samples: &canvas.samples,
                    valid: &canvas.valid,
                });
                pieces = levels.split(0, (cell.bx, cell.by), view, reducer);
            }
            match candidate {
                Some(candidate) if candidate.known => candidate.bytes(blocks, planes),
                Some(candidate) if !canvas.is_blank() => candidate.compare(canvas, &held, blocks),
                _ => Ok(Vec::new()),
            }
        })?;
        held.into_iter().for_each(|block| blocks.give_back(block));
        let mut item = Rendered::new(encoded, first);
        item.saturated = saturated;
        item.origins = given;
        item.pieces = pieces;
        item.render_seconds = rendered.as_secs_f64();
        item.encode_seconds = (began.elapsed() - rendered).as_secs_f64();
        Ok(item)
    }
}

impl<T> Rendered<T> {
    fn new(encoded: EncodedCanvas, first_band: u32) -> Rendered<T> {
        Rendered {
            encoded,
            saturated: 0,
            first_band,
            pieces: Vec::new(),
            origins: None,
            render_seconds: 0.0,
            encode_seconds: 0.0,
        }
    }
}

/// Their sections only move things about, so a panic in one leaves nothing half-changed.
pub(super) fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that a result holds.
fn weight<T: Sample>(item: &Rendered<T>) -> u64 {
    let of = |encoded: &EncodedCanvas| -> u64 {
        let blocks = encoded.blocks.iter().chain(&encoded.mask);
        blocks.map(|block| block.bytes().len() as u64 + 64).sum()
    };
    let pieces: u64 = item
        .pieces
        .iter()
        .map(|piece| 128 + piece.tile.as_ref().map_or(0, |tile| tile.bytes()))
        .sum();
    of(&item.encoded) + pieces + item.origins.as_ref().map_or(0, |b| b.bytes().len() as u64 + 64)
}

fn announce(plan: &WritePlan<'_>, observer: &dyn Observer) {
    let budget = &plan.budget;
    log::debug!("{budget:?}; cells in {} columns", plan.schedule.column_count());
    observer.started(&Job {
        sources: plan.mosaic.sources().len() as u64,
        blocks: plan.spec.blocks(),
        raw_bytes: plan.raw_bytes(),
        threads: budget.threads,
        cache_bytes: budget.cache_bytes,
        planned_bytes: budget.total_bytes,
    });
    for warning in plan.mosaic.warnings() {
        observer.warning(&warning);
    }
    if budget.threads < plan.wanted_threads {
        observer.warning(&Warning::FewerThreads {
            used: budget.threads,
            wanted: plan.wanted_threads,
            budget_bytes: budget.total_bytes,
        });
    }
}
