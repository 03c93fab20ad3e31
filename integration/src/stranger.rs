//! Somebody on the MQTT broker who is no gateway, and says what he likes on whichever topic.

use crate::Story;
use anyhow::Result;
use backbone::mqtt::{Client, ClientOptions, Publication};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// A client of the story's MQTT broker.
pub struct Stranger {
    client: Client,
    connection: TaskTracker,
}

impl Stranger {
    /// Connects.
    pub async fn connect(story: &Story) -> Result<Self> {
        let options = ClientOptions {
            url: story.stack.servers.mqtt_urls[0].parse()?,
            client_id: "stranger".to_owned(),
            subscription: None,
            receive_maximum: 10,
        };
        let connection = TaskTracker::new();
        let client = Client::start(options, mpsc::channel(1).0, &connection);
        client.ready().await?;
        Ok(Self { client, connection })
    }

    /// Says this, with this as correlation data, and waits until the broker has it.
    pub async fn say(&self, topic: &str, payload: &[u8], correlation: &str) -> Result<()> {
        let publication = Publication {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            expiry: Duration::from_secs(60),
            response_topic: "nowhere".to_owned(),
            correlation: correlation.to_owned(),
        };
        Ok(self.client.publish(publication).await?)
    }

    /// Leaves.
    pub async fn leave(self) {
        self.client.close();
        self.connection.close();
        self.connection.wait().await;
    }
}
