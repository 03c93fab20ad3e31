//! A store backend: enqueues tasks and waits for the broker's confirm, whatever happens to the broker.

use anyhow::Result;
use backbone::{
    queue::{AmqpUrl, Broker, Message, Publisher, Routed},
    service::Backoff,
};
use futures::{StreamExt, stream};
use protocol::{Action, Fields, LabelMac, Priority, Store, Task, Version, names::amqp};
use std::{sync::Mutex, time::Duration};
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

/// A store backend. Remembers what it enqueued and the broker confirmed.
pub struct Backend {
    url: AmqpUrl,
    session: AsyncMutex<Option<(Broker, Publisher)>>,
    enqueued: Mutex<Vec<(Task, Vec<LabelMac>)>>,
}

/// A price update of these labels to this version; the price is made from the version, so that labels can be checked.
pub fn price_update(labels: &[LabelMac], version: u64) -> Task {
    Task {
        task_id: Uuid::now_v7().to_string().parse().expect("a UUID is a task ID"),
        store: "sp-014".parse().expect("a store"),
        action: Action::PriceUpdate,
        sku: None,
        labels: Some(labels.to_vec()),
        version: Version::try_from(version).ok(),
        fields: Fields {
            name: Some(format!("Furadeira {version}")),
            price: format!("{}.{:02}", version % 1_000_000, version % 100).parse().ok(),
            currency: "BRL".parse().ok(),
            ..Fields::default()
        },
        batch: None,
        timeout_ms: None,
        priority: Priority::Normal,
    }
}

impl Backend {
    /// Connects when it has something to say.
    pub fn new(url: AmqpUrl) -> Self {
        Self { url, session: AsyncMutex::default(), enqueued: Mutex::default() }
    }

    /// The store of all that it enqueues.
    pub fn store() -> Store {
        "sp-014".parse().expect("a store")
    }

    /// Enqueues a task and waits for the confirm. A task that names no labels must be told with
    /// [`enqueue_for`](Self::enqueue_for) whose labels it is for.
    pub async fn enqueue(&self, task: &Task) -> Result<()> {
        self.enqueue_for(task, task.labels.as_deref().unwrap_or_default()).await
    }

    /// Enqueues a task that must come to an outcome for each of these labels.
    pub async fn enqueue_for(&self, task: &Task, labels: &[LabelMac]) -> Result<()> {
        self.publish_to(amqp::task_queue(task.priority), &serde_json::to_vec(task)?).await?;
        let mut enqueued = self.enqueued.lock().expect("no panic while locked");
        enqueued.push((task.clone(), labels.to_vec()));
        Ok(())
    }

    /// Enqueues tasks, 64 at a time.
    pub async fn enqueue_all(&self, tasks: &[Task]) -> Result<()> {
        let mut confirms = stream::iter(tasks).map(|task| self.enqueue(task)).buffer_unordered(64);
        while let Some(confirmed) = confirms.next().await {
            confirmed?;
        }
        Ok(())
    }

    /// Puts any body into the task queue and waits for the confirm; keeps trying while the broker is away.
    pub async fn publish(&self, body: &[u8]) -> Result<()> {
        self.publish_to(amqp::TASKS, body).await
    }

    async fn publish_to(&self, routing_key: &str, body: &[u8]) -> Result<()> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let message = Message { routing_key, body, persistent: true, mandatory: true, ..Message::default() };
            let published = match self.publisher().await {
                Ok(publisher) => publisher.publish(message).await.map_err(anyhow::Error::from),
                Err(error) => Err(error),
            };
            if matches!(published, Ok(Routed::Yes)) {
                return Ok(());
            }
            self.session.lock().await.take();
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn publisher(&self) -> Result<Publisher> {
        let mut session = self.session.lock().await;
        if let Some((_, publisher)) = &*session {
            return Ok(publisher.clone());
        }
        let broker = Broker::connect(&self.url, "store backend").await?;
        broker.declare().await?;
        let publisher = broker.publisher().await?;
        *session = Some((broker, publisher.clone()));
        Ok(publisher)
    }

    /// Every task that the broker confirmed, and the labels that it is for.
    pub fn enqueued(&self) -> Vec<(Task, Vec<LabelMac>)> {
        self.enqueued.lock().expect("no panic while locked").clone()
    }
}
