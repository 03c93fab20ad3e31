//! From a gateway's answer to the request that is held open for it, if this replica is the one that holds it.

use crate::{hold::Held, metrics::Metrics};
use backbone::{
    commands::{Heard, RoundTrip, finish, in_chunks, read_all},
    mqtt::Incoming,
    registry::{Finished, Registry, Release},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Takes answers.
pub(crate) struct Answers {
    pub(crate) registry: Registry,
    pub(crate) held: Held,
    /// This replica, as the registry names whom a reply goes to.
    pub(crate) replica: String,
    pub(crate) places: mpsc::Sender<Release>,
    pub(crate) metrics: Metrics,
    pub(crate) rpc_timeout: Duration,
    pub(crate) closed: CancellationToken,
}

impl Answers {
    /// Takes answers until closed, then deals with what has arrived.
    pub(crate) async fn run(self, inbox: mpsc::Receiver<Incoming>) {
        let closed = self.closed.clone();
        let this = Arc::new(self);
        // The receive maximum bounds what is in hand.
        in_chunks(inbox, &closed, |chunk, trip| Arc::clone(&this).take(chunk, trip)).await;
    }

    /// Takes what arrived together: one round trip to Redis.
    async fn take(self: Arc<Self>, messages: Vec<Incoming>, trip: RoundTrip) {
        self.metrics.answers.inc_by(messages.len() as u64);
        let taken = read_all(messages, |reason| self.metrics.drop_answer(reason)).await;
        let heard = taken.iter().map(|(_, heard)| heard);
        let finished = finish(&self.registry, heard, self.rpc_timeout, &self.metrics.registry_errors).await;
        drop(trip);
        let mut releases = Vec::with_capacity(taken.len());
        for ((message, heard), finished) in taken.into_iter().zip(finished) {
            releases.extend(heard.release(finished.as_ref()));
            tracing::debug!(gateway.mac = %heard.gateway, device.mac = %heard.answer.label, ?finished, "answer");
            self.credit(&heard, finished);
            message.acknowledge().await;
        }
        // After the replies: nobody waits for a place.
        for release in releases {
            let _ = self.places.send(release).await;
        }
    }

    /// The registry knows which replica asked; only that one can answer, since it has the open request.
    fn credit(&self, heard: &Heard, finished: Option<Finished>) {
        let reason = match finished {
            Some(Finished::Reply { reply_to, .. }) if reply_to != self.replica => {
                self.metrics.misroutes.inc();
                "misrouted"
            }
            Some(Finished::Reply { id, .. }) => {
                if self.held.answer(&id, heard.reply()) {
                    self.metrics.replies.inc();
                    return;
                }
                "asker_gone"
            }
            // A label that may have gone back is put right by its next update: a repair would need a queue.
            Some(Finished::Late { gone_back: true }) => "late_and_gone_back",
            Some(Finished::Late { gone_back: false }) => "late",
            Some(Finished::Duplicate) => "duplicate",
            Some(Finished::WrongGateway) => "wrong_gateway",
            Some(Finished::Unknown) => "unknown",
            None => "no_registry",
        };
        self.metrics.drop_answer(reason);
    }
}
