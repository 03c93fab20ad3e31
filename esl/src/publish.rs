//! Publishing many tasks: each is confirmed, a bounded number is under way, and a lost connection is no end.

use crate::{progress, text::chain};
use anyhow::{Context, Result, anyhow};
use backbone::{
    queue::{AmqpUrl, Broker, Publisher, QueueError, enqueue},
    service::Backoff,
};
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use protocol::Task;
use std::{cell::Cell, time::Duration};
use tokio_util::sync::CancellationToken;

/// At most so many tasks are published and not yet confirmed.
const IN_FLIGHT: usize = 256;
/// A broker that confirms nothing for so long is spoken of.
const SILENCE: Duration = Duration::from_secs(10);

/// Connects to RabbitMQ and makes sure that its queues are there.
///
/// # Errors
/// Says where it tried.
pub(crate) async fn connect(url: &AmqpUrl) -> Result<Broker> {
    let open = async {
        let broker = Broker::connect(url, "esl").await?;
        broker.declare_tasks().await?;
        Ok::<_, QueueError>(broker)
    };
    open.await.with_context(|| format!("RabbitMQ at {url}"))
}

/// Publishes tasks, session after session, until each is confirmed.
pub(crate) struct Publishing<'a> {
    tasks: &'a [Task],
    /// Which of them the broker has certainly taken.
    confirmed: Vec<Cell<bool>>,
    bar: ProgressBar,
    stop: CancellationToken,
}

impl<'a> Publishing<'a> {
    /// Begins with none confirmed. When `stop` is cancelled, what is under way is finished.
    pub(crate) fn new(tasks: &'a [Task], stop: CancellationToken) -> Self {
        let bar = progress::bar(tasks.len() as u64, "sending tasks");
        Self { tasks, confirmed: vec![Cell::new(false); tasks.len()], bar, stop }
    }

    pub(crate) fn tasks(&self) -> &'a [Task] {
        self.tasks
    }

    pub(crate) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The broker has certainly taken so many tasks from this one on.
    pub(crate) fn confirm(&self, first: usize, count: usize) {
        self.confirmed.iter().skip(first).take(count).for_each(|confirmed| confirmed.set(true));
        self.bar.inc(count as u64);
    }

    /// How many tasks the broker has certainly taken.
    pub(crate) fn confirmed(&self) -> usize {
        self.confirmed.iter().filter(|confirmed| confirmed.get()).count()
    }

    /// Publishes until all are confirmed or `stop` is cancelled.
    ///
    /// # Errors
    /// When the first connection fails: later ones are tried again.
    pub(crate) async fn run(&self, url: &AmqpUrl) -> Result<()> {
        let mut broker = connect(url).await?;
        let mut backoff = Backoff::for_connections();
        loop {
            let before = self.confirmed();
            let ended = self.session(&broker).await;
            broker.close().await;
            let Err(error) = ended else { break };
            if self.confirmed() > before {
                backoff.reset();
            }
            let error = anyhow!(error).context(format!("RabbitMQ at {url}"));
            progress::say(&self.bar, &format!("{}; trying again", chain(&error)));
            match self.reconnect(url, &mut backoff).await {
                Some(again) => broker = again,
                None => break,
            }
        }
        self.bar.finish_and_clear();
        Ok(())
    }

    async fn reconnect(&self, url: &AmqpUrl, backoff: &mut Backoff) -> Option<Broker> {
        self.bar.set_message("waiting for RabbitMQ");
        let again = async {
            loop {
                tokio::time::sleep(backoff.next_delay()).await;
                if let Ok(broker) = connect(url).await {
                    return broker;
                }
            }
        };
        let broker = self.stop.run_until_cancelled(again).await;
        self.bar.set_message("sending tasks");
        broker
    }

    async fn session(&self, broker: &Broker) -> Result<(), QueueError> {
        let publisher = broker.publisher().await?;
        tokio::select! {
            ended = self.publish_missing(&publisher) => ended,
            error = broker.lost() => Err(error),
        }
    }

    async fn publish_missing(&self, publisher: &Publisher) -> Result<(), QueueError> {
        let missing: Vec<_> =
            self.tasks.iter().zip(&self.confirmed).filter(|(_, confirmed)| !confirmed.get()).collect();
        // A full queue refuses everything: begin no more, but hear what becomes of those under way.
        let enough = self.stop.child_token();
        let mut refused = Ok(());
        let confirms = stream::iter(missing)
            .take_until(enough.cancelled())
            .map(async |(task, confirmed)| (confirmed, enqueue(publisher, task.priority, &body(task)).await))
            .buffer_unordered(IN_FLIGHT);
        let mut confirms = std::pin::pin!(confirms);
        let mut silent = false;
        loop {
            match tokio::time::timeout(SILENCE, confirms.next()).await {
                Ok(Some((confirmed, Ok(())))) => {
                    confirmed.set(true);
                    silent = false;
                    self.bar.inc(1);
                }
                Ok(Some((_, Err(error @ QueueError::Refused(_))))) => {
                    enough.cancel();
                    refused = Err(error);
                }
                Ok(Some((_, Err(error)))) => return Err(error),
                Ok(None) => return refused,
                Err(_) if silent => {}
                Err(_) => {
                    silent = true;
                    let text = format!("RabbitMQ has confirmed nothing for {SILENCE:?}; it may lack memory or disk");
                    progress::say(&self.bar, &text);
                }
            }
        }
    }
}

/// The same bytes each time, so that a task that is published twice is the same task.
fn body(task: &Task) -> Vec<u8> {
    // A task has text keys only, so it can always be written.
    serde_json::to_vec(task).unwrap_or_default()
}
