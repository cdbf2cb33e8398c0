//! `--receipt`: what a run was given and what it made, with digests of all bytes of the output.
//!
//! ```json
//! {"smalti": "0.1.0", "arguments": […], "sources": [{"path", "bytes", "modified_ns"}, …],
//!  "output": {"bytes"}, "statistics": […],
//!  "images": [{"kind", "width", "height", "blocks": [SHA-256 of each block, "" if it is not stored]}, …],
//!  "rest": SHA-256 of all bytes between the blocks: header, directories, tables}
//! ```

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use smalti::engine::Report;
use smalti::error::{Result, ResultExt as _};
use smalti::io::{ReadAt as _, StagedFile, Target as _};
use smalti::mosaic::Mosaic;
use smalti::ordered::{self, run_ordered, thread_count};
use smalti::tiff::inventory::{self, Image};
use smalti::tiff::layout::Extent;

/// A receipt.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// Version of the program.
    pub(crate) smalti: String,
    /// The command line, without the program's name.
    pub(crate) arguments: Vec<String>,
    pub(crate) sources: Vec<SourceEntry>,
    pub(crate) output: OutputEntry,
    pub(crate) statistics: Vec<Value>,
    pub(crate) images: Vec<ImageEntry>,
    pub(crate) rest: String,
}

/// An input as it was.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceEntry {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) modified_ns: i128,
}

/// The file that was written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OutputEntry {
    pub(crate) bytes: u64,
}

/// An image of the file.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct ImageEntry {
    pub(crate) kind: u64,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) blocks: Vec<BlockSum>,
}

/// SHA-256 of a block, none if it is not stored. As text in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockSum(Option<[u8; 32]>);

impl Serialize for BlockSum {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.map_or_else(String::new, |sum| hex(&sum)))
    }
}

impl<'a> Deserialize<'a> for BlockSum {
    fn deserialize<D: serde::Deserializer<'a>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(BlockSum(None));
        }
        let mut sum = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(serde::de::Error::custom("a digest that is none"));
        }
        for (index, byte) in sum.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(serde::de::Error::custom)?;
        }
        Ok(BlockSum(Some(sum)))
    }
}

/// Digests of a whole file: its images, and what lies between their blocks.
pub(crate) struct Digests {
    pub(crate) bytes: u64,
    pub(crate) images: Vec<ImageEntry>,
    pub(crate) rest: String,
}

/// Blocks that a thread takes the digests of at once.
const BATCH: usize = 64;

/// Takes the digests of a file.
pub(crate) fn digests(path: &Path) -> Result<Digests> {
    let file = File::open(path).at(path)?;
    let images = inventory::images(&file).at(path)?;
    let bytes = file.byte_len().at(path)?;
    let extents = extents(&file, &images).at(path)?;
    let all: Vec<Extent> = extents.iter().flatten().copied().collect();
    let mut sums: Vec<BlockSum> = Vec::with_capacity(all.len());
    run_ordered(
        all.len().div_ceil(BATCH) as u64,
        ordered::Window::light(thread_count(0)),
        &(),
        Vec::new,
        |buffer: &mut Vec<u8>, ticket| {
            let start = ticket.index as usize * BATCH;
            let batch = &all[start..(start + BATCH).min(all.len())];
            batch.iter().map(|extent| sum(&file, *extent, buffer)).collect::<Result<Vec<_>>>()
        },
        |_| 0,
        |_, batch| {
            sums.extend(batch);
            Ok(())
        },
    )
    .at(path)?;
    let rest = rest(&file, bytes, all).at(path)?;
    let mut sums = sums.into_iter();
    let images = images.iter().zip(&extents).map(|(image, extents)| ImageEntry {
        kind: image.kind,
        width: image.layout.size.width,
        height: image.layout.size.height,
        blocks: sums.by_ref().take(extents.len()).collect(),
    });
    Ok(Digests { bytes, images: images.collect(), rest })
}

/// Where the blocks of all images lie.
pub(crate) fn extents(file: &File, images: &[Image]) -> Result<Vec<Vec<Extent>>> {
    let of = |image: &Image| {
        let mut found = Vec::new();
        image.for_each_block(file, |_, extent, _| {
            found.push(extent);
            Ok(())
        })?;
        Ok(found)
    };
    images.iter().map(of).collect()
}

fn sum(file: &File, extent: Extent, buffer: &mut Vec<u8>) -> Result<BlockSum> {
    if extent.len == 0 {
        return Ok(BlockSum(None));
    }
    buffer.resize(usize::try_from(extent.len).unwrap_or(usize::MAX), 0);
    file.read_exact_at(extent.offset, buffer)?;
    Ok(BlockSum(Some(Sha256::digest(&buffer).into())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of all bytes that are in no block.
fn rest(file: &File, bytes: u64, mut blocks: Vec<Extent>) -> Result<String> {
    blocks.retain(|extent| extent.len > 0);
    blocks.sort_unstable_by_key(|extent| extent.offset);
    let (mut digest, mut buffer, mut at) = (Sha256::new(), vec![0; 1 << 16], 0);
    let end = Extent { offset: bytes, len: 0 };
    for extent in blocks.into_iter().chain([end]) {
        while at < extent.offset {
            let part = usize::try_from(extent.offset - at).unwrap_or(usize::MAX).min(buffer.len());
            file.read_exact_at(at, &mut buffer[..part])?;
            digest.update(&buffer[..part]);
            at += part as u64;
        }
        at = at.max(extent.offset + extent.len);
    }
    Ok(hex(&digest.finalize()))
}

/// Writes the receipt of a run.
pub(crate) fn write(path: &Path, output: &Path, mosaic: &Mosaic, report: &Report) -> Result<()> {
    let Digests { bytes, images, rest } = digests(output)?;
    let source = |source: &smalti::source::Source| SourceEntry {
        path: source.path().to_string_lossy().into_owned(),
        bytes: source.stamp.len,
        modified_ns: source.stamp.modified_ns,
    };
    let receipt = Receipt {
        smalti: env!("CARGO_PKG_VERSION").into(),
        arguments: std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect(),
        sources: mosaic.sources().iter().map(source).collect(),
        output: OutputEntry { bytes },
        statistics: report.bands.iter().map(super::band_stats).collect(),
        images,
        rest,
    };
    // A receipt belongs to the output of its run, so an older one is replaced.
    let mut file = StagedFile::create(path, true)?;
    let mut to = std::io::BufWriter::with_capacity(1 << 18, Appended { file: &mut file, at: 0 });
    serde_json::to_writer_pretty(&mut to, &receipt).map_err(std::io::Error::other).at(path)?;
    to.write_all(b"\n").and_then(|()| to.flush()).at(path)?;
    drop(to);
    file.sync().at(path)?;
    Box::new(file).publish().at(path)
}

/// Writes one after the other to a file.
struct Appended<'a> {
    file: &'a mut StagedFile,
    at: u64,
}

impl Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads a receipt.
pub(crate) fn read(path: &Path) -> Result<Receipt> {
    let file = File::open(path).at(path)?;
    serde_json::from_reader(std::io::BufReader::new(file)).map_err(std::io::Error::other).at(path)
}
