//! The pixels of one file on its own grid: what `info --stats` and `sample` read.
//!
//! A mosaic would resample south-up and rotated files, and move those that cross 180°. Here the file
//! gets the grid of its own pixels, (0, 0) at the upper left, and so every file is copied.

use std::fs::File;
use std::sync::Arc;

use smalti::engine::Reader;
use smalti::engine::stats::BandStats;
use smalti::error::{Result, ResultExt as _};
use smalti::geometry::{GeoTransform, Size, Window};
use smalti::io::IoMode;
use smalti::mosaic::{Mosaic, MosaicOptions, NodataMode};
use smalti::ordered::thread_count;
use smalti::ordered::{self, run_ordered};
use smalti::source::Source;
use smalti::tiff::inventory::Image;
use smalti::tiff::layout::Layout;
use smalti::tiff::reader::blocks_of;
use smalti::{with_dtype, with_raster};

/// Bytes of samples that are read at once.
const WINDOW_BYTES: u64 = 4 << 20;
/// Bytes of decoded blocks that are kept, at least and at most.
const CACHE_BYTES: (u64, u64) = (64 << 20, 1 << 30);
/// More threads would only multiply the memory.
const MOST_THREADS: usize = 8;

/// A file as a mosaic of its own pixels, each band valid by itself.
pub(crate) fn own_mosaic(source: &Source) -> Result<Mosaic> {
    own_mosaic_in(source, NodataMode::Band)
}

/// The same with nodata judged in some mode.
pub(crate) fn own_mosaic_in(source: &Source, mode: NodataMode) -> Result<Mosaic> {
    let mut dataset = (*source.dataset).clone();
    let height = f64::from(dataset.image.size.height);
    dataset.transform = GeoTransform::north_up(0.0, height, 1.0, 1.0)?;
    dataset.crs = None;
    let source = Source { dataset: Arc::new(dataset), ..source.clone() };
    let options = MosaicOptions { nodata_mode: Some(mode), ..MosaicOptions::default() };
    Mosaic::new(vec![source], &options)
}

/// A reader whose cache holds the blocks that lie across a row of pixels.
pub(crate) fn reader<'a>(mosaic: &'a Mosaic, layout: &Layout) -> Reader<'a> {
    let (least, most) = CACHE_BYTES;
    Reader::new(mosaic, block_bytes(layout).saturating_mul(2).clamp(least, most), IoMode::Read)
}

/// The alpha band, where its own samples are all valid: 0 is a value of it, though the other bands
/// are invalid there. Invalid samples read as 0 where there is no nodata, so nothing is lost.
pub(crate) fn plain_alpha(source: &Source) -> Option<u32> {
    let dataset = &source.dataset;
    dataset.alpha_band().filter(|_| dataset.nodata.is_none() && dataset.mask.is_none())
}

/// Bytes of one decoded block, of all bands.
fn block_bytes(layout: &Layout) -> u64 {
    layout.max_decoded_bytes() * if layout.planar { u64::from(layout.bands) } else { 1 }
}

/// Exact statistics of all bands. Memory does not grow with the file.
///
/// # Errors
/// A block that cannot be read or decoded.
pub(crate) fn statistics(source: &Source) -> Result<Vec<BandStats>> {
    let mosaic = own_mosaic(source)?;
    let layout = &source.dataset.image;
    let reader = reader(&mosaic, layout);
    let alpha = plain_alpha(source);
    let step = window_step(layout);
    let across = layout.size.width.div_ceil(step.width);
    let total = u64::from(across) * u64::from(layout.size.height.div_ceil(step.height));
    let large = block_bytes(layout) > CACHE_BYTES.0 / 4;
    let threads = if large { 1 } else { thread_count(0).min(MOST_THREADS) };
    let stored = stored_blocks(source)?;
    let mut sums = vec![BandStats::default(); layout.bands as usize];
    run_ordered(
        total,
        ordered::Window::light(threads),
        &(),
        || (),
        |(), ticket| {
            let (bx, by) = (ticket.index % u64::from(across), ticket.index / u64::from(across));
            let (col, row) = (bx as u32 * step.width, by as u32 * step.height);
            let width = step.width.min(layout.size.width - col);
            let height = step.height.min(layout.size.height - row);
            let window = Window { col, row, width, height };
            match &stored {
                Some(stored) if is_absent(layout, stored, window) => {
                    Ok(absent_statistics(&mosaic, layout.bands, window.pixels()))
                }
                _ => window_statistics(&reader, window, alpha),
            }
        },
        |_| 0,
        |_, bands| {
            sums.iter_mut().zip(&bands).for_each(|(sum, band)| sum.merge(band));
            Ok(())
        },
    )?;
    Ok(sums)
}

/// Most blocks whose presence is noted: 16 MiB of bits.
const MOST_BLOCKS: u64 = 1 << 27;

/// One bit for each block of the image that is stored. `None` where that alone does not tell what the
/// others hold (masks, alpha, nodata by band), and where nothing is gained.
fn stored_blocks(source: &Source) -> Result<Option<Vec<u64>>> {
    let dataset = &source.dataset;
    let image = Image { kind: 0, layout: dataset.image.clone() };
    let blocks = image.blocks();
    let other = dataset.mask.is_some() || dataset.alpha_band().is_some();
    if other || dataset.band_nodata.is_some() || blocks > MOST_BLOCKS {
        return Ok(None);
    }
    let mut bits = vec![0u64; usize::try_from(blocks.div_ceil(64)).unwrap_or(0)];
    let mut absent = 0u64;
    let file = File::open(source.path()).at(source.path())?;
    image
        .for_each_block(&file, |index, extent, _| {
            absent += u64::from(extent.len == 0);
            let at = usize::try_from(index / 64).unwrap_or(0);
            bits[at] |= u64::from(extent.len > 0) << (index % 64);
            Ok(())
        })
        .at(source.path())?;
    Ok((absent > 0).then_some(bits))
}

/// Whether no block of a window is stored.
fn is_absent(layout: &Layout, stored: &[u64], window: Window) -> bool {
    let (cols, rows) = blocks_of(layout, window);
    let planes = if layout.planar { layout.bands } else { 1 };
    (0..planes).all(|plane| {
        rows.clone().all(|by| {
            cols.clone().all(|bx| {
                let index = layout.block_index(bx, by, plane);
                let word = usize::try_from(index / 64).ok().and_then(|at| stored.get(at));
                word.is_some_and(|word| word >> (index % 64) & 1 == 0)
            })
        })
    })
}

/// Of pixels that are not stored: all nodata, else all 0.
fn absent_statistics(mosaic: &Mosaic, bands: u32, pixels: u64) -> Vec<BandStats> {
    let source = &mosaic.sources()[0];
    let stats = |band: u32| {
        let mut stats = BandStats::default();
        with_dtype!(source.dtype(), T => {
            match source.nodata.band(band).and_then(|value| value.as_sample::<T>()) {
                Some(_) => stats.add_invalid(pixels),
                None => stats.add_zeros::<T>(pixels),
            }
        });
        stats
    };
    (0..bands).map(stats).collect()
}

fn window_statistics(
    reader: &Reader<'_>,
    window: Window,
    alpha: Option<u32>,
) -> Result<Vec<BandStats>> {
    let (pixels, mask) = reader.read(window)?;
    let all = vec![1; window.pixels() as usize];
    let stats = |band: u32| {
        let mut stats = BandStats::default();
        let valid = if alpha == Some(band) { &all } else { mask.plane(band) };
        with_raster!(&pixels, raster => stats.add_row(raster.band(band), valid));
        stats
    };
    Ok((0..pixels.bands()).map(stats).collect())
}

/// Size of a window of whole blocks, or of rows of a block that is large.
fn window_step(layout: &Layout) -> Size {
    let (size, block) = (layout.size, layout.block_size());
    let pixel_bytes = layout.dtype.size() as u64 * u64::from(layout.bands);
    let target = (WINDOW_BYTES / pixel_bytes).max(1);
    let fit = |blocks: u64, side: u32, most: u32| {
        u32::try_from(blocks.max(1) * u64::from(side)).unwrap_or(u32::MAX).min(most)
    };
    let blocks = target / block.pixels().max(1);
    let mut step = if layout.tiled {
        Size { width: fit(blocks, block.width, size.width), height: block.height.min(size.height) }
    } else {
        Size { width: size.width, height: fit(blocks, block.height, size.height) }
    };
    if step.pixels() > target {
        let rows = (target / u64::from(step.width)).max(1);
        step.height = u32::try_from(rows).unwrap_or(u32::MAX).min(step.height);
    }
    step
}
