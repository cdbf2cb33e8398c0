//! Brute force for resampling and overlaps, straight from SPEC §5.1, §5.6 and §5.7: two-dimensional, in
//! `f64`, pixel by pixel, over all source pixels there are. Shares no code with the crate.

use smalti::mosaic::Overlap;
use smalti::resample::Kernel;

use super::builder::Geotiff;

/// One band of a source, placed on the reference grid of its layer.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) col: i64,
    pub(crate) row: i64,
    pub(crate) width: i64,
    pub(crate) height: i64,
    pub(crate) values: Vec<f64>,
    pub(crate) valid: Vec<bool>,
}

impl Placed {
    /// A band of a picture; invalid where it is NaN, masked, or `nodata`.
    pub(crate) fn new(
        picture: &Geotiff,
        band: usize,
        [col, row]: [i64; 2],
        nodata: Option<f64>,
    ) -> Placed {
        let (width, height) = (picture.width, picture.height);
        let pixels = (0..height).flat_map(|r| (0..width).map(move |c| (r, c)));
        let values: Vec<f64> = pixels.map(|(r, c)| picture.value(band, r, c)).collect();
        let masked = |at: usize| picture.mask.as_ref().is_some_and(|mask| !mask[at]);
        let valid = |(at, v): (usize, &f64)| !v.is_nan() && Some(*v) != nodata && !masked(at);
        Placed {
            col,
            row,
            width: width as i64,
            height: height as i64,
            valid: values.iter().enumerate().map(valid).collect(),
            values,
        }
    }

    fn index(&self, col: i64, row: i64) -> Option<usize> {
        let (c, r) = (col - self.col, row - self.row);
        let inside = (0..self.width).contains(&c) && (0..self.height).contains(&r);
        inside.then(|| usize::try_from(r * self.width + c).expect("inside"))
    }

    fn get(&self, col: i64, row: i64) -> Option<f64> {
        self.index(col, row).filter(|at| self.valid[*at]).map(|at| self.values[at])
    }

    /// Distance from the pixel's centre to the nearest point of an invalid pixel, up to a limit.
    fn distance(&self, col: i64, row: i64, limit: f64) -> f64 {
        let mut best = limit;
        let reach = limit.ceil() as i64 + 1;
        // All is invalid around the source: one pixel of that is enough.
        let within = |at: i64, first: i64, side: i64| {
            (at - reach).max(first - 1)..=(at + reach).min(first + side)
        };
        for r in within(row, self.row, self.height) {
            for c in within(col, self.col, self.width) {
                if self.get(c, r).is_none() {
                    let side = |d: i64| (d.abs() as f64 - 0.5).max(0.0);
                    best = best.min(side(c - col).hypot(side(r - row)));
                }
            }
        }
        best
    }
}

/// Sources of one grid, bottom to top, composited at their own resolution.
#[derive(Debug, Clone)]
pub(crate) struct Composite {
    pub(crate) sources: Vec<Placed>,
    left: i64,
    top: i64,
    width: i64,
    height: i64,
    /// Value and weight of each pixel that is valid.
    pixels: Vec<Option<[f64; 2]>>,
    /// Whether a source has the pixel, valid or not.
    footprint: Vec<bool>,
}

impl Composite {
    pub(crate) fn new(sources: Vec<Placed>, rule: Overlap) -> Composite {
        let least = |f: fn(&Placed) -> i64| sources.iter().map(f).min().expect("a source");
        let most = |f: fn(&Placed) -> i64| sources.iter().map(f).max().expect("a source");
        let (left, top) = (least(|s| s.col), least(|s| s.row));
        let (right, bottom) = (most(|s| s.col + s.width), most(|s| s.row + s.height));
        let mut all = Composite {
            left,
            top,
            width: right - left,
            height: bottom - top,
            pixels: Vec::new(),
            footprint: Vec::new(),
            sources,
        };
        for row in top..bottom {
            for col in left..right {
                all.pixels.push(combine(&all.sources, rule, col, row));
                all.footprint.push(all.sources.iter().any(|s| s.index(col, row).is_some()));
            }
        }
        all
    }

    fn index(&self, col: i64, row: i64) -> Option<usize> {
        let (c, r) = (col - self.left, row - self.top);
        let inside = (0..self.width).contains(&c) && (0..self.height).contains(&r);
        inside.then(|| usize::try_from(r * self.width + c).expect("inside"))
    }

    fn get(&self, col: i64, row: i64) -> Option<[f64; 2]> {
        self.index(col, row).and_then(|at| self.pixels[at])
    }

    /// Value and weight under an output pixel.
    pub(crate) fn at(&self, kernel: Kernel, place: &Place, fraction: f64) -> Option<Found> {
        let [u, v] = place.center;
        let (col, row) = ((u + 1e-9).floor() as i64, (v + 1e-9).floor() as i64);
        if !self.index(col, row).is_some_and(|at| self.footprint[at]) {
            return None;
        }
        if place.is_copy() {
            // SPEC §4.5: bit for bit, whatever the kernel.
            return self.get(col, row).map(|[value, weight]| Found::one(value, weight));
        }
        if is_point(kernel) {
            self.point(kernel, place, [col, row])
        } else {
            self.area(kernel, place, fraction)
        }
    }

    fn point(&self, kernel: Kernel, place: &Place, [col, row]: [i64; 2]) -> Option<Found> {
        let own = self.get(col, row)?;
        if kernel == Kernel::Nearest {
            return Some(Found::one(own[0], own[1]));
        }
        let sums = |kernel: Kernel| {
            let (radius, weight) = point_kernel(kernel);
            let stretch = place.stretch();
            let (mut full, mut valid, mut sum, mut weights) = (0.0, 0.0, 0.0, 0.0);
            let taps = |center: f64, reach: f64| {
                (center - reach).floor() as i64 - 1..(center + reach).ceil() as i64 + 1
            };
            for r in taps(place.center[1], radius * stretch[1]) {
                for c in taps(place.center[0], radius * stretch[0]) {
                    let w = weight((c as f64 + 0.5 - place.center[0]) / stretch[0])
                        * weight((r as f64 + 0.5 - place.center[1]) / stretch[1]);
                    full += w;
                    if let Some([x, own]) = self.get(c, r) {
                        valid += w;
                        sum += w * x;
                        weights += w * own;
                    }
                }
            }
            (full, valid, sum / valid, weights / valid)
        };
        let (full, valid, value, weight) = sums(kernel);
        // gdalwarp's rule for turned sources: all sixteen samples, or bilinear.
        if kernel == Kernel::Cubic && place.is_turned() && place.stretch() == [1.0; 2] {
            let parts = (valid / full - 1.0).abs();
            let (_, _, value, weight) =
                if parts > 1e-12 { sums(Kernel::Bilinear) } else { sums(kernel) };
            return Some(Found {
                doubtful: (1e-12..1e-6).contains(&parts),
                ..Found::one(value, weight)
            });
        }
        let lobes = matches!(kernel, Kernel::Cubic | Kernel::Lanczos);
        if lobes && (valid / full - 0.5).abs() < 1e-6 {
            return Some(Found { doubtful: true, ..Found::one(value, weight) });
        }
        if lobes && valid < 0.5 * full {
            let (_, _, value, weight) = sums(Kernel::Bilinear);
            return Some(Found::one(value, weight));
        }
        Some(Found::one(value, weight))
    }

    fn area(&self, kernel: Kernel, place: &Place, fraction: f64) -> Option<Found> {
        let quad = place.quad();
        let range = |axis: usize| {
            let low = quad.iter().map(|p| p[axis]).fold(f64::MAX, f64::min);
            let high = quad.iter().map(|p| p[axis]).fold(f64::MIN, f64::max);
            low.floor() as i64..high.ceil() as i64
        };
        let full = polygon_area(&quad);
        let mut covered = Vec::new();
        // Slivers that the rounding of positions may make or unmake.
        let mut sliver = false;
        for r in range(1) {
            for c in range(0) {
                let Some([x, own]) = self.get(c, r) else { continue };
                let area = if place.is_turned() {
                    polygon_area(&clip(&quad, c as f64, r as f64))
                } else {
                    let sides = [overlap(range_of(&quad, 0), c), overlap(range_of(&quad, 1), r)];
                    sliver |= sides.iter().any(|side| (1e-10..2e-6).contains(side));
                    sides[0] * sides[1]
                };
                sliver |= (5e-10..2e-9).contains(&area);
                if area > 1e-9 {
                    covered.push((x, area, own));
                }
            }
        }
        let total: f64 = covered.iter().map(|(_, area, _)| area).sum();
        if covered.is_empty() || total < fraction * full - 1e-6 {
            return None;
        }
        covered.sort_by(|a, b| a.0.total_cmp(&b.0));
        let doubtful = sliver || (fraction > 0.0 && (total - fraction * full).abs() < 1e-5);
        let mean = |f: &dyn Fn(f64, f64) -> f64| {
            covered.iter().map(|(x, area, own)| f(*x, *own) * area).sum::<f64>() / total
        };
        let weight = mean(&|_, own| own);
        let values = match kernel {
            Kernel::Average => vec![mean(&|x, _| x)],
            Kernel::Rms => vec![mean(&|x, _| x * x).sqrt()],
            Kernel::Sum => vec![mean(&|x, _| x) * total],
            Kernel::Min => vec![covered[0].0],
            Kernel::Max => vec![covered[covered.len() - 1].0],
            Kernel::Mode => modes(&covered),
            Kernel::Q1 => quantiles(&covered, 0.25 * total),
            Kernel::Med => quantiles(&covered, 0.5 * total),
            Kernel::Q3 => quantiles(&covered, 0.75 * total),
            other => panic!("{other:?} is no area kernel"),
        };
        Some(Found { values, weight, doubtful, slack: total.min(1.0).recip() })
    }
}

/// What an output pixel may be: one value, or any of some where areas are equal.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) values: Vec<f64>,
    pub(crate) weight: f64,
    /// So near to a threshold that rounding decides.
    pub(crate) doubtful: bool,
    /// How much more than its range a value moves with a position: where little is covered.
    pub(crate) slack: f64,
}

impl Found {
    fn one(value: f64, weight: f64) -> Found {
        Found { values: vec![value], weight, doubtful: false, slack: 1.0 }
    }
}

/// The value of a pixel of a layer and the weight of it (SPEC §5.1).
fn combine(sources: &[Placed], rule: Overlap, col: i64, row: i64) -> Option<[f64; 2]> {
    let valid: Vec<(&Placed, f64)> =
        sources.iter().filter_map(|s| s.get(col, row).map(|v| (s, v))).collect();
    let (first, last) = (valid.first()?.1, valid.last()?.1);
    let values = valid.iter().map(|(_, v)| *v);
    let count = valid.len() as f64;
    let sum: f64 = values.clone().sum();
    Some(match rule {
        Overlap::Last => [last, 1.0],
        Overlap::First => [first, 1.0],
        Overlap::Min => [values.fold(f64::MAX, f64::min), 1.0],
        Overlap::Max => [values.fold(f64::MIN, f64::max), 1.0],
        Overlap::Mean => [sum / count, count],
        Overlap::Sum => [sum, 1.0],
        Overlap::Count => [count, 1.0],
        Overlap::Median => {
            let mut sorted: Vec<f64> = values.collect();
            sorted.sort_by(f64::total_cmp);
            let middle = sorted.len() / 2;
            let low = sorted[(sorted.len() - 1) / 2];
            [(low + sorted[middle]) / 2.0, 1.0]
        }
        Overlap::Feather(px) => {
            let weights = valid.iter().map(|(s, _)| s.distance(col, row, f64::from(px)));
            let all: f64 = weights.clone().sum();
            [weights.zip(values).map(|(w, v)| w * v).sum::<f64>() / all, all]
        }
    })
}

/// The value of all layers, bottom to top, together.
pub(crate) fn across(layers: &[Option<Found>], rule: Overlap) -> Option<Found> {
    let valid: Vec<&Found> = layers.iter().flatten().collect();
    if let ([one], false) = (valid.as_slice(), valid.is_empty()) {
        return Some((*one).clone());
    }
    let doubtful = layers.iter().flatten().any(|f| f.doubtful);
    let values = valid.iter().map(|f| f.values[0]);
    let value = match rule {
        Overlap::Last => return valid.last().map(|f| (*f).clone()),
        Overlap::First => return valid.first().map(|f| (*f).clone()),
        _ if valid.is_empty() => return None,
        Overlap::Min => values.fold(f64::MAX, f64::min),
        Overlap::Max => values.fold(f64::MIN, f64::max),
        Overlap::Sum | Overlap::Count => values.sum(),
        Overlap::Median => panic!("refused"),
        Overlap::Mean | Overlap::Feather(_) => {
            let all: f64 = valid.iter().map(|f| f.weight).sum();
            valid.iter().map(|f| f.weight * f.values[0]).sum::<f64>() / all
        }
    };
    let slack = layers.iter().flatten().map(|f| f.slack).fold(1.0, f64::max);
    Some(Found { values: vec![value], weight: 1.0, doubtful, slack })
}

/// Where an output pixel lies in a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) center: [f64; 2],
    /// Steps in the layer of one output column and one output row.
    pub(crate) steps: [[f64; 2]; 2],
}

impl Place {
    /// The pixel `(col, row)` of `grid` in a layer; transforms in GDAL's order.
    pub(crate) fn new(grid: [f64; 6], layer: [f64; 6], col: u32, row: u32) -> Place {
        let at = |col: f64, row: f64| {
            let x = grid[0] + col * grid[1] + row * grid[2] - layer[0];
            let y = grid[3] + col * grid[4] + row * grid[5] - layer[3];
            let determinant = layer[1] * layer[5] - layer[2] * layer[4];
            [
                (x * layer[5] - y * layer[2]) / determinant,
                (y * layer[1] - x * layer[4]) / determinant,
            ]
        };
        let (c, r) = (f64::from(col) + 0.5, f64::from(row) + 0.5);
        let center = at(c, r);
        let step = |to: [f64; 2]| [to[0] - center[0], to[1] - center[1]];
        Place { center, steps: [step(at(c + 1.0, r)), step(at(c, r + 1.0))] }
    }

    /// Whether the centre is so near to the border of two source pixels that rounding decides.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.center.iter().any(|v| (v - v.round()).abs() < 3e-6 && (v - v.round()).abs() > 1e-9)
    }

    /// Whether the grid is the layer's own.
    fn is_copy(&self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let [[ux, vx], [uy, vy]] = self.steps;
        let centered = self.center.iter().all(|v| near(v.rem_euclid(1.0), 0.5));
        centered && near(ux, 1.0) && near(vy, 1.0) && near(uy, 0.0) && near(vx, 0.0)
    }

    fn is_turned(&self) -> bool {
        self.steps[0][1].abs() > 1e-9 || self.steps[1][0].abs() > 1e-9
    }

    fn scale(&self) -> [f64; 2] {
        [0, 1].map(|axis| self.steps[0][axis].hypot(self.steps[1][axis]))
    }

    /// By the scale; for turned sources not up to 1.05, and by all of it from 1.075 on.
    fn stretch(&self) -> [f64; 2] {
        self.scale().map(|s| {
            if !self.is_turned() || s > 1.075 {
                s.max(1.0)
            } else {
                (1.0 + 3.0 * (s - 1.05)).max(1.0)
            }
        })
    }

    fn quad(&self) -> Vec<[f64; 2]> {
        [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
            .map(|(a, b)| {
                [0, 1].map(|k| self.center[k] + a * self.steps[0][k] + b * self.steps[1][k])
            })
            .into()
    }
}

fn is_point(kernel: Kernel) -> bool {
    use Kernel::{Bilinear, Cubic, CubicSpline, Lanczos, Nearest};
    matches!(kernel, Nearest | Bilinear | Cubic | CubicSpline | Lanczos)
}

/// Radius and weights of the point kernels (SPEC §5.6; formulas as FACTS of GDAL give them).
fn point_kernel(kernel: Kernel) -> (f64, fn(f64) -> f64) {
    match kernel {
        Kernel::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
        Kernel::Cubic => (2.0, |x| {
            let x = x.abs();
            if x <= 1.0 {
                1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0
            } else if x < 2.0 {
                -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0
            } else {
                0.0
            }
        }),
        Kernel::CubicSpline => (2.0, |x| {
            let f = |t: f64| t.max(0.0).powi(3);
            if x.abs() >= 2.0 {
                return 0.0;
            }
            (f(x + 2.0) - 4.0 * f(x + 1.0) + 6.0 * f(x) - 4.0 * f(x - 1.0)) / 6.0
        }),
        Kernel::Lanczos => (3.0, |x| {
            let sinc = |x: f64| {
                let a = std::f64::consts::PI * x;
                if x == 0.0 { 1.0 } else { a.sin() / a }
            };
            if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 }
        }),
        other => panic!("{other:?} is no point kernel"),
    }
}

fn range_of(quad: &[[f64; 2]], axis: usize) -> [f64; 2] {
    let low = quad.iter().map(|p| p[axis]).fold(f64::MAX, f64::min);
    [low, quad.iter().map(|p| p[axis]).fold(f64::MIN, f64::max)]
}

fn overlap([low, high]: [f64; 2], at: i64) -> f64 {
    (high.min(at as f64 + 1.0) - low.max(at as f64)).max(0.0)
}

/// The part of a polygon in a unit square.
fn clip(polygon: &[[f64; 2]], col: f64, row: f64) -> Vec<[f64; 2]> {
    let mut all = polygon.to_vec();
    // Signed distances to the four sides, positive inside.
    let sides: [&dyn Fn([f64; 2]) -> f64; 4] =
        [&|p| p[0] - col, &|p| col + 1.0 - p[0], &|p| p[1] - row, &|p| row + 1.0 - p[1]];
    for side in sides {
        let mut next = Vec::new();
        for (index, a) in all.iter().enumerate() {
            let b = all[(index + 1) % all.len()];
            let (da, db) = (side(*a), side(b));
            if da >= 0.0 {
                next.push(*a);
            }
            if da * db < 0.0 {
                let t = da / (da - db);
                next.push([a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]);
            }
        }
        all = next;
    }
    all
}

fn polygon_area(polygon: &[[f64; 2]]) -> f64 {
    let Some(first) = polygon.first() else { return 0.0 };
    let mut sum = 0.0;
    for (index, a) in polygon.iter().enumerate() {
        let b = polygon[(index + 1) % polygon.len()];
        sum += (a[0] - first[0]) * (b[1] - first[1]) - (b[0] - first[0]) * (a[1] - first[1]);
    }
    sum.abs() / 2.0
}

/// Values of the largest area.
fn modes(sorted: &[(f64, f64, f64)]) -> Vec<f64> {
    let runs: Vec<(f64, f64)> = sorted
        .chunk_by(|a, b| a.0 == b.0)
        .map(|run| (run[0].0, run.iter().map(|(_, area, _)| area).sum()))
        .collect();
    let most = runs.iter().map(|(_, area)| *area).fold(0.0, f64::max);
    runs.into_iter().filter(|(_, area)| *area > most - 1e-5).map(|(value, _)| value).collect()
}

/// Values at or below which this much area lies.
fn quantiles(sorted: &[(f64, f64, f64)], share: f64) -> Vec<f64> {
    let mut before = 0.0;
    let mut found = Vec::new();
    for (value, area, _) in sorted {
        if before <= share + 1e-5 && before + area >= share - 1e-5 {
            found.push(*value);
        }
        before += area;
    }
    found
}
