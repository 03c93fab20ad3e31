//! From requests that are held open to commands on their way.

use crate::hold::Held;
use backbone::commands::{Admitted, Dispatcher, Request};
use futures::{StreamExt, stream::FuturesUnordered};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// At most so many requests go to Redis in one round trip.
const CHUNK: usize = 64;

/// Forwards requests until closed.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) held: Held,
    pub(crate) closed: CancellationToken,
}

impl Forwarder {
    /// Those that are there go together. How many there can be is bounded by how many are held open.
    pub(crate) async fn run(self, mut requests: mpsc::Receiver<Request>) {
        let in_hand = TaskTracker::new();
        // As in fwd-router: one chunk at a time is with Redis.
        let turns = Arc::new(Semaphore::new(1));
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let turn = Arc::clone(&turns).acquire_owned().await;
            tokio::select! {
                count = requests.recv_many(&mut chunk, CHUNK) => match count {
                    0 => break,
                    _ => drop(in_hand.spawn(self.clone().forward(chunk, turn.ok()))),
                },
                () = self.closed.cancelled(), if !requests.is_closed() => requests.close(),
            }
        }
        in_hand.close();
        in_hand.wait().await;
    }

    async fn forward<T>(self, requests: Vec<Request>, turn: T) {
        let admitted = self.dispatcher.admitted(&requests, turn).await;
        let sends = requests.iter().zip(admitted).map(|(request, admitted)| self.send(request, admitted));
        sends.collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    async fn send(&self, request: &Request, admitted: Admitted) {
        let dispatched = self.dispatcher.dispatch(request, admitted).await;
        if let Some(reply) = dispatched.reply(request.head.label) {
            // Whoever asked may have given up.
            self.held.answer(&request.head.id, reply);
        }
    }
}
