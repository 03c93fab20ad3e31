//! The HTTP port: one request, held open until its reply is there.

use crate::{hold::Held, metrics::Metrics};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use backbone::commands::Request;
use protocol::{CommandHead, names::amqp, names::http};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

/// Longer than any command.
const BODY_BYTES: usize = 64 * 1024;

/// What requests are served with.
pub(crate) struct Port {
    /// This replica, as the registry names whom a reply goes to.
    pub(crate) replica: String,
    pub(crate) rpc_timeout: Duration,
    /// How many requests may be held open.
    pub(crate) permits: Semaphore,
    pub(crate) held: Held,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) metrics: Metrics,
}

pub(crate) fn router(port: Port) -> Router {
    let routes = Router::new().route(http::RPC_PATH, post(rpc));
    routes.layer(DefaultBodyLimit::max(BODY_BYTES)).with_state(Arc::new(port))
}

async fn rpc(State(port): State<Arc<Port>>, headers: HeaderMap, body: Bytes) -> Response {
    let came = Instant::now();
    let (end, response) = port.hold_open(&headers, &body, came).await;
    port.metrics.count(end, came.elapsed());
    response
}

impl Port {
    /// How a request ended, and its answer.
    async fn hold_open(&self, headers: &HeaderMap, body: &[u8], came: Instant) -> (&'static str, Response) {
        let Ok(_permit) = self.permits.try_acquire() else {
            return ("refused", refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests are held open"));
        };
        let (request, deadline) = match self.read(headers, body, came) {
            Ok(read) => read,
            Err(reason) => return ("malformed", refuse(StatusCode::BAD_REQUEST, &reason)),
        };
        let Some(mut holding) = self.held.hold(&request) else {
            return ("duplicate", refuse(StatusCode::CONFLICT, "an RPC of this ID waits here already"));
        };
        let reply = async {
            self.requests.send(request).await.ok()?;
            holding.reply().await
        };
        match tokio::time::timeout_at(deadline, reply).await {
            Ok(Some(reply)) => ("replied", Json(reply).into_response()),
            Ok(None) => ("stopped", refuse(StatusCode::SERVICE_UNAVAILABLE, "this router stops")),
            Err(_) => ("timeout", refuse(StatusCode::GATEWAY_TIMEOUT, "no answer in time")),
        }
    }

    /// Reads a request; the text says what is wrong with it.
    fn read(&self, headers: &HeaderMap, body: &[u8], came: Instant) -> Result<(Request, Instant), String> {
        let head: CommandHead = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let timeout = number(headers, http::TIMEOUT)?.map_or(self.rpc_timeout, Duration::from_millis);
        let deadline = came + timeout.min(self.rpc_timeout);
        let turn = number(headers, http::PRIORITY)?.and_then(|number| u8::try_from(number).ok());
        let request = Request {
            head,
            body: body.to_vec(),
            reply_to: self.replica.clone(),
            turn: amqp::parse_priority(turn),
            again: false,
            deadline: Some(deadline),
        };
        Ok((request, deadline))
    }
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, String> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| format!("{name}: expected a number"))
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, format!("{why}\n")).into_response()
}
