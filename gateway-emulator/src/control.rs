//! What the admin port serves besides: what each label shows, and faults at run time.
//!
//! | | |
//! |---|---|
//! | `GET /labels` | what each label shows |
//! | `GET /labels/{mac}` | the same of one label, with its history, position and who hears it |
//! | `PUT /labels/{mac}/faults` | `{"nack":"insufficient_battery","silent":true}`, each optional |
//! | `PUT /labels/{mac}/place` | `{"near":"<gateway mac>"}`, `{"nowhere":true}` or `{"home":true}` |
//! | `GET /gateways`, `GET /gateways/{mac}` | each gateway's state and counts |
//! | `PUT /faults`, `PUT /gateways/{mac}/faults` | replaces the [faults](crate::faults::Faults) of store or gateway |
//! | `POST /gateways/{mac}/offline` | it leaves in order; `?abrupt=true`: its connection is cut |
//! | `POST /gateways/{mac}/online`, `/hang`, `/resume` | |
//! | `POST /gateways/{mac}/answer` | publishes the body on its response topic; `?correlation=` adds correlation data, `?from=` another gateway sends it |
//! | `POST /gateways/{mac}/report` | publishes the body on its status topic |
//!
//! Errors are a status and `{"error":"<one sentence>"}`.

use crate::{
    faults::{Faults, LabelFaults},
    floor::Place,
    label::Memory,
    metrics::Answered,
    store::{Gateway, Store},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use protocol::{GatewayMac, LabelMac};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, sync::atomic::Ordering, time::Duration};

/// How long a request waits until a gateway is where it was told to be.
const PATIENCE: Duration = Duration::from_secs(5);

type Shared = State<Arc<Store>>;
type Words = Query<HashMap<String, String>>;
type Answer = Result<Json<Value>, Failure>;

struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// The routes of the admin port that are the emulator's own.
pub(crate) fn router(store: Arc<Store>) -> Router {
    Router::new()
        .route("/labels", get(labels))
        .route("/labels/{mac}", get(label))
        .route("/labels/{mac}/faults", put(set_label_faults))
        .route("/labels/{mac}/place", put(place))
        .route("/gateways", get(gateways))
        .route("/gateways/{mac}", get(gateway))
        .route("/faults", put(set_faults))
        .route("/gateways/{mac}/faults", put(set_gateway_faults))
        .route("/gateways/{mac}/answer", post(answer))
        .route("/gateways/{mac}/report", post(report))
        .route("/gateways/{mac}/{state}", post(set_state))
        .with_state(store)
}

fn bad(error: impl ToString) -> Failure {
    Failure(StatusCode::BAD_REQUEST, error.to_string())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(bad)
}

fn find_label(store: &Store, mac: &str) -> Result<(usize, LabelMac), Failure> {
    let mac: LabelMac = mac.parse().map_err(bad)?;
    let unknown = || Failure(StatusCode::NOT_FOUND, format!("label {mac} is not in this store"));
    store.labels.index(mac).map(|index| (index, mac)).ok_or_else(unknown)
}

fn find_gateway<'a>(store: &'a Store, mac: &str) -> Result<(usize, &'a Gateway), Failure> {
    let mac: GatewayMac = mac.parse().map_err(bad)?;
    store.gateway(mac).ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("gateway {mac} is not in this store")))
}

fn describe_label(mac: LabelMac, memory: &Memory) -> Value {
    json!({"mac": mac, "shown": memory.shown, "writes": memory.writes, "others": memory.others})
}

async fn labels(State(store): Shared) -> Json<Value> {
    let all = (0..store.labels.len()).map(|index| describe_label(store.labels.mac(index), &store.labels.memory(index)));
    Json(all.collect())
}

async fn label(State(store): Shared, Path(mac): Path<String>) -> Answer {
    let (index, mac) = find_label(&store, &mac)?;
    let memory = store.labels.memory(index);
    let floor = store.floor();
    let hearer = |hearer: &crate::floor::Hearer| json!({"gateway": store.gateways[hearer.gateway].mac, "rssi": hearer.mean_dbm.round()});
    let mut whole = describe_label(mac, &memory);
    whole["history"] = json!(memory.history);
    whole["faults"] = json!(memory.faults);
    whole["position"] = json!(floor.position(index));
    whole["heard_by"] = floor.heard_by(index).iter().map(hearer).collect();
    Ok(Json(whole))
}

async fn set_label_faults(State(store): Shared, Path(mac): Path<String>, body: Bytes) -> Answer {
    let (index, _) = find_label(&store, &mac)?;
    let faults: LabelFaults = parse(&body)?;
    store.labels.memory(index).faults = faults.clone();
    Ok(Json(json!(faults)))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlaceBody {
    near: Option<GatewayMac>,
    nowhere: bool,
    home: bool,
}

async fn place(State(store): Shared, Path(mac): Path<String>, body: Bytes) -> Answer {
    let (index, _) = find_label(&store, &mac)?;
    let place = match parse(&body)? {
        PlaceBody { near: Some(near), nowhere: false, home: false } => {
            Place::Near(find_gateway(&store, &near.to_string())?.0)
        }
        PlaceBody { near: None, nowhere: true, home: false } => Place::Nowhere,
        PlaceBody { near: None, nowhere: false, home: true } => Place::Home,
        _ => return Err(bad("expected one of near, nowhere and home")),
    };
    store.floor_mut().put(index, place);
    label(State(store), Path(mac)).await
}

fn describe_gateway(store: &Store, index: usize) -> Value {
    let gateway = &store.gateways[index];
    let status = *gateway.connection.status().borrow();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "mac": gateway.mac,
        "online": status.online,
        "hanging": *gateway.hanging.borrow(),
        "broker": status.broker,
        "connections": status.connections,
        "refused": status.refused,
        "protocol": format!("{:?}", store.config.version_of(index)).to_lowercase(),
        "echo": format!("{:?}", gateway.echo).to_lowercase(),
        "hears": store.floor().hears(index).len(),
        "commands": count(&gateway.commands),
        "acks": count(&gateway.acks),
        "nacks": count(&gateway.nacks),
        "dropped": count(&gateway.dropped),
        "faults": *gateway.faults(),
    })
}

async fn gateways(State(store): Shared) -> Json<Value> {
    Json((0..store.gateways.len()).map(|index| describe_gateway(&store, index)).collect())
}

async fn gateway(State(store): Shared, Path(mac): Path<String>) -> Answer {
    let (index, _) = find_gateway(&store, &mac)?;
    Ok(Json(describe_gateway(&store, index)))
}

async fn set_faults(State(store): Shared, body: Bytes) -> Answer {
    let faults: Faults = parse(&body)?;
    store.set_faults(faults.clone());
    Ok(Json(json!(faults)))
}

async fn set_gateway_faults(State(store): Shared, Path(mac): Path<String>, body: Bytes) -> Answer {
    let (_, gateway) = find_gateway(&store, &mac)?;
    Ok(Json(json!(*store.set_gateway_faults(gateway, parse(&body)?))))
}

async fn set_state(State(store): Shared, Path((mac, state)): Path<(String, String)>, Query(how): Words) -> Answer {
    let (index, gateway) = find_gateway(&store, &mac)?;
    let abrupt = match how.get("abrupt").map_or("false", String::as_str) {
        "true" => true,
        "false" => false,
        other => return Err(bad(format!("abrupt={other}: expected true or false"))),
    };
    match state.as_str() {
        "offline" => gateway.connection.go_offline(abrupt),
        "online" => gateway.connection.go_online(),
        "hang" | "resume" => drop(gateway.hanging.send_replace(state == "hang")),
        _ => return Err(Failure(StatusCode::NOT_FOUND, format!("{state}: expected offline, online, hang or resume"))),
    }
    if let "offline" | "online" = state.as_str() {
        let mut status = gateway.connection.status();
        let arrived = status.wait_for(|status| status.online == (state == "online"));
        if tokio::time::timeout(PATIENCE, arrived).await.is_err() {
            return Err(Failure(StatusCode::GATEWAY_TIMEOUT, format!("gateway {mac} is not {state} yet")));
        }
    }
    store.changed.notify_one();
    Ok(Json(describe_gateway(&store, index)))
}

async fn answer(State(store): Shared, Path(mac): Path<String>, Query(forged): Words, body: Bytes) -> Answer {
    let (_, named) = find_gateway(&store, &mac)?;
    let (_, sender) = find_gateway(&store, forged.get("from").unwrap_or(&mac))?;
    sender
        .connection
        .answer_as(named.mac, body.into(), forged.get("correlation").map(|text| text.as_bytes().to_vec()))
        .map_err(|full| Failure(StatusCode::SERVICE_UNAVAILABLE, full.to_string()))?;
    store.metrics.answer(Answered::Forged);
    Ok(Json(json!({})))
}

async fn report(State(store): Shared, Path(mac): Path<String>, body: Bytes) -> Answer {
    let (_, gateway) = find_gateway(&store, &mac)?;
    let sent = tokio::time::timeout(PATIENCE, gateway.connection.report(body.into())).await;
    sent.map_err(|_| Failure(StatusCode::SERVICE_UNAVAILABLE, "too many reports wait already".to_owned()))?;
    store.metrics.reports.inc();
    Ok(Json(json!({})))
}
