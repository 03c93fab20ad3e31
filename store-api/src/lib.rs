//! # store-api
//!
//! HTTP for the store backend and its operator: tasks in, what became of them, and which labels are out of date. The
//! contract is `docs/PROTOCOL.md` and, generated from the code, `/v1/openapi.json`; beside it is what the backbone says
//! over RabbitMQ and MQTT, `/v1/asyncapi.json` ([`asyncapi`]).
//!
//! 1. [`guard`] bounds a request in number and time, and finds out who asks ([`tokens`]);
//! 2. [`ask`] reads what is asked, and [`problem`] says what is wrong with it;
//! 3. [`enqueue`] records a request in the ledger before it publishes its tasks, and answers when all are confirmed;
//! 4. the other handlers read the ledger, the registry and the dead letters: [`batches`], [`labels`], [`out_of_date`],
//!    [`counts`], [`gateways`], [`dead`], [`backlog`]; [`bindings`] writes which label stands for which product;
//! 5. [`page`] shows all that to an operator, and does what he asks, at `/`.
//!
//! # Invariants
//!
//! - 202 is answered only after the broker has confirmed every task.
//! - A request that is repeated with the same key leads to the same tasks with the same versions: IDs are derived from
//!   the key, versions from the time that the ledger recorded first.
//! - Replicas share nothing but the servers: any of them can answer any request.

mod api;
mod ask;
mod asyncapi;
mod backlog;
mod batches;
mod bindings;
mod config;
mod control;
mod counts;
mod dead;
mod enqueue;
mod gateways;
mod guard;
mod labels;
mod metrics;
mod out_of_date;
mod page;
mod problem;
mod request;
mod session;
mod shapes;
mod tokens;

pub use config::Config;
pub use tokens::Tokens;

use anyhow::{Context, Result, ensure};
use api::{Api, Shared};
use backbone::{
    ledger::{Ledger, LedgerWriter},
    registry::Registry,
    service::{Service, run_sessions},
};
use metrics::Metrics;
use session::{Link, session};
use std::sync::Arc;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// So many bodies are in memory at the same time.
const BODIES: usize = 16;

/// Runs the store API until `service.stop`, then drains it.
///
/// # Errors
/// When the configuration can't work at all; servers that are down are waited for.
pub async fn run(config: Config, mut service: Service) -> Result<()> {
    let config = config.trusting();
    ensure!(
        config.tokens.is_some() || config.api_addr.ip().is_loopback(),
        "API_ADDR is {}, which others can reach: give --tokens FILE, or an address of loopback",
        config.api_addr
    );
    let metrics = Metrics::register(&mut service.metrics);
    let (background, closed) = (TaskTracker::new(), CancellationToken::new());
    let ledger = Ledger::connect(&config.mongodb_url).await?;
    // Only to prepare the ledger and to know whether it is there: requests fail fast where tasks wait.
    let writer = LedgerWriter::start(&ledger, &background, &closed);
    writer.register(&mut service.metrics);
    let listener = TcpListener::bind(config.api_addr)
        .await
        .with_context(|| format!("binding the API port, API_ADDR {}", config.api_addr))?;
    tracing::info!(api.addr = %listener.local_addr()?, "serves the API");
    service.open_admin_port(axum::Router::new());

    let (current, publisher) = watch::channel(None);
    let link = Link { current, broken: Arc::default(), served: CancellationToken::new() };
    let registry = Registry::connect(&config.redis.redis_url)?;
    let api = Api::new(Shared {
        ledger,
        registry,
        publisher,
        broken: Arc::clone(&link.broken),
        amqp_url: config.amqp.amqp_url.clone(),
        tokens: config.tokens.clone(),
        metrics,
        permits: Semaphore::new(config.concurrency.into()),
        bodies: Arc::new(Semaphore::new(BODIES)),
        followers: Arc::new(Semaphore::new(config.followers.into())),
        dead_letters: Mutex::new(()),
        known: page::Known::default(),
        background: background.clone(),
        stale_after: config.route_stale_after,
        window: config.window.policy(),
        max_body: config.max_body,
        timeout: config.timeout,
        follow_for: config.follow_for,
        stop: service.stop.clone(),
    });
    let serve = axum::serve(listener, api::router(api)).with_graceful_shutdown(service.stop.clone().cancelled_owned());
    let sessions = run_sessions(&service.stop, || session(&config.amqp.amqp_url, &service, &link));
    let serve = async {
        let ended = serve.await;
        link.served.cancel();
        ended
    };
    tokio::select! {
        (ended, ()) = async { tokio::join!(serve, sessions) } => ended.context("serving the API")?,
        never = ready_while_up(&writer, &link, &service) => match never {},
    }
    closed.cancel();
    drop(writer);
    background.close();
    background.wait().await;
    Ok(())
}

/// Ready while both RabbitMQ and the ledger are there: what needs only one of them is answered all the same.
async fn ready_while_up(ledger: &LedgerWriter, link: &Link, service: &Service) -> std::convert::Infallible {
    let mut session = link.current.subscribe();
    loop {
        service.readiness.set(ledger.is_up() && session.borrow().is_some());
        tokio::select! {
            _ = session.changed() => {}
            () = ledger.wait_until(!ledger.is_up()) => {}
        }
    }
}
