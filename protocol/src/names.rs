//! Every queue, exchange, header, topic, key and collection by its name: built here and parsed here, nowhere else.

use crate::{GatewayMac, LabelMac, Outcome, Store};

/// Queues, exchanges and headers in RabbitMQ.
pub mod amqp {
    use super::{Outcome, Store};

    /// Tasks: durable quorum queue on the default exchange.
    pub const TASKS: &str = "esl.tasks";
    /// Tasks that could not be used, each with [`REASON`]; durable.
    pub const DEAD_TASKS: &str = "esl.tasks.dead";
    /// RPC requests, from workers to forward routers.
    pub const RPC: &str = "esl.rpc";
    /// Results, by [`result_key`]; durable topic exchange.
    pub const RESULTS: &str = "esl.results";
    /// Header of a dead letter: why it is one.
    pub const REASON: &str = "x-reason";
    /// Header that RabbitMQ puts on a message of a quorum queue: how often it was delivered before.
    pub const DELIVERY_COUNT: &str = "x-delivery-count";
    /// Header by RabbitMQ's timestamp interceptor: when the broker took the message, in ms since the Unix epoch.
    pub const TIMESTAMP_IN_MS: &str = "timestamp_in_ms";

    const REPLY_PREFIX: &str = "esl.reply.";

    /// The reply queue of one session of a worker.
    pub fn reply_queue(session: uuid::Uuid) -> String {
        format!("{REPLY_PREFIX}{}", session.as_hyphenated())
    }

    /// The session that a reply queue belongs to.
    pub fn parse_reply_queue(name: &str) -> Option<uuid::Uuid> {
        uuid::Uuid::try_parse(name.strip_prefix(REPLY_PREFIX)?).ok()
    }

    /// The routing key of a result: `<store>.<outcome>`.
    pub fn result_key(store: &Store, outcome: Outcome) -> String {
        format!("{store}.{outcome}")
    }

    /// The store and outcome of a routing key.
    pub fn parse_result_key(key: &str) -> Option<(Store, Outcome)> {
        let (store, outcome) = key.split_once('.')?;
        Some((store.parse().ok()?, outcome.parse().ok()?))
    }
}

/// Topics of MQTT.
pub mod mqtt {
    use super::GatewayMac;

    /// What the bck-routers share: every gateway's answers.
    pub const SHARED_RESPONSES: &str = "$share/router-bck-group//gw/+/response";
    /// What the trackers share: every gateway's reports.
    pub const SHARED_STATUS: &str = "$share/router-status-group//gw/+/status";

    /// What is said on a gateway's topic.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Channel {
        /// Commands to the gateway.
        Action,
        /// The gateway's answers.
        Response,
        /// The gateway's reports and last will.
        Status,
    }

    impl Channel {
        const ALL: [Self; 3] = [Self::Action, Self::Response, Self::Status];

        const fn as_str(self) -> &'static str {
            match self {
                Self::Action => "action",
                Self::Response => "response",
                Self::Status => "status",
            }
        }
    }

    /// `/gw/<gateway mac>/<channel>`.
    pub fn topic(gateway: GatewayMac, channel: Channel) -> String {
        format!("/gw/{gateway}/{}", channel.as_str())
    }

    /// Which gateway a topic belongs to, and what is said there. The topic says who speaks, so only the one spelling
    /// of a MAC that brokers' access rules compare is taken.
    pub fn parse_topic(topic: &str) -> Option<(GatewayMac, Channel)> {
        let (mac, channel) = topic.strip_prefix("/gw/")?.split_once('/')?;
        let canonical = mac.len() == 12 && mac.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let channel = Channel::ALL.into_iter().find(|known| known.as_str() == channel)?;
        canonical.then(|| mac.parse().ok())?.map(|mac| (mac, channel))
    }
}

/// Keys in Redis. Those of one label share a hash slot (the label's MAC in braces), so one script may use them all.
pub mod redis {
    use super::LabelMac;

    /// Hash: gateway to `<broker> <online> <ms>`: on which broker it last reported, and when.
    pub const GATEWAYS: &str = "esl:gateways";
    /// Exists as long as Redis has not lost its data; routers fill their part again when it is gone.
    pub const EPOCH: &str = "esl:epoch";

    /// What a label's key holds.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum LabelKey {
        /// Hash: gateway to `<rssi dBm> <ms>`.
        Route,
        /// Hash: the label's lease, fence, and what its latest RPCs were about.
        Rpc,
        /// String: exists for a while after the label was found left behind, and was sent its desired version again.
        Repair,
    }

    impl LabelKey {
        const ALL: [Self; 3] = [Self::Route, Self::Rpc, Self::Repair];

        const fn as_str(self) -> &'static str {
            match self {
                Self::Route => "route",
                Self::Rpc => "rpc",
                Self::Repair => "repair",
            }
        }
    }

    /// `esl:<what>:{<label mac>}`.
    pub fn label_key(what: LabelKey, label: LabelMac) -> String {
        format!("esl:{}:{{{label}}}", what.as_str())
    }

    /// What a key holds, and of which label.
    pub fn parse_label_key(key: &str) -> Option<(LabelKey, LabelMac)> {
        let (what, label) = key.strip_prefix("esl:")?.split_once(':')?;
        let what = LabelKey::ALL.into_iter().find(|known| known.as_str() == what)?;
        let label = label.strip_prefix('{')?.strip_suffix('}')?.parse().ok()?;
        Some((what, label))
    }
}

/// Collections of the ledger in MongoDB.
pub mod ledger {
    /// The database, where the URL names none.
    pub const DATABASE: &str = "esl";
    /// One document per label: what it is bound to, what it should show and what it shows.
    pub const LABELS: &str = "labels";
    /// One document per label and task, never changed.
    pub const OUTCOMES: &str = "outcomes";
    /// One document per request by which tasks were enqueued over HTTP.
    pub const BATCHES: &str = "batches";
    /// One document per action that somebody took by the operator's page, never changed.
    pub const ACTIONS: &str = "actions";
    /// Time series: how long RPCs took.
    pub const RPC_LATENCY: &str = "rpc_latency";
}

#[cfg(test)]
mod tests {
    use super::{mqtt::Channel, redis::LabelKey, *};
    use proptest::prelude::*;

    #[test]
    fn names_are_as_the_contract_says() {
        let gateway: GatewayMac = "00fa7e000001".parse().unwrap();
        assert_eq!(mqtt::topic(gateway, Channel::Action), "/gw/00fa7e000001/action");
        let label: LabelMac = "001a2b3c4d5e".parse().unwrap();
        assert_eq!(redis::label_key(LabelKey::Route, label), "esl:route:{001a2b3c4d5e}");
        assert_eq!(amqp::result_key(&"sp-014".parse().unwrap(), Outcome::Shown), "sp-014.shown");
    }

    #[test]
    fn a_topic_has_one_spelling() {
        for topic in [
            "gw/00fa7e000001/action",
            "/gw/00FA7E000001/action",
            "/gw/00:fa:7e:00:00:01/status",
            "/gw//status",
            "/gw/00fa7e000001/other",
        ] {
            assert_eq!(mqtt::parse_topic(topic), None, "{topic}");
        }
    }

    proptest! {
        #[test]
        fn what_is_built_is_parsed(octets: [u8; 6], bits: u128, store in "[a-zA-Z0-9_-]{1,64}") {
            let (gateway, label) = (GatewayMac::from_octets(octets), LabelMac::from_octets(octets));
            for channel in [Channel::Action, Channel::Response, Channel::Status] {
                prop_assert_eq!(mqtt::parse_topic(&mqtt::topic(gateway, channel)), Some((gateway, channel)));
            }
            for key in [LabelKey::Route, LabelKey::Rpc] {
                prop_assert_eq!(redis::parse_label_key(&redis::label_key(key, label)), Some((key, label)));
            }
            let session = uuid::Uuid::from_u128(bits);
            prop_assert_eq!(amqp::parse_reply_queue(&amqp::reply_queue(session)), Some(session));
            let store: Store = store.parse().unwrap();
            for outcome in Outcome::ALL {
                let key = amqp::result_key(&store, outcome);
                prop_assert_eq!(amqp::parse_result_key(&key), Some((store.clone(), outcome)));
            }
        }

        #[test]
        fn no_name_panics(name: String) {
            let _ = (mqtt::parse_topic(&name), redis::parse_label_key(&name), amqp::parse_reply_queue(&name), amqp::parse_result_key(&name));
        }
    }
}
