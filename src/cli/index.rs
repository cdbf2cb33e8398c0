//! `smalti index`: saves the virtual mosaic as JSON or as a VRT.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::anyhow;
use smalti::error::{Error, InputError, Result as LibraryResult, ResultExt as _};
use smalti::io::{StagedFile, Target};
use smalti::mosaic::{Mosaic, MosaicOptions, Overlap, vrt_out};
use smalti::source::index;
use smalti::source::open::is_among;
use smalti::source::relative::Namer;

use crate::cli::analysis_args::IndexArgs;
use crate::cli::inputs::{self, Notes};
use crate::cli::output::{clean, say};
use crate::cli::report::{Exit, Failure, Phase, bytes, count};
use crate::cli::{config, stop_flag};

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Vrt,
}

/// Opens the inputs, checks that they make a mosaic, and saves it.
pub(crate) fn run(args: &IndexArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    let ending = args.output.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let kind = match ending.as_deref() {
        Some("json") => Kind::Json,
        Some("vrt") => Kind::Vrt,
        _ => return Err(Failure::usage(anyhow!("--output: expected a name in .json or .vrt"))),
    };
    config::check_output(&args.output, args.overwrite)?;
    let mut options = mosaic_options(args)?;
    let entries = inputs::gather(&args.set.inputs, &args.set.input)?;
    if is_among(&args.output, &inputs::named(&entries).cloned().collect::<Vec<_>>()) {
        let reason = "is one of the inputs; choose another name".into();
        return Err(Error::new(InputError::Output(reason)).with_path(&args.output).into());
    }
    let asked = inputs::is_grid_chosen(&args.set.grid);
    let hinted = inputs::take_hints(&entries.hints, &args.set.grid, &mut options);
    let notes = Notes::new(args.quiet, stop_flag()?);
    let mut opened = inputs::open(&entries, &args.set.input, &args.run, options.overlap, &notes)?;
    inputs::override_nodata(&mut opened.sources, &mut options)?;
    let mosaic = Mosaic::new(opened.sources, &options)?;
    mosaic.warnings().iter().for_each(|warning| notes.add(&warning.to_string()));
    let written = match kind {
        Kind::Json => write_json(args, &mosaic, asked || hinted, &options),
        Kind::Vrt => write_vrt(args, &mosaic, &notes),
    };
    let length = written.map_err(|error| Failure::new(error, Phase::Preparing))?;
    if !args.quiet {
        say(&format!(
            "smalti: {}: {}, {} × {} pixels, {}, {:.2} s",
            clean(&args.output.display().to_string()),
            count(mosaic.sources().len() as u64, "source"),
            mosaic.grid.size.width,
            mosaic.grid.size.height,
            bytes(length),
            began.elapsed().as_secs_f64()
        ));
    }
    Ok(if opened.skipped.is_empty() { Exit::Done } else { Exit::Skipped })
}

fn mosaic_options(args: &IndexArgs) -> LibraryResult<MosaicOptions> {
    if !args.overlap.is_by_order() {
        let reason = "an index keeps the order of inputs only: last or first; say other rules to \
                      `smalti mosaic`"
            .into();
        return Err(InputError::Option { option: "--overlap", reason }.into());
    }
    let mut options = config::set_options(&args.set.input, &args.set.grid)?;
    (options.overlap, options.nodata) = (args.overlap, args.nodata);
    Ok(options)
}

/// The grid is saved if it was asked for; else it follows from the sources again.
fn write_json(
    args: &IndexArgs,
    mosaic: &Mosaic,
    with_grid: bool,
    options: &MosaicOptions,
) -> LibraryResult<u64> {
    let mut namer = Namer::new(&args.output, args.absolute)?;
    let mut sources = mosaic.sources().to_vec();
    if options.overlap == Overlap::First {
        // Whoever opens it takes the last as the uppermost.
        sources.reverse();
    }
    let grid = with_grid.then_some(&mosaic.grid);
    let text = index::write(&sources, grid, options.nodata, &mut namer)?;
    save(&args.output, args.overwrite, |out| Ok(out.write_all(text.as_bytes())?))
}

fn write_vrt(args: &IndexArgs, mosaic: &Mosaic, notes: &Notes) -> LibraryResult<u64> {
    let mut namer = Namer::new(&args.output, args.absolute)?;
    vrt_out::caveats(mosaic).iter().for_each(|caveat| notes.add(caveat));
    save(&args.output, args.overwrite, |out| {
        vrt_out::write(mosaic, &mut |source| namer.name(source.path()), out)
    })
}

/// Writes a file that appears under its name when it is complete; returns its length.
pub(crate) fn save(
    target: &Path,
    overwrite: bool,
    write: impl FnOnce(&mut dyn Write) -> LibraryResult<()>,
) -> LibraryResult<u64> {
    let mut staged = Box::new(StagedFile::create(target, overwrite)?);
    let mut out = io::BufWriter::with_capacity(1 << 16, Appender { staged: &mut staged, at: 0 });
    write(&mut out)?;
    out.flush().at(target)?;
    let length = out.get_ref().at;
    drop(out);
    staged.sync().at(target)?;
    staged.publish().at(target)?;
    Ok(length)
}

/// A staged file as a writer from its start to its end.
struct Appender<'a> {
    staged: &'a mut StagedFile,
    at: u64,
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.staged.write_all_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
