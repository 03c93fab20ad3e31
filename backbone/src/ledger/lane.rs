//! Group commit: what many tasks ask while a round trip is under way goes together in the next one.

use super::{Ledger, LedgerError, health::Health, health::retry_backoff};
use crate::service::Backoff;
use futures::future::try_join_all;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use std::{collections::VecDeque, future::Future, time::Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A batch has at most so many items, which is also what fits in one command.
pub(super) const MAX_BATCH: usize = 1_000;
/// So many requests wait in a lane; whoever asks then waits before it.
const QUEUE: usize = MAX_BATCH;

/// What a lane does with its items: one answer per item, in their order, repeatable.
pub(super) trait Operation: Send + 'static {
    type Item: Send + Sync + 'static;
    type Answer: Send + 'static;
    const DOING: &'static str;

    fn execute(
        ledger: &Ledger,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, LedgerError>> + Send;
}

/// A handle to ask by; a clone asks in the same lane.
#[derive(Debug)]
pub(super) struct Lane<O: Operation>(mpsc::Sender<Request<O>>);

type Reply<O> = oneshot::Sender<Result<Vec<<O as Operation>::Answer>, LedgerError>>;

struct Request<O: Operation> {
    items: Vec<O::Item>,
    reply: Reply<O>,
}

/// What several requests ask, with the number of items of each.
struct Batch<O: Operation> {
    items: Vec<O::Item>,
    callers: Vec<(usize, Reply<O>)>,
}

/// The far end of a lane: the task that makes its round trips, one at a time.
pub(super) struct Driver<O: Operation> {
    pub(super) ledger: Ledger,
    pub(super) health: Health,
    pub(super) stop: CancellationToken,
    pub(super) metrics: LaneMetrics,
    requests: mpsc::Receiver<Request<O>>,
}

/// What is measured of a lane.
#[derive(Debug, Clone)]
pub(super) struct LaneMetrics {
    pub(super) batch_items: Histogram,
    pub(super) round_trip_seconds: Histogram,
    pub(super) failures: Counter,
}

impl<O: Operation> Clone for Lane<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<O: Operation> Lane<O> {
    /// A lane and its driver, which is to be run.
    pub(super) fn new(
        ledger: Ledger,
        health: Health,
        stop: CancellationToken,
        metrics: LaneMetrics,
    ) -> (Self, Driver<O>) {
        let (sender, requests) = mpsc::channel(QUEUE);
        (Self(sender), Driver { ledger, health, stop, metrics, requests })
    }

    /// One answer per item, in their order. A caller that goes away before it has them takes nothing from others;
    /// what it asked for may be done nevertheless.
    pub(super) async fn ask(&self, mut items: Vec<O::Item>) -> Result<Vec<O::Answer>, LedgerError> {
        if items.len() <= MAX_BATCH {
            return if items.is_empty() { Ok(Vec::new()) } else { self.ask_once(items).await };
        }
        let mut parts = Vec::with_capacity(items.len().div_ceil(MAX_BATCH));
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(MAX_BATCH));
            parts.push(self.ask_once(std::mem::replace(&mut items, rest)));
        }
        Ok(try_join_all(parts).await?.into_iter().flatten().collect())
    }

    async fn ask_once(&self, items: Vec<O::Item>) -> Result<Vec<O::Answer>, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let stopped = LedgerError::Stopped { doing: O::DOING };
        if self.0.send(Request { items, reply }).await.is_err() {
            return Err(stopped);
        }
        answer.await.unwrap_or(Err(stopped))
    }
}

impl<O: Operation> Driver<O> {
    /// Serves the lane until its last handle is gone.
    pub(super) async fn run(mut self) {
        let mut left_over = None;
        loop {
            let first = match left_over.take() {
                Some(request) => request,
                None => match self.requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            let batch;
            (batch, left_over) = self.collect(first);
            let mut batches = VecDeque::from([batch]);
            while let Some(batch) = batches.pop_front() {
                // Each alone, so that a request that can't be done spoils no other.
                batches.extend(self.carry_out(batch).await);
            }
        }
    }

    /// What waits already, as far as it fits; what no longer fits is first in the next batch.
    fn collect(&mut self, first: Request<O>) -> (Batch<O>, Option<Request<O>>) {
        let mut batch = Batch { items: Vec::new(), callers: Vec::new() };
        let mut next = Some(first);
        while let Some(request) = next.take().or_else(|| self.requests.try_recv().ok()) {
            if request.reply.is_closed() {
                continue;
            }
            if !batch.items.is_empty() && batch.items.len() + request.items.len() > MAX_BATCH {
                return (batch, Some(request));
            }
            batch.callers.push((request.items.len(), request.reply));
            batch.items.extend(request.items);
        }
        (batch, None)
    }

    /// Does a batch, as often as it takes. Answers what is to be done singly, where the batch was refused as a whole.
    async fn carry_out(&self, batch: Batch<O>) -> Vec<Batch<O>> {
        if batch.items.is_empty() {
            return Vec::new();
        }
        let mut backoff = retry_backoff();
        loop {
            let error = match self.attempt(&batch.items).await {
                Ok(answers) => {
                    batch.answer(answers);
                    return Vec::new();
                }
                Err(error) => error,
            };
            if !error.is_passing() && batch.callers.len() > 1 {
                return batch.split();
            }
            if !error.is_passing() || self.stopped_while_waiting(&mut backoff).await {
                batch.fail(&error);
                return Vec::new();
            }
        }
    }

    async fn attempt(&self, items: &[O::Item]) -> Result<Vec<O::Answer>, LedgerError> {
        let begun = Instant::now();
        let answer = O::execute(&self.ledger, items).await;
        match &answer {
            Ok(_) => {
                self.metrics.batch_items.observe(items.len() as f64);
                self.metrics.round_trip_seconds.observe(begun.elapsed().as_secs_f64());
                self.health.works();
            }
            Err(error) => {
                self.metrics.failures.inc();
                if error.is_passing() {
                    self.health.fails(error);
                }
            }
        }
        answer
    }

    async fn stopped_while_waiting(&self, backoff: &mut Backoff) -> bool {
        self.stop.run_until_cancelled(tokio::time::sleep(backoff.next_delay())).await.is_none()
    }
}

impl<O: Operation> Batch<O> {
    /// A caller that is gone is passed over.
    fn answer(self, answers: Vec<O::Answer>) {
        let mut answers = answers.into_iter();
        for (count, reply) in self.callers {
            let _ = reply.send(Ok(answers.by_ref().take(count).collect()));
        }
    }

    fn fail(self, error: &LedgerError) {
        for (_, reply) in self.callers {
            let _ = reply.send(Err(error.clone()));
        }
    }

    fn split(self) -> Vec<Self> {
        let mut items = self.items.into_iter();
        let alone = self
            .callers
            .into_iter()
            .map(|(count, reply)| Self { items: items.by_ref().take(count).collect(), callers: vec![(count, reply)] });
        alone.collect()
    }
}
