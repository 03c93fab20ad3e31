//! `POST /v1/stores/{store}/bindings/counts`: how many labels products have.

use crate::{
    api::Api,
    ask::{JsonOf, PathOf, demand_store},
    problem::Problem,
    tokens::Caller,
};
use axum::{Json, extract::State};
use protocol::{Sku, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A request has at most so many products.
const MAX_SKUS: usize = 10_000;

/// Which products to count the labels of.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Products {
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    skus: Vec<Sku>,
}

/// How many labels products have.
#[derive(Serialize, ToSchema)]
pub(crate) struct Counts {
    /// Of all of them.
    labels: u64,
    /// Of each that has any.
    #[schema(value_type = BTreeMap<String, u64>)]
    counts: BTreeMap<Sku, u64>,
}

/// Count the labels that are bound to products
#[utoipa::path(post, path = "/v1/stores/{store}/bindings/counts", tag = "store",
    params(("store" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$")),
    request_body = Products,
    responses(
        (status = 200, body = Counts),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn counts(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    caller: Caller,
    JsonOf(Products { skus }): JsonOf<Products>,
) -> Result<Json<Counts>, Problem> {
    demand_store(&caller, &store)?;
    if skus.len() > MAX_SKUS {
        let detail = format!("{} products, expected at most {MAX_SKUS}: ask in parts", skus.len());
        return Err(Problem::unprocessable(detail));
    }
    let counts = if skus.is_empty() { Default::default() } else { api.ledger.count_bound(&store, &skus).await? };
    let counts: BTreeMap<Sku, u64> = counts.into_iter().filter(|(_, labels)| *labels > 0).collect();
    Ok(Json(Counts { labels: counts.values().sum(), counts }))
}
