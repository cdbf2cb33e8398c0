//! MosaicJSON (0.0.2, 0.0.3) as an input: its assets, each once. The first asset of a tile lies on top, as
//! readers of MosaicJSON have it; an asset counts wherever it has pixels, not only in its tiles.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, FormatError, Result};
use crate::source::entry::Entry;
use crate::source::href::local_path;

/// Most assets, counted in each tile.
const MAX_ASSETS: usize = 10_000_000;

/// Whether a document is a MosaicJSON.
pub(super) fn is_mosaicjson(value: &Value) -> bool {
    value.get("mosaicjson").is_some()
}

/// The assets of a document in `folder`, bottom to top.
///
/// # Errors
/// [`FormatError::Text`] if it is no MosaicJSON; [`crate::error::Unsupported`] for remote assets, and for
/// tiles whose orders contradict each other.
pub(super) fn read(value: &Value, folder: &Path) -> Result<Vec<Entry>> {
    let Some(tiles) = value.get("tiles").and_then(Value::as_object) else {
        return Err(fail("it has no tiles"));
    };
    let prefix = value.get("asset_prefix").and_then(Value::as_str).unwrap_or("");
    let (mut names, mut number): (Vec<String>, HashMap<String, usize>) = Default::default();
    let mut below: HashSet<(usize, usize)> = HashSet::new();
    let mut seen = 0;
    for assets in tiles.values() {
        let Some(assets) = assets.as_array() else { return Err(fail("a tile is no list")) };
        let mut above = None;
        for asset in assets {
            let Some(asset) = asset.as_str() else {
                return Err(fail("an asset is no text"));
            };
            seen += 1;
            if seen > MAX_ASSETS {
                return Err(fail("too many assets"));
            }
            let name = format!("{prefix}{asset}");
            let own = *number.entry(name.clone()).or_insert_with(|| {
                names.push(name);
                names.len() - 1
            });
            if let Some(above) = above.filter(|above| *above != own) {
                below.insert((own, above));
            }
            above = Some(own);
        }
    }
    let order = stacked(names.len(), &below)?;
    order.into_iter().map(|own| Ok(Entry::new(local_path(&names[own], folder)?))).collect()
}

/// Numbers ordered so that the first of each pair comes before the second; of those that are free, the
/// latest in the document comes first.
fn stacked(count: usize, below: &HashSet<(usize, usize)>) -> Result<Vec<usize>> {
    let mut above: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut waits = vec![0usize; count];
    for (lower, upper) in below {
        above[*lower].push(*upper);
        waits[*upper] += 1;
    }
    let mut free: BinaryHeap<usize> = (0..count).filter(|own| waits[*own] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(own) = free.pop() {
        order.push(own);
        for upper in &above[own] {
            waits[*upper] -= 1;
            if waits[*upper] == 0 {
                free.push(*upper);
            }
        }
    }
    if order.len() < count {
        let feature = "a MosaicJSON whose tiles list the same assets in contradicting orders";
        return Err(Error::unsupported(feature, "name the files in the order that is wanted"));
    }
    Ok(order)
}

fn fail(reason: &str) -> Error {
    FormatError::Text { what: "the MosaicJSON", reason: reason.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(tiles: &Value) -> std::result::Result<Vec<String>, String> {
        let value = json!({"mosaicjson": "0.0.2", "tiles": tiles});
        let list = read(&value, Path::new("")).map_err(|error| error.to_string())?;
        Ok(list.iter().map(|entry| entry.path.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn the_first_asset_of_each_tile_lies_on_top() {
        let order =
            names(&json!({"0": ["a", "b"], "1": ["b", "c", "d"], "2": ["e", "b"]})).unwrap();
        assert_eq!(order.len(), 5);
        let at = |name: &str| order.iter().position(|own| own == name).unwrap();
        for (upper, lower) in [("a", "b"), ("b", "c"), ("c", "d"), ("e", "b")] {
            assert!(at(upper) > at(lower), "{upper} {lower}: {order:?}");
        }
        assert!(
            names(&json!({"0": ["a", "b"], "1": ["b", "a"]}))
                .unwrap_err()
                .contains("contradicting")
        );
        assert!(names(&json!({"0": ["http://x/a.tif"]})).unwrap_err().contains("http://x/a.tif"));
        assert!(names(&json!({"0": [3]})).is_err() && names(&json!([])).is_err());
    }
}
