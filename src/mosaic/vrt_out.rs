//! A mosaic as GDAL's VRT, in which GDAL finds the pixels that smalti would write: sources on the grid,
//! nearest. What a VRT cannot say is refused by name.
//!
//! The text is written as it is made: it is never whole in memory. Paths are given by the caller, who
//! knows where the VRT will lie.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::crs::Crs;
use crate::error::{Error, InputError, Result, ResultExt};
use crate::geometry::Window;
use crate::mosaic::layer::{Mapping, offset_in};
use crate::mosaic::{Mosaic, NodataMode, Overlap, ValidityOutput};
use crate::sample::{DataType, Nodata};
use crate::source::{Rescale, Source};
use crate::tiff::gdal_metadata::{BandMetadata, Item};

/// Name of a source in the VRT, and whether it is relative to the VRT's folder.
pub type NameOf<'a> = dyn FnMut(&Source) -> Result<(String, bool)> + 'a;

/// Where a source is painted: pixels of its dataset, and where the first of them lies in the grid.
struct Place {
    id: u32,
    src: Window,
    col: u32,
    row: u32,
}

/// What GDAL must leave out of a source.
#[derive(Clone, Copy, Default)]
struct Skips {
    nodata: Option<Nodata>,
    mask: bool,
    rescale: Option<Rescale>,
}

/// Writes the VRT of a mosaic.
///
/// # Errors
/// [`crate::error::Unsupported`] with the name of what a VRT cannot say: sources off the grid,
/// sources with both nodata and a mask, 64-bit
/// integers with nodata, a CRS that is not understood, control characters in a path; errors of
/// `name_of`; I/O errors of `out`.
pub fn write(mosaic: &Mosaic, name_of: &mut NameOf<'_>, out: &mut dyn Write) -> Result<()> {
    refuse(mosaic)?;
    let places = places(mosaic)?;
    let mut text = String::new();
    head(mosaic, &mut text)?;
    flush(out, &mut text)?;
    let mut names = Vec::new();
    for place in &places {
        let source = &mosaic.sources()[place.id as usize];
        let (name, relative) = name_of(source)?;
        let name = escape(&name).ok_or_else(|| {
            let feature = "a control character in a path, in a VRT";
            Error::unsupported(feature, "rename the file").with_path(source.path())
        })?;
        names.push((name, relative));
    }
    for band in 0..mosaic.bands {
        band_head(mosaic, band, &mut text);
        for (place, name) in places.iter().zip(&names) {
            let source = &mosaic.sources()[place.id as usize];
            let Some(own) = source.dataset_band(band) else { continue };
            let skips = skips(mosaic, source, band)?;
            push_source(&mut text, source, place, name, &format!("{}", own + 1), skips);
            flush(out, &mut text)?;
        }
        text.push_str("  </VRTRasterBand>\n");
    }
    if mosaic.validity == ValidityOutput::Mask {
        text.push_str("  <MaskBand>\n    <VRTRasterBand dataType=\"Byte\">\n");
        for (place, name) in places.iter().zip(&names) {
            let source = &mosaic.sources()[place.id as usize];
            // Zeros of a mask must not hide what lies below.
            let skips = Skips { nodata: Some(Nodata::Int(0)), ..Skips::default() };
            push_source(&mut text, source, place, name, "mask,1", skips);
            flush(out, &mut text)?;
        }
        text.push_str("    </VRTRasterBand>\n  </MaskBand>\n");
    }
    text.push_str("</VRTDataset>\n");
    flush(out, &mut text)
}

fn flush(out: &mut dyn Write, text: &mut String) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(|error: io::Error| Error::new(error))?;
    text.clear();
    Ok(())
}

/// What can be told from the mosaic as a whole.
fn refuse(mosaic: &Mosaic) -> Result<()> {
    if mosaic.validity == ValidityOutput::Alpha {
        return Err(Error::unsupported("an alpha band made of validity, in a VRT", "pass --mask"));
    }
    if !mosaic.overlap.is_by_order() {
        let hint = "take last or first";
        return Err(Error::unsupported(
            "a rule of overlap other than last and first, in a VRT",
            hint,
        ));
    }
    // GDAL leaves a band at 0 where a source says nothing of it: transparent instead of opaque.
    let changed = |source: &&Source| {
        let view = source.view.as_ref().is_some_and(|v| v.expand_palette || v.among.is_some());
        view || mosaic.facts.alpha_band.is_some_and(|alpha| source.pick(alpha).is_none())
    };
    if let Some(source) = mosaic.sources().iter().find(changed) {
        let feature = "an input without alpha beside others that have it, in a VRT";
        return Err(Error::unsupported(feature, "write the mosaic itself").with_path(source.path()));
    }
    if mosaic.dtype == DataType::F64 || mosaic.dtype.size() < 8 {
        return Ok(());
    }
    // GDAL takes samples through doubles wherever it looks at them.
    let looked_at = |source: &&Source| !source.is_opaque();
    match mosaic.sources().iter().find(looked_at) {
        None => Ok(()),
        Some(source) => {
            let feature =
                "64-bit integers with nodata or a mask, in a VRT (GDAL rounds them to doubles)";
            Err(Error::unsupported(feature, "write the mosaic itself").with_path(source.path()))
        }
    }
}

/// Where GDAL differs from smalti though the VRT is right: said to the user.
pub fn caveats(mosaic: &Mosaic) -> Vec<String> {
    let mut caveats = Vec::new();
    let nodata = mosaic
        .sources()
        .iter()
        .any(|source| (0..mosaic.bands).any(|b| source.nodata.band(b).is_some()));
    if mosaic.bands > 1 && mosaic.nodata_mode != NodataMode::Band && nodata {
        caveats.push(
            "a VRT judges nodata band by band: where pictures overlap and one band of the upper one is \
             nodata, GDAL shows that band of the lower one; `smalti mosaic --nodata-mode band` does so too"
                .to_owned(),
        );
    }
    let nan = |source: &Source| {
        let other = |value: Nodata| !value.to_f64().is_nan();
        source.dtype().is_float() && source.nodata.band(0).is_some_and(other)
    };
    if mosaic.sources().iter().any(nan) {
        caveats.push(
            "NaN is data to GDAL in a float raster whose nodata is another value; smalti never takes it for data"
                .to_owned(),
        );
    }
    caveats
}

/// Sources on the grid in painting order, cut to it.
fn places(mosaic: &Mosaic) -> Result<Vec<Place>> {
    let mut places = Vec::with_capacity(mosaic.sources().len());
    for id in 0..mosaic.sources().len() as u32 {
        places.extend(place(mosaic, id).at(mosaic.sources()[id as usize].path())?);
    }
    if mosaic.overlap == Overlap::First {
        places.reverse();
    }
    Ok(places)
}

/// `None` for a source beyond the grid.
fn place(mosaic: &Mosaic, id: u32) -> Result<Option<Place>> {
    let source = &mosaic.sources()[id as usize];
    if mosaic.placement(id).0 == Mapping::Warped {
        let feature = "an input of another CRS, in a VRT";
        return Err(Error::unsupported(
            feature,
            "give inputs of one CRS, or write the mosaic itself",
        ));
    }
    if source.view.as_ref().is_some_and(|view| view.expand_palette) {
        return Err(Error::unsupported("an expanded palette, in a VRT", "write the mosaic itself"));
    }
    let (grid, size) = (&mosaic.grid, source.size());
    let own = source.transform();
    let geographic = grid.crs.as_ref().is_some_and(|crs| crs.is_geographic());
    let turns = if geographic { &[0.0, 360.0, -360.0][..] } else { &[0.0] };
    let mut on_grid = false;
    for turn in turns {
        let mut coefficients = own.coefficients();
        coefficients[0] += turn;
        let moved = crate::geometry::GeoTransform::new(coefficients)?;
        let Some([col, row]) = offset_in(&grid.transform, &moved, size) else { continue };
        on_grid = true;
        let (right, down) = (col + i64::from(size.width), row + i64::from(size.height));
        let grid_window = Window::from_corners(col, row, right, down);
        let all = grid.size.window();
        let Some(cut) = grid_window.zip(all).and_then(|(a, b)| a.intersection(b)) else { continue };
        let window = source.window();
        let shift = |at: u32, start: i64| (i64::from(at) - start) as u32;
        let src = Window {
            col: window.col + shift(cut.col, col),
            row: window.row + shift(cut.row, row),
            width: cut.width,
            height: cut.height,
        };
        return Ok(Some(Place { id, src, col: cut.col, row: cut.row }));
    }
    if on_grid {
        return Ok(None);
    }
    let reason =
        "it lies off the mosaic's grid, where GDAL's VRT paints other pixels than smalti; \
                  give inputs of one grid, or choose it by --res, --align or --like"
            .to_owned();
    Err(InputError::Option { option: "VRT", reason }.into())
}

fn skips(mosaic: &Mosaic, source: &Source, band: u32) -> Result<Skips> {
    let dtype = source.dtype();
    let mut nodata = source.nodata.band(band).filter(|value| value.fits(dtype));
    let mask = source.mask().is_some() || source.alpha_band().is_some();
    if nodata.is_some() && mask {
        // With both GDAL looks at NODATA alone.
        let feature = "an input with both nodata and a mask or alpha, in a VRT";
        let hint = "pass --src-nodata none if the mask says it all";
        return Err(Error::unsupported(feature, hint).with_path(source.path()));
    }
    if nodata.is_none() && !mask && dtype.is_float() && mosaic.sources().len() > 1 {
        // NaN is never painted over data.
        nodata = Some(Nodata::Float(f64::NAN));
    }
    // Where a mask band lists all inputs, each says that it counts, so that we read back what we write.
    let mask = mask || (mosaic.validity == ValidityOutput::Mask && nodata.is_none());
    let rescale = source.rescale(band);
    Ok(Skips { nodata, mask, rescale })
}

fn head(mosaic: &Mosaic, text: &mut String) -> Result<()> {
    let size = mosaic.grid.size;
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "<VRTDataset rasterXSize=\"{}\" rasterYSize=\"{}\">",
        size.width, size.height
    );
    if let Some(crs) = &mosaic.grid.crs {
        let _ = writeln!(text, "  <SRS>{}</SRS>", escape(&crs_text(crs)?).unwrap_or_default());
    }
    let coefficients = mosaic.grid.transform.coefficients();
    let numbers: Vec<String> = coefficients.iter().map(|v| format!("{v:?}")).collect();
    let _ = writeln!(text, "  <GeoTransform>{}</GeoTransform>", numbers.join(", "));
    if mosaic.facts.pixel_is_point {
        let item =
            Item { name: "AREA_OR_POINT".into(), value: "Point".into(), domain: String::new() };
        push_items(text, "  ", &[item]);
    }
    push_items(text, "  ", &mosaic.facts.metadata.items);
    Ok(())
}

/// A text that GDAL reads as the CRS; heights as `EPSG:32633+5773`.
fn crs_text(crs: &Crs) -> Result<String> {
    let refuse = |what: &str| {
        let feature = format!("{crs}, {what}, in a VRT");
        Error::unsupported(feature, "pass --override-crs EPSG:n if it has one")
    };
    let horizontal =
        crs.srs_text().ok_or_else(|| refuse("a CRS that smalti does not understand"))?;
    // As the CRS prints: what follows " + " is its vertical part, as a code or in words.
    let text = crs.to_string();
    match text.rsplit_once(" + ") {
        None => Ok(horizontal),
        Some((_, heights)) => {
            let code = heights.strip_prefix("EPSG:").filter(|_| horizontal.starts_with("EPSG:"));
            let code = code.ok_or_else(|| refuse("heights without an EPSG code"))?;
            let code: String = code.chars().take_while(char::is_ascii_digit).collect();
            Ok(format!("{horizontal}+{code}"))
        }
    }
}

fn push_items(text: &mut String, indent: &str, items: &[Item]) {
    let plain: Vec<&Item> = items.iter().filter(|item| item.domain.is_empty()).collect();
    if plain.is_empty() {
        return;
    }
    let _ = writeln!(text, "{indent}<Metadata>");
    for item in plain {
        // What XML cannot hold is left out: it is no pixel.
        if let (Some(name), Some(value)) = (escape(&item.name), escape(&item.value)) {
            let _ = writeln!(text, "{indent}  <MDI key=\"{name}\">{value}</MDI>");
        }
    }
    let _ = writeln!(text, "{indent}</Metadata>");
}

fn band_head(mosaic: &Mosaic, band: u32, text: &mut String) {
    let none = BandMetadata::default();
    let facts = mosaic.facts.metadata.bands.get(band as usize).unwrap_or(&none);
    let _ = writeln!(
        text,
        "  <VRTRasterBand dataType=\"{}\" band=\"{}\">",
        type_name(mosaic.dtype),
        band + 1
    );
    let mut element = |name: &str, value: Option<String>| {
        if let Some(value) = value.and_then(|value| escape(&value)) {
            let _ = writeln!(text, "    <{name}>{value}</{name}>");
        }
    };
    element("Description", facts.description.clone());
    element("NoDataValue", mosaic.nodata.map(|value| value.to_string()));
    element("ColorInterp", Some(color_name(mosaic, band, facts)));
    element("UnitType", facts.unit.clone());
    element("Offset", facts.offset.map(|v| format!("{v:?}")));
    element("Scale", facts.scale.map(|v| format!("{v:?}")));
    push_items(text, "    ", &facts.items);
    if let Some(palette) = mosaic.facts.palette.as_ref().filter(|_| band == 0) {
        text.push_str("    <ColorTable>\n");
        let count = palette.len() / 3;
        for index in 0..count {
            let [r, g, b] = [0, 1, 2].map(|plane| palette[plane * count + index] >> 8);
            let _ = writeln!(text, "      <Entry c1=\"{r}\" c2=\"{g}\" c3=\"{b}\" c4=\"255\"/>");
        }
        text.push_str("    </ColorTable>\n");
    }
}

fn color_name(mosaic: &Mosaic, band: u32, own: &BandMetadata) -> String {
    if let Some(color) = &own.color {
        return color.clone();
    }
    const RGB: u16 = 2;
    let name = match (mosaic.facts.photometric, band) {
        _ if mosaic.facts.alpha_band == Some(band) => "Alpha",
        _ if mosaic.facts.palette.is_some() => "Palette",
        (RGB, 0) => "Red",
        (RGB, 1) => "Green",
        (RGB, 2) => "Blue",
        (RGB, _) => "Undefined",
        (_, 0) => "Gray",
        _ => "Undefined",
    };
    name.to_owned()
}

/// Name of a type as GDAL spells it.
fn type_name(dtype: DataType) -> &'static str {
    match dtype {
        DataType::U8 => "Byte",
        DataType::I8 => "Int8",
        DataType::U16 => "UInt16",
        DataType::I16 => "Int16",
        DataType::U32 => "UInt32",
        DataType::I32 => "Int32",
        DataType::U64 => "UInt64",
        DataType::I64 => "Int64",
        DataType::F32 => "Float32",
        DataType::F64 => "Float64",
        DataType::CI16 => "CInt16",
        DataType::CI32 => "CInt32",
        DataType::CF32 => "CFloat32",
        DataType::CF64 => "CFloat64",
    }
}

fn push_source(
    text: &mut String,
    source: &Source,
    place: &Place,
    (name, relative): &(String, bool),
    band: &str,
    skips: Skips,
) {
    let complex = skips.nodata.is_some() || skips.mask || skips.rescale.is_some();
    let kind = if complex { "ComplexSource" } else { "SimpleSource" };
    let image = &source.dataset.image;
    let block = image.stored_block_size();
    // A name that begins with white space would lose it.
    let dot = if *relative && name.starts_with(char::is_whitespace) { "./" } else { "" };
    let Window { col, row, width, height } = place.src;
    let _ = write!(
        text,
        "    <{kind}>\n      <SourceFilename relativeToVRT=\"{}\">{dot}{name}</SourceFilename>\n      \
         <SourceBand>{band}</SourceBand>\n      <SourceProperties RasterXSize=\"{}\" RasterYSize=\"{}\" \
         DataType=\"{}\" BlockXSize=\"{}\" BlockYSize=\"{}\"/>\n      <SrcRect xOff=\"{col}\" \
         yOff=\"{row}\" xSize=\"{width}\" ySize=\"{height}\"/>\n      <DstRect xOff=\"{}\" yOff=\"{}\" \
         xSize=\"{width}\" ySize=\"{height}\"/>\n",
        u8::from(*relative),
        image.size.width,
        image.size.height,
        type_name(if band.starts_with("mask") { DataType::U8 } else { image.dtype }),
        block.width,
        block.height,
        place.col,
        place.row,
    );
    if let Some(Rescale { scale, offset }) = skips.rescale {
        let _ = writeln!(
            text,
            "      <ScaleOffset>{offset:?}</ScaleOffset>\n      <ScaleRatio>{scale:?}</ScaleRatio>"
        );
    }
    if let Some(value) = skips.nodata {
        let _ = writeln!(text, "      <NODATA>{value}</NODATA>");
    }
    if skips.mask {
        text.push_str("      <UseMaskBand>true</UseMaskBand>\n");
    }
    let _ = writeln!(text, "    </{kind}>");
}

/// Text for XML; `None` if XML cannot hold it (XML 1.0 §2.2).
fn escape(text: &str) -> Option<String> {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            c if u32::from(c) < 32 || matches!(c, '\u{fffe}' | '\u{ffff}') => return None,
            c => escaped.push(c),
        }
    }
    Some(escaped)
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn texts_are_escaped_for_xml() {
        assert_eq!(
            escape("a<b>&\"c\"\t.tif").as_deref(),
            Some("a&lt;b&gt;&amp;&quot;c&quot;&#9;.tif")
        );
        assert_eq!(escape("a\u{1}"), None);
    }
}
