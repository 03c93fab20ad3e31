//! P7: no command is retained, or comes when it has expired.

use super::{Carried, Findings, History, Kind, Limits, Violation, account::Account, after};

pub(super) fn check(account: &Account<'_>, history: &History, limits: &Limits, findings: &mut Findings) {
    for command in &account.commands {
        let kind = if command.retained {
            (Kind::Retained, "the broker had retained the command")
        } else if is_stale(command, history, limits) {
            (Kind::Stale, "the command had expired when it came")
        } else {
            continue;
        };
        let violation = Violation::new(kind.0, Some(command.label), command.came, kind.1.to_owned(), &[*command]);
        findings.violations.push(violation);
    }
}

fn is_stale(command: &Carried, history: &History, limits: &Limits) -> bool {
    let Some(began) = command.began() else { return false };
    let held = |fault: &super::FaultSpan| fault.holds_commands && fault.touches(began, command.came);
    command.came > after(began, limits.rpc_timeout + limits.expiry_slack) && !history.faults.iter().any(held)
}
