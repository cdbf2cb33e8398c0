//! Resamples a layer pixel by pixel: where axes do not stay axes, or a kernel needs all samples at once.

use super::{LayerTask, LayerWorker, MOST_PIXELS, RowScratch, too_many};
use crate::engine::tile::{Run, TileSink, Values};
use crate::error::Result;
use crate::geometry::Window;
use crate::mosaic::layer::Mapping;
use crate::resample::Kernel;
use crate::resample::axis::Line;
use crate::resample::gather::{LEAST_STRETCH, Patch, Place};
use crate::sample::Sample;

impl<P: Sample> LayerWorker<P> {
    /// Resamples pixel by pixel a part of the tile, in halves where its sources are too much at once.
    pub(super) fn gather_part(
        &mut self,
        task: &LayerTask<'_>,
        mapping: Mapping,
        part: Window,
        sink: &mut dyn TileSink,
    ) -> Result<()> {
        let mosaic = task.mosaic();
        if sink.is_full(part) {
            return Ok(());
        }
        let Some([left, top, right, bottom]) =
            mosaic.reference_box(task.layer, part, &mut self.warp)
        else {
            return Ok(());
        };
        mosaic.layer_hits(task.layer, [left, top, right, bottom], &mut self.tile_hits);
        if self.tile_hits.is_empty() {
            return Ok(());
        }
        let (width, height) = (right - left, bottom - top);
        let pixels = (width as u64).saturating_mul(height as u64);
        let rows = u64::from(self.strip_rows(task, u32::try_from(width).unwrap_or(u32::MAX)));
        // Parts that are far from square read more than they need.
        if pixels > rows * width as u64 && part.pixels() > 1 {
            for half in halves(part) {
                self.gather_part(task, mapping, half, sink)?;
            }
            return Ok(());
        }
        if pixels > MOST_PIXELS {
            return Err(too_many(pixels));
        }
        if !self.composite(task, [left, top], [width as u32, height as u32])? {
            return Ok(());
        }
        let frame = [left, top];
        if let Mapping::Axis { scale, phase } = mapping {
            let line = |axis: usize| Line { scale: scale[axis], phase: phase[axis] };
            let zeros = !P::IS_FLOAT;
            self.cols.fill(mosaic.kernel, line(0), part.col, part.width, zeros);
            self.rows.fill(mosaic.kernel, line(1), part.row, part.height, zeros);
        }
        for row in 0..part.height {
            self.gather_row(task, mapping, part, row, frame, sink);
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "buffers of one row go through all of it")]
    fn gather_row(
        &mut self,
        task: &LayerTask<'_>,
        mapping: Mapping,
        part: Window,
        row: u32,
        [left, top]: [i64; 2],
        sink: &mut dyn TileSink,
    ) {
        let (mosaic, planes, width) = (task.mosaic(), task.planes(), part.width as usize);
        let carries = task.carries_weights();
        let RowScratch {
            valid,
            values,
            weights,
            covered,
            places,
            typed,
            whole,
            spots,
            ready,
            rest,
            ..
        } = &mut self.row;
        mosaic.places(task.layer, part, part.row + row, &mut self.warp, places);
        covered.clear();
        // A point kernel looks at the pixel under the centre anyway.
        let area = mosaic.kernel.is_area();
        // What does not map lies nowhere.
        covered.extend(
            places.iter().map(|p| p.u.is_finite() && (!area || lies_in(task, &self.tile_hits, p))),
        );
        let (canvas, pixels) = (&self.canvas, self.canvas.pixels());
        let bands = canvas.bands.len();
        let stride = canvas.window.width as usize;
        let view = View { left, top, stride, height: pixels / stride, canvas_valid: &canvas.valid };
        valid.clear();
        valid.resize(planes * width, 0);
        values.clear();
        values.resize(bands * width, 0.0);
        let nearest = mosaic.kernel == Kernel::Nearest;
        typed.resize(if nearest { bands * width } else { 0 }, P::ZERO);
        let (gatherer, axes) = (&mut self.gatherer, [&self.cols, &self.rows]);
        let on_axes = matches!(mapping, Mapping::Axis { .. });
        if task.trace.is_some() {
            let axes = (on_axes && area).then_some((axes, row as usize));
            let frame = [left, top];
            self.origins.gather(mosaic.kernel, canvas, frame, places, axes, gatherer);
        }
        spots.clear();
        if !on_axes && !carries && (nearest || mosaic.kernel == Kernel::Bilinear) {
            for (x, (place, covered)) in places.iter().zip(covered.iter_mut()).enumerate() {
                if let Some(spot) = Spot::new(x, place, nearest, &view) {
                    spots.push(spot);
                    *covered = false;
                }
            }
        }
        let points = !nearest && !area && !on_axes && covered.contains(&true);
        if points {
            let patch = view.patch(&canvas.samples[..pixels], 0);
            self.row_taps.fill(mosaic.kernel, &patch, places, covered, planes == 1);
        }
        for band in 0..bands {
            let plane = if planes == 1 { 0 } else { band };
            let samples = &canvas.samples[band * pixels..][..pixels];
            let patch = view.patch(samples, plane);
            let range = band * width..(band + 1) * width;
            if planes > 1 || band == 0 {
                let marks = &mut valid[plane * width..][..width];
                view.sort_spots(spots, plane, nearest, marks, ready, rest);
                if points {
                    whole.clear();
                    whole.extend((0..width).map(|x| self.row_taps.is_whole(x, &patch)));
                }
            }
            if nearest {
                let row = &mut typed[range.clone()];
                ready.iter().for_each(|spot| row[spot.x] = samples[spot.under]);
            } else {
                let row = &mut values[range.clone()];
                ready.iter().for_each(|spot| row[spot.x] = spot.blend(samples, stride));
            }
            let others = (0..width).filter(|x| covered[*x]);
            for x in others.chain(rest.iter().copied()) {
                if nearest {
                    let [col, row] = places[x].nearest();
                    let Some(sample) = patch.get(col, row) else { continue };
                    typed[band * width + x] = sample;
                } else {
                    let fraction = mosaic.valid_fraction;
                    let value = if points && whole[x] {
                        Some(self.row_taps.value(x, &patch))
                    } else if on_axes {
                        gatherer.on_axes(mosaic.kernel, &patch, axes, [x, row as usize], fraction)
                    } else {
                        gatherer.at(mosaic.kernel, &patch, &places[x], fraction)
                    };
                    let Some(value) = value else { continue };
                    values[band * width + x] = value;
                }
                valid[plane * width + x] = 1;
            }
        }
        if valid.iter().all(|v| *v == 0) {
            return;
        }
        weights.clear();
        if task.carries_weights() {
            let kernel = if area { Kernel::Average } else { mosaic.kernel };
            for (plane, own) in self.weights.chunks_exact(pixels).enumerate() {
                let patch = view.patch(own, plane);
                let weight = |p: &Place| gatherer.at(kernel, &patch, p, 0.0).unwrap_or(0.0);
                weights.extend(places.iter().map(weight));
            }
        }
        let run = Run { col: part.col, row: part.row + row, width };
        sink.begin_row(run, valid, (!weights.is_empty()).then_some(weights.as_slice()));
        if task.trace.is_some() {
            sink.origins(&self.origins);
        }
        for band in 0..bands {
            let range = band * width..(band + 1) * width;
            sink.band(
                band,
                if nearest { Values::new(&typed[range]) } else { Values::new(&values[range]) },
            );
        }
        sink.end_row();
    }
}

/// Where one pixel of a row takes its sample, or its four, all of which lie in the composite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    /// Column in the row.
    x: usize,
    /// Index of the sample under the centre.
    under: usize,
    /// Index of the first of four.
    start: usize,
    /// Weights of the second column and row.
    fraction: [f64; 2],
}

impl Spot {
    /// The spot of a place; `None` if it is nowhere, its samples are not all at hand, or a bilinear kernel is stretched
    /// there or has fewer taps than four. Positions are whole 2^-20 px, so all of this is exact.
    fn new(x: usize, place: &Place, nearest: bool, view: &View<'_>) -> Option<Spot> {
        const BITS: u32 = 20;
        const STEPS: f64 = (1u32 << BITS) as f64;
        const HALF: i64 = 1 << (BITS - 1);
        let ticks = [place.u, place.v].map(|position| position * STEPS);
        // NaN is not less than anything.
        if !ticks.iter().all(|t| t.abs() < 9.0e15) {
            return None;
        }
        let ticks = ticks.map(|t| (t + 0.5f64.copysign(t)) as i64);
        let under = view.index(ticks.map(|t| t >> BITS), [1, 1])?;
        if nearest {
            return Some(Spot { x, under, start: under, fraction: [0.0; 2] });
        }
        let fraction = ticks.map(|t| ((t - HALF) & (2 * HALF - 1)) as f64 / STEPS);
        let [ux, uy, vx, vy] = place.jacobian;
        // A little less: whatever is taken as plain here is not stretched by `RowTaps` either.
        const MOST: f64 = LEAST_STRETCH * LEAST_STRETCH - 1e-9;
        let plain = ux * ux + uy * uy <= MOST && vx * vx + vy * vy <= MOST;
        if !plain || fraction.contains(&0.0) {
            return None;
        }
        let start = view.index(ticks.map(|t| (t - HALF) >> BITS), [2, 2])?;
        Some(Spot { x, under, start, fraction })
    }

    /// Bilinear, with the arithmetic of `RowTaps::value`.
    fn blend<P: Sample>(&self, samples: &[P], stride: usize) -> f64 {
        let [fx, fy] = self.fraction;
        let (upper, lower) = (&samples[self.start..][..2], &samples[self.start + stride..][..2]);
        let line = |row: &[P]| (1.0 - fx) * row[0].to_f64() + fx * row[1].to_f64();
        (1.0 - fy) * line(upper) + fy * line(lower)
    }
}

/// A composite, as kernels see it.
struct View<'a> {
    left: i64,
    top: i64,
    stride: usize,
    height: usize,
    canvas_valid: &'a [u8],
}

impl<'a> View<'a> {
    /// Index of the first of some taps if all of them are in the composite.
    fn index(&self, [col, row]: [i64; 2], [cols, rows]: [usize; 2]) -> Option<usize> {
        let x = usize::try_from(col - self.left).ok()?;
        let y = usize::try_from(row - self.top).ok()?;
        (x + cols <= self.stride && y + rows <= self.height).then(|| y * self.stride + x)
    }

    /// Which spots have all their samples in a plane of validity, and which columns need a closer look; of the others
    /// the sample under the centre is invalid. Marks the columns of the former as valid.
    fn sort_spots(
        &self,
        spots: &[Spot],
        plane: usize,
        nearest: bool,
        marks: &mut [u8],
        ready: &mut Vec<Spot>,
        rest: &mut Vec<usize>,
    ) {
        let pixels = self.stride * self.height;
        let valid = &self.canvas_valid[plane * pixels..][..pixels];
        ready.clear();
        rest.clear();
        for spot in spots.iter().filter(|spot| valid[spot.under] != 0) {
            let (upper, lower) = (spot.start, spot.start + self.stride);
            let whole =
                nearest || (valid[upper..upper + 2] == [1, 1] && valid[lower..lower + 2] == [1, 1]);
            if whole {
                marks[spot.x] = 1;
                ready.push(*spot);
            } else {
                rest.push(spot.x);
            }
        }
    }

    fn patch<S>(&self, samples: &'a [S], plane: usize) -> Patch<'a, S> {
        let pixels = self.stride * self.height;
        Patch {
            col0: self.left,
            row0: self.top,
            width: self.stride,
            height: self.height,
            samples,
            valid: Some(&self.canvas_valid[plane * pixels..][..pixels]),
        }
    }
}

/// Whether the centre of a pixel lies in the footprint of one of the sources.
fn lies_in(task: &LayerTask<'_>, hits: &[u32], place: &Place) -> bool {
    let [col, row] = place.nearest();
    hits.iter().any(|id| {
        let [left, top, right, bottom] = task.mosaic().rectangle(*id);
        (left..right).contains(&col) && (top..bottom).contains(&row)
    })
}

/// A window in two halves, across its longer side.
fn halves(Window { col, row, width, height }: Window) -> [Window; 2] {
    if width >= height {
        let half = width / 2;
        [
            Window { col, row, width: half, height },
            Window { col: col + half, row, width: width - half, height },
        ]
    } else {
        let half = height / 2;
        [
            Window { col, row, width, height: half },
            Window { col, row: row + half, width, height: height - half },
        ]
    }
}
