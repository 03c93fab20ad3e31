//! `esl enqueue`: a price file becomes tasks.

use crate::{
    back_end::BackEnd,
    balance::{Balance, Batch},
    bind::write_skipped,
    cli::EnqueueArgs,
    failure::{Ending, Failure},
    file,
    interrupt::Interrupts,
    output::Output,
    publish::Publishing,
    text::{count, seconds},
    watch::{self, Follower},
};
use anyhow::Context;
use backbone::{
    service::now,
    sheet::{BadCell, PriceChange, lines_in, read_prices},
};
use protocol::{Action, BatchId, Priority, Store, Task};
use serde::Serialize;
use std::{
    fmt,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// After Ctrl-C, confirms of what is under way are waited for so long.
const LAST_CONFIRMS: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
struct Report {
    batch: BatchId,
    store: Store,
    tasks: usize,
    confirmed: usize,
    sending_seconds: f64,
    bad_lines: usize,
    bad_cells: Vec<BadCell>,
    ignored_columns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
    interrupted: bool,
    #[serde(skip)]
    follow_by: String,
}

/// Sends a price file.
pub(crate) async fn run(args: &EnqueueArgs, back_end: &BackEnd, output: Output) -> Result<Ending, Failure> {
    let table = file::demand(file::read(&args.file, read_prices)?, &args.file, args.skip_bad)?;
    output.bad_cells(&table.bad);
    let batch = args.batch.clone().map_or_else(|| made_up(&args.store), Ok)?;
    let tasks = tasks(args, &batch, &table.rows)?;
    // Counted before anything is sent: if that can't be done, nobody could follow.
    let followed = if args.watch { Some(followed(args, back_end, &batch, &table.rows).await?) } else { None };

    let mut interrupts = Interrupts::listen()?;
    let began = Instant::now();
    let Sent { confirmed, interrupted } = send(&args.store, back_end, &tasks, &mut interrupts).await?;
    let mut report = Report {
        store: args.store.clone(),
        tasks: tasks.len(),
        confirmed,
        sending_seconds: began.elapsed().as_secs_f64(),
        bad_lines: lines_in(&table.bad),
        bad_cells: table.bad,
        ignored_columns: table.ignored,
        balance: None,
        interrupted,
        follow_by: format!(
            "esl watch {batch:?} --file {} --store {}",
            args.file.display(),
            args.store,
            batch = batch.as_str()
        ),
        batch,
    };
    let ending = match followed {
        _ if interrupted => Ending::Interrupted,
        None => Ending::Well,
        Some(batch) => {
            let follower = Follower::new(back_end, batch, began);
            let (balance, ending) = follower.follow(args.patience, &mut interrupts).await?;
            report.balance = Some(balance);
            ending
        }
    };
    output.answer(&report)?;
    Ok(if ending == Ending::Well { Ending::of(report.bad_lines == 0) } else { ending })
}

fn made_up(store: &Store) -> Result<BatchId, Failure> {
    format!("{store}-{}", now()).parse().map_err(|error| Failure::Input(format!("{error}; give it as --batch")))
}

fn tasks(args: &EnqueueArgs, batch: &BatchId, changes: &[PriceChange]) -> Result<Vec<Task>, Failure> {
    let timeout_ms = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
    let task = |change: &PriceChange| {
        Ok(Task {
            task_id: Uuid::now_v7().to_string().parse().context("naming a task")?,
            store: args.store.clone(),
            action: Action::PriceUpdate,
            sku: Some(change.sku.clone()),
            labels: None,
            version: change.version,
            fields: change.fields.clone(),
            batch: Some(batch.clone()),
            timeout_ms: Some(timeout_ms),
            priority: if args.urgent { Priority::Urgent } else { Priority::Normal },
        })
    };
    let tasks = changes.iter().map(task).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(first) = tasks.first() {
        // What they have in common, read as a worker reads it.
        let body = serde_json::to_vec(first).context("writing a task")?;
        Task::parse(&body).map_err(|error| Failure::Input(format!("--timeout: {error}")))?;
    }
    Ok(tasks)
}

async fn followed(
    args: &EnqueueArgs,
    back_end: &BackEnd,
    id: &BatchId,
    changes: &[PriceChange],
) -> Result<Batch, Failure> {
    let batch = watch::counted(back_end, id, &args.store, changes).await?;
    if !back_end.outcomes(id).await?.is_empty() {
        let text =
            format!("--batch {id}: tasks of an earlier batch of this name would be counted too; choose another name");
        return Err(Failure::Input(text));
    }
    Ok(batch)
}

/// How far sending came.
struct Sent {
    /// So many tasks were confirmed: all, unless it was interrupted.
    confirmed: usize,
    interrupted: bool,
}

async fn send(store: &Store, back_end: &BackEnd, tasks: &[Task], interrupts: &mut Interrupts) -> Result<Sent, Failure> {
    let stop = CancellationToken::new();
    let publishing = Publishing::new(tasks, stop.clone());
    let interrupted = async {
        interrupts.next().await;
        stop.cancel();
        tokio::time::sleep(LAST_CONFIRMS).await;
    };
    tokio::select! {
        sent = back_end.send(&publishing, store) => sent.map_err(|failure| {
            let confirmed = publishing.confirmed() as u64;
            if confirmed == 0 { failure } else { failure.halfway(&format!("{} are confirmed", count(confirmed, "task"))) }
        })?,
        () = interrupted => {}
    }
    Ok(Sent { confirmed: publishing.confirmed(), interrupted: stop.is_cancelled() })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = seconds(Duration::from_secs_f64(self.sending_seconds));
        if self.interrupted {
            let (confirmed, tasks) = (count(self.confirmed as u64, "task"), count(self.tasks as u64, "task"));
            writeln!(f, "interrupted: the broker has confirmed {confirmed} of {tasks} of batch {}", self.batch)?;
        } else {
            writeln!(f, "{} sent in {duration}, batch {}", count(self.tasks as u64, "task"), self.batch)?;
        }
        write_skipped(f, self.bad_lines, &self.ignored_columns)?;
        match &self.balance {
            Some(balance) => balance.fmt(f),
            None => writeln!(f, "follow: {}", self.follow_by),
        }
    }
}
