//! From the first log line to the exit code.

use super::{
    Readiness, ServiceArgs,
    admin::{AdminPort, Part},
};
use anyhow::{Context, Result, bail};
use prometheus_client::registry::Registry;
use std::{future::Future, process::ExitCode, time::Duration};
use tokio::{net::TcpListener, signal::unix, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What a role is given to live by.
#[derive(Debug)]
pub struct Service {
    /// The role's name, which is also its binary's.
    pub name: &'static str,
    /// Cancelled when the role shall stop consuming, finish what is in flight, and return.
    pub stop: CancellationToken,
    /// To be set whenever what the role needs is connected, or no longer.
    pub readiness: Readiness,
    /// How long the role may take to drain.
    pub drain_grace: Duration,
    /// Where the role registers its metrics, which get its name as prefix, before it opens the admin port.
    pub metrics: Registry,
    admin: AdminPort,
}

impl Service {
    async fn bind(name: &'static str, args: &ServiceArgs) -> Result<Self> {
        let listener = TcpListener::bind(args.admin_addr)
            .await
            .with_context(|| format!("binding the admin port, ADMIN_ADDR {}", args.admin_addr))?;
        tracing::info!(admin.addr = %listener.local_addr()?, "{name} starts");
        Ok(Self::new(name, args.drain_grace, AdminPort::new(listener)))
    }

    fn new(name: &'static str, drain_grace: Duration, admin: AdminPort) -> Self {
        Self {
            name,
            stop: CancellationToken::new(),
            readiness: Readiness::default(),
            drain_grace,
            metrics: Registry::with_prefix(name.replace('-', "_")),
            admin,
        }
    }

    /// What one more role of this process lives by, whose `stop` the caller cancels. The admin port, which all share,
    /// answers when each of them has opened it, and is ready when all are.
    pub fn share(&self, name: &'static str, drain_grace: Duration) -> Self {
        self.admin.await_another();
        Self::new(name, drain_grace, self.admin.clone())
    }

    /// Opens the admin port with the metrics registered so far; `more` is what else the role serves there.
    pub fn open_admin_port(&mut self, more: axum::Router) {
        let mut metrics = std::mem::take(&mut self.metrics);
        metrics.register_collector(Box::new(self.readiness.clone()));
        self.admin.open(Part { name: self.name, readiness: self.readiness.clone(), metrics, more });
    }
}

/// Runs a role as this process: logs, admin port, signals, drain. Returns the process's exit code: 0 after a clean
/// stop, 1 when the role failed, ended unasked or did not drain in time, 130 on a second signal.
pub fn main<F, R>(name: &'static str, args: &ServiceArgs, role: R) -> ExitCode
where
    R: FnOnce(Service) -> F,
    F: Future<Output = Result<()>> + Send + 'static,
{
    if let Err(error) = log(args) {
        eprintln!("{error:#}");
        return ExitCode::from(2);
    }
    // One thread per replica: it scales by replicas, and costs a tenth to a fifth less CPU than work stealing.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("starting the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(live(name, args, role)) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{name} fails: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn live<F, R>(name: &'static str, args: &ServiceArgs, role: R) -> Result<ExitCode>
where
    R: FnOnce(Service) -> F,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut signals = Signals::listen()?;
    let service = Service::bind(name, args).await?;
    let (stop, readiness, admin) = (service.stop.clone(), service.readiness.clone(), service.admin.clone());
    #[expect(clippy::disallowed_methods, reason = "awaited below; spawned so that a panic is a failure exit")]
    let mut role = tokio::spawn(role(service));
    tokio::select! {
        ended = &mut role => {
            ended.context("the role panicked")??;
            bail!("it ended without being told to");
        }
        signal = signals.next() => tracing::info!("{signal}: draining, at most {:?}", args.drain_grace),
    }
    readiness.drain();
    stop.cancel();
    tokio::select! {
        ended = tokio::time::timeout(args.drain_grace, &mut role) => match ended {
            Ok(ended) => ended.context("the role panicked")??,
            Err(_) => bail!("not drained within {:?}; what was in flight is redelivered", args.drain_grace),
        },
        signal = signals.next() => {
            tracing::warn!("{signal} again: stopping at once; what was in flight is redelivered");
            return Ok(ExitCode::from(130));
        }
    }
    admin.close().await;
    tracing::info!("{name} stopped");
    Ok(ExitCode::SUCCESS)
}

struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| unix::signal(kind).context("listening for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

fn log(args: &ServiceArgs) -> Result<()> {
    // lapin logs every returned message at `warn`; a worker that is gone is counted instead. mqtt5 logs whatever a
    // client of it does wrong, each time.
    let directives = format!("lapin=error,mqtt5=error,{}", args.rust_log);
    let filter = EnvFilter::builder().parse(directives).with_context(|| format!("RUST_LOG is {:?}", args.rust_log))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    let installed = if args.log_format == "json" { logs.json().try_init() } else { logs.try_init() };
    installed.map_err(|error| anyhow::anyhow!("installing logging: {error}"))
}
