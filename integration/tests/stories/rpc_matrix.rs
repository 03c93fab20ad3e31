//! Everything that can go wrong with one RPC, hop by hop, and what must come of it: for whoever asked, and at the label.
//! After each, the label's next price is shown, so nothing is left behind. docs/ARCHITECTURE.md has the same table in words.

mod inflict;
mod rig;

use anyhow::{Context, Result, ensure};
use integration::{Story, label_mac, price_update};
use protocol::{CorrelationId, Outcome, ReplyOutcome};
use rig::{LIMIT, Rig};
use serde_json::json;
use std::ops::RangeInclusive;
use uuid::Uuid;

/// What happens to the RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    // From whoever asks to a forward router.
    RequestLost,
    RequestTwice,
    RequestInTheHandsOfDeadRouters,
    RequestOutOfTime,
    RequestTooLarge,
    // From there to the gateway.
    CommandLost,
    CommandUnacknowledgedByBroker,
    CommandUnacknowledgedByGateway,
    CommandLate,
    GatewayGone,
    GatewayGoneWithCommand,
    GatewayFull,
    BothReconnect,
    // From there to a back router.
    AnswerLost,
    AnswerTwice,
    AnswerLate,
    AnswerUnacknowledgedByBroker,
    AnswerTooLarge,
    // From there to whoever asked.
    ReplyUnconfirmed,
    ReplyLate,
    CallerGone,
}

/// What whoever asked is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    This(ReplyOutcome, Option<&'static str>),
    /// Nothing within the timeout.
    Nothing,
}

struct Row {
    fault: Fault,
    told: Told,
    /// How often the label carries the command out, in the end.
    carried: RangeInclusive<usize>,
    /// What counts it, and goes up by one at least.
    counted: Option<&'static str>,
}

const fn row(fault: Fault, told: Told, carried: RangeInclusive<usize>, counted: Option<&'static str>) -> Row {
    Row { fault, told, carried, counted }
}

const ACK: Told = Told::This(ReplyOutcome::Ack, None);
const FULL: Told = Told::This(ReplyOutcome::Nack, Some("queue_full"));
const TOO_LARGE: Told = Told::This(ReplyOutcome::Nack, Some("command_too_large"));
const NO_ROUTE: Told = Told::This(ReplyOutcome::NoRoute, None);

const DUPLICATE: Option<&str> = Some("bck_router_dropped_answers_total{reason=\"duplicate\"}");
const LATE: Option<&str> = Some("bck_router_dropped_answers_total{reason=\"late\"}");
const MALFORMED: Option<&str> = Some("bck_router_dropped_answers_total{reason=\"malformed\"}");
const ASKER_GONE: Option<&str> = Some("bck_router_dropped_answers_total{reason=\"asker_gone\"}");
/// Counted by whoever asks.
const STRAY: Option<&str> = Some(rig::STRAY_REPLIES);

fn matrix() -> [Row; 21] {
    use Fault::*;
    [
        row(RequestLost, Told::Nothing, 0..=0, None),
        row(RequestTwice, ACK, 2..=2, DUPLICATE),
        row(RequestInTheHandsOfDeadRouters, ACK, 1..=1, None),
        row(RequestOutOfTime, Told::Nothing, 0..=0, None),
        row(RequestTooLarge, TOO_LARGE, 0..=0, None),
        row(CommandLost, Told::Nothing, 0..=0, None),
        row(CommandUnacknowledgedByBroker, ACK, 2..=2, DUPLICATE),
        row(CommandUnacknowledgedByGateway, ACK, 2..=2, DUPLICATE),
        row(CommandLate, Told::Nothing, 1..=1, LATE),
        // The broker keeps the command for a gateway that it thinks will be back, until it expires.
        row(GatewayGone, NO_ROUTE, 0..=1, None),
        row(GatewayGoneWithCommand, Told::Nothing, 1..=1, LATE),
        row(GatewayFull, FULL, 0..=0, None),
        // Twice, where the router lost its connection before it knew that the broker has the command.
        row(BothReconnect, ACK, 1..=2, None),
        row(AnswerLost, Told::Nothing, 1..=1, None),
        row(AnswerTwice, ACK, 1..=1, DUPLICATE),
        row(AnswerLate, Told::Nothing, 1..=1, LATE),
        row(AnswerUnacknowledgedByBroker, ACK, 1..=1, DUPLICATE),
        row(AnswerTooLarge, Told::Nothing, 0..=0, MALFORMED),
        row(ReplyUnconfirmed, ACK, 1..=1, None),
        row(ReplyLate, Told::Nothing, 1..=1, STRAY),
        row(CallerGone, Told::Nothing, 1..=1, ASKER_GONE),
    ]
}

#[tokio::test]
async fn each_fault_of_an_rpc_has_the_outcome_that_it_must_have() -> Result<()> {
    let mut rig = Rig::set().await?;
    answers_that_overtake_each_other(&rig).await.context("answers that overtake each other")?;
    let mut broken = Vec::new();
    for (number, row) in (1..).zip(matrix()) {
        let fault = row.fault;
        if let Err(error) = play(&mut rig, number, row).await {
            broken.push(format!("{fault:?}: {error:#}"));
        }
    }
    ensure!(broken.is_empty(), "{broken:#?}");
    rig.strike().await
}

/// Plays one row with a label of its own.
async fn play(rig: &mut Rig, number: u32, row: Row) -> Result<()> {
    let (label, id) = (label_mac(number), CorrelationId::from_uuid(Uuid::now_v7()));
    rig.reachable(label).await?;
    let before = rig.counted(row.counted).await?;
    let told = rig.ask(row.fault, &id, label).await?;
    ensure!(told == row.told, "told {told:?}, expected {:?}", row.told);

    // Whatever happened: the next price of the label is shown.
    let task = price_update(&[label], 2);
    rig.story.backend.enqueue(&task).await?;
    rig.story.all_settled(LIMIT).await.context("the next price")?;
    let outcome = rig.story.results.seen()[&(task.task_id, label)][0].outcome;
    ensure!(outcome == Outcome::Shown, "the next price: {outcome}");
    if row.counted.is_some() {
        let counted = async |_: &Story| Ok(rig.counted(row.counted).await? > before);
        rig.story.until("it is counted", LIMIT, counted).await?;
    }
    let carried_out = async |_: &Story| Ok(rig.carried_out(label, &id).await? >= *row.carried.start());
    rig.story.until("the command is carried out", LIMIT, carried_out).await?;
    let times = rig.carried_out(label, &id).await?;
    ensure!(row.carried.contains(&times), "carried out {times} times, expected {:?}", row.carried);
    Ok(())
}

/// Answers come in the reverse order of their questions, each to whoever asked.
async fn answers_that_overtake_each_other(rig: &Rig) -> Result<()> {
    let asked: Vec<_> = (1..=6).map(|number| (label_mac(number), CorrelationId::from_uuid(Uuid::now_v7()))).collect();
    for (label, _) in &asked {
        rig.story.emulator.label_faults(*label, json!({"silent": true})).await?;
    }
    let before = rig.commands().await?;
    let asking = asked.iter().map(|(label, id)| rig.asker.ping_as(id, *label, LIMIT));
    let answering = async {
        rig.came(before + 6).await?;
        for (number, (label, id)) in asked.iter().enumerate().rev() {
            // Every second one is refused, so that whoever gets another's answer notices.
            rig.answer(json!({"deviceMac": label, "ack": number % 2 == 0, "id": id, "error": "queue_full"})).await?;
        }
        anyhow::Ok(())
    };
    let (replies, answered) = tokio::join!(futures::future::join_all(asking), answering);
    answered?;
    for (number, reply) in replies.into_iter().enumerate() {
        let (told, expected) = (rig::told(reply)?, if number % 2 == 0 { ACK } else { FULL });
        ensure!(told == expected, "asker {number} was told {told:?}, expected {expected:?}");
    }
    for (label, _) in &asked {
        rig.story.emulator.label_faults(*label, json!({})).await?;
    }
    Ok(())
}
