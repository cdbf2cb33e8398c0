//! [`Definition`]: what a CRS means, whatever it was written in; compared by meaning (SPEC §3.4).

use super::params::Params;
use super::table::{self, CrsKindRow, Id, UnitRow};
use super::{close, letters};

/// A horizontal CRS, and the vertical one beside it.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// Code of the horizontal CRS, where it is that of the tables.
    pub(super) id: Option<Id>,
    /// Name for people, without the vertical part's.
    pub(super) name: Option<String>,
    pub(super) base: Base,
    /// `None` for a geographic CRS.
    pub(super) projection: Option<Projection>,
    pub(super) vertical: Option<Vertical>,
}

/// A geographic CRS.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) datum: Datum,
    /// Degrees east of Greenwich.
    pub(super) meridian_degrees: f64,
    /// Size of the unit in radians.
    pub(super) unit: f64,
}

/// A geodetic datum.
#[derive(Debug, Clone)]
pub(super) struct Datum {
    /// Code in the tables; realisations of WGS 84 have that of the ensemble.
    pub(super) id: Option<Id>,
    /// Name as written; empty where none is known.
    pub(super) name: String,
    /// Semi-major axis in metres and inverse flattening (0: sphere).
    pub(super) ellipsoid: [f64; 2],
    /// 3 or 7 parameters of the shift to WGS 84 that the CRS itself gives (metres, arc seconds, parts
    /// per million, position vector); without zeros at the end.
    pub(super) to_wgs84: Vec<f64>,
    /// The CRS says which grids lead to WGS 84; without them, nothing is known.
    pub(super) grids: Option<String>,
}

/// How geographic coordinates become map coordinates.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    pub(super) params: Params,
    /// Size of the map's unit in metres.
    pub(super) unit: f64,
    /// Direction in which x and y grow: `en`; `ws` for maps of southern Africa.
    pub(super) axes: [u8; 2],
}

/// A vertical CRS.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vertical {
    pub(super) reference: VerticalReference,
    /// Size of the unit in metres; negative: EPSG code of a unit of unknown size.
    pub(super) unit: f64,
    /// Name as written.
    pub(super) name: Option<String>,
}

/// What heights are counted from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum VerticalReference {
    /// EPSG code of the vertical CRS.
    Code(u32),
    /// EPSG code of the vertical datum.
    Datum(u32),
    /// Name in letters and digits.
    Name(String),
}

impl Definition {
    /// The CRS of a code; the first and the vertical part of a compound one. `None` for a code that is not in the
    /// tables, is no map's, or of a projection that has no parameters there.
    pub(super) fn of_code(id: Id) -> Option<Definition> {
        let row = table::crs(id)?;
        let name = Some(row.name);
        match row.kind {
            CrsKindRow::Geographic { datum, unit } => {
                let base = Base::of_datum(datum, unit)?;
                Some(Definition { id: Some(id), name, base, projection: None, vertical: None })
            }
            CrsKindRow::Geographic3d { flat } => {
                Some(Definition { id: Some(id), name, ..Definition::of_code(flat)? })
            }
            CrsKindRow::Projected { base, parameters, unit, axes } => {
                let base = Definition::of_code(base)?.base;
                let params = Params::parse(&parameters)?.on(base.datum.ellipsoid);
                let projection = Some(Projection { params, unit: unit.size, axes });
                Some(Definition { id: Some(id), name, base, projection, vertical: None })
            }
            CrsKindRow::Compound { horizontal, vertical } => {
                let heights = Vertical::of_code(vertical)?;
                let horizontal = Definition::of_code(horizontal)?;
                Some(Definition { vertical: Some(heights), ..horizontal })
            }
            CrsKindRow::Vertical { .. } | CrsKindRow::Geocentric => None,
        }
    }

    /// Whether both mean the same horizontal CRS.
    pub(super) fn same_horizontal(&self, other: &Definition) -> bool {
        if self.id.is_some() && self.id == other.id {
            return true;
        }
        let projections = match (&self.projection, &other.projection) {
            (Some(a), Some(b)) => a.same_as(b),
            (None, None) => close(self.base.unit, other.base.unit),
            _ => false,
        };
        // The unit of a projected CRS's base changes no coordinate.
        projections && self.base.same_as(&other.base)
    }

    /// Length of the unit of a map in metres, size of that of a geographic CRS in radians.
    pub(super) fn unit(&self) -> f64 {
        self.projection.as_ref().map_or(self.base.unit, |projection| projection.unit)
    }
}

impl Base {
    pub(super) fn of_datum(datum: Id, unit: UnitRow) -> Option<Base> {
        let row = table::datum(datum)?;
        Some(Base {
            meridian_degrees: row.meridian_degrees,
            datum: Datum::of_code(datum)?,
            unit: unit.size,
        })
    }

    /// The same datum and prime meridian; the unit does not count.
    pub(super) fn same_as(&self, other: &Base) -> bool {
        close(self.meridian_degrees, other.meridian_degrees) && self.datum.same_as(&other.datum)
    }
}

impl Datum {
    /// The datum of a code.
    pub(super) fn of_code(id: Id) -> Option<Datum> {
        let id = table::main_datum(id);
        let row = table::datum(id)?;
        let ellipsoid = row.ellipsoid;
        Some(Datum { id: Some(id), name: row.name, ellipsoid, to_wgs84: Vec::new(), grids: None })
    }

    /// A datum by name and ellipsoid: that of the tables if they know the name and it has this
    /// ellipsoid.
    pub(super) fn named(name: &str, ellipsoid: Option<[f64; 2]>) -> Option<Datum> {
        let plain = datum_letters(name);
        // Some names of the tables look as if the writer did not know one.
        let all = letters(name.strip_prefix("D_").unwrap_or(name));
        let known = table::datum_named(&all).and_then(Datum::of_code);
        match (known, ellipsoid) {
            (Some(datum), None) => Some(datum),
            (Some(datum), Some(own)) if same_ellipsoid(datum.ellipsoid, own) => Some(datum),
            (_, Some(ellipsoid)) => {
                let name = if is_unknown(&plain) { String::new() } else { name.to_owned() };
                Some(Datum { id: None, name, ellipsoid, to_wgs84: Vec::new(), grids: None })
            }
            (None, None) => None,
        }
    }

    pub(super) fn same_as(&self, other: &Datum) -> bool {
        match (self.id, other.id) {
            (Some(a), Some(b)) => a == b,
            (None, None) => {
                let (t, u) = (&self.to_wgs84, &other.to_wgs84);
                datum_letters(&self.name) == datum_letters(&other.name)
                    && same_ellipsoid(self.ellipsoid, other.ellipsoid)
                    && t.len() == u.len()
                    && t.iter().zip(u).all(|(t, u)| close(*t, *u))
                    && self.grids == other.grids
            }
            _ => false,
        }
    }
}

impl Projection {
    fn same_as(&self, other: &Projection) -> bool {
        self.params.same_as(&other.params)
            && close(self.unit, other.unit)
            && self.axes == other.axes
    }
}

impl Vertical {
    /// The vertical CRS of a code.
    pub(super) fn of_code(id: Id) -> Option<Vertical> {
        let row = table::crs(id)?;
        let CrsKindRow::Vertical { unit } = row.kind else { return None };
        let reference = VerticalReference::Code(id.code);
        Some(Vertical { reference, unit: unit.size, name: Some(row.name) })
    }

    /// A vertical CRS by name; that of the tables where they know it with this unit.
    pub(super) fn named(name: &str, unit: Option<f64>) -> Vertical {
        let plain = letters(name);
        let known = table::vertical_named(&plain).and_then(Vertical::of_code);
        match known {
            Some(known) if unit.is_none_or(|unit| close(unit, known.unit)) => known,
            _ => Vertical {
                reference: VerticalReference::Name(plain),
                unit: unit.unwrap_or(1.0),
                name: Some(name.to_owned()),
            },
        }
    }
}

/// A datum's name in letters and digits, without what some writers put before it.
fn datum_letters(name: &str) -> String {
    let plain = letters(name.strip_prefix("D_").unwrap_or(name));
    if is_unknown(&plain) { String::new() } else { plain }
}

/// Names that say that the writer did not know one.
fn is_unknown(plain: &str) -> bool {
    let unknown = ["unknown", "unnamed", "notspecified", "userdefined", "undefined"];
    plain.is_empty() || unknown.iter().any(|word| plain.starts_with(word))
}

/// Ellipsoids are one if the minor axes agree to a tenth of a millimetre; this must tell GRS 80 and
/// WGS 84 apart (0.105 mm), and so looks at the flattening too.
fn same_ellipsoid([a, f]: [f64; 2], [b, g]: [f64; 2]) -> bool {
    let flattening = |inverse: f64| if inverse == 0.0 { 0.0 } else { 1.0 / inverse };
    close(a, b) && (flattening(f) - flattening(g)).abs() <= 5e-12
}
