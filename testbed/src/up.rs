//! `testbed up`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use testbed::install::ensure_installed;
use testbed::{Servers, ServersConfig, Stack, StackConfig};

use crate::signals::{Signals, reaches_children};

const CTRL_C_GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(300);

/// Runs private servers and all roles in the foreground until Ctrl-C.
#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    size: Size,
    /// Also write the environment, as lines for a shell, to this file.
    #[arg(long)]
    env_file: Option<PathBuf>,
}

/// How much of everything there is.
#[derive(Args, Clone)]
pub(crate) struct Size {
    /// How many task-workers.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// How many fwd-routers, and how many bck-routers.
    #[arg(long, default_value_t = 2)]
    routers: usize,
    /// How many gateways are emulated.
    #[arg(long, default_value_t = 10)]
    gateways: usize,
    /// How many labels are emulated.
    #[arg(long, default_value_t = 2_000)]
    labels: usize,
    /// Median time that an emulated write to a label takes. A real one takes some 590ms: a trial need not wait for that.
    #[arg(long, default_value = "100ms")]
    write_time: String,
    /// How many Mosquittos.
    #[arg(long, default_value_t = 1)]
    mosquittos: usize,
    /// The seed of the emulator's randomness.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the roles' logs in this folder.
    #[arg(long)]
    log_dir: Option<PathBuf>,
}

impl Up {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut signals = Signals::listen()?;
        let mut stack = tokio::select! {
            _ = signals.next() => return Ok(ExitCode::FAILURE),
            started = start(&self.size) => started?,
        };
        let env = shell_lines(&stack);
        println!("\n{env}\nCtrl-C stops everything.");
        if let Some(file) = &self.env_file {
            std::fs::write(file, &env).with_context(|| format!("writing {}", file.display()))?;
        }
        tokio::select! {
            biased; // Ctrl-C reaches the roles too: don't take their end for a failure
            signal = signals.next() => {
                if reaches_children(signal) {
                    let_end(&mut stack).await;
                } else {
                    stop(stack).await?;
                }
                Ok(ExitCode::SUCCESS)
            }
            failure = role_ended(&mut stack) => Err(failure),
        }
    }
}

/// Starts everything, and says where it is.
pub(crate) async fn start(size: &Size) -> Result<Stack> {
    ensure_installed().await?;
    let began = Instant::now();
    println!("starting RabbitMQ, Redis, Mosquitto and MongoDB");
    let servers = ServersConfig {
        own_rabbitmq: true,
        own_mongodb: true,
        mosquittos: size.mosquittos,
        ..ServersConfig::default()
    };
    let config = StackConfig {
        workers: size.workers,
        fwd_routers: size.routers,
        bck_routers: size.routers,
        store_apis: 1,
        gateways: size.gateways,
        labels: size.labels,
        seed: size.seed,
        emulator_args: vec!["--write-time".to_owned(), size.write_time.clone()],
        log_dir: size.log_dir.clone(),
        ..StackConfig::default()
    };
    let servers = Servers::start(&servers).await?;
    for (name, url) in servers.env() {
        println!("{:<18} {url}", name.trim_end_matches("_URL").to_lowercase());
    }
    println!("starting the roles");
    let mut stack = Stack::on(servers, config).await?;
    for role in stack.roles_mut() {
        println!("{:<18} {} (pid {})", role.name(), role.admin_url(), role.pid());
    }
    println!("logs               {}", stack.log_dir().display());
    println!("ready after {:.1} s", began.elapsed().as_secs_f64());
    Ok(stack)
}

/// Stops the roles in order, and the servers with them.
pub(crate) async fn stop(stack: Stack) -> Result<()> {
    println!("stopping");
    stack.stop().await?;
    println!("stopped");
    Ok(())
}

/// Waits for roles that end by themselves, while the servers do the same: that can't go in order, and
/// what takes too long is killed when the stack is dropped.
async fn let_end(stack: &mut Stack) {
    println!("stopping");
    let end = Instant::now() + CTRL_C_GRACE;
    while Instant::now() < end && stack.roles_mut().any(|role| role.is_running()) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns once a role has ended though nobody asked it to.
pub(crate) async fn role_ended(stack: &mut Stack) -> anyhow::Error {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some((role, status)) = stack.ended_role() {
            return anyhow::anyhow!("{} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
        }
    }
}

/// The environment of the roles as lines that a shell understands.
fn shell_lines(stack: &Stack) -> String {
    let mut env = stack.servers.env();
    env.push(("EMULATOR_URL", stack.emulator.admin_url()));
    env.extend(stack.api_urls.first().map(|url| ("ESL_API", url.clone())));
    env.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect()
}
