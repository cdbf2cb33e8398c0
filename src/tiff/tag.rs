//! Tag and field-type numbers. The baseline ones are named by the `tiff` crate; GDAL's and GeoTIFF's
//! are named here.

pub use tiff::tags::{Tag, Type};

/// `GDAL_METADATA`: XML with band metadata (GDAL, GTiff driver).
pub const GDAL_METADATA: u16 = 42112;
/// `GDAL_NODATA`: ASCII number (GDAL, GTiff driver).
pub const GDAL_NODATA: u16 = 42113;
/// ModelPixelScale (OGC 19-008r4 §7.1.2).
pub const MODEL_PIXEL_SCALE: u16 = 33550;
/// ModelTiepoint (OGC 19-008r4 §7.1.2).
pub const MODEL_TIEPOINT: u16 = 33922;
/// ModelTransformation (OGC 19-008r4 §7.1.2).
pub const MODEL_TRANSFORMATION: u16 = 34264;
/// GeoKeyDirectory (OGC 19-008r4 §7.1.1).
pub const GEO_KEY_DIRECTORY: u16 = 34735;
/// GeoDoubleParams (OGC 19-008r4 §7.1.1).
pub const GEO_DOUBLE_PARAMS: u16 = 34736;
/// GeoAsciiParams (OGC 19-008r4 §7.1.1).
pub const GEO_ASCII_PARAMS: u16 = 34737;

/// Number of a tag that the `tiff` crate names.
pub const fn number(tag: Tag) -> u16 {
    tag.to_u16()
}

/// Name of a tag for messages.
pub fn name(tag: u16) -> &'static str {
    match tag {
        254 => "NewSubfileType",
        256 => "ImageWidth",
        257 => "ImageLength",
        258 => "BitsPerSample",
        259 => "Compression",
        262 => "PhotometricInterpretation",
        266 => "FillOrder",
        273 => "StripOffsets",
        277 => "SamplesPerPixel",
        278 => "RowsPerStrip",
        279 => "StripByteCounts",
        284 => "PlanarConfiguration",
        317 => "Predictor",
        320 => "ColorMap",
        322 => "TileWidth",
        323 => "TileLength",
        324 => "TileOffsets",
        325 => "TileByteCounts",
        338 => "ExtraSamples",
        339 => "SampleFormat",
        MODEL_PIXEL_SCALE => "ModelPixelScale",
        MODEL_TIEPOINT => "ModelTiepoint",
        MODEL_TRANSFORMATION => "ModelTransformation",
        GEO_KEY_DIRECTORY => "GeoKeyDirectory",
        GEO_DOUBLE_PARAMS => "GeoDoubleParams",
        GEO_ASCII_PARAMS => "GeoAsciiParams",
        GDAL_METADATA => "GDAL_METADATA",
        GDAL_NODATA => "GDAL_NODATA",
        _ => "unnamed",
    }
}

/// Bytes of one value of a field type, or `None` for a type that TIFF does not know.
pub fn type_len(field: u16) -> Option<u64> {
    Some(match Type::from_u16(field)? {
        Type::BYTE | Type::SBYTE | Type::ASCII | Type::UNDEFINED => 1,
        Type::SHORT | Type::SSHORT => 2,
        Type::LONG | Type::SLONG | Type::FLOAT | Type::IFD => 4,
        _ => 8,
    })
}

/// Seconds since 1970 of TIFF's `YYYY:MM:DD HH:MM:SS` (dashes and a `T` are put up with); `None` if it is
/// no date.
pub(crate) fn seconds_of(text: &str) -> Option<i64> {
    let mut numbers = text.trim_matches(['\0', ' ']).split([':', '-', ' ', 'T', 'Z']);
    let mut next = |low: i64, high: i64| -> Option<i64> {
        numbers.next()?.trim().parse().ok().filter(|v| (low..=high).contains(v))
    };
    let (year, month, day) = (next(1, 9999)?, next(1, 12)?, next(1, 31)?);
    let (hour, minute, second) =
        (next(0, 24).unwrap_or(0), next(0, 59).unwrap_or(0), next(0, 60).unwrap_or(0));
    // Days from 1970-01-01, years counted from March so that the leap day comes last.
    let (shifted_year, shifted_month) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = 365 * shifted_year + leaps + (153 * shifted_month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::seconds_of;

    /// Expected: `date -u -d '2024-02-29 23:59:58' +%s` and the like.
    #[test]
    fn dates_are_seconds() {
        assert_eq!(seconds_of("1970:01:01 00:00:00"), Some(0));
        assert_eq!(seconds_of("2024:02:29 23:59:58\0"), Some(1_709_251_198));
        assert_eq!(seconds_of("1969:12:31 23:59:59"), Some(-1));
        assert_eq!(seconds_of("2001-09-09T01:46:40Z"), Some(1_000_000_000));
        for bad in ["", "    :  :     :  :  ", "2024:13:01 00:00:00", "yesterday"] {
            assert_eq!(seconds_of(bad), None, "{bad}");
        }
    }
}
