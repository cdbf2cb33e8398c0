//! Writes what the library reads of files, for `.ci/odd_files.py` to compare with other readers.
//!
//! `dump FILE...` gives for each file one line of JSON-free text, tab-separated, and then as many bytes
//! as it says: `ok`, name, type, bands, rows, columns, bytes; or `error`, name, kind, message. Samples
//! are band after band, row after row, in the machine's order. `mask` follows for a file with a mask.

use std::io::{self, Write};
use std::path::Path;

use smalti::error::{Error, ErrorKind, Result};
use smalti::raster::AnyRaster;
use smalti::source::open::open_any;
use smalti::tiff::reader::{BlockId, Dataset, Part, ReadOptions, Scratch};

/// Most bytes of an image that are held.
const MOST_BYTES: u64 = 1 << 30;

fn main() -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let overviews = std::env::var_os("DUMP_OVERVIEWS").is_some();
    for name in std::env::args().skip(1) {
        match open_any(Path::new(&name), ReadOptions { overviews }) {
            Err(error) => refuse(&mut out, &name, &error)?,
            Ok(source) => {
                let mut parts = vec![Part::Image, Part::Mask];
                for index in 0..source.dataset.overviews.len() as u16 {
                    parts.extend([Part::Overview(index), Part::OverviewMask(index)]);
                }
                for part in parts {
                    match part_of(&source.dataset, part) {
                        Ok(None) => {}
                        Ok(Some((head, bytes))) => {
                            writeln!(out, "{part:?}\t{name}\t{head}\t{}", bytes.len())?;
                            out.write_all(&bytes)?;
                        }
                        Err(error) => refuse(&mut out, &name, &error)?,
                    }
                }
            }
        }
    }
    out.flush()
}

fn refuse(out: &mut dyn Write, name: &str, error: &Error) -> io::Result<()> {
    let kind = match error.kind() {
        ErrorKind::Io(_) => "io",
        ErrorKind::Format(_) => "format",
        ErrorKind::Unsupported(_) => "unsupported",
        ErrorKind::Input(_) => "input",
        ErrorKind::Limit { .. } => "limit",
        _ => "other",
    };
    writeln!(out, "error\t{name}\t{kind}\t{}", error.to_string().replace(['\n', '\t'], " "))
}

/// All samples of a part of a dataset, and its type and shape.
fn part_of(dataset: &Dataset, part: Part) -> Result<Option<(String, Vec<u8>)>> {
    let Some(layout) = dataset.layout(part) else { return Ok(None) };
    let size = layout.dtype.size();
    let (width, height) = (layout.size.width as usize, layout.size.height as usize);
    let need = (width * height * size) as u64 * u64::from(layout.bands);
    if need > MOST_BYTES {
        return Err(ErrorKind::Limit { what: "the dump", need, max: MOST_BYTES }.into());
    }
    let mut path = dataset.path.clone().into_os_string();
    path.push(layout.file.suffix());
    let file = std::fs::File::open(&path)?;
    let mut all = vec![0; need as usize];
    let mut scratch = Scratch::default();
    let planes = if layout.planar { layout.bands } else { 1 };
    for plane in 0..planes {
        for by in 0..layout.down() {
            for bx in 0..layout.across() {
                let block =
                    dataset.read_block(&file, part, BlockId { bx, by, plane }, &mut scratch)?;
                let window = layout.block_window(bx, by);
                place(&block, plane, (window.col, window.row), (width, height), size, &mut all);
            }
        }
    }
    Ok(Some((format!("{}\t{}\t{height}\t{width}", layout.dtype, layout.bands), all)))
}

fn place(
    block: &AnyRaster,
    plane: u32,
    (col, row): (u32, u32),
    (width, height): (usize, usize),
    size: usize,
    all: &mut [u8],
) {
    let (col, row) = (col as usize, row as usize);
    let (across, down) = (block.size().width as usize, block.size().height as usize);
    for band in 0..block.bands() as usize {
        let samples = &block.as_bytes()[band * across * down * size..][..across * down * size];
        let lines = samples.chunks_exact(across * size).take(height - row);
        for (y, line) in lines.enumerate() {
            let to = ((plane as usize + band) * height + row + y) * width + col;
            let count = across.min(width - col) * size;
            all[to * size..][..count].copy_from_slice(&line[..count]);
        }
    }
}
