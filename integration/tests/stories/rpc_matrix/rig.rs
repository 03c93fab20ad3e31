//! One gateway, two forward routers and a back router, with a proxy on each line that an RPC takes.

use super::{ACK, Fault, Told};
use anyhow::{Context, Result};
use backbone::queue::RpcError;
use integration::{Asker, Story, gateway_mac, labels, price_update, quick};
use protocol::{CorrelationId, LabelMac, Reply};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use testbed::{
    BCK_ROUTER, FWD_ROUTER, GATEWAY_EMULATOR, Mode, Proxy, Role, Servers, ServersConfig, Stack, StackConfig,
};
use url::Url;

pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// How long whoever asks waits, where nothing is to come; all else comes within [`LIMIT`].
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Counted by the asker itself.
pub(super) const STRAY_REPLIES: &str = "stray replies";
const GATEWAY: u32 = 1;
const LABELS: u32 = 24;

pub(super) struct Rig {
    pub(super) story: Story,
    pub(super) asker: Arc<Asker>,
    pub(super) lines: Lines,
}

/// What can be cut.
pub(super) struct Lines {
    /// From all routers to Mosquitto, which they must call by the same address.
    pub(super) routers: Proxy,
    /// From the gateway to Mosquitto.
    pub(super) gateway: Proxy,
    /// From the back router to RabbitMQ.
    pub(super) replies: Proxy,
}

impl Rig {
    pub(super) async fn set() -> Result<Self> {
        let mut servers = Servers::start(&ServersConfig::default()).await?;
        let mosquitto = servers.mosquittos[0].port();
        let rabbitmq = Url::parse(&servers.amqp_url)?.port().context("RabbitMQ's port")?;
        let lines = Lines {
            routers: Proxy::to_port(mosquitto).await?,
            gateway: Proxy::to_port(mosquitto).await?,
            replies: Proxy::to_port(rabbitmq).await?,
        };
        // How many commands a gateway may have is not the subject here.
        let mut config = StackConfig { fwd_routers: 2, bck_routers: 1, workers: 1, ..quick(1, LABELS as usize) };
        for role in [FWD_ROUTER, BCK_ROUTER] {
            config = config.with_env(role, "GATEWAY_WINDOW", "256").with_env(role, "GATEWAY_BREAKER_AFTER", "1000");
        }
        let config = config
            .with_env(GATEWAY_EMULATOR, "MQTT_URL", through(&lines.gateway, &servers, GATEWAY_EMULATOR, "MQTT_URL")?)
            .with_env(BCK_ROUTER, "AMQP_URL", through(&lines.replies, &servers, BCK_ROUTER, "AMQP_URL")?);
        servers.mqtt_urls[0] = format!("mqtt://127.0.0.1:{}", lines.routers.port());
        let story = Story::on(Stack::on(servers, config).await?).await?;
        // From then on there is a route to each label that is asked, and the gateway has echoed an ID for it.
        story.backend.enqueue(&price_update(&labels(LABELS), 1)).await?;
        story.all_settled(LIMIT).await?;
        let asker = Arc::new(Asker::connect(&story).await?);
        Ok(Self { story, asker, lines })
    }

    /// Checks the promises over all that happened, and ends everything.
    pub(super) async fn strike(self) -> Result<()> {
        self.story.check_books().await?;
        self.asker.leave().await;
        self.story.end().await
    }

    pub(super) async fn ping(&self, id: &CorrelationId, label: LabelMac, timeout: Duration) -> Result<Told> {
        told(self.asker.ping_as(id, label, timeout).await)
    }

    /// Waits until the label answers: where its gateway was away for long, it has a route again with the next report only.
    pub(super) async fn reachable(&self, label: LabelMac) -> Result<()> {
        let answers = async |_: &Story| Ok(told(self.asker.ping(label, LIMIT).await)? == ACK);
        self.story.until("the label can be reached", LIMIT, answers).await
    }

    pub(super) async fn gateway_faults(&self, faults: Value) -> Result<()> {
        self.story.emulator.gateway_faults(gateway_mac(GATEWAY), faults).await
    }

    pub(super) async fn gateway_state(&self, state: &str) -> Result<()> {
        self.story.emulator.gateway_state(gateway_mac(GATEWAY), state).await
    }

    /// The gateway gives this answer.
    pub(super) async fn answer(&self, answer: Value) -> Result<()> {
        self.story.emulator.answer(gateway_mac(GATEWAY), answer).await
    }

    /// How many commands have come to the gateway.
    pub(super) async fn commands(&self) -> Result<u64> {
        Ok(self.story.emulator.gateway(gateway_mac(GATEWAY)).await?.commands)
    }

    /// Waits until the gateway has got this many commands.
    pub(super) async fn came(&self, commands: u64) -> Result<()> {
        let came = async |_: &Story| Ok(self.commands().await? >= commands);
        self.story.until("the command is with the gateway", LIMIT, came).await
    }

    /// Waits until the gateway is connected, or is not.
    pub(super) async fn gateway_online(&self, online: bool) -> Result<()> {
        let there = async |_: &Story| Ok(self.story.emulator.gateway(gateway_mac(GATEWAY)).await?.online == online);
        self.story.until(&format!("the gateway's online is {online}"), LIMIT, there).await
    }

    /// Waits until all routers are ready, or none is.
    pub(super) async fn routers_ready(&self, ready: bool) -> Result<()> {
        for router in &self.story.stack.fwd_routers {
            self.ready(router, ready).await?;
        }
        self.replies_ready(ready).await
    }

    /// The same of the back router.
    pub(super) async fn replies_ready(&self, ready: bool) -> Result<()> {
        self.ready(&self.story.stack.bck_routers[0], ready).await
    }

    async fn ready(&self, role: &Role, ready: bool) -> Result<()> {
        let as_wanted = async |_: &Story| Ok(role.is_ready().await == ready);
        self.story.until(&format!("ready of {} is {ready}", role.name()), LIMIT, as_wanted).await
    }

    /// How often the label has carried this RPC's command out.
    pub(super) async fn carried_out(&self, label: LabelMac, id: &CorrelationId) -> Result<usize> {
        let history = self.story.emulator.label(label).await?.history;
        Ok(history.iter().filter(|done| done.id == *id).count())
    }

    pub(super) async fn counted(&self, what: Option<&str>) -> Result<f64> {
        match what {
            None => Ok(0.0),
            Some(STRAY_REPLIES) => Ok(self.asker.stray_replies() as f64),
            Some(metric) => self.story.metric(metric).await,
        }
    }

    /// Asks under the fault; undoes it.
    pub(super) async fn ask(&mut self, fault: Fault, id: &CorrelationId, label: LabelMac) -> Result<Told> {
        let told = self.inflict(fault, id, label).await;
        let Lines { routers, gateway, replies } = &self.lines;
        [routers, gateway, replies].into_iter().for_each(|line| line.set_mode(Mode::Pass));
        self.gateway_faults(json!({})).await?;
        self.story.emulator.label_faults(label, json!({})).await?;
        self.gateway_state("online").await?;
        self.gateway_state("resume").await?;
        told
    }
}

/// A role's URL of a server, with the port of the proxy.
fn through(proxy: &Proxy, servers: &Servers, role: &str, variable: &str) -> Result<String> {
    let env = servers.env_of(role);
    let (_, url) = env.iter().find(|(name, _)| *name == variable).context("a server's URL")?;
    let mut url = Url::parse(url)?;
    url.set_port(Some(proxy.port())).ok().context("putting the proxy's port into the URL")?;
    Ok(url.to_string())
}

pub(super) fn told(answered: Result<Reply, RpcError>) -> Result<Told> {
    match answered {
        Err(RpcError::Timeout) => Ok(Told::Nothing),
        Err(error) => Err(error.into()),
        Ok(Reply { outcome, error, .. }) => {
            let known = ["queue_full", "command_too_large"].into_iter().find(|known| error.as_deref() == Some(*known));
            Ok(Told::This(outcome, known))
        }
    }
}
