//! Where the API is, and the token that it wants.

use reqwest::Url;
use std::{convert::Infallible, fmt, str::FromStr};

/// `http://host:port`, or `https://`, perhaps with a path that the API lies below.
#[derive(Debug, Clone)]
pub(crate) struct ApiUrl(Url);

/// A bearer token. Never printed.
#[derive(Clone)]
pub(crate) struct Token(String);

impl ApiUrl {
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The URL of what has this path; each part is escaped as it needs.
    pub(crate) fn path(&self, parts: &[&str]) -> Url {
        let mut url = self.0.clone();
        // A URL with a host has a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }
}

impl FromStr for ApiUrl {
    type Err = String;
    /// Does not repeat the text: somebody may have put a password into it.
    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("not a URL: {error}; expected http://host:port"))?;
        if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
            return Err(format!("scheme {:?}: expected http://host:port or https://host:port", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user or password in it: give a token in ESL_TOKEN or by --token-file".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a query or fragment in it: expected http://host:port and perhaps a path".to_owned());
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl Token {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_are_escaped() {
        let path = |base: &str, part| base.parse::<ApiUrl>().unwrap().path(&["v1", "batches", part]).to_string();
        assert_eq!(path("http://h:1", "a b/c?"), "http://h:1/v1/batches/a%20b%2Fc%3F");
        assert_eq!(path("https://h/esl/", "b"), "https://h/esl/v1/batches/b");
    }

    #[test]
    fn what_is_no_url_of_an_api_is_refused_and_not_repeated() {
        for text in ["h:1", "ftp://h", "http://u:hunter2@h", "http://h?token=hunter2", "http://"] {
            let error = text.parse::<ApiUrl>().unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(format!("{:?}", "hunter2".parse::<Token>().unwrap()), "Token");
    }
}
