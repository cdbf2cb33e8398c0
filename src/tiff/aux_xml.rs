//! `NAME.aux.xml`, where GDAL keeps what a raster's own format has no place for: CRS, geotransform, nodata.
//!
//! ```text
//! <PAMDataset>
//!   <SRS>GEOGCS[…]</SRS> <GeoTransform>x0, dx, rx, y0, ry, dy</GeoTransform>
//!   <PAMRasterBand band="1"> <NoDataValue>0</NoDataValue> </PAMRasterBand>
//! </PAMDataset>
//! ```
//! What the TIFF itself says goes first. Statistics are passed over, as those of the file itself are.

use std::sync::Arc;

use roxmltree::Node;

use crate::error::{FormatError, Result};
use crate::sample::{DataType, Nodata};
use crate::tiff::gdal_metadata::{BandMetadata, GdalMetadata, Item, parse_xml};
use crate::tiff::nodata;

/// What we take from the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuxXml {
    /// WKT of the CRS.
    pub wkt: Option<String>,
    /// The geotransform, in GDAL's order.
    pub transform: Option<[f64; 6]>,
    /// Band, counted from 0, and the text of its nodata.
    pub nodata: Vec<(u32, String)>,
    /// Descriptions, units, scales, offsets, other items.
    pub metadata: GdalMetadata,
    /// Colours of the first band's values from 0 on: red, green, blue.
    pub colors: Vec<[u8; 3]>,
}

/// Nodata of all bands, and nodata by band.
type BothNodata = (Option<Nodata>, Option<Arc<[Option<Nodata>]>>);

/// Most bands that are looked at: TIFF's own limit.
const MAX_BANDS: u32 = 65_535;
/// Most colours of a table.
const MAX_COLORS: usize = 65_536;

impl AuxXml {
    /// The nodata that all bands share, or each band's own.
    pub(crate) fn nodata_of(&self, bands: u32, dtype: DataType) -> BothNodata {
        let of = |band| {
            let (_, text) = self.nodata.iter().find(|(b, _)| *b == band)?;
            nodata::parse(text, dtype).0
        };
        let Some(first) = (0..bands).find_map(of) else { return (None, None) };
        if (0..bands).all(|band| of(band) == Some(first)) {
            return (Some(first), None);
        }
        (None, Some((0..bands).map(of).collect()))
    }

    /// Adds to the metadata of a TIFF what they lack.
    pub(crate) fn complete(&self, metadata: &mut GdalMetadata, bands: u32) {
        add_missing(&mut metadata.items, &self.metadata.items);
        let bands = self.metadata.bands.iter().take(bands as usize);
        if metadata.bands.len() < bands.len() {
            metadata.bands.resize_with(bands.len(), BandMetadata::default);
        }
        for (own, more) in metadata.bands.iter_mut().zip(bands) {
            let fill = |own: &mut Option<String>, more: &Option<String>| {
                if own.is_none() {
                    own.clone_from(more);
                }
            };
            fill(&mut own.description, &more.description);
            fill(&mut own.unit, &more.unit);
            fill(&mut own.color, &more.color);
            if own.scale.is_none() && own.offset.is_none() {
                (own.scale, own.offset) = (more.scale, more.offset);
            }
            add_missing(&mut own.items, &more.items);
        }
    }

    /// The colour map as a TIFF would have it, for samples of a type.
    pub(crate) fn color_map(&self, dtype: DataType) -> Option<Vec<u16>> {
        let count = match dtype {
            DataType::U8 => 1 << 8,
            DataType::U16 => 1 << 16,
            _ => return None,
        };
        let color = |index: usize, part: usize| self.colors.get(index).map_or(0, |c| c[part]);
        let wide = |part: usize| (0..count).map(move |index| u16::from(color(index, part)) * 257);
        (!self.colors.is_empty()).then(|| (0..3).flat_map(wide).collect())
    }

    fn add_band(&mut self, node: Node<'_, '_>) {
        let band = node.attribute("band").and_then(|band| band.parse::<u32>().ok());
        let Some(band @ 1..=MAX_BANDS) = band else { return };
        if let Some(text) = text_of(node, "NoDataValue").filter(|text| !text.is_empty()) {
            self.nodata.push((band - 1, text));
        }
        let number = |name| text_of(node, name)?.parse().ok().filter(|v: &f64| v.is_finite());
        let found = BandMetadata {
            description: text_of(node, "Description").filter(|text| !text.is_empty()),
            unit: text_of(node, "UnitType").filter(|text| !text.is_empty()),
            scale: number("Scale"),
            offset: number("Offset"),
            color: text_of(node, "ColorInterp"),
            items: items_of(node),
        };
        if found != BandMetadata::default() {
            let bands = &mut self.metadata.bands;
            bands.resize_with(bands.len().max(band as usize), BandMetadata::default);
            bands[band as usize - 1] = found;
        }
        let table = node.children().find(|child| child.has_tag_name("ColorTable"));
        if let (Some(table), 1) = (table, band) {
            let entries = table.children().filter(|child| child.has_tag_name("Entry"));
            self.colors = entries.take(MAX_COLORS).map(color_of).collect();
        }
    }
}

fn color_of(entry: Node<'_, '_>) -> [u8; 3] {
    ["c1", "c2", "c3"].map(|name| {
        let value = entry.attribute(name).and_then(|value| value.trim().parse::<u8>().ok());
        value.unwrap_or(0)
    })
}

fn add_missing(own: &mut Vec<Item>, more: &[Item]) {
    let known = |own: &[Item], item: &Item| {
        own.iter().any(|other| (&other.name, &other.domain) == (&item.name, &item.domain))
    };
    let count = own.len();
    own.extend(more.iter().filter(|item| !known(&own[..count], item)).cloned().collect::<Vec<_>>());
}

fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let child = node.children().find(|child| child.has_tag_name(name));
    child.and_then(|child| child.text()).map(|text| text.trim().to_owned())
}

/// Metadata items but for statistics, what the driver makes itself, and whole XML documents.
fn items_of(node: Node<'_, '_>) -> Vec<Item> {
    let mut items = Vec::new();
    for group in node.children().filter(|child| child.has_tag_name("Metadata")) {
        let domain = group.attribute("domain").unwrap_or_default();
        if group.attribute("format").is_some() || domain == "IMAGE_STRUCTURE" {
            continue;
        }
        for item in group.children().filter(|child| child.has_tag_name("MDI")) {
            let name = item.attribute("key").unwrap_or_default();
            let statistics = name.to_ascii_uppercase().starts_with("STATISTICS_");
            // Where the pixels lie is known from the geotransform.
            if name.is_empty() || statistics || name == "AREA_OR_POINT" {
                continue;
            }
            let value = item.text().unwrap_or_default().to_owned();
            items.push(Item { name: name.to_owned(), value, domain: domain.to_owned() });
        }
    }
    items
}

/// The CRS that Esri's programs write: `GeodataXform/SpatialReference/WKT` in a domain of its own.
fn esri_wkt(root: Node<'_, '_>) -> Option<String> {
    let groups = root.children().filter(|child| child.has_tag_name("Metadata"));
    let mut groups = groups.filter(|child| child.attribute("domain") == Some("xml:ESRI"));
    let spatial = groups
        .find_map(|group| group.descendants().find(|node| node.has_tag_name("SpatialReference")))?;
    text_of(spatial, "WKT")
}

/// Reads the text of the file.
///
/// # Errors
/// [`FormatError::Text`] if it is not such XML.
pub fn parse(text: &str) -> Result<AuxXml> {
    parse_xml(".aux.xml", text.trim_start_matches('\u{feff}').trim(), |root| {
        let mut aux = AuxXml::default();
        if root.tag_name().name() != "PAMDataset" {
            let reason = "its root element is no PAMDataset".into();
            return Err(FormatError::Text { what: ".aux.xml", reason }.into());
        }
        let wkt = text_of(root, "SRS").filter(|wkt| !wkt.is_empty());
        aux.wkt = wkt.or_else(|| esri_wkt(root)).filter(|wkt| !wkt.is_empty());
        aux.transform = text_of(root, "GeoTransform").and_then(|text| {
            let numbers: Vec<f64> =
                text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
            numbers.try_into().ok()
        });
        aux.metadata.items = items_of(root);
        for node in root.children().filter(|node| node.has_tag_name("PAMRasterBand")) {
            aux.add_band(node);
        }
        Ok(aux)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gdal_writes_is_read() {
        let text = "<PAMDataset>\n  <SRS dataAxisToSRSAxisMapping=\"2,1\">GEOGCS[\"WGS 84\"]</SRS>\n \
            <GeoTransform>  1.0e+01,  5.0e-01,  0.0, 5.0e+01, 0.0, -5.0e-01</GeoTransform>\n \
            <PAMRasterBand band=\"1\"><NoDataValue>-9999</NoDataValue></PAMRasterBand>\n \
            <PAMRasterBand band=\"2\"><NoDataValue>nan</NoDataValue></PAMRasterBand></PAMDataset>";
        let aux = parse(text).unwrap();
        assert_eq!(aux.wkt.as_deref(), Some("GEOGCS[\"WGS 84\"]"));
        assert_eq!(aux.transform, Some([10.0, 0.5, 0.0, 50.0, 0.0, -0.5]));
        let (all, bands) = aux.nodata_of(2, DataType::F32);
        let bands = bands.unwrap();
        assert!(all.is_none() && bands[0] == Some(Nodata::Int(-9999)));
        assert!(matches!(bands[1], Some(Nodata::Float(value)) if value.is_nan()));
        assert_eq!(aux.nodata_of(1, DataType::F32), (Some(Nodata::Int(-9999)), None));
        // The TIFF's own go first; of the file beside, what it lacks.
        let text = "<PAMDataset><Metadata><MDI key=\"A\">1</MDI><MDI key=\"B\">2</MDI></Metadata>\
            <Metadata domain=\"xml:ESRI\" format=\"xml\"><GeodataXform><SpatialReference>\
            <WKT>GEOGCS[\"x\"]</WKT></SpatialReference></GeodataXform></Metadata>\
            <PAMRasterBand band=\"2\"><Description>d</Description><UnitType>m</UnitType>\
            <Scale>0.5</Scale><Offset>3</Offset><ColorInterp>NIR</ColorInterp><Metadata>\
            <MDI key=\"STATISTICS_MEAN\">1</MDI></Metadata></PAMRasterBand><PAMRasterBand band=\"1\">\
            <ColorTable><Entry c1=\"1\" c2=\"2\" c3=\"255\" c4=\"0\"/></ColorTable></PAMRasterBand>\
            </PAMDataset>";
        let aux = parse(text).unwrap();
        assert_eq!(aux.wkt.as_deref(), Some("GEOGCS[\"x\"]"));
        let own = "<GDALMetadata><Item name='A'>own</Item>\
            <Item name='UNITTYPE' sample='1' role='unittype'>ft</Item></GDALMetadata>";
        let mut metadata = GdalMetadata::parse(own).unwrap();
        aux.complete(&mut metadata, 2);
        let items: Vec<_> = metadata.items.iter().map(|i| (&*i.name, &*i.value)).collect();
        assert_eq!(items, [("A", "own"), ("B", "2")]);
        let band = &metadata.bands[1];
        assert_eq!((band.unit.as_deref(), band.description.as_deref()), (Some("ft"), Some("d")));
        assert_eq!((band.scale, band.offset, band.items.len()), (Some(0.5), Some(3.0), 0));
        assert_eq!(band.color.as_deref(), Some("NIR"));
        let map = aux.color_map(DataType::U8).unwrap();
        assert_eq!((map.len(), map[0], map[256], map[512], map[1]), (768, 257, 514, 65_535, 0));
        assert!(aux.color_map(DataType::F32).is_none());
        assert!(parse("<x/>").is_err() && parse("<PAMDataset>").is_err());
    }
}
