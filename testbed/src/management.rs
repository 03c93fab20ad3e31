//! RabbitMQ's management API, as far as tests need it.

use anyhow::{Context, Result};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::access::{PASSWORD, Permissions, rabbitmq_permissions};
use crate::server::http_builder;
use std::time::Duration;

/// A virtual host with its quorum queues takes a while to make and to delete on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A client of one RabbitMQ's management API, as user `guest`.
#[derive(Debug, Clone)]
pub struct Management {
    client: reqwest::Client,
    url: String,
}

impl Management {
    /// A client of the API at `url`, such as `http://127.0.0.1:15672`.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self {
            client: http_builder().timeout(ANSWER_LIMIT).build().context("building the HTTP client")?,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// The URL given to [`Self::new`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a virtual host in which `guest` may do everything, and each role what it needs. `name` needs no escaping in a URL.
    pub async fn create_vhost(&self, name: &str) -> Result<()> {
        let vhost = format!("/api/vhosts/{name}");
        self.send(self.request(Method::PUT, &vhost)).await.with_context(|| format!("creating virtual host {name}"))?;
        let permissions = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let path = format!("/api/permissions/{name}/guest");
        self.send(self.request(Method::PUT, &path).json(&permissions))
            .await
            .with_context(|| format!("permitting guest to use virtual host {name}"))?;
        self.permit_users(name).await
    }

    /// Makes the roles' users, who may do nothing yet.
    pub(crate) async fn create_users(&self) -> Result<()> {
        for Permissions { user, .. } in rabbitmq_permissions() {
            let body = json!({"password": PASSWORD, "tags": ""});
            self.send(self.request(Method::PUT, &format!("/api/users/{user}")).json(&body))
                .await
                .with_context(|| format!("creating the user {user}"))?;
        }
        Ok(())
    }

    /// Permits each role in a virtual host what it needs.
    async fn permit_users(&self, vhost: &str) -> Result<()> {
        for Permissions { user, configure, write, read } in rabbitmq_permissions() {
            let body = json!({"configure": configure, "write": write, "read": read});
            self.send(self.request(Method::PUT, &format!("/api/permissions/{vhost}/{user}")).json(&body))
                .await
                .with_context(|| format!("permitting {user} to use virtual host {vhost}"))?;
        }
        Ok(())
    }

    /// Removes a virtual host with all that is in it; its connections are closed.
    pub async fn delete_vhost(&self, name: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &format!("/api/vhosts/{name}")))
            .await
            .with_context(|| format!("deleting virtual host {name}"))
    }

    /// Sets a policy for the queues of a virtual host whose names match `pattern`, a regular expression.
    pub async fn set_policy(&self, vhost: &str, name: &str, pattern: &str, definition: Value) -> Result<()> {
        let policy = json!({"pattern": pattern, "definition": definition, "apply-to": "queues"});
        self.send(self.request(Method::PUT, &format!("/api/policies/{vhost}/{name}")).json(&policy))
            .await
            .with_context(|| format!("setting the policy {name} in virtual host {vhost}"))
    }

    /// What the API answers to a GET of this path.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.request(Method::GET, path).send().await?.error_for_status()?;
        answer.json().await.with_context(|| format!("reading {path} of RabbitMQ"))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).basic_auth("guest", Some("guest"))
    }

    async fn send(&self, request: RequestBuilder) -> Result<()> {
        request.send().await?.error_for_status()?;
        Ok(())
    }
}
