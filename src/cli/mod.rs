//! The program: the only place where arguments, library and terminal meet.

pub(crate) mod analysis_args;
pub(crate) mod args;
mod config;
mod explain;
mod footprints;
mod index;
mod info;
mod inputs;
mod output;
mod pixels;
mod plan;
#[cfg(feature = "preview")]
mod preview;
mod progress;
mod receipt;
mod rederive;
pub(crate) mod report;
mod sample;
mod values;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smalti::engine::stats::BandStats;
use smalti::engine::{self, Report};
use smalti::error::{Error, InputError};
use smalti::io::kept_work;
use smalti::mosaic::Mosaic;
use smalti::source::open::is_among;

use args::{Cli, Command, MosaicArgs};
use progress::Progress;
use report::{Exit, Failure, Phase};
use values::Chunk;

/// Does what the arguments ask for.
pub(crate) fn run(arguments: &Cli) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Mosaic(args) => mosaic(args),
        Command::Info(args) => info::run(args),
        Command::Sample(args) => sample::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Index(args) => index::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Footprints(args) => footprints::run(args),
        #[cfg(feature = "preview")]
        Command::Preview(args) => preview::run(args),
    }
}

fn mosaic(args: &MosaicArgs) -> Result<Exit, Failure> {
    let result = try_mosaic(args);
    if let (Err(failure), true) = (&result, args.talk.json) {
        let event = json!({
            "event": "failed",
            "text": report::lines_of(&failure.error).join("\n"),
            "exit_code": failure.exit as u8,
        });
        // The exit code says the same, if nobody reads this.
        let _ = report::json_line(&event);
    }
    if result.is_err() && kept_work(&args.output) && !args.talk.quiet {
        output::say("smalti: the work so far is kept beside the output; --resume goes on with it");
    }
    result
}

fn try_mosaic(args: &MosaicArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    log_to_stderr(args.talk.verbose);
    let mut write_options = config::write_options(args)?;
    let mut mosaic_options = config::mosaic_options(&args.input, &args.grid, &args.pixels)?;
    let entries = inputs::gather(&args.inputs, &args.input)?;
    inputs::take_hints(&entries.hints, &args.grid, &mut mosaic_options);
    // Also of inputs that turn out bad, and of the grid's model: nothing that is named is replaced.
    let named: Vec<PathBuf> = inputs::named(&entries).chain(&args.grid.like).cloned().collect();
    check_names(args, &named)?;
    log::debug!("{} inputs after {:.3} s", entries.list.len(), began.elapsed().as_secs_f64());
    let progress = Progress::new(&args.talk, stop_flag()?);
    let opened = inputs::open(&entries, &args.input, &args.run, mosaic_options.overlap, &progress)?;
    log::debug!("headers read after {:.3} s", began.elapsed().as_secs_f64());
    let mosaic = Mosaic::new(opened.sources, &mosaic_options)?;
    log::debug!("mosaic made after {:.3} s", began.elapsed().as_secs_f64());
    if args.format.chunk == Some(Chunk::Auto) {
        config::adopt_layout(&args.format, &mosaic, &mut write_options, &progress);
    }
    log::debug!("{mosaic_options:?}\n{write_options:?}");
    let result = engine::write(&mosaic, &args.output, &write_options, &progress);
    progress.finish();
    let report = result.map_err(|error| {
        let phase = if progress.is_running() { Phase::Running } else { Phase::Preparing };
        Failure::new(error, phase)
    })?;
    if let Some(path) = &args.format.receipt {
        receipt::write(path, &args.output, &mosaic, &report)
            .map_err(|error| Failure::new(error, Phase::Running))?;
    }
    let took = began.elapsed();
    if args.talk.json {
        // The output is complete; an event that nobody reads changes nothing.
        let _ = report::json_line(&finished(args, &mosaic, &report, &progress, took));
    } else if !args.talk.quiet {
        report::summary(&mosaic, &args.output, &report, took);
        report::unchecked(&report);
        if args.talk.verbose > 0 {
            report::details(&mosaic, &report);
        }
    }
    let whole = opened.skipped.is_empty() && report.stats.bad_blocks.is_empty();
    Ok(if whole { Exit::Done } else { Exit::Skipped })
}

/// Refuses files to write that are inputs, or one another.
fn check_names(args: &MosaicArgs, inputs: &[PathBuf]) -> Result<(), Error> {
    let table = args.format.provenance.as_ref().map(|path| path.with_extension("json"));
    let own = [Some(&args.output), args.format.provenance.as_ref(), table.as_ref()];
    let own: Vec<&PathBuf> =
        own.into_iter().chain([args.format.receipt.as_ref()]).flatten().collect();
    for (index, path) in own.iter().enumerate() {
        let reason = if is_among(path, inputs) {
            "is one of the inputs; choose another name"
        } else if own[..index].contains(path) {
            "would be written twice; choose another name"
        } else {
            continue;
        };
        return Err(Error::new(InputError::Output(reason.into())).with_path(path));
    }
    for path in [&args.format.provenance, &args.format.receipt].into_iter().flatten() {
        config::check_output(path, args.format.overwrite)?;
    }
    Ok(())
}

/// A flag that Ctrl-C and SIGTERM set; the second one ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    // Beyond a limit on the size of files a write then fails, and says so, instead of ending the program.
    #[cfg(unix)]
    if let Err(error) =
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)))
    {
        log::warn!("SIGXFSZ: {error}");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let handler = move || {
        if seen.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the user does not want to wait for a clean end")]
            std::process::exit(Exit::Interrupted as i32);
        }
    };
    match ctrlc::set_handler(handler) {
        Ok(()) => Ok(stop),
        Err(error) => Err(Failure { exit: Exit::Failed, error: error.into() }),
    }
}

/// The library's diagnosis, for `-vv`.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 | 1 => return,
        2 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    // It fails if there is a logger already; then that one is used.
    let _ = env_logger::Builder::new().filter_level(level).try_init();
}

fn finished(
    args: &MosaicArgs,
    mosaic: &Mosaic,
    report: &Report,
    progress: &Progress,
    took: Duration,
) -> Value {
    let stats = &report.stats;
    json!({
        "event": "finished",
        "output": args.output.to_string_lossy(),
        "width": mosaic.grid.size.width,
        "height": mosaic.grid.size.height,
        "data_type": mosaic.dtype.name(),
        "seconds": took.as_secs_f64(),
        "peak_bytes": report::peak_bytes(),
        "warnings": progress.warnings(),
        "output_bytes": stats.output_bytes,
        "blocks_written": stats.blocks_written,
        "blocks_sparse": stats.blocks_sparse,
        "blocks_copied": stats.blocks_copied,
        "blocks_unchecked": stats.blocks_unchecked,
        "blocks_resumed": stats.blocks_resumed,
        "overview_blocks": stats.overview_blocks,
        "blocks_decoded": stats.blocks_decoded,
        "bad_blocks": stats.bad_blocks,
        "blocks_distinct": stats.blocks_distinct,
        "decodes_per_block": report::decodes(report),
        "samples_invalid": stats.samples_invalid,
        "nodata_clashes": stats.nodata_clashes,
        "samples_saturated": stats.samples_saturated,
        "read_seconds": stats.read_seconds,
        "decode_seconds": stats.decode_seconds,
        "render_seconds": stats.render_seconds,
        "encode_seconds": stats.encode_seconds,
        "write_seconds": stats.write_seconds,
        "wait_seconds": stats.wait_seconds,
        "bands": report.bands.iter().map(band_stats).collect::<Vec<Value>>(),
    })
}

/// Statistics of a band; `null` where no sample is valid.
fn band_stats(stats: &BandStats) -> Value {
    let [minimum, maximum, mean, deviation] = match stats.summary() {
        Some(summary) => summary.map(Value::from),
        None => [const { Value::Null }; 4],
    };
    json!({
        "minimum": minimum,
        "maximum": maximum,
        "mean": mean,
        "stddev": deviation,
        "valid": stats.valid,
        "samples": stats.total,
        "valid_percent": stats.valid_percent(),
    })
}
