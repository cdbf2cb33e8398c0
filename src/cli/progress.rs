//! What is said while a run goes on: a bar on a terminal, a line each tenth in a log, JSON lines, or
//! nothing; and how the run is stopped.

use std::io::{IsTerminal as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use smalti::Error;
use smalti::observer::{Job, Observer, Stats, Warning};

use crate::cli::args::TalkArgs;
use crate::cli::output::{clean, say};
use crate::cli::report::{count, json_line};

/// Warnings about repeated inputs that are printed; the others are counted.
const MOST_REPEATED: u64 = 10;
/// Warnings further up than this many lines are repeated at the end.
const NEAR_LINES: u64 = 5;
/// Least time between two lines of progress.
const LINE_PAUSE: Duration = Duration::from_secs(1);

/// How it is said.
enum Look {
    Quiet,
    Lines,
    Bar(ProgressBar),
    Json,
}

/// The program's [`Observer`].
pub(crate) struct Progress {
    look: Look,
    stop: Arc<AtomicBool>,
    running: AtomicBool,
    state: Mutex<State>,
}

/// What has been seen so far.
#[derive(Default)]
struct State {
    job: Option<Job>,
    began: Option<Instant>,
    last_line: Option<Instant>,
    tenth: u64,
    blocks: u64,
    bytes: u64,
    lines: u64,
    /// Texts, and the number of lines that were printed before each.
    warnings: Vec<(String, u64)>,
    repeated: u64,
    skipped: Vec<String>,
}

impl Progress {
    /// `stop` ends the run once it is true.
    pub(crate) fn new(talk: &TalkArgs, stop: Arc<AtomicBool>) -> Progress {
        let look = if talk.json {
            Look::Json
        } else if talk.quiet {
            Look::Quiet
        } else if stderr().is_terminal() && talk.verbose < 2 {
            Look::Bar(ProgressBar::hidden())
        } else {
            Look::Lines
        };
        Progress { look, stop, running: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Whether the run itself has begun: all options and inputs were right.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Takes the bar away, and repeats what may have scrolled by.
    pub(crate) fn finish(&self) {
        if let Look::Bar(bar) = &self.look {
            bar.finish_and_clear();
        }
        let state = self.state();
        if matches!(self.look, Look::Quiet | Look::Json) {
            return;
        }
        let far: Vec<&str> = state
            .warnings
            .iter()
            .filter(|(_, line)| line + NEAR_LINES < state.lines)
            .map(|(text, _)| text.as_str())
            .collect();
        if !far.is_empty() {
            say(&format!(
                "smalti: {} in all, from further up:",
                count(state.warnings.len() as u64, "warning")
            ));
            far.iter().for_each(|text| say(&format!("  {text}")));
        }
        if state.repeated > MOST_REPEATED {
            let more = state.repeated - MOST_REPEATED;
            say(&format!("smalti: warning: {more} more inputs were named more than once"));
        }
        if !state.skipped.is_empty() {
            let number = count(state.skipped.len() as u64, "input");
            say(&format!("smalti: warning: {number} skipped:"));
            state.skipped.iter().for_each(|text| say(&format!("  {text}")));
        }
    }

    /// Number of warnings so far.
    pub(crate) fn warnings(&self) -> usize {
        self.state().warnings.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves numbers that are at worst old.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, state: &mut State, text: &str) {
        state.lines += 1;
        match &self.look {
            Look::Bar(bar) => bar.suspend(|| say(text)),
            _ => say(text),
        }
    }

    /// A reader of events that has gone does not end the run: the output is what counts.
    fn event(value: &Value) {
        let _ = json_line(value);
    }

    fn progress(&self, state: &mut State, job: &Job, began: Instant) {
        let done = state.blocks as f64 / job.blocks.max(1) as f64;
        let seconds = began.elapsed().as_secs_f64();
        let rate = job.raw_bytes as f64 * done / seconds.max(1e-3) / 1e6;
        if let Look::Bar(bar) = &self.look {
            bar.set_message(format!("{rate:.0} MB/s"));
            bar.set_position(state.blocks);
            return;
        }
        let pause_over = state.last_line.unwrap_or(began).elapsed() >= LINE_PAUSE;
        let tenth = state.blocks * 10 / job.blocks.max(1);
        if !pause_over || (tenth == state.tenth && matches!(self.look, Look::Lines)) {
            return;
        }
        (state.tenth, state.last_line) = (tenth, Some(Instant::now()));
        let left = seconds / done.max(1e-9) - seconds;
        match self.look {
            Look::Lines => {
                let (percent, blocks, all) = (done * 100.0, state.blocks, job.blocks);
                let text = format!(
                    "smalti: {percent:.0} %: {blocks} of {all} blocks, {rate:.0} MB/s, {left:.0} s left"
                );
                self.line(state, &text);
            }
            _ => Progress::event(&json!({
                "event": "progress",
                "blocks_done": state.blocks,
                "blocks": job.blocks,
                "bytes_written": state.bytes,
                "seconds": seconds,
                "seconds_left": left,
            })),
        }
    }
}

impl Observer for Progress {
    fn started(&self, job: &Job) {
        self.running.store(true, Ordering::Relaxed);
        let mut state = self.state();
        state.job = Some(job.clone());
        state.began = Some(Instant::now());
        match &self.look {
            Look::Bar(bar) => {
                bar.set_length(job.blocks);
                bar.set_style(bar_style());
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            Look::Json => Progress::event(&json!({
                "event": "started",
                "sources": job.sources,
                "blocks": job.blocks,
                "raw_bytes": job.raw_bytes,
                "threads": job.threads,
                "cache_bytes": job.cache_bytes,
                "planned_bytes": job.planned_bytes,
            })),
            Look::Quiet | Look::Lines => {}
        }
    }

    fn source_skipped(&self, error: &Error) {
        let mut state = self.state();
        let text = clean(&error.to_string());
        match self.look {
            Look::Json => Progress::event(&json!({
                "event": "skipped",
                "path": error.path().map(|path| path.to_string_lossy()),
                "text": error.to_string(),
            })),
            // Quiet or not, nobody should miss that an input is missing.
            _ => self.line(&mut state, &format!("smalti: skipped: {text}")),
        }
        state.skipped.push(text);
    }

    fn warning(&self, warning: &Warning) {
        let mut state = self.state();
        let text = clean(&warning.to_string());
        if let Look::Json = self.look {
            Progress::event(&json!({"event": "warning", "text": warning.to_string()}));
        } else if matches!(self.look, Look::Lines | Look::Bar(_)) {
            if let Warning::Repeated { .. } = warning {
                state.repeated += 1;
                if state.repeated > MOST_REPEATED {
                    return;
                }
            }
            self.line(&mut state, &format!("smalti: warning: {text}"));
        }
        let lines = state.lines;
        state.warnings.push((text, lines));
    }

    fn block_written(&self, _index: u64, bytes: u64) {
        let mut state = self.state();
        state.blocks += 1;
        state.bytes += bytes;
        if let (Some(job), Some(began)) = (state.job.clone(), state.began)
            && !matches!(self.look, Look::Quiet)
        {
            self.progress(&mut state, &job, began);
        }
    }

    fn finished(&self, _stats: &Stats) {
        if let Look::Bar(bar) = &self.look {
            bar.finish_and_clear();
        }
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn bar_style() -> ProgressStyle {
    // The template is a constant; should it ever be wrong, the plain bar does as well.
    ProgressStyle::with_template(
        "{bar:32} {percent:>3} %  {pos} of {len} blocks  {msg}  {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}
