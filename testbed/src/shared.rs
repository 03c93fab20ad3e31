//! The RabbitMQ and MongoDB that a whole test run shares.

use anyhow::{Context, Result};

use crate::{Management, MongoDb, RabbitMq};

const RABBITMQ_URL: &str = "TESTBED_RABBITMQ_URL";
const RABBITMQ_MANAGEMENT_URL: &str = "TESTBED_RABBITMQ_MANAGEMENT_URL";
const MONGODB_URL: &str = "TESTBED_MONGODB_URL";

/// Where the RabbitMQ and the MongoDB are that `testbed exec` started for the command that it runs.
#[derive(Debug, Clone)]
pub struct SharedServers {
    rabbitmq_url: String,
    management: Management,
    mongodb_url: String,
}

impl SharedServers {
    /// The shared servers that the environment names; `None` if it names none.
    #[expect(clippy::disallowed_methods, reason = "how `testbed exec` reaches the command that it runs")]
    pub fn from_env() -> Result<Option<Self>> {
        let get = |name| std::env::var(name).ok();
        let (Some(rabbitmq_url), Some(management_url), Some(mongodb_url)) =
            (get(RABBITMQ_URL), get(RABBITMQ_MANAGEMENT_URL), get(MONGODB_URL))
        else {
            return Ok(None);
        };
        let management = Management::new(&management_url).context("using the shared RabbitMQ")?;
        Ok(Some(Self { rabbitmq_url, management, mongodb_url }))
    }

    /// The environment that tells another process where these servers are.
    pub fn env(rabbitmq: &RabbitMq, mongodb: &MongoDb) -> [(&'static str, String); 3] {
        [
            (RABBITMQ_URL, rabbitmq.url()),
            (RABBITMQ_MANAGEMENT_URL, rabbitmq.management().url().to_owned()),
            (MONGODB_URL, mongodb.url()),
        ]
    }

    /// The management API of the shared RabbitMQ.
    pub fn management(&self) -> &Management {
        &self.management
    }

    /// Makes a virtual host in the shared RabbitMQ, and returns its URL.
    pub async fn create_vhost(&self, name: &str) -> Result<String> {
        self.management.create_vhost(name).await?;
        Ok(format!("{}/{name}", self.rabbitmq_url))
    }

    /// The URL of a database in the shared MongoDB.
    pub fn database_url(&self, name: &str) -> String {
        format!("{}/{name}", self.mongodb_url)
    }
}
