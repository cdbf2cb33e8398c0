//! [`Transformer`]: coordinates of one CRS to those of another, both ways.
//!
//! Geographic coordinates lie in between: source → longitude and latitude on its datum → on the target's datum → target.
//! The arithmetic of projections is `proj4rs`'s; units, axes, prime meridians and datums are ours. x is easting or
//! longitude, y northing or latitude. A point outside the domain of either CRS becomes NaN.

use std::fmt;

use proj4rs::proj::Proj;

use super::definition::{Base, Definition, Projection};
use super::helmert::{self, Ellipsoid, Step, turned};
use super::meaning::Horizontal;
use super::operation::{self, DatumShift, Missing};
use super::{Crs, methods};
use crate::error::{Error, InputError, Result};

/// What carries points; for engines that are not the default one.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Source to target, in place.
    fn forward(&self, points: &mut [[f64; 2]]);
    /// Target to source, in place.
    fn inverse(&self, points: &mut [[f64; 2]]);
}

/// What a transformation may do.
#[derive(Debug, Clone, Default)]
pub struct TransformOptions {
    /// Longitude and latitude in degrees of the data: among several datum operations it decides.
    pub place: Option<[f64; 2]>,
    /// Take longitude and latitude as they are where no datum operation is known.
    pub allow_ballpark: bool,
}

/// Carries coordinates between two CRSs. Cheap to share between threads.
#[derive(Debug)]
pub struct Transformer {
    engine: Box<dyn Engine>,
    shift: Option<DatumShift>,
    notes: Vec<String>,
}

impl Transformer {
    /// The way from `src` to `dst`.
    ///
    /// # Errors
    /// [`InputError::Transform`] that names the CRS, projection or datum operation that is beyond smalti.
    pub fn new(src: &Crs, dst: &Crs, options: &TransformOptions) -> Result<Transformer> {
        let (from, to) = (understood(src)?, understood(dst)?);
        let way = operation::choose(from, to, options.place, options.allow_ballpark);
        let (steps, shift) = way.map_err(|missing| refuse(src, dst, &missing))?;
        let side = |crs: &Crs, definition: &Definition| {
            Side::new(definition).map_err(|reason| beyond(crs, &reason))
        };
        let back = turned(&steps);
        let pure = Pure { src: side(src, from)?, dst: side(dst, to)?, steps, back };
        let mut notes = Vec::new();
        for definition in [from, to] {
            // PROJ 9.8 changed the formulas of this one.
            let ellipsoidal = definition.base.datum.ellipsoid[1] != 0.0;
            if definition.projection.as_ref().is_some_and(|p| p.params.proj == "eqc") && ellipsoidal
            {
                notes.push(
                    "Equidistant Cylindrical is computed on a sphere with the ellipsoid's equatorial radius, as PROJ \
                     does before 9.8"
                        .to_owned(),
                );
            }
        }
        Ok(Transformer { engine: Box::new(pure), shift, notes })
    }

    /// A transformer of another engine.
    pub fn with_engine(engine: Box<dyn Engine>, shift: Option<DatumShift>) -> Transformer {
        Transformer { engine, shift, notes: Vec::new() }
    }

    /// Carries points from source to target, in place; NaN where they do not map.
    pub fn forward(&self, points: &mut [[f64; 2]]) {
        self.engine.forward(points);
    }

    /// Carries points from target to source, in place; NaN where they do not map.
    pub fn inverse(&self, points: &mut [[f64; 2]]) {
        self.engine.inverse(points);
    }

    /// How the datums are bridged; `None` where they are one.
    pub fn shift(&self) -> Option<&DatumShift> {
        self.shift.as_ref()
    }

    /// Rules that matter where other programs have others.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Longitude and latitude in degrees from Greenwich, on the CRS's own datum, of points of a CRS; NaN where they do not map.
///
/// # Errors
/// As [`Transformer::new`].
pub fn to_degrees(crs: &Crs, points: &mut [[f64; 2]]) -> Result<()> {
    let definition = understood(crs)?;
    let side = Side::new(definition).map_err(|reason| beyond(crs, &reason))?;
    for point in points {
        *point = side.inverse(*point).map(f64::to_degrees);
    }
    Ok(())
}

/// x of a full turn of a CRS whose x is proportional to longitude; `None` for others.
pub fn turn(crs: &Crs) -> Option<f64> {
    const CYLINDRICAL: &[&str] = &["merc", "webmerc", "eqc", "cea", "mill"];
    let definition = crs.meaning().known()?;
    let Some(projection) = &definition.projection else {
        return Some(std::f64::consts::TAU / definition.base.unit);
    };
    if !CYLINDRICAL.contains(&projection.params.proj.as_str()) || projection.axes != *b"en" {
        return None;
    }
    let side = Side::new(definition).ok()?;
    let meridian = projection.params.value("lon_0").to_radians() + side.meridian;
    let [west, east] = [-0.5, 0.5].map(|lon| side.forward([meridian + lon, 0.0])[0]);
    Some((east - west) * std::f64::consts::TAU).filter(|turn| turn.is_finite())
}

/// y of the edges of a map of the whole Earth, where the CRS has no edge of its own: Web Mercator is square.
pub fn y_range(crs: &Crs) -> Option<[f64; 2]> {
    let definition = crs.meaning().known()?;
    match &definition.projection {
        None => {
            let quarter = std::f64::consts::FRAC_PI_2 / definition.base.unit;
            Some([-quarter, quarter])
        }
        Some(projection) if projection.params.proj == "webmerc" => {
            let half = turn(crs)? / 2.0;
            Some([-half, half])
        }
        Some(_) => None,
    }
}

fn understood(crs: &Crs) -> Result<&Definition> {
    match &crs.meaning().horizontal {
        Horizontal::Known(definition) => Ok(definition),
        Horizontal::Opaque(opaque) => Err(beyond(crs, &opaque.reason)),
    }
}

fn beyond(crs: &Crs, reason: &str) -> Error {
    let what = format!("{crs}: smalti does not know {reason}");
    let hint = "warp it first with a program that does, or use a smalti that is built with the feature proj";
    InputError::Transform { what, hint }.into()
}

fn refuse(src: &Crs, dst: &Crs, missing: &Missing) -> Error {
    let (what, hint) = match missing {
        Missing::Unknown { from, to } => (
            format!("from {src} to {dst}: no datum operation is known from {from} to {to}"),
            "pass --allow-ballpark to take longitude and latitude as they are (often wrong by metres to hundreds of \
             metres), or --override-crs if the file is mislabelled",
        ),
        Missing::Beyond { operation, needs } => (
            format!("from {src} to {dst}: {operation} needs {needs}, which smalti cannot do"),
            "warp it first with a program that can, or use a smalti that is built with the feature proj",
        ),
    };
    InputError::Transform { what, hint }.into()
}

/// The default engine.
struct Pure {
    src: Side,
    dst: Side,
    steps: Vec<Step>,
    back: Vec<Step>,
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
struct Side {
    ellipsoid: Ellipsoid,
    meridian: f64,
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
    fn new(definition: &Definition) -> std::result::Result<Side, String> {
        let Base { datum, meridian_degrees, unit } = &definition.base;
        let map = match &definition.projection {
            None => Map::Geographic { unit: *unit },
            Some(projection) => projected(projection, datum.ellipsoid)?,
        };
        let meridian = meridian_degrees.to_radians();
        Ok(Side { ellipsoid: Ellipsoid::new(datum.ellipsoid), meridian, map })
    }

    /// To longitude and latitude.
    fn inverse(&self, [x, y]: [f64; 2]) -> [f64; 2] {
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
    fn forward(&self, [lon, lat]: [f64; 2]) -> [f64; 2] {
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

fn projected(projection: &Projection, ellipsoid: [f64; 2]) -> std::result::Result<Map, String> {
    let [a, inverse] = ellipsoid;
    let shape =
        if inverse == 0.0 { format!("+a={a} +b={a}") } else { format!("+a={a} +rf={inverse}") };
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
