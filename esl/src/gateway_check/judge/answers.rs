//! What is true of every answer.

use super::{Check, Findings, quoted, seconds};
use crate::gateway_check::record::{Echo, Purpose, Record};

/// That a price is written and acknowledged at all.
pub(super) fn answers(record: &Record) -> Check {
    let mut found = Findings::of("answers");
    for answer in record.answers.iter().filter(|answer| !answer.message.retained) {
        if let Err(unreadable) = &answer.answer {
            found.fail(format!("an answer can't be read: {}", quoted(unreadable)));
            break;
        }
    }
    let mut first = record.sent_for(|purpose| purpose == Purpose::First).peekable();
    if first.peek().is_none() {
        return match found {
            found if record.sent.is_empty() && record.answers.is_empty() => found.skip("there is no label to write to"),
            found => found.or_pass("all could be read"),
        };
    }
    let mut took = None;
    for at in first {
        let label = record.sent[at].label;
        match record.fared(at) {
            Some((after, Ok(()))) => took = took.or(Some(after)),
            Some((_, Err(why))) => found.fail(format!("a price for label {label} is refused with {}", quoted(&why))),
            None => found.fail(format!("the command to label {label} was not answered")),
        }
    }
    let took = record.median().or(took).unwrap_or_default();
    found.or_pass(format!("a price is acknowledged after {}", seconds(took)))
}

/// QoS 1, not retained.
pub(super) fn delivery(record: &Record) -> Check {
    let mut found = Findings::of("delivery");
    let retained = record.answers.iter().filter(|answer| answer.message.retained).count();
    let unsafe_ones = record.answers.iter().filter(|answer| answer.message.at_most_once).count();
    if retained > 0 {
        found.fail(format!("{retained} answers are retained: whoever connects later gets them as if they were new"));
    }
    if unsafe_ones > 0 {
        found.fail(format!("{unsafe_ones} answers came at QoS 0, expected 1: one that is lost costs a timeout"));
    }
    let reports = record.reports.iter().filter(|reported| reported.message.retained).count();
    if reports > 0 {
        found.fail(format!("{reports} reports are retained: they say what was, when it is no longer"));
    }
    if record.answers.is_empty() && record.reports.is_empty() {
        return found.skip("nothing came");
    }
    found.or_pass("answers come at QoS 1, nothing is retained")
}

/// How answers name their command.
pub(super) fn echo(record: &Record) -> Check {
    let mut found = Findings::of("echo");
    let wrong = record.answers.iter().filter(|answer| answer.echo == Echo::Wrong && !answer.message.retained).count();
    if wrong > 0 {
        found.fail(format!("{wrong} answers name an ID that was not sent to it, or two different ones"));
    }
    match record.echo() {
        None if wrong == 0 => return found.skip("no answer"),
        Some(Echo::Neither) => found.warn(
            "answers name only the label: a command that was not answered makes the label wait twice as long; echo the id",
        ),
        Some(Echo::Body) => found.pass("the ID comes back in the body"),
        Some(Echo::Property) => found.pass("the ID comes back as MQTT 5 correlation data"),
        Some(Echo::Wrong) | None => {}
    }
    let ways = [Echo::Body, Echo::Property, Echo::Neither];
    let used = |echo: &&Echo| record.answers.iter().any(|answer| answer.of.is_some() && answer.echo == **echo);
    if ways.iter().filter(used).count() > 1 {
        found.warn("answers name their command now in one way, now in another");
    }
    found.or_pass("")
}

/// That each command is answered, once.
pub(super) fn once(record: &Record) -> Check {
    let mut found = Findings::of("once");
    let owed: Vec<_> = record.sent_for(Purpose::is_owed).collect();
    if owed.is_empty() {
        return found.skip("nothing was asked");
    }
    let silent = owed.iter().filter(|at| !record.is_answered(**at)).count();
    if silent > 0 {
        found.fail(format!("{silent} of {} commands were not answered", owed.len()));
    }
    // After its connection was cut, a gateway does well to send again what the broker has not acknowledged.
    let cut = record.away.as_ref().map(|away| away.cut);
    let answers =
        |at: usize| record.answers_to(at).filter(|answer| cut.is_none_or(|cut| answer.message.at < cut)).count();
    let twice = (0..record.sent.len()).filter(|at| answers(*at) > record.sent[*at].copies).count();
    if twice > 0 {
        found.fail(format!("{twice} commands were answered more often than they came"));
    }
    found.or_pass(format!("each of {} commands was answered once", owed.len()))
}

/// That answers come while somebody waits for them.
pub(super) fn in_time(record: &Record) -> Check {
    let mut found = Findings::of("in_time");
    // How much it takes at once is another question.
    let alone = record.sent_for(|purpose| purpose.is_owed() && !matches!(purpose, Purpose::Burst | Purpose::Filling));
    let answered = alone.filter_map(|at| Some((at, record.fared(at)?.0)));
    let answered: Vec<_> = answered.collect();
    let Some(slowest) = answered.iter().map(|(_, took)| *took).max() else { return found.skip("no answer") };
    let late = answered.iter().filter(|(at, took)| *took > record.sent[*at].expiry).count();
    if late > 0 {
        let limit = seconds(record.timeout);
        found.fail(format!(
            "{late} answers came after more than {limit}, when nobody waits: up to {}",
            seconds(slowest)
        ));
    }
    found.or_pass(format!("the slowest answer took {}", seconds(slowest)))
}

/// That it answers nothing that was not asked.
pub(super) fn unasked(record: &Record) -> Check {
    let mut found = Findings::of("unasked");
    let fresh = record.answers.iter().filter(|answer| !answer.message.retained && answer.answer.is_ok());
    let unasked = fresh.clone().filter(|answer| answer.of.is_none()).count();
    if unasked > 0 {
        found
            .fail(format!("{unasked} answers to what was not asked here: made up, or somebody else sends it commands"));
    }
    match (record.sent.is_empty(), unasked) {
        (true, 0) => found.skip("nothing was asked"),
        _ => found.or_pass("no answer without a command"),
    }
}
