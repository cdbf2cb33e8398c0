//! [`Params`]: a map projection by PROJ's names, in one form for all ways of writing it.
//!
//! Angles are degrees from the base's prime meridian, lengths metres. Ellipsoid, datum, unit and
//! axes do not belong here. What has no effect (zeros, a scale of 1) is left out, UTM is a Transverse
//! Mercator, and the names that PROJ takes for one parameter are one.

use std::fmt;

use super::close;

/// A projection: PROJ's name, numbers and flags, both sorted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Params {
    /// PROJ's name: `tmerc`.
    pub(super) proj: String,
    values: Vec<(String, f64)>,
    flags: Vec<String>,
}

/// Longitudes: they are brought into -180 ..= 180.
const LONGITUDES: &[&str] = &["lon_0", "lonc", "lon_1", "lon_2"];

impl Params {
    /// From PROJ's name and its parameters in any order and spelling.
    pub(super) fn new<'a>(
        proj: &str,
        values: impl IntoIterator<Item = (&'a str, f64)>,
        flags: impl IntoIterator<Item = &'a str>,
    ) -> Params {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        flags.sort();
        flags.dedup();
        let mut params = Params { proj: proj.to_owned(), values, flags };
        params.canonicalize();
        params
    }

    /// From a part of a PROJ string: `+proj=utm +zone=33`. `None` for what is not one.
    pub(super) fn parse(text: &str) -> Option<Params> {
        let mut proj = None;
        let (mut values, mut flags) = (Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            let word = word.strip_prefix('+').unwrap_or(word);
            match word.split_once('=') {
                Some(("proj", name)) => proj = Some(name),
                // A sphere of the ellipsoid's own radius.
                Some(("shape" | "sweep", _) | ("f", "0")) | None => flags.push(word),
                Some((name, value)) => values.push((name, value.parse().ok()?)),
            }
        }
        Some(Params::new(proj?, values, flags))
    }

    /// A number; what is left out is 0, or 1 for the scale.
    pub(super) fn value(&self, name: &str) -> f64 {
        let own = self.values.iter().find(|(own, _)| own == name).map(|(_, value)| *value);
        own.unwrap_or(if name == "k" { 1.0 } else { 0.0 })
    }

    /// Whether a number is written.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(own, _)| own == name)
    }

    /// Whether a flag is set.
    pub(super) fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// All numbers that have an effect.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// All flags.
    pub(super) fn flags(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().map(String::as_str)
    }

    /// Takes off what has no effect on a sphere.
    #[must_use]
    pub(super) fn on(mut self, ellipsoid: [f64; 2]) -> Params {
        if ellipsoid[1] == 0.0 {
            self.flags.retain(|flag| flag != "R_A");
        }
        self
    }

    /// The same projection, within what different writers round.
    pub(super) fn same_as(&self, other: &Params) -> bool {
        let same = |name: &str, a: f64, b: f64| match name {
            // Writers keep 15 digits of an angle, and some fewer: a ten-millionth of an arc second.
            "lat_0" | "lon_0" | "lat_1" | "lat_2" | "lat_ts" | "lonc" | "alpha" | "gamma"
            | "lon_1" | "lon_2" => (a - b).abs() <= 3e-11 * a.abs().max(1.0),
            "x_0" | "y_0" => (a - b).abs() <= 1e-6_f64.max(1e-12 * a.abs()),
            _ => close(a, b),
        };
        let names = self.values.iter().chain(&other.values).map(|(name, _)| name.as_str());
        self.proj == other.proj
            && self.flags == other.flags
            && names.into_iter().all(|name| same(name, self.value(name), other.value(name)))
    }

    fn canonicalize(&mut self) {
        let rename = |name: &str| match name {
            "k_0" | "k0" => Some("k"),
            "lonc" if self.proj == "somerc" => Some("lon_0"),
            _ => None,
        };
        for (name, _) in &mut self.values {
            if let Some(better) = rename(name) {
                better.clone_into(name);
            }
        }
        match self.proj.as_str() {
            "utm" => self.expand_utm(),
            "ups" => self.expand_ups(),
            "etmerc" | "gauss" => "tmerc".clone_into(&mut self.proj),
            "leac" => "aea".clone_into(&mut self.proj),
            "latlong" | "latlon" | "lonlat" => "longlat".clone_into(&mut self.proj),
            "lcc" if !self.has("lat_2") => {
                let first = self.value("lat_1");
                if !self.has("lat_0") {
                    self.set("lat_0", first);
                }
                self.set("lat_2", first);
            }
            "omerc" if self.has("alpha") => {
                // ESRI writes what lies west of north as negative.
                let alpha = self.value("alpha").rem_euclid(360.0);
                let gamma =
                    if self.has("gamma") { self.value("gamma").rem_euclid(360.0) } else { alpha };
                self.set("alpha", alpha);
                self.set("gamma", gamma);
            }
            // The formulas of the plain Mercator have no origin of latitude.
            "webmerc" => self.values.retain(|(name, _)| !matches!(name.as_str(), "k" | "lat_ts")),
            _ => {}
        }
        if self.proj == "lcc" && self.value("lat_1") < self.value("lat_2") {
            let (low, high) = (self.value("lat_1"), self.value("lat_2"));
            self.set("lat_1", high);
            self.set("lat_2", low);
        }
        if self.proj == "krovak" && !self.has("alpha") {
            // Krovak's own: 30° 17' 17.3031", and the origin that PROJ takes by default.
            self.set("alpha", 30.288_139_752_777_8);
        }
        for (name, value) in &mut self.values {
            if LONGITUDES.contains(&name.as_str()) && !(-180.0..=180.0).contains(value) {
                *value = (*value + 180.0).rem_euclid(360.0) - 180.0;
            }
        }
        // An angle of 0 between the axes is not that of the line, which is what is taken without one.
        let is_oblique = self.proj == "omerc";
        self.values.retain(|(name, value)| {
            *value != if name == "k" { 1.0 } else { 0.0 } || (is_oblique && name == "gamma")
        });
        self.values.sort_by(|a, b| a.0.cmp(&b.0));
        self.values.dedup_by(|a, b| a.0 == b.0);
    }

    fn set(&mut self, name: &str, value: f64) {
        self.values.retain(|(own, _)| own != name);
        self.values.push((name.to_owned(), value));
    }

    fn expand_utm(&mut self) {
        let zone = self.value("zone");
        let south = self.is("south");
        "tmerc".clone_into(&mut self.proj);
        self.flags.retain(|flag| flag != "south");
        self.values.clear();
        self.set("lon_0", zone * 6.0 - 183.0);
        self.set("k", 0.9996);
        self.set("x_0", 5e5);
        self.set("y_0", if south { 1e7 } else { 0.0 });
    }

    fn expand_ups(&mut self) {
        let south = self.is("south");
        "stere".clone_into(&mut self.proj);
        self.flags.retain(|flag| flag != "south");
        self.values.clear();
        self.set("lat_0", if south { -90.0 } else { 90.0 });
        self.set("k", 0.994);
        self.set("x_0", 2e6);
        self.set("y_0", 2e6);
    }
}

/// `+proj=tmerc +k=0.9996 +lon_0=15 +x_0=500000`.
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+proj={}", self.proj)?;
        for (name, value) in &self.values {
            write!(f, " +{name}={value}")?;
        }
        for flag in &self.flags {
            write!(f, " +{flag}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Params {
        Params::parse(text).unwrap()
    }

    #[test]
    fn spellings_of_one_projection_are_one() {
        let same = [
            ("+proj=utm +zone=33", "+proj=tmerc +lat_0=0 +lon_0=15 +k=0.9996 +x_0=500000 +y_0=0"),
            ("+proj=utm +zone=1 +south", "+proj=tmerc +lon_0=183 +k_0=0.9996 +x_0=5e5 +y_0=1e7"),
            (
                "+proj=lcc +lat_1=46.8 +k=0.99",
                "+proj=lcc +lat_1=46.8 +lat_2=46.8 +lat_0=46.8 +k_0=0.99",
            ),
            ("+proj=lcc +lat_1=44 +lat_2=49", "+proj=lcc +lat_1=49 +lat_2=44"),
            ("+proj=sinu +lon_0=0", "+proj=sinu"),
        ];
        for (a, b) in same {
            assert!(parse(a).same_as(&parse(b)), "{a} {b}");
        }
        assert!(!parse("+proj=sinu").same_as(&parse("+proj=moll")));
        assert!(!parse("+proj=sinu").same_as(&parse("+proj=sinu +lon_0=1e-9")));
        assert_eq!(
            parse("+proj=sinu +lon_0=3 +x_0=1.5").to_string(),
            "+proj=sinu +lon_0=3 +x_0=1.5"
        );
        assert_eq!(Params::parse("+proj=sinu +lon_0=x"), None);
    }
}
