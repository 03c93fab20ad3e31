//! P2: no label goes back, and each ends with the newest version.

use super::{Carried, Findings, History, Kind, Limits, Violation, account::Account, after, violation::Event};
use protocol::{Outcome, Timestamp, Version};

pub(super) fn check(account: &Account<'_>, history: &History, limits: &Limits, findings: &mut Findings) {
    check_order(account, history, limits, findings);
    findings.violations.extend(check_end(account));
}

/// A label may go back only by a command that was carried out after its RPC had ended, or because Redis forgot: and then
/// it must be put right.
fn check_order(account: &Account<'_>, history: &History, limits: &Limits, findings: &mut Findings) {
    let writes = || account.commands.iter().filter(|command| command.version.is_some()).copied();
    let newest_at_last = writes().last().map(|write| write.version);
    let mut newest: Option<&Carried> = None;
    for write in writes() {
        match newest {
            Some(newer) if write.version < newer.version => {
                let mut story: Vec<&dyn Event> = vec![newer, write];
                let expired = write.began().is_some_and(|began| write.at > after(began, limits.rpc_timeout));
                let forgotten = forgetting(history, newer, write);
                if !expired && forgotten.is_none() {
                    let what = "an older version was written after a newer one".to_owned();
                    findings.violations.push(Violation::new(Kind::WentBack, Some(write.label), write.at, what, &story));
                } else if newest_at_last < Some(newer.version) {
                    story.extend(forgotten.map(|fault| fault as &dyn Event));
                    let what = "it went back to an older version and was not put right".to_owned();
                    findings.violations.push(Violation::new(
                        Kind::LeftBehind,
                        Some(write.label),
                        write.at,
                        what,
                        &story,
                    ));
                    return; // whatever else went back is left behind by the same
                } else {
                    findings.put_right.push(write.at);
                }
            }
            _ => newest = Some(write),
        }
    }
}

/// Redis forgot what it knew while one of these was under way.
fn forgetting<'a>(history: &'a History, newer: &Carried, older: &Carried) -> Option<&'a super::FaultSpan> {
    let under_way = |write: &Carried| (write.began().unwrap_or(write.came), write.at);
    let spans = [under_way(newer), under_way(older)];
    let concerns = |fault: &&super::FaultSpan| spans.iter().any(|(from, until)| fault.touches(*from, *until));
    history.faults.iter().filter(|fault| fault.forgets).find(concerns)
}

/// The newest version that was confirmed is desired; where it was shown, it is what is recorded and what the label shows.
fn check_end(account: &Account<'_>) -> Option<Violation> {
    let end = account.end?;
    let newest = account.asked.iter().filter(|asked| asked.confirmed.is_some()).max_by_key(|asked| asked.version)?;
    // What was offered and not confirmed may have come to something all the same.
    let newest_offered = account.asked.iter().map(|asked| asked.version).max()?;
    let at = newest.confirmed.unwrap_or(Timestamp::from_unix_millis(0));
    let violation =
        |what: String, story: &[&dyn Event]| Some(Violation::new(Kind::LeftBehind, Some(end.label), at, what, story));
    let current = |version: Option<Version>| version >= Some(newest.version) && version <= Some(newest_offered);
    if !current(end.desired) {
        return violation(format!("the ledger says that it should show {}", text(end.desired)), &[*newest]);
    }
    let outcome = *account.recorded.get(&newest.task)?.first()?;
    if outcome.outcome != Outcome::Shown {
        return None;
    }
    if !current(end.shown) {
        return violation(format!("it shows {}", text(end.shown)), &[*newest, outcome]);
    }
    if end.recorded != end.shown {
        let what = format!("the ledger says that it shows {}, but it shows {}", text(end.recorded), text(end.shown));
        return violation(what, &[*newest, outcome]);
    }
    None
}

fn text(version: Option<Version>) -> String {
    version.map_or("nothing".to_owned(), |version| format!("version {}", version.get()))
}
