//! What the check says.

use super::{
    judge::{Check, Verdict},
    record::{Echo, Record},
};
use protocol::{GatewayMac, LabelMac};
use serde::Serialize;
use std::fmt;

/// How a gateway fared.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    gateway: GatewayMac,
    /// The worst of the checks.
    verdict: Verdict,
    /// It was not played to its end.
    interrupted: bool,
    checks: Vec<Check>,
    /// The labels that show test prices now.
    labels: Vec<LabelMac>,
    /// Half of the acknowledgements took no longer.
    median_ms: Option<u64>,
    echo: Option<&'static str>,
    commands: usize,
    answers: usize,
}

impl Report {
    pub(super) fn new(record: &Record, checks: Vec<Check>, interrupted: bool) -> Self {
        let mut labels: Vec<_> = record.sent.iter().map(|sent| sent.label).collect();
        labels.retain(|label| record.labels.contains(label));
        labels.sort_unstable();
        labels.dedup();
        Self {
            gateway: record.gateway,
            verdict: checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Skipped),
            interrupted,
            checks,
            labels,
            median_ms: record.median().and_then(|median| u64::try_from(median.as_millis()).ok()),
            echo: record.echo().map(|echo| match echo {
                Echo::Body => "body",
                Echo::Property => "property",
                Echo::Neither => "none",
                Echo::Wrong => "wrong",
            }),
            commands: record.sent.iter().map(|sent| sent.copies).sum(),
            answers: record.answers.len(),
        }
    }

    /// Whether no check failed; where it is strict, whether none warns either.
    pub(super) fn is_well(&self, strict: bool) -> bool {
        self.verdict < if strict { Verdict::Warning } else { Verdict::Fail }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { name, verdict, findings } in &self.checks {
            let verdict = match verdict {
                Verdict::Skipped => "-",
                Verdict::Pass => "ok",
                Verdict::Warning => "warning",
                Verdict::Fail => "FAIL",
            };
            for (at, finding) in findings.iter().enumerate() {
                let (verdict, name) = if at == 0 { (verdict, *name) } else { ("", "") };
                writeln!(f, "{verdict:<8}{name:<16}{finding}")?;
            }
        }
        if self.interrupted {
            writeln!(f, "interrupted: judged is what there was until then")?;
        }
        let (failed, warnings) = (self.count(Verdict::Fail), self.count(Verdict::Warning));
        let (passed, skipped) = (self.count(Verdict::Pass), self.count(Verdict::Skipped));
        writeln!(
            f,
            "gateway {}: {passed} ok, {warnings} warnings, {failed} failed, {skipped} not checked",
            self.gateway
        )
    }
}
