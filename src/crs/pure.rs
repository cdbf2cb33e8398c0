//! The default engine: `proj4rs`'s arithmetic of projections between units, axes, prime meridians and datums of ours.
//!
//! Geographic coordinates lie in between: source → longitude and latitude on its datum → on the target's datum → target.

use std::fmt;

use proj4rs::proj::Proj;

use super::definition::{Base, Definition, Projection};
use super::helmert::{self, Ellipsoid, Step, turned};
use super::methods;
use super::transform::Engine;

/// The default engine.
pub(super) struct Pure {
    src: Side,
    dst: Side,
    steps: Vec<Step>,
    back: Vec<Step>,
}

impl Pure {
    /// The way between two CRSs over steps between their datums; `Err` says what is not known of which CRS.
    pub(super) fn new(
        [src, dst]: [&Definition; 2],
        steps: Vec<Step>,
    ) -> Result<Pure, (End, String)> {
        let back = turned(&steps);
        let src = Side::new(src).map_err(|reason| (End::Source, reason))?;
        let dst = Side::new(dst).map_err(|reason| (End::Target, reason))?;
        Ok(Pure { src, dst, steps, back })
    }
}

/// One of two CRSs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Target,
}

impl fmt::Debug for Pure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pure").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl Engine for Pure {
    fn forward(&self, points: &mut [[f64; 2]]) {
        carry(&self.src, &self.dst, &self.steps, points);
    }

    fn inverse(&self, points: &mut [[f64; 2]]) {
        carry(&self.dst, &self.src, &self.back, points);
    }
}

fn carry(from: &Side, to: &Side, steps: &[Step], points: &mut [[f64; 2]]) {
    for point in points {
        let [lon, lat] = from.inverse(*point);
        let geographic = if steps.is_empty() {
            [lon, lat]
        } else {
            let [x, y] = helmert::shift(steps, &from.ellipsoid, &to.ellipsoid, [lon, lat]);
            // The angle comes back in half a turn to either side; grids may count on.
            let turn = std::f64::consts::TAU;
            [x + ((lon - x) / turn).round() * turn, y]
        };
        *point = to.forward(geographic);
    }
}

/// One CRS: its coordinates <-> longitude and latitude in radians from Greenwich, on its own datum.
pub(super) struct Side {
    ellipsoid: Ellipsoid,
    pub(super) meridian: f64,
    map: Map,
}

enum Map {
    Geographic {
        unit: f64,
    },
    Projected {
        proj: Box<Proj>,
        longlat: Box<Proj>,
        unit: f64,
        axes: [u8; 2],
        is_bounded: bool,
        is_table: bool,
    },
}

const NOWHERE: [f64; 2] = [f64::NAN, f64::NAN];

/// Maps that do not go on beyond their edge, where the formulas back would give a place a second time.
const BOUNDED: &[&str] = &[
    "sinu", "moll", "robin", "eqearth", "wag4", "wag5", "aea", "lcc", "eqdc", "poly", "aeqd",
    "laea", "geos", "ortho", "gnom", "krovak",
];

impl Side {
    pub(super) fn new(definition: &Definition) -> Result<Side, String> {
        let Base { datum, meridian_degrees, unit } = &definition.base;
        let map = match &definition.projection {
            None => Map::Geographic { unit: *unit },
            Some(projection) => projected(projection, datum.ellipsoid)?,
        };
        let meridian = meridian_degrees.to_radians();
        Ok(Side { ellipsoid: Ellipsoid::new(datum.ellipsoid), meridian, map })
    }

    /// To longitude and latitude.
    pub(super) fn inverse(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        match &self.map {
            Map::Geographic { unit } => on_earth([x * unit + self.meridian, y * unit]),
            Map::Projected { proj, longlat, unit, axes, is_bounded, is_table } => {
                let [x, y] = turn_axes(*axes, [x * unit, y * unit]);
                let mut point = (x, y, 0.0);
                if !x.is_finite()
                    || !y.is_finite()
                    || proj4rs::transform::transform(proj, longlat, &mut point).is_err()
                {
                    return NOWHERE;
                }
                let mut found = on_earth([point.0, point.1]);
                if *is_table {
                    polish(proj, longlat, [x, y], &mut found);
                }
                if *is_bounded && !found[0].is_nan() {
                    let mut again = (found[0], found[1], 0.0);
                    let back = proj4rs::transform::transform(longlat, proj, &mut again);
                    // Far more than rounding and than what tables of Robinson are off, far less than a map.
                    let is_same = (again.0 - x).abs() < 10.0 && (again.1 - y).abs() < 10.0;
                    if back.is_err() || !is_same {
                        return NOWHERE;
                    }
                }
                [found[0] + self.meridian, found[1]]
            }
        }
    }

    /// From longitude and latitude.
    pub(super) fn forward(&self, [lon, lat]: [f64; 2]) -> [f64; 2] {
        let [lon, lat] = on_earth([lon, lat]);
        if lon.is_nan() {
            return NOWHERE;
        }
        match &self.map {
            Map::Geographic { unit } => [(lon - self.meridian) / unit, lat / unit],
            Map::Projected { proj, longlat, unit, axes, .. } => {
                let mut point = (lon - self.meridian, lat, 0.0);
                match proj4rs::transform::transform(longlat, proj, &mut point) {
                    Ok(()) if point.0.is_finite() && point.1.is_finite() => {
                        turn_axes(*axes, [point.0, point.1]).map(|v| v / unit)
                    }
                    _ => NOWHERE,
                }
            }
        }
    }
}

/// Brings an inverse that ends too early to a micrometre, on maps whose y depends on the latitude alone.
fn polish(proj: &Proj, longlat: &Proj, [x, y]: [f64; 2], found: &mut [f64; 2]) {
    const STEP: f64 = 1e-6;
    let forward = |[lon, lat]: [f64; 2]| {
        let mut point = (lon, lat, 0.0);
        proj4rs::transform::transform(longlat, proj, &mut point).ok().map(|()| [point.0, point.1])
    };
    for _ in 0..8 {
        let Some([u, v]) = forward(*found) else { return };
        let (dx, dy) = (x - u, y - v);
        if dx.abs().max(dy.abs()) < 1e-6 || dx.abs().max(dy.abs()) > 1e3 {
            return;
        }
        let inward = if found[1] > 0.0 { -STEP } else { STEP };
        let (Some(north), Some(east)) =
            (forward([found[0], found[1] + inward]), forward([found[0] - STEP, found[1]]))
        else {
            return;
        };
        let next = [found[0] + dx * STEP / (u - east[0]), found[1] + dy * inward / (north[1] - v)];
        if !(next[0].is_finite() && next[1].is_finite()) {
            return;
        }
        *found = next;
    }
}

/// The point, or nowhere: latitudes end at the poles; longitudes may count on for a few turns.
fn on_earth([lon, lat]: [f64; 2]) -> [f64; 2] {
    const POLE: f64 = std::f64::consts::FRAC_PI_2;
    if lon.abs() <= 10.0 && lat.abs() <= POLE + 1e-12 {
        [lon, lat.clamp(-POLE, POLE)]
    } else {
        NOWHERE
    }
}

/// Its own inverse for all the axes that there are.
fn turn_axes(axes: [u8; 2], [x, y]: [f64; 2]) -> [f64; 2] {
    match &axes {
        b"ws" => [-x, -y],
        b"sw" => [-y, -x],
        _ => [x, y],
    }
}

fn projected(projection: &Projection, ellipsoid: [f64; 2]) -> Result<Map, String> {
    let [a, inverse] = ellipsoid;
    let shape = if inverse == 0.0 || projection.params.is("f=0") {
        format!("+a={a} +b={a}")
    } else {
        format!("+a={a} +rf={inverse}")
    };
    let params = &projection.params;
    // PROJ's Krovak has its own default of the scale.
    let scale = if params.proj == "krovak" && !params.has("k") { " +k=1" } else { "" };
    let text = format!("{params}{scale} {shape}");
    let unknown = |_| format!("the projection {} ({params})", methods::title(&params.proj));
    let proj = Proj::from_proj_string(&text).map_err(unknown)?;
    let longlat = Proj::from_proj_string(&format!("+proj=longlat {shape}")).map_err(unknown)?;
    if !proj.has_inverse() || !proj.has_forward() {
        return Err(format!("both ways of the projection {}", methods::title(&params.proj)));
    }
    Ok(Map::Projected {
        is_table: params.proj == "robin",
        is_bounded: BOUNDED.contains(&params.proj.as_str()),
        proj: Box::new(proj),
        longlat: Box::new(longlat),
        unit: projection.unit,
        axes: projection.axes,
    })
}
