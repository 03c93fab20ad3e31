//! A queue in the data folder.

use super::{
    memory::header,
    subscribers::Subscribers,
    turn::{Fetched, Turn},
};
use crate::{
    embedded::{Job, Jobs, StoreError},
    queue::{Delivery, Message, Prefetch, Ticket},
    service::now,
};
use protocol::names::amqp;
use rusqlite::{Connection, params};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, oneshot};

/// One turn hands out so many messages at most, so that no transaction grows with a consumer's prefetch.
pub(super) const MOST_PER_TURN: usize = 256;

/// One durable queue. Rows with an ID up to the cursor are in the hands of consumers, or among those that came back;
/// all others wait.
pub(super) struct DurableQueue {
    /// Its ID in the data folder.
    pub(super) id: i64,
    pub(super) dead_letters: Option<Arc<DurableQueue>>,
    jobs: Arc<Jobs>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cursor: i64,
    returned: BTreeSet<i64>,
    /// Rows to be deleted.
    settled: Vec<i64>,
    /// How many wait; below zero for a moment, where one is handed out in the transaction that brought it.
    waiting: i64,
    subscribers: Subscribers<()>,
    turn: Phase,
}

/// Of a queue's turns, one at most is pushed or runs: what it hands out counts only when it is done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Pushed,
    Runs,
    RunsAndMore,
}

/// What a turn begins with.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Rows to be deleted.
    pub(super) settled: Vec<i64>,
    /// Rows that came back, to be handed out first.
    pub(super) returned: Vec<i64>,
    /// Where to read on.
    pub(super) cursor: i64,
    /// How many to read on.
    pub(super) wanted: usize,
}

impl DurableQueue {
    pub(super) fn new(id: i64, waiting: i64, jobs: Arc<Jobs>, dead_letters: Option<Arc<DurableQueue>>) -> Self {
        Self { id, dead_letters, jobs, state: Mutex::new(State { waiting, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(self: &Arc<Self>, prefetch: Prefetch, wake: Arc<Notify>) -> u64 {
        let id = self.state().subscribers.add(prefetch, wake);
        self.push_turn();
        id
    }

    pub(super) fn take(self: &Arc<Self>, id: u64, most: usize) -> Option<Vec<Delivery>> {
        let taken = self.state().subscribers.take(id, most);
        self.push_turn();
        taken
    }

    /// False: the consumer is gone. The rows go with the next transaction.
    pub(super) fn settle(self: &Arc<Self>, id: u64, tickets: &[Ticket]) -> bool {
        let mut state = self.state();
        let Some(settled) = state.subscribers.settle(id, tickets) else { return false };
        state.settled.extend(settled.into_iter().map(u64::cast_signed));
        drop(state);
        self.push_turn();
        true
    }

    pub(super) fn cancel(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        let untaken = state.subscribers.cancel(id);
        state.take_back(untaken.into_iter().map(|(id, ())| id.cast_signed()));
        drop(state);
        self.push_turn();
    }

    pub(super) fn leave(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        let in_hand = state.subscribers.remove(id);
        state.take_back(in_hand.into_keys().map(u64::cast_signed));
        drop(state);
        self.push_turn();
    }

    pub(super) fn waiting(&self) -> u32 {
        u32::try_from(self.state().waiting.max(0)).unwrap_or(u32::MAX)
    }

    pub(super) fn add_waiting(&self, more: i64) {
        self.state().waiting += more;
    }

    /// Has the queue's next turn made, where it has something to do. From within a job: in the same transaction.
    pub(super) fn push_turn(self: &Arc<Self>) {
        let mut state = self.state();
        if state.settled.is_empty() && (state.waiting_surely_none() || state.subscribers.free() == 0) {
            return;
        }
        self.push(&mut state);
    }

    /// As [`push_turn`](Self::push_turn), for a message that is written and not yet counted.
    pub(super) fn push_turn_for_new(self: &Arc<Self>) {
        let mut state = self.state();
        if state.subscribers.free() > 0 {
            self.push(&mut state);
        }
    }

    fn push(self: &Arc<Self>, state: &mut State) {
        state.turn = match state.turn {
            Phase::Idle => {
                self.jobs.push_own(Box::new(Turn::of(Arc::clone(self))));
                Phase::Pushed
            }
            Phase::Pushed => Phase::Pushed,
            Phase::Runs | Phase::RunsAndMore => Phase::RunsAndMore,
        };
    }

    /// A turn begins.
    pub(super) fn plan(&self) -> Plan {
        let mut state = self.state();
        state.turn = Phase::Runs;
        let free = state.subscribers.free().min(MOST_PER_TURN);
        let mut returned = Vec::new();
        while returned.len() < free
            && let Some(id) = state.returned.pop_first()
        {
            returned.push(id);
        }
        let wanted = free - returned.len();
        Plan { settled: std::mem::take(&mut state.settled), returned, cursor: state.cursor, wanted }
    }

    /// A turn has been committed: consumers get what it found.
    pub(super) fn finish(self: &Arc<Self>, cursor: i64, fetched: Fetched) {
        let mut state = self.state();
        state.cursor = cursor;
        state.waiting -= (fetched.deliveries.len() + fetched.gone) as i64;
        for delivery in fetched.deliveries {
            let id = delivery.ticket.0.cast_signed();
            match state.subscribers.next() {
                Some(subscriber) if subscriber.acknowledges() => subscriber.hand(delivery, Some(())),
                Some(subscriber) => {
                    subscriber.hand(delivery, None);
                    state.settled.push(id);
                }
                // It went away meanwhile.
                None => state.take_back([id]),
            }
        }
        let more = state.turn == Phase::RunsAndMore || fetched.more;
        let again = !state.settled.is_empty() || (more && state.subscribers.free() > 0);
        state.turn = Phase::Idle;
        if again {
            self.push(&mut state);
        }
    }

    /// A turn has failed: all is as before it, and it is tried again after a while.
    pub(super) fn undo(self: &Arc<Self>, plan: Plan, error: &StoreError) {
        let mut state = self.state();
        state.settled.extend(plan.settled);
        state.returned.extend(plan.returned);
        state.turn = Phase::Pushed;
        tracing::warn!(error = error.to_string(), "the queue waits for its data folder");
        self.jobs.push_own_later(Box::new(Turn::of(Arc::clone(self))));
    }
}

impl fmt::Debug for DurableQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableQueue").field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}

impl State {
    fn waiting_surely_none(&self) -> bool {
        self.waiting <= 0 && self.returned.is_empty()
    }

    fn take_back(&mut self, ids: impl IntoIterator<Item = i64>) {
        for id in ids {
            self.returned.insert(id);
            self.waiting += 1;
        }
    }
}

/// A message on its way into queues.
pub(super) struct Insert {
    targets: Vec<Arc<DurableQueue>>,
    body: Vec<u8>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    reason: Option<String>,
    wait: Option<String>,
    expiration_ms: Option<i64>,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

impl Insert {
    pub(super) fn new(
        message: &Message<'_>,
        targets: Vec<Arc<DurableQueue>>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    ) -> Self {
        Self {
            targets,
            body: message.body.to_vec(),
            correlation_id: message.correlation_id.map(str::to_owned),
            reply_to: message.reply_to.map(str::to_owned),
            reason: header(message, amqp::REASON).map(str::to_owned),
            wait: header(message, amqp::WAIT).map(str::to_owned),
            expiration_ms: message.expiration.map(|left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX)),
            reply,
        }
    }
}

impl Job for Insert {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut insert = connection.prepare_cached(
            "INSERT INTO message (queue, published_at, expiration_ms, correlation_id, reply_to, reason, wait, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let at = now().unix_millis();
        let Self { targets, body, correlation_id, reply_to, reason, wait, expiration_ms, .. } = &*self;
        for target in targets {
            insert.execute(params![target.id, at, expiration_ms, correlation_id, reply_to, reason, wait, body])?;
            target.push_turn_for_new();
        }
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<(), StoreError>) {
        if outcome.is_ok() {
            self.targets.iter().for_each(|target| target.add_waiting(1));
        }
        // Whoever no longer waits is passed over.
        let _ = self.reply.send(outcome);
    }
}
