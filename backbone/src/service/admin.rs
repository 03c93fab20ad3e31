//! The admin port: `/live`, `/ready` and `/metrics`.

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use prometheus_client::{encoding::text::encode, registry::Registry};
use std::{
    sync::Arc,
    sync::atomic::{AtomicU8, Ordering},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Whether the process can do its work now. Once draining, it is never ready again.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// All that the role needs is connected, or no longer.
    pub fn set(&self, ready: bool) {
        let (from, to) = if ready { (STARTING, READY) } else { (READY, STARTING) };
        let _ = self.0.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn drain(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }

    fn status(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            READY => (StatusCode::OK, "ready\n"),
            DRAINING => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "waiting for a server; the log says which\n"),
        }
    }
}

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    metrics: Arc<Registry>,
}

/// Serves the admin port, and what the role adds to it, until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Arc<Registry>,
    more: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let admin = Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(|State(admin): State<Admin>| async move { admin.readiness.status() }))
        .route("/metrics", get(metrics_text))
        .with_state(Admin { readiness, metrics })
        .merge(more);
    axum::serve(listener, admin).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &admin.metrics) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => {
            let kind = "text/plain; charset=utf-8";
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, kind)], error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draining_process_is_never_ready_again() {
        let readiness = Readiness::default();
        readiness.set(true);
        assert_eq!(readiness.status().0, StatusCode::OK);
        readiness.set(false);
        assert_eq!(readiness.status().0, StatusCode::SERVICE_UNAVAILABLE);
        readiness.drain();
        readiness.set(true);
        assert_eq!(readiness.status().1, "draining\n");
    }
}
