//! A private HAProxy before several MQTT brokers.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::server::{Launch, Ready};
use crate::{Mosquitto, Server, Tool};

const CONFIG: &str = "\
global
  maxconn 2000
defaults
  mode tcp
  retries 3
  option redispatch
  timeout connect 1s
  timeout client 1h
  timeout server 1h
listen gateways
  bind 127.0.0.1:@port@
  balance leastconn
  default-server check inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
";

/// An HAProxy on 127.0.0.1 that gives each gateway to the MQTT broker that has fewest of them, of those that are there.
pub struct HaProxy {
    server: Server,
}

impl HaProxy {
    /// Installs HAProxy where it is missing, and starts it before these brokers.
    pub async fn start(brokers: &[Mosquitto]) -> Result<Self> {
        let program = Tool::HaProxy.path().await?;
        let brokers: Vec<_> = brokers.iter().map(|broker| broker.port()).collect();
        let server = Server::start("haproxy", |port, folder| {
            let server = |(at, broker): (usize, &u16)| format!("  server mosquitto-{at} 127.0.0.1:{broker}\n");
            let servers: String = brokers.iter().enumerate().map(server).collect();
            let file = folder.join("haproxy.cfg");
            let config = CONFIG.replace("@port@", &port.to_string()) + &servers;
            std::fs::write(&file, config).context("writing haproxy.cfg")?;
            Ok(Launch {
                name: "haproxy",
                program: program.clone(),
                args: ["-db", "-f", &file.display().to_string()].map(str::to_owned).to_vec(),
                env: Vec::new(),
                ready: Ready::Port,
                patience: Duration::from_secs(20),
                grace: Duration::from_secs(10),
            })
        })
        .await?;
        Ok(Self { server })
    }

    /// Where gateways come: `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.server.port())
    }
}

impl Deref for HaProxy {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for HaProxy {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
