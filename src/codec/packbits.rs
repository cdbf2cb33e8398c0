//! PackBits (TIFF 6.0 §9): a count byte, then either literal bytes or one byte to repeat.
//!
//! A decoder does not see where rows end, so blocks packed as a whole or row by row read alike.

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

/// Appends the packed bytes of a row, or of a block as one row.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that libtiff's and Apple's documentation share.
    const PACKED: [u8; 15] =
        [0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x03, 0x80, 0x00, 0x2A, 0x22, 0xF7, 0xAA];
    const RAW: [u8; 24] = [
        0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0x22, 0xAA,
        0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA,
    ];

    #[test]
    fn the_published_example_both_ways() {
        let mut packed = Vec::new();
        encode(&RAW, &mut packed);
        assert_eq!(packed, PACKED);
        let mut raw = [0; 24];
        assert_eq!(decode(&PACKED, &mut raw), 24);
        assert_eq!(raw, RAW);
    }

    #[test]
    fn no_operation_is_skipped_and_cut_runs_are_kept() {
        let mut raw = [9; 4];
        assert_eq!(decode(&[128, 128, 1, 5, 6, 128], &mut raw), 2);
        assert_eq!(raw, [5, 6, 9, 9]);
        assert_eq!(decode(&[3, 5], &mut raw), 1);
        assert_eq!(decode(&[200], &mut raw), 0);
    }

    #[test]
    fn runs_and_literals_of_all_lengths() {
        for run in 0..300 {
            for literal in [0, 1, 2, 127, 128, 129, 256] {
                let mut raw: Vec<u8> = (0..literal).map(|i| i as u8).collect();
                raw.resize(literal + run, 77);
                let mut packed = Vec::new();
                encode(&raw, &mut packed);
                assert!(packed.len() <= raw.len() + raw.len().div_ceil(MAX_RUN));
                let mut decoded = vec![0; raw.len()];
                assert_eq!(decode(&packed, &mut decoded), raw.len());
                assert_eq!(decoded, raw);
            }
        }
    }
}
