//! Opening a GeoTIFF: headers into an immutable [`Dataset`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crs::Crs;
use crate::error::{Error, InputError, Place, Result, ResultExt};
use crate::geometry::{GeoTransform, Size};
use crate::io::ReadAt;
use crate::raster::AnyRaster;
use crate::sample::{DataType, Nodata};
pub(crate) use crate::tiff::decode::raster_bytes;
pub use crate::tiff::decode::{BlockId, Scratch, Stored, blocks_of, fetch};
use crate::tiff::format::Packing;
use crate::tiff::gdal_metadata::GdalMetadata;
use crate::tiff::geokeys::{self, PlacementTags};
use crate::tiff::ifd::{HeaderReader, Ifd};
use crate::tiff::images::{self, Images};
use crate::tiff::layout::Layout;
use crate::tiff::{FileOf, aux_xml, nodata as nodata_text, tag};

/// What the samples of an image mean, as far as a mosaic must know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Color {
    /// PhotometricInterpretation (TIFF 6.0).
    pub photometric: u16,
    /// Values of ExtraSamples, one for each band beyond the colour bands.
    pub extra_samples: Vec<u16>,
    /// ColorMap: all reds, then greens, then blues; 16 bits each.
    pub palette: Option<Arc<Vec<u16>>>,
}

impl Color {
    /// Band index of the first alpha band: ExtraSamples 1 (premultiplied) or 2.
    pub fn alpha_band(&self, bands: u32) -> Option<u32> {
        let extra = u32::try_from(self.extra_samples.len()).ok()?;
        let index = self.extra_samples.iter().position(|v| matches!(v, 1 | 2))?;
        bands.checked_sub(extra)?.checked_add(index as u32).filter(|band| *band < bands)
    }
}

/// Facts that many sources of a mosaic share, so that each holds only a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// Photometric interpretation, extra samples, palette.
    pub color: Color,
    /// Band descriptions, units, scale and offset, roles, and other items; no statistics.
    pub metadata: GdalMetadata,
}

/// One opened GeoTIFF: everything its headers say. Immutable, `Send + Sync`; holds no file handle.
///
/// The block tables of large images stay in the file and are read by pages.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Path as given.
    pub path: PathBuf,
    /// Length of the file in bytes when it was opened.
    pub file_len: u64,
    /// Blocks of the full-resolution image.
    pub image: Layout,
    /// Blocks of the internal mask, where there is one.
    pub mask: Option<Box<Layout>>,
    /// Pixel corners to world; where [`Dataset::unplaced`], columns and rows, with rows growing down.
    pub transform: GeoTransform,
    /// Why there is no georeferencing, if there is none. Such a raster has pixels and no place.
    pub unplaced: Option<Box<InputError>>,
    /// `GTRasterTypeGeoKey` is PixelIsPoint. The transform is corner-based all the same.
    pub pixel_is_point: bool,
    /// Coordinate reference system, where the file names one.
    pub crs: Option<Arc<Crs>>,
    /// `GDAL_NODATA`, for all bands; else that of an `.aux.xml` that gives all bands the same.
    pub nodata: Option<Nodata>,
    /// Nodata by band, where an `.aux.xml` has different ones.
    pub band_nodata: Option<Arc<[Option<Nodata>]>>,
    /// Colour and metadata.
    pub shared: Arc<Shared>,
    /// Overviews, internal ones or those of an `.ovr` beside, in the order of the file.
    pub overviews: Box<[Overview]>,
    /// What was odd in the headers and has been read in the likeliest way.
    pub oddities: Box<[String]>,
    /// `DateTime` (tag 306), which names no time zone, as seconds since 1970.
    pub date_time: Option<i64>,
}

/// A reduced version of the image.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Its pixels.
    pub size: Size,
    /// Its blocks and those of its mask: only where [`ReadOptions::overviews`] asked for them.
    pub layouts: Option<Box<OverviewLayouts>>,
}

/// The blocks of an overview.
#[derive(Debug, Clone)]
pub struct OverviewLayouts {
    /// Blocks of the reduced image.
    pub image: Layout,
    /// Blocks of its mask; `None` where the raster has none.
    pub mask: Option<Layout>,
}

/// What is read of a file's headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// Read the block tables of overviews too, so that their blocks can be asked for. They take memory
    /// and time that a mosaic at full resolution has no use for.
    pub overviews: bool,
}

/// Files beside a raster, which [`Dataset::open`] asks for where it has a use for them. `()` has none.
pub trait Beside {
    /// Text of the world file.
    ///
    /// # Errors
    /// I/O errors, but for one that is not there.
    fn world_file(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Text of `NAME.aux.xml`, where GDAL keeps what the file itself does not say.
    ///
    /// # Errors
    /// I/O errors, but for one that is not there.
    fn aux_xml(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// `NAME.ovr` or `NAME.msk`.
    ///
    /// # Errors
    /// I/O errors, but for one that is not there.
    fn open(&self, file: FileOf) -> Result<Option<Box<dyn ReadAt>>> {
        let _ = file;
        Ok(None)
    }
}

impl Beside for () {}

impl Dataset {
    /// Reads the headers of a file. No pixel is read.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Format`] if the file breaks TIFF or is truncated,
    /// [`crate::error::ErrorKind::Unsupported`] if it uses what we do not read. That it has no
    /// georeferencing is no error here; [`Dataset::unplaced`] says so.
    pub fn open(path: &Path, source: &dyn ReadAt, beside: &dyn Beside) -> Result<Dataset> {
        Dataset::open_with(path, source, beside, ReadOptions::default())
    }

    /// As [`Dataset::open`], with a choice of what is read.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_with(
        path: &Path,
        source: &dyn ReadAt,
        beside: &dyn Beside,
        options: ReadOptions,
    ) -> Result<Dataset> {
        Dataset::read(path, source, beside, options).at(path)
    }

    fn read(
        path: &Path,
        source: &dyn ReadAt,
        beside: &dyn Beside,
        options: ReadOptions,
    ) -> Result<Dataset> {
        let (reader, first) = HeaderReader::open(source)?;
        let (directories, odd) = reader.directories(first)?;
        let ifd = &directories[0];
        let (image, odd_tables) =
            Layout::read_told(&reader, ifd, FileOf::Main).in_place(Place::Ifd(0))?;
        let mut oddities: Vec<String> = odd.into_iter().chain(odd_tables).collect();
        let Images { mask, overviews, odd } =
            images::linked(&reader, &directories, &image, beside, options)?;
        oddities.extend(odd);
        let keys = geokeys(&reader, ifd, &mut oddities)?;
        let nodata = nodata(&reader, ifd, image.dtype, &mut oddities);
        let aux = match beside.aux_xml()?.map(|text| aux_xml::parse(&text)) {
            Some(Ok(aux)) => aux,
            Some(Err(error)) => {
                oddities.push(format!("its .aux.xml is left out: {error}"));
                aux_xml::AuxXml::default()
            }
            None => aux_xml::AuxXml::default(),
        };
        let (transform, unplaced) = placement(&reader, ifd, &keys, beside, &aux, &mut oddities)?;
        let crs = match (keys.crs, &aux.wkt) {
            (None, Some(wkt)) => aux_crs(wkt, &mut oddities),
            (crs, _) => crs,
        };
        let (nodata, band_nodata) = match nodata {
            Some(value) => (Some(value), None),
            None => aux.nodata_of(image.bands, image.dtype),
        };
        Ok(Dataset {
            path: path.to_path_buf(),
            file_len: reader.file_len(),
            shared: Arc::new(Shared {
                color: color(&reader, ifd, &image, &aux, &mut oddities),
                metadata: metadata(&reader, ifd, (&aux, image.bands), &mut oddities),
            }),
            image,
            mask,
            transform,
            unplaced,
            pixel_is_point: keys.pixel_is_point,
            crs: crs.map(Arc::new),
            nodata,
            band_nodata,
            overviews,
            // A broken date is no date: nothing but an order depends on it.
            date_time: reader.text(ifd, 306).ok().flatten().as_deref().and_then(tag::seconds_of),
            oddities: oddities.into(),
        })
    }

    /// Band index of the alpha band, if there is one.
    pub fn alpha_band(&self) -> Option<u32> {
        self.shared.color.alpha_band(self.image.bands)
    }

    /// Reads and decodes one access block, without any cache: `source` is the file that was opened.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Format`] if its bytes are broken; I/O errors. Both name the file.
    pub fn read_block(
        &self,
        source: &dyn ReadAt,
        part: Part,
        block: BlockId,
        scratch: &mut Scratch,
    ) -> Result<AnyRaster> {
        let Some(layout) = self.layout(part) else {
            return Err(Error::unsupported("a mask where there is none", "ask for the image"));
        };
        let fill = if part.is_image() { self.fill(block.plane) } else { None };
        layout.read_block(source, block, fill, scratch).at(&self.path)
    }

    /// What blocks hold that are not stored: nodata, where the raster has one for them.
    pub(crate) fn fill(&self, plane: u32) -> Option<Nodata> {
        let own = self.band_nodata.as_ref().and_then(|bands| bands.get(plane as usize));
        self.nodata.or(own.copied().flatten())
    }

    /// The layout of a part; `None` where there is no such mask or overview, or its headers were not
    /// asked for.
    pub fn layout(&self, part: Part) -> Option<&Layout> {
        let overview = |index: u16| self.overviews.get(usize::from(index))?.layouts.as_deref();
        match part {
            Part::Image => Some(&self.image),
            Part::Mask => self.mask.as_deref(),
            Part::Overview(index) => overview(index).map(|layouts| &layouts.image),
            Part::OverviewMask(index) => overview(index)?.mask.as_ref(),
        }
    }

    /// Fails if the raster has no place in the world.
    ///
    /// # Errors
    /// [`InputError::NoGeoreference`] or [`InputError::GcpOnly`], with the path.
    pub fn check_placed(&self) -> Result<()> {
        match &self.unplaced {
            Some(error) => Err(Error::new((**error).clone()).with_path(&self.path)),
            None => Ok(()),
        }
    }
}

/// Which image of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The full-resolution image.
    Image,
    /// Its mask, internal or in an `.msk` beside.
    Mask,
    /// An overview, by its index in [`Dataset::overviews`].
    Overview(u16),
    /// The mask of an overview.
    OverviewMask(u16),
}

impl Part {
    /// Whether it holds samples, and not their validity.
    pub fn is_image(self) -> bool {
        matches!(self, Part::Image | Part::Overview(_))
    }
}

/// The geotransform, and why there is none.
fn placement(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    keys: &geokeys::GeoKeys,
    beside: &dyn Beside,
    aux: &aux_xml::AuxXml,
    oddities: &mut Vec<String>,
) -> Result<(GeoTransform, Option<Box<InputError>>)> {
    let mut floats = |tag: u16| -> Vec<f64> {
        let Some(entry) = ifd.entry(tag) else { return Vec::new() };
        reader.floats(entry).unwrap_or_else(|error| {
            oddities.push(format!("left out: {error}"));
            Vec::new()
        })
    };
    let (transformation, pixel_scale, tiepoints) = (
        floats(tag::MODEL_TRANSFORMATION),
        floats(tag::MODEL_PIXEL_SCALE),
        floats(tag::MODEL_TIEPOINT),
    );
    let tagged = !transformation.is_empty() || !(pixel_scale.is_empty() || tiepoints.is_empty());
    if let (false, Some(Ok(transform))) = (tagged, aux.transform.map(GeoTransform::new)) {
        return Ok((transform, None));
    }
    let world_file = if tagged { None } else { beside.world_file()? };
    let found = geokeys::geotransform(&PlacementTags {
        transformation: &transformation,
        pixel_scale: &pixel_scale,
        tiepoints: &tiepoints,
        world_file: world_file.as_deref(),
        pixel_is_point: keys.pixel_is_point,
    });
    let error = match found {
        Ok(transform) => return Ok((transform, None)),
        Err(error) => error,
    };
    if let Some(Ok(transform)) = aux.transform.map(GeoTransform::new) {
        return Ok((transform, None));
    }
    let reason = match error.kind() {
        crate::error::ErrorKind::Input(reason) => reason.clone(),
        _ => return Err(error),
    };
    let pixels = GeoTransform::new([0.0, 1.0, 0.0, 0.0, 0.0, 1.0])?;
    Ok((pixels, Some(Box::new(reason))))
}

/// `GDAL_NODATA`.
fn nodata(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    dtype: DataType,
    oddities: &mut Vec<String>,
) -> Option<Nodata> {
    let text = reader.text(ifd, tag::GDAL_NODATA).unwrap_or_else(|error| {
        oddities.push(format!("left out: {error}"));
        None
    })?;
    let (value, odd) = nodata_text::parse(&text, dtype);
    oddities.extend(odd);
    value
}

fn aux_crs(wkt: &str, oddities: &mut Vec<String>) -> Option<Crs> {
    let found = geokeys::crs_of_wkt(wkt);
    if found.is_none() {
        oddities.push("the CRS of its .aux.xml is not understood".into());
    }
    found
}

fn geokeys(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    oddities: &mut Vec<String>,
) -> Result<geokeys::GeoKeys> {
    let none = geokeys::GeoKeys { crs: None, pixel_is_point: false };
    let Some(entry) = ifd.entry(tag::GEO_KEY_DIRECTORY) else { return Ok(none) };
    let values = || -> Result<(Vec<u64>, Vec<f64>, Vec<u8>)> {
        let doubles = match ifd.entry(tag::GEO_DOUBLE_PARAMS) {
            Some(entry) => reader.floats(entry)?,
            None => Vec::new(),
        };
        let ascii = match ifd.entry(tag::GEO_ASCII_PARAMS) {
            Some(entry) => reader.value_bytes(entry)?,
            None => Vec::new(),
        };
        Ok((reader.unsigned(entry)?, doubles, ascii))
    };
    let (directory, doubles, ascii) = match values() {
        Ok(values) => values,
        Err(error) => {
            oddities.push(format!("the GeoKeys are left out: {error}"));
            return Ok(none);
        }
    };
    // Values are SHORT; wider ones that fit are as good.
    let directory: Vec<u16> = directory.iter().map(|v| u16::try_from(*v).unwrap_or(0)).collect();
    match geokeys::parse(&directory, &doubles, &ascii) {
        // Keys that are broken are as good as none: the raster has no CRS.
        Err(error) if matches!(error.kind(), crate::error::ErrorKind::Format(_)) => {
            oddities.push(format!("the GeoKeys are left out: {error}"));
            Ok(none)
        }
        other => other,
    }
}

/// Values of a tag that only says what the samples mean; empty if it is broken, which GDAL passes over.
fn optional(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    tag: u16,
    oddities: &mut Vec<String>,
) -> Vec<u64> {
    let Some(entry) = ifd.entry(tag) else { return Vec::new() };
    reader.unsigned(entry).unwrap_or_else(|error| {
        oddities.push(format!("left out: {error}"));
        Vec::new()
    })
}

fn color(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    image: &Layout,
    aux: &aux_xml::AuxXml,
    oddities: &mut Vec<String>,
) -> Color {
    let bands = image.bands;
    let to_rgba = image.packing == Packing::Lab;
    if to_rgba || image.params.as_ref().is_some_and(|params| params.cmyk) {
        // Decoded to red, green, blue and unassociated alpha.
        return Color { photometric: 2, extra_samples: vec![2], palette: None };
    }
    let photometric = optional(reader, ifd, 262, oddities).first().copied().unwrap_or(1);
    let extra_samples = optional(reader, ifd, 338, oddities);
    let narrow = |v: u64| u16::try_from(v).unwrap_or(0);
    let clumps = matches!(image.packing, Packing::YCbCr { .. });
    let as_rgb = clumps || image.params.as_ref().is_some_and(|params| params.ycbcr);
    // One band with a colour map is a palette, whatever its photometric says (as in GDAL).
    let map = if bands == 1 { optional(reader, ifd, 320, oddities) } else { Vec::new() };
    let palette: Option<Arc<Vec<u16>>> =
        (!map.is_empty()).then(|| Arc::new(map.into_iter().map(narrow).collect()));
    let palette = palette.or_else(|| {
        let map = if bands == 1 { aux.color_map(image.dtype) } else { None };
        map.map(Arc::new)
    });
    let photometric = match narrow(photometric) {
        _ if palette.is_some() => 3,
        _ if as_rgb => 2,
        other => other,
    };
    Color {
        photometric,
        extra_samples: extra_samples.into_iter().take(bands as usize).map(narrow).collect(),
        palette,
    }
}

fn metadata(
    reader: &HeaderReader<'_>,
    ifd: &Ifd,
    (aux, bands): (&aux_xml::AuxXml, u32),
    oddities: &mut Vec<String>,
) -> GdalMetadata {
    let text = reader.text(ifd, tag::GDAL_METADATA);
    let parsed = text
        .and_then(|xml| xml.map_or(Ok(GdalMetadata::default()), |xml| GdalMetadata::parse(&xml)));
    let mut metadata = parsed.unwrap_or_else(|error| {
        oddities.push(format!("the metadata are left out: {error}"));
        GdalMetadata::default()
    });
    aux.complete(&mut metadata, bands);
    metadata
}
