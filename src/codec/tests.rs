use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

/// xorshift64*: seeded, the same on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The classes of data that all codecs are tried on.
pub(super) const CLASSES: [&str; 9] =
    ["constant", "ramp", "smooth16", "noise8", "noise16", "sparse", "text", "period", "mixed"];

/// `len` seeded bytes of a class.
pub(super) fn sample(class: &str, len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words = |f: &mut dyn FnMut(usize) -> u16| {
        let mut bytes: Vec<u8> = (0..len.div_ceil(2)).flat_map(|i| f(i).to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    };
    match class {
        "constant" => vec![seed as u8; len],
        "ramp" => words(&mut |i| i as u16),
        "smooth16" => words(&mut |i| (2000.0 + 900.0 * (i as f64 / 97.0).sin()) as u16),
        "noise8" => (0..len).map(|_| random.next() as u8).collect(),
        "noise16" => {
            words(&mut |i| (3000 + i as u64 % 512 + random.below(90) + random.below(90)) as u16)
        }
        "sparse" => {
            (0..len).map(|_| if random.below(50) == 0 { random.next() as u8 } else { 0 }).collect()
        }
        "text" => {
            let vocabulary = ["tile ", "strip ", "the ", "mosaic, ", "of ", "raster.\n"];
            let mut text = String::new();
            while text.len() < len {
                text += vocabulary[random.below(6) as usize];
            }
            text.as_bytes()[..len].to_vec()
        }
        "period" => (0..len).map(|i| (i % (seed as usize % 7 + 2)) as u8).collect(),
        "mixed" => {
            let parts = ["constant", "noise8", "smooth16", "noise16"];
            let part = len.div_ceil(4).max(1);
            let mut bytes: Vec<u8> = parts.iter().flat_map(|p| sample(p, part, seed)).collect();
            bytes.truncate(len);
            bytes
        }
        _ => unreachable!("{class}"),
    }
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..70).chain([127, 128, 129, 255, 256, 257, 1000, 3000, 65_535, 131_072, 131_073, 300_000])
}

#[test]
fn every_codec_gives_back_what_it_was_given() {
    for compression in Compression::ALL {
        // One pair for all: state of one block must not leak into the next.
        let (mut encoder, mut decoder) = (Encoder::new(compression, None).unwrap(), Decoder::new());
        let mut encoded = vec![7; 9];
        for (seed, class) in CLASSES.iter().enumerate() {
            for len in lengths() {
                let raw = sample(class, len, seed as u64);
                encoder.encode(&raw, &mut encoded).unwrap();
                let bound = compression.max_encoded_len(len);
                assert!(encoded.len() <= bound, "{compression} {class} {len}: {}", encoded.len());
                let mut decoded = vec![0xAA; len];
                decoder.decode_into(compression, &encoded, &mut decoded).unwrap();
                assert!(decoded == raw, "{compression} {class} {len}");
            }
        }
    }
}

#[test]
fn a_cut_stream_is_an_error_or_complete() {
    for compression in Compression::ALL {
        let mut decoder = Decoder::new();
        for (class, len) in [("text", 700), ("noise16", 600), ("constant", 900)] {
            let raw = sample(class, len, 3);
            let mut encoded = Vec::new();
            Encoder::new(compression, None).unwrap().encode(&raw, &mut encoded).unwrap();
            for cut in 0..encoded.len() {
                let mut decoded = vec![0; len];
                match decoder.decode_into(compression, &encoded[..cut], &mut decoded) {
                    // What was cut held no data: an end mark, a checksum.
                    Ok(()) => assert!(decoded == raw, "{compression} {class} cut at {cut}"),
                    Err(error) => assert!(
                        matches!(error.kind(), ErrorKind::Format(_)),
                        "{compression} {class} cut at {cut}: {error}"
                    ),
                }
            }
        }
    }
}

#[test]
fn surplus_output_and_trailing_input_are_tolerated() {
    for compression in Compression::ALL {
        let mut decoder = Decoder::new();
        for class in CLASSES {
            let raw = sample(class, 5000, 5);
            let mut encoded = Vec::new();
            Encoder::new(compression, None).unwrap().encode(&raw, &mut encoded).unwrap();
            encoded.extend_from_slice(&[0xDB; 40]);
            for len in [1, 2, 7, 8, 9, 2500, 4991, 4999, 5000] {
                let mut decoded = vec![0; len];
                decoder.decode_into(compression, &encoded, &mut decoded).unwrap();
                assert!(decoded == raw[..len], "{compression} {class} {len}");
            }
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    for compression in Compression::ALL {
        let mut decoder = Decoder::new();
        let raw = sample("mixed", 3000, 9);
        let mut encoded = Vec::new();
        Encoder::new(compression, None).unwrap().encode(&raw, &mut encoded).unwrap();
        for bit in 0..(encoded.len() * 8).min(6000) {
            let mut broken = encoded.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            let mut decoded = vec![0; raw.len()];
            // Ok or Err: a flipped literal is not detectable. The length is the slice's.
            let result = decoder.decode_into(compression, &broken, &mut decoded);
            assert!(result.is_ok() || matches!(result.unwrap_err().kind(), ErrorKind::Format(_)));
        }
    }
}

#[test]
fn garbage_never_panics() {
    let mut random = Random::new(77);
    let mut decoder = Decoder::new();
    for compression in Compression::ALL {
        for round in 0..3000 {
            let mut garbage = sample("noise8", random.below(300) as usize, round);
            // Get past the magic numbers.
            let head: &[u8] = match compression {
                Compression::Zstd => &[0x28, 0xB5, 0x2F, 0xFD],
                Compression::Deflate => &[0x78, 0x9C],
                Compression::Lzw => &[0x80],
                _ => &[],
            };
            if round % 3 != 0 {
                garbage.splice(0..0, head.iter().copied());
            }
            let mut decoded = vec![0; random.below(2000) as usize];
            if let Err(error) = decoder.decode_into(compression, &garbage, &mut decoded) {
                assert!(matches!(error.kind(), ErrorKind::Format(_)), "{compression}: {error}");
            }
        }
    }
}

#[test]
fn too_few_bytes_are_named() {
    let mut decoder = Decoder::new();
    for compression in Compression::ALL {
        let mut encoded = Vec::new();
        Encoder::new(compression, None).unwrap().encode(&[5; 10], &mut encoded).unwrap();
        let error = decoder.decode_into(compression, &encoded, &mut [0; 11]).unwrap_err();
        let ErrorKind::Format(FormatError::BlockLength { expected: 11, found: 10 }) = error.kind()
        else {
            panic!("{compression}: {error}");
        };
    }
}

#[test]
fn tags_are_inverse() {
    let mut known = 0;
    for tag in 0..=u16::MAX {
        if let Some(compression) = Compression::from_tag(tag) {
            known += 1;
            assert!(compression.tag() == tag || tag == 32946);
        }
    }
    assert_eq!(known, 6);
    for tag in 1..=3 {
        assert_eq!(Predictor::from_tag(tag).unwrap().tag(), tag);
    }
    assert_eq!(Predictor::from_tag(0), None);
}

#[test]
fn levels_that_do_not_exist_are_refused() {
    for compression in Compression::ALL {
        let accepted: Vec<u8> =
            (0..=255).filter(|level| Encoder::new(compression, Some(*level)).is_ok()).collect();
        let expected = match compression {
            Compression::Deflate => (1..=9).collect(),
            Compression::Zstd => vec![1],
            _ => vec![],
        };
        assert_eq!(accepted, expected, "{compression}");
    }
    let error = Encoder::new(Compression::Zstd, Some(9)).unwrap_err();
    assert_eq!(error.to_string(), "--level: 9 is not implemented; zstd is written at level 1 only");
}

proptest! {
    #[test]
    fn any_bytes_round_trip(
        raw in proptest::collection::vec(prop_oneof![Just(0_u8), 0..4_u8, any::<u8>()], 0..20_000),
        codec in 0..Compression::ALL.len(),
    ) {
        let compression = Compression::ALL[codec];
        let mut encoded = Vec::new();
        Encoder::new(compression, None).unwrap().encode(&raw, &mut encoded).unwrap();
        let mut decoded = vec![0; raw.len()];
        Decoder::new().decode_into(compression, &encoded, &mut decoded).unwrap();
        prop_assert_eq!(decoded, raw);
    }
}
