//! The servers of one test, trial or bench.

use anyhow::Result;

use crate::access::{MQTT_USERS, rabbitmq_permissions, with_user};
use crate::{
    Certificates, GATEWAY_EMULATOR, Management, MongoDb, MongoDbOptions, Mosquitto, MosquittoOptions, RabbitMq,
    RabbitMqOptions, Redis, RedisOptions, SharedServers, TlsFiles,
};

/// Who plays gateways.
const EMULATOR: &str = "emulator";

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
    /// Each role signs in as a user of its own, who may do what `security/` permits it: at RabbitMQ, Redis and Mosquitto.
    pub users: bool,
    /// They do so over TLS, at MongoDB too, and at Mosquitto by certificates; all servers are of one's own then.
    pub tls: bool,
}

impl Default for ServersConfig {
    fn default() -> Self {
        Self {
            own_rabbitmq: false,
            rabbitmq: RabbitMqOptions::default(),
            own_mongodb: false,
            mosquittos: 1,
            mosquitto: MosquittoOptions::default(),
            users: true,
            tls: false,
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
    /// Where the emulator's gateways come, if not to the Mosquittos themselves.
    pub gateways_url: Option<String>,
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
    /// The certificates that TLS is spoken with.
    pub certificates: Option<Certificates>,
    management: Management,
    users: bool,
    name: String,
}

impl Servers {
    /// Starts what `config` asks for, all at the same time.
    pub async fn start(config: &ServersConfig) -> Result<Self> {
        let shared = SharedServers::from_env()?.filter(|_| !config.tls);
        let name = unique_name();
        let certificates = config.tls.then(Certificates::new).transpose()?;
        let tls = certificates.as_ref().map(|certificates| certificates.server("IP:127.0.0.1")).transpose()?;
        if let Some(certificates) = &certificates {
            certificates.clients(MQTT_USERS)?;
        }
        let rabbitmq_options = RabbitMqOptions { tls: tls.clone(), ..config.rabbitmq.clone() };
        let (rabbitmq, mongodb, redis, mosquittos) = tokio::try_join!(
            rabbitmq(shared.as_ref().filter(|_| !config.own_rabbitmq), rabbitmq_options, &name),
            mongodb(shared.as_ref().filter(|_| !config.own_mongodb), tls.clone(), &name),
            Redis::start(RedisOptions { tls: tls.clone(), ..RedisOptions::default() }),
            start_mosquittos(config, tls.as_ref()),
        )?;
        let (rabbitmq, management, amqp_url) = rabbitmq;
        let (mongodb, mongodb_url) = mongodb;
        Ok(Self {
            amqp_url,
            redis_url: redis.url(),
            mqtt_urls: mosquittos.iter().map(Mosquitto::url).collect(),
            gateways_url: None,
            mongodb_url,
            rabbitmq,
            redis,
            mosquittos,
            mongodb,
            certificates,
            management,
            users: config.users,
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

    /// Where the servers are, as environment variables, for whoever may do everything.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AMQP_URL", self.amqp_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
            ("MQTT_URL", self.mqtt_urls.join(",")),
            ("MONGODB_URL", self.mongodb_url.clone()),
        ]
    }

    /// What a role needs to know, as environment variables: where the servers are, and who it is there.
    pub fn env_of(&self, role: &str) -> Vec<(&'static str, String)> {
        if let Some(certificates) = &self.certificates {
            return self.tls_env_of(role, certificates);
        }
        let amqp_user = rabbitmq_permissions().find(|permissions| self.users && permissions.user == role);
        let mqtt_user = mqtt_user(role).filter(|_| self.users);
        let mut env = self.env();
        for (name, url) in &mut env {
            if let ("MQTT_URL", GATEWAY_EMULATOR, Some(gateways)) = (*name, role, &self.gateways_url) {
                url.clone_from(gateways);
            }
            match (*name, &amqp_user, mqtt_user) {
                ("AMQP_URL" | "REDIS_URL", Some(_), _) => *url = with_user(url, role),
                ("MQTT_URL", _, Some(user)) => {
                    let urls: Vec<_> = url.split(',').map(|url| with_user(url, user)).collect();
                    *url = urls.join(",");
                }
                _ => {}
            }
        }
        env
    }

    fn tls_env_of(&self, role: &str, certificates: &Certificates) -> Vec<(&'static str, String)> {
        let place = |scheme: &str, port: Option<u16>| {
            with_user(&format!("{scheme}://127.0.0.1:{}", port.unwrap_or_default()), role)
        };
        let amqp_port = self.rabbitmq.as_ref().and_then(RabbitMq::tls_port);
        let mongodb_port = self.mongodb.as_ref().map(|mongodb| mongodb.port());
        let name = &self.name;
        // Each gateway has a certificate of its own.
        let client = mqtt_user(role).map(|user| if user == EMULATOR { "{mac}" } else { user });
        let mqtt_urls = match client {
            Some("{mac}") => self.mosquittos.iter().map(Mosquitto::gateways_url).collect(),
            _ => self.mqtt_urls.clone(),
        };
        let path = |file: String| certificates.path(&file).display().to_string();
        let mut env = vec![
            ("AMQP_URL", format!("{}/{name}", place("amqps", amqp_port))),
            ("REDIS_URL", format!("{}/0", place("rediss", self.redis.tls_port()))),
            ("MQTT_URL", mqtt_urls.join(",")),
            ("MONGODB_URL", format!("{}/{name}?tls=true&authSource={name}", place("mongodb", mongodb_port))),
            ("TLS_CA_FILE", certificates.authority().display().to_string()),
        ];
        if let Some(client) = client {
            env.push(("MQTT_CLIENT_CERT", path(format!("{client}.pem"))));
            env.push(("MQTT_CLIENT_KEY", path(format!("{client}.key"))));
        }
        env
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
    options: RabbitMqOptions,
    vhost: &str,
) -> Result<(Option<RabbitMq>, Management, String)> {
    if let Some(shared) = shared {
        let url = shared.create_vhost(vhost).await?;
        return Ok((None, shared.management().clone(), url));
    }
    let own = RabbitMq::start(options).await?;
    let url = own.create_vhost(vhost).await?;
    let management = own.management().clone();
    Ok((Some(own), management, url))
}

async fn mongodb(
    shared: Option<&SharedServers>,
    tls: Option<TlsFiles>,
    database: &str,
) -> Result<(Option<MongoDb>, String)> {
    if let Some(shared) = shared {
        return Ok((None, shared.database_url(database)));
    }
    let users = tls.is_some();
    let own = MongoDb::start(MongoDbOptions { users, tls, ..MongoDbOptions::default() }).await?;
    if users {
        own.create_users(database).await?;
    }
    let url = own.database_url(database);
    Ok((Some(own), url))
}

/// As whom a role signs in at Mosquitto.
fn mqtt_user(role: &str) -> Option<&'static str> {
    MQTT_USERS.into_iter().find(|user| *user == role || *user == EMULATOR && role == GATEWAY_EMULATOR)
}

async fn start_mosquittos(config: &ServersConfig, tls: Option<&TlsFiles>) -> Result<Vec<Mosquitto>> {
    let mut mosquittos = Vec::new();
    let users = MQTT_USERS.iter().filter(|_| config.users && tls.is_none()).map(ToString::to_string);
    let users: Vec<_> = config.mosquitto.users.iter().cloned().chain(users).collect();
    for _ in 0..config.mosquittos {
        let options = MosquittoOptions { users: users.clone(), tls: tls.cloned(), ..config.mosquitto.clone() };
        mosquittos.push(Mosquitto::start(options).await?);
    }
    Ok(mosquittos)
}

fn unique_name() -> String {
    format!("esl_{}_{:08x}", std::process::id(), fastrand::u32(..))
}
