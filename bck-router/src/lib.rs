//! # bck-router
//!
//! Two consumers that can run together or apart (`--consume answers|reports|both`), each a member of a shared
//! subscription, so that any number of replicas divides the work:
//!
//! - **answers** ([`answer`]): takes gateways' answers, finds the RPC that each belongs to, publishes the reply to the
//!   queue of whoever asked, and only then acknowledges the MQTT message. What belongs to nobody is dropped and
//!   counted by reason; what shows that a label has gone back sets off its repair.
//! - **reports** ([`track`]): keeps the route table: which gateways hear which labels, and where each gateway is.
//!
//! Each has connections of its own, so a flood of reports delays no answer. Neither holds state: the tracker's memory
//! of what it wrote only saves writes.

mod answer;
mod config;
mod heard;
mod metrics;
mod repair;
mod reply;
mod track;

pub use config::{Config, Consume};

use anyhow::{Context, Result};
use backbone::{
    commands::give_back,
    mqtt::{Client, ClientOptions, Incoming, Subscription},
    queue::Broker,
    registry::Registry,
    service::{Ended, Service, run_sessions},
};
use metrics::Metrics;
use protocol::names::mqtt::{SHARED_RESPONSES, SHARED_STATUS};
use reply::{Confirmer, Replies, Session};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const ANSWERS: Subscription = Subscription { filter: SHARED_RESPONSES, manual_acks: true };
const REPORTS: Subscription = Subscription { filter: SHARED_STATUS, manual_acks: false };

/// Runs a back router until `service.stop`, then drains it.
///
/// # Errors
/// When the configuration can't work at all, such as an MQTT broker without shared subscriptions; servers that are
/// down are waited for.
pub async fn run(config: Config, mut service: Service) -> Result<()> {
    let config = config.trusting();
    let metrics = Metrics::register(&mut service.metrics);
    service.open_admin_port(axum::Router::new());
    let connections = TaskTracker::new();
    let consumers = TaskTracker::new();
    let closed = CancellationToken::new();
    let registry = Registry::connect(&config.redis.redis_url)?;
    let (replies_to, replies) = watch::channel(None);

    let mut clients = Vec::new();
    if config.consume.answers() {
        let (members, inbox) = subscribe(&config, ANSWERS, config.bck_receive_maximum, &connections);
        clients.extend(members);
        let (outgoing, sent) = Replies::new(replies.clone(), metrics.clone(), inbox.max_capacity());
        let (places, releases) = mpsc::channel(inbox.max_capacity());
        let errors = metrics.registry_errors.clone();
        consumers.spawn(give_back(releases, registry.clone(), config.window.policy(), errors));
        let answers =
            answer::Answers::new(&config, registry.clone(), outgoing, places, metrics.clone(), closed.clone());
        consumers.spawn(answers.run(inbox));
        let (metrics, give_up_after) = (metrics.clone(), config.rpc_timeout);
        consumers.spawn(Confirmer { sessions: replies, metrics, give_up_after }.run(sent));
    }
    if config.consume.reports() {
        let (members, inbox) = subscribe(&config, REPORTS, track::RECEIVE_MAXIMUM, &connections);
        clients.extend(members);
        let tracker = track::Tracker::new(&config, registry, metrics, closed.clone());
        consumers.spawn(tracker.run(inbox));
    }
    let ready = watch_readiness(clients.clone(), service.readiness.clone(), replies_to.subscribe(), closed.clone());
    connections.spawn(ready);
    let finished = CancellationToken::new();
    if config.consume.answers() {
        connections.spawn(publish_sessions(config, service.name, replies_to, finished.clone()));
    }

    tokio::select! {
        () = service.stop.cancelled() => {}
        error = any_failed(&clients) => return Err(error),
    }
    // Leave the shared subscriptions first, so that the other members get what comes from now on; then deal with what
    // is in hand; then close the connections that this needed.
    futures::future::join_all(clients.iter().map(Client::unsubscribe)).await;
    closed.cancel();
    consumers.close();
    consumers.wait().await;
    clients.iter().for_each(Client::close);
    finished.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

fn subscribe(
    config: &Config,
    subscription: Subscription,
    receive_maximum: u16,
    connections: &TaskTracker,
) -> (Vec<Client>, mpsc::Receiver<Incoming>) {
    let (sender, inbox) = mpsc::channel(usize::from(receive_maximum) * config.mqtt.mqtt_url.iter().count());
    let join = |url: &backbone::mqtt::MqttUrl| {
        let client_id = format!("bck-router-{}", uuid::Uuid::new_v4().simple());
        let options = ClientOptions { url: url.clone(), client_id, subscription: Some(subscription), receive_maximum };
        Client::start(options, sender.clone(), connections)
    };
    (config.mqtt.mqtt_url.iter().map(join).collect(), inbox)
}

async fn any_failed(clients: &[Client]) -> anyhow::Error {
    let failures = clients.iter().map(|client| Box::pin(client.failed()));
    futures::future::select_all(failures).await.0.into()
}

/// Keeps a session with RabbitMQ open for the replies.
async fn publish_sessions(
    config: Config,
    name: &'static str,
    replies: watch::Sender<Option<Session>>,
    finished: CancellationToken,
) {
    run_sessions(&finished, async || {
        let broker = Broker::connect(&config.amqp.amqp_url, name).await.context("opening a session")?;
        let session = Session { bulk: broker.bulk_publisher().await?, confirmed: broker.publisher().await? };
        replies.send_replace(Some(session));
        tracing::info!(amqp.url = %config.amqp.amqp_url, "publishes replies");
        tokio::select! {
            error = broker.lost() => {
                replies.send_replace(None);
                Ok(Ended::Lost(error.into()))
            }
            () = finished.cancelled() => {
                broker.close().await;
                Ok(Ended::Stopped)
            }
        }
    })
    .await;
}

/// Ready while every broker's subscription holds, or at least one where there are several, and replies can go out.
async fn watch_readiness(
    clients: Vec<Client>,
    readiness: backbone::service::Readiness,
    replies: watch::Receiver<Option<Session>>,
    closed: CancellationToken,
) {
    let needs_replies = clients.iter().any(|client| client.subscription() == Some(ANSWERS));
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = closed.cancelled() => return,
        }
        let subscribed = clients.iter().any(Client::is_ready);
        readiness.set(subscribed && (!needs_replies || replies.borrow().is_some()));
    }
}
