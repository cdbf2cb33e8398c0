//! Resamples a layer in two passes, strip after strip.

use super::{LayerTask, LayerWorker, RowScratch, limited};
use crate::engine::tile::{Run, TileSink, Values};
use crate::error::Result;
use crate::resample::axis::{Axis, Float, Line};
use crate::resample::separable::{Job, TwoPass};
use crate::sample::Sample;

impl<P: Sample> LayerWorker<P> {
    /// Resamples in two passes, strip after strip.
    pub(super) fn roll<A: Float + Sample>(
        &mut self,
        task: &LayerTask<'_>,
        lines: [Line; 2],
        passes: &mut TwoPass<A>,
        sink: &mut dyn TileSink,
    ) -> Result<()> {
        let (mosaic, tile, planes) = (task.mosaic(), task.tile, task.planes());
        let bands = task.bands.len();
        let carried = if task.carries_weights() { planes } else { 0 };
        let job = Job {
            kernel: mosaic.kernel,
            lines,
            first: [tile.col, tile.row],
            count: [tile.width, tile.height],
            valid_fraction: mosaic.valid_fraction,
            is_float: P::IS_FLOAT,
            weight_bands: carried,
        };
        // Before any of it is held: the columns of a row, and the rows under one.
        let reach = |axis: usize| 2.0 * mosaic.kernel.halo(lines[axis].scale) as f64;
        limited((f64::from(tile.width) * lines[0].scale.abs() + reach(0)) as i64)?;
        limited(reach(1) as i64)?;
        passes.begin(&job, bands + carried, planes);
        self.trail.clear();
        let [(left, right), (top, bottom)] = passes.span();
        let span = limited(right - left)?;
        mosaic.layer_hits(task.layer, [left, top, right, bottom], &mut self.tile_hits);
        if self.tile_hits.is_empty() {
            return Ok(());
        }
        let strip = i64::from(self.strip_rows(task, span));
        let feed = Feed { bands, planes, carried, span: span as usize };
        let up = task.upward;
        let descending = up != (lines[1].scale < 0.0);
        let row_at = |index: u32| if descending { tile.height - 1 - index } else { index };
        let (mut next, mut done) = (0, 0);
        while done < bottom - top && next < tile.height {
            let rows = strip.min(bottom - top - done);
            let first = if up { bottom - done - rows } else { top + done };
            let painted = self.composite(task, [left, first], [span, rows as u32])?;
            for step in 0..rows {
                let at = if up { rows - 1 - step } else { step };
                let source_row = first + at;
                // Rows between those that are needed: where pixels are picked from afar.
                let early =
                    |(low, high): (i64, i64)| if up { high < source_row } else { low > source_row };
                if next < tile.height && early(passes.rows_of(row_at(next) as usize)) {
                    continue;
                }
                self.push(passes, &feed, source_row, at as usize, painted);
                self.trail.push(&self.canvas, source_row, at as usize);
                let ready = |(low, high): (i64, i64)| {
                    if up { low >= source_row } else { high <= source_row }
                };
                while next < tile.height && ready(passes.rows_of(row_at(next) as usize)) {
                    self.emit(task, passes, &feed, row_at(next), sink);
                    next += 1;
                }
            }
            done += rows;
            self.let_go(task, if up { i64::MIN..first } else { first + rows..i64::MAX });
        }
        Ok(())
    }

    fn push<A: Float>(
        &mut self,
        passes: &mut TwoPass<A>,
        feed: &Feed,
        source_row: i64,
        at: usize,
        painted: bool,
    ) {
        let Feed { bands, planes, carried, span } = *feed;
        if !painted {
            self.row.invalid.clear();
            self.row.invalid.resize(span, 0);
            self.row.blank.resize(span, P::ZERO);
            let invalid = Some(self.row.invalid.as_slice());
            (0..planes).for_each(|plane| passes.push_valid(plane, source_row, invalid));
            for band in 0..bands + carried {
                let plane = if planes == 1 { 0 } else { band % bands };
                passes.push_samples(band, plane, source_row, &self.row.blank, invalid);
            }
            return;
        }
        let (canvas, pixels) = (&self.canvas, self.canvas.pixels());
        let from = at * span;
        let valid = |plane: usize| Some(&canvas.valid[plane * pixels + from..][..span]);
        (0..planes).for_each(|plane| passes.push_valid(plane, source_row, valid(plane)));
        for band in 0..bands {
            let plane = if planes == 1 { 0 } else { band };
            let samples = &canvas.samples[band * pixels + from..][..span];
            passes.push_samples(band, plane, source_row, samples, valid(plane));
        }
        for plane in 0..carried {
            let weights = &self.weights[plane * pixels + from..][..span];
            passes.push_samples(bands + plane, plane, source_row, weights, valid(plane));
        }
    }

    fn emit<A: Float + Sample>(
        &mut self,
        task: &LayerTask<'_>,
        passes: &mut TwoPass<A>,
        feed: &Feed,
        row: u32,
        sink: &mut dyn TileSink,
    ) {
        let Feed { bands, planes, carried, .. } = *feed;
        let (width, at) = (task.tile.width as usize, row as usize);
        self.trail.advance(passes, at, task.upward);
        let RowScratch { valid, all, weights, in_footprint, spare, .. } = &mut self.row;
        valid.resize(planes * width, 0);
        all.clear();
        for plane in valid.chunks_exact_mut(width) {
            all.push(passes.valid_row(at, all.len(), plane));
        }
        if task.mosaic().kernel.is_area() {
            let (cols, source_row) = (passes.columns(), passes.nearest_row(at));
            cover_row(task, &self.tile_hits, cols, source_row, in_footprint);
            for plane in valid.chunks_exact_mut(width) {
                plane.iter_mut().zip(in_footprint.iter()).for_each(|(v, c)| *v &= *c);
            }
        }
        if valid.iter().all(|v| *v == 0) {
            return;
        }
        spare.resize(width, 0);
        weights.clear();
        for (plane, all) in all.iter().enumerate().take(carried) {
            if planes > 1 {
                passes.valid_row(at, plane, spare);
            }
            weights.extend(passes.row(at, bands + plane, *all).iter().map(|w| w.to_double()));
        }
        let run = Run { col: task.tile.col, row: task.tile.row + row, width };
        sink.begin_row(run, valid, (carried > 0).then_some(weights.as_slice()));
        if task.trace.is_some() {
            let (kernel, span) = (task.mosaic().kernel, feed.span);
            self.trail.row_of(passes, kernel, span, at, &mut self.origins);
            sink.origins(&self.origins);
        }
        for band in 0..bands {
            let plane = if planes == 1 { 0 } else { band };
            if planes > 1 {
                passes.valid_row(at, plane, spare);
            }
            sink.band(band, Values::new(passes.row(at, band, all[plane])));
        }
        sink.end_row();
    }
}

/// What is pushed for a source row: bands, their planes of validity, planes of weights after them.
#[derive(Debug, Clone, Copy)]
struct Feed {
    bands: usize,
    planes: usize,
    carried: usize,
    span: usize,
}

/// Marks the columns of a row whose centre lies in the footprint of one of the sources.
fn cover_row(task: &LayerTask<'_>, hits: &[u32], cols: &Axis, row: i64, covered: &mut Vec<u8>) {
    let width = cols.count();
    covered.clear();
    covered.resize(width, 0);
    for id in hits {
        let [left, top, right, bottom] = task.mosaic().rectangle(*id);
        if !(top..bottom).contains(&row) {
            continue;
        }
        let mut all = true;
        for (x, c) in covered.iter_mut().enumerate() {
            *c |= u8::from((left..right).contains(&cols.nearest(x)));
            all &= *c != 0;
        }
        if all {
            return;
        }
    }
}
