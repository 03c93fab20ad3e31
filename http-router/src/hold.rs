//! Requests that are held open: what this replica knows, and no other.

use backbone::commands::Request;
use prometheus_client::metrics::gauge::Gauge;
use protocol::{CorrelationId, LabelMac, Reply};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

type Waiting = HashMap<CorrelationId, (LabelMac, oneshot::Sender<Reply>)>;

/// The requests that this replica holds open. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    waiting: Arc<Mutex<Waiting>>,
    count: Gauge,
}

/// One request, held open as long as this lives.
#[derive(Debug)]
pub(crate) struct Holding {
    held: Held,
    id: CorrelationId,
    reply: oneshot::Receiver<Reply>,
}

impl Held {
    pub(crate) fn new(count: Gauge) -> Self {
        Self { waiting: Arc::default(), count }
    }

    /// Holds a request, before its command is sent, so that no answer can come too early; `None`: one with this ID is
    /// held already.
    pub(crate) fn hold(&self, request: &Request) -> Option<Holding> {
        let (sender, reply) = oneshot::channel();
        let id = request.head.id.clone();
        match self.lock().entry(id.clone()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(place) => place.insert((request.head.label, sender)),
        };
        self.count.inc();
        Some(Holding { held: self.clone(), id, reply })
    }

    /// Answers a request; `false`: nobody waits here for this reply.
    pub(crate) fn answer(&self, id: &CorrelationId, reply: Reply) -> bool {
        let mut waiting = self.lock();
        let Entry::Occupied(held) = waiting.entry(id.clone()) else { return false };
        held.get().0 == reply.label && held.remove().1.send(reply).is_ok()
    }

    /// Answers none of them any more: each hears so.
    pub(crate) fn let_go(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holding {
    /// The reply; `None`: this process stops. Cancel-safe.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        (&mut self.reply).await.ok()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.lock().remove(&self.id);
        self.held.count.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{CommandHead, ReplyOutcome, Turn};

    fn request(id: &str) -> Request {
        let head =
            CommandHead { id: id.parse().unwrap(), label: LabelMac::from_octets([0, 0, 0, 0, 0, 1]), version: None };
        let (reply_to, turn) = (String::new(), Turn::default());
        Request { head, body: Vec::new(), reply_to, turn, again: false, deadline: None }
    }

    fn reply(last: u8) -> Reply {
        let label = LabelMac::from_octets([0, 0, 0, 0, 0, last]);
        Reply { id: None, label, outcome: ReplyOutcome::Ack, error: None, gateway: None, retry_after_ms: None }
    }

    #[tokio::test]
    async fn a_reply_reaches_the_request_that_waits_for_it_once() {
        let held = Held::new(Gauge::default());
        let mut one = held.hold(&request("one")).unwrap();
        let _other = held.hold(&request("other")).unwrap();
        assert!(held.hold(&request("one")).is_none(), "the same twice");
        assert!(!held.answer(&one.id, reply(2)), "of another label");
        assert!(held.answer(&one.id, reply(1)) && !held.answer(&one.id, reply(1)));
        assert_eq!(one.reply().await, Some(reply(1)));
        assert_eq!(held.count.get(), 2);
        drop(one);
        assert_eq!((held.count.get(), held.lock().len()), (1, 1));
    }

    #[tokio::test]
    async fn whoever_gave_up_hears_nothing_and_whoever_is_let_go_hears_that() {
        let held = Held::new(Gauge::default());
        let gone = held.hold(&request("gone")).unwrap();
        let id = gone.id.clone();
        drop(gone);
        assert!(!held.answer(&id, reply(1)));
        let mut waits = held.hold(&request("waits")).unwrap();
        held.let_go();
        assert_eq!(waits.reply().await, None);
    }
}
