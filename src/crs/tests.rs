//! What counts as one CRS, and what it is called.

use super::*;

fn crs(shorts: &[(u16, u16)], doubles: &[(u16, f64)], texts: &[(u16, &str)]) -> Crs {
    let shorts = shorts.iter().map(|(id, v)| (*id, KeyValue::Short(*v)));
    let doubles = doubles.iter().map(|(id, v)| (*id, KeyValue::Doubles(vec![*v])));
    let texts = texts.iter().map(|(id, v)| (*id, KeyValue::Ascii((*v).to_owned())));
    Crs::from_keys(KeySet::new(shorts.chain(doubles).chain(texts))).unwrap().unwrap()
}

fn epsg(code: u32) -> Crs {
    Crs::from_epsg(code).unwrap()
}

/// A user-defined Transverse Mercator with UTM's scale and false easting.
fn transverse_mercator(base: u16, longitude: f64, false_northing: f64) -> Crs {
    let shorts = [(1024, 1), (2048, base), (3072, 32767), (3074, 32767), (3075, 1), (3076, 9001)];
    let doubles =
        [(3080, longitude), (3081, 0.0), (3082, 500000.0), (3083, false_northing), (3092, 0.9996)];
    crs(&shorts, &doubles, &[])
}

#[test]
fn realisations_of_wgs84_are_one_crs() {
    for code in [4979, 9053, 9054, 9055, 9056, 9057, 9754, 9755, 8888, 10606, 4327] {
        assert!(epsg(4326).same_as(&epsg(code)), "EPSG:{code}");
        assert_eq!(epsg(code).epsg(), Some(code));
    }
    for code in [4269, 4258, 4322, 4030, 6318] {
        assert!(!epsg(4326).same_as(&epsg(code)), "EPSG:{code}");
    }
    assert!(!epsg(4269).same_as(&epsg(6318)), "NAD83 and NAD83(2011)");
    assert!(epsg(4167).same_as(&epsg(4959)), "NZGD2000 in 2D and 3D");
    // As GDAL writes EPSG:4979.
    let gdal = crs(&[(1024, 2), (2048, 4326), (4096, 4979)], &[], &[]);
    assert!(gdal.same_as(&epsg(4979)));
    assert_eq!(gdal.to_string(), "EPSG:4979 (WGS 84)");
}

#[test]
fn utm_by_parameters_is_utm() {
    let cases = [
        (4326, 15.0, 0.0, 32633),
        (4326, -177.0, 1e7, 32701),
        (4326, 177.0, 0.0, 32660),
        (4258, 9.0, 0.0, 25832),
        (4269, -75.0, 0.0, 26918),
        (9055, 15.0, 0.0, 32633),
    ];
    for (base, longitude, false_northing, code) in cases {
        let parameters = transverse_mercator(base, longitude, false_northing);
        assert!(parameters.same_as(&epsg(code)), "EPSG:{code}");
        assert!(epsg(code).same_as(&parameters));
        assert_eq!(parameters.epsg(), Some(code));
        assert!(!parameters.same_as(&epsg(code + 1)));
    }
    for (longitude, false_northing) in [(15.1, 0.0), (15.0, 1.0)] {
        assert_eq!(transverse_mercator(4326, longitude, false_northing).epsg(), None);
    }
    // By the code of the operation, and a datum code instead of a CRS.
    let shorts = [(1024, 1), (2048, 32767), (2050, 6326), (3072, 32767), (3074, 16033)];
    assert!(crs(&shorts, &[], &[]).same_as(&epsg(32633)));
    // Unknown datum on the WGS 84 ellipsoid.
    let shorts = [(1024, 1), (2048, 32767), (2050, 32767), (2056, 7030), (3074, 16033)];
    assert!(!crs(&shorts, &[], &[]).same_as(&epsg(32633)));
}

#[test]
fn units_and_bases_must_agree() {
    let with_unit = |unit| crs(&[(1024, 1), (3072, 2263), (3076, unit)], &[], &[]);
    assert!(with_unit(9003).same_as(&epsg(2263)));
    assert!(!with_unit(9001).same_as(&epsg(2263)));
    assert_eq!(with_unit(9001).epsg(), None);
    assert_eq!(epsg(2263).unit_size(), Some(0.304_800_609_601_219_24));
    // GDAL takes an explicit geographic CRS for the base of a projected code.
    let based = |base| crs(&[(1024, 1), (2048, base), (3072, 32618)], &[], &[]);
    assert!(based(4326).same_as(&epsg(32618)));
    assert!(!based(4267).same_as(&epsg(32618)));
    // Seconds of arc.
    let shorts = [(1024, 2), (2048, 32767), (2050, 6326), (2054, 9104)];
    assert!(!crs(&shorts, &[], &[]).same_as(&epsg(4326)));
}

#[test]
fn citations_do_not_count_but_datums_in_them_do() {
    let named = |name| crs(&[(1024, 1), (3072, 32618)], &[], &[(1026, name)]);
    assert!(named("a").same_as(&named("b")));
    assert_ne!(named("a"), named("b"));
    let geographic = |citation: &str| {
        let shorts = [(1024, 2), (2048, 32767), (2050, 32767), (2056, 7019)];
        crs(&shorts, &[(2057, 6378137.0), (2059, 298.257222101)], &[(2049, citation)])
    };
    let datum =
        |name: &str| geographic(&format!("GCS Name = x|Datum = {name}|Primem = Greenwich|"));
    assert!(datum("D_ETRS_1989").same_as(&epsg(4258)));
    assert!(datum("D_North_American_1983").same_as(&epsg(4269)));
    assert!(!datum("D_A").same_as(&datum("D_B")));
    assert!(datum("unknown").same_as(&datum("Unknown based on GRS80")));
    assert!(!datum("unknown").same_as(&epsg(4258)));
}

#[test]
fn parameters_compare_with_tolerance_and_synonyms() {
    let lambert = |longitude_key, latitude_key, scale: f64, unit, easting| {
        let shorts =
            [(1024, 1), (2048, 4258), (3072, 32767), (3074, 32767), (3075, 10), (3076, unit)];
        let doubles = [(longitude_key, 10.0), (latitude_key, 52.0), (3082, easting), (3092, scale)];
        crs(&shorts, &doubles, &[])
    };
    let first = lambert(3088, 3089, 1.0, 9001, 4321000.0);
    assert!(first.same_as(&lambert(3080, 3081, 1.0 + 1e-12, 9001, 4321000.0000001)));
    assert!(!first.same_as(&lambert(3080, 3081, 1.0, 9001, 4321001.0)));
    assert!(!first.same_as(&lambert(3088, 3089, 1.0, 9002, 4321000.0)));
    // The two flattenings differ by 5e-9.
    let sphere =
        |inverse| crs(&[(1024, 2), (2048, 32767)], &[(2057, 6378137.0), (2059, inverse)], &[]);
    assert!(!sphere(298.257223563).same_as(&sphere(298.257222101)));
    assert!(sphere(298.257222101).same_as(&sphere(298.2572221010042)));
    let minor =
        crs(&[(1024, 2), (2048, 32767)], &[(2057, 6378137.0), (2058, 6356752.31414036)], &[]);
    assert!(minor.same_as(&sphere(298.257222101)));
}

#[test]
fn vertical_parts_must_agree() {
    let with = |vertical: &[(u16, u16)], name| {
        crs(&[&[(1024, 1), (3072, 26918)], vertical].concat(), &[], &[(4097, name)])
    };
    let metres = with(&[(4096, 5703)], "");
    assert!(metres.same_as(&with(&[(4096, 5703), (4099, 9001)], "NAVD88 height")));
    assert!(metres.same_as(&with(&[(4096, 5103)], "")), "GeoTIFF 1.0's own code");
    assert!(!metres.same_as(&with(&[(4096, 6360)], "")), "feet");
    assert!(!metres.same_as(&epsg(26918)));
    let user = |name, unit| with(&[(4096, 32767), (4099, unit)], name);
    assert!(user("EGM2008 height", 9001).same_as(&user("EGM2008 Height", 9001)));
    assert!(!user("EGM2008 height", 9001).same_as(&user("EGM2008 height", 9002)));
    assert!(!user("EGM2008 height", 9001).same_as(&user("EGM96 height", 9001)));
    assert!(epsg(26918).same_as(&with(&[(4096, 4979)], "")), "ellipsoidal heights");
    assert_eq!(metres.to_string(), "EPSG:26918 (NAD83 / UTM zone 18N) + EPSG:5703");
}

#[test]
fn esri_strings_compare_as_text() {
    let pe = |text| crs(&[(1024, 32767), (2048, 4326)], &[], &[(3073, text), (1026, "Mine")]);
    let first = pe("ESRI PE String = PROJCS[\"A\", UNIT[\"Meter\",1.0]]");
    assert!(first.same_as(&pe("ESRI PE String = PROJCS[\"A\",UNIT[\"Meter\",1.0]]")));
    assert!(!first.same_as(&pe("ESRI PE String = PROJCS[\"B\",UNIT[\"Meter\",1.0]]")));
    assert_eq!(first.to_string(), "Mine");
    assert_eq!(first.kind(), CrsKind::Unknown);
}

#[test]
fn codes_are_parsed_and_refused() {
    assert_eq!(Crs::parse(" epsg:32633 ").unwrap().epsg(), Some(32633));
    assert_eq!(Crs::parse("EPSG:4087").unwrap().kind(), CrsKind::Projected);
    assert_eq!(Crs::parse("EPSG:4390").unwrap().kind(), CrsKind::Projected);
    assert_eq!(Crs::parse("EPSG:9055").unwrap().kind(), CrsKind::Geographic);
    let message = Crs::parse("UTM 33").unwrap_err().to_string();
    assert!(message.contains("expected EPSG:n, ESRI:n, WKT"), "{message}");
    for bad in ["EPSG:", "EPSG:x", "EPSG:5", "EPSG:32767", "EPSG:4978", "EPSG:5773"] {
        assert!(Crs::parse(bad).is_err(), "{bad}");
    }
    let compound = Crs::parse("EPSG:7415").unwrap();
    assert_eq!(compound.to_string(), "EPSG:28992 (Amersfoort / RD New) + EPSG:5709");
}

#[test]
fn codes_in_the_wrong_key_are_understood_as_gdal_does() {
    let crs = |shorts: &[(u16, u16)]| crs(shorts, &[], &[]);
    assert!(crs(&[(1024, 1), (3072, 4326)]).same_as(&epsg(4326)));
    assert!(crs(&[(1024, 2), (2048, 32618)]).same_as(&epsg(32618)));
    assert!(crs(&[(3072, 32618)]).same_as(&epsg(32618)), "no model type");
    assert!(crs(&[(1024, 2), (2048, 4326), (3072, 32618)]).same_as(&epsg(4326)));
}

#[test]
fn names_are_for_people() {
    let named = |name| crs(&[(1024, 1), (3072, 3857)], &[], &[(1026, name)]).to_string();
    assert_eq!(named("PCS Name = WGS_84|x"), "EPSG:3857 (WGS_84)");
    assert_eq!(named("unnamed"), "EPSG:3857 (WGS 84 / Pseudo-Mercator)");
    assert_eq!(named("IMAGINE GeoTIFF Support\nCopyright"), "EPSG:3857 (WGS 84 / Pseudo-Mercator)");
    let plain = transverse_mercator(4326, 1.0, 2.0);
    assert_eq!(plain.to_string(), "user-defined Transverse Mercator");
}
