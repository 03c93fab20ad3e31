//! Replies to RPCs.

use crate::{CorrelationId, GatewayMac, LabelMac, WaitFor};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How one RPC ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ReplyOutcome {
    /// The gateway carried the command out.
    Ack,
    /// The gateway refused; `error` says why.
    Nack,
    /// No gateway that can be reached hears the label.
    NoRoute,
    /// Another RPC to the label is under way; or the label is to come back later, see [`Reply::wait`].
    Busy,
    /// A newer version was started on the label.
    Superseded,
    /// The RPC had no time left when it was to be sent.
    Expired,
}

/// What the asker of an RPC hears, at the reply queue that it named, under its correlation ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reply {
    /// The RPC, where several replies are in one message; of a reply by itself the property `correlation_id` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CorrelationId>,
    /// The label.
    #[serde(rename = "deviceMac")]
    pub label: LabelMac,
    /// How the RPC ended.
    pub outcome: ReplyOutcome,
    /// Why, where it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The gateway that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayMac>,
    /// After how many milliseconds to come back; only with `busy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Reply {
    /// What the label is to wait for, and how long, before it is asked again.
    pub fn wait(&self) -> Option<(WaitFor, Duration)> {
        let what = WaitFor::parse(self.error.as_deref()?)?;
        let after = Duration::from_millis(self.retry_after_ms?);
        (self.outcome == ReplyOutcome::Busy).then_some((what, after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_contract_says() {
        let reply = Reply {
            id: None,
            label: "001a2b3c4d5e".parse().unwrap(),
            outcome: ReplyOutcome::NoRoute,
            error: None,
            gateway: None,
            retry_after_ms: None,
        };
        let json = serde_json::to_string(&reply).unwrap();
        assert_eq!(json, r#"{"deviceMac":"001a2b3c4d5e","outcome":"no_route"}"#);
        assert_eq!(serde_json::from_str::<Reply>(&json).unwrap(), reply);
    }

    #[test]
    fn only_who_is_busy_and_says_why_and_how_long_is_waited_for() {
        let wait = |json: &str| serde_json::from_str::<Reply>(json).unwrap().wait();
        let json = r#"{"deviceMac":"001a2b3c4d5e","outcome":"busy","error":"gateway_full","retry_after_ms":1500}"#;
        assert_eq!(wait(json), Some((WaitFor::GatewayFull, Duration::from_millis(1500))));
        assert_eq!(wait(&json.replace("full", "failing")).unwrap().0, WaitFor::GatewayFailing);
        assert_eq!(wait(&json.replace("gateway_full", "moon")), None);
        assert_eq!(wait(&json.replace("busy", "nack")), None);
        assert_eq!(wait(&json.replace(",\"retry_after_ms\":1500", "")), None, "the label's lease");
    }
}
