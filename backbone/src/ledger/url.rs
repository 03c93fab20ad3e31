//! Where the ledger is.

use super::mongo::MongoUrl;
use crate::{
    embedded::DataFolder,
    service::{TlsArgs, UrlError},
};
use std::{fmt, str::FromStr};

/// Where the ledger is: MongoDB by its URL, or this process's data folder.
///
/// Configuration can only name MongoDB; a data folder is a handle that code passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerUrl {
    /// `mongodb://host:port,host:port/database?options`.
    MongoDb(MongoUrl),
    /// SQLite in the data folder of this process.
    Sqlite(DataFolder),
}

impl LedgerUrl {
    /// The same server, known by these authorities; a data folder needs none.
    pub fn trusting(self, tls: &TlsArgs) -> Self {
        match self {
            Self::MongoDb(url) => Self::MongoDb(url.trusting(tls.tls_ca_file.clone())),
            folder @ Self::Sqlite(_) => folder,
        }
    }
}

impl FromStr for LedgerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        text.parse().map(Self::MongoDb)
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MongoDb(url) => fmt::Display::fmt(url, f),
            Self::Sqlite(folder) => write!(f, "embedded in {}", folder.path().display()),
        }
    }
}
