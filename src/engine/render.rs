//! Renders a window of a mosaic: sources straight onto the grid, or layers that are composited at their
//! own resolution first.

use std::ops::Range;

use crate::composite;
use crate::engine::canvas::Canvas;
use crate::engine::layers::{
    LayerTask, LayerWorker, RenderLayer, SHARED_ROWS, STRIP_PX, SUM_BYTES,
};
use crate::engine::origin::Trace;
use crate::engine::paint::{Frame, PaintScratch, Painter, Uses};
use crate::engine::tile::{CanvasSink, SinkRules, SinkScratch, SumSink};
use crate::error::Result;
use crate::geometry::Window;
use crate::mosaic::{Mosaic, NodataMode, Overlap};
use crate::ordered::Ticket;
use crate::sample::{DataType, Sample};
use crate::source::Source;
use crate::source::blocks::Blocks;
use crate::with_dtype;

/// What all windows of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renderer<'a> {
    pub(crate) mosaic: &'a Mosaic,
    pub(crate) blocks: &'a Blocks<'a>,
    pub(crate) uses: Uses<'a>,
    /// As [`shares_validity`] says of the mosaic.
    pub(crate) shared: bool,
}

/// Whether one plane of validity serves all bands: nodata is judged by pixel, or there is none.
pub(crate) fn shares_validity(mosaic: &Mosaic) -> bool {
    let by_band = |source: &Source| source.dtype().is_float() || source.has_nodata();
    let float = |source: &Source| source.dtype().is_float();
    let sources = mosaic.sources();
    if sources.iter().any(|source| !source.has_all_bands(mosaic.facts.alpha_band)) {
        return mosaic.bands == 1;
    }
    mosaic.bands == 1
        || match mosaic.nodata_mode {
            NodataMode::Band => !sources.iter().any(by_band),
            // A NaN is invalid also where other bands make the pixel valid.
            NodataMode::All => !sources.iter().any(float),
            NodataMode::Any => true,
        }
}

/// Scratch memory of one thread that renders.
#[derive(Debug)]
pub(crate) struct RenderScratch<T> {
    hits: Vec<u32>,
    paint: PaintScratch<T>,
    layers: Option<Box<dyn RenderLayer>>,
    sums: SumSink,
    sink: SinkScratch<T>,
}

// Not derived: that would ask for `T: Default`.
impl<T> Default for RenderScratch<T> {
    fn default() -> RenderScratch<T> {
        RenderScratch {
            hits: Vec::new(),
            paint: PaintScratch::default(),
            layers: None,
            sums: SumSink::default(),
            sink: SinkScratch::default(),
        }
    }
}

impl Renderer<'_> {
    /// Renders `bands` of a window.
    pub(crate) fn render<T: Sample>(
        &self,
        window: Window,
        bands: Range<u32>,
        canvas: &mut Canvas<T>,
        scratch: &mut RenderScratch<T>,
        ticket: Option<&Ticket<'_>>,
    ) -> Result<()> {
        canvas.restart(window, bands, self.shared);
        canvas.may_keep_nan = T::IS_FLOAT && self.mosaic.nodata.is_none();
        let painter = Painter {
            mosaic: self.mosaic,
            blocks: self.blocks,
            uses: self.uses,
            frame: Frame::Grid,
            holds: false,
        };
        self.mosaic.hits(window, &mut scratch.hits);
        if self.mosaic.stack().is_some() {
            let painter = Painter { holds: true, ..painter };
            let done = self.render_layers(&painter, canvas, scratch, ticket);
            painter.release(&mut scratch.paint, |_| None);
            if let Some(layers) = &mut scratch.layers {
                layers.release(&painter);
            }
            done?;
        } else {
            let RenderScratch { hits, paint, .. } = scratch;
            for id in hits.iter() {
                if canvas.left == 0 {
                    break;
                }
                painter.paint_source(*id, window, canvas, paint, ticket)?;
            }
        }
        if !canvas.shared && painter.judges_pixels() && !canvas.is_blank() {
            composite::settle_taken(&mut canvas.valid);
        }
        Ok(())
    }

    /// Renders the layers that the sources of `scratch.hits` are of, each in tiles of its width.
    fn render_layers<T: Sample>(
        &self,
        painter: &Painter<'_>,
        canvas: &mut Canvas<T>,
        scratch: &mut RenderScratch<T>,
        ticket: Option<&Ticket<'_>>,
    ) -> Result<()> {
        let mosaic = self.mosaic;
        let RenderScratch { hits, paint, layers, sums, sink, .. } = scratch;
        let mut order: Vec<u32> = hits.iter().map(|id| mosaic.layer_of(*id)).collect();
        order.sort_unstable();
        order.dedup();
        // From the one that counts most downwards.
        if mosaic.overlap == Overlap::Last {
            order.reverse();
        }
        let worker = layers.get_or_insert_with(|| layer_worker(mosaic));
        let (bands, rules) = (canvas.bands.clone(), SinkRules::new(mosaic));
        let adds_up =
            mosaic.overlap.accumulates() && mosaic.stack().is_some_and(|s| s.groups.len() > 1);
        let tiles = self.tiles(canvas.window, &order, adds_up, bands.len());
        let trace: Option<Trace> = canvas.origins.as_ref().map(|origins| origins.trace);
        sums.trace(trace.filter(|_| adds_up));
        // Strips that are decoded as a stream are read downwards only.
        let streamed = |id: &u32| mosaic.sources()[*id as usize].dataset.image.is_streamed();
        let upward = canvas.window.col / canvas.window.width % 2 == 1 && !hits.iter().any(streamed);
        for (index, tile) in tiles.iter().enumerate() {
            if adds_up {
                sums.begin(mosaic.overlap, rules, *tile, bands.clone(), self.shared);
            }
            for layer in &order {
                if mosaic.overlap.is_by_order() && canvas.is_full(*tile) {
                    break;
                }
                if mosaic.is_painted_directly(*layer) {
                    for id in hits.iter().filter(|id| mosaic.layer_of(**id) == *layer) {
                        painter.paint_source(*id, *tile, canvas, paint, ticket)?;
                    }
                    continue;
                }
                let task = LayerTask {
                    painter: *painter,
                    layer: *layer,
                    tile: *tile,
                    bands: bands.clone(),
                    shared: self.shared,
                    is_last: index + 1 == tiles.len(),
                    upward,
                    trace,
                    ticket,
                };
                if adds_up {
                    worker.render(&task, sums)?;
                } else {
                    let judges = painter.judges_pixels();
                    let mut onto = CanvasSink::new(canvas, mosaic.overlap, rules, judges, sink);
                    worker.render(&task, &mut onto)?;
                }
            }
            if adds_up {
                sums.finish(canvas, bands.clone());
            }
        }
        Ok(())
    }

    /// Cuts a window into tiles where its strips would be too wide, or where sums over layers must be
    /// kept. Tiles beside each other come one after the other, and are only so high that the source
    /// blocks that they share stay in the cache.
    fn tiles(&self, window: Window, layers: &[u32], adds_up: bool, bands: usize) -> Vec<Window> {
        let scales: Vec<[f64; 2]> =
            layers.iter().map(|layer| self.mosaic.layer_scale(*layer)).collect();
        let most = |axis: usize| scales.iter().map(|scale| scale[axis]).fold(0.0, f64::max);
        let (mut width, mut height) = (window.width, window.height);
        if f64::from(width) * most(0) > 1.5 * STRIP_PX {
            width = ((STRIP_PX / most(0)) as u32).clamp(1, window.width);
            let halo = self.mosaic.kernel.halo(most(1)) as f64;
            let rows = (8.0 * halo).max(SHARED_ROWS) / most(1);
            height = (rows as u32).clamp(1, window.height);
        }
        if adds_up {
            let planes = if self.shared { 1 } else { bands };
            let rows = SUM_BYTES as usize / ((bands * 8 + planes * 9) * width as usize).max(1);
            height = u32::try_from(rows).unwrap_or(height).clamp(1, height);
        }
        let mut tiles = Vec::new();
        for row in (window.row..window.row_end()).step_by(height as usize) {
            for col in (window.col..window.col_end()).step_by(width as usize) {
                let (width, height) =
                    (width.min(window.col_end() - col), height.min(window.row_end() - row));
                tiles.push(Window { col, row, width, height });
            }
        }
        tiles
    }
}

/// The memory in which layers are rendered, of the type that their samples have.
fn layer_worker(mosaic: &Mosaic) -> Box<dyn RenderLayer> {
    let dtype = if mosaic.overlap.accumulates() { DataType::F64 } else { mosaic.source_dtype };
    with_dtype!(dtype, P => Box::new(LayerWorker::<P>::new()))
}
