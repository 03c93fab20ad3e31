//! MongoDB's connection URL, which may name several hosts.

use crate::service::{Authorities, SecretUrl, UrlError};
use mongodb::options::ConnectionString;
use std::{fmt, str::FromStr};

/// Where MongoDB is: `mongodb://host:port,host:port/database?options`; `Debug` and `Display` leave user, password
/// and options out.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoUrl {
    text: String,
    shown: String,
    authorities: Option<Authorities>,
}

impl MongoUrl {
    pub(in crate::ledger) fn trusting(self, authorities: Option<Authorities>) -> Self {
        Self { authorities, ..self }
    }

    /// Whom to trust, where the URL has `tls=true` and names nobody itself.
    pub(super) fn authorities(&self) -> Option<&Authorities> {
        self.authorities.as_ref()
    }

    /// The whole URL, password included: for the client library only.
    pub(super) fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for MongoUrl {
    type Err = UrlError;

    /// `mongodb+srv` is not taken: the client library is built without a resolver for it.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let urls = SecretUrl::parse_each(text, &["mongodb"])?;
        ConnectionString::parse(text).map_err(|error| UrlError::Unusable(error.to_string()))?;
        let shown = SecretUrl::show_each(&urls);
        Ok(Self { text: text.to_owned(), shown, authorities: None })
    }
}

impl fmt::Display for MongoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl fmt::Debug for MongoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_are_kept_and_a_password_is_not_shown() {
        let text = "mongodb://esl:hunter2@one:27017,two:27018/prices?replicaSet=rs0";
        let url: MongoUrl = text.parse().unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "mongodb://one:27017,two:27018/prices mongodb://one:27017,two:27018/prices"
        );
        assert_eq!(url.expose(), text);
        for url in ["mongodb://one", "mongodb://one:1/esl", "mongodb://one,two?w=1", "mongodb://[::1]:27017/esl"] {
            assert!(url.parse::<MongoUrl>().is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_ledger_is_refused() {
        for url in [
            "",
            "esl",
            "mongodb://",
            "mongodb://a,,b/esl",
            "mongodb://,b",
            "redis://one",
            "mongodb+srv://one",
            "a@b",
            "mongodb:/@x",
            "mongodb://one/esl?retryWrites=perhaps",
        ] {
            assert!(url.parse::<MongoUrl>().is_err(), "{url}");
        }
    }
}
