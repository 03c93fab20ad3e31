//! From a gateway's message to the RPC that it answers.

use crate::{
    mqtt::Incoming,
    registry::{Ended, Finish, Finished, Registry, Release},
    service::Backoff,
};
use prometheus_client::metrics::counter::Counter;
use protocol::{
    Answer, GatewayMac, Reply, ReplyOutcome,
    names::mqtt::{Channel, parse_topic},
};
use std::time::Duration;
use tokio::time::Instant;

/// An answer that could be read, and who gave it.
#[derive(Debug)]
pub struct Heard {
    /// Who spoke, by the topic.
    pub gateway: GatewayMac,
    /// What it said.
    pub answer: Answer,
}

impl Heard {
    /// Reads an answer: its correlation ID may be in the body or in the MQTT 5 correlation data.
    ///
    /// # Errors
    /// With the reason as it is counted, and what there is to say about it.
    fn read(message: &Incoming) -> Result<Self, (&'static str, String)> {
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
        Ok(Self { gateway, answer })
    }

    /// What whoever asked hears.
    pub fn reply(&self) -> Reply {
        let (outcome, error) = match &self.answer.result {
            Ok(()) => (ReplyOutcome::Ack, None),
            Err(refusal) => (ReplyOutcome::Nack, Some(refusal.as_str().to_owned())),
        };
        Reply { id: None, label: self.answer.label, outcome, error, gateway: Some(self.gateway), retry_after_ms: None }
    }

    /// What the registry is asked to find the RPC.
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

    /// The place that an answer frees; one that names no RPC and belongs to none frees none.
    pub fn release(&self, finished: Option<&Finished>) -> Option<Release> {
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
}

/// Reads what arrived together. What can't be read is acknowledged and dropped, once `dropped` has heard the reason.
pub async fn read_all(messages: Vec<Incoming>, dropped: impl Fn(&'static str)) -> Vec<(Incoming, Heard)> {
    let mut read = Vec::with_capacity(messages.len());
    for message in messages {
        match Heard::read(&message) {
            Ok(heard) => read.push((message, heard)),
            Err((reason, detail)) => {
                tracing::debug!(topic = message.topic, reason, detail, "answer dropped");
                dropped(reason);
                message.acknowledge().await;
            }
        }
    }
    read
}

/// Takes the RPCs that these answers belong to, in one round trip, waiting for Redis to come back as long as an RPC may
/// still wait; `None`: it did not. Counts round trips that failed.
pub async fn finish(
    registry: &Registry,
    heard: impl Iterator<Item = &Heard>,
    rpc_timeout: Duration,
    errors: &Counter,
) -> Vec<Option<Finished>> {
    let answers: Vec<_> = heard.map(Heard::finish).collect();
    if answers.is_empty() {
        return Vec::new();
    }
    let deadline = Instant::now() + rpc_timeout;
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    loop {
        match registry.finish(&answers).await {
            Ok(finished) => return finished.into_iter().map(Some).collect(),
            Err(error) => {
                tracing::debug!("waiting for Redis: {error}");
                errors.inc();
            }
        }
        if Instant::now() > deadline {
            return vec![None; answers.len()];
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}
