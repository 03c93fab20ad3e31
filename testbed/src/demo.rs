//! `testbed demo`

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::Value;
use testbed::{Role, STANDALONE, free_port};
use tokio::process::Command;

use crate::prices::{SETTLE, Sheets, say_wrong};
use crate::signals::{Signals, reaches_children};

const BATCH: &str = "demo";
const LOOK: Duration = Duration::from_millis(100);
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Runs the backbone as one process without servers, changes prices over HTTP, and checks every label. In a terminal
/// it stays until Ctrl-C, to be asked.
#[derive(Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    sheets: Sheets,
    /// How many gateways are emulated.
    #[arg(long, default_value_t = 10)]
    gateways: usize,
    /// How many labels are emulated.
    #[arg(long, default_value_t = 2_000)]
    labels: usize,
    /// Median time that an emulated write to a label takes. A real one takes some 590ms: a trial need not wait for that.
    #[arg(long, default_value = "100ms")]
    write_time: String,
    /// The longest that the labels may take, in seconds.
    #[arg(long, default_value_t = 300)]
    limit_seconds: u64,
}

/// What is used of a batch's progress.
#[derive(Deserialize)]
struct Batch {
    labels: Option<u64>,
    done: u64,
    complete: bool,
    labels_per_second: Option<f64>,
    outcomes: BTreeMap<String, u64>,
}

/// The backbone's process, and its API.
struct Store {
    role: Role,
    api: String,
    client: reqwest::Client,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut signals = Signals::listen()?;
        let wanted = self.sheets.wanted()?;
        let folder = tempfile::Builder::new().prefix("esl-demo-").tempdir().context("making a data folder")?;
        let mut store = self.start(folder.path()).await?;
        let all_right = tokio::select! {
            _ = signals.next() => bail!("interrupted"),
            outcome = self.change_and_check(&mut store, &wanted) => outcome?,
        };
        if all_right && std::io::stdout().is_terminal() {
            println!("\nCtrl-C ends it.");
            if reaches_children(signals.next().await) {
                store.role.wait().await?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        let status = store.role.stop().await?;
        ensure!(status.success(), "standalone ended with {status}; its log ends:\n{}", store.role.log_tail());
        Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn start(&self, folder: &Path) -> Result<Store> {
        let began = Instant::now();
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)).to_string();
        let data = folder.join("data").to_str().context("the folder's name is not UTF-8")?.to_owned();
        let size = format!("{}x{}", self.gateways, self.labels);
        let ports = ["--data", &data, "--mqtt-listen", "127.0.0.1:0", "--api-addr", &api];
        let emulate = ["--emulate", &size, "--", "--write-time", &self.write_time];
        let args: Vec<_> = ports.into_iter().chain(emulate).map(str::to_owned).collect();
        let mut role = Role::start(STANDALONE, &args, &[], folder)?;
        role.wait_ready(READY_LIMIT).await?;
        println!("standalone is ready after {:.1} s, no server needed", began.elapsed().as_secs_f64());
        Ok(Store { role, api: format!("http://{api}"), client: testbed::http_builder().build()? })
    }

    async fn change_and_check(&self, store: &mut Store, wanted: &BTreeMap<String, String>) -> Result<bool> {
        let Sheets { bindings, prices, store: name } = &self.sheets;
        let bind = store.client.put(format!("{}/v1/stores/{name}/bindings", store.api));
        store.send(bind, std::fs::read(bindings).with_context(|| format!("reading {}", bindings.display()))?).await?;
        let enqueue = store.client.post(format!("{}/v1/stores/{name}/tasks?batch={BATCH}", store.api));
        store.send(enqueue, std::fs::read(prices).with_context(|| format!("reading {}", prices.display()))?).await?;
        let batch = self.follow(store).await?;
        let balance: Vec<_> = batch.outcomes.iter().filter(|(_, count)| **count > 0).collect();
        let balance: Vec<_> = balance.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        println!("{}; {:.0} labels/s", balance.join(", "), batch.labels_per_second.unwrap_or(0.0));
        say_latencies(&store.latencies(wanted.keys()).await?);
        let all_right = say_wrong(&store.role.admin_url(), wanted, SETTLE).await?;
        let api = &store.api;
        let label = wanted.keys().next().context("finding a label")?;
        println!();
        let asked = [format!("batches/{BATCH}"), format!("labels/{label}"), format!("labels/{label}/history")];
        for asked in asked.into_iter().chain([format!("stores/{name}/out-of-date")]) {
            // Nothing is printed that does not work.
            store.get::<Value>(&format!("/v1/{asked}")).await?;
            println!("curl {api}/v1/{asked}");
        }
        self.say_commands(api, label).await?;
        Ok(all_right)
    }

    /// The same with the command line, from the folder that this was started in.
    async fn say_commands(&self, api: &str, label: &str) -> Result<()> {
        let Ok(esl) = testbed::role::binary("esl") else {
            println!("(esl, the command line, is not built: cargo build --release --workspace)");
            return Ok(());
        };
        let here = std::env::current_dir().context("finding the current folder")?;
        let named = esl.strip_prefix(&here).unwrap_or(&esl).display();
        let Sheets { prices, store: name, .. } = &self.sheets;
        println!();
        for command in [&["label", label][..], &["gateways"], &["dead"]] {
            let ran = Command::new(&esl).args(command).args(["--api", api]).kill_on_drop(true).output().await;
            let ran = ran.with_context(|| format!("running {named}"))?;
            ensure!(ran.status.success(), "{named} {command:?}: {}", String::from_utf8_lossy(&ran.stderr));
            println!("{named} {} --api {api}", command.join(" "));
        }
        println!("{named} enqueue {} --store {name} --watch --api {api}", prices.display());
        Ok(())
    }

    async fn follow(&self, store: &mut Store) -> Result<Batch> {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} labels, {per_sec}").context("drawing")?;
        let bar = ProgressBar::new(0).with_style(style);
        let end = Instant::now() + Duration::from_secs(self.limit_seconds);
        loop {
            let batch: Batch = store.get(&format!("/v1/batches/{BATCH}")).await?;
            bar.set_length(batch.labels.unwrap_or(0));
            bar.set_position(batch.done);
            if batch.complete {
                bar.finish();
                return Ok(batch);
            }
            ensure!(Instant::now() < end, "{} labels done, and no more time", batch.done);
            if !store.role.is_running() {
                bail!("standalone has ended; its log ends:\n{}", store.role.log_tail());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Store {
    async fn send(&self, request: reqwest::RequestBuilder, csv: Vec<u8>) -> Result<()> {
        let answer = request.header("content-type", "text/csv").body(csv).send().await.context("asking the API")?;
        let (status, url) = (answer.status(), answer.url().clone());
        let text = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "{url} answered {status}: {text}");
        Ok(())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.client.get(format!("{}{path}", self.api)).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).context("asking the API")?;
        answer.json().await.with_context(|| format!("reading {path}"))
    }

    /// How long each of these labels took, in milliseconds, from the first delivery of its task.
    async fn latencies(&self, labels: impl Iterator<Item = &String>) -> Result<Vec<u64>> {
        let mut latencies = Vec::new();
        for label in labels {
            let history: Value = self.get(&format!("/v1/labels/{label}/history?limit=1")).await?;
            latencies.extend(history["outcomes"][0]["latency_ms"].as_u64());
        }
        latencies.sort_unstable();
        Ok(latencies)
    }
}

fn say_latencies(sorted: &[u64]) {
    let quantile = |part: f64| sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1)));
    if let (Some(p50), Some(p99)) = (quantile(0.5), quantile(0.99)) {
        println!("from a task's first delivery to its label: p50 {p50} ms, p99 {p99} ms");
    }
}
