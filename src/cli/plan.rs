//! `smalti plan`: what a run would make, cost, warn of and refuse, all at once.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::{Value, json};
use smalti::engine::WriteOptions;
use smalti::engine::estimate::{Estimate, estimate};
use smalti::error::{ErrorKind, InputError};
use smalti::mosaic::coverage::Coverage;
use smalti::mosaic::describe::{Finding, Severity, differences, misalignments};
use smalti::mosaic::{Mosaic, MosaicOptions, ValidityOutput};
use smalti::source::Source;
use smalti::source::open::{OpenOptions, open_entries};
use smalti::source::sort::sort;

use crate::cli::analysis_args::PlanArgs;
use crate::cli::args::FormatArgs;
use crate::cli::inputs::{self, Notes};
use crate::cli::output::{clean, print};
use crate::cli::report::{Exit, Failure, Phase, bytes, count};
use crate::cli::values::Chunk;
use crate::cli::{config, stop_flag};

/// What was found out.
struct Plan {
    inputs: usize,
    findings: Vec<Finding>,
    mosaic: Option<Mosaic>,
    coverage: Option<Coverage>,
    estimate: Option<Estimate>,
    seconds: f64,
}

/// Prints the plan. Exit code 2 if the run would be refused.
pub(crate) fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    let write_options = config::writing(&args.format, &args.pixels, &args.run)?;
    let mut options = config::mosaic_options(&args.set.input, &args.set.grid, &args.pixels)?;
    let entries = inputs::gather(&args.set.inputs, &args.set.input)?;
    inputs::take_hints(&entries.hints, &args.set.grid, &mut options);
    let notes = Notes::silent(stop_flag()?);
    let mut plan = Plan {
        inputs: entries.list.len(),
        findings: Vec::new(),
        mosaic: None,
        coverage: None,
        estimate: None,
        seconds: 0.0,
    };
    // All bad inputs are told, and what the others come to.
    let open = OpenOptions {
        skip_bad: true,
        ..config::open_options(&args.set.input, config::threads(&args.run))
    };
    match open_entries(&entries.list, &open, &notes) {
        Ok(mut opened) => {
            let bad = if args.set.input.skip_bad { Severity::Warning } else { Severity::Refused };
            opened.skipped.iter().for_each(|error| plan.add(bad, "input", &error.to_string()));
            let first = options.overlap == smalti::mosaic::Overlap::First;
            if let Err(error) = sort(&mut opened.sources, &config::sort_key(&args.set.input), first)
            {
                plan.add(Severity::Refused, "order", &error.to_string());
            }
            plan.look_at(opened.sources, &options, &args.format, write_options, &notes)?;
        }
        Err(error) => match error.into_kind() {
            ErrorKind::BadSources(errors) => {
                errors
                    .iter()
                    .for_each(|error| plan.add(Severity::Refused, "input", &error.to_string()));
            }
            other => return Err(smalti::Error::new(other).into()),
        },
    }
    // Skipped inputs are told already, each as a finding of its own.
    let warnings = notes.warnings();
    for text in warnings.iter().filter(|text| !text.starts_with("skipped: ")) {
        plan.add(Severity::Warning, "input", text);
    }
    plan.findings.sort_by_key(|finding| finding.severity);
    plan.seconds = began.elapsed().as_secs_f64();
    let refused = plan.findings.iter().any(|finding| finding.severity == Severity::Refused);
    let text = if args.json { format!("{}\n", plan.to_json()) } else { plan.to_text() };
    print(&text)?;
    Ok(if refused { Exit::Usage } else { Exit::Done })
}

impl Plan {
    fn add(&mut self, severity: Severity, field: &'static str, text: &str) {
        self.findings.push(Finding::new(severity, field, text));
    }

    fn look_at(
        &mut self,
        sources: Vec<Source>,
        options: &MosaicOptions,
        format: &FormatArgs,
        mut write_options: WriteOptions,
        notes: &Notes,
    ) -> Result<(), Failure> {
        let mut judged = sources.clone();
        // What `--src-nodata` overrides is no difference.
        if inputs::override_nodata(&mut judged, &mut options.clone()).is_err() {
            judged = sources.clone();
        }
        self.findings.extend(differences(&judged, options.dtype));
        let mosaic = match Mosaic::new(sources, options) {
            Ok(mosaic) => mosaic,
            Err(error) => {
                // The differences say it in more words.
                let known = matches!(
                    error.kind(),
                    ErrorKind::Input(InputError::Mismatch { .. } | InputError::MixedCrs { .. })
                ) && self.findings.iter().any(|f| f.severity == Severity::Refused);
                if !known {
                    self.add(Severity::Refused, "mosaic", &error.to_string());
                }
                return Ok(());
            }
        };
        // What would be refused has not been: an option deals with it.
        for finding in self.findings.iter_mut().filter(|finding| finding.field != "input") {
            if finding.severity == Severity::Refused {
                finding.severity = Severity::Note;
            }
        }
        self.findings.extend(misalignments(&mosaic));
        mosaic.warnings().iter().for_each(|w| self.add(Severity::Warning, "grid", &w.to_string()));
        let coverage = Coverage::new(&mosaic);
        let gaps = coverage.histogram()[0];
        if gaps > 0 && mosaic.nodata.is_none() && mosaic.validity == ValidityOutput::Nodata {
            let text = format!(
                "{gaps} pixels are covered by no input and would become 0; pass --nodata, --alpha or \
                 --mask to tell them from data"
            );
            self.add(Severity::Warning, "gaps", &text);
        }
        if format.chunk == Some(Chunk::Auto) {
            config::adopt_layout(format, &mosaic, &mut write_options, notes);
        }
        match estimate(&mosaic, &write_options, notes) {
            Ok(estimate) => {
                let (used, wanted) = (estimate.budget.threads, estimate.wanted_threads);
                if used < wanted {
                    let budget = bytes(estimate.budget.total_bytes);
                    let text =
                        format!("{used} of {wanted} threads fit a memory budget of {budget}");
                    self.add(Severity::Warning, "memory", &text);
                }
                self.estimate = Some(estimate);
            }
            Err(error) if error.is_input_error() => {
                let memory = matches!(error.kind(), ErrorKind::Input(InputError::Memory { .. }));
                let field = if memory { "memory" } else { "input" };
                self.add(Severity::Refused, field, &error.to_string());
            }
            Err(error) => return Err(Failure::new(error, Phase::Preparing)),
        }
        self.coverage = Some(coverage);
        self.mosaic = Some(mosaic);
        Ok(())
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        push_row(&mut text, "inputs", &count(self.inputs as u64, "file"));
        if let Some(mosaic) = &self.mosaic {
            push_grid(&mut text, mosaic);
        }
        if let Some(coverage) = &self.coverage {
            push_coverage(&mut text, coverage);
        }
        if let Some(estimate) = &self.estimate {
            push_cost(&mut text, estimate);
        }
        self.findings.iter().for_each(|finding| push_finding(&mut text, finding));
        text
    }

    fn to_json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|f| {
                let examples: Vec<String> =
                    f.examples.iter().map(|p| p.to_string_lossy().into_owned()).collect();
                json!({"severity": f.severity.name(), "field": f.field, "text": f.text,
                       "count": f.count, "examples": examples})
            })
            .collect();
        json!({
            "inputs": self.inputs,
            "refused": self.findings.iter().any(|f| f.severity == Severity::Refused),
            "grid": self.mosaic.as_ref().map(grid_json),
            "coverage": self.coverage.as_ref().map(coverage_json),
            "cost": self.estimate.as_ref().map(cost_json),
            "findings": findings,
            "plan_seconds": self.seconds,
        })
    }
}

fn push_row(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name:<12}{value}");
}

fn push_grid(text: &mut String, mosaic: &Mosaic) {
    let mut row = |name: &str, value: String| push_row(text, name, &value);
    let (size, b) = (mosaic.grid.size, mosaic.grid.bounds());
    let [x, y] = mosaic.grid.transform.resolution();
    let crs = mosaic.grid.crs.as_ref().map_or("none".to_owned(), |crs| clean(&crs.to_string()));
    let bands = count(u64::from(mosaic.output_bands()), "band");
    row("size", format!("{} × {} pixels, {bands}, {}", size.width, size.height, mosaic.dtype));
    row("CRS", crs);
    for reprojection in mosaic.reprojections() {
        row("warp", clean(&reprojection.to_string()));
    }
    row("pixel", format!("{x} × {y}"));
    row("bounds", format!("{}, {}, {}, {}", b.min_x, b.min_y, b.max_x, b.max_y));
    row("nodata", mosaic.nodata.map_or("none".to_owned(), |v| v.to_string()));
    row("layers", mosaic.layers().len().to_string());
}

fn push_coverage(text: &mut String, coverage: &Coverage) {
    let pixels = coverage.histogram();
    let all = pixels.iter().sum::<u64>().max(1) as f64;
    let share = |n: u64| format!("{:.1} %", n as f64 / all * 100.0);
    let covered = share(pixels.iter().skip(1).sum());
    let several = share(pixels.iter().skip(2).sum());
    let (gaps, deepest) = (share(pixels[0]), pixels.len() - 1);
    let about = if coverage.exact { "" } else { " (about)" };
    let value = format!(
        "{covered} by one or more, {gaps} gaps, {several} by several, {deepest} deep at most{about}"
    );
    push_row(text, "coverage", &value);
}

fn push_cost(text: &mut String, e: &Estimate) {
    let mut row = |name: &str, value: String| push_row(text, name, &value);
    let (k, about) = (&e.kinds, if e.kinds_exact { "" } else { " (about)" });
    let (copied, rendered, resampled, empty) = (k.copied, k.rendered(), k.resampled, k.empty);
    let compared = k.compared;
    row(
        "blocks",
        format!(
            "{copied} copied, {rendered} rendered ({resampled} resampled, {compared} perhaps copied), \
             {empty} empty{about}"
        ),
    );
    let each = e.decodes.map_or("not counted".to_owned(), |decodes| {
        let mean = decodes as f64 / e.source_blocks.max(1) as f64;
        format!("{decodes} decodes, {mean:.3} a block")
    });
    row("decodes", format!("{}, {each}", count(e.source_blocks, "source block")));
    row(
        "memory",
        format!(
            "{} budget ({} would do): cache {}, {} of {} each",
            bytes(e.budget.total_bytes),
            bytes(e.least_bytes),
            bytes(e.budget.cache_bytes),
            count(e.budget.threads as u64, "thread"),
            bytes(e.budget.thread_bytes)
        ),
    );
    row("output", format!("about {} of {} raw", bytes(e.output_bytes), bytes(e.raw_bytes)));
    row("time", format!("about {} ({} sampled)", duration(e.seconds), count(e.sampled, "block")));
}

fn push_finding(text: &mut String, finding: &Finding) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{}: {}", finding.severity.name(), clean(&finding.text));
    let named = finding.examples.iter().all(|p| finding.text.contains(&*p.to_string_lossy()));
    if !named {
        let names: Vec<String> =
            finding.examples.iter().map(|p| clean(&p.display().to_string())).collect();
        let _ = write!(text, " (e.g. {})", names.join(", "));
    }
    text.push('\n');
}

fn grid_json(mosaic: &Mosaic) -> Value {
    let b = mosaic.grid.bounds();
    json!({
        "width": mosaic.grid.size.width,
        "height": mosaic.grid.size.height,
        "bands": mosaic.output_bands(),
        "data_type": mosaic.dtype.name(),
        "crs": mosaic.grid.crs.as_ref().map(|crs| crs.to_string()),
        "epsg": mosaic.grid.crs.as_ref().and_then(|crs| crs.epsg()),
        "geotransform": mosaic.grid.transform.coefficients(),
        "bounds": [b.min_x, b.min_y, b.max_x, b.max_y],
        "nodata": mosaic.nodata.map(|v| v.to_string()),
        "sources": mosaic.sources().len(),
        "layers": mosaic.layers().iter().map(|layer| layer.sources.len()).collect::<Vec<_>>(),
    })
}

fn coverage_json(coverage: &Coverage) -> Value {
    let pixels = coverage.histogram();
    json!({
        "exact": coverage.exact,
        "pixels_by_depth": pixels,
        "gap_pixels": pixels[0],
        "overlap_pixels": pixels.iter().skip(2).sum::<u64>(),
        "deepest": pixels.len() - 1,
    })
}

fn cost_json(e: &Estimate) -> Value {
    json!({
        "blocks": {
            "copied": e.kinds.copied,
            "compared": e.kinds.compared,
            "rendered": e.kinds.rendered(),
            "resampled": e.kinds.resampled,
            "empty": e.kinds.empty,
            "exact": e.kinds_exact,
        },
        "source_blocks": e.source_blocks,
        "decodes": e.decodes,
        "decodes_per_block": e.decodes.map(|d| d as f64 / e.source_blocks.max(1) as f64),
        "memory": {
            "budget_bytes": e.budget.total_bytes,
            "least_bytes": e.least_bytes,
            "cache_bytes": e.budget.cache_bytes,
            "window_bytes": e.budget.window_bytes,
            "thread_bytes": e.budget.thread_bytes,
            "threads": e.budget.threads,
        },
        "raw_bytes": e.raw_bytes,
        "output_bytes": e.output_bytes,
        "seconds": e.seconds,
        "sampled_blocks": e.sampled,
    })
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
