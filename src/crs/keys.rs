//! The GeoKeys that describe a CRS, as a canonical sorted list of (key id, value).
//!
//! Knows what a key's value is, not how it lies in a file (`tiff::geokeys`) nor what it means
//! (`crs::ident`). Equality and hash are those of the bytes: equal lists are surely the same CRS,
//! unequal ones may still be.

use std::hash::{Hash, Hasher};

// GeoTIFF 1.1 (OGC 19-008r4) annex D.
pub(crate) const MODEL_TYPE: u16 = 1024;
pub(crate) const CITATION: u16 = 1026;
pub(crate) const GEOGRAPHIC: u16 = 2048;
pub(crate) const GEOG_CITATION: u16 = 2049;
pub(crate) const GEOG_DATUM: u16 = 2050;
pub(crate) const PRIME_MERIDIAN: u16 = 2051;
pub(crate) const ANGULAR_UNITS: u16 = 2054;
pub(crate) const ANGULAR_UNIT_SIZE: u16 = 2055;
pub(crate) const ELLIPSOID: u16 = 2056;
pub(crate) const SEMI_MAJOR_AXIS: u16 = 2057;
pub(crate) const SEMI_MINOR_AXIS: u16 = 2058;
pub(crate) const INVERSE_FLATTENING: u16 = 2059;
pub(crate) const PRIME_MERIDIAN_LONGITUDE: u16 = 2061;
/// GDAL's own: 3 or 7 parameters of the shift to WGS 84.
pub(crate) const TO_WGS84: u16 = 2062;
pub(crate) const PROJECTED: u16 = 3072;
pub(crate) const PROJECTED_CITATION: u16 = 3073;
pub(crate) const PROJECTION: u16 = 3074;
pub(crate) const COORD_TRANS: u16 = 3075;
pub(crate) const LINEAR_UNITS: u16 = 3076;
pub(crate) const LINEAR_UNIT_SIZE: u16 = 3077;
pub(crate) const VERTICAL: u16 = 4096;
pub(crate) const VERTICAL_CITATION: u16 = 4097;
pub(crate) const VERTICAL_DATUM: u16 = 4098;
pub(crate) const VERTICAL_UNITS: u16 = 4099;
pub(crate) const COORDINATE_EPOCH: u16 = 5120;

/// "User-defined" as the value of a key that holds a code.
pub(crate) const USER_DEFINED: u16 = 32767;

/// Value of a GeoKey.
#[derive(Debug, Clone)]
pub enum KeyValue {
    /// A code.
    Short(u16),
    /// Numbers, all finite.
    Doubles(Vec<f64>),
    /// Text without the final `|`.
    Ascii(String),
}

/// The same bytes.
impl PartialEq for KeyValue {
    fn eq(&self, other: &KeyValue) -> bool {
        match (self, other) {
            (KeyValue::Short(a), KeyValue::Short(b)) => a == b,
            (KeyValue::Ascii(a), KeyValue::Ascii(b)) => a == b,
            (KeyValue::Doubles(a), KeyValue::Doubles(b)) => {
                a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()))
            }
            _ => false,
        }
    }
}

impl Eq for KeyValue {}

impl Hash for KeyValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            KeyValue::Short(value) => value.hash(state),
            KeyValue::Ascii(text) => text.hash(state),
            KeyValue::Doubles(values) => values.iter().for_each(|v| v.to_bits().hash(state)),
        }
    }
}

/// GeoKeys sorted by id, each id once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KeySet(Vec<(u16, KeyValue)>);

impl KeySet {
    /// Sorts the keys; of several with one id the last one counts.
    pub fn new(keys: impl IntoIterator<Item = (u16, KeyValue)>) -> KeySet {
        let mut keys: Vec<(u16, KeyValue)> = keys.into_iter().collect();
        // The sort is stable, so after turning the list round the last of each id comes first.
        keys.reverse();
        keys.sort_by_key(|(id, _)| *id);
        keys.dedup_by_key(|(id, _)| *id);
        KeySet(keys)
    }

    /// The same list with one more code, which replaces one that is there.
    #[must_use]
    pub fn with_short(self, id: u16, value: u16) -> KeySet {
        KeySet::new(self.0.into_iter().chain([(id, KeyValue::Short(value))]))
    }

    /// All keys in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &KeyValue)> {
        self.0.iter().map(|(id, value)| (*id, value))
    }

    /// Value of a key.
    pub fn value(&self, id: u16) -> Option<&KeyValue> {
        let at = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.0[at].1)
    }

    /// Value of a key that holds a code; 0 ("undefined") counts as absent.
    pub(crate) fn short(&self, id: u16) -> Option<u16> {
        match self.value(id)? {
            KeyValue::Short(value) => Some(*value).filter(|v| *v != 0),
            _ => None,
        }
    }

    /// A code that is neither undefined nor user-defined.
    pub(crate) fn code(&self, id: u16) -> Option<u16> {
        self.short(id).filter(|code| *code != USER_DEFINED)
    }

    /// The first number of a key; a short counts as one, as some writers save their zeros so.
    pub(crate) fn number(&self, id: u16) -> Option<f64> {
        match self.value(id)? {
            KeyValue::Short(value) => Some(f64::from(*value)),
            KeyValue::Doubles(values) => values.first().copied(),
            KeyValue::Ascii(_) => None,
        }
    }

    /// Text of a key.
    pub(crate) fn text(&self, id: u16) -> Option<&str> {
        match self.value(id)? {
            KeyValue::Ascii(text) => Some(text),
            _ => None,
        }
    }

    /// All numbers of a key.
    pub(crate) fn numbers(&self, id: u16) -> &[f64] {
        match self.value(id) {
            Some(KeyValue::Doubles(values)) => values,
            _ => &[],
        }
    }
}
