//! Grids of datum shifts in NTv2 files (`.gsb`): bytes in, shifts of longitude and latitude out.
//!
//! The format is described in "NTv2 Developer's Guide" (Geomatics Canada, 1995): records of 16 bytes, a header, and
//! subgrids of four `f32` a node, from the south-east corner westward, then northward; longitudes count west. Between
//! nodes the shift is bilinear; of nested subgrids the innermost counts. What is not in arc seconds is refused.

use std::fmt;

/// Most nodes of a file: half a gigabyte of them.
const MOST_NODES: usize = 1 << 25;
const RECORD: usize = 16;
/// Records of either header.
const HEADER: usize = 11;

/// A file of grids.
#[derive(PartialEq)]
pub(super) struct Ntv2 {
    grids: Vec<Subgrid>,
}

/// One rectangle; degrees, longitudes count west as in the file.
#[derive(PartialEq)]
struct Subgrid {
    south: f64,
    east: f64,
    /// Between nodes: latitude, longitude.
    step: [f64; 2],
    rows: usize,
    cols: usize,
    /// Shift of latitude and (west) longitude in arc seconds.
    shifts: Vec<[f32; 2]>,
}

impl fmt::Debug for Ntv2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ntv2").field("grids", &self.grids.len()).finish_non_exhaustive()
    }
}

/// Reads numbers of either byte order.
struct Bytes<'a> {
    bytes: &'a [u8],
    is_big: bool,
}

impl Bytes<'_> {
    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], String> {
        let slice = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
        slice.copied().ok_or_else(|| "ends too early".to_owned())
    }

    fn count(&self, at: usize) -> Result<usize, String> {
        let bytes = self.array(at)?;
        let number =
            if self.is_big { i32::from_be_bytes(bytes) } else { i32::from_le_bytes(bytes) };
        usize::try_from(number).map_err(|_| "has a negative count".to_owned())
    }

    fn double(&self, at: usize) -> Result<f64, String> {
        let bytes = self.array(at)?;
        Ok(if self.is_big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) })
    }

    fn single(&self, at: usize) -> Result<f32, String> {
        let bytes = self.array(at)?;
        Ok(if self.is_big { f32::from_be_bytes(bytes) } else { f32::from_le_bytes(bytes) })
    }
}

impl Ntv2 {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong, in words that follow the file's name.
    pub(super) fn parse(bytes: &[u8]) -> Result<Ntv2, String> {
        if !bytes.starts_with(b"NUM_OREC") {
            return Err("is no NTv2 file".into());
        }
        let order = [true, false].map(|is_big| Bytes { bytes, is_big });
        let bytes = order.into_iter().find(|bytes| bytes.count(8) == Ok(HEADER));
        let bytes = bytes.ok_or("has a header of another length than 11 records")?;
        let count = bytes.count(2 * RECORD + 8)?;
        let unit: [u8; 8] = bytes.array(3 * RECORD + 8)?;
        if !unit.starts_with(b"SECONDS") {
            return Err(format!("counts in {:?}, not in seconds", String::from_utf8_lossy(&unit)));
        }
        let (mut at, mut grids, mut nodes) = (HEADER * RECORD, Vec::new(), 0);
        for _ in 0..count {
            let grid = Subgrid::parse(&bytes, at, MOST_NODES - nodes)?;
            at += (HEADER + grid.shifts.len()) * RECORD;
            nodes += grid.shifts.len();
            grids.push(grid);
        }
        if grids.is_empty() {
            return Err("holds no grid".into());
        }
        Ok(Ntv2 { grids })
    }

    /// Shift of longitude (eastward) and latitude at a point; all in radians; `None` outside.
    fn shift(&self, [lon, lat]: [f64; 2]) -> Option<[f64; 2]> {
        // On the finest grid that holds it; the first of equals.
        let at = [-lon.to_degrees(), lat.to_degrees()];
        let holding = self.grids.iter().filter(|grid| grid.holds(at));
        let finest = holding.reduce(|a, b| if b.step[0] < a.step[0] { b } else { a })?;
        let [west, north] = finest.interpolate(at);
        Some([-west, north].map(|seconds| (seconds / 3600.0).to_radians()))
    }

    /// A point on the grid's target datum; `None` outside.
    pub(super) fn forward(&self, [lon, lat]: [f64; 2]) -> Option<[f64; 2]> {
        let lon = lon - (lon / std::f64::consts::TAU).round() * std::f64::consts::TAU;
        let [x, y] = self.shift([lon, lat])?;
        Some([lon + x, lat + y])
    }

    /// A point on the grid's source datum, by iteration; `None` outside.
    pub(super) fn inverse(&self, [lon, lat]: [f64; 2]) -> Option<[f64; 2]> {
        let lon = lon - (lon / std::f64::consts::TAU).round() * std::f64::consts::TAU;
        let mut guess = [lon, lat];
        for _ in 0..20 {
            let [x, y] = self.shift(guess)?;
            let next = [lon - x, lat - y];
            let moved = (next[0] - guess[0]).abs().max((next[1] - guess[1]).abs());
            guess = next;
            if moved < 1e-13 {
                break;
            }
        }
        Some(guess)
    }
}

impl Subgrid {
    fn parse(bytes: &Bytes<'_>, at: usize, most: usize) -> Result<Subgrid, String> {
        let value = |record: usize| bytes.double(at + record * RECORD + 8);
        let [south, north, east, west] = [value(4)?, value(5)?, value(6)?, value(7)?];
        let step = [value(8)?, value(9)?];
        let count = bytes.count(at + 10 * RECORD + 8)?;
        let steps = |low: f64, high: f64, step: f64| {
            let steps = ((high - low) / step).round();
            let is_good = step > 0.0 && (1.0..1e7).contains(&steps);
            if is_good {
                Ok(steps as usize + 1)
            } else {
                Err("has a grid without nodes".to_owned())
            }
        };
        let (rows, cols) = (steps(south, north, step[0])?, steps(east, west, step[1])?);
        if rows.checked_mul(cols) != Some(count) {
            return Err(format!("has {rows} × {cols} nodes and says {count}"));
        }
        let start = at + HEADER * RECORD;
        if count > most || bytes.bytes.len().saturating_sub(start) / RECORD < count {
            return Err("ends too early, or has too many nodes".into());
        }
        let node = |index: usize| {
            let at = start + index * RECORD;
            Ok([bytes.single(at)?, bytes.single(at + 4)?])
        };
        let shifts: Result<Vec<[f32; 2]>, String> = (0..count).map(node).collect();
        let degrees = 1.0 / 3600.0;
        let (south, east) = (south * degrees, east * degrees);
        Ok(Subgrid { south, east, step: step.map(|v| v * degrees), rows, cols, shifts: shifts? })
    }

    /// Rows and columns from the south-east corner.
    fn place(&self, [west, lat]: [f64; 2]) -> [f64; 2] {
        [(lat - self.south) / self.step[0], (west - self.east) / self.step[1]]
    }

    fn holds(&self, at: [f64; 2]) -> bool {
        let [row, col] = self.place(at);
        let slack = 1e-9;
        (-slack..=(self.rows - 1) as f64 + slack).contains(&row)
            && (-slack..=(self.cols - 1) as f64 + slack).contains(&col)
    }

    /// Shift of (west) longitude and latitude in arc seconds at a place that it holds.
    fn interpolate(&self, at: [f64; 2]) -> [f64; 2] {
        let [row, col] = self.place(at);
        let cell = |at: f64, count: usize| {
            let first = (at.max(0.0) as usize).min(count - 2);
            (first, at - first as f64)
        };
        let ((row, y), (col, x)) = (cell(row, self.rows), cell(col, self.cols));
        let node =
            |r: usize, c: usize, axis: usize| f64::from(self.shifts[r * self.cols + c][axis]);
        [1, 0].map(|axis| {
            let south = node(row, col, axis) * (1.0 - x) + node(row, col + 1, axis) * x;
            let north = node(row + 1, col, axis) * (1.0 - x) + node(row + 1, col + 1, axis) * x;
            south * (1.0 - y) + north * y
        })
    }
}
