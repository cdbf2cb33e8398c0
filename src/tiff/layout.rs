//! How an image's pixels lie in blocks: strips and tiles as one thing. Arithmetic, and the tags it
//! comes from; no pixel is read here.
//!
//! A strip is a tile as wide as the image. An *access block* is what is fetched and decoded at once:
//! a storage block, or some rows of a strip that is large.

use std::sync::Arc;

use crate::codec::image::Params;
use crate::codec::{Compression, Predictor, stream};
use crate::error::{Error, ErrorKind, FormatError, Result};
use crate::geometry::{Size, Window};
use crate::io::ReadAt;
use crate::sample::DataType;
use crate::tiff::FileOf;
use crate::tiff::format::{Format, Packing};
use crate::tiff::ifd::{self, HeaderReader, Ifd};
pub use crate::tiff::table::Extent;
use crate::tiff::table::{INLINE_BLOCKS, Table, extent};
pub(crate) use crate::tiff::table::{TABLE_PAGE, TablePage};
use crate::tiff::tag;

/// Large strips are read in parts of about this many bytes.
const SPLIT_BYTES: u64 = 512 * 1024;
/// Compressed strips beyond this are decoded as a stream, part by part.
const STREAM_BYTES: u64 = 8 << 20;
/// Most bands that an image may have.
pub(super) const MAX_BANDS: u64 = 65_535;
/// Most bytes of a decoded storage block.
pub(super) const MAX_BLOCK_BYTES: u64 = 1 << 31;

/// The blocks of one image of a TIFF. Immutable; shared by threads without locks.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Pixels of the image.
    pub size: Size,
    /// Samples per pixel.
    pub bands: u32,
    /// Type of the decoded samples.
    pub dtype: DataType,
    /// Bits of a stored sample: `8 * dtype.size()`, or less where [`Layout::packing`] says so.
    pub bits: u32,
    /// How stored samples become decoded ones.
    pub packing: Packing,
    /// Whether each band has blocks of its own.
    pub planar: bool,
    /// Tiles, else strips.
    pub tiled: bool,
    /// Codec of the blocks.
    pub compression: Compression,
    /// Predictor of the blocks.
    pub predictor: Predictor,
    /// Byte order of the samples.
    pub big_endian: bool,
    /// What the codec must know beside the bytes; `None` where that is nothing.
    pub params: Option<Arc<Params>>,
    /// Which file holds the blocks.
    pub file: FileOf,
    /// Most compressed bytes of a block, as the table says.
    pub max_stored_bytes: u64,
    /// Tile, or image width by rows per strip.
    pub(super) storage: Size,
    /// Rows of an access block.
    pub(super) rows: u32,
    pub(super) offsets: Table,
    pub(super) counts: Table,
}

impl Layout {
    /// Reads the layout of a directory of a file.
    pub(crate) fn read(reader: &HeaderReader<'_>, ifd: &Ifd, file: FileOf) -> Result<Layout> {
        Ok(Layout::read_told(reader, ifd, file)?.0)
    }

    /// As [`Layout::read`], and what is odd about the tables.
    pub(crate) fn read_told(
        reader: &HeaderReader<'_>,
        ifd: &Ifd,
        file: FileOf,
    ) -> Result<(Layout, Option<String>)> {
        let side = |tag: u16| -> Result<u32> {
            let value = required(reader, ifd, tag)?;
            u32::try_from(value)
                .ok()
                .filter(|v| (1..=i32::MAX as u32).contains(v))
                .ok_or_else(|| bad_value(tag, "1 to 2147483647", value))
        };
        let size = Size { width: side(256)?, height: side(257)? };
        let bands = reader.number(ifd, 277)?.unwrap_or(1);
        if !(1..=MAX_BANDS).contains(&bands) {
            return Err(bad_value(277, "1 to 65535", bands));
        }
        let Format { dtype, bits, packing, compression, predictor, params } =
            Format::read(reader, ifd, bands)?;
        // What becomes red, green, blue and alpha.
        let bands = if matches!(packing, Packing::Lab | Packing::Inks { .. }) { 4 } else { bands };
        let planar = match reader.number(ifd, 284)?.unwrap_or(1) {
            1 => false,
            2 => bands > 1,
            other => return Err(bad_value(284, "1 or 2", other)),
        };
        let tiled = ifd.entry(322).is_some() || ifd.entry(324).is_some();
        let storage = if tiled {
            Size { width: side(322)?, height: side(323)? }
        } else {
            let rows = reader.number(ifd, 278)?.unwrap_or(u64::from(size.height));
            if rows == 0 {
                return Err(bad_value(278, "at least 1", rows));
            }
            let height = u32::try_from(rows).unwrap_or(u32::MAX).min(size.height);
            Size { width: size.width, height }
        };
        let mut layout = Layout {
            size,
            bands: bands as u32,
            dtype,
            bits,
            packing,
            planar,
            tiled,
            compression,
            predictor,
            big_endian: reader.big_endian,
            params,
            file,
            max_stored_bytes: 0,
            storage,
            rows: storage.height,
            offsets: Table::Computed,
            counts: Table::Computed,
        };
        layout.split_strips();
        let stored = layout.rows_bytes(u64::from(layout.rows));
        let need = stored.max(layout.max_decoded_bytes());
        if need > MAX_BLOCK_BYTES {
            let what = "a block of the image";
            return Err(Error::new(ErrorKind::Limit { what, need, max: MAX_BLOCK_BYTES }));
        }
        let odd = layout.read_tables(reader, ifd)?;
        Ok((layout, odd))
    }

    /// Makes access blocks of some rows out of large strips.
    pub(super) fn split_strips(&mut self) {
        let whole = self.compression != Compression::None && self.storage_bytes() <= STREAM_BYTES;
        let clumps = matches!(self.packing, Packing::YCbCr { .. });
        if whole || self.tiled || clumps || !stream::can_stream(self.compression) {
            return;
        }
        let row_bytes = self.row_bytes().max(1);
        let rows = u32::try_from(SPLIT_BYTES / row_bytes).unwrap_or(u32::MAX).max(1);
        if rows < self.storage.height {
            self.rows = rows;
        }
    }

    /// Returns what is odd about them.
    fn read_tables(&mut self, reader: &HeaderReader<'_>, ifd: &Ifd) -> Result<Option<String>> {
        let (offsets, counts) = if self.tiled { (324, 325) } else { (273, 279) };
        // Some old writers put tile tables under the strip tags.
        let pick = |tag: u16| match tag {
            324 => ifd.entry(324).or_else(|| ifd.entry(273)),
            325 => ifd.entry(325).or_else(|| ifd.entry(279)),
            other => ifd.entry(other),
        };
        let blocks = self.storage_blocks();
        let missing = |tag: u16| FormatError::MissingTag { tag, name: tag::name(tag) };
        let Some(entry) = pick(offsets) else { return Err(missing(offsets).into()) };
        self.offsets = Table::read(reader, entry, blocks)?;
        if entry.count < blocks {
            let found = format!("{} of {blocks}", entry.count);
            return Err(ifd::bad(entry, "one value for each block", found));
        }
        self.counts = match pick(counts) {
            Some(entry) => Table::read(reader, entry, blocks)?,
            None if self.compression == Compression::None => Table::Computed,
            // One block a plane, which goes on to the end of the file for all we know.
            None if blocks <= self.planes().min(INLINE_BLOCKS) => {
                Table::Inline(vec![0; blocks as usize].into())
            }
            None => return Err(missing(counts).into()),
        };
        self.estimate_counts(reader.file_len(), pick(counts).is_none());
        let short = self.check_tables(reader)?;
        let missing = pick(counts).map_or(0, |entry| blocks.saturating_sub(entry.count));
        Ok(if missing > 0 && !matches!(self.counts, Table::Computed) {
            Some(format!("{missing} of {blocks} byte counts are missing; those blocks are absent"))
        } else {
            (short > 0).then(|| format!("{short} byte counts are too small for raw blocks"))
        })
    }

    /// Byte counts that are missing, or 0 for the only block, are made up as libtiff does: raw blocks have
    /// their size, others go on to the end of the file.
    fn estimate_counts(&mut self, file_len: u64, absent: bool) {
        let (Table::Inline(offsets), Table::Inline(counts)) = (&self.offsets, &mut self.counts)
        else {
            return;
        };
        let is_raw = self.compression == Compression::None;
        let alone = **counts == [0] && !self.tiled;
        if !(alone || (absent && !is_raw)) || offsets.contains(&0) {
            return;
        }
        if is_raw {
            self.counts = Table::Computed;
        } else {
            let left = offsets.iter().map(|offset| file_len.saturating_sub(*offset));
            *counts = left.collect();
        }
    }

    /// Every block must lie inside the file: a truncated source is found before the run starts. Returns how
    /// many raw blocks are longer than their byte counts.
    fn check_tables(&mut self, reader: &HeaderReader<'_>) -> Result<u64> {
        let blocks = self.storage_blocks();
        let read = |offset: u64, len: u64| reader.bytes("the block table", offset, len);
        let (mut first, mut short) = (0, 0);
        while first < blocks {
            let count = TABLE_PAGE.min(blocks - first);
            let offsets = self.offsets.page(first, count, self.big_endian, read)?;
            let counts = self.counts.page(first, count, self.big_endian, read)?;
            for index in 0..count as usize {
                let raw = self.storage_block_bytes(first + index as u64);
                let listed = extent(&offsets, &counts, index, raw);
                let extent = self.clipped(first + index as u64, listed);
                if extent.len == 0 {
                    continue;
                }
                // No stream begins with the head of a TIFF.
                if extent.offset == 0 && self.compression != Compression::None {
                    let tag = if self.tiled { 324 } else { 273 };
                    let found = format!("0 for block {}", first + index as u64);
                    return Err(bad_offset(tag, found));
                }
                // What a raw block's count says beyond its length does not matter.
                let is_raw = self.compression == Compression::None;
                let len = if is_raw { extent.len } else { listed.len };
                let end = extent.offset.saturating_add(len);
                let file_len = reader.file_len();
                if end > file_len {
                    let what = "a block of pixels";
                    return Err(FormatError::Truncated { what, end, file_len }.into());
                }
                short += u64::from(listed.len < extent.len);
                self.max_stored_bytes = self.max_stored_bytes.max(extent.len);
            }
            first += count;
        }
        if self.rows < self.storage.height {
            self.max_stored_bytes =
                self.max_stored_bytes.min(self.row_bytes() * u64::from(self.rows));
        }
        Ok(short)
    }

    /// What of an extent is read. A raw block has its size, whatever the table says (GDAL reads it so);
    /// of a last tile the rows outside the image may be missing.
    fn clipped(&self, index: u64, extent: Extent) -> Extent {
        let raw = self.storage_block_bytes(index);
        let len = match extent.len {
            0 => 0,
            len if self.compression == Compression::None => {
                len.clamp(self.needed_bytes(index), raw)
            }
            len => len.min(self.stored_cap(raw)),
        };
        Extent { len, ..extent }
    }

    /// Whether access blocks are parts of compressed strips, which are decoded from the top.
    pub fn is_streamed(&self) -> bool {
        self.rows < self.storage.height && self.compression != Compression::None
    }

    /// Storage strip of an access block of a streamed image, and which part of the strip it is.
    pub(crate) fn part_of(&self, index: u64) -> (u64, u32) {
        let by = (index % self.blocks_in_plane() / u64::from(self.across())) as u32;
        (self.storage_of(index).0, by % self.split())
    }

    /// Bytes of one row of a block as stored.
    pub fn row_bytes(&self) -> u64 {
        let samples = u64::from(self.storage.width) * u64::from(self.stored_samples());
        (samples * u64::from(self.bits)).div_ceil(8)
    }

    /// Bytes of the first `rows` rows of a block as stored.
    pub fn rows_bytes(&self, rows: u64) -> u64 {
        let Packing::YCbCr { h, v } = self.packing else {
            return self.row_bytes().saturating_mul(rows);
        };
        let clump = u64::from(h) * u64::from(v) + 2;
        let line = u64::from(self.storage.width).div_ceil(u64::from(h)) * clump;
        line.saturating_mul(rows.div_ceil(u64::from(v)))
    }

    /// Samples per pixel inside one block: all bands, or 1 if planar.
    pub fn samples_in_block(&self) -> u32 {
        if self.planar { 1 } else { self.bands }
    }

    /// Samples per pixel as they are stored, before they are expanded.
    pub(super) fn stored_samples(&self) -> u32 {
        match self.packing {
            Packing::Lab => 3,
            Packing::Inks { samples } => samples.into(),
            _ => self.samples_in_block(),
        }
    }

    fn storage_bytes(&self) -> u64 {
        self.rows_bytes(u64::from(self.storage.height))
    }

    fn planes(&self) -> u64 {
        if self.planar { u64::from(self.bands) } else { 1 }
    }

    /// Access blocks in a row of blocks.
    pub fn across(&self) -> u32 {
        self.size.width.div_ceil(self.storage.width)
    }

    /// Access blocks that a storage block is split in, from top to bottom.
    fn split(&self) -> u32 {
        self.storage.height.div_ceil(self.rows)
    }

    /// Rows of access blocks.
    pub fn down(&self) -> u32 {
        let full = self.size.height / self.storage.height;
        let rest = self.size.height % self.storage.height;
        full * self.split() + rest.div_ceil(self.rows)
    }

    /// Access blocks of one plane.
    pub fn blocks_in_plane(&self) -> u64 {
        u64::from(self.across()) * u64::from(self.down())
    }

    /// Width and height of an access block away from the edges.
    pub fn block_size(&self) -> Size {
        Size { width: self.storage.width, height: self.rows }
    }

    /// Width and height of a block as the file stores it: a tile, or a strip.
    pub fn stored_block_size(&self) -> Size {
        self.storage
    }

    pub(super) fn storage_blocks(&self) -> u64 {
        let down = u64::from(self.size.height.div_ceil(self.storage.height));
        u64::from(self.across()) * down * self.planes()
    }

    /// Raw bytes of those rows of a storage block that lie in the image.
    fn needed_bytes(&self, index: u64) -> u64 {
        let down = u64::from(self.size.height.div_ceil(self.storage.height));
        let row = index / u64::from(self.across()) % down;
        let above = row * u64::from(self.storage.height);
        let rows = u64::from(self.storage.height).min(u64::from(self.size.height) - above);
        self.rows_bytes(rows)
    }

    pub(super) fn storage_block_bytes(&self, index: u64) -> u64 {
        let per_plane =
            u64::from(self.across()) * u64::from(self.size.height.div_ceil(self.storage.height));
        let row = (index % per_plane) / u64::from(self.across());
        let above = row * u64::from(self.storage.height);
        let rows = if self.tiled {
            u64::from(self.storage.height)
        } else {
            u64::from(self.storage.height).min(u64::from(self.size.height) - above)
        };
        self.rows_bytes(rows)
    }

    /// First row and rows of the access blocks in row `by` of blocks; the last ones are short.
    fn block_rows(&self, by: u32) -> (u32, u32) {
        let (storage, part) = (by / self.split(), by % self.split());
        let start = storage * self.storage.height + part * self.rows;
        let end = (start + self.rows).min((storage + 1).saturating_mul(self.storage.height));
        (start, end.min(self.size.height) - start)
    }

    /// The row of access blocks that holds a pixel row.
    pub fn block_row_of(&self, row: u32) -> u32 {
        let storage = row / self.storage.height;
        storage * self.split() + (row % self.storage.height) / self.rows
    }

    /// The column of access blocks that holds a pixel column.
    pub fn block_col_of(&self, col: u32) -> u32 {
        col / self.storage.width
    }

    /// The pixels of the image that an access block holds.
    pub fn block_window(&self, bx: u32, by: u32) -> Window {
        let col = bx * self.storage.width;
        let (row, height) = self.block_rows(by);
        Window { col, row, width: self.storage.width.min(self.size.width - col), height }
    }

    /// Width and height of the samples that an access block decodes to: tiles are always whole.
    pub fn decoded_size(&self, by: u32) -> Size {
        let (_, rows) = self.block_rows(by);
        let height = if self.tiled { self.storage.height } else { rows };
        Size { width: self.storage.width, height }
    }

    /// Bytes of a decoded access block, at most.
    pub fn max_decoded_bytes(&self) -> u64 {
        let samples = self.block_size().pixels().saturating_mul(u64::from(self.samples_in_block()));
        samples.saturating_mul(self.dtype.size() as u64)
    }

    /// Bytes that a decoder takes beside the decoded block, at most, where its kind of stream needs any.
    pub(crate) fn scratch_bytes(&self) -> u64 {
        let decoded = self.max_decoded_bytes();
        let samples = decoded / self.dtype.size() as u64;
        let decoder = match self.compression {
            // Planes of whole components, and the coefficients of a progressive stream.
            Compression::Jpeg => decoded.saturating_add(samples.saturating_mul(2)),
            // Pixels before they are taken apart, and what the decoder works in.
            Compression::WebP => decoded.saturating_mul(3),
            // Samples of all bands; the blob within Deflate or Zstandard.
            Compression::Lerc => decoded.saturating_mul(2),
            _ => 0,
        };
        let reversed = self.params.as_ref().is_some_and(|params| params.reversed_bits);
        let packed = self.packing != Packing::Whole;
        decoder
            .saturating_add(if packed { self.rows_bytes(u64::from(self.rows)) } else { 0 })
            .saturating_add(if reversed { self.max_stored_bytes } else { 0 })
    }

    /// Index of the access block `(bx, by)` of a plane; the plane is 0 for chunky images.
    pub fn block_index(&self, bx: u32, by: u32, plane: u32) -> u64 {
        u64::from(plane) * self.blocks_in_plane()
            + u64::from(by) * u64::from(self.across())
            + u64::from(bx)
    }

    /// Storage block of an access block, and the byte range in it where the block is a part of one.
    fn storage_of(&self, index: u64) -> (u64, Option<(u64, u64)>) {
        if self.rows == self.storage.height {
            return (index, None);
        }
        let (plane, rest) = (index / self.blocks_in_plane(), index % self.blocks_in_plane());
        let by = (rest / u64::from(self.across())) as u32;
        let (row, rows) = self.block_rows(by);
        let strips = u64::from(self.size.height.div_ceil(self.storage.height));
        let strip = plane * strips + u64::from(row / self.storage.height);
        let skip = u64::from(row % self.storage.height) * self.row_bytes();
        (strip, Some((skip, u64::from(rows) * self.row_bytes())))
    }

    /// The page of the table that an access block's entry is in, if the tables are not in memory.
    pub(crate) fn table_page(&self, index: u64) -> Option<u64> {
        let in_file = |table: &Table| matches!(table, Table::InFile { .. });
        (in_file(&self.offsets) || in_file(&self.counts))
            .then(|| self.storage_of(index).0 / TABLE_PAGE)
    }

    /// Reads a page of the tables: offsets, then byte counts.
    pub(crate) fn read_table_page(&self, source: &dyn ReadAt, page: u64) -> Result<TablePage> {
        let first = page * TABLE_PAGE;
        let count = TABLE_PAGE.min(self.storage_blocks().saturating_sub(first));
        let read = |offset: u64, len: u64| {
            let mut bytes = vec![0; len as usize];
            source.read_exact_at(offset, &mut bytes)?;
            Ok(bytes)
        };
        Ok(TablePage {
            offsets: self.offsets.page(first, count, self.big_endian, read)?,
            counts: self.counts.page(first, count, self.big_endian, read)?,
        })
    }

    /// Where an access block lies. `page` is the table page of [`Layout::table_page`].
    pub(crate) fn extent(&self, index: u64, page: Option<&TablePage>) -> Extent {
        let (storage, part) = self.storage_of(index);
        let raw = self.storage_block_bytes(storage);
        let whole = self.clipped(storage, self.stated(storage, raw, page));
        match part {
            Some((skip, len)) if whole.len > 0 && !self.is_streamed() => {
                Extent { offset: whole.offset + skip, len }
            }
            _ => whole,
        }
    }

    /// A stored block as the tables have it.
    fn stated(&self, storage: u64, raw: u64, page: Option<&TablePage>) -> Extent {
        match (page, &self.offsets, &self.counts) {
            (Some(page), ..) => {
                extent(&page.offsets, &page.counts, (storage % TABLE_PAGE) as usize, raw)
            }
            (None, Table::Inline(offsets), Table::Inline(counts)) => {
                extent(offsets, counts, storage as usize, raw)
            }
            (None, Table::Inline(offsets), _) => extent(offsets, &[], storage as usize, raw),
            // `table_page` names a page whenever the tables are not in memory.
            _ => Extent { offset: 0, len: 0 },
        }
    }

    /// Whether the count of a block's bytes is one that a block can have: for an uncompressed one there is no
    /// other than its size. Readers make do with any.
    pub(crate) fn is_counted(&self, index: u64, page: Option<&TablePage>) -> bool {
        let (storage, _) = self.storage_of(index);
        let raw = self.storage_block_bytes(storage);
        let len = self.stated(storage, raw, page).len;
        len == 0
            || len == raw
            || (self.compression != Compression::None && len <= self.stored_cap(raw))
    }

    /// Most bytes that are read for a block of `raw` bytes: a table that claims more lies, and what
    /// follows the longest possible stream is no part of it.
    pub(super) fn stored_cap(&self, raw: u64) -> u64 {
        match self.compression {
            Compression::None => raw,
            _ => raw.saturating_mul(2).saturating_add(64 * 1024),
        }
    }
}

fn required(reader: &HeaderReader<'_>, ifd: &Ifd, tag: u16) -> Result<u64> {
    reader
        .number(ifd, tag)?
        .ok_or_else(|| FormatError::MissingTag { tag, name: tag::name(tag) }.into())
}

fn bad_offset(tag: u16, found: String) -> Error {
    FormatError::BadTag { tag, name: tag::name(tag), expected: "no offset of 0", found }.into()
}

fn bad_value(tag: u16, expected: &'static str, found: u64) -> Error {
    FormatError::BadTag { tag, name: tag::name(tag), expected, found: found.to_string() }.into()
}
