//! `GET /v1/labels/{mac}`: what a label should show, shows, and showed.

use crate::{
    api::Api,
    ask::{PathOf, QueryOf},
    problem::Problem,
    shapes::{Content, Ended, limit},
    tokens::Caller,
};
use axum::{Json, extract::State};
use backbone::{
    ledger::{HistoryPlace, LabelRecord},
    registry::RouteEntry,
    service::now,
};
use protocol::{GatewayMac, LabelMac, Sku, Store, Timestamp};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use utoipa::{IntoParams, ToSchema};

/// All that is known of a label but its history.
#[derive(Serialize, ToSchema)]
pub(crate) struct LabelView {
    #[schema(value_type = String)]
    label: LabelMac,
    #[schema(value_type = Option<String>)]
    store: Option<Store>,
    #[schema(value_type = Option<String>)]
    sku: Option<Sku>,
    desired: Option<Content>,
    shown: Option<Content>,
    /// It shows what it should.
    up_to_date: bool,
    /// The gateways that hear it, the strongest first; `null` where the registry does not answer.
    routes: Option<Vec<RouteView>>,
    /// When a gateway last heard it, within some seconds.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen: Option<Timestamp>,
    /// The battery in millivolts, as last reported; `null`: not known.
    battery_mv: Option<u16>,
}

/// A gateway hears a label.
#[derive(Serialize, ToSchema)]
pub(crate) struct RouteView {
    #[schema(value_type = String)]
    gateway: GatewayMac,
    /// How strongly, smoothed.
    rssi_dbm: i8,
    /// How long ago it was written.
    age_ms: u64,
    /// The gateway is there.
    online: bool,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The MQTT broker that the gateway's last report came through; `null`: not known.
    broker: Option<String>,
}

/// A page of a label's history.
#[derive(Serialize, ToSchema)]
pub(crate) struct History {
    /// The newest first.
    outcomes: Vec<Ended>,
    /// The `before` of the next page; `null` after the last.
    next: Option<String>,
}

/// What a label showed at a time.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShownAt {
    #[schema(value_type = String)]
    label: LabelMac,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// By the latest acknowledgement until then; `null`: none is on record.
    shown: Option<Content>,
}

/// A page of a history, or what was shown at a time.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum HistoryAnswer {
    Page(History),
    At(ShownAt),
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// Answer what the label showed at this time instead.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,15}~[!-~]{1,128}$")]
    before: Option<String>,
    /// Outcomes on a page, default 100.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// What a label should show and shows, and which gateways hear it
#[utoipa::path(get, path = "/v1/labels/{mac}", tag = "store",
    params(("mac" = String, Path, pattern = "^[0-9a-fA-F]{12}$")),
    responses(
        (status = 200, body = LabelView),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn label(
    State(api): State<Api>,
    PathOf(label): PathOf<LabelMac>,
    caller: Caller,
) -> Result<Json<LabelView>, Problem> {
    let record = known(&api, label, &caller).await?;
    // The ledger alone says what a label shows: without the registry there are no routes, and that is all.
    let entries = match api.registry.routes(label).await {
        Ok(entries) => Some(entries),
        Err(_) if record.is_some() => None,
        // Whether any gateway hears it can't be said.
        Err(error) => return Err(error.into()),
    };
    let gateways = api.registry.gateways().await.unwrap_or_default();
    let LabelRecord { store, sku, desired, shown } = match record {
        Some(record) => record,
        None if entries.as_ref().is_some_and(|entries| !entries.is_empty()) => LabelRecord::default(),
        None => return Err(unknown(label)),
    };
    let view = |entry: RouteEntry| RouteView {
        gateway: entry.gateway,
        rssi_dbm: entry.rssi.dbm(),
        age_ms: u64::try_from(now().unix_millis() - entry.at.unix_millis()).unwrap_or(0),
        online: gateways.get(&entry.gateway).is_some_and(|state| state.online),
        at: entry.at,
        broker: gateways.get(&entry.gateway).map(|state| state.broker.to_string()),
    };
    let last_seen = entries.iter().flatten().map(|entry| entry.at).max();
    let battery_mv = entries.iter().flatten().find_map(|entry| entry.battery_mv);
    let routes = entries.map(|mut entries| {
        entries.sort_by_key(|entry| Reverse(entry.rssi));
        entries.into_iter().map(view).collect()
    });
    let up_to_date = desired.as_ref().map(|desired| desired.version) == shown.as_ref().map(|shown| shown.version);
    let (desired, shown) = (desired.map(Content::from), shown.map(Content::from));
    Ok(Json(LabelView { label, store, sku, desired, shown, up_to_date, routes, last_seen, battery_mv }))
}

/// What the ledger knows of a label, if the caller may know it.
async fn known(api: &Api, label: LabelMac, caller: &Caller) -> Result<Option<LabelRecord>, Problem> {
    let record = api.ledger.label(label).await?;
    match record.as_ref().and_then(|record| record.store.as_ref()) {
        Some(store) if !caller.may(store) => {
            Err(Problem::forbidden(format!("label {label} is in a store that this token is not for")))
        }
        None if !caller.may_all() => Err(unknown(label)),
        _ => Ok(record),
    }
}

fn unknown(label: LabelMac) -> Problem {
    Problem::not_found(format!("label {label}: it is not bound, no task names it, no gateway hears it"))
}

/// How the tasks of a label ended, or what it showed at a time
#[utoipa::path(get, path = "/v1/labels/{mac}/history", tag = "store",
    params(("mac" = String, Path, pattern = "^[0-9a-fA-F]{12}$"), HistoryQuery),
    responses(
        (status = 200, body = HistoryAnswer),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn history(
    State(api): State<Api>,
    PathOf(label): PathOf<LabelMac>,
    QueryOf(query): QueryOf<HistoryQuery>,
    caller: Caller,
) -> Result<Json<HistoryAnswer>, Problem> {
    let limit = limit(query.limit, 1000)?;
    let place = query.before.as_deref().map(place).transpose()?;
    known(&api, label, &caller).await?.ok_or_else(|| unknown(label))?;
    if let Some(at) = query.at {
        let shown = api.ledger.shown_at(label, at).await?.map(Content::from);
        return Ok(Json(HistoryAnswer::At(ShownAt { label, at, shown })));
    }
    let page = api.ledger.history_before(label, place.as_ref(), limit).await?;
    let last = page.last().filter(|_| page.len() == limit as usize);
    let next = last.map(|last| format!("{}~{}", last.result.at.unix_millis(), last.result.task_id));
    let outcomes = page.into_iter().map(Ended::from).collect();
    Ok(Json(HistoryAnswer::Page(History { outcomes, next })))
}

pub(crate) fn place(text: &str) -> Result<HistoryPlace, Problem> {
    let parsed = text.split_once('~').and_then(|(at, task_id)| {
        Some(HistoryPlace { at: Timestamp::from_unix_millis(at.parse().ok()?), task_id: task_id.parse().ok()? })
    });
    parsed.ok_or_else(|| Problem::bad(format!("before {text:?}: expected the next of the page before")))
}
