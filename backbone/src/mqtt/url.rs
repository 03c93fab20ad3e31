//! Where the MQTT brokers are.

use crate::service::{UrlError, url_type};
use rumqttc::{Broker, MqttOptions, NetworkOptions, Transport};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

url_type! {
    /// Where one MQTT broker is: `mqtt://user:password@host:port`, or `mqtts://`.
    MqttUrl, "mqtt", "mqtts"
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
}

/// A broker as the route table names it: its host and port. The same in every process, whatever the order in which
/// `MQTT_URL` lists the brokers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BrokerName(Arc<str>);

impl MqttUrls {
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

impl MqttUrl {
    /// The broker's name in the route table.
    pub fn broker_name(&self) -> BrokerName {
        let (host, port) = self.host_and_port();
        BrokerName(format!("{host}:{port}").into())
    }

    pub(super) fn host_and_port(&self) -> (String, u16) {
        let url = self.secret().expose();
        let default_port = if self.is_tls() { 8883 } else { 1883 };
        (url.host_str().unwrap_or_default().to_owned(), url.port().unwrap_or(default_port))
    }

    pub(super) fn is_tls(&self) -> bool {
        self.secret().expose().scheme() == "mqtts"
    }

    /// User name and password, where the URL has them.
    pub(super) fn credentials(&self) -> Option<(String, String)> {
        let url = self.secret().expose();
        let decode = |text: &str| percent_decode(text);
        (!url.username().is_empty()).then(|| (decode(url.username()), decode(url.password().unwrap_or_default())))
    }

    /// Options for an MQTT 5 connection, TCP_NODELAY set: without it one RPC takes 47 ms instead of half a one.
    pub(super) fn options(&self, client_id: &str) -> Result<MqttOptions, rumqttc::TlsError> {
        let (host, port) = self.host_and_port();
        let mut options = MqttOptions::new(client_id, Broker::tcp(host, port));
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network).set_keep_alive(10).set_connect_timeout(CONNECT_TIMEOUT);
        if let Some((user, password)) = self.credentials() {
            options.set_credentials(user, password);
        }
        if self.is_tls() {
            options.set_transport(Transport::try_tls_with_default_config()?);
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
