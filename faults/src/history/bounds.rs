//! P6: everything is bounded. P8: what is hurt slows only what depends on it.

use super::{Asked, Findings, History, Kind, Limits, Violation, account::Account, after, violation::Event};
use protocol::{ResultMessage, Timestamp};
use std::collections::HashMap;

pub(super) fn check_label(account: &Account<'_>, history: &History, limits: &Limits, findings: &mut Findings) {
    let violations = &mut findings.violations;
    let mut commands: HashMap<_, Vec<_>> = HashMap::new();
    for command in account.commands.iter().filter(|command| command.version.is_some()) {
        commands.entry(command.version).or_default().push(*command);
    }
    for of_version in commands.values().filter(|commands| commands.len() > limits.commands_per_version) {
        let (first, last) = (of_version[0], of_version[of_version.len() - 1]);
        let what = format!("one version was written {} times", of_version.len());
        violations.push(Violation::new(Kind::Unbounded, Some(first.label), last.at, what, &[first, last]));
    }
    for result in account.recorded.values().filter_map(|results| results.first()) {
        if result.attempts > limits.attempts {
            let what = format!("it took {} attempts", result.attempts);
            violations.push(Violation::new(Kind::Unbounded, Some(result.label), result.at, what, &[*result]));
        }
    }
    for asked in &account.asked {
        let result = account.recorded.get(&asked.task).and_then(|results| results.first().copied());
        violations.extend(check_spared(asked, result, history, limits));
    }
}

fn check_spared(
    asked: &Asked,
    result: Option<&ResultMessage>,
    history: &History,
    limits: &Limits,
) -> Option<Violation> {
    let confirmed = asked.confirmed?;
    let in_time = after(confirmed, limits.spared_within);
    let spares = |fault: &&super::FaultSpan| {
        let spared = fault.spares.as_ref().is_some_and(|spared| spared.contains(&asked.label));
        spared && fault.begin <= confirmed && confirmed <= fault.end
    };
    let fault = history.faults.iter().find(spares)?;
    // Other faults have their own say.
    let alone = !history.faults.iter().any(|other| !std::ptr::eq(other, fault) && other.touches(confirmed, in_time));
    if !alone || result.is_some_and(|result| result.at <= in_time) {
        return None;
    }
    let mut story: Vec<&dyn Event> = vec![asked, fault];
    story.extend(result.map(|result| result as &dyn Event));
    let what = format!("a fault that does not concern it held it up for more than {:?}", limits.spared_within);
    Some(Violation::new(Kind::HeldUp, Some(asked.label), confirmed, what, &story))
}

pub(super) fn check_processes(history: &History, limits: &Limits, findings: &mut Findings) {
    let mut grown: HashMap<&str, (u64, Timestamp)> = HashMap::new();
    for sample in history.samples.iter().filter(|sample| sample.resident_kib > limits.resident_kib) {
        let most = grown.entry(&sample.process).or_insert((0, sample.at));
        *most = (*most).max((sample.resident_kib, sample.at));
    }
    for (process, (resident_kib, at)) in grown {
        let what = format!("{process} had {resident_kib} KiB of memory, more than {}", limits.resident_kib);
        findings.violations.push(Violation::new(Kind::Unbounded, None, at, what, &[]));
    }
    let end = history.recorded.iter().map(|result| result.at).max().unwrap_or(Timestamp::from_unix_millis(0));
    for (queue, count) in history.left_over.iter().filter(|(_, count)| *count > 0) {
        let what = format!("{count} messages are left in {queue}");
        findings.violations.push(Violation::new(Kind::Unbounded, None, end, what, &[]));
    }
}
