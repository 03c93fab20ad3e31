//! What can be asked.

use crate::place::Place;
use backbone::{mqtt::MqttUrl, registry::WindowArgs, service::parse_duration};
use clap::{Args, Parser, Subcommand};
use protocol::{BatchId, GatewayMac, LabelMac, Store, TaskId};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

const EXIT_CODES: &str = "\
Exit codes: 0 all is well; 1 it failed, or not all is well; 2 what was given can't be used, and nothing was done;
130 interrupted by Ctrl-C.

It asks the HTTP API of store-api or standalone at --api URL, by default ESL_API, with the token in ESL_TOKEN or --token-file.
--amqp, --mongodb or --redis with a URL, or --direct, ask the servers themselves; those not named are where AMQP_URL,
MONGODB_URL and REDIS_URL say.";

const BIND_HELP: &str = "\
Example:
  esl bind bindings.csv

  label,sku,store
  00:1a:2b:00:00:01,7894417001018,sp-014

Columns may be in any order and separated by ',', ';' or tabs. If a line is bad, all that is wrong is listed and nothing
is bound (exit code 2); with --skip-bad the good lines are bound (exit code 1). Binding twice does no harm.";

const ENQUEUE_HELP: &str = "\
Example:
  esl enqueue prices.csv --store sp-014 --batch promo-2026-11 --watch

  sku,name,price,currency
  7894417001018,Furadeira de Impacto 650W 127V,299.90,BRL

A column \"version\" may be added: a whole number that grows with every change of a product. Without it a task's own
time is its version. Columns may be in any order and separated by ',', ';' or tabs; a price has a decimal point.

If a line is bad, all that is wrong is listed and nothing is sent (exit code 2); with --skip-bad the good lines are
sent, and the exit code is 1 even if all of their labels show their price.

With --watch the exit code is 0 only if every label shows its new price.";

const WATCH_HELP: &str = "\
Examples:
  esl watch promo-2026-11 --file prices.csv --store sp-014
  esl watch promo-2026-11 --total 2000

The exit code is 0 only if every label shows its new price.";

const BATCH_HELP: &str = "\
Examples:
  esl batch pause promo-2026-11
  esl batch cancel promo-2026-11 --store sp-014

What a gateway has in hand ends as it ends; nothing more is sent within a second or so. A batch may be paused for days: no
label of it runs out of time. A resumed batch goes on, and what waits of a cancelled one ends, within as long as it has
been paused, at most about a minute. A label that was cancelled has the outcome rejected, with the reason cancelled, and
keeps what it shows; a batch that was cancelled stays so.

The exit code is 2 if it was to be paused or resumed after it had been cancelled.";

const LABEL_HELP: &str = "\
Example:
  esl label 00:1a:2b:00:00:01

The exit code is 1 if the label does not show what it should, or is unknown.";

const GATEWAYS_HELP: &str = "\
Example:
  esl gateways --json";

const GATEWAY_CHECK_HELP: &str = "\
Examples:
  esl gateway-check --mqtt mqtt://127.0.0.1:1883 --mac 00:fa:7e:00:00:01
  esl gateway-check --mqtt mqtt://127.0.0.1:1883 --tap 0.0.0.0:1884 --mac 00:fa:7e:00:00:01 --yes --json

It plays the backbone against one gateway, by docs/PROTOCOL.md, and says check by check what the gateway does right and
wrong. It writes test prices to labels that the gateway hears: take labels that hang on no shelf, and a broker that no
backbone is connected to, such as a Mosquitto of your own. Or that of a standalone, as its user inspector, whom it lets in
from its own machine, or with the password in its --mqtt-credentials:
  esl gateway-check --mqtt mqtt://inspector@127.0.0.1:1883 --mac 00:fa:7e:00:00:01
Then its backbone must have no prices for these labels: it would put them right.

With --tap the gateway is to be connected to that address instead of the broker. Then it can also be seen how it connects,
and its connection be cut: last will, session and return are checked.

The exit code is 0 if no check failed, with --strict if there is no warning either, else 1.";

const DEAD_HELP: &str = "\
Examples:
  esl dead
  esl dead replay --task 0198c0de-0000-7000-8000-000000000000 --task 0198c0de-0000-7000-8000-000000000001
  esl dead replay --all --yes

Listing removes nothing. A replayed task goes through esl.tasks once more; what is already done of it is not done again.";

/// Sends prices to electronic shelf labels, follows them, and says what a label shows and why
#[derive(Debug, Parser)]
#[command(name = "esl", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// Answer with one JSON document on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) place: Place,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load which label stands for which product in which store
    #[command(after_help = BIND_HELP)]
    Bind(BindArgs),
    /// Send a price file: one task per line
    #[command(after_help = ENQUEUE_HELP)]
    Enqueue(EnqueueArgs),
    /// Follow a batch that was sent before until each of its labels has its outcome
    #[command(after_help = WATCH_HELP)]
    Watch(WatchArgs),
    /// Pause, resume or cancel a batch that was sent before
    #[command(after_help = BATCH_HELP)]
    Batch(BatchArgs),
    /// Say what a label should show, shows and has shown, and which gateways hear it
    #[command(after_help = LABEL_HELP)]
    Label(LabelArgs),
    /// List the gateways
    #[command(after_help = GATEWAYS_HELP)]
    Gateways(GatewaysArgs),
    /// Put a gateway to the test, check by check: for those who make gateways
    #[command(after_help = GATEWAY_CHECK_HELP)]
    GatewayCheck(GatewayCheckArgs),
    /// List the tasks that could not be used, or send them again
    #[command(after_help = DEAD_HELP)]
    Dead(DeadArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BindArgs {
    /// Binding file: columns label, sku, store
    pub(crate) file: PathBuf,

    /// Bind the good lines even if others are bad
    #[arg(long)]
    pub(crate) skip_bad: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EnqueueArgs {
    /// Price file: columns sku, name, price, currency, and perhaps version
    pub(crate) file: PathBuf,

    /// The store whose labels shall show these prices
    #[arg(long)]
    pub(crate) store: Store,

    /// A name for these tasks, to follow them by; made up where none is given
    #[arg(long)]
    pub(crate) batch: Option<BatchId>,

    /// How long each task may take from its first delivery
    #[arg(long, default_value = "180s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// Overtake whatever is not urgent
    #[arg(long)]
    pub(crate) urgent: bool,

    /// Follow the batch until each of its labels has its outcome
    #[arg(long)]
    pub(crate) watch: bool,

    /// Send the good lines even if others are bad
    #[arg(long)]
    pub(crate) skip_bad: bool,

    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// How long a batch is followed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Patience {
    /// Stop following when no label has ended for so long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) give_up_after: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("labels").required(true).args(["total", "file"]))]
pub(crate) struct WatchArgs {
    /// The batch
    pub(crate) batch: BatchId,

    /// How many labels it has
    #[arg(long)]
    pub(crate) total: Option<u64>,

    /// The price file that was sent: its products' labels are counted
    #[arg(long, requires = "store")]
    pub(crate) file: Option<PathBuf>,

    /// The store that it was sent for
    #[arg(long)]
    pub(crate) store: Option<Store>,

    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    #[command(subcommand)]
    pub(crate) command: BatchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {
    /// Send nothing more of it until it is resumed
    #[command(after_help = BATCH_HELP)]
    Pause(HeldArgs),
    /// Go on with a batch that was paused
    #[command(after_help = BATCH_HELP)]
    Resume(HeldArgs),
    /// Give up all labels of it that are not done, for good
    #[command(after_help = BATCH_HELP)]
    Cancel(HeldArgs),
}

/// Which batch, and where.
#[derive(Debug, Args)]
pub(crate) struct HeldArgs {
    /// The batch
    pub(crate) batch: BatchId,

    /// Only in this store; needed for a batch that was not sent over HTTP [default: each store that it was sent to]
    #[arg(long)]
    pub(crate) store: Option<Store>,
}

#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    /// The label's MAC address, in any common spelling
    pub(crate) mac: LabelMac,

    /// How many of its latest outcomes to list
    #[arg(long, default_value_t = 20)]
    pub(crate) history: u32,
}

#[derive(Debug, Args)]
pub(crate) struct GatewaysArgs {
    /// What gateways can take, as the routers have it; the API knows
    #[command(flatten, next_help_heading = "Without the API")]
    pub(crate) window: WindowArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GatewayCheckArgs {
    /// The broker that the gateway is connected to: mqtt://user:password@host:port, or mqtts://
    #[arg(long, env = "MQTT_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) mqtt: MqttUrl,

    /// The gateway's MAC address, in any common spelling
    #[arg(long)]
    pub(crate) mac: GatewayMac,

    /// Write to this label; may be given several times [default: those that the gateway reports, the strongest first]
    #[arg(long, value_name = "MAC")]
    pub(crate) label: Vec<LabelMac>,

    /// Listen here for the gateway, and pass on what it and the broker say to each other
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) tap: Option<SocketAddr>,

    /// How long the gateway may take for an answer: RPC_TIMEOUT of the backbone
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// How long to wait for its reports
    #[arg(long, value_name = "DURATION", default_value = "65s", value_parser = parse_duration)]
    pub(crate) report_wait: Duration,

    /// How many labels to write to at once; the backbone begins with 16
    #[arg(long, value_name = "LABELS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) burst: u16,

    /// Fail where there are warnings
    #[arg(long)]
    pub(crate) strict: bool,

    /// Don't ask; asked is only on a terminal
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeadArgs {
    /// List at most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) limit: u16,

    #[command(subcommand)]
    pub(crate) command: Option<DeadCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// Send dead letters again
    #[command(after_help = DEAD_HELP)]
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["all", "task"]))]
pub(crate) struct ReplayArgs {
    /// All that are there now
    #[arg(long)]
    pub(crate) all: bool,

    /// Those of this task; may be given several times
    #[arg(long, value_name = "ID")]
    pub(crate) task: Vec<TaskId>,

    /// Don't ask; asked is only on a terminal
    #[arg(long)]
    pub(crate) yes: bool,
}
