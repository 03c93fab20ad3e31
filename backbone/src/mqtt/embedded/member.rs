//! A role's side of the broker inside the process: what a connection is to one elsewhere.

use super::{EmbeddedBroker, groups::MemberId};
use crate::mqtt::{
    ClientOptions, Incoming, Publication, PublishError,
    client::{Link, Publisher},
};
use mqtt5::{QoS, packet::publish::PublishPacket};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What a role publishes with, and is subscribed by.
#[derive(Debug, Clone)]
pub(in crate::mqtt) struct Local {
    broker: EmbeddedBroker,
    member: Option<MemberId>,
}

/// Takes part until `closing`, or until the broker ends.
pub(in crate::mqtt) async fn run(
    broker: EmbeddedBroker,
    options: ClientOptions,
    inbox: mpsc::Sender<Incoming>,
    link: watch::Sender<Link>,
    closing: CancellationToken,
) {
    let member = options.subscription.map(|subscription| {
        let in_hand = subscription.manual_acks.then_some(options.receive_maximum);
        broker.groups().join(subscription.filter, inbox, in_hand)
    });
    let local = Local { broker: broker.clone(), member };
    link.send_modify(|link| (link.client, link.subscribed) = (Some(Publisher::Embedded(local.clone())), true));
    tokio::select! {
        () = closing.cancelled() => {}
        () = broker.ended() => {}
    }
    local.leave();
    link.send_modify(|link| (link.client, link.subscribed) = (None, false));
}

impl Local {
    /// Resolves when the broker has taken it: on its way to the gateway, or queued for it.
    pub(in crate::mqtt) async fn publish(&self, publication: Publication) -> Result<(), PublishError> {
        let router = self.broker.router().ok_or(PublishError::NotConnected)?;
        if !self.broker.sessions().any_listens(&router, &publication.topic).await {
            return Err(PublishError::NobodyListens);
        }
        let mut packet = PublishPacket::new(publication.topic, publication.payload, QoS::AtLeastOnce);
        let seconds = publication.expiry.as_millis().div_ceil(1000);
        packet.properties.set_message_expiry_interval(u32::try_from(seconds).unwrap_or(u32::MAX));
        packet.properties.set_response_topic(publication.response_topic);
        packet.properties.set_correlation_data(publication.correlation.into());
        router.route_message(&packet, None).await;
        Ok(())
    }

    pub(in crate::mqtt) fn leave(&self) {
        if let Some(member) = self.member {
            self.broker.groups().leave(member);
        }
    }
}
