//! What comes one by one goes to Redis together.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// At most so many requests, or answers, go to Redis in one round trip.
pub const CHUNK: usize = 64;

/// One chunk at a time is with Redis: what comes meanwhile is the next one, so that chunks grow with the load.
#[derive(Debug, Clone)]
pub struct RoundTrips(Arc<Semaphore>);

/// The round trip of one chunk, which ends when this is dropped.
#[derive(Debug)]
pub struct RoundTrip {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl RoundTrips {
    /// Waits until the chunk before is done with Redis.
    pub async fn next(&self) -> RoundTrip {
        RoundTrip { _permit: Arc::clone(&self.0).acquire_owned().await.ok() }
    }
}

/// Works on what comes, in chunks, each side by side with those before it once they are done with Redis. When closed,
/// takes nothing more in, and returns when all that had come is done.
pub async fn in_chunks<T, W>(
    mut inbox: mpsc::Receiver<T>,
    closed: &CancellationToken,
    work: impl Fn(Vec<T>, RoundTrip) -> W,
) where
    W: Future<Output = ()> + Send + 'static,
{
    let in_hand = TaskTracker::new();
    let trips = RoundTrips::default();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let trip = trips.next().await;
        tokio::select! {
            count = inbox.recv_many(&mut chunk, CHUNK) => match count {
                0 => break,
                _ => drop(in_hand.spawn(work(chunk, trip))),
            },
            () = closed.cancelled(), if !inbox.is_closed() => inbox.close(),
        }
    }
    in_hand.close();
    in_hand.wait().await;
}
