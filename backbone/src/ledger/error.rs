//! What can go wrong with the ledger.

use crate::service::advice;
use std::{error::Error, sync::Arc};

/// Why something failed, in the words of the client library or the server; shared, so that errors can be cloned.
pub(super) type Cause = Arc<dyn Error + Send + Sync>;

/// Why the ledger did not do something.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The URL, or an option in it, can't be used.
    #[error("the ledger's URL can't be used")]
    Url(#[source] Cause),
    /// The server is away or can't serve now. Trying again is right.
    #[error("{doing}: the ledger is unavailable")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// What was asked can't be done, now or later: a record that can't be written or read.
    #[error("{doing}: the ledger refuses")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// The writer has stopped, so nobody does it.
    #[error("{doing}: the ledger's writer has stopped")]
    Stopped {
        /// What was to be done.
        doing: &'static str,
    },
}

impl LedgerError {
    /// Whether trying again may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(super) fn unavailable(doing: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        match advice(&source) {
            Some(advice) => Self::Unavailable {
                doing,
                source: Arc::new(std::io::Error::other(format!("no TLS with MongoDB: {advice}"))),
            },
            None => Self::Unavailable { doing, source: Arc::new(source) },
        }
    }

    pub(super) fn refused(doing: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Refused { doing, source: Arc::new(source) }
    }
}
