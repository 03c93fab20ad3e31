//! `esl dead`: the tasks that could not be used.

use crate::{
    cli::{DeadArgs, DeadCommand, ReplayArgs},
    failure::{Ending, Failure},
    letters,
    output::Output,
    text::count,
};
use anyhow::Context;
use backbone::queue::{AmqpUrl, DeadLetter};
use protocol::{TaskId, names::amqp};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fmt,
    io::{IsTerminal, Write},
};

/// So much of a task is shown.
const SHOWN_BYTES: usize = 200;

#[derive(Debug, Serialize)]
struct Listing {
    dead_letters: u32,
    listed: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
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
pub(crate) async fn run(args: &DeadArgs, output: Output) -> Result<Ending, Failure> {
    if let Some(DeadCommand::Replay(replay)) = &args.command {
        return run_replay(&args.amqp_url, replay, output).await;
    }
    let mut listed = Vec::new();
    let dead_letters = letters::look(&args.amqp_url, args.limit, |letter| listed.push(Listed::from(letter))).await?;
    output.answer(&Listing { dead_letters, listed })?;
    Ok(Ending::Well)
}

async fn run_replay(url: &AmqpUrl, args: &ReplayArgs, output: Output) -> Result<Ending, Failure> {
    let there = letters::waiting(url, amqp::DEAD_TASKS).await?;
    if there > 0 && !args.yes && std::io::stdin().is_terminal() {
        let which = if args.all {
            format!("all of the {}", count(there.into(), "dead letter"))
        } else {
            format!("the dead letters of {}", count(args.task.len() as u64, "task"))
        };
        if !agreed(&format!("Send {which} to {} again? [y/N] ", amqp::TASKS))? {
            return Ok(Ending::NotAll);
        }
    }
    let wanted = |letter: &DeadLetter| args.all || letter.task_id().is_some_and(|id| args.task.contains(&id));
    let replayed = letters::replay(url, wanted).await?;
    let tasks: BTreeSet<TaskId> = replayed.tasks.iter().flatten().cloned().collect();
    let not_found: Vec<_> = args.task.iter().filter(|id| !tasks.contains(id)).cloned().collect();
    let report = Replay { replayed: replayed.tasks.len(), tasks, not_found, left: replayed.left };
    output.answer(&report)?;
    Ok(Ending::of(report.not_found.is_empty() && (!args.all || report.left == 0)))
}

/// Asks on the terminal; anything but yes is no.
fn agreed(question: &str) -> Result<bool, Failure> {
    eprint!("{question}");
    let mut answer = String::new();
    std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer)).context("asking")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

impl From<&DeadLetter> for Listed {
    fn from(letter: &DeadLetter) -> Self {
        let body = letter.body();
        let start = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned();
        Self { task_id: letter.task_id(), reason: letter.reason().to_owned(), bytes: body.len(), body: start }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in &self.listed {
            let task_id = letter.task_id.as_ref().map_or("without a task_id", TaskId::as_str);
            let more = if letter.bytes > SHOWN_BYTES { "…" } else { "" };
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
