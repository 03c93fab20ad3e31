//! A queue in memory: no disk, no other thread, no copy that is not needed.

use super::subscribers::Subscribers;
use crate::queue::{Delivery, Message, Prefetch, Ticket};
use protocol::{Wait, names::amqp};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::Notify;

/// So many messages wait in one queue.
pub(super) const MOST_MESSAGES: usize = 65_536;
/// So many bytes of bodies wait in one queue, and one message more.
const MOST_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
pub(super) struct MemoryQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ready: BTreeMap<u64, Waiting>,
    bytes: usize,
    last: u64,
    subscribers: Subscribers<Waiting>,
}

/// A message that waits, or may have to again.
#[derive(Debug, Clone)]
struct Waiting {
    delivery: Delivery,
    expires: Option<Instant>,
}

impl Waiting {
    fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl MemoryQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message; false: the queue is full.
    pub(super) fn publish(&self, message: &Message<'_>) -> bool {
        let (mut state, now) = (self.state(), Instant::now());
        if state.is_full() {
            state.forget_expired(now);
            if state.is_full() {
                return false;
            }
        }
        state.last += 1;
        let ticket = Ticket(state.last);
        let expires = message.expiration.and_then(|expiration| now.checked_add(expiration));
        state.put_back(Waiting { delivery: delivery(message, ticket), expires });
        state.hand_out(now);
        true
    }

    pub(super) fn subscribe(&self, prefetch: Prefetch, wake: Arc<Notify>) -> u64 {
        let mut state = self.state();
        let id = state.subscribers.add(prefetch, wake);
        state.hand_out(Instant::now());
        id
    }

    pub(super) fn take(&self, id: u64, most: usize) -> Option<Vec<Delivery>> {
        let mut state = self.state();
        let taken = state.subscribers.take(id, most);
        state.hand_out(Instant::now());
        taken
    }

    /// False: the consumer is gone.
    pub(super) fn settle(&self, id: u64, tickets: &[Ticket]) -> bool {
        let mut state = self.state();
        let known = state.subscribers.settle(id, tickets).is_some();
        state.hand_out(Instant::now());
        known
    }

    pub(super) fn cancel(&self, id: u64) {
        let mut state = self.state();
        let untaken = state.subscribers.cancel(id);
        state.take_back(untaken);
    }

    pub(super) fn leave(&self, id: u64) {
        let mut state = self.state();
        let in_hand = state.subscribers.remove(id);
        state.take_back(in_hand);
    }

    pub(super) fn waiting(&self) -> usize {
        let mut state = self.state();
        state.forget_expired(Instant::now());
        state.ready.len()
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.ready.len() >= MOST_MESSAGES || self.bytes >= MOST_BYTES
    }

    fn put_back(&mut self, waiting: Waiting) {
        self.bytes += waiting.delivery.body.len();
        self.ready.insert(waiting.delivery.ticket.0, waiting);
    }

    fn take_back(&mut self, messages: impl IntoIterator<Item = (u64, Waiting)>) {
        for (_, mut waiting) in messages {
            waiting.delivery.redelivered = true;
            self.put_back(waiting);
        }
        self.hand_out(Instant::now());
    }

    fn forget_expired(&mut self, now: Instant) {
        let Self { ready, bytes, .. } = self;
        ready.retain(|_, waiting| {
            let keep = !waiting.is_expired(now);
            *bytes -= if keep { 0 } else { waiting.delivery.body.len() };
            keep
        });
    }

    /// Gives consumers what they may have, the oldest first.
    fn hand_out(&mut self, now: Instant) {
        while let Some(first) = self.ready.first_entry() {
            if !first.get().is_expired(now) {
                let Some(subscriber) = self.subscribers.next() else { return };
                let waiting = first.remove();
                self.bytes -= waiting.delivery.body.len();
                let kept = subscriber.acknowledges().then(|| waiting.clone());
                subscriber.hand(waiting.delivery, kept);
            } else {
                self.bytes -= first.remove().delivery.body.len();
            }
        }
    }
}

fn delivery(message: &Message<'_>, ticket: Ticket) -> Delivery {
    Delivery {
        ticket,
        body: message.body.to_vec(),
        correlation_id: message.correlation_id.map(str::to_owned),
        reply_to: message.reply_to.map(str::to_owned),
        expiration: message.expiration,
        timestamp_seconds: None,
        timestamp_ms: None,
        redelivered: false,
        reason: header(message, amqp::REASON).map(str::to_owned),
        turn: message.turn,
        wait: header(message, amqp::WAIT).and_then(Wait::parse),
    }
}

/// The text of a header.
pub(super) fn header<'a>(message: &Message<'a>, wanted: &str) -> Option<&'a str> {
    message.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_full_queue_takes_nothing_until_there_is_room() {
        let queue = MemoryQueue::default();
        let message = Message { body: b"x", ..Message::default() };
        assert!((0..MOST_MESSAGES).all(|_| queue.publish(&message)));
        assert!(!queue.publish(&message));
        let id = queue.subscribe(Prefetch::Each(1), Arc::new(Notify::new()));
        assert!(queue.publish(&message), "one is in hand");
        assert!(!queue.publish(&message));
        let ticket = queue.take(id, 1).unwrap()[0].ticket;
        assert!(queue.settle(id, &[ticket]));
        assert!(queue.publish(&message));
    }

    #[test]
    fn large_messages_fill_a_queue_and_expired_ones_make_room() {
        let queue = MemoryQueue::default();
        let body = vec![0; MOST_BYTES / 4];
        let message = Message { body: &body, expiration: Some(Duration::ZERO), ..Message::default() };
        let lasting = Message { expiration: None, ..message.clone() };
        assert!((0..4).all(|_| queue.publish(&lasting)));
        assert!(!queue.publish(&lasting));
        let queue = MemoryQueue::default();
        assert!((0..9).all(|_| queue.publish(&message)));
        assert_eq!(queue.waiting(), 0);
    }
}
