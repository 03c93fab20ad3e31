//! Runs as Markdown.

use super::{Series, plot::Plot};
use crate::{
    run::{Measured, Run},
    table::number,
};
use std::fmt::Write;

const NOTES: &str = "\
Medians over the rounds. RPC: from a request to its reply, or until it timed out, as the worker saw it. End to end: from
the confirm of a label's task (at a given rate: from when it should have been sent) to its result. CPU: of all routers
together, per RPC; of `standalone` the whole process. Published: mean and 99th percentile, as the thesis has them.\n";

/// A page with a table of all series, and the plots.
pub(super) fn render(all: &[Series], plots: &[Plot]) -> String {
    let mut page = "# What was measured\n\nWritten by `bench report`.\n\n".to_owned();
    if let Some(run) = all.iter().find_map(|series| series.runs.first()) {
        page += &conditions(run);
    }
    page += NOTES;
    page += &latencies(all);
    page += &rates(all);
    page += &costs(all);
    page += "\n## Plots\n";
    for plot in plots {
        let _ = write!(page, "\n### {}\n\n![{}]({}.svg)\n", plot.title, plot.title, plot.file);
    }
    page
}

fn conditions(run: &Run) -> String {
    let (machine, parameters) = (&run.machine, &run.parameters);
    let unknown = || "unknown".to_owned();
    let share = parameters.cpu_millicores.map_or("no limit".to_owned(), |millicores| format!("{millicores} mCPU"));
    format!(
        "Commit {}, {} build; {} cores of {}, kernel {}. Each router: {share}. {} workers, {} gateways whose writes take \
         no time, two labels per task.\n\n",
        run.commit.clone().unwrap_or_else(unknown),
        run.build,
        machine.cores,
        machine.cpu.clone().unwrap_or_else(unknown),
        machine.kernel.clone().unwrap_or_else(unknown),
        parameters.workers,
        parameters.gateways,
    )
}

fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<_> = headings.iter().map(ToString::to_string).collect();
    let under: Vec<_> = headings.iter().map(|_| "--:".to_owned()).collect();
    rows.fold(line(&head) + &line(&under), |text, row| text + &line(&row))
}

fn name(series: &Series) -> Vec<String> {
    let of = &series.runs[0].parameters;
    vec![of.target.name().to_owned(), of.replicas.to_string(), number(of.tasks.into(), 0)]
}

fn latencies(all: &[Series]) -> String {
    let headings = [
        "design",
        "replicas",
        "tasks",
        "published",
        "RPC mean ms",
        "p50",
        "p90",
        "p95",
        "p99",
        "p99.9",
        "max",
        "end to end mean ms",
        "p50",
        "p99",
    ];
    let rows = all.iter().map(|series| {
        let mut row = name(series);
        let published = series.runs[0].parameters.published;
        row.push(published.map_or(String::new(), |of| format!("{} / {}", of.mean_ms, of.p99_ms)));
        let figures: [fn(&Measured) -> f64; 10] = [
            |of| of.communication.mean_ms,
            |of| of.communication.p50_ms,
            |of| of.communication.p90_ms,
            |of| of.communication.p95_ms,
            |of| of.communication.p99_ms,
            |of| of.communication.p999_ms,
            |of| of.communication.max_ms,
            |of| of.end_to_end.mean_ms,
            |of| of.end_to_end.p50_ms,
            |of| of.end_to_end.p99_ms,
        ];
        row.extend(figures.iter().map(|figure| number(series.median(|run| figure(&run.measured)), 1)));
        row
    });
    format!("\n## Latency\n\n{}", table(&headings, rows))
}

fn rates(all: &[Series]) -> String {
    let headings = [
        "design",
        "replicas",
        "tasks",
        "timeout s",
        "RPC/s",
        "tasks/s",
        "MQTT messages/s",
        "timeouts",
        "misroutes",
        "of RPCs",
        "labels shown",
        "errors",
        "rounds",
    ];
    let rows = all.iter().map(|series| {
        let mut row = name(series);
        row.push(number(series.runs[0].parameters.timeout_ms as f64 / 1e3, 0));
        let figures: [fn(&Measured) -> f64; 8] = [
            |of| of.rpcs_per_second,
            |of| of.tasks_per_second,
            |of| of.mqtt_messages_per_second,
            |of| of.timeouts as f64,
            |of| of.misroutes as f64,
            |of| of.rpcs as f64,
            |of| of.outcomes.get("shown").copied().unwrap_or_default() as f64,
            |of| of.errors.values().sum::<u64>() as f64,
        ];
        row.extend(figures.iter().map(|figure| number(series.median(|run| figure(&run.measured)), 0)));
        row.push(series.runs.len().to_string());
        row
    });
    format!("\n## Rates, and what went wrong\n\n{}", table(&headings, rows))
}

fn costs(all: &[Series]) -> String {
    let headings =
        ["design", "replicas", "tasks", "routers' CPU µs per RPC", "throttled s", "each process: CPU µs per RPC, MiB"];
    let rows = all.iter().map(|series| {
        let mut row = name(series);
        row.push(number(series.median(Run::router_cpu_us), 0));
        row.push(number(series.median(|run| run.measured.throttled_seconds), 1));
        let each = series.runs[0].measured.processes.iter().map(|used| {
            let count = if used.count > 1 { format!("{} × ", used.count) } else { String::new() };
            format!("{count}{} {:.0}, {:.0}", used.process, used.cpu_us_per_rpc, used.rss_mib)
        });
        row.push(each.collect::<Vec<_>>().join("; "));
        row
    });
    format!("\n## Costs\n\n{}", table(&headings, rows))
}
