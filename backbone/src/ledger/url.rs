//! Where the ledger is.

use super::mongo::MongoUrl;
use crate::{embedded::DataFolder, service::UrlError};
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
