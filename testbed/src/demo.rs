//! `testbed demo`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use testbed::{Role, Stack, role};
use tokio::process::Command;

use crate::signals::Signals;
use crate::up::{self, Size};

const SETTLE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
const LABELS_SAID: usize = 5;

/// Runs everything, binds labels to products, changes the prices, and checks every label.
#[derive(Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    size: Size,
    /// Which label shows which product: columns `label`, `sku` and `store`.
    #[arg(long, default_value = "demo/bindings.csv")]
    bindings: PathBuf,
    /// The new prices: columns `sku`, `name`, `price` and `currency`.
    #[arg(long, default_value = "demo/prices.csv")]
    prices: PathBuf,
    /// The store whose prices change.
    #[arg(long, default_value = "sp-014")]
    store: String,
    /// The longest that each of the two commands may take, in seconds.
    #[arg(long, default_value_t = 300)]
    limit_seconds: u64,
}

#[derive(Deserialize)]
struct Binding {
    label: String,
    sku: String,
    store: String,
}

#[derive(Deserialize)]
struct Price {
    sku: String,
    price: String,
}

#[derive(Deserialize)]
struct EmulatedLabel {
    mac: String,
    shown: Option<Shown>,
}

#[derive(Deserialize)]
struct Shown {
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    price: String,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut signals = Signals::listen()?;
        let wanted = self.wanted_prices()?;
        let mut stack = tokio::select! {
            _ = signals.next() => return Ok(ExitCode::FAILURE),
            started = up::start(&self.size) => started?,
        };
        let all_right = tokio::select! {
            _ = signals.next() => bail!("interrupted"),
            outcome = self.change_and_check(&stack, &wanted) => outcome?,
        };
        if let Some((role, status)) = stack.ended_role() {
            bail!("{} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
        }
        up::stop(stack).await?;
        Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn change_and_check(&self, stack: &Stack, wanted: &BTreeMap<String, String>) -> Result<bool> {
        let (bindings, prices) = (path_text(&self.bindings)?, path_text(&self.prices)?);
        self.esl(stack, &["bind", bindings]).await?;
        let enqueue = ["enqueue", prices, "--store", &self.store, "--batch", "demo", "--watch"];
        self.esl(stack, &enqueue).await?;
        let end = Instant::now() + SETTLE;
        loop {
            let wrong = wrong_labels(&stack.emulator, wanted).await?;
            if wrong.is_empty() || Instant::now() >= end {
                println!("{} of {} labels show their price", wanted.len() - wrong.len(), wanted.len());
                for line in wrong.iter().take(LABELS_SAID) {
                    println!("  {line}");
                }
                return Ok(wrong.is_empty());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Runs the project's command line tool, which speaks to the terminal by itself.
    async fn esl(&self, stack: &Stack, args: &[&str]) -> Result<()> {
        println!("esl {}", args.join(" "));
        let mut child = Command::new(role::binary("esl")?)
            .args(args)
            .envs(stack.servers.env())
            .kill_on_drop(true)
            .spawn()
            .context("starting esl")?;
        let limit = Duration::from_secs(self.limit_seconds);
        let status = tokio::time::timeout(limit, child.wait())
            .await
            .with_context(|| format!("esl {} has not ended within {limit:?}", args[0]))?
            .context("waiting for esl")?;
        if !status.success() {
            bail!("esl {} ended with {status}", args[0]);
        }
        Ok(())
    }

    /// The price that each bound label of the store must show in the end.
    fn wanted_prices(&self) -> Result<BTreeMap<String, String>> {
        let prices: BTreeMap<_, _> =
            read_csv::<Price>(&self.prices)?.into_iter().map(|row| (row.sku, row.price)).collect();
        let bindings = read_csv::<Binding>(&self.bindings)?;
        let wanted: BTreeMap<_, _> = bindings
            .into_iter()
            .filter(|row| row.store == self.store)
            .filter_map(|row| Some((wire_mac(&row.label), prices.get(&row.sku)?.clone())))
            .collect();
        if wanted.is_empty() {
            bail!("no label in {} has a price in {}", self.bindings.display(), self.prices.display());
        }
        Ok(wanted)
    }
}

/// One line for each label that doesn't show what it should.
async fn wrong_labels(emulator: &Role, wanted: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let labels: Vec<EmulatedLabel> =
        serde_json::from_value(emulator.json("/labels").await?).context("reading the emulator's labels")?;
    let shown: BTreeMap<_, _> = labels.into_iter().map(|label| (wire_mac(&label.mac), label.shown)).collect();
    let mut wrong = BTreeSet::new();
    for (mac, price) in wanted {
        match shown.get(mac) {
            Some(Some(shown)) if shown.fields.price == *price => continue,
            Some(Some(shown)) => wrong.insert(format!("{mac} shows {}, not {price}", shown.fields.price)),
            Some(None) => wrong.insert(format!("{mac} shows nothing, not {price}")),
            None => wrong.insert(format!("{mac} is unknown to the emulator")),
        };
    }
    Ok(wrong.into_iter().collect())
}

fn read_csv<Row: DeserializeOwned>(path: &Path) -> Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("opening {}", path.display()))?;
    reader.deserialize().collect::<Result<_, _>>().with_context(|| format!("reading {}", path.display()))
}

/// A MAC as on the wire: 12 lowercase hex digits.
fn wire_mac(text: &str) -> String {
    text.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect()
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
