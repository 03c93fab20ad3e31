//! From a request to a command on its way, or a reply that says why not.

use crate::{admit::Admitted, credit::Credit, metrics::Metrics, request::Request};
use backbone::{
    mqtt::{BrokerName, Client, Publication, PublishError},
    queue::{Delivery, Message, Publisher, Routed, Settler, Ticket},
    registry::{
        Ended, GatewayDirectory, GatewayState, NotSent, Registry, Release, RpcPolicy, Start, Started, WindowPolicy,
    },
    service::{Backoff, now},
};
use futures::{StreamExt, stream::FuturesUnordered};
use protocol::{
    GatewayMac, LabelMac, Reply, ReplyOutcome, Timestamp, WaitFor,
    names::mqtt::{Channel, topic},
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Why no gateway gets a command.
const TOO_LARGE: &str = "command_too_large";

/// What lives longer than a session.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) registry: Registry,
    pub(crate) directory: GatewayDirectory,
    pub(crate) brokers: Vec<Client>,
    pub(crate) policy: RpcPolicy,
    pub(crate) window: WindowPolicy,
    pub(crate) credit: Credit,
    pub(crate) metrics: Metrics,
}

/// Forwards the requests of one session.
#[derive(Debug)]
pub(crate) struct Forwarder {
    parts: Parts,
    replies: Publisher,
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The command is with the MQTT broker; the gateway's answer is the reply.
    Sent,
    /// Nothing more is to be done: it was answered before, or nobody waits any longer.
    Nothing,
    /// Whoever asked hears this.
    Reply(ReplyOutcome, Option<String>),
    /// Whoever asked hears when to come back.
    Wait(WaitFor, Duration),
}

impl End {
    const fn name(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Nothing => "nothing",
            Self::Wait(what, _) => what.as_str(),
            Self::Reply(ReplyOutcome::NoRoute, _) => "no_route",
            Self::Reply(ReplyOutcome::Busy, _) => "busy",
            Self::Reply(ReplyOutcome::Superseded, _) => "superseded",
            Self::Reply(ReplyOutcome::Nack, _) => "too_large",
            Self::Reply(_, _) => "expired",
        }
    }

    fn reply(self, label: LabelMac) -> Option<Reply> {
        let reply = |outcome, error| Reply { id: None, label, outcome, error, gateway: None, retry_after_ms: None };
        match self {
            Self::Sent | Self::Nothing => None,
            Self::Reply(outcome, error) => Some(reply(outcome, error)),
            Self::Wait(what, retry_after) => Some(Reply {
                retry_after_ms: Some(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX)),
                ..reply(ReplyOutcome::Busy, Some(what.as_str().to_owned()))
            }),
        }
    }
}

impl Parts {
    /// Waits until Redis and at least one MQTT broker can be used.
    pub(crate) async fn reachable(&self) -> anyhow::Result<()> {
        self.registry.ping().await?;
        let ready = self.brokers.iter().map(|broker| Box::pin(broker.ready()));
        Ok(futures::future::select_all(ready).await.0?)
    }

    /// Gateways that a command could not reach now.
    pub(crate) fn offline(&self) -> Vec<GatewayMac> {
        let connected = |name: &BrokerName| self.client(name).is_some_and(Client::is_ready);
        unreachable_gateways(&self.directory.get(), connected, now(), self.policy.stale_after)
    }

    fn client(&self, name: &BrokerName) -> Option<&Client> {
        self.brokers.iter().find(|client| client.broker() == name)
    }
}

impl Forwarder {
    pub(crate) fn new(parts: Parts, replies: Publisher) -> Self {
        Self { parts, replies }
    }

    /// Forwards what was delivered together: one round trip to Redis, then each request by itself. A message is settled
    /// when all of its requests are with the MQTT broker, or answered. If the session is lost before, it is delivered
    /// again, and those that were sent are found under their IDs. Another chunk may ask Redis when the turn has ended.
    pub(crate) async fn forward<T>(self: Arc<Self>, deliveries: Vec<Delivery>, settler: Settler, turn: T) {
        let mut requests = Vec::with_capacity(deliveries.len());
        let mut unsettled = Unsettled { messages: Vec::with_capacity(deliveries.len()), settler };
        let (at, began) = (now(), Instant::now());
        for (message, delivery) in deliveries.into_iter().enumerate() {
            self.parts.metrics.redelivered.inc_by(delivery.redelivered.into());
            let ticket = delivery.ticket;
            let before = requests.len();
            for request in Request::read(message, delivery, at, self.parts.policy.quarantine) {
                match request {
                    Ok(request) => requests.push(request),
                    Err(reason) => {
                        tracing::debug!(reason, "request dropped: it can't be read");
                        self.parts.metrics.count("malformed", began.elapsed());
                    }
                }
            }
            unsettled.messages.push((ticket, requests.len() - before));
        }
        let started = self.start(&requests).await;
        let admitted = self.parts.admit(&requests, started, turn).await;
        let ends = requests.into_iter().zip(admitted).map(|(request, admitted)| self.end(request, admitted, began));
        let mut ends = ends.collect::<FuturesUnordered<_>>().ready_chunks(crate::CHUNK);
        unsettled.settle_unreadable().await;
        while let Some(ended) = ends.next().await {
            unsettled.ended(&ended).await;
        }
    }

    /// Asks Redis, waiting for it to come back as long as any of these has time left.
    async fn start(&self, requests: &[Request]) -> Vec<Started> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut again = false;
        loop {
            let starts: Vec<_> = requests.iter().filter_map(|request| start_of(request, again)).collect();
            if starts.is_empty() {
                return vec![Started::Expired; requests.len()];
            }
            match self.parts.registry.start(&starts, &self.parts.policy, &self.parts.offline()).await {
                Ok(started) if starts.len() == requests.len() => return started,
                Ok(started) => {
                    let mut found: HashMap<_, _> = starts.into_iter().map(|start| start.id).zip(started).collect();
                    let of = |request: &Request| found.remove(&request.head.id).unwrap_or(Started::Expired);
                    return requests.iter().map(of).collect();
                }
                Err(error) => {
                    self.parts.metrics.registry_errors.inc();
                    tracing::debug!("waiting for Redis: {error}");
                    again = true;
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Ends a request, and tells which message it came in.
    async fn end(&self, request: Request, admitted: Admitted, began: Instant) -> usize {
        let end = match admitted {
            _ if request.is_too_large() => End::Reply(ReplyOutcome::Nack, Some(TOO_LARGE.to_owned())),
            Admitted::Send(gateway) => self.send(&request, gateway).await,
            Admitted::Full(retry_after) => End::Wait(WaitFor::GatewayFull, retry_after),
            Admitted::Failing(retry_after) => End::Wait(WaitFor::GatewayFailing, retry_after),
            Admitted::Not(Started::NoRoute) => End::Reply(ReplyOutcome::NoRoute, None),
            Admitted::Not(Started::Busy) => End::Reply(ReplyOutcome::Busy, None),
            Admitted::Not(Started::Superseded) => End::Reply(ReplyOutcome::Superseded, None),
            Admitted::Not(Started::Expired) => End::Reply(ReplyOutcome::Expired, None),
            Admitted::Not(Started::Done | Started::Send(_)) => End::Nothing,
        };
        tracing::debug!(rpc.id = %request.head.id, device.mac = %request.head.label, ?admitted, ?end, "request");
        let name = end.name();
        if let Some(reply) = end.reply(request.head.label) {
            // Rare, like each that is boxed below: the future of a command that is simply sent stays small.
            Box::pin(self.reply(&request, &reply)).await;
        }
        self.parts.metrics.count(name, began.elapsed());
        request.message
    }

    /// Sends the command. A connection that is lost before the broker's acknowledgement, or a router that was killed
    /// before, leaves open whether the gateway gets the command: so it is sent again under the same ID, and whatever
    /// comes of that, the lease is kept until the deadline.
    async fn send(&self, request: &Request, gateway: GatewayMac) -> End {
        let Some(client) = self.broker_of(gateway).await else {
            let reason = format!("no broker that gateway {gateway} reported on");
            return Box::pin(self.give_up(request, gateway, reason)).await;
        };
        let mut may_be_there = request.redelivered;
        loop {
            let Some(left) = request.time_left() else { return End::Nothing };
            let publish = client.publish(publication(request, gateway, left));
            match tokio::time::timeout(left, publish).await {
                Ok(Ok(())) => return End::Sent,
                Ok(Err(PublishError::Unknown)) => {
                    may_be_there = true;
                    self.parts.metrics.published_again.inc();
                    let _ = tokio::time::timeout(left, Box::pin(client.connected())).await;
                }
                Ok(Err(PublishError::NotConnected)) if may_be_there => {
                    let _ = tokio::time::timeout(left, Box::pin(client.connected())).await;
                }
                Ok(Err(error)) if may_be_there => {
                    tracing::debug!(rpc.id = %request.head.id, "it may have been sent before: {error}");
                    return End::Nothing;
                }
                Ok(Err(error)) => {
                    return Box::pin(self.give_up(request, gateway, format!("gateway {gateway}: {error}"))).await;
                }
                Err(_) => return End::Nothing,
            }
        }
    }

    async fn broker_of(&self, gateway: GatewayMac) -> Option<&Client> {
        let known = self.parts.directory.get().get(&gateway).map(|state| state.broker.clone());
        let broker = match known {
            Some(broker) => broker,
            None => Box::pin(self.parts.registry.gateway(gateway)).await.ok()??.broker,
        };
        self.parts.client(&broker)
    }

    /// The command certainly reached no gateway: the label and the place are free again, and the next attempt takes
    /// another gateway.
    async fn give_up(&self, request: &Request, gateway: GatewayMac, reason: String) -> End {
        let id = request.head.id.clone();
        let release = [Release { gateway, id: id.clone(), how: Ended::NotSent, was_sent: true }];
        let label = [(request.head.label, id)];
        let freed = tokio::try_join!(
            self.parts.registry.abort(&label, NotSent::Failed),
            self.parts.registry.release(&release, &self.parts.window),
        );
        if let Err(error) = freed {
            tracing::debug!("the lease and the place end by themselves: {error}");
        }
        End::Reply(ReplyOutcome::NoRoute, Some(reason))
    }

    async fn reply(&self, request: &Request, reply: &Reply) {
        let body = serde_json::to_vec(reply).unwrap_or_default();
        let message = Message {
            routing_key: &request.reply_to,
            body: &body,
            correlation_id: Some(request.head.id.as_str()),
            mandatory: true,
            ..Message::default()
        };
        match self.replies.publish(message).await {
            Ok(Routed::Yes) => {}
            Ok(Routed::Nowhere) => drop(self.parts.metrics.askers_gone.inc()),
            Err(error) => tracing::debug!("reply not published: {error}"),
        }
    }
}

/// Messages, each with the number of its requests that have not ended.
struct Unsettled {
    messages: Vec<(Ticket, usize)>,
    settler: Settler,
}

impl Unsettled {
    async fn settle_unreadable(&self) {
        let unreadable = self.messages.iter().filter(|(_, left)| *left == 0).map(|(ticket, _)| *ticket);
        self.settle(unreadable.collect()).await;
    }

    /// So many requests ended, by the messages that they came in.
    async fn ended(&mut self, requests: &[usize]) {
        let mut tickets = Vec::with_capacity(requests.len());
        for &message in requests {
            let (ticket, left) = &mut self.messages[message];
            *left -= 1;
            if *left == 0 {
                tickets.push(*ticket);
            }
        }
        self.settle(tickets).await;
    }

    async fn settle(&self, tickets: Vec<Ticket>) {
        if tickets.is_empty() {
            return;
        }
        if let Err(error) = self.settler.settle(&tickets).await {
            tracing::debug!("not acknowledged: {error}");
        }
    }
}

/// `None`: it is not to be started.
fn start_of(request: &Request, again: bool) -> Option<Start> {
    if request.is_too_large() {
        return None;
    }
    Some(Start {
        id: request.head.id.clone(),
        label: request.head.label,
        version: request.head.version,
        reply_to: request.reply_to.clone(),
        time_left: request.time_left()?,
        again: request.redelivered || again,
    })
}

fn publication(request: &Request, gateway: GatewayMac, left: Duration) -> Publication {
    Publication {
        topic: topic(gateway, Channel::Action),
        payload: request.body.clone(),
        expiry: left,
        response_topic: topic(gateway, Channel::Response),
        correlation: request.head.id.to_string(),
    }
}

/// Gateways that said goodbye so recently that their routes still look fresh, and those whose broker is away.
fn unreachable_gateways(
    gateways: &HashMap<GatewayMac, GatewayState>,
    connected: impl Fn(&BrokerName) -> bool,
    now: Timestamp,
    stale_after: Duration,
) -> Vec<GatewayMac> {
    let fresh = |state: &GatewayState| {
        let age = now.unix_millis().saturating_sub(state.at.unix_millis());
        u128::try_from(age).is_ok_and(|age| age <= 2 * stale_after.as_millis()) || age < 0
    };
    let unreachable = gateways.iter().filter(|(_, state)| fresh(state) && (!state.online || !connected(&state.broker)));
    unreachable.map(|(gateway, _)| *gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_could_be_chosen_are_passed_over() {
        let gateway = |last| GatewayMac::from_octets([0, 0, 0, 0, 0, last]);
        let state = |online, broker: &str, at| GatewayState {
            online,
            broker: broker.into(),
            at: Timestamp::from_unix_millis(at),
        };
        let gateways = HashMap::from([
            (gateway(1), state(true, "a:1", 1_000_000)),
            (gateway(2), state(false, "a:1", 1_000_000)),
            (gateway(3), state(true, "b:1", 1_000_000)),
            (gateway(4), state(false, "a:1", 1_000)),
        ]);
        let now = Timestamp::from_unix_millis(1_001_000);
        let connected = |name: &BrokerName| name.as_str() == "a:1";
        let mut offline = unreachable_gateways(&gateways, connected, now, Duration::from_secs(60));
        offline.sort();
        assert_eq!(offline, [gateway(2), gateway(3)]);
    }
}
