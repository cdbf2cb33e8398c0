//! Rendering blocks of a file anew from its inputs, and comparing samples (`smalti verify`).

use std::fs::File;
use std::path::Path;

use anyhow::anyhow;
use clap::Parser as _;
use smalti::engine::Reader;
use smalti::error::{Result, ResultExt as _};
use smalti::geometry::Window;
use smalti::grid::Grid;
use smalti::io::IoMode;
use smalti::mosaic::{Mosaic, ValidityOutput, opaque_alpha};
use smalti::ordered::{self, run_ordered, thread_count};
use smalti::raster::{AnyRaster, Mask};
use smalti::sample::Sample;
use smalti::source::open::open_source;
use smalti::tiff::inventory::{self, Image};
use smalti::tiff::reader::Scratch;
use smalti::with_dtype;

use crate::cli::args::{ClashArg, Cli, Command, VerifyArgs};
use crate::cli::receipt::Receipt;
use crate::cli::report::Failure;
use crate::cli::{config, inputs};

/// Decoded blocks that are kept, unless `--memory` says otherwise.
const CACHE_BYTES: u64 = 128 << 20;

/// A mosaic as it would be written.
pub(crate) struct Expected {
    mosaic: Mosaic,
    /// Valid samples that equal nodata are moved.
    nudge: bool,
}

/// What was compared.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) blocks: u64,
    pub(crate) faults: Vec<String>,
}

/// The mosaic that a receipt's command line describes.
pub(crate) fn of_receipt(receipt: &Receipt) -> std::result::Result<Expected, Failure> {
    let line = std::iter::once("smalti".to_owned()).chain(receipt.arguments.iter().cloned());
    let cli = Cli::try_parse_from(line).map_err(|error| Failure::usage(anyhow!("{error}")))?;
    let Command::Mosaic(args) = cli.command else {
        return Err(Failure::usage(anyhow!("the receipt is not that of a mosaic")));
    };
    let mut options = config::mosaic_options(&args.input, &args.grid, &args.pixels)?;
    let entries = inputs::gather(&args.inputs, &args.input)?;
    inputs::take_hints(&entries.hints, &args.grid, &mut options);
    let opened = inputs::open(&entries, &args.input, &args.run, options.overlap, &())?;
    let nudge = matches!(args.pixels.on_nodata_clash, ClashArg::Nudge);
    Ok(Expected { mosaic: Mosaic::new(opened.sources, &options)?, nudge })
}

/// The mosaic of the inputs that are named, on the grid of the file and of its type, nodata, mask and alpha.
pub(crate) fn of_inputs(args: &VerifyArgs) -> std::result::Result<Expected, Failure> {
    let output = open_source(&args.file)?;
    let dataset = &output.dataset;
    let mut options = config::mosaic_options(&args.input, &args.grid, &args.pixels)?;
    let (crs, transform) = (dataset.crs.clone(), dataset.transform);
    options.like = Some(Grid { crs, transform, size: dataset.image.size });
    options.dtype = options.dtype.or(Some(output.dtype()));
    options.nodata = options.nodata.or(output.nodata.band(0));
    options.mask |= output.mask().is_some();
    let nudge = matches!(args.pixels.on_nodata_clash, ClashArg::Nudge);
    let open = || -> std::result::Result<_, Failure> {
        let entries = inputs::gather(&args.inputs, &args.input)?;
        Ok(inputs::open(&entries, &args.input, &args.run, options.overlap, &())?.sources)
    };
    let mosaic = Mosaic::new(open()?, &options)?;
    if mosaic.output_bands() + 1 == output.bands() && output.alpha_band().is_some() {
        options.alpha = true;
        return Ok(Expected { mosaic: Mosaic::new(open()?, &options)?, nudge });
    }
    Ok(Expected { mosaic, nudge })
}

/// Renders `wanted` blocks, spread evenly, or all, and compares them with those of the file.
pub(crate) fn compare(
    path: &Path,
    expected: &Expected,
    wanted: &str,
    args: &VerifyArgs,
) -> Result<Outcome> {
    let (mosaic, mut outcome) = (&expected.mosaic, Outcome::default());
    let file = File::open(path).at(path)?;
    let Ok(images) = inventory::images(&file) else { return Ok(outcome) };
    let Some(image) = images.first() else { return Ok(outcome) };
    let layout = &image.layout;
    let facts = (layout.size, layout.dtype, layout.bands);
    if facts != (mosaic.grid.size, mosaic.dtype, mosaic.output_bands()) {
        let text = "the inputs give a mosaic of another size, type or number of bands";
        outcome.faults.push(text.into());
        return Ok(outcome);
    }
    let mask = images.get(1).filter(|mask| mask.kind & 4 != 0 && mask.kind & 1 == 0);
    let mask = mask.filter(|mask| mask.layout.block_size() == layout.block_size());
    let blocks = layout.blocks_in_plane();
    let number = wanted.parse().unwrap_or(blocks).clamp(1, blocks);
    let cache = args.run.memory.map_or(CACHE_BYTES, |bytes| bytes / 2);
    let reader = Reader::new(mosaic, cache, IoMode::Auto);
    run_ordered(
        number,
        ordered::Window::light(thread_count(config::threads(&args.run))),
        &(),
        Scratch::default,
        |scratch, ticket| {
            let block = (u128::from(ticket.index) * u128::from(blocks) / u128::from(number)) as u64;
            let across = u64::from(layout.across());
            let window = layout.block_window((block % across) as u32, (block / across) as u32);
            let (pixels, valid) = reader.read(window)?;
            let own = Block { expected, window, pixels: &pixels, valid: &valid };
            let planes = if layout.planar { u64::from(layout.bands) } else { 1 };
            let mut same = true;
            for plane in 0..planes {
                // One that does not decode was named before.
                let index = plane * blocks + block;
                let Ok(stored) = image.decode(&file, index, scratch) else { continue };
                let first = if layout.planar { plane as u32 } else { 0 };
                same &= with_dtype!(mosaic.dtype, T => own.is_stored::<T>(&stored, first));
            }
            Ok((!same || !own.is_masked(mask, &file, block, scratch)).then_some(block))
        },
        |_| 64,
        |_, differs| {
            outcome.blocks += 1;
            outcome.faults.extend(
                differs.map(|block| format!("block {block}: its inputs give other samples")),
            );
            Ok(())
        },
    )?;
    Ok(outcome)
}

/// A block rendered anew.
struct Block<'a> {
    expected: &'a Expected,
    window: Window,
    pixels: &'a AnyRaster,
    valid: &'a Mask,
}

impl Block<'_> {
    fn any_valid(&self, col: u32, row: u32) -> bool {
        (0..self.expected.mosaic.bands).any(|band| self.valid.is_valid(band, col, row))
    }

    /// Whether a decoded block holds what the rendered one gives, from band `first` on.
    fn is_stored<T: Sample>(&self, stored: &AnyRaster, first: u32) -> bool {
        let mosaic = &self.expected.mosaic;
        let (stride, plane) = (stored.size().width, stored.size().pixels() as usize);
        let samples: &[T] = bytemuck::cast_slice(stored.as_bytes());
        let own: &[T] = bytemuck::cast_slice(self.pixels.as_bytes());
        let declared = mosaic.nodata.filter(|_| mosaic.validity == ValidityOutput::Nodata);
        let nodata = declared.and_then(|nodata| nodata.as_sample::<T>());
        let opaque = T::from_f64(opaque_alpha(T::DTYPE));
        let size = self.window.size();
        let expect = |band: u32, col: u32, row: u32| {
            if band >= mosaic.bands {
                return if self.any_valid(col, row) { opaque } else { T::ZERO };
            }
            let at = (u64::from(band) * size.pixels()
                + u64::from(row) * u64::from(size.width)
                + u64::from(col)) as usize;
            let is_alpha = mosaic.facts.alpha_band == Some(band);
            match (self.valid.is_valid(band, col, row), nodata) {
                (false, _) if is_alpha => T::ZERO,
                (true, Some(nodata)) if self.expected.nudge && !is_alpha && own[at] == nodata => {
                    nodata.next_value()
                }
                _ => own[at],
            }
        };
        (0..stored.bands()).all(|band| {
            let samples = &samples[band as usize * plane..][..plane];
            (0..size.height).all(|row| {
                let line = &samples[(row * stride) as usize..][..size.width as usize];
                let same = |(col, sample): (u32, &T)| {
                    let want = expect(first + band, col, row);
                    bytemuck::bytes_of(sample) == bytemuck::bytes_of(&want)
                };
                (0..).zip(line).all(same)
            })
        })
    }

    /// Whether the internal mask, where there is one, says what is valid.
    fn is_masked(
        &self,
        mask: Option<&Image>,
        file: &File,
        block: u64,
        scratch: &mut Scratch,
    ) -> bool {
        let is_own = self.expected.mosaic.validity == ValidityOutput::Mask;
        let Some(mask) = mask.filter(|_| is_own) else { return !is_own };
        let Ok(stored) = mask.decode(file, block, scratch) else { return true };
        let size = self.window.size();
        (0..size.height).all(|row| {
            (0..size.width)
                .all(|col| (stored.get_f64(0, col, row) != 0.0) == self.any_valid(col, row))
        })
    }
}
