//! RabbitMQ's connection URL.

use crate::service::{Authorities, SecretUrl, UrlError};
use lapin::uri::AMQPUri;
use std::{fmt, str::FromStr};
use url::Host;

/// Where RabbitMQ is: `amqp://user:password@host:port/vhost`, or `amqps://`; and whom to trust that it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RabbitMqUrl {
    url: SecretUrl,
    authorities: Option<Authorities>,
}

impl RabbitMqUrl {
    pub(in crate::queue) fn trusting(self, authorities: Option<Authorities>) -> Self {
        Self { authorities, ..self }
    }

    /// As the client library wants it.
    pub(super) fn read(&self) -> Result<AMQPUri, String> {
        read(&self.url)
    }

    /// PEM of whom to trust, beside those that this machine does. Read anew for each connection.
    pub(super) fn authorities(&self) -> std::io::Result<Option<String>> {
        let authorities = self.authorities.as_ref().filter(|_| self.url.expose().scheme() == "amqps");
        authorities.map(Authorities::pem).transpose()
    }
}

fn read(url: &SecretUrl) -> Result<AMQPUri, String> {
    let mut uri: AMQPUri = url.expose().as_str().parse()?;
    // The client library takes an IPv6 address for no host, and connects to localhost.
    if let Some(Host::Ipv6(address)) = url.expose().host() {
        uri.authority.host = address.to_string();
    }
    Ok(uri)
}

impl FromStr for RabbitMqUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = SecretUrl::parse(text, &["amqp", "amqps"])?;
        // What the client library can't use is to be known at the start, not with the first connection.
        read(&url).map_err(UrlError::Unusable)?;
        Ok(Self { url, authorities: None })
    }
}

impl fmt::Display for RabbitMqUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_host_is_where_it_connects_to() {
        let host = |url: &str| url.parse::<RabbitMqUrl>().unwrap().read().unwrap().authority.host;
        assert_eq!(host("amqp://rabbit"), "rabbit");
        assert_eq!(host("amqp://10.0.0.7:5672/%2f"), "10.0.0.7");
        assert_eq!(host("amqps://u:p@[2001:db8::7]:5671"), "2001:db8::7");
    }

    #[test]
    fn an_option_that_the_client_library_does_not_know_is_no_url() {
        assert!("amqp://h/v?heartbeat=often".parse::<RabbitMqUrl>().is_err());
    }
}
