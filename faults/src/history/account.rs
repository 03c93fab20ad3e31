//! What a history tells of each label.

use super::{Asked, Carried, Credit, History, LabelEnd};
use protocol::{LabelMac, ResultMessage, TaskId};
use std::collections::{BTreeMap, HashMap};

/// All that happened to one label.
#[derive(Debug, Default)]
pub(super) struct Account<'a> {
    pub(super) asked: Vec<&'a Asked>,
    /// In the order in which they were carried out.
    pub(super) commands: Vec<&'a Carried>,
    pub(super) credits: Vec<&'a Credit>,
    pub(super) published: HashMap<&'a TaskId, Vec<&'a ResultMessage>>,
    pub(super) recorded: HashMap<&'a TaskId, Vec<&'a ResultMessage>>,
    pub(super) end: Option<&'a LabelEnd>,
}

pub(super) fn accounts(history: &History) -> impl Iterator<Item = Account<'_>> {
    let mut accounts: BTreeMap<LabelMac, Account<'_>> = BTreeMap::new();
    for asked in &history.asked {
        accounts.entry(asked.label).or_default().asked.push(asked);
    }
    for command in &history.commands {
        accounts.entry(command.label).or_default().commands.push(command);
    }
    for credit in &history.credits {
        accounts.entry(credit.label).or_default().credits.push(credit);
    }
    for result in &history.published {
        accounts.entry(result.label).or_default().published.entry(&result.task_id).or_default().push(result);
    }
    for result in &history.recorded {
        accounts.entry(result.label).or_default().recorded.entry(&result.task_id).or_default().push(result);
    }
    for end in &history.labels {
        accounts.entry(end.label).or_default().end = Some(end);
    }
    accounts.into_values().map(|mut account| {
        account.commands.sort_by_key(|command| command.at); // stable
        account
    })
}
