//! P1: each label of a confirmed task has exactly one outcome, recorded and published.

use super::{Asked, Findings, Kind, Violation, account::Account, violation::Event};
use protocol::{Outcome, ResultMessage};
use std::collections::HashSet;

pub(super) fn check(account: &Account<'_>, findings: &mut Findings) {
    // A task that was confirmed twice is still one.
    let mut seen = HashSet::new();
    for asked in account.asked.iter().filter(|asked| seen.insert(&asked.task)) {
        findings.violations.extend(check_task(account, asked));
    }
}

fn check_task(account: &Account<'_>, asked: &Asked) -> Option<Violation> {
    let recorded = account.recorded.get(&asked.task).map_or(&[][..], Vec::as_slice);
    let published = account.published.get(&asked.task).map_or(&[][..], Vec::as_slice);
    let violation = |kind, what: &str, results: &[&ResultMessage]| {
        let at = asked.confirmed.or_else(|| Some(results.first()?.at)).unwrap_or(asked_at(published, recorded));
        let mut story: Vec<&dyn Event> = vec![asked];
        story.extend(results.iter().map(|result| *result as &dyn Event));
        Some(Violation::new(kind, Some(asked.label), at, what.to_owned(), &story))
    };
    if let Some(pair) = differing(recorded) {
        return violation(Kind::TwoOutcomes, "two outcomes are recorded", &pair);
    }
    if let Some(pair) = differing(published) {
        return violation(Kind::TwoOutcomes, "two outcomes were published", &pair);
    }
    match (recorded.first(), published.first()) {
        (None, None) if asked.confirmed.is_some() => violation(Kind::Lost, "there is no outcome", &[]),
        (None, None) => None,
        (Some(recorded), None) => violation(Kind::NotPublished, "its outcome was never published", &[recorded]),
        (None, Some(published)) => violation(Kind::NotPublished, "its outcome is not recorded", &[published]),
        (Some(recorded), Some(published)) if recorded != published => {
            violation(Kind::TwoOutcomes, "another outcome was published than is recorded", &[recorded, published])
        }
        (Some(recorded), Some(_)) if recorded.outcome == Outcome::Superseded && !has_newer(account, asked) => {
            violation(Kind::NotSuperseded, "nobody asked for a newer version", &[recorded])
        }
        _ => None,
    }
}

/// Only for tasks that nobody confirmed and that ended all the same.
fn asked_at(published: &[&ResultMessage], recorded: &[&ResultMessage]) -> protocol::Timestamp {
    let first = published.iter().chain(recorded).map(|result| result.at).min();
    first.unwrap_or(protocol::Timestamp::from_unix_millis(0))
}

/// Two that are not the same. The ledger may have only one: two that are equal are two.
fn differing<'a>(results: &[&'a ResultMessage]) -> Option<[&'a ResultMessage; 2]> {
    results.windows(2).find(|pair| pair[0] != pair[1]).map(|pair| [pair[0], pair[1]])
}

fn has_newer(account: &Account<'_>, asked: &Asked) -> bool {
    account.asked.iter().any(|other| other.version > asked.version)
}
