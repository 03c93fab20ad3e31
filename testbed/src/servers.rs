//! The servers of one test, trial or bench.

use anyhow::Result;

use crate::{
    Management, MongoDb, MongoDbOptions, Mosquitto, MosquittoOptions, RabbitMq, RabbitMqOptions, Redis, RedisOptions,
    SharedServers,
};

/// Which servers [`Servers::start`] starts.
#[derive(Debug, Clone)]
pub struct ServersConfig {
    /// A RabbitMQ of one's own even if the run shares one: needed to kill, pause or stop it.
    pub own_rabbitmq: bool,
    /// What that is started with.
    pub rabbitmq: RabbitMqOptions,
    /// A MongoDB of one's own even if the run shares one: needed to kill, pause or stop it.
    pub own_mongodb: bool,
    /// How many Mosquittos.
    pub mosquittos: usize,
    /// What all of them are started with.
    pub mosquitto: MosquittoOptions,
}

impl Default for ServersConfig {
    fn default() -> Self {
        Self {
            own_rabbitmq: false,
            rabbitmq: RabbitMqOptions::default(),
            own_mongodb: false,
            mosquittos: 1,
            mosquitto: MosquittoOptions::default(),
        }
    }
}

/// Servers for one test: a Redis and Mosquittos of its own; a RabbitMQ and a MongoDB of its own, or a
/// fresh virtual host and database in those that the run shares.
///
/// The URLs are fields: put a [`Proxy`](crate::Proxy)'s port into one before roles are started with it.
pub struct Servers {
    /// `amqp://guest:guest@127.0.0.1:PORT/<vhost>`
    pub amqp_url: String,
    /// `redis://127.0.0.1:PORT/0`
    pub redis_url: String,
    /// `mqtt://127.0.0.1:PORT`, one per Mosquitto.
    pub mqtt_urls: Vec<String>,
    /// `mongodb://127.0.0.1:PORT/<database>`
    pub mongodb_url: String,
    /// The RabbitMQ, unless it is the shared one.
    pub rabbitmq: Option<RabbitMq>,
    /// The Redis.
    pub redis: Redis,
    /// The Mosquittos.
    pub mosquittos: Vec<Mosquitto>,
    /// The MongoDB, unless it is the shared one.
    pub mongodb: Option<MongoDb>,
    management: Management,
    name: String,
}

impl Servers {
    /// Starts what `config` asks for, all at the same time.
    pub async fn start(config: &ServersConfig) -> Result<Self> {
        let shared = SharedServers::from_env()?;
        let name = unique_name();
        let (rabbitmq, mongodb, redis, mosquittos) = tokio::try_join!(
            rabbitmq(shared.as_ref().filter(|_| !config.own_rabbitmq), &config.rabbitmq, &name),
            mongodb(shared.as_ref().filter(|_| !config.own_mongodb), &name),
            Redis::start(RedisOptions::default()),
            start_mosquittos(config),
        )?;
        let (rabbitmq, management, amqp_url) = rabbitmq;
        let (mongodb, mongodb_url) = mongodb;
        Ok(Self {
            amqp_url,
            redis_url: redis.url(),
            mqtt_urls: mosquittos.iter().map(Mosquitto::url).collect(),
            mongodb_url,
            rabbitmq,
            redis,
            mosquittos,
            mongodb,
            management,
            name,
        })
    }

    /// The name of this test's virtual host and database, unique on this machine.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The management API of the RabbitMQ.
    pub fn management(&self) -> &Management {
        &self.management
    }

    /// What a role needs to know, as environment variables.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AMQP_URL", self.amqp_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
            ("MQTT_URL", self.mqtt_urls.join(",")),
            ("MONGODB_URL", self.mongodb_url.clone()),
        ]
    }

    /// Gives back what is shared: a finished test's queues would burden those that still run. Servers of
    /// one's own end when dropped.
    pub async fn release(&self) -> Result<()> {
        if self.rabbitmq.is_none() {
            self.management.delete_vhost(&self.name).await?;
        }
        Ok(())
    }
}

async fn rabbitmq(
    shared: Option<&SharedServers>,
    options: &RabbitMqOptions,
    vhost: &str,
) -> Result<(Option<RabbitMq>, Management, String)> {
    if let Some(shared) = shared {
        let url = shared.create_vhost(vhost).await?;
        return Ok((None, shared.management().clone(), url));
    }
    let own = RabbitMq::start(options.clone()).await?;
    let url = own.create_vhost(vhost).await?;
    let management = own.management().clone();
    Ok((Some(own), management, url))
}

async fn mongodb(shared: Option<&SharedServers>, database: &str) -> Result<(Option<MongoDb>, String)> {
    if let Some(shared) = shared {
        return Ok((None, shared.database_url(database)));
    }
    let own = MongoDb::start(MongoDbOptions::default()).await?;
    let url = own.database_url(database);
    Ok((Some(own), url))
}

async fn start_mosquittos(config: &ServersConfig) -> Result<Vec<Mosquitto>> {
    let mut mosquittos = Vec::new();
    for _ in 0..config.mosquittos {
        mosquittos.push(Mosquitto::start(config.mosquitto.clone()).await?);
    }
    Ok(mosquittos)
}

fn unique_name() -> String {
    format!("esl_{}_{:08x}", std::process::id(), fastrand::u32(..))
}
