//! Servers and roles together: a whole backbone with emulated gateways on one machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{Balancer, Role, Servers, ServersConfig, free_port};

/// The binary that takes tasks and asks labels.
pub const TASK_WORKER: &str = "task-worker";
/// The binary that takes RPCs to gateways.
pub const FWD_ROUTER: &str = "fwd-router";
/// The binary that takes gateways' answers back to who asked.
pub const BCK_ROUTER: &str = "bck-router";
/// The binary that takes RPCs over HTTP to gateways, and their answers back.
pub const HTTP_ROUTER: &str = "http-router";
/// The binary that serves HTTP for the store backend.
pub const STORE_API: &str = "store-api";
/// The binary that stands in for gateways and labels.
pub const GATEWAY_EMULATOR: &str = "gateway-emulator";
/// The binary that is all roles in one process, without servers.
pub const STANDALONE: &str = "standalone";

const READY_LIMIT: Duration = Duration::from_secs(60);

/// What a [`Stack`] consists of. Two of each role by default.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// The servers.
    pub servers: ServersConfig,
    /// How many task-workers.
    pub workers: usize,
    /// How many fwd-routers.
    pub fwd_routers: usize,
    /// How many bck-routers.
    pub bck_routers: usize,
    /// How many http-routers; none by default. Where there is one, workers make their RPCs over HTTP, several behind a
    /// balancer, and bck-routers take only reports.
    pub http_routers: usize,
    /// How many store-apis; none by default.
    pub store_apis: usize,
    /// How many gateways the emulator plays.
    pub gateways: usize,
    /// How many labels the emulator plays.
    pub labels: usize,
    /// The seed of the emulator's randomness.
    pub seed: u64,
    /// Further arguments of the emulator.
    pub emulator_args: Vec<String>,
    /// `RUST_LOG` of all roles.
    pub rust_log: String,
    /// Where logs go; a folder that is removed with the stack if `None`.
    pub log_dir: Option<PathBuf>,
    /// More environment: role, name, value. See [`Self::with_env`].
    pub env: Vec<(&'static str, &'static str, String)>,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            servers: ServersConfig::default(),
            workers: 2,
            fwd_routers: 2,
            bck_routers: 2,
            http_routers: 0,
            store_apis: 0,
            gateways: 4,
            labels: 100,
            seed: 1,
            emulator_args: Vec::new(),
            rust_log: "info".to_owned(),
            log_dir: None,
            env: Vec::new(),
        }
    }
}

impl StackConfig {
    /// Gives every process of one role one more environment variable.
    pub fn with_env(mut self, role: &'static str, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((role, name, value.into()));
        self
    }

    fn over_http(self, address: SocketAddr) -> Self {
        let url = format!("http://{address}");
        let workers = self.with_env(TASK_WORKER, "RPC", "http").with_env(TASK_WORKER, "HTTP_RPC_URL", url);
        workers.with_env(BCK_ROUTER, "CONSUME", "reports")
    }
}

/// A running backbone. All of it ends when this is dropped; [`Self::stop`] ends it in order.
pub struct Stack {
    // Dropped in this order: roles before the servers that they use, logs last.
    /// The emulator.
    pub emulator: Role,
    /// The task-workers.
    pub workers: Vec<Role>,
    /// The fwd-routers.
    pub fwd_routers: Vec<Role>,
    /// The bck-routers.
    pub bck_routers: Vec<Role>,
    /// The http-routers.
    pub http_routers: Vec<Role>,
    /// The store-apis.
    pub store_apis: Vec<Role>,
    /// Where the store-apis serve: `http://127.0.0.1:PORT`.
    pub api_urls: Vec<String>,
    /// The servers.
    pub servers: Servers,
    config: StackConfig,
    logs: LogDir,
    _balancer: Option<Balancer>,
}

fn addresses(count: usize) -> Result<Vec<SocketAddr>> {
    (0..count).map(|_| Ok((Ipv4Addr::LOCALHOST, free_port()?).into())).collect()
}

pub(crate) enum LogDir {
    Kept(PathBuf),
    Removed(TempDir),
}

impl Stack {
    /// Starts the servers, then all roles, and waits until every role is ready.
    pub async fn start(config: StackConfig) -> Result<Self> {
        let servers = Servers::start(&config.servers).await?;
        Self::on(servers, config).await
    }

    /// Starts all roles on servers that run (perhaps with proxies between), and waits until all are ready.
    pub async fn on(servers: Servers, config: StackConfig) -> Result<Self> {
        let mut stack = Self::launch(servers, config)?;
        stack.wait_ready().await?;
        Ok(stack)
    }

    /// Starts all roles, whether the servers run or not, and waits for nothing.
    pub fn launch(servers: Servers, config: StackConfig) -> Result<Self> {
        let logs = LogDir::new(config.log_dir.as_deref())?;
        let http_addresses = addresses(config.http_routers)?;
        let balancer = (http_addresses.len() > 1).then(|| Balancer::start(http_addresses.clone())).transpose()?;
        let config = match balancer.as_ref().map(Balancer::address).or(http_addresses.first().copied()) {
            Some(address) => config.over_http(address),
            None => config,
        };
        let start = |role| start_role(role, &servers, &config, logs.path());
        let api_addresses = addresses(config.store_apis)?;
        let serving = |role, name, addresses: &[SocketAddr]| {
            let serve = |address: &SocketAddr| {
                let config = config.clone().with_env(role, name, address.to_string());
                start_role(role, &servers, &config, logs.path())
            };
            addresses.iter().map(serve).collect::<Result<Vec<_>>>()
        };
        let several = |role, count| (0..count).map(|_| start(role)).collect::<Result<Vec<_>>>();
        Ok(Self {
            emulator: start(GATEWAY_EMULATOR)?,
            workers: several(TASK_WORKER, config.workers)?,
            fwd_routers: several(FWD_ROUTER, config.fwd_routers)?,
            bck_routers: several(BCK_ROUTER, config.bck_routers)?,
            http_routers: serving(HTTP_ROUTER, "HTTP_ADDR", &http_addresses)?,
            store_apis: serving(STORE_API, "API_ADDR", &api_addresses)?,
            api_urls: api_addresses.iter().map(|address| format!("http://{address}")).collect(),
            servers,
            config,
            logs,
            _balancer: balancer,
        })
    }

    /// Waits until all roles are ready.
    pub async fn wait_ready(&mut self) -> Result<()> {
        for role in self.roles_mut() {
            role.wait_ready(READY_LIMIT).await?;
        }
        Ok(())
    }

    /// Starts one more process of a role, with the same settings as the others, and doesn't wait for it.
    /// Push it to its list to have it stopped with the stack.
    pub fn start_role(&self, role: &'static str) -> Result<Role> {
        start_role(role, &self.servers, &self.config, self.logs.path())
    }

    /// All roles' processes, the emulator's included.
    pub fn roles_mut(&mut self) -> impl Iterator<Item = &mut Role> {
        let routers = self.fwd_routers.iter_mut().chain(&mut self.bck_routers).chain(&mut self.http_routers);
        self.workers.iter_mut().chain(routers).chain(&mut self.store_apis).chain([&mut self.emulator])
    }

    /// A role that has ended, and how.
    pub fn ended_role(&mut self) -> Option<(&Role, ExitStatus)> {
        self.roles_mut().find_map(|role| role.exit_status().map(|status| (&*role, status)))
    }

    /// Where the logs of all roles are.
    pub fn log_dir(&self) -> &Path {
        self.logs.path()
    }

    /// The sum of a metric over several processes of a role; see [`Role::metric`].
    pub async fn sum_metric(roles: &[Role], sample: &str) -> Result<f64> {
        let mut sum = 0.0;
        for role in roles {
            sum += role.metric(sample).await?;
        }
        Ok(sum)
    }

    /// Asks all roles that run to end, waits for them, and gives back what the servers share. Fails if a
    /// role had to be killed or ended otherwise than with exit code 0.
    pub async fn stop(mut self) -> Result<()> {
        let mut running: Vec<_> = self.roles_mut().collect();
        running.retain_mut(|role| role.is_running());
        for role in &mut running {
            role.terminate()?;
        }
        for role in running {
            let status = role.wait().await?;
            if !status.success() {
                bail!("{} ended with {}; its log ends:\n{}", role.name(), status, role.log_tail());
            }
        }
        self.servers.release().await
    }
}

impl LogDir {
    pub(crate) fn new(wanted: Option<&Path>) -> Result<Self> {
        if let Some(folder) = wanted {
            return Ok(Self::Kept(folder.to_owned()));
        }
        let folder = tempfile::Builder::new().prefix("esl-testbed-logs-").tempdir();
        Ok(Self::Removed(folder.context("making a folder for logs")?))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(folder) => folder,
            Self::Removed(folder) => folder.path(),
        }
    }
}

fn start_role(role: &'static str, servers: &Servers, config: &StackConfig, logs: &Path) -> Result<Role> {
    let args = if role == GATEWAY_EMULATOR { emulator_args(config) } else { Vec::new() };
    let env: Vec<_> = servers.env_of(role).into_iter().chain(env_of(role, config)).collect();
    Role::start(role, &args, &env, logs)
}

pub(crate) fn emulator_args(config: &StackConfig) -> Vec<String> {
    let counts = [
        ("--gateways", config.gateways.to_string()),
        ("--labels", config.labels.to_string()),
        ("--seed", config.seed.to_string()),
    ];
    let args = counts.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    args.chain(config.emulator_args.iter().cloned()).collect()
}

/// What a role finds in its environment, besides where the servers are.
pub(crate) fn env_of(role: &str, config: &StackConfig) -> Vec<(&'static str, String)> {
    let more = config.env.iter().filter(|(of, ..)| *of == role).map(|(_, name, value)| (*name, value.clone()));
    [("RUST_LOG", config.rust_log.clone())].into_iter().chain(more).collect()
}
