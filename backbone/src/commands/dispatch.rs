//! From requests to commands that an MQTT broker has, or to replies that say why not.

use super::{
    admit::Admitted,
    chunks::RoundTrip,
    credit::{self, Credit},
};
use crate::{
    mqtt::{BrokerName, Client, Publication, PublishError},
    registry::{
        Ended, GatewayDirectory, GatewayState, NotSent, Registry, Release, RpcPolicy, Start, Started, WindowPolicy,
    },
    service::{Backoff, now},
};
use prometheus_client::metrics::counter::Counter;
use protocol::{
    CommandHead, GatewayMac, LabelMac, Reply, ReplyOutcome, Timestamp, Turn, WaitFor,
    names::mqtt::{Channel, topic},
};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A command has at most so many bytes. A larger one could not be delivered: brokers drop in silence, or end the connection
/// over, what a client has said that it can't take.
const MAX_COMMAND_BYTES: usize = 256 * 1024;
const TOO_LARGE: &str = "command_too_large";

/// An RPC request that can be worked on.
#[derive(Debug)]
pub struct Request {
    /// What routing needs of the command.
    pub head: CommandHead,
    /// The command as it came, to be carried on as it is.
    pub body: Vec<u8>,
    /// Whom the reply goes to.
    pub reply_to: String,
    /// Whose turn it is to have a place at its gateway.
    pub turn: Turn,
    /// It may have been worked on before.
    pub again: bool,
    /// When whoever asks stops waiting; `None`: it has.
    pub deadline: Option<Instant>,
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Dispatched {
    /// The command is with the MQTT broker; the gateway's answer is the reply.
    Sent,
    /// Nothing more is to be done: it was answered before, or nobody waits any longer.
    Nothing,
    /// Whoever asked hears this.
    Reply(ReplyOutcome, Option<String>),
    /// Whoever asked hears when to come back.
    Wait(WaitFor, Duration),
}

/// What a dispatcher works with.
#[derive(Debug)]
pub struct DispatcherOptions {
    /// Routes, leases and windows.
    pub registry: Registry,
    /// A client of each MQTT broker.
    pub brokers: Vec<Client>,
    /// Times and margins of RPCs.
    pub policy: RpcPolicy,
    /// What gateways can take.
    pub window: WindowPolicy,
    /// What goes wrong on the way.
    pub counters: DispatchCounters,
}

/// What a dispatcher counts, for its role to register.
#[derive(Debug, Clone, Default)]
pub struct DispatchCounters {
    /// Round trips to Redis that failed.
    pub registry_errors: Counter,
    /// Commands published again after a lost connection.
    pub published_again: Counter,
}

/// Sends commands to gateways. Clones share all.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    pub(super) registry: Registry,
    directory: GatewayDirectory,
    brokers: Vec<Client>,
    pub(super) policy: RpcPolicy,
    pub(super) window: WindowPolicy,
    pub(super) credit: Credit,
    pub(super) counters: DispatchCounters,
}

impl Request {
    /// How long whoever asks still waits.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.deadline?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }

    /// No gateway would take it.
    fn is_too_large(&self) -> bool {
        self.body.len() > MAX_COMMAND_BYTES
    }

    /// `None`: it is not to be started.
    fn start(&self, again: bool) -> Option<Start> {
        if self.is_too_large() {
            return None;
        }
        Some(Start {
            id: self.head.id.clone(),
            label: self.head.label,
            version: self.head.version,
            reply_to: self.reply_to.clone(),
            time_left: self.time_left()?,
            again: self.again || again,
        })
    }
}

impl Dispatched {
    /// As it is counted.
    pub const fn name(&self) -> &'static str {
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

    /// What whoever asked hears at once.
    pub fn reply(self, label: LabelMac) -> Option<Reply> {
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

impl Dispatcher {
    /// Begins to follow where gateways are, in tasks of `background`, until `closed`.
    pub fn start(options: DispatcherOptions, background: &TaskTracker, closed: &CancellationToken) -> Self {
        let DispatcherOptions { registry, brokers, policy, window, counters } = options;
        let (directory, follow) = GatewayDirectory::follow(registry.clone(), closed.clone());
        background.spawn(follow);
        let (credit, uncounted) = Credit::new();
        let count = credit::count(credit.clone(), uncounted, registry.clone(), window.clone(), closed.clone());
        background.spawn(count);
        Self { registry, directory, brokers, policy, window, credit, counters }
    }

    /// A client of each MQTT broker.
    pub fn brokers(&self) -> &[Client] {
        &self.brokers
    }

    /// Waits until Redis and at least one MQTT broker can be used.
    ///
    /// # Errors
    /// When Redis does not answer, or an MQTT broker never can be used.
    pub async fn reachable(&self) -> anyhow::Result<()> {
        self.registry.ping().await?;
        let ready = self.brokers.iter().map(|broker| Box::pin(broker.ready()));
        Ok(futures::future::select_all(ready).await.0?)
    }

    /// Starts RPCs, in one round trip to Redis, and takes their places at their gateways. In the order of the requests.
    /// The next may ask Redis as soon as this round trip is dropped.
    pub async fn admitted(&self, requests: &[Request], trip: RoundTrip) -> Vec<Admitted> {
        let started = self.started(requests).await;
        self.admit(requests, started, trip).await
    }

    /// Asks Redis, waiting for it to come back as long as any of these has time left.
    async fn started(&self, requests: &[Request]) -> Vec<Started> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut again = false;
        loop {
            let starts: Vec<_> = requests.iter().filter_map(|request| request.start(again)).collect();
            if starts.is_empty() {
                return vec![Started::Expired; requests.len()];
            }
            match self.registry.start(&starts, &self.policy, &self.offline()).await {
                Ok(started) if starts.len() == requests.len() => return started,
                Ok(started) => {
                    let mut found: HashMap<_, _> = starts.into_iter().map(|start| start.id).zip(started).collect();
                    let of = |request: &Request| found.remove(&request.head.id).unwrap_or(Started::Expired);
                    return requests.iter().map(of).collect();
                }
                Err(error) => {
                    self.counters.registry_errors.inc();
                    tracing::debug!("waiting for Redis: {error}");
                    again = true;
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Sends the command of a request that has its place; else tells what the request comes to.
    pub async fn dispatch(&self, request: &Request, admitted: Admitted) -> Dispatched {
        let dispatched = match admitted {
            _ if request.is_too_large() => Dispatched::Reply(ReplyOutcome::Nack, Some(TOO_LARGE.to_owned())),
            Admitted::Send(gateway) => self.send(request, gateway).await,
            Admitted::Full(retry_after) => Dispatched::Wait(WaitFor::GatewayFull, retry_after),
            Admitted::Failing(retry_after) => Dispatched::Wait(WaitFor::GatewayFailing, retry_after),
            Admitted::Not(Started::NoRoute) => Dispatched::Reply(ReplyOutcome::NoRoute, None),
            Admitted::Not(Started::Busy) => Dispatched::Reply(ReplyOutcome::Busy, None),
            Admitted::Not(Started::Superseded) => Dispatched::Reply(ReplyOutcome::Superseded, None),
            Admitted::Not(Started::Expired) => Dispatched::Reply(ReplyOutcome::Expired, None),
            Admitted::Not(Started::Done | Started::Send(_)) => Dispatched::Nothing,
        };
        tracing::debug!(rpc.id = %request.head.id, device.mac = %request.head.label, ?admitted, ?dispatched, "request");
        dispatched
    }

    /// Sends the command. A connection that is lost before the broker's acknowledgement, or a router that was killed
    /// before, leaves open whether the gateway gets the command: so it is sent again under the same ID, and whatever
    /// comes of that, the lease is kept until the deadline.
    async fn send(&self, request: &Request, gateway: GatewayMac) -> Dispatched {
        // What is rare is boxed: the future of a command that is simply sent stays small.
        let Some(client) = self.broker_of(gateway).await else {
            let reason = format!("no broker that gateway {gateway} reported on");
            return Box::pin(self.give_up(request, gateway, reason)).await;
        };
        let mut may_be_there = request.again;
        loop {
            let Some(left) = request.time_left() else { return Dispatched::Nothing };
            let publish = client.publish(publication(request, gateway, left));
            match tokio::time::timeout(left, publish).await {
                Ok(Ok(())) => return Dispatched::Sent,
                Ok(Err(PublishError::Unknown)) => {
                    may_be_there = true;
                    self.counters.published_again.inc();
                    let _ = tokio::time::timeout(left, Box::pin(client.connected())).await;
                }
                Ok(Err(PublishError::NotConnected)) if may_be_there => {
                    let _ = tokio::time::timeout(left, Box::pin(client.connected())).await;
                }
                Ok(Err(error)) if may_be_there => {
                    tracing::debug!(rpc.id = %request.head.id, "it may have been sent before: {error}");
                    return Dispatched::Nothing;
                }
                Ok(Err(error)) => {
                    return Box::pin(self.give_up(request, gateway, format!("gateway {gateway}: {error}"))).await;
                }
                Err(_) => return Dispatched::Nothing,
            }
        }
    }

    async fn broker_of(&self, gateway: GatewayMac) -> Option<&Client> {
        let known = self.directory.get().get(&gateway).map(|state| state.broker.clone());
        let broker = match known {
            Some(broker) => broker,
            None => Box::pin(self.registry.gateway(gateway)).await.ok()??.broker,
        };
        self.client(&broker)
    }

    /// The command certainly reached no gateway: the label and the place are free again, and the next attempt takes
    /// another gateway.
    async fn give_up(&self, request: &Request, gateway: GatewayMac, reason: String) -> Dispatched {
        let id = request.head.id.clone();
        let release = [Release { gateway, id: id.clone(), how: Ended::NotSent, was_sent: true }];
        let label = [(request.head.label, id)];
        let freed = tokio::try_join!(
            self.registry.abort(&label, NotSent::Failed),
            self.registry.release(&release, &self.window),
        );
        if let Err(error) = freed {
            tracing::debug!("the lease and the place end by themselves: {error}");
        }
        Dispatched::Reply(ReplyOutcome::NoRoute, Some(reason))
    }

    /// Gateways that a command could not reach now.
    pub(super) fn offline(&self) -> Vec<GatewayMac> {
        let connected = |name: &BrokerName| self.client(name).is_some_and(Client::is_ready);
        unreachable_gateways(&self.directory.get(), connected, now(), self.policy.stale_after)
    }

    fn client(&self, name: &BrokerName) -> Option<&Client> {
        self.brokers.iter().find(|client| client.broker() == name)
    }
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
