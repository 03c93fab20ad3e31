//! The consumers of one queue: how much more each may have, and what it has in hand.

use crate::queue::{Delivery, Prefetch, Ticket};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::sync::Notify;

/// Where a consumer asked for no limit, so many lie ready for it.
const UNLIMITED: u16 = 1_024;

/// The consumers of a queue, served in turns. `K` is what is kept of a message, to deliver it again, until it is
/// settled.
#[derive(Debug)]
pub(super) struct Subscribers<K> {
    list: Vec<Subscriber<K>>,
    /// Whose turn it is.
    turn: usize,
    last_id: u64,
}

#[derive(Debug)]
pub(super) struct Subscriber<K> {
    id: u64,
    window: usize,
    acknowledges: bool,
    in_hand: BTreeMap<u64, K>,
    inbox: VecDeque<Delivery>,
    wake: Arc<Notify>,
}

impl<K> Default for Subscribers<K> {
    fn default() -> Self {
        Self { list: Vec::new(), turn: 0, last_id: 0 }
    }
}

impl<K> Subscribers<K> {
    pub(super) fn add(&mut self, prefetch: Prefetch, wake: Arc<Notify>) -> u64 {
        let (Prefetch::Each(limit) | Prefetch::Together(limit)) = prefetch else {
            return self.push(UNLIMITED, false, wake);
        };
        // No limit, to AMQP.
        self.push(if limit == 0 { UNLIMITED } else { limit }, true, wake)
    }

    fn push(&mut self, window: u16, acknowledges: bool, wake: Arc<Notify>) -> u64 {
        self.last_id += 1;
        self.list.push(Subscriber {
            id: self.last_id,
            window: window.into(),
            acknowledges,
            in_hand: BTreeMap::new(),
            inbox: VecDeque::new(),
            wake,
        });
        self.last_id
    }

    /// How many messages the consumers would take now.
    pub(super) fn free(&self) -> usize {
        self.list.iter().map(Subscriber::free).sum()
    }

    /// Whom the next message goes to.
    pub(super) fn next(&mut self) -> Option<&mut Subscriber<K>> {
        let count = self.list.len();
        let at = (0..count).map(|step| (self.turn + step) % count).find(|&at| self.list[at].free() > 0)?;
        self.turn = at + 1;
        self.list.get_mut(at)
    }

    /// What lies ready for a consumer, `most` at most; `None`: it has none, and never will.
    pub(super) fn take(&mut self, id: u64, most: usize) -> Option<Vec<Delivery>> {
        let subscriber = self.find(id)?;
        let count = subscriber.inbox.len().min(most);
        (count > 0 || subscriber.window > 0).then(|| subscriber.inbox.drain(..count).collect())
    }

    /// The messages that these tickets stand for, no longer in its hands; `None`: the consumer is gone.
    pub(super) fn settle(&mut self, id: u64, tickets: &[Ticket]) -> Option<Vec<u64>> {
        let subscriber = self.find(id)?;
        let settled = tickets.iter().filter(|ticket| subscriber.in_hand.remove(&ticket.0).is_some());
        Some(settled.map(|ticket| ticket.0).collect())
    }

    /// Gives a consumer nothing more, and answers what lay ready for it.
    pub(super) fn cancel(&mut self, id: u64) -> Vec<(u64, K)> {
        let Some(subscriber) = self.find(id) else { return Vec::new() };
        subscriber.window = 0;
        subscriber.wake.notify_one();
        let untaken: Vec<_> = subscriber.inbox.drain(..).map(|delivery| delivery.ticket.0).collect();
        untaken.into_iter().filter_map(|number| subscriber.in_hand.remove_entry(&number)).collect()
    }

    /// Removes a consumer, and answers what it had in hand.
    pub(super) fn remove(&mut self, id: u64) -> BTreeMap<u64, K> {
        let Some(at) = self.list.iter().position(|subscriber| subscriber.id == id) else { return BTreeMap::new() };
        let subscriber = self.list.remove(at);
        subscriber.wake.notify_one();
        subscriber.in_hand
    }

    fn find(&mut self, id: u64) -> Option<&mut Subscriber<K>> {
        self.list.iter_mut().find(|subscriber| subscriber.id == id)
    }
}

impl<K> Subscriber<K> {
    fn free(&self) -> usize {
        let taken = if self.acknowledges { self.in_hand.len() } else { self.inbox.len() };
        self.window.saturating_sub(taken)
    }

    /// Whether it says when it is done with a message; else it is when it has it.
    pub(super) fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    /// Gives it a message, with what is to be kept of it.
    pub(super) fn hand(&mut self, delivery: Delivery, kept: Option<K>) {
        if let Some(kept) = kept {
            self.in_hand.insert(delivery.ticket.0, kept);
        }
        self.inbox.push_back(delivery);
        self.wake.notify_one();
    }
}
