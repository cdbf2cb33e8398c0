//! Everything that lies in a TIFF: all images of the main chain, with the place of each of their blocks. For
//! those who check a file, or take digests of it.

use std::collections::HashMap;

use crate::error::{FormatError, Place, Result, ResultExt};
use crate::io::ReadAt;
use crate::raster::AnyRaster;
use crate::tiff::FileOf;
use crate::tiff::ifd::HeaderReader;
use crate::tiff::layout::{Extent, Layout};
use crate::tiff::reader::{BlockId, Scratch};
use crate::tiff::tag;

/// One image of a file.
#[derive(Debug, Clone)]
pub struct Image {
    /// NewSubfileType: bit 0 for an overview, bit 2 for a mask.
    pub kind: u64,
    /// How its pixels lie in blocks.
    pub layout: Layout,
}

/// The images of a file.
///
/// # Errors
/// [`crate::error::ErrorKind::Format`] if a directory or a table of any image is broken, or a block lies beyond
/// the end of the file.
pub fn images(source: &dyn ReadAt) -> Result<Vec<Image>> {
    let (reader, first) = HeaderReader::open(source)?;
    let (directories, odd) = reader.directories(first)?;
    if let Some(odd) = odd {
        return Err(FormatError::Text { what: "the chain of directories", reason: odd }.into());
    }
    let image = |(index, ifd): (usize, &crate::tiff::ifd::Ifd)| {
        let place = Place::Ifd(u32::try_from(index).unwrap_or(u32::MAX));
        let layout = Layout::read(&reader, ifd, FileOf::Main).in_place(place)?;
        Ok(Image { kind: reader.number(ifd, 254)?.unwrap_or(0), layout })
    };
    directories.iter().enumerate().map(image).collect()
}

/// The statistics that the first image states in its `GDAL_METADATA`: band (from 0), name, text.
///
/// # Errors
/// [`crate::error::ErrorKind::Format`] if the metadata do not parse.
pub fn stated_statistics(source: &dyn ReadAt) -> Result<Vec<(u32, String, String)>> {
    let (reader, first) = HeaderReader::open(source)?;
    let (directories, _) = reader.directories(first)?;
    let text = match directories.first() {
        Some(ifd) => reader.text(ifd, tag::GDAL_METADATA)?.unwrap_or_default(),
        None => String::new(),
    };
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let document = roxmltree::Document::parse(&text)
        .map_err(|error| FormatError::Text { what: "GDAL_METADATA", reason: error.to_string() })?;
    let items = document.descendants().filter(|node| node.has_tag_name("Item"));
    let statistic = |node: roxmltree::Node<'_, '_>| {
        let name = node.attribute("name").filter(|name| name.starts_with("STATISTICS_"))?;
        let band = node.attribute("sample")?.parse().ok()?;
        Some((band, name.to_owned(), node.text().unwrap_or_default().to_owned()))
    };
    Ok(items.filter_map(statistic).collect())
}

impl Image {
    /// Blocks that are fetched and decoded at once, of all planes.
    pub fn blocks(&self) -> u64 {
        let planes = if self.layout.planar { u64::from(self.layout.bands) } else { 1 };
        self.layout.blocks_in_plane() * planes
    }

    /// Calls `each` with every block's number, its place, and whether its count of bytes can be right, in their
    /// order.
    ///
    /// # Errors
    /// Those of `each`; I/O errors.
    pub fn for_each_block(
        &self,
        source: &dyn ReadAt,
        mut each: impl FnMut(u64, Extent, bool) -> Result<()>,
    ) -> Result<()> {
        let mut pages = HashMap::new();
        for index in 0..self.blocks() {
            let page = self.layout.table_page(index);
            if let Some(number) = page
                && !pages.contains_key(&number)
            {
                pages.clear();
                pages.insert(number, self.layout.read_table_page(source, number)?);
            }
            let page = page.and_then(|number| pages.get(&number));
            each(index, self.layout.extent(index, page), self.layout.is_counted(index, page))?;
        }
        Ok(())
    }

    /// Reads and decodes a block by its number.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Format`] if its bytes are broken; I/O errors.
    pub fn decode(
        &self,
        source: &dyn ReadAt,
        block: u64,
        scratch: &mut Scratch,
    ) -> Result<AnyRaster> {
        let (in_plane, across) = (self.layout.blocks_in_plane(), u64::from(self.layout.across()));
        let (plane, rest) = (block / in_plane, block % in_plane);
        let number = |v: u64| u32::try_from(v).unwrap_or(u32::MAX);
        let id =
            BlockId { bx: number(rest % across), by: number(rest / across), plane: number(plane) };
        self.layout.read_block(source, id, None, scratch)
    }
}
