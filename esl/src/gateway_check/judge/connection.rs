//! How a gateway connects, where it speaks, and what happens when it is cut off.

use super::{Check, Findings, quoted, seconds};
use crate::gateway_check::record::{Purpose, Record};
use backbone::mqtt::{Handshake, PublishError, Will};
use protocol::{
    Report,
    names::mqtt::{Channel, topic},
};

const NO_TAP: &str = "only with --tap";

/// Session, last will and subscription.
pub(super) fn connection(record: &Record) -> Check {
    let mut found = Findings::of("connection");
    let Some(handshakes) = &record.handshakes else { return found.skip(NO_TAP) };
    let Some(Handshake { version, keeps_session, will, subscriptions, .. }) = handshakes.last() else {
        found.fail("no gateway has connected through the tap");
        return found.or_pass("");
    };
    if !keeps_session {
        found.fail("its session is not persistent: commands that come while it is away are lost");
    }
    let status = topic(record.gateway, Channel::Status);
    match will {
        None => found.fail("it has no last will: its labels are sent through it when it is gone"),
        Some(will) => judge_will(&mut found, will, &status),
    }
    let action = topic(record.gateway, Channel::Action);
    match subscriptions.iter().find(|subscribed| subscribed.filter == action) {
        Some(subscribed) if subscribed.qos == 0 => {
            found.fail(format!("it subscribes to {action} at QoS 0, expected 1"))
        }
        Some(_) => {}
        None => found.fail(format!("it has not subscribed to {action}")),
    }
    if let Some(other) = subscriptions.iter().find(|subscribed| subscribed.filter != action) {
        found.warn(format!("it subscribes to {}, too, which a broker may refuse", quoted(&other.filter)));
    }
    let greets =
        record.reports.iter().any(|reported| reported.report.as_ref().is_ok_and(|report| report.online == Some(true)));
    if !greets {
        found.fail(r#"it does not say {"online":true} after connecting"#);
    }
    found.or_pass(
        format!("MQTT {version:?}, persistent session, last will, QoS 1").replace("V311", "3.1.1").replace("V5", "5"),
    )
}

fn judge_will(found: &mut Findings, will: &Will, status: &str) {
    if will.topic != status {
        found.fail(format!("its last will goes to {}, expected {status}", quoted(&will.topic)));
    }
    let offline = Report::parse(&will.payload).is_ok_and(|report| report.online == Some(false));
    if !offline {
        let said = String::from_utf8_lossy(&will.payload);
        found.fail(format!(r#"its last will says {}, expected {{"online":false}}"#, quoted(&said)));
    }
    if will.retained {
        found.fail("its last will is retained: whoever connects later hears it");
    }
    if will.qos == 0 {
        found.fail("its last will is at QoS 0, expected 1");
    }
}

/// That it listens and speaks on its own topics, spelled as they must be.
pub(super) fn topics(record: &Record) -> Check {
    let mut found = Findings::of("topics");
    let action = topic(record.gateway, Channel::Action);
    if record.sent.iter().any(|sent| sent.published == Err(PublishError::NobodyListens)) {
        found.fail(format!("nobody is subscribed to {action}"));
    }
    if let Some(refused) = record.sent.iter().find_map(|sent| match &sent.published {
        Err(PublishError::Refused(why)) => Some(why),
        _ => None,
    }) {
        found.fail(format!("the broker refuses commands: {}", quoted(refused)));
    }
    let wrong =
        record.answers.iter().find(|answer| !answer.topic_is_exact).map(|answer| (&answer.message, Channel::Response));
    let wrong = wrong.into_iter().chain(
        record
            .reports
            .iter()
            .find(|reported| !reported.topic_is_exact)
            .map(|reported| (&reported.message, Channel::Status)),
    );
    for (message, channel) in wrong {
        let right = topic(record.gateway, channel);
        found.fail(format!("it speaks on {}, expected {right}", quoted(&message.topic)));
    }
    if record.answers.is_empty() && record.reports.is_empty() && record.sent.is_empty() {
        return found.skip("nothing came");
    }
    found.or_pass("as they must be")
}

/// Last will, return, and what came meanwhile.
pub(super) fn away(record: &Record) -> Check {
    let mut found = Findings::of("away");
    let Some(away) = &record.away else {
        return found.skip(if record.handshakes.is_some() { "not reached" } else { NO_TAP });
    };
    let offline = record.says_online(away.cut, false);
    if offline.is_none() {
        found.fail(r#"when its connection was cut, no {"online":false} came"#);
    }
    let Some(back) = away.back else {
        found.fail("it has not connected again");
        return found.or_pass("");
    };
    if record.says_online(away.cut, true).is_none() {
        found.fail(r#"it connected again and did not say {"online":true}"#);
    }
    let command = away.command.filter(|at| record.sent[*at].purpose == Purpose::Away);
    if !command.is_some_and(|at| record.is_answered(at)) {
        found.fail("a command that came while it was away was not answered when it was back");
    }
    found.or_pass(format!(
        "reported offline after {}, back after {}, and did what had come meanwhile",
        seconds(offline.map_or_else(Default::default, |offline| offline.saturating_duration_since(away.cut))),
        seconds(back.saturating_duration_since(away.cut)),
    ))
}
