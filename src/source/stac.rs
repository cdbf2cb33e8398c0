//! Static STAC documents as inputs: items, item collections, and catalogues and collections whose items lie
//! beside them. What the files themselves say counts; of an item only the asset's href is used.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, FormatError, InputError, Result, ResultExt};
use crate::source::catalog::{extension, read_json};
use crate::source::entry::Entry;
use crate::source::href::local_path;

/// Deepest nesting of catalogues.
const MAX_DEPTH: u32 = 16;
/// Most items of a catalogue.
const MAX_ITEMS: usize = 1_000_000;

/// Whether a document is one of STAC.
pub(super) fn is_stac(value: &Value) -> bool {
    let features = value.get("features").and_then(Value::as_array);
    let items = features.and_then(|list| list.first()).is_some_and(|f| f.get("assets").is_some());
    items || value.get("assets").is_some() || value.get("stac_version").is_some()
}

/// The rasters of a document that lies at `path`; `asset` is the key of the asset that is wanted.
///
/// # Errors
/// [`InputError::Option`] if an item has several rasters and none is chosen;
/// [`crate::error::Unsupported`] for remote ones; [`FormatError::Text`] for what is no STAC.
pub(super) fn read(value: &Value, path: &Path, asset: Option<&str>) -> Result<Vec<Entry>> {
    let mut reader = Reader { asset, list: Vec::new() };
    reader.document(value, path, 0)?;
    Ok(reader.list)
}

struct Reader<'a> {
    asset: Option<&'a str>,
    list: Vec<Entry>,
}

impl Reader<'_> {
    fn document(&mut self, value: &Value, path: &Path, depth: u32) -> Result<()> {
        if let Some(features) = value.get("features").and_then(Value::as_array) {
            return features.iter().try_for_each(|item| self.item(item, path));
        }
        match value.get("type").and_then(Value::as_str) {
            Some("Feature") => self.item(value, path),
            Some("Catalog" | "Collection") => self.children(value, path, depth),
            _ => Err(fail("it is neither an item, a collection of items nor a catalogue")),
        }
    }

    /// Follows the links of a catalogue to its items and to catalogues below.
    fn children(&mut self, value: &Value, path: &Path, depth: u32) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(fail("catalogues are nested too deep (a loop of links?)"));
        }
        let links = value.get("links").and_then(Value::as_array);
        for link in links.into_iter().flatten() {
            let text = |key: &str| link.get(key).and_then(Value::as_str);
            let (Some("item" | "child" | "items"), Some(href)) = (text("rel"), text("href")) else {
                continue;
            };
            let below = local_path(href, folder_of(path))?;
            let document = read_json(&below)?;
            self.document(&document, &below, depth + 1).at(&below)?;
        }
        Ok(())
    }

    fn item(&mut self, item: &Value, path: &Path) -> Result<()> {
        let id = item.get("id").and_then(Value::as_str).unwrap_or("without id");
        let Some(assets) = item.get("assets").and_then(Value::as_object) else {
            return Err(fail(&format!("item {id} has no assets")));
        };
        if self.list.len() >= MAX_ITEMS {
            return Err(fail(&format!("more than {MAX_ITEMS} items")));
        }
        let key = choose(id, assets, self.asset)?;
        let Some(href) = assets[key].get("href").and_then(Value::as_str) else {
            return Err(fail(&format!("asset {key} of item {id} has no href")));
        };
        self.list.push(Entry::new(local_path(href, folder_of(path))?));
        Ok(())
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The asset of an item: the one that is named, else its only raster, else its only one of role `data`.
fn choose<'a>(
    id: &str,
    assets: &'a serde_json::Map<String, Value>,
    wanted: Option<&str>,
) -> Result<&'a str> {
    let names = || {
        let names: Vec<&str> = assets.keys().map(String::as_str).take(20).collect();
        names.join(", ")
    };
    let refuse = |reason| Err(Error::from(InputError::Option { option: "--asset", reason }));
    if let Some(wanted) = wanted {
        return match assets.get_key_value(wanted) {
            Some((key, _)) => Ok(key),
            None => refuse(format!("item {id} has no asset {wanted}; it has {}", names())),
        };
    }
    let has_role = |asset: &Value, roles: &[&str]| {
        let own = asset.get("roles").and_then(Value::as_array);
        own.into_iter().flatten().any(|r| r.as_str().is_some_and(|r| roles.contains(&r)))
    };
    let is_raster = |asset: &Value| {
        let kind = asset.get("type").and_then(Value::as_str).unwrap_or("");
        let href = asset.get("href").and_then(Value::as_str).unwrap_or("");
        let ending = extension(&PathBuf::from(href));
        kind.starts_with("image/tiff")
            || matches!(ending.as_deref(), Some("tif" | "tiff")) && !kind.starts_with("image/png")
    };
    let rasters: Vec<(&String, &Value)> = assets
        .iter()
        .filter(|(_, asset)| is_raster(asset))
        .filter(|(_, asset)| !has_role(asset, &["thumbnail", "overview", "metadata"]))
        .collect();
    let data: Vec<&(&String, &Value)> =
        rasters.iter().filter(|(_, asset)| has_role(asset, &["data"])).collect();
    match (rasters.as_slice(), data.as_slice()) {
        ([(key, _)], _) | (_, [(key, _)]) => Ok(key),
        ([], _) => refuse(format!("item {id} has no GeoTIFF; its assets are {}", names())),
        _ => refuse(format!("item {id} has several rasters; choose one of {}", names())),
    }
}

fn fail(reason: &str) -> Error {
    FormatError::Text { what: "the STAC document", reason: reason.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(id: &str, assets: &Value) -> Value {
        json!({"type": "Feature", "stac_version": "1.0.0", "id": id, "assets": assets,
               "geometry": null, "properties": {"datetime": null}})
    }

    fn paths(value: &Value, asset: Option<&str>) -> std::result::Result<Vec<String>, String> {
        let list = read(value, Path::new("dir/item.json"), asset).map_err(|e| e.to_string())?;
        Ok(list.iter().map(|entry| entry.path.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn the_raster_of_an_item_is_found_or_asked_for() {
        let tiff = |href: &str, roles: Value| json!({"href": href, "type": "image/tiff; application=geotiff", "roles": roles});
        let one = item(
            "a",
            &json!({"img": tiff("a.tif", json!([])), "thumb": {"href": "t.png", "type": "image/png"}}),
        );
        assert_eq!(paths(&one, None), Ok(vec!["dir/a.tif".into()]));
        let two = item(
            "b",
            &json!({"B2": tiff("b2.tif", json!(["data"])), "B3": tiff("b3.tif", json!(["data"]))}),
        );
        let error = paths(&two, None).unwrap_err();
        assert!(error.contains("B2, B3") && error.contains("--asset"), "{error}");
        assert_eq!(paths(&two, Some("B3")), Ok(vec!["dir/b3.tif".into()]));
        assert!(paths(&two, Some("B4")).unwrap_err().contains("no asset B4"));
        let data = item(
            "c",
            &json!({"x": tiff("x.tif", json!(["visual"])), "y": tiff("y.tif", json!(["data"]))}),
        );
        assert_eq!(paths(&data, None), Ok(vec!["dir/y.tif".into()]));
        let both = json!({"type": "FeatureCollection", "features": [one, data]});
        assert!(is_stac(&both));
        assert_eq!(paths(&both, None).unwrap().len(), 2);
        let remote = item("d", &json!({"x": tiff("https://host/x.tif", json!([]))}));
        assert!(paths(&remote, None).unwrap_err().contains("https://host/x.tif"));
        for bad in [json!({"stac_version": "1.0.0"}), item("e", &json!(3)), item("f", &json!({}))] {
            assert!(paths(&bad, None).is_err(), "{bad}");
        }
    }
}
