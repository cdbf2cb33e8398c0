//! GDAL's VRT as an input: its sources, each once, with the bands that it fills (here), and their way into
//! a mosaic, nested VRTs included ([`super::vrt_flatten`]).
//!
//! Read are `SimpleSource`; `ComplexSource` with `NODATA`, `UseMaskBand`, `ScaleOffset` and `ScaleRatio`;
//! and a `MaskBand` made of its sources' masks. Anything that changes pixels and is none of these is
//! refused by name. The file is read as a stream.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crs::Crs;
use crate::error::{Error, Result, ResultExt};
use crate::geometry::{GeoTransform, Size};
use crate::sample::{DataType, Nodata};
use crate::source::Rescale;
use crate::source::open::open_any;
use crate::source::xml::{Element, Xml};
use crate::tiff::reader::ReadOptions;

/// Most sources of a VRT, bands not counted.
const MAX_PARTS: usize = 10_000_000;
/// Most bands of a VRT.
const MAX_BANDS: usize = 65_535;
/// What would help with a VRT that is more than a mosaic.
/// Most sources of a `MaskBand` that are looked at one by one.
const MOST_PLAIN: usize = 1000;

const HINT: &str = "write it as a GeoTIFF first: gdal_translate IN.vrt OUT.tif";

/// A VRT as it is written.
#[derive(Debug, Clone)]
pub(super) struct Vrt {
    pub(super) size: Size,
    pub(super) crs: Option<Arc<Crs>>,
    pub(super) transform: Option<GeoTransform>,
    pub(super) dtype: DataType,
    /// One a band.
    pub(super) nodata: Vec<Option<Nodata>>,
    /// Bottom to top.
    pub(super) parts: Vec<Part>,
    pub(super) files: Vec<Arc<PathBuf>>,
    pub(super) has_mask: bool,
}

/// A part of a file at a place of a VRT.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Number of its file.
    pub(super) file: u32,
    pub(super) src: Rect,
    pub(super) dst: Rect,
    /// The file's mask or alpha counts.
    pub(super) use_mask: bool,
    /// By band of the VRT, up to the last that it fills.
    pub(super) bands: Vec<Option<PartBand>>,
}

/// What a part gives to a band.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PartBand {
    /// Band of the file, from 0.
    pub(super) band: u32,
    pub(super) nodata: Option<Nodata>,
    pub(super) rescale: Option<Rescale>,
}

/// Pixels, maybe fractions of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    fn touches(&self, other: &Rect) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// Reads a VRT file.
///
/// # Errors
/// I/O errors; [`crate::error::FormatError::Text`] if it is no VRT; [`crate::error::Unsupported`] for
/// what is not read.
pub(super) fn read(path: &Path) -> Result<Vrt> {
    let file = File::open(path).at(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(file, folder).at(path)
}

/// Reads the text of a VRT that lies in `folder`.
pub(super) fn parse(input: impl Read, folder: &Path) -> Result<Vrt> {
    let mut xml = Xml::new(input, "the VRT");
    let root = xml.child()?.filter(|root| root.name == "VRTDataset");
    let Some(root) = root else { return Err(xml.fail("it is not a VRTDataset")) };
    if let Some(class) = root.attribute("subClass") {
        return Err(refuse(format!("a VRT of class {class}")));
    }
    let side = |name: &str| root.attribute(name).and_then(|v| v.trim().parse::<u32>().ok());
    let size = match (side("rasterXSize"), side("rasterYSize")) {
        (Some(width @ 1..=0x7fff_ffff), Some(height @ 1..=0x7fff_ffff)) => Size { width, height },
        _ => return Err(xml.fail("rasterXSize and rasterYSize must be 1 to 2147483647")),
    };
    let mut parser = Parser {
        folder,
        vrt: Vrt {
            size,
            crs: None,
            transform: None,
            dtype: DataType::U8,
            nodata: Vec::new(),
            parts: Vec::new(),
            files: Vec::new(),
            has_mask: false,
        },
        file_of: HashMap::new(),
        part_of: HashMap::new(),
        size_of: HashMap::new(),
        masks: Vec::new(),
    };
    while let Some(element) = xml.child()? {
        parser.dataset_element(&mut xml, &element)?;
    }
    parser.finish(&xml)
}

fn refuse(feature: impl std::fmt::Display) -> Error {
    Error::unsupported(format!("{feature} in a VRT"), HINT)
}

/// What tells parts of one file from each other: the file, its rectangles, and whether masks count.
type PartKey = (u32, [u64; 8], bool);

struct Parser<'a> {
    folder: &'a Path,
    vrt: Vrt,
    file_of: HashMap<String, u32>,
    part_of: HashMap<PartKey, u32>,
    size_of: HashMap<u32, [f64; 2]>,
    /// Files whose masks are in the `MaskBand`.
    masks: Vec<u32>,
}

/// A source element as it is written.
#[derive(Default)]
struct Raw {
    file: Option<u32>,
    band: String,
    size: Option<[f64; 2]>,
    src: Option<Rect>,
    dst: Option<Rect>,
    nodata: Option<Nodata>,
    offset: Option<f64>,
    ratio: Option<f64>,
    use_mask: bool,
}

impl Parser<'_> {
    fn dataset_element<R: Read>(&mut self, xml: &mut Xml<R>, element: &Element) -> Result<()> {
        match element.name.as_str() {
            "SRS" => {
                let text = xml.text()?;
                if !text.trim().is_empty() {
                    self.vrt.crs = Some(Arc::new(crs_of(text.trim())?));
                }
                Ok(())
            }
            "GeoTransform" => {
                let text = xml.text()?;
                let numbers: Option<Vec<f64>> =
                    text.split(',').map(|part| part.trim().parse().ok()).collect();
                let numbers = numbers.and_then(|list| <[f64; 6]>::try_from(list).ok());
                let Some(numbers) = numbers else {
                    return Err(xml.fail("GeoTransform is not six numbers"));
                };
                self.vrt.transform = Some(GeoTransform::new(numbers)?);
                Ok(())
            }
            "VRTRasterBand" => self.band(xml, element),
            "MaskBand" => {
                self.vrt.has_mask = true;
                while let Some(band) = xml.child()? {
                    if band.name != "VRTRasterBand" {
                        return Err(refuse(format!("{:?} in a MaskBand", short(&band.name))));
                    }
                    self.mask_band(xml)?;
                }
                Ok(())
            }
            "Metadata" | "OverviewList" | "BlockXSize" | "BlockYSize" => xml.skip(),
            other => Err(refuse(format!("{:?}", short(other)))),
        }
    }

    fn band<R: Read>(&mut self, xml: &mut Xml<R>, element: &Element) -> Result<()> {
        if let Some(class) = element.attribute("subClass") {
            return Err(refuse(format!("a band of class {class:?}")));
        }
        let index = self.vrt.nodata.len();
        if index >= MAX_BANDS {
            return Err(xml.fail(format!("more than {MAX_BANDS} bands")));
        }
        let name = element.attribute("dataType").unwrap_or("Byte");
        let dtype = DataType::parse(name)
            .ok_or_else(|| refuse(format!("a band of type {:?}", short(name))))?;
        if index > 0 && dtype != self.vrt.dtype {
            return Err(refuse(format!("bands of {} and {}", self.vrt.dtype, dtype)));
        }
        self.vrt.dtype = dtype;
        self.vrt.nodata.push(None);
        // The part that was painted last in this band.
        let mut last = None;
        while let Some(child) = xml.child()? {
            match child.name.as_str() {
                "NoDataValue" => self.vrt.nodata[index] = Some(Nodata::parse(&xml.text()?)?),
                "SimpleSource" | "ComplexSource" => {
                    let raw = self.source(xml, &child)?;
                    last = Some(self.add(xml, &raw, index, last)?);
                }
                "Metadata"
                | "Description"
                | "ColorInterp"
                | "ColorTable"
                | "UnitType"
                | "Offset"
                | "Scale"
                | "CategoryNames"
                | "Histograms"
                | "HideNoDataValue"
                | "Overview"
                | "GDALRasterAttributeTable" => xml.skip()?,
                other => return Err(refuse(format!("{:?}", short(other)))),
            }
        }
        Ok(())
    }

    fn mask_band<R: Read>(&mut self, xml: &mut Xml<R>) -> Result<()> {
        while let Some(child) = xml.child()? {
            match child.name.as_str() {
                "SimpleSource" | "ComplexSource" => {
                    let raw = self.source(xml, &child)?;
                    if !raw.band.trim().starts_with("mask") {
                        return Err(refuse("a MaskBand that is not made of masks"));
                    }
                    self.masks.extend(raw.file);
                }
                "Metadata" | "ColorInterp" => xml.skip()?,
                other => return Err(refuse(format!("{:?} in a MaskBand", short(other)))),
            }
        }
        Ok(())
    }

    fn source<R: Read>(&mut self, xml: &mut Xml<R>, element: &Element) -> Result<Raw> {
        let resampling = element.attribute("resampling").unwrap_or("nearest");
        if !resampling.to_ascii_lowercase().starts_with("near") {
            return Err(refuse(format!("a source with resampling {:?}", short(resampling))));
        }
        let complex = element.name == "ComplexSource";
        let mut raw = Raw { band: "1".into(), ..Raw::default() };
        while let Some(child) = xml.child()? {
            match child.name.as_str() {
                "SourceFilename" => {
                    let relative = child.attribute("relativeToVRT").unwrap_or("0").trim() == "1";
                    raw.file = Some(self.file(&xml.text()?, relative)?);
                }
                "SourceBand" => raw.band = xml.text()?,
                "SourceProperties" => {
                    let side = |name| child.attribute(name)?.trim().parse::<f64>().ok();
                    raw.size = side("RasterXSize").zip(side("RasterYSize")).map(|(x, y)| [x, y]);
                    xml.skip()?;
                }
                "SrcRect" => raw.src = rect(xml, &child)?,
                "DstRect" => raw.dst = rect(xml, &child)?,
                "NODATA" if complex => raw.nodata = Some(Nodata::parse(&xml.text()?)?),
                "ScaleOffset" if complex => raw.offset = Some(number(xml)?),
                "ScaleRatio" if complex => raw.ratio = Some(number(xml)?),
                "UseMaskBand" if complex => {
                    let text = xml.text()?.trim().to_ascii_lowercase();
                    raw.use_mask = matches!(text.as_str(), "true" | "1" | "yes" | "on");
                }
                "Name" => xml.skip()?,
                other => return Err(refuse(format!("{:?} of a source", short(other)))),
            }
        }
        if raw.nodata.is_some() && raw.use_mask {
            // GDAL looks at NODATA alone then, which is hardly what was meant.
            return Err(refuse("a source with both NODATA and UseMaskBand"));
        }
        Ok(raw)
    }

    fn file(&mut self, name: &str, relative: bool) -> Result<u32> {
        let key = format!("{}{name}", u8::from(relative));
        if let Some(index) = self.file_of.get(&key) {
            return Ok(*index);
        }
        if name.starts_with("/vsi") || name.contains("://") {
            return Err(refuse(format!("the file {:?}", short(name))));
        }
        let path = if relative { self.folder.join(name) } else { PathBuf::from(name) };
        let index = self.vrt.files.len() as u32;
        self.vrt.files.push(Arc::new(path));
        self.file_of.insert(key, index);
        Ok(index)
    }

    /// Columns and rows of a file, which its source does not state.
    fn size_of(&mut self, file: u32) -> Result<[f64; 2]> {
        if let Some(size) = self.size_of.get(&file) {
            return Ok(*size);
        }
        let path = &self.vrt.files[file as usize];
        let Size { width, height } = open_any(path, ReadOptions::default())?.size();
        let size = [f64::from(width), f64::from(height)];
        self.size_of.insert(file, size);
        Ok(size)
    }

    /// Adds what a source gives to band `index`; `last` is the part below it there.
    fn add<R: Read>(
        &mut self,
        xml: &Xml<R>,
        raw: &Raw,
        index: usize,
        last: Option<u32>,
    ) -> Result<u32> {
        let Some(file) = raw.file else { return Err(xml.fail("a source without SourceFilename")) };
        let text = raw.band.trim();
        let Some(band) = text.parse::<u32>().ok().and_then(|band| band.checked_sub(1)) else {
            return Err(refuse(format!("{:?} as a SourceBand", short(text))));
        };
        let whole = |[width, height]: [f64; 2]| Rect { x: 0.0, y: 0.0, width, height };
        let src = match raw.src.or(raw.size.map(whole)) {
            Some(src) => src,
            None => whole(self.size_of(file)?),
        };
        let Size { width, height } = self.vrt.size;
        let dst = raw.dst.unwrap_or(whole([f64::from(width), f64::from(height)]));
        let rescale =
            Rescale { scale: raw.ratio.unwrap_or(1.0), offset: raw.offset.unwrap_or(0.0) };
        let rescale = Some(rescale).filter(|rescale| *rescale != Rescale::NONE);
        let own = PartBand { band, nodata: raw.nodata, rescale };
        let bits = [src.x, src.y, src.width, src.height, dst.x, dst.y, dst.width, dst.height];
        let key = (file, bits.map(f64::to_bits), raw.use_mask);
        // The same part of a file in another band is one source, if the order allows it.
        let parts = &mut self.vrt.parts;
        let found = self.part_of.get(&key).copied().filter(|part| {
            last.is_none_or(|last| last < *part) && parts[*part as usize].bands.len() <= index
        });
        let part = match found {
            Some(part) => part,
            None => {
                if parts.len() >= MAX_PARTS {
                    return Err(xml.fail(format!("more than {MAX_PARTS} sources")));
                }
                let use_mask = raw.use_mask;
                parts.push(Part { file, src, dst, use_mask, bands: Vec::new() });
                let part = parts.len() as u32 - 1;
                self.part_of.insert(key, part);
                part
            }
        };
        let bands = &mut parts[part as usize].bands;
        bands.resize(index, None);
        bands.push(Some(own));
        Ok(part)
    }

    fn finish<R: Read>(self, xml: &Xml<R>) -> Result<Vrt> {
        let Parser { mut vrt, masks, .. } = self;
        if vrt.nodata.is_empty() {
            return Err(xml.fail("it has no bands"));
        }
        let masks: HashSet<u32> = masks.into_iter().collect();
        let plain: Vec<usize> = (0..vrt.parts.len())
            .filter(|at| !vrt.parts[*at].use_mask && masks.contains(&vrt.parts[*at].file))
            .collect();
        // Of a part with nothing below it, pixels that a mask leaves out are what they are in a source whose
        // mask counts: nothing. Over other parts they would hide those.
        let lies_free = |at: usize| {
            let part = &vrt.parts[at];
            let free = |below: &Part| !below.dst.touches(&part.dst);
            vrt.parts[..at].iter().all(free)
                && part.bands.iter().flatten().all(|b| b.nodata.is_none())
        };
        if plain.len() > MOST_PLAIN || !plain.iter().all(|at| lies_free(*at)) {
            return Err(refuse("a MaskBand over sources without UseMaskBand that lie over others"));
        }
        plain.into_iter().for_each(|at| vrt.parts[at].use_mask = true);
        Ok(vrt)
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn number<R: Read>(xml: &mut Xml<R>) -> Result<f64> {
    let text = xml.text()?;
    let value = text.trim().parse::<f64>().ok().filter(|v| v.is_finite());
    value.ok_or_else(|| xml.fail(format!("{:?} is not a finite number", short(&text))))
}

/// `None` for GDAL's "all of it": offsets and sizes of -1.
fn rect<R: Read>(xml: &mut Xml<R>, element: &Element) -> Result<Option<Rect>> {
    xml.skip()?;
    let number = |name: &str| {
        let value = element.attribute(name)?.trim().parse::<f64>().ok();
        value.filter(|v| v.is_finite() && v.abs() < 1e15)
    };
    let all = (number("xOff"), number("yOff"), number("xSize"), number("ySize"));
    match all {
        (Some(x), Some(y), Some(width), Some(height)) if width > 0.0 && height > 0.0 => {
            Ok(Some(Rect { x, y, width, height }))
        }
        (Some(x), Some(y), Some(width), Some(height)) if [x, y, width, height] == [-1.0; 4] => {
            Ok(None)
        }
        _ => Err(xml.fail(format!("{} is not a rectangle", element.name))),
    }
}

/// The CRS of WKT or `EPSG:n`: by the code that its root names, else as [`Crs::parse`] takes it.
pub(super) fn crs_of(text: &str) -> Result<Crs> {
    match root_code(text) {
        Some(code) => Crs::from_epsg(code),
        None => Crs::parse(text),
    }
}

/// EPSG code of the root of a WKT: of an `AUTHORITY["EPSG","n"]` or `ID["EPSG",n]` directly below it.
fn root_code(wkt: &str) -> Option<u32> {
    let (mut depth, mut quoted, mut found) = (0u32, false, None);
    let compound = ["COMPD_CS", "COMPOUNDCRS"].iter().any(|name| wkt.starts_with(name));
    for (at, c) in wkt.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '[' | '(' if !quoted => {
                let name = wkt[..at].rsplit([',', '[', ' ', '\n', '\t', '(']).next().unwrap_or("");
                if depth == 1 && matches!(name, "AUTHORITY" | "ID") {
                    found = Some(&wkt[at + 1..]);
                }
                depth += 1;
            }
            ']' | ')' if !quoted => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    let mut parts = found.filter(|_| !compound)?.split([',', ']', ')']);
    let clean = |text: &str| text.trim().trim_matches('"').to_owned();
    let (authority, code) = (clean(parts.next()?), clean(parts.next()?));
    (authority.eq_ignore_ascii_case("EPSG") && depth == 0).then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_wkt_is_that_of_its_root() {
        let wkt1 = "PROJCS[\"x, [y]\",GEOGCS[\"WGS 84\",AUTHORITY[\"EPSG\",\"4326\"]],UNIT[\"metre\",1,AUTHORITY[\"EPSG\",\"9001\"]],AUTHORITY[\"EPSG\",\"32633\"]]";
        assert_eq!(root_code(wkt1), Some(32633));
        let wkt2 =
            "PROJCRS[\"x\",BASEGEOGCRS[\"WGS 84\",ID[\"EPSG\",4326]],\n    ID[\"EPSG\",25832]]";
        assert_eq!(root_code(wkt2), Some(25832));
        let custom =
            "PROJCS[\"x\",GEOGCS[\"WGS 84\",AUTHORITY[\"EPSG\",\"4326\"]],UNIT[\"metre\",1]]";
        assert_eq!(root_code(custom), None);
        assert_eq!(root_code("EPSG:32633"), None);
        assert_eq!(crs_of("EPSG:32633").unwrap().epsg(), Some(32633));
    }

    fn parse_text(text: &str) -> Result<Vrt> {
        parse(text.as_bytes(), Path::new("dir"))
    }

    fn source(kind: &str, file: &str, band: u32, x: f64, more: &str) -> String {
        format!(
            "<{kind}><SourceFilename relativeToVRT=\"1\">{file}</SourceFilename><SourceBand>{band}</SourceBand>\
             <SrcRect xOff=\"0\" yOff=\"0\" xSize=\"10\" ySize=\"10\"/><DstRect xOff=\"{x}\" yOff=\"0\" \
             xSize=\"10\" ySize=\"10\"/>{more}</{kind}>"
        )
    }

    fn vrt(bands: &[String]) -> String {
        let bands =
            bands.iter().map(|b| format!("<VRTRasterBand dataType=\"UInt16\">{b}</VRTRasterBand>"));
        let bands: String = bands.collect();
        format!(
            "<VRTDataset rasterXSize=\"20\" rasterYSize=\"10\"><GeoTransform>0,1,0,0,0,-1</GeoTransform>{bands}</VRTDataset>"
        )
    }

    #[test]
    fn bands_of_one_part_are_one_source() {
        let band = |n| {
            let a = source("SimpleSource", "a.tif", n, 0.0, "");
            a + &source("ComplexSource", "b.tif", 3 - n, 10.0, "<NODATA>7</NODATA>")
        };
        let vrt = parse_text(&vrt(&[band(1), band(2)])).unwrap();
        assert_eq!((vrt.parts.len(), vrt.files.len(), vrt.dtype), (2, 2, DataType::U16));
        assert_eq!(*vrt.files[0], Path::new("dir/a.tif"));
        let own =
            |part: usize| vrt.parts[part].bands.iter().map(|b| b.unwrap().band).collect::<Vec<_>>();
        assert_eq!((own(0), own(1)), (vec![0, 1], vec![1, 0]));
        assert_eq!(vrt.parts[1].bands[0].unwrap().nodata, Some(Nodata::Int(7)));
    }

    #[test]
    fn an_order_that_differs_from_band_to_band_is_kept() {
        let a = source("SimpleSource", "a.tif", 1, 0.0, "");
        let b = source("SimpleSource", "b.tif", 1, 5.0, "");
        let vrt = parse_text(&vrt(&[format!("{a}{b}"), format!("{b}{a}")])).unwrap();
        let bands: Vec<(u32, Vec<bool>)> = vrt
            .parts
            .iter()
            .map(|part| (part.file, part.bands.iter().map(Option::is_some).collect()))
            .collect();
        // In band 2, b lies below a: a needs a second part on top.
        let expected = vec![(0, vec![true]), (1, vec![true, true]), (0, vec![false, true])];
        assert_eq!(bands, expected);
    }

    #[test]
    fn what_is_not_read_is_named() {
        let one = |kind: &str, more: &str| vrt(&[source(kind, "a.tif", 1, 0.0, more)]);
        let mut cases = 0;
        for (text, word) in [
            (one("AveragedSource", ""), "AveragedSource"),
            (one("KernelFilteredSource", ""), "KernelFilteredSource"),
            (one("ComplexSource", "<LUT>0:0,1:2</LUT>"), "LUT"),
            (one("ComplexSource", "<Exponent>2</Exponent>"), "Exponent"),
            (one("SimpleSource", "<NODATA>0</NODATA>"), "NODATA"),
            (
                one("SimpleSource resampling=\"bilinear\"", "")
                    .replace("</SimpleSource resampling=\"bilinear\">", "</SimpleSource>"),
                "bilinear",
            ),
            (vrt(&[]), "no bands"),
            (
                one("SimpleSource", "")
                    .replace("<VRTRasterBand", "<VRTRasterBand subClass=\"VRTDerivedRasterBand\""),
                "VRTDerivedRasterBand",
            ),
            (
                one("SimpleSource", "")
                    .replace("<VRTDataset", "<VRTDataset subClass=\"VRTWarpedDataset\""),
                "VRTWarpedDataset",
            ),
            (one("SimpleSource", "").replace("UInt16", "UInt24"), "UInt24"),
            (one("SimpleSource", "").replace("a.tif", "/vsicurl/x"), "/vsicurl"),
            (one("SimpleSource", "").replace("xSize=\"10\"", "xSize=\"nan\""), "SrcRect"),
            (
                one("SimpleSource", "").replace("rasterXSize=\"20\"", "rasterXSize=\"0\""),
                "rasterXSize",
            ),
            ("<VRTDataset".into(), "the VRT"),
            ("<x/>".into(), "VRTDataset"),
        ] {
            let error = parse_text(&text).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
            cases += 1;
        }
        assert_eq!(cases, 15);
    }
}
