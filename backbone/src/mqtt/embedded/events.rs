//! What the broker tells: every message that a gateway publishes, and its last will.

use super::{
    credentials::User,
    groups::{Groups, Patience, Said},
};
use mqtt5::{
    PropertyId, PropertyValue, QoS,
    broker::{
        BrokerEventHandler, ClientConnectEvent, ClientDisconnectEvent, ClientPublishEvent, MemoryBackend,
        PublishAction, StorageBackend,
        router::{DeliveryLanes, LaneReceivers, MessageRouter, SubscriptionRequest, TakeoverNotice},
        storage::QueueHandle,
    },
    packet::publish::PublishPacket,
};
use protocol::names::mqtt::{Channel, parse_topic};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// Whoever takes last wills from the router. No client can have this name: it has characters that none may have.
const WILLS: &str = "/wills/";
const WILL_FILTER: &str = "/gw/+/status";
/// The longest that a message waits for room. Nobody waits for an answer so long, and a connection that stands still
/// notices neither its gateway's pings nor its end.
const TOO_LATE: Duration = Duration::from_secs(30);
/// Last wills that wait. Each connection has one, and few end at the same time.
const WILL_QUEUE: usize = 4096;

/// Gives what gateways publish to the roles, instead of to the broker's own router; to that only as long as somebody is
/// there to put gateways to the test.
pub(super) struct Ear {
    /// Inspectors that are connected.
    pub(super) inspectors: AtomicUsize,
    pub(super) groups: Arc<Groups>,
    pub(super) dropped: Arc<Dropped>,
}

/// How many messages of gateways were dropped.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// Reports that nobody had room for, or that nobody listens to.
    pub(super) reports: AtomicU64,
    /// What had waited [`TOO_LATE`].
    pub(super) overdue: AtomicU64,
}

impl Ear {
    async fn hear(&self, event: &ClientPublishEvent) {
        let patience = match (parse_topic(&event.topic), event.qos) {
            // While we wait, the gateway's connection stands still, and its PUBACK is due: that is the backpressure.
            (Some((_, Channel::Response)), _) => Patience::ForMember,
            // As every broker drops QoS 0 for whom it has no room. A flood of them must not hold up the answers that
            // come after them on the same connection.
            (_, QoS::AtMostOnce) => Patience::None,
            _ => Patience::ForRoom,
        };
        let ClientPublishEvent { topic, payload, correlation_data, .. } = event.clone();
        let said = Said { topic, payload, correlation: correlation_data };
        match timeout(TOO_LATE, self.groups.deal(&said, patience)).await {
            Ok(true) => {}
            Ok(false) => drop(self.dropped.reports.fetch_add(1, Ordering::Relaxed)),
            Err(_) => {
                tracing::warn!(topic = %said.topic, "dropped: nobody had room for it for {TOO_LATE:?}");
                self.dropped.overdue.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl BrokerEventHandler for Ear {
    fn on_client_publish<'a>(
        &'a self,
        event: ClientPublishEvent,
    ) -> Pin<Box<dyn Future<Output = PublishAction> + Send + 'a>> {
        Box::pin(async move {
            if is_inspector(event.user_id.as_deref()) {
                // A command, on its way to its gateway.
                return PublishAction::Continue;
            }
            self.hear(&event).await;
            match self.inspectors.load(Ordering::Relaxed) {
                0 => PublishAction::Handled,
                _ if event.retain => PublishAction::Transform(not_retained(event)),
                _ => PublishAction::Continue,
            }
        })
    }

    fn on_client_connect<'a>(&'a self, event: ClientConnectEvent) -> Told<'a> {
        if is_inspector(event.user_id.as_deref()) {
            self.inspectors.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(()))
    }

    fn on_client_disconnect<'a>(&'a self, event: ClientDisconnectEvent) -> Told<'a> {
        if is_inspector(event.user_id.as_deref()) {
            let one_less = |inspectors: usize| Some(inspectors.saturating_sub(1));
            let _ = self.inspectors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        }
        Box::pin(std::future::ready(()))
    }
}

type Told<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

fn is_inspector(user: Option<&str>) -> bool {
    user == Some(User::INSPECTOR)
}

/// The same, since nothing is retained here.
fn not_retained(event: ClientPublishEvent) -> PublishPacket {
    let mut packet = PublishPacket::new(event.topic.to_string(), event.payload, event.qos);
    packet.packet_id = event.packet_id;
    if let Some(correlation) = event.correlation_data {
        packet.properties.set_correlation_data(correlation);
    }
    packet
}

/// Last wills, which the broker gives only to its router.
pub(super) struct Wills {
    lanes: LaneReceivers,
    queue: QueueHandle,
    /// Held, so that the router does not take the subscriber for gone.
    _takeover: oneshot::Receiver<TakeoverNotice>,
}

impl Wills {
    pub(super) async fn listen(router: &MessageRouter) -> mqtt5::Result<Self> {
        let (lanes, receivers) = DeliveryLanes::channel(WILL_QUEUE);
        let queue = MemoryBackend::new().queue_handle(WILLS);
        let (sender, takeover) = oneshot::channel();
        router.register_client(WILLS.to_owned(), lanes, Arc::clone(&queue), sender).await;
        router.subscribe(SubscriptionRequest::new(WILLS, WILL_FILTER, QoS::AtLeastOnce)).await?;
        Ok(Self { lanes: receivers, queue, _takeover: takeover })
    }

    /// Passes them on until the router is gone.
    pub(super) async fn pass_on(mut self, groups: Arc<Groups>) {
        while let Some(message) = self.lanes.recv().await {
            groups.deal(&said(message.publish), Patience::ForRoom).await;
            if self.queue.count() > 0 {
                // Those that came while the lane was full. What waits there would keep later ones from the lane.
                let lost = self.queue.clear(None);
                tracing::warn!(lost, "last wills dropped: too many at a time");
            }
        }
    }
}

fn said(publish: PublishPacket) -> Said {
    let correlation = match publish.properties.get(PropertyId::CorrelationData) {
        Some(PropertyValue::BinaryData(data)) => Some(data.clone()),
        _ => None,
    };
    Said { topic: publish.topic_name.into(), payload: publish.payload, correlation }
}
