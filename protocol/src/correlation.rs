//! The identity of one RPC.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::Arc};

/// Why a text is no correlation ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("correlation ID {0:?}: expected 1 to 64 ASCII letters, digits, '-' or '_'")]
pub struct CorrelationIdError(String);

/// The identity of one RPC: what the worker registers before it asks, and what the answer is matched by.
///
/// The backbone's own are UUIDv7; others are taken too. Its characters are safe inside every store's syntax.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// From a UUID (version 7 tells its age).
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(uuid.as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).to_owned().into())
    }

    /// As it is written on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Milliseconds since the Unix epoch at which it was made, where it is a UUIDv7.
    pub fn unix_millis(&self) -> Option<u64> {
        crate::text::uuid_v7_millis(&self.0)
    }
}

impl FromStr for CorrelationId {
    type Err = CorrelationIdError;
    fn from_str(text: &str) -> Result<Self, CorrelationIdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(CorrelationIdError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for CorrelationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CorrelationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a correlation ID as a string")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn separators_of_other_syntaxes_are_refused() {
        for text in ["", "a b", "a,b", "a:b", "a|b", "{a}", &"x".repeat(65)] {
            assert!(text.parse::<CorrelationId>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_uuid_is_one(bits: u128) {
            let id = CorrelationId::from_uuid(uuid::Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
