//! From requests that are held open to commands on their way.

use crate::hold::Held;
use backbone::commands::{Admitted, Dispatcher, Request, RoundTrip, in_chunks};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Forwards requests until closed.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) held: Held,
    pub(crate) closed: CancellationToken,
}

impl Forwarder {
    /// Those that are there go together. How many there can be is bounded by how many are held open.
    pub(crate) async fn run(self, requests: mpsc::Receiver<Request>) {
        in_chunks(requests, &self.closed, |chunk, trip| self.clone().forward(chunk, trip)).await;
    }

    async fn forward(self, requests: Vec<Request>, trip: RoundTrip) {
        let admitted = self.dispatcher.admitted(&requests, trip).await;
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
