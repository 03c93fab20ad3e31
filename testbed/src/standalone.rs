//! The backbone as one process without servers, and its gateways as another, whose labels outlive it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::stack::{LogDir, emulator_args, env_of};
use crate::{GATEWAY_EMULATOR, Role, STANDALONE, StackConfig, free_port};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// A `standalone` process with a data folder of its own, and an emulator for it. Both end when this is dropped.
pub struct Standalone {
    // Dropped in this order.
    /// The emulator.
    pub emulator: Role,
    backbone: Option<Role>,
    data: TempDir,
    mqtt: SocketAddr,
    api: SocketAddr,
    config: StackConfig,
    logs: LogDir,
}

impl Standalone {
    /// Makes the folder and starts the emulator. The backbone does not run yet.
    ///
    /// Of the configuration counts what concerns the emulator, and what `standalone` is to have in its environment.
    pub fn launch(config: StackConfig) -> Result<Self> {
        let logs = LogDir::new(config.log_dir.as_deref())?;
        let data = tempfile::Builder::new().prefix("esl-testbed-data-").tempdir().context("making a data folder")?;
        let mqtt = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut env = env_of(GATEWAY_EMULATOR, &config);
        env.push(("MQTT_URL", format!("mqtt://{mqtt}")));
        let emulator = Role::start(GATEWAY_EMULATOR, &emulator_args(&config), &env, logs.path())?;
        Ok(Self { emulator, backbone: None, data, mqtt, api, config, logs })
    }

    /// The data folder. While the backbone runs, nobody else can open it.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Where the logs are.
    pub fn log_dir(&self) -> &Path {
        self.logs.path()
    }

    /// Where gateways come, while the backbone runs.
    pub fn mqtt_url(&self) -> String {
        format!("mqtt://{}", self.mqtt)
    }

    /// The HTTP API, while the backbone runs.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The backbone's process, once it has been started.
    pub fn backbone(&mut self) -> Result<&mut Role> {
        self.backbone.as_mut().context("standalone was not started yet")
    }

    /// A metric of the running backbone; see [`Role::metric`].
    pub async fn metric(&self, sample: &str) -> Result<f64> {
        self.backbone.as_ref().context("standalone was not started yet")?.metric(sample).await
    }

    /// Starts the backbone, again on the same folder and ports if it has ended, and waits until it and all gateways are
    /// ready.
    pub async fn start(&mut self) -> Result<()> {
        match &mut self.backbone {
            Some(ended) => ended.start_again()?,
            None => {
                let data = self.data.path().to_str().context("the data folder's name is not UTF-8")?;
                let mqtt = self.mqtt.to_string();
                let api = self.api.to_string();
                let args = ["--data", data, "--mqtt-listen", &mqtt, "--api-addr", &api].map(str::to_owned);
                let env = env_of(STANDALONE, &self.config);
                self.backbone = Some(Role::start(STANDALONE, &args, &env, self.logs.path())?);
            }
        }
        self.backbone()?.wait_ready(READY_LIMIT).await?;
        self.emulator.wait_ready(READY_LIMIT).await
    }

    /// Ends the backbone in order. Fails if it had to be killed, or ended otherwise than with exit code 0.
    pub async fn stop(&mut self) -> Result<()> {
        let role = self.backbone()?;
        let status = role.stop().await?;
        if !status.success() {
            bail!("standalone ended with {status}; its log ends:\n{}", role.log_tail());
        }
        Ok(())
    }

    /// Kills the backbone with all of its roles.
    pub fn kill(&mut self) -> Result<()> {
        self.backbone()?.kill()
    }
}
