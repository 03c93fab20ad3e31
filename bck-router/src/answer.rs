//! From a gateway's answer to the reply for whoever asked.

use crate::{
    Config,
    metrics::Metrics,
    repair::{SuspicionLimit, may_be_forgotten},
    reply::{Answered, Outgoing, Replies},
};
use backbone::{
    mqtt::Incoming,
    registry::{Ended, Finish, Finished, Registry, Release},
    service::{Backoff, now},
};
use futures::{StreamExt, stream::FuturesUnordered};
use protocol::{
    Answer, CorrelationId, GatewayMac, Reply, ReplyOutcome,
    names::mqtt::{Channel, parse_topic},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Answers that go to Redis in one round trip.
const CHUNK: usize = 64;

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

/// An answer that could be read, and who gave it.
#[derive(Debug)]
struct Heard {
    gateway: GatewayMac,
    answer: Answer,
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
    pub(crate) async fn run(self, mut inbox: mpsc::Receiver<Incoming>) {
        let closed = self.closed.clone();
        let this = Arc::new(self);
        // The receive maximum bounds what is in hand.
        let in_hand = TaskTracker::new();
        // One chunk at a time is with Redis: what comes meanwhile is the next one, so that chunks grow with the load.
        let turns = Arc::new(Semaphore::new(1));
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let turn = Arc::clone(&turns).acquire_owned().await;
            tokio::select! {
                count = inbox.recv_many(&mut chunk, CHUNK) => match count {
                    0 => break,
                    _ => drop(in_hand.spawn(Arc::clone(&this).route(chunk, turn.ok()))),
                },
                () = closed.cancelled(), if !inbox.is_closed() => inbox.close(),
            }
        }
        in_hand.close();
        in_hand.wait().await;
    }

    /// Routes what arrived together: one round trip to Redis, in which the turn ends, then each by itself.
    async fn route<T>(self: Arc<Self>, messages: Vec<Incoming>, turn: T) {
        let came = Instant::now();
        self.metrics.answers.inc_by(messages.len() as u64);
        let mut taken = Vec::with_capacity(messages.len());
        for message in messages {
            match read(&message) {
                Ok(heard) => taken.push((message, heard)),
                Err((reason, detail)) => {
                    tracing::debug!(topic = message.topic, reason, detail, "answer dropped");
                    self.metrics.drop_answer(reason);
                    message.acknowledge().await;
                }
            }
        }
        let answers: Vec<_> = taken.iter().map(|(_, heard)| heard.finish()).collect();
        let finished = self.finish(&answers).await;
        drop(turn);
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

    /// Asks Redis, waiting for it to come back as long as an RPC may still wait.
    async fn finish(&self, answers: &[Finish]) -> Vec<Option<Finished>> {
        if answers.is_empty() {
            return Vec::new();
        }
        let deadline = Instant::now() + self.rpc_timeout;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            match self.registry.finish(answers).await {
                Ok(finished) => return finished.into_iter().map(Some).collect(),
                Err(error) => {
                    tracing::debug!("waiting for Redis: {error}");
                    self.metrics.registry_errors.inc();
                }
            }
            if Instant::now() > deadline {
                return vec![None; answers.len()];
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
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

impl Heard {
    fn reply(&self) -> Reply {
        let (outcome, error) = match &self.answer.result {
            Ok(()) => (ReplyOutcome::Ack, None),
            Err(refusal) => (ReplyOutcome::Nack, Some(refusal.as_str().to_owned())),
        };
        Reply { id: None, label: self.answer.label, outcome, error, gateway: Some(self.gateway), retry_after_ms: None }
    }

    /// The place that an answer frees; one that names no RPC and belongs to none frees none.
    fn release(&self, finished: Option<&Finished>) -> Option<Release> {
        let id = match finished {
            Some(Finished::Reply { id, .. }) => id.clone(),
            _ => self.answer.id.clone()?,
        };
        let how = match &self.answer.result {
            Ok(()) => Ended::Acknowledged,
            Err(refusal) if refusal.is_passing() => Ended::PushedBack,
            Err(_) => Ended::Refused,
        };
        let was_sent = matches!(finished, Some(Finished::Reply { .. }));
        Some(Release { gateway: self.gateway, id, how, was_sent })
    }

    fn finish(&self) -> Finish {
        let refusal = self.answer.result.as_ref().err();
        Finish {
            gateway: self.gateway,
            label: self.answer.label,
            id: self.answer.id.clone(),
            carried_out: refusal.is_none(),
            refused_for_now: refusal.is_some_and(protocol::Refusal::is_passing),
        }
    }
}

/// Reads an answer: its correlation ID may be in the body or in the MQTT 5 correlation data.
fn read(message: &Incoming) -> Result<Heard, (&'static str, String)> {
    let Some((gateway, Channel::Response)) = parse_topic(&message.topic) else {
        return Err(("bad_topic", String::new()));
    };
    let mut answer = Answer::parse(&message.payload).map_err(|error| ("malformed", error.to_string()))?;
    if answer.id.is_none()
        && let Some(data) = &message.correlation
    {
        let id = std::str::from_utf8(data).ok().and_then(|text| text.parse().ok());
        answer.id = Some(id.ok_or(("malformed", "correlation data that no command had".to_owned()))?);
    }
    Ok(Heard { gateway, answer })
}
