//! Composites the sources of a layer at its own resolution.

use super::{LayerTask, LayerWorker};
use crate::composite::distance::{Inner, distances};
use crate::composite::{self, rules};
use crate::engine::paint::{Frame, Painter};
use crate::error::Result;
use crate::geometry::Window;
use crate::mosaic::Overlap;
use crate::sample::Sample;

impl<P: Sample> LayerWorker<P> {
    /// Composites a rectangle of the reference grid; `false` if no source left anything there.
    pub(super) fn composite(
        &mut self,
        task: &LayerTask<'_>,
        [col, row]: [i64; 2],
        [width, height]: [u32; 2],
    ) -> Result<bool> {
        task.check()?;
        let mosaic = task.mosaic();
        let window = Window { col: 0, row: 0, width, height };
        let ends = [col + i64::from(width), row + i64::from(height)];
        mosaic.layer_hits(task.layer, [col, row, ends[0], ends[1]], &mut self.hits);
        self.canvas.restart(window, task.bands.clone(), task.shared);
        self.canvas.may_keep_nan = false;
        if self.hits.is_empty() {
            return Ok(false);
        }
        if !mosaic.overlap.is_by_order() {
            self.composite_all(task, [col, row], window)?;
            return Ok(!self.canvas.is_blank());
        }
        let painter = self.painter(task, [col, row]);
        for id in &self.hits {
            if self.canvas.left == 0 {
                break;
            }
            painter.paint_source(*id, window, &mut self.canvas, &mut self.paint, task.ticket)?;
        }
        if !self.canvas.shared && painter.judges_pixels() && !self.canvas.is_blank() {
            composite::settle_taken(&mut self.canvas.valid);
        }
        Ok(!self.canvas.is_blank())
    }

    fn painter<'a>(&self, task: &LayerTask<'a>, [col, row]: [i64; 2]) -> Painter<'a> {
        let halo = task.mosaic().halo(task.layer);
        Painter { frame: Frame::Layer { col, row, halo }, ..task.painter }
    }

    /// Composites by a rule that looks at all sources, one after the other.
    fn composite_all(
        &mut self,
        task: &LayerTask<'_>,
        origin: [i64; 2],
        window: Window,
    ) -> Result<()> {
        let mosaic = task.mosaic();
        // Pixels of each source beyond the window that decide on weights in it.
        let margin = if let Overlap::Feather(px) = mosaic.overlap { px } else { 0 };
        let own = Window {
            col: 0,
            row: 0,
            width: window.width + 2 * margin,
            height: window.height + 2 * margin,
        };
        let at = origin.map(|v| v - i64::from(margin));
        let painter = self.painter(task, at);
        let hits = std::mem::take(&mut self.hits);
        let mut deep = 0;
        for id in hits.iter().rev() {
            task.check()?;
            self.single.restart(own, task.bands.clone(), task.shared);
            self.single.may_keep_nan = false;
            painter.paint_source(*id, own, &mut self.single, &mut self.paint, task.ticket)?;
            if self.single.is_blank() {
                continue;
            }
            if !self.single.shared && painter.judges_pixels() {
                composite::settle_taken(&mut self.single.valid);
            }
            if self.canvas.is_blank() {
                self.canvas.prepare();
                self.canvas.samples.fill(P::ZERO);
                self.weights.clear();
                self.weights.resize(task.planes() * window.pixels() as usize, 0.0);
                self.equal.resize(task.bands.len() * window.pixels() as usize, 0.0);
            }
            match mosaic.overlap {
                Overlap::Median => self.put_aside(&mut deep, *id),
                Overlap::Feather(px) => self.add_feathered(window, margin, px, *id),
                overlap => self.add(overlap, *id),
            }
        }
        self.hits = hits;
        if !self.canvas.is_blank() {
            self.settle(mosaic.overlap, deep);
        }
        Ok(())
    }

    /// Adds the single source to the canvas.
    fn add(&mut self, overlap: Overlap, id: u32) {
        let pixels = self.canvas.pixels();
        for index in 0..self.canvas.bands.len() {
            let plane = if self.canvas.shared { 0 } else { index };
            let src = &self.single.samples[index * pixels..][..pixels];
            let src_valid = &self.single.valid[plane * pixels..][..pixels];
            let dst = &mut self.canvas.samples[index * pixels..][..pixels];
            let dst_valid = &self.canvas.valid[plane * pixels..][..pixels];
            match overlap {
                Overlap::Min | Overlap::Max => {
                    let largest = overlap == Overlap::Max;
                    if let Some(origins) = &mut self.canvas.origins {
                        let valid = [dst_valid, src_valid];
                        origins.rival(index * pixels, [&*dst, src], valid, largest, |_| id + 1);
                    }
                    rules::take_extreme(dst, dst_valid, src, Some(src_valid), largest);
                }
                // Sums are made in f64: `P` is that type for such rules.
                Overlap::Count => rules::add_count(bytemuck::cast_slice_mut(dst), src_valid),
                _ => {
                    let src = bytemuck::cast_slice(src);
                    if overlap == Overlap::Mean {
                        let equal = &mut self.equal[index * pixels..][..pixels];
                        rules::keep_equal(equal, dst_valid, src, src_valid);
                    }
                    rules::add_valid(bytemuck::cast_slice_mut(dst), src, src_valid);
                }
            }
        }
        if overlap == Overlap::Mean {
            rules::add_count(&mut self.weights, &self.single.valid);
        }
        if let (true, Some(origins)) = (overlap.accumulates(), &mut self.canvas.origins) {
            origins.weigh(0, &self.single.valid, None, id);
        }
        self.merge_valid();
    }

    fn merge_valid(&mut self) {
        self.canvas.left -=
            composite::merge_valid(&mut self.canvas.valid, Some(&self.single.valid));
    }

    /// Adds the single source, which reaches `margin` pixels beyond the window, by its distance to the
    /// edge of its data.
    fn add_feathered(&mut self, window: Window, margin: u32, px: u32, id: u32) {
        let (stride, margin) = (self.single.window.width as usize, margin as usize);
        let (width, height) = (window.width as usize, window.height as usize);
        let (pixels, own_pixels) = (self.canvas.pixels(), self.single.pixels());
        let planes = self.canvas.valid.len() / pixels;
        for plane in 0..planes {
            let valid = &self.single.valid[plane * own_pixels..][..own_pixels];
            let inner = Inner { stride, first: [margin, margin], size: [width, height] };
            distances(valid, inner, px, &mut self.distance_scratch, &mut self.distance);
            let bands =
                if self.canvas.shared { 0..self.canvas.bands.len() } else { plane..plane + 1 };
            for row in 0..height {
                let from = (row + margin) * stride + margin;
                let to = row * width;
                let valid = &valid[from..from + width];
                let weights = &self.distance[to..to + width];
                for band in bands.clone() {
                    let src = &self.single.samples[band * own_pixels + from..][..width];
                    let dst = &mut self.canvas.samples[band * pixels + to..][..width];
                    let (dst, src) = (bytemuck::cast_slice_mut(dst), bytemuck::cast_slice(src));
                    rules::add_weighted(dst, src, valid, weights);
                    let equal = &mut self.equal[band * pixels + to..][..width];
                    let seen = &self.canvas.valid[plane * pixels + to..][..width];
                    rules::keep_equal(equal, seen, src, valid);
                }
                if let Some(origins) = &mut self.canvas.origins {
                    origins.weigh(plane * pixels + to, valid, Some(weights), id);
                }
                let sums = &mut self.weights[plane * pixels + to..][..width];
                rules::add_valid(sums, weights, valid);
                let merged = &mut self.canvas.valid[plane * pixels + to..][..width];
                self.canvas.left -= composite::merge_valid(merged, Some(valid));
            }
        }
    }

    fn put_aside(&mut self, deep: &mut usize, id: u32) {
        if self.deep.len() == *deep {
            self.deep.push((Vec::new(), Vec::new(), id));
        }
        let (samples, valid, source) = &mut self.deep[*deep];
        *source = id;
        samples.clear();
        samples.extend_from_slice(bytemuck::cast_slice(&self.single.samples));
        valid.clone_from(&self.single.valid);
        *deep += 1;
        self.merge_valid();
    }

    /// Ends a rule once all sources were added.
    fn settle(&mut self, overlap: Overlap, deep: usize) {
        let pixels = self.canvas.pixels();
        for index in 0..self.canvas.bands.len() {
            let plane = if self.canvas.shared { 0 } else { index };
            let range = index * pixels..(index + 1) * pixels;
            let dst = &mut self.canvas.samples[range];
            let weights = &self.weights[plane * pixels..][..pixels];
            match overlap {
                Overlap::Mean | Overlap::Feather(_) => {
                    let means = bytemuck::cast_slice_mut(dst);
                    rules::divide(means, weights);
                    rules::restore_equal(means, &self.equal[index * pixels..][..pixels]);
                }
                Overlap::Median => {
                    let dst: &mut [f64] = bytemuck::cast_slice_mut(dst);
                    for (at, value) in dst.iter_mut().enumerate() {
                        self.stack.clear();
                        let (sample, mark) = (index * pixels + at, plane * pixels + at);
                        let valid =
                            self.deep[..deep].iter().filter(|(_, valid, _)| valid[mark] != 0);
                        self.stack.extend(valid.clone().map(|(samples, ..)| samples[sample]));
                        *value = rules::median(&mut self.stack).unwrap_or(0.0);
                        if let Some(origins) = &mut self.canvas.origins {
                            let own = valid.map(|(samples, _, id)| (samples[sample], *id + 1));
                            origins.ids[sample] = rules::nearest_to(*value, own);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}
