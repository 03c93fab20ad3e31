//! Where the MQTT brokers are.

use super::{EmbeddedBroker, IdentityArgs, tls};
use crate::service::{SecretUrl, TlsArgs, UrlError};
use protocol::GatewayMac;
use rumqttc::{Broker, MqttOptions, NetworkOptions, TlsConfiguration, Transport};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where one MQTT broker is: `mqtt://user:password@host:port`, or `mqtts://`. Made [from a broker](EmbeddedBroker)
/// inside this process it stands for that instead, which no text can name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MqttUrl(Place);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Server { url: SecretUrl, tls: tls::Tls, gateway: Option<GatewayMac> },
    Embedded(EmbeddedBroker),
}

/// Where all MQTT brokers are: URLs with commas between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MqttUrls(Vec<MqttUrl>);

/// Where the MQTT brokers are, as every process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct MqttArgs {
    /// MQTT brokers, separated by commas: mqtt://user:password@host:port, or mqtts://
    #[arg(long, env = "MQTT_URL", default_value = "mqtt://127.0.0.1:1883", hide_env_values = true)]
    pub mqtt_url: MqttUrls,

    /// What they know this process by
    #[command(flatten)]
    pub identity: IdentityArgs,
}

impl MqttArgs {
    /// The same brokers, known by these authorities, and told who this process is.
    pub fn trusting(self, tls: &TlsArgs) -> Self {
        Self { mqtt_url: self.mqtt_url.trusting(tls, &self.identity), ..self }
    }
}

/// A broker as the route table names it: its host and port. The same in every process, whatever the order in which
/// `MQTT_URL` lists the brokers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BrokerName(Arc<str>);

impl MqttUrls {
    /// The same brokers, known by these authorities, and told who this process is.
    pub fn trusting(self, tls: &TlsArgs, identity: &IdentityArgs) -> Self {
        let tls = tls::Tls::new(tls.tls_ca_file.clone(), identity);
        Self(self.0.into_iter().map(|url| url.with(&tls)).collect())
    }

    /// Each broker's URL.
    pub fn iter(&self) -> impl Iterator<Item = &MqttUrl> {
        self.0.iter()
    }
}

impl FromStr for MqttUrls {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        text.split(',').map(|url| url.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for MqttUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, url) in self.0.iter().enumerate() {
            write!(f, "{}{url}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl BrokerName {
    /// As it is written in the route table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for BrokerName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for BrokerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<EmbeddedBroker> for MqttUrl {
    fn from(broker: EmbeddedBroker) -> Self {
        Self(Place::Embedded(broker))
    }
}

impl From<MqttUrl> for MqttUrls {
    fn from(url: MqttUrl) -> Self {
        Self(vec![url])
    }
}

impl FromStr for MqttUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = SecretUrl::parse(text, &["mqtt", "mqtts"])?;
        Ok(Self(Place::Server { url, tls: tls::Tls::default(), gateway: None }))
    }
}

impl fmt::Display for MqttUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Server { url, .. } => fmt::Display::fmt(url, f),
            Place::Embedded(_) => fmt::Display::fmt(&EmbeddedBroker::name(), f),
        }
    }
}

impl MqttUrl {
    /// The broker's name in the route table.
    pub fn broker_name(&self) -> BrokerName {
        match &self.0 {
            Place::Server { .. } => {
                let (host, port) = self.host_and_port();
                BrokerName(format!("{host}:{port}").into())
            }
            Place::Embedded(_) => EmbeddedBroker::name(),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.0
    }

    /// Where a connection is made to: of a broker inside this process the port without TLS, for emulated gateways.
    pub(super) fn host_and_port(&self) -> (String, u16) {
        match &self.0 {
            Place::Server { url, .. } => {
                let default_port = if self.is_tls() { 8883 } else { 1883 };
                let url = url.expose();
                (url.host_str().unwrap_or_default().to_owned(), url.port().unwrap_or(default_port))
            }
            Place::Embedded(broker) => {
                broker.address().map_or_else(Default::default, |address| (address.ip().to_string(), address.port()))
            }
        }
    }

    fn is_tls(&self) -> bool {
        matches!(&self.0, Place::Server { url, .. } if url.expose().scheme() == "mqtts")
    }

    fn with(self, tls: &tls::Tls) -> Self {
        match self.0 {
            Place::Server { url, gateway, .. } => Self(Place::Server { url, tls: tls.clone(), gateway }),
            embedded @ Place::Embedded(_) => Self(embedded),
        }
    }

    /// As one emulated gateway connects: `{mac}` in user, password and names of files stands for its MAC.
    pub(super) fn of_gateway(&self, gateway: GatewayMac) -> Self {
        match self.0.clone() {
            Place::Server { url, tls, .. } => {
                Self(Place::Server { url, tls: tls.of_gateway(gateway), gateway: Some(gateway) })
            }
            embedded @ Place::Embedded(_) => Self(embedded),
        }
    }

    /// How to speak TLS with it, where the URL says so.
    pub(super) fn tls(&self) -> Result<Option<TlsConfiguration>, String> {
        match &self.0 {
            Place::Server { tls, .. } if self.is_tls() => tls.configuration().map(Some),
            _ => Ok(None),
        }
    }

    /// User name and password, where the URL has them.
    pub(super) fn credentials(&self) -> Option<(String, String)> {
        let Place::Server { url, gateway, .. } = &self.0 else { return None };
        let url = url.expose();
        let decode = |text: &str| match gateway {
            Some(gateway) => tls::own(&percent_decode(text), *gateway),
            None => percent_decode(text),
        };
        (!url.username().is_empty()).then(|| (decode(url.username()), decode(url.password().unwrap_or_default())))
    }

    /// Options for an MQTT 5 connection, TCP_NODELAY set: without it one RPC takes 47 ms instead of half a one.
    pub(super) fn options(&self, client_id: &str) -> Result<MqttOptions, String> {
        let (host, port) = self.host_and_port();
        let mut options = MqttOptions::new(client_id, Broker::tcp(host, port));
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network).set_keep_alive(10).set_connect_timeout(CONNECT_TIMEOUT);
        if let Some((user, password)) = self.credentials() {
            options.set_credentials(user, password);
        }
        if let Some(tls) = self.tls()? {
            options.set_transport(Transport::tls_with_config(tls));
        }
        Ok(options)
    }
}

fn percent_decode(text: &str) -> String {
    let pairs = format!("x={}", text.replace('+', "%2B"));
    ::url::form_urlencoded::parse(pairs.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_brokers_are_separated_by_commas() {
        let urls: MqttUrls = "mqtt://a, mqtts://user:p%40ss+word@b:9999".parse().unwrap();
        let names: Vec<_> = urls.iter().map(|url| url.broker_name().to_string()).collect();
        assert_eq!(names, ["a:1883", "b:9999"]);
        assert_eq!(urls.0[1].credentials(), Some(("user".into(), "p@ss+word".into())));
        assert_eq!(urls.to_string(), "mqtt://a,mqtts://b:9999");
        assert!("mqtt://a,".parse::<MqttUrls>().is_err());
        assert!("http://a".parse::<MqttUrls>().is_err());
    }
}
