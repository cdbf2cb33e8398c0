//! Outlines of rasters in another CRS (SPEC §4.2, §4.3, §4.6): their bounding boxes, and the pixel size that keeps their
//! detail.

use crate::crs::Crs;
use crate::crs::transform::{self, TransformOptions, Transformer};
use crate::error::Result;
use crate::geometry::{Bounds, GeoTransform};

/// What a target CRS is like where it meets itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct World {
    /// x of a full turn, for CRSs whose x is proportional to longitude.
    pub turn: Option<f64>,
    /// y beyond which there is nothing: `[least, most]`.
    pub y_range: Option<[f64; 2]>,
}

/// A raster in the target's CRS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Footprint {
    /// Bounding box; its x may lie beyond the CRS's usual range where the raster crosses the antimeridian.
    pub bounds: Bounds,
    /// Side of a pixel that keeps the pixel count of the diagonal.
    pub resolution: f64,
}

/// Points along an edge, corners included.
const EDGE_POINTS: usize = 33;

/// The footprint of a rectangle `[left, top, right, bottom]` of a reference grid; `None` if nothing of it maps.
pub fn footprint(
    transformer: &Transformer,
    reference: &GeoTransform,
    rectangle: [f64; 4],
    world: &World,
) -> Option<Footprint> {
    let [left, top, right, bottom] = rectangle;
    let at =
        |fx: f64, fy: f64| reference.apply(left + fx * (right - left), top + fy * (bottom - top));
    let mut points = outline(at);
    transformer.forward(&mut points);
    let winding = unwrap(&mut points, world.turn);
    let complete = points.iter().all(|p| p[0].is_finite() && p[1].is_finite());
    let mut all = points.clone();
    if !complete || winding != 0.0 {
        // What the outline does not tell, the inside may.
        all = inside(transformer, at, world.turn);
    }
    all.retain(|p| p[0].is_finite() && p[1].is_finite());
    let first = *all.first()?;
    let start = Bounds { min_x: first[0], min_y: first[1], max_x: first[0], max_y: first[1] };
    let mut bounds = all.iter().fold(start, |bounds, [x, y]| {
        bounds.union(Bounds { min_x: *x, min_y: *y, max_x: *x, max_y: *y })
    });
    take_in_edges(transformer, reference, rectangle, world, &mut bounds);
    if let Some(turn) = world.turn
        && (winding != 0.0 || bounds.width() >= turn * (1.0 - 1e-9))
    {
        // A raster round a pole, or from 0 to 360 degrees, goes all round.
        (bounds.min_x, bounds.max_x) = (-turn / 2.0, turn / 2.0);
    }
    if let Some([least, most]) = world.y_range {
        bounds.min_y = bounds.min_y.clamp(least, most);
        bounds.max_y = bounds.max_y.clamp(least, most);
    }
    let pixels = (right - left).hypot(bottom - top);
    let diagonal = diagonal(&points).unwrap_or_else(|| bounds.width().hypot(bounds.height()));
    Some(Footprint { bounds, resolution: diagonal / pixels })
}

/// The box in CRS `to` of a rectangle `[left, top, right, bottom]` of a reference grid in CRS `from`; `None` if nothing
/// of it maps. Its x may lie beyond the usual range where it crosses the antimeridian. Without a place in `options` the
/// middle of the rectangle decides among datum operations.
///
/// # Errors
/// As [`Transformer::new`].
pub fn bounds_in(
    [from, to]: [&Crs; 2],
    reference: &GeoTransform,
    rectangle: [f64; 4],
    options: &TransformOptions,
) -> Result<Option<Bounds>> {
    let [left, top, right, bottom] = rectangle;
    if from.same_horizontal(to) {
        let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
        let point = |(u, v): (f64, f64)| {
            let [x, y] = reference.apply(u, v);
            Bounds { min_x: x, min_y: y, max_x: x, max_y: y }
        };
        return Ok(corners.into_iter().map(point).reduce(Bounds::union));
    }
    let middle = reference.apply((left + right) / 2.0, (top + bottom) / 2.0);
    let place = options.place.or_else(|| transform::place_of(from, middle, options.engine));
    let transformer = Transformer::new(from, to, &TransformOptions { place, ..options.clone() })?;
    let world = World { turn: transform::turn(to), y_range: transform::y_range(to) };
    Ok(footprint(&transformer, reference, rectangle, &world).map(|print| print.bounds))
}

/// The box of a footprint, grown by more than its outline may bend between the points that were looked at.
pub fn grown(bounds: Bounds) -> Bounds {
    // Between n points an arc bends by about (1 / n)^2 / 8 of what it bends in all: far less than this share.
    let share = 2.0 / (EDGE_POINTS * EDGE_POINTS) as f64;
    let [dx, dy] = [bounds.width() * share, bounds.height() * share];
    Bounds {
        min_x: bounds.min_x - dx,
        min_y: bounds.min_y - dy,
        max_x: bounds.max_x + dx,
        max_y: bounds.max_y + dy,
    }
}

/// Points round the rectangle: from left top along the top, and so on; the first one again at the end.
fn outline(at: impl Fn(f64, f64) -> [f64; 2]) -> Vec<[f64; 2]> {
    let last = EDGE_POINTS - 1;
    let fraction = |i: usize| i as f64 / last as f64;
    let top = (0..last).map(|i| at(fraction(i), 0.0));
    let right = (0..last).map(|i| at(1.0, fraction(i)));
    let bottom = (0..last).map(|i| at(1.0 - fraction(i), 1.0));
    let left = (0..=last).map(|i| at(0.0, 1.0 - fraction(i)));
    top.chain(right).chain(bottom).chain(left).collect()
}

/// Points all over the rectangle, edges included, row after row; no jumps along a row, nor along the first column.
fn inside(
    transformer: &Transformer,
    at: impl Fn(f64, f64) -> [f64; 2],
    turn: Option<f64>,
) -> Vec<[f64; 2]> {
    let fraction = |i: usize| i as f64 / (EDGE_POINTS - 1) as f64;
    let mut all = Vec::new();
    let mut first = [f64::NAN; 2];
    for row in 0..EDGE_POINTS {
        let mut points = vec![first];
        let along = |f: f64| at(f, fraction(row));
        points.extend(to_the_rim(transformer, along));
        unwrap(&mut points, turn);
        if let Some(own) = points[1..].iter().find(|p| p[0].is_finite()) {
            first = *own;
        }
        all.extend_from_slice(&points[1..]);
    }
    all
}

/// Points along a line, carried over; between one that maps and one that does not also the last that does.
fn to_the_rim(transformer: &Transformer, along: impl Fn(f64) -> [f64; 2]) -> Vec<[f64; 2]> {
    const HALVINGS: u32 = 24;
    let fraction = |i: usize| i as f64 / (EDGE_POINTS - 1) as f64;
    let maps = |p: &[f64; 2]| p[0].is_finite() && p[1].is_finite();
    let mut own: Vec<[f64; 2]> = (0..EDGE_POINTS).map(|i| along(fraction(i))).collect();
    transformer.forward(&mut own);
    let mut points = Vec::with_capacity(own.len() + 2);
    for (index, point) in own.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| maps(&own[before]));
        if before.is_some_and(|before| before != maps(point)) {
            let (mut inside, mut outside) = (fraction(index), fraction(index - 1));
            if before == Some(true) {
                (inside, outside) = (outside, inside);
            }
            let mut rim = [f64::NAN; 2];
            for _ in 0..HALVINGS {
                let middle = (inside + outside) / 2.0;
                let mut point = [along(middle)];
                transformer.forward(&mut point);
                if maps(&point[0]) {
                    (inside, rim) = (middle, point[0]);
                } else {
                    outside = middle;
                }
            }
            points.push(rim);
        }
        points.push(*point);
    }
    points
}

/// Takes out the jumps at the antimeridian; gives the turns that are left round the outline.
fn unwrap(points: &mut [[f64; 2]], turn: Option<f64>) -> f64 {
    let Some(turn) = turn else { return 0.0 };
    let mut finite = points.iter_mut().filter(|p| p[0].is_finite());
    let Some(first) = finite.next().map(|p| p[0]) else { return 0.0 };
    let mut last = first;
    for point in finite {
        point[0] -= ((point[0] - last) / turn).round() * turn;
        last = point[0];
    }
    ((last - first) / turn).round()
}

/// Widens the box to the edges of the world that lie within the raster: the poles, or the edge of a square map.
fn take_in_edges(
    transformer: &Transformer,
    reference: &GeoTransform,
    [left, top, right, bottom]: [f64; 4],
    world: &World,
    bounds: &mut Bounds,
) {
    let (Some(turn), Some(edges)) = (world.turn, world.y_range) else { return };
    for edge in edges {
        // The edge itself may be the end of the domain.
        let y = edge * (1.0 - 1e-9);
        let mut points: Vec<[f64; 2]> =
            (0..=32).map(|i| [f64::from(i - 16) / 32.0 * turn, y]).collect();
        transformer.inverse(&mut points);
        let inside = points.iter().any(|[x, y]| {
            let [u, v] = reference.invert(*x, *y);
            (left..=right).contains(&u) && (top..=bottom).contains(&v)
        });
        if inside {
            bounds.min_y = bounds.min_y.min(edge);
            bounds.max_y = bounds.max_y.max(edge);
        }
    }
}

/// Length from the first corner to the opposite one.
fn diagonal(points: &[[f64; 2]]) -> Option<f64> {
    let (first, opposite) = (points.first()?, points.get(2 * (EDGE_POINTS - 1))?);
    let length = (opposite[0] - first[0]).hypot(opposite[1] - first[1]);
    (length.is_finite() && length > 0.0).then_some(length)
}
