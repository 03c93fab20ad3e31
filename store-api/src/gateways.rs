//! `GET /v1/gateways`: where the gateways are.

use crate::{api::Api, problem::Problem};
use axum::{Json, extract::State};
use backbone::registry::{Breaker, GatewayState, WindowState};
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
    /// What it copes with, where it was sent anything within an hour.
    window: Option<WindowView>,
}

/// What a gateway copes with, by its answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct WindowView {
    /// How many commands it may have in flight.
    #[schema(minimum = 1)]
    limit: u32,
    /// How many it has.
    in_flight: usize,
    /// When a label that comes now would have its turn; null: nobody waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_turn: Option<Timestamp>,
    /// `closed`: it is used; `open`: it kept failing and is sent nothing; `half_open`: one command at a time probes it.
    breaker: &'static str,
    /// Until when it is sent nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    open_until: Option<Timestamp>,
}

impl From<WindowState> for WindowView {
    fn from(window: WindowState) -> Self {
        let (breaker, open_until) = match window.breaker {
            Breaker::Closed { .. } => ("closed", None),
            Breaker::Open { until } => ("open", Some(until)),
            Breaker::HalfOpen { .. } => ("half_open", None),
        };
        // Limits are 1 to some hundreds.
        let limit = window.limit as u32;
        Self { limit, in_flight: window.in_flight, next_turn: window.waiting_until, breaker, open_until }
    }
}

/// Where the gateways are
#[utoipa::path(get, path = "/v1/gateways", tag = "store",
    responses(
        (status = 200, body = Gateways),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn gateways(State(api): State<Api>) -> Result<Json<Gateways>, Problem> {
    let gateways: BTreeMap<_, _> = api.registry.gateways().await?.into_iter().collect();
    let macs: Vec<_> = gateways.keys().copied().collect();
    let windows = api.registry.windows(&macs, &api.window).await?;
    let view = |((gateway, state), window): ((GatewayMac, GatewayState), Option<WindowState>)| GatewayView {
        gateway,
        online: state.online,
        broker: state.broker.to_string(),
        at: state.at,
        window: window.map(WindowView::from),
    };
    Ok(Json(Gateways { gateways: gateways.into_iter().zip(windows).map(view).collect() }))
}
