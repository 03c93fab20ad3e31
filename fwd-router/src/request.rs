//! One RPC request, read from its message.

use backbone::queue::{Delivery, Ticket};
use protocol::{CommandHead, CorrelationId, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// An RPC request that can be worked on.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ticket: Ticket,
    pub(crate) head: CommandHead,
    /// The command as it came, to be carried on as it is.
    pub(crate) body: Vec<u8>,
    pub(crate) reply_to: String,
    /// It may have been worked on before.
    pub(crate) redelivered: bool,
    /// When whoever asks stops waiting; `None`: it has.
    pub(crate) deadline: Option<Instant>,
}

impl Request {
    /// Reads a request that was delivered at `now`; the text says what is wrong with it.
    pub(crate) fn read(delivery: Delivery, now: Timestamp, rpc_timeout: Duration) -> Result<Self, String> {
        let head: CommandHead = serde_json::from_slice(&delivery.body).map_err(|error| error.to_string())?;
        if delivery.correlation_id.as_deref().is_some_and(|id| id != head.id.as_str()) {
            return Err("correlation_id and the body's id differ".to_owned());
        }
        let reply_to = delivery.reply_to.ok_or("reply_to: absent")?;
        let left = time_left(&head.id, delivery.expiration.unwrap_or(rpc_timeout), now);
        let deadline = left.map(|left| Instant::now() + left);
        let Delivery { ticket, body, redelivered, .. } = delivery;
        Ok(Self { ticket, head, body, reply_to, redelivered, deadline })
    }

    /// How long whoever asks still waits.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let left = self.deadline?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }
}

/// How much of an RPC's `expiration` is left, by the time in its ID; an ID that tells no time is taken as new.
///
/// Hosts keep their clocks together by NTP. One that runs ahead shortens what is left by as much; one that runs
/// behind never makes it longer than the whole.
fn time_left(id: &CorrelationId, expiration: Duration, now: Timestamp) -> Option<Duration> {
    let now = now.unix_millis().cast_unsigned();
    let age = id.unix_millis().map_or(0, |made| now.saturating_sub(made));
    expiration.checked_sub(Duration::from_millis(age)).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::{ContextV7, Uuid};

    fn id_made_at(seconds: u64) -> CorrelationId {
        CorrelationId::from_uuid(Uuid::new_v7(uuid::Timestamp::from_unix(ContextV7::new(), seconds, 0)))
    }

    #[test]
    fn the_id_tells_how_much_time_is_left() {
        let now = Timestamp::from_unix_millis(1_000_010_000);
        let fifteen = Duration::from_secs(15);
        assert_eq!(time_left(&id_made_at(1_000_000), fifteen, now), Some(Duration::from_secs(5)));
        assert_eq!(time_left(&id_made_at(999_995), fifteen, now), None);
        assert_eq!(time_left(&id_made_at(1_000_020), fifteen, now), Some(fifteen), "a clock ahead of ours");
        assert_eq!(time_left(&"theirs".parse().unwrap(), fifteen, now), Some(fifteen));
    }
}
