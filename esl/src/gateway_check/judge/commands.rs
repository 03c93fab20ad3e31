//! What a gateway makes of particular commands.

use super::{Check, Findings, quoted, seconds};
use crate::gateway_check::record::{Echo, Purpose, Record};
use backbone::mqtt::gateway::MqttVersion;
use protocol::Refusal;
use std::collections::BTreeSet;

/// The errors of the Bluetooth SIG ESL service (ESLS 1.0, table 3.10).
const ERRORS: [&str; 13] = [
    "unspecified_error",
    "invalid_opcode",
    "invalid_state",
    "invalid_image_index",
    "image_not_available",
    "invalid_parameters",
    "capacity_limit",
    "insufficient_battery",
    "insufficient_resources",
    "retry",
    "queue_full",
    "implausible_absolute_time",
    "vendor_specific_error",
];
const INVALID_OPCODE: &str = "invalid_opcode";

/// That more than it knows does not put it off.
pub(super) fn tolerance(record: &Record) -> Check {
    let mut found = Findings::of("tolerance");
    let Some(sent) = record.sent_for(|purpose| purpose == Purpose::Tolerance).next() else {
        return found.skip("not reached");
    };
    match record.fared(sent) {
        Some((_, Ok(()))) => {}
        Some((_, Err(why))) => found.fail(format!("a long name, unknown fields: refused with {}", quoted(&why))),
        None => found.fail("a long name, unknown fields: no answer; what is not known is to be ignored"),
    }
    found.or_pass("unknown fields and a long name with quotes and Chinese are taken")
}

/// That a command which comes twice does no harm.
pub(super) fn copies(record: &Record) -> Check {
    let mut found = Findings::of("copies");
    let Some(sent) = record.sent_for(|purpose| purpose == Purpose::Copies).next() else {
        return found.skip("not reached");
    };
    let results: Vec<_> = record.answers_to(sent).filter_map(|answer| answer.answer.as_ref().ok()).collect();
    if results.is_empty() {
        found.fail("a command that came twice with the same id was not answered");
    }
    if let Some(refusal) = results.iter().find_map(|answer| answer.result.as_ref().err()) {
        found.fail(format!("a command that came twice with the same id was refused with {}", quoted(refusal.as_str())));
    }
    found.or_pass(if results.len() == 1 { "taken as one" } else { "both are acknowledged" })
}

/// The other actions.
pub(super) fn actions(record: &Record) -> Check {
    let mut found = Findings::of("actions");
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for sent in record.sent_for(|purpose| matches!(purpose, Purpose::Action(_))) {
        let Purpose::Action(action) = record.sent[sent].purpose else { continue };
        match record.fared(sent) {
            Some((_, Ok(()))) => done.push(action.as_str()),
            Some((_, Err(why))) if why == INVALID_OPCODE => refused.push(action.as_str()),
            Some((_, Err(why))) => found.warn(format!("{action}: refused with {}, not {INVALID_OPCODE}", quoted(&why))),
            None => found.fail(format!("{action}: no answer")),
        }
    }
    match (done.as_slice(), refused.as_slice()) {
        ([], []) => found.or_nothing(),
        (done, []) => found.or_pass(done.join(", ")),
        (done, refused) => found.or_pass(format!("{}; not known: {}", done.join(", "), refused.join(", "))),
    }
}

/// That it says what it can't do.
pub(super) fn unknown_action(record: &Record) -> Check {
    let mut found = Findings::of("unknown_action");
    let Some(sent) = record.sent_for(|purpose| purpose == Purpose::UnknownAction).next() else {
        return found.skip("not reached");
    };
    match record.fared(sent) {
        Some((_, Err(why))) if why == INVALID_OPCODE => {}
        Some((_, Err(why))) => found.warn(format!("refused with {}, expected {INVALID_OPCODE}", quoted(&why))),
        Some((_, Ok(()))) => found.fail("it acknowledges an action that there is not"),
        None => found.fail(format!("it does not answer an action that there is not, expected {INVALID_OPCODE}")),
    }
    found.or_pass(format!("refused with {INVALID_OPCODE}"))
}

/// That it does not claim to have written to a label that there is not.
pub(super) fn unknown_label(record: &Record) -> Check {
    let mut found = Findings::of("unknown_label");
    let Some(sent) = record.sent_for(|purpose| purpose == Purpose::UnknownLabel).next() else {
        return found.skip("not reached");
    };
    match record.fared(sent) {
        Some((_, Ok(()))) => found.fail("it acknowledges a price for a label that there is not"),
        Some((_, Err(why))) if Refusal::new(&why).is_passing() => {
            found.pass(format!("refused with {why}, which is tried again"))
        }
        Some((_, Err(why))) => found.pass(format!("refused with {}, which is final for the label", quoted(&why))),
        None => found.warn("no answer: silence about one label looks like congestion, so the gateway is sent less"),
    }
    found.or_pass("")
}

/// That reasons have their names.
pub(super) fn errors(record: &Record) -> Check {
    let mut found = Findings::of("errors");
    let results = record.answers.iter().filter_map(|answer| answer.answer.as_ref().ok());
    let used: BTreeSet<_> = results.filter_map(|answer| Some(answer.result.as_ref().err()?.as_str())).collect();
    if used.is_empty() {
        return found.skip("nothing was refused");
    }
    for error in used.iter().filter(|error| !ERRORS.contains(error)) {
        found.warn(format!("{} is no error of the Bluetooth SIG ESL service: it counts as final", quoted(error)));
    }
    found.or_pass(used.into_iter().collect::<Vec<_>>().join(", "))
}

/// That commands to one label are carried out in the order in which they came.
pub(super) fn order(record: &Record) -> Check {
    let mut found = Findings::of("order");
    let sent: Vec<_> = record.sent_for(|purpose| matches!(purpose, Purpose::Order | Purpose::Filling)).collect();
    let acked = sent.iter().filter(|at| record.fared(**at).is_some_and(|(_, said)| said.is_ok()));
    let at: Vec<_> = acked.filter_map(|at| Some(record.answers_to(*at).next()?.message.at)).collect();
    if at.len() < 2 {
        return found.skip(match record.echo() {
            Some(Echo::Neither) => "answers don't say which command they are about",
            _ if sent.is_empty() => "not reached",
            _ => "it takes one command per label at a time",
        });
    }
    if !at.is_sorted() {
        found.fail("commands to one label were acknowledged in another order than they came: an old price may stay");
    }
    found.or_pass(format!("{} commands to one label were carried out in turn", at.len()))
}

/// How much it takes at once, and how fast.
pub(super) fn window(record: &Record) -> Check {
    let mut found = Findings::of("window");
    let sent: Vec<_> = record.sent_for(|purpose| purpose == Purpose::Burst).collect();
    let Some(first) = sent.first().map(|at| record.sent[*at].at) else {
        return found.skip("it reports no second label to write to");
    };
    let fared: Vec<_> = sent.iter().filter_map(|at| record.fared(*at)).collect();
    let silent = sent.len() - fared.len();
    if silent > 0 {
        found.fail(format!(
            "{silent} of {} commands at once were not answered: say queue_full to what is too much",
            sent.len()
        ));
    }
    let late =
        sent.iter().filter(|at| record.fared(**at).is_some_and(|(took, _)| took > record.sent[**at].expiry)).count();
    if late > 0 {
        found.warn(format!(
            "{late} of {} commands at once were answered too late: say queue_full to what is too much",
            sent.len()
        ));
    }
    let passing = |why: &str| Refusal::new(why).is_passing();
    let busy = fared.iter().filter(|(_, said)| said.as_ref().is_err_and(|why| passing(why))).count();
    if let Some((_, Err(why))) = fared.iter().find(|(_, said)| said.as_ref().is_err_and(|why| !passing(why))) {
        found.fail(format!("labels that it reports are refused for good, with {}", quoted(why)));
    }
    let acked = fared.iter().filter(|(_, said)| said.is_ok()).count();
    let last = sent.iter().filter_map(|at| Some(record.answers_to(*at).next()?.message.at)).max();
    let took = last.map_or_else(Default::default, |last| last.saturating_duration_since(first));
    let rate = acked as f64 / took.as_secs_f64().max(0.001);
    if acked == 0 && silent == 0 && busy > 0 {
        found.fail(format!("all of {} commands at once were refused", sent.len()));
    }
    let too_much = if busy > 0 { format!(", {busy} were too much") } else { String::new() };
    found.or_pass(format!("{} at once: {acked} done in {}, {rate:.1} per second{too_much}", sent.len(), seconds(took)))
}

/// What becomes of a command that waited for too long.
pub(super) fn expiry(record: &Record) -> Check {
    let mut found = Findings::of("expiry");
    let Some(sent) = record.sent_for(|purpose| purpose == Purpose::Expiring).next() else {
        return found.skip(if record.median().is_some() {
            "it is too quick to let a command wait"
        } else {
            "not reached"
        });
    };
    let handshake = record.handshakes.as_ref().and_then(|handshakes| handshakes.last());
    if handshake.is_some_and(|handshake| handshake.version == MqttVersion::V311) {
        return found.skip("MQTT 3.1.1 does not tell a gateway when a command expires");
    }
    let expiry = record.sent[sent].expiry;
    match record.fared(sent) {
        None => found.pass("dropped without a word"),
        Some((_, Err(why))) => found.pass(format!("refused with {}", quoted(&why))),
        Some((took, Ok(()))) if took <= expiry => return found.skip("it was done before it expired"),
        Some((took, Ok(()))) => {
            let late = seconds(took - expiry);
            found.warn(format!(
                "carried out {late} after it had expired, and said so; better drop it, for a newer one may be shown"
            ));
        }
    }
    found.or_pass("")
}
