//! The routes, and what their handlers share.

use crate::{
    asyncapi, backlog, batches, bindings, control, counts, dead, enqueue, gateways, guard::guard, labels,
    metrics::Metrics, out_of_date, page, problem::Problem, tokens::Tokens,
};
use axum::{Json, Router, http::StatusCode, middleware, routing::get};
use backbone::{
    ledger::Ledger,
    queue::{AmqpUrl, Publisher},
    registry::{Registry, WindowPolicy},
};
use std::{ops::Deref, sync::Arc, time::Duration};
use tokio::sync::{Mutex, Notify, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What handlers share. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    pub(crate) registry: Registry,
    pub(crate) publisher: watch::Receiver<Option<Publisher>>,
    /// To be told when the publisher no longer works.
    pub(crate) broken: Arc<Notify>,
    pub(crate) amqp_url: AmqpUrl,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) metrics: Metrics,
    /// Requests at the same time.
    pub(crate) permits: Semaphore,
    /// Bodies in memory at the same time: whoever is beyond waits before his is read.
    pub(crate) bodies: Arc<Semaphore>,
    /// Batches that are followed at the same time.
    pub(crate) followers: Arc<Semaphore>,
    /// One look at the dead letters at a time: each holds them while it looks.
    pub(crate) dead_letters: Mutex<()>,
    /// What the page keeps of stores and batches.
    pub(crate) known: page::Known,
    /// Whatever is found out for all who look.
    pub(crate) background: TaskTracker,
    /// A gateway whose report of a label is older does not count as hearing it.
    pub(crate) stale_after: Duration,
    /// By which gateways' windows are read.
    pub(crate) window: WindowPolicy,
    pub(crate) max_body: usize,
    pub(crate) timeout: Duration,
    pub(crate) follow_for: Duration,
    pub(crate) stop: CancellationToken,
}

impl Deref for Api {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "ESL backbone: store API", description = "Price updates to electronic shelf labels over HTTP."),
    modifiers(&Bearer),
    security(("bearer" = [])),
    tags((name = "store", description = "What a store backend and its operator ask"))
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_with(Default::default).add_security_scheme("bearer", scheme);
    }
}

/// Everything that the API port serves.
pub(crate) fn router(api: Api) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(enqueue::enqueue))
        .routes(routes!(bindings::bind))
        .routes(routes!(counts::counts))
        .routes(routes!(out_of_date::out_of_date))
        .routes(routes!(batches::batch))
        .routes(routes!(batches::events))
        .routes(routes!(control::set_state))
        .routes(routes!(labels::label))
        .routes(routes!(labels::history))
        .routes(routes!(gateways::gateways))
        .routes(routes!(backlog::backlog))
        .routes(routes!(dead::dead_letters))
        .routes(routes!(dead::replay))
        .split_for_parts();
    let document = Arc::new(document);
    let contract = Arc::new(asyncapi::document());
    router
        .route("/v1/openapi.json", get(move || std::future::ready(Json((*document).clone()))))
        .route("/v1/asyncapi.json", get(move || std::future::ready(Json((*contract).clone()))))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(api.clone(), guard))
        .with_state(api.clone())
        .merge(page::router(&api))
}

async fn unknown() -> Problem {
    Problem::not_found("no such path: GET /v1/openapi.json lists all")
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not this method: the header Allow names those that would do")
}
