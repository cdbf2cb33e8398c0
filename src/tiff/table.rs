//! Tables of block offsets and byte counts: short ones in memory, long ones read from the file by pages.

use crate::error::Result;
use crate::tiff::ifd::{Entry, HeaderReader, bad};

/// Tables up to this many blocks stay in memory with the header.
pub(super) const INLINE_BLOCKS: u64 = 16;
/// A table that is shorter than it should be is filled up with zeros, for up to this many blocks.
pub(super) const SHORT_BLOCKS: u64 = 65_536;
/// Blocks in one page of a table that is read on demand.
pub(crate) const TABLE_PAGE: u64 = 2048;
/// A table of block offsets or byte counts.
#[derive(Debug, Clone)]
pub(super) enum Table {
    Inline(Box<[u64]>),
    InFile {
        offset: u64,
        width: u32,
    },
    /// Byte counts that the file leaves out (allowed for uncompressed data only).
    Computed,
}

/// Where a block lies in the file. `len` 0 means that it is not stored (sparse).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A page of block offsets and byte counts; counts are empty where the file has none.
#[derive(Debug, Clone)]
pub(crate) struct TablePage {
    pub(super) offsets: Vec<u64>,
    pub(super) counts: Vec<u64>,
}

impl TablePage {
    pub(crate) fn bytes(&self) -> usize {
        (self.offsets.len() + self.counts.len()) * 8
    }
}

/// What the tables say of a block: its offset, and its byte count, or `raw` where the file has no counts.
/// As in GDAL it is the count that makes a block absent: one at offset 0 is the start of the file.
pub(super) fn extent(offsets: &[u64], counts: &[u64], index: usize, raw: u64) -> Extent {
    let offset = offsets.get(index).copied().unwrap_or(0);
    let len = match counts {
        [] if offset == 0 => 0,
        [] => raw,
        counts => counts.get(index).copied().unwrap_or(0),
    };
    Extent { offset, len }
}

impl Table {
    pub(super) fn read(reader: &HeaderReader<'_>, entry: &Entry, blocks: u64) -> Result<Table> {
        // Signed types are rare and do as well: a negative number lies beyond the end of any file.
        let width = match entry.field {
            1 | 6 => 1,
            3 | 8 => 2,
            4 | 9 | 13 => 4,
            16..=18 => 8,
            other => return Err(bad(entry, "whole numbers", format!("type {other}"))),
        };
        let count = entry.count.min(blocks);
        reader.check("the block table", entry.offset, count.saturating_mul(width))?;
        let in_file = Table::InFile { offset: entry.offset, width: width as u32 };
        if count == blocks && blocks > INLINE_BLOCKS {
            return Ok(in_file);
        }
        if blocks > SHORT_BLOCKS {
            let found = format!("{count} of {blocks}");
            return Err(bad(entry, "one value for each block", found));
        }
        let read = |offset: u64, len: u64| reader.bytes("the block table", offset, len);
        let mut values = in_file.page(0, count, reader.big_endian, read)?;
        values.resize(blocks as usize, 0);
        Ok(Table::Inline(values.into()))
    }

    pub(super) fn page(
        &self,
        first: u64,
        count: u64,
        big_endian: bool,
        read: impl Fn(u64, u64) -> Result<Vec<u8>>,
    ) -> Result<Vec<u64>> {
        let (offset, width) = match self {
            Table::Inline(values) => {
                return Ok(values[first as usize..(first + count) as usize].to_vec());
            }
            Table::Computed => return Ok(Vec::new()),
            Table::InFile { offset, width } => (*offset, *width),
        };
        let bytes = read(offset + first * u64::from(width), count * u64::from(width))?;
        let value = |raw: &[u8]| {
            let fold = |sum: u64, b: &u8| sum << 8 | u64::from(*b);
            if big_endian { raw.iter().fold(0, fold) } else { raw.iter().rev().fold(0, fold) }
        };
        Ok(bytes.chunks_exact(width as usize).map(value).collect())
    }
}
