//! Directories (IFDs) of the files that we write: which tags an image has, and their bytes.

use std::collections::BTreeMap;

use crate::codec::{Compression, Predictor};
use crate::geometry::Size;
use crate::sample::DataType;
use crate::tiff::gdal_metadata::GdalMetadata;
use crate::tiff::geokeys::{self, Placement};
use crate::tiff::tables::Tables;
use crate::tiff::tag;
use crate::tiff::writer::ImageSpec;

/// The full-resolution image.
pub(crate) fn describe_image(directory: &mut Directory, spec: &ImageSpec, metadata: &GdalMetadata) {
    describe_samples(directory, spec, spec.size);
    describe_place(directory, spec);
    if let Some(xml) = metadata.to_xml() {
        directory.ascii(tag::GDAL_METADATA, xml.as_bytes());
    }
}

/// An overview of it.
pub(crate) fn describe_overview(directory: &mut Directory, spec: &ImageSpec, size: Size) {
    directory.long(254, 1);
    describe_samples(directory, spec, size);
}

/// What the image and its overviews have in common.
fn describe_samples(directory: &mut Directory, spec: &ImageSpec, size: Size) {
    let bands = spec.bands as usize;
    directory.long(256, size.width);
    directory.long(257, size.height);
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
    if let Some(nodata) = spec.nodata {
        directory.ascii(tag::GDAL_NODATA, nodata.to_string().as_bytes());
    }
}

/// Where the image lies.
fn describe_place(directory: &mut Directory, spec: &ImageSpec) {
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
}

/// An internal mask as GDAL writes it: 1 bit a pixel, Deflate, photometric 4.
pub(crate) fn describe_mask(directory: &mut Directory, spec: &ImageSpec, size: Size) {
    // Bit 2: a mask; bit 0: of an overview.
    directory.long(254, if size == spec.size { 4 } else { 5 });
    directory.long(256, size.width);
    directory.long(257, size.height);
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
pub(crate) struct Directory {
    big_tiff: bool,
    /// Tag → field type, count, value.
    entries: BTreeMap<u16, (u16, u64, Value)>,
}

impl Directory {
    pub(crate) fn new(big_tiff: bool) -> Directory {
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
    pub(crate) fn tables(&mut self, tables: &Tables) {
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
    pub(crate) fn len(&self) -> u64 {
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
    pub(crate) fn to_bytes(&self, at: u64, next: u64) -> Vec<u8> {
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
