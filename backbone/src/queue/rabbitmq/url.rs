//! RabbitMQ's connection URL.

use crate::service::{Authorities, SecretUrl, UrlError};
use lapin::uri::AMQPUri;
use std::{fmt, str::FromStr};
use url::Host;

/// Where RabbitMQ is: `amqp://user:password@host:port,host:port/vhost`, or `amqps://`, with one host for each node of a
/// cluster; and whom to trust that it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RabbitMqUrl {
    nodes: Vec<SecretUrl>,
    authorities: Option<Authorities>,
}

/// Where one node is.
#[derive(Debug)]
pub(super) struct Node<'a>(&'a SecretUrl);

impl RabbitMqUrl {
    pub(in crate::queue) fn trusting(self, authorities: Option<Authorities>) -> Self {
        Self { authorities, ..self }
    }

    /// Each node, in turns that begin anywhere: connections are to be spread over them.
    pub(super) fn nodes(&self) -> impl ExactSizeIterator<Item = Node<'_>> {
        let first = fastrand::usize(..self.nodes.len());
        (0..self.nodes.len()).map(move |at| Node(&self.nodes[(first + at) % self.nodes.len()]))
    }

    /// PEM of whom to trust, beside those that this machine does. Read anew for each connection.
    pub(super) fn authorities(&self) -> std::io::Result<Option<String>> {
        let authorities = self.authorities.as_ref().filter(|_| self.nodes[0].expose().scheme() == "amqps");
        authorities.map(Authorities::pem).transpose()
    }
}

impl Node<'_> {
    /// As the client library wants it.
    pub(super) fn read(&self) -> Result<AMQPUri, String> {
        read(self.0)
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)
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
        let nodes = SecretUrl::parse_each(text, &["amqp", "amqps"])?;
        // What the client library can't use is to be known at the start, not with the first connection.
        nodes.iter().try_for_each(|node| read(node).map(drop)).map_err(UrlError::Unusable)?;
        Ok(Self { nodes, authorities: None })
    }
}

impl fmt::Display for RabbitMqUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&SecretUrl::show_each(&self.nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_host_is_where_it_connects_to() {
        let hosts = |url: &str| {
            let url = url.parse::<RabbitMqUrl>().unwrap();
            let mut hosts: Vec<_> = url.nodes().map(|node| node.read().unwrap().authority.host).collect();
            hosts.sort();
            hosts
        };
        let host = |url: &str| hosts(url).join(" ");
        assert_eq!(host("amqp://rabbit"), "rabbit");
        assert_eq!(host("amqp://10.0.0.7:5672/%2f"), "10.0.0.7");
        assert_eq!(host("amqps://u:p@[2001:db8::7]:5671"), "2001:db8::7");
        assert_eq!(hosts("amqp://u:p@one:1,two,three:3/esl"), ["one", "three", "two"]);
        assert_eq!("amqp://u:p@one:1,two/esl".parse::<RabbitMqUrl>().unwrap().to_string(), "amqp://one:1,two/esl");
    }

    #[test]
    fn an_option_that_the_client_library_does_not_know_is_no_url() {
        assert!("amqp://h/v?heartbeat=often".parse::<RabbitMqUrl>().is_err());
    }
}
