//! The tags that place a raster, and world files <-> [`GeoTransform`] (SPEC §3.3).

use std::path::{Path, PathBuf};

use crate::error::{FormatError, InputError, Result};
use crate::geometry::GeoTransform;

/// Values of the tags that place a raster; empty where a tag is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlacementTags<'a> {
    /// `ModelTransformationTag` (34264), 16 numbers by rows.
    pub transformation: &'a [f64],
    /// `ModelPixelScaleTag` (33550): x, y, z.
    pub pixel_scale: &'a [f64],
    /// `ModelTiepointTag` (33922): col, row, 0, x, y, z of each point.
    pub tiepoints: &'a [f64],
    /// Text of the world file, if there is one.
    pub world_file: Option<&'a str>,
    /// `GTRasterTypeGeoKey` is `PixelIsPoint`.
    pub pixel_is_point: bool,
}

/// The tags that place a raster, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Placement {
    /// North-up.
    ScaleAndTiepoint {
        /// `ModelPixelScaleTag` (33550).
        pixel_scale: [f64; 3],
        /// `ModelTiepointTag` (33922).
        tiepoint: [f64; 6],
    },
    /// Anything else: `ModelTransformationTag` (34264).
    Transformation([f64; 16]),
}

/// The geotransform that the tags give, in the order of SPEC §3.3. `PixelIsPoint` moves the
/// origin by half a pixel for the tags, not for a world file, which always gives a centre.
///
/// # Errors
/// [`InputError::GcpOnly`] for several tie points and no scale, [`InputError::NoGeoreference`] for
/// nothing usable, [`FormatError::Georeference`] for a singular matrix and nothing else,
/// [`FormatError::Text`] for a world file that does not parse.
pub fn geotransform(tags: &PlacementTags<'_>) -> Result<GeoTransform> {
    let half = if tags.pixel_is_point { -0.5 } else { 0.0 };
    let mut refused = None;
    if let [dx, rx, _, x0, ry, dy, _, y0, ..] = *tags.transformation
        && tags.transformation.len() == 16
    {
        match GeoTransform::new([x0, dx, rx, y0, ry, dy]) {
            Ok(transform) => return Ok(transform.shifted(half, half)),
            Err(error) => refused = Some(error),
        }
    }
    if let ([sx, sy, ..], [col, row, _, x, y, _, ..]) = (tags.pixel_scale, tags.tiepoints)
        && *sx != 0.0
        && *sy != 0.0
    {
        // GDAL takes a negative y scale for a slip of the writer: rows run south all the same.
        let (dx, dy) = (*sx, -sy.abs());
        let transform = GeoTransform::new([x - col * dx, dx, 0.0, y - row * dy, 0.0, dy])?;
        return Ok(transform.shifted(half, half));
    }
    if let Some(text) = tags.world_file {
        return parse_world_file(text);
    }
    if tags.tiepoints.len() >= 12 && tags.pixel_scale.is_empty() {
        return Err(InputError::GcpOnly.into());
    }
    Err(refused.unwrap_or_else(|| InputError::NoGeoreference.into()))
}

/// Reads the six lines of a world file: dx, ry, rx, dy, and x and y of the first pixel's centre.
///
/// # Errors
/// [`FormatError::Text`] if it is not six numbers, [`FormatError::Georeference`] if they are no
/// usable transform.
pub fn parse_world_file(text: &str) -> Result<GeoTransform> {
    let fail = |reason: String| FormatError::Text { what: "world file", reason };
    let mut numbers = [0.0; 6];
    let mut words = text.trim_start_matches('\u{feff}').split_whitespace();
    for (index, number) in numbers.iter_mut().enumerate() {
        let word = words.next().ok_or_else(|| fail(format!("{index} numbers, 6 needed")))?;
        // Some locales write a decimal comma.
        let parsed = word.replace(',', ".").parse::<f64>();
        let shown: String = word.chars().take(40).collect();
        *number = parsed.map_err(|_| fail(format!("{shown:?} is not a number")))?;
    }
    let [dx, ry, rx, dy, x, y] = numbers;
    Ok(GeoTransform::new([x, dx, rx, y, ry, dy])?.shifted(-0.5, -0.5))
}

/// Names that a raster's world file may have, likeliest first: `.tfw`, the raster's own extension
/// and `w`, `.tifw`, `.wld`, each in lower and upper case.
pub fn world_file_candidates(path: &Path) -> Vec<PathBuf> {
    let own = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let own = own.filter(|e| e.starts_with("tif")).map(|e| format!("{e}w"));
    let mut found: Vec<PathBuf> = Vec::new();
    for extension in ["tfw", own.as_deref().unwrap_or("tifw"), "tifw", "wld"] {
        for cased in [extension.to_owned(), extension.to_ascii_uppercase()] {
            let candidate = path.with_extension(cased);
            if candidate != path && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    found
}

/// The tags that place a raster so that readers find this geotransform again.
pub fn placement_of(transform: &GeoTransform, pixel_is_point: bool) -> Placement {
    let half = if pixel_is_point { 0.5 } else { 0.0 };
    let [x0, dx, rx, y0, ry, dy] = transform.shifted(half, half).coefficients();
    if transform.is_north_up() {
        return Placement::ScaleAndTiepoint {
            pixel_scale: [dx, -dy, 0.0],
            tiepoint: [0.0, 0.0, 0.0, x0, y0, 0.0],
        };
    }
    Placement::Transformation([
        dx, rx, 0.0, x0, ry, dy, 0.0, y0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(tags: PlacementTags<'_>) -> Result<[f64; 6]> {
        geotransform(&tags).map(|transform| transform.coefficients())
    }

    /// Expected values: rasterio 1.4.4 with GDAL 3.10.3 on files with these tags.
    #[test]
    fn placement_agrees_with_gdal() {
        let scale = [2.0, 3.0, 0.0];
        let tie = [0.0, 0.0, 0.0, 100.0, 200.0, 0.0];
        let tags = PlacementTags { pixel_scale: &scale, tiepoints: &tie, ..Default::default() };
        let area = [100.0, 2.0, 0.0, 200.0, 0.0, -3.0];
        assert_eq!(placed(tags).unwrap(), area);
        let point = PlacementTags { pixel_is_point: true, ..tags };
        assert_eq!(placed(point).unwrap(), [99.0, 2.0, 0.0, 201.5, 0.0, -3.0]);
        let down = PlacementTags { pixel_scale: &[2.0, -3.0, 0.0], ..tags };
        assert_eq!(placed(down).unwrap(), area);
        let mirrored = PlacementTags { pixel_scale: &[-2.0, 3.0], ..tags };
        assert_eq!(placed(mirrored).unwrap(), [100.0, -2.0, 0.0, 200.0, 0.0, -3.0]);
        let two = [1.0, 1.0, 0.0, 100.0, 200.0, 0.0, 4.0, 4.0, 0.0, 108.0, 188.0, 0.0];
        let first = PlacementTags { tiepoints: &two, ..tags };
        assert_eq!(placed(first).unwrap(), [98.0, 2.0, 0.0, 203.0, 0.0, -3.0]);
        let mut matrix = [0.0; 16];
        let zeros = PlacementTags { transformation: &matrix, ..tags };
        assert_eq!(placed(zeros).unwrap(), area);
        matrix[..8].copy_from_slice(&[2.0, 0.5, 0.0, 100.0, 0.25, -3.0, 0.0, 200.0]);
        let matrix =
            PlacementTags { transformation: &matrix, pixel_is_point: true, ..Default::default() };
        assert_eq!(placed(matrix).unwrap(), [98.75, 2.0, 0.5, 201.375, 0.25, -3.0]);
        let world = Some("2\n0\n0\n-2\n1000\n2000\n");
        let world = PlacementTags { world_file: world, pixel_is_point: true, ..Default::default() };
        assert_eq!(placed(world).unwrap(), [999.0, 2.0, 0.0, 2001.0, 0.0, -2.0]);
        let world = PlacementTags { tiepoints: &two, ..world };
        assert_eq!(placed(world).unwrap(), [999.0, 2.0, 0.0, 2001.0, 0.0, -2.0]);
    }

    #[test]
    fn what_cannot_be_placed_is_named() {
        let kind = |tags: PlacementTags<'_>| placed(tags).unwrap_err().to_string();
        let none = PlacementTags::default();
        assert!(kind(none).starts_with("no georeferencing"));
        let points = [0.0; 24];
        assert!(kind(PlacementTags { tiepoints: &points, ..none }).contains("control points"));
        let short = PlacementTags { transformation: &points[..12], ..none };
        assert!(kind(short).starts_with("no georeferencing"));
        let singular = PlacementTags { transformation: &points[..16], ..none };
        assert!(kind(singular).contains("no area"));
        let infinite = PlacementTags { transformation: &[f64::INFINITY; 16], ..none };
        assert!(kind(infinite).contains("not finite"));
        assert!(kind(PlacementTags { world_file: Some("1 2 x"), ..none }).contains("world file"));
        assert!(kind(PlacementTags { world_file: Some("1 2"), ..none }).contains("6 needed"));
    }

    #[test]
    fn written_placement_reads_back() {
        let transforms = [
            [500000.0, 10.0, 0.0, 4.2e6, 0.0, -10.0],
            [10.0, 1.0 / 3600.0, 0.0, 50.0, 0.0, 1.0 / 3600.0],
            [1.0, -2.0, 0.25, 3.0, 0.125, -4.0],
        ];
        for coefficients in transforms {
            for pixel_is_point in [false, true] {
                let transform = GeoTransform::new(coefficients).unwrap();
                let written = placement_of(&transform, pixel_is_point);
                let mut tags = PlacementTags { pixel_is_point, ..Default::default() };
                match &written {
                    Placement::ScaleAndTiepoint { pixel_scale, tiepoint } => {
                        (tags.pixel_scale, tags.tiepoints) = (pixel_scale, tiepoint);
                    }
                    Placement::Transformation(matrix) => tags.transformation = matrix,
                }
                // Half a pixel forth and back may round once.
                for (a, b) in placed(tags).unwrap().iter().zip(coefficients) {
                    assert!((a - b).abs() <= b.abs() * f64::EPSILON, "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn world_files_lie_beside_the_raster() {
        let names = |path: &str| {
            let paths = world_file_candidates(Path::new(path));
            paths.iter().map(|p| p.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let tif = ["d/a.tfw", "d/a.TFW", "d/a.tifw", "d/a.TIFW", "d/a.wld", "d/a.WLD"];
        assert_eq!(names("d/a.tif"), tif);
        assert!(names("a.TIFF").contains(&"a.tiffw".to_owned()));
        assert_eq!(names("a.b").len(), 6);
    }
}
