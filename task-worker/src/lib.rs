//! # task-worker
//!
//! Takes tasks from the queues `esl.tasks` and `esl.tasks.urgent`, one permit each ([`intake`]), and brings every label of
//! a task to exactly one recorded outcome:
//!
//! 1. [`execute`]: checks the task, finds its labels, tells the ledger what is desired, and decides for each label
//!    ([`decide`]) whether it is news;
//! 2. [`drive`]: makes RPCs ([`ask`]) for those that are, until the label has its outcome or the deadline has come;
//! 3. [`execute`] again: records outcomes in the ledger, publishes the results, and only then acknowledges the task.
//!
//! A task of which nothing is left but labels that wait for their gateways is put off ([`park`]): it needs no worker
//! meanwhile. So is one whose batch is paused ([`held`]); what is left of a batch that is cancelled is rejected.
//!
//! Beside that, [`repair`] looks for labels that no task could reach and that are heard again, and [`answers`] counts how
//! gateways answer.
//!
//! A worker can be killed anywhere: its tasks are delivered to another, which finds in the ledger what was done.

mod answers;
mod ask;
mod config;
mod decide;
mod drive;
mod execute;
mod held;
mod intake;
mod metrics;
mod park;
mod repair;

pub use config::{Config, RpcBy};

use answers::Answers;
use anyhow::{Context, Result};
use ask::Asker;
use backbone::{
    ledger::{BatchWatch, Ledger, LedgerError, LedgerWriter, Telemetry},
    queue::{Broker, Delivery, Settler},
    registry::Registry,
    service::{Ended, Readiness, Service, run_sessions},
};
use drive::{Driver, Interrupted, Permits, urgent_share};
use execute::{Disposition, Executor};
use intake::{Intake, Taken};
use metrics::Metrics;
use protocol::{Priority, names::amqp};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// Of the grace, so much is kept for handing back what could not be finished.
const HAND_BACK: Duration = Duration::from_secs(3);

/// What lives longer than a session.
struct Worker {
    config: Config,
    ledger: Ledger,
    writer: LedgerWriter,
    batches: BatchWatch,
    telemetry: Telemetry,
    answers: Answers,
    registry: Registry,
    metrics: Metrics,
    id: Uuid,
}

/// Runs a task worker until `service.stop`, then drains it.
///
/// # Errors
/// When the configuration can't work at all; servers that are down are waited for.
pub async fn run(config: Config, mut service: Service) -> Result<()> {
    let config = config.trusting();
    let metrics = Metrics::register(&mut service.metrics);
    let background = TaskTracker::new();
    let closed = CancellationToken::new();
    let ledger = Ledger::connect(&config.mongodb_url).await?;
    let writer = LedgerWriter::start(&ledger, &background, &closed);
    let (batches, watching) = BatchWatch::start(&writer, ledger.clone(), closed.clone());
    background.spawn(watching);
    let telemetry = Telemetry::start(&ledger, &background);
    writer.register(&mut service.metrics);
    telemetry.register(&mut service.metrics);
    service.open_admin_port(axum::Router::new());

    let registry = Registry::connect(&config.redis.redis_url)?;
    let (answers, id) = (Answers::default(), Uuid::now_v7());
    background.spawn(answers.clone().keep_writing(registry.clone(), id, closed.clone()));
    let worker = Arc::new(Worker { config, ledger, writer, batches, telemetry, answers, registry, metrics, id });
    run_sessions(&service.stop, || session(&worker, &service)).await;
    closed.cancel();
    drop(worker);
    background.close();
    background.wait().await;
    Ok(())
}

async fn session(worker: &Arc<Worker>, service: &Service) -> Result<Ended> {
    tokio::select! {
        () = worker.writer.wait_until(true) => {}
        () = service.stop.cancelled() => return Ok(Ended::Stopped),
    }
    let broker = Broker::connect(&worker.config.amqp.amqp_url, service.name).await.context("opening a session")?;
    broker.declare().await.context("opening a session")?;
    let (rpc, mut listen) = Asker::open(&worker.config, &broker).await?;
    let executor = Arc::new(worker.executor(rpc, broker.publisher().await?, service.stop.clone()));
    let concurrency = worker.config.task_concurrency;
    let mut tasks = Intake::open(&broker, Priority::Normal, concurrency).await?;
    let mut urgent = Intake::open(&broker, Priority::Urgent, urgent_share(concurrency)).await?;
    tracing::info!(amqp.url = %worker.config.amqp.amqp_url, "takes tasks");
    let mut ready = std::pin::pin!(ready_while_up(&worker.writer, &service.readiness));
    let mut repairs = std::pin::pin!(repair::keep_repairing(worker, &executor));
    let mut lost = std::pin::pin!(broker.lost());
    let in_hand = TaskTracker::new();
    let over = CancellationToken::new();
    let (failed, mut failures) = mpsc::channel(1);
    let ended = loop {
        tokio::select! {
            taken = intake::next(&mut urgent, &mut tasks) => match taken {
                Ok(Taken { permit, delivery, settler }) => {
                    let handle = handle(Arc::clone(&executor), settler, delivery, failed.clone());
                    in_hand.spawn(over.clone().run_until_cancelled_owned(async move {
                        handle.await;
                        drop(permit);
                    }));
                }
                Err(error) => break Ended::Lost(error.into()),
            },
            Some(error) = failures.recv() => break Ended::Lost(error.into()),
            never = &mut ready => match never {},
            interrupted = &mut repairs => break Ended::Lost(interrupted.into()),
            error = &mut listen => break Ended::Lost(error.into()),
            error = &mut lost => break Ended::Lost(error.into()),
            () = service.stop.cancelled() => break Ended::Stopped,
        }
    };
    service.readiness.set(false);
    in_hand.close();
    if matches!(ended, Ended::Stopped) {
        tasks.cancel().await?;
        urgent.cancel().await?;
        let drained = drain(&in_hand, service.drain_grace.saturating_sub(HAND_BACK));
        // Replies must be heard to the end.
        tokio::select! {
            () = drained => {}
            _ = &mut listen => {}
        }
    }
    over.cancel();
    in_hand.wait().await;
    if matches!(ended, Ended::Stopped) {
        broker.close().await;
    }
    Ok(ended)
}

/// Ready while the ledger answers: without it nothing begins or ends. What is in hand waits, and the rest in the queue.
async fn ready_while_up(ledger: &LedgerWriter, readiness: &Readiness) -> Infallible {
    loop {
        ledger.wait_until(true).await;
        readiness.set(true);
        ledger.wait_until(false).await;
        readiness.set(false);
    }
}

async fn drain(in_hand: &TaskTracker, grace: Duration) {
    if tokio::time::timeout(grace, in_hand.wait()).await.is_err() {
        tracing::info!(tasks = in_hand.len(), "handing back what could not be finished in time");
    }
}

impl Worker {
    fn executor(&self, rpc: Asker, publisher: backbone::queue::Publisher, stop: CancellationToken) -> Executor {
        let driver = Driver {
            rpc,
            ledger: self.writer.clone(),
            telemetry: self.telemetry.clone(),
            answers: self.answers.clone(),
            metrics: self.metrics.clone(),
            permits: Permits::new(self.config.rpc_concurrency),
            rpc_timeout: self.config.rpc_timeout,
            worker: self.id,
            stop,
        };
        Executor { driver, ledger: self.ledger.clone(), batches: self.batches.clone(), publisher }
    }
}

/// Executes a task and settles its message: the only place where that is done. An error that goes to `failed` ends the
/// session; the message is then not acknowledged, so it is delivered again.
async fn handle(executor: Arc<Executor>, settler: Settler, delivery: Delivery, failed: mpsc::Sender<Interrupted>) {
    let metrics = &executor.driver.metrics;
    let (_in_hand, began) = (metrics.task_in_hand(), Instant::now());
    let disposition = match executor.execute(&delivery).await {
        // What the ledger can never hold will not be better when it is delivered again.
        Err(Interrupted::Ledger(error @ LedgerError::Refused { .. })) => {
            Ok(Disposition::Dead(format!("{:#}", anyhow::Error::from(error))))
        }
        disposition => disposition,
    };
    let settled = match disposition {
        Ok(disposition) => settle(&executor, &settler, &delivery, disposition).await,
        Err(error) => Err(error),
    };
    metrics.count_task(settled.as_ref().copied().unwrap_or("interrupted"), began.elapsed());
    match settled {
        Ok(_) | Err(Interrupted::Stopping) => {}
        // One failure ends the session; that others follow is no news.
        Err(error) => drop(failed.try_send(error)),
    }
}

async fn settle(
    executor: &Executor,
    settler: &Settler,
    delivery: &Delivery,
    disposition: Disposition,
) -> Result<&'static str, Interrupted> {
    let end = match disposition {
        Disposition::Done => "done",
        Disposition::Unbound => "unbound",
        Disposition::Stamped(task) => {
            executor.enqueue(&task).await?;
            "stamped"
        }
        Disposition::Dead(reason) => {
            tracing::warn!(reason, "task moved to the dead letters: it can't be used");
            executor.put(amqp::DEAD_TASKS, &delivery.body, &[(amqp::REASON, &reason)]).await?;
            "dead"
        }
        Disposition::Parked(parcels) => {
            for parcel in parcels {
                executor.park(&parcel).await?;
            }
            "parked"
        }
        Disposition::TooEarly(priority, wait) => {
            executor.put_later(priority, &delivery.body, &wait).await?;
            "too_early"
        }
    };
    settler.settle(&[delivery.ticket]).await?;
    Ok(end)
}
