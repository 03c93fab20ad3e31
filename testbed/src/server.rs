//! What all servers share: how they are started, how they are known to be ready, how they are hurt.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::free_port;
use crate::process::Process;

const POLL: Duration = Duration::from_millis(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 5;

/// How to start a server, again and again, on its port and in its folder.
pub(crate) struct Launch {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) ready: Ready,
    pub(crate) patience: Duration,
    pub(crate) grace: Duration,
}

/// What shows that a server is ready.
pub(crate) enum Ready {
    /// Its port accepts connections.
    Port,
    /// Its port accepts connections, and on another `port` an HTTP GET of `path` answers 200 (user and
    /// password `guest`).
    Http { port: u16, path: &'static str },
}

/// A server process on a port of 127.0.0.1, with a data folder that lives as long as this value.
///
/// Port and data outlive the process: after [`stop`](Self::stop) or [`kill`](Self::kill),
/// [`start_again`](Self::start_again) finds both as they were left.
pub struct Server {
    // Dropped in this order: the process must be gone before its folder is removed.
    process: Process,
    launch: Launch,
    port: u16,
    folder: TempDir,
}

impl Server {
    /// Starts what `plan` lays out for a free port and an empty folder; tries others if it loses a port.
    pub(crate) async fn start(name: &str, plan: impl Fn(u16, &Path) -> Result<Launch>) -> Result<Self> {
        for _ in 1..ATTEMPTS {
            let mut server = Self::spawn(name, &plan)?;
            match server.wait_ready().await {
                Ok(()) => return Ok(server),
                Err(_) if lost_its_port(&server.process.log_tail()) => {}
                Err(error) => return Err(error),
            }
        }
        let mut server = Self::spawn(name, &plan)?;
        server.wait_ready().await?;
        Ok(server)
    }

    fn spawn(name: &str, plan: &impl Fn(u16, &Path) -> Result<Launch>) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("esl-testbed-{name}-"))
            .tempdir()
            .with_context(|| format!("making {name}'s data folder"))?;
        let port = free_port()?;
        let launch = plan(port, folder.path()).with_context(|| format!("preparing {name}"))?;
        let process = launch.spawn(folder.path())?;
        Ok(Self { process, launch, port, folder })
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let end = Instant::now() + self.launch.patience;
        wait_for_port(&mut self.process, self.launch.name, self.port, end).await?;
        if let Ready::Http { port, path } = self.launch.ready {
            let url = format!("http://127.0.0.1:{port}{path}");
            wait_for_answer(&mut self.process, self.launch.name, &url, end).await?;
        }
        Ok(())
    }

    /// Starts the server again on the same port and data folder, and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.is_running() {
            bail!("starting {} again: it is still running", self.launch.name);
        }
        self.process = self.launch.spawn(self.folder.path())?;
        self.wait_ready().await
    }

    /// Ends the server in order (SIGTERM); kills it and fails if it takes too long.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(self.launch.grace).await?;
        Ok(())
    }

    /// Kills the server (SIGKILL): it is gone when this returns.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Freezes the server (SIGSTOP): connections stay open, and nothing answers.
    pub fn pause(&mut self) -> Result<()> {
        self.process.pause()
    }

    /// Lets a frozen server run on (SIGCONT).
    pub fn resume(&mut self) -> Result<()> {
        self.process.resume()
    }

    /// Whether the server's process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// The server's process ID (for measuring its CPU time, say).
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The port of 127.0.0.1 on which the server serves its protocol.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of 127.0.0.1 on which the server also speaks HTTP.
    pub(crate) fn http_port(&self) -> Option<u16> {
        match self.launch.ready {
            Ready::Http { port, .. } => Some(port),
            Ready::Port => None,
        }
    }

    /// The server's data folder, which also holds its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file with the server's log.
    pub fn log(&self) -> &Path {
        self.process.log()
    }
}

impl Launch {
    fn spawn(&self, folder: &Path) -> Result<Process> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().cloned()).current_dir(folder);
        Process::spawn(self.name, command, &folder.join("log"))
    }
}

/// Waits until `port` accepts a connection. Fails at `end`, or as soon as the process has ended.
pub(crate) async fn wait_for_port(process: &mut Process, name: &str, port: u16, end: Instant) -> Result<()> {
    loop {
        check_progress(process, name, end)?;
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            // Someone else's server, if ours has just died of the port being taken.
            return check_progress(process, name, end);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn wait_for_answer(process: &mut Process, name: &str, url: &str, end: Instant) -> Result<()> {
    let client = http_client()?;
    loop {
        check_progress(process, name, end)?;
        let answer = client.get(url).basic_auth("guest", Some("guest")).send().await;
        if answer.is_ok_and(|response| response.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Fails if `process` has ended or the time is over; the error ends in the log's last lines.
pub(crate) fn check_progress(process: &mut Process, name: &str, end: Instant) -> Result<()> {
    if let Some(status) = process.exit_status() {
        bail!("{name} ended with {status} before it was ready; its log ends:\n{}", process.log_tail());
    }
    if Instant::now() >= end {
        bail!("{name} was not ready in time; its log ends:\n{}", process.log_tail());
    }
    Ok(())
}

/// An HTTP client for loopback, to be built: no proxy of the environment, no certificates to look for.
pub fn http_builder() -> reqwest::ClientBuilder {
    // reqwest is built without a provider of its own; whether this one was there before does not matter.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([])
}

/// The same, with every request bounded.
pub(crate) fn http_client() -> Result<reqwest::Client> {
    http_builder().timeout(ANSWER_LIMIT).build().context("building the HTTP client")
}

fn lost_its_port(log: &str) -> bool {
    log.contains("ddress already in use") || log.contains("eaddrinuse")
}
