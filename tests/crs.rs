//! Coordinates against PROJ: tables of points in `fixtures/crs/`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use smalti::crs::Crs;
use smalti::crs::transform::{TransformOptions, Transformer};

#[test]
fn oracle() {
    let path = std::env::var("ORACLE").unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let (mut rows, mut refused, mut bad, mut good) = (0, 0, 0, 0);
    let mut parser: Vec<Vec<String>> = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#')).skip(1) {
        let mut f: Vec<String> = Vec::new();
        for (i, part) in line.split('"').enumerate() {
            if i % 2 == 1 {
                let last = f.last_mut().unwrap();
                last.push_str(part);
            } else {
                let joined = i > 0;
                for (k, w) in part.split(',').enumerate() {
                    if joined && k == 0 {
                        continue;
                    }
                    f.push(w.to_owned());
                }
            }
        }
        // PROJ strings hold no commas here
        parser.push(f);
    }
    let mut cache = std::collections::HashMap::new();
    for f in &parser {
        rows += 1;
        let n: Vec<f64> = f[2..6].iter().map(|v| v.parse().unwrap_or(f64::NAN)).collect();
        let mut crs = |t: &String| {
            cache
                .entry(t.clone())
                .or_insert_with(|| Crs::parse(t))
                .as_ref()
                .map(Clone::clone)
                .map_err(|e| e.to_string())
        };
        let (src, dst) = match (crs(&f[0]), crs(&f[1])) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(e), _) | (_, Err(e)) => {
                refused += 1;
                println!("REFUSED parse {} {}: {e}", f[0], f[1]);
                continue;
            }
        };
        let mut place = [[n[0], n[1]]];
        let _ = smalti::crs::transform::to_degrees(&src, &mut place);
        let options = TransformOptions {
            place: Some(place[0]),
            allow_ballpark: std::env::var("BALLPARK").is_ok(),
        };
        let t = match Transformer::new(&src, &dst, &options) {
            Ok(t) => t,
            Err(e) => {
                refused += 1;
                println!("REFUSED {} {}: {e}", f[0], f[1]);
                continue;
            }
        };
        let mut p = [[n[0], n[1]]];
        t.forward(&mut p);
        let unit = if dst.is_geographic() {
            111_000.0 * dst.unit_size().unwrap().to_degrees()
        } else {
            dst.unit_size().unwrap()
        };
        let d = ((p[0][0] - n[2]).hypot(p[0][1] - n[3])) * unit;
        if d < 1e-3 || (p[0][0].is_nan() && !n[2].is_finite()) {
            good += 1
        } else {
            bad += 1;
            println!(
                "BAD {d:.6} {} {} ({}, {}) -> {:?} want ({}, {}) by {:?}",
                f[0],
                f[1],
                n[0],
                n[1],
                p[0],
                n[2],
                n[3],
                t.shift().map(|s| &s.name)
            );
        }
    }
    println!("rows {rows} good {good} bad {bad} refused {refused}");
}

#[test]
fn forms() {
    let Ok(path) = std::env::var("FORMS") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    let mut cache: Option<(String, Option<Crs>)> = None;
    for line in text.lines() {
        let f: Vec<&str> = line.splitn(3, '\t').collect();
        if cache.as_ref().is_none_or(|c| c.0 != f[0]) {
            cache = Some((f[0].to_owned(), Crs::parse(f[0]).ok()));
        }
        let Some(coded) = &cache.as_ref().unwrap().1 else {
            *counts.entry((f[1].to_owned(), "nocode")).or_insert(0) += 1;
            continue;
        };
        let what = match Crs::parse(f[2]) {
            Ok(crs) if crs.same_as(coded) => "same",
            Ok(crs) => {
                println!(
                    "DIFF {} {} {} | {} | {}",
                    f[0],
                    f[1],
                    f[2],
                    crs.srs_text().unwrap_or_default(),
                    coded
                );
                "differs"
            }
            Err(e) => {
                println!("ERR {} {} {} {e}", f[0], f[1], f[2]);
                "refused"
            }
        };
        *counts.entry((f[1].to_owned(), what)).or_insert(0) += 1;
    }
    println!("{counts:#?}");
}
