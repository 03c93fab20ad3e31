//! What runs have brought: read from their files, rendered, compared.

mod compare;
mod markdown;
mod plot;

pub(crate) use compare::{CompareArgs, compare};
pub(crate) use plot::{FONT, use_own_font};

use crate::run::Run;
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The name of a rendered report, in the folder of its runs.
const REPORT: &str = "README.md";

/// What `bench report` can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReportArgs {
    /// Folder that `bench run` or `bench experiments` wrote to
    folder: PathBuf,
}

impl ReportArgs {
    pub(crate) fn run(&self) -> Result<()> {
        report(&self.folder)
    }
}

/// Runs of the same system under the same load, in the order in which they were made.
#[derive(Debug)]
struct Series {
    name: String,
    runs: Vec<Run>,
}

impl Series {
    /// The median over the runs of one figure.
    fn median(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(figure).collect())
    }
}

/// The median of some numbers; NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    match values.len() % 2 {
        0 if !values.is_empty() => (values[upper - 1] + values[upper]) / 2.0,
        _ => values.get(upper).copied().unwrap_or(f64::NAN),
    }
}

/// Renders the runs of a folder as Markdown with plots, beside them.
pub(crate) fn report(folder: &Path) -> Result<()> {
    let all = read_all(folder)?;
    let plots = plot::draw_all(folder, &all)?;
    let file = folder.join(REPORT);
    std::fs::write(&file, markdown::render(&all, &plots)).with_context(|| format!("writing {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

/// The runs in each folder of a folder.
fn read_all(folder: &Path) -> Result<Vec<Series>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.is_dir() {
            all.extend(read_series(&path)?);
        }
    }
    ensure!(!all.is_empty(), "{} has no runs: `bench run --out {0}` makes some", folder.display());
    all.sort_by(|one, other| order(one).cmp(&order(other)));
    Ok(all)
}

/// By load, then by what carries it, then by size.
fn order(series: &Series) -> (Option<(u32, crate::run::Target, u32)>, &str) {
    let first = series.runs.first().map(|run| &run.parameters);
    let tasks = |known: u32, published: Option<u32>| published.unwrap_or(known);
    let key = first.map(|of| (tasks(of.tasks, of.published.map(|of| of.tasks)), of.target, of.replicas));
    (key, &series.name)
}

/// The runs in a folder; `None`: there are none.
fn read_series(folder: &Path) -> Result<Option<Series>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let run: Run = serde_json::from_slice(&text).with_context(|| format!("{} is no run", path.display()))?;
            files.insert(path, run);
        }
    }
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((!files.is_empty()).then(|| Series { name, runs: files.into_values().collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
