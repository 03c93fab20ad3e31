//! What a client of the port may do: to be a gateway, or, where it shows that it may, to put gateways to the test.

use super::{
    credentials::{Credentials, User},
    sessions::Sessions,
};
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

/// What a client was let in as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// Any gateway: nobody has to show who he is.
    AnyGateway,
    /// This gateway.
    Gateway(GatewayMac),
    /// Whoever puts gateways to the test.
    Inspector,
}

/// Whether a client may publish to a topic. A gateway: its answers and reports. An inspector: commands, which otherwise
/// come from this process alone.
pub(super) fn may_publish(identity: Identity, topic: &str) -> bool {
    match parse_topic(topic) {
        Some((gateway, Channel::Response | Channel::Status)) => identity.is(gateway),
        Some((_, Channel::Action)) => identity == Identity::Inspector,
        None => false,
    }
}

/// Whether a client may subscribe. A gateway: to its own commands, by no wildcard and no share, for the route table alone
/// decides who gets a command. An inspector: to what gateways say, each or all, also where they forget the first slash.
pub(super) fn may_subscribe(identity: Identity, filter: &str) -> bool {
    if identity == Identity::Inspector {
        let filter = filter.replacen('+', "000000000000", 1);
        let topic = format!("/{}", filter.strip_prefix('/').unwrap_or(&filter));
        return matches!(parse_topic(&topic), Some((_, Channel::Response | Channel::Status)));
    }
    matches!(parse_topic(filter), Some((gateway, Channel::Action)) if identity.is(gateway))
}

impl Identity {
    fn is(self, gateway: GatewayMac) -> bool {
        match self {
            Self::AnyGateway => true,
            Self::Gateway(own) => own == gateway,
            Self::Inspector => false,
        }
    }
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
    async fn check(&self, connect: &ConnectPacket, peer: SocketAddr) -> mqtt5::Result<AuthResult> {
        let identified = self.identify(connect, peer).await;
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

    async fn identify(&self, connect: &ConnectPacket, peer: SocketAddr) -> AuthResult {
        let user = connect.username.as_deref().and_then(|name| name.parse::<User>().ok());
        let Some(credentials) = &self.credentials else {
            return match user {
                // As with the API: without secrets, what is more than a gateway's is for this machine alone.
                Some(User::Inspector) if peer.ip().is_loopback() => inspector(),
                Some(User::Inspector) => AuthResult::fail(ReasonCode::NotAuthorized),
                Some(User::Gateway(_)) | None => AuthResult::success(),
            };
        };
        let Some(user) = user else { return AuthResult::fail(ReasonCode::BadUsernameOrPassword) };
        if !credentials.verify(user, connect.password.clone().unwrap_or_default()).await {
            return AuthResult::fail(ReasonCode::BadUsernameOrPassword);
        }
        let User::Gateway(gateway) = user else { return inspector() };
        // A connection takes over whatever has its client ID: only what is its own may be a gateway's to name.
        if !connect.client_id.to_ascii_lowercase().contains(&gateway.to_string()) {
            return AuthResult::fail(ReasonCode::ClientIdentifierNotValid);
        }
        AuthResult::success_with_user(gateway.to_string())
    }

    /// Who a client is, by what it was let in as; or nobody where it has to be somebody.
    fn identity(&self, user: Option<&str>) -> Result<Identity, Stranger> {
        match (&self.credentials, user.and_then(|user| user.parse().ok())) {
            (_, Some(User::Inspector)) => Ok(Identity::Inspector),
            (None, _) => Ok(Identity::AnyGateway),
            (Some(_), Some(User::Gateway(gateway))) => Ok(Identity::Gateway(gateway)),
            (Some(_), None) => Err(Stranger),
        }
    }
}

fn inspector() -> AuthResult {
    AuthResult::success_with_user(User::INSPECTOR.to_owned())
}

/// A client without an identity where one is needed, such as one whose session is from before.
struct Stranger;

impl AuthProvider for Gatekeeper {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        peer: SocketAddr,
    ) -> Answer<'a, mqtt5::Result<AuthResult>> {
        Box::pin(self.check(connect, peer))
    }

    fn authorize_publish<'a>(&'a self, _: &str, user: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        let allowed = self.identity(user).is_ok_and(|identity| may_publish(identity, topic));
        Box::pin(std::future::ready(allowed))
    }

    fn authorize_subscribe<'a>(&'a self, client_id: &str, user: Option<&'a str>, filter: &'a str) -> Answer<'a, bool> {
        let allowed = self.identity(user).is_ok_and(|identity| may_subscribe(identity, filter));
        if allowed && let Some((gateway, Channel::Action)) = parse_topic(filter) {
            // Before it is subscribed: from the SubAck on, a command must find it.
            self.sessions.note(gateway, client_id);
        }
        Box::pin(std::future::ready(allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);

    /// Allowed to the gateway itself, to whoever may be any gateway, and to an inspector.
    fn asked(may: fn(Identity, &str) -> bool, topic: &str) -> [bool; 3] {
        [Identity::Gateway(OWN), Identity::AnyGateway, Identity::Inspector].map(|identity| may(identity, topic))
    }

    #[test]
    fn a_gateway_speaks_only_for_itself() {
        for (topic, allowed) in [
            ("/gw/00fa7e000001/response", [true, true, false]),
            ("/gw/00fa7e000001/status", [true, true, false]),
            ("/gw/00fa7e000001/action", [false, false, true]),
            ("/gw/00fa7e000002/response", [false, true, false]),
            ("/gw/00FA7E000001/response", [false; 3]),
            ("/gw/00fa7e000001/response/x", [false; 3]),
            ("$SYS/broker", [false; 3]),
        ] {
            assert_eq!(asked(may_publish, topic), allowed, "{topic}");
        }
    }

    #[test]
    fn a_gateway_gets_only_its_own_commands() {
        for (filter, allowed) in [
            ("/gw/00fa7e000001/action", [true, true, false]),
            ("/gw/00fa7e000002/action", [false, true, false]),
            ("/gw/00fa7e000001/response", [false, false, true]),
            ("/gw/+/response", [false, false, true]),
            ("gw/+/status", [false, false, true]),
            ("/gw/+/action", [false; 3]),
            ("/gw/00fa7e000001/+", [false; 3]),
            ("/gw/00fa7e000001/#", [false; 3]),
            ("/+/+/response", [false; 3]),
            ("#", [false; 3]),
            ("$share/router-bck-group//gw/+/response", [false; 3]),
            ("$share/g//gw/00fa7e000001/action", [false; 3]),
        ] {
            assert_eq!(asked(may_subscribe, filter), allowed, "{filter}");
        }
    }
}
