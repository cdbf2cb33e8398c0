//! The images of a file that belong to its first one: mask, overviews, and their masks, in the file
//! itself or in `.ovr` and `.msk` beside, linked as GDAL does.

use crate::error::{Error, Place, Result, ResultExt};
use crate::geometry::Size;
use crate::tiff::gdal_metadata::GdalMetadata;
use crate::tiff::ifd::{HeaderReader, Ifd};
use crate::tiff::layout::Layout;
use crate::tiff::reader::{Beside, Overview, OverviewLayouts, ReadOptions};
use crate::tiff::{FileOf, tag};

/// NewSubfileType (TIFF 6.0 §8): a reduced version of another image.
const REDUCED: u64 = 1;
/// NewSubfileType: a transparency mask of another image.
const MASK: u64 = 4;

/// What belongs to the first image.
pub(crate) struct Images {
    pub(crate) mask: Option<Box<Layout>>,
    pub(crate) overviews: Box<[Overview]>,
    /// What is odd about the mask.
    pub(crate) odd: Option<String>,
}

/// A directory of a mask or overview.
struct Candidate<'a> {
    ifd: &'a Ifd,
    place: Place,
    kind: u64,
    size: Size,
}

/// Finds the other images. A file beside counts only where the raster itself has nothing of the kind.
pub(crate) fn linked(
    reader: &HeaderReader<'_>,
    directories: &[Ifd],
    image: &Layout,
    beside: &dyn Beside,
    options: ReadOptions,
) -> Result<Images> {
    let below = sub_directories(reader, &directories[0]);
    let mut own = candidates(reader, &directories[1..], 1);
    own.extend(candidates(reader, &below, directories.len()));
    let mut images = scan(reader, &own, image, FileOf::Main, options)?;
    if images.mask.is_none()
        && let Some(file) = beside.open(FileOf::Mask)?
    {
        let mask = beside_mask(&*file, image, &mut images, options);
        let (mask, odd) = mask.map_err(|error| {
            // Its own name is not known here, so the message says which file it is.
            Error::unsupported(format!("the mask beside it (.msk): {error}"), "mend or remove it")
        })?;
        (images.mask, images.odd) = (mask, odd);
    }
    if let (None, Some(mask)) = (&images.odd, &images.mask)
        && mask.bands > 1
    {
        let bands = mask.bands;
        images.odd = Some(format!("its mask has {bands} bands; a pixel is invalid where any is 0"));
    }
    if images.overviews.is_empty()
        && let Some(file) = beside.open(FileOf::Overviews)?
    {
        // An overview that cannot be read is none: nothing is lost but speed.
        if let Ok((reader, directories)) = read_directories(&*file) {
            let mut found = candidates(&reader, &directories, 0);
            // In a file of its own each image that is no mask is an overview.
            found.iter_mut().filter(|c| c.kind & MASK == 0).for_each(|c| c.kind |= REDUCED);
            if let Ok(scanned) = scan(&reader, &found, image, FileOf::Overviews, options) {
                images.overviews = scanned.overviews;
            }
        }
    }
    Ok(images)
}

/// Most directories below the first one that are looked at.
const MOST_SUB_DIRECTORIES: usize = 32;

/// Directories that SubIFDs (TIFF technote 1) of the first one names: some writers keep overviews there.
fn sub_directories(reader: &HeaderReader<'_>, first: &Ifd) -> Vec<Ifd> {
    let Some(entry) = first.entry(330) else { return Vec::new() };
    // Those that cannot be read are none, as with the overviews of a file beside.
    let offsets = reader.unsigned(entry).unwrap_or_default();
    let offsets = offsets.into_iter().take(MOST_SUB_DIRECTORIES);
    offsets.filter_map(|offset| reader.directory(offset).ok()).collect()
}

fn read_directories(file: &dyn crate::io::ReadAt) -> Result<(HeaderReader<'_>, Vec<Ifd>)> {
    let (reader, first) = HeaderReader::open(file)?;
    let (directories, _) = reader.directories(first)?;
    Ok((reader, directories))
}

fn candidates<'a>(
    reader: &HeaderReader<'_>,
    directories: &'a [Ifd],
    first: usize,
) -> Vec<Candidate<'a>> {
    let number = |ifd: &Ifd, tag: u16| reader.number(ifd, tag).ok().flatten().unwrap_or(0);
    let side = |ifd: &Ifd, tag: u16| u32::try_from(number(ifd, tag)).unwrap_or(0);
    let candidate = |(index, ifd): (usize, &'a Ifd)| Candidate {
        ifd,
        place: Place::Ifd(u32::try_from(first + index).unwrap_or(u32::MAX)),
        kind: number(ifd, 254),
        size: Size { width: side(ifd, 256), height: side(ifd, 257) },
    };
    directories.iter().enumerate().map(candidate).collect()
}

fn scan(
    reader: &HeaderReader<'_>,
    candidates: &[Candidate<'_>],
    image: &Layout,
    file: FileOf,
    options: ReadOptions,
) -> Result<Images> {
    let mut images = Images { mask: None, overviews: Box::default(), odd: None };
    let mut overviews: Vec<Overview> = Vec::new();
    for candidate in candidates {
        match candidate.kind & (MASK | REDUCED) {
            MASK if candidate.size == image.size && images.mask.is_none() => {
                let layout = Layout::read(reader, candidate.ifd, file).in_place(candidate.place)?;
                images.mask = Some(Box::new(check_mask(layout)?));
            }
            REDUCED if is_reduced(candidate.size, image.size) => {
                let layout = options.overviews.then(|| Layout::read(reader, candidate.ifd, file));
                let layouts = match layout {
                    // One of other bands or types belongs to something else, a broken one to nobody.
                    Some(Ok(layout)) if same_samples(&layout, image) => {
                        Some(Box::new(OverviewLayouts { image: layout, mask: None }))
                    }
                    Some(_) => continue,
                    None => None,
                };
                overviews.push(Overview { size: candidate.size, layouts });
            }
            _ => {}
        }
    }
    let masks = candidates.iter().filter(|c| options.overviews && c.kind & 5 == (MASK | REDUCED));
    for candidate in masks {
        let layout = Layout::read(reader, candidate.ifd, file).and_then(check_mask);
        attach_mask(&mut overviews, candidate.size, layout.ok());
    }
    images.overviews = overviews.into();
    Ok(images)
}

/// Gives a mask to the first overview of its size that has none.
fn attach_mask(overviews: &mut [Overview], size: Size, mask: Option<Layout>) {
    let free = overviews.iter_mut().filter(|overview| overview.size == size);
    let mut free = free.filter_map(|overview| overview.layouts.as_deref_mut());
    if let Some(layouts) = free.find(|layouts| layouts.mask.is_none()) {
        layouts.mask = mask;
    }
}

fn is_reduced(size: Size, full: Size) -> bool {
    size.width > 0
        && size.height > 0
        && size.width <= full.width
        && size.height <= full.height
        && size != full
}

fn same_samples(layout: &Layout, image: &Layout) -> bool {
    layout.bands == image.bands && layout.dtype == image.dtype
}

fn check_mask(layout: Layout) -> Result<Layout> {
    if layout.dtype.is_float() || layout.dtype.is_complex() {
        let feature = format!("a mask of {} samples", layout.dtype);
        return Err(Error::unsupported(feature, "convert the mask to an alpha band"));
    }
    Ok(layout)
}

/// Whether GDAL takes a `.msk` for one: its metadata say of the bands how they are masked.
fn is_flagged(reader: &HeaderReader<'_>, ifd: &Ifd) -> bool {
    let metadata = reader.text(ifd, tag::GDAL_METADATA).ok().flatten();
    let metadata = metadata.and_then(|xml| GdalMetadata::parse(&xml).ok()).unwrap_or_default();
    metadata.items.iter().any(|item| item.name.starts_with("INTERNAL_MASK_FLAGS_"))
}

/// The mask in a file of its own, whose overviews are those of the raster's overviews.
fn beside_mask(
    file: &dyn crate::io::ReadAt,
    image: &Layout,
    images: &mut Images,
    options: ReadOptions,
) -> Result<(Option<Box<Layout>>, Option<String>)> {
    let (reader, directories) = read_directories(file)?;
    if !is_flagged(&reader, &directories[0]) {
        let odd = "the .msk beside it is left out: it has no INTERNAL_MASK_FLAGS (as in GDAL)";
        return Ok((None, Some(odd.into())));
    }
    let layout = Layout::read(&reader, &directories[0], FileOf::Mask).in_place(Place::Ifd(0))?;
    if layout.size != image.size {
        return Err(Error::unsupported(
            "a mask file (.msk) of another size than the raster",
            "remove it, or make it again",
        ));
    }
    for candidate in candidates(&reader, &directories[1..], 1) {
        if options.overviews && candidate.kind & REDUCED != 0 {
            let layout = Layout::read(&reader, candidate.ifd, FileOf::Mask).and_then(check_mask);
            attach_mask(&mut images.overviews, candidate.size, layout.ok());
        }
    }
    Ok((Some(Box::new(check_mask(layout)?)), None))
}
