//! PROJ as an engine (feature `proj`): for CRSs and operations beyond the default one (SPEC §6.3).
//!
//! PROJ is asked once, at the place of the data, for its best operation between two CRSs; that one operation then
//! carries every point, as with the default engine, whatever PROJ would choose for each. What it holds is neither
//! `Send` nor `Sync`: each thread keeps objects of its own, made from the operation's text.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use proj::{Proj, ProjBuilder, ProjError};

use super::Crs;
use super::meaning::{Form, Horizontal};
use super::operation::DatumShift;
use super::proj_string;
use super::transform::Engine;

/// An operation of PROJ, ready for any thread.
#[derive(Debug)]
pub(super) struct Linked {
    key: Arc<Key>,
}

/// What an object of PROJ is made from.
#[derive(Debug, PartialEq)]
struct Key {
    pipeline: String,
    grids: Option<PathBuf>,
}

/// Objects that a thread keeps: as many as CRSs that one mosaic is likely to meet at once.
const MOST_KEPT: usize = 16;

thread_local! {
    static KEPT: RefCell<Vec<(Arc<Key>, Proj)>> = const { RefCell::new(Vec::new()) };
}

impl Linked {
    /// PROJ's way between two CRSs at a place (longitude and latitude in degrees), and how it bridges the datums;
    /// `Err` says why there is none.
    pub(super) fn new(
        [src, dst]: [&Crs; 2],
        place: Option<[f64; 2]>,
        allow_ballpark: bool,
        grids: Option<PathBuf>,
    ) -> Result<(Linked, Option<DatumShift>), String> {
        let (from, to) = (text(src)?, text(dst)?);
        let builder = || builder(&grids);
        let all = made(|| builder()?.proj_known_crs(&from, &to, None).map_err(|e| e.to_string()))?;
        // PROJ tells the operation that it used last.
        let start = place.and_then(|place| {
            let there =
                || builder()?.proj_known_crs("EPSG:4326", &from, None).map_err(|e| e.to_string());
            made(there).ok()?.convert((place[0], place[1])).ok()
        });
        if let Some(start) = start {
            drop(all.convert(start)); // Outside the target's domain it has an operation all the same, or says below that it has none.
        }
        let info = made(|| Ok(all.proj_info()))?;
        let pipeline = info.definition.filter(|text| !text.trim().is_empty());
        let pipeline =
            pipeline.ok_or("PROJ has several operations, and none for the place of the data")?;
        let name = info.description.unwrap_or_default();
        let is_ballpark = name.contains("allpark");
        if is_ballpark && !allow_ballpark {
            return Err(format!("PROJ has a ballpark transformation only ({name})"));
        }
        let accuracy_m = Some(info.accuracy).filter(|metres| *metres >= 0.0);
        let shift = (is_ballpark || accuracy_m != Some(0.0)).then_some(DatumShift {
            name,
            accuracy_m,
            area: None,
            is_ballpark,
        });
        let key = Arc::new(Key { pipeline, grids });
        made(|| key.build()).map(drop)?;
        Ok((Linked { key }, shift))
    }

    /// Runs `act` with this thread's object.
    fn with(&self, act: impl FnOnce(&Proj)) {
        KEPT.with_borrow_mut(|kept| {
            let at = match kept.iter().position(|(key, _)| Arc::ptr_eq(key, &self.key)) {
                Some(at) => at,
                None => {
                    // It could be made before, in `new`.
                    let Ok(proj) = self.key.build() else { return };
                    if kept.len() == MOST_KEPT {
                        kept.remove(0);
                    }
                    kept.push((Arc::clone(&self.key), proj));
                    kept.len() - 1
                }
            };
            act(&kept[at].1);
        });
    }

    fn carry(
        &self,
        points: &mut [[f64; 2]],
        carry: fn(&Proj, (f64, f64)) -> Result<(f64, f64), ProjError>,
    ) {
        let mut is_done = false;
        self.with(|proj| {
            for point in points.iter_mut() {
                let [x, y] = *point;
                let there =
                    if x.is_finite() && y.is_finite() { carry(proj, (x, y)).ok() } else { None };
                *point = match there {
                    Some((x, y)) if x.is_finite() && y.is_finite() => [x, y],
                    _ => [f64::NAN; 2],
                };
            }
            is_done = true;
        });
        if !is_done {
            points.fill([f64::NAN; 2]);
        }
    }
}

impl Engine for Linked {
    fn forward(&self, points: &mut [[f64; 2]]) {
        self.carry(points, |proj, point| proj.convert(point));
    }

    fn inverse(&self, points: &mut [[f64; 2]]) {
        self.carry(points, |proj, point| proj.project(point, true));
    }
}

impl Key {
    fn build(&self) -> Result<Proj, String> {
        builder(&self.grids)?.proj(&self.pipeline).map_err(|error| error.to_string())
    }
}

/// Longitude and latitude of a point of a CRS in degrees, on WGS 84 or near it: to choose operations by.
pub(super) fn place_of(crs: &Crs, [x, y]: [f64; 2]) -> Option<[f64; 2]> {
    let from = text(crs).ok()?;
    let way = || Proj::new_known_crs(&from, "EPSG:4326", None).map_err(|error| error.to_string());
    let (lon, lat) = made(way).ok()?.convert((x, y)).ok()?;
    Some([lon, lat])
}

fn builder(grids: &Option<PathBuf>) -> Result<ProjBuilder, String> {
    let mut builder = ProjBuilder::new();
    if let Some(folder) = grids {
        builder.set_search_paths(folder).map_err(|error| error.to_string())?;
    }
    Ok(builder)
}

/// The crate panics where PROJ fails without saying why.
fn made<T>(make: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(make))
        .unwrap_or_else(|_| Err("PROJ fails and does not say why".into()))
}

/// A CRS in words of PROJ's.
fn text(crs: &Crs) -> Result<String, String> {
    if let (Some(id), Horizontal::Known(_)) = (crs.id(), &crs.meaning().horizontal) {
        return Ok(id.to_string());
    }
    match &crs.meaning().horizontal {
        Horizontal::Known(definition) => Ok(proj_string::write(definition)),
        Horizontal::Opaque(opaque) => match (&opaque.form, opaque.code()) {
            (_, Some(id)) => Ok(id.to_string()),
            (Form::Text(text), _) if text.contains('[') => Ok(text.clone()),
            _ => Err(opaque.reason.clone()),
        },
    }
}
