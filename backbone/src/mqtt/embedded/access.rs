//! What a client of the port may do: to be a gateway, and nothing else.

use super::{credentials::Credentials, sessions::Sessions};
use mqtt5::{
    broker::{AuthProvider, AuthResult, DynamicStorage, StorageBackend, storage::ClientSession},
    packet::connect::ConnectPacket,
    protocol::v5::reason_codes::ReasonCode,
};
use protocol::{
    GatewayMac,
    names::mqtt::{Channel, parse_topic},
};
use std::{net::SocketAddr, pin::Pin, sync::Arc};

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether a client may publish to a topic: a gateway's answers and reports, where it is identified only its own.
/// Commands come from this process alone.
pub(super) fn may_publish(identity: Option<GatewayMac>, topic: &str) -> bool {
    matches!(parse_topic(topic), Some((gateway, Channel::Response | Channel::Status)) if is(identity, gateway))
}

/// The gateway whose commands a client may get by a subscription: those of one gateway, where it is identified only
/// its own. Nothing that is shared, and no wildcards: who gets a command is decided by the route table alone.
pub(super) fn may_subscribe(identity: Option<GatewayMac>, filter: &str) -> Option<GatewayMac> {
    match parse_topic(filter) {
        Some((gateway, Channel::Action)) if is(identity, gateway) => Some(gateway),
        _ => None,
    }
}

fn is(identity: Option<GatewayMac>, gateway: GatewayMac) -> bool {
    identity.is_none_or(|identity| identity == gateway)
}

/// Asked by the broker about every client.
pub(super) struct Gatekeeper {
    pub(super) credentials: Option<Credentials>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) storage: Arc<DynamicStorage>,
    /// A client that is new, and wants to be remembered, is refused while there are so many.
    pub(super) max_sessions: usize,
}

impl Gatekeeper {
    async fn check(&self, connect: &ConnectPacket) -> mqtt5::Result<AuthResult> {
        let identified = self.identify(connect).await;
        if identified.authenticated && self.is_too_many(connect).await? {
            tracing::warn!(mqtt.client = connect.client_id, "refused: too many sessions are kept");
            return Ok(AuthResult::fail(match connect.protocol_version {
                5 => ReasonCode::QuotaExceeded,
                _ => ReasonCode::ServerUnavailable,
            }));
        }
        Ok(identified)
    }

    async fn is_too_many(&self, connect: &ConnectPacket) -> mqtt5::Result<bool> {
        let passing = ClientSession::expiry_from_connect(connect) == Some(0);
        if passing || self.storage.session_client_ids().await?.len() < self.max_sessions {
            return Ok(false);
        }
        Ok(self.storage.get_session(&connect.client_id).await?.is_none())
    }

    async fn identify(&self, connect: &ConnectPacket) -> AuthResult {
        let Some(credentials) = &self.credentials else { return AuthResult::success() };
        let gateway = connect.username.as_deref().and_then(|name| name.parse::<GatewayMac>().ok());
        let password = connect.password.clone().unwrap_or_default();
        let Some(gateway) = gateway else { return AuthResult::fail(ReasonCode::BadUsernameOrPassword) };
        if !credentials.verify(gateway, password).await {
            return AuthResult::fail(ReasonCode::BadUsernameOrPassword);
        }
        // A connection takes over whatever has its client ID: only what is its own may be a gateway's to name.
        if !connect.client_id.to_ascii_lowercase().contains(&gateway.to_string()) {
            return AuthResult::fail(ReasonCode::ClientIdentifierNotValid);
        }
        AuthResult::success_with_user(gateway.to_string())
    }

    /// Who a client is, or nobody where it says so but is not known.
    fn identity(&self, user: Option<&str>) -> Result<Option<GatewayMac>, Stranger> {
        match (&self.credentials, user.and_then(|user| user.parse().ok())) {
            (None, _) => Ok(None),
            (Some(_), Some(gateway)) => Ok(Some(gateway)),
            (Some(_), None) => Err(Stranger),
        }
    }
}

/// A client without an identity where one is needed, such as one whose session is from before.
struct Stranger;

impl AuthProvider for Gatekeeper {
    fn authenticate<'a>(&'a self, connect: &'a ConnectPacket, _: SocketAddr) -> Answer<'a, mqtt5::Result<AuthResult>> {
        Box::pin(self.check(connect))
    }

    fn authorize_publish<'a>(&'a self, _: &str, user: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        let allowed = self.identity(user).is_ok_and(|identity| may_publish(identity, topic));
        Box::pin(std::future::ready(allowed))
    }

    fn authorize_subscribe<'a>(&'a self, client_id: &str, user: Option<&'a str>, filter: &'a str) -> Answer<'a, bool> {
        let gateway = self.identity(user).ok().and_then(|identity| may_subscribe(identity, filter));
        if let Some(gateway) = gateway {
            // Before it is subscribed: from the SubAck on, a command must find it.
            self.sessions.note(gateway, client_id);
        }
        Box::pin(std::future::ready(gateway.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);

    #[test]
    fn a_gateway_speaks_only_for_itself() {
        for (topic, identified, anonymous) in [
            ("/gw/00fa7e000001/response", true, true),
            ("/gw/00fa7e000001/status", true, true),
            ("/gw/00fa7e000001/action", false, false),
            ("/gw/00fa7e000002/response", false, true),
            ("/gw/00FA7E000001/response", false, false),
            ("/gw/00fa7e000001/response/x", false, false),
            ("$SYS/broker", false, false),
        ] {
            assert_eq!((may_publish(Some(OWN), topic), may_publish(None, topic)), (identified, anonymous), "{topic}");
        }
    }

    #[test]
    fn a_gateway_gets_only_its_own_commands() {
        for (filter, identified, anonymous) in [
            ("/gw/00fa7e000001/action", true, true),
            ("/gw/00fa7e000002/action", false, true),
            ("/gw/00fa7e000001/response", false, false),
            ("/gw/+/action", false, false),
            ("/gw/00fa7e000001/#", false, false),
            ("#", false, false),
            ("$share/router-bck-group//gw/+/response", false, false),
            ("$share/g//gw/00fa7e000001/action", false, false),
        ] {
            let allowed = (may_subscribe(Some(OWN), filter).is_some(), may_subscribe(None, filter).is_some());
            assert_eq!(allowed, (identified, anonymous), "{filter}");
        }
    }
}
