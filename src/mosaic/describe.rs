//! What a run would warn of or refuse, all at once, from headers alone: in what inputs differ, which of them
//! lie off the grid and by how much, which seem to be there twice.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::mosaic::layer::Mapping;
use crate::mosaic::{Mosaic, agree};
use crate::sample::DataType;
use crate::source::{Source, SourceNodata};
use crate::tiff::gdal_metadata::BandMetadata;

/// Files that are named of each finding.
const EXAMPLES: usize = 3;
/// Values that are listed where inputs differ.
const MOST_VALUES: usize = 8;

/// A number of a band's metadata.
type Number = fn(&BandMetadata) -> f64;
/// A text of it.
type Text = fn(&BandMetadata) -> &Option<String>;

/// What a finding means for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It would not start.
    Refused,
    /// It would warn.
    Warning,
    /// It would go on; good to know.
    Note,
}

impl Severity {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Refused => "refused",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What it means for a run.
    pub severity: Severity,
    /// The field that it is about: `crs`, `bands`, `type`, `nodata`, `palette`, `scale`, `offset`, …
    pub field: &'static str,
    /// In words.
    pub text: String,
    /// Inputs that it is about.
    pub count: u64,
    /// Some of them.
    pub examples: Vec<PathBuf>,
}

impl Finding {
    /// A finding without files.
    pub fn new(severity: Severity, field: &'static str, text: impl Into<String>) -> Finding {
        Finding { severity, field, text: text.into(), count: 0, examples: Vec::new() }
    }
}

/// In what sources differ. `dtype` is the output type that was asked for.
pub fn differences(sources: &[Source], dtype: Option<DataType>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(error) = agree::crs(sources) {
        let groups = Groups::of(sources, |s| {
            s.dataset.crs.as_ref().map_or("no CRS".to_owned(), |crs| crs.to_string())
        });
        found.push(groups.finding(
            Severity::Refused,
            "crs",
            &error.to_string().replacen("\n  ", ": ", 1).replace("\n  ", "; "),
        ));
    }
    let refused = |field, what, groups: Groups| {
        let text = format!("the inputs differ in {what}: {}", groups.list());
        groups.finding(Severity::Refused, field, &text)
    };
    let bands = Groups::of(sources, |s| s.bands().to_string());
    if bands.differ() {
        found.push(refused("bands", "the number of bands", bands));
    }
    let types = Groups::of(sources, |s| s.dtype().name().to_owned());
    if types.differ() {
        found.push(type_finding(sources, dtype, &types));
    }
    let nodata = Groups::of(sources, nodata_text);
    if nodata.differ() {
        let text = format!("the inputs differ in nodata: {}; each keeps its own", nodata.list());
        found.push(nodata.finding(Severity::Note, "nodata", &text));
    }
    let useless =
        |s: &&Source| (0..s.bands()).any(|b| s.nodata.band(b).is_some_and(|v| !v.fits(s.dtype())));
    found.extend(some(
        sources,
        useless,
        Severity::Note,
        "nodata",
        "nodata that their type cannot hold marks no pixel",
    ));
    found.extend(palette_finding(sources));
    found.extend(scale_findings(sources));
    found.extend(dropped(sources));
    found.extend(duplicates(sources));
    found
}

fn nodata_text(source: &Source) -> String {
    match &source.nodata {
        SourceNodata::None => "none".to_owned(),
        SourceNodata::All(value) => value.to_string(),
        SourceNodata::Bands(values) => {
            let text = |v: &Option<_>| {
                v.map_or("none".to_owned(), |v: crate::sample::Nodata| v.to_string())
            };
            values.iter().map(text).collect::<Vec<_>>().join(",")
        }
    }
}

fn type_finding(sources: &[Source], dtype: Option<DataType>, types: &Groups) -> Finding {
    let list = types.list();
    match (dtype, agree::data_type(sources)) {
        (Some(dtype), _) => {
            let text = format!("the inputs differ in type: {list}; the output is {dtype}");
            types.finding(Severity::Note, "type", &text)
        }
        (None, Ok(smallest)) => {
            let text = format!(
                "the inputs differ in type: {list}; the output is {smallest}, the smallest that holds all"
            );
            types.finding(Severity::Note, "type", &text)
        }
        (None, Err(error)) => {
            types.finding(Severity::Refused, "type", &format!("{error} ({list})"))
        }
    }
}

fn palette_finding(sources: &[Source]) -> Option<Finding> {
    let mut kinds: Vec<Option<Arc<Vec<u16>>>> = Vec::new();
    let groups = Groups::of(sources, |s| {
        let own = &s.dataset.shared.color.palette;
        let index = kinds.iter().position(|kind| kind == own).unwrap_or_else(|| {
            kinds.push(own.clone());
            kinds.len() - 1
        });
        match own {
            None => "no palette".to_owned(),
            Some(palette) => format!("palette {} of {} colours", index + 1, palette.len() / 3),
        }
    });
    if !groups.differ() {
        return None;
    }
    let mut text = format!("the inputs differ in palette: {}", groups.list());
    let mut palettes = kinds.iter().flatten();
    if let (Some(a), Some(b)) = (palettes.next(), palettes.next()) {
        let color = |p: &[u16], at: usize| {
            let count = p.len() / 3;
            [0, 1, 2].map(|plane| p.get(plane * count + at).copied().unwrap_or(0) >> 8)
        };
        let count = (a.len() / 3).min(b.len() / 3);
        let odd = (0..count).find(|at| color(a, *at) != color(b, *at));
        if let Some(at) = odd {
            text += &format!("; entry {at} is {:?} and {:?}", color(a, at), color(b, at));
        }
    }
    Some(groups.finding(Severity::Refused, "palette", &text))
}

fn scale_findings(sources: &[Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    let bands = sources.iter().map(Source::bands).max().unwrap_or(0);
    // Many bands differ alike: the first few say it.
    for band in (0..bands).take(16) {
        let facts = |source: &Source| -> Option<BandMetadata> {
            let own = source.dataset_band(band)?;
            source.dataset.shared.metadata.bands.get(own as usize).cloned()
        };
        let fields: [(&'static str, Number, f64); 2] = [
            ("scale", |facts| facts.scale.unwrap_or(1.0), 1.0),
            ("offset", |facts| facts.offset.unwrap_or(0.0), 0.0),
        ];
        for (field, pick, default) in fields {
            let groups =
                Groups::of(sources, |s| facts(s).map_or(default, |f| pick(&f)).to_string());
            if groups.differ() {
                let text =
                    format!("the inputs differ in {field} of band {}: {}", band + 1, groups.list());
                found.push(groups.finding(Severity::Refused, field, &text));
            }
        }
    }
    found
}

/// What is kept only where all agree.
fn dropped(sources: &[Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    let bands = |source: &Source, pick: Text| {
        let texts = source.dataset.shared.metadata.bands.iter();
        texts.map(|b| pick(b).clone().unwrap_or_default()).collect::<Vec<_>>().join(" | ")
    };
    let fields: [(&'static str, Text); 3] =
        [("description", |b| &b.description), ("unit", |b| &b.unit), ("color", |b| &b.color)];
    for (field, pick) in fields {
        let groups = Groups::of(sources, |s| bands(s, pick));
        if groups.differ() {
            let text = format!("the inputs differ in {field} of bands: what differs is left out");
            found.push(groups.finding(Severity::Note, field, &text));
        }
    }
    let masks = Groups::of(sources, |s| match (s.mask(), s.alpha_band()) {
        (Some(_), _) => "mask".to_owned(),
        (None, Some(_)) => "alpha".to_owned(),
        (None, None) => "neither".to_owned(),
    });
    if masks.differ() {
        let text = format!("the inputs differ in mask and alpha: {}", masks.list());
        found.push(masks.finding(Severity::Note, "mask", &text));
    }
    found
}

/// Sources of one place and size: the upper one hides the lower, unless it has holes.
fn duplicates(sources: &[Source]) -> Vec<Finding> {
    let mut seen: HashMap<([u64; 6], u32, u32), Vec<usize>> = HashMap::with_capacity(sources.len());
    for (index, source) in sources.iter().enumerate() {
        let size = source.size();
        let place = source.transform().coefficients().map(|v| (v + 0.0).to_bits());
        seen.entry((place, size.width, size.height)).or_default().push(index);
    }
    let mut same: Vec<&Vec<usize>> = seen.values().filter(|group| group.len() > 1).collect();
    same.sort();
    let same_crs = |a: &Source, b: &Source| match (&a.dataset.crs, &b.dataset.crs) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.same_horizontal(b),
        (a, b) => a.is_none() && b.is_none(),
    };
    let pairs = |test: &dyn Fn(&Source, &Source) -> bool| {
        let mut found = Vec::new();
        for group in &same {
            let first = &sources[group[0]];
            let there = |other: &usize| {
                let other = &sources[*other];
                same_crs(first, other) && test(first, other)
            };
            let own: Vec<usize> = group[1..].iter().copied().filter(there).collect();
            if !own.is_empty() {
                found.push(group[0]);
                found.extend(own);
            }
        }
        found
    };
    let mut found = Vec::new();
    let alike = |a: &Source, b: &Source| a.dataset.file_len == b.dataset.file_len;
    let copies = pairs(&|a, b| alike(a, b) && a.path() != b.path());
    let stacked = pairs(&|a, b| !alike(a, b));
    for (list, severity, text) in [
        (
            copies,
            Severity::Warning,
            "seem to be copies of each other: same place, size and length of file",
        ),
        (stacked, Severity::Note, "lie on the same place with others of the same size"),
    ] {
        if !list.is_empty() {
            let examples = list.iter().take(EXAMPLES).map(|i| sources[*i].path().to_path_buf());
            found.push(Finding {
                severity,
                field: "duplicate",
                text: format!("{} inputs {text}", list.len()),
                count: list.len() as u64,
                examples: examples.collect(),
            });
        }
    }
    found
}

fn some(
    sources: &[Source],
    test: impl Fn(&&Source) -> bool,
    severity: Severity,
    field: &'static str,
    text: &str,
) -> Option<Finding> {
    let count = sources.iter().filter(&test).count() as u64;
    let examples = sources.iter().filter(&test).take(EXAMPLES).map(|s| s.path().to_path_buf());
    let text = format!("{count} inputs: {text}");
    (count > 0).then(|| Finding { severity, field, text, count, examples: examples.collect() })
}

/// Sources off the grid, by co-registered group, those of most sources first: by how much they are shifted
/// or scaled.
pub fn misalignments(mosaic: &Mosaic) -> Vec<Finding> {
    let sources = mosaic.sources();
    let mut groups: Vec<(Mapping, Vec<u32>)> = Vec::new();
    let mut of_group: HashMap<u32, usize> = HashMap::new();
    for id in 0..sources.len() as u32 {
        let (mapping, place) = mosaic.placement(id);
        let index = *of_group.entry(place.group).or_insert_with(|| {
            groups.push((mapping, Vec::new()));
            groups.len() - 1
        });
        groups[index].1.push(id);
    }
    groups.retain(|(mapping, _)| !matches!(mapping, Mapping::Shift { .. }));
    groups.sort_by_key(|(_, ids)| std::cmp::Reverse(ids.len()));
    let fraction = |v: f64| v - v.round();
    groups
        .iter()
        .map(|(mapping, ids)| {
            let how = match *mapping {
                Mapping::Axis { scale, phase } if scale.iter().all(|s| (s - 1.0).abs() < 1e-6) => {
                    format!(
                        "lie off the grid by {:.4}, {:.4} pixels",
                        fraction(phase[0]).abs(),
                        fraction(phase[1]).abs()
                    )
                }
                Mapping::Axis { scale, .. } if scale.iter().any(|s| *s < 0.0) => {
                    "are flipped (south-up)".to_owned()
                }
                Mapping::Axis { scale, .. } => {
                    format!("have {:.6} × {:.6} pixels for one of the grid", scale[0], scale[1])
                }
                Mapping::Warped => "are in another CRS".to_owned(),
                _ => "are rotated or sheared".to_owned(),
            };
            let path = |id: &u32| sources[*id as usize].path().to_path_buf();
            Finding {
                severity: Severity::Note,
                field: "grid",
                text: format!("{} of {} inputs {how}, and are resampled", ids.len(), sources.len()),
                count: ids.len() as u64,
                examples: ids.iter().take(EXAMPLES).map(path).collect(),
            }
        })
        .collect()
}

/// Sources by the text of some property.
struct Groups {
    /// Text, number of sources, the first of them.
    list: Vec<(String, u64, PathBuf)>,
}

impl Groups {
    fn of(sources: &[Source], mut text: impl FnMut(&Source) -> String) -> Groups {
        let mut list: Vec<(String, u64, PathBuf)> = Vec::new();
        let mut at: HashMap<String, usize> = HashMap::new();
        for source in sources {
            let text = text(source);
            match at.get(&text) {
                Some(index) => list[*index].1 += 1,
                None => {
                    at.insert(text.clone(), list.len());
                    list.push((text, 1, source.path().to_path_buf()));
                }
            }
        }
        list.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        Groups { list }
    }

    fn differ(&self) -> bool {
        self.list.len() > 1
    }

    fn list(&self) -> String {
        let line = |(text, count, example): &(String, u64, PathBuf)| {
            let files = if *count == 1 { "file" } else { "files" };
            format!("{text} ({count} {files}, e.g. {})", example.display())
        };
        let mut lines: Vec<String> = self.list.iter().take(MOST_VALUES).map(line).collect();
        if self.list.len() > MOST_VALUES {
            lines.push(format!("… and {} more", self.list.len() - MOST_VALUES));
        }
        lines.join(", ")
    }

    /// About all sources that are not like most.
    fn finding(&self, severity: Severity, field: &'static str, text: &str) -> Finding {
        let others = self.list.iter().skip(1);
        Finding {
            severity,
            field,
            text: text.to_owned(),
            count: others.clone().map(|(_, count, _)| count).sum(),
            examples: others.take(EXAMPLES).map(|(.., example)| example.clone()).collect(),
        }
    }
}
