//! Replies to RPCs.

use crate::{CorrelationId, GatewayMac, LabelMac};
use serde::{Deserialize, Serialize};

/// How one RPC ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyOutcome {
    /// The gateway carried the command out.
    Ack,
    /// The gateway refused; `error` says why.
    Nack,
    /// No gateway that can be reached hears the label.
    NoRoute,
    /// Another RPC to the label is under way.
    Busy,
    /// A newer version was started on the label.
    Superseded,
    /// The RPC had no time left when it was to be sent.
    Expired,
}

/// What the asker of an RPC hears, at the reply queue that it named, under its correlation ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// With `busy` and a [`BusyReason`]: when the label should come back, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Why a label is told to come back later: the `error` of a reply with `retry_after_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BusyReason {
    /// Its gateway has no place for it now, and it stands in line.
    Full,
    /// Each gateway that hears it keeps failing.
    Failing,
}

impl BusyReason {
    /// As it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "gateway_full",
            Self::Failing => "gateway_failing",
        }
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
}
