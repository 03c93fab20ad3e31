//! A private Mosquitto.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Server;
use crate::install;
use crate::server::{Launch, Ready};

/// How a [`Mosquitto`] differs from the usual one.
#[derive(Debug, Clone)]
pub struct MosquittoOptions {
    /// `max_inflight_messages`: QoS 1 messages on their way to one client at a time.
    pub max_inflight_messages: u16,
    /// `max_queued_messages`: what is held for one client beyond that. More is dropped in silence.
    pub max_queued_messages: u32,
    /// Further lines of `mosquitto.conf`.
    pub extra_config: Vec<String>,
}

impl Default for MosquittoOptions {
    fn default() -> Self {
        Self { max_inflight_messages: 1_000, max_queued_messages: 100_000, extra_config: Vec::new() }
    }
}

/// A Mosquitto on 127.0.0.1 that lets anyone in. Persistent sessions survive a stop; a kill loses what
/// came since the last save (10 s).
pub struct Mosquitto {
    server: Server,
}

impl Mosquitto {
    /// Starts Mosquitto and waits until it accepts connections (some 20 ms).
    pub async fn start(options: MosquittoOptions) -> Result<Self> {
        let program = install::mosquitto()?;
        let server = Server::start("mosquitto", |port, folder| {
            let config = folder.join("mosquitto.conf");
            std::fs::write(&config, config_text(port, folder, &options)).context("writing mosquitto.conf")?;
            Ok(Launch {
                name: "mosquitto",
                program: program.clone(),
                args: vec!["-c".to_owned(), config.display().to_string()],
                env: Vec::new(),
                ready: Ready::Port, // saved sessions are read before it listens
                patience: Duration::from_secs(20),
                grace: Duration::from_secs(10),
            })
        })
        .await?;
        Ok(Self { server })
    }

    /// `mqtt://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.server.port())
    }
}

fn config_text(port: u16, folder: &Path, options: &MosquittoOptions) -> String {
    // `user root`: started as root, Mosquitto would become a user who can't write to our folder.
    // Started as anyone else it takes no notice.
    format!(
        "listener {port} 127.0.0.1\n\
         allow_anonymous true\n\
         user root\n\
         set_tcp_nodelay true\n\
         max_inflight_messages {}\n\
         max_queued_messages {}\n\
         persistence true\n\
         persistence_location {}/\n\
         autosave_interval 10\n\
         log_dest stdout\n\
         {}\n",
        options.max_inflight_messages,
        options.max_queued_messages,
        folder.display(),
        options.extra_config.join("\n"),
    )
}

impl Deref for Mosquitto {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Mosquitto {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
