//! Somebody who calls himself a gateway says whatever he likes: nothing falls over, and nothing grows without bound.

use anyhow::{Context, Result, ensure};
use integration::{Books, StandaloneStory, Story, Stranger, gateway_mac, labels, price_update, quick};
use protocol::{
    LabelMac,
    names::{
        mqtt::{Channel, topic},
        redis::{GATEWAYS, LabelKey, label_key},
    },
};
use serde_json::json;
use std::time::Duration;
use testbed::{BCK_ROUTER, STANDALONE, StackConfig};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);
const LABELS: u32 = 20;
/// How many labels one gateway may report here, of how many gateways one label is kept, how many there may be.
const LABELS_PER_GATEWAY: usize = 300;
const GATEWAYS_PER_LABEL: usize = 4;
const GATEWAYS_MAX: usize = 30;
/// Whom nobody knows.
const ROGUE: u32 = 99;
const REPORTS: u32 = 5;
const LABELS_PER_REPORT: u32 = 4_000;
const ROGUES: std::ops::Range<u32> = 100..200;
const FORGED_ANSWERS: u32 = 300;
const SEED: u64 = 7;

fn config() -> StackConfig {
    let config = StackConfig { workers: 1, fwd_routers: 1, bck_routers: 1, ..quick(2, LABELS as usize) };
    let caps = [
        ("LABELS_PER_GATEWAY", LABELS_PER_GATEWAY),
        ("GATEWAYS_PER_LABEL", GATEWAYS_PER_LABEL),
        ("GATEWAYS_MAX", GATEWAYS_MAX),
    ];
    let of = |config, role| {
        caps.into_iter().fold(config, |config: StackConfig, (name, cap)| config.with_env(role, name, cap.to_string()))
    };
    of(of(config, BCK_ROUTER), STANDALONE)
}

/// A label that is not in the store.
fn foreign(number: u32) -> LabelMac {
    let [_, a, b, c] = number.to_be_bytes();
    LabelMac::from_octets([0x99, 0, 0, a, b, c])
}

/// How many answers and reports there were.
#[derive(Default)]
struct Said {
    answers: u32,
    reports: u32,
}

async fn flood(stranger: &Stranger) -> Result<Said> {
    let mut said = Said::default();
    let (status, response) = (topic(gateway_mac(ROGUE), Channel::Status), topic(gateway_mac(ROGUE), Channel::Response));
    let sighting = |label, rssi: i64| json!({"mac": label, "rssi": rssi});
    let mut reports = Vec::new();
    // More labels than a gateway may report, and each time others.
    for report in 0..REPORTS {
        let labels = (0..LABELS_PER_REPORT).map(|number| sighting(foreign(report * LABELS_PER_REPORT + number), 20));
        reports.push((status.clone(), json!({"labels": labels.collect::<Vec<_>>()}).to_string().into_bytes()));
    }
    // More gateways than may hear a label, or be there at all.
    let heard = json!({"labels": [sighting(foreign(0), 20)]}).to_string().into_bytes();
    reports.extend(ROGUES.map(|number| (topic(gateway_mac(number), Channel::Status), heard.clone())));
    // Every label of the store, as if it were inside this gateway.
    for rssi in [21, 50, 127, 128, i64::MAX] {
        let labels: Vec<_> = labels(LABELS).into_iter().map(|label| sighting(label, rssi)).collect();
        reports.push((status.clone(), json!({ "labels": labels }).to_string().into_bytes()));
    }
    reports.extend(garbage().into_iter().map(|body| (status.clone(), body)));
    for (topic, body) in &reports {
        stranger.say(topic, body, "id").await?;
        said.reports += 1;
    }
    // Answers to what nobody asked, of labels that nobody knows.
    let forged = (0..FORGED_ANSWERS).map(|number| {
        let id = uuid::Uuid::from_u64_pair(u64::from(number), SEED);
        json!({"deviceMac": foreign(number), "id": id.to_string(), "ack": true}).to_string().into_bytes()
    });
    for body in forged.chain(garbage()) {
        stranger.say(&response, &body, "id").await?;
        said.answers += 1;
    }
    Ok(said)
}

/// What is no message: bytes, half messages, deep and wide ones.
fn garbage() -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let valid = json!({"labels": [{"mac": foreign(1), "rssi": -1}], "deviceMac": foreign(1), "ack": true}).to_string();
    let mut bodies = vec![
        Vec::new(),
        b"[".repeat(100_000),
        br#"{"labels":"#.repeat(10_000),
        format!(r#"{{"labels":[{}]}}"#, vec![r#"{"mac":"","rssi":0}"#; 10_000].join(",")).into_bytes(),
        format!(r#"{{"deviceMac":"{}","ack":true}}"#, "0".repeat(200_000)).into_bytes(),
        format!(r#"{{"deviceMac":"{}","ack":false,"error":"{}"}}"#, foreign(1), "x".repeat(4_000)).into_bytes(),
    ];
    for _ in 0..50 {
        let bytes = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        let mut damaged = valid.clone().into_bytes();
        let at = random.usize(..damaged.len());
        damaged[at] = random.u8(..);
        damaged.truncate(random.usize(at..=damaged.len()));
        bodies.extend([bytes, damaged]);
    }
    bodies
}

async fn redis(story: &Story, args: &[&str]) -> Result<String> {
    let port = story.stack.servers.redis.port().to_string();
    let answer = Command::new("redis-cli").args(["-p", &port]).args(args).kill_on_drop(true).output().await?;
    ensure!(answer.status.success(), "redis-cli {args:?}: {answer:?}");
    Ok(String::from_utf8(answer.stdout)?.trim().to_owned())
}

async fn memory(story: &Story) -> Result<i64> {
    let info = redis(story, &["INFO", "memory"]).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
    Ok(used.trim().parse()?)
}

#[tokio::test]
async fn redis_does_not_grow_without_bound() -> Result<()> {
    let story = Story::start(config()).await?;
    let first: Vec<_> = labels(LABELS).chunks(2).map(|pair| price_update(pair, 1)).collect();
    story.backend.enqueue_all(&first).await?;
    story.all_settled(LIMIT).await?;
    let (keys, used) = (redis(&story, &["DBSIZE"]).await?.parse::<usize>()?, memory(&story).await?);

    let stranger = Stranger::connect(&story).await?;
    let before = story.metric("bck_router_answers_total").await?;
    let said = flood(&stranger).await?;
    let dealt_with = async |story: &Story| {
        let answers = story.metric("bck_router_answers_total").await? - before;
        let reports = story.metric("bck_router_reports_total").await?;
        Ok(answers >= f64::from(said.answers) && reports >= f64::from(said.reports))
    };
    story.until("all that was said is dealt with", LIMIT, dealt_with).await?;
    stranger.leave().await;

    let second: Vec<_> = labels(LABELS).chunks(2).map(|pair| price_update(pair, 2)).collect();
    story.backend.enqueue_all(&second).await?;
    story.all_settled(LIMIT).await?;
    let (more_keys, more_used) =
        (redis(&story, &["DBSIZE"]).await?.parse::<usize>()? - keys, memory(&story).await? - used);
    // A route and a day of signal strength for each of its labels, and what others say of the one that all hear.
    ensure!(more_keys <= 2 * LABELS_PER_GATEWAY + GATEWAYS_PER_LABEL, "{more_keys} keys more");
    ensure!(more_used < 2 << 20, "{more_used} bytes more");
    let hearers: usize = redis(&story, &["HLEN", &label_key(LabelKey::Route, foreign(0))]).await?.parse()?;
    ensure!(hearers <= GATEWAYS_PER_LABEL, "{hearers} gateways hear a label");
    let gateways: usize = redis(&story, &["HLEN", GATEWAYS]).await?.parse()?;
    ensure!(gateways <= GATEWAYS_MAX, "{gateways} gateways");
    for reason in ["too_many", "too_many_gateways", "nonsense", "malformed"] {
        let dropped = story.metric(&format!("bck_router_dropped_sightings_total{{reason=\"{reason}\"}}")).await?;
        ensure!(dropped > 0.0, "nothing was dropped as {reason}");
    }
    story.check_books().await?;
    story.end().await
}

#[tokio::test]
async fn standalone_does_not_grow_without_bound() -> Result<()> {
    let mut story = StandaloneStory::begin(config()).await?;
    let tasks: Vec<_> = labels(LABELS).chunks(2).map(|pair| price_update(pair, 1)).collect();
    story.enqueue_all(&tasks).await?;
    story.process.start().await?;
    story.all_shown(LIMIT).await?;
    let resident = resident_kib(story.process.backbone()?.pid())?;
    let stranger = Stranger::at(story.process.mqtt_url().parse()?, None).await?;
    flood(&stranger).await?;
    stranger.leave().await;
    story.all_shown(LIMIT).await?;
    let role = story.process.backbone()?;
    let tracked = role.metric("bck_router_labels_tracked").await?;
    let kept = LABELS_PER_GATEWAY + GATEWAYS_MAX + 2 * LABELS as usize;
    ensure!(tracked <= kept as f64, "{tracked} pairs of gateway and label are kept");
    let more = resident_kib(role.pid())?.saturating_sub(resident);
    ensure!(more < 48 << 10, "{more} KiB more");
    story.process.stop().await?;
    story.check_books(&Books::default()).await
}

/// What a process has in memory.
fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
