//! Where routes and RPCs in flight are kept.

use super::MemoryRegistry;
use crate::service::{Authorities, SecretUrl, TlsArgs, UrlError};
use redis::IntoConnectionInfo;
use std::{fmt, str::FromStr};

const SERVER: &[&str] = &["redis", "rediss"];
const SENTINELS: &[&str] = &["redis+sentinel", "rediss+sentinel"];
const SENTINEL_PORT: u16 = 26_379;

/// Where Redis is: `redis://user:password@host:port/db`, or `rediss://`; where Sentinels say who the master is,
/// `redis+sentinel://user:password@host:port,host:port/master-name/db`, or `rediss+sentinel://`. Made [from a
/// memory](MemoryRegistry) it stands for that instead, which no text can name: it is shared by the roles of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Server { url: SecretUrl, authorities: Option<Authorities> },
    Sentinels { url: SentinelUrl, authorities: Option<Authorities> },
    Memory(MemoryRegistry),
}

/// Where Sentinels are, and the master whom they watch.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SentinelUrl {
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) master: String,
    pub(super) database: i64,
    /// Of the Redises, not of the Sentinels.
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) sentinel_password: Option<String>,
    /// With both.
    pub(super) tls: bool,
    shown: String,
}

impl RedisUrl {
    /// The same server, known by these authorities; a memory needs none.
    pub fn trusting(self, tls: &TlsArgs) -> Self {
        match self.0 {
            Place::Server { url, .. } => Self(Place::Server { url, authorities: tls.tls_ca_file.clone() }),
            Place::Sentinels { url, .. } => Self(Place::Sentinels { url, authorities: tls.tls_ca_file.clone() }),
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
        if SENTINELS.iter().any(|scheme| text.split("://").next() == Some(scheme)) {
            return Ok(Self(Place::Sentinels { url: SentinelUrl::parse(text)?, authorities: None }));
        }
        let url = SecretUrl::parse(text, &[SERVER, SENTINELS].concat())?;
        // What the client library can't use is to be known at the start, not with the first connection.
        url.expose().as_str().into_connection_info().map_err(|error| UrlError::Unusable(error.to_string()))?;
        Ok(Self(Place::Server { url, authorities: None }))
    }
}

impl SentinelUrl {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let unusable = |why: &str| UrlError::Unusable(why.to_owned());
        let each = SecretUrl::parse_each(text, SENTINELS)?;
        let url = each.first().ok_or(UrlError::NoHost)?.expose();
        let mut path = url.path().trim_start_matches('/').split('/');
        let master = path.next().filter(|name| !name.is_empty());
        let master =
            master.ok_or_else(|| unusable("no name of a master behind the hosts, as in host:26379/mymaster"))?;
        let database = path.next().filter(|text| !text.is_empty()).map_or(Ok(0), str::parse);
        let database = database.map_err(|_| unusable("the database behind the master's name is no number"))?;
        let host = |url: &SecretUrl| {
            // Brackets around an IPv6 address belong to the URL only.
            let host = url.expose().host_str().unwrap_or_default().trim_matches(['[', ']']);
            (host.to_owned(), url.expose().port().unwrap_or(SENTINEL_PORT))
        };
        let text = |text: &str| decoded(text).filter(|text| !text.is_empty());
        let sentinel_password = url.query_pairs().find(|(name, _)| name == "sentinel_password");
        Ok(Self {
            hosts: each.iter().map(host).collect(),
            master: master.to_owned(),
            database,
            user: text(url.username()),
            password: url.password().and_then(text),
            sentinel_password: sentinel_password.map(|(_, password)| password.into_owned()),
            tls: url.scheme().starts_with("rediss"),
            shown: SecretUrl::show_each(&each),
        })
    }
}

/// What `%40` and the like stand for: the URL parser reads that in queries only.
fn decoded(text: &str) -> Option<String> {
    let form = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    Some(url::form_urlencoded::parse(form.as_bytes()).next()?.0.into_owned())
}

impl fmt::Debug for SentinelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Server { url, .. } => fmt::Display::fmt(url, f),
            Place::Sentinels { url, .. } => f.pad(&url.shown),
            Place::Memory(_) => f.pad("memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_and_their_master_are_named() {
        let sentinels = |text: &str| match text.parse::<RedisUrl>() {
            Ok(RedisUrl(Place::Sentinels { url, .. })) => url,
            other => panic!("{text}: {other:?}"),
        };
        let url = sentinels("rediss+sentinel://esl:p%40%2B+%26=w@one:1,[::1],two/main/3?sentinel_password=s%26");
        assert_eq!(url.hosts, [("one".to_owned(), 1), ("::1".to_owned(), 26_379), ("two".to_owned(), 26_379)]);
        assert_eq!((&*url.master, url.database, url.tls), ("main", 3, true));
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("esl"), Some("p@++&=w")));
        assert_eq!(url.sentinel_password.as_deref(), Some("s&"));
        let shown: RedisUrl = "redis+sentinel://:hunter2@one:1,two:2/main".parse().unwrap();
        assert_eq!(format!("{shown} {shown:?}").matches("redis+sentinel://one:1,two:2/main").count(), 2);
        assert!(!format!("{shown:?}").contains("hunter2"));
        let none = sentinels("redis+sentinel://one/main");
        assert_eq!((none.user, none.password, none.sentinel_password, none.database), (None, None, None, 0));
        for text in
            ["redis+sentinel://one", "redis+sentinel://one/", "redis+sentinel://one/main/x", "redis+sentinel://"]
        {
            assert!(text.parse::<RedisUrl>().is_err(), "{text}");
        }
    }

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
