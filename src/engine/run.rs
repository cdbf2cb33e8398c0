//! A run: cells rendered and encoded by workers, appended in order by the coordinating thread, which also
//! brings the pieces of overviews together.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::engine::canvas::Canvas;
use crate::engine::encode::{BlockEncoder, Encoded, EncodedCanvas};
use crate::engine::overview::Piece;
use crate::engine::paint::Uses;
use crate::engine::pyramid::{Finished, Pyramid};
use crate::engine::reduce::{Reducer, View};
use crate::engine::render::{RenderScratch, Renderer, shares_validity};
use crate::engine::spec;
use crate::engine::stats::BandStats;
use crate::engine::write::{NodataClash, Report, WritePlan};
use crate::error::{Error, ErrorKind, InputError, Result};
use crate::io::Target;
use crate::mosaic::plan::Cell;
use crate::mosaic::{Overlap, ValidityOutput};
use crate::observer::{Job, Observer, Stats, Warning};
use crate::ordered::{self, Ticket, run_ordered};
use crate::sample::Sample;
use crate::source::blocks::Blocks;
use crate::tiff::writer::{Plane, Writer};
use crate::with_dtype;

pub(crate) fn run(
    plan: &WritePlan<'_>,
    target: Box<dyn Target>,
    observer: &dyn Observer,
) -> Result<Report> {
    with_dtype!(plan.mosaic.dtype, T => run_as::<T>(plan, target, observer))
}

/// Per-thread state of a run.
struct Worker<T> {
    canvas: Canvas<T>,
    scratch: RenderScratch<T>,
    encoder: BlockEncoder<T>,
    overviews: Option<OverviewEncoder<T>>,
}

/// Encodes blocks of overviews, and cuts blocks of full resolution in pieces for them.
struct OverviewEncoder<T> {
    canvas: Canvas<T>,
    encoder: BlockEncoder<T>,
    reducer: Reducer<T>,
}

/// What a work item gave, and how long it took.
struct Rendered<T> {
    encoded: EncodedCanvas,
    saturated: u64,
    first_band: u32,
    pieces: Vec<Piece<T>>,
    overview: Option<OverviewBlock>,
    render_seconds: f64,
    encode_seconds: f64,
}

/// An encoded block of an overview.
struct OverviewBlock {
    level: u32,
    place: (u32, u32),
    encoded: EncodedCanvas,
}

/// Blocks of overviews that wait to be encoded.
type Queue<T> = Mutex<VecDeque<Finished<T>>>;

/// What all threads of a run share.
struct Run<'a, T> {
    plan: &'a WritePlan<'a>,
    renderer: Renderer<'a>,
    queue: Queue<T>,
}

fn run_as<T: Sample>(
    plan: &WritePlan<'_>,
    mut target: Box<dyn Target>,
    observer: &dyn Observer,
) -> Result<Report> {
    let (mosaic, budget, groups) = (plan.mosaic, plan.budget, plan.groups());
    announce(plan, observer);
    let blocks = Blocks::new(mosaic.sources(), budget.cache_bytes, budget.threads, plan.options.io);
    let uses = Uses::Cells { schedule: &plan.schedule, band_group: budget.band_group };
    let shared = shares_validity(mosaic);
    let renderer = Renderer { mosaic, blocks: &blocks, uses, shared };
    let run = Run { plan, renderer, queue: Mutex::default() };
    // Workers cannot fail when they are made, so options that no encoder has are found here.
    run.worker()?;
    let overviews = match (&plan.levels, run.overview_encoder()?) {
        (Some(levels), Some(encoder)) => {
            // Where there is no scratch file all is held.
            let file = target.scratch().ok();
            let reducer = plan.reducer::<T>(levels);
            let held = Pyramid::new(levels.clone(), reducer, budget.overview_bytes, file);
            Some((held, encoder))
        }
        _ => None,
    };
    let writer = Writer::create(target, plan.spec.clone())?;
    let mut sink = Sink { run: &run, writer, overviews, sums: Sums::new(mosaic.output_bands()) };
    let window = ordered::Window {
        threads: budget.threads,
        items: budget.threads * 8,
        bytes: budget.window_bytes,
        reserve_bytes: budget.reserve_bytes,
    };
    let waited = run_ordered(
        plan.schedule.cells() * groups,
        window,
        observer,
        || run.worker(),
        |worker, ticket| match worker {
            Ok(worker) => run.compute(worker, ticket),
            Err(error) => Err(std::mem::replace(error, InputError::Output(String::new()).into())),
        },
        weight,
        |index, item| sink.take_in(plan.schedule.cell(index / groups), item, observer),
    )?;
    sink.drain(0)?;
    if sink.overviews.as_ref().is_some_and(|(pyramid, _)| !pyramid.is_empty()) {
        return Err(ErrorKind::Panicked("overviews are incomplete".into()).into());
    }
    sink.sums.stats.wait_seconds = waited.as_secs_f64();
    let Sink { sums, writer, .. } = sink;
    sums.finish(plan, writer, &blocks, observer)
}

impl<T: Sample> Run<'_, T> {
    fn worker(&self) -> Result<Worker<T>> {
        Ok(Worker {
            canvas: Canvas::new(),
            scratch: RenderScratch::default(),
            encoder: BlockEncoder::new(self.plan.format::<T>())?,
            overviews: self.overview_encoder()?,
        })
    }

    fn overview_encoder(&self) -> Result<Option<OverviewEncoder<T>>> {
        let Some(levels) = &self.plan.levels else { return Ok(None) };
        let mut format = self.plan.format::<T>();
        (format.statistics, format.nudge) = (false, false);
        Ok(Some(OverviewEncoder {
            canvas: Canvas::new(),
            encoder: BlockEncoder::new(format)?,
            reducer: self.plan.reducer(levels),
        }))
    }

    fn compute(&self, worker: &mut Worker<T>, ticket: &Ticket<'_>) -> Result<Rendered<T>> {
        let (plan, groups) = (self.plan, self.plan.groups());
        let cell = plan.schedule.cell(ticket.index / groups);
        let first = (ticket.index % groups) as u32 * plan.budget.band_group;
        let bands = first..(first + plan.budget.band_group).min(plan.mosaic.bands);
        let Worker { canvas, scratch, encoder, overviews } = worker;
        let overview = match overviews {
            Some(overviews) => {
                let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                next.map(|block| overviews.encode(self.plan, &block)).transpose()?
            }
            None => None,
        };
        let began = Instant::now();
        self.renderer.render(cell.window, bands, canvas, scratch, Some(ticket))?;
        let rendered = began.elapsed();
        ticket.check()?;
        let (mut pieces, saturated) = (Vec::new(), canvas.saturated);
        let encoded = encoder.encode(canvas, |canvas| {
            if let (Some(overviews), Some(levels)) = (overviews, &plan.levels) {
                let view = (!canvas.is_blank()).then_some(View {
                    window: canvas.window,
                    samples: &canvas.samples,
                    valid: &canvas.valid,
                });
                pieces = levels.split(0, (cell.bx, cell.by), view, &mut overviews.reducer);
            }
            Ok(Vec::new())
        })?;
        Ok(Rendered {
            encoded,
            saturated,
            first_band: first,
            pieces,
            overview,
            render_seconds: rendered.as_secs_f64(),
            encode_seconds: (began.elapsed() - rendered).as_secs_f64(),
        })
    }
}

impl<T: Sample> OverviewEncoder<T> {
    fn encode(&mut self, plan: &WritePlan<'_>, block: &Finished<T>) -> Result<OverviewBlock> {
        let Some(levels) = &plan.levels else {
            return Err(Error::new(InputError::Output("no overviews are made".into())));
        };
        let window = levels.block_window(block.level, block.bx, block.by);
        let finished = block.tile.as_deref().map(|tile| (&tile.samples[..], &tile.valid[..]));
        let (bands, planes) = (0..plan.mosaic.bands, self.reducer.planes);
        self.canvas.load(window, bands, planes, finished, self.reducer.keeps_nan);
        let encoded = self.encoder.encode(&mut self.canvas, |_| Ok(Vec::new()))?;
        Ok(OverviewBlock { level: block.level, place: (block.bx, block.by), encoded })
    }
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
    of(&item.encoded) + pieces + item.overview.as_ref().map_or(0, |block| of(&block.encoded))
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

/// Where results go, in order.
struct Sink<'a, T> {
    run: &'a Run<'a, T>,
    writer: Writer,
    overviews: Option<(Pyramid<T>, OverviewEncoder<T>)>,
    sums: Sums,
}

impl<T: Sample> Sink<'_, T> {
    fn take_in(&mut self, cell: Cell, item: Rendered<T>, observer: &dyn Observer) -> Result<()> {
        self.sums.take_in(&item, &mut self.writer, (cell.bx, cell.by), observer)?;
        if let Some(block) = &item.overview {
            self.append(block)?;
        }
        let began = Instant::now();
        if let Some((pyramid, _)) = &mut self.overviews {
            pyramid.take_in(item.pieces)?;
            let mut queue = self.run.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.append(&mut pyramid.finished);
        }
        self.sums.stats.render_seconds += began.elapsed().as_secs_f64();
        // Workers take one with each cell; what is beyond that must not pile up.
        self.drain(2 * self.run.plan.budget.threads)
    }

    /// Encodes blocks of overviews until no more than `left` wait.
    fn drain(&mut self, left: usize) -> Result<()> {
        loop {
            let mut queue = self.run.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() <= left {
                return Ok(());
            }
            let next = queue.pop_front();
            drop(queue);
            if let (Some(block), Some((_, encoder))) = (next, &mut self.overviews) {
                let began = Instant::now();
                let block = encoder.encode(self.run.plan, &block)?;
                self.sums.stats.encode_seconds += began.elapsed().as_secs_f64();
                self.append(&block)?;
            }
        }
    }

    fn append(&mut self, block: &OverviewBlock) -> Result<()> {
        let began = Instant::now();
        let OverviewBlock { level, place, encoded } = block;
        for (band, bytes) in encoded.blocks.iter().enumerate() {
            if !matches!(bytes, Encoded::Sparse) {
                self.writer.append(*level, Plane::Image(band as u32), *place, bytes.bytes())?;
                self.sums.stats.overview_blocks += 1;
            }
        }
        if let Some(mask) = encoded.mask.as_ref().filter(|mask| !matches!(mask, Encoded::Sparse)) {
            self.writer.append(*level, Plane::Mask, *place, mask.bytes())?;
        }
        self.sums.stats.write_seconds += began.elapsed().as_secs_f64();
        Ok(())
    }
}

/// What the coordinating thread adds up.
struct Sums {
    stats: Stats,
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
        self.stats.nodata_clashes += item.encoded.clashes;
        self.stats.samples_saturated += item.saturated;
        self.stats.samples_invalid += item.encoded.invalid;
        self.stats.samples_zeroed += item.encoded.invalid - item.encoded.kept_nan;
        self.stats.render_seconds += item.render_seconds;
        self.stats.encode_seconds += item.encode_seconds;
        self.stats.write_seconds += began.elapsed().as_secs_f64();
        Ok(())
    }

    fn finish(
        mut self,
        plan: &WritePlan<'_>,
        writer: Writer,
        blocks: &Blocks<'_>,
        observer: &dyn Observer,
    ) -> Result<Report> {
        self.warn(plan, observer)?;
        let metadata = spec::metadata(plan.mosaic, plan.options, &self.bands);
        let began = Instant::now();
        self.stats.output_bytes = writer.finish(&metadata)?;
        self.stats.write_seconds += began.elapsed().as_secs_f64();
        let waits = self.stats.wait_seconds;
        blocks.add_to(&mut self.stats);
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
