//! The demo's files, and whether labels show what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Labels may need so long to show what the books say.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
const LABELS_SAID: usize = 5;

/// Which prices change.
#[derive(Args)]
pub(crate) struct Sheets {
    /// Which label shows which product: columns `label`, `sku` and `store`.
    #[arg(long, default_value = "demo/bindings.csv")]
    pub(crate) bindings: PathBuf,
    /// The new prices: columns `sku`, `name`, `price` and `currency`.
    #[arg(long, default_value = "demo/prices.csv")]
    pub(crate) prices: PathBuf,
    /// The store whose prices change.
    #[arg(long, default_value = "sp-014")]
    pub(crate) store: String,
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

impl Sheets {
    /// The price that each bound label of the store must show in the end.
    pub(crate) fn wanted(&self) -> Result<BTreeMap<String, String>> {
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

/// Says how many labels show their price, and some that don't after a while, by the emulator's admin port. Whether all
/// do.
pub(crate) async fn say_wrong(emulator: &str, wanted: &BTreeMap<String, String>, settle: Duration) -> Result<bool> {
    let end = Instant::now() + settle;
    loop {
        let wrong = wrong_labels(emulator, wanted).await?;
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

/// One line for each label that doesn't show what it should.
async fn wrong_labels(emulator: &str, wanted: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let answer = reqwest::get(format!("{emulator}/labels")).await.and_then(reqwest::Response::error_for_status);
    let labels = answer.context("asking the emulator for its labels")?.json::<Vec<EmulatedLabel>>().await;
    let labels = labels.context("reading the emulator's labels")?;
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
