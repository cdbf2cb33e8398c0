//! Marker segments of a JPEG stream: frame, scans and tables (ITU-T T.81 annex B).

use super::bits::Huffman;
use super::fail;
use crate::error::Result;

/// Index in a block, row after row, of the coefficient that comes `i`-th (T.81 figure A.6).
#[rustfmt::skip]
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Tables that stay from one stream to the next, until they are replaced.
#[derive(Debug, Default, Clone)]
pub(super) struct Tables {
    /// In natural order.
    pub(super) quantization: [Option<Box<[u16; 64]>>; 4],
    pub(super) dc: [Option<Huffman>; 4],
    pub(super) ac: [Option<Huffman>; 4],
    pub(super) restart_interval: u32,
}

/// One color component of a frame.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) id: u8,
    pub(super) h: usize,
    pub(super) v: usize,
    pub(super) table: usize,
    /// Samples across and down that count.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Blocks across and down, padded to whole MCUs.
    pub(super) blocks_across: usize,
    pub(super) blocks_down: usize,
}

/// A frame header (T.81 §B.2.2).
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) progressive: bool,
    pub(super) precision: u8,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) h_max: usize,
    pub(super) v_max: usize,
    pub(super) components: Vec<Component>,
}

/// A scan header (T.81 §B.2.3).
#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// Component, DC table, AC table.
    pub(super) components: Vec<(usize, usize, usize)>,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) high: u32,
    pub(super) low: u32,
}

/// What comes next in a stream.
pub(super) enum Segment {
    Frame(Frame),
    /// A scan, and where its entropy-coded data begin.
    Scan(Scan, usize),
    End,
}

/// Reads marker segments from `at` to the next frame or scan header or the end, and takes in tables.
pub(super) fn next_segment(
    src: &[u8],
    at: &mut usize,
    tables: &mut Tables,
    frame: Option<&Frame>,
) -> Result<Segment> {
    loop {
        let Some(marker) = next_marker(src, at) else { return Ok(Segment::End) };
        match marker {
            // TEM, RSTn, SOI: no parameters.
            0x01 | 0xD0..=0xD8 => continue,
            0xD9 => return Ok(Segment::End),
            _ => {}
        }
        let length = src.get(*at..*at + 2).ok_or_else(|| fail("a cut marker segment"))?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let body = length.checked_sub(2).and_then(|_| src.get(*at + 2..*at + length));
        let body = body.ok_or_else(|| fail("a cut marker segment"))?;
        *at += length;
        match marker {
            0xC0..=0xC2 => return Ok(Segment::Frame(Frame::parse(body, marker == 0xC2)?)),
            0xC4 => tables.huffman(body)?,
            0xC3 | 0xC5..=0xC7 | 0xC8 | 0xCB | 0xCD..=0xCF => {
                return Err(fail("a lossless or hierarchical process, which is not supported"));
            }
            0xC9 | 0xCA | 0xCC => {
                return Err(fail("arithmetic coding, which is not supported"));
            }
            0xDA => {
                let frame = frame.ok_or_else(|| fail("a scan without a frame"))?;
                return Ok(Segment::Scan(Scan::parse(body, frame)?, *at));
            }
            0xDB => tables.quantization(body)?,
            0xDD => {
                let interval = body.first_chunk::<2>().ok_or_else(|| fail("a cut DRI segment"))?;
                tables.restart_interval = u32::from(u16::from_be_bytes(*interval));
            }
            // Application data, comments and the like.
            _ => {}
        }
    }
}

fn next_marker(src: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = src.get(*at..)?;
        let start = rest.iter().position(|b| *b == 0xFF)?;
        let code = *rest.get(start + 1)?;
        if code == 0xFF {
            *at += start + 1;
            continue;
        }
        *at += start + 2;
        if code != 0 {
            return Some(code);
        }
    }
}

impl Tables {
    fn quantization(&mut self, mut body: &[u8]) -> Result<()> {
        while let Some((&head, rest)) = body.split_first() {
            let (wide, id) = (head >> 4 != 0, usize::from(head & 15));
            let bytes = if wide { 128 } else { 64 };
            let (values, after) =
                rest.split_at_checked(bytes).ok_or_else(|| fail("a cut quantization table"))?;
            let mut table = Box::new([0u16; 64]);
            for (index, natural) in ZIGZAG.iter().enumerate() {
                table[usize::from(*natural)] = if wide {
                    u16::from_be_bytes([values[index * 2], values[index * 2 + 1]])
                } else {
                    u16::from(values[index])
                };
            }
            let slot = self.quantization.get_mut(id);
            *slot.ok_or_else(|| fail("a quantization table beyond the fourth"))? = Some(table);
            body = after;
        }
        Ok(())
    }

    fn huffman(&mut self, mut body: &[u8]) -> Result<()> {
        while let Some((&head, rest)) = body.split_first() {
            let cut = || fail("a cut Huffman table");
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
            let total = counts.iter().map(|c| usize::from(*c)).sum();
            let (symbols, after) = rest.split_at_checked(total).ok_or_else(cut)?;
            let kind = if head >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let slot = kind.get_mut(usize::from(head & 15));
            *slot.ok_or_else(|| fail("a Huffman table beyond the fourth"))? =
                Some(Huffman::new(counts, symbols)?);
            body = after;
        }
        Ok(())
    }
}

impl Frame {
    fn parse(body: &[u8], progressive: bool) -> Result<Frame> {
        let (head, rest) = body.split_first_chunk::<6>().ok_or_else(|| fail("a cut frame"))?;
        let height = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let width = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let count = usize::from(head[5]);
        if width == 0 || height == 0 || !(1..=4).contains(&count) || rest.len() < count * 3 {
            return Err(fail("a frame header that makes no sense"));
        }
        let mut components = Vec::with_capacity(count);
        for part in rest.chunks_exact(3).take(count) {
            let (h, v) = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            let table = usize::from(part[2]);
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || table > 3 {
                return Err(fail("sampling factors beyond 4, or a table beyond the fourth"));
            }
            let (width, height, blocks_across, blocks_down) = (0, 0, 0, 0);
            components.push(Component {
                id: part[0],
                h,
                v,
                table,
                width,
                height,
                blocks_across,
                blocks_down,
            });
        }
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        for part in &mut components {
            part.width = (width * part.h).div_ceil(h_max);
            part.height = (height * part.v).div_ceil(v_max);
            part.blocks_across = width.div_ceil(8 * h_max) * part.h;
            part.blocks_down = height.div_ceil(8 * v_max) * part.v;
        }
        Ok(Frame { progressive, precision: head[0], width, height, h_max, v_max, components })
    }

    /// MCUs across and down an interleaved scan.
    pub(super) fn mcus(&self) -> (usize, usize) {
        (self.width.div_ceil(8 * self.h_max), self.height.div_ceil(8 * self.v_max))
    }
}

impl Scan {
    fn parse(body: &[u8], frame: &Frame) -> Result<Scan> {
        let cut = || fail("a scan header that makes no sense");
        let (&count, rest) = body.split_first().ok_or_else(cut)?;
        let count = usize::from(count);
        let (parts, tail) = rest.split_at_checked(count * 2).ok_or_else(cut)?;
        if !(1..=4).contains(&count) || tail.len() < 3 {
            return Err(cut());
        }
        let mut components: Vec<(usize, usize, usize)> = Vec::with_capacity(count);
        for part in parts.chunks_exact(2) {
            let index = frame.components.iter().position(|c| c.id == part[0]).ok_or_else(cut)?;
            let (dc, ac) = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            if dc > 3 || ac > 3 || components.iter().any(|(seen, ..)| *seen == index) {
                return Err(cut());
            }
            components.push((index, dc, ac));
        }
        let (mut start, mut end) = (usize::from(tail[0]), usize::from(tail[1]));
        let (mut high, mut low) = (u32::from(tail[2] >> 4), u32::from(tail[2] & 15));
        if !frame.progressive {
            // Some writers leave zeros here; a sequential scan is always whole.
            (start, end, high, low) = (0, 63, 0, 0);
        }
        let one_for_ac = start == 0 || components.len() == 1;
        if end > 63 || start > end || low > 13 || !one_for_ac {
            return Err(cut());
        }
        Ok(Scan { components, start, end, high, low })
    }
}
