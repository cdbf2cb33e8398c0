//! The virtual mosaic: a grid, its bands, and sources placed on it. No pixels.

pub mod agree;
pub(crate) mod bands;
pub mod coverage;
pub mod describe;
pub mod facts;
pub mod index;
pub mod layer;
pub mod plan;
pub mod reproject;
mod stack;
pub mod target;
mod validity;
pub mod vrt_out;
mod warnings;

pub use bands::opaque_alpha;

use std::sync::Arc;

use crate::crs::transform::Transformer;
use crate::error::{Error, InputError, Result};
use crate::geometry::{Bounds, GeoTransform, Size, Window};
use crate::grid::Grid;
use crate::mosaic::facts::BandFacts;
use crate::mosaic::index::FootprintIndex;
use crate::mosaic::layer::{Layer, Mapping, Placement};
use crate::mosaic::reproject::{Candidate, Placing, ReprojectOptions, Reprojection};
use crate::mosaic::stack::Stack;
use crate::mosaic::target::TargetOptions;
use crate::mosaic::validity::{nodata_mode, output_nodata, source_nodata, validity_output};
use crate::resample::Kernel;
use crate::sample::{DataType, Nodata};
use crate::source::Source;
use crate::warp::footprint;
use crate::warp::{Warp, WarpScratch};

/// Which of several valid samples of a pixel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// The later source lies on top, as in GDAL's VRT.
    #[default]
    Last,
    /// The earlier source lies on top.
    First,
    /// The least valid sample.
    Min,
    /// The largest valid sample.
    Max,
    /// The mean of the valid samples.
    Mean,
    /// The median of the valid samples; of an even number the mean of the middle two.
    Median,
    /// The sum of the valid samples.
    Sum,
    /// The number of valid samples.
    Count,
    /// The mean, weighted by the Euclidean distance from a pixel's centre to the edge of its source's
    /// valid data, up to this many pixels of the source.
    Feather(u32),
}

impl Overlap {
    /// Whether one source's sample is taken, by its place in the order.
    pub fn is_by_order(self) -> bool {
        matches!(self, Overlap::Last | Overlap::First)
    }

    /// Whether samples are added up, so that their type is not that of the result.
    pub fn accumulates(self) -> bool {
        !self.is_by_order() && !matches!(self, Overlap::Min | Overlap::Max)
    }
}

/// When nodata in the bands of a pixel makes it invalid (SPEC §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodataMode {
    /// Each band by itself.
    Band,
    /// Where all bands but alpha are nodata.
    All,
    /// Where any band but alpha is nodata.
    Any,
}

/// How the output says which pixels are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValidityOutput {
    /// By the nodata value, if there is one.
    Nodata,
    /// By an internal mask.
    Mask,
    /// By an alpha band after the sources' bands.
    Alpha,
}

/// What a mosaic is made of, besides its sources.
#[derive(Debug, Clone, Default)]
pub struct MosaicOptions {
    /// The grid; ignored if `like` is given.
    pub target: TargetOptions,
    /// Take this grid.
    pub like: Option<Grid>,
    /// Which source counts where several are valid.
    pub overlap: Overlap,
    /// Nodata of all sources instead of their own: one value, or one for each band; empty for none.
    pub src_nodata: Option<Vec<Nodata>>,
    /// Output nodata; the first source's without it.
    pub nodata: Option<Nodata>,
    /// When nodata makes a pixel invalid; by the kind of picture without it.
    pub nodata_mode: Option<NodataMode>,
    /// Output type; the smallest that holds all sources without it.
    pub dtype: Option<DataType>,
    /// Write validity as an alpha band.
    pub alpha: bool,
    /// Write validity as an internal mask.
    pub mask: bool,
    /// How sources off the grid are resampled.
    pub kernel: Kernel,
    /// Least share of a pixel's area that must be valid for area kernels, 0 to 1.
    pub valid_fraction: f64,
    /// These bands of each source, from 0, in this order; all as they are without them.
    pub bands: Option<Vec<u32>>,
    /// Each source makes bands of its own: those of `bands`, else its first.
    pub separate: bool,
    /// Indices of palettes become their colours: red, green and blue.
    pub expand_palette: bool,
    /// Scale and offset of the files are applied to their samples.
    pub unscale: bool,
    /// The CRS, and how sources are brought to it.
    pub reproject: ReprojectOptions,
}

/// A virtual mosaic. A value: cheap to print and to query; holds headers only.
#[derive(Debug, Clone)]
pub struct Mosaic {
    /// The output grid.
    pub grid: Grid,
    /// Output type.
    pub dtype: DataType,
    /// Bands of the sources.
    pub bands: u32,
    /// Output nodata.
    pub nodata: Option<Nodata>,
    /// When nodata makes a pixel invalid.
    pub nodata_mode: NodataMode,
    /// How the output says which pixels are valid.
    pub validity: ValidityOutput,
    /// The smallest type that holds the samples of all sources.
    pub source_dtype: DataType,
    /// Which source counts where several are valid.
    pub overlap: Overlap,
    /// How sources off the grid are resampled.
    pub kernel: Kernel,
    /// Least share of a pixel's area that must be valid for area kernels.
    pub valid_fraction: f64,
    /// Colour, descriptions, scale and the like, as far as the sources agree.
    pub facts: BandFacts,
    /// Results that are computed may be too large for the type that was asked for, so they are watched.
    pub(crate) may_saturate: bool,
    /// Sources, bottom to top in input order.
    sources: Vec<Source>,
    /// Reference grids of the co-registered groups, with their mapping.
    groups: Vec<(GeoTransform, Mapping)>,
    places: Vec<Placement>,
    index: FootprintIndex,
    /// Boxes of all sources in grid pixels, where some are warped.
    warped_boxes: Vec<[f64; 4]>,
    /// Of the co-registered groups that are in another CRS.
    warps: Vec<Option<Arc<Warp>>>,
    reprojections: Vec<Reprojection>,
    pub(crate) warp_error_px: f64,
    /// Where layers are composited before they are resampled.
    stack: Option<Stack>,
}

impl Mosaic {
    /// Places sources, in z-order, on a common grid.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Input`] if the sources disagree in what must be common, or the
    /// options cannot be met.
    #[expect(clippy::too_many_lines, reason = "each step needs what the ones before decided")]
    pub fn new(mut sources: Vec<Source>, options: &MosaicOptions) -> Result<Mosaic> {
        bands::arrange(&mut sources, options)?;
        let own_bounds = reproject::own_bounds(&sources, options)?;
        let options = own_bounds.as_ref().unwrap_or(options);
        let placing = reproject::place(&sources, options)?;
        let seen = placing.seen();
        let Placing { crs, references, places, foreign, candidates, .. } = placing;
        let facts = BandFacts::merge(&sources, options)?;
        agree::check_computed(&sources, &facts, options)?;
        let bands = sources.first().map_or(0, Source::bands);
        if let Some(values) = &options.src_nodata {
            let nodata = source_nodata(values, bands, facts.alpha_band.is_some())?;
            for source in &mut sources {
                source.nodata = nodata.clone();
            }
        }
        let source_dtype =
            agree::data_type(&sources).or_else(|error| options.dtype.ok_or(error))?;
        let dtype = agree::output_type(source_dtype, sources.len(), options)?;
        let validity = validity_output(&sources, options, &facts);
        // A mask or alpha says which pixels are valid instead of nodata, unless both are asked for.
        let by_value = validity == ValidityOutput::Nodata || options.nodata.is_some();
        let nodata = if by_value { output_nodata(&sources, options, dtype)? } else { None };
        let nodata_mode = nodata_mode(&facts, options, source_dtype)?;
        let (transform, size) = match &options.like {
            Some(grid) => (grid.transform, grid.size),
            None => {
                let largest = largest_group(&references, &places);
                target::target_grid(&seen, &options.target, &references[largest])?
            }
        };
        if options.like.is_some() {
            check_like(&seen, &transform, size)?;
        }
        let reprojections = reprojections(&sources, &places, &foreign);
        let warps = Placing::warps(foreign, &references, &transform, options.reproject.error_px);
        let mapping = |(reference, warp): (&GeoTransform, &Option<Arc<Warp>>)| match warp {
            Some(_) => Mapping::Warped,
            None => Mapping::new(&transform, size, reference),
        };
        let groups: Vec<(GeoTransform, Mapping)> =
            references.iter().zip(&warps).map(|both| (*both.0, mapping(both))).collect();
        let boxes: Vec<[f64; 4]> = (0..sources.len())
            .map(|id| {
                let (place, size) = (places[id], sources[id].size());
                match groups[place.group as usize].1 {
                    Mapping::Warped => warped_box(candidates[id], &transform),
                    mapping => mapping.grid_box(place.col, place.row, size),
                }
            })
            .collect();
        let index = FootprintIndex::new(boxes.iter().copied());
        let is_warped = warps.iter().any(Option::is_some);
        let mut mosaic = Mosaic {
            grid: Grid { crs, transform, size },
            dtype,
            source_dtype,
            bands,
            nodata,
            nodata_mode,
            validity,
            overlap: options.overlap,
            kernel: options.kernel,
            valid_fraction: options.valid_fraction,
            facts,
            may_saturate: options.dtype.is_some()
                && (options.overlap.accumulates() || options.kernel == Kernel::Sum),
            sources,
            groups,
            places,
            index,
            warped_boxes: if is_warped { boxes } else { Vec::new() },
            warps,
            reprojections,
            warp_error_px: options.reproject.error_px,
            stack: None,
        };
        mosaic.check_median()?;
        if !mosaic.overlap.is_by_order() || mosaic.kernel != Kernel::Nearest || is_warped {
            mosaic.stack = Some(Stack::new(&mosaic));
        }
        Ok(mosaic)
    }

    /// A median needs all samples of a pixel, so they must be of one grid (SPEC §5.1).
    fn check_median(&self) -> Result<()> {
        if self.overlap != Overlap::Median || self.groups.len() < 2 {
            return Ok(());
        }
        let reason = format!(
            "median needs sources of one grid, and these are of {}; bring them to one with another \
             run (--res, --align), or take mean",
            self.groups.len()
        );
        Err(InputError::Option { option: "--overlap", reason }.into())
    }

    /// How sources of other CRSs are brought to the mosaic's, for people.
    pub fn reprojections(&self) -> &[Reprojection] {
        &self.reprojections
    }

    /// Sources, bottom to top in input order.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Bands of the output: those of the sources, and an alpha band if one is written.
    pub fn output_bands(&self) -> u32 {
        self.bands + u32::from(self.validity == ValidityOutput::Alpha)
    }

    /// Numbers of the sources that may have pixels in a window, the one that counts most first.
    pub fn hits(&self, window: Window, found: &mut Vec<u32>) {
        self.index.hits(window, found);
        if self.overlap == Overlap::Last {
            found.reverse();
        }
    }

    /// From grid pixels to the reference grid of a source's group, and the source's place in that.
    pub fn placement(&self, source: u32) -> (Mapping, Placement) {
        let place = self.places[source as usize];
        (self.groups[place.group as usize].1, place)
    }

    /// Where the centre of a pixel of the grid lies in a source, in pixels of its window, as the run takes it;
    /// NaN where it does not map.
    pub fn position(&self, source: u32, col: u32, row: u32) -> [f64; 2] {
        let (mapping, place) = self.placement(source);
        let [u, v] = match &self.warps[place.group as usize] {
            None => mapping.center(col, row),
            Some(warp) => {
                let (mut scratch, mut places) = (WarpScratch::default(), Vec::new());
                warp.map_row(0, row, col..col + 1, &mut scratch, &mut places);
                places.first().map_or([f64::NAN; 2], |place| [place.u, place.v])
            }
        };
        [u - place.col as f64, v - place.row as f64]
    }

    /// From a source's CRS to that of the mosaic, as the run takes it; `None` where they are one.
    pub fn transformer(&self, source: u32) -> Option<&Transformer> {
        let group = self.places[source as usize].group;
        self.warps[group as usize].as_ref().map(|warp| warp.transformer())
    }

    /// The grid pixels whose centre may lie in a source, cut to `within`; exact where it is copied.
    pub fn source_window(&self, source: u32, within: Window) -> Option<Window> {
        let (mapping, place) = self.placement(source);
        if matches!(mapping, Mapping::Warped) {
            let [left, top, right, bottom] = self.grid_box(source);
            let (low, high) = (|v: f64| v.floor() as i64, |v: f64| v.ceil() as i64);
            return Window::from_corners(low(left), low(top), high(right), high(bottom))?
                .intersection(within);
        }
        let size = self.sources[source as usize].size();
        mapping.grid_window(place.col, place.row, size, within)
    }

    /// The layers, bottom to top (SPEC §2). Costs a query of the index for each source where there is
    /// more than one co-registered group.
    pub fn layers(&self) -> Vec<Layer> {
        self.stack_layers()
            .into_iter()
            .map(|(group, sources)| {
                let (reference, mapping) = self.groups[group as usize];
                Layer { reference, mapping, sources }
            })
            .collect()
    }

    /// Groups and sources of the layers, bottom to top.
    fn stack_layers(&self) -> Vec<(u32, Vec<u32>)> {
        let groups: Vec<u32> = self.places.iter().map(|place| place.group).collect();
        let mut above = vec![Vec::new(); self.sources.len()];
        if self.groups.len() > 1 {
            let mut found = Vec::new();
            for (id, list) in above.iter_mut().enumerate() {
                self.index.hits_in(self.grid_box(id as u32), &mut found);
                *list = found.iter().copied().filter(|other| *other as usize > id).collect();
            }
        }
        layer::stack(&groups, &above)
    }

    /// CRSs of the sources that are written in several ways and mean one: the number of ways.
    pub fn spellings(&self) -> usize {
        let mut seen: Vec<&Arc<crate::crs::Crs>> = Vec::new();
        for crs in self.sources.iter().filter_map(|source| source.dataset.crs.as_ref()) {
            // Equal keys share one `Arc`, so few are compared.
            if !seen.iter().any(|other| Arc::ptr_eq(other, crs) || ***other == **crs) {
                seen.push(crs);
            }
        }
        let own = self.grid.crs.as_ref();
        seen.iter().filter(|crs| own.is_some_and(|own| own.same_horizontal(crs))).count()
    }
}

/// The group of most sources; the first of equals.
fn largest_group(references: &[GeoTransform], places: &[Placement]) -> usize {
    let mut count = vec![0usize; references.len()];
    for place in places {
        count[place.group as usize] += 1;
    }
    (0..count.len()).rev().max_by_key(|group| count[*group]).unwrap_or(0)
}

fn check_like(candidates: &[Candidate], transform: &GeoTransform, size: Size) -> Result<()> {
    let bounds = transform.bounds(size);
    if candidates.iter().any(|candidate| candidate.bounds.overlaps(bounds)) {
        return Ok(());
    }
    let union = candidates.iter().map(|candidate| candidate.bounds).reduce(Bounds::union);
    let text = |b: Bounds| format!("{}, {}, {}, {}", b.min_x, b.min_y, b.max_x, b.max_y);
    let covered = union.map_or_else(String::new, text);
    let reason =
        format!("the grid of --like, {}, touches no source; they cover {covered}", text(bounds));
    Err(InputError::Extent(reason).into())
}

/// A box that no window meets.
const NO_BOX: [f64; 4] = [-2.0, -2.0, -1.0, -1.0];

/// The box of a warped source in grid pixels; one that no window meets where it does not map.
fn warped_box(candidate: Option<Candidate>, grid: &GeoTransform) -> [f64; 4] {
    let Some(candidate) = candidate else { return NO_BOX };
    let bounds = footprint::grown(candidate.bounds);
    let [left, top] = grid.invert(bounds.min_x, bounds.max_y);
    let [right, bottom] = grid.invert(bounds.max_x, bounds.min_y);
    [left - 1.0, top - 1.0, right + 1.0, bottom + 1.0]
}

/// What is said of each group of another CRS.
fn reprojections(
    sources: &[Source],
    places: &[Placement],
    foreign: &[Option<reproject::Foreign>],
) -> Vec<Reprojection> {
    let mut all: Vec<Reprojection> = Vec::new();
    for (group, foreign) in foreign.iter().enumerate() {
        let Some(foreign) = foreign else { continue };
        let count = places[..sources.len()].iter().filter(|p| p.group as usize == group).count();
        let own = foreign.describe(count);
        let same = |other: &&mut Reprojection| other.from == own.from && other.shift == own.shift;
        match all.iter_mut().find(same) {
            Some(other) => other.sources += count,
            None => all.push(own),
        }
    }
    all
}

/// Places sources on the right side of the antimeridian (SPEC §4.6); only x origins move, by 360°.
/// With an extent that is `wanted` each source goes where it covers most of it; else those that cross
/// 180° go where the union with the others is smallest.
fn unwrap_antimeridian(rasters: &mut [(GeoTransform, Size)], wanted: Option<Bounds>) -> Result<()> {
    let bounds = |raster: &(GeoTransform, Size)| raster.0.bounds(raster.1);
    let inside = |b: Bounds, x: f64| b.min_x < x - 1e-9 && b.max_x > x + 1e-9;
    let crosses = |b: Bounds| inside(b, 180.0) || inside(b, -180.0);
    let fixed = rasters.iter().map(bounds).filter(|b| !crosses(*b)).reduce(Bounds::union);
    let Some(fixed) = wanted.or(fixed) else { return Ok(()) };
    for raster in rasters.iter_mut() {
        let own = bounds(raster);
        if wanted.is_none() && !crosses(own) {
            continue;
        }
        let cost = |shift: f64| {
            let moved = Bounds { min_x: own.min_x + shift, max_x: own.max_x + shift, ..own };
            match wanted {
                Some(wanted) => moved.min_x.max(wanted.min_x) - moved.max_x.min(wanted.max_x),
                None => fixed.union(moved).width(),
            }
        };
        // What is better by float noise only is not better.
        let better =
            |best: f64, shift: f64| if cost(shift) < cost(best) - 1e-9 { shift } else { best };
        let shift = [-360.0, 360.0].into_iter().fold(0.0, better);
        let mut coefficients = raster.0.coefficients();
        coefficients[0] += shift;
        raster.0 = GeoTransform::new(coefficients)?;
    }
    Ok(())
}

/// An error that names what two sources disagree in.
pub(crate) fn mismatch(
    what: &'static str,
    first: impl std::fmt::Display,
    other: impl std::fmt::Display,
    source: &Source,
    hint: &'static str,
) -> Error {
    InputError::Mismatch {
        what,
        first: first.to_string(),
        other: format!("{other} ({})", source.path().display()),
        hint,
    }
    .into()
}
