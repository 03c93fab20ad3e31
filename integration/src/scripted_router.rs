//! Stands in for the fwd-routers, the gateways and the bck-routers: takes RPCs and answers them as a script says.

use crate::Story;
use anyhow::Result;
use backbone::queue::{AmqpUrl, Broker, Delivery, Message, Prefetch, Publisher, QueueError};
use protocol::{CommandHead, LabelMac, Reply, ReplyOutcome, Turn, WaitFor, names::amqp};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// An RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The label that it is about.
    pub label: LabelMac,
    /// Whose turn it is.
    pub turn: Turn,
}

/// How an RPC is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Carried out, after so long.
    Ack(Duration),
    /// Come back after so long.
    Wait(WaitFor, Duration),
}

/// Takes every RPC of a story that has no fwd-routers of its own.
pub struct ScriptedRouter {
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl ScriptedRouter {
    /// Begins to answer as the script says.
    ///
    /// # Errors
    /// When RabbitMQ can't be reached.
    pub async fn start(story: &Story, script: impl Fn(Asked) -> Answered + Send + 'static) -> Result<Self> {
        let url: AmqpUrl = story.stack.servers.amqp_url.parse()?;
        let broker = Broker::connect(&url, "scripted router").await?;
        broker.declare().await?;
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let told = Arc::clone(&asked);
        #[expect(clippy::disallowed_methods, reason = "aborted on drop")]
        let task = tokio::spawn(async move {
            let ended = answer(&broker, &told, script).await;
            eprintln!("the scripted router has ended: {ended:?}");
        });
        Ok(Self { asked, task })
    }

    /// Every RPC so far, in the order in which they came.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic while locked").clone()
    }
}

impl Drop for ScriptedRouter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    broker: &Broker,
    told: &Mutex<Vec<Asked>>,
    script: impl Fn(Asked) -> Answered,
) -> Result<(), QueueError> {
    let (mut requests, publisher) =
        (broker.consume(amqp::RPC, Prefetch::Each(2_000)).await?, broker.publisher().await?);
    let (settler, answers) = (requests.settler(), TaskTracker::new());
    loop {
        let delivery = requests.next().await?;
        let head: CommandHead = serde_json::from_slice(&delivery.body).expect("a command can be read");
        let asked = Asked { label: head.label, turn: delivery.turn };
        told.lock().expect("no panic while locked").push(asked);
        let (answered, publisher, settler) = (script(asked), publisher.clone(), settler.clone());
        answers.spawn(async move {
            let ticket = delivery.ticket;
            reply(&publisher, delivery, asked.label, answered).await;
            // A lost session has ended the router as well.
            let _ = settler.settle(&[ticket]).await;
        });
    }
}

async fn reply(publisher: &Publisher, request: Delivery, label: LabelMac, answered: Answered) {
    let reply = match answered {
        Answered::Ack(after) => {
            tokio::time::sleep(after).await;
            Reply { id: None, label, outcome: ReplyOutcome::Ack, error: None, gateway: None, retry_after_ms: None }
        }
        Answered::Wait(what, time) => {
            let (error, time) = (Some(what.as_str().to_owned()), u64::try_from(time.as_millis()).ok());
            Reply { id: None, label, outcome: ReplyOutcome::Busy, error, gateway: None, retry_after_ms: time }
        }
    };
    let body = serde_json::to_vec(&reply).expect("a reply can be written");
    let message = Message {
        routing_key: request.reply_to.as_deref().unwrap_or_default(),
        body: &body,
        correlation_id: request.correlation_id.as_deref(),
        ..Message::default()
    };
    // A worker that was killed has no reply queue any more.
    let _ = publisher.publish(message).await;
}
