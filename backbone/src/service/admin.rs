//! The admin port: `/live`, `/ready` and `/metrics`, of one role or of all roles of a process.

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeMetric,
        text::{encode_eof, encode_registry},
    },
    metrics::gauge::ConstGauge,
    registry::Registry,
};
use std::{
    fmt,
    sync::atomic::{AtomicU8, Ordering},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Whether a role can do its work now. Once draining, it is never ready again.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// All that the role needs is connected, or no longer.
    pub fn set(&self, ready: bool) {
        let (from, to) = if ready { (STARTING, READY) } else { (READY, STARTING) };
        let _ = self.0.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it can do its work now.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) == READY
    }

    pub(crate) fn drain(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed) == DRAINING
    }
}

/// Each role's gauge `ready`: where nobody but Prometheus looks at `/ready`, a role that waits for a server is seen, too.
impl Collector for Readiness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let ready = ConstGauge::new(i64::from(self.is_ready()));
        let help = "Whether all that the role needs is connected";
        ready.encode(encoder.encode_descriptor("ready", help, None, ready.metric_type())?)
    }
}

/// What the admin port serves of one role.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) readiness: Readiness,
    pub(super) metrics: Registry,
    pub(super) more: Router,
}

/// The admin port of a process, which answers from when each of its roles has opened it until the process ends: probes
/// are answered while roles drain.
#[derive(Clone)]
pub(super) struct AdminPort {
    closed: Arc<Mutex<Closed>>,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// What there is of the port before all roles have opened it.
struct Closed {
    listener: Option<TcpListener>,
    awaited: usize,
    parts: Vec<Part>,
}

impl AdminPort {
    /// A port for one role.
    pub(super) fn new(listener: TcpListener) -> Self {
        let closed = Closed { listener: Some(listener), awaited: 1, parts: Vec::new() };
        Self { closed: Arc::new(Mutex::new(closed)), tasks: TaskTracker::new(), end: CancellationToken::new() }
    }

    /// One more role must open it.
    pub(super) fn await_another(&self) {
        self.closed().awaited += 1;
    }

    /// A role has registered its metrics. Serves all when this was the last.
    pub(super) fn open(&self, part: Part) {
        let mut closed = self.closed();
        closed.parts.push(part);
        if closed.parts.len() < closed.awaited {
            return;
        }
        let Some(listener) = closed.listener.take() else { return };
        let router = router(std::mem::take(&mut closed.parts));
        let end = self.end.clone().cancelled_owned();
        self.tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(end).await {
                tracing::error!("the admin port failed: {error}");
            }
        });
    }

    pub(super) async fn close(self) {
        self.end.cancel();
        self.tasks.close();
        // A client that holds its connection open must not hold up the exit.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
    }

    fn closed(&self) -> std::sync::MutexGuard<'_, Closed> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AdminPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminPort").finish_non_exhaustive()
    }
}

struct Role {
    name: &'static str,
    readiness: Readiness,
    metrics: Registry,
}

type Roles = Arc<Vec<Role>>;

fn router(parts: Vec<Part>) -> Router {
    let (mut roles, mut all) = (Vec::new(), Router::new());
    for Part { name, readiness, metrics, more } in parts {
        roles.push(Role { name, readiness, metrics });
        all = all.merge(more);
    }
    let own = Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(|State(roles): State<Roles>| async move { status(&roles) }))
        .route("/metrics", get(metrics_text))
        .with_state(Roles::new(roles));
    own.merge(all)
}

/// Ready when all roles are.
fn status(roles: &[Role]) -> (StatusCode, String) {
    if roles.iter().any(|role| role.readiness.is_draining()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    let waiting: Vec<_> = roles.iter().filter(|role| !role.readiness.is_ready()).map(|role| role.name).collect();
    if waiting.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let why = format!("waiting for a server: {}; the log says which\n", waiting.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, why)
}

async fn metrics_text(State(roles): State<Roles>) -> impl IntoResponse {
    match encode(&roles) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => {
            let kind = "text/plain; charset=utf-8";
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, kind)], error.to_string())
        }
    }
}

fn encode(roles: &[Role]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for role in roles {
        encode_registry(&mut text, &role.metrics)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::gauge::Gauge;

    fn role(name: &'static str) -> Role {
        let (mut metrics, readiness) = (Registry::with_prefix(name), Readiness::default());
        metrics.register("size", "How large it is", Gauge::<i64>::default());
        metrics.register_collector(Box::new(readiness.clone()));
        Role { name, readiness, metrics }
    }

    #[test]
    fn a_draining_process_is_never_ready_again() {
        let roles = [role("worker")];
        let readiness = &roles[0].readiness;
        readiness.set(true);
        assert_eq!(status(&roles).0, StatusCode::OK);
        readiness.set(false);
        assert_eq!(status(&roles).0, StatusCode::SERVICE_UNAVAILABLE);
        readiness.drain();
        readiness.set(true);
        assert_eq!(status(&roles).1, "draining\n");
    }

    #[test]
    fn a_process_is_ready_when_all_its_roles_are() {
        let roles = [role("worker"), role("router")];
        roles[0].readiness.set(true);
        let (code, why) = status(&roles);
        assert!(code == StatusCode::SERVICE_UNAVAILABLE && why.contains("router") && !why.contains("worker"), "{why}");
        roles[1].readiness.set(true);
        assert_eq!(status(&roles).0, StatusCode::OK);
    }

    #[test]
    fn the_metrics_of_all_roles_are_one_text() {
        let roles = [role("worker"), role("router")];
        roles[1].readiness.set(true);
        let text = encode(&roles).unwrap();
        assert!(text.contains("\nworker_ready 0\n") && text.contains("\nrouter_ready 1\n"), "{text}");
        assert!(text.contains("\nworker_size 0\n") && text.contains("\nrouter_size 0\n"), "{text}");
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    }

    #[tokio::test]
    async fn a_port_opens_with_the_last_of_its_roles() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = AdminPort::new(listener);
        let part =
            |name| Part { name, readiness: Readiness::default(), metrics: Registry::default(), more: Router::new() };
        port.await_another();
        port.open(part("worker"));
        assert!(port.closed().listener.is_some());
        port.open(part("router"));
        assert!(port.closed().listener.is_none());
        port.close().await;
    }
}
