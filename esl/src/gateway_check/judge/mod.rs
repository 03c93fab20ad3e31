//! What the record means, by docs/PROTOCOL.md.

mod answers;
mod commands;
mod connection;
mod reports;

use super::record::Record;
use serde::Serialize;
use std::time::Duration;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// There was nothing to judge by.
    Skipped,
    /// As it must be.
    Pass,
    /// It works, and could be better.
    Warning,
    /// It does not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    /// Why, a sentence each.
    pub(super) findings: Vec<String>,
}

/// All checks, in the order in which they are read.
pub(super) fn judge(record: &Record) -> Vec<Check> {
    vec![
        reports::reports(record),
        reports::strength(record),
        connection::connection(record),
        connection::topics(record),
        answers::answers(record),
        answers::delivery(record),
        answers::echo(record),
        answers::once(record),
        answers::in_time(record),
        answers::unasked(record),
        commands::tolerance(record),
        commands::copies(record),
        commands::actions(record),
        commands::unknown_action(record),
        commands::unknown_label(record),
        commands::errors(record),
        commands::order(record),
        commands::window(record),
        commands::expiry(record),
        connection::away(record),
    ]
}

/// Gathers what a check finds; the worst of it is its verdict.
pub(super) struct Findings {
    check: Check,
}

impl Findings {
    pub(super) fn of(name: &'static str) -> Self {
        Self { check: Check { name, verdict: Verdict::Skipped, findings: Vec::new() } }
    }

    pub(super) fn skip(mut self, why: &str) -> Check {
        self.check.findings.push(why.to_owned());
        self.check
    }

    pub(super) fn pass(&mut self, finding: impl Into<String>) {
        self.add(Verdict::Pass, finding.into());
    }

    pub(super) fn warn(&mut self, finding: impl Into<String>) {
        self.add(Verdict::Warning, finding.into());
    }

    pub(super) fn fail(&mut self, finding: impl Into<String>) {
        self.add(Verdict::Fail, finding.into());
    }

    /// What was found; `well` where nothing was.
    pub(super) fn or_pass(mut self, well: impl Into<String>) -> Check {
        if self.check.findings.is_empty() {
            self.pass(well);
        }
        self.check
    }

    /// What was found; where nothing was, there was nothing to judge by.
    pub(super) fn or_nothing(self) -> Check {
        if self.check.findings.is_empty() { self.skip("not reached") } else { self.check }
    }

    fn add(&mut self, verdict: Verdict, finding: String) {
        self.check.verdict = self.check.verdict.max(verdict);
        self.check.findings.push(finding);
    }
}

/// `0.61 s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// A gateway's own words, short and harmless.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
    format!("\"{short}\"")
}

#[cfg(test)]
mod tests;
