//! A private Mosquitto.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::access::{PASSWORD, mosquitto_acl};
use crate::install;
use crate::server::{Launch, Ready};
use crate::{Server, TlsFiles, free_port};

/// How a [`Mosquitto`] differs from the usual one.
#[derive(Debug, Clone)]
pub struct MosquittoOptions {
    /// `max_inflight_messages`: QoS 1 messages on their way to one client at a time.
    pub max_inflight_messages: u16,
    /// `max_queued_messages`: what is held for one client beyond that. More is dropped in silence.
    pub max_queued_messages: u32,
    /// Further lines of `mosquitto.conf`.
    pub extra_config: Vec<String>,
    /// Who may sign in, with the password `testbed` and the permissions in `security/mosquitto.acl`; gateways by their
    /// MACs. Where it is empty, nobody is asked who he is.
    pub users: Vec<String>,
    /// Whether whoever doesn't sign in may do everything.
    pub anonymous: bool,
    /// With what it speaks TLS, and nothing else; clients are who their certificates say, and gateways have a port of
    /// their own, as docs/SECURITY.md tells.
    pub tls: Option<TlsFiles>,
}

impl Default for MosquittoOptions {
    fn default() -> Self {
        Self {
            max_inflight_messages: 1_000,
            max_queued_messages: 100_000,
            extra_config: Vec::new(),
            users: Vec::new(),
            anonymous: true,
            tls: None,
        }
    }
}

/// A Mosquitto on 127.0.0.1 that lets anyone in, unless told otherwise. Persistent sessions survive a stop; a kill loses what
/// came since the last save (10 s).
pub struct Mosquitto {
    server: Server,
    scheme: &'static str,
    gateways_port: Option<u16>,
}

impl Mosquitto {
    /// Starts Mosquitto and waits until it accepts connections (some 20 ms).
    pub async fn start(options: MosquittoOptions) -> Result<Self> {
        let program = install::mosquitto()?;
        let gateways_port = options.tls.as_ref().map(|_| free_port()).transpose()?;
        let server = Server::start("mosquitto", |port, folder| {
            let config = folder.join("mosquitto.conf");
            let text = config_text(port, folder, &options) + &access_config(folder, &options, gateways_port)?;
            std::fs::write(&config, text).context("writing mosquitto.conf")?;
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
        Ok(Self { server, scheme: if options.tls.is_some() { "mqtts" } else { "mqtt" }, gateways_port })
    }

    /// `mqtt://127.0.0.1:PORT`, or `mqtts://`
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.server.port())
    }

    /// Where gateways come: the same, unless they have a port of their own.
    pub fn gateways_url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.gateways_port.unwrap_or(self.server.port()))
    }
}

fn config_text(port: u16, folder: &Path, options: &MosquittoOptions) -> String {
    // `user root`: started as root, Mosquitto would become a user who can't write to our folder.
    // Started as anyone else it takes no notice.
    format!(
        "listener {port} 127.0.0.1\n\
         allow_anonymous {}\n\
         user root\n\
         set_tcp_nodelay true\n\
         max_inflight_messages {}\n\
         max_queued_messages {}\n\
         persistence true\n\
         persistence_location {}/\n\
         autosave_interval 10\n\
         log_dest stdout\n\
         {}\n",
        options.anonymous && options.tls.is_none(),
        options.max_inflight_messages,
        options.max_queued_messages,
        folder.display(),
        options.extra_config.join("\n"),
    )
}

/// Who may come in, and what he may do.
fn access_config(folder: &Path, options: &MosquittoOptions, gateways_port: Option<u16>) -> Result<String> {
    let mut config = String::new();
    if let Some(TlsFiles { authority, certificate, key, .. }) = &options.tls {
        let (authority, certificate, key) = (authority.display(), certificate.display(), key.display());
        let tls = format!(
            "cafile {authority}\ncertfile {certificate}\nkeyfile {key}\n\
             require_certificate true\nuse_identity_as_username true\n"
        );
        // The routers' port, which the text before this has begun; then that of the gateways, none of whom can push
        // another off by calling itself like it.
        config += &tls;
        if let Some(port) = gateways_port {
            config += &format!("listener {port} 127.0.0.1\n{tls}use_username_as_clientid true\n");
        }
    }
    if options.tls.is_some() || !options.users.is_empty() {
        let acl = folder.join("acl");
        let anonymous = options.anonymous && options.tls.is_none();
        std::fs::write(&acl, mosquitto_acl(anonymous)).context("writing Mosquitto's permissions")?;
        config += &format!("acl_file {}\n", acl.display());
    }
    if !options.users.is_empty() {
        let passwords = folder.join("passwords");
        write_passwords(&passwords, &options.users)?;
        config += &format!("password_file {}\n", passwords.display());
    }
    Ok(config)
}

fn write_passwords(path: &Path, users: &[String]) -> Result<()> {
    let lines: String = users.iter().map(|user| format!("{user}:{PASSWORD}\n")).collect();
    std::fs::write(path, lines).context("writing Mosquitto's passwords")?;
    // Instead of each password it writes its hash.
    let hashed = Command::new("mosquitto_passwd").arg("-U").arg(path).output().context("starting mosquitto_passwd")?;
    ensure!(hashed.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&hashed.stderr));
    Ok(())
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
