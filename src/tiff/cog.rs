//! The final order of a Cloud Optimized GeoTIFF, as GDAL's COG driver lays it (its description of the
//! format: "Cloud Optimized GeoTIFF, low level"):
//!
//! ```text
//! header │ ghost area │ directories: full, its mask, overviews … │ tables │ blocks: coarsest level first, full last
//! ```
//! Each block has its length before it (the leader) and its last four bytes again after it (the trailer).
//! In: a file with the framed blocks in any order. Out: another one. Neighbours are copied together, by
//! the kernel where it can.

use crate::error::Result;
use crate::io::Target;
use crate::tiff::gdal_metadata::GdalMetadata;
use crate::tiff::tables::Tables;
use crate::tiff::writer::{
    CLASSIC_BYTES, FLUSH_BYTES, ImageSpec, Level, directories, header, reserve_tables, too_large,
};

/// Length of a leader, and of a trailer.
pub(crate) const LEADER_BYTES: u64 = 4;
/// Shorter runs of blocks are gathered in memory, which is cheaper than a call for each.
const GATHER_BYTES: u64 = 256 << 10;
/// Gathered bytes that are written at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Entries of a table that are looked at together.
const PAGE: u64 = 2048;

/// A block with its leader and trailer.
pub(crate) fn frame(bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
    let mut trailer = [0; LEADER_BYTES as usize];
    let last = &bytes[bytes.len().saturating_sub(trailer.len())..];
    trailer[..last.len()].copy_from_slice(last);
    out.extend_from_slice(&trailer);
}

/// What readers are promised of the file; GDAL reads it, byte for byte. The space before the end lets `NO`
/// become `YES` in place.
fn ghost(masked: bool) -> Vec<u8> {
    let mut text = String::from(
        "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n\
         BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n ",
    );
    if masked {
        text.push_str("MASK_INTERLEAVED_WITH_IMAGERY=YES\n");
    }
    format!("GDAL_STRUCTURAL_METADATA_SIZE={:06} bytes\n{text}", text.len()).into_bytes()
}

/// Lays the blocks of `spool` in their final order in `out`. Returns the length of the file.
///
/// # Errors
/// [`crate::error::InputError::Output`] if a classic TIFF would exceed 4 GiB; as the targets say.
pub(crate) fn lay_out(
    spool: &mut dyn Target,
    levels: &[Level],
    spec: &ImageSpec,
    metadata: &GdalMetadata,
    out: &mut dyn Target,
) -> Result<u64> {
    let masks_inside = spec.mask && spec.planes() == 1;
    let mut start = header(spec, 0);
    start.extend(ghost(masks_inside));
    let first = (start.len() as u64).next_multiple_of(2);
    // Directories have the same length whatever their tables hold.
    let (draft, _) = reserve_tables(spec, 0);
    let directories_end = directories(spec, &draft, metadata, first)
        .last()
        .map_or(first, |(at, bytes)| at + bytes.len() as u64);
    let (mut finals, tables_end) = reserve_tables(spec, directories_end);
    let mut copier = Copier::new(spool, out, tables_end.next_multiple_of(8));
    copier.out.set_len(copier.end)?;
    for (level, last) in levels.iter().zip(&mut finals).rev() {
        let in_plane = spec.blocks_in_plane(level.size);
        for plane in 0..u64::from(spec.planes()) {
            let masks = level.mask.as_ref().zip(last.mask.as_mut()).filter(|_| masks_inside);
            let image = (&level.image, &mut last.image);
            copier.lay_plane(plane * in_plane, in_plane, image, masks)?;
        }
        if !masks_inside && let (Some(from), Some(to)) = (&level.mask, &mut last.mask) {
            copier.lay_plane(0, in_plane, (from, to), None)?;
        }
    }
    let end = copier.finish()?;
    if !spec.big_tiff && end > CLASSIC_BYTES {
        return Err(too_large());
    }
    for level in &mut finals {
        level.image.write(out)?;
        if let Some(mask) = &mut level.mask {
            mask.write(out)?;
        }
    }
    for (at, bytes) in directories(spec, &finals, metadata, first) {
        out.write_all_at(at, &bytes)?;
    }
    let mut head = header(spec, first);
    let ghost_at = head.len();
    head.extend_from_slice(&start[ghost_at..]);
    out.write_all_at(0, &head)?;
    Ok(end)
}

/// Copies framed blocks, one after the other.
struct Copier<'a> {
    spool: &'a mut dyn Target,
    out: &'a mut dyn Target,
    /// Where the next block goes.
    end: u64,
    /// Neighbouring blocks in the spool that are still to be copied: start and length.
    run: (u64, u64),
    /// Gathered bytes; they go before what `run` stands for.
    buffer: Vec<u8>,
    /// All before this was written.
    written: u64,
    unflushed: u64,
}

impl<'a> Copier<'a> {
    fn new(spool: &'a mut dyn Target, out: &'a mut dyn Target, end: u64) -> Copier<'a> {
        Copier { spool, out, end, run: (0, 0), buffer: Vec::new(), written: end, unflushed: 0 }
    }

    /// A plane of blocks, row by row; each followed by its mask, if those are given.
    fn lay_plane(
        &mut self,
        first: u64,
        count: u64,
        (from, to): (&Tables, &mut Tables),
        mut masks: Option<(&Tables, &mut Tables)>,
    ) -> Result<()> {
        for page in (0..count).step_by(PAGE as usize) {
            let len = PAGE.min(count - page);
            let blocks = from.read(self.spool, first + page, len)?;
            let mask_blocks = match &masks {
                Some((from, _)) => from.read(self.spool, page, len)?,
                None => Vec::new(),
            };
            for (index, block) in blocks.into_iter().enumerate() {
                let place = page + index as u64;
                self.lay(block, first + place, to)?;
                if let (Some((_, to)), Some(block)) = (&mut masks, mask_blocks.get(index)) {
                    self.lay(*block, place, to)?;
                }
            }
        }
        Ok(())
    }

    fn lay(&mut self, (offset, len): (u64, u64), index: u64, to: &mut Tables) -> Result<()> {
        if offset == 0 {
            return Ok(());
        }
        let (start, framed) = (offset - LEADER_BYTES, len + 2 * LEADER_BYTES);
        if self.run.0 + self.run.1 == start {
            self.run.1 += framed;
        } else {
            self.copy_run()?;
            self.run = (start, framed);
        }
        to.set(index, (self.end + LEADER_BYTES, len), self.out)?;
        self.end += framed;
        Ok(())
    }

    fn copy_run(&mut self) -> Result<()> {
        let (start, len) = std::mem::take(&mut self.run);
        if len == 0 {
            return Ok(());
        }
        if len < GATHER_BYTES {
            let at = self.buffer.len();
            self.buffer.resize(at + len as usize, 0);
            self.spool.read_exact_at(start, &mut self.buffer[at..])?;
            return if self.buffer.len() >= BUFFER_BYTES { self.write_buffer() } else { Ok(()) };
        }
        self.write_buffer()?;
        self.out.copy_from(self.written, self.spool, start, len)?;
        self.advance(len)
    }

    fn write_buffer(&mut self) -> Result<()> {
        self.out.write_all_at(self.written, &self.buffer)?;
        let len = self.buffer.len() as u64;
        self.buffer.clear();
        self.advance(len)
    }

    fn advance(&mut self, len: u64) -> Result<()> {
        self.written += len;
        self.unflushed += len;
        if self.unflushed >= FLUSH_BYTES {
            self.out.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64> {
        self.copy_run()?;
        self.write_buffer()?;
        Ok(self.end)
    }
}
