//! Image file directories: header, entries, values (TIFF 6.0 §2; BigTIFF).
//!
//! In: any [`ReadAt`]. Out: entries whose values are read on demand. Every size is checked against the
//! file's length and a limit before anything is allocated. (The `tiff` crate's decoder is not used for
//! this: it decides about the first image while it opens the file, and owns its reader.)

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use crate::error::{FormatError, Result};
use crate::io::ReadAt;
use crate::tiff::tag::{self, Type};

/// Bytes that are read at once from the start of a file: the headers of most GeoTIFFs, whole.
const HEAD_BYTES: u64 = 16 * 1024;
/// Most directories in one file.
const MAX_DIRECTORIES: usize = 4096;
/// Most entries of all directories of a file.
const MAX_ENTRIES: usize = 100_000;
/// Most bytes of one tag's value, but for block tables, which are never read whole.
const MAX_VALUE_BYTES: u64 = 32 << 20;

/// The bytes of a file's header area, with the start of the file in memory.
pub(crate) struct HeaderReader<'a> {
    source: &'a dyn ReadAt,
    file_len: u64,
    head: Vec<u8>,
    pub(crate) big_endian: bool,
    pub(crate) big_tiff: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) tag: u16,
    pub(crate) field: u16,
    pub(crate) count: u64,
    /// Where the value lies in the file, also when it lies in the entry itself.
    pub(crate) offset: u64,
}

/// A directory: its entries in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Ifd {
    pub(crate) entries: Vec<Entry>,
    next: u64,
}

impl Ifd {
    pub(crate) fn entry(&self, tag: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }
}

impl<'a> HeaderReader<'a> {
    /// Reads and checks the file header; returns the reader and the offset of the first directory.
    pub(crate) fn open(source: &'a dyn ReadAt) -> Result<(HeaderReader<'a>, u64)> {
        let file_len = source.byte_len()?;
        let mut head = vec![0; HEAD_BYTES.min(file_len) as usize];
        source.read_exact_at(0, &mut head)?;
        let big_endian = match head.get(..2) {
            Some(b"II") => false,
            Some(b"MM") => true,
            _ => return Err(FormatError::NotATiff.into()),
        };
        let mut reader = HeaderReader { source, file_len, head, big_endian, big_tiff: false };
        let first = match reader.u16_at(2)? {
            42 => u64::from(reader.u32_at(4)?),
            43 => {
                reader.big_tiff = true;
                // Offsets of 8 bytes, then a constant 0 (BigTIFF header).
                if reader.u16_at(4)? != 8 || reader.u16_at(6)? != 0 {
                    return Err(FormatError::NotATiff.into());
                }
                reader.u64_at(8)?
            }
            _ => return Err(FormatError::NotATiff.into()),
        };
        Ok((reader, first))
    }

    /// All directories of the main chain, in order, and what is odd about the chain. It ends where it
    /// comes back to itself, and at a directory that makes no sense or lies beyond the end of the file, as in
    /// every other reader. (That the first image is whole is seen by its blocks.)
    pub(crate) fn directories(&self, first: u64) -> Result<(Vec<Ifd>, Option<String>)> {
        let mut seen = Vec::new();
        let mut list: Vec<Ifd> = Vec::new();
        let mut entries = 0;
        let mut offset = first;
        while offset != 0 {
            if seen.contains(&offset) || list.len() >= MAX_DIRECTORIES {
                let odd = FormatError::IfdLoop { offset };
                return Ok((list, Some(format!("directories are left out: {odd}"))));
            }
            seen.push(offset);
            let ifd = match self.directory(offset) {
                Ok(ifd) => ifd,
                Err(error) if !list.is_empty() && !is_io(&error) => {
                    return Ok((list, Some(format!("directories are left out: {error}"))));
                }
                Err(error) => return Err(error),
            };
            offset = ifd.next;
            entries += ifd.entries.len();
            if entries > MAX_ENTRIES {
                return Err(too_long(entries as u64));
            }
            list.push(ifd);
        }
        if list.is_empty() {
            return Err(FormatError::MissingTag { tag: 256, name: tag::name(256) }.into());
        }
        Ok((list, None))
    }

    /// The directory at an offset.
    pub(crate) fn directory(&self, offset: u64) -> Result<Ifd> {
        let (count, entries_at, entry_len) = if self.big_tiff {
            (self.u64_at(offset)?, offset.saturating_add(8), 20)
        } else {
            (u64::from(self.u16_at(offset)?), offset.saturating_add(2), 12)
        };
        if count == 0 {
            return Err(FormatError::MissingTag { tag: 256, name: tag::name(256) }.into());
        }
        let bytes = count.saturating_mul(entry_len);
        self.check("the directory", entries_at, bytes)?;
        if bytes > MAX_VALUE_BYTES {
            return Err(too_long(count));
        }
        let next_at = entries_at + bytes;
        let raw = self.bytes("the directory", entries_at, bytes)?;
        let mut entries = Vec::with_capacity(count as usize);
        for (index, raw) in raw.chunks_exact(entry_len as usize).enumerate() {
            let at = entries_at + index as u64 * entry_len;
            entries.push(self.entry(raw, at));
        }
        // A file that ends right after its last directory's entries is read by every other tool.
        let next =
            if self.big_tiff { self.u64_at(next_at) } else { self.u32_at(next_at).map(u64::from) };
        Ok(Ifd { entries, next: next.unwrap_or(0) })
    }

    fn entry(&self, raw: &[u8], at: u64) -> Entry {
        let (tag, field) = (self.u16(&raw[0..2]), self.u16(&raw[2..4]));
        let (count, value_at, room) = if self.big_tiff {
            (self.u64(&raw[4..12]), 12, 8)
        } else {
            (u64::from(self.u32(&raw[4..8])), 8, 4)
        };
        let bytes = tag::type_len(field).unwrap_or(1).saturating_mul(count);
        let offset = if bytes <= room {
            at + value_at as u64
        } else if self.big_tiff {
            self.u64(&raw[value_at..])
        } else {
            u64::from(self.u32(&raw[value_at..]))
        };
        Entry { tag, field, count, offset }
    }

    /// Fails if a range lies beyond the end of the file.
    pub(crate) fn check(&self, what: &'static str, offset: u64, len: u64) -> Result<()> {
        let end = offset.saturating_add(len);
        if end > self.file_len {
            return Err(FormatError::Truncated { what, end, file_len: self.file_len }.into());
        }
        Ok(())
    }

    /// A range of the file; the caller has bounded `len`.
    pub(crate) fn bytes(&self, what: &'static str, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.check(what, offset, len)?;
        let end = offset + len;
        if end <= self.head.len() as u64 {
            return Ok(self.head[offset as usize..end as usize].to_vec());
        }
        let mut bytes = vec![0; len as usize];
        self.source.read_exact_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&self, offset: u64) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes("the header", offset, N as u64)?);
        Ok(out)
    }

    fn u16_at(&self, offset: u64) -> Result<u16> {
        Ok(self.u16(&self.fixed::<2>(offset)?))
    }

    fn u32_at(&self, offset: u64) -> Result<u32> {
        Ok(self.u32(&self.fixed::<4>(offset)?))
    }

    fn u64_at(&self, offset: u64) -> Result<u64> {
        Ok(self.u64(&self.fixed::<8>(offset)?))
    }

    fn u16(&self, b: &[u8]) -> u16 {
        if self.big_endian { BigEndian::read_u16(b) } else { LittleEndian::read_u16(b) }
    }

    fn u32(&self, b: &[u8]) -> u32 {
        if self.big_endian { BigEndian::read_u32(b) } else { LittleEndian::read_u32(b) }
    }

    fn u64(&self, b: &[u8]) -> u64 {
        if self.big_endian { BigEndian::read_u64(b) } else { LittleEndian::read_u64(b) }
    }

    /// Bytes of an entry's value, at most `MAX_VALUE_BYTES`.
    pub(crate) fn value_bytes(&self, entry: &Entry) -> Result<Vec<u8>> {
        let Some(len) = tag::type_len(entry.field) else {
            return Err(bad(entry, "a known field type", format!("type {}", entry.field)));
        };
        let bytes = len.saturating_mul(entry.count);
        self.check(tag::name(entry.tag), entry.offset, bytes)?;
        // One value for each band, or three for each colour.
        let per_band = matches!(entry.tag, 258 | 320 | 338 | 339) && entry.count > 3 * 65_536;
        if bytes > MAX_VALUE_BYTES || per_band {
            return Err(bad(entry, "at most 32 MiB", format!("{bytes} bytes")));
        }
        self.bytes(tag::name(entry.tag), entry.offset, bytes)
    }

    /// Values of an unsigned integer tag.
    pub(crate) fn unsigned(&self, entry: &Entry) -> Result<Vec<u64>> {
        let bytes = self.value_bytes(entry)?;
        Ok(match Type::from_u16(entry.field) {
            Some(Type::BYTE | Type::UNDEFINED) => bytes.iter().map(|b| u64::from(*b)).collect(),
            Some(Type::SHORT) => bytes.chunks_exact(2).map(|b| u64::from(self.u16(b))).collect(),
            Some(Type::LONG | Type::IFD) => {
                bytes.chunks_exact(4).map(|b| u64::from(self.u32(b))).collect()
            }
            Some(Type::LONG8 | Type::IFD8) => bytes.chunks_exact(8).map(|b| self.u64(b)).collect(),
            Some(Type::SBYTE | Type::SSHORT | Type::SLONG | Type::SLONG8) => {
                return self.non_negative(entry, &bytes);
            }
            _ => return Err(bad(entry, "unsigned integers", format!("type {}", entry.field))),
        })
    }

    /// Values of a tag of signed integers, none of them below 0.
    fn non_negative(&self, entry: &Entry, bytes: &[u8]) -> Result<Vec<u64>> {
        let value = |b: &[u8]| match b.len() {
            1 => i64::from(b[0] as i8),
            2 => i64::from(self.u16(b) as i16),
            4 => i64::from(self.u32(b) as i32),
            _ => self.u64(b) as i64,
        };
        let len = tag::type_len(entry.field).unwrap_or(1) as usize;
        let values = bytes.chunks_exact(len).map(|b| u64::try_from(value(b)));
        let values: std::result::Result<Vec<u64>, _> = values.collect();
        values.map_err(|_| bad(entry, "no negative numbers", "one".into()))
    }

    /// Values of a floating-point tag; whole numbers do as well.
    pub(crate) fn floats(&self, entry: &Entry) -> Result<Vec<f64>> {
        let bytes = self.value_bytes(entry)?;
        match Type::from_u16(entry.field) {
            Some(Type::DOUBLE) => {
                Ok(bytes.chunks_exact(8).map(|b| f64::from_bits(self.u64(b))).collect())
            }
            Some(Type::FLOAT) => {
                Ok(bytes.chunks_exact(4).map(|b| f64::from(f32::from_bits(self.u32(b)))).collect())
            }
            Some(Type::RATIONAL) => Ok(bytes
                .chunks_exact(8)
                .map(|b| {
                    let (above, below) = (self.u32(&b[..4]), self.u32(&b[4..]));
                    if below == 0 { 0.0 } else { f64::from(above) / f64::from(below) }
                })
                .collect()),
            _ => Ok(self.unsigned(entry)?.into_iter().map(|v| v as f64).collect()),
        }
    }

    /// The one value of an unsigned tag, `None` if the tag is absent.
    pub(crate) fn number(&self, ifd: &Ifd, tag: u16) -> Result<Option<u64>> {
        let Some(entry) = ifd.entry(tag) else { return Ok(None) };
        // Only the first value is asked for, however many there are.
        let one = Entry { count: entry.count.min(1), ..entry.clone() };
        match self.unsigned(&one)?.first() {
            Some(value) => Ok(Some(*value)),
            None => Err(bad(entry, "one value", "none".into())),
        }
    }

    /// Text of an ASCII tag up to its first NUL, lossily decoded; `None` if the tag is absent.
    pub(crate) fn text(&self, ifd: &Ifd, tag: u16) -> Result<Option<String>> {
        let Some(entry) = ifd.entry(tag) else { return Ok(None) };
        let bytes = self.value_bytes(entry)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Ok(Some(String::from_utf8_lossy(&bytes[..end]).into_owned()))
    }

    /// Length of the file in bytes.
    pub(crate) fn file_len(&self) -> u64 {
        self.file_len
    }
}

/// A [`FormatError::BadTag`] for an entry.
pub(crate) fn bad(entry: &Entry, expected: &'static str, found: String) -> crate::error::Error {
    FormatError::BadTag { tag: entry.tag, name: tag::name(entry.tag), expected, found }.into()
}

fn is_io(error: &crate::error::Error) -> bool {
    matches!(error.kind(), crate::error::ErrorKind::Io(_))
}

fn too_long(count: u64) -> crate::error::Error {
    let found = format!("{count} entries");
    FormatError::BadTag { tag: 0, name: "directory", expected: "a directory", found }.into()
}
