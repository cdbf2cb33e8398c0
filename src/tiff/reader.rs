//! Opening a GeoTIFF: headers into an immutable [`Dataset`]; then fetching and decoding its blocks,
//! which are two separate steps.

use std::io::{Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::{Compression, Decoder, RowLayout, predictor, stream};
use crate::crs::Crs;
use crate::error::{Error, FormatError, Place, Result, ResultExt};
use crate::geometry::{GeoTransform, Size, Window};
use crate::io::ReadAt;
use crate::raster::AnyRaster;
use crate::sample::{DataType, Nodata, Sample};
use crate::tiff::gdal_metadata::GdalMetadata;
use crate::tiff::geokeys::{self, PlacementTags};
use crate::tiff::ifd::{HeaderReader, Ifd};
use crate::tiff::layout::{Extent, Layout};
use crate::tiff::tag;
use crate::{with_dtype, with_raster};

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
    /// Pixel corners to world.
    pub transform: GeoTransform,
    /// `GTRasterTypeGeoKey` is PixelIsPoint. The transform is corner-based all the same.
    pub pixel_is_point: bool,
    /// Coordinate reference system, where the file names one.
    pub crs: Option<Arc<Crs>>,
    /// `GDAL_NODATA`, for all bands.
    pub nodata: Option<Nodata>,
    /// Colour and metadata.
    pub shared: Arc<Shared>,
    /// Sizes of the internal overviews.
    pub overviews: Box<[Size]>,
    /// `DateTime` (tag 306), which names no time zone, as seconds since 1970.
    pub date_time: Option<i64>,
}

impl Dataset {
    /// Reads the headers of a file. No pixel is read.
    ///
    /// `world_file` is asked for the text of a world file if the tags have no georeferencing.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Format`] if the file breaks TIFF or is truncated,
    /// [`crate::error::ErrorKind::Unsupported`] if it uses what we do not read,
    /// [`crate::error::ErrorKind::Input`] if it has no georeferencing.
    pub fn open(
        path: &Path,
        source: &dyn ReadAt,
        world_file: impl FnOnce() -> Result<Option<String>>,
    ) -> Result<Dataset> {
        Dataset::read(path, source, world_file).at(path)
    }

    fn read(
        path: &Path,
        source: &dyn ReadAt,
        world_file: impl FnOnce() -> Result<Option<String>>,
    ) -> Result<Dataset> {
        let (reader, first) = HeaderReader::open(source)?;
        let directories = reader.directories(first)?;
        let ifd = &directories[0];
        let image = Layout::read(&reader, ifd, false).in_place(Place::Ifd(0))?;
        let (mask, overviews) = other_images(&reader, &directories, &image)?;
        let keys = geokeys(&reader, ifd)?;
        let floats = |tag: u16| -> Result<Vec<f64>> {
            ifd.entry(tag).map_or_else(|| Ok(Vec::new()), |entry| reader.floats(entry))
        };
        let (transformation, pixel_scale, tiepoints) = (
            floats(tag::MODEL_TRANSFORMATION)?,
            floats(tag::MODEL_PIXEL_SCALE)?,
            floats(tag::MODEL_TIEPOINT)?,
        );
        let tagged =
            !transformation.is_empty() || !(pixel_scale.is_empty() || tiepoints.is_empty());
        let world_file = if tagged { None } else { world_file()? };
        let transform = geokeys::geotransform(&PlacementTags {
            transformation: &transformation,
            pixel_scale: &pixel_scale,
            tiepoints: &tiepoints,
            world_file: world_file.as_deref(),
            pixel_is_point: keys.pixel_is_point,
        })?;
        let nodata = match reader.text(ifd, tag::GDAL_NODATA)? {
            // The first word counts; what is no number (a lone space is common) is no nodata, as in GDAL.
            Some(text) => text.split_whitespace().next().and_then(|word| Nodata::parse(word).ok()),
            None => None,
        };
        Ok(Dataset {
            path: path.to_path_buf(),
            file_len: reader.file_len(),
            shared: Arc::new(Shared {
                color: color(&reader, ifd, image.bands)?,
                metadata: metadata(&reader, ifd)?,
            }),
            image,
            mask,
            transform,
            pixel_is_point: keys.pixel_is_point,
            crs: keys.crs.map(Arc::new),
            nodata,
            overviews,
            // A broken date is no date: nothing but an order depends on it.
            date_time: reader.text(ifd, 306).ok().flatten().as_deref().and_then(tag::seconds_of),
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
        layout.read_block(source, block, self.nodata, scratch).at(&self.path)
    }

    /// The layout of the image or of its mask.
    pub fn layout(&self, part: Part) -> Option<&Layout> {
        match part {
            Part::Image => Some(&self.image),
            Part::Mask => self.mask.as_deref(),
        }
    }
}

/// Which image of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The full-resolution image.
    Image,
    /// The internal mask.
    Mask,
}

/// The internal mask, and the sizes of the overviews.
type OtherImages = (Option<Box<Layout>>, Box<[Size]>);

/// Finds the internal mask of the first image, and its overviews (TIFF 6.0 NewSubfileType bits).
fn other_images(
    reader: &HeaderReader<'_>,
    directories: &[Ifd],
    image: &Layout,
) -> Result<OtherImages> {
    let mut mask = None;
    let mut overviews = Vec::new();
    for (index, ifd) in directories.iter().enumerate().skip(1) {
        let kind = reader.number(ifd, 254)?.unwrap_or(0);
        let side = |tag| -> Result<u32> {
            Ok(reader.number(ifd, tag)?.and_then(|v| u32::try_from(v).ok()).unwrap_or(0))
        };
        let size = Size { width: side(256)?, height: side(257)? };
        match kind & 5 {
            4 if size == image.size && mask.is_none() => {
                let place = Place::Ifd(u32::try_from(index).unwrap_or(u32::MAX));
                let layout = Layout::read(reader, ifd, true).in_place(place)?;
                if layout.dtype != DataType::U8 || layout.bands != 1 {
                    let feature = "an internal mask of more than one 8-bit band";
                    return Err(Error::unsupported(feature, "convert the mask to an alpha band"));
                }
                mask = Some(Box::new(layout));
            }
            1 if size.width < image.size.width || size.height < image.size.height => {
                overviews.push(size);
            }
            _ => {}
        }
    }
    Ok((mask, overviews.into()))
}

fn geokeys(reader: &HeaderReader<'_>, ifd: &Ifd) -> Result<geokeys::GeoKeys> {
    let Some(entry) = ifd.entry(tag::GEO_KEY_DIRECTORY) else {
        return Ok(geokeys::GeoKeys { crs: None, pixel_is_point: false });
    };
    // Values are SHORT; wider ones that fit are as good.
    let directory = reader.unsigned(entry)?;
    let directory: Vec<u16> = directory.iter().map(|v| u16::try_from(*v).unwrap_or(0)).collect();
    let doubles = match ifd.entry(tag::GEO_DOUBLE_PARAMS) {
        Some(entry) => reader.floats(entry)?,
        None => Vec::new(),
    };
    let ascii = match ifd.entry(tag::GEO_ASCII_PARAMS) {
        Some(entry) => reader.value_bytes(entry)?,
        None => Vec::new(),
    };
    geokeys::parse(&directory, &doubles, &ascii)
}

fn color(reader: &HeaderReader<'_>, ifd: &Ifd, bands: u32) -> Result<Color> {
    let photometric = reader.number(ifd, 262)?.unwrap_or(1);
    let extra_samples = match ifd.entry(338) {
        Some(entry) => reader.unsigned(entry)?,
        None => Vec::new(),
    };
    let narrow = |v: u64| u16::try_from(v).unwrap_or(0);
    let palette: Option<Arc<Vec<u16>>> = match ifd.entry(320) {
        // One band with a colour map is a palette, whatever its photometric says (as in GDAL).
        Some(entry) if bands == 1 => {
            Some(Arc::new(reader.unsigned(entry)?.into_iter().map(narrow).collect()))
        }
        _ => None,
    };
    Ok(Color {
        photometric: if palette.is_some() { 3 } else { narrow(photometric) },
        extra_samples: extra_samples.into_iter().take(bands as usize).map(narrow).collect(),
        palette,
    })
}

fn metadata(reader: &HeaderReader<'_>, ifd: &Ifd) -> Result<GdalMetadata> {
    match reader.text(ifd, tag::GDAL_METADATA)? {
        Some(xml) => GdalMetadata::parse(&xml),
        None => Ok(GdalMetadata::default()),
    }
}

/// Scratch memory of one thread that decodes blocks.
#[derive(Debug, Default)]
pub struct Scratch {
    decoder: Decoder,
    bytes: Vec<u8>,
    predictor: Vec<u8>,
}

/// The stored bytes of a block.
#[expect(missing_debug_implementations, reason = "a reader has none to show")]
pub enum Stored<'a> {
    /// None: the block is not in the file and holds the fill value everywhere.
    Absent,
    /// All of them.
    Bytes(&'a [u8]),
    /// The raw bytes of a strip, from where this part of it begins.
    Stream(&'a mut dyn Read),
}

impl Layout {
    /// Decodes an access block. `fill` is for blocks that are not in the file.
    ///
    /// The result has [`Layout::decoded_size`] and all bands of the block, band after band.
    ///
    /// # Errors
    /// [`FormatError::Codec`] or [`FormatError::BlockLength`] if the bytes are broken.
    pub fn decode(
        &self,
        block: BlockId,
        stored: Stored<'_>,
        fill: Option<Nodata>,
        recycled: Option<AnyRaster>,
        scratch: &mut Scratch,
    ) -> Result<AnyRaster> {
        let size = self.decoded_size(block.by);
        let bands = self.samples_in_block();
        let mut raster = match recycled {
            Some(raster) if raster.dtype() == self.dtype => raster,
            _ => AnyRaster::zeros(self.dtype, Size { width: 0, height: 0 }, 0)?,
        };
        with_raster!(&mut raster, raster => raster.reshape(size, bands))?;
        if matches!(stored, Stored::Absent) {
            with_raster!(&mut raster, raster => fill_with(raster.samples_mut(), fill));
            return Ok(raster);
        }
        with_raster!(&mut raster, raster => {
            self.decode_samples(size, stored, raster.samples_mut(), scratch)
        })
        .in_place(Place::Block(self.block_index(block.bx, block.by, block.plane)))?;
        Ok(raster)
    }

    fn read_block(
        &self,
        source: &dyn ReadAt,
        block: BlockId,
        fill: Option<Nodata>,
        scratch: &mut Scratch,
    ) -> Result<AnyRaster> {
        let index = self.block_index(block.bx, block.by, block.plane);
        let page = self.table_page(index).map(|page| self.read_table_page(source, page));
        let extent = self.extent(index, page.transpose()?.as_ref());
        let mut bytes = Vec::new();
        if extent.len == 0 {
            return self.decode(block, Stored::Absent, fill, None, scratch);
        }
        fetch(source, extent, &mut bytes)?;
        if !self.is_streamed() {
            return self.decode(block, Stored::Bytes(&bytes), fill, None, scratch);
        }
        let mut raw = stream::reader(self.compression, Box::new(Cursor::new(bytes)));
        let (_, part) = self.part_of(index);
        for by in block.by - part..block.by {
            self.decode(
                BlockId { by, ..block },
                Stored::Stream(raw.as_mut()),
                None,
                None,
                scratch,
            )?;
        }
        self.decode(block, Stored::Stream(raw.as_mut()), None, None, scratch)
    }

    fn decode_samples<T: Sample>(
        &self,
        size: Size,
        stored: Stored<'_>,
        samples: &mut [T],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Scratch { decoder, bytes, predictor: planes } = scratch;
        if self.bits == 1 {
            bytes.resize(self.row_bytes() as usize * size.height as usize, 0);
            self.raw_bytes(stored, bytes, decoder)?;
            unpack_bits(bytes, size, samples);
            return Ok(());
        }
        let spp = self.samples_in_block() as usize;
        let rows = RowLayout {
            dtype_size: size_of::<T>(),
            samples_per_pixel: spp,
            width: size.width as usize,
        };
        if spp == 1 {
            let bytes = bytemuck::cast_slice_mut(samples);
            self.raw_bytes(stored, bytes, decoder)?;
            predictor::decode(self.predictor, rows, self.big_endian, bytes, planes);
            return Ok(());
        }
        let swaps = self.big_endian != cfg!(target_endian = "big") && size_of::<T>() > 1;
        if let (Stored::Bytes(raw), Compression::None, false) = (&stored, self.compression, swaps) {
            // Nothing to undo: the samples are taken apart straight from the stored bytes.
            let expected = size_of_val(samples);
            let found = raw.len() as u64;
            let short = || FormatError::BlockLength { expected: expected as u64, found };
            deinterleave(raw.get(..expected).ok_or_else(short)?, spp, samples);
            return Ok(());
        }
        bytes.resize(size_of_val(samples), 0);
        self.raw_bytes(stored, bytes, decoder)?;
        predictor::decode(self.predictor, rows, self.big_endian, bytes, planes);
        deinterleave(bytes, spp, samples);
        Ok(())
    }

    /// Fills `raw` from what is stored.
    fn raw_bytes(&self, stored: Stored<'_>, raw: &mut [u8], decoder: &mut Decoder) -> Result<()> {
        match stored {
            Stored::Absent => Ok(()),
            Stored::Bytes(bytes) => decoder.decode_into(self.compression, bytes, raw),
            Stored::Stream(stream) => stream.read_exact(raw).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => FormatError::Codec {
                    codec: self.compression.name(),
                    reason: "it ends before the strip is full".into(),
                }
                .into(),
                ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => {
                    let (codec, reason) = (self.compression.name(), error.to_string());
                    FormatError::Codec { codec, reason }.into()
                }
                _ => error.into(),
            }),
        }
    }
}

/// An access block of a layout; `plane` is 0 for chunky images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "column and row of blocks, and the plane")]
pub struct BlockId {
    pub bx: u32,
    pub by: u32,
    pub plane: u32,
}

/// Reads the stored bytes of a block into `buffer`; leaves it empty for one that is not in the file.
///
/// # Errors
/// [`FormatError::Changed`] if the file is shorter than when it was opened; I/O errors.
pub fn fetch(source: &dyn ReadAt, extent: Extent, buffer: &mut Vec<u8>) -> Result<()> {
    let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
    // Only what is longer than before is zeroed first.
    buffer.resize(len, 0);
    source.read_exact_at(extent.offset, buffer).map_err(|error| {
        if error.kind() == ErrorKind::UnexpectedEof {
            Error::new(FormatError::Changed("it is shorter than when it was opened"))
        } else {
            error.into()
        }
    })
}

fn fill_with<T: Sample>(samples: &mut [T], fill: Option<Nodata>) {
    samples.fill(fill.and_then(Nodata::as_sample).unwrap_or(T::ZERO));
}

/// 1-bit rows, most significant bit first, each padded to a byte, to samples of 0 and 1.
fn unpack_bits<T: Sample>(bytes: &[u8], size: Size, samples: &mut [T]) {
    let width = size.width as usize;
    let one = T::from_f64(1.0);
    for (row, out) in bytes.chunks_exact(width.div_ceil(8)).zip(samples.chunks_exact_mut(width)) {
        for (col, sample) in out.iter_mut().enumerate() {
            *sample = if row[col / 8] >> (7 - col % 8) & 1 == 1 { one } else { T::ZERO };
        }
    }
}

/// Pixel after pixel to band after band. `raw` holds native-endian samples.
fn deinterleave<T: Sample>(raw: &[u8], spp: usize, samples: &mut [T]) {
    let pixels = samples.len() / spp;
    let size = size_of::<T>();
    let read = |b: &[u8]| bytemuck::pod_read_unaligned::<T>(b);
    // Fixed counts let the compiler keep one strided loop for each of the common shapes.
    match spp {
        2 => split_bands::<T, 2>(raw, samples),
        3 => split_bands::<T, 3>(raw, samples),
        4 => split_bands::<T, 4>(raw, samples),
        _ => {
            // In stripes of pixels that stay in the first-level cache for all bands.
            const STRIPE: usize = 512;
            for start in (0..pixels).step_by(STRIPE) {
                let end = (start + STRIPE).min(pixels);
                for (band, out) in samples.chunks_exact_mut(pixels).enumerate() {
                    let stripe = &raw[start * spp * size..end * spp * size];
                    for (sample, pixel) in
                        out[start..end].iter_mut().zip(stripe.chunks_exact(spp * size))
                    {
                        *sample = read(&pixel[band * size..(band + 1) * size]);
                    }
                }
            }
        }
    }
}

fn split_bands<T: Sample, const N: usize>(raw: &[u8], samples: &mut [T]) {
    let pixels = samples.len() / N;
    let size = size_of::<T>();
    let mut bands = samples.chunks_exact_mut(pixels);
    let mut outs: [&mut [T]; N] = std::array::from_fn(|_| bands.next().unwrap_or_default());
    for (index, pixel) in raw.chunks_exact(N * size).enumerate() {
        for (band, out) in outs.iter_mut().enumerate() {
            out[index] = bytemuck::pod_read_unaligned(&pixel[band * size..(band + 1) * size]);
        }
    }
}

/// The access blocks of `layout` that meet `window`: columns and rows of blocks, both half-open.
pub fn blocks_of(layout: &Layout, window: Window) -> (std::ops::Range<u32>, std::ops::Range<u32>) {
    let cols = layout.block_col_of(window.col)..layout.block_col_of(window.col_end() - 1) + 1;
    let rows = layout.block_row_of(window.row)..layout.block_row_of(window.row_end() - 1) + 1;
    (cols, rows)
}

/// Bytes of a raster of this type and shape.
pub(crate) fn raster_bytes(dtype: DataType, pixels: u64, bands: u32) -> u64 {
    let size = with_dtype!(dtype, T => size_of::<T>()) as u64;
    pixels.saturating_mul(size).saturating_mul(u64::from(bands))
}
