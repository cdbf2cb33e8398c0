//! Layouts as plain values that can be kept outside of the file, and back: for saved mosaics. What comes
//! back is checked like what is read from a file, for it may come from anywhere.
//!
//! A layout is a *shape*, which many files share, and a list of numbers: its block tables.
//!
//! ```text
//! numbers = max_stored_bytes, table of offsets, table of byte counts
//! table   = 0                          no table (byte counts of uncompressed blocks)
//!         | 1, position, width         in the file, `width` bytes an entry
//!         | 2, count, entries …        here
//! ```

use serde::{Deserialize, Serialize};

use crate::codec::{Compression, Predictor};
use crate::error::{Error, FormatError, Result};
use crate::geometry::Size;
use crate::sample::DataType;
use crate::tiff::FileOf;
use crate::tiff::format::Packing;
use crate::tiff::layout::{Layout, MAX_BANDS, MAX_BLOCK_BYTES};
use crate::tiff::table::{SHORT_BLOCKS, Table};

/// Most blocks of an image: tables of 2^46 bytes.
const MAX_BLOCKS: u64 = 1 << 43;

/// All of a layout but its block tables.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    size: [u32; 2],
    bands: u32,
    dtype: String,
    bits: u32,
    planar: bool,
    tiled: bool,
    compression: u16,
    predictor: u16,
    big_endian: bool,
    block: [u32; 2],
}

impl Layout {
    /// The shape; the tables' numbers are appended to `numbers`.
    pub(crate) fn save(&self, numbers: &mut Vec<u64>) -> Shape {
        numbers.push(self.max_stored_bytes);
        self.offsets.save(numbers);
        self.counts.save(numbers);
        Shape {
            size: [self.size.width, self.size.height],
            bands: self.bands,
            dtype: self.dtype.name().to_owned(),
            bits: self.bits,
            planar: self.planar,
            tiled: self.tiled,
            compression: self.compression.tag(),
            predictor: self.predictor.tag(),
            big_endian: self.big_endian,
            block: [self.storage.width, self.storage.height],
        }
    }

    /// A layout without block tables, for [`Layout::with_tables`].
    ///
    /// # Errors
    /// [`FormatError::Text`] if no file could have it.
    pub(crate) fn load(shape: &Shape) -> Result<Layout> {
        let [width, height] = shape.size;
        let [block_width, block_height] = shape.block;
        let side = |v: u32| (1..=i32::MAX as u32).contains(&v);
        let sides = [width, height, block_width, block_height].into_iter().all(side);
        let dtype = DataType::parse(&shape.dtype).ok_or_else(|| bad("a data type"))?;
        let compression = Compression::from_tag(shape.compression)
            .filter(|codec| codec.is_basic())
            .ok_or_else(|| bad("a codec"))?;
        let predictor = Predictor::from_tag(shape.predictor).ok_or_else(|| bad("a predictor"))?;
        let own_bits = dtype.size() as u32 * 8;
        let bits = shape.bits == own_bits || (shape.bits == 1 && dtype == DataType::U8);
        let strips = shape.tiled || (block_width == width && block_height <= height);
        let predicts = match predictor {
            Predictor::None => true,
            Predictor::Horizontal => shape.bits >= 8,
            Predictor::Float => dtype.is_float(),
        };
        let bands = (1..=MAX_BANDS).contains(&u64::from(shape.bands));
        if !(sides && bits && strips && predicts && bands) {
            return Err(bad("an image"));
        }
        // Indices of blocks are multiplied in 64 bits.
        let blocks = |side: u32, block: u32| u64::from(side.div_ceil(block));
        let count = blocks(width, block_width) * blocks(height, block_height);
        if count > MAX_BLOCKS / u64::from(shape.bands) {
            return Err(bad("a number of blocks"));
        }
        let mut layout = Layout {
            size: Size { width, height },
            bands: shape.bands,
            dtype,
            bits: shape.bits,
            packing: if shape.bits == own_bits { Packing::Whole } else { Packing::Bits },
            params: None,
            file: FileOf::Main,
            planar: shape.planar && shape.bands > 1,
            tiled: shape.tiled,
            compression,
            predictor,
            big_endian: shape.big_endian,
            max_stored_bytes: 0,
            storage: Size { width: block_width, height: block_height },
            rows: block_height,
            offsets: Table::Computed,
            counts: Table::Computed,
        };
        layout.split_strips();
        if layout.row_bytes().saturating_mul(u64::from(layout.rows)) > MAX_BLOCK_BYTES {
            return Err(bad("a block"));
        }
        Ok(layout)
    }

    /// The layout with the tables at the front of `numbers`, which are taken from it.
    ///
    /// # Errors
    /// [`FormatError::Text`] if they do not fit the layout, or a file of `file_len` bytes.
    pub(crate) fn with_tables(&self, numbers: &mut &[u64], file_len: u64) -> Result<Layout> {
        let blocks = self.storage_blocks();
        let stored = take(numbers)?;
        let offsets = Table::load(numbers, blocks, file_len)?;
        let counts = Table::load(numbers, blocks, file_len)?;
        if matches!(offsets, Table::Computed)
            || (matches!(counts, Table::Computed) && self.compression != Compression::None)
        {
            return Err(bad("a block table"));
        }
        let cap = self.stored_cap(self.storage_block_bytes(0));
        Ok(Layout { max_stored_bytes: stored.min(cap), offsets, counts, ..self.clone() })
    }
}

impl Table {
    fn save(&self, numbers: &mut Vec<u64>) {
        match self {
            Table::Computed => numbers.push(0),
            Table::InFile { offset, width } => numbers.extend([1, *offset, u64::from(*width)]),
            Table::Inline(values) => {
                numbers.extend([2, values.len() as u64]);
                numbers.extend(values.iter());
            }
        }
    }

    fn load(numbers: &mut &[u64], blocks: u64, file_len: u64) -> Result<Table> {
        match take(numbers)? {
            0 => Ok(Table::Computed),
            1 => {
                let (offset, width) = (take(numbers)?, take(numbers)?);
                let bytes = blocks.checked_mul(width);
                let end = bytes.and_then(|bytes| bytes.checked_add(offset));
                let fits = matches!(width, 1 | 2 | 4 | 8) && end.is_some_and(|end| end <= file_len);
                if !fits {
                    return Err(bad("a block table in the file"));
                }
                Ok(Table::InFile { offset, width: width as u32 })
            }
            2 => {
                let count = take(numbers)?;
                if count != blocks || count > SHORT_BLOCKS || numbers.len() < count as usize {
                    return Err(bad("a block table"));
                }
                let (values, rest) = numbers.split_at(count as usize);
                *numbers = rest;
                Ok(Table::Inline(values.into()))
            }
            _ => Err(bad("a kind of block table")),
        }
    }
}

fn take(numbers: &mut &[u64]) -> Result<u64> {
    let (first, rest) = numbers.split_first().ok_or_else(|| bad("a list of block tables"))?;
    *numbers = rest;
    Ok(*first)
}

#[cold]
fn bad(what: &str) -> Error {
    let reason = format!("{what} is not one that a file has");
    FormatError::Text { what: "the index", reason }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiff::reader::Dataset;
    use std::path::Path;

    fn relief() -> Layout {
        let path = Path::new("fixtures/sources/relief_1.tif");
        let file = std::fs::File::open(path).expect("it is a fixture");
        Dataset::open(path, &file, &()).expect("it is a fixture").image
    }

    #[test]
    fn layouts_come_back_as_they_were() {
        let layout = relief();
        let mut numbers = Vec::new();
        let shape = layout.save(&mut numbers);
        let text = serde_json::to_string(&shape).unwrap();
        let again: Shape = serde_json::from_str(&text).unwrap();
        let mut rest = numbers.as_slice();
        let loaded = Layout::load(&again).unwrap().with_tables(&mut rest, 1 << 20).unwrap();
        assert!(rest.is_empty());
        assert_eq!(format!("{loaded:?}"), format!("{layout:?}"));
    }

    #[test]
    fn what_no_file_has_is_refused() {
        let mut numbers = Vec::new();
        let shape = relief().save(&mut numbers);
        let mut cases = 0;
        let mut refuse = |change: &dyn Fn(&mut Shape)| {
            let mut shape = shape.clone();
            change(&mut shape);
            assert!(Layout::load(&shape).is_err(), "{shape:?}");
            cases += 1;
        };
        refuse(&|s| s.size[0] = 0);
        refuse(&|s| s.size = [u32::MAX, 1]);
        refuse(&|s| s.block[1] = 0);
        refuse(&|s| s.bands = 0);
        refuse(&|s| s.bands = 70_000);
        refuse(&|s| s.bits = 3);
        refuse(&|s| s.dtype = "u7".into());
        refuse(&|s| s.compression = 9999);
        refuse(&|s| s.predictor = 3);
        refuse(&|s| (s.size, s.block, s.tiled) = ([1 << 30; 2], [1; 2], true));
        refuse(&|s| (s.size, s.block, s.tiled) = ([1 << 30; 2], [1 << 30; 2], true));
        assert_eq!(cases, 11);
        let layout = Layout::load(&shape).unwrap();
        for cut in 0..numbers.len() {
            assert!(layout.with_tables(&mut &numbers[..cut], u64::MAX).is_err(), "{cut}");
        }
        for table in [[1, u64::MAX, 8], [1, 0, 3], [2, 1 << 40, 0], [0, 0, 0], [9, 9, 9]] {
            let numbers = [&[7], &table[..], &table[..]].concat();
            assert!(layout.with_tables(&mut numbers.as_slice(), 1000).is_err(), "{table:?}");
        }
    }
}
