//! The connection to RabbitMQ, as long as it lasts.

use anyhow::{Context, Result};
use backbone::{
    queue::{AmqpUrl, Broker, Publisher},
    service::{Ended, Service},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the present session's publisher is put; `None` while there is no session.
pub(crate) type Session = watch::Sender<Option<Publisher>>;

/// One session: connects, lends its publisher until the connection is lost, or `service.stop` and all is `served`.
pub(crate) async fn session(
    url: &AmqpUrl,
    service: &Service,
    current: &Session,
    served: &CancellationToken,
) -> Result<Ended> {
    let broker = Broker::connect(url, service.name).await.context("opening a session")?;
    broker.declare().await.context("opening a session")?;
    current.send_replace(Some(broker.publisher().await?));
    tracing::info!(amqp.url = %url, "enqueues tasks");
    let ended = tokio::select! {
        error = broker.lost() => Ended::Lost(error.into()),
        () = service.stop.cancelled() => {
            // Requests in hand are finished on this connection: it is closed when they no longer need it.
            served.cancelled().await;
            Ended::Stopped
        }
    };
    current.send_replace(None);
    if matches!(ended, Ended::Stopped) {
        broker.close().await;
    }
    Ok(ended)
}
