//! RPC requests, read from their messages.

use backbone::{commands::Request, queue::Delivery};
use protocol::{CommandHead, CorrelationId, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// Reads the requests of a message that was delivered at `now`, several only if it names no RPC itself: then each is on
/// a line. The text says what is wrong with one.
pub(crate) fn read(mut delivery: Delivery, now: Timestamp, rpc_timeout: Duration) -> Vec<Result<Request, String>> {
    let body = std::mem::take(&mut delivery.body);
    let read = |body| read_one(&delivery, body, now, rpc_timeout);
    if delivery.correlation_id.is_none() && body.contains(&b'\n') {
        body.split(|byte| *byte == b'\n').map(|line| read(line.to_vec())).collect()
    } else {
        vec![read(body)]
    }
}

fn read_one(delivery: &Delivery, body: Vec<u8>, now: Timestamp, rpc_timeout: Duration) -> Result<Request, String> {
    let head: CommandHead = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    if delivery.correlation_id.as_deref().is_some_and(|id| id != head.id.as_str()) {
        return Err("correlation_id and the body's id differ".to_owned());
    }
    let reply_to = delivery.reply_to.clone().ok_or("reply_to: absent")?;
    let left = time_left(&head.id, delivery.expiration.unwrap_or(rpc_timeout), now);
    let deadline = left.map(|left| Instant::now() + left);
    Ok(Request { head, body, reply_to, turn: delivery.turn, again: delivery.redelivered, deadline })
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

    fn delivery(correlation_id: Option<&str>, body: &str) -> Delivery {
        Delivery {
            ticket: Default::default(),
            body: body.into(),
            correlation_id: correlation_id.map(str::to_owned),
            reply_to: Some("replies".to_owned()),
            expiration: None,
            timestamp_seconds: None,
            timestamp_ms: None,
            redelivered: false,
            reason: None,
            turn: protocol::Turn::default(),
            wait: None,
        }
    }

    #[test]
    fn a_message_that_names_no_rpc_may_have_several() {
        let now = Timestamp::from_unix_millis(0);
        let read = |id, body: &str| super::read(delivery(id, body), now, Duration::from_secs(1));
        let command = |id: &str| format!(r#"{{"id":"{id}","deviceMac":"001a2b3c4d5e","type":"ping"}}"#);
        let two = read(None, &format!("{}\n{}", command("a"), command("b")));
        let two: Vec<_> = two.into_iter().map(Result::unwrap).collect();
        assert_eq!(two.iter().map(|request| request.head.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(two.iter().all(|request| request.reply_to == "replies"));
        assert_eq!(two[1].body, command("b").into_bytes(), "as it came");

        let pretty = command("a").replace(',', ",\n");
        assert!(matches!(read(Some("a"), &pretty)[..], [Ok(_)]), "line breaks of its own");
        assert!(matches!(read(Some("b"), &command("a"))[..], [Err(_)]));
        let half = read(None, &format!("nonsense\n{}", command("a")));
        assert!(matches!(half[..], [Err(_), Ok(_)]), "one that can't be read harms no other");
    }
}
