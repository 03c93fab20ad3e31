//! `esl bind`: which label stands for which product.

use crate::{
    back_end::BackEnd,
    cli::BindArgs,
    failure::{Ending, Failure},
    file,
    output::Output,
    progress,
    text::{count, grouped},
};
use backbone::{
    ledger::{BindReport, Binding},
    sheet::{BadCell, lines_in, read_bindings},
};
use serde::Serialize;
use std::fmt;

/// So many labels are bound at a time.
const CHUNK: usize = 1_000;

#[derive(Debug, Serialize)]
struct Report {
    labels: usize,
    new: u64,
    changed: u64,
    unchanged: u64,
    bad_lines: usize,
    bad_cells: Vec<BadCell>,
    ignored_columns: Vec<String>,
}

/// Binds the labels of a file.
pub(crate) async fn run(args: &BindArgs, back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    let table = file::demand(file::read(&args.file, read_bindings)?, &args.file, args.skip_bad)?;
    output.bad_cells(&table.bad);
    let bound = bind(back_end, &table.rows).await?;
    let report = Report {
        labels: table.rows.len(),
        new: bound.new,
        changed: bound.changed,
        unchanged: bound.unchanged,
        bad_lines: lines_in(&table.bad),
        bad_cells: table.bad,
        ignored_columns: table.ignored,
    };
    output.answer(&report)?;
    Ok(Ending::of(report.bad_lines == 0))
}

async fn bind(back_end: &BackEnd, bindings: &[Binding]) -> Result<BindReport, Failure> {
    let bar = progress::bar(bindings.len() as u64, "binding labels");
    let mut sum = BindReport::default();
    for chunk in bindings.chunks(CHUNK) {
        let bound = back_end.bind(chunk, &bar).await.map_err(|failure| {
            let done = sum.new + sum.changed + sum.unchanged;
            if done == 0 { failure } else { failure.halfway(&format!("{} are bound", count(done, "label"))) }
        })?;
        sum.new += bound.new;
        sum.changed += bound.changed;
        sum.unchanged += bound.unchanged;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(sum)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [new, changed, unchanged] = [self.new, self.changed, self.unchanged].map(grouped);
        writeln!(
            f,
            "{} bound: {new} new, {changed} changed, {unchanged} as before",
            count(self.labels as u64, "label")
        )?;
        write_skipped(f, self.bad_lines, &self.ignored_columns)
    }
}

/// Says what of a file was not used.
pub(crate) fn write_skipped(f: &mut fmt::Formatter<'_>, bad_lines: usize, ignored: &[String]) -> fmt::Result {
    if bad_lines > 0 {
        writeln!(f, "{} skipped", count(bad_lines as u64, "bad line"))?;
    }
    if !ignored.is_empty() {
        writeln!(f, "columns ignored: {}", ignored.join(", "))?;
    }
    Ok(())
}
