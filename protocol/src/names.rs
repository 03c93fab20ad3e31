//! Every queue, exchange, header, topic, key and collection by its name: built here and parsed here, nowhere else.

use crate::{GatewayMac, LabelMac, Outcome, Priority, Store, Turn};

/// Queues, exchanges and headers in RabbitMQ.
pub mod amqp {
    use super::{Outcome, Priority, Store, Turn};
    use std::time::Duration;

    /// Tasks: durable quorum queue on the default exchange.
    pub const TASKS: &str = "esl.tasks";
    /// Urgent tasks, which those in [`TASKS`] can't hold up: as that.
    pub const URGENT_TASKS: &str = "esl.tasks.urgent";
    /// Tasks that could not be used, each with [`REASON`]; durable.
    pub const DEAD_TASKS: &str = "esl.tasks.dead";
    /// RPC requests, from workers to forward routers.
    pub const RPC: &str = "esl.rpc";
    /// RPC requests, several to a message: a command on each line. Used while a forward router consumes it.
    pub const RPC_LINES: &str = "esl.rpc.lines";
    /// Results, by [`result_key`]; durable topic exchange.
    pub const RESULTS: &str = "esl.results";
    /// Header of a dead letter: why it is one.
    pub const REASON: &str = "x-reason";
    /// Header that RabbitMQ puts on a message of a quorum queue: how often it was delivered before.
    pub const DELIVERY_COUNT: &str = "x-delivery-count";
    /// Header by RabbitMQ's timestamp interceptor: when the broker took the message, in ms since the Unix epoch.
    pub const TIMESTAMP_IN_MS: &str = "timestamp_in_ms";

    /// Header of a task whose labels had to wait: a [`Wait`](crate::Wait) as JSON.
    pub const WAIT: &str = "x-wait";
    /// The delays of the queues in which tasks wait, in seconds: one queue each, since RabbitMQ expires the messages of a
    /// queue in their order.
    pub const WAIT_SECONDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

    const REPLY_PREFIX: &str = "esl.reply.";
    /// Ends the name of a reply queue whose owner takes several replies in one message.
    const LINES_SUFFIX: &str = ".lines";
    const WAIT_INFIX: &str = ".wait.";

    /// The queue of tasks of this priority.
    pub const fn task_queue(priority: Priority) -> &'static str {
        match priority {
            Priority::Normal => TASKS,
            Priority::Urgent => URGENT_TASKS,
        }
    }

    /// As long as a task is away that is told to wait longer.
    pub const LONGEST_WAIT_SECONDS: u64 = WAIT_SECONDS[WAIT_SECONDS.len() - 1];

    /// Every queue in which tasks wait: the priority of the tasks, and for how many seconds. An urgent task waits for
    /// the shortest, unless its batch is paused.
    pub fn waiting_queues() -> impl Iterator<Item = (Priority, u64)> {
        let normal = WAIT_SECONDS.into_iter().map(|seconds| (Priority::Normal, seconds));
        normal.chain([(Priority::Urgent, WAIT_SECONDS[0]), (Priority::Urgent, LONGEST_WAIT_SECONDS)])
    }

    /// The longest delay of a queue that is not longer than this wait, in seconds; the shortest, where all are longer.
    pub fn wait_seconds(priority: Priority, wait: Duration) -> u64 {
        let fitting = WAIT_SECONDS.into_iter().rev().find(|seconds| *seconds <= wait.as_secs());
        match priority {
            Priority::Normal => fitting.unwrap_or(WAIT_SECONDS[0]),
            Priority::Urgent if wait.as_secs() >= LONGEST_WAIT_SECONDS => LONGEST_WAIT_SECONDS,
            Priority::Urgent => WAIT_SECONDS[0],
        }
    }

    /// `<queue of tasks>.wait.<seconds>`: the queue from which a task goes back to its own after so long.
    pub fn waiting_queue(priority: Priority, seconds: u64) -> String {
        format!("{}{WAIT_INFIX}{seconds}", task_queue(priority))
    }

    /// The priority of the tasks that wait in a queue, and for how many seconds.
    pub fn parse_waiting_queue(name: &str) -> Option<(Priority, u64)> {
        let (queue, seconds) = name.split_once(WAIT_INFIX)?;
        let priority = Priority::ALL.into_iter().find(|priority| task_queue(*priority) == queue)?;
        let seconds = WAIT_SECONDS.into_iter().find(|known| known.to_string() == seconds)?;
        waiting_queues().find(|known| *known == (priority, seconds))
    }

    /// The property `priority` of an RPC request.
    pub const fn priority(turn: Turn) -> u8 {
        match turn {
            Turn::Newcomer => 0,
            Turn::Waited => 1,
            Turn::Urgent => 2,
        }
    }

    /// Whose turn it is by the property `priority`; without one it has not waited.
    pub fn parse_priority(number: Option<u8>) -> Turn {
        Turn::ALL.into_iter().find(|turn| Some(priority(*turn)) == number).unwrap_or_default()
    }

    /// The reply queue of one session of a worker, which takes several replies in one message.
    pub fn reply_queue(session: uuid::Uuid) -> String {
        format!("{REPLY_PREFIX}{}{LINES_SUFFIX}", session.as_hyphenated())
    }

    /// The session that a reply queue belongs to.
    pub fn parse_reply_queue(name: &str) -> Option<uuid::Uuid> {
        let session = name.strip_prefix(REPLY_PREFIX)?;
        uuid::Uuid::try_parse(session.strip_suffix(LINES_SUFFIX).unwrap_or(session)).ok()
    }

    /// Whether several replies, a line each, may go to a reply queue in one message. To any other goes one at a time.
    pub fn takes_lines(reply_queue: &str) -> bool {
        reply_queue.ends_with(LINES_SUFFIX)
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

/// What is said over HTTP where the HTTP-RPC design takes the place of the queues.
pub mod http {
    /// Where RPCs are posted: the body is the command, and that of the answer the reply. Status 504: none came in time.
    pub const RPC_PATH: &str = "/rpc";
    /// Header of a request: for how many milliseconds whoever asks waits.
    pub const TIMEOUT: &str = "x-timeout-ms";
    /// Header of a request: as the property `priority` of one over RabbitMQ.
    pub const PRIORITY: &str = "x-priority";
}

/// Keys in Redis. Those of one label, or of one gateway, share a hash slot (its MAC in braces), so one script may use
/// them all.
pub mod redis {
    use super::{GatewayMac, LabelMac};

    /// Hash: gateway to `<broker> <online> <ms>`: on which broker it last reported, and when.
    pub const GATEWAYS: &str = "esl:gateways";
    /// Exists as long as Redis has not lost its data; routers fill their part again when it is gone.
    pub const EPOCH: &str = "esl:epoch";

    /// Field of a label's hash of routes, beside the gateways: its battery in millivolts, as last reported.
    pub const BATTERY_FIELD: &str = "battery";

    /// What a label's key holds.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum LabelKey {
        /// Hash: gateway to `<rssi dBm> <ms>`, and [`BATTERY_FIELD`].
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

    /// `esl:signal:{<label mac>}:<gateway mac>`: how strongly the gateway has heard the label over the last day, a ring
    /// of two octets for each half hour.
    pub fn signal_key(label: LabelMac, gateway: GatewayMac) -> String {
        format!("esl:signal:{{{label}}}:{gateway}")
    }

    /// `esl:answers:{<gateway mac>}:<span>`: how the gateway has answered in these five minutes since the epoch, a hash of
    /// what each worker has counted.
    pub fn answers_key(gateway: GatewayMac, span: i64) -> String {
        format!("esl:answers:{{{gateway}}}:{span}")
    }

    /// What a gateway's key holds.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum GatewayKey {
        /// String: how many commands the gateway may have in flight, its line and its breaker.
        Window,
        /// Sorted set: the RPCs in flight at the gateway by their deadlines, in ms since the Unix epoch.
        InFlight,
        /// Sorted set: RPCs that ended before they were counted as in flight, by when, in ms since the Unix epoch.
        Early,
    }

    impl GatewayKey {
        const ALL: [Self; 3] = [Self::Window, Self::InFlight, Self::Early];

        const fn as_str(self) -> &'static str {
            match self {
                Self::Window => "window",
                Self::InFlight => "in-flight",
                Self::Early => "early",
            }
        }
    }

    /// `esl:gw:{<gateway mac>}:<what>`.
    pub fn gateway_key(what: GatewayKey, gateway: GatewayMac) -> String {
        format!("esl:gw:{{{gateway}}}:{}", what.as_str())
    }

    /// What a key holds, and of which gateway.
    pub fn parse_gateway_key(key: &str) -> Option<(GatewayKey, GatewayMac)> {
        let (gateway, what) = key.strip_prefix("esl:gw:{")?.split_once("}:")?;
        let what = GatewayKey::ALL.into_iter().find(|known| known.as_str() == what)?;
        Some((what, gateway.parse().ok()?))
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
    /// One document per batch of a store that was ever paused, resumed or cancelled.
    pub const BATCH_STATES: &str = "batch_states";
    /// One document per action that somebody took by the operator's page, never changed.
    pub const ACTIONS: &str = "actions";
    /// Time series: how long RPCs took.
    pub const RPC_LATENCY: &str = "rpc_latency";
}

#[cfg(test)]
mod tests {
    use super::{
        mqtt::Channel,
        redis::{GatewayKey, LabelKey},
        *,
    };
    use proptest::prelude::*;

    #[test]
    fn names_are_as_the_contract_says() {
        let gateway: GatewayMac = "00fa7e000001".parse().unwrap();
        assert_eq!(mqtt::topic(gateway, Channel::Action), "/gw/00fa7e000001/action");
        let label: LabelMac = "001a2b3c4d5e".parse().unwrap();
        assert_eq!(redis::label_key(LabelKey::Route, label), "esl:route:{001a2b3c4d5e}");
        assert_eq!(redis::signal_key(label, gateway), "esl:signal:{001a2b3c4d5e}:00fa7e000001");
        assert_eq!(redis::answers_key(gateway, 7), "esl:answers:{00fa7e000001}:7");
        assert_eq!(redis::gateway_key(GatewayKey::Window, gateway), "esl:gw:{00fa7e000001}:window");
        assert_eq!(amqp::result_key(&"sp-014".parse().unwrap(), Outcome::Shown), "sp-014.shown");
    }

    #[test]
    fn a_wait_is_rounded_down_to_a_queue() {
        let queue = |priority, millis| {
            amqp::waiting_queue(priority, amqp::wait_seconds(priority, std::time::Duration::from_millis(millis)))
        };
        for (millis, name) in [
            (0, "esl.tasks.wait.1"),
            (1_999, "esl.tasks.wait.1"),
            (7_000, "esl.tasks.wait.4"),
            (9_999_999, "esl.tasks.wait.64"),
        ] {
            assert_eq!(queue(Priority::Normal, millis), name);
        }
        assert_eq!(queue(Priority::Urgent, 7_000), "esl.tasks.urgent.wait.1");
        assert_eq!(queue(Priority::Urgent, 64_000), "esl.tasks.urgent.wait.64");
        assert_eq!(amqp::waiting_queues().count(), 9);
        for (priority, seconds) in amqp::waiting_queues() {
            let name = amqp::waiting_queue(priority, seconds);
            assert_eq!(amqp::parse_waiting_queue(&name), Some((priority, seconds)), "{name}");
        }
        for name in ["esl.tasks", "esl.tasks.wait.3", "esl.tasks.wait.01", "esl.tasks.urgent.wait.2", "x.wait.1"] {
            assert_eq!(amqp::parse_waiting_queue(name), None, "{name}");
        }
    }

    #[test]
    fn a_turn_is_a_priority() {
        for turn in Turn::ALL {
            assert_eq!(amqp::parse_priority(Some(amqp::priority(turn))), turn);
        }
        assert_eq!((amqp::parse_priority(None), amqp::parse_priority(Some(9))), (Turn::Newcomer, Turn::Newcomer));
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
            for key in [GatewayKey::Window, GatewayKey::InFlight, GatewayKey::Early] {
                prop_assert_eq!(redis::parse_gateway_key(&redis::gateway_key(key, gateway)), Some((key, gateway)));
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
            let _ = (mqtt::parse_topic(&name), amqp::parse_reply_queue(&name), amqp::parse_result_key(&name));
            let _ = (redis::parse_label_key(&name), redis::parse_gateway_key(&name));
            let _ = amqp::parse_waiting_queue(&name);
        }
    }
}
