//! Georeferencing tags of a TIFF <-> [`Crs`] (here) and [`crate::geometry::GeoTransform`]
//! (`placement`); SPEC §3.3, §3.4, §8.3.
//!
//! Takes and gives the plain values of the tags; reads no file. GeoKeys: OGC 19-008r4 §7.1.

mod placement;

pub use self::placement::{
    Placement, PlacementTags, geotransform, parse_world_file, placement_of, world_file_candidates,
};
use crate::crs::Crs;
use crate::crs::keys::{self, KeySet, KeyValue};
use crate::error::{FormatError, Result};

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

/// The CRS of a WKT text: as [`Crs::parse`] reads it, else by the EPSG code of its outermost element.
pub fn crs_of_wkt(wkt: &str) -> Option<Crs> {
    if let Ok(crs) = Crs::parse(wkt) {
        return Some(crs);
    }
    // The outermost element's identifier comes last: `…,AUTHORITY["EPSG","32618"]]` or `…,ID["EPSG",32618]]`.
    let start = wkt.rfind("\"EPSG\",").map(|at| at + 7)?;
    let code = wkt[start..].trim_start_matches('"').trim_end_matches([']', ' ', '\n']);
    let brackets = wkt[start..].chars().filter(|c| *c == ']').count();
    let code = code.trim_end_matches('"').parse().ok().filter(|_| brackets == 2)?;
    Crs::from_epsg(code).ok()
}

/// Values of tags 34735, 34736 and 34737 for a CRS and a raster type; all empty, not to be
/// written, where there is nothing to say.
pub fn tags_of(crs: Option<&Crs>, pixel_is_point: bool) -> GeoKeyTags {
    if crs.is_none() && !pixel_is_point {
        return GeoKeyTags::default();
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const UTM_18N: [u16; 24] = [
        1, 1, 0, 5, 1024, 0, 1, 1, 1025, 0, 1, 1, 1026, 34737, 22, 0, 3072, 0, 1, 32618, 3076, 0,
        1, 9001,
    ];

    #[test]
    fn keys_survive_reading_and_writing() {
        let ascii = b"WGS 84 / UTM zone 18N|";
        let keys = parse(&UTM_18N, &[], ascii).unwrap();
        let crs = keys.crs.unwrap();
        assert_eq!(crs.to_string(), "EPSG:32618 (WGS 84 / UTM zone 18N)");
        assert!(!keys.pixel_is_point);
        let tags = tags_of(Some(&crs), false);
        assert_eq!(tags.directory, UTM_18N);
        assert_eq!(tags.ascii, ascii);
        assert!(tags.doubles.is_empty());
        let again = parse(&tags_of(Some(&crs), true).directory, &[], ascii).unwrap();
        assert!(again.pixel_is_point);
        assert_eq!(again.crs, Some(crs));
        assert_eq!(tags_of(None, false), GeoKeyTags::default());
    }

    #[test]
    fn oddities_are_put_up_with() {
        // More keys announced than there are, zeros as padding, a text beyond the end.
        let directory =
            [1, 1, 0, 9, 1024, 0, 1, 2, 2048, 0, 1, 4326, 0, 0, 0, 0, 2049, 34737, 99, 2];
        let crs = parse(&directory, &[], b"x|WGS 84|").unwrap().crs.unwrap();
        assert_eq!(crs.to_string(), "EPSG:4326 (WGS 84)");
        // Unsorted, twice, a tag that nobody knows.
        let directory = [1, 1, 0, 3, 2048, 0, 1, 4267, 2048, 0, 1, 4326, 1024, 9, 9, 9];
        assert_eq!(parse(&directory, &[], &[]).unwrap().crs.unwrap().epsg(), Some(4326));
        assert!(parse(&[1, 1, 0, 0], &[], &[]).unwrap().crs.is_none());
        assert!(parse(&[1, 1, 0, 1, 1024, 0, 1, 1], &[], &[]).unwrap().crs.is_none());
    }

    #[test]
    fn broken_directories_are_errors() {
        let directories: [&[u16]; 5] = [
            &[],
            &[1, 1, 0],
            &[7, 1, 0, 1, 3072, 0, 1, 32618],
            &[1, 1, 0, 60000, 3072, 0, 1, 32618],
            &[1, 1, 0, 1, 3080, 34736, 1, 5],
        ];
        for directory in directories {
            let error = parse(directory, &[f64::NAN], &[]).unwrap_err();
            let bad_tag = matches!(error.kind(), ErrorKind::Format(FormatError::BadTag { .. }));
            assert!(bad_tag, "{directory:?}: {error}");
        }
        assert!(parse(&[1, 1, 0, 1, 3080, 34736, 1, 0], &[f64::NAN], &[]).is_err());
        let geocentric = [1, 1, 0, 2, 1024, 0, 1, 3, 2048, 0, 1, 4978];
        let error = parse(&geocentric, &[], &[]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported(_)));
    }

    #[test]
    fn no_directory_makes_the_reader_panic() {
        let mut state = 1u32;
        let mut next = |limit: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % limit
        };
        let ids = [1024, 1025, 1026, 2048, 2050, 2054, 2057, 3072, 3074, 3075, 3076, 3082, 4096];
        let tags = [0, 0, 34735, 34736, 34737, 9];
        for _ in 0..20_000 {
            let mut directory = vec![1, 1, 0, next(9) as u16];
            for _ in 0..next(9) {
                directory.push(ids[next(13) as usize]);
                directory.push(tags[next(6) as usize]);
                directory.push(next(9) as u16);
                directory.push([next(9), next(65536), 32767, 4326, 16031][next(5) as usize] as u16);
            }
            directory.truncate(directory.len() - next(3) as usize);
            // An error is as good as a CRS here; only a panic is not.
            if let Ok(GeoKeys { crs: Some(crs), pixel_is_point }) =
                parse(&directory, &[0.0, 1e300, -7.5], b"a|b|\xff")
            {
                let tags = tags_of(Some(&crs), pixel_is_point);
                let again = parse(&tags.directory, &tags.doubles, &tags.ascii).unwrap();
                assert_eq!(again.crs.as_ref(), Some(&crs), "{directory:?}");
                assert!(crs.same_as(&crs) && !crs.to_string().is_empty());
            }
        }
    }
}
