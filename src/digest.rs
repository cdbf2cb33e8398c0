//! A digest of 64 bits, to tell whether bytes are those that were written. Fast, and no defence against
//! anyone who means to deceive.
//!
//! Four lanes take eight bytes each in turn; each step is a bijection of the lane, so a change within eight
//! bytes at one place always changes the digest, and others escape once in 2^64.

use std::fmt;

/// Odd numbers with bits all over (from the digits of π).
const STEP: [u64; 4] =
    [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7345, 0xA409_3822_299F_31D1, 0x082E_FA98_EC4E_6C89];

/// The digest of `bytes`; `seed` makes it one of them at a certain place.
pub(crate) fn digest(seed: u64, bytes: &[u8]) -> u64 {
    let mut lanes = STEP.map(|step| step ^ seed);
    let (groups, rest) = bytes.as_chunks::<32>();
    for group in groups {
        for (lane, word) in lanes.iter_mut().zip(group.as_chunks::<8>().0) {
            *lane = step(*lane, u64::from_le_bytes(*word));
        }
    }
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    for (lane, word) in lanes.iter_mut().zip(last.as_chunks::<8>().0) {
        *lane = step(*lane, u64::from_le_bytes(*word));
    }
    lanes.iter().fold(bytes.len() as u64, |all, lane| mix(all.rotate_left(17) ^ mix(*lane)))
}

fn step(lane: u64, word: u64) -> u64 {
    // Twice, so that a change of the highest bits too sways more than one later byte can undo.
    (lane ^ word).wrapping_mul(STEP[0]).rotate_left(31).wrapping_mul(STEP[1])
}

/// A bijection in which each bit of the input sways all of the output (SplitMix64's finish).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The digest of text as it is formatted, without holding it.
#[derive(Debug, Default)]
pub(crate) struct TextDigest(u64);

impl TextDigest {
    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}

impl fmt::Write for TextDigest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Cut anywhere, the same text has the same digest.
        self.0 = text.bytes().fold(self.0, |all, byte| step(all, u64::from(byte) + 1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    #[test]
    fn any_changed_byte_changes_it() {
        let bytes: Vec<u8> = (0..200u32).map(|v| (v * 37 % 256) as u8).collect();
        let mut seen = BTreeSet::from([digest(0, &bytes), digest(1, &bytes)]);
        for at in 0..bytes.len() {
            for change in 1..=255 {
                let mut other = bytes.clone();
                other[at] ^= change;
                seen.insert(digest(0, &other));
            }
        }
        for len in 0..bytes.len() {
            seen.insert(digest(0, &bytes[..len]));
        }
        assert_eq!(seen.len(), 2 + 200 * 255 + 200);
        // Zeros at the end count too.
        assert_ne!(digest(0, &[0; 31]), digest(0, &[0; 32]));
    }

    #[test]
    fn text_may_be_cut_anywhere() {
        let of = |parts: &[&str]| {
            let mut digest = TextDigest::default();
            parts.iter().for_each(|part| digest.write_str(part).unwrap());
            digest.value()
        };
        assert_eq!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ba"]));
        assert_ne!(of(&["a"]), of(&["a\0"]));
    }
}
