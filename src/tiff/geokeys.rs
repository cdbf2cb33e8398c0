//! Georeferencing tags of a TIFF <-> [`GeoTransform`] and [`Crs`] (SPEC §3.3, §3.4, §8.3).
//!
//! Takes and gives the plain values of the tags; reads no file. GeoKeys: OGC 19-008r4 §7.1.

use std::path::{Path, PathBuf};

use crate::crs::Crs;
use crate::crs::keys::{self, KeySet, KeyValue};
use crate::error::{FormatError, InputError, Result};
use crate::geometry::GeoTransform;

const DIRECTORY_TAG: u16 = 34735;
const DOUBLES_TAG: u16 = 34736;
const ASCII_TAG: u16 = 34737;
const RASTER_TYPE: u16 = 1025;
const PIXEL_IS_POINT: u16 = 2;

/// Most keys that a directory may have; GeoTIFF defines about 50.
const MAX_KEYS: usize = 256;
/// Most numbers that are kept of one key; the longest that is defined has 7.
const MAX_NUMBERS: usize = 16;

/// What the GeoKeys of a file say.
#[derive(Debug, Clone)]
pub struct GeoKeys {
    /// The CRS, if the keys describe one.
    pub crs: Option<Crs>,
    /// `GTRasterTypeGeoKey` is `PixelIsPoint`.
    pub pixel_is_point: bool,
}

/// Values of the three GeoKey tags, ready to be written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GeoKeyTags {
    /// `GeoKeyDirectoryTag` (34735).
    pub directory: Vec<u16>,
    /// `GeoDoubleParamsTag` (34736); not to be written if empty.
    pub doubles: Vec<f64>,
    /// `GeoAsciiParamsTag` (34737) without the final NUL; not to be written if empty.
    pub ascii: Vec<u8>,
}

/// Values of the tags that place a raster; empty where a tag is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlacementTags<'a> {
    /// `ModelTransformationTag` (34264), 16 numbers by rows.
    pub transformation: &'a [f64],
    /// `ModelPixelScaleTag` (33550): x, y, z.
    pub pixel_scale: &'a [f64],
    /// `ModelTiepointTag` (33922): col, row, 0, x, y, z of each point.
    pub tiepoints: &'a [f64],
    /// Text of the world file, if there is one.
    pub world_file: Option<&'a str>,
    /// `GTRasterTypeGeoKey` is `PixelIsPoint`.
    pub pixel_is_point: bool,
}

/// The tags that place a raster, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Placement {
    /// North-up.
    ScaleAndTiepoint {
        /// `ModelPixelScaleTag` (33550).
        pixel_scale: [f64; 3],
        /// `ModelTiepointTag` (33922).
        tiepoint: [f64; 6],
    },
    /// Anything else: `ModelTransformationTag` (34264).
    Transformation([f64; 16]),
}

/// Reads the values of tags 34735, 34736 and 34737; the latter two are empty where missing.
///
/// As GDAL does: an entry count beyond the directory's end, garbage after it, texts that end too
/// early and unknown keys are put up with.
///
/// # Errors
/// [`FormatError::BadTag`] if there is no header, or a key points at numbers that do not exist or
/// are not finite; [`crate::error::Unsupported`] for a geocentric CRS.
pub fn parse(directory: &[u16], doubles: &[f64], ascii: &[u8]) -> Result<GeoKeys> {
    let header = directory.first_chunk::<4>().filter(|header| header[0] == 1);
    let Some(header) = header else {
        let found = format!("{:?}", &directory[..directory.len().min(4)]);
        return Err(bad_tag(DIRECTORY_TAG, "a header of version 1", found).into());
    };
    let count = usize::from(header[3]);
    if count > MAX_KEYS {
        return Err(bad_tag(DIRECTORY_TAG, "at most 256 keys", count.to_string()).into());
    }
    let mut pixel_is_point = false;
    let mut found = Vec::new();
    for entry in directory[4..].as_chunks::<4>().0.iter().take(count) {
        let id = entry[0];
        let Some(value) = key_value(*entry, directory, doubles, ascii)? else {
            continue;
        };
        match (id, &value) {
            // Files padded with zeros are common.
            (0, _) => {}
            (RASTER_TYPE, value) => pixel_is_point = *value == KeyValue::Short(PIXEL_IS_POINT),
            _ => found.push((id, value)),
        }
    }
    Ok(GeoKeys { crs: Crs::from_keys(KeySet::new(found))?, pixel_is_point })
}

/// Value of one directory entry `[id, tag, count, offset]`; `None` for one that holds nothing.
fn key_value(
    [id, tag, count, offset]: [u16; 4],
    directory: &[u16],
    doubles: &[f64],
    ascii: &[u8],
) -> Result<Option<KeyValue>> {
    let (start, count) = (usize::from(offset), usize::from(count));
    let missing = || format!("key {id} at {start}");
    match tag {
        0 => Ok(Some(KeyValue::Short(offset))),
        DIRECTORY_TAG => match directory.get(start) {
            Some(value) => Ok(Some(KeyValue::Short(*value))),
            None => Err(bad_tag(DIRECTORY_TAG, "values inside the directory", missing()).into()),
        },
        DOUBLES_TAG => {
            let available = doubles.get(start..).unwrap_or_default();
            let values = &available[..count.min(available.len()).min(MAX_NUMBERS)];
            if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
                return Err(bad_tag(DOUBLES_TAG, "finite numbers for every key", missing()).into());
            }
            Ok(Some(KeyValue::Doubles(values.to_vec())))
        }
        ASCII_TAG => {
            let available = ascii.get(start..).unwrap_or_default();
            Ok(Some(KeyValue::Ascii(text_of(&available[..count.min(available.len())]))))
        }
        _ => Ok(None),
    }
}

/// Text without its end mark; UTF-8, else Latin-1.
fn text_of(bytes: &[u8]) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.replace('\0', ""),
        Err(_) => bytes.iter().filter(|b| **b != 0).map(|b| char::from(*b)).collect(),
    };
    text.strip_suffix('|').map(str::to_owned).unwrap_or(text)
}

fn bad_tag(tag: u16, expected: &'static str, found: String) -> FormatError {
    let name = match tag {
        DIRECTORY_TAG => "GeoKeyDirectory",
        _ => "GeoDoubleParams",
    };
    FormatError::BadTag { tag, name, expected, found }
}

/// Values of tags 34735, 34736 and 34737 for a CRS and a raster type.
pub fn tags_of(crs: Option<&Crs>, pixel_is_point: bool) -> GeoKeyTags {
    let raster_type = if pixel_is_point { PIXEL_IS_POINT } else { 1 };
    let keys = crs.map(|crs| crs.keys().clone()).unwrap_or_default();
    let keys = keys.with_short(RASTER_TYPE, raster_type);
    // GDAL reads vertical keys by the rules of GeoTIFF 1.1 only where the file says so.
    let is_3d =
        keys.value(keys::VERTICAL).is_some() || keys.value(keys::COORDINATE_EPOCH).is_some();
    let mut tags = GeoKeyTags { directory: vec![1, 1, u16::from(is_3d), 0], ..Default::default() };
    for (id, value) in keys.iter() {
        let entry = match value {
            KeyValue::Short(value) => Some([id, 0, 1, *value]),
            KeyValue::Doubles(values) => place(&mut tags.doubles, values, &[])
                .map(|[count, offset]| [id, DOUBLES_TAG, count, offset]),
            KeyValue::Ascii(text) => place(&mut tags.ascii, text.as_bytes(), b"|")
                .map(|[count, offset]| [id, ASCII_TAG, count, offset]),
        };
        // What does not fit 16-bit offsets can only be a text of tens of kilobytes: no CRS needs it.
        if let Some(entry) = entry {
            tags.directory.extend(entry);
            tags.directory[3] += 1;
        }
    }
    tags
}

/// Appends values and an end mark; gives their count and offset, `None` if 16 bits cannot hold them.
fn place<T: Copy>(all: &mut Vec<T>, values: &[T], end: &[T]) -> Option<[u16; 2]> {
    let count = u16::try_from(values.len() + end.len()).ok()?;
    let offset = u16::try_from(all.len()).ok()?;
    all.extend_from_slice(values);
    all.extend_from_slice(end);
    Some([count, offset])
}

/// The geotransform that the tags give, in the order of SPEC §3.3. `PixelIsPoint` moves the
/// origin by half a pixel for the tags, not for a world file, which always gives a centre.
///
/// # Errors
/// [`InputError::GcpOnly`] for several tie points and no scale, [`InputError::NoGeoreference`] for
/// nothing usable, [`FormatError::Georeference`] for a singular matrix and nothing else,
/// [`FormatError::Text`] for a world file that does not parse.
pub fn geotransform(tags: &PlacementTags<'_>) -> Result<GeoTransform> {
    let half = if tags.pixel_is_point { -0.5 } else { 0.0 };
    let mut refused = None;
    if let [dx, rx, _, x0, ry, dy, _, y0, ..] = *tags.transformation
        && tags.transformation.len() == 16
    {
        match GeoTransform::new([x0, dx, rx, y0, ry, dy]) {
            Ok(transform) => return Ok(transform.shifted(half, half)),
            Err(error) => refused = Some(error),
        }
    }
    if let ([sx, sy, ..], [col, row, _, x, y, _, ..]) = (tags.pixel_scale, tags.tiepoints)
        && *sx != 0.0
        && *sy != 0.0
    {
        // GDAL takes a negative y scale for a slip of the writer: rows run south all the same.
        let (dx, dy) = (*sx, -sy.abs());
        let transform = GeoTransform::new([x - col * dx, dx, 0.0, y - row * dy, 0.0, dy])?;
        return Ok(transform.shifted(half, half));
    }
    if let Some(text) = tags.world_file {
        return parse_world_file(text);
    }
    if tags.tiepoints.len() >= 12 && tags.pixel_scale.is_empty() {
        return Err(InputError::GcpOnly.into());
    }
    Err(refused.unwrap_or_else(|| InputError::NoGeoreference.into()))
}

/// Reads the six lines of a world file: dx, ry, rx, dy, and x and y of the first pixel's centre.
///
/// # Errors
/// [`FormatError::Text`] if it is not six numbers, [`FormatError::Georeference`] if they are no
/// usable transform.
pub fn parse_world_file(text: &str) -> Result<GeoTransform> {
    let fail = |reason: String| FormatError::Text { what: "world file", reason };
    let mut numbers = [0.0; 6];
    let mut words = text.trim_start_matches('\u{feff}').split_whitespace();
    for (index, number) in numbers.iter_mut().enumerate() {
        let word = words.next().ok_or_else(|| fail(format!("{index} numbers, 6 needed")))?;
        // Some locales write a decimal comma.
        let parsed = word.replace(',', ".").parse::<f64>();
        let shown: String = word.chars().take(40).collect();
        *number = parsed.map_err(|_| fail(format!("{shown:?} is not a number")))?;
    }
    let [dx, ry, rx, dy, x, y] = numbers;
    Ok(GeoTransform::new([x, dx, rx, y, ry, dy])?.shifted(-0.5, -0.5))
}

/// Names that a raster's world file may have, likeliest first: `.tfw`, the raster's own extension
/// and `w`, `.tifw`, `.wld`, each in lower and upper case.
pub fn world_file_candidates(path: &Path) -> Vec<PathBuf> {
    let own = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let own = own.filter(|e| e.starts_with("tif")).map(|e| format!("{e}w"));
    let mut found: Vec<PathBuf> = Vec::new();
    for extension in ["tfw", own.as_deref().unwrap_or("tifw"), "tifw", "wld"] {
        for cased in [extension.to_owned(), extension.to_ascii_uppercase()] {
            let candidate = path.with_extension(cased);
            if candidate != path && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    found
}

/// The tags that place a raster so that readers find this geotransform again.
pub fn placement_of(transform: &GeoTransform, pixel_is_point: bool) -> Placement {
    let half = if pixel_is_point { 0.5 } else { 0.0 };
    let [x0, dx, rx, y0, ry, dy] = transform.shifted(half, half).coefficients();
    if transform.is_north_up() {
        return Placement::ScaleAndTiepoint {
            pixel_scale: [dx, -dy, 0.0],
            tiepoint: [0.0, 0.0, 0.0, x0, y0, 0.0],
        };
    }
    Placement::Transformation([
        dx, rx, 0.0, x0, ry, dy, 0.0, y0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0,
    ])
}
