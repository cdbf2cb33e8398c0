//! The file that says which source gave each pixel, and the table of the sources beside it (SPEC §8.10).
//!
//! `FILE.tif` has the grid of the output and one band: 0 where there is no data, else the number of a source
//! from 1. `FILE.json` has the sources by number. Both appear with the output or not at all.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::codec::{Compression, Predictor};
use crate::engine::encode::Encoded;
use crate::engine::journal::Kept;
use crate::engine::origin::dtype_of;
use crate::engine::spec::worst_bytes;
use crate::engine::write::{BigTiff, WriteOptions, WritePlan};
use crate::error::{Error, InputError, Result, ResultExt};
use crate::io::{self, StagedFile, Target};
use crate::mosaic::Mosaic;
use crate::sample::Nodata;
use crate::source::open::is_source;
use crate::tiff::gdal_metadata::{BandMetadata, GdalMetadata};
use crate::tiff::reader::raster_bytes;
use crate::tiff::writer::{ImageSpec, Plane, Writer};

/// Name of the table beside a file.
pub(super) fn table_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// Refuses names that cannot be written, or stand for something else of the run.
pub(super) fn check(mosaic: &Mosaic, output: &Path, options: &WriteOptions) -> Result<()> {
    let Some(path) = &options.provenance else { return Ok(()) };
    let table = table_path(path);
    let refuse = |path: &Path, reason: &str| {
        Err(Error::new(InputError::Output(reason.into())).with_path(path))
    };
    if table == *path {
        return refuse(path, "is the name of the table of sources; name a .tif");
    }
    for own in [path, &table] {
        if is_source(own, mosaic.sources()) {
            return refuse(own, "is one of the inputs; choose another name for --provenance");
        }
        let real = io::check_target(own, options.overwrite)?;
        if own == output || io::check_target(output, true).is_ok_and(|output| output == real) {
            return refuse(own, "is the output; choose another name for --provenance");
        }
    }
    Ok(())
}

/// The temporary file, if the file is asked for.
pub(super) fn target(options: &WriteOptions, found: bool) -> Result<Option<Box<dyn Target>>> {
    let Some(path) = &options.provenance else { return Ok(None) };
    let staged = StagedFile::companion(path, options.overwrite, options.resume, found)?;
    Ok(Some(Box::new(staged)))
}

fn spec(plan: &WritePlan<'_>) -> ImageSpec {
    let own = ImageSpec {
        bands: 1,
        dtype: dtype_of(plan.mosaic.sources().len()),
        pixel_interleaved: false,
        compression: Compression::Lzw,
        predictor: Predictor::None,
        mask: false,
        photometric: 1,
        extra_samples: Vec::new(),
        palette: None,
        nodata: Some(Nodata::Int(0)),
        overviews: Vec::new(),
        cog: false,
        ..plan.spec.clone()
    };
    let chunk = u64::from(own.chunk);
    let side = |pixels: u32| u64::from(pixels).next_multiple_of(chunk);
    let raw = raster_bytes(own.dtype, side(own.size.width) * side(own.size.height), 1);
    let large = worst_bytes(raw, &own) > u64::from(u32::MAX);
    let big_tiff = match plan.options.big_tiff {
        BigTiff::Yes => true,
        BigTiff::No => false,
        BigTiff::Auto => large,
    };
    ImageSpec { big_tiff, ..own }
}

/// The file being written.
pub(super) struct Provenance {
    writer: Writer,
    path: PathBuf,
}

/// Begins the file, or goes on with what a journal speaks of; if that is not there, the journal is worth nothing.
pub(super) fn open<T>(
    plan: &WritePlan<'_>,
    target: Option<Box<dyn Target>>,
    kept: Option<Kept<T>>,
    asked: bool,
) -> Result<(Option<Provenance>, Option<Kept<T>>)> {
    let (Some(target), Some(path)) = (target, &plan.options.provenance) else {
        return Ok((None, kept));
    };
    let [end, digest] = kept.as_ref().map_or([0, 0], |kept| kept.progress.provenance);
    let (writer, found) =
        Writer::resume(target, spec(plan), asked.then_some((end, digest))).at(path)?;
    Ok((Some(Provenance { writer, path: path.clone() }), kept.filter(|_| found)))
}

impl Provenance {
    /// Begins anew.
    pub(super) fn restart(self) -> Result<Provenance> {
        let Provenance { writer, path } = self;
        Ok(Provenance { writer: writer.restart().at(&path)?, path })
    }

    pub(super) fn append(&mut self, place: (u32, u32), block: &Encoded) -> Result<()> {
        match block {
            Encoded::Sparse => Ok(()),
            block => self.writer.append(0, Plane::Image(0), place, block.bytes()).at(&self.path),
        }
    }

    /// Returns once all blocks are on the disk, with what the journal says of them.
    pub(super) fn hold(&mut self) -> Result<[u64; 2]> {
        self.writer.hold().at(&self.path)?;
        let (end, digest) = self.writer.progress();
        Ok([end, digest])
    }

    /// Completes the file and its table, and then publishes both and the output.
    pub(super) fn publish_with(
        self,
        plan: &WritePlan<'_>,
        output: Writer,
        metadata: &GdalMetadata,
    ) -> Result<u64> {
        let Provenance { writer, path } = self;
        let table = table_path(&path);
        let own = BandMetadata { description: Some("source".into()), ..BandMetadata::default() };
        let own = GdalMetadata { items: Vec::new(), bands: vec![own] };
        let sealed = writer.seal(&own).at(&path)?;
        let staged = write_table(plan, &path, &table).at(&table)?;
        let output = output.seal(metadata)?;
        Box::new(staged).publish().at(&table)?;
        let published = sealed.publish().at(&path).and_then(|_| output.publish());
        if published.is_err() {
            // Nothing of a run that fails is left under its names.
            [&table, &path].into_iter().for_each(|path| io::withdraw(path));
        }
        published
    }
}

fn write_table(plan: &WritePlan<'_>, path: &Path, table: &Path) -> Result<StagedFile> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let sources = plan.mosaic.sources().iter().enumerate().map(|(id, source)| {
        json!({
            "index": id + 1,
            "path": source.path().to_string_lossy(),
            "bytes": source.stamp.len,
            "modified_ns": i64::try_from(source.stamp.modified_ns).unwrap_or(i64::MAX),
        })
    });
    let mut staged = StagedFile::create(table, plan.options.overwrite)?;
    let mut at = 0;
    let mut put = |text: String| {
        let place = at;
        at += text.len() as u64;
        staged.write_all_at(place, text.as_bytes())
    };
    // A line for each source, so that a table of very many can be searched.
    put(format!("{{\"raster\": {}, \"none\": 0, \"sources\": [\n", json!(name)))?;
    let last = plan.mosaic.sources().len().saturating_sub(1);
    for (id, source) in sources.enumerate() {
        put(format!("{source}{}\n", if id == last { "" } else { "," }))?;
    }
    put("]}\n".into())?;
    staged.sync()?;
    Ok(staged)
}
