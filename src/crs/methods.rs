//! Names of projection methods and parameters, in EPSG's, GDAL's and ESRI's words and in GeoTIFF's
//! codes, and what they are in PROJ's.
//!
//! A reader collects [`Roles`] (what a parameter does, whatever it is called) and a [`Method`]; `projection` makes
//! [`Params`] of them.

use super::params::Params;

/// A projection method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    TransverseMercator,
    TransverseMercatorSouth,
    Lambert1,
    Lambert2,
    /// ESRI's: one or two parallels, by what is given.
    LambertAny,
    Albers,
    AzimuthalEqualArea,
    AzimuthalEqualAreaSphere,
    EquidistantConic,
    AzimuthalEquidistant,
    Guam,
    MercatorA,
    MercatorB,
    WebMercator,
    PolarA,
    PolarB,
    /// GDAL's and GeoTIFF's: the latitude of origin is that of true scale.
    Polar,
    PolarNorth,
    PolarSouth,
    ObliqueStereographic,
    Stereographic,
    Equirectangular,
    Krovak,
    KrovakNorth,
    Cassini,
    CassiniHyperbolic,
    HotineA,
    HotineB,
    Swiss,
    CylindricalEqualArea,
    CylindricalEqualAreaSphere,
    /// ESRI's cylindrical equal-area map of 30°.
    Behrmann,
    GeostationaryX,
    GeostationaryY,
    /// Nothing but a meridian and false origin: PROJ's name.
    Plain(&'static str),
    /// Origin, meridian, scale and false origin: PROJ's name.
    Origin(&'static str),
}

use Method as M;

/// Names in letters and digits.
const NAMES: &[(&str, Method)] = &[
    ("transversemercator", M::TransverseMercator),
    ("gausskruger", M::TransverseMercator),
    ("transversemercatorcomplex", M::TransverseMercator),
    ("transversemercatorsouthorientated", M::TransverseMercatorSouth),
    ("transversemercatorsouthoriented", M::TransverseMercatorSouth),
    ("lambertconformalconic1sp", M::Lambert1),
    ("lambertconicconformal1sp", M::Lambert1),
    ("lambertconformalconic2sp", M::Lambert2),
    ("lambertconicconformal2sp", M::Lambert2),
    ("lambertconicconformal2spmichigan", M::Lambert2),
    ("lambertconformalconic", M::LambertAny),
    ("albersequalarea", M::Albers),
    ("albersconicequalarea", M::Albers),
    ("albers", M::Albers),
    ("lambertazimuthalequalarea", M::AzimuthalEqualArea),
    ("lambertazimuthalequalareaspherical", M::AzimuthalEqualAreaSphere),
    ("equidistantconic", M::EquidistantConic),
    ("azimuthalequidistant", M::AzimuthalEquidistant),
    ("modifiedazimuthalequidistant", M::AzimuthalEquidistant),
    ("guamprojection", M::Guam),
    ("mercatorvarianta", M::MercatorA),
    ("mercator1sp", M::MercatorA),
    ("mercatorvariantb", M::MercatorB),
    ("mercator2sp", M::MercatorB),
    ("mercator", M::MercatorB),
    ("popularvisualisationpseudomercator", M::WebMercator),
    ("mercatorauxiliarysphere", M::WebMercator),
    ("polarstereographicvarianta", M::PolarA),
    ("polarstereographicvariantb", M::PolarB),
    ("polarstereographic", M::Polar),
    ("stereographicnorthpole", M::PolarNorth),
    ("stereographicsouthpole", M::PolarSouth),
    ("obliquestereographic", M::ObliqueStereographic),
    ("doublestereographic", M::ObliqueStereographic),
    ("stereographic", M::Stereographic),
    ("equidistantcylindrical", M::Equirectangular),
    ("equidistantcylindricalspherical", M::Equirectangular),
    ("equirectangular", M::Equirectangular),
    ("platecarree", M::Equirectangular),
    ("krovak", M::Krovak),
    ("krovaknorthorientated", M::KrovakNorth),
    ("cassinisoldner", M::Cassini),
    ("cassini", M::Cassini),
    ("hyperboliccassinisoldner", M::CassiniHyperbolic),
    ("hotineobliquemercatorvarianta", M::HotineA),
    ("hotineobliquemercator", M::HotineA),
    ("hotineobliquemercatorazimuthnaturalorigin", M::HotineA),
    ("rectifiedskeworthomorphicnaturalorigin", M::HotineA),
    ("hotineobliquemercatorvariantb", M::HotineB),
    ("hotineobliquemercatorazimuthcenter", M::HotineB),
    ("obliquemercator", M::HotineB),
    ("rectifiedskeworthomorphiccenter", M::HotineB),
    ("swissobliquecylindrical", M::Swiss),
    ("swissobliquemercator", M::Swiss),
    ("lambertcylindricalequalarea", M::CylindricalEqualArea),
    ("cylindricalequalarea", M::CylindricalEqualArea),
    ("lambertcylindricalequalareaspherical", M::CylindricalEqualAreaSphere),
    ("behrmann", M::Behrmann),
    ("geostationarysatellitesweepx", M::GeostationaryX),
    ("geostationarysatellitesweepy", M::GeostationaryY),
    ("geostationarysatellite", M::GeostationaryY),
    ("americanpolyconic", M::Origin("poly")),
    ("polyconic", M::Origin("poly")),
    ("orthographic", M::Origin("ortho")),
    ("gnomonic", M::Origin("gnom")),
    ("newzealandmapgrid", M::Origin("nzmg")),
    ("sinusoidal", M::Plain("sinu")),
    ("mollweide", M::Plain("moll")),
    ("robinson", M::Plain("robin")),
    ("millercylindrical", M::Plain("mill")),
    ("equalearth", M::Plain("eqearth")),
    ("vandergrinten", M::Plain("vandg")),
    ("vandergrinteni", M::Plain("vandg")),
    ("eckerti", M::Plain("eck1")),
    ("eckertii", M::Plain("eck2")),
    ("eckertiii", M::Plain("eck3")),
    ("eckertiv", M::Plain("eck4")),
    ("eckertv", M::Plain("eck5")),
    ("eckertvi", M::Plain("eck6")),
    ("gallstereographic", M::Plain("gall")),
    ("naturalearth", M::Plain("natearth")),
    ("naturalearthii", M::Plain("natearth2")),
    ("patterson", M::Plain("patterson")),
    ("wagneriv", M::Plain("wag4")),
    ("wagnerv", M::Plain("wag5")),
    ("wagnervii", M::Plain("wag7")),
    ("crasterparabolic", M::Plain("crast")),
    ("quarticauthalic", M::Plain("qua_aut")),
    ("flatpolarquartic", M::Plain("mbtfpq")),
    ("aitoff", M::Plain("aitoff")),
    ("times", M::Plain("times")),
    ("comprehensivemiller", M::Plain("comill")),
    ("compactmiller", M::Plain("comill")),
];

/// `ProjCoordTransGeoKey` (GeoTIFF 1.1 annex D, table D.20).
const CODES: &[(u16, Method)] = &[
    (1, M::TransverseMercator),
    (3, M::HotineA),
    (5, M::Swiss),
    (7, M::MercatorA),
    (8, M::Lambert2),
    (9, M::Lambert1),
    (10, M::AzimuthalEqualArea),
    (11, M::Albers),
    (12, M::AzimuthalEquidistant),
    (13, M::EquidistantConic),
    (14, M::Stereographic),
    (15, M::Polar),
    (16, M::ObliqueStereographic),
    (17, M::Equirectangular),
    (18, M::Cassini),
    (19, M::Origin("gnom")),
    (20, M::Plain("mill")),
    (21, M::Origin("ortho")),
    (22, M::Origin("poly")),
    (23, M::Plain("robin")),
    (24, M::Plain("sinu")),
    (25, M::Plain("vandg")),
    (26, M::Origin("nzmg")),
    (27, M::TransverseMercatorSouth),
    (28, M::CylindricalEqualArea),
    (9815, M::HotineB),
];

/// The method of a name that is reduced by [`super::letters`].
pub(super) fn named(letters: &str) -> Option<Method> {
    NAMES.iter().find(|(name, _)| *name == letters).map(|(_, method)| *method)
}

/// The method of a `ProjCoordTransGeoKey`.
pub(super) fn coded(code: u16) -> Option<Method> {
    CODES.iter().find(|(own, _)| *own == code).map(|(_, method)| *method)
}

/// What a parameter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    OriginLatitude,
    OriginLongitude,
    Parallel1,
    Parallel2,
    /// The parallel of methods that have one (EPSG calls it so).
    Parallel,
    PseudoParallel,
    Scale,
    FalseEasting,
    FalseNorthing,
    Azimuth,
    Gamma,
    Height,
    /// ESRI's number for the axis about which a geostationary satellite turns: 0 for y, 1 for x.
    Sweep,
}

impl Role {
    /// Whether its value is an angle.
    pub(super) fn is_angle(self) -> bool {
        !self.is_length() && !matches!(self, Role::Scale | Role::Sweep)
    }

    /// Whether its value is a length.
    pub(super) fn is_length(self) -> bool {
        matches!(self, Role::FalseEasting | Role::FalseNorthing | Role::Height)
    }
}

/// The role of a parameter whose name is reduced by [`super::letters`]; `None` for one that is not known.
pub(super) fn role(letters: &str) -> Option<Role> {
    Some(match letters {
        "latitudeofnaturalorigin"
        | "latitudeoforigin"
        | "latitudeofcenter"
        | "latitudeoffalseorigin"
        | "latitudeofprojectioncentre"
        | "latitudeofprojectioncenter"
        | "centralparallel" => Role::OriginLatitude,
        "longitudeofnaturalorigin"
        | "centralmeridian"
        | "longitudeofcenter"
        | "longitudeoforigin"
        | "longitudeoffalseorigin"
        | "longitudeofprojectioncentre"
        | "longitudeofprojectioncenter" => Role::OriginLongitude,
        "standardparallel1" | "latitudeof1ststandardparallel" => Role::Parallel1,
        "standardparallel2" | "latitudeof2ndstandardparallel" => Role::Parallel2,
        "latitudeofstandardparallel" => Role::Parallel,
        "pseudostandardparallel1" | "latitudeofpseudostandardparallel" => Role::PseudoParallel,
        "scalefactor"
        | "scalefactoratnaturalorigin"
        | "scalefactoroninitialline"
        | "scalefactoratprojectioncentre"
        | "scalefactoronpseudostandardparallel"
        | "ellipsoidscalingfactor"
        | "scalefactorattheprojectioncentre" => Role::Scale,
        "falseeasting" | "eastingatfalseorigin" | "eastingatprojectioncentre" => Role::FalseEasting,
        "falsenorthing" | "northingatfalseorigin" | "northingatprojectioncentre" => {
            Role::FalseNorthing
        }
        "azimuth"
        | "azimuthofinitialline"
        | "azimuthatprojectioncentre"
        | "colatitudeofconeaxis"
        | "azimuthoftheinitialline" => Role::Azimuth,
        "rectifiedgridangle" | "anglefromrectifiedtoskewgrid" | "xyplanerotation" => Role::Gamma,
        "satelliteheight" | "height" => Role::Height,
        "option" => Role::Sweep,
        _ => return None,
    })
}

/// Values by role: degrees, metres.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Roles(Vec<(Role, f64)>);

impl Roles {
    /// Takes a value in; a second one for a role is an error (`false`) unless it is the same.
    pub(super) fn add(&mut self, role: Role, value: f64) -> bool {
        match self.0.iter().find(|(own, _)| *own == role) {
            Some((_, own)) => super::close(*own, value),
            None => {
                self.0.push((role, value));
                true
            }
        }
    }

    pub(super) fn value(&self, role: Role) -> Option<f64> {
        self.0.iter().find(|(own, _)| *own == role).map(|(_, value)| *value)
    }

    fn or(&self, role: Role, default: f64) -> f64 {
        self.value(role).unwrap_or(default)
    }
}

/// The projection in PROJ's terms and its axes; `Err` says what does not fit together.
#[expect(clippy::too_many_lines, reason = "one arm for each method")]
pub(super) fn projection(method: Method, roles: &Roles) -> Result<(Params, [u8; 2]), String> {
    let latitude = roles.or(Role::OriginLatitude, 0.0);
    let k = roles.or(Role::Scale, 1.0);
    let lon = ("lon_0", roles.or(Role::OriginLongitude, 0.0));
    let lat = ("lat_0", latitude);
    let scale = ("k", k);
    let parallel = roles.value(Role::Parallel).or(roles.value(Role::Parallel1)).unwrap_or(latitude);
    let (one, two) = (roles.or(Role::Parallel1, latitude), roles.value(Role::Parallel2));
    let parallels = [("lat_1", one), ("lat_2", two.unwrap_or(one))];
    let mut axes = *b"en";
    let origin = [lat, lon, scale];
    let pole = |sign: f64| ("lat_0", sign * 90.0);
    let (proj, values): (&str, Vec<(&str, f64)>) = match method {
        M::TransverseMercator => ("tmerc", origin.into()),
        M::TransverseMercatorSouth => {
            axes = *b"ws";
            ("tmerc", origin.into())
        }
        M::Lambert1 => ("lcc", vec![("lat_1", latitude), ("lat_2", latitude), lat, lon, scale]),
        M::LambertAny if two.is_none() => {
            ("lcc", vec![("lat_1", one), ("lat_2", one), lat, lon, scale])
        }
        M::Lambert2 | M::LambertAny => ("lcc", [&[lat, lon, scale], &parallels[..]].concat()),
        M::Albers => ("aea", [&[lat, lon], &parallels[..]].concat()),
        M::EquidistantConic => ("eqdc", [&[lat, lon], &parallels[..]].concat()),
        M::AzimuthalEqualArea | M::AzimuthalEqualAreaSphere => ("laea", vec![lat, lon]),
        M::AzimuthalEquidistant | M::Guam => ("aeqd", vec![lat, lon]),
        M::MercatorA if roles.value(Role::Parallel1).is_some() => {
            ("merc", vec![("lat_ts", one), lon])
        }
        M::MercatorA if latitude != 0.0 => {
            return Err("a Mercator whose natural origin is not on the equator".into());
        }
        M::MercatorA => ("merc", vec![lon, scale]),
        M::MercatorB => ("merc", vec![("lat_ts", parallel), lon]),
        M::WebMercator => ("webmerc", vec![lon]),
        M::PolarA => ("stere", origin.into()),
        M::PolarB => ("stere", vec![pole(parallel.signum()), ("lat_ts", parallel), lon]),
        M::Polar if (latitude.abs() - 90.0).abs() < 1e-10 => ("stere", origin.into()),
        M::Polar => ("stere", vec![pole(latitude.signum()), ("lat_ts", latitude), lon, scale]),
        M::PolarNorth | M::PolarSouth => {
            let sign = if method == M::PolarNorth { 1.0 } else { -1.0 };
            ("stere", vec![pole(sign), ("lat_ts", roles.or(Role::Parallel1, sign * 90.0)), lon])
        }
        M::ObliqueStereographic => ("sterea", origin.into()),
        M::Stereographic => ("stere", origin.into()),
        M::Equirectangular => {
            let parallel = roles.value(Role::Parallel).or(roles.value(Role::Parallel1));
            ("eqc", vec![("lat_ts", parallel.unwrap_or(0.0)), lat, lon])
        }
        M::Krovak | M::KrovakNorth => {
            // ESRI turns the plane by 90° where the axes are east and north.
            if method == M::Krovak && roles.or(Role::Gamma, 0.0) == 0.0 {
                axes = *b"sw";
            }
            let alpha = roles.or(Role::Azimuth, 30.288_139_752_777_8);
            ("krovak", vec![lat, lon, ("alpha", alpha), ("k", roles.or(Role::Scale, 0.9999))])
        }
        M::Cassini | M::CassiniHyperbolic => ("cass", vec![lat, lon]),
        M::HotineA | M::HotineB => {
            let alpha = roles.or(Role::Azimuth, 0.0);
            let gamma = roles.or(Role::Gamma, alpha);
            if method == M::HotineB && (alpha - 90.0).abs() < 1e-9 && (gamma - 90.0).abs() < 1e-9 {
                ("somerc", origin.into())
            } else {
                let center = ("lonc", lon.1);
                ("omerc", vec![lat, center, ("alpha", alpha), ("gamma", gamma), scale])
            }
        }
        M::Swiss => ("somerc", origin.into()),
        M::CylindricalEqualArea | M::CylindricalEqualAreaSphere => {
            ("cea", vec![("lat_ts", parallel), lon])
        }
        M::Behrmann => ("cea", vec![("lat_ts", 30.0), lon]),
        M::GeostationaryX | M::GeostationaryY => {
            ("geos", vec![("h", roles.or(Role::Height, 0.0)), lon])
        }
        M::Plain(proj) => (proj, vec![lon]),
        M::Origin(proj) => (proj, vec![lat, lon]),
    };
    let flag = match method {
        M::AzimuthalEqualAreaSphere | M::CylindricalEqualAreaSphere => Some("R_A"),
        M::Guam => Some("guam"),
        M::HotineA => Some("no_uoff"),
        M::CassiniHyperbolic => Some("hyperbolic"),
        M::GeostationaryX => Some("sweep=x"),
        M::GeostationaryY if roles.or(Role::Sweep, 0.0) != 0.0 => Some("sweep=x"),
        M::Plain("mill" | "vandg") => Some("R_A"),
        _ => None,
    };
    // At the pole itself the parallel of true scale says that the scale there is 1.
    let values = values.into_iter().filter(|(name, v)| *name != "lat_ts" || v.abs() < 90.0 - 1e-10);
    let offsets =
        [("x_0", roles.or(Role::FalseEasting, 0.0)), ("y_0", roles.or(Role::FalseNorthing, 0.0))];
    Ok((Params::new(proj, values.chain(offsets), flag), axes))
}

/// The name that is kept for a projection of [`Method::Plain`], where it is one.
pub(super) fn plain(proj: &str) -> Option<&'static str> {
    NAMES.iter().find_map(|(_, method)| match method {
        M::Plain(own) if *own == proj => Some(*own),
        _ => None,
    })
}

/// ESRI's name of a [`Method::Plain`].
pub(super) fn esri_name(method: Method) -> Option<&'static str> {
    let M::Plain(proj) = method else { return None };
    Some(match proj {
        "sinu" => "Sinusoidal",
        "moll" => "Mollweide",
        "robin" => "Robinson",
        "mill" => "Miller_Cylindrical",
        "eqearth" => "Equal_Earth",
        "vandg" => "Van_der_Grinten_I",
        "eck1" => "Eckert_I",
        "eck2" => "Eckert_II",
        "eck3" => "Eckert_III",
        "eck4" => "Eckert_IV",
        "eck5" => "Eckert_V",
        "eck6" => "Eckert_VI",
        "gall" => "Gall_Stereographic",
        "natearth" => "Natural_Earth",
        "natearth2" => "Natural_Earth_II",
        "patterson" => "Patterson",
        "crast" => "Craster_Parabolic",
        "qua_aut" => "Quartic_Authalic",
        "mbtfpq" => "Flat_Polar_Quartic",
        "times" => "Times",
        _ => return None,
    })
}

/// A projection's name for people, by PROJ's name.
pub(super) fn title(proj: &str) -> &str {
    match proj {
        "tmerc" => "Transverse Mercator",
        "lcc" => "Lambert Conformal Conic",
        "aea" => "Albers Equal Area",
        "laea" => "Lambert Azimuthal Equal Area",
        "eqdc" => "Equidistant Conic",
        "aeqd" => "Azimuthal Equidistant",
        "merc" => "Mercator",
        "webmerc" => "Web Mercator",
        "stere" => "Stereographic",
        "sterea" => "Oblique Stereographic",
        "eqc" => "Equidistant Cylindrical",
        "krovak" => "Krovak",
        "cass" => "Cassini-Soldner",
        "omerc" => "Oblique Mercator",
        "somerc" => "Swiss Oblique Mercator",
        "cea" => "Cylindrical Equal Area",
        "geos" => "Geostationary",
        "poly" => "Polyconic",
        "ortho" => "Orthographic",
        "gnom" => "Gnomonic",
        "sinu" => "Sinusoidal",
        "moll" => "Mollweide",
        "robin" => "Robinson",
        "mill" => "Miller Cylindrical",
        "eqearth" => "Equal Earth",
        other => other,
    }
}
