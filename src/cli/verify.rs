//! `smalti verify`: whether a file is what it should be.

use std::fs::File;
use std::path::Path;

use serde_json::json;
use smalti::engine::stats::BandStats;
use smalti::error::{Result, ResultExt as _};
use smalti::io::{self, ReadAt as _};
use smalti::ordered::{self, run_ordered, thread_count};
use smalti::source::open::{open_any, stamp_of};
use smalti::tiff::inventory::{self, Image};
use smalti::tiff::layout::Extent;
use smalti::tiff::reader::{ReadOptions, Scratch};

use crate::cli::args::VerifyArgs;
use crate::cli::output::{clean, print};
use crate::cli::receipt::{self, Receipt};
use crate::cli::report::{Exit, Failure, Phase, count};
use crate::cli::{config, pixels, rederive};

/// Faults that are listed; beyond that they are only counted.
const MOST_LISTED: usize = 50;
/// Blocks that a thread decodes at once.
const BATCH: u64 = 16;

/// What was found.
#[derive(Default)]
struct Findings {
    faults: Vec<String>,
    count: u64,
    notes: Vec<String>,
    blocks: u64,
    sparse: u64,
    rederived: u64,
}

impl Findings {
    fn fault(&mut self, text: impl Into<String>) {
        self.count += 1;
        if self.faults.len() < MOST_LISTED {
            self.faults.push(text.into());
        }
    }
}

/// Checks one file.
pub(crate) fn run(args: &VerifyArgs) -> std::result::Result<Exit, Failure> {
    let receipt = args.receipt.as_deref().map(receipt::read).transpose()?;
    let mut found = Findings::default();
    let memory = config::memory(&args.run).bytes()?;
    let sound = structure(&args.file, memory, &mut found);
    match sound {
        Ok(()) => statistics(&args.file, &mut found),
        Err(error) => found.fault(error.to_string()),
    }
    if let Some(receipt) = &receipt {
        compare(&args.file, receipt, &mut found);
    }
    rederive_blocks(args, receipt.as_ref(), &mut found)?;
    report(args, &found)?;
    Ok(if found.count == 0 { Exit::Done } else { Exit::Failed })
}

fn report(args: &VerifyArgs, found: &Findings) -> std::io::Result<()> {
    if args.json {
        let facts = json!({
            "path": args.file.to_string_lossy(),
            "faults": found.count,
            "listed": found.faults,
            "notes": found.notes,
            "blocks": found.blocks,
            "blocks_sparse": found.sparse,
            "blocks_rederived": found.rederived,
        });
        return print(&format!("{facts}\n"));
    }
    let mut text = String::new();
    for fault in &found.faults {
        text += &format!("fault: {}\n", clean(fault));
    }
    let more = found.count - found.faults.len() as u64;
    if more > 0 {
        text += &format!("… and {more} more\n");
    }
    for note in &found.notes {
        text += &format!("{}\n", clean(note));
    }
    let verdict = match found.count {
        0 => "no fault found".to_owned(),
        faults => count(faults, "fault"),
    };
    let blocks = count(found.blocks, "block");
    let name = clean(&args.file.display().to_string());
    text += &format!("{name}: {verdict}; {blocks} decoded, {} not stored\n", found.sparse);
    if found.rederived > 0 {
        text += &format!("{} rendered anew and compared\n", count(found.rederived, "block"));
    }
    print(&text)
}

/// Renders blocks anew: from the inputs that are named, or those of the receipt if that is asked for.
fn rederive_blocks(
    args: &VerifyArgs,
    receipt: Option<&Receipt>,
    found: &mut Findings,
) -> std::result::Result<(), Failure> {
    let expected = match (receipt, args.inputs.is_empty() && args.input.input_list.is_none()) {
        (_, false) => rederive::of_inputs(args)?,
        (Some(receipt), true) if args.rederive.is_some() => match rederive::of_receipt(receipt) {
            Ok(expected) => expected,
            Err(failure) => {
                let reason = format!("{:#}", failure.error).replace('\n', ";");
                found.fault(format!(
                    "the inputs of the receipt: {reason}; relative names count from the directory in which \
                     the run was started"
                ));
                return Ok(());
            }
        },
        _ => return Ok(()),
    };
    let wanted = args.rederive.as_deref().unwrap_or("all");
    let outcome = rederive::compare(&args.file, &expected, wanted, args)
        .map_err(|error| Failure::new(error, Phase::Running))?;
    found.rederived = outcome.blocks;
    outcome.faults.into_iter().for_each(|fault| found.fault(fault));
    Ok(())
}

/// Directories, tables, and every block of every image.
fn structure(path: &Path, memory: u64, found: &mut Findings) -> Result<()> {
    let file = io::open_regular(path).at(path)?;
    let images = inventory::images(&file).at(path)?;
    let extents = receipt::extents(&file, &images).at(path)?;
    overlaps(&extents, found);
    counts(&file, &images, found).at(path)?;
    framing(&file, &images, &extents, found).at(path)?;
    // The first block of each image among all, and the end.
    let starts: Vec<u64> = (images.iter().map(Image::blocks).chain([0]))
        .scan(0, |at, blocks| Some(std::mem::replace(at, *at + blocks)))
        .collect();
    let all = starts.last().copied().unwrap_or(0);
    found.blocks = all;
    found.sparse = extents.iter().flatten().filter(|extent| extent.len == 0).count() as u64;
    found.blocks -= found.sparse;
    run_ordered(
        all.div_ceil(BATCH),
        ordered::Window::light(thread_count(0)),
        &(),
        || Scratch::for_budget(memory),
        |scratch, ticket| {
            let start = ticket.index * BATCH;
            let decode = |index: u64| {
                let number = starts.partition_point(|first| *first <= index) - 1;
                let block = index - starts[number];
                // There is nothing to look at in a block that is not stored.
                let stored = usize::try_from(block).ok().and_then(|at| extents[number].get(at));
                stored.filter(|extent| extent.len > 0)?;
                let decoded = images[number].decode(&file, block, scratch);
                decoded.err().map(|error| format!("image {number}: {error}"))
            };
            Ok((start..(start + BATCH).min(all)).filter_map(decode).collect::<Vec<String>>())
        },
        |_| 0,
        |_, faults| {
            faults.into_iter().for_each(|fault| found.fault(fault));
            Ok(())
        },
    )
    .map(|_| ())
}

/// Counts that no block can have.
fn counts(file: &File, images: &[Image], found: &mut Findings) -> Result<()> {
    for (number, image) in images.iter().enumerate() {
        image.for_each_block(file, |block, _, is_counted| {
            if !is_counted {
                found.fault(format!("image {number}: block {block}: its count of bytes is wrong"));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// No byte may belong to two blocks, nor to the header.
fn overlaps(extents: &[Vec<Extent>], found: &mut Findings) {
    let mut all: Vec<Extent> = extents.iter().flatten().copied().filter(|e| e.len > 0).collect();
    all.sort_unstable_by_key(|extent| (extent.offset, extent.len));
    let mut end = 8;
    for extent in all {
        if extent.offset < end {
            found.fault(format!("a block at byte {} begins inside another thing", extent.offset));
        }
        end = end.max(extent.offset + extent.len);
    }
}

/// The leaders and trailers that a Cloud Optimized GeoTIFF promises.
fn framing(
    file: &File,
    images: &[Image],
    extents: &[Vec<Extent>],
    found: &mut Findings,
) -> Result<()> {
    let mut head = [0; 1024];
    let len = usize::try_from(file.byte_len()?).unwrap_or(usize::MAX).min(head.len());
    file.read_exact_at(0, &mut head[..len])?;
    let promise = b"BLOCK_LEADER=SIZE_AS_UINT4\nBLOCK_TRAILER=LAST_4_BYTES_REPEATED";
    if !head[..len].windows(promise.len()).any(|window| window == promise) {
        return Ok(());
    }
    for (number, (_, extents)) in images.iter().zip(extents).enumerate() {
        for (block, extent) in extents.iter().enumerate().filter(|(_, e)| e.len >= 4) {
            let (mut leader, mut last) = ([0; 4], [0; 8]);
            let ends = extent.offset + extent.len - 4;
            let read = file
                .read_exact_at(extent.offset.saturating_sub(4), &mut leader)
                .and_then(|()| file.read_exact_at(ends, &mut last));
            let same = read.is_ok()
                && u64::from(u32::from_le_bytes(leader)) == extent.len
                && last[..4] == last[4..];
            if !same {
                found.fault(format!(
                    "image {number}: block {block}: its leader or trailer is wrong"
                ));
            }
        }
    }
    Ok(())
}

/// Whether the statistics in the file are those of its pixels; where nodata lies.
fn statistics(path: &Path, found: &mut Findings) {
    let source = match open_any(path, ReadOptions::default()) {
        Ok(source) => source,
        Err(error) => return found.fault(error.to_string()),
    };
    let bands = match pixels::statistics(&source) {
        Ok(bands) => bands,
        // A block that does not decode was named before.
        Err(error) => return found.fault(format!("statistics: {error}")),
    };
    for (index, stats) in bands.iter().enumerate() {
        let invalid = stats.total - stats.valid;
        if invalid > 0 {
            let percent = 100.0 - stats.valid_percent();
            found.notes.push(format!(
                "band {}: {} without data ({percent:.4} %)",
                index + 1,
                count(invalid, "sample")
            ));
        }
    }
    let stated = File::open(path).at(path).and_then(|file| inventory::stated_statistics(&file));
    let stated = match stated {
        Ok(stated) => stated,
        Err(error) => return found.fault(error.to_string()),
    };
    for (band, name, value) in stated {
        let Some(wanted) = bands.get(band as usize).and_then(|stats| statistic(stats, &name))
        else {
            continue;
        };
        // 12 digits were written, of sums in another order.
        let stated = value.trim().parse::<f64>().unwrap_or(f64::NAN);
        let near = (stated - wanted).abs() <= 1e-9 * wanted.abs().max(stated.abs());
        if !near && stated.to_bits() != wanted.to_bits() {
            found.fault(format!("band {}: {name} says {stated}, it is {wanted}", band + 1));
        }
    }
}

fn statistic(stats: &BandStats, name: &str) -> Option<f64> {
    let [minimum, maximum, mean, deviation] = stats.summary()?;
    match name {
        "STATISTICS_MINIMUM" => Some(minimum),
        "STATISTICS_MAXIMUM" => Some(maximum),
        "STATISTICS_MEAN" => Some(mean),
        "STATISTICS_STDDEV" => Some(deviation),
        "STATISTICS_VALID_PERCENT" => Some(stats.valid_percent()),
        _ => None,
    }
}

/// All bytes against the digests of a receipt.
fn compare(path: &Path, receipt: &Receipt, found: &mut Findings) {
    let digests = match receipt::digests(path) {
        Ok(digests) => digests,
        Err(error) => return found.fault(format!("digests: {error}")),
    };
    if digests.bytes != receipt.output.bytes {
        let (is, was) = (digests.bytes, receipt.output.bytes);
        found.fault(format!("the file has {is} bytes, the receipt says {was}"));
    }
    if digests.rest != receipt.rest {
        found.fault("header, directories or tables are not those of the receipt");
    }
    if digests.images.len() != receipt.images.len() {
        found.fault("the file has another number of images than the receipt says");
    }
    for (number, (is, was)) in digests.images.iter().zip(&receipt.images).enumerate() {
        if (is.kind, is.width, is.height, is.blocks.len())
            != (was.kind, was.width, was.height, was.blocks.len())
        {
            found.fault(format!("image {number}: not the image that the receipt knows"));
            continue;
        }
        let pairs = is.blocks.iter().zip(&was.blocks).enumerate();
        for (block, _) in pairs.filter(|(_, (is, was))| is != was) {
            found.fault(format!(
                "image {number}: block {block}: its bytes are not those of the receipt"
            ));
        }
    }
    for source in &receipt.sources {
        let same = std::fs::metadata(&source.path).is_ok_and(|meta| {
            let stamp = stamp_of(&meta);
            (stamp.len, stamp.modified_ns) == (source.bytes, source.modified_ns)
        });
        if !same {
            found.notes.push(format!("{}: missing, or changed since", source.path));
        }
    }
}
