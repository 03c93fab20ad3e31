//! The system under test, where it is one process.

use super::measured::{Latencies, Measured, Parameters};
use super::rpcs;
use super::usage::{Usage, per_rpc};
use crate::{
    cgroup::CpuLimit,
    labels::{Versions, label},
    processes::Watched,
    store_api::StoreApi,
};
use anyhow::{Context, Result};
use backbone::{
    embedded::{DataFolder, FolderOptions},
    ledger::{Ledger, LedgerUrl},
    service::now,
};
use hdrhistogram::Histogram;
use protocol::Timestamp;
use std::{collections::BTreeMap, path::Path, time::Duration};
use testbed::{GATEWAY_EMULATOR, Role, STANDALONE, StackConfig, Standalone};

const LIMIT: Duration = Duration::from_secs(20 * 60);
const MAX_MILLIS: u64 = 600_000;

/// All tasks are enqueued over HTTP; so many are worked on at a time.
pub(super) async fn measure(parameters: &Parameters, versions: &Versions, logs: Option<&Path>) -> Result<Measured> {
    // Dropped after the process in it.
    let limit = parameters.cpu_millicores.map(CpuLimit::new).transpose()?;
    let mut standalone = Standalone::launch(config(parameters, logs))?;
    standalone.start().await?;
    if let Some(limit) = &limit {
        limit.hold(standalone.backbone()?.pid())?;
    }
    let api = StoreApi::new(&standalone.api_url())?;
    api.wait_routed(label(parameters.labels - 1), LIMIT).await?;
    let watched = watched(&mut standalone)?;
    let since = now();
    let (before, mqtt_before) = (Usage::of(&watched)?, mqtt_messages(&standalone.emulator).await?);
    let pair = |task| [label(2 * (task % (parameters.labels / 2))), label(2 * (task % (parameters.labels / 2)) + 1)];
    let batch = api.enqueue((0..parameters.tasks).map(|task| (pair(task), versions.next()))).await?;
    let ended = api.wait_complete(&batch, LIMIT).await?;
    let (after, mqtt_after) = (Usage::of(&watched)?, mqtt_messages(&standalone.emulator).await?);
    let throttled = limit.as_ref().map(CpuLimit::throttled).transpose()?.unwrap_or_default();
    standalone.stop().await?;
    let folder = DataFolder::open(&FolderOptions { path: standalone.data().to_owned(), max_bytes: None })
        .context("opening the data folder that standalone has left")?;
    let ledger = Ledger::connect(&LedgerUrl::Sqlite(folder.clone())).await?;
    let (rpcs, end_to_end) = (rpcs::read(&ledger, since).await?, end_to_end(&ledger, since).await?);
    folder.close().await;
    let per_second = |count: f64| count / ended.seconds;
    Ok(Measured {
        seconds: ended.seconds,
        tasks_per_second: per_second(f64::from(parameters.tasks)),
        rpcs: rpcs.micros.len(),
        rpcs_per_second: per_second(rpcs.micros.len() as f64),
        mqtt_messages_per_second: per_second(mqtt_after - mqtt_before),
        end_to_end,
        communication: Latencies::of(&rpcs.micros),
        outcomes: ended.outcomes,
        timeouts: rpcs.timeouts(),
        rpc_ends: rpcs.ends,
        misroutes: 0,
        throttled_seconds: throttled.as_secs_f64(),
        errors: BTreeMap::new(),
        processes: per_rpc(&before, &after, rpcs.micros.len()),
    })
}

fn config(parameters: &Parameters, logs: Option<&Path>) -> StackConfig {
    let config = StackConfig {
        gateways: parameters.gateways as usize,
        labels: parameters.labels as usize,
        emulator_args: ["--write-time", "0s", "--write-queue", "100000"].map(str::to_owned).to_vec(),
        rust_log: "warn".to_owned(),
        log_dir: logs.map(Path::to_owned),
        ..StackConfig::default()
    };
    let at_a_time = parameters.in_flight.unwrap_or(u32::MAX).min(parameters.workers.into());
    let config = config.with_env(STANDALONE, "TASK_CONCURRENCY", at_a_time.to_string());
    config.with_env(STANDALONE, "RPC_TIMEOUT", format!("{}ms", parameters.timeout_ms))
}

fn watched(standalone: &mut Standalone) -> Result<Vec<Watched>> {
    let watched = |name, pid| Watched { name, pid, with_children: false };
    let emulator = watched(GATEWAY_EMULATOR, standalone.emulator.pid());
    Ok(vec![watched("backend", std::process::id()), watched(STANDALONE, standalone.backbone()?.pid()), emulator])
}

async fn mqtt_messages(emulator: &Role) -> Result<f64> {
    let commands = emulator.metric("gateway_emulator_commands_total").await?;
    Ok(commands + emulator.metric("gateway_emulator_answers_total").await?)
}

/// From each task's delivery to each of its labels' outcomes, in whole milliseconds.
async fn end_to_end(ledger: &Ledger, since: Timestamp) -> Result<Latencies> {
    let store = "bench".parse().context("naming the store")?;
    let mut micros = Histogram::new_with_bounds(1, MAX_MILLIS * 1000, 3)?;
    for millis in ledger.latest_latencies(&store, since, u32::MAX >> 1).await? {
        micros.saturating_record(millis * 1000);
    }
    Ok(Latencies::of(&micros))
}
