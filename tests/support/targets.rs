//! What is fuzzed: every parser and every codec, by a number. Shared by `tests/fuzz.rs`, which replays the
//! corpus and mutates it, and by coverage-guided fuzzers, which include this file.

use std::io::Read;
use std::path::Path;

use smalti::codec::image::{ImageBlock, Params};
use smalti::codec::{Compression, Decoder, Predictor, RowLayout, predictor, stream};
use smalti::sample::{DataType, Nodata};
use smalti::tiff::reader::{BlockId, Dataset, Part, ReadOptions, Scratch};
use smalti::tiff::{aux_xml, gdal_metadata, geokeys};

/// Number of targets.
pub(crate) const TARGETS: u8 = 6;
/// Most bytes of a block that is decoded, and of an image in all: a fuzzer has no use for more.
const MOST_BYTES: u64 = 1 << 22;

/// Runs a target. Whatever the data: no panic, no hang, no more memory than a few blocks.
pub(crate) fn run(target: u8, data: &[u8]) {
    match target % TARGETS {
        0 => open(data),
        1 => image_codec(data),
        2 => byte_codec(data),
        3 => text(data),
        4 => geo(data),
        _ => predictors(data),
    }
}

/// Opens a file that lies in memory and decodes its blocks, those of masks and overviews too.
pub(crate) fn open(data: &[u8]) {
    let options = ReadOptions { overviews: true };
    let path = Path::new("case.tif");
    let Ok(dataset) = Dataset::open_with(path, &data, &(), options) else { return };
    let mut scratch = Scratch::default();
    let mut parts = vec![Part::Image, Part::Mask];
    for index in 0..dataset.overviews.len().min(3) as u16 {
        parts.extend([Part::Overview(index), Part::OverviewMask(index)]);
    }
    let mut left = MOST_BYTES * 4;
    for part in parts {
        let Some(layout) = dataset.layout(part) else { continue };
        if layout.max_decoded_bytes() > MOST_BYTES {
            continue;
        }
        let planes = if layout.planar { layout.bands.min(4) } else { 1 };
        for plane in 0..planes {
            for by in 0..layout.down().min(8) {
                for bx in 0..layout.across().min(8) {
                    let id = BlockId { bx, by, plane };
                    left = left.saturating_sub(layout.max_decoded_bytes() + 256);
                    if left == 0 {
                        return;
                    }
                    if let Ok(block) = dataset.read_block(&data, part, id, &mut scratch) {
                        assert_eq!(block.size(), layout.decoded_size(by));
                    }
                }
            }
        }
    }
}

/// The first eight bytes say the block's shape, the rest is the stream.
fn image_codec(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<8>() else { return };
    let dtypes = [
        DataType::U8,
        DataType::U16,
        DataType::I8,
        DataType::I16,
        DataType::U32,
        DataType::I32,
        DataType::F32,
        DataType::F64,
    ];
    let (width, height) = (usize::from(head[0]) + 1, usize::from(head[1]) + 1);
    let samples = usize::from(head[2] % 5) + 1;
    let tables = usize::from(head[5]).min(rest.len());
    let (tables, stream) = rest.split_at(if head[4] & 1 == 1 { tables } else { 0 });
    let around = [None, Some(Compression::Deflate), Some(Compression::Zstd)];
    let params = Params {
        jpeg_tables: tables.to_vec(),
        ycbcr: head[4] & 2 != 0 && samples == 3,
        t4_options: u32::from(head[6]),
        around_lerc: around[usize::from(head[7]) % 3],
        ..Params::default()
    };
    let schemes = [
        Compression::Jpeg,
        Compression::Lerc,
        Compression::WebP,
        Compression::CcittG3,
        Compression::CcittG4,
        Compression::CcittRle,
    ];
    let scheme = schemes[usize::from(head[4] >> 3) % schemes.len()];
    let dtype = match scheme {
        Compression::Jpeg => dtypes[usize::from(head[3] % 2)],
        Compression::WebP => DataType::U8,
        _ => dtypes[usize::from(head[3]) % dtypes.len()],
    };
    let sample_bytes = dtype.size();
    let block =
        ImageBlock { width, height, inside: height, samples, sample_bytes, dtype, params: &params };
    let mut decoder = Decoder::new();
    // Errors are as good as samples here.
    if scheme.is_fax() {
        let block = ImageBlock { samples: 1, ..block };
        let mut out = vec![0; width.div_ceil(8) * height];
        let _ = decoder.decode_fax(scheme, &block, stream, &mut out);
    } else {
        let mut out = vec![0u64; (width * height * samples * sample_bytes).div_ceil(8)];
        let out: &mut [u8] = bytemuck::cast_slice_mut(&mut out);
        let out = &mut out[..width * height * samples * sample_bytes];
        let _ = decoder.decode_image(scheme, &block, stream, out);
    }
}

/// Two bytes of length, one of the scheme, then the stream.
fn byte_codec(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<3>() else { return };
    let schemes = [
        Compression::None,
        Compression::Lzw,
        Compression::Deflate,
        Compression::PackBits,
        Compression::Zstd,
        Compression::Lzma,
    ];
    let scheme = schemes[usize::from(head[2]) % schemes.len()];
    let mut out = vec![0; usize::from(u16::from_le_bytes([head[0], head[1]]))];
    let whole = Decoder::new().decode_into(scheme, rest, &mut out);
    if scheme.missing_feature().is_some() {
        return;
    }
    let stored = Box::new(std::io::Cursor::new(rest.to_vec()));
    let mut pieces = vec![0; out.len()];
    let streamed = stream::reader(scheme, stored).read_exact(&mut pieces);
    if whole.is_ok() && streamed.is_ok() {
        assert!(out == pieces, "{scheme}: a stream gives other bytes than the whole");
    }
}

/// Texts of all kinds. Errors are as good as values.
fn text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = gdal_metadata::GdalMetadata::parse(&text);
    let _ = aux_xml::parse(&text);
    let _ = geokeys::parse_world_file(&text);
    let _ = geokeys::crs_of_wkt(&text);
    let _ = Nodata::parse(&text);
}

/// The three GeoKey tags, and the tags that place a raster.
fn geo(data: &[u8]) {
    let third = data.len() / 3;
    let (directory, rest) = data.split_at(third);
    let (doubles, ascii) = rest.split_at(third);
    let directory: Vec<u16> =
        directory.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
    let doubles: Vec<f64> =
        doubles.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    let _ = geokeys::parse(&directory, &doubles, ascii);
    let split = doubles.len() / 2;
    let tags = geokeys::PlacementTags {
        transformation: &doubles,
        pixel_scale: &doubles[..split],
        tiepoints: &doubles[split..],
        world_file: None,
        pixel_is_point: third % 2 == 1,
    };
    let _ = geokeys::geotransform(&tags);
    let tags = geokeys::PlacementTags { transformation: &[], ..tags };
    let _ = geokeys::geotransform(&tags);
}

fn predictors(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<3>() else { return };
    let dtype_size = [1, 2, 4, 8][usize::from(head[0]) % 4];
    let predictor = match (head[0] >> 2) % 3 {
        0 => Predictor::None,
        1 => Predictor::Horizontal,
        _ if dtype_size > 1 => Predictor::Float,
        _ => Predictor::None,
    };
    let rows = RowLayout {
        dtype_size,
        samples_per_pixel: usize::from(head[1] % 9),
        width: usize::from(head[2]),
    };
    let mut bytes = rest.to_vec();
    predictor::decode(predictor, rows, head[0] & 128 != 0, &mut bytes, &mut Vec::new());
}
