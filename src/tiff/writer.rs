//! Writing a tiled GeoTIFF: blocks in any order as they come, tables in place, directories last.
//!
//! ```text
//! header │ tables of the image, its mask, the overviews … │ blocks …… │ directory │ its values │ mask's directory …
//!    └───────────────────────────────────────────────────────────────►┘
//! ```
//! The tables have their place from the start, and entries go there as blocks are appended: memory does
//! not grow with the number of blocks. Always little-endian. What becomes a Cloud Optimized GeoTIFF is
//! collected in the same way, and laid in its final order by `tiff::cog`.
//!
//! Call order: [`Writer::create`], [`Writer::append`] for each block, [`Writer::finish`]. Dropping the
//! writer before that discards the file.

use crate::codec::{Compression, Predictor};
use crate::crs::Crs;
use crate::digest::digest;
use crate::error::{Error, ErrorKind, InputError, Result};
use crate::geometry::{GeoTransform, Size};
use crate::io::Target;
use crate::sample::{DataType, Nodata};
use crate::tiff::cog;
use crate::tiff::directory::{Directory, describe_image, describe_mask, describe_overview};
use crate::tiff::gdal_metadata::GdalMetadata;
use crate::tiff::layout::TABLE_PAGE;
use crate::tiff::tables::Tables;

/// What was written is sent on its way to the disk after this many bytes, so that the end need not wait
/// for all of it.
pub(crate) const FLUSH_BYTES: u64 = 8 << 20;
/// Classic TIFF has offsets of 32 bits.
pub(crate) const CLASSIC_BYTES: u64 = u32::MAX as u64;

/// Which image of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// A band of the image, or 0 for all bands if they are interleaved by pixel.
    Image(u32),
    /// The internal mask.
    Mask,
}

/// The image to write.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// Width and height.
    pub size: Size,
    /// Samples per pixel, alpha included.
    pub bands: u32,
    /// Type of the samples.
    pub dtype: DataType,
    /// Side of a block in pixels, a multiple of 16.
    pub chunk: u32,
    /// All bands in one block, else a block for each.
    pub pixel_interleaved: bool,
    /// Codec.
    pub compression: Compression,
    /// Predictor.
    pub predictor: Predictor,
    /// Offsets of 64 bits.
    pub big_tiff: bool,
    /// Whether there is an internal mask: 1 bit a pixel, blocks of the same side.
    pub mask: bool,
    /// PhotometricInterpretation.
    pub photometric: u16,
    /// ExtraSamples, one for each band beyond the colour bands.
    pub extra_samples: Vec<u16>,
    /// ColorMap.
    pub palette: Option<Vec<u16>>,
    /// Pixel corners to world.
    pub transform: GeoTransform,
    /// Coordinate reference system.
    pub crs: Option<Crs>,
    /// Write `GTRasterTypeGeoKey` as PixelIsPoint.
    pub pixel_is_point: bool,
    /// `GDAL_NODATA`.
    pub nodata: Option<Nodata>,
    /// Sizes of the overviews, the finest first.
    pub overviews: Vec<Size>,
    /// A Cloud Optimized GeoTIFF: directories first, then the blocks, the coarsest overview first.
    pub cog: bool,
}

impl ImageSpec {
    pub(crate) fn across(&self, size: Size) -> u64 {
        u64::from(size.width.div_ceil(self.chunk))
    }

    pub(crate) fn blocks_in_plane(&self, size: Size) -> u64 {
        self.across(size) * u64::from(size.height.div_ceil(self.chunk))
    }

    /// Planes of blocks: one for each band, or one for all.
    pub(crate) fn planes(&self) -> u32 {
        if self.pixel_interleaved { 1 } else { self.bands }
    }

    /// Blocks of the image, without those of the mask and of overviews.
    pub fn blocks(&self) -> u64 {
        self.blocks_in_plane(self.size) * u64::from(self.planes())
    }

    /// Full resolution and the overviews.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = Size> + '_ {
        std::iter::once(self.size).chain(self.overviews.iter().copied())
    }

    /// Bytes of tables, header and directories, at most.
    pub fn overhead_bytes(&self) -> u64 {
        let planes = u64::from(self.planes()) + u64::from(self.mask);
        let entries: u64 = self.sizes().map(|size| self.blocks_in_plane(size) * planes).sum();
        entries * 12 + 64 * u64::from(self.bands) * 24 + (1 << 20)
    }
}

/// The tables of one level.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) size: Size,
    pub(crate) image: Tables,
    pub(crate) mask: Option<Tables>,
}

/// Reserves the tables of all levels from `at`; returns them and where they end.
pub(crate) fn reserve_tables(spec: &ImageSpec, at: u64) -> (Vec<Level>, u64) {
    let width = if spec.big_tiff { 8 } else { 4 };
    let mut end = at;
    let mut tables = |count: u64| {
        let tables = Tables::new(end.next_multiple_of(8), count, width);
        end = tables.end();
        tables
    };
    let levels = spec
        .sizes()
        .map(|size| {
            let blocks = spec.blocks_in_plane(size);
            let image = tables(blocks * u64::from(spec.planes()));
            Level { size, image, mask: spec.mask.then(|| tables(blocks)) }
        })
        .collect();
    (levels, end)
}

/// See the head of this file.
pub struct Writer {
    target: Box<dyn Target>,
    spec: ImageSpec,
    levels: Vec<Level>,
    end: u64,
    unflushed: u64,
    /// A block with its leader and trailer.
    frame: Vec<u8>,
    /// Sum of the digests of all blocks.
    digest: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("spec", &self.spec)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Begins a file: reserves the tables.
    ///
    /// # Errors
    /// As the target says.
    pub fn create(target: Box<dyn Target>, spec: ImageSpec) -> Result<Writer> {
        Ok(Writer::resume(target, spec, None)?.0)
    }

    /// As [`Writer::create`], with the blocks that an earlier run left before byte `end`, if the sum of
    /// their digests is `digest`. Returns whether it is; if not, the file begins anew.
    ///
    /// # Errors
    /// As the target says.
    pub fn resume(
        mut target: Box<dyn Target>,
        spec: ImageSpec,
        kept: Option<(u64, u64)>,
    ) -> Result<(Writer, bool)> {
        let (levels, end) = reserve_tables(&spec, 16);
        let end = end.next_multiple_of(16);
        if !spec.big_tiff && end > CLASSIC_BYTES {
            return Err(too_large());
        }
        if kept.is_some() {
            let (target, spec) = (target, spec);
            let mut writer =
                Writer { target, spec, levels, end, unflushed: 0, frame: Vec::new(), digest: 0 };
            if let Some((kept_end, digest)) = kept
                && kept_end >= end
                && writer.find_blocks(kept_end)? == Some(digest)
            {
                writer.target.set_len(kept_end)?;
                (writer.end, writer.digest) = (kept_end, digest);
                return Ok((writer, true));
            }
            let Writer { mut target, spec, .. } = writer;
            target.set_len(0)?;
            return Writer::resume(target, spec, None);
        }
        // What no block is written for reads as zeros: a sparse block.
        target.set_len(end)?;
        let writer =
            Writer { target, spec, levels, end, unflushed: 0, frame: Vec::new(), digest: 0 };
        Ok((writer, false))
    }

    /// Takes in the tables of the file, but for blocks at or beyond `end`. Returns the sum of the digests
    /// of all blocks; `None` if the file is none of ours.
    fn find_blocks(&mut self, end: u64) -> Result<Option<u64>> {
        let (first, target) = (self.end, self.target.as_mut());
        let (mut sum, mut bytes) = (0u64, Vec::new());
        let tables =
            self.levels.iter_mut().flat_map(|level| [Some(&mut level.image), level.mask.as_mut()]);
        for (number, tables) in tables.flatten().enumerate() {
            for page in (0..tables.count).step_by(TABLE_PAGE as usize) {
                let count = TABLE_PAGE.min(tables.count - page);
                let Ok(entries) = tables.read(target, page, count) else { return Ok(None) };
                for (index, (offset, len)) in (page..).zip(entries).filter(|(_, e)| *e != (0, 0)) {
                    if offset >= end {
                        tables.set(index, (0, 0), target)?;
                        continue;
                    }
                    if offset < first || offset + len > end {
                        return Ok(None);
                    }
                    bytes.resize(len as usize, 0);
                    if target.read_exact_at(offset, &mut bytes).is_err() {
                        return Ok(None);
                    }
                    tables.note(index, (offset, len));
                    sum = sum.wrapping_add(block_digest(number as u64, index, offset, &bytes));
                }
            }
            tables.write(target)?;
        }
        Ok(Some(sum))
    }

    /// Where the next block goes, and the sum of the digests of all blocks: what [`Writer::resume`] asks
    /// for.
    pub fn progress(&self) -> (u64, u64) {
        (self.end, self.digest)
    }

    /// Whether the target keeps a journal.
    pub(crate) fn keeps_journal(&self) -> bool {
        self.target.keeps_journal()
    }

    /// Sees to it that all blocks so far are on the disk, and then a journal that `write` fills.
    ///
    /// # Errors
    /// As the target says.
    pub(crate) fn save_journal(
        &mut self,
        write: &mut dyn FnMut(&mut dyn std::io::Write) -> std::io::Result<()>,
    ) -> Result<()> {
        for level in &mut self.levels {
            level.image.write(self.target.as_mut())?;
            if let Some(mask) = &mut level.mask {
                mask.write(self.target.as_mut())?;
            }
        }
        Ok(self.target.save_journal(write)?)
    }

    /// Appends the encoded bytes of a block: column `bx` and row `by` of blocks of a level, 0 for full
    /// resolution.
    ///
    /// # Errors
    /// [`InputError::Output`] if a classic TIFF would exceed 4 GiB; as the target says.
    pub fn append(
        &mut self,
        level: u32,
        plane: Plane,
        (bx, by): (u32, u32),
        bytes: &[u8],
    ) -> Result<()> {
        let len = bytes.len() as u64;
        if !self.spec.big_tiff && self.end + len > CLASSIC_BYTES - (1 << 20) {
            return Err(too_large());
        }
        let images = if self.spec.mask { 2 } else { 1 };
        let number = u64::from(level) * images + u64::from(plane == Plane::Mask);
        let Some(tables) = self.levels.get_mut(level as usize) else {
            return Err(no_such("a block of a level"));
        };
        let place = u64::from(by) * self.spec.across(tables.size) + u64::from(bx);
        let in_plane = self.spec.blocks_in_plane(tables.size);
        let (tables, index) = match (plane, &mut tables.mask) {
            (Plane::Image(band), _) => (&mut tables.image, u64::from(band) * in_plane + place),
            (Plane::Mask, Some(mask)) => (mask, place),
            (Plane::Mask, None) => return Err(no_such("a block of a mask")),
        };
        let mut at = self.end;
        if self.spec.cog {
            cog::frame(bytes, &mut self.frame);
            self.target.write_all_at(at, &self.frame)?;
            at += cog::LEADER_BYTES;
            self.end += self.frame.len() as u64;
        } else {
            self.target.write_all_at(at, bytes)?;
            self.end += len;
        }
        tables.set(index, (at, len), self.target.as_mut())?;
        self.digest = self.digest.wrapping_add(block_digest(number, index, at, bytes));
        self.unflushed += len;
        if self.unflushed >= FLUSH_BYTES {
            self.target.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Writes tables, directories and header, syncs, and gives the file its name. Returns its length.
    ///
    /// # Errors
    /// As the target says; then the destination is as it was.
    pub fn finish(self, metadata: &GdalMetadata) -> Result<u64> {
        self.seal(metadata)?.publish()
    }

    /// Discards all blocks, to begin anew.
    ///
    /// # Errors
    /// As the target says.
    pub(crate) fn restart(self) -> Result<Writer> {
        let Writer { mut target, spec, .. } = self;
        target.set_len(0)?;
        Writer::create(target, spec)
    }

    /// Returns once all that was written is on the disk; it stays if the run ends early.
    ///
    /// # Errors
    /// As the target says.
    pub(crate) fn hold(&mut self) -> Result<()> {
        for level in &mut self.levels {
            level.image.write(self.target.as_mut())?;
        }
        Ok(self.target.hold()?)
    }

    /// Writes tables, directories and header, and syncs: what is left is to give the file its name.
    ///
    /// # Errors
    /// As the target says.
    pub(crate) fn seal(mut self, metadata: &GdalMetadata) -> Result<Sealed> {
        for level in &mut self.levels {
            level.image.write(self.target.as_mut())?;
            if let Some(mask) = &mut level.mask {
                mask.write(self.target.as_mut())?;
            }
        }
        if self.spec.cog {
            let mut last = self.target.sibling()?;
            let len = cog::lay_out(
                self.target.as_mut(),
                &self.levels,
                &self.spec,
                metadata,
                last.as_mut(),
            )?;
            last.sync()?;
            return Ok(Sealed { target: last, spool: Some(self.target), len });
        }
        let first = self.end.next_multiple_of(2);
        let directories = directories(&self.spec, &self.levels, metadata, first);
        for (at, bytes) in &directories {
            self.target.write_all_at(*at, bytes)?;
            self.end = at + bytes.len() as u64;
        }
        if !self.spec.big_tiff && self.end > CLASSIC_BYTES {
            return Err(too_large());
        }
        self.target.write_all_at(0, &header(&self.spec, first))?;
        self.target.sync()?;
        Ok(Sealed { target: self.target, spool: None, len: self.end })
    }
}

/// A file that is complete and on the disk, but has not got its name yet.
pub(crate) struct Sealed {
    target: Box<dyn Target>,
    /// What its blocks were collected in.
    spool: Option<Box<dyn Target>>,
    len: u64,
}

impl Sealed {
    /// Gives it its name; returns its length.
    ///
    /// # Errors
    /// As the target says; then the destination is as it was.
    pub(crate) fn publish(self) -> Result<u64> {
        self.target.publish()?;
        if let Some(mut spool) = self.spool {
            spool.give_up();
        }
        Ok(self.len)
    }
}

/// The chain of directories from `first`: each image is followed by its mask, full resolution leads. Each
/// with its place in the file.
pub(crate) fn directories(
    spec: &ImageSpec,
    levels: &[Level],
    metadata: &GdalMetadata,
    first: u64,
) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    for (index, level) in levels.iter().enumerate() {
        let mut directory = Directory::new(spec.big_tiff);
        if index == 0 {
            describe_image(&mut directory, spec, metadata);
        } else {
            describe_overview(&mut directory, spec, level.size);
        }
        directory.tables(&level.image);
        all.push(directory);
        if let Some(mask) = &level.mask {
            let mut directory = Directory::new(spec.big_tiff);
            describe_mask(&mut directory, spec, level.size);
            directory.tables(mask);
            all.push(directory);
        }
    }
    let (mut at, count) = (first, all.len());
    all.into_iter()
        .enumerate()
        .map(|(index, directory)| {
            let next = at + directory.len().next_multiple_of(2);
            let own = at;
            at = next;
            (own, directory.to_bytes(own, if index + 1 < count { next } else { 0 }))
        })
        .collect()
}

/// The first bytes of a file whose first directory lies at `first`.
pub(crate) fn header(spec: &ImageSpec, first: u64) -> Vec<u8> {
    if spec.big_tiff {
        let mut header = b"II\x2b\0\x08\0\0\0".to_vec();
        header.extend_from_slice(&first.to_le_bytes());
        return header;
    }
    let mut header = b"II\x2a\0".to_vec();
    header.extend_from_slice(&first.to_le_bytes()[..4]);
    header
}

/// The digest of a block at its place in the tables and in the file.
fn block_digest(table: u64, index: u64, offset: u64, bytes: &[u8]) -> u64 {
    let place: Vec<u8> = [table, index, offset].iter().flat_map(|v| v.to_le_bytes()).collect();
    digest(digest(0, &place), bytes)
}

pub(crate) fn too_large() -> Error {
    let reason = "would exceed 4 GiB, the limit of classic TIFF; pass --bigtiff yes or auto";
    InputError::Output(reason.into()).into()
}

fn no_such(what: &str) -> Error {
    Error::new(ErrorKind::Panicked(format!("{what} that the file does not have")))
}
