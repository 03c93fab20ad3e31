//! Where routes and RPCs in flight are kept.

use super::MemoryRegistry;
use crate::service::{Authorities, SecretUrl, TlsArgs, UrlError};
use redis::IntoConnectionInfo;
use std::{fmt, str::FromStr};

/// Where Redis is: `redis://user:password@host:port/db`, or `rediss://`. Made [from a memory](MemoryRegistry) it stands
/// for that instead, which no text can name: it is shared by the roles of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Server { url: SecretUrl, authorities: Option<Authorities> },
    Memory(MemoryRegistry),
}

impl RedisUrl {
    /// The same server, known by these authorities; a memory needs none.
    pub fn trusting(self, tls: &TlsArgs) -> Self {
        match self.0 {
            Place::Server { url, .. } => Self(Place::Server { url, authorities: tls.tls_ca_file.clone() }),
            memory @ Place::Memory(_) => Self(memory),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.0
    }
}

impl From<MemoryRegistry> for RedisUrl {
    fn from(memory: MemoryRegistry) -> Self {
        Self(Place::Memory(memory))
    }
}

impl FromStr for RedisUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = SecretUrl::parse(text, &["redis", "rediss"])?;
        // What the client library can't use is to be known at the start, not with the first connection.
        url.expose().as_str().into_connection_info().map_err(|error| UrlError::Unusable(error.to_string()))?;
        Ok(Self(Place::Server { url, authorities: None }))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Server { url, .. } => fmt::Display::fmt(url, f),
            Place::Memory(_) => f.pad("memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_names_a_memory() {
        for text in ["memory", "memory://", "memory:///", "redis+memory://host"] {
            assert!(text.parse::<RedisUrl>().is_err(), "{text}");
        }
        let memory = MemoryRegistry::new();
        assert_eq!(RedisUrl::from(memory.clone()), RedisUrl::from(memory.clone()));
        assert_ne!(RedisUrl::from(memory), RedisUrl::from(MemoryRegistry::new()));
    }
}
