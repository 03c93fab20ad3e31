//! Taking tasks, of one priority, as many at a time as there are permits.

use backbone::queue::{Broker, Consumer, Delivery, Prefetch, QueueError, Settler};
use protocol::{Priority, names::amqp};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tasks of one priority. Each has permits of its own, so that what takes its turn can't hold up what is urgent.
pub(crate) struct Intake {
    tasks: Consumer,
    permits: Arc<Semaphore>,
}

/// The next task, an urgent one first. Cancel-safe.
pub(crate) async fn next(urgent: &mut Intake, normal: &mut Intake) -> Result<Taken, QueueError> {
    tokio::select! {
        biased;
        taken = urgent.next() => taken,
        taken = normal.next() => taken,
    }
}

/// A task, and the permit to work on it.
pub(crate) struct Taken {
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) delivery: Delivery,
    pub(crate) settler: Settler,
}

impl Intake {
    pub(crate) async fn open(broker: &Broker, priority: Priority, permits: u16) -> Result<Self, QueueError> {
        let tasks = broker.consume(amqp::task_queue(priority), Prefetch::Each(permits)).await?;
        Ok(Self { tasks, permits: Arc::new(Semaphore::new(permits.into())) })
    }

    /// The permit first, then the message: the prefetch window holds nothing that nobody works on. Cancel-safe.
    async fn next(&mut self) -> Result<Taken, QueueError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        // The semaphore is never closed.
        let permit = permit.map_err(|_| QueueError::Lost("no permits".to_owned()))?;
        let delivery = self.tasks.next().await?;
        Ok(Taken { permit, delivery, settler: self.tasks.settler() })
    }

    /// Takes no more; what was taken can still be settled.
    pub(crate) async fn cancel(&self) -> Result<(), QueueError> {
        self.tasks.cancel().await
    }
}
