//! # http-router
//!
//! The HTTP-RPC design, which the backbone replaces and is compared with: a task worker posts an RPC ([`serve`]), the
//! router publishes the command to `/gw/<mac>/action` ([`forward`]), holds the request open ([`hold`]), takes gateways'
//! answers from the same shared subscription as `bck-router` ([`answer`]), and answers the request when its answer comes.
//!
//! An honest peer: the same routes, leases, windows and limits by the same code (`backbone::commands`), the same admin
//! port and drain, and fewer hops. Its one weakness is the design's: the open request is in one replica, and the MQTT
//! broker deals answers to any of them. With one replica every answer finds its request; with several, one in so many
//! does. The others are counted as `misroutes`, and whoever asked waits until the timeout.

mod answer;
mod config;
mod forward;
mod hold;
mod metrics;
mod serve;

pub use config::Config;

use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use backbone::{
    commands::{DispatchCounters, Dispatcher, DispatcherOptions, give_back},
    mqtt::{Client, ClientOptions, Incoming, Subscription},
    registry::Registry,
    service::Service,
};
use hold::Held;
use metrics::Metrics;
use protocol::names::mqtt::SHARED_RESPONSES;
use std::{convert::Infallible, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const ANSWERS: Subscription = Subscription { filter: SHARED_RESPONSES, manual_acks: true };
/// Of the grace, so much is kept for telling those that still wait, and for leaving the brokers.
const FOR_THE_REST: Duration = Duration::from_secs(4);
/// Requests on their way to Redis.
const REQUESTS: usize = 256;

/// Runs an HTTP router until `service.stop`, then drains it.
///
/// # Errors
/// When the configuration can't work at all, such as an MQTT broker without shared subscriptions; servers that are
/// down are waited for.
pub async fn run(config: Config, mut service: Service) -> Result<()> {
    let config = config.trusting();
    let metrics = Metrics::register(&mut service.metrics);
    let listener = TcpListener::bind(config.http_addr)
        .await
        .with_context(|| format!("binding the port for RPCs, HTTP_ADDR {}", config.http_addr))?;
    tracing::info!(http.addr = %listener.local_addr()?, "takes requests");
    service.open_admin_port(axum::Router::new());
    let (connections, consumers, closed) = (TaskTracker::new(), TaskTracker::new(), CancellationToken::new());
    let (brokers, inbox) = subscribe(&config, &connections);
    let registry = Registry::connect(&config.redis.redis_url)?;
    let dispatcher = dispatcher(&config, &registry, &brokers, &metrics, &connections, &closed);

    let replica = format!("http-router-{}", uuid::Uuid::new_v4().simple());
    let held = Held::new(metrics.requests_held.clone());
    let (places, releases) = mpsc::channel(inbox.max_capacity());
    consumers.spawn(give_back(releases, registry.clone(), config.window.policy(), metrics.registry_errors.clone()));
    let answers = answer::Answers {
        registry: registry.clone(),
        held: held.clone(),
        replica: replica.clone(),
        places,
        metrics: metrics.clone(),
        rpc_timeout: config.rpc_timeout,
        closed: closed.clone(),
    };
    consumers.spawn(answers.run(inbox));
    let (requests, to_forward) = mpsc::channel(REQUESTS);
    consumers.spawn(forward::Forwarder { dispatcher, held: held.clone(), closed: closed.clone() }.run(to_forward));

    let permits = Semaphore::new(config.http_concurrency.into());
    let port = serve::Port { replica, rpc_timeout: config.rpc_timeout, permits, held: held.clone(), requests, metrics };
    // Without it Nagle's algorithm holds answers back for as long as the other side delays its acknowledgements.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let draining = CancellationToken::new();
    let serve = axum::serve(listener, serve::router(port)).with_graceful_shutdown(draining.clone().cancelled_owned());
    let mut serve = std::pin::pin!(serve.into_future());
    tokio::select! {
        ended = &mut serve => ended.context("serving RPCs")?,
        error = any_failed(&brokers) => return Err(error),
        never = ready_while_connected(&registry, &brokers, &service) => match never {},
        () = service.stop.cancelled() => {}
    }
    // Takes nothing new; what is held open still gets its answers, as long as the grace lasts.
    draining.cancel();
    if tokio::time::timeout(service.drain_grace.saturating_sub(FOR_THE_REST), &mut serve).await.is_err() {
        held.let_go();
        let _ = tokio::time::timeout(FOR_THE_REST / 2, &mut serve).await;
    }
    leave(&brokers, closed, consumers, connections).await;
    Ok(())
}

/// Leaves the shared subscription, deals with what has arrived, and closes the connections that this needed.
async fn leave(brokers: &[Client], closed: CancellationToken, consumers: TaskTracker, connections: TaskTracker) {
    futures::future::join_all(brokers.iter().map(Client::unsubscribe)).await;
    closed.cancel();
    consumers.close();
    consumers.wait().await;
    brokers.iter().for_each(Client::close);
    connections.close();
    connections.wait().await;
}

/// One connection to each broker, for commands and for answers.
fn subscribe(config: &Config, connections: &TaskTracker) -> (Vec<Client>, mpsc::Receiver<Incoming>) {
    let receive_maximum = config.http_receive_maximum;
    let (sender, inbox) = mpsc::channel(usize::from(receive_maximum) * config.mqtt.mqtt_url.iter().count());
    let join = |url: &backbone::mqtt::MqttUrl| {
        let client_id = format!("http-router-{}", uuid::Uuid::new_v4().simple());
        let options = ClientOptions { url: url.clone(), client_id, subscription: Some(ANSWERS), receive_maximum };
        Client::start(options, sender.clone(), connections)
    };
    (config.mqtt.mqtt_url.iter().map(join).collect(), inbox)
}

fn dispatcher(
    config: &Config,
    registry: &Registry,
    brokers: &[Client],
    metrics: &Metrics,
    background: &TaskTracker,
    closed: &CancellationToken,
) -> Dispatcher {
    let options = DispatcherOptions {
        registry: registry.clone(),
        brokers: brokers.to_vec(),
        policy: config.route.policy(config.rpc_timeout),
        window: config.window.policy(),
        counters: DispatchCounters {
            registry_errors: metrics.registry_errors.clone(),
            published_again: metrics.published_again.clone(),
        },
    };
    Dispatcher::start(options, background, closed)
}

async fn any_failed(brokers: &[Client]) -> anyhow::Error {
    let failures = brokers.iter().map(|broker| Box::pin(broker.failed()));
    futures::future::select_all(failures).await.0.into()
}

/// Ready once Redis has answered, while one broker's subscription at least holds.
async fn ready_while_connected(registry: &Registry, brokers: &[Client], service: &Service) -> Infallible {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut answered = false;
    loop {
        ticks.tick().await;
        answered = answered || registry.ping().await.is_ok();
        service.readiness.set(answered && brokers.iter().any(Client::is_ready));
    }
}
