//! Builds tiny GeoTIFFs, the same bytes each time, for tests that need many variants of one picture.

use std::io::Write;
use std::path::Path;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Lzw,
    Deflate,
    PackBits,
}

/// A GeoTIFF to be: samples and how to store them. All fields have defaults in [`Geotiff::new`].
#[derive(Debug, Clone)]
pub(crate) struct Geotiff {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) bands: usize,
    /// Bits and SampleFormat (1 unsigned, 2 signed, 3 float).
    pub(crate) dtype: (u16, u16),
    /// Little-endian samples: `((band * height + row) * width + col) * bits / 8`.
    pub(crate) samples: Vec<u8>,
    pub(crate) transform: [f64; 6],
    pub(crate) epsg: Option<u16>,
    pub(crate) nodata: Option<String>,
    /// Tile width and height; strips of `rows_per_strip` otherwise.
    pub(crate) tile: Option<(usize, usize)>,
    pub(crate) rows_per_strip: usize,
    pub(crate) planar: bool,
    pub(crate) big: bool,
    pub(crate) big_endian: bool,
    pub(crate) codec: Codec,
    pub(crate) predictor: bool,
    /// Internal mask, true where valid: `row * width + col`.
    pub(crate) mask: Option<Vec<bool>>,
}

/// A small generator (SplitMix64) so that tests need no crate for random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// Puts a list in random order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

impl Geotiff {
    /// A picture of u16 with soft waves and noise in bits 0 to 3, no sample 0; EPSG:32633, 10 m,
    /// corner at (500000, 5300000).
    pub(crate) fn new(width: usize, height: usize, bands: usize, seed: u64) -> Geotiff {
        let mut random = Random(seed);
        let mut samples = Vec::with_capacity(width * height * bands * 2);
        for band in 0..bands {
            for row in 0..height {
                for col in 0..width {
                    let wave = (col * 7 + row * 11 + band * 400 + seed as usize % 97 * 31) % 4000;
                    let v = 1000 + wave.abs_diff(2000) * 10 + random.below(16);
                    let v = u16::try_from(v).expect("at most 21015");
                    samples.extend_from_slice(&v.to_le_bytes());
                }
            }
        }
        Geotiff {
            width,
            height,
            bands,
            dtype: (16, 1),
            samples,
            transform: [500_000.0, 10.0, 0.0, 5_300_000.0, 0.0, -10.0],
            epsg: Some(32633),
            nodata: None,
            tile: None,
            rows_per_strip: 16,
            planar: false,
            big: false,
            big_endian: false,
            codec: Codec::None,
            predictor: false,
            mask: None,
        }
    }

    /// A picture of any type whose samples a function of band, row and column gives.
    pub(crate) fn typed(
        [width, height, bands]: [usize; 3],
        dtype: (u16, u16),
        mut value: impl FnMut(usize, usize, usize) -> f64,
    ) -> Geotiff {
        let mut picture = Geotiff::new(1, 1, 1, 0);
        (picture.width, picture.height, picture.bands, picture.dtype) =
            (width, height, bands, dtype);
        picture.samples.clear();
        for band in 0..bands {
            for row in 0..height {
                for col in 0..width {
                    picture.samples.extend(encode(dtype, value(band, row, col)));
                }
            }
        }
        picture
    }

    /// A sample as a number.
    pub(crate) fn value(&self, band: usize, row: usize, col: usize) -> f64 {
        let bytes = self.sample_bytes();
        let at = ((band * self.height + row) * self.width + col) * bytes;
        decode(self.dtype, &self.samples[at..at + bytes])
    }

    /// Moves the corner by whole pixels (right, down).
    pub(crate) fn moved(mut self, cols: f64, rows: f64) -> Geotiff {
        let [_, dx, rx, _, ry, dy] = self.transform;
        self.transform[0] += cols * dx + rows * rx;
        self.transform[3] += cols * ry + rows * dy;
        self
    }

    /// Cuts out `width` × `height` pixels at `(col, row)`, georeferenced where they were.
    pub(crate) fn crop(&self, col: usize, row: usize, width: usize, height: usize) -> Geotiff {
        let bytes = self.sample_bytes();
        let mut part = self.clone().moved(col as f64, row as f64);
        (part.width, part.height) = (width, height);
        part.samples.clear();
        for band in 0..self.bands {
            for r in row..row + height {
                let at = ((band * self.height + r) * self.width + col) * bytes;
                part.samples.extend_from_slice(&self.samples[at..at + width * bytes]);
            }
        }
        part.mask = self.mask.as_ref().map(|mask| {
            let rows = (row..row + height).map(|r| r * self.width + col);
            rows.flat_map(|at| mask[at..at + width].iter().copied()).collect()
        });
        part
    }

    pub(crate) fn sample_bytes(&self) -> usize {
        usize::from(self.dtype.0) / 8
    }

    /// Sets all bands of one pixel to `value` (its low bytes).
    pub(crate) fn set(&mut self, col: usize, row: usize, value: u64) {
        let bytes = self.sample_bytes();
        for band in 0..self.bands {
            let at = ((band * self.height + row) * self.width + col) * bytes;
            self.samples[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        }
    }

    /// Writes the file: header, blocks, long values, directory.
    pub(crate) fn write(&self, path: &Path) {
        let mut out = self.header();
        let (mut offsets, mut counts) = (Vec::new(), Vec::new());
        for block in self.blocks() {
            let encoded = self.encode(block);
            offsets.push(out.len() as u64);
            counts.push(encoded.len() as u64);
            out.extend_from_slice(&encoded);
            out.resize(out.len().next_multiple_of(8), 0);
        }
        let entries = self.entries(&offsets, &counts);
        let link = if self.big { 8 } else { 4 };
        let link = self.directory(&entries, &mut out, link);
        if let Some(mask) = &self.mask {
            let entries = self.mask_entries(mask, &mut out);
            self.directory(&entries, &mut out, link);
        }
        std::fs::write(path, out).expect("the temporary folder is writable");
    }

    fn uint(&self, value: u64, bytes: usize) -> Vec<u8> {
        let mut v = value.to_le_bytes()[..bytes].to_vec();
        if self.big_endian {
            v.reverse();
        }
        v
    }

    fn header(&self) -> Vec<u8> {
        let mut out = if self.big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        if self.big {
            out.extend([self.uint(43, 2), self.uint(8, 2), self.uint(0, 2), vec![0; 8]].concat());
        } else {
            out.extend([self.uint(42, 2), vec![0; 4]].concat());
        }
        out
    }

    fn block_size(&self) -> (usize, usize) {
        self.tile.unwrap_or((self.width, self.rows_per_strip.min(self.height)))
    }

    /// Samples of each block in file order, padded tiles, still little-endian.
    fn blocks(&self) -> Vec<Vec<u8>> {
        let (bw, bh) = self.block_size();
        let bytes = self.sample_bytes();
        let planes: Vec<Vec<usize>> = if self.planar {
            (0..self.bands).map(|b| vec![b]).collect()
        } else {
            vec![(0..self.bands).collect()]
        };
        let mut out = Vec::new();
        for plane in &planes {
            for top in (0..self.height).step_by(bh) {
                let rows = if self.tile.is_some() { bh } else { bh.min(self.height - top) };
                for left in (0..self.width).step_by(bw) {
                    let mut block = Vec::with_capacity(rows * bw * plane.len() * bytes);
                    for row in top..top + rows {
                        for col in left..left + bw {
                            for band in plane {
                                let inside = row < self.height && col < self.width;
                                let at = ((band * self.height + row) * self.width + col) * bytes;
                                match inside {
                                    true => block.extend_from_slice(&self.samples[at..at + bytes]),
                                    // Padding that must never reach an output.
                                    false => block.extend(std::iter::repeat_n(0xAB, bytes)),
                                }
                            }
                        }
                    }
                    out.push(block);
                }
            }
        }
        out
    }

    fn encode(&self, mut block: Vec<u8>) -> Vec<u8> {
        let bytes = self.sample_bytes();
        let chunk = if self.planar { 1 } else { self.bands };
        if self.predictor {
            let stride = chunk * bytes;
            for row in block.chunks_exact_mut(self.block_size().0 * stride) {
                for at in (stride..row.len()).step_by(bytes).rev() {
                    let mut borrow = 0;
                    for k in 0..bytes {
                        let difference =
                            i16::from(row[at + k]) - i16::from(row[at + k - stride]) - borrow;
                        borrow = i16::from(difference < 0);
                        row[at + k] = difference.to_le_bytes()[0];
                    }
                }
            }
        }
        if self.big_endian {
            block.chunks_exact_mut(bytes).for_each(<[u8]>::reverse);
        }
        match self.codec {
            Codec::None => block,
            Codec::Lzw => weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
                .encode(&block)
                .expect("LZW takes any bytes"),
            Codec::Deflate => {
                let mut deflate =
                    flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
                deflate.write_all(&block).expect("a Vec takes any bytes");
                deflate.finish().expect("a Vec takes any bytes")
            }
            // Literals only: right, if not small.
            Codec::PackBits => block
                .chunks(128)
                .flat_map(|c| std::iter::once((c.len() - 1) as u8).chain(c.iter().copied()))
                .collect(),
        }
    }

    /// Tag, type and values (as bytes in file order) in ascending order of tags.
    fn entries(&self, offsets: &[u64], counts: &[u64]) -> Vec<(u16, u16, u64, Vec<u8>)> {
        let short = |v: &[u64]| (3, v.len() as u64, self.list(v, 2));
        let long = |v: &[u64]| match self.big {
            true => (16, v.len() as u64, self.list(v, 8)),
            false => (4, v.len() as u64, self.list(v, 4)),
        };
        let double = |v: &[f64]| {
            let bits: Vec<u64> = v.iter().map(|f| f.to_bits()).collect();
            (12, v.len() as u64, self.list(&bits, 8))
        };
        let t = self.transform;
        let per_band = |v: u16| vec![u64::from(v); self.bands];
        let compression = match self.codec {
            Codec::None => 1,
            Codec::Lzw => 5,
            Codec::Deflate => 8,
            Codec::PackBits => 32773,
        };
        let mut tags = std::collections::BTreeMap::from([
            (256, long(&[self.width as u64])),
            (257, long(&[self.height as u64])),
            (258, short(&per_band(self.dtype.0))),
            (259, short(&[compression])),
            (262, short(&[1])),
            (277, short(&[self.bands as u64])),
            (284, short(&[if self.planar { 2 } else { 1 }])),
            (339, short(&per_band(self.dtype.1))),
        ]);
        let (bw, bh) = self.block_size();
        if self.tile.is_some() {
            tags.insert(322, short(&[bw as u64]));
            tags.insert(323, short(&[bh as u64]));
        } else {
            tags.insert(278, long(&[bh as u64]));
        }
        let at = if self.tile.is_some() { 324 } else { 273 };
        tags.insert(at, long(offsets));
        tags.insert(if at == 324 { 325 } else { 279 }, long(counts));
        if self.bands > 1 {
            tags.insert(338, short(&vec![0; self.bands - 1]));
        }
        if self.predictor {
            tags.insert(317, short(&[2]));
        }
        if t[2] == 0.0 && t[4] == 0.0 && t[5] < 0.0 {
            tags.insert(33550, double(&[t[1], -t[5], 0.0]));
            tags.insert(33922, double(&[0.0, 0.0, 0.0, t[0], t[3], 0.0]));
        } else {
            let mut matrix = [0.0; 16];
            (matrix[0], matrix[1], matrix[3]) = (t[1], t[2], t[0]);
            (matrix[4], matrix[5], matrix[7]) = (t[4], t[5], t[3]);
            matrix[15] = 1.0;
            tags.insert(34264, double(&matrix));
        }
        if let Some(code) = self.epsg {
            let code = u64::from(code);
            let keys = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, code];
            tags.insert(34735, short(&keys));
        }
        if let Some(text) = &self.nodata {
            let text = [text.as_bytes(), b"\0"].concat();
            tags.insert(42113, (2, text.len() as u64, text));
        }
        tags.into_iter().map(|(tag, (kind, count, v))| (tag, kind, count, v)).collect()
    }

    fn list(&self, values: &[u64], bytes: usize) -> Vec<u8> {
        values.iter().flat_map(|v| self.uint(*v, bytes)).collect()
    }

    /// Writes a mask of one bit a pixel in one strip, as GDAL does; returns its entries.
    fn mask_entries(&self, mask: &[bool], out: &mut Vec<u8>) -> Vec<(u16, u16, u64, Vec<u8>)> {
        let (at, start) = (out.len() as u64, out.len());
        for row in mask.chunks_exact(self.width) {
            for bits in row.chunks(8) {
                let byte =
                    bits.iter().enumerate().fold(0, |b, (k, v)| b | (u8::from(*v) << (7 - k)));
                out.push(byte);
            }
        }
        let count = (out.len() - start) as u64;
        out.resize(out.len().next_multiple_of(8), 0);
        let long = |v: u64| match self.big {
            true => (16, 1, self.uint(v, 8)),
            false => (4, 1, self.uint(v, 4)),
        };
        let short = |v: u64| (3, 1, self.uint(v, 2));
        let (width, height) = (self.width as u64, self.height as u64);
        [
            // NewSubfileType: a mask. PhotometricInterpretation 4: the same.
            (254, (4, 1, self.uint(4, 4))),
            (256, long(width)),
            (257, long(height)),
            (258, short(1)),
            (259, short(1)),
            (262, short(4)),
            (273, long(at)),
            (277, short(1)),
            (278, long(height)),
            (279, long(count)),
            (284, short(1)),
        ]
        .map(|(tag, (kind, count, v))| (tag, kind, count, v))
        .into()
    }

    /// Writes a directory and its place at `link`; returns where its own link to the next one stands.
    fn directory(
        &self,
        entries: &[(u16, u16, u64, Vec<u8>)],
        out: &mut Vec<u8>,
        link: usize,
    ) -> usize {
        let word = if self.big { 8 } else { 4 };
        let mut body = self.uint(entries.len() as u64, if self.big { 8 } else { 2 });
        for (tag, kind, count, values) in entries {
            body.extend(self.uint(u64::from(*tag), 2));
            body.extend(self.uint(u64::from(*kind), 2));
            body.extend(self.uint(*count, word));
            if values.len() <= word {
                body.extend_from_slice(values);
                body.resize(body.len() + word - values.len(), 0);
            } else {
                body.extend(self.uint(out.len() as u64, word));
                out.extend_from_slice(values);
                out.resize(out.len().next_multiple_of(8), 0);
            }
        }
        body.extend(self.uint(0, word));
        let at = self.uint(out.len() as u64, word);
        out[link..link + word].copy_from_slice(&at);
        out.extend(body);
        out.len() - word
    }
}

/// A number as a little-endian sample.
#[expect(clippy::cast_possible_truncation, reason = "the caller's numbers fit")]
fn encode(dtype: (u16, u16), value: f64) -> Vec<u8> {
    match dtype {
        (32, 3) => (value as f32).to_le_bytes().to_vec(),
        (64, 3) => value.to_le_bytes().to_vec(),
        (bits, _) => (value as i64).to_le_bytes()[..usize::from(bits) / 8].to_vec(),
    }
}

fn decode(dtype: (u16, u16), bytes: &[u8]) -> f64 {
    let mut all = [0u8; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(all);
    match dtype {
        (32, 3) => f64::from(f32::from_bits(u32::try_from(bits).expect("four bytes"))),
        (64, 3) => f64::from_bits(bits),
        (width, 2) => {
            let up = 64 - u32::from(width);
            (bits << up).cast_signed() as f64 / 2f64.powi(up.cast_signed())
        }
        _ => bits as f64,
    }
}
