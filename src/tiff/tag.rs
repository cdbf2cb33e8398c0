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
