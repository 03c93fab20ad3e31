//! `bench store`: a batch of price updates over HTTP, on `standalone` and on the servers in turn.

use crate::{
    labels::{Versions, label},
    processes::{self, Watched},
    rig::{server_pids, start_servers},
    store_api::StoreApi,
    table::{Table, number},
};
use anyhow::{Context, Result, ensure};
use backbone::service::parse_duration;
use clap::ValueEnum;
use serde::Serialize;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use testbed::{BCK_ROUTER, FWD_ROUTER, Role, STANDALONE, STORE_API, Stack, StackConfig, Standalone, TASK_WORKER};

/// What `bench store` can be told.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct StoreArgs {
    /// What is measured, in turn
    #[arg(long, value_delimiter = ',', default_value = "standalone,servers")]
    on: Vec<Target>,

    /// Levels of load: so many tasks, of one label each, are worked on at a time (TASK_CONCURRENCY)
    #[arg(long, value_delimiter = ',', default_value = "1,50,500", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Vec<u32>,

    /// How many gateways are emulated
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    gateways: u32,

    /// How many labels the store has; each is updated once per level. Their writes take no time
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    labels: u32,

    /// How often everything is measured, with new processes of every role
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,

    /// A batch that takes longer fails the run
    #[arg(long, default_value = "10m", value_parser = parse_duration)]
    #[serde(skip)]
    limit: Duration,

    /// Also write everything to this file
    #[arg(long)]
    #[serde(skip)]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    /// One process, on SQLite, memory and an MQTT broker of its own
    Standalone,
    /// One process of each role, on RabbitMQ, Redis, Mosquitto and MongoDB
    Servers,
}

/// What one batch brought.
#[derive(Debug, Serialize)]
struct Batch {
    round: u32,
    on: Target,
    concurrency: u32,
    /// From the first process of the roles to all of them ready, the gateways connected.
    ready_seconds: f64,
    /// Tasks confirmed per second, while others of them are worked on.
    enqueued_per_second: f64,
    /// From the first request to the last label's outcome.
    seconds: f64,
    /// Labels per second of that.
    per_second: f64,
    /// CPU time per label of all but the emulator, and the most that was resident.
    processes: Vec<Used>,
}

#[derive(Debug, Serialize)]
struct Used {
    process: &'static str,
    cpu_us: f64,
    peak_mib: f64,
}

/// A running backbone.
enum Running {
    Standalone(Box<Standalone>),
    Servers(Box<Stack>),
}

/// Measures batches.
pub(crate) async fn run(args: StoreArgs) -> Result<()> {
    println!(
        "bench store: {} labels, {} gateways whose writes take no time; one task a label, enqueued over HTTP.",
        args.labels, args.gateways
    );
    let versions = Versions::new();
    let mut batches = Vec::new();
    for round in 1..=args.rounds {
        for &concurrency in &args.concurrency {
            for &on in &args.on {
                let batch = measure(&args, round, on, concurrency, &versions).await;
                batches.push(batch.with_context(|| format!("{on:?} with {concurrency} tasks at a time"))?);
            }
        }
    }
    print(&batches);
    let Some(file) = &args.json else { return Ok(()) };
    let report = serde_json::json!({"bench": "store", "parameters": args, "batches": batches});
    std::fs::write(file, format!("{report:#}\n")).with_context(|| format!("writing {}", file.display()))
}

async fn measure(args: &StoreArgs, round: u32, on: Target, concurrency: u32, versions: &Versions) -> Result<Batch> {
    let (mut running, ready_seconds) = Running::start(args, on, concurrency).await?;
    let api = StoreApi::new(&running.api_url())?;
    api.wait_routed(label(args.labels - 1), args.limit).await?;
    let watched = running.watched()?;
    let before = processes::usage(&watched)?;
    let began = Instant::now();
    let bodies = (0..args.labels).map(|index| ([label(index)], versions.next()));
    let batch = api.enqueue(bodies).await?;
    let enqueued = began.elapsed().as_secs_f64();
    let ended = api.wait_complete(&batch, args.limit).await?;
    ensure!(ended.shown == u64::from(args.labels), "{} of {} labels show their price", ended.shown, args.labels);
    let after = processes::usage(&watched)?;
    running.stop().await?;
    let used = watched.iter().zip(before).zip(after).map(|((process, before), after)| Used {
        process: process.name,
        cpu_us: after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / f64::from(args.labels),
        peak_mib: after.peak_bytes as f64 / f64::from(1 << 20),
    });
    Ok(Batch {
        round,
        on,
        concurrency,
        ready_seconds,
        enqueued_per_second: f64::from(args.labels) / enqueued,
        seconds: ended.seconds,
        per_second: f64::from(args.labels) / ended.seconds,
        processes: used.collect(),
    })
}

impl Running {
    async fn start(args: &StoreArgs, on: Target, concurrency: u32) -> Result<(Self, f64)> {
        let config = StackConfig {
            workers: 1,
            fwd_routers: 1,
            bck_routers: 1,
            store_apis: 1,
            gateways: args.gateways as usize,
            labels: args.labels as usize,
            emulator_args: ["--write-time", "0s", "--write-queue", "100000"].map(str::to_owned).to_vec(),
            rust_log: "warn".to_owned(),
            ..StackConfig::default()
        };
        let config = [TASK_WORKER, STANDALONE]
            .into_iter()
            .fold(config, |config, role| config.with_env(role, "TASK_CONCURRENCY", concurrency.to_string()));
        match on {
            Target::Standalone => {
                let mut standalone = Standalone::launch(config)?;
                let began = Instant::now();
                standalone.start().await?;
                Ok((Self::Standalone(Box::new(standalone)), began.elapsed().as_secs_f64()))
            }
            Target::Servers => {
                let servers = start_servers().await?;
                let began = Instant::now();
                let stack = Stack::on(servers, config).await?;
                Ok((Self::Servers(Box::new(stack)), began.elapsed().as_secs_f64()))
            }
        }
    }

    fn api_url(&self) -> String {
        match self {
            Self::Standalone(standalone) => standalone.api_url(),
            Self::Servers(stack) => stack.api_urls.concat(),
        }
    }

    /// All that is measured: not the emulator, which stands in for gateways.
    fn watched(&mut self) -> Result<Vec<Watched>> {
        let known = [STANDALONE, STORE_API, TASK_WORKER, FWD_ROUTER, BCK_ROUTER];
        let process = |role: &Role| {
            let name = known.into_iter().find(|name| *name == role.name())?;
            Some(Watched { name, pid: role.pid(), with_children: false })
        };
        Ok(match self {
            Self::Standalone(standalone) => process(standalone.backbone()?).into_iter().collect(),
            Self::Servers(stack) => {
                let server = |(name, pid)| Watched { name, pid, with_children: true };
                let servers: Vec<_> = server_pids(&stack.servers).map(server).collect();
                stack.roles_mut().filter_map(|role| process(role)).chain(servers).collect()
            }
        })
    }

    async fn stop(self) -> Result<()> {
        match self {
            Self::Standalone(mut standalone) => standalone.stop().await,
            Self::Servers(stack) => stack.stop().await,
        }
    }
}

fn print(batches: &[Batch]) {
    let headings = ["on", "tasks at a time", "labels/s", "s", "CPU µs per label", "enqueued/s", "ready s", "peak MiB"];
    let mut table = Table::new(headings.map(str::to_owned).to_vec());
    for batch in batches {
        let sum = |value: fn(&Used) -> f64| batch.processes.iter().map(value).sum::<f64>();
        let mut row = vec![format!("{:?}", batch.on).to_lowercase(), batch.concurrency.to_string()];
        row.push(number(batch.per_second, 0));
        row.push(number(batch.seconds, 1));
        row.push(number(sum(|used| used.cpu_us), 0));
        row.push(number(batch.enqueued_per_second, 0));
        row.push(number(batch.ready_seconds, 2));
        row.push(number(sum(|used| used.peak_mib), 0));
        table.push(row);
    }
    println!("{table}");
    for batch in batches.iter().filter(|batch| batch.on == Target::Servers) {
        let each = batch.processes.iter().map(|used| format!("{} {:.0}", used.process, used.cpu_us));
        println!("servers, {} at a time, µs: {}", batch.concurrency, each.collect::<Vec<_>>().join(", "));
    }
}
