//! Tables of block offsets and byte counts that lie in a file being written: entries are set in any order,
//! and memory does not grow with their number.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::io::Target;

/// Entries of a table that may wait to be written.
const PENDING_ENTRIES: usize = 8192;

/// A table of block offsets and one of byte counts.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) count: u64,
    pub(crate) offsets_at: u64,
    pub(crate) counts_at: u64,
    /// Width of an offset in bytes; counts have 4.
    pub(crate) width: u64,
    pending: BTreeMap<u64, (u64, u64)>,
    /// Entries of a table so short that TIFF wants it inside the directory entry.
    pub(crate) short: BTreeMap<u64, (u64, u64)>,
}

impl Tables {
    /// Tables of `count` entries from `at`, with offsets of `width` bytes.
    pub(crate) fn new(at: u64, count: u64, width: u64) -> Tables {
        Tables {
            count,
            offsets_at: at,
            counts_at: at + count * width,
            width,
            pending: BTreeMap::new(),
            short: BTreeMap::new(),
        }
    }

    /// Entries as they stand in the file: offsets and byte counts; zeros where none was set.
    pub(crate) fn read(
        &self,
        target: &mut dyn Target,
        first: u64,
        count: u64,
    ) -> Result<Vec<(u64, u64)>> {
        let mut column = |at: u64, width: u64| -> Result<Vec<u64>> {
            let mut bytes = vec![0; (count * width) as usize];
            target.read_exact_at(at + first * width, &mut bytes)?;
            let value = |raw: &[u8]| raw.iter().rev().fold(0, |sum, b| sum << 8 | u64::from(*b));
            Ok(bytes.chunks_exact(width as usize).map(value).collect())
        };
        let offsets = column(self.offsets_at, self.width)?;
        let counts = column(self.counts_at, 4)?;
        Ok(offsets.into_iter().zip(counts).collect())
    }

    pub(crate) fn end(&self) -> u64 {
        self.counts_at + self.count * 4
    }

    pub(crate) fn set(
        &mut self,
        index: u64,
        extent: (u64, u64),
        target: &mut dyn Target,
    ) -> Result<()> {
        self.note(index, extent);
        self.pending.insert(index, extent);
        if self.pending.len() >= PENDING_ENTRIES { self.write(target) } else { Ok(()) }
    }

    /// Remembers an entry that stands in the file.
    pub(crate) fn note(&mut self, index: u64, extent: (u64, u64)) {
        if self.count <= 4 {
            self.short.insert(index, extent);
        }
    }

    /// Writes what is pending, neighbours together.
    pub(crate) fn write(&mut self, target: &mut dyn Target) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let mut entries = pending.into_iter().peekable();
        let (mut offsets, mut counts) = (Vec::new(), Vec::new());
        while let Some((first, mut extent)) = entries.next() {
            offsets.clear();
            counts.clear();
            let mut next = first;
            loop {
                offsets.extend_from_slice(&extent.0.to_le_bytes()[..self.width as usize]);
                counts.extend_from_slice(&extent.1.to_le_bytes()[..4]);
                next += 1;
                match entries.next_if(|(index, _)| *index == next) {
                    Some((_, following)) => extent = following,
                    None => break,
                }
            }
            target.write_all_at(self.offsets_at + first * self.width, &offsets)?;
            target.write_all_at(self.counts_at + first * 4, &counts)?;
        }
        Ok(())
    }
}
