//! Distance of each valid pixel to the edge of the valid data: what feathering weighs by.
//!
//! The distance is Euclidean, from the pixel's centre to the nearest point of an invalid pixel's square:
//! half a pixel for one whose neighbour is invalid. Exact up to a limit, in two passes (columns, then
//! rows) as Saito and Toriwaki (1994) separate it.

/// Memory of [`distances`].
#[derive(Debug, Default)]
pub struct DistanceScratch {
    /// Distance to the nearest invalid pixel of the same column, 0 where invalid.
    columns: Vec<f32>,
}

/// The part of a plane of validity that distances are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Inner {
    /// Width of the plane.
    pub stride: usize,
    /// First column and row of the part.
    pub first: [usize; 2],
    /// Its width and height.
    pub size: [usize; 2],
}

/// Writes `min(distance, limit)` of each pixel of a part of a plane of validity, 0 where invalid; what
/// lies outside the plane is invalid.
///
/// Exact if the plane reaches `limit` pixels beyond the part, or to where all is invalid.
pub fn distances(
    valid: &[u8],
    inner: Inner,
    limit: u32,
    scratch: &mut DistanceScratch,
    out: &mut Vec<f64>,
) {
    let stride = inner.stride;
    let cap = limit as f32;
    column_distances(valid, stride, cap, &mut scratch.columns);
    out.clear();
    for row in inner.first[1]..inner.first[1] + inner.size[1] {
        let columns = &scratch.columns[row * stride..][..stride];
        row_distances(columns, inner, cap, out);
    }
}

/// Down, then up: the number of steps to the nearest invalid pixel, less half.
fn column_distances(valid: &[u8], stride: usize, cap: f32, columns: &mut Vec<f32>) {
    columns.clear();
    columns.resize(valid.len(), 0.0);
    let rows = valid.len() / stride;
    let mut above = vec![0.0f32; stride];
    // The distance of a pixel below an invalid one is 0.5, then 1.5, …
    let step = |near: f32| if near == 0.0 { 0.5 } else { near + 1.0 };
    for row in 0..rows {
        let at = row * stride;
        for ((d, v), near) in
            columns[at..at + stride].iter_mut().zip(&valid[at..at + stride]).zip(&mut above)
        {
            *near = if *v == 0 { 0.0 } else { step(*near).min(cap) };
            *d = *near;
        }
    }
    above.fill(0.0);
    for row in (0..rows).rev() {
        let at = row * stride;
        for ((d, v), near) in
            columns[at..at + stride].iter_mut().zip(&valid[at..at + stride]).zip(&mut above)
        {
            *near = if *v == 0 { 0.0 } else { step(*near).min(cap) };
            *d = d.min(*near);
        }
    }
}

fn row_distances(columns: &[f32], inner: Inner, cap: f32, out: &mut Vec<f64>) {
    let reach = cap.ceil() as usize;
    let (first, end) = (inner.first[0], inner.first[0] + inner.size[0]);
    // Columns with an edge nearer than the limit; without one in reach the limit holds.
    let mut left: Option<usize> = None;
    let near = |x: usize| columns[x] < cap;
    for x in first.saturating_sub(reach)..first {
        if near(x) {
            left = Some(x);
        }
    }
    let mut right = (first..columns.len()).find(|x| near(*x)).unwrap_or(columns.len());
    for x in first..end {
        if near(x) {
            left = Some(x);
        }
        if right < x {
            right = (x..columns.len()).find(|x| near(*x)).unwrap_or(columns.len());
        }
        let own = columns[x];
        let quiet = left.is_none_or(|left| x - left > reach)
            && right - x > reach
            && x >= reach
            && x + reach < columns.len();
        out.push(if own == 0.0 {
            0.0
        } else if quiet {
            f64::from(cap)
        } else {
            nearest(columns, x, own)
        });
    }
}

fn nearest(columns: &[f32], x: usize, own: f32) -> f64 {
    let mut best = own * own;
    let mut steps = 1;
    loop {
        let across = steps as f32 - 0.5;
        let squared = across * across;
        if squared >= best {
            return f64::from(best).sqrt();
        }
        // Beyond the plane everything is invalid.
        let left = x.checked_sub(steps).map_or(0.0, |x| columns[x]);
        let right = columns.get(x + steps).copied().unwrap_or(0.0);
        best = best.min(squared + left * left).min(squared + right * right);
        steps += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition, over all invalid pixels in and around the plane.
    fn brute(valid: &[u8], width: i64, height: i64, limit: f64) -> Vec<f64> {
        let is_valid = |c: i64, r: i64| {
            (0..width).contains(&c)
                && (0..height).contains(&r)
                && valid[(r * width + c) as usize] != 0
        };
        let mut out = Vec::new();
        for r in 0..height {
            for c in 0..width {
                let mut best = if is_valid(c, r) { limit } else { 0.0 };
                for rr in -1..=height {
                    for cc in -1..=width {
                        if !is_valid(cc, rr) {
                            let side = |d: i64| ((d.abs() as f64) - 0.5).max(0.0);
                            best = best.min(side(cc - c).hypot(side(rr - r)));
                        }
                    }
                }
                out.push(best);
            }
        }
        out
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        let mut seed = 1u64;
        let mut cases = 0;
        for (width, height, limit, share) in [
            (20, 17, 64, 12),
            (40, 30, 5, 60),
            (33, 9, 3, 400),
            (50, 50, 12, 700),
            (7, 60, 100, 1_000_000),
            (60, 60, 8, 1_000_000),
        ] {
            let valid: Vec<u8> = (0..width * height)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    u8::from(!(seed >> 33).is_multiple_of(share))
                })
                .collect();
            let mut out = Vec::new();
            let inner = Inner {
                stride: width as usize,
                first: [0, 0],
                size: [width as usize, height as usize],
            };
            distances(&valid, inner, limit, &mut DistanceScratch::default(), &mut out);
            let expected = brute(&valid, width as i64, height as i64, f64::from(limit));
            for (index, (a, b)) in out.iter().zip(&expected).enumerate() {
                assert!(
                    (a - b).abs() < 1e-5,
                    "{width} x {height}, limit {limit}, {index}: {a}, {b}"
                );
                cases += 1;
            }
        }
        assert_eq!(cases, 340 + 1200 + 297 + 2500 + 420 + 3600);
    }
}
