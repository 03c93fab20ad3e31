//! Which roles there are, and in which order they stop.

use crate::{config::Config, ground::Ground, stages::Stages};
use anyhow::Result;
use backbone::service::{Readiness, Service};
use std::time::Duration;

/// Of the grace, so much is kept for what stops after the worker.
const FOR_THE_REST: Duration = Duration::from_secs(5);

/// Starts all roles on this ground. Whoever asks stops first, then the routers, and gateways last: what is in flight
/// needs them.
pub(crate) fn start(config: Config, ground: &Ground, service: &Service) -> Result<(Stages, Vec<Readiness>)> {
    let Config { api, worker, fwd_router, bck_router, emulator, .. } = config;
    let grace = service.drain_grace.saturating_sub(FOR_THE_REST);
    let (mut stages, mut readiness) = (Stages::default(), Vec::new());
    let mut share = |name| {
        let role = service.share(name, grace);
        readiness.push(role.readiness.clone());
        role
    };

    let stage = stages.add();
    let (amqp, redis, mongodb_url) = (ground.amqp(), ground.redis(), ground.ledger());
    let worker = task_worker::Config { amqp, redis, mongodb_url, ..worker };
    let (amqp, redis, mongodb_url) = (ground.amqp(), ground.redis(), ground.ledger());
    let api = store_api::Config { amqp, redis, mongodb_url, ..api };
    stage.start(share("store-api"), |service| store_api::run(api, service));
    stage.start(share("task-worker"), |service| task_worker::run(worker, service));

    let stage = stages.add();
    let (amqp, redis, mqtt) = (ground.amqp(), ground.redis(), ground.mqtt());
    let fwd_router = fwd_router::Config { amqp, redis, mqtt, ..fwd_router };
    stage.start(share("fwd-router"), |service| fwd_router::run(fwd_router, service));
    let (amqp, redis, mqtt) = (ground.amqp(), ground.redis(), ground.mqtt());
    let bck_router = bck_router::Config { amqp, redis, mqtt, ..bck_router };
    stage.start(share("bck-router"), |service| bck_router::run(bck_router, service));

    if let Some(emulator) = emulator {
        let emulator = gateway_emulator::Config { mqtt_url: ground.port()?, ..emulator };
        stages.add().start(share("gateway-emulator"), |service| gateway_emulator::run(emulator, service));
    }
    Ok((stages, readiness))
}
