//! Coordinates and texts against PROJ, from the tables in `fixtures/crs/`; `SMALTI_CRS_ORACLE` names a larger table of points.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::path::Path;

use smalti::crs::Crs;
use smalti::crs::transform::{self, EngineChoice, TransformOptions, Transformer};

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
    engine: EngineChoice,
) -> Outcome {
    let mut crs = |text: &str| {
        let parse = || Crs::parse(text).map_err(|error| error.to_string());
        cache.entry(text.to_owned()).or_insert_with(parse).clone()
    };
    let (src, dst) = match (crs(src), crs(dst)) {
        (Ok(src), Ok(dst)) => (src, dst),
        (Err(reason), _) | (_, Err(reason)) => return Outcome::Refused(reason),
    };
    let place = transform::place_of(&src, [x, y], engine);
    let options = TransformOptions { place, allow_ballpark, engine, ..Default::default() };
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
    // Seven parameters are undone as PROJ does it, to a few millimetres; its Robinson ends early.
    let allowed = if engine == EngineChoice::Proj { 3.0 } else { 0.02 };
    if both_nowhere || error <= allowed { Outcome::Right } else { Outcome::Wrong(-error) }
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
        let outcome = check(&mut cache, [fields[0], fields[1]], numbers, false, EngineChoice::Pure);
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

/// Rows of the larger table that an engine has right and refuses, and what is wrong in the others; `None` where no such
/// table is given.
#[expect(clippy::print_stdout, reason = "a check says what it saw, or that it was skipped")]
fn check_larger(step: usize, engine: EngineChoice) -> Option<(usize, usize, Vec<String>)> {
    let Some(path) = std::env::var_os("SMALTI_CRS_ORACLE") else {
        println!("SKIPPED: SMALTI_CRS_ORACLE names no larger table");
        return None;
    };
    let text = read(Path::new(&path));
    let mut cache = HashMap::new();
    let (mut right, mut refused, mut wrong) = (0, 0, Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1).step_by(step) {
        let fields = split(line);
        let numbers: Vec<f64> =
            fields[2..6].iter().map(|text| text.parse().unwrap_or(f64::NAN)).collect();
        let numbers = *numbers.first_chunk::<4>().unwrap();
        match check(&mut cache, [&fields[0], &fields[1]], numbers, true, engine) {
            Outcome::Right => right += 1,
            Outcome::Refused(_) => refused += 1,
            Outcome::Wrong(error) => wrong.push(format!("{error:.4} m: {line}")),
        }
    }
    println!("{right} right, {refused} refused, {} wrong", wrong.len());
    Some((right, refused, wrong))
}

/// No row is wrong in silence; with the ballpark allowed, nearly all agree.
#[test]
fn the_larger_table_agrees_where_it_is_given() {
    let Some((right, refused, wrong)) = check_larger(1, EngineChoice::Pure) else { return };
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
        let options = TransformOptions {
            place: Some([110.0, 30.0]),
            engine: EngineChoice::Pure,
            ..Default::default()
        };
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

/// A small grid under the name of one of EPSG's. The values are what pyproj's `hgridshift` makes of the same bytes.
#[test]
fn a_grid_shifts_as_proj_shifts() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/crs/tiny.gsb");
    std::fs::copy(tiny, folder.path().join("beta2007.GSB")).unwrap();
    let [dhdn, etrs89] = [4314, 4258].map(|code| Crs::from_epsg(code).unwrap());
    let options = TransformOptions {
        place: Some([10.5, 50.5]),
        grids: Some(folder.path().to_owned()),
        engine: EngineChoice::Pure,
        ..TransformOptions::default()
    };
    let transformer = Transformer::new(&dhdn, &etrs89, &options).unwrap();
    let cases = [
        ([9.3, 49.6], [9.294_236_111_206_71, 49.605_833_333_399_32]),
        ([8.0, 48.0], [7.993_611_110_919_74, 48.006_111_111_239_79]),
        ([13.9, 52.95], [13.895_805_555_463_45, 52.954_208_333_409_82]),
        ([10.5, 50.5], [10.494_861_110_993_43, 50.503_611_111_092_4]),
        ([10.1, 50.9], [10.094_972_222_196_32, 50.903_922_222_207_04]),
        ([11.2, 50.5], [11.194_749_999_898_93, 50.505_027_777_703_62]),
        ([12.75, 48.2], [12.744_326_388_952_76, 48.203_527_777_740_27]),
    ];
    for (from, expected) in cases {
        let mut points = [from];
        transformer.forward(&mut points);
        let [[x, y], [u, v]] = [points[0], expected];
        // PROJ keeps shifts in radians of single precision: a hundredth of a millimetre.
        assert!((x - u).abs().max((y - v).abs()) < 1e-9, "{from:?}: {points:?}");
        transformer.inverse(&mut points);
        let [[x, y], [u, v]] = [points[0], from];
        // The corner's image lies outside, where the way back has nothing to begin with, as in PROJ.
        let is_corner = from == [8.0, 48.0];
        let is_back = (x - u).abs().max((y - v).abs()) < 1e-11;
        assert!(is_back || is_corner && x.is_nan(), "{from:?}: {points:?}");
    }
    let mut outside = [[20.0, 50.0], [9.0, 47.0]];
    transformer.forward(&mut outside);
    assert!(outside.iter().flatten().all(|v| v.is_nan()), "{outside:?}");
}

/// The same bytes under the name of a grid of EPSG's: the operation is chosen because its file is there.
#[test]
fn a_grid_of_epsgs_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/crs/tiny.gsb");
    std::fs::copy(tiny, folder.path().join("beta2007.GSB")).unwrap();
    let [dhdn, etrs89] = [4314, 4258].map(|code| Crs::from_epsg(code).unwrap());
    let way = |grids| {
        let place = Some([10.5, 50.5]);
        let options = TransformOptions { place, grids, ..TransformOptions::default() };
        let mut points = [[10.5, 50.5]];
        let transformer = Transformer::new(&dhdn, &etrs89, &options).unwrap();
        transformer.forward(&mut points);
        let shift = transformer.shift().unwrap();
        (shift.name.clone(), shift.accuracy_m, points[0])
    };
    let (name, accuracy, [x, y]) = way(Some(folder.path().to_owned()));
    assert!(name.contains("BETA2007.gsb") && accuracy == Some(0.9), "{name} {accuracy:?}");
    let [u, v] = [10.494_861_110_993_43, 50.503_611_111_092_4];
    assert!((x - u).abs().max((y - v).abs()) < 1e-9, "{x} {y}");
    assert!(!way(None).0.contains("BETA2007"));
    std::fs::write(folder.path().join("beta2007.GSB"), "NUM_OREC and no more").unwrap();
    let options = TransformOptions {
        grids: Some(folder.path().to_owned()),
        engine: EngineChoice::Pure,
        ..Default::default()
    };
    let reason = Transformer::new(&dhdn, &etrs89, &options).unwrap_err().to_string();
    assert!(reason.contains("BETA2007.gsb"), "{reason}");
}

/// Built with PROJ: what the default engine claims, PROJ puts in the same place; what it does not know, PROJ does.
#[cfg(feature = "proj")]
mod linked {
    use super::*;

    #[test]
    fn both_engines_agree() {
        let mut cache = HashMap::new();
        let mut seen = 0;
        for line in fixture("points.tsv").lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let numbers: Vec<f64> = fields[2..].iter().map(|text| text.parse().unwrap()).collect();
            let numbers = *numbers.first_chunk::<4>().unwrap();
            let pair = [fields[0], fields[1]];
            let outcome = check(&mut cache, pair, numbers, false, EngineChoice::Proj);
            // Its database of 9.6.2 has ESRI's Miller without the sphere that 9.5.1, which made the table, puts under it.
            assert!(outcome == Outcome::Right || pair[1] == "ESRI:54003", "{line}: {outcome:?}");
            seen += 1;
        }
        assert_eq!(seen, POINTS);
    }

    /// One row in eight of the larger table: PROJ takes 50 ms to choose an operation.
    #[test]
    fn the_larger_table_agrees_with_proj_too() {
        let Some((right, refused, mut wrong)) = check_larger(8, EngineChoice::Proj) else { return };
        // The table is PROJ 9.5.1's: the database of 9.6.2 has Miller on an ellipsoid, and other operations for ED50 and
        // SAD69.
        let newer = ["ESRI:54003", "ESRI:102014", "ESRI:102015"];
        wrong.retain(|line| !newer.iter().any(|code| line.contains(code)));
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(600 < right && refused * 50 < right, "{right} right, {refused} refused");
    }

    /// `pyproj.Transformer.from_crs(4326, code, always_xy=True).transform(x, y)` of pyproj 3.7.2.
    #[test]
    fn what_the_default_engine_does_not_know_is_left_to_proj() {
        let cases = [
            ("EPSG:8441", [47.5, -19.0], [511_872.0397, 788_747.4876]),
            ("EPSG:5516", [15.5, 49.8], [-5_670_165.1203, -6_084_718.3970]),
            ("EPSG:6247", [-74.1, 4.65], [97_506.5486, 105_948.5747]),
            ("EPSG:27200", [173.0, -41.0], [2_509_987.9736, 6_022_958.6262]),
            ("ESRI:54042", [30.0, 40.0], [2_449_895.2721, 4_474_795.4303]),
        ];
        for (code, from, expected) in cases {
            let [src, dst] = ["EPSG:4326", code].map(|text| Crs::parse(text).unwrap());
            let way = |engine| {
                let options =
                    TransformOptions { place: Some(from), engine, ..TransformOptions::default() };
                Transformer::new(&src, &dst, &options)
            };
            assert!(way(EngineChoice::Pure).is_err(), "{code}");
            let transformer = way(EngineChoice::Auto).unwrap();
            // Threads share a transformer, which PROJ's own objects do not allow.
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut points = [from, [f64::NAN, 0.0], [from[0], 1e9]];
                        transformer.forward(&mut points);
                        let [[x, y], nowhere, beyond] = points;
                        let [u, v] = expected;
                        assert!((x - u).hypot(y - v) < 1e-3, "{code}: {x} {y}");
                        assert!(nowhere[0].is_nan() && beyond[0].is_nan());
                        transformer.inverse(&mut points);
                        let [lon, lat] = [points[0][0] - from[0], points[0][1] - from[1]];
                        assert!(lon.abs().max(lat.abs()) < 3e-8, "{code}: {points:?}");
                    });
                }
            });
        }
        let [src, dst] = ["EPSG:4326", "EPSG:4555"].map(|text| Crs::parse(text).unwrap());
        let options = TransformOptions { place: Some([110.0, 30.0]), ..Default::default() };
        let reason = Transformer::new(&src, &dst, &options).unwrap_err().to_string();
        assert!(reason.contains("New Beijing") && reason.contains("allpark"), "{reason}");
    }
}

/// Asked for PROJ, a program without it says so.
#[cfg(not(feature = "proj"))]
#[test]
fn without_proj_the_engine_is_refused_by_name() {
    let [src, dst] = ["EPSG:4326", "EPSG:32633"].map(|text| Crs::parse(text).unwrap());
    let options = TransformOptions { engine: EngineChoice::Proj, ..Default::default() };
    let reason = Transformer::new(&src, &dst, &options).unwrap_err().to_string();
    assert!(reason.contains("built without") && reason.contains("--features proj"), "{reason}");
}
