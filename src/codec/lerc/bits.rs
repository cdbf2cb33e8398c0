//! Unsigned numbers of a few bits each, or indexes into a table of such.

use super::{Input, fail};
use crate::error::Result;

/// Reads numbers into `out`, at most `most`; returns with as many as there are.
pub(super) fn read(
    input: &mut Input<'_>,
    version: u32,
    most: usize,
    out: &mut Vec<u32>,
) -> Result<()> {
    let head = input.u8()?;
    let bits = u32::from(head & 31);
    let count = match head >> 6 {
        0 => u32::from_le_bytes(input.array()?),
        1 => u32::from(u16::from_le_bytes(input.array()?)),
        2 => u32::from(input.u8()?),
        _ => return Err(fail("a count of no bytes")),
    };
    let count = count as usize;
    if count > most {
        return Err(fail("more numbers than pixels"));
    }
    out.clear();
    if head & 32 == 0 {
        return unpack(input, version, count, bits, out);
    }
    // A table of the numbers but 0, then the index of each.
    let others = usize::from(input.u8()?.saturating_sub(1));
    let mut table = vec![0];
    unpack(input, version, others, bits, &mut table)?;
    let index_bits = usize::BITS - others.leading_zeros();
    if bits == 0 || index_bits == 0 {
        return Err(fail("an empty table of numbers"));
    }
    unpack(input, version, count, index_bits, out)?;
    for index in out.iter_mut() {
        let value = table.get(*index as usize);
        *index = *value.ok_or_else(|| fail("a number beyond its table"))?;
    }
    Ok(())
}

/// Appends `count` numbers of `bits` bits.
fn unpack(
    input: &mut Input<'_>,
    version: u32,
    count: usize,
    bits: u32,
    out: &mut Vec<u32>,
) -> Result<()> {
    if bits == 0 {
        out.resize(out.len() + count, 0);
        return Ok(());
    }
    let bytes = input.take((count * bits as usize).div_ceil(8))?;
    let mask = (1u64 << bits) - 1;
    let (mut buffer, mut have) = (0u64, 0u32);
    if version >= 3 {
        // Least significant bit first.
        let mut next = bytes.iter();
        for _ in 0..count {
            while have < bits {
                buffer |= u64::from(next.next().copied().unwrap_or(0)) << have;
                have += 8;
            }
            out.push((buffer & mask) as u32);
            buffer >>= bits;
            have -= bits;
        }
        return Ok(());
    }
    // Most significant bit first, in little-endian words of 32 bits, of which the last has only the
    // upper bytes that are needed.
    let mut words = bytes.chunks(4).map(|word| {
        let value = word.iter().rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
        value << (8 * (4 - word.len()))
    });
    for _ in 0..count {
        if have < bits {
            buffer = buffer << 32 | u64::from(words.next().unwrap_or(0));
            have += 32;
        }
        have -= bits;
        out.push((buffer >> have & mask) as u32);
    }
    Ok(())
}
