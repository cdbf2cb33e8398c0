//! Writing a tiled GeoTIFF: blocks in any order as they come, tables in place, directories last.
//!
//! ```text
//! header │ tables of the image │ tables of the mask │ blocks …… │ directory │ its values │ mask's directory …
//!    └───────────────────────────────────────────────────────────►┘
//! ```
//! The tables have their place from the start, and entries go there as blocks are appended: memory does
//! not grow with the number of blocks. Always little-endian.
//!
//! Call order: [`Writer::create`], [`Writer::append`] for each block, [`Writer::finish`]. Dropping the
//! writer before that discards the file.

use std::collections::BTreeMap;

use crate::codec::{Compression, Predictor};
use crate::crs::Crs;
use crate::error::{Error, ErrorKind, InputError, Result};
use crate::geometry::{GeoTransform, Size};
use crate::io::Target;
use crate::sample::{DataType, Nodata};
use crate::tiff::gdal_metadata::GdalMetadata;
use crate::tiff::geokeys::{self, Placement};
use crate::tiff::tag;

/// Entries of a table that may wait to be written.
const PENDING_ENTRIES: usize = 8192;
/// What was written is sent on its way to the disk after this many bytes, so that the end need not wait
/// for all of it.
const FLUSH_BYTES: u64 = 8 << 20;
/// Classic TIFF has offsets of 32 bits.
const CLASSIC_BYTES: u64 = u32::MAX as u64;

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
}

impl ImageSpec {
    fn blocks_in_plane(&self) -> u64 {
        u64::from(self.size.width.div_ceil(self.chunk))
            * u64::from(self.size.height.div_ceil(self.chunk))
    }

    /// Blocks of the image, without those of the mask.
    pub fn blocks(&self) -> u64 {
        self.blocks_in_plane() * if self.pixel_interleaved { 1 } else { u64::from(self.bands) }
    }

    /// Bytes of tables, header and directories, at most.
    pub fn overhead_bytes(&self) -> u64 {
        let entries = self.blocks() + if self.mask { self.blocks_in_plane() } else { 0 };
        entries * 12 + 64 * u64::from(self.bands) * 24 + (1 << 20)
    }
}

/// A table of block offsets and one of byte counts.
#[derive(Debug)]
struct Tables {
    count: u64,
    offsets_at: u64,
    counts_at: u64,
    /// Width of an offset in bytes; counts have 4.
    width: u64,
    pending: BTreeMap<u64, (u64, u64)>,
    /// Entries of a table so short that TIFF wants it inside the directory entry.
    short: BTreeMap<u64, (u64, u64)>,
}

impl Tables {
    fn end(&self) -> u64 {
        self.counts_at + self.count * 4
    }

    fn set(&mut self, index: u64, extent: (u64, u64), target: &mut dyn Target) -> Result<()> {
        if self.count <= 4 {
            self.short.insert(index, extent);
        }
        self.pending.insert(index, extent);
        if self.pending.len() >= PENDING_ENTRIES { self.write(target) } else { Ok(()) }
    }

    /// Writes what is pending, neighbours together.
    fn write(&mut self, target: &mut dyn Target) -> Result<()> {
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

/// See the head of this file.
pub struct Writer {
    target: Box<dyn Target>,
    spec: ImageSpec,
    image: Tables,
    mask: Option<Tables>,
    end: u64,
    unflushed: u64,
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
    pub fn create(mut target: Box<dyn Target>, spec: ImageSpec) -> Result<Writer> {
        let width = if spec.big_tiff { 8 } else { 4 };
        let tables = |at: u64, count: u64| Tables {
            count,
            offsets_at: at,
            counts_at: at + count * width,
            width,
            pending: BTreeMap::new(),
            short: BTreeMap::new(),
        };
        let image = tables(16, spec.blocks());
        let mut end = image.end();
        let mask = spec.mask.then(|| tables(end.next_multiple_of(8), spec.blocks_in_plane()));
        if let Some(mask) = &mask {
            end = mask.end();
        }
        end = end.next_multiple_of(16);
        if !spec.big_tiff && end > CLASSIC_BYTES {
            return Err(too_large());
        }
        // What no block is written for reads as zeros: a sparse block.
        target.set_len(end)?;
        Ok(Writer { target, spec, image, mask, end, unflushed: 0 })
    }

    /// Appends the encoded bytes of a block: column `bx` and row `by` of blocks.
    ///
    /// # Errors
    /// [`InputError::Output`] if a classic TIFF would exceed 4 GiB; as the target says.
    pub fn append(&mut self, plane: Plane, bx: u32, by: u32, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        if !self.spec.big_tiff && self.end + len > CLASSIC_BYTES - (1 << 20) {
            return Err(too_large());
        }
        let across = u64::from(self.spec.size.width.div_ceil(self.spec.chunk));
        let place = u64::from(by) * across + u64::from(bx);
        let (tables, index) = match (plane, &mut self.mask) {
            (Plane::Image(band), _) => {
                (&mut self.image, u64::from(band) * self.spec.blocks_in_plane() + place)
            }
            (Plane::Mask, Some(mask)) => (mask, place),
            (Plane::Mask, None) => {
                let text = "a block of a mask that the file does not have".into();
                return Err(Error::new(ErrorKind::Panicked(text)));
            }
        };
        self.target.write_all_at(self.end, bytes)?;
        tables.set(index, (self.end, len), self.target.as_mut())?;
        self.end += len;
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
    pub fn finish(mut self, metadata: &GdalMetadata) -> Result<u64> {
        self.image.write(self.target.as_mut())?;
        let mut directory = Directory::new(self.spec.big_tiff);
        describe_image(&mut directory, &self.spec, metadata);
        directory.tables(&self.image);
        let image_at = self.end.next_multiple_of(2);
        let mask_at = image_at + directory.len().next_multiple_of(2);
        let next = if self.mask.is_some() { mask_at } else { 0 };
        let bytes = directory.to_bytes(image_at, next);
        self.target.write_all_at(image_at, &bytes)?;
        self.end = image_at + bytes.len() as u64;
        if let Some(mut mask) = self.mask.take() {
            mask.write(self.target.as_mut())?;
            let mut directory = Directory::new(self.spec.big_tiff);
            describe_mask(&mut directory, &self.spec);
            directory.tables(&mask);
            let bytes = directory.to_bytes(mask_at, 0);
            self.target.write_all_at(mask_at, &bytes)?;
            self.end = mask_at + bytes.len() as u64;
        }
        if !self.spec.big_tiff && self.end > CLASSIC_BYTES {
            return Err(too_large());
        }
        let header = if self.spec.big_tiff {
            let mut header = b"II\x2b\0\x08\0\0\0".to_vec();
            header.extend_from_slice(&image_at.to_le_bytes());
            header
        } else {
            let mut header = b"II\x2a\0".to_vec();
            header.extend_from_slice(&image_at.to_le_bytes()[..4]);
            header
        };
        self.target.write_all_at(0, &header)?;
        self.target.sync()?;
        self.target.publish()?;
        Ok(self.end)
    }
}

fn too_large() -> Error {
    let reason = "would exceed 4 GiB, the limit of classic TIFF; pass --bigtiff yes or auto";
    InputError::Output(reason.into()).into()
}

fn describe_image(directory: &mut Directory, spec: &ImageSpec, metadata: &GdalMetadata) {
    let bands = spec.bands as usize;
    directory.long(256, spec.size.width);
    directory.long(257, spec.size.height);
    directory.shorts(258, &vec![spec.dtype.size() as u16 * 8; bands]);
    directory.shorts(259, &[spec.compression.tag()]);
    directory.shorts(262, &[spec.photometric]);
    directory.shorts(277, &[bands as u16]);
    directory.shorts(284, &[if spec.pixel_interleaved || bands == 1 { 1 } else { 2 }]);
    if spec.predictor != Predictor::None {
        directory.shorts(317, &[spec.predictor.tag()]);
    }
    if let Some(palette) = &spec.palette {
        directory.shorts(320, palette);
    }
    directory.long(322, spec.chunk);
    directory.long(323, spec.chunk);
    if !spec.extra_samples.is_empty() {
        directory.shorts(338, &spec.extra_samples);
    }
    // SampleFormat (TIFF 6.0 §19): 1 unsigned, 2 signed, 3 IEEE float.
    let format = match spec.dtype {
        DataType::CI16 | DataType::CI32 => 5,
        dtype if dtype.is_complex() => 6,
        dtype if dtype.is_float() => 3,
        dtype if dtype.is_signed_integer() => 2,
        _ => 1,
    };
    directory.shorts(339, &vec![format; bands]);
    match geokeys::placement_of(&spec.transform, spec.pixel_is_point) {
        Placement::ScaleAndTiepoint { pixel_scale, tiepoint } => {
            directory.doubles(tag::MODEL_PIXEL_SCALE, &pixel_scale);
            directory.doubles(tag::MODEL_TIEPOINT, &tiepoint);
        }
        Placement::Transformation(matrix) => directory.doubles(tag::MODEL_TRANSFORMATION, &matrix),
    }
    let keys = geokeys::tags_of(spec.crs.as_ref(), spec.pixel_is_point);
    if !keys.directory.is_empty() {
        directory.shorts(tag::GEO_KEY_DIRECTORY, &keys.directory);
    }
    if !keys.doubles.is_empty() {
        directory.doubles(tag::GEO_DOUBLE_PARAMS, &keys.doubles);
    }
    if !keys.ascii.is_empty() {
        directory.ascii(tag::GEO_ASCII_PARAMS, &keys.ascii);
    }
    if let Some(xml) = metadata.to_xml() {
        directory.ascii(tag::GDAL_METADATA, xml.as_bytes());
    }
    if let Some(nodata) = spec.nodata {
        directory.ascii(tag::GDAL_NODATA, nodata.to_string().as_bytes());
    }
}

/// An internal mask as GDAL writes it: 1 bit a pixel, Deflate, photometric 4.
fn describe_mask(directory: &mut Directory, spec: &ImageSpec) {
    directory.long(254, 4);
    directory.long(256, spec.size.width);
    directory.long(257, spec.size.height);
    directory.shorts(258, &[1]);
    directory.shorts(259, &[Compression::Deflate.tag()]);
    directory.shorts(262, &[4]);
    directory.shorts(277, &[1]);
    directory.shorts(284, &[1]);
    directory.long(322, spec.chunk);
    directory.long(323, spec.chunk);
    directory.shorts(339, &[1]);
}

/// The value of an entry: its own bytes, or bytes that already lie somewhere in the file.
enum Value {
    Bytes(Vec<u8>),
    At(u64),
}

/// A directory being made.
struct Directory {
    big_tiff: bool,
    /// Tag → field type, count, value.
    entries: BTreeMap<u16, (u16, u64, Value)>,
}

impl Directory {
    fn new(big_tiff: bool) -> Directory {
        Directory { big_tiff, entries: BTreeMap::new() }
    }

    fn put(&mut self, tag: u16, field: u16, count: u64, bytes: Vec<u8>) {
        self.entries.insert(tag, (field, count, Value::Bytes(bytes)));
    }

    fn shorts(&mut self, tag: u16, values: &[u16]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put(tag, 3, values.len() as u64, bytes);
    }

    fn long(&mut self, tag: u16, value: u32) {
        self.put(tag, 4, 1, value.to_le_bytes().to_vec());
    }

    fn doubles(&mut self, tag: u16, values: &[f64]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put(tag, 12, values.len() as u64, bytes);
    }

    fn ascii(&mut self, tag: u16, text: &[u8]) {
        let mut bytes = text.to_vec();
        bytes.push(0);
        self.put(tag, 2, bytes.len() as u64, bytes);
    }

    /// TileOffsets and TileByteCounts, which lie in their reserved place.
    fn tables(&mut self, tables: &Tables) {
        let room = if self.big_tiff { 8 } else { 4 };
        let field = if self.big_tiff { 16 } else { 4 };
        let short = |width: u64, pick: &dyn Fn((u64, u64)) -> u64| -> Vec<u8> {
            (0..tables.count)
                .flat_map(|index| {
                    let value = pick(tables.short.get(&index).copied().unwrap_or((0, 0)));
                    value.to_le_bytes().into_iter().take(width as usize)
                })
                .collect()
        };
        for (tag, field, width, at, which) in
            [(324, field, tables.width, tables.offsets_at, 0), (325, 4, 4, tables.counts_at, 1)]
        {
            let value = if tables.count * width <= room {
                Value::Bytes(short(width, &|extent| if which == 0 { extent.0 } else { extent.1 }))
            } else {
                Value::At(at)
            };
            self.entries.insert(tag, (field, tables.count, value));
        }
    }

    fn room(&self) -> usize {
        if self.big_tiff { 8 } else { 4 }
    }

    fn entries_len(&self) -> u64 {
        let (head, entry, tail) = if self.big_tiff { (8, 20, 8) } else { (2, 12, 4) };
        head + entry * self.entries.len() as u64 + tail
    }

    /// Bytes with the values that follow the entries.
    fn len(&self) -> u64 {
        let outside = |value: &Value| match value {
            Value::Bytes(bytes) if bytes.len() > self.room() => {
                bytes.len().next_multiple_of(8) as u64
            }
            _ => 0,
        };
        self.entries_len().next_multiple_of(8)
            + self.entries.values().map(|(_, _, value)| outside(value)).sum::<u64>()
    }

    /// The directory as it stands at `at` in the file; `next` is the offset of the one after it.
    fn to_bytes(&self, at: u64, next: u64) -> Vec<u8> {
        let word = self.room();
        let mut head = Vec::new();
        let count = (self.entries.len() as u64).to_le_bytes();
        head.extend_from_slice(&count[..if self.big_tiff { 8 } else { 2 }]);
        let mut values = Vec::new();
        let values_at = at + self.entries_len().next_multiple_of(8);
        for (tag, (field, count, value)) in &self.entries {
            head.extend_from_slice(&tag.to_le_bytes());
            head.extend_from_slice(&field.to_le_bytes());
            head.extend_from_slice(&count.to_le_bytes()[..word]);
            let mut inline = [0; 8];
            match value {
                Value::At(offset) => inline = offset.to_le_bytes(),
                Value::Bytes(bytes) if bytes.len() <= word => {
                    inline[..bytes.len()].copy_from_slice(bytes);
                }
                Value::Bytes(bytes) => {
                    inline = (values_at + values.len() as u64).to_le_bytes();
                    values.extend_from_slice(bytes);
                    values.resize(values.len().next_multiple_of(8), 0);
                }
            }
            head.extend_from_slice(&inline[..word]);
        }
        head.extend_from_slice(&next.to_le_bytes()[..word]);
        head.resize(head.len().next_multiple_of(8), 0);
        head.extend_from_slice(&values);
        head
    }
}
