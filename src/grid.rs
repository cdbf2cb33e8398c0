//! [`Grid`]: a CRS, a geotransform and a size as one value.

use std::sync::Arc;

use crate::crs::Crs;
use crate::geometry::{Bounds, GeoTransform, Size};

/// Where a raster's pixels lie on Earth. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Coordinate reference system, where there is one.
    pub crs: Option<Arc<Crs>>,
    /// Pixel corners to world.
    pub transform: GeoTransform,
    /// Width and height in pixels.
    pub size: Size,
}

impl Grid {
    /// Bounding box in world units.
    pub fn bounds(&self) -> Bounds {
        self.transform.bounds(self.size)
    }
}
