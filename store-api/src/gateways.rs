//! `GET /v1/gateways`: where the gateways are.

use crate::{api::Api, problem::Problem};
use axum::{Json, extract::State};
use protocol::{GatewayMac, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The gateways that have ever reported.
#[derive(Serialize, ToSchema)]
pub(crate) struct Gateways {
    gateways: Vec<GatewayView>,
}

/// A gateway.
#[derive(Serialize, ToSchema)]
pub(crate) struct GatewayView {
    #[schema(value_type = String)]
    gateway: GatewayMac,
    /// It is there.
    online: bool,
    /// The MQTT broker that its last report came through.
    broker: String,
    /// When that was, within some seconds.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Where the gateways are
#[utoipa::path(get, path = "/v1/gateways", tag = "store",
    responses(
        (status = 200, body = Gateways),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn gateways(State(api): State<Api>) -> Result<Json<Gateways>, Problem> {
    let gateways: BTreeMap<_, _> = api.registry.gateways().await?.into_iter().collect();
    let view = |(gateway, state): (GatewayMac, backbone::registry::GatewayState)| GatewayView {
        gateway,
        online: state.online,
        broker: state.broker.to_string(),
        at: state.at,
    };
    Ok(Json(Gateways { gateways: gateways.into_iter().map(view).collect() }))
}
