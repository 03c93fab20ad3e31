//! `bench compare`: one series against another, as ratios with their spread.

use super::{Series, median, read_series};
use crate::{
    run::Run,
    table::{Table, number},
};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// What `bench compare` can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CompareArgs {
    /// Folder with the runs of one system, such as target/bench/queue-1
    one: PathBuf,

    /// Folder with the runs of the other; made in turn with the first, as `bench run --target queue,http --rounds 5` does
    other: PathBuf,
}

type Figure = (&'static str, fn(&Run) -> f64);

const FIGURES: [Figure; 9] = [
    ("RPC/s", |run| run.measured.rpcs_per_second),
    ("tasks/s", |run| run.measured.tasks_per_second),
    ("RPC mean ms", |run| run.measured.communication.mean_ms),
    ("RPC p50 ms", |run| run.measured.communication.p50_ms),
    ("RPC p99 ms", |run| run.measured.communication.p99_ms),
    ("end to end p50 ms", |run| run.measured.end_to_end.p50_ms),
    ("end to end p99 ms", |run| run.measured.end_to_end.p99_ms),
    ("routers' CPU µs per RPC", Run::router_cpu_us),
    ("all CPU µs per RPC", |run| run.measured.processes.iter().map(|used| used.cpu_us_per_rpc).sum()),
];

/// Prints the ratios of the first to the other: of each pair of runs, since runs that follow each other share the
/// machine's mood; their median, the least and the greatest.
pub(crate) fn compare(args: &CompareArgs) -> Result<()> {
    let read = |folder: &PathBuf| {
        let series = read_series(folder)?;
        series.with_context(|| format!("{} has no runs", folder.display()))
    };
    let (one, other) = (read(&args.one)?, read(&args.other)?);
    ensure!(
        one.runs.len() == other.runs.len(),
        "{} runs of {} and {} of {}: make as many of both, in turn",
        one.runs.len(),
        one.name,
        other.runs.len(),
        other.name
    );
    println!("{} / {}, {} pairs of runs", one.name, other.name, one.runs.len());
    println!("{}", table(&one, &other));
    Ok(())
}

fn table(one: &Series, other: &Series) -> Table {
    let headings = ["", &one.name, &other.name, "ratio", "least", "greatest"];
    let mut table = Table::new(headings.map(str::to_owned).to_vec());
    for (name, figure) in FIGURES {
        let ratios: Vec<_> = one.runs.iter().zip(&other.runs).map(|(one, other)| figure(one) / figure(other)).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut row = vec![name.to_owned(), number(one.median(figure), 1), number(other.median(figure), 1)];
        row.extend([median(ratios), least, greatest].map(|ratio| number(ratio, 2)));
        table.push(row);
    }
    table
}
