//! What the client library asks for before it takes up a session that the broker still has.

use super::link::{MAX_UNACKNOWLEDGED, SESSION_EXPIRY_SECONDS};
use futures::future::BoxFuture;
use std::{error::Error, future::ready};

type Stored<'a, T> = BoxFuture<'a, Result<T, Box<dyn Error + Send + Sync>>>;

/// Says that nothing was in flight. Without that the client library would refuse a session that only the broker still
/// knows, as after a restart of the process; what a gateway did not get across, its own queue sends again.
#[derive(Debug)]
pub(super) struct NothingKept;

macro_rules! nothing_kept {
    ($client:ident, $($different:ident: $value:expr),+) => {
        impl $client::SessionStore for NothingKept {
            fn load<'a>(
                &'a self,
                key: &'a $client::SessionStoreKey,
            ) -> Stored<'a, Option<$client::PersistedSession>> {
                let session = $client::PersistedSession {
                    format_version: 1,
                    client_id: key.client_id().to_owned(),
                    ack_mode: $client::PersistedAckMode::Automatic,
                    last_pkid: 0,
                    last_puback: 0,
                    replay: Vec::new(),
                    incoming_qos2: Vec::new(),
                    $($different: $value),+
                };
                Box::pin(ready(Ok(Some(session))))
            }

            fn save<'a>(
                &'a self,
                _: &'a $client::SessionStoreKey,
                _: &'a $client::PersistedSession,
            ) -> Stored<'a, ()> {
                Box::pin(ready(Ok(())))
            }

            fn clear<'a>(&'a self, _: &'a $client::SessionStoreKey) -> Stored<'a, ()> {
                Box::pin(ready(Ok(())))
            }
        }
    };
}

nothing_kept!(
    rumqttc,
    clean_start: false,
    session_expiry_interval: Some(SESSION_EXPIRY_SECONDS),
    outgoing_inflight_upper_limit: Some(MAX_UNACKNOWLEDGED)
);
nothing_kept!(rumqttc_v4, clean_session: false, max_inflight: MAX_UNACKNOWLEDGED);
