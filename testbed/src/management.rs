//! RabbitMQ's management API, as far as tests need it.

use anyhow::{Context, Result};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;

use crate::server::http_client;

/// A client of one RabbitMQ's management API, as user `guest`.
#[derive(Debug, Clone)]
pub struct Management {
    client: reqwest::Client,
    url: String,
}

#[derive(Deserialize)]
struct QueueTotals {
    #[serde(default)]
    messages: u64,
}

impl Management {
    /// A client of the API at `url`, such as `http://127.0.0.1:15672`.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self { client: http_client()?, url: url.trim_end_matches('/').to_owned() })
    }

    /// The URL given to [`Self::new`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a virtual host in which `guest` may do everything. `name` needs no escaping in a URL.
    pub async fn create_vhost(&self, name: &str) -> Result<()> {
        let vhost = format!("/api/vhosts/{name}");
        self.send(self.request(Method::PUT, &vhost)).await.with_context(|| format!("creating virtual host {name}"))?;
        let permissions = serde_json::json!({"configure": ".*", "write": ".*", "read": ".*"});
        let path = format!("/api/permissions/{name}/guest");
        self.send(self.request(Method::PUT, &path).json(&permissions))
            .await
            .with_context(|| format!("permitting guest to use virtual host {name}"))?;
        Ok(())
    }

    /// Removes a virtual host with all that is in it; its connections are closed.
    pub async fn delete_vhost(&self, name: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &format!("/api/vhosts/{name}")))
            .await
            .with_context(|| format!("deleting virtual host {name}"))?;
        Ok(())
    }

    /// The messages in a queue, ready and unacknowledged. Fails if there is no such queue.
    pub async fn queue_depth(&self, vhost: &str, queue: &str) -> Result<u64> {
        let path = format!("/api/queues/{vhost}/{queue}");
        let what = || format!("asking for the depth of queue {queue} in virtual host {vhost}");
        let answer = self.send(self.request(Method::GET, &path)).await.with_context(what)?;
        Ok(answer.json::<QueueTotals>().await.with_context(what)?.messages)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).basic_auth("guest", Some("guest"))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        Ok(request.send().await?.error_for_status()?)
    }
}
