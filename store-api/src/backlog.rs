//! `GET /v1/backlog`: how much waits in the queues.

use crate::{api::Api, problem::Problem};
use axum::{Json, extract::State};
use backbone::queue::{Broker, QueueError};
use protocol::names::amqp;
use serde::Serialize;
use utoipa::ToSchema;

/// What waits, of all stores.
#[derive(Serialize, ToSchema)]
pub(crate) struct Backlog {
    /// Tasks that no worker has taken.
    tasks: u32,
    /// Tasks whose labels wait for their gateways.
    waiting: u32,
    /// Tasks that could not be used.
    dead_letters: u32,
}

/// How many tasks wait for a worker, and how many are dead letters
#[utoipa::path(get, path = "/v1/backlog", tag = "store",
    responses(
        (status = 200, body = Backlog),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn backlog(State(api): State<Api>) -> Result<Json<Backlog>, Problem> {
    // A connection of its own, as a look at the dead letters is: one at a time.
    let _alone = api.dead_letters.lock().await;
    let broker = Broker::connect(&api.amqp_url, "store-api").await?;
    let counted = count(&broker).await;
    broker.close().await;
    Ok(Json(counted?))
}

async fn count(broker: &Broker) -> Result<Backlog, QueueError> {
    broker.declare_tasks().await?;
    Ok(Backlog {
        tasks: broker.backlog(amqp::TASKS).await? + broker.backlog(amqp::URGENT_TASKS).await?,
        waiting: broker.waiting().await?,
        dead_letters: broker.backlog(amqp::DEAD_TASKS).await?,
    })
}
