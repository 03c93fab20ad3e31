//! The examples in docs/examples, run as they stand: a gateway in Python, and a store backend over AMQP and over HTTP.

use anyhow::{Context, Result, ensure};
use integration::{Story, label_mac, labels, quick};
use protocol::LabelMac;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use testbed::{Mosquitto, MosquittoOptions, Process, Role, STANDALONE, free_port, role::binary};
use tokio::process::Command;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");
const GATEWAY: &str = "00fa7e0000aa";
const LIMIT: Duration = Duration::from_secs(90);

/// Labels that no emulated gateway hears.
fn own_labels() -> Vec<LabelMac> {
    (101..=103).map(label_mac).collect()
}

/// docs/examples/gateway.py, while it runs.
struct Gateway {
    process: Process,
    // Its log is in it.
    _folder: TempDir,
}

impl Gateway {
    fn start(mqtt: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = std::process::Command::new(PYTHON);
        command.args(["gateway.py", mqtt.trim_start_matches("mqtt://"), GATEWAY]);
        command.args(own_labels().iter().map(ToString::to_string));
        let process = Process::spawn("gateway.py", command, &folder.path().join("gateway.log"))?;
        Ok(Self { process, _folder: folder })
    }

    /// Whether each of its labels shows this price.
    fn shows(&self, price: &str) -> Result<()> {
        let said = std::fs::read_to_string(self.process.log())?;
        for label in own_labels() {
            let last = said.lines().rfind(|line| line.starts_with(&label.to_string()));
            ensure!(last == Some(&format!("{label} shows {price}")), "{label}: {last:?} in {said}");
        }
        Ok(())
    }
}

/// Runs an example to its end.
async fn run(example: &str, args: &[&str]) -> Result<Output> {
    let running = Command::new(PYTHON).arg(example).args(args).env_remove("ESL_TOKEN").kill_on_drop(true).output();
    Ok(tokio::time::timeout(LIMIT, running).await.with_context(|| format!("{example} does not end"))??)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a folder's name is not UTF-8")
}

fn file(folder: &TempDir, name: &str, head: &str, lines: impl Iterator<Item = String>) -> Result<PathBuf> {
    let path = folder.path().join(name);
    std::fs::write(&path, format!("{head}\n") + &lines.map(|line| line + "\n").collect::<String>())?;
    Ok(path)
}

#[tokio::test]
async fn a_store_backend_over_http_and_a_gateway_in_python() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mqtt = format!("127.0.0.1:{}", free_port()?);
    let api = format!("127.0.0.1:{}", free_port()?);
    let data = folder.path().join("data");
    let args = ["--data", text(&data)?, "--mqtt-listen", &mqtt, "--api-addr", &api].map(str::to_owned);
    let mut standalone = Role::start(STANDALONE, &args, &[], folder.path())?;
    let gateway = Gateway::start(&mqtt)?;
    standalone.wait_ready(LIMIT).await?;

    let bindings =
        file(&folder, "bindings.csv", "label,sku", own_labels().iter().map(|label| format!("{label},drill")))?;
    let url = format!("http://{api}");
    for price in ["349.90", "299.90"] {
        let line = format!("drill,Furadeira 650W,{price},BRL");
        let prices = file(&folder, "prices.csv", "sku,name,price,currency", [line].into_iter())?;
        // Twice, as a store backend would that was interrupted.
        for _ in 0..2 {
            let ended = run("store_http.py", &[&url, "sp-014", text(&bindings)?, text(&prices)?]).await?;
            ensure!(ended.status.success(), "{ended:?}; gateway: {}", gateway.process.log_tail());
        }
        gateway.shows(price)?;
    }
    let label = own_labels()[0];
    let answer = testbed::http_builder().build()?.get(format!("{url}/v1/labels/{label}")).send().await?;
    let view: Value = answer.error_for_status()?.json().await?;
    assert_eq!((&view["shown"]["fields"]["price"], &view["shown"]["gateway"]), (&"299.90".into(), &GATEWAY.into()));
    let ended = run("store_http.py", &[&url, "sp-014", text(&bindings)?, text(&bindings)?]).await?;
    ensure!(!ended.status.success() && String::from_utf8_lossy(&ended.stderr).contains("price"), "{ended:?}");
    ensure!(standalone.stop().await?.success(), "{}", standalone.log_tail());
    Ok(())
}

#[tokio::test]
async fn a_store_backend_over_amqp_and_a_gateway_in_python() -> Result<()> {
    let story = Story::start(quick(2, 10)).await?;
    let gateway = Gateway::start(&story.stack.servers.mqtt_urls[0])?;
    let folder = tempfile::tempdir()?;
    let all = [labels(10), own_labels()].concat();
    let lines = all.iter().map(|label| format!("{label},\"Serra, 1400W\",499.90,BRL"));
    let prices = file(&folder, "prices.csv", "label,name,price,currency", lines)?;
    for _ in 0..2 {
        let ended = run("store_amqp.py", &[&story.stack.servers.amqp_url, "sp-014", text(&prices)?]).await?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        ensure!(ended.status.success(), "{ended:?}; gateway: {}", gateway.process.log_tail());
        assert!(all.iter().all(|label| said.contains(&format!("{label} shown"))), "{said}");
    }
    gateway.shows("499.90")?;
    for label in labels(10) {
        let shown = story.emulator.label(label).await?.shown.context("nothing shown")?;
        assert_eq!(shown.fields.name.as_deref(), Some("Serra, 1400W"));
    }
    story.end().await
}

#[tokio::test]
async fn the_gateway_in_python_passes_the_check_for_gateways() -> Result<()> {
    let broker = Mosquitto::start(MosquittoOptions::default()).await?;
    let tap = format!("127.0.0.1:{}", free_port()?);
    let gateway = Gateway::start(&tap)?;
    let mut check = Command::new(binary("esl")?);
    check.args([
        "gateway-check",
        "--mqtt",
        &broker.url(),
        "--tap",
        &tap,
        "--mac",
        GATEWAY,
        "--timeout",
        "5s",
        "--strict",
    ]);
    let started = Instant::now();
    let checked = tokio::time::timeout(LIMIT, check.kill_on_drop(true).output()).await??;
    let said = String::from_utf8_lossy(&checked.stdout);
    ensure!(checked.status.success(), "after {:?}: {said}; {}", started.elapsed(), gateway.process.log_tail());
    ensure!(said.contains("0 warnings, 0 failed"), "{said}");
    ensure!(said.contains("dropped without a word"), "{said}");
    Ok(())
}
