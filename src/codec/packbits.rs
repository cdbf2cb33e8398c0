//! PackBits (TIFF 6.0 §9): a count byte, then either literal bytes or one byte to repeat.
//!
//! Encoding packs the block as a whole; decoders (libtiff's too) do not see where rows end.

/// Longest run or literal of one count byte.
const MAX_RUN: usize = 128;

/// Fills `dst` as far as `src` goes and returns how many bytes that is.
///
/// Any input is a valid stream; one that ends in the middle of a run is cut there.
pub(super) fn decode(mut src: &[u8], dst: &mut [u8]) -> usize {
    let mut pos = 0;
    while pos < dst.len()
        && let Some((&count, rest)) = src.split_first()
    {
        let free = dst.len() - pos;
        match count {
            0..=127 => {
                let wanted = usize::from(count) + 1;
                let len = wanted.min(free).min(rest.len());
                dst[pos..pos + len].copy_from_slice(&rest[..len]);
                pos += len;
                src = &rest[wanted.min(rest.len())..];
            }
            // "-128: no operation".
            128 => src = rest,
            129..=255 => {
                let Some((&byte, rest)) = rest.split_first() else { break };
                let len = (257 - usize::from(count)).min(free);
                dst[pos..pos + len].fill(byte);
                pos += len;
                src = rest;
            }
        }
    }
    pos
}

/// Appends the packed bytes of `src`.
///
/// A run of two inside a literal stays literal: a count byte of its own would gain nothing.
pub(super) fn encode(src: &[u8], dst: &mut Vec<u8>) {
    let mut literal_start = 0;
    let mut pos = 0;
    while pos < src.len() {
        let byte = src[pos];
        let window = &src[pos..src.len().min(pos + MAX_RUN)];
        let run = window.iter().position(|b| *b != byte).unwrap_or(window.len());
        if run >= 3 {
            push_literals(&src[literal_start..pos], dst);
            // 257 - run as a byte: two's complement of 1 - run.
            dst.extend_from_slice(&[(257 - run) as u8, byte]);
            literal_start = pos + run;
        }
        pos += run;
    }
    push_literals(&src[literal_start..], dst);
}

fn push_literals(literals: &[u8], dst: &mut Vec<u8>) {
    for chunk in literals.chunks(MAX_RUN) {
        dst.push((chunk.len() - 1) as u8);
        dst.extend_from_slice(chunk);
    }
}
