//! The verdict, as a table for people and as JSON for programs.

use crate::{
    Config,
    history::{Findings, History, Kind},
    run::Struck,
};
use anyhow::{Context, Result};
use protocol::Timestamp;
use serde::Serialize;
use std::{collections::HashMap, fmt::Write as _, path::PathBuf};

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    seed: u64,
    labels: u32,
    /// How many label updates were confirmed.
    pub updates: usize,
    /// How many commands labels carried out.
    pub commands: usize,
    /// How many RPCs askers were told to have been carried out.
    pub credits: usize,
    outcomes: Vec<(String, usize)>,
    rows: Vec<Row>,
    /// Each kind of violation: how many, and the shortest story.
    pub violations: Vec<Violations>,
}

/// All violations of a kind.
#[derive(Debug, Clone, Serialize)]
pub struct Violations {
    kind: String,
    count: usize,
    /// The shortest story that shows one.
    pub story: String,
}

/// What a fault came to.
#[derive(Debug, Clone, Serialize)]
struct Row {
    fault: String,
    lasted_s: f64,
    in_flight: usize,
    lost: usize,
    wrong_asker: usize,
    older_after_newer: usize,
    put_right: usize,
    duplicate_outcomes: usize,
    other_violations: usize,
    /// From healing to the first outcome after it.
    first_s: Option<f64>,
    /// From healing to the last outcome of what was in flight then.
    all_s: Option<f64>,
}

impl Report {
    pub(crate) fn new(config: &Config, history: &History, findings: &Findings, struck: &[Struck]) -> Self {
        let mut outcomes: HashMap<_, usize> = HashMap::new();
        for result in &history.recorded {
            *outcomes.entry(result.outcome).or_default() += 1;
        }
        let mut outcomes: Vec<_> = outcomes.into_iter().collect();
        outcomes.sort_unstable();
        let violations = findings.shortest().into_iter().map(|(violation, count)| Violations {
            kind: format!("{:?} {:?}", violation.kind.promise(), violation.kind),
            count,
            story: violation.to_string(),
        });
        Self {
            seed: config.seed,
            labels: config.labels,
            updates: history.asked.len(),
            commands: history.commands.len(),
            credits: history.credits.len(),
            outcomes: outcomes.into_iter().map(|(outcome, count)| (outcome.to_string(), count)).collect(),
            rows: rows(history, findings, struck),
            violations: violations.collect(),
        }
    }

    /// No promise was broken.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// How many blows were dealt.
    pub fn faults(&self) -> usize {
        self.rows.len()
    }

    /// The table and the stories, in Markdown.
    pub fn markdown(&self) -> String {
        let Self { seed, labels, updates, commands, credits, .. } = self;
        let mut text = format!("# Fault run, seed {seed}\n\n");
        let outcomes: Vec<_> = self.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let _ = writeln!(
            text,
            "{labels} labels, {updates} confirmed updates, {commands} commands carried out, {credits} RPCs of other \
             askers. Outcomes, repairs included: {}. Violations: {}.\n",
            outcomes.join(", "),
            self.violations.iter().map(|violations| violations.count).sum::<usize>(),
        );
        text.push_str("| fault | lasted | in flight | lost | wrong asker | older after newer (put right) | duplicate outcomes | other | first / all after |\n");
        text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
        for row in &self.rows {
            let seconds = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time:.1} s"));
            let _ = writeln!(
                text,
                "| {} | {:.1} s | {} | {} | {} | {} ({}) | {} | {} | {} / {} |",
                row.fault,
                row.lasted_s,
                row.in_flight,
                row.lost,
                row.wrong_asker,
                row.older_after_newer,
                row.put_right,
                row.duplicate_outcomes,
                row.other_violations,
                seconds(row.first_s),
                seconds(row.all_s),
            );
        }
        for Violations { kind, count, story } in &self.violations {
            let _ = write!(text, "\n## {kind}: {count}\n\nThe shortest of the stories:\n\n```\n{story}```\n");
        }
        text
    }

    /// Writes both forms.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write(&self, config: &Config) -> Result<PathBuf> {
        std::fs::create_dir_all(&config.out).with_context(|| format!("making {}", config.out.display()))?;
        let path = config.out.join(format!("faults-{}.md", self.seed));
        let json = serde_json::to_string_pretty(self).context("writing the report as JSON")?;
        std::fs::write(path.with_extension("json"), json).context("writing the report as JSON")?;
        std::fs::write(&path, self.markdown()).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// A violation belongs to the fault before it, or to the one that it ran into.
fn rows(history: &History, findings: &Findings, struck: &[Struck]) -> Vec<Row> {
    let recorded: HashMap<_, _> =
        history.recorded.iter().map(|result| ((&result.task_id, result.label), result.at)).collect();
    let mut times: Vec<_> = recorded.values().copied().collect();
    times.sort_unstable();
    let row = |(at, blow): (usize, &Struck)| {
        let begin = if at == 0 { Timestamp::from_unix_millis(0) } else { blow.begin };
        let next = struck.get(at + 1).map_or(Timestamp::from_unix_millis(i64::MAX), |next| next.begin);
        let here = |time: Timestamp| begin <= time && time < next;
        let count = |kinds: &[Kind]| {
            let of_kinds = findings.violations.iter().filter(|violation| kinds.contains(&violation.kind));
            of_kinds.filter(|violation| here(violation.at)).count()
        };
        let seconds = |until: Timestamp| (until.unix_millis() - blow.healed.unix_millis()) as f64 / 1_000.0;
        let first = times.get(times.partition_point(|time| *time < blow.healed)).copied();
        let in_flight = history.asked.iter().filter(|asked| asked.confirmed <= Some(blow.healed));
        let ended = in_flight.filter_map(|asked| recorded.get(&(&asked.task, asked.label)).copied());
        let last = ended.filter(|at| *at > blow.healed).max();
        let (lost, wrong) = (count(&[Kind::Lost]), count(&[Kind::WrongAsker, Kind::NeverWritten]));
        let (older, twice) = (count(&[Kind::WentBack, Kind::LeftBehind]), count(&[Kind::TwoOutcomes]));
        Row {
            fault: blow.blow.to_string(),
            lasted_s: blow.blow.lasts.as_secs_f64(),
            in_flight: blow.in_flight,
            lost,
            wrong_asker: wrong,
            older_after_newer: older,
            put_right: findings.put_right.iter().filter(|time| here(**time)).count(),
            duplicate_outcomes: twice,
            other_violations: count(&Kind::ALL) - lost - wrong - older - twice,
            first_s: first.map(seconds),
            all_s: last.map_or(Some(0.0), |last| Some(seconds(last))),
        }
    };
    struck.iter().enumerate().map(row).collect()
}
