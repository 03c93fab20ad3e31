//! What takes the place of the servers.

use crate::config::{Flags, MqttPort};
use anyhow::{Context, Result};
use backbone::{
    embedded::DataFolder,
    ledger::LedgerUrl,
    mqtt::{EmbeddedBroker, EmbeddedOptions, IdentityArgs, MqttArgs, MqttUrl, MqttUrls, TlsOptions},
    queue::{AmqpArgs, AmqpUrl, EmbeddedQueues},
    registry::{MemoryRegistry, RedisArgs},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};
use tokio_util::task::TaskTracker;

/// Where gateways' sessions are, in the data folder.
const SESSIONS: &str = "mqtt";

/// Queues, registry, ledger and MQTT broker of one process.
pub(crate) struct Ground {
    pub(crate) folder: DataFolder,
    pub(crate) broker: EmbeddedBroker,
    queues: EmbeddedQueues,
    registry: MemoryRegistry,
    tasks: TaskTracker,
}

impl Ground {
    pub(crate) async fn lay(flags: &Flags, folder: DataFolder) -> Result<Self> {
        let tasks = TaskTracker::new();
        let queues = EmbeddedQueues::open(&folder).await.context("opening the queues")?;
        let options = broker_options(&flags.mqtt, folder.path());
        let broker = EmbeddedBroker::start(options, &tasks).await.context("starting the MQTT broker")?;
        Ok(Self { folder, broker, queues, registry: MemoryRegistry::new(), tasks })
    }

    pub(crate) fn amqp(&self) -> AmqpArgs {
        AmqpArgs { amqp_url: AmqpUrl::Embedded(self.queues.clone()) }
    }

    pub(crate) fn redis(&self) -> RedisArgs {
        RedisArgs { redis_url: self.registry.clone().into() }
    }

    pub(crate) fn mqtt(&self) -> MqttArgs {
        MqttArgs { mqtt_url: MqttUrl::from(self.broker.clone()).into(), identity: IdentityArgs::default() }
    }

    pub(crate) fn ledger(&self) -> LedgerUrl {
        LedgerUrl::Sqlite(self.folder.clone())
    }

    /// Where a gateway of this machine connects, as real ones do.
    pub(crate) fn port(&self) -> Result<MqttUrls> {
        let address = self.broker.address().context("emulated gateways need --mqtt-listen")?;
        format!("mqtt://{}", reachable(address)).parse().context("naming the MQTT port")
    }

    /// Closes everything in order, when the roles have left.
    pub(crate) async fn leave(self) {
        self.broker.close();
        self.tasks.close();
        self.tasks.wait().await;
        self.folder.close().await;
    }
}

fn broker_options(port: &MqttPort, folder: &Path) -> EmbeddedOptions {
    let defaults = EmbeddedOptions::new(folder.join(SESSIONS));
    let tls = port.tls_listen.zip(port.certificate.clone()).zip(port.key.clone());
    let tls = tls.map(|((listen, certificate), key)| TlsOptions { listen, certificate, key });
    EmbeddedOptions {
        listen: port.listen.or(if tls.is_some() { None } else { defaults.listen }),
        tls,
        credentials: port.credentials.clone(),
        max_connections: port.max_connections,
        ..defaults
    }
}

/// An address that listens on all interfaces is reached on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_tls_alone_there_is_no_port_without_it() {
        let mut port = MqttPort {
            listen: None,
            tls_listen: None,
            certificate: Some("c".into()),
            key: Some("k".into()),
            credentials: None,
            max_connections: 10,
        };
        assert!(broker_options(&port, Path::new("d")).listen.is_some());
        port.tls_listen = Some((Ipv4Addr::LOCALHOST, 0).into());
        let options = broker_options(&port, Path::new("d"));
        assert!(options.listen.is_none() && options.tls.is_some());
        port.listen = Some((Ipv4Addr::UNSPECIFIED, 1883).into());
        assert_eq!(broker_options(&port, Path::new("d")).listen, port.listen);
    }

    #[test]
    fn all_interfaces_are_reached_on_loopback() {
        let address = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(address("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(address("[::]:1"), "[::1]:1");
        assert_eq!(address("10.0.0.1:1"), "10.0.0.1:1");
    }
}
