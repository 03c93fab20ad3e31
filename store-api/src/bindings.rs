//! `PUT /v1/stores/{store}/bindings`: which label stands for which product.

use crate::{
    api::Api,
    ask::{self, Format, PathOf, Sent, demand_labels, demand_store},
    problem::{Fault, Problem},
    shapes::Mac,
    tokens::Caller,
};
use axum::{Json, extract::State};
use backbone::{ledger::Binding, sheet::read_bindings_of};
use protocol::{LabelMac, Sku, Store};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request has at most so many labels.
const MAX_BINDINGS: usize = 100_000;

/// A label and its product.
#[derive(Deserialize, ToSchema)]
pub(crate) struct BindingShape {
    #[schema(value_type = Mac)]
    label: LabelMac,
    #[schema(value_type = String, min_length = 1, max_length = 64)]
    sku: Sku,
}

/// What binding came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct Bound {
    /// Labels that had never been heard of.
    new: u64,
    /// Labels that had another product or store before.
    changed: u64,
    /// Labels that were bound so already.
    unchanged: u64,
}

/// Bind labels to products; labels that are not named stay as they are
#[utoipa::path(put, path = "/v1/stores/{store}/bindings", tag = "store",
    params(("store" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$")),
    request_body(content((Vec<BindingShape> = "application/json"), (String = "text/csv"))),
    responses(
        (status = 200, body = Bound),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn bind(
    State(api): State<Api>,
    PathOf(store): PathOf<Store>,
    caller: Caller,
    sent: Sent,
) -> Result<Json<Bound>, Problem> {
    demand_store(&caller, &store)?;
    let bindings = match sent.format {
        Format::Json => from_json(&store, &sent.body)?,
        Format::Csv => from_csv(&store, &sent.body)?,
    };
    if bindings.len() > MAX_BINDINGS {
        let detail = format!("{} bindings, expected at most {MAX_BINDINGS}: send them in parts", bindings.len());
        return Err(Problem::unprocessable(detail));
    }
    let labels: Vec<LabelMac> = bindings.iter().map(|binding| binding.label).collect();
    demand_labels(&api, &caller, &labels).await?;
    let report = api.ledger.bind(&bindings).await?;
    Ok(Json(Bound { new: report.new, changed: report.changed, unchanged: report.unchanged }))
}

fn from_json(store: &Store, body: &[u8]) -> Result<Vec<Binding>, Problem> {
    let bindings: Vec<BindingShape> = ask::from_json(body)?;
    let bind = |BindingShape { label, sku }| Binding { label, sku, store: store.clone() };
    Ok(bindings.into_iter().map(bind).collect())
}

fn from_csv(store: &Store, body: &[u8]) -> Result<Vec<Binding>, Problem> {
    let table = read_bindings_of(store, "the body", body).map_err(|error| Problem::unprocessable(error.to_string()))?;
    if table.bad.is_empty() {
        return Ok(table.rows);
    }
    let faults: Vec<_> = table.bad.iter().take(1_000).map(Fault::from).collect();
    let detail = format!("faults in lines: {}; nothing was bound: mend them and repeat", table.bad.len());
    Err(Problem::unprocessable(detail).with_errors(faults))
}
