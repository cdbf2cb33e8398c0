//! One scan: Huffman-coded coefficients of its blocks (ITU-T T.81 annexes F and G).

use super::bits::{Bits, Huffman};
use super::fail;
use super::frame::{Frame, Scan, Tables, ZIGZAG};
use crate::error::Result;

/// Where the coefficients of a block go, by component and its place in blocks.
pub(super) trait Sink {
    /// The coefficients of a block before this scan, in natural order.
    fn coefficients(&mut self, component: usize, col: usize, row: usize) -> &mut [i16; 64];
    /// The scan is done with that block. `last` is the last index in zigzag order that is not 0.
    fn finish(&mut self, component: usize, col: usize, row: usize, last: usize);
}

/// The tables of one component of a scan.
struct Part<'a> {
    index: usize,
    dc: Option<&'a Huffman>,
    ac: Option<&'a Huffman>,
    prediction: i32,
}

/// Decodes a scan from `at`; returns where the marker after it begins.
pub(super) fn decode(
    src: &[u8],
    at: usize,
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
    sink: &mut impl Sink,
) -> Result<usize> {
    let mut decoder = Decoder { bits: Bits::new(src, at), scan, band_end: 0 };
    let mut parts: Vec<Part<'_>> = Vec::with_capacity(scan.components.len());
    for (index, dc, ac) in &scan.components {
        let (dc, ac) = (tables.dc[*dc].as_ref(), tables.ac[*ac].as_ref());
        parts.push(Part { index: *index, dc, ac, prediction: 0 });
    }
    let single = parts.len() == 1;
    // A scan of one component has its own blocks only, without the padding (T.81 §A.2.2).
    let (across, down) = match parts.first() {
        Some(part) if single => {
            let component = &frame.components[part.index];
            (component.width.div_ceil(8), component.height.div_ceil(8))
        }
        _ => frame.mcus(),
    };
    let interval = tables.restart_interval;
    let mut left = interval;
    for row in 0..down {
        for col in 0..across {
            if interval > 0 && left == 0 {
                decoder.restart(src, &mut parts)?;
                left = interval;
            }
            left = left.wrapping_sub(1);
            for part in &mut parts {
                if single {
                    decoder.block(frame, part, col, row, sink)?;
                    continue;
                }
                let (h, v) = (frame.components[part.index].h, frame.components[part.index].v);
                for y in 0..v {
                    for x in 0..h {
                        decoder.block(frame, part, col * h + x, row * v + y, sink)?;
                    }
                }
            }
        }
        decoder.bits.check()?;
    }
    Ok(decoder.bits.marker())
}

struct Decoder<'a> {
    bits: Bits<'a>,
    scan: &'a Scan,
    /// Blocks of the current band that have no more coefficients (EOBRUN).
    band_end: u32,
}

impl<'a> Decoder<'a> {
    fn restart(&mut self, src: &'a [u8], parts: &mut [Part<'_>]) -> Result<()> {
        self.bits.check()?;
        let at = self.bits.marker();
        if !matches!(src.get(at + 1), Some(0xD0..=0xD7)) {
            return Err(fail("a restart marker is missing"));
        }
        self.bits = Bits::new(src, at + 2);
        self.band_end = 0;
        parts.iter_mut().for_each(|part| part.prediction = 0);
        Ok(())
    }

    #[inline]
    fn block(
        &mut self,
        frame: &Frame,
        part: &mut Part<'_>,
        col: usize,
        row: usize,
        sink: &mut impl Sink,
    ) -> Result<()> {
        let block = sink.coefficients(part.index, col, row);
        let last = if !frame.progressive {
            self.sequential(part, block)?
        } else {
            match (self.scan.start, self.scan.high) {
                (0, 0) => self.dc_first(part, block)?,
                (0, _) => self.dc_refine(block),
                (_, 0) => self.ac_first(part, block)?,
                _ => self.ac_refine(part, block)?,
            }
            63
        };
        sink.finish(part.index, col, row, last);
        Ok(())
    }

    #[inline]
    fn dc(&mut self, part: &mut Part<'_>) -> Result<i32> {
        let table = part.dc.ok_or_else(|| fail("a Huffman table is missing"))?;
        let size = u32::from(self.bits.symbol(table)?);
        if size > 16 {
            return Err(fail("a difference of more than 16 bits"));
        }
        part.prediction = part.prediction.wrapping_add(self.bits.take_signed(size));
        Ok(part.prediction)
    }

    /// All coefficients of a block (T.81 §F.2.2).
    #[inline]
    fn sequential(&mut self, part: &mut Part<'_>, block: &mut [i16; 64]) -> Result<usize> {
        block[0] = self.dc(part)? as i16;
        let table = part.ac.ok_or_else(|| fail("a Huffman table is missing"))?;
        let mut index = 0;
        let mut last = 0;
        while index < 63 {
            let symbol = self.bits.symbol(table)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 {
                if run != 15 {
                    break;
                }
                index += 16;
                continue;
            }
            index += run + 1;
            let place = ZIGZAG.get(index).ok_or_else(|| fail("a coefficient beyond the 64th"))?;
            block[usize::from(*place)] = self.bits.take_signed(size) as i16;
            last = index;
        }
        Ok(last)
    }

    fn dc_first(&mut self, part: &mut Part<'_>, block: &mut [i16; 64]) -> Result<()> {
        block[0] = (self.dc(part)? << self.scan.low) as i16;
        Ok(())
    }

    fn dc_refine(&mut self, block: &mut [i16; 64]) {
        if self.bits.take(1) != 0 {
            block[0] |= 1 << self.scan.low;
        }
    }

    /// T.81 §G.1.2.2.
    fn ac_first(&mut self, part: &mut Part<'_>, block: &mut [i16; 64]) -> Result<()> {
        if self.band_end > 0 {
            self.band_end -= 1;
            return Ok(());
        }
        let table = part.ac.ok_or_else(|| fail("a Huffman table is missing"))?;
        let mut index = self.scan.start;
        while index <= self.scan.end {
            let symbol = self.bits.symbol(table)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 {
                if run < 15 {
                    self.band_end = (1 << run) + self.bits.take(run) - 1;
                    break;
                }
                index += 16;
                continue;
            }
            index += run as usize;
            let place = ZIGZAG.get(index).ok_or_else(|| fail("a coefficient beyond the 64th"))?;
            let value = self.bits.take_signed(size) << self.scan.low;
            block[usize::from(*place)] = value as i16;
            index += 1;
        }
        Ok(())
    }

    /// T.81 §G.1.2.3.
    fn ac_refine(&mut self, part: &mut Part<'_>, block: &mut [i16; 64]) -> Result<()> {
        let (plus, minus) = (1i16 << self.scan.low, -1i16 << self.scan.low);
        let mut index = self.scan.start;
        if self.band_end == 0 {
            let table = part.ac.ok_or_else(|| fail("a Huffman table is missing"))?;
            while index <= self.scan.end {
                let symbol = self.bits.symbol(table)?;
                let (run, size) = (u32::from(symbol >> 4), symbol & 15);
                let mut value = 0;
                if size != 0 {
                    // Any size but 1 is an error that libjpeg warns of and takes for 1.
                    value = if self.bits.take(1) != 0 { plus } else { minus };
                } else if run < 15 {
                    self.band_end = (1 << run) + self.bits.take(run);
                    break;
                }
                index = self.skip_zeros(block, index, run, plus, minus);
                if value != 0 {
                    let place = ZIGZAG.get(index);
                    let place = place.ok_or_else(|| fail("a coefficient beyond the 64th"))?;
                    block[usize::from(*place)] = value;
                }
                index += 1;
            }
        }
        if self.band_end > 0 {
            self.skip_zeros(block, index, u32::MAX, plus, minus);
            self.band_end -= 1;
        }
        Ok(())
    }

    /// Refines the coefficients that are not 0 up to the zero after `run` others; its index.
    fn skip_zeros(
        &mut self,
        block: &mut [i16; 64],
        mut index: usize,
        mut run: u32,
        plus: i16,
        minus: i16,
    ) -> usize {
        while index <= self.scan.end {
            let value = &mut block[usize::from(ZIGZAG[index])];
            if *value == 0 {
                if run == 0 {
                    break;
                }
                run -= 1;
            } else if self.bits.take(1) != 0 && *value & plus == 0 {
                *value = value.wrapping_add(if *value >= 0 { plus } else { minus });
            }
            index += 1;
        }
        index
    }
}
