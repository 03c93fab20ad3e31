//! `GET /v1/stores/{store}/out-of-date`: which labels don't show what they should, since when, and why.

use crate::{
    api::Api,
    ask::{PathOf, QueryOf, demand_store},
    problem::Problem,
    shapes::{Content, limit},
    tokens::Caller,
};
use axum::{Json, extract::State};
use backbone::ledger::OutOfDate;
use protocol::{LabelMac, Sku, Store, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// The `next` of the page before.
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{12}$")]
    after: Option<LabelMac>,
    /// Labels on a page, default 100.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
}

/// A page of labels that don't show what they should.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutOfDatePage {
    labels: Vec<OutOfDateView>,
    /// The `after` of the next page; `null` after the last.
    #[schema(value_type = Option<String>)]
    next: Option<LabelMac>,
}

/// A label that does not show what it should.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutOfDateView {
    #[schema(value_type = String)]
    label: LabelMac,
    #[schema(value_type = Option<String>)]
    sku: Option<Sku>,
    desired: Content,
    shown: Option<Content>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// How the task that asked for it ended, or `in progress`.
    why: &'static str,
    /// The reason of that outcome.
    reason: Option<String>,
}

impl From<OutOfDate> for OutOfDateView {
    fn from(stale: OutOfDate) -> Self {
        Self {
            label: stale.label,
            sku: stale.sku,
            desired: stale.desired.into(),
            shown: stale.shown.map(Content::from),
            since: stale.since,
            why: stale.outcome.as_ref().map_or("in progress", |result| result.outcome.as_str()),
            reason: stale.outcome.and_then(|result| result.reason),
        }
    }
}

/// Which labels of a store don't show what they should, and why
#[utoipa::path(get, path = "/v1/stores/{store}/out-of-date", tag = "store",
    params(("store" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$"), Page),
    responses(
        (status = 200, body = OutOfDatePage),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn out_of_date(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    QueryOf(page): QueryOf<Page>,
    caller: Caller,
) -> Result<Json<OutOfDatePage>, Problem> {
    demand_store(&caller, &store)?;
    let limit = limit(page.limit, 10_000)?;
    let labels = api.ledger.out_of_date(&store, page.after, limit).await?;
    let next = labels.last().filter(|_| labels.len() == limit as usize).map(|last| last.label);
    Ok(Json(OutOfDatePage { labels: labels.into_iter().map(OutOfDateView::from).collect(), next }))
}
