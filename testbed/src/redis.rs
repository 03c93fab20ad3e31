//! A private Redis.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::access::redis_acl;
use crate::server::{Launch, Ready};
use crate::{Server, TlsFiles, free_port};

const ACL_FILE: &str = "users.acl";

/// How a [`Redis`] differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Arguments after ours, such as `["--appendonly", "yes"]`; the last of a kind wins.
    pub extra_args: Vec<String>,
    /// With what it speaks TLS, on another port; without it, it does not.
    pub tls: Option<TlsFiles>,
}

/// A Redis on 127.0.0.1, without persistence: a restart loses all keys, as the design allows. Whoever doesn't sign in may
/// do everything; who signs in as a role, what it needs.
pub struct Redis {
    server: Server,
    tls_port: Option<u16>,
}

impl Redis {
    /// Starts Redis and waits until it accepts connections (some 20 ms).
    pub async fn start(options: RedisOptions) -> Result<Self> {
        let tls_port = options.tls.as_ref().map(|_| free_port()).transpose()?;
        let server = Server::start("redis", |port, folder| {
            std::fs::write(folder.join(ACL_FILE), redis_acl()).context("writing Redis' users")?;
            let mut launch = launch(port, &options);
            if let (Some(files), Some(port)) = (&options.tls, tls_port) {
                launch.args.extend(tls_args(port, files));
            }
            Ok(launch)
        })
        .await?;
        Ok(Self { server, tls_port })
    }

    /// `redis://127.0.0.1:PORT/0`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.server.port())
    }

    /// The port for TLS.
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }
}

fn launch(port: u16, options: &RedisOptions) -> Launch {
    let port = port.to_string();
    let ours = ["--port", &port, "--bind", "127.0.0.1", "--dir", ".", "--save", "", "--appendonly", "no"];
    let ours = ours.into_iter().chain(["--aclfile", ACL_FILE]);
    Launch {
        name: "redis",
        program: "redis-server".into(),
        args: ours.map(str::to_owned).chain(options.extra_args.clone()).collect(),
        env: Vec::new(),
        ready: Ready::Port, // it listens only once it can serve
        patience: Duration::from_secs(20),
        grace: Duration::from_secs(10),
    }
}

fn tls_args(port: u16, files: &TlsFiles) -> Vec<String> {
    let TlsFiles { authority, certificate, key, .. } = files;
    let text = |path: &std::path::Path| path.display().to_string();
    let args = [
        ("--tls-port", port.to_string()),
        ("--tls-ca-cert-file", text(authority)),
        ("--tls-cert-file", text(certificate)),
        ("--tls-key-file", text(key)),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
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
