//! P3: whoever is told that something was carried out asked for just that.

use super::{Findings, Kind, Violation, account::Account, violation::Event};
use protocol::{Outcome, ResultMessage};
use std::collections::{HashMap, HashSet};

pub(super) fn check(account: &Account<'_>, findings: &mut Findings) {
    check_askers(account, findings);
    let mut writes: HashMap<_, Vec<_>> = HashMap::new();
    for write in &account.commands {
        writes.entry(write.version).or_default().push(*write);
    }
    for results in account.recorded.values() {
        let Some(result) = results.first().filter(|result| says_shown(result)) else { continue };
        let written = writes.get(&result.version).is_some_and(|writes| {
            let by_it = |gateway| result.attempts == 0 || result.gateway == Some(gateway);
            writes.iter().any(|write| write.at <= result.at && by_it(write.gateway))
        });
        if !written {
            let asked = account.asked.iter().find(|asked| asked.task == result.task_id);
            let mut story: Vec<&dyn Event> = asked.map(|asked| *asked as &dyn Event).into_iter().collect();
            story.push(*result);
            let what = "it was never written by that gateway until then".to_owned();
            findings.violations.push(Violation::new(Kind::NeverWritten, Some(result.label), result.at, what, &story));
        }
    }
}

fn says_shown(result: &ResultMessage) -> bool {
    result.outcome == Outcome::Shown && result.version.is_some()
}

fn check_askers(account: &Account<'_>, findings: &mut Findings) {
    let carried: HashMap<_, _> = account.commands.iter().rev().map(|command| (&command.rpc, *command)).collect();
    let mut told = HashSet::new();
    for credit in &account.credits {
        let first = told.insert(&credit.rpc);
        let command = carried.get(&credit.rpc);
        if first && command.is_some_and(|command| command.at <= credit.at) {
            continue;
        }
        let what = if first { "it was not carried out until then" } else { "it was told twice" };
        let mut story: Vec<&dyn Event> = vec![*credit];
        story.extend(command.map(|command| *command as &dyn Event));
        let violation = Violation::new(Kind::WrongAsker, Some(credit.label), credit.at, what.to_owned(), &story);
        findings.violations.push(violation);
    }
}
