//! Commands to a gateway and its answers.

use crate::{Action, CorrelationId, Fields, LabelMac, Version};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// An answer has at most so many bytes.
const MAX_ANSWER_BYTES: usize = 4096;
/// The reason of a refusal is kept up to so many characters.
const MAX_REFUSAL_CHARS: usize = 120;

/// What a gateway is asked to do with a label: the body of the RPC request and of the MQTT command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Command {
    /// The RPC that this command belongs to.
    pub id: CorrelationId,
    /// The label.
    #[serde(rename = "deviceMac")]
    pub label: LabelMac,
    /// What to do.
    #[serde(rename = "type")]
    pub action: Action,
    /// The version that the label shows afterwards; only a price update has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// What to show, or what the action needs.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
}

/// The part of a [`Command`] that routing needs. The rest of the body is carried on as it came.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CommandHead {
    /// The RPC that this command belongs to.
    pub id: CorrelationId,
    /// The label.
    #[serde(rename = "deviceMac")]
    pub label: LabelMac,
    /// The version that the label shows afterwards.
    #[serde(default)]
    pub version: Option<Version>,
}

/// A gateway's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The label that the command was for.
    pub label: LabelMac,
    /// The RPC, where the gateway can echo it.
    pub id: Option<CorrelationId>,
    /// Done, or why not.
    pub result: Result<(), Refusal>,
}

/// Why an answer can't be read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is too large.
    #[error("{0} bytes, expected at most {MAX_ANSWER_BYTES}")]
    TooLarge(usize),
    /// It is no JSON, lacks a field, or has one of the wrong shape; the text names it.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
}

/// Why a gateway did not carry out a command, in the names of the Bluetooth SIG ESL service (ESLS 1.0, table 3.10)
/// where it uses them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal(Cow<'static, str>);

impl Refusal {
    /// The gateway gave no reason.
    pub const UNSPECIFIED: Self = Self(Cow::Borrowed("unspecified_error"));

    /// From a gateway's own words; control characters and what is too long are cut.
    pub fn new(text: &str) -> Self {
        let kept: String = text.chars().filter(|c| !c.is_control()).take(MAX_REFUSAL_CHARS).collect();
        if kept.is_empty() { Self::UNSPECIFIED } else { Self(Cow::Owned(kept)) }
    }

    /// It may work when tried again; every other refusal is final.
    pub fn is_passing(&self) -> bool {
        matches!(&*self.0, "retry" | "queue_full" | "insufficient_resources")
    }

    /// As it is written on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What became of a command.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Answer))]
pub(crate) struct AnswerBody<'a> {
    /// The label that the command was for.
    #[serde(rename = "deviceMac")]
    label: LabelMac,
    /// Whether the label has taken it.
    ack: bool,
    /// The command's, where the gateway can echo it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<CorrelationId>,
    /// Why not, in the names of the Bluetooth SIG ESL service: retry, queue_full and insufficient_resources are tried
    /// again, every other error is final. Absent: unspecified_error.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        if body.len() > MAX_ANSWER_BYTES {
            return Err(AnswerError::TooLarge(body.len()));
        }
        let AnswerBody { label, ack, id, error } = serde_json::from_slice(body)?;
        let refusal = || error.as_deref().map_or(Refusal::UNSPECIFIED, Refusal::new);
        Ok(Self { label, id, result: if ack { Ok(()) } else { Err(refusal()) } })
    }

    /// As it is written on the wire.
    pub fn to_json(&self) -> Vec<u8> {
        let error = self.result.as_ref().err().map(|refusal| Cow::Borrowed(refusal.as_str()));
        let body = AnswerBody { label: self.label, ack: self.result.is_ok(), id: self.id.clone(), error };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_thesis_format_is_an_answer() {
        let answer = Answer::parse(br#"{"deviceMac":"001a2b3c4d5e","ack":true}"#).unwrap();
        assert_eq!(answer, Answer { label: "001a2b3c4d5e".parse().unwrap(), id: None, result: Ok(()) });
        assert_eq!(answer.to_json(), br#"{"deviceMac":"001a2b3c4d5e","ack":true}"#);
    }

    #[test]
    fn a_refusal_keeps_its_reason() {
        let body = br#"{"deviceMac":"001a2b3c4d5e","ack":false,"id":"x-1","error":"insufficient_battery"}"#;
        let answer = Answer::parse(body).unwrap();
        let refusal = answer.result.clone().unwrap_err();
        assert_eq!((refusal.as_str(), refusal.is_passing()), ("insufficient_battery", false));
        assert_eq!(Answer::parse(&answer.to_json()).unwrap(), answer);
        assert!(Refusal::new("queue_full").is_passing());
        assert_eq!(Refusal::new("\n"), Refusal::UNSPECIFIED);
    }

    #[test]
    fn a_head_is_read_from_a_whole_command() {
        let body =
            br#"{"id":"a","deviceMac":"001a2b3c4d5e","type":"price_update","version":42,"fields":{"price":"1.00"}}"#;
        let head: CommandHead = serde_json::from_slice(body).unwrap();
        assert_eq!(head.version.unwrap().get(), 42);
        let command: Command = serde_json::from_slice(body).unwrap();
        assert_eq!(serde_json::to_vec(&command).unwrap(), body);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let _ = Answer::parse(&body);
            let _ = serde_json::from_slice::<CommandHead>(&body);
        }

        #[test]
        fn what_is_written_is_read(octets: [u8; 6], id in proptest::option::of("[a-zA-Z0-9_-]{1,64}"), error in proptest::option::of(".{1,200}")) {
            let answer = Answer {
                label: LabelMac::from_octets(octets),
                id: id.map(|id| id.parse().unwrap()),
                result: error.map_or(Ok(()), |text| Err(Refusal::new(&text))),
            };
            prop_assert_eq!(Answer::parse(&answer.to_json()).unwrap(), answer);
        }
    }
}
