//! A small TIFF reader for tests that shares no code with the crate: our reader must not be the
//! judge of our writer.
//!
//! It knows exactly what our outputs and fixtures hold (classic and BigTIFF, strips and tiles, chunky
//! and planar, the lossless codecs, predictors 1 to 3, masks), decodes whole pictures into memory and
//! is proven against `fixtures/sources/EXPECTED.csv`, which GDAL and tifffile made.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// One directory: tag to value.
type Ifd = BTreeMap<u16, Field>;

/// The values of one tag, in every form that tests ask for.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) kind: u16,
    pub(crate) ints: Vec<u64>,
    pub(crate) floats: Vec<f64>,
    pub(crate) text: String,
}

/// A decoded picture.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) bands: usize,
    /// Bits of a sample: 8, 16, 32 or 64.
    pub(crate) bits: u16,
    /// 1 unsigned, 2 signed, 3 float (the SampleFormat tag).
    pub(crate) format: u16,
    /// Samples as little-endian bytes: `((band * height + row) * width + col) * bits / 8`.
    pub(crate) samples: Vec<u8>,
    /// Corner-based geotransform in GDAL's order, whatever way it is stored.
    pub(crate) transform: Option<[f64; 6]>,
    /// Projected or geographic EPSG code, 32767 for user-defined, `None` without a CRS.
    pub(crate) epsg: Option<u64>,
    /// Text of GDAL_NODATA.
    pub(crate) nodata: Option<String>,
    /// Validity from an internal mask: `row * width + col`.
    pub(crate) mask: Option<Vec<bool>>,
    /// Whether ExtraSamples names an alpha (associated or not).
    pub(crate) alpha: bool,
    /// Blocks with offset and count 0.
    pub(crate) absent_blocks: usize,
    /// Whether the file is a BigTIFF.
    pub(crate) big: bool,
    /// Tags of the picture's directory.
    pub(crate) tags: Ifd,
}

/// Reads and decodes the first full-resolution picture of `path`.
pub(crate) fn read(path: &Path) -> Result<Picture, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    decode(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// Samples of one picture of a file: pixels, and what is absent.
struct Decoded {
    samples: Vec<u8>,
    absent_blocks: usize,
}

/// Reads and decodes the overviews of `path`, the finest first, each with its mask.
pub(crate) fn read_overviews(path: &Path) -> Result<Vec<Picture>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = File::open(&bytes)?;
    let kind = |ifd: &Ifd| ints(ifd, 254).map_or(0, |v| v[0]);
    let masks: Vec<&Ifd> = file.ifds.iter().filter(|i| kind(i) & 5 == 5).collect();
    let overviews = file.ifds.iter().filter(|i| kind(i) & 5 == 1);
    overviews.enumerate().map(|(n, ifd)| picture(&file, ifd, masks.get(n).copied())).collect()
}

fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let file = File::open(bytes)?;
    let kind = |ifd: &Ifd| ints(ifd, 254).map_or(0, |v| v[0]);
    let main = file.ifds.iter().find(|i| kind(i) & 5 == 0).ok_or("no full-resolution picture")?;
    let mask = file.ifds.iter().find(|i| kind(i) & 5 == 4);
    picture(&file, main, mask)
}

fn picture(file: &File<'_>, main: &Ifd, mask: Option<&Ifd>) -> Result<Picture, String> {
    let shape = Shape::of(main)?;
    let decoded = file.decode_picture(main, &shape)?;
    let mask = match mask {
        Some(ifd) => {
            let shape = Shape::of(ifd)?;
            Some(file.decode_picture(ifd, &shape)?.samples.iter().map(|v| *v != 0).collect())
        }
        None => None,
    };
    Ok(Picture {
        width: shape.width,
        height: shape.height,
        bands: shape.bands,
        bits: shape.bits,
        format: shape.format,
        samples: decoded.samples,
        transform: transform(main),
        epsg: epsg(main),
        nodata: main.get(&42113).map(|f| f.text.trim().to_owned()),
        mask,
        alpha: ints(main, 338).is_some_and(|v| v.iter().any(|e| *e == 1 || *e == 2)),
        absent_blocks: decoded.absent_blocks,
        big: file.big,
        tags: main.clone(),
    })
}

fn ints(ifd: &Ifd, tag: u16) -> Option<&[u64]> {
    ifd.get(&tag).map(|f| f.ints.as_slice()).filter(|v| !v.is_empty())
}

fn one(ifd: &Ifd, tag: u16, default: u64) -> u64 {
    ints(ifd, tag).map_or(default, |v| v[0])
}

fn size(value: u64) -> usize {
    usize::try_from(value).expect("fixtures are small")
}

/// OGC 19-008r4 §7.1: matrix, or scale and tie point; PixelIsPoint moves by half a pixel.
fn transform(ifd: &Ifd) -> Option<[f64; 6]> {
    let mut t = if let Some(m) = ifd.get(&34264) {
        let m = &m.floats;
        [m[3], m[0], m[1], m[7], m[4], m[5]]
    } else {
        let (s, p) = (&ifd.get(&33550)?.floats, &ifd.get(&33922)?.floats);
        [p[3] - p[0] * s[0], s[0], 0.0, p[4] + p[1] * s[1], 0.0, -s[1]]
    };
    if geo_key(ifd, 1025) == Some(2) {
        t[0] -= 0.5 * (t[1] + t[2]);
        t[3] -= 0.5 * (t[4] + t[5]);
    }
    Some(t)
}

/// Value of a GeoKey that is stored in the directory itself.
pub(crate) fn geo_key(ifd: &Ifd, key: u64) -> Option<u64> {
    ints(ifd, 34735)?[4..].chunks_exact(4).find(|k| k[0] == key && k[1] == 0).map(|k| k[3])
}

fn epsg(ifd: &Ifd) -> Option<u64> {
    match geo_key(ifd, 1024)? {
        1 => geo_key(ifd, 3072),
        2 => geo_key(ifd, 2048),
        _ => None,
    }
}

/// The bytes, their order, and all directories.
struct File<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    big: bool,
    ifds: Vec<Ifd>,
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8]) -> Result<File<'a>, String> {
        let big_endian = match bytes.get(..2) {
            Some(b"II") => false,
            Some(b"MM") => true,
            _ => return Err("not a TIFF".to_owned()),
        };
        let mut file = File { bytes, big_endian, big: false, ifds: Vec::new() };
        file.big = match file.uint(2, 2)? {
            42 => false,
            43 => true,
            other => return Err(format!("version {other}")),
        };
        let mut next = if file.big { file.uint(8, 8)? } else { file.uint(4, 4)? };
        while next != 0 {
            next = file.read_ifd(next)?;
            if file.ifds.len() > 20 {
                return Err("more than 20 directories".to_owned());
            }
        }
        Ok(file)
    }

    /// Unsigned integer of `length` bytes at `at`.
    fn uint(&self, at: u64, length: usize) -> Result<u64, String> {
        let b = self.slice(at, length)?;
        let fold = |acc: u64, b: &u8| (acc << 8) | u64::from(*b);
        Ok(if self.big_endian { b.iter().fold(0, fold) } else { b.iter().rev().fold(0, fold) })
    }

    fn slice(&self, at: u64, length: usize) -> Result<&'a [u8], String> {
        let at = usize::try_from(at).map_err(|e| e.to_string())?;
        let end = at.checked_add(length).ok_or("overflow")?;
        self.bytes.get(at..end).ok_or_else(|| format!("bytes {at}..{end} lie beyond the end"))
    }

    fn read_ifd(&mut self, at: u64) -> Result<u64, String> {
        let (count_size, entry, word) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let count = self.uint(at, count_size)?;
        let first = at + count_size as u64;
        let mut ifd = Ifd::new();
        for index in 0..count {
            let e = first + index * entry;
            let (tag, kind) = (self.uint(e, 2)?, self.uint(e + 2, 2)?);
            let values = self.uint(e + 4, word)?;
            let width = match kind {
                1 | 2 | 6 | 7 => 1,
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16 | 17 | 18 => 8,
                other => return Err(format!("tag {tag} has type {other}")),
            };
            let length = size(values) * width;
            let inline = e + 4 + word as u64;
            let place = if length <= word { inline } else { self.uint(inline, word)? };
            let field = self.field(kind, place, size(values), width)?;
            ifd.insert(u16::try_from(tag).expect("two bytes"), field);
        }
        self.ifds.push(ifd);
        self.uint(first + count * entry, word)
    }

    fn field(&self, kind: u64, at: u64, count: usize, width: usize) -> Result<Field, String> {
        let raw = self.slice(at, count * width)?;
        let mut field = Field {
            kind: u16::try_from(kind).expect("two bytes"),
            ints: Vec::new(),
            floats: Vec::new(),
            text: String::new(),
        };
        if kind == 2 {
            field.text = String::from_utf8_lossy(raw).trim_end_matches('\0').to_owned();
            return Ok(field);
        }
        for index in 0..count {
            let v = self.uint(at + (index * width) as u64, width)?;
            field.ints.push(v);
            field.floats.push(match kind {
                11 => f64::from(f32::from_bits(u32::try_from(v).expect("four bytes"))),
                12 => f64::from_bits(v),
                _ => v as f64,
            });
        }
        Ok(field)
    }

    fn decode_picture(&self, ifd: &Ifd, shape: &Shape) -> Result<Decoded, String> {
        let sample = shape.sample_bytes();
        let mut out = vec![0; shape.bands * shape.height * shape.width * sample];
        let offsets = ints(ifd, shape.offsets_tag).ok_or("no block offsets")?;
        let counts_tag = if shape.tiled { 325 } else { 279 };
        let counts = ints(ifd, counts_tag).ok_or("no block counts")?;
        let fill = fill_sample(ifd, shape);
        let mut absent_blocks = 0;
        if offsets.len() != shape.blocks() || counts.len() != shape.blocks() {
            return Err(format!("{} offsets for {} blocks", offsets.len(), shape.blocks()));
        }
        for block in 0..shape.blocks() {
            let place = shape.place(block);
            let content = if counts[block] == 0 && offsets[block] == 0 {
                absent_blocks += 1;
                fill.repeat(place.stored_rows * shape.block_width * shape.chunk_bands())
            } else {
                let raw = self.slice(offsets[block], size(counts[block]))?;
                self.decode_block(ifd, shape, raw, place.stored_rows)
                    .map_err(|e| format!("block {block}: {e}"))?
            };
            shape.copy_block(&place, &content, &mut out);
        }
        Ok(Decoded { samples: out, absent_blocks })
    }

    /// Samples of one block, little-endian, rows of `block_width * chunk_bands` samples.
    fn decode_block(
        &self,
        ifd: &Ifd,
        shape: &Shape,
        raw: &[u8],
        rows: usize,
    ) -> Result<Vec<u8>, String> {
        let row_samples = shape.block_width * shape.chunk_bands();
        let packed_row = (row_samples * usize::from(shape.bits)).div_ceil(8);
        let mut data = decompress(one(ifd, 259, 1), raw, packed_row * rows)?;
        if data.len() < packed_row * rows {
            return Err(format!("{} bytes instead of {}", data.len(), packed_row * rows));
        }
        data.truncate(packed_row * rows);
        if shape.bits == 1 {
            let bit = |row: &[u8], i: usize| row[i / 8] >> (7 - i % 8) & 1;
            let unpack = |row| (0..row_samples).map(move |i| bit(row, i));
            return Ok(data.chunks_exact(packed_row).flat_map(unpack).collect());
        }
        let sample = shape.sample_bytes();
        let predictor = one(ifd, 317, 1);
        if predictor == 3 {
            for row in data.chunks_exact_mut(packed_row) {
                undo_float_predictor(row, sample, shape.chunk_bands());
            }
            return Ok(data);
        }
        if self.big_endian {
            data.chunks_exact_mut(sample).for_each(<[u8]>::reverse);
        }
        if predictor == 2 {
            for row in data.chunks_exact_mut(packed_row) {
                undo_horizontal(row, sample, shape.chunk_bands());
            }
        }
        Ok(data)
    }
}

/// Absent blocks hold the nodata where there is one, else 0.
fn fill_sample(ifd: &Ifd, shape: &Shape) -> Vec<u8> {
    let length = shape.sample_bytes();
    let Some(text) = ifd.get(&42113).map(|f| f.text.trim().to_owned()) else {
        return vec![0; length];
    };
    match (shape.format, length) {
        (3, 4) => text.parse::<f64>().map(|v| (v as f32).to_le_bytes().to_vec()),
        (3, _) => text.parse::<f64>().map(|v| v.to_le_bytes().to_vec()),
        _ => Ok(text.parse::<i128>().unwrap_or(0).to_le_bytes()[..length].to_vec()),
    }
    .unwrap_or_else(|_| vec![0; length])
}

/// What the directory says about the picture's arrangement.
struct Shape {
    width: usize,
    height: usize,
    bands: usize,
    bits: u16,
    format: u16,
    planar: bool,
    tiled: bool,
    block_width: usize,
    block_height: usize,
    offsets_tag: u16,
}

/// Where a block lies in the picture.
struct Place {
    band: usize,
    col: usize,
    row: usize,
    stored_rows: usize,
}

impl Shape {
    fn of(ifd: &Ifd) -> Result<Shape, String> {
        let need = |tag| ints(ifd, tag).map(|v| size(v[0])).ok_or(format!("no tag {tag}"));
        let (width, height) = (need(256)?, need(257)?);
        let tiled = ifd.contains_key(&322);
        let rows = size(one(ifd, 278, u64::from(u32::MAX))).min(height);
        let bits = ints(ifd, 258).unwrap_or(&[1]);
        if bits.iter().any(|b| *b != bits[0]) {
            return Err("bands of different bits".to_owned());
        }
        let bands = size(one(ifd, 277, 1));
        Ok(Shape {
            width,
            height,
            bands,
            bits: u16::try_from(bits[0]).map_err(|e| e.to_string())?,
            format: u16::try_from(one(ifd, 339, 1)).map_err(|e| e.to_string())?,
            planar: bands > 1 && one(ifd, 284, 1) == 2,
            tiled,
            block_width: if tiled { need(322)? } else { width },
            block_height: if tiled { need(323)? } else { rows },
            offsets_tag: if tiled { 324 } else { 273 },
        })
    }

    /// Bytes of a decoded sample; masks of one bit become bytes.
    fn sample_bytes(&self) -> usize {
        usize::from(self.bits).div_ceil(8)
    }

    fn chunk_bands(&self) -> usize {
        if self.planar { 1 } else { self.bands }
    }

    fn across(&self) -> usize {
        self.width.div_ceil(self.block_width)
    }

    fn per_plane(&self) -> usize {
        self.across() * self.height.div_ceil(self.block_height)
    }

    fn blocks(&self) -> usize {
        self.per_plane() * if self.planar { self.bands } else { 1 }
    }

    fn place(&self, block: usize) -> Place {
        let (band, index) = (block / self.per_plane(), block % self.per_plane());
        let row = index / self.across() * self.block_height;
        let rest = self.height - row;
        Place {
            band,
            col: index % self.across() * self.block_width,
            row,
            // The last strip is short; the last tile is padded.
            stored_rows: if self.tiled { self.block_height } else { rest.min(self.block_height) },
        }
    }

    fn copy_block(&self, place: &Place, content: &[u8], out: &mut [u8]) {
        let (sample, chunk) = (self.sample_bytes(), self.chunk_bands());
        for row in 0..place.stored_rows.min(self.height - place.row) {
            for col in 0..self.block_width.min(self.width - place.col) {
                for band in 0..chunk {
                    let from = ((row * self.block_width + col) * chunk + band) * sample;
                    let plane = (place.band + band) * self.height + place.row + row;
                    let to = (plane * self.width + place.col + col) * sample;
                    out[to..to + sample].copy_from_slice(&content[from..from + sample]);
                }
            }
        }
    }
}

fn decompress(compression: u64, raw: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match compression {
        1 => out.extend_from_slice(raw),
        5 => {
            let mut lzw = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
            out = lzw.decode(raw).map_err(|e| format!("LZW: {e}"))?;
        }
        8 | 32946 => {
            flate2::read::ZlibDecoder::new(raw).read_to_end(&mut out).map_err(|e| e.to_string())?;
        }
        50000 => {
            ruzstd::decoding::StreamingDecoder::new(raw)
                .map_err(|e| e.to_string())?
                .read_to_end(&mut out)
                .map_err(|e| e.to_string())?;
        }
        32773 => {
            let mut at = 0;
            while at < raw.len() && out.len() < expected {
                let n = usize::from(raw[at]);
                at += 1;
                if n < 128 {
                    out.extend_from_slice(raw.get(at..=at + n).ok_or("PackBits: cut literal")?);
                    at += n + 1;
                } else if n > 128 {
                    let byte = *raw.get(at).ok_or("PackBits: cut run")?;
                    out.resize(out.len() + 257 - n, byte);
                    at += 1;
                }
            }
        }
        other => return Err(format!("compression {other}")),
    }
    Ok(out)
}

/// TIFF 6.0 §14: differences between samples of one band, modulo the sample's width.
fn undo_horizontal(row: &mut [u8], sample: usize, stride: usize) {
    for at in (stride * sample..row.len()).step_by(sample) {
        let mut carry = 0u16;
        for k in 0..sample {
            let sum = u16::from(row[at + k]) + u16::from(row[at + k - stride * sample]) + carry;
            row[at + k] = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
    }
}

/// Adobe Photoshop TIFF Technical Note 3: byte planes, most significant first, then differences.
fn undo_float_predictor(row: &mut [u8], sample: usize, stride: usize) {
    for at in stride..row.len() {
        row[at] = row[at].wrapping_add(row[at - stride]);
    }
    let planes = row.to_vec();
    let count = row.len() / sample;
    for index in 0..count {
        for byte in 0..sample {
            row[index * sample + sample - 1 - byte] = planes[byte * count + index];
        }
    }
}

impl Picture {
    /// Name of the sample type as numpy spells it.
    pub(crate) fn dtype(&self) -> String {
        let kind = match self.format {
            1 => "uint",
            2 => "int",
            3 => "float",
            _ => "unknown",
        };
        format!("{kind}{}", self.bits)
    }

    /// Bytes of the sample at `(band, row, col)`.
    pub(crate) fn sample(&self, band: usize, row: usize, col: usize) -> &[u8] {
        let bytes = usize::from(self.bits).div_ceil(8);
        let at = ((band * self.height + row) * self.width + col) * bytes;
        &self.samples[at..at + bytes]
    }

    /// The sample as text, exact for every type.
    pub(crate) fn show(&self, band: usize, row: usize, col: usize) -> String {
        let b = self.sample(band, row, col);
        let mut wide = [0u8; 8];
        wide[..b.len()].copy_from_slice(b);
        let unsigned = u64::from_le_bytes(wide);
        match (self.format, b.len()) {
            (3, 4) => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).to_string(),
            (3, 8) => f64::from_bits(unsigned).to_string(),
            (2, n) => {
                let shift = 64 - 8 * n;
                ((unsigned << shift).cast_signed() >> shift).to_string()
            }
            _ => unsigned.to_string(),
        }
    }

    /// The sample as `f64`; 64-bit integers are rounded.
    pub(crate) fn value(&self, band: usize, row: usize, col: usize) -> f64 {
        self.show(band, row, col).parse().expect("every sample reads as a number")
    }
}
