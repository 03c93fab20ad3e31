//! `bench rpc`: from worker to worker.

use crate::{
    closed_loop::{Plan, Tally, closed_loop, progress},
    labels::{Shares, Versions, label},
    level::Level,
    options::Options,
    report::Report,
    rig::{Rig, run_between, start_servers},
};
use anyhow::{Context, Result, bail};
use backbone::queue::{AmqpUrl, Broker, QueueError, RpcClient, RpcError, RpcRequest};
use futures::{StreamExt, TryStreamExt, stream};
use protocol::{Action, Command, CorrelationId, LabelMac, Reply, ReplyOutcome, Turn};
use serde::Serialize;
use std::time::{Duration, Instant};
use testbed::Servers;
use tokio::task::JoinSet;
use uuid::Uuid;

const RPC_TIMEOUT: Duration = Duration::from_secs(15);
const WARM_UP_AT_A_TIME: usize = 64;
/// Routes must be known after this.
const WARM_UP_LIMIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What `bench rpc` can be told.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct RpcArgs {
    /// Levels of load: how many RPCs are in flight, each to another label
    #[arg(long, value_delimiter = ',', default_value = "1,50,500", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: Vec<u32>,

    /// How many RPCs are made per level
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,

    /// How many RPCs are made to every label before each round; what Redis remembers of a label grows up to 8
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    warm_up: u32,

    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
}

/// Measures RPCs.
pub(crate) async fn run(args: RpcArgs) -> Result<()> {
    let options = &args.options;
    let shares: Vec<_> =
        args.in_flight.iter().map(|slots| Shares::new(options.labels, *slots)).collect::<Result<_>>()?;
    let mut report = Report::new("rpc", "RPC", "in flight", args.clone());
    report.print_head(&format!(
        "One process of each: worker (this one), fwd-router, bck-router; {} emulated gateways, {} labels, writes take \
         no time, IDs echoed in the body.\nBefore the load each gateway reports once, and each label gets {} RPC; \
         during it there are no reports.",
        options.gateways, options.labels, args.warm_up
    ));
    let servers = start_servers().await?;
    let versions = Versions::new();
    for round in 1..=options.rounds {
        let mut rig = Rig::start(&servers, options, None).await?;
        let (broker, client, mut listening) = open_client(&servers).await?;
        let asker = Asker { client, versions: &versions };
        let watched = rig.watched("worker");
        let measure = async {
            asker.warm_up(options.labels, args.warm_up).await?;
            for (in_flight, shares) in args.in_flight.iter().zip(&shares) {
                let load = asker.load(*shares, &args, *in_flight);
                report.push(Level::measure(round, *in_flight, &watched, load).await?);
            }
            Ok(())
        };
        tokio::select! {
            measured = measure => measured.or_else(|error: anyhow::Error| rig.check().and(Err(error)))?,
            Some(lost) = listening.join_next() => Err(lost?).context("listening for replies")?,
        }
        rig.check()?;
        broker.close().await;
        rig.stop().await?;
        report.print_round(round);
        run_between(&servers, options).await?;
    }
    report.write_json(options.json.as_deref())?;
    report.fail_on_errors()
}

/// Takes replies for as long as it can.
type Listening = JoinSet<QueueError>;

async fn open_client(servers: &Servers) -> Result<(Broker, RpcClient, Listening)> {
    let url: AmqpUrl = servers.amqp_url.parse().context("reading RabbitMQ's URL")?;
    let broker = Broker::connect(&url, "bench").await.context("connecting")?;
    let (client, listen) = RpcClient::open(&broker).await.context("opening a reply queue")?;
    let mut listening = JoinSet::new();
    listening.spawn(listen);
    Ok((broker, client, listening))
}

/// Makes RPCs.
struct Asker<'a> {
    client: RpcClient,
    versions: &'a Versions,
}

impl Asker<'_> {
    async fn load(&self, shares: Shares, args: &RpcArgs, in_flight: u32) -> Result<Tally> {
        let bar = progress(args.requests, format!("{in_flight} in flight"));
        let plan = Plan { slots: in_flight, total: args.requests, limit: args.options.level_limit };
        let once = async |slot, turn| self.ask(label(shares.index(slot, turn))).await.map(|latency| [latency]);
        let tally = closed_loop(plan, &bar, once).await;
        bar.finish_and_clear();
        tally
    }

    /// Asks a label so often that it acknowledges; the first may have to wait until its route is known.
    async fn warm_up(&self, labels: u32, times: u32) -> Result<()> {
        let end = Instant::now() + WARM_UP_LIMIT;
        let bar = progress(labels * times, "warm-up".to_owned());
        let asked = stream::iter(0..times).flat_map(|_| stream::iter(0..labels)).map(async |index| {
            while let Err(error) = self.ask(label(index)).await {
                if Instant::now() > end {
                    bail!("no acknowledgement from label {} while warming up: {error}", label(index));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            bar.inc(1);
            Ok(())
        });
        asked.buffer_unordered(WARM_UP_AT_A_TIME).try_collect::<()>().await?;
        bar.finish_and_clear();
        Ok(())
    }

    /// One label, until its gateway has a place for it: how long that took with the time in line, or what went wrong.
    async fn ask(&self, label: LabelMac) -> Result<Duration, String> {
        let (version, fields) = self.versions.next();
        let began = Instant::now();
        let mut turn = Turn::Newcomer;
        let reply = loop {
            let id = CorrelationId::from_uuid(Uuid::now_v7());
            let fields = fields.clone();
            let command = Command { id: id.clone(), label, action: Action::PriceUpdate, version, fields };
            let body = serde_json::to_vec(&command).map_err(|error| error.to_string())?;
            let request = RpcRequest { id: &id, label, body: &body, timeout: RPC_TIMEOUT, turn };
            let reply = self.client.call(request).await;
            let Some((_, wait)) = reply.as_ref().ok().and_then(Reply::wait) else { break reply };
            tokio::time::sleep(wait).await;
            turn = Turn::Waited;
        };
        let latency = began.elapsed();
        match reply {
            Ok(reply) if reply.outcome == ReplyOutcome::Ack => Ok(latency),
            Ok(reply) if reply.outcome == ReplyOutcome::Nack => {
                Err(format!("refused: {}", reply.error.unwrap_or_default()))
            }
            Ok(reply) => Err(format!("replied {:?}", reply.outcome)),
            Err(RpcError::Timeout) => Err(format!("no reply within {RPC_TIMEOUT:?}")),
            Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
        }
    }
}
