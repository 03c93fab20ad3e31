//! The run itself: load, one blow after the other, quiet, and the verdict.

use crate::{
    Config,
    collect::collect,
    fault::{heal, inflict},
    history::{Limits, Sample, check},
    plan::{Blow, Target, plan},
    report::Report,
    stage::Stage,
    traffic::Traffic,
};
use anyhow::{Context, Result, ensure};
use backbone::{
    queue::{AmqpUrl, Broker},
    service::now,
};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{Timestamp, names::amqp};
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

const WARM_UP: Duration = Duration::from_secs(3);
/// Between two blows.
const PAUSE: Duration = Duration::from_secs(1);
/// A blow that is not recovered from in this time is followed by the next all the same.
const RECOVERY_LIMIT: Duration = Duration::from_secs(45);
const CONFIRM_LIMIT: Duration = Duration::from_secs(60);
/// Longer than a task's time, and than waiting queues hold it back.
const SETTLE_LIMIT: Duration = Duration::from_secs(240);
const QUIET_LIMIT: Duration = Duration::from_secs(120);
/// Nothing is to be done when it looks so that many times in a row: longer than a late command is late.
const QUIET_LOOKS: usize = 12;
const LOOK: Duration = Duration::from_millis(500);

/// A blow that was dealt.
pub(crate) struct Struck {
    pub(crate) blow: Blow,
    pub(crate) begin: Timestamp,
    /// From when on all could recover.
    pub(crate) healed: Timestamp,
    /// When all roles were ready again.
    pub(crate) end: Timestamp,
    /// Updates that were confirmed and had no result, at most.
    pub(crate) in_flight: usize,
    pub(crate) samples: Vec<Sample>,
}

/// Runs all of it.
///
/// # Errors
/// When something could not be done; broken promises are in the report.
pub async fn run(config: &Config) -> Result<Report> {
    let bar = progress_bar(config)?;
    say(&bar, format!("seed {}: {} labels, {} updates per second", config.seed, config.labels, config.rate));
    let mut stage = Stage::set(config).await?;
    let url: AmqpUrl = stage.servers.amqp_url.parse()?;
    let traffic = Traffic::begin(config, &url).await;
    tokio::time::sleep(WARM_UP).await;

    let (began, mut struck) = (Instant::now(), Vec::new());
    let blows = plan(config.seed, config.gateways, config.only.as_deref(), config.pairs);
    for blow in blows.take(config.faults) {
        if began.elapsed() >= config.time() {
            break;
        }
        bar.set_position(began.elapsed().as_secs());
        bar.set_message(format!("{} updates, now: {blow}", traffic.confirmed()));
        let name = blow.to_string();
        let dealt = strike(&mut stage, &traffic, blow).await.with_context(|| format!("during: {name}"))?;
        say(&bar, dealt.1);
        struck.push(dealt.0);
    }
    bar.set_message("no more faults; waiting until all has settled");
    traffic.stop(CONFIRM_LIMIT).await?;
    let all = traffic.settled(SETTLE_LIMIT).await;
    if !all {
        say(&bar, format!("{} updates have no result after {SETTLE_LIMIT:?}", traffic.in_flight()));
    }
    quiet(&stage, &url).await?;
    bar.set_message("reading all that happened");
    let history = collect(config, &stage, &traffic, &struck).await?;
    let findings = check(&history, &Limits::default());
    bar.finish_and_clear();
    drop(traffic);
    stage.strike().await?;
    Ok(Report::new(config, &history, &findings, &struck))
}

/// Deals a blow, heals it, and waits until all has recovered; also says so in a line.
async fn strike(stage: &mut Stage, traffic: &Traffic, blow: Blow) -> Result<(Struck, String)> {
    let (begin, in_flight) = (now(), traffic.in_flight());
    for fault in &blow.faults {
        inflict(stage, fault).await?;
    }
    tokio::time::sleep(blow.lasts).await;
    let most = in_flight.max(traffic.in_flight());
    // Servers first: a role that is to end needs them to drain.
    let (roles, others): (Vec<_>, Vec<_>) =
        blow.faults.iter().partition(|fault| matches!(fault.target, Target::Replica(_)));
    for fault in others.into_iter().chain(roles) {
        heal(stage, fault, blow.faults.len() == 1).await?;
    }
    let (healed, began) = (now(), Instant::now());
    stage.wait_ready().await?;
    let end = now();
    let recovered = traffic.settled(RECOVERY_LIMIT).await;
    let took = began.elapsed().as_secs_f64();
    let verdict = if recovered { format!("all recovered {took:.1} s") } else { format!("not recovered {took:.1} s") };
    let line = format!("{blow} for {:.1} s: {most} in flight, {verdict} after it", blow.lasts.as_secs_f64());
    tokio::time::sleep(PAUSE).await;
    let samples = sample(stage);
    Ok((Struck { blow, begin, healed, end, in_flight: most, samples }, line))
}

fn sample(stage: &Stage) -> Vec<Sample> {
    let of = |replica: &crate::stage::Replica| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", replica.role.pid())).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib = resident.split_whitespace().next()?.parse().ok()?;
        Some(Sample { process: replica.name.clone(), resident_kib, at: now() })
    };
    // The emulator is no part of the backbone, and remembers all that ever happened.
    let backbone = &stage.replicas[..stage.replicas.len().saturating_sub(1)];
    backbone.iter().filter_map(of).collect()
}

/// Waits until nothing is queued or in hand, for so long that whatever comes late has come.
async fn quiet(stage: &Stage, url: &AmqpUrl) -> Result<()> {
    let end = Instant::now() + QUIET_LIMIT;
    let mut looks = 0;
    while looks < QUIET_LOOKS {
        ensure!(Instant::now() < end, "there is still something to do after {QUIET_LIMIT:?}");
        tokio::time::sleep(LOOK).await;
        looks = if is_quiet(stage, url).await? { looks + 1 } else { 0 };
    }
    Ok(())
}

async fn is_quiet(stage: &Stage, url: &AmqpUrl) -> Result<bool> {
    let broker = Broker::connect(url, "fault run").await?;
    let mut left = broker.waiting().await?;
    for queue in [amqp::TASKS, amqp::URGENT_TASKS, amqp::RPC] {
        left += broker.backlog(queue).await?;
    }
    broker.close().await;
    let mut in_hand = 0.0;
    for replica in stage.replicas.iter().filter(|replica| replica.role.name() == testbed::TASK_WORKER) {
        in_hand += replica.role.metric("task_worker_tasks_in_hand").await?;
    }
    Ok(left == 0 && in_hand == 0.0)
}

/// In a terminal above the bar.
fn say(bar: &ProgressBar, line: String) {
    if bar.is_hidden() { eprintln!("{line}") } else { bar.println(line) }
}

fn progress_bar(config: &Config) -> Result<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {msg}").context("drawing")?;
    let bar = ProgressBar::new(config.time().as_secs()).with_style(style);
    bar.enable_steady_tick(LOOK);
    Ok(bar)
}
