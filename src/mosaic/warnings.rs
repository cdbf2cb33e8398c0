//! What is worth a word of a mosaic, though nothing is wrong with it.

use super::{Mosaic, NO_BOX};
use crate::geometry::Size;
use crate::mosaic::layer::{ALIGNED_PX, Mapping};
use crate::observer::Warning;

impl Mosaic {
    /// What the user should know before the run.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.off_grid();
        let guessed =
            self.reprojections.iter().filter(|r| r.shift.as_ref().is_some_and(|s| s.is_ballpark));
        warnings.extend(guessed.map(|reprojection| {
            Warning::Other(format!("reprojected without a datum operation: {reprojection}"))
        }));
        let warped =
            |id: usize| matches!(self.groups[self.places[id].group as usize].1, Mapping::Warped);
        let lost =
            self.warped_boxes.iter().enumerate().filter(|(id, b)| warped(*id) && **b == NO_BOX);
        if let Some((id, _)) = lost.clone().next() {
            warnings.push(Warning::Other(format!(
                "{} inputs lie outside of what {} can show and are left out, e.g. {}",
                lost.count(),
                self.grid.crs.as_ref().map_or_else(String::new, |crs| crs.to_string()),
                self.sources[id].path().display()
            )));
        }
        warnings
    }

    fn off_grid(&self) -> Vec<Warning> {
        let mut in_group = vec![0usize; self.groups.len()];
        for place in &self.places {
            in_group[place.group as usize] += 1;
        }
        // Sources of the grid's resolution that only the phase keeps from being copied.
        let fraction = |v: f64| (v - v.round()).abs();
        let (mut on_grid, mut off_grid, mut best, mut largest_px) = (0, 0, 0, 0.0f64);
        for ((_, mapping), count) in self.groups.iter().zip(in_group) {
            match *mapping {
                Mapping::Shift { .. } => on_grid += count,
                Mapping::Axis { scale, phase } if same_resolution(scale, self.grid.size) => {
                    off_grid += count;
                    best = best.max(count);
                    largest_px = largest_px.max(fraction(phase[0])).max(fraction(phase[1]));
                }
                _ => {}
            }
        }
        let sources = self.sources.len();
        if off_grid * 2 <= sources || best <= on_grid {
            return Vec::new();
        }
        vec![Warning::OffGrid { off_grid, sources, largest_px, best }]
    }
}

/// Whether a scale drifts by less than a copied source may over the whole grid.
fn same_resolution(scale: [f64; 2], size: Size) -> bool {
    let drift = |scale: f64, side: u32| (scale - 1.0).abs() * f64::from(side);
    drift(scale[0], size.width) <= ALIGNED_PX && drift(scale[1], size.height) <= ALIGNED_PX
}
