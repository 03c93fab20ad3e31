//! The connection to RabbitMQ, as long as it lasts.

use anyhow::{Context, Result, anyhow};
use backbone::{
    queue::{AmqpUrl, Broker, Publisher},
    service::{Ended, Service},
};
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// What sessions share with the rest of the process.
#[derive(Debug)]
pub(crate) struct Link {
    /// Lends the present session's publisher; `None` while there is no session.
    pub(crate) current: watch::Sender<Option<Publisher>>,
    /// Told by whoever finds that the publisher no longer works, so that the session is rebuilt.
    pub(crate) broken: Arc<Notify>,
    /// All requests are answered: the connection is no longer needed.
    pub(crate) served: CancellationToken,
}

/// One session: connects, and lends its publisher until the connection is lost, or until `service.stop` and all requests
/// are answered.
pub(crate) async fn session(url: &AmqpUrl, service: &Service, link: &Link) -> Result<Ended> {
    let broker = Broker::connect(url, service.name).await.context("opening a session")?;
    broker.declare_tasks().await.context("opening a session")?;
    link.current.send_replace(Some(broker.publisher().await?));
    tracing::info!(amqp.url = %url, "enqueues tasks");
    let ended = tokio::select! {
        error = broker.lost() => Ended::Lost(error.into()),
        () = link.broken.notified() => Ended::Lost(anyhow!("a task could not be published")),
        () = service.stop.cancelled() => {
            link.served.cancelled().await;
            Ended::Stopped
        }
    };
    link.current.send_replace(None);
    if matches!(ended, Ended::Stopped) {
        broker.close().await;
    }
    Ok(ended)
}
