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

    /// Parses a URL that may name several hosts, with commas between them, which to a URL parser is none: one URL for
    /// each host, alike but for that.
    ///
    /// # Errors
    /// When one of them would be refused.
    pub fn parse_each(text: &str, schemes: &[&str]) -> Result<Vec<Self>, UrlError> {
        let authority_at = text.find("://").map_or(text.len(), |at| at + 3);
        let authority_end = text[authority_at..].find(['/', '?']).map_or(text.len(), |at| authority_at + at);
        let hosts_at = text[..authority_end].rfind('@').map_or(authority_at, |at| at + 1).max(authority_at);
        let (before, hosts, after) = (&text[..hosts_at], &text[hosts_at..authority_end], &text[authority_end..]);
        hosts.split(',').map(|host| Self::parse(&format!("{before}{host}{after}"), schemes)).collect()
    }

    /// What may be shown of a URL with several hosts.
    pub fn show_each(each: &[Self]) -> String {
        let Some(first) = each.first() else { return String::new() };
        let host = |url: &Self| url.0[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        let hosts: Vec<_> = each.iter().map(host).collect();
        format!("{}://{}{}", first.0.scheme(), hosts.join(","), first.0.path())
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

    #[test]
    fn several_hosts_share_the_rest() {
        let each = |text: &str| SecretUrl::parse_each(text, &["amqp"]);
        let exposed = |text: &str| each(text).unwrap().iter().map(|url| url.expose().to_string()).collect::<Vec<_>>();
        assert_eq!(
            exposed("amqp://u:p,w@one:1,two,[2001:db8::7]:3/v?x=1,2"),
            ["amqp://u:p,w@one:1/v?x=1,2", "amqp://u:p,w@two/v?x=1,2", "amqp://u:p,w@[2001:db8::7]:3/v?x=1,2"]
        );
        assert_eq!(exposed("amqp://one"), ["amqp://one"]);
        let shown = SecretUrl::show_each(&each("amqp://u:hunter2@one:1,two/v?x=hunter2").unwrap());
        assert_eq!(shown, "amqp://one:1,two/v");
        for text in ["", "one,two", "amqp://", "amqp://one,", "amqp://,one", "http://one,two", "amqp:/@one"] {
            assert!(each(text).is_err(), "{text}");
        }
    }
}
