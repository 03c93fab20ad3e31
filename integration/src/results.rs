//! An observer of the results exchange, on a durable queue of its own.

use backbone::{
    queue::{AmqpUrl, Broker, QueueError},
    service::Backoff,
};
use protocol::{LabelMac, ResultMessage, TaskId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// Results by task and label, in the order in which they came.
pub type Seen = HashMap<(TaskId, LabelMac), Vec<ResultMessage>>;

/// Every result published since it was started.
pub struct Results {
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Results {
    /// Begins to observe; when this returns, the queue is bound.
    pub async fn observe(url: AmqpUrl) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (count, mut changed) = watch::channel(0);
        #[expect(clippy::disallowed_methods, reason = "aborted on drop")]
        let task = tokio::spawn(observe(url, Arc::clone(&seen), count));
        changed.changed().await.expect("the observer lives");
        Self { seen, changed, task }
    }

    /// Every result so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("no panic while locked").clone()
    }

    /// How many pairs of task and label have a result.
    pub fn count(&self) -> usize {
        self.seen.lock().expect("no panic while locked").len()
    }

    /// How many of these have a result.
    pub fn settled(&self, expected: &[(TaskId, LabelMac)]) -> usize {
        let seen = self.seen.lock().expect("no panic while locked");
        expected.iter().filter(|pair| seen.contains_key(pair)).count()
    }

    /// Leaves those that have no result.
    pub fn retain_missing(&self, pairs: &mut Vec<(TaskId, LabelMac)>) {
        let seen = self.seen.lock().expect("no panic while locked");
        pairs.retain(|pair| !seen.contains_key(pair));
    }

    /// Waits until there is a result for each of these; false when that takes too long.
    pub async fn wait_for(&self, expected: &[(TaskId, LabelMac)], limit: Duration) -> bool {
        let mut changed = self.changed.clone();
        let all_there = async {
            while !self.has(expected) {
                changed.changed().await.expect("the observer lives");
            }
        };
        tokio::time::timeout(limit, all_there).await.is_ok()
    }

    fn has(&self, expected: &[(TaskId, LabelMac)]) -> bool {
        let seen = self.seen.lock().expect("no panic while locked");
        seen.len() >= expected.len() && expected.iter().all(|pair| seen.contains_key(pair))
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn observe(url: AmqpUrl, seen: Arc<Mutex<Seen>>, count: watch::Sender<usize>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let _ = session(&url, &seen, &count).await;
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

async fn session(url: &AmqpUrl, seen: &Mutex<Seen>, count: &watch::Sender<usize>) -> Result<(), QueueError> {
    let broker = Broker::connect(url, "results observer").await?;
    broker.declare().await?;
    let mut results = broker.consume_results("observed-results", "#", 200).await?;
    count.send_modify(|_| {});
    loop {
        let chunk = results.next_chunk(100).await?;
        let tickets: Vec<_> = chunk.iter().map(|delivery| delivery.ticket).collect();
        for delivery in chunk {
            let result: ResultMessage = serde_json::from_slice(&delivery.body).expect("a result can be read");
            let mut seen = seen.lock().expect("no panic while locked");
            seen.entry((result.task_id.clone(), result.label)).or_default().push(result);
        }
        count.send_modify(|count| *count += tickets.len());
        results.settler().settle(&tickets).await?;
    }
}
