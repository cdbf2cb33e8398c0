//! Coordinates and texts against PROJ, from the tables in `fixtures/crs/`; `SMALTI_CRS_ORACLE` names a larger table of points.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::path::Path;

use smalti::crs::Crs;
use smalti::crs::transform::{self, TransformOptions, Transformer};

/// A millimetre (SPEC §6.3, the bound); LAEA's inverse is 1.4 mm off in PROJ 9.5 itself.
const TOLERANCE_M: f64 = 1e-3;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn fixture(name: &str) -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/crs").join(name))
}

/// What became of a row.
#[derive(Debug, PartialEq)]
enum Outcome {
    Right,
    Refused(String),
    Wrong(f64),
}

/// One row: source, target, x, y and the position in the target.
fn check(
    cache: &mut HashMap<String, Result<Crs, String>>,
    [src, dst]: [&str; 2],
    [x, y, u, v]: [f64; 4],
    allow_ballpark: bool,
) -> Outcome {
    let mut crs = |text: &str| {
        let parse = || Crs::parse(text).map_err(|error| error.to_string());
        cache.entry(text.to_owned()).or_insert_with(parse).clone()
    };
    let (src, dst) = match (crs(src), crs(dst)) {
        (Ok(src), Ok(dst)) => (src, dst),
        (Err(reason), _) | (_, Err(reason)) => return Outcome::Refused(reason),
    };
    let mut place = [[x, y]];
    if let Err(error) = transform::to_degrees(&src, &mut place) {
        return Outcome::Refused(error.to_string());
    }
    let options = TransformOptions { place: Some(place[0]), allow_ballpark, ..Default::default() };
    let transformer = match Transformer::new(&src, &dst, &options) {
        Ok(transformer) => transformer,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let mut there = [[x, y]];
    transformer.forward(&mut there);
    let unit = dst.unit_size().unwrap();
    // Of a degree at the equator, in metres.
    let metres = if dst.is_geographic() { unit * 6_378_137.0 } else { unit };
    let error = (there[0][0] - u).hypot(there[0][1] - v) * metres;
    let both_nowhere = there[0][0].is_nan() && !u.is_finite();
    if !(both_nowhere || error <= TOLERANCE_M) {
        return Outcome::Wrong(error);
    }
    // And back.
    transformer.inverse(&mut there);
    let unit = src.unit_size().unwrap();
    let metres = if src.is_geographic() { unit * 6_378_137.0 } else { unit };
    let error = (there[0][0] - x).hypot(there[0][1] - y) * metres;
    // Seven parameters are undone as PROJ does it, to a few millimetres.
    if both_nowhere || error <= 0.02 { Outcome::Right } else { Outcome::Wrong(-error) }
}

#[test]
fn points_are_where_proj_puts_them() {
    let mut cache = HashMap::new();
    let mut seen = 0;
    for line in fixture("points.tsv").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let numbers: Vec<f64> = fields[2..].iter().map(|text| text.parse().unwrap()).collect();
        let numbers = *numbers.first_chunk::<4>().unwrap();
        assert!(numbers[2].is_finite(), "{line}");
        let outcome = check(&mut cache, [fields[0], fields[1]], numbers, false);
        assert_eq!(outcome, Outcome::Right, "{line}");
        seen += 1;
    }
    assert_eq!(seen, POINTS);
}

const POINTS: usize = 102;
const TEXTS: usize = 122;

/// Fields of a line of comma-separated values with quotes.
fn split(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

/// No row is wrong in silence; with the ballpark allowed, nearly all agree.
#[test]
fn the_larger_table_agrees_where_it_is_given() {
    let Some(path) = std::env::var_os("SMALTI_CRS_ORACLE") else { return };
    let text = read(Path::new(&path));
    let mut cache = HashMap::new();
    let (mut right, mut refused, mut wrong) = (0, 0, Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let fields = split(line);
        let numbers: Vec<f64> =
            fields[2..6].iter().map(|text| text.parse().unwrap_or(f64::NAN)).collect();
        let numbers = *numbers.first_chunk::<4>().unwrap();
        match check(&mut cache, [&fields[0], &fields[1]], numbers, true) {
            Outcome::Right => right += 1,
            Outcome::Refused(_) => refused += 1,
            Outcome::Wrong(error) => wrong.push(format!("{error:.4} m: {line}")),
        }
    }
    println!("{right} right, {refused} refused, {} wrong", wrong.len());
    // PROJ takes the operation for the sea for EPSG:22332, whose area of use is the sea; we take that of the land, whose
    // stated accuracy is 14 m.
    wrong.retain(|line| !line.contains("EPSG:22332"));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(5_000 < right && refused * 50 < right, "{right} right, {refused} refused");
}

#[test]
fn texts_mean_what_their_codes_mean() {
    let mut seen = 0;
    let text = fixture("wkt.tsv") + &fixture("json.tsv");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.splitn(3, '\t').collect();
        let coded = Crs::parse(fields[0]).unwrap();
        let written = Crs::parse(fields[2]).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(written.same_as(&coded), "{line}: {written}");
        // One code of several with that meaning.
        assert!(written.id().is_some(), "{line}");
        seen += 1;
    }
    assert_eq!(seen, TEXTS);
}

#[test]
fn what_is_beyond_is_refused_by_name() {
    let refusal = |src: &str, dst: &str| {
        let [src, dst] = [src, dst].map(|text| Crs::parse(text).unwrap());
        let options = TransformOptions { place: Some([110.0, 30.0]), ..Default::default() };
        Transformer::new(&src, &dst, &options).unwrap_err().to_string()
    };
    for (src, dst, word) in [
        ("EPSG:4326", "EPSG:4555", "New Beijing"),
        ("EPSG:4326", "+proj=sinu +R=6371007.181 +units=m", "--allow-ballpark"),
        ("EPSG:4267", "EPSG:4326", "no datum operation"),
        ("EPSG:4326", "EPSG:27200", "New Zealand"),
    ] {
        let reason = refusal(src, dst);
        assert!(reason.contains(word), "{src} to {dst}: {reason}");
    }
}

#[test]
fn a_crs_survives_its_geokeys() {
    let texts = [
        "+proj=laea +lat_0=-10 +lon_0=25 +datum=WGS84 +units=m",
        "+proj=lcc +lat_0=40 +lon_0=-97 +lat_1=33 +lat_2=45 +datum=NAD83 +units=us-ft",
        "+proj=lcc +lat_1=46.8 +lat_0=46.8 +lon_0=0 +k_0=0.9998 +x_0=600000 +ellps=clrk80ign +pm=paris",
        "+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=10 +datum=WGS84",
        "+proj=stere +lat_0=52 +lon_0=19 +k=0.9998 +x_0=500000 +ellps=krass",
        "+proj=omerc +no_uoff +lat_0=45 +lonc=-86 +alpha=337.25 +gamma=337.25 +k=0.9996 +datum=NAD83",
        "+proj=somerc +lat_0=46.95 +lon_0=7.44 +x_0=600000 +y_0=200000 +ellps=bessel +towgs84=674.4,15.1,405.3",
        "+proj=tmerc +axis=wsu +lon_0=17 +datum=WGS84",
        "+proj=moll +lon_0=20 +datum=WGS84",
        "+proj=sinu +R=6371007.181",
        "+proj=geos +h=35785831 +lon_0=9.5 +sweep=y +ellps=GRS80",
        "+proj=eqc +lat_ts=30 +lat_0=10 +lon_0=5 +datum=WGS84",
        "+proj=longlat +ellps=bessel +pm=paris",
    ];
    for text in texts {
        let crs = Crs::parse(text).unwrap();
        let again = Crs::from_keys(crs.keys().clone()).unwrap().unwrap();
        assert!(again.same_as(&crs), "{text}: {again}");
        let string = crs.srs_text().unwrap();
        assert!(Crs::parse(&string).unwrap().same_as(&crs), "{text}: {string}");
    }
}
