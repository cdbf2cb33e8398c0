//! GDAL's raster tile indexes (GTI) as inputs: GeoJSON whose features name a raster each, and `.gti` XML that
//! points at one. Indexes in GeoPackage, FlatGeobuf and other containers are refused by name.

use std::cmp::Ordering;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::crs::Crs;
use crate::error::{Error, FormatError, Result, ResultExt};
use crate::geometry::{GeoTransform, Size};
use crate::grid::Grid;
use crate::sample::Nodata;
use crate::source::catalog::{extension, read_json};
use crate::source::entry::{Entries, Entry, Hints};
use crate::source::href::local_path;
use crate::source::vrt_in::crs_of;
use crate::source::xml::Xml;

const FIELD: &str = "location";
const HINT: &str = "convert it: ogr2ogr -f GeoJSON OUT.geojson IN";

/// What a `.gti` file says.
#[derive(Default)]
struct Index {
    dataset: Option<String>,
    location: Option<String>,
    sort: Option<String>,
    descending: bool,
    /// ResX, ResY, MinX, MinY, MaxX, MaxY.
    numbers: [Option<f64>; 6],
    crs: Option<Arc<Crs>>,
    nodata: Option<Nodata>,
}

/// Whether a GeoJSON document is a tile index.
pub(super) fn is_index(value: &Value) -> bool {
    let features = value.get("features").and_then(Value::as_array);
    let first = features.and_then(|list| list.first());
    first.is_some_and(|feature| feature.get("properties").and_then(|p| p.get(FIELD)).is_some())
}

/// The rasters of a GeoJSON index at `path`: later features lie on top.
///
/// # Errors
/// [`FormatError::Text`] if a feature names none; [`crate::error::Unsupported`] for remote ones.
pub(super) fn read_geojson(value: &Value, path: &Path) -> Result<Vec<Entry>> {
    entries(value, path, &Index::default())
}

/// What a `.gti` file describes.
///
/// # Errors
/// As [`read_geojson`]; [`crate::error::Unsupported`] for elements that change pixels and are not read.
pub(super) fn read_xml(path: &Path) -> Result<Entries> {
    let index = parse(path).at(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let Some(name) = &index.dataset else { return Err(fail("it names no IndexDataset")) };
    let dataset = local_path(name, folder)?;
    refuse_container(&dataset)?;
    let list = entries(&read_json(&dataset)?, &dataset, &index).at(&dataset)?;
    let hints = Hints { grid: grid(&index)?, nodata: index.nodata, dtype: None };
    Ok(Entries { list, hints, descriptors: vec![dataset], nested: Vec::new() })
}

/// Names containers of tables that are not read.
///
/// # Errors
/// [`crate::error::Unsupported`].
pub(super) fn refuse_container(path: &Path) -> Result<()> {
    let kind = match extension(path).as_deref() {
        Some("gpkg") => "a tile index in a GeoPackage",
        Some("fgb") => "a tile index in a FlatGeobuf",
        Some("parquet") => "a tile index in a GeoParquet",
        Some("shp" | "dbf") => "a tile index in a Shapefile",
        _ => return Ok(()),
    };
    Err(Error::unsupported(kind, HINT).with_path(path))
}

fn parse(path: &Path) -> Result<Index> {
    let mut xml = Xml::new(File::open(path)?, "the tile index");
    let root = xml.child()?.filter(|root| root.name == "GDALTileIndexDataset");
    if root.is_none() {
        return Err(xml.fail("it is not a GDALTileIndexDataset"));
    }
    let mut index = Index::default();
    while let Some(element) = xml.child()? {
        const NUMBERS: [&str; 6] = ["ResX", "ResY", "MinX", "MinY", "MaxX", "MaxY"];
        let name = element.name.as_str();
        if let Some(at) = NUMBERS.iter().position(|own| *own == name) {
            let text = xml.text()?;
            let number = text.trim().parse::<f64>().ok().filter(|v| v.is_finite());
            index.numbers[at] =
                Some(number.ok_or_else(|| xml.fail(format!("{name} is no number")))?);
            continue;
        }
        match name {
            "IndexDataset" => index.dataset = Some(xml.text()?.trim().to_owned()),
            "LocationField" => index.location = Some(xml.text()?.trim().to_owned()),
            "SortField" => index.sort = Some(xml.text()?.trim().to_owned()),
            "SortFieldAsc" => {
                let text = xml.text()?.trim().to_ascii_lowercase();
                index.descending = matches!(text.as_str(), "no" | "false" | "0" | "off");
            }
            "SRS" => index.crs = Some(Arc::new(crs_of(xml.text()?.trim())?)),
            "NoData" | "NoDataValue" => index.nodata = Some(Nodata::parse(&xml.text()?)?),
            "IndexLayer"
            | "Metadata"
            | "Overview"
            | "BlockXSize"
            | "BlockYSize"
            | "BandCount"
            | "DataType"
            | "ColorInterpretation" => xml.skip()?,
            other => {
                let other: String = other.chars().take(60).collect();
                let feature = format!("{other:?} in a tile index");
                return Err(Error::unsupported(feature, "leave it out, or build a VRT"));
            }
        }
    }
    Ok(index)
}

/// The grid, where the index gives resolution and extent.
fn grid(index: &Index) -> Result<Option<Grid>> {
    let [Some(x), Some(y), Some(min_x), Some(min_y), Some(max_x), Some(max_y)] = index.numbers
    else {
        return Ok(None);
    };
    let side = |length: f64, res: f64| {
        let pixels = (length / res + 0.5).floor();
        (1.0..=2_147_483_647.0).contains(&pixels).then_some(pixels as u32)
    };
    let (Some(width), Some(height)) = (side(max_x - min_x, x), side(max_y - min_y, y)) else {
        return Err(fail("its extent and resolution make no grid"));
    };
    let transform = GeoTransform::north_up(min_x, max_y, x, y)?;
    Ok(Some(Grid { crs: index.crs.clone(), transform, size: Size { width, height } }))
}

fn entries(value: &Value, path: &Path, index: &Index) -> Result<Vec<Entry>> {
    let Some(features) = value.get("features").and_then(Value::as_array) else {
        return Err(fail("it is no collection of features"));
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let field = index.location.as_deref().unwrap_or(FIELD);
    let mut found: Vec<(Option<&Value>, Entry)> = Vec::with_capacity(features.len());
    for (number, feature) in features.iter().enumerate() {
        let properties = feature.get("properties");
        let location = properties.and_then(|p| p.get(field)).and_then(Value::as_str);
        let Some(location) = location.filter(|location| !location.is_empty()) else {
            return Err(fail(&format!("feature {} has no text in {field:?}", number + 1)));
        };
        let key = match &index.sort {
            None => None,
            Some(sort) => Some(
                properties
                    .and_then(|p| p.get(sort))
                    .ok_or_else(|| fail(&format!("feature {} has no {sort:?}", number + 1)))?,
            ),
        };
        found.push((key, Entry::new(located(location, folder)?)));
    }
    found.sort_by(|(a, _), (b, _)| {
        let order = a.zip(*b).map_or(Ordering::Equal, |(a, b)| compare(a, b));
        if index.descending { order.reverse() } else { order }
    });
    Ok(found.into_iter().map(|(_, entry)| entry).collect())
}

/// A path relative to the index, or to the working directory if it is found only there (gdaltindex
/// writes such).
fn located(location: &str, folder: &Path) -> Result<PathBuf> {
    let path = local_path(location, folder)?;
    let other = Path::new(location);
    let elsewhere = !path.exists() && other.is_relative() && other.exists();
    Ok(if elsewhere { other.to_path_buf() } else { path })
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64(), a.as_str(), b.as_str()) {
        (Some(a), Some(b), ..) => a.total_cmp(&b),
        (_, _, Some(a), Some(b)) => a.cmp(b),
        (a, b, ..) => a.is_some().cmp(&b.is_some()),
    }
}

fn fail(reason: &str) -> Error {
    FormatError::Text { what: "the tile index", reason: reason.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index(tiles: &[(&str, i64)]) -> Value {
        let features: Vec<Value> = tiles
            .iter()
            .map(|(name, z)| json!({"type": "Feature", "properties": {"location": name, "z": z}, "geometry": null}))
            .collect();
        json!({"type": "FeatureCollection", "features": features})
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.path.to_str().unwrap()).collect()
    }

    #[test]
    fn later_features_lie_on_top() {
        let value = index(&[("b.tif", 3), ("/x/a.tif", 1), ("c.tif", 2)]);
        assert!(is_index(&value));
        let list = read_geojson(&value, Path::new("dir/i.geojson")).unwrap();
        assert_eq!(names(&list), ["dir/b.tif", "/x/a.tif", "dir/c.tif"]);
        assert!(read_geojson(&index(&[("", 0)]), Path::new("i.geojson")).is_err());
        assert!(read_geojson(&index(&[("http://h/a.tif", 0)]), Path::new("i")).is_err());
    }

    #[test]
    fn xml_names_field_order_and_grid() {
        let folder = tempfile::tempdir().unwrap();
        let geojson = folder.path().join("tiles.geojson");
        std::fs::write(&geojson, index(&[("b.tif", 3), ("a.tif", 10), ("c.tif", 2)]).to_string())
            .unwrap();
        let gti = folder.path().join("m.gti");
        let write = |more: &str| {
            let text = format!(
                "<GDALTileIndexDataset><IndexDataset>tiles.geojson</IndexDataset>{more}</GDALTileIndexDataset>"
            );
            std::fs::write(&gti, text).unwrap();
        };
        write(
            "<SortField>z</SortField><ResX>10</ResX><ResY>10</ResY><MinX>0</MinX><MinY>0</MinY><MaxX>100</MaxX><MaxY>50</MaxY><SRS>EPSG:32633</SRS>",
        );
        let found = read_xml(&gti).unwrap();
        let order: Vec<String> =
            names(&found.list).iter().map(|n| n.rsplit('/').next().unwrap().to_owned()).collect();
        assert_eq!(order, ["c.tif", "b.tif", "a.tif"]);
        assert_eq!(found.hints.grid.unwrap().size, Size { width: 10, height: 5 });
        write("<Filter>z &gt; 2</Filter>");
        assert!(read_xml(&gti).unwrap_err().to_string().contains("Filter"));
        for container in ["x.gti.gpkg", "x.fgb", "x.parquet"] {
            assert!(refuse_container(Path::new(container)).is_err());
        }
    }
}
