//! The order of sources in the stack (SPEC §5.1): by name, date, resolution, or a metadata item; the best
//! lies on top, ties keep the input order. A manifest's priority goes before all of these.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::error::{InputError, Result};
use crate::source::Source;

/// What sources are sorted by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SortKey {
    /// The order of the inputs.
    #[default]
    Input,
    /// The path, bytewise; the last lies on top.
    Name,
    /// TIFF's DateTime, else the time of modification; the newest lies on top.
    Date,
    /// The pixel's area on the ground; the finest lies on top.
    Resolution,
    /// An item of `GDAL_METADATA`; see [`SortKey::parse_item`]. Sources without it lie at the bottom.
    Item {
        /// Name of the item.
        name: String,
        /// The smallest lies on top, else the largest.
        descending: bool,
    },
}

impl SortKey {
    /// `KEY`, `KEY:asc` (the largest lies on top) or `KEY:desc` (the smallest does).
    pub fn parse_item(text: &str) -> SortKey {
        let (name, descending) = match text.rsplit_once(':') {
            Some((name, order)) if order.eq_ignore_ascii_case("desc") => (name, true),
            Some((name, order)) if order.eq_ignore_ascii_case("asc") => (name, false),
            _ => (text, false),
        };
        SortKey::Item { name: name.to_owned(), descending }
    }
}

/// Sorts sources, bottom to top; top to bottom with `first_on_top` (`--overlap first`), so that the best
/// counts under either rule.
///
/// # Errors
/// [`InputError::Option`] if no source has the item.
pub fn sort(sources: &mut [Source], key: &SortKey, first_on_top: bool) -> Result<()> {
    let plain = *key == SortKey::Input && sources.iter().all(|source| source.priority == 0.0);
    if plain {
        return Ok(());
    }
    if let SortKey::Item { name, .. } = key
        && !sources.iter().any(|source| item(source, name).is_some())
    {
        return Err(no_item(sources, name).into());
    }
    sources.sort_by(|a, b| {
        let order = a.priority.total_cmp(&b.priority).then_with(|| compare(a, b, key));
        if first_on_top { order.reverse() } else { order }
    });
    Ok(())
}

fn no_item(sources: &[Source], name: &str) -> InputError {
    const SHOWN: usize = 10;
    let items = sources.iter().flat_map(|source| &source.dataset.shared.metadata.items);
    let names: BTreeSet<&str> = items.map(|item| item.name.as_str()).collect();
    let list: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    let known = match names.len() {
        0 => "they have no metadata items at all".to_owned(),
        count if count > SHOWN => {
            format!("they have {} and {} more", list.join(", "), count - SHOWN)
        }
        _ => format!("they have {}", list.join(", ")),
    };
    let reason = format!("no input has the metadata item `{name}`; {known}");
    InputError::Option { option: "--sort-by", reason }
}

fn compare(a: &Source, b: &Source, key: &SortKey) -> Ordering {
    match key {
        SortKey::Input => Ordering::Equal,
        SortKey::Name => {
            let bytes = |source: &Source| source.path().as_os_str().as_encoded_bytes().to_vec();
            bytes(a).cmp(&bytes(b))
        }
        SortKey::Date => date(a).cmp(&date(b)),
        SortKey::Resolution => pixel_area(b).total_cmp(&pixel_area(a)),
        SortKey::Item { name, descending } => match (item(a, name), item(b, name)) {
            (Some(a), Some(b)) if *descending => compare_text(b, a),
            (Some(a), Some(b)) => compare_text(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        },
    }
}

/// Seconds since 1970.
fn date(source: &Source) -> i64 {
    let modified = || i64::try_from(source.stamp.modified_ns / 1_000_000_000).unwrap_or(i64::MAX);
    source.dataset.date_time.unwrap_or_else(modified)
}

/// Area of a pixel in square metres, about; in square units of the CRS where those are unknown.
fn pixel_area(source: &Source) -> f64 {
    const EARTH_RADIUS_M: f64 = 6_371_007.0;
    let [x, y] = source.dataset.transform.resolution();
    let unit = source.dataset.crs.as_ref().map_or(1.0, |crs| {
        let unit = crs.unit_size().unwrap_or(1.0);
        if crs.is_geographic() { unit * EARTH_RADIUS_M } else { unit }
    });
    x * y * unit * unit
}

/// The item of the whole raster: of the default domain, else of any.
fn item<'a>(source: &'a Source, name: &str) -> Option<&'a str> {
    let items = &source.dataset.shared.metadata.items;
    let named = || items.iter().filter(|item| item.name == name);
    let found = named().find(|item| item.domain.is_empty()).or_else(|| named().next());
    found.map(|item| item.value.trim())
}

/// As numbers if both are; numbers before texts.
fn compare_text(a: &str, b: &str) -> Ordering {
    let number = |text: &str| text.parse::<f64>().ok().filter(|v| !v.is_nan());
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a_number, b_number) => b_number.is_some().cmp(&a_number.is_some()).then_with(|| a.cmp(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_compare_as_numbers_where_they_are() {
        assert_eq!(compare_text("9", "10.5"), Ordering::Less);
        assert_eq!(compare_text("2024-09-01", "2024-10-01"), Ordering::Less);
        assert_eq!(compare_text("7", "cloudy"), Ordering::Less);
        assert_eq!(compare_text("cloudy", "7"), Ordering::Greater);
    }

    #[test]
    fn keys_may_hold_colons() {
        let item = |name: &str, descending| SortKey::Item { name: name.into(), descending };
        assert_eq!(SortKey::parse_item("CLOUD:desc"), item("CLOUD", true));
        assert_eq!(SortKey::parse_item("eo:cloud:ASC"), item("eo:cloud", false));
        assert_eq!(SortKey::parse_item("eo:cloud"), item("eo:cloud", false));
    }
}
