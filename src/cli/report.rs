//! What the program says at its end: exit codes, errors, the summary of a run.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use smalti::engine::Report;
use smalti::error::{Error, ErrorKind, InputError};
use smalti::io::read_system_file;
use smalti::mosaic::Mosaic;

use crate::cli::output::{clean, print, say};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is done.
    Done = 0,
    /// The run failed after it had started.
    Failed = 1,
    /// The request or an input is wrong; nothing was started.
    Usage = 2,
    /// Done, but inputs were skipped.
    Skipped = 3,
    /// Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// How far the program was when an error came; the same error means another thing later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Finding and opening inputs, checking options.
    Opening,
    /// Between that and the first block.
    Preparing,
    /// Reading pixels.
    Running,
}

/// An error with the exit code that it leads to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// What an error of the library means in a phase.
    pub(crate) fn new(error: Error, phase: Phase) -> Failure {
        let exit = match (error.kind(), phase) {
            (ErrorKind::Cancelled, _) => Exit::Interrupted,
            (ErrorKind::Panicked(_), _) => Exit::Failed,
            (_, Phase::Opening) | (ErrorKind::Limit { .. }, Phase::Preparing) => Exit::Usage,
            (_, Phase::Preparing) if error.is_input_error() => Exit::Usage,
            _ => Exit::Failed,
        };
        Failure { exit, error: error.into() }
    }

    /// A request that cannot be met.
    pub(crate) fn usage(error: anyhow::Error) -> Failure {
        Failure { exit: Exit::Usage, error }
    }
}

/// Errors of the library while inputs are opened and options checked.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error, Phase::Opening)
    }
}

/// Errors of standard output.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        // A reader that has seen enough (`| head`) is no failure.
        let closed = error.kind() == std::io::ErrorKind::BrokenPipe;
        let exit = if closed { Exit::Done } else { Exit::Failed };
        Failure { exit, error: anyhow::Error::new(error).context("standard output") }
    }
}

/// Prints what clap has to say: help and version to standard output, wrong usage to standard error.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() {
        // Help that nobody reads to its end is no failure.
        let _ = error.print();
        return Exit::Done;
    }
    if error.kind() != DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), b"smalti: ");
    }
    // As above.
    let _ = error.print();
    Exit::Usage
}

/// Prints an error, unless it only says that nobody listens.
pub(crate) fn failure(failure: &Failure) {
    match failure.exit {
        Exit::Done => {}
        Exit::Interrupted => say("smalti: interrupted; no output was written"),
        _ => {
            for (index, line) in lines_of(&failure.error).iter().enumerate() {
                say(&if index == 0 {
                    format!("smalti: error: {line}")
                } else {
                    format!("  {line}")
                });
            }
        }
    }
}

/// The lines of an error: one, but for errors that list several files.
pub(crate) fn lines_of(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::BadSources(errors)) if errors.len() == 1 => {
            errors.iter().map(|error| clean(&error.to_string())).collect()
        }
        Some(ErrorKind::BadSources(errors)) => {
            let head = format!(
                "{} of the inputs cannot be used; mend or remove them, or pass --skip-bad:",
                errors.len()
            );
            let rest = errors.iter().map(|error| clean(&error.to_string()));
            std::iter::once(head).chain(rest).collect()
        }
        Some(ErrorKind::Input(InputError::MixedCrs { .. })) => {
            error.to_string().lines().map(|line| clean(line.trim())).collect()
        }
        _ => vec![clean(&format!("{error:#}"))],
    }
}

/// One line about the output.
pub(crate) fn summary(mosaic: &Mosaic, output: &Path, report: &Report, took: Duration) {
    let (size, bands) = (mosaic.grid.size, mosaic.output_bands());
    say(&format!(
        "smalti: {}: {} × {} pixels, {}, {}, {}, {:.2} s",
        clean(&output.display().to_string()),
        size.width,
        size.height,
        count(u64::from(bands), "band"),
        mosaic.dtype,
        bytes(report.stats.output_bytes),
        took.as_secs_f64()
    ));
}

/// What nobody has looked at.
pub(crate) fn unchecked(report: &Report) {
    let blocks = report.stats.blocks_unchecked;
    if blocks > 0 {
        say(&format!(
            "smalti: {} copied without being decoded; nobody has checked what they hold",
            if blocks == 1 { "1 block was".into() } else { format!("{blocks} blocks were") }
        ));
    }
}

/// The table of `-v`.
#[expect(clippy::too_many_lines, reason = "one line for each line that is printed")]
pub(crate) fn details(mosaic: &Mosaic, report: &Report) {
    let (stats, budget) = (&report.stats, &report.budget);
    let bounds = mosaic.grid.bounds();
    let [res_x, res_y] = mosaic.grid.transform.resolution();
    let row = |name: &str, value: String| say(&format!("  {name:<9} {value}"));
    let layers = mosaic.layers();
    row("sources", count(mosaic.sources().len() as u64, "file"));
    let crs = mosaic.grid.crs.as_ref().map_or("no CRS".to_owned(), |crs| clean(&crs.to_string()));
    row("grid", format!("{crs}, pixel {res_x} × {res_y}"));
    let spellings = mosaic.spellings();
    if spellings > 1 {
        row("crs", format!("written in {spellings} ways that mean the same, and taken as one"));
    }
    for reprojection in mosaic.reprojections() {
        row("warp", clean(&reprojection.to_string()));
    }
    row(
        "bounds",
        format!("{}, {}, {}, {}", bounds.min_x, bounds.min_y, bounds.max_x, bounds.max_y),
    );
    let mut sizes: Vec<String> =
        layers.iter().map(|l| l.sources.len().to_string()).take(8).collect();
    if layers.len() > sizes.len() {
        sizes.push("…".into());
    }
    row("layers", format!("{} (sources: {})", layers.len(), sizes.join(" + ")));
    row(
        "order",
        format!("blocks in {}, each from top to bottom", count(report.columns as u64, "column")),
    );
    row(
        "memory",
        format!(
            "{} budget: cache {}, window {}, {} of {} each; peak resident {}",
            bytes(budget.total_bytes),
            bytes(budget.cache_bytes),
            bytes(budget.window_bytes),
            count(budget.threads as u64, "thread"),
            bytes(budget.thread_bytes),
            peak_bytes().map_or("unknown".into(), bytes),
        ),
    );
    row(
        "seconds",
        format!(
            "read {:.2}, decode {:.2}, render {:.2}, encode {:.2}, write {:.2}, wait {:.2} \
             (sums over threads)",
            stats.read_seconds,
            stats.decode_seconds,
            stats.render_seconds,
            stats.encode_seconds,
            stats.write_seconds,
            stats.wait_seconds
        ),
    );
    row(
        "decoded",
        format!(
            "{}, {} distinct: {:.3} decodes a block",
            count(stats.blocks_decoded, "source block"),
            stats.blocks_distinct,
            decodes(report)
        ),
    );
    row(
        "written",
        format!(
            "{}, {} of them copied as they were, {} left out; {}",
            count(stats.blocks_written, "block"),
            stats.blocks_copied,
            stats.blocks_sparse,
            count(stats.overview_blocks, "overview block")
        ),
    );
    row("invalid", count(stats.samples_invalid, "sample"));
}

/// Decodes per source block.
pub(crate) fn decodes(report: &Report) -> f64 {
    report.stats.blocks_decoded as f64 / report.stats.blocks_distinct.max(1) as f64
}

/// Most memory that this process ever held, where the system says so.
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = read_system_file(Path::new("/proc/self/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// `1 band`, `3 bands`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `3.4 KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Prints one JSON value as a line on standard output.
pub(crate) fn json_line(value: &serde_json::Value) -> std::io::Result<()> {
    print(&format!("{value}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti::error::FormatError;

    #[test]
    fn the_same_error_means_another_thing_later() {
        let error = || Error::new(FormatError::NotATiff);
        assert_eq!(Failure::new(error(), Phase::Opening).exit, Exit::Usage);
        assert_eq!(Failure::new(error(), Phase::Running).exit, Exit::Failed);
        let denied = || Error::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert_eq!(Failure::new(denied(), Phase::Opening).exit, Exit::Usage);
        assert_eq!(Failure::new(denied(), Phase::Preparing).exit, Exit::Failed);
        assert_eq!(
            Failure::new(ErrorKind::Cancelled.into(), Phase::Opening).exit,
            Exit::Interrupted
        );
    }

    #[test]
    fn bad_sources_have_a_line_each() {
        let bad = |name: &str| Error::new(FormatError::NotATiff).with_path(Path::new(name));
        let one = Error::from(ErrorKind::BadSources(vec![bad("a\nb.tif")]));
        assert_eq!(lines_of(&one.into()), ["a\\nb.tif: not a TIFF file"]);
        let two = Error::from(ErrorKind::BadSources(vec![bad("a.tif"), bad("b.tif")]));
        assert_eq!(lines_of(&two.into()).len(), 3);
    }
}
