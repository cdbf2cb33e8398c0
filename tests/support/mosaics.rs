//! Mosaics through the library: pictures are written to a temporary folder, opened, placed and read.

use std::path::PathBuf;

use smalti::engine::Reader;
use smalti::geometry::Window;
use smalti::io::IoMode;
use smalti::mosaic::{Mosaic, MosaicOptions};
use smalti::raster::{AnyRaster, Mask};
use smalti::resample::Kernel;
use smalti::source::open::{OpenOptions, open_all};

use super::builder::Geotiff;

/// Sample types: bits and SampleFormat.
pub(crate) const DTYPES: [(u16, u16); 8] =
    [(8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (32, 3), (64, 3)];

/// Pictures in files, which go when this does.
#[derive(Debug)]
pub(crate) struct Files {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

impl Files {
    /// Writes pictures, bottom to top.
    pub(crate) fn new(pictures: &[Geotiff]) -> Files {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut paths = Vec::new();
        for (index, picture) in pictures.iter().enumerate() {
            let path = folder.path().join(format!("{index:04}.tif"));
            picture.write(&path);
            paths.push(path);
        }
        Files { folder, paths }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn mosaic(&self, options: &MosaicOptions) -> smalti::Result<Mosaic> {
        let opened =
            open_all(&self.paths, &OpenOptions { threads: 1, ..OpenOptions::default() }, &())?;
        Mosaic::new(opened.sources, options)
    }
}

/// All pixels of a mosaic.
pub(crate) fn read_all(mosaic: &Mosaic) -> smalti::Result<(AnyRaster, Mask)> {
    let window = mosaic.grid.size.window().expect("a mosaic has pixels");
    Reader::new(mosaic, 64 << 20, IoMode::Read).read(window)
}

/// The first sample in which two readings differ, in bits or validity.
pub(crate) fn difference(
    (a, a_valid): &(AnyRaster, Mask),
    (b, b_valid): &(AnyRaster, Mask),
) -> Option<String> {
    if (a.size(), a.bands(), a.dtype()) != (b.size(), b.bands(), b.dtype()) {
        let shape = |r: &AnyRaster| format!("{:?}, {} bands of {}", r.size(), r.bands(), r.dtype());
        return Some(format!("{}; {}", shape(a), shape(b)));
    }
    let bytes = a.dtype().size();
    let (mut count, mut first) = (0, None);
    let mut index = 0;
    for band in 0..a.bands() {
        for row in 0..a.size().height {
            for col in 0..a.size().width {
                let range = index * bytes..(index + 1) * bytes;
                index += 1;
                let valid = [a_valid.is_valid(band, col, row), b_valid.is_valid(band, col, row)];
                if valid[0] == valid[1] && a.as_bytes()[range.clone()] == b.as_bytes()[range] {
                    continue;
                }
                count += 1;
                let (av, bv) = (a.get_f64(band, col, row), b.get_f64(band, col, row));
                first.get_or_insert_with(|| {
                    format!("band {band}, col {col}, row {row}: {av:?} {bv:?}, valid {valid:?}")
                });
            }
        }
    }
    first.map(|first| format!("{count} of {index} samples, the first {first}"))
}

/// A window of a reading.
pub(crate) fn cut((all, valid): &(AnyRaster, Mask), window: Window) -> Vec<(f64, bool)> {
    let mut out = Vec::new();
    for band in 0..all.bands() {
        for row in window.row..window.row_end() {
            for col in window.col..window.col_end() {
                out.push((all.get_f64(band, col, row), valid.is_valid(band, col, row)));
            }
        }
    }
    out
}

/// All kernels.
pub(crate) fn kernels() -> [Kernel; 14] {
    Kernel::NAMES.map(|(kernel, _)| kernel)
}
