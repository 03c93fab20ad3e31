//! What was seen, second by second.

use super::{ElasticityArgs, fleet::Counts, plot};
use crate::report::commit;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// One look.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    /// Since the beginning, in s.
    pub(super) second: f64,
    /// The load at that time.
    pub(super) tasks_per_second: u32,
    /// Of each role.
    pub(super) replicas: Counts,
    /// Tasks that wait or are in hand.
    pub(super) tasks_backlog: f64,
    /// RPCs that wait or are in hand.
    pub(super) rpc_backlog: f64,
    /// Labels that have ended since the look before.
    pub(super) labels_ended: usize,
    /// Of those, from when their task was due to their outcome.
    pub(super) p99_ms: Option<f64>,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    commit: Option<String>,
    speed: u32,
    request_millicores: Option<u32>,
    held_to_request: bool,
    labels: u32,
    /// When the step began and when it ended, in s.
    step_seconds: (f64, f64),
    outcomes: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    samples: Vec<Sample>,
}

impl Record {
    pub(super) fn new(
        args: &ElasticityArgs,
        samples: Vec<Sample>,
        outcomes: BTreeMap<String, u64>,
        errors: BTreeMap<String, u64>,
    ) -> Self {
        Self {
            commit: commit(),
            speed: args.speed,
            request_millicores: args.request.0,
            held_to_request: !args.unlimited,
            labels: args.labels,
            step_seconds: (args.before.as_secs_f64(), (args.before + args.during).as_secs_f64()),
            outcomes,
            errors,
            samples,
        }
    }

    /// Writes `elasticity.json`, `.png` and `.svg`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let file = folder.join("elasticity.json");
        let json = serde_json::to_string_pretty(self).context("writing the record as JSON")?;
        std::fs::write(&file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
        plot::draw(folder, &self.samples, self.step_seconds)
    }

    /// For a person.
    pub(super) fn summary(&self) -> String {
        let (from, to) = self.step_seconds;
        let during = || self.samples.iter().filter(move |sample| sample.second >= from && sample.second < to);
        let roles = self.samples.last().map(|last| last.replicas.clone()).unwrap_or_default();
        let mut lines: Vec<_> = roles.iter().map(|(role, last)| self.line_of(role, *last)).collect();
        let most = |of: fn(&Sample) -> f64| self.samples.iter().map(of).fold(0.0, f64::max);
        lines.push(format!(
            "backlog at most {} tasks, {} RPCs",
            most(|sample| sample.tasks_backlog),
            most(|sample| sample.rpc_backlog)
        ));
        let calm = worst(self.samples.iter().filter(|sample| sample.second < from));
        let last_third = worst(during().filter(|sample| sample.second > to - (to - from) / 3.0));
        let after = worst(self.samples.iter().filter(|sample| sample.second > to + (to - from) / 5.0));
        lines.push(format!(
            "worst p99 of a second, task due to outcome: {calm:.0} ms before the step, {:.0} ms in it, {last_third:.0} ms \
             in its last third, {after:.0} ms after it",
            worst(during())
        ));
        lines.push(format!("labels by outcome: {:?}; lost: {:?}", self.outcomes, self.errors));
        lines.join("\n")
    }

    fn line_of(&self, role: &str, last: u32) -> String {
        let counts = || self.samples.iter().filter_map(|sample| sample.replicas.get(role));
        let (first, most) = (counts().next().copied().unwrap_or_default(), counts().max().copied().unwrap_or_default());
        format!("{role}: {first} replicas, {most} at most, {last} in the end")
    }

    /// Fails if a task did not end, or a label ended otherwise than by showing its price or a newer one.
    pub(super) fn nothing_lost(&self) -> Result<()> {
        let others = self.outcomes.keys().filter(|outcome| !["shown", "superseded"].contains(&outcome.as_str()));
        let others: Vec<_> = others.collect();
        ensure!(self.errors.is_empty() && others.is_empty(), "lost: {:?}; ended otherwise: {others:?}", self.errors);
        Ok(())
    }
}

fn worst<'a>(samples: impl Iterator<Item = &'a Sample>) -> f64 {
    samples.filter_map(|sample| sample.p99_ms).fold(0.0, f64::max)
}
