//! A private Redis.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use anyhow::Result;

use crate::Server;
use crate::server::{Launch, Ready};

/// How a [`Redis`] differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Arguments after ours, such as `["--appendonly", "yes"]`; the last of a kind wins.
    pub extra_args: Vec<String>,
}

/// A Redis on 127.0.0.1, without persistence: a restart loses all keys, as the design allows.
pub struct Redis {
    server: Server,
}

impl Redis {
    /// Starts Redis and waits until it accepts connections (some 20 ms).
    pub async fn start(options: RedisOptions) -> Result<Self> {
        let server = Server::start("redis", |port, _| Ok(launch(port, &options))).await?;
        Ok(Self { server })
    }

    /// `redis://127.0.0.1:PORT/0`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.server.port())
    }
}

fn launch(port: u16, options: &RedisOptions) -> Launch {
    let port = port.to_string();
    let ours = ["--port", &port, "--bind", "127.0.0.1", "--dir", ".", "--save", "", "--appendonly", "no"];
    Launch {
        name: "redis",
        program: "redis-server".into(),
        args: ours.map(str::to_owned).into_iter().chain(options.extra_args.clone()).collect(),
        env: Vec::new(),
        ready: Ready::Port, // it listens only once it can serve
        patience: Duration::from_secs(20),
        grace: Duration::from_secs(10),
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Redis {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
