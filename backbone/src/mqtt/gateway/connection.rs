//! The task that keeps a gateway connected to one of its brokers.

use super::{GatewayCommand, GatewayOptions, GatewayStatus, Message, Wanted, link};
use crate::{mqtt::MqttUrl, service::Backoff};
use futures::{StreamExt, future::BoxFuture, stream::FuturesOrdered};
use link::{Link, LinkEvent, MAX_UNACKNOWLEDGED, Publisher, Taken};
use protocol::names::mqtt::{Channel, topic};
use std::{collections::VecDeque, time::Duration};
use tokio::sync::{mpsc, watch};

/// How long a gateway takes to leave in order before it leaves without.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a broker has to acknowledge something. The client library's own pings do not tell: it puts them off as long
/// as anything is sent, and reports always are.
const PULSE: Duration = Duration::from_secs(10);

/// What comes from the broker, and how the connection is.
pub(super) struct Inbox {
    pub(super) inbox: mpsc::Sender<GatewayCommand>,
    pub(super) status: watch::Sender<GatewayStatus>,
}

/// What goes to the broker, across connections.
pub(super) struct Outbox {
    answers: mpsc::Receiver<Message>,
    reports: mpsc::Receiver<Message>,
    wanted: watch::Receiver<Wanted>,
    /// Sent but not acknowledged, in the order in which they were sent.
    unacknowledged: VecDeque<Message>,
    /// The end of the connection is wanted.
    leaving: bool,
}

pub(super) async fn run(options: GatewayOptions, mut outbox: Outbox, inbox: Inbox) {
    let mut backoff = Backoff::for_connections();
    let mut reported = false;
    let mut broker = options.first_broker % options.brokers.len().max(1);
    while outbox.wait_until_wanted().await {
        let Some(url) = options.brokers.get(broker) else { return };
        let before = inbox.status.borrow().connections;
        inbox.status.send_modify(|status| status.broker = broker);
        let ended = live(&options, url, &mut outbox, &inbox).await;
        inbox.status.send_modify(|status| status.online = false);
        let Some(ended) = ended else { continue };
        if inbox.status.borrow().connections > before {
            backoff.reset();
            reported = false;
        }
        if !std::mem::replace(&mut reported, true) {
            tracing::warn!(gateway.mac = %options.mac, mqtt.broker = %url, error = ended, "no connection; trying the next broker");
        }
        broker = (broker + 1) % options.brokers.len();
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            _ = outbox.wanted.changed() => {}
        }
    }
}

/// One connection, from its first byte to its end: why it ended, unless it was told to.
async fn live(options: &GatewayOptions, url: &MqttUrl, outbox: &mut Outbox, inbox: &Inbox) -> Option<String> {
    let (publisher, link) = match link::open(options, url) {
        Ok(opened) => opened,
        Err(error) => return Some(error),
    };
    let (subscribed, is_subscribed) = watch::channel(false);
    // Both run until one ends, neither is ever dropped half way: the event loop is polled all the time, and what is
    // published waits for it elsewhere.
    outbox.leaving = false;
    let ended = tokio::select! {
        error = inbox.fill(options, &publisher, link, &subscribed) => Some(error),
        error = outbox.empty(options, &publisher, is_subscribed, &inbox.status) => error,
    };
    ended.filter(|_| !outbox.leaving)
}

impl Inbox {
    /// Polls the connection until it ends; says why it did.
    async fn fill(
        &self,
        options: &GatewayOptions,
        publisher: &Publisher,
        mut link: Link,
        subscribed: &watch::Sender<bool>,
    ) -> String {
        loop {
            match link.next().await {
                // Also where the broker knew the session: a subscription more costs less than one that is missing.
                Ok(LinkEvent::Connected) if publisher.subscribe(options) => {}
                Ok(LinkEvent::Connected) => return "the subscription can't be queued".to_owned(),
                Ok(LinkEvent::Subscribed(true)) => drop(subscribed.send(true)),
                Ok(LinkEvent::Subscribed(false)) => return "the broker refused the subscription".to_owned(),
                // Fails only when nobody takes commands any more, and the gateway is about to be closed.
                Ok(LinkEvent::Command(command)) => drop(self.inbox.send(command).await),
                Ok(LinkEvent::Other) => {}
                Err(error) => return error,
            }
        }
    }
}

impl Outbox {
    pub(super) fn new(
        answers: mpsc::Receiver<Message>,
        reports: mpsc::Receiver<Message>,
        wanted: watch::Receiver<Wanted>,
    ) -> Self {
        Self { answers, reports, wanted, unacknowledged: VecDeque::new(), leaving: false }
    }

    /// Whether there is ever to be a connection again.
    async fn wait_until_wanted(&mut self) -> bool {
        let decided = |wanted: &Wanted| matches!(wanted, Wanted::Online | Wanted::Closed);
        self.wanted.wait_for(decided).await.is_ok_and(|wanted| *wanted == Wanted::Online)
    }

    /// Publishes what comes until the connection is wanted no more, and leaves as it is wanted; or until the broker
    /// hangs.
    async fn empty(
        &mut self,
        options: &GatewayOptions,
        publisher: &Publisher,
        mut subscribed: watch::Receiver<bool>,
        status: &watch::Sender<GatewayStatus>,
    ) -> Option<String> {
        tokio::select! {
            _ = subscribed.wait_for(|subscribed| *subscribed) => {}
            () = not_online(&mut self.wanted) => return None,
        }
        let taken = publisher.publish(&presence(options, true)).await;
        drop(taken); // the broker orders it before what follows; the next connection says it again
        status.send_modify(|status| {
            status.online = true;
            status.connections += 1;
        });
        tracing::info!(gateway.mac = %options.mac, mqtt.broker = %options.brokers[status.borrow().broker], "online");
        let mut taken = self.send_again(publisher).await;
        let mut wanted = self.wanted.clone();
        let mut pulse = tokio::time::interval(PULSE);
        let (mut alive, mut ask) = (true, false);
        loop {
            let room = self.unacknowledged.len() < usize::from(MAX_UNACKNOWLEDGED);
            tokio::select! {
                biased;
                () = not_online(&mut wanted) => break,
                _ = pulse.tick() => {
                    if !std::mem::replace(&mut alive, self.unacknowledged.is_empty()) {
                        return Some(format!("no acknowledgement for {PULSE:?}"));
                    }
                    ask = true;
                }
                Some(how) = taken.next() => {
                    alive = true;
                    self.taken(options, status, how).await;
                }
                Some(answer) = self.answers.recv(), if room => self.send(publisher, answer, &mut taken).await,
                Some(report) = self.reports.recv(), if room || !ask => {
                    if std::mem::take(&mut ask) {
                        self.send(publisher, report, &mut taken).await;
                    } else {
                        publisher.tell(report).await;
                    }
                }
            }
        }
        self.leaving = true;
        if *self.wanted.borrow() != Wanted::Cut {
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.leave(options, publisher, status, taken)).await;
        }
        None
    }

    async fn send_again(&mut self, publisher: &Publisher) -> FuturesOrdered<BoxFuture<'static, Taken>> {
        self.unacknowledged.retain(|message| message.again);
        let mut taken = FuturesOrdered::new();
        for message in &self.unacknowledged {
            taken.push_back(Box::pin(publisher.publish(message).await) as BoxFuture<'static, Taken>);
        }
        taken
    }

    async fn send(
        &mut self,
        publisher: &Publisher,
        message: Message,
        taken: &mut FuturesOrdered<BoxFuture<'static, Taken>>,
    ) {
        taken.push_back(Box::pin(publisher.publish(&message).await));
        self.unacknowledged.push_back(message);
    }

    /// The oldest unacknowledged message was taken, or will not be.
    async fn taken(&mut self, options: &GatewayOptions, status: &watch::Sender<GatewayStatus>, how: Taken) {
        if let Taken::Refused(reason) = &how {
            status.send_modify(|status| status.refused += 1);
            tracing::warn!(gateway.mac = %options.mac, reason, "the broker refused an answer");
        }
        match how {
            Taken::Yes | Taken::Refused(_) => drop(self.unacknowledged.pop_front()),
            // The connection is about to end, and with it this; the next one sends it again.
            Taken::Unknown => std::future::pending().await,
        }
    }

    async fn leave(
        &mut self,
        options: &GatewayOptions,
        publisher: &Publisher,
        status: &watch::Sender<GatewayStatus>,
        mut taken: FuturesOrdered<BoxFuture<'static, Taken>>,
    ) {
        if *self.wanted.borrow() == Wanted::Closed {
            while let Ok(answer) = self.answers.try_recv() {
                self.send(publisher, answer, &mut taken).await;
            }
        }
        self.send(publisher, presence(options, false), &mut taken).await;
        while let Some(how) = taken.next().await {
            self.taken(options, status, how).await;
        }
        publisher.disconnect(LEAVE_TIMEOUT).await;
        // The event loop ends when it has sent the DISCONNECT.
        std::future::pending().await
    }
}

async fn not_online(wanted: &mut watch::Receiver<Wanted>) {
    let _ = wanted.wait_for(|wanted| *wanted != Wanted::Online).await;
}

fn presence(options: &GatewayOptions, online: bool) -> Message {
    let payload = format!(r#"{{"online":{online}}}"#).into_bytes();
    Message { topic: topic(options.mac, Channel::Status), payload, correlation: None, again: false }
}
