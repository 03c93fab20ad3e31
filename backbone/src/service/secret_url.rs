//! Connection URLs, whose passwords are never printed.

use std::{fmt, str::FromStr};
use url::Url;

/// Why a text is no URL of a server. Does not repeat the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No URL at all.
    #[error("not a URL: {0}")]
    Syntax(#[from] url::ParseError),
    /// A URL of something else.
    #[error("scheme {found:?}: expected one of {expected}")]
    Scheme {
        /// The scheme that it has.
        found: String,
        /// Those that would do.
        expected: String,
    },
    /// No host.
    #[error("no host in it")]
    NoHost,
    /// Something in it that the client library can't use, such as an option.
    #[error("{0}")]
    Unusable(String),
}

/// A connection URL; `Debug` and `Display` leave user and password out.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Parses a URL that has one of these schemes.
    ///
    /// # Errors
    /// When it is no URL, has another scheme or no host.
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, UrlError> {
        let url = Url::parse(text)?;
        if !schemes.contains(&url.scheme()) {
            return Err(UrlError::Scheme { found: url.scheme().to_owned(), expected: schemes.join(", ") });
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(UrlError::NoHost);
        }
        Ok(Self(url))
    }

    /// The whole URL, password included: for the client library only.
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // Neither can fail on a URL with a host, which this is.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        fmt::Display::fmt(&shown, f)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SecretUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        Ok(Self(Url::parse(text)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let url = SecretUrl::parse("amqp://worker:hunter2@rabbit:5672/esl?x=hunter2", &["amqp"]).unwrap();
        assert_eq!(format!("{url} {url:?}"), "amqp://rabbit:5672/esl amqp://rabbit:5672/esl");
        assert_eq!(url.expose().password(), Some("hunter2"));
        let error = SecretUrl::parse("http://worker:hunter2@rabbit", &["amqp", "amqps"]).unwrap_err().to_string();
        assert_eq!(error, "scheme \"http\": expected one of amqp, amqps");
        assert!(SecretUrl::parse("amqp://", &["amqp"]).is_err());
        assert!(SecretUrl::parse("rabbit", &["amqp"]).is_err());
    }
}
