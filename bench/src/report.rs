//! What was measured, for people and for programs.

use crate::{
    level::{Level, Used},
    table::{Table, number},
};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{path::Path, process::Command};

/// What a bench measured, and on what.
#[derive(Debug, Serialize)]
pub(crate) struct Report<P> {
    /// Which bench.
    bench: &'static str,
    /// What is counted: one of these is what rates, latencies and costs are about.
    unit: &'static str,
    /// What is in flight.
    load: &'static str,
    machine: Machine,
    /// The source it was built from, as far as the working folder tells; with `-dirty` where that has changes.
    commit: Option<String>,
    parameters: P,
    levels: Vec<Level>,
}

/// On what it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: Option<String>,
    pub(crate) kernel: Option<String>,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: model.map(|(_, model)| model.to_owned()),
            kernel: kernel.map(|kernel| kernel.trim().to_owned()),
        }
    }
}

/// The source this was built from, as far as the working folder tells; with `-dirty` where that has changes.
pub(crate) fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let head = git(&["rev-parse", "HEAD"])?;
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    Some(head.trim().to_owned() + if dirty { "-dirty" } else { "" })
}

impl<P: Serialize> Report<P> {
    /// A report without levels.
    pub(crate) fn new(bench: &'static str, unit: &'static str, load: &'static str, parameters: P) -> Self {
        Self { bench, unit, load, machine: Machine::this(), commit: commit(), parameters, levels: Vec::new() }
    }

    /// Says what is measured where.
    pub(crate) fn print_head(&self, what: &str) {
        let Machine { cores, cpu, kernel } = &self.machine;
        let (cpu, kernel) = (cpu.as_deref().unwrap_or("unknown CPU"), kernel.as_deref().unwrap_or("unknown"));
        let commit = self.commit.as_deref().unwrap_or("unknown");
        println!("bench {}: commit {commit}; {cores} cores of {cpu}, kernel {kernel}", self.bench);
        println!("{what}");
        println!("Latency: {}. CPU: user and system, all threads.", latency_of(self.bench));
    }

    /// Adds what was measured at one level.
    pub(crate) fn push(&mut self, level: Level) {
        self.levels.push(level);
    }

    /// Prints what a round brought.
    pub(crate) fn print_round(&self, round: u32) {
        let levels: Vec<_> = self.levels.iter().filter(|level| level.round == round).collect();
        println!("\nRound {round}\n{}", self.rates(&levels));
        println!("CPU µs per {}\n{}", self.unit, self.per_process(&levels, 1, |used| used.cpu_us));
        println!("Memory MiB\n{}", self.per_process(&levels, 0, |used| used.rss_mib));
    }

    fn rates(&self, levels: &[&Level]) -> Table {
        let rate = format!("{}/s", self.unit);
        let headings = [self.load, &rate, "p50 ms", "p99 ms", "p99.9 ms", "max ms", self.unit, "errors"];
        let mut table = Table::new(headings.map(str::to_owned).to_vec());
        for level in levels {
            let latency = &level.latency;
            let millis = [latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms];
            let mut row = vec![number(level.in_flight.into(), 0), number(level.per_second, 0)];
            row.extend(millis.map(|value| number(value, 2)));
            row.extend([level.done, level.errors.values().sum()].map(|count| number(count as f64, 0)));
            table.push(row);
        }
        table
    }

    fn per_process(&self, levels: &[&Level], places: usize, value: impl Fn(&Used) -> f64) -> Table {
        let processes = levels.first().map(|level| level.processes.iter().map(|used| used.process.to_owned()));
        let headings = [self.load.to_owned()].into_iter().chain(processes.into_iter().flatten());
        let mut table = Table::new(headings.chain(["all".to_owned()]).collect());
        for level in levels {
            let values: Vec<_> = level.processes.iter().map(&value).collect();
            let mut row = vec![number(level.in_flight.into(), 0)];
            row.extend(values.iter().chain([&values.iter().sum()]).map(|value| number(*value, places)));
            table.push(row);
        }
        table
    }

    /// Writes everything to a file, if one is named.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn write_json(&self, file: Option<&Path>) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let json = serde_json::to_string_pretty(self).context("writing the report as JSON")?;
        std::fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))
    }

    /// Prints what went wrong.
    ///
    /// # Errors
    /// When anything did.
    pub(crate) fn fail_on_errors(&self) -> Result<()> {
        for level in &self.levels {
            for (error, count) in &level.errors {
                eprintln!("bench: round {}, {} {}: {count} × {error}", level.round, level.in_flight, self.load);
            }
        }
        if self.levels.iter().any(|level| !level.errors.is_empty()) {
            bail!("not everything went well, so the numbers above mean little");
        }
        Ok(())
    }
}

fn latency_of(bench: &str) -> &'static str {
    match bench {
        "rpc" => "from publishing the request to its reply",
        _ => "from the confirm of the task to each of its results (0 where the result came first)",
    }
}
