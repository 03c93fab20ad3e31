//! Somebody on the MQTT broker who is no gateway, and says what he likes on whichever topic.

use crate::Story;
use anyhow::Result;
use backbone::mqtt::{Client, ClientOptions, Incoming, MqttUrl, Publication, PublishError, Subscription};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// A client of the story's MQTT broker.
pub struct Stranger {
    client: Client,
    connection: TaskTracker,
    inbox: mpsc::Receiver<Incoming>,
}

impl Stranger {
    /// Connects.
    pub async fn connect(story: &Story) -> Result<Self> {
        Self::at(story.stack.servers.mqtt_urls[0].parse()?, None).await
    }

    /// Connects as whoever the URL says, and listens to this filter.
    pub async fn at(url: MqttUrl, listens_to: Option<&'static str>) -> Result<Self> {
        let subscription = listens_to.map(|filter| Subscription { filter, manual_acks: false });
        let client_id = format!("stranger-{}", uuid::Uuid::new_v4().simple());
        Self::called(&client_id, url, subscription).await
    }

    /// The same, with this client ID.
    pub async fn called(client_id: &str, url: MqttUrl, subscription: Option<Subscription>) -> Result<Self> {
        let options = ClientOptions { url, client_id: client_id.to_owned(), subscription, receive_maximum: 100 };
        let connection = TaskTracker::new();
        let (sender, inbox) = mpsc::channel(100);
        let client = Client::start(options, sender, &connection);
        client.ready().await?;
        Ok(Self { client, connection, inbox })
    }

    /// What it has heard, if anything.
    pub fn heard(&mut self) -> Option<Incoming> {
        self.inbox.try_recv().ok()
    }

    /// Says this, with this as correlation data, and waits until the broker has it.
    pub async fn say(&self, topic: &str, payload: &[u8], correlation: &str) -> Result<(), PublishError> {
        let publication = Publication {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            expiry: Duration::from_secs(60),
            response_topic: "nowhere".to_owned(),
            correlation: correlation.to_owned(),
        };
        self.client.publish(publication).await
    }

    /// Leaves.
    pub async fn leave(self) {
        self.client.close();
        self.connection.close();
        self.connection.wait().await;
    }
}
