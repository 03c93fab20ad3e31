//! What can go wrong with the connection to RabbitMQ, or with the embedded queues.

use crate::embedded::StoreError;

/// An operation failed. The session ends with it: connections are rebuilt, not mended.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The client library's error, with what was being done.
    #[error("{doing}")]
    Client {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: lapin::Error,
    },
    /// The data folder of the embedded queues failed, with what was being done.
    #[error("{doing}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: StoreError,
    },
    /// Server and client don't trust each other.
    #[error("no TLS with {server}: {advice}")]
    Tls {
        /// The server.
        server: String,
        /// What to do.
        advice: String,
    },
    /// The broker did not take a message.
    #[error("the broker refused a message for {0}")]
    Refused(String),
    /// The broker no longer answers or has closed the connection or a channel.
    #[error("the connection to the broker is lost: {0}")]
    Lost(String),
}

/// Says what was being done when the client library failed.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, QueueError>;
}

impl<T> Doing<T> for Result<T, lapin::Error> {
    fn doing(self, doing: &'static str) -> Result<T, QueueError> {
        self.map_err(|source| QueueError::Client { doing, source })
    }
}

impl<T> Doing<T> for Result<T, StoreError> {
    fn doing(self, doing: &'static str) -> Result<T, QueueError> {
        self.map_err(|source| QueueError::Store { doing, source })
    }
}
