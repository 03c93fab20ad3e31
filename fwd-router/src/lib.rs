//! # fwd-router
//!
//! Takes RPC requests from the queue `esl.rpc`, finds for each the gateway that hears its label best, publishes the
//! command to `/gw/<mac>/action`, and acknowledges the request only when the MQTT broker has acknowledged the command.
//! What can't be sent is answered at once: `no_route`, `busy`, `superseded`, `expired`.
//!
//! Holds no state: any replica can take any request, and what a killed one had in hand is delivered to another. The
//! way of a command is in `backbone::commands`, the one round trip to Redis in `backbone::registry`.

mod config;
mod forward;
mod metrics;
mod request;

pub use config::Config;

use anyhow::{Context, Result};
use backbone::{
    commands::{CHUNK, DispatchCounters, Dispatcher, DispatcherOptions, RoundTrips},
    mqtt::{Client, ClientOptions},
    queue::{Broker, Consumer, Delivery, Prefetch, QueueError, Settler},
    registry::Registry,
    service::{Ended, Readiness, Service, run_sessions},
};
use forward::Forwarder;
use metrics::Metrics;
use protocol::names::amqp;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A message with several requests is counted as so many.
const LINES_EXPECTED: u16 = 8;

/// Runs a forward router until `service.stop`, then drains it.
///
/// # Errors
/// When the configuration can't work at all; servers that are down are waited for.
pub async fn run(config: Config, mut service: Service) -> Result<()> {
    let config = config.trusting();
    let metrics = Metrics::register(&mut service.metrics);
    service.open_admin_port(axum::Router::new());
    let background = TaskTracker::new();
    let closed = CancellationToken::new();
    let brokers = connect_brokers(&config, &background);
    let options = DispatcherOptions {
        registry: Registry::connect(&config.redis.redis_url)?,
        brokers: brokers.clone(),
        policy: config.route.policy(config.rpc_timeout),
        window: config.window.policy(),
        counters: DispatchCounters {
            registry_errors: metrics.registry_errors.clone(),
            published_again: metrics.published_again.clone(),
        },
    };
    let dispatcher = Dispatcher::start(options, &background, &closed);
    let parts = forward::Parts { dispatcher, rpc_timeout: config.rpc_timeout, metrics };

    let sessions = run_sessions(&service.stop, || session(&config, &service, &parts));
    tokio::select! {
        () = sessions => {}
        error = any_failed(&brokers) => return Err(error),
    }
    closed.cancel();
    brokers.iter().for_each(Client::close);
    background.close();
    background.wait().await;
    Ok(())
}

fn connect_brokers(config: &Config, background: &TaskTracker) -> Vec<Client> {
    let connect = |url: &backbone::mqtt::MqttUrl| {
        let options = ClientOptions {
            url: url.clone(),
            client_id: format!("fwd-router-{}", uuid::Uuid::new_v4().simple()),
            subscription: None,
            receive_maximum: config.fwd_prefetch,
        };
        Client::start(options, mpsc::channel(1).0, background)
    };
    config.mqtt.mqtt_url.iter().map(connect).collect()
}

async fn any_failed(brokers: &[Client]) -> anyhow::Error {
    let failures = brokers.iter().map(|broker| Box::pin(broker.failed()));
    futures::future::select_all(failures).await.0.into()
}

async fn session(config: &Config, service: &Service, parts: &forward::Parts) -> Result<Ended> {
    let reachable = tokio::select! {
        reachable = parts.dispatcher.reachable() => reachable,
        () = service.stop.cancelled() => return Ok(Ended::Stopped),
    };
    reachable.context("waiting for Redis and an MQTT broker")?;
    let broker = Broker::connect(&config.amqp.amqp_url, service.name).await.context("opening a session")?;
    broker.declare_requests().await.context("opening a session")?;
    let mut requests = Requests::consume(&broker, config.fwd_prefetch).await?;
    let forwarder = Arc::new(Forwarder::new(parts.clone(), broker.publisher().await?));
    tracing::info!(amqp.url = %config.amqp.amqp_url, "takes requests");
    let mut ready = std::pin::pin!(ready_while_connected(parts.dispatcher.brokers(), &service.readiness));
    let mut lost = std::pin::pin!(broker.lost());
    let in_hand = TaskTracker::new();
    let over = CancellationToken::new();
    let trips = RoundTrips::default();
    let ended = loop {
        let chunk = async {
            let trip = trips.next().await;
            requests.next_chunk().await.map(|chunk| (chunk, trip))
        };
        tokio::select! {
            chunk = chunk => match chunk {
                Ok(((chunk, settler), trip)) => {
                    let forward = Arc::clone(&forwarder).forward(chunk, settler, trip);
                    in_hand.spawn(over.clone().run_until_cancelled_owned(forward));
                }
                Err(error) => break Ended::Lost(error.into()),
            },
            never = &mut ready => match never {},
            error = &mut lost => break Ended::Lost(error.into()),
            () = service.stop.cancelled() => break Ended::Stopped,
        }
    };
    service.readiness.set(false);
    match ended {
        Ended::Stopped => requests.cancel().await?,
        // Whatever is in hand is delivered again: finishing it could only delay the next session.
        Ended::Lost(_) => over.cancel(),
    }
    in_hand.close();
    in_hand.wait().await;
    if matches!(ended, Ended::Stopped) {
        requests.flush().await?;
        broker.close().await;
    }
    Ok(ended)
}

/// Requests that come by themselves, and those that come several to a message.
struct Requests {
    single: Consumer,
    several: Consumer,
}

impl Requests {
    async fn consume(broker: &Broker, prefetch: u16) -> Result<Self, QueueError> {
        let single = broker.consume(amqp::RPC, Prefetch::Together(prefetch)).await?;
        let several = broker.consume(amqp::RPC_LINES, Prefetch::Together(prefetch.div_ceil(LINES_EXPECTED))).await?;
        Ok(Self { single, several })
    }

    /// What has come, and what to settle it with.
    async fn next_chunk(&mut self) -> Result<(Vec<Delivery>, Settler), QueueError> {
        tokio::select! {
            chunk = self.single.next_chunk(CHUNK) => Ok((chunk?, self.single.settler())),
            chunk = self.several.next_chunk(CHUNK / usize::from(LINES_EXPECTED)) => Ok((chunk?, self.several.settler())),
        }
    }

    async fn cancel(&self) -> Result<(), QueueError> {
        self.single.cancel().await?;
        self.several.cancel().await
    }

    async fn flush(&self) -> Result<(), QueueError> {
        self.single.settler().flush().await?;
        self.several.settler().flush().await
    }
}

/// Ready while one MQTT broker at least is connected: without any, nobody can be reached, and whoever asks hears so.
async fn ready_while_connected(brokers: &[Client], readiness: &Readiness) -> Infallible {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        readiness.set(brokers.iter().any(Client::is_ready));
    }
}
