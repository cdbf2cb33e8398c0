//! Speed of the codecs and predictors on one core, in bytes of raw samples.
//!
//! `cargo bench --bench codec -- lzw` shows ours beside weezl on each class of data; run it twice in
//! turn before believing a difference of 10 %.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use smalti::codec::{Compression, Decoder, Encoder, Predictor, RowLayout, predictor};

/// Columns and rows of a block.
const SIZE: usize = 512;

/// Seeded noise, the same on every machine: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    /// About normal, mean 0, standard deviation 1.
    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..12).map(|_| self.next() as f64 / 2_f64.powi(32)).sum();
        sum - 6.0
    }
}

/// A landscape of hills at five scales, about -2.5 to 2.5.
fn terrain(col: usize, row: usize) -> f64 {
    let (x, y) = (col as f64, row as f64);
    (0..5)
        .map(|octave| {
            let (scale, phase) = (0.008 * 2_f64.powi(octave), f64::from(octave) * 1.7);
            ((x * scale + phase).sin() * (y * scale * 1.3 - phase).cos()) * 0.62_f64.powi(octave)
        })
        .sum()
}

fn pixels<T: bytemuck::Pod>(mut value: impl FnMut(f64) -> T) -> Vec<u8> {
    let samples: Vec<T> = (0..SIZE * SIZE).map(|i| value(terrain(i % SIZE, i / SIZE))).collect();
    bytemuck::cast_slice(&samples).to_vec()
}

fn predicted(mut data: Vec<u8>, kind: Predictor, dtype_size: usize) -> Vec<u8> {
    let layout = RowLayout { dtype_size, samples_per_pixel: 1, width: SIZE };
    predictor::encode(kind, layout, &mut data, &mut Vec::new());
    data
}

/// A block of each class, as the codec gets it.
fn classes() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random(42);
    let smooth16 = pixels(|t| (3000.0 + 800.0 * t) as u16);
    let noise16 = pixels(|t| (3000.0 + 800.0 * t + 60.0 * random.normal()) as u16);
    let dem = pixels(|t| (400.0 + 200.0 * t + 0.05 * random.normal()) as f32);
    let photo8 = pixels(|t| (120.0 + 30.0 * t + 4.0 * random.normal()) as u8);
    vec![
        ("noise16", noise16.clone()),
        ("noise16_p2", predicted(noise16, Predictor::Horizontal, 2)),
        ("smooth16", smooth16.clone()),
        ("smooth16_p2", predicted(smooth16, Predictor::Horizontal, 2)),
        ("dem_p3", predicted(dem, Predictor::Float, 4)),
        ("photo8", photo8.clone()),
        ("photo8_256", photo8[..1 << 16].to_vec()),
        ("constant", vec![7; SIZE * SIZE * 2]),
    ]
}

fn encoded(compression: Compression, raw: &[u8]) -> Vec<u8> {
    let mut dst = Vec::new();
    let mut encoder = Encoder::new(compression, None).expect("the default level exists");
    encoder.encode(raw, &mut dst).expect("codecs encode anything");
    dst
}

fn encode_decode(criterion: &mut Criterion, compression: Compression) {
    let mut group = group(criterion, compression.name());
    for (class, raw) in classes() {
        group.throughput(Throughput::Bytes(raw.len() as u64));
        let mut encoder = Encoder::new(compression, None).expect("the default level exists");
        let mut dst = Vec::new();
        group.bench_function(format!("encode/{class}"), |bencher| {
            bencher.iter(|| encoder.encode(black_box(&raw), &mut dst));
        });
        let (src, mut decoder, mut out) =
            (encoded(compression, &raw), Decoder::new(), vec![0; raw.len()]);
        group.bench_function(format!("decode/{class}"), |bencher| {
            bencher.iter(|| decoder.decode_into(compression, black_box(&src), &mut out));
        });
    }
    group.finish();
}

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_millis(1000));
    group
}

fn lzw(criterion: &mut Criterion) {
    encode_decode(criterion, Compression::Lzw);
}

fn deflate(criterion: &mut Criterion) {
    encode_decode(criterion, Compression::Deflate);
}

fn zstd(criterion: &mut Criterion) {
    encode_decode(criterion, Compression::Zstd);
}

fn packbits(criterion: &mut Criterion) {
    encode_decode(criterion, Compression::PackBits);
}

/// The reference, used as one uses it: a decoder is reset, buffers are kept.
fn weezl(criterion: &mut Criterion) {
    let mut group = group(criterion, "lzw_weezl");
    for (class, raw) in classes() {
        group.throughput(Throughput::Bytes(raw.len() as u64));
        let mut encoder = weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
        let mut dst = Vec::new();
        group.bench_function(format!("encode/{class}"), |bencher| {
            bencher.iter(|| {
                encoder.reset();
                dst.clear();
                encoder.into_vec(&mut dst).encode_all(black_box(&raw)).status
            });
        });
        let src = encoded(Compression::Lzw, &raw);
        let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
        let mut out = vec![0; raw.len()];
        group.bench_function(format!("decode/{class}"), |bencher| {
            bencher.iter(|| {
                decoder.reset();
                let (mut read, mut written) = (0, 0);
                while written < out.len() {
                    let result = decoder.decode_bytes(&src[read..], &mut out[written..]);
                    read += result.consumed_in;
                    written += result.consumed_out;
                }
                written
            });
        });
    }
    group.finish();
}

fn predictors(criterion: &mut Criterion) {
    let mut group = group(criterion, "predictor");
    let mut scratch = Vec::new();
    let cases = [(1, 1), (1, 3), (1, 4), (2, 1), (2, 3), (2, 4), (4, 1), (8, 1)]
        .map(|(size, samples)| (Predictor::Horizontal, size, samples));
    let float_cases = [(4, 1), (4, 3), (8, 1)].map(|(s, n)| (Predictor::Float, s, n));
    for (kind, dtype_size, samples_per_pixel) in cases.into_iter().chain(float_cases) {
        let layout = RowLayout { dtype_size, samples_per_pixel, width: SIZE };
        let mut random = Random(1);
        let mut data: Vec<u8> =
            (0..layout.row_bytes() * 256).map(|_| random.next() as u8).collect();
        group.throughput(Throughput::Bytes(data.len() as u64));
        let name = format!("{kind:?}/{dtype_size}x{samples_per_pixel}");
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| predictor::encode(kind, layout, black_box(&mut data), &mut scratch));
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| {
                predictor::decode(kind, layout, false, black_box(&mut data), &mut scratch);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lzw, weezl, deflate, zstd, packbits, predictors);
criterion_main!(benches);
