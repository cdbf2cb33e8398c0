//! JPEG blocks (ITU-T T.81; TIFF technote 2): baseline, extended and progressive, 8 and 12 bits.
//!
//! In: a block's stream, and the tables of the tag JPEGTables (an abbreviated stream). Out: the samples,
//! band after band. Written here because pixels have to be equal to those of the library that nearly
//! all other tools use, in the inverse transform, the upsampling of chroma and the color conversion,
//! each of which other Rust decoders round differently (checked: zune-jpeg, jpeg-decoder).
//!
//! Refused: arithmetic coding, lossless and hierarchical processes, streams that end early or name
//! other sizes than the block has.

mod bits;
mod frame;
mod idct;
mod planes;
mod scan;

use self::frame::{Frame, Segment, Tables};
use self::planes::{Level, Plane};
use super::image::ImageBlock;
use super::{Compression, broken};
use crate::error::{Error, Result};

#[cold]
fn fail(reason: &str) -> Error {
    broken(Compression::Jpeg, reason)
}

/// Decodes a block into `dst`: native samples of 1 or 2 bytes, band after band.
pub(super) fn decode(block: &ImageBlock<'_>, src: &[u8], dst: &mut [u8]) -> Result<()> {
    let mut tables = Tables::default();
    let mut at = 0;
    while let Segment::Frame(_) | Segment::Scan(..) =
        frame::next_segment(&block.params.jpeg_tables, &mut at, &mut tables, None)?
    {}
    let mut at = 0;
    let frame = match frame::next_segment(src, &mut at, &mut tables, None)? {
        Segment::Frame(frame) => frame,
        _ => return Err(fail("a stream without a frame")),
    };
    check(block, &frame, src.len())?;
    if frame.precision == 8 {
        image::<u8>(block, &frame, src, at, tables, dst)
    } else {
        image::<u16>(block, &frame, src, at, tables, dst)
    }
}

/// Sizes must be those of the block, and plausible for so few bytes, before anything is allocated.
fn check(block: &ImageBlock<'_>, frame: &Frame, stored: usize) -> Result<()> {
    let precision = if block.sample_bytes == 1 { 8 } else { 12 };
    if frame.precision != precision {
        return Err(fail(&format!("{}-bit samples, not {precision}", frame.precision)));
    }
    if frame.components.len() != block.samples {
        let found = frame.components.len();
        return Err(fail(&format!("{found} components, not {}", block.samples)));
    }
    // A frame may be taller than the last strip, which holds what is left of the image.
    // The lowest tiles are sometimes cut at the image's edge.
    if frame.width != block.width || frame.height < block.inside {
        let (found, expected) = ((frame.width, frame.height), (block.width, block.height));
        return Err(fail(&format!("{found:?} pixels, not {expected:?}")));
    }
    // Each block of 64 samples has a code of at least one bit.
    let blocks = frame.components.iter().map(|c| c.blocks_across * c.blocks_down / (c.h * c.v));
    if blocks.sum::<usize>() / 8 > stored {
        return Err(fail("the image data end too early"));
    }
    Ok(())
}

fn image<P: Level>(
    block: &ImageBlock<'_>,
    frame: &Frame,
    src: &[u8],
    at: usize,
    tables: Tables,
    dst: &mut [u8],
) -> Result<()> {
    let planes = if frame.progressive {
        progressive::<P>(frame, src, at, tables)?
    } else {
        sequential::<P>(frame, src, at, tables)?
    };
    let Ok(dst) = bytemuck::try_cast_slice_mut::<u8, P>(dst) else {
        return Err(fail("samples that are not aligned"));
    };
    let pixels = block.width * block.height;
    let mut rows: Vec<&mut [P]> = dst.chunks_exact_mut(pixels).collect();
    let mut sums = Vec::new();
    let height = block.height.min(frame.height);
    rows.iter_mut().for_each(|rows| rows[height * block.width..].fill(P::default()));
    for row in 0..height {
        let at = row * block.width;
        for ((out, component), plane) in rows.iter_mut().zip(&frame.components).zip(&planes) {
            let out = &mut out[at..at + block.width];
            planes::upsample(frame, component, plane, row, out, &mut sums);
        }
        if block.params.ycbcr
            && let [y, cb, cr] = &mut rows[..]
        {
            let line = at..at + block.width;
            planes::ycc_to_rgb(&mut y[line.clone()], &mut cb[line.clone()], &mut cr[line]);
        }
    }
    Ok(())
}

/// Fraction bits between the passes of the inverse transform.
fn pass_bits(frame: &Frame) -> u32 {
    if frame.precision == 8 { 2 } else { 1 }
}

/// The table of each component, in natural order.
fn quantization(frame: &Frame, tables: &Tables) -> Result<Vec<[i32; 64]>> {
    let table = |c: &frame::Component| {
        let table = tables.quantization[c.table].as_deref();
        table.map(|t| t.map(i32::from)).ok_or_else(|| fail("a quantization table is missing"))
    };
    frame.components.iter().map(table).collect()
}

/// Samples of a block with the highest coefficient at `last` in zigzag order.
#[inline]
fn put<P: Level>(
    plane: &mut Plane<P>,
    (col, row): (usize, usize),
    coefficients: &[i16; 64],
    table: &[i32; 64],
    (last, bits): (usize, u32),
) {
    if last == 0 {
        let mean = i32::from(coefficients[0]).wrapping_mul(table[0]);
        plane.put_flat(col, row, idct::inverse_flat(mean, bits));
        return;
    }
    let scaled = std::array::from_fn(|i| i32::from(coefficients[i]).wrapping_mul(table[i]));
    plane.put(col, row, &idct::inverse(&scaled, bits));
}

/// Blocks go through the transform as they come.
struct Direct<'a, P> {
    planes: &'a mut [Plane<P>],
    quantization: Vec<[i32; 64]>,
    block: [i16; 64],
    bits: u32,
}

impl<P: Level> scan::Sink for Direct<'_, P> {
    fn coefficients(&mut self, _: usize, _: usize, _: usize) -> &mut [i16; 64] {
        self.block = [0; 64];
        &mut self.block
    }

    fn finish(&mut self, component: usize, col: usize, row: usize, last: usize) {
        let (plane, table) = (&mut self.planes[component], &self.quantization[component]);
        put(plane, (col, row), &self.block, table, (last, self.bits));
    }
}

fn sequential<P: Level>(
    frame: &Frame,
    src: &[u8],
    mut at: usize,
    mut tables: Tables,
) -> Result<Vec<Plane<P>>> {
    let mut planes: Vec<Plane<P>> = frame.components.iter().map(Plane::new).collect();
    let mut missing = frame.components.len();
    while missing > 0 {
        let (scan, start) = match frame::next_segment(src, &mut at, &mut tables, Some(frame))? {
            Segment::Scan(scan, start) => (scan, start),
            Segment::Frame(_) => return Err(fail("a second frame")),
            Segment::End => return Err(fail("a component is missing")),
        };
        let quantization = quantization(frame, &tables)?;
        let mut sink =
            Direct { planes: &mut planes, quantization, block: [0; 64], bits: pass_bits(frame) };
        at = scan::decode(src, start, frame, &scan, &tables, &mut sink)?;
        missing = missing.saturating_sub(scan.components.len());
    }
    Ok(planes)
}

/// Coefficients of all blocks, as scans fill them.
struct Stored<'a> {
    frame: &'a Frame,
    blocks: Vec<Vec<[i16; 64]>>,
}

impl scan::Sink for Stored<'_> {
    fn coefficients(&mut self, component: usize, col: usize, row: usize) -> &mut [i16; 64] {
        let across = self.frame.components[component].blocks_across;
        &mut self.blocks[component][row * across + col]
    }

    fn finish(&mut self, _: usize, _: usize, _: usize, _: usize) {}
}

/// Most scans of a progressive stream; each walks over the whole image.
const MAX_SCANS: usize = 100;

fn progressive<P: Level>(
    frame: &Frame,
    src: &[u8],
    mut at: usize,
    mut tables: Tables,
) -> Result<Vec<Plane<P>>> {
    let blocks = frame.components.iter().map(|c| vec![[0; 64]; c.blocks_across * c.blocks_down]);
    let mut stored = Stored { frame, blocks: blocks.collect() };
    let mut scans = 0;
    loop {
        match frame::next_segment(src, &mut at, &mut tables, Some(frame))? {
            Segment::Scan(scan, start) => {
                at = scan::decode(src, start, frame, &scan, &tables, &mut stored)?;
            }
            Segment::Frame(_) => return Err(fail("a second frame")),
            Segment::End => break,
        }
        scans += 1;
        if scans > MAX_SCANS {
            return Err(fail("too many scans"));
        }
    }
    if scans == 0 {
        return Err(fail("a stream without a scan"));
    }
    let quantization = quantization(frame, &tables)?;
    let mut planes: Vec<Plane<P>> = frame.components.iter().map(Plane::new).collect();
    for (index, component) in frame.components.iter().enumerate() {
        for (number, block) in stored.blocks[index].iter().enumerate() {
            let place = (number % component.blocks_across, number / component.blocks_across);
            let last = if block[1..].iter().all(|v| *v == 0) { 0 } else { 63 };
            let bits = pass_bits(frame);
            put(&mut planes[index], place, block, &quantization[index], (last, bits));
        }
    }
    Ok(planes)
}
