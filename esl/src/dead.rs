//! `esl dead`: the tasks that could not be used.

use crate::{
    back_end::BackEnd,
    cli::{DeadArgs, DeadCommand, ReplayArgs},
    failure::{Ending, Failure},
    output::{Output, agreed},
    text::count,
};
use protocol::{TaskId, names::amqp};
use serde::Serialize;
use std::{collections::BTreeSet, fmt, io::IsTerminal};

/// So much of a task is shown.
const SHOWN_CHARS: usize = 200;

/// Dead letters as a back-end finds them.
pub(crate) struct Letters {
    /// How many there are.
    pub(crate) total: u32,
    /// The oldest.
    pub(crate) listed: Vec<Listed>,
}

/// What a back-end has sent again.
pub(crate) struct Sent {
    /// How many letters.
    pub(crate) letters: usize,
    /// Each of their tasks, once.
    pub(crate) tasks: BTreeSet<TaskId>,
    /// How many dead letters remain.
    pub(crate) left: u32,
}

#[derive(Debug, Serialize)]
struct Listing {
    dead_letters: u32,
    listed: Vec<Listed>,
}

/// A dead letter.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    task_id: Option<TaskId>,
    reason: String,
    bytes: usize,
    body: String,
}

#[derive(Debug, Serialize)]
struct Replay {
    replayed: usize,
    /// Each task that was sent again, once.
    tasks: BTreeSet<TaskId>,
    /// Tasks that were named but have no dead letter.
    not_found: Vec<TaskId>,
    left: u32,
}

/// Lists the dead letters, or sends them again.
pub(crate) async fn run(args: &DeadArgs, back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    if let Some(DeadCommand::Replay(replay)) = &args.command {
        return run_replay(replay, back_end, output).await;
    }
    let Letters { total, listed } = back_end.dead_letters(args.limit).await?;
    output.answer(&Listing { dead_letters: total, listed })?;
    Ok(Ending::Well)
}

async fn run_replay(args: &ReplayArgs, back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    if !args.yes && std::io::stdin().is_terminal() {
        let which = if args.all {
            format!("all of the {}", count(back_end.backlog().await?.dead_letters.into(), "dead letter"))
        } else {
            format!("the dead letters of {}", count(args.task.len() as u64, "task"))
        };
        if !agreed(&format!("Send {which} to {} again? [y/N] ", amqp::TASKS))? {
            return Ok(Ending::NotAll);
        }
    }
    let Sent { letters, tasks, left } = back_end.replay((!args.all).then_some(&args.task)).await?;
    let not_found: Vec<_> = args.task.iter().filter(|id| !tasks.contains(id)).cloned().collect();
    let report = Replay { replayed: letters, tasks, not_found, left };
    output.answer(&report)?;
    Ok(Ending::of(report.not_found.is_empty() && (!args.all || report.left == 0)))
}

impl Listed {
    /// A letter of so many bytes, of which `body` is all or the beginning.
    pub(crate) fn new(task_id: Option<TaskId>, reason: String, bytes: usize, body: &str) -> Self {
        Self { task_id, reason, bytes, body: body.chars().take(SHOWN_CHARS).collect() }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in &self.listed {
            let task_id = letter.task_id.as_ref().map_or("without a task_id", TaskId::as_str);
            let more = if letter.bytes > letter.body.len() { "…" } else { "" };
            // Others wrote it: nothing in it may move the cursor.
            let body = letter.body.replace(char::is_control, "\u{fffd}");
            writeln!(f, "{task_id}: {}\n    {body}{more}", letter.reason.replace(char::is_control, "\u{fffd}"))?;
        }
        let listed = self.listed.len() as u64;
        match u64::from(self.dead_letters).saturating_sub(listed) {
            0 => writeln!(f, "{}", count(self.dead_letters.into(), "dead letter")),
            more => writeln!(f, "{}, of which {more} are not listed", count(self.dead_letters.into(), "dead letter")),
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replayed = count(self.replayed as u64, "dead letter");
        writeln!(f, "{replayed} sent to {} again, {} left", amqp::TASKS, self.left)?;
        self.not_found.iter().try_for_each(|id| writeln!(f, "no dead letter of task {id}"))
    }
}
