//! RPC identities, packed.

use protocol::CorrelationId;
use uuid::Uuid;

/// An RPC's identity. The backbone's own are UUIDs, held as their 16 bytes: eight of them are kept per label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RpcId {
    Uuid([u8; 16]),
    Other(CorrelationId),
}

impl From<&CorrelationId> for RpcId {
    fn from(id: &CorrelationId) -> Self {
        // Identities are compared as texts, so only the one spelling that can be written again is packed.
        match Uuid::try_parse(id.as_str()) {
            Ok(uuid) if CorrelationId::from_uuid(uuid) == *id => Self::Uuid(uuid.into_bytes()),
            _ => Self::Other(id.clone()),
        }
    }
}

impl From<RpcId> for CorrelationId {
    fn from(id: RpcId) -> Self {
        match id {
            RpcId::Uuid(bytes) => Self::from_uuid(Uuid::from_bytes(bytes)),
            RpcId::Other(id) => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_keeps_its_spelling() {
        for text in ["01a1fd96-523c-71c9-88f6-755fd1d43d1a", "01A1FD96-523C-71C9-88F6-755FD1D43D1A", "a"] {
            let id: CorrelationId = text.parse().unwrap();
            assert_eq!(CorrelationId::from(RpcId::from(&id)).as_str(), text);
        }
    }
}
