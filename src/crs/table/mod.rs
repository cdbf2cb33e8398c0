//! What EPSG and ESRI say of codes and names: look-ups in the generated `tables.bin`.
//!
//! The EPSG Geodetic Parameter Dataset is owned by IOGP (<https://epsg.org>); `generate.py` tells how it got here and
//! what the fields of a line are. The lines lie sorted in blocks, each compressed by itself, so that a look-up
//! inflates one block of some kilobytes and nothing is kept between look-ups.

use std::fmt;
use std::ops::ControlFlow;

use flate2::{Decompress, FlushDecompress};

static TABLES: &[u8] = include_bytes!("tables.bin");

/// Who gave a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Authority {
    /// The EPSG data set of IOGP.
    Epsg,
    /// Esri's own codes.
    Esri,
}

/// A code of an authority: `EPSG:32633`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// Who gave it.
    pub authority: Authority,
    /// The number.
    pub code: u32,
}

impl Id {
    /// A code of EPSG.
    pub fn epsg(code: u32) -> Id {
        Id { authority: Authority::Epsg, code }
    }

    /// From the tables' own form: `E32633`, `R102003`.
    fn from_short(text: &str) -> Option<Id> {
        let authority = match text.as_bytes().first()? {
            b'E' => Authority::Epsg,
            b'R' => Authority::Esri,
            _ => return None,
        };
        Some(Id { authority, code: text[1..].parse().ok()? })
    }

    fn key(self, kind: char) -> String {
        let letter = match self.authority {
            Authority::Epsg => 'E',
            Authority::Esri => 'R',
        };
        format!("{kind}{letter}{:06}", self.code)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = match self.authority {
            Authority::Epsg => "EPSG",
            Authority::Esri => "ESRI",
        };
        write!(f, "{authority}:{}", self.code)
    }
}

/// A CRS of the tables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CrsRow {
    pub(super) name: String,
    pub(super) kind: CrsKindRow,
    /// Not deprecated, and easting first: the one to take among several with one meaning.
    pub(super) is_preferred: bool,
    /// A map of the sea.
    pub(super) is_offshore: bool,
}

/// What a CRS is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CrsKindRow {
    Geographic {
        datum: Id,
        unit: UnitRow,
    },
    /// Three-dimensional form of a geographic CRS.
    Geographic3d {
        flat: Id,
    },
    Projected {
        base: Id,
        /// PROJ's parameters of the projection alone; empty where PROJ has no string for it.
        parameters: String,
        unit: UnitRow,
        axes: [u8; 2],
    },
    Vertical {
        unit: UnitRow,
    },
    Compound {
        horizontal: Id,
        vertical: Id,
    },
    Geocentric,
}

/// A unit: EPSG code (0: none) and its size in metres or radians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct UnitRow {
    pub(super) code: u16,
    pub(super) size: f64,
}

/// A datum of the tables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DatumRow {
    pub(super) name: String,
    pub(super) ellipsoid: [f64; 2],
    pub(super) meridian_degrees: f64,
}

/// A way from one datum to another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OperationRow {
    pub(super) name: String,
    pub(super) accuracy_m: Option<f64>,
    pub(super) area: [f64; 4],
    pub(super) steps: String,
    /// For the sea only.
    pub(super) is_offshore: bool,
}

/// A way from one datum to another by a grid file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GridRow {
    pub(super) name: &'static str,
    pub(super) accuracy_m: Option<f64>,
    pub(super) area: [f64; 4],
    pub(super) file: &'static str,
}

/// The operations by NTv2 grids from a datum to another.
pub(super) fn grid_operations(from: Id, to: Id) -> impl Iterator<Item = GridRow> {
    const ROWS: &str = include_str!("grids.tsv");
    ROWS.lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
        let mut fields = line.split('\t');
        let mut id = || Some(main_datum(Id::epsg(fields.next()?.parse().ok()?)));
        if id()? != from || id()? != to {
            return None;
        }
        let name = fields.next()?;
        let accuracy_m = fields.next()?.parse().ok();
        Some(GridRow { name, accuracy_m, area: parse_box(fields.next()?)?, file: fields.next()? })
    })
}

/// The CRS with a code.
pub(super) fn crs(id: Id) -> Option<CrsRow> {
    parse_crs(&fields(&id.key('C'))?.iter().map(String::as_str).collect::<Vec<_>>())
}

fn parse_crs(fields: &[&str]) -> Option<CrsRow> {
    let text = |at: usize| fields.get(at).copied().unwrap_or_default();
    let unit = |code: usize| {
        let size = text(code + 1).parse().ok()?;
        Some(UnitRow { code: text(code).parse().unwrap_or(0), size })
    };
    let kind = match text(0) {
        "G" => CrsKindRow::Geographic { datum: Id::from_short(text(2))?, unit: unit(4)? },
        "3" => CrsKindRow::Geographic3d { flat: Id::from_short(text(2))? },
        "P" => CrsKindRow::Projected {
            base: Id::from_short(text(2))?,
            parameters: text(3).to_owned(),
            unit: unit(4)?,
            axes: *text(6).as_bytes().first_chunk()?,
        },
        "V" => CrsKindRow::Vertical { unit: unit(3)? },
        "K" => CrsKindRow::Compound {
            horizontal: Id::from_short(text(2))?,
            vertical: Id::from_short(text(3))?,
        },
        _ => CrsKindRow::Geocentric,
    };
    let rank = if text(0) == "P" { 8 } else { 7 };
    let is_offshore = text(0) == "P" && text(9) == "o";
    Some(CrsRow { name: text(1).to_owned(), kind, is_preferred: text(rank) == "0", is_offshore })
}

fn parse_box(text: &str) -> Option<[f64; 4]> {
    let mut numbers = text.split(',').map(str::parse::<f64>);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?, next()?])
}

/// The datum that speaks for a datum: WGS 84's ensemble for its realisations.
pub(super) fn main_datum(datum: Id) -> Id {
    let main = fields(&datum.key('A'));
    main.and_then(|fields| Id::from_short(fields.first()?)).unwrap_or(datum)
}

/// The datum with a code.
pub(super) fn datum(id: Id) -> Option<DatumRow> {
    let row = fields(&id.key('D'))?;
    let ellipsoid = ellipsoid(Id::from_short(row.get(1)?)?)?;
    let meridian_degrees = row.get(2)?.parse().ok()?;
    Some(DatumRow { name: row.first()?.clone(), ellipsoid, meridian_degrees })
}

/// Semi-major axis in metres and inverse flattening (0: sphere).
pub(super) fn ellipsoid(id: Id) -> Option<[f64; 2]> {
    let row = fields(&id.key('L'))?;
    Some([row.get(1)?.parse().ok()?, row.get(2)?.parse().ok()?])
}

/// Longitude of a prime meridian in degrees east of Greenwich.
pub(super) fn meridian_degrees(id: Id) -> Option<f64> {
    fields(&id.key('M'))?.get(1)?.parse().ok()
}

/// Length of EPSG's linear unit in metres.
pub(super) fn metres(unit: u16) -> Option<f64> {
    unit_size(unit, "l")
}

/// Size of EPSG's angular unit in radians.
pub(super) fn radians(unit: u16) -> Option<f64> {
    unit_size(unit, "a")
}

fn unit_size(unit: u16, kind: &str) -> Option<f64> {
    // The three that nearly every file has.
    match (unit, kind) {
        (9001, "l") => return Some(1.0),
        (9102 | 9122, "a") => return Some(1f64.to_radians()),
        _ => {}
    }
    let row = fields(&Id::epsg(u32::from(unit)).key('U'))?;
    if row.get(2)? == kind { row.get(1)?.parse().ok() } else { None }
}

/// EPSG's code and name of the linear (`l`) or angular (`a`) unit of a size.
pub(super) fn unit_of_size(size: f64, kind: &str) -> Option<(u16, String)> {
    let mut found = None;
    scan("U", |key, fields| {
        let own: f64 = fields.get(1).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        if fields.get(2).is_some_and(|k| *k == kind) && (own - size).abs() <= 1e-12 * size.abs() {
            found = Id::from_short(&key[1..]).and_then(|id| u16::try_from(id.code).ok());
            found.map_or(ControlFlow::Continue(()), |_| ControlFlow::Break(fields[0].to_owned()))
        } else {
            ControlFlow::Continue(())
        }
    })
    .zip(found)
    .map(|(name, code)| (code, name))
}

/// The datum that a name stands for; the name is reduced by [`super::letters`], ESRI's `D_` taken
/// off.
pub(super) fn datum_named(letters: &str) -> Option<Id> {
    Id::from_short(fields(&format!("N{letters}"))?.first()?)
}

/// The ellipsoid that a name, reduced by [`super::letters`], stands for.
pub(super) fn ellipsoid_named(letters: &str) -> Option<[f64; 2]> {
    ellipsoid(Id::from_short(fields(&format!("n{letters}"))?.first()?)?)
}

/// The vertical CRS that a name, reduced by [`super::letters`], stands for.
pub(super) fn vertical_named(letters: &str) -> Option<Id> {
    Id::from_short(fields(&format!("v{letters}"))?.first()?)
}

/// The geographic CRS of a datum in degrees from the datum's own meridian.
pub(super) fn geographic_of_datum(datum: Id) -> Option<Id> {
    Id::from_short(fields(&datum.key('F'))?.first()?)
}

/// Parameters and axes of an EPSG map projection by itself (`ProjectionGeoKey`).
pub(super) fn projection(code: u16) -> Option<(String, [u8; 2])> {
    let row = fields(&Id::epsg(u32::from(code)).key('J'))?;
    Some((row.get(1)?.clone(), *row.get(2)?.as_bytes().first_chunk()?))
}

/// The operations from one datum to another, in PROJ's order of preference; empty if none is known
/// in this direction.
pub(super) fn operations(from: Id, to: Id) -> Vec<OperationRow> {
    let key = format!("{}>{}", from.key('O'), &to.key('O')[1..]);
    let row = fields(&key).unwrap_or_default();
    let Some(all) = row.first() else { return Vec::new() };
    let parse = |text: &str| {
        let mut parts = text.split('|');
        let name = parts.next()?.to_owned();
        let accuracy_m = parts.next()?.parse().ok().filter(|a: &f64| *a >= 0.0);
        let area = parse_box(parts.next()?)?;
        let steps = parts.next()?.to_owned();
        Some(OperationRow { name, accuracy_m, area, steps, is_offshore: parts.next() == Some("o") })
    };
    all.split(';').filter_map(parse).collect()
}

/// Calls `visit` for every CRS of the tables of one kind (`P` projected, `G` geographic) until it breaks.
pub(super) fn find_crs<T>(
    kind: &str,
    mut visit: impl FnMut(Id, &CrsRow) -> ControlFlow<T>,
) -> Option<T> {
    scan("C", |key, fields| {
        if fields.first() != Some(&kind) {
            return ControlFlow::Continue(());
        }
        let id = Id::from_short(&format!("{}{}", &key[1..2], key[2..].trim_start_matches('0')));
        match (id, parse_crs(fields)) {
            (Some(id), Some(row)) => visit(id, &row),
            _ => ControlFlow::Continue(()),
        }
    })
}

/// A block of the tables.
struct Block {
    first_key: &'static str,
    packed: &'static [u8],
    text_bytes: usize,
}

/// The blocks in the order of their keys. `None` cannot happen: the file is made by the generator.
fn blocks() -> impl Iterator<Item = Block> {
    let word = |at: usize| {
        let bytes = TABLES.get(at..at + 4).and_then(|b| b.first_chunk::<4>());
        bytes.map_or(0, |b| u32::from_le_bytes(*b) as usize)
    };
    let (count, index_bytes) = (word(0), word(4));
    let body = 8 + index_bytes;
    let mut at = 8;
    (0..count).map_while(move |_| {
        let (offset, length, text_bytes) = (word(at), word(at + 4), word(at + 8));
        let key_length = usize::from(*TABLES.get(at + 12)?);
        let first_key = std::str::from_utf8(TABLES.get(at + 13..at + 13 + key_length)?).ok()?;
        at += 13 + key_length;
        let packed = TABLES.get(body + offset..body + offset + length)?;
        Some(Block { first_key, packed, text_bytes })
    })
}

fn inflate(block: &Block) -> String {
    let mut bytes = Vec::with_capacity(block.text_bytes);
    let result =
        Decompress::new(true).decompress_vec(block.packed, &mut bytes, FlushDecompress::Finish);
    // Cannot fail: the generator wrote the block, and a test reads them all.
    result.ok().and_then(|_| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The fields of the line with a key.
fn fields(key: &str) -> Option<Vec<String>> {
    let block = blocks().take_while(|block| block.first_key <= key).last()?;
    let text = inflate(&block);
    let line = text.lines().find(|line| {
        line.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('\t'))
    })?;
    Some(line.split('\t').skip(1).map(str::to_owned).collect())
}

/// Calls `visit` with key and fields of every line whose key begins with `prefix`, until it breaks.
fn scan<T>(prefix: &str, mut visit: impl FnMut(&str, &[&str]) -> ControlFlow<T>) -> Option<T> {
    let all: Vec<Block> = blocks().collect();
    for (index, block) in all.iter().enumerate() {
        let ends_before = all.get(index + 1).is_some_and(|next| next.first_key < prefix);
        let begins_after = block.first_key > prefix && !block.first_key.starts_with(prefix);
        if ends_before || begins_after {
            continue;
        }
        for line in inflate(block).lines().filter(|line| line.starts_with(prefix)) {
            let mut fields = line.split('\t');
            let key = fields.next().unwrap_or_default();
            if let ControlFlow::Break(found) = visit(key, &fields.collect::<Vec<_>>()) {
                return Some(found);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_inflates_and_is_sorted() {
        let (mut rows, mut last) = (0, String::new());
        for block in blocks() {
            let text = inflate(&block);
            assert_eq!(text.len(), block.text_bytes);
            assert!(text.starts_with(block.first_key));
            for line in text.lines() {
                let key = line.split('\t').next().unwrap();
                assert!(last.as_str() < key, "{last} {key}");
                last = key.to_owned();
                rows += 1;
            }
        }
        assert!(rows > 18_000, "{rows}");
    }

    #[test]
    fn every_crs_of_the_tables_parses() {
        for (kind, least) in [("P", 7_800), ("G", 1_000), ("V", 200), ("K", 200), ("3", 100)] {
            let mut seen = 0;
            let never: Option<()> = find_crs(kind, |id, row| {
                seen += 1;
                assert!(seen % 50 != 0 || crs(id).as_ref() == Some(row), "{id}");
                ControlFlow::Continue(())
            });
            assert!(never.is_none() && least < seen, "{kind}: {seen}");
        }
    }

    #[test]
    fn codes_names_and_units_are_found() {
        assert_eq!(crs(Id::epsg(32633)).unwrap().name, "WGS 84 / UTM zone 33N");
        assert_eq!(crs(Id::epsg(999_999)), None);
        assert_eq!(datum_named("wgs1984"), Some(Id::epsg(6326)));
        assert_eq!(datum_named("northamerican1983"), Some(Id::epsg(6269)));
        assert_eq!(main_datum(Id::epsg(1156)), Id::epsg(6326));
        assert_eq!(metres(9003), Some(0.304_800_609_601_219_24));
        assert_eq!(unit_of_size(0.3048, "l").unwrap().0, 9002);
        assert_eq!(geographic_of_datum(Id::epsg(6258)), Some(Id::epsg(4258)));
        assert_eq!(ellipsoid(Id::epsg(7030)), Some([6_378_137.0, 298.257_223_563]));
        assert!(operations(Id::epsg(6267), Id::epsg(6326)).len() > 20);
        assert_eq!(projection(16033).unwrap().0, "+proj=utm +zone=33");
    }
}
