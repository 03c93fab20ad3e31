//! Answers that nobody waits for: late, twice, from the wrong gateway, to an RPC that never was, or no answers at all.

use anyhow::{Result, bail};
use integration::{Asker, Story, Stranger, gateway_mac, labels, price_update, quick};
use protocol::{CorrelationId, GatewayMac, LabelMac, ReplyOutcome, names::mqtt};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(60);

fn dropped(reason: &str) -> String {
    format!("bck_router_dropped_answers_total{{reason=\"{reason}\"}}")
}

/// Waits until so many answers, and no more, are dropped for this reason.
async fn until_dropped(story: &Story, reason: &str, count: f64) -> Result<()> {
    let there = async |story: &Story| Ok(story.metric(&dropped(reason)).await? >= count);
    story.until(&format!("{count} answers are dropped as {reason}"), LIMIT, there).await?;
    assert_eq!(story.metric(&dropped(reason)).await?, count, "{reason}");
    Ok(())
}

/// Waits until so many replies, and no more, are counted: when RabbitMQ has them, which may be after whoever asked.
async fn replies_are(story: &Story, count: f64) -> Result<()> {
    let replies = "bck_router_replies_total";
    let there = async |story: &Story| Ok(story.metric(replies).await? >= count);
    story.until(&format!("{count} replies"), LIMIT, there).await?;
    assert_eq!(story.metric(replies).await?, count, "{replies}");
    Ok(())
}

/// Labels with one gateway in reach, and that gateway: whoever asks them asks it.
async fn labels_with_one_gateway(story: &Story, count: usize) -> Result<Vec<(LabelMac, GatewayMac)>> {
    let mut found = Vec::new();
    for label in labels(100) {
        if let [only] = story.emulator.label(label).await?.heard_by.as_slice() {
            found.push((label, only.gateway));
        }
        if found.len() == count {
            return Ok(found);
        }
    }
    bail!("only {} labels have one gateway in reach", found.len())
}

#[tokio::test]
async fn late_answers_are_dropped() -> Result<()> {
    // So few that each gateway has a place for all of its labels, and is not avoided for its silence.
    let story = Story::start(quick(8, 24)).await?;
    story.emulator.store_faults(json!({"late_answer_rate": 1, "late_answer_by": "3s"})).await?;
    story.backend.enqueue(&price_update(&labels(24), 1)).await?;
    let written =
        async |story: &Story| Ok(story.stack.emulator.metric("gateway_emulator_answers_total").await? == 24.0);
    story.until("all labels are written, and their answers under way", LIMIT, written).await?;
    story.emulator.store_faults(json!({})).await?;

    // Each is asked again, and the answer to that counts.
    story.all_settled(LIMIT).await?;
    let late = async |story: &Story| Ok(story.metric(&dropped("late")).await? >= 24.0);
    story.until("all late answers are dropped", LIMIT, late).await?;
    story.check_books().await?;
    replies_are(&story, 24.0).await?; // one for each label
    assert!(story.results.seen().values().flatten().all(|result| result.attempts > 1));
    story.end().await
}

#[tokio::test]
async fn duplicate_answers_are_dropped() -> Result<()> {
    let story = Story::start(quick(3, 100)).await?;
    story.emulator.store_faults(json!({"duplicate_answer_rate": 1})).await?;
    for version in [1, 2] {
        let tasks: Vec<_> = labels(100).chunks(2).map(|pair| price_update(pair, version)).collect();
        story.backend.enqueue_all(&tasks).await?;
        story.all_settled(LIMIT).await?;
    }
    story.check_books().await?;
    let sent_twice = story.stack.emulator.metric("gateway_emulator_answers_total{kind=\"Duplicate\"}").await?;
    assert!(sent_twice >= 200.0, "{sent_twice}");
    until_dropped(&story, "duplicate", sent_twice).await?;
    replies_are(&story, 200.0).await?; // one for each label and version
    story.end().await
}

#[tokio::test]
async fn only_the_gateway_that_was_asked_can_answer() -> Result<()> {
    let story = Story::start(quick(4, 100)).await?;
    let [(label, asked), (other_label, _)] = labels_with_one_gateway(&story, 2).await?[..] else { unreachable!() };
    let other = (1..=4).map(gateway_mac).find(|gateway| *gateway != asked).unwrap();
    story.backend.enqueue(&price_update(&[label, other_label], 1)).await?;
    story.all_settled(LIMIT).await?;
    let before = story.emulator.gateway(asked).await?.commands;
    replies_are(&story, 2.0).await?;
    story.emulator.label_faults(label, json!({"silent": true})).await?;
    let id: CorrelationId = "chosen-by-the-story".parse()?;
    let answer = |label: LabelMac| json!({"deviceMac": label, "ack": true, "id": id});

    let asker = Asker::connect(&story).await?;
    let asking = asker.ping_as(&id, label, LIMIT);
    let forging = async {
        let came = async |story: &Story| Ok(story.emulator.gateway(asked).await?.commands == before + 1);
        story.until("the command is with the gateway", LIMIT, came).await?;
        story.emulator.answer(other, answer(label)).await?;
        story.emulator.answer(other, json!({"deviceMac": label, "ack": true})).await?;
        until_dropped(&story, "wrong_gateway", 2.0).await?;
        // The right one, of a label that was not asked.
        story.emulator.answer(asked, answer(other_label)).await?;
        until_dropped(&story, "unknown", 1.0).await?;
        replies_are(&story, 2.0).await?; // no forged answer was credited
        story.emulator.answer(asked, answer(label)).await
    };
    let (reply, forged) = tokio::join!(asking, forging);
    forged?;
    let reply = reply?;
    assert_eq!((reply.outcome, reply.gateway), (ReplyOutcome::Ack, Some(asked)));

    // And nobody can answer twice.
    story.emulator.answer(asked, answer(label)).await?;
    until_dropped(&story, "duplicate", 1.0).await?;
    story.emulator.answer(other, answer(label)).await?;
    until_dropped(&story, "wrong_gateway", 3.0).await?;
    story.check_books().await?;
    story.end().await
}

/// An ID that is remembered nowhere, but might be that of an RPC forgotten with Redis' data, sets off a repair: the
/// newest version is written once more. What no RPC of the backbone had sets off nothing.
#[tokio::test]
async fn answers_to_no_rpc_are_dropped() -> Result<()> {
    let story = Story::start(quick(2, 10)).await?;
    story.backend.enqueue(&price_update(&labels(10), 5)).await?;
    story.all_settled(LIMIT).await?;
    let (one, other) = (labels(10)[0], labels(10)[1]);
    let answer = |label: LabelMac, id: Value| json!({"deviceMac": label, "ack": true, "id": id});

    story.emulator.answer(gateway_mac(1), answer(one, json!("nobody-asked"))).await?;
    story.emulator.answer(gateway_mac(2), answer(one, json!(Uuid::new_v4()))).await?;
    until_dropped(&story, "unknown", 2.0).await?;
    assert_eq!(story.metric("bck_router_repairs_total").await?, 0.0);

    story.emulator.answer(gateway_mac(1), answer(other, json!(Uuid::now_v7()))).await?;
    until_dropped(&story, "unknown", 3.0).await?;
    assert_eq!(story.metric("bck_router_repairs_total").await?, 1.0);
    let repaired = async |story: &Story| Ok(story.ledger.history(other, 10).await?.len() == 2);
    story.until("the repair is recorded", LIMIT, repaired).await?;
    story.check_books().await?;
    let writes = async |label| anyhow::Ok(story.emulator.label(label).await?.writes);
    assert_eq!((writes(one).await?, writes(other).await?), (1, 2));
    story.end().await
}

#[tokio::test]
async fn what_is_no_answer_is_dropped() -> Result<()> {
    let story = Story::start(quick(2, 10)).await?;
    let label = labels(1)[0];
    let topic = mqtt::topic(gateway_mac(1), mqtt::Channel::Response);
    let answer = json!({"deviceMac": label, "ack": true}).to_string();
    let stranger = Stranger::connect(&story).await?;

    let huge = vec![b' '; 100_000];
    let malformed: [&[u8]; 6] =
        [b"", b"no JSON", b"\xff\x00\xfe", b"{\"ack\":true}", b"{\"deviceMac\":\"x\",\"ack\":true}", &huge];
    for payload in malformed {
        stranger.say(&topic, payload, "id").await?;
    }
    until_dropped(&story, "malformed", 6.0).await?;
    stranger.say(&topic, answer.as_bytes(), "not, an, ID").await?;
    until_dropped(&story, "malformed", 7.0).await?;
    // The topic says who speaks, and has one spelling.
    stranger.say(&topic.replace("00fa7e", "00FA7E"), answer.as_bytes(), "id").await?;
    stranger.say("/gw/00:fa:7e:00:00:01/response", answer.as_bytes(), "id").await?;
    stranger.say("/gw//response", answer.as_bytes(), "id").await?;
    until_dropped(&story, "bad_topic", 3.0).await?;
    // Larger than the routers take from the broker: they never see it, and what follows it comes through.
    for _ in 0..5 {
        stranger.say(&topic, &vec![b' '; 1 << 20], "id").await?;
        stranger.say(&topic, answer.as_bytes(), "unknown").await?;
    }
    until_dropped(&story, "unknown", 5.0).await?;
    until_dropped(&story, "malformed", 7.0).await?;
    stranger.leave().await;

    story.backend.enqueue(&price_update(&labels(10), 1)).await?;
    story.all_settled(LIMIT).await?;
    story.check_books().await?;
    story.end().await
}
