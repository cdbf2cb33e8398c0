//! [`Transformer`]: coordinates of one CRS to those of another, both ways.
//!
//! x is easting or longitude, y northing or latitude. A point outside the domain of either CRS becomes NaN. The
//! default engine knows most CRSs and datum operations; a program with the feature `proj` asks PROJ for the others.

use std::fmt;
use std::path::PathBuf;

use super::Crs;
use super::definition::Definition;
use super::meaning::Horizontal;
use super::operation::{self, DatumShift, Missing};
use super::pure::{End, Pure, Side};
use crate::error::{Error, ErrorKind, InputError, Result};

/// What carries points; for engines that are not the default one.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Source to target, in place.
    fn forward(&self, points: &mut [[f64; 2]]);
    /// Target to source, in place.
    fn inverse(&self, points: &mut [[f64; 2]]);
}

/// What computes coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// The default engine; PROJ for what is beyond it, where it is built in.
    #[default]
    Auto,
    /// The default engine only.
    Pure,
    /// PROJ only; needs the feature `proj`.
    Proj,
}

/// What a transformation may do.
#[derive(Debug, Clone, Default)]
pub struct TransformOptions {
    /// Longitude and latitude in degrees of the data: among several datum operations it decides.
    pub place: Option<[f64; 2]>,
    /// Take longitude and latitude as they are where no datum operation is known.
    pub allow_ballpark: bool,
    /// What computes.
    pub engine: EngineChoice,
    /// Folder of grid files for datum operations.
    pub grids: Option<PathBuf>,
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
        let strict = TransformOptions { allow_ballpark: false, ..options.clone() };
        let loose = options.allow_ballpark;
        match options.engine {
            EngineChoice::Pure => Transformer::pure(src, dst, options),
            EngineChoice::Proj => Transformer::linked(src, dst, options),
            EngineChoice::Auto if !cfg!(feature = "proj") => Transformer::pure(src, dst, options),
            EngineChoice::Auto => Transformer::pure(src, dst, &strict)
                .or_else(|first| {
                    Transformer::linked(src, dst, &strict).map_err(|second| both(first, &second))
                })
                .or_else(
                    |error| if loose { Transformer::pure(src, dst, options) } else { Err(error) },
                )
                .or_else(
                    |error| {
                        if loose { Transformer::linked(src, dst, options) } else { Err(error) }
                    },
                ),
        }
    }

    fn pure(src: &Crs, dst: &Crs, options: &TransformOptions) -> Result<Transformer> {
        let (from, to) = (understood(src)?, understood(dst)?);
        let way = operation::choose(
            from,
            to,
            options.place,
            options.allow_ballpark,
            options.grids.as_deref(),
        );
        let (steps, shift) = way.map_err(|missing| refuse(src, dst, &missing))?;
        let engine = Pure::new([from, to], steps).map_err(|(end, reason)| match end {
            End::Source => beyond(src, &reason),
            End::Target => beyond(dst, &reason),
        })?;
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
        Ok(Transformer { engine: Box::new(engine), shift, notes })
    }

    #[cfg(feature = "proj")]
    fn linked(src: &Crs, dst: &Crs, options: &TransformOptions) -> Result<Transformer> {
        let TransformOptions { place, allow_ballpark, grids, .. } = options;
        let way = super::linked::Linked::new([src, dst], *place, *allow_ballpark, grids.clone());
        let (engine, shift) = way.map_err(|reason| {
            let hint = "check the CRSs; --allow-ballpark accepts a ballpark transformation";
            InputError::Transform { what: format!("from {src} to {dst} with PROJ: {reason}"), hint }
        })?;
        Ok(Transformer { engine: Box::new(engine), shift, notes: vec!["computed by PROJ".into()] })
    }

    #[cfg(not(feature = "proj"))]
    fn linked(src: &Crs, dst: &Crs, _: &TransformOptions) -> Result<Transformer> {
        let what = format!("from {src} to {dst} with PROJ: this smalti is built without it");
        let hint = "leave --crs-engine out, or build smalti with --features proj";
        Err(InputError::Transform { what, hint }.into())
    }

    /// A transformer of another engine.
    pub fn with_engine(engine: Box<dyn Engine>, shift: Option<DatumShift>) -> Transformer {
        Transformer { engine, shift, notes: Vec::new() }
    }

    /// Adds what people should know of it.
    pub(crate) fn add_note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
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

/// About where a point of a CRS lies, in degrees, to choose among datum operations; `None` where no engine can tell.
pub fn place_of(crs: &Crs, point: [f64; 2], engine: EngineChoice) -> Option<[f64; 2]> {
    let mut place = [point];
    let place = match to_degrees(crs, &mut place) {
        Ok(()) => Some(place[0]),
        Err(_) if engine == EngineChoice::Pure => None,
        Err(_) => beyond_place_of(crs, point),
    };
    place.filter(|place| place.iter().all(|v| v.is_finite()))
}

#[cfg(feature = "proj")]
fn beyond_place_of(crs: &Crs, point: [f64; 2]) -> Option<[f64; 2]> {
    super::linked::place_of(crs, point)
}

#[cfg(not(feature = "proj"))]
fn beyond_place_of(_: &Crs, _: [f64; 2]) -> Option<[f64; 2]> {
    None
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
    InputError::Transform { what, hint: ELSEWHERE }.into()
}

/// What helps where the default engine ends.
const ELSEWHERE: &str = if cfg!(feature = "proj") {
    "warp it first with a program that can, or let PROJ do it: --crs-engine proj"
} else {
    "warp it first with a program that can, or use a smalti that is built with the feature proj"
};

/// The default engine's refusal, and PROJ's.
fn both(first: Error, second: &Error) -> Error {
    let (ErrorKind::Input(a), ErrorKind::Input(b)) = (first.kind(), second.kind()) else {
        return first;
    };
    match (a, b) {
        (InputError::Transform { what, hint }, InputError::Transform { what: second, .. }) => {
            InputError::Transform { what: format!("{what}; {second}"), hint }.into()
        }
        _ => first,
    }
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
            ELSEWHERE,
        ),
    };
    InputError::Transform { what, hint }.into()
}
