//! From requests to commands on their way, or replies that say why not.

use crate::{metrics::Metrics, request};
use backbone::{
    commands::{Admitted, Dispatcher, Request, RoundTrip},
    queue::{Delivery, Message, Publisher, Routed, Settler, Ticket},
    service::now,
};
use futures::{StreamExt, stream::FuturesUnordered};
use protocol::Reply;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What lives longer than a session.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) rpc_timeout: Duration,
    pub(crate) metrics: Metrics,
}

/// Forwards the requests of one session.
#[derive(Debug)]
pub(crate) struct Forwarder {
    parts: Parts,
    replies: Publisher,
}

impl Forwarder {
    pub(crate) fn new(parts: Parts, replies: Publisher) -> Self {
        Self { parts, replies }
    }

    /// Forwards what was delivered together: one round trip to Redis, then each request by itself. A message is settled
    /// when all of its requests are with the MQTT broker, or answered. If the session is lost before, it is delivered
    /// again, and those that were sent are found under their IDs. Another chunk may ask Redis when this trip has ended.
    pub(crate) async fn forward(self: Arc<Self>, deliveries: Vec<Delivery>, settler: Settler, trip: RoundTrip) {
        let mut requests = Vec::with_capacity(deliveries.len());
        // Of each request the message that it came in, by its place among those that were delivered together.
        let mut came_in = Vec::with_capacity(deliveries.len());
        let mut unsettled = Unsettled { messages: Vec::with_capacity(deliveries.len()), settler };
        let (at, began) = (now(), Instant::now());
        for (message, delivery) in deliveries.into_iter().enumerate() {
            self.parts.metrics.redelivered.inc_by(delivery.redelivered.into());
            let ticket = delivery.ticket;
            for request in request::read(delivery, at, self.parts.rpc_timeout) {
                match request {
                    Ok(request) => requests.push(request),
                    Err(reason) => {
                        tracing::debug!(reason, "request dropped: it can't be read");
                        self.parts.metrics.count("malformed", began.elapsed());
                    }
                }
            }
            unsettled.messages.push((ticket, requests.len() - came_in.len()));
            came_in.resize(requests.len(), message);
        }
        let admitted = self.parts.dispatcher.admitted(&requests, trip).await;
        let ends = requests.into_iter().zip(admitted).zip(came_in);
        let ends = ends.map(async |((request, admitted), message)| {
            self.end(request, admitted, began).await;
            message
        });
        let mut ends = ends.collect::<FuturesUnordered<_>>().ready_chunks(crate::CHUNK);
        unsettled.settle_unreadable().await;
        while let Some(ended) = ends.next().await {
            unsettled.ended(&ended).await;
        }
    }

    async fn end(&self, request: Request, admitted: Admitted, began: Instant) {
        let dispatched = self.parts.dispatcher.dispatch(&request, admitted).await;
        let name = dispatched.name();
        if let Some(reply) = dispatched.reply(request.head.label) {
            // Rare, and large: the future of a command that is simply sent stays small.
            Box::pin(self.reply(&request, &reply)).await;
        }
        self.parts.metrics.count(name, began.elapsed());
    }

    async fn reply(&self, request: &Request, reply: &Reply) {
        let body = serde_json::to_vec(reply).unwrap_or_default();
        let message = Message {
            routing_key: &request.reply_to,
            body: &body,
            correlation_id: Some(request.head.id.as_str()),
            mandatory: true,
            ..Message::default()
        };
        match self.replies.publish(message).await {
            Ok(Routed::Yes) => {}
            Ok(Routed::Nowhere) => drop(self.parts.metrics.askers_gone.inc()),
            Err(error) => tracing::debug!("reply not published: {error}"),
        }
    }
}

/// Messages, each with the number of its requests that have not ended.
struct Unsettled {
    messages: Vec<(Ticket, usize)>,
    settler: Settler,
}

impl Unsettled {
    async fn settle_unreadable(&self) {
        let unreadable = self.messages.iter().filter(|(_, left)| *left == 0).map(|(ticket, _)| *ticket);
        self.settle(unreadable.collect()).await;
    }

    /// So many requests ended, by the messages that they came in.
    async fn ended(&mut self, requests: &[usize]) {
        let mut tickets = Vec::with_capacity(requests.len());
        for &message in requests {
            let (ticket, left) = &mut self.messages[message];
            *left -= 1;
            if *left == 0 {
                tickets.push(*ticket);
            }
        }
        self.settle(tickets).await;
    }

    async fn settle(&self, tickets: Vec<Ticket>) {
        if tickets.is_empty() {
            return;
        }
        if let Err(error) = self.settler.settle(&tickets).await {
            tracing::debug!("not acknowledged: {error}");
        }
    }
}
