//! From a gateway's answer to the reply for whoever asked.

use crate::{
    Config,
    metrics::Metrics,
    repair::{SuspicionLimit, may_be_forgotten},
    reply::{Answered, Outgoing, Replies},
};
use backbone::{
    commands::{Heard, RoundTrip, finish, in_chunks, read_all},
    mqtt::Incoming,
    registry::{Finished, Registry, Release},
    service::now,
};
use futures::{StreamExt, stream::FuturesUnordered};
use protocol::CorrelationId;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Routes answers.
pub(crate) struct Answers {
    registry: Registry,
    replies: Replies,
    places: mpsc::Sender<Release>,
    metrics: Metrics,
    suspicions: Mutex<SuspicionLimit>,
    rpc_timeout: Duration,
    closed: CancellationToken,
}

impl Answers {
    pub(crate) fn new(
        config: &Config,
        registry: Registry,
        replies: Replies,
        places: mpsc::Sender<Release>,
        metrics: Metrics,
        closed: CancellationToken,
    ) -> Self {
        let suspicions = Mutex::new(SuspicionLimit::new());
        Self { registry, replies, places, metrics, suspicions, rpc_timeout: config.rpc_timeout, closed }
    }

    /// Routes until closed, then deals with what has arrived.
    pub(crate) async fn run(self, inbox: mpsc::Receiver<Incoming>) {
        let closed = self.closed.clone();
        let this = Arc::new(self);
        // The receive maximum bounds what is in hand.
        in_chunks(inbox, &closed, |chunk, trip| Arc::clone(&this).route(chunk, trip)).await;
    }

    /// Routes what arrived together: one round trip to Redis, which ends here, then each by itself.
    async fn route(self: Arc<Self>, messages: Vec<Incoming>, trip: RoundTrip) {
        let came = Instant::now();
        self.metrics.answers.inc_by(messages.len() as u64);
        let taken = read_all(messages, |reason| self.metrics.drop_answer(reason)).await;
        let heard = taken.iter().map(|(_, heard)| heard);
        let finished = finish(&self.registry, heard, self.rpc_timeout, &self.metrics.registry_errors).await;
        drop(trip);
        let this = &self;
        let (mut answered, mut dropped) = (Vec::with_capacity(taken.len()), Vec::new());
        let mut releases = Vec::with_capacity(taken.len());
        for ((message, heard), finished) in taken.into_iter().zip(finished) {
            releases.extend(heard.release(finished.as_ref()));
            tracing::debug!(gateway.mac = %heard.gateway, device.mac = %heard.answer.label, ?finished, "answer");
            match finished {
                Some(Finished::Reply { id, reply_to }) => {
                    answered.push(Answered { id, reply_to, reply: heard.reply(), answer: message, came });
                }
                finished => dropped.push(Box::pin(this.drop_answer(message, heard, finished))),
            }
        }
        for outgoing in Outgoing::pack(answered) {
            this.replies.send(outgoing).await;
        }
        // After the replies: nobody waits for a place.
        for release in releases {
            let _ = this.places.send(release).await;
        }
        dropped.into_iter().collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    /// Counts an answer that nobody waits for, and puts right what it may have done.
    async fn drop_answer(&self, message: Incoming, heard: Heard, finished: Option<Finished>) {
        let reason = match finished {
            Some(Finished::Late { gone_back: true }) => {
                self.replies.repair(heard.answer.label).await;
                "late"
            }
            Some(Finished::Late { gone_back: false }) => "late",
            Some(Finished::Duplicate) => "duplicate",
            Some(Finished::WrongGateway) => "wrong_gateway",
            // Has its reply already.
            Some(Finished::Reply { .. }) => return,
            Some(Finished::Unknown) => {
                if self.is_suspicious(&heard) {
                    self.replies.repair(heard.answer.label).await;
                }
                "unknown"
            }
            None => "no_registry",
        };
        self.metrics.drop_answer(reason);
        message.acknowledge().await;
    }

    /// It may have carried out a command of an RPC that Redis has forgotten.
    fn is_suspicious(&self, heard: &Heard) -> bool {
        let made = heard.answer.id.as_ref().and_then(CorrelationId::unix_millis);
        heard.answer.result.is_ok()
            && may_be_forgotten(made, now().unix_millis().cast_unsigned())
            && self.suspicions.lock().unwrap_or_else(PoisonError::into_inner).allow()
    }
}
