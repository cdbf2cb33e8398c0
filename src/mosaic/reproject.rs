//! Places sources of any CRS in one CRS (SPEC §4.1 to §4.3, §4.6, §6): co-registered groups of each CRS, their
//! transformations, and the box and pixel size of each source in the mosaic's CRS.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::crs::Crs;
use crate::crs::operation::DatumShift;
use crate::crs::transform::{self, EngineChoice, TransformOptions, Transformer};
use crate::error::{InputError, Result};
use crate::geometry::{Bounds, GeoTransform, Size};
use crate::mosaic::agree;
use crate::mosaic::layer::{self, Placement};
use crate::mosaic::target::TargetOptions;
use crate::mosaic::{MosaicOptions, unwrap_antimeridian};
use crate::source::Source;
use crate::warp::Warp;
use crate::warp::footprint::{self, World};

/// The CRS of a mosaic.
#[derive(Debug, Clone)]
pub enum TargetCrs {
    /// This one.
    Given(Arc<Crs>),
    /// That of the inputs that covers the largest area.
    Auto,
}

/// How sources of other CRSs are brought to the mosaic's.
#[derive(Debug, Clone)]
pub struct ReprojectOptions {
    /// The mosaic's CRS; that which all sources share without it.
    pub crs: Option<TargetCrs>,
    /// Most that a position may be off, in source pixels; 0 for none.
    pub error_px: f64,
    /// Take longitude and latitude as they are where no datum operation is known.
    pub allow_ballpark: bool,
    /// What computes coordinates.
    pub engine: EngineChoice,
    /// Folder of grid files for datum operations.
    pub grids: Option<PathBuf>,
}

impl Default for ReprojectOptions {
    fn default() -> ReprojectOptions {
        ReprojectOptions {
            crs: None,
            error_px: 0.125,
            allow_ballpark: false,
            engine: EngineChoice::Auto,
            grids: None,
        }
    }
}

impl ReprojectOptions {
    /// What a transformation of data at `place` (longitude and latitude in degrees) may do.
    pub fn at(&self, place: Option<[f64; 2]>) -> TransformOptions {
        TransformOptions {
            place,
            allow_ballpark: self.allow_ballpark,
            engine: self.engine,
            grids: self.grids.clone(),
        }
    }
}

/// A source as the grid sees it: its box and pixel size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Bounding box in the mosaic's CRS.
    pub bounds: Bounds,
    /// Pixel size along both axes.
    pub resolution: [f64; 2],
}

/// A group of another CRS.
#[derive(Debug)]
pub(super) struct Foreign {
    transformer: Transformer,
    crs: Arc<Crs>,
    center_x: f64,
}

impl Foreign {
    pub(super) fn describe(&self, sources: usize) -> Reprojection {
        Reprojection {
            from: self.crs.to_string(),
            sources,
            shift: self.transformer.shift().cloned(),
            notes: self.transformer.notes().to_vec(),
        }
    }
}

/// How a group of inputs is reprojected, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Reprojection {
    /// The inputs' CRS.
    pub from: String,
    /// How many inputs.
    pub sources: usize,
    /// How the datums are bridged, where they differ.
    pub shift: Option<DatumShift>,
    /// Rules that other programs have others for.
    pub notes: Vec<String>,
}

/// `2 inputs from EPSG:4267 (NAD27): NAD27 to WGS 84 (4), accuracy 10 m, for -124.8, 24.4 to -66.9, 49.4`.
impl fmt::Display for Reprojection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = if self.sources == 1 { "input" } else { "inputs" };
        write!(f, "{} {inputs} from {}", self.sources, self.from)?;
        match &self.shift {
            None => f.write_str(": same datum")?,
            Some(shift) => {
                write!(f, ": {}", shift.name)?;
                match shift.accuracy_m {
                    Some(metres) => write!(f, ", accuracy {metres} m")?,
                    None => f.write_str(", accuracy unknown")?,
                }
                if let Some([west, south, east, north]) = shift.area {
                    write!(f, ", for longitudes {west} to {east}, latitudes {south} to {north}")?;
                }
            }
        }
        for note in &self.notes {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}

/// All sources, placed.
pub(super) struct Placing {
    pub(super) crs: Option<Arc<Crs>>,
    pub(super) references: Vec<GeoTransform>,
    pub(super) places: Vec<Placement>,
    /// By group; `None` for groups in the mosaic's own CRS.
    pub(super) foreign: Vec<Option<Foreign>>,
    /// By source; `None` where nothing of it maps into the mosaic's CRS.
    pub(super) candidates: Vec<Option<Candidate>>,
    /// Of groups whose sources fill a rectangle: the grid sees that as one raster, however it is cut into
    /// sources.
    whole: Vec<(u32, Candidate)>,
    /// Sources that the grid sees by their group.
    in_whole: Vec<bool>,
}

impl Placing {
    /// What the grid is made from.
    pub(super) fn seen(&self) -> Vec<Candidate> {
        let single = self.candidates.iter().zip(&self.in_whole).filter(|(_, in_whole)| !**in_whole);
        let whole = self.whole.iter().map(|(_, candidate)| *candidate);
        single.filter_map(|(candidate, _)| *candidate).chain(whole).collect()
    }

    /// The warps of a grid, by group.
    pub(super) fn warps(
        foreign: Vec<Option<Foreign>>,
        references: &[GeoTransform],
        grid: &GeoTransform,
        error_px: f64,
    ) -> Vec<Option<Arc<Warp>>> {
        let warp = |(foreign, reference): (Option<Foreign>, &GeoTransform)| {
            let Foreign { transformer, crs, center_x } = foreign?;
            let turn = if crs.is_geographic() { transform::turn(&crs) } else { None };
            Some(Arc::new(Warp::new(transformer, *reference, grid, error_px, turn, center_x)))
        };
        foreign.into_iter().zip(references).map(warp).collect()
    }
}

/// Places all sources.
///
/// # Errors
/// [`InputError::MixedCrs`] if the CRSs differ and none is given, or their heights do;
/// [`InputError::Transform`] if a CRS cannot be carried to the mosaic's.
pub(super) fn place(sources: &[Source], options: &MosaicOptions) -> Result<Placing> {
    let crs = target(sources, options)?;
    let mut classes: Vec<(Option<Arc<Crs>>, Vec<u32>)> = vec![(crs.clone(), Vec::new())];
    for (id, source) in sources.iter().enumerate() {
        let own = &source.dataset.crs;
        let same = |other: &Option<Arc<Crs>>| match (own, other) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.same_horizontal(b),
            (None, None) => true,
            _ => false,
        };
        match classes.iter_mut().find(|(other, _)| same(other)) {
            Some((_, ids)) => ids.push(id as u32),
            None => classes.push((own.clone(), vec![id as u32])),
        }
    }
    let nowhere = Placement { group: 0, col: 0, row: 0 };
    let mut placing = Placing {
        crs,
        references: Vec::new(),
        places: vec![nowhere; sources.len()],
        foreign: Vec::new(),
        candidates: vec![None; sources.len()],
        whole: Vec::new(),
        in_whole: vec![false; sources.len()],
    };
    for (index, (own, ids)) in classes.iter().enumerate() {
        place_class(
            &mut placing,
            sources,
            ids,
            if index == 0 { None } else { own.as_ref() },
            options,
        )?;
    }
    let own = &classes[0].1;
    if let Some(turn) = placing.crs.as_ref().and_then(|crs| transform::turn(crs))
        && classes.len() > 1
    {
        let wanted = wanted(options);
        settle_turns(
            &mut placing.candidates,
            |id| own.binary_search(&(id as u32)).is_ok(),
            turn,
            wanted,
        );
        for (member, candidate) in &mut placing.whole {
            let Some(own) = placing.candidates[*member as usize] else { continue };
            let middle = |b: Bounds| (b.min_x + b.max_x) / 2.0;
            let shift = ((middle(own.bounds) - middle(candidate.bounds)) / turn).round() * turn;
            candidate.bounds.min_x += shift;
            candidate.bounds.max_x += shift;
        }
        let foreign = placing.candidates.iter_mut().enumerate();
        let foreign = foreign.filter(|(id, _)| own.binary_search(&(*id as u32)).is_err());
        if let Some(wanted) = wanted {
            foreign.for_each(|(_, candidate)| repeat(candidate, turn, wanted));
        }
    }
    Ok(placing)
}

/// Options with the bounds in the mosaic's CRS, where they are given in another one; `None` where they are not.
///
/// # Errors
/// [`InputError::Option`] or [`InputError::Extent`] if there are none in the mosaic's CRS.
pub(super) fn own_bounds(
    sources: &[Source],
    options: &MosaicOptions,
) -> Result<Option<MosaicOptions>> {
    let (Some(given), Some(from)) = (options.target.bounds, &options.target.bounds_crs) else {
        return Ok(None);
    };
    let Some(to) = target(sources, options)? else {
        let reason = "the inputs have no CRS; pass --assign-crs".to_owned();
        return Err(InputError::Option { option: "--bounds-crs", reason }.into());
    };
    let reference =
        GeoTransform::north_up(given.min_x, given.max_y, given.width(), given.height())?;
    let transform = options.reproject.at(None);
    let bounds = footprint::bounds_in([from, &to], &reference, [0.0, 0.0, 1.0, 1.0], &transform)?;
    let Some(bounds) = bounds else {
        let reason = format!("--bounds: nothing of it has a place in {to}");
        return Err(InputError::Extent(reason).into());
    };
    let target = TargetOptions { bounds: Some(bounds), bounds_crs: None, ..options.target.clone() };
    Ok(Some(MosaicOptions { target, ..options.clone() }))
}

fn wanted(options: &MosaicOptions) -> Option<Bounds> {
    options.like.as_ref().map(crate::grid::Grid::bounds).or(options.target.bounds)
}

/// Places the sources of one CRS; `crs` is given where it is not the mosaic's.
fn place_class(
    placing: &mut Placing,
    sources: &[Source],
    ids: &[u32],
    crs: Option<&Arc<Crs>>,
    options: &MosaicOptions,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let raster = |id: &u32| {
        let source = &sources[*id as usize];
        (source.transform(), source.size())
    };
    let mut rasters: Vec<(GeoTransform, Size)> = ids.iter().map(raster).collect();
    if crs.or(placing.crs.as_ref()).is_some_and(|crs| crs.is_geographic()) {
        let wanted = if crs.is_none() { wanted(options) } else { None };
        unwrap_antimeridian(&mut rasters, wanted)?;
    }
    let (references, places) = layer::register(&rasters);
    let first_group = placing.references.len() as u32;
    for (id, place) in ids.iter().zip(&places) {
        placing.places[*id as usize] = Placement { group: place.group + first_group, ..*place };
    }
    let (Some(crs), Some(target)) = (crs, placing.crs.clone()) else {
        for (id, (transform, size)) in ids.iter().zip(&rasters) {
            let (bounds, resolution) = (transform.bounds(*size), transform.resolution());
            placing.candidates[*id as usize] = Some(Candidate { bounds, resolution });
        }
        placing.foreign.extend(references.iter().map(|_| None));
        placing.references.extend(references);
        return Ok(());
    };
    let world = World { turn: transform::turn(&target), y_range: transform::y_range(&target) };
    for (group, reference) in references.iter().enumerate() {
        let members: Vec<usize> =
            (0..ids.len()).filter(|at| places[*at].group as usize == group).collect();
        let rectangle = |at: &usize| {
            let (Placement { col, row, .. }, size) = (places[*at], rasters[*at].1);
            let (c, r) = (col as f64, row as f64);
            [c, r, c + f64::from(size.width), r + f64::from(size.height)]
        };
        let all = members
            .iter()
            .map(rectangle)
            .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
        let [left, top, right, bottom] = all.unwrap_or_default();
        let [center_x, _] = reference.apply((left + right) / 2.0, (top + bottom) / 2.0);
        let whole = [left, top, right, bottom];
        let transformer = way([crs, &target], reference, whole, options)?;
        let rectangles: Vec<[f64; 4]> = members.iter().map(rectangle).collect();
        let print = fills(whole, &rectangles)
            .then(|| footprint::footprint(&transformer, reference, whole, &world));
        if let Some(print) = print.flatten() {
            let candidate = Candidate { bounds: print.bounds, resolution: [print.resolution; 2] };
            placing.whole.push((ids[members[0]], candidate));
            members.iter().for_each(|at| placing.in_whole[ids[*at] as usize] = true);
        }
        for at in members {
            let print = footprint::footprint(&transformer, reference, rectangle(&at), &world);
            placing.candidates[ids[at] as usize] = print
                .map(|print| Candidate { bounds: print.bounds, resolution: [print.resolution; 2] });
        }
        placing.foreign.push(Some(Foreign { transformer, crs: Arc::clone(crs), center_x }));
    }
    placing.references.extend(references);
    Ok(())
}

/// The transformation for data in a rectangle of a reference grid. Its middle decides among datum operations; where none
/// is for that, as for rasters of the whole Earth, the wanted extent does, then places all over the rectangle.
fn way(
    [crs, target]: [&Crs; 2],
    reference: &GeoTransform,
    [left, top, right, bottom]: [f64; 4],
    options: &MosaicOptions,
) -> Result<Transformer> {
    const PLACES: u32 = 9;
    let reproject = &options.reproject;
    let middle = reference.apply((left + right) / 2.0, (top + bottom) / 2.0);
    let middle = transform::place_of(crs, middle, reproject.engine);
    let strict = |place: Option<[f64; 2]>| {
        let all = TransformOptions { allow_ballpark: false, ..reproject.at(place) };
        Transformer::new(crs, target, &all)
    };
    match strict(middle) {
        Ok(transformer) => return Ok(transformer),
        Err(error) if reproject.engine == EngineChoice::Proj && !reproject.allow_ballpark => {
            return Err(error);
        }
        Err(_) => {}
    }
    let wanted = wanted(options).and_then(|b| {
        let center = [(b.min_x + b.max_x) / 2.0, (b.min_y + b.max_y) / 2.0];
        transform::place_of(target, center, reproject.engine)
    });
    let spread = (0..PLACES * PLACES).filter_map(|index| {
        let part = |i: u32| (f64::from(i) + 0.5) / f64::from(PLACES);
        let (fx, fy) = (part(index % PLACES), part(index / PLACES));
        let point = reference.apply(left + fx * (right - left), top + fy * (bottom - top));
        transform::place_of(crs, point, reproject.engine)
    });
    for place in wanted.into_iter().chain(spread) {
        if let Ok(mut transformer) = strict(Some(place)) {
            transformer.add_note("the middle of these inputs lies outside of that area");
            return Ok(transformer);
        }
    }
    Transformer::new(crs, target, &reproject.at(middle))
}

/// Whether rectangles leave nothing of a larger one uncovered. They lie at whole pixels.
fn fills([left, top, right, bottom]: [f64; 4], rectangles: &[[f64; 4]]) -> bool {
    let edges = |low: usize, high: usize, ends: [f64; 2]| {
        let mut edges: Vec<f64> =
            rectangles.iter().flat_map(|r| [r[low], r[high]]).chain(ends).collect();
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        edges
    };
    let (xs, ys) = (edges(0, 2, [left, right]), edges(1, 3, [top, bottom]));
    // Enough for ten thousand tiles in rows; what is more ragged is no single raster.
    const MOST_CELLS: usize = 1 << 22;
    let (cols, rows) = (xs.len() - 1, ys.len() - 1);
    if cols.saturating_mul(rows) > MOST_CELLS {
        return false;
    }
    let mut covered = vec![false; cols * rows];
    let at = |edges: &[f64], value: f64| edges.partition_point(|edge| *edge < value);
    for [l, t, r, b] in rectangles {
        let (first, last) = (at(&xs, *l), at(&xs, *r));
        for row in at(&ys, *t)..at(&ys, *b) {
            covered[row * cols + first..row * cols + last].fill(true);
        }
    }
    covered.iter().all(|covered| *covered)
}

/// The mosaic's CRS.
fn target(sources: &[Source], options: &MosaicOptions) -> Result<Option<Arc<Crs>>> {
    let given = match &options.reproject.crs {
        Some(TargetCrs::Given(crs)) => Some(Arc::clone(crs)),
        Some(TargetCrs::Auto) => largest_area(sources)?,
        None => options.like.as_ref().and_then(|grid| grid.crs.clone()),
    };
    let Some(given) = given else { return agree::crs(sources) };
    if sources.iter().all(|source| source.dataset.crs.is_none()) && options.reproject.crs.is_none()
    {
        return Ok(None);
    }
    let heights = agree::heights(sources)?;
    match heights {
        Some(heights) if given.has_heights() && !given.same_heights(&heights) => {
            Err(InputError::Mismatch {
                what: "heights",
                first: given.to_string(),
                other: heights.to_string(),
                hint: "smalti carries no heights from one reference or unit to another; name a CRS with the \
                       inputs' heights, or without any",
            }
            .into())
        }
        Some(heights) if !given.has_heights() => Ok(Some(Arc::new(given.with_heights_of(&heights)))),
        _ => Ok(Some(given)),
    }
}

/// The CRS whose sources cover the largest area; the first of equals.
fn largest_area(sources: &[Source]) -> Result<Option<Arc<Crs>>> {
    let mut areas: Vec<(Arc<Crs>, f64)> = Vec::new();
    for source in sources {
        let Some(crs) = &source.dataset.crs else { continue };
        let area = area(crs, source)?;
        match areas.iter_mut().find(|(other, _)| Arc::ptr_eq(crs, other) || crs.same_as(other)) {
            Some((_, sum)) => *sum += area,
            None => areas.push((Arc::clone(crs), area)),
        }
    }
    let mut best: Option<(Arc<Crs>, f64)> = None;
    for (crs, area) in areas {
        if best.as_ref().is_none_or(|(_, most)| area > *most) {
            best = Some((crs, area));
        }
    }
    Ok(best.map(|(crs, _)| crs))
}

/// Square metres that a source covers, about.
fn area(crs: &Crs, source: &Source) -> Result<f64> {
    let (transform, size) = (source.transform(), source.size());
    let [_, dx, rx, _, ry, dy] = transform.coefficients();
    let pixel = (dx * dy - rx * ry).abs();
    let unit = crs.unit_size().unwrap_or(1.0);
    if !crs.is_geographic() {
        return Ok(pixel * size.pixels() as f64 * unit * unit);
    }
    let [_, y] = transform.apply(f64::from(size.width) / 2.0, f64::from(size.height) / 2.0);
    const RADIUS_M: f64 = 6_371_000.0;
    Ok(pixel * size.pixels() as f64 * (unit * RADIUS_M).powi(2) * (y * unit).cos().abs())
}

/// Widens a box to where it lies once more within an extent, a turn to the east or west.
fn repeat(candidate: &mut Option<Candidate>, turn: f64, wanted: Bounds) {
    let Some(Candidate { bounds, .. }) = candidate else { return };
    let own = *bounds;
    for shift in [-turn, turn] {
        let (min_x, max_x) = (own.min_x + shift, own.max_x + shift);
        if min_x < wanted.max_x && max_x > wanted.min_x {
            bounds.min_x = bounds.min_x.min(min_x);
            bounds.max_x = bounds.max_x.max(max_x);
        }
    }
}

/// Moves boxes by whole turns so that all together are as narrow as can be; those that are `fixed` stay.
fn settle_turns(
    candidates: &mut [Option<Candidate>],
    fixed: impl Fn(usize) -> bool,
    turn: f64,
    wanted: Option<Bounds>,
) {
    let union_of_fixed = candidates
        .iter()
        .enumerate()
        .filter(|(id, _)| fixed(*id))
        .filter_map(|(_, candidate)| candidate.map(|c| c.bounds))
        .reduce(Bounds::union);
    let anchor = wanted.or(union_of_fixed);
    let middle = |b: &Bounds| (b.min_x + b.max_x) / 2.0;
    let mut free: Vec<&mut Bounds> = candidates
        .iter_mut()
        .enumerate()
        .filter(|(id, _)| !fixed(*id))
        .filter_map(|(_, candidate)| candidate.as_mut().map(|c| &mut c.bounds))
        .collect();
    let start = match anchor {
        Some(anchor) => middle(&anchor) - turn / 2.0,
        None => {
            // Middles in order round the circle: the widest gap between boxes is left outside.
            let place = |b: &Bounds, start: f64| (middle(b) - start).rem_euclid(turn) + start;
            let mut middles: Vec<(f64, f64)> =
                free.iter().map(|b| (place(b, -turn / 2.0), b.width())).collect();
            middles.sort_by(|a, b| a.0.total_cmp(&b.0));
            let low = |(at, width): (f64, f64)| at - width / 2.0;
            let high = |(at, width): (f64, f64)| at + width / 2.0;
            let (Some(first), Some(last)) = (middles.first(), middles.last()) else { return };
            // As it is, unless another cut is truly better.
            let mut best = (turn - (high(*last) - low(*first)), -turn / 2.0);
            for pair in middles.windows(2) {
                let gap = low(pair[1]) - high(pair[0]);
                if gap > best.0 + turn * 1e-9 {
                    best = (gap, high(pair[0]) + gap / 2.0);
                }
            }
            best.1
        }
    };
    for bounds in &mut free {
        // What lies half a turn away goes east.
        let shift = ((middle(bounds) - start) / turn - 1e-9).floor() * turn;
        bounds.min_x -= shift;
        bounds.max_x -= shift;
    }
}
