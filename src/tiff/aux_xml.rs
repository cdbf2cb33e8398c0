//! `NAME.aux.xml`, where GDAL keeps what a raster's own format has no place for: CRS, geotransform, nodata.
//!
//! ```text
//! <PAMDataset>
//!   <SRS>GEOGCS[…]</SRS> <GeoTransform>x0, dx, rx, y0, ry, dy</GeoTransform>
//!   <PAMRasterBand band="1"> <NoDataValue>0</NoDataValue> </PAMRasterBand>
//! </PAMDataset>
//! ```
//! Statistics are passed over, as those of the file itself are.

use std::sync::Arc;

use crate::error::{FormatError, Result};
use crate::sample::Nodata;
use crate::tiff::gdal_metadata::parse_xml;

/// What we take from the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuxXml {
    /// WKT of the CRS.
    pub wkt: Option<String>,
    /// The geotransform, in GDAL's order.
    pub transform: Option<[f64; 6]>,
    /// Band, counted from 0, and its nodata.
    pub nodata: Vec<(u32, Nodata)>,
}

/// Nodata of all bands, and nodata by band.
type BothNodata = (Option<Nodata>, Option<Arc<[Option<Nodata>]>>);

impl AuxXml {
    /// The nodata that all bands share, or each band's own.
    pub(crate) fn nodata_of(&self, bands: u32) -> BothNodata {
        let of = |band| self.nodata.iter().find(|(b, _)| *b == band).map(|(_, value)| *value);
        let Some(first) = (0..bands).find_map(of) else { return (None, None) };
        if (0..bands).all(|band| of(band) == Some(first)) {
            return (Some(first), None);
        }
        (None, Some((0..bands).map(of).collect()))
    }
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
        let text = |node: roxmltree::Node<'_, '_>, name: &str| {
            let child = node.children().find(|child| child.has_tag_name(name));
            child.and_then(|child| child.text()).map(|text| text.trim().to_owned())
        };
        aux.wkt = text(root, "SRS").filter(|wkt| !wkt.is_empty());
        aux.transform = text(root, "GeoTransform").and_then(|text| {
            let numbers: Vec<f64> =
                text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
            numbers.try_into().ok()
        });
        for node in root.children().filter(|node| node.has_tag_name("PAMRasterBand")) {
            let band = node.attribute("band").and_then(|band| band.parse::<u32>().ok());
            let nodata = text(node, "NoDataValue").and_then(|text| Nodata::parse(&text).ok());
            if let (Some(band @ 1..), Some(nodata)) = (band, nodata) {
                aux.nodata.push((band - 1, nodata));
            }
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
        let (all, bands) = aux.nodata_of(2);
        let bands = bands.unwrap();
        assert!(all.is_none() && bands[0] == Some(Nodata::Int(-9999)));
        assert!(matches!(bands[1], Some(Nodata::Float(value)) if value.is_nan()));
        assert_eq!(aux.nodata_of(1), (Some(Nodata::Int(-9999)), None));
        assert!(parse("<x/>").is_err() && parse("<PAMDataset>").is_err());
    }
}
