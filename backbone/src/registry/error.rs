//! What can go wrong with Redis.

use crate::service::advice;

/// An operation on Redis failed. The connection mends itself; the caller tries again after a while.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The client library's error, with what was being done.
    #[error("{doing}")]
    Client {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: redis::RedisError,
    },
    /// Redis and this process don't trust each other.
    #[error("{doing}: no TLS with Redis: {advice}")]
    Tls {
        /// What was being done.
        doing: &'static str,
        /// What to do.
        advice: String,
    },
    /// A script answered what it never should.
    #[error("a script's answer was not understood: {0}")]
    Answer(String),
}

/// Says what was being done when the client library failed.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, RegistryError>;
}

impl<T> Doing<T> for redis::RedisResult<T> {
    fn doing(self, doing: &'static str) -> Result<T, RegistryError> {
        self.map_err(|source| match advice(&source) {
            Some(advice) => RegistryError::Tls { doing, advice },
            None => RegistryError::Client { doing, source },
        })
    }
}
