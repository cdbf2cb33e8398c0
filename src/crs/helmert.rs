//! Steps from one geodetic datum to another: shifts of 3 or 7 parameters between geocentric coordinates, offsets of
//! longitude and latitude, and grids of offsets. Heights are taken for 0 and left out, as PROJ does with two-dimensional CRSs.

use std::sync::Arc;

use super::ntv2::Ntv2;

/// An ellipsoid, ready to compute with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ellipsoid {
    a: f64,
    b: f64,
    /// First eccentricity squared.
    es: f64,
}

impl Ellipsoid {
    /// From the semi-major axis in metres and the inverse flattening (0: sphere).
    pub(super) fn new([a, inverse_flattening]: [f64; 2]) -> Ellipsoid {
        let f = if inverse_flattening == 0.0 { 0.0 } else { 1.0 / inverse_flattening };
        Ellipsoid { a, b: a * (1.0 - f), es: f * (2.0 - f) }
    }

    /// Geocentric coordinates of a point on the ellipsoid; radians.
    fn geocentric(&self, lon: f64, lat: f64) -> [f64; 3] {
        let (sin, cos) = lat.sin_cos();
        let n = self.a / (1.0 - self.es * sin * sin).sqrt();
        [n * cos * lon.cos(), n * cos * lon.sin(), n * (1.0 - self.es) * sin]
    }

    /// Longitude and latitude of a geocentric point near the surface; radians.
    ///
    /// B. R. Bowring, "Transformation from spatial to geographical coordinates", Survey Review 23 (1976): one step is
    /// good to a micrometre near the surface, the second one costs little and settles it.
    fn geographic(&self, [x, y, z]: [f64; 3]) -> [f64; 2] {
        let p = x.hypot(y);
        let lon = y.atan2(x);
        let second = self.es / (1.0 - self.es);
        // Of the parametric latitude.
        let (mut sin, mut cos) = unit(z * self.a, p * self.b);
        let mut tangent = [0.0; 2];
        for _ in 0..2 {
            tangent =
                [z + second * self.b * sin * sin * sin, p - self.es * self.a * cos * cos * cos];
            (sin, cos) = unit(tangent[0] * self.b, tangent[1] * self.a);
        }
        [lon, tangent[0].atan2(tangent[1])]
    }
}

/// Sine and cosine of the angle whose tangent is `y / x`.
fn unit(y: f64, x: f64) -> (f64, f64) {
    let length = y.hypot(x);
    if length == 0.0 { (0.0, 1.0) } else { (y / length, x / length) }
}

/// One step between datums.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Translation in metres, rotation in radians (position vector, small angles), scale as a factor, and the point
    /// that is turned about (Molodensky-Badekas; else the Earth's center).
    Helmert {
        translation: [f64; 3],
        rotation: [f64; 3],
        scale: f64,
        pivot: [f64; 3],
        inverse: bool,
    },
    /// Added to longitude and latitude, radians.
    Offset([f64; 2]),
    /// Added from the first of some grids that holds the point, between these ellipsoids; outside of all, no point is
    /// known, or it stays where it is.
    Grids { grids: Vec<Arc<Ntv2>>, or_stay: bool, ellipsoids: [Ellipsoid; 2], inverse: bool },
}

impl Step {
    /// From 3, 7 or 10 numbers in metres, arc seconds and parts per million.
    pub(super) fn helmert(numbers: &[f64], inverse: bool) -> Step {
        let number = |at: usize| numbers.get(at).copied().unwrap_or(0.0);
        let second = (1.0 / 3600f64).to_radians();
        Step::Helmert {
            translation: [number(0), number(1), number(2)],
            rotation: [number(3) * second, number(4) * second, number(5) * second],
            scale: 1.0 + number(6) * 1e-6,
            pivot: [number(7), number(8), number(9)],
            inverse,
        }
    }

    /// Reads the tables' form: `h:`, `i:` or `g:` and numbers; `Err` names what is not known.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        // A plus sign joins steps, and stands in no number.
        for part in text.split('+').filter(|part| !part.is_empty()) {
            if let Some(name) = part.strip_prefix('!') {
                return Err(name.to_owned());
            }
            let (kind, numbers) = part.split_once(':').ok_or_else(|| part.to_owned())?;
            let numbers: Result<Vec<f64>, _> = numbers.split(',').map(str::parse).collect();
            let numbers = numbers.map_err(|_| part.to_owned())?;
            let second = (1.0 / 3600f64).to_radians();
            steps.push(match (kind, numbers.as_slice()) {
                ("h", numbers) => Step::helmert(numbers, false),
                ("i", numbers) => Step::helmert(numbers, true),
                ("g", [lon, lat]) => Step::Offset([lon * second, lat * second]),
                _ => return Err(part.to_owned()),
            });
        }
        Ok(steps)
    }

    /// The step back.
    fn turned(&self) -> Step {
        match *self {
            Step::Grids { ref grids, or_stay, ellipsoids: [from, to], inverse } => Step::Grids {
                grids: grids.clone(),
                or_stay,
                ellipsoids: [to, from],
                inverse: !inverse,
            },
            Step::Helmert { translation, rotation, scale, pivot, inverse } => {
                Step::Helmert { translation, rotation, scale, pivot, inverse: !inverse }
            }
            Step::Offset([lon, lat]) => Step::Offset([-lon, -lat]),
        }
    }
}

/// The steps back, in their order.
pub(super) fn turned(steps: &[Step]) -> Vec<Step> {
    steps.iter().rev().map(Step::turned).collect()
}

/// Carries longitude and latitude in radians from one datum to another.
pub(super) fn shift(steps: &[Step], from: &Ellipsoid, to: &Ellipsoid, point: [f64; 2]) -> [f64; 2] {
    let [mut lon, mut lat] = point;
    // Steps on geocentric coordinates follow each other without going back to angles.
    let mut geocentric: Option<[f64; 3]> = None;
    let mut from = from;
    for step in steps {
        match step {
            Step::Grids { grids, or_stay, ellipsoids: [before, after], inverse } => {
                if let Some(p) = geocentric.take() {
                    [lon, lat] = before.geographic(p);
                }
                let at = [lon, lat];
                let way = |grid: &Arc<Ntv2>| {
                    if *inverse { grid.inverse(at) } else { grid.forward(at) }
                };
                let stay = if *or_stay { at } else { [f64::NAN; 2] };
                [lon, lat] = grids.iter().find_map(way).unwrap_or(stay);
                from = after;
            }
            Step::Helmert { .. } => {
                let p = geocentric.unwrap_or_else(|| from.geocentric(lon, lat));
                geocentric = Some(move_point(step, p));
            }
            Step::Offset([dx, dy]) => {
                if let Some(p) = geocentric.take() {
                    [lon, lat] = to.geographic(p);
                }
                lon += dx;
                lat += dy;
            }
        }
    }
    match geocentric {
        Some(p) => to.geographic(p),
        None => [lon, lat],
    }
}

fn move_point(step: &Step, [x, y, z]: [f64; 3]) -> [f64; 3] {
    let Step::Helmert { translation: [tx, ty, tz], rotation: [rx, ry, rz], scale, pivot, inverse } =
        step
    else {
        return [x, y, z];
    };
    let [px, py, pz] = pivot;
    if *inverse {
        let [x, y, z] = [(x - tx - px) / scale, (y - ty - py) / scale, (z - tz - pz) / scale];
        return [px + x + rz * y - ry * z, py - rz * x + y + rx * z, pz + ry * x - rx * y + z];
    }
    let [x, y, z] = [x - px, y - py, z - pz];
    [
        px + tx + scale * (x - rz * y + ry * z),
        py + ty + scale * (rz * x + y - rx * z),
        pz + tz + scale * (-ry * x + rx * y + z),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `echo 9 52 0 0 | cct -d 12 +proj=pipeline +step +proj=cart +ellps=bessel +step +proj=helmert
    /// +x=598.1 +y=73.7 +z=418.2 +rx=0.202 +ry=0.045 +rz=-2.455 +s=6.7 +convention=position_vector +step
    /// +inv +proj=cart +ellps=WGS84` needs radians; the same through pyproj 3.7.2, DHDN to WGS 84 (2).
    #[test]
    fn a_shift_of_seven_parameters_is_projs() {
        let steps = Step::parse_all("h:598.1,73.7,418.2,0.202,0.045,-2.455,6.7").unwrap();
        let bessel = Ellipsoid::new([6_377_397.155, 299.152_812_8]);
        let wgs84 = Ellipsoid::new([6_378_137.0, 298.257_223_563]);
        let there = shift(&steps, &bessel, &wgs84, [9f64.to_radians(), 52f64.to_radians()]);
        let expected = [8.998942797374266, 51.998624151473294];
        for (a, b) in there.iter().zip(expected) {
            assert!((a.to_degrees() - b).abs() < 1e-11, "{a} {b}");
        }
        let back = shift(&turned(&steps), &wgs84, &bessel, there);
        assert!(
            (back[0].to_degrees() - 9.0).abs() < 2e-8 && (back[1].to_degrees() - 52.0).abs() < 2e-8
        );
    }

    #[test]
    fn geocentric_and_back_is_exact() {
        let ellipsoid = Ellipsoid::new([6_378_206.4, 294.978_698_213_898]);
        for lat in -90..=90 {
            for lon in [-180.0, -179.9, 0.0, 0.1, 90.0, 180.0] {
                let (lon, lat) = (f64::to_radians(lon), f64::from(lat).to_radians());
                let [x, y] = ellipsoid.geographic(ellipsoid.geocentric(lon, lat));
                assert!((y - lat).abs() < 1e-15 * 4.0, "{lat}");
                assert!((x - lon).abs() < 1e-12 || lat.abs() > 1.57 || (x - lon).abs() > 6.2);
            }
        }
    }

    #[test]
    fn what_is_not_a_step_is_named() {
        assert_eq!(Step::parse_all("h:1,2,3+!deformation"), Err("deformation".to_owned()));
        assert!(Step::parse_all("h:1,x").is_err() && Step::parse_all("z:1").is_err());
        assert_eq!(Step::parse_all(""), Ok(vec![]));
    }
}
