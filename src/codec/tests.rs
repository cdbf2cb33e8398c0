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
fn packbits_runs_end_with_the_row() {
    let mut packed = Vec::new();
    let encoder = Encoder::new(Compression::PackBits, None).unwrap();
    encoder.with_row_bytes(4).encode(&[7; 10], &mut packed).unwrap();
    assert_eq!(packed, [253, 7, 253, 7, 1, 7, 7]);
    for row_bytes in 0..5 {
        let raw = sample("mixed", 1000, 1);
        let encoder = Encoder::new(Compression::PackBits, None).unwrap();
        encoder.with_row_bytes(row_bytes).encode(&raw, &mut packed).unwrap();
        assert!(packed.len() <= Compression::PackBits.max_encoded_len(raw.len()));
        let mut decoded = vec![0; 1000];
        Decoder::new().decode_into(Compression::PackBits, &packed, &mut decoded).unwrap();
        assert!(decoded == raw);
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
    assert_eq!(known, 14);
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

/// Bytes of hexadecimal digits.
fn hex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// What the streams of libtiff below hold: 8 times the rows -7.0, -5.5 … 15.5 and 17.0 … 39.5.
fn libtiff_rows() -> impl Iterator<Item = f32> {
    (0..256_u16).map(|i| f32::from(i % 32) * 1.5 - 7.0)
}

/// Tiles of 16 × 16 that GDAL 3.10.3 (libtiff 4.7.0) wrote, by rasterio 1.4.4:
/// `rasterio.open(…, "w", dtype=…, compress=…, predictor=…, ENDIANNESS=…, tiled=True,
/// blockxsize=16, blockysize=16)`.
#[test]
fn libtiffs_streams_and_predictors_are_read() {
    let mut scratch = Vec::new();
    let layout = |dtype_size| RowLayout { dtype_size, samples_per_pixel: 1, width: 16 };
    let mut read = |compression, digits: &str, predictor, size, big_endian| {
        let mut tile = vec![0; 256 * size];
        Decoder::new().decode_into(compression, &hex(digits), &mut tile).unwrap();
        predictor::decode(predictor, layout(size), big_endian, &mut tile, &mut scratch);
        tile
    };
    let floats: Vec<u8> = libtiff_rows().flat_map(f32::to_ne_bytes).collect();
    let words: Vec<u8> = libtiff_rows().flat_map(|v| ((v + 100.0) as u16).to_ne_bytes()).collect();
    let bytes: Vec<u8> = libtiff_rows().map(|v| (v + 100.0) as u8).collect();
    let lzw = Compression::Lzw;
    assert!(read(lzw, LZW_FLOAT, Predictor::Float, 4, false) == floats);
    // The planes of floats have no byte order; GDAL writes the same tile.
    assert!(read(lzw, LZW_FLOAT, Predictor::Float, 4, true) == floats);
    assert!(read(lzw, LZW_U16_LITTLE, Predictor::Horizontal, 2, false) == words);
    assert!(read(lzw, LZW_U16_BIG, Predictor::Horizontal, 2, true) == words);
    assert!(read(Compression::Deflate, DEFLATE_U8, Predictor::None, 1, false) == bytes);
    assert!(read(Compression::PackBits, PACKBITS_U8, Predictor::None, 1, false) == bytes);
    assert!(read(Compression::Zstd, ZSTD_U8, Predictor::None, 1, false) == bytes);
}

const LZW_FLOAT: &str = "8030001037fa0003030041e10004fb41a0a0302000060200c060188c461110b8e4763d1f00106410a8411819\
         27944a40d2b95b8a412f98002050483422490386c3e23138ac5e32188dcc6851c9147e6e00934a6952c96d0e\
         9d03998020b24a3ce621128a45a7f40a7d3a8b1ea3d269528a601a5d5da1546a7368e55a77599f4668368985\
         7e3b61b1caa9967ba4bed53581d561d579e56a7f73bec7eed1cbc5e64f65be6263d7faa5b7076f9ed6f1192a\
         248e3962bce43391fca5b2176eac6670fa38f62e178dc768b591cd2e072d3ad4e1ae5b3ced1b3f8ec7def790\
         b808";
const LZW_U16_LITTLE: &str = "8017400010000a070583c1a090a8442e13073ac3e1d1386c56190c814522f128b472231a8e46e41048cc7647\
         268ac7e512295c1e4b2c98486213293cc6493496c9e55369cc565f389e4327740a24de6b4594d22832ea5522\
         8747a8002020";
const LZW_U16_BIG: &str = "80000ba00008000504834220f0585c26190a841d6210f8a43a2d0d86c0e2b1889c5e3b128dc76392182c6a3d\
         2493c5a412991cb2112696cc6451199ca265259acba512b9bcea2d309ccf61b3ca0d167136a34aa934297d2e\
         9344a4546020";
const DEFLATE_U8: &str =
    "789c8b8d4b484c4e494bcfcccac9cd2f282a2e2daba8acaea9ab6f6c6a696defe8ea8e1de6f200be977401";
const PACKBITS_U8: &str = "0f5d5e606163646667696a6c6d6f7072730f757678797b7c7e7f8182848587888a8b0f5d5e60616364666769\
         6a6c6d6f7072730f757678797b7c7e7f8182848587888a8b0f5d5e606163646667696a6c6d6f7072730f7576\
         78797b7c7e7f8182848587888a8b0f5d5e606163646667696a6c6d6f7072730f757678797b7c7e7f81828485\
         87888a8b0f5d5e606163646667696a6c6d6f7072730f757678797b7c7e7f8182848587888a8b0f5d5e606163\
         646667696a6c6d6f7072730f757678797b7c7e7f8182848587888a8b0f5d5e606163646667696a6c6d6f7072\
         730f757678797b7c7e7f8182848587888a8b0f5d5e606163646667696a6c6d6f7072730f757678797b7c7e7f\
         8182848587888a8b";
const ZSTD_U8: &str = "28b52ffd00604d010004025d5e606163646667696a6c6d6f707273757678797b7c7e7f8182848587888a8b01\
         00e80e4a3d01";

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
