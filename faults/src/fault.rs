//! Faults are done and undone.

use crate::{
    plan::{Fault, Harm, Target},
    stage::{Kind, Line, Stage},
};
use anyhow::{Context, Result, ensure};
use integration::{Emulator, gateway_mac};
use serde_json::json;
use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};
use testbed::Mode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ON_DISK_LIMIT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);

/// Does it.
pub(crate) async fn inflict(stage: &mut Stage, fault: &Fault) -> Result<()> {
    if (fault.target, fault.harm) == (Target::Server(Kind::RabbitMq), Harm::Kill) {
        queues_on_disk(stage).await?;
    }
    match (fault.target, fault.harm) {
        (_, Harm::Network(mode)) => set_lines(stage, fault.target, mode),
        (Target::Replica(at), Harm::Kill) => stage.replicas[at].role.kill(),
        (Target::Replica(at), Harm::Restart) => stage.replicas[at].role.terminate(),
        (Target::Replica(at), _) => stage.replicas[at].role.pause(),
        (Target::Server(_), Harm::Flush) => flush_all(stage.servers.redis.port()).await,
        (Target::Server(kind), Harm::Kill) => stage.server(kind)?.kill(),
        (Target::Server(kind), Harm::Restart) => stage.server(kind)?.stop().await,
        (Target::Server(kind), _) => stage.server(kind)?.pause(),
        (Target::Line(..), _) => Ok(()),
        (Target::Gateway(number), harm) => hurt_gateway(&emulator(stage)?, number, harm).await,
    }
}

/// Undoes it, as far as that is for us to do: roles find their servers again by themselves.
pub(crate) async fn heal(stage: &mut Stage, fault: &Fault, alone: bool) -> Result<()> {
    match (fault.target, fault.harm) {
        (_, Harm::Network(_)) => set_lines(stage, fault.target, Mode::Pass),
        (Target::Replica(at), Harm::Freeze) => stage.replicas[at].role.resume(),
        (Target::Replica(at), harm) => {
            let role = &mut stage.replicas[at].role;
            if harm == Harm::Restart {
                let status = role.wait().await?;
                // Where a server was away meanwhile, it could not drain.
                ensure!(status.success() || !alone, "it ended with {status}; its log ends:\n{}", role.log_tail());
            }
            role.start_again()
        }
        (Target::Server(kind), Harm::Kill | Harm::Restart) => stage.server(kind)?.start_again().await,
        (Target::Server(kind), Harm::Freeze) => stage.server(kind)?.resume(),
        (Target::Server(_) | Target::Line(..), _) => Ok(()),
        (Target::Gateway(number), harm) => heal_gateway(&emulator(stage)?, number, harm).await,
    }
}

fn emulator(stage: &Stage) -> Result<Emulator> {
    Ok(Emulator::new(stage.emulator()?.admin_url()))
}

fn set_lines(stage: &Stage, target: Target, mode: Mode) -> Result<()> {
    let concerned = |at: usize, line: &&Line| match target {
        Target::Line(replica, kind) => at == replica && line.to == kind,
        Target::Server(kind) => line.to == kind,
        Target::Replica(_) | Target::Gateway(_) => false,
    };
    for (at, replica) in stage.replicas.iter().enumerate() {
        replica.lines.iter().filter(|line| concerned(at, line)).for_each(|line| line.set_mode(mode));
    }
    Ok(())
}

async fn hurt_gateway(emulator: &Emulator, number: u32, harm: Harm) -> Result<()> {
    let gateway = gateway_mac(number);
    match harm {
        Harm::Offline => emulator.gateway_state(gateway, "offline?abrupt=true").await,
        Harm::Hang => emulator.gateway_state(gateway, "hang").await,
        Harm::Late => emulator.gateway_faults(gateway, json!({"late_rate": 0.5, "late_by": "4s"})).await,
        _ => emulator.gateway_faults(gateway, json!({"nack_rate": 0.7, "nack_error": "queue_full"})).await,
    }
}

async fn heal_gateway(emulator: &Emulator, number: u32, harm: Harm) -> Result<()> {
    let gateway = gateway_mac(number);
    match harm {
        Harm::Offline => emulator.gateway_state(gateway, "online").await,
        Harm::Hang => emulator.gateway_state(gateway, "resume").await,
        _ => emulator.gateway_faults(gateway, json!({})).await,
    }
}

async fn flush_all(port: u16) -> Result<()> {
    let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    redis.write_all(b"FLUSHALL\r\n").await?;
    let mut answer = [0; 5];
    redis.read_exact(&mut answer).await?;
    ensure!(&answer == b"+OK\r\n", "Redis answered {:?}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// RabbitMQ 3.10 forgets a quorum queue, and what is in it, if it is killed within some 3 s after the queue was declared for
/// the first time: only then the name is on disk. That is a fault of its own, which no client can make up for.
async fn queues_on_disk(stage: &Stage) -> Result<()> {
    let servers = &stage.servers;
    let rabbitmq = servers.rabbitmq.as_ref().context("a RabbitMQ of our own")?;
    let url = format!("{}/api/queues/{}?columns=name,arguments", servers.management().url(), servers.name());
    let client = testbed::http_builder().build()?;
    let end = Instant::now() + ON_DISK_LIMIT;
    loop {
        let answer = client.get(&url).basic_auth("guest", Some("guest")).send().await?.error_for_status()?;
        let queues: Vec<serde_json::Value> = answer.json().await.context("reading the list of queues")?;
        let quorum = queues.iter().filter(|queue| queue["arguments"]["x-queue-type"] == "quorum");
        let names: Vec<_> = quorum.filter_map(|queue| queue["name"].as_str()).collect();
        let on_disk = names_on_disk(&rabbitmq.folder().join("mnesia/node/quorum"))?;
        let there = |name: &&str| {
            let name = format!("{}_{name}", servers.name()).into_bytes();
            on_disk.windows(name.len()).any(|window| window == name)
        };
        if !names.is_empty() && names.iter().all(there) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "RabbitMQ has not written the names of its queues within {ON_DISK_LIMIT:?}");
        tokio::time::sleep(LOOK).await;
    }
}

fn names_on_disk(folder: &Path) -> Result<Vec<u8>> {
    let mut names = Vec::new();
    for node in std::fs::read_dir(folder).with_context(|| format!("looking into {}", folder.display()))? {
        names.extend(std::fs::read(node?.path().join("names.dets")).unwrap_or_default());
    }
    Ok(names)
}
