use super::*;
use crate::codec::tests::{CLASSES, Random, sample};

/// LZW by the book, one bit at a time: the oracle.
fn naive_decode(src: &[u8]) -> Option<Vec<u8>> {
    let mut bits = src.iter().flat_map(|b| (0..8).rev().map(move |i| usize::from(b >> i & 1)));
    let mut strings: Vec<Vec<u8>> = Vec::new();
    let (mut out, mut prev) = (Vec::new(), Vec::new());
    loop {
        let width = match 258 + strings.len() {
            0..=510 => 9,
            511..=1022 => 10,
            1023..=2046 => 11,
            _ => 12,
        };
        let code = (0..width).try_fold(0, |code, _| Some(code << 1 | bits.next()?))?;
        let string = match code {
            256 => {
                (strings, prev) = (Vec::new(), Vec::new());
                continue;
            }
            257 => return Some(out),
            0..=255 => vec![code as u8],
            _ if code - 258 < strings.len() => strings[code - 258].clone(),
            _ if code - 258 == strings.len() && !prev.is_empty() => {
                [&prev[..], &prev[..1]].concat()
            }
            _ => return None,
        };
        if !prev.is_empty() && strings.len() < 4096 - 258 {
            strings.push([&prev[..], &string[..1]].concat());
        }
        out.extend_from_slice(&string);
        prev = string;
    }
}

fn encode(raw: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    Encoder::new().encode(raw, &mut encoded);
    encoded
}

fn weezl_encode(raw: &[u8]) -> Vec<u8> {
    weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8).encode(raw).unwrap()
}

fn weezl_decode(encoded: &[u8]) -> Vec<u8> {
    weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8).decode(encoded).unwrap()
}

/// Our decoder's output, with `slack` more bytes asked for than there are.
fn decode(decoder: &mut Decoder, encoded: &[u8], len: usize, slack: usize) -> Vec<u8> {
    let mut decoded = vec![0xAA; len + slack];
    assert_eq!(decoder.decode(encoded, &mut decoded).unwrap(), len);
    decoded.truncate(len);
    decoded
}

#[test]
fn weezl_and_the_oracle_read_us_and_we_read_weezl() {
    let (mut encoder, mut decoder, mut ours) = (Encoder::new(), Decoder::default(), Vec::new());
    let mut blocks = 0;
    for (seed, class) in CLASSES.iter().enumerate() {
        let lengths = [8_000, 20_000, 70_000, 262_144, 1_000_003];
        for len in (0..3000).step_by(1 + seed % 3).chain(lengths) {
            let raw = sample(class, len, seed as u64);
            encoder.encode(&raw, &mut ours);
            let theirs = weezl_encode(&raw);
            assert!(weezl_decode(&ours) == raw, "{class} {len}");
            assert!(decode(&mut decoder, &ours, len, 0) == raw, "{class} {len}");
            assert!(decode(&mut decoder, &theirs, len, 0) == raw, "{class} {len}");
            assert!(decode(&mut decoder, &theirs, len, 100) == raw, "{class} {len}");
            if len < 300 || len > 3000 && len < 100_000 {
                assert!(naive_decode(&ours).unwrap() == raw, "{class} {len}");
            }
            blocks += 1;
        }
    }
    assert!(blocks > 10_000);
}

#[test]
fn lengths_around_width_changes_and_clears() {
    // Bytes without repetition of pairs make one code each, so lengths are numbers of codes.
    let mut raw = Vec::new();
    for distance in 1..=40_u8 {
        let mut byte = 0_u8;
        for _ in 0..256 {
            byte = byte.wrapping_add(distance * 2 - 1);
            raw.push(byte);
        }
    }
    let (mut encoder, mut decoder, mut ours) = (Encoder::new(), Decoder::default(), Vec::new());
    for turn in [254, 766, 1790, 3836, 3836 + 254, 2 * 3836] {
        for len in turn - 5..=turn + 5 {
            encoder.encode(&raw[..len], &mut ours);
            let theirs = weezl_encode(&raw[..len]);
            for stream in [&ours, &theirs] {
                assert!(naive_decode(stream).unwrap() == raw[..len], "{len}");
                assert!(decode(&mut decoder, stream, len, 0) == raw[..len], "{len}");
                assert!(decode(&mut decoder, stream, len, 9) == raw[..len], "{len}");
            }
            assert!(weezl_decode(&ours) == raw[..len], "{len}");
        }
    }
}

/// A stream of codes without a clear code at 4094, as some writers make it.
fn pack(codes: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut bits = String::new();
    let mut strings = 0;
    for code in codes {
        // The decoder has one string less than codes were written.
        let width = match 257 + strings {
            0..=510 => 9,
            511..=1022 => 10,
            1023..=2046 => 11,
            _ => 12,
        };
        bits += &format!("{code:0width$b}");
        strings = if code == CLEAR { 0 } else { strings + 1 };
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('0');
    }
    (0..bits.len() / 8).map(|i| u8::from_str_radix(&bits[i * 8..i * 8 + 8], 2).unwrap()).collect()
}

#[test]
fn a_full_table_without_a_clear_code_stays_as_it_is() {
    let mut random = Random::new(4);
    for len in [3837, 3838, 3839, 3840, 5000, 9000] {
        let literals: Vec<u16> = (0..len).map(|_| random.below(256) as u16).collect();
        let again = [258, 4095.min(257 + len), 300, 4000];
        let stream = pack([CLEAR].into_iter().chain(literals).chain(again).chain([END]));
        let raw = naive_decode(&stream).unwrap();
        assert!(decode(&mut Decoder::default(), &stream, raw.len(), 3) == raw);
    }
}

#[test]
fn odd_but_valid_streams() {
    let mut decoder = Decoder::default();
    let a = u16::from(b'a');
    // No clear code at the start; several; none of the end code; nothing at all.
    for codes in [
        vec![a, 258, 259, END],
        vec![CLEAR, CLEAR, CLEAR, a, 258, END],
        vec![CLEAR, a, CLEAR, a, a, 258, END],
        vec![CLEAR, a, 258, 260, END],
        vec![CLEAR, END],
    ] {
        let stream = pack(codes.iter().copied());
        let Some(raw) = naive_decode(&stream) else {
            assert!(decoder.decode(&stream, &mut [0; 90]).is_err(), "{codes:?}");
            continue;
        };
        assert_eq!(decode(&mut decoder, &stream, raw.len(), 20), raw, "{codes:?}");
        let without_end = pack(codes[..codes.len() - 1].iter().copied());
        assert_eq!(decode(&mut decoder, &without_end, raw.len(), 0), raw, "{codes:?}");
    }
}

#[test]
fn strings_of_an_earlier_table_are_unknown() {
    let mut decoder = Decoder::default();
    let raw = sample("text", 50_000, 1);
    assert!(decode(&mut decoder, &encode(&raw), raw.len(), 0) == raw);
    for bad in [259, 260, 500, 511] {
        let stream = pack([CLEAR, 97, bad, 97, 97, 97, 97, 97, 97, 97, 97, 97]);
        let error = decoder.decode(&stream, &mut [0; 100]).unwrap_err();
        let expected = format!("not a valid lzw stream: code {bad} before string 258");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn streams_least_significant_bit_first_are_read() {
    for class in CLASSES {
        let raw = sample(class, 9000, 2);
        let stream = weezl::encode::Encoder::new(weezl::BitOrder::Lsb, 8).encode(&raw).unwrap();
        assert_eq!((stream[0], stream[1] & 1), (0, 1));
        assert!(decode(&mut Decoder::default(), &stream, raw.len(), 0) == raw, "{class}");
    }
}

#[test]
fn sizes_stay_near_a_lossless_table() {
    for class in CLASSES {
        for len in [3000, 65_536, 262_144, 1 << 20] {
            let raw = sample(class, len, 11);
            let (ours, theirs) = (encode(&raw).len(), weezl_encode(&raw).len());
            assert!(ours * 100 <= theirs * 102 + 800, "{class} {len}: {ours} against {theirs}");
        }
    }
}

#[test]
fn any_bytes_either_fail_or_decode_as_the_oracle_says() {
    let mut random = Random::new(8);
    let (mut decoder, mut agreed) = (Decoder::default(), 0);
    for seed in 0..4000 {
        // Few distinct codes, so that streams live long.
        let codes = (0..random.below(60) + 2).map(|i| match random.below(12) {
            0 => CLEAR,
            1..=5 => random.below(256) as u16,
            _ => 258 + random.below(i + 1) as u16,
        });
        let mut stream = pack([CLEAR].into_iter().chain(codes).chain([END]));
        if seed % 4 == 0 {
            stream = sample("noise8", 60, seed);
            stream[0] = 0x80;
        }
        let mut decoded = vec![0; 100_000];
        let result = decoder.decode(&stream, &mut decoded);
        if let Some(raw) = naive_decode(&stream) {
            assert_eq!(result.unwrap(), raw.len());
            assert!(decoded[..raw.len()] == raw);
            agreed += 1;
        }
    }
    assert!(agreed > 100, "{agreed}");
}
