//! All roles in one process, without servers: it starts at once, survives being killed, and refuses what it can't use.

use crate::bad_config::{one_sentence, run};
use anyhow::{Context, Result, ensure};
use integration::{Books, StandaloneStory, labels, price_update, quick};
use protocol::Task;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use testbed::{Role, STANDALONE, StackConfig, role::binary};
use tokio::process::Command;

const LABELS: u32 = 600;
const VERSIONS: u64 = 4;
const LIMIT: Duration = Duration::from_secs(90);
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Gateways that take their time, so that updates are under way at any moment.
fn config() -> StackConfig {
    let args = ["--write-time", "40ms", "--report-interval", "500ms"];
    StackConfig { emulator_args: args.map(str::to_owned).to_vec(), ..quick(8, LABELS as usize) }
}

/// All labels in one version, then in the next.
fn load() -> Vec<Task> {
    let labels = labels(LABELS);
    (1..=VERSIONS)
        .flat_map(|version| labels.chunks(2).map(move |pair| price_update(pair, version)).collect::<Vec<_>>())
        .collect()
}

/// Ends the process in some way at several points under load, starts it again, and waits until everything is done.
async fn interrupt(
    config: StackConfig,
    end: impl AsyncFn(&mut StandaloneStory) -> Result<()>,
) -> Result<StandaloneStory> {
    let mut story = StandaloneStory::begin(config).await?;
    story.enqueue_all(&load()).await?;
    for writes in [LABELS / 10, LABELS / 2, LABELS] {
        story.process.start().await?;
        story.reach(writes as usize, LIMIT).await?;
        end(&mut story).await?;
    }
    story.process.start().await?;
    story.all_shown(LIMIT).await?;
    story.process.stop().await?;
    Ok(story)
}

#[tokio::test]
async fn a_killed_process_loses_nothing() -> Result<()> {
    let story = interrupt(config(), async |story| story.process.kill()).await?;
    // A command that was with a gateway when the process was killed may come after a newer one, and is put right.
    story.check_books(&Books { may_go_back: true, ..Books::default() }).await
}

#[tokio::test]
async fn a_restarted_process_loses_nothing_and_asks_nothing_twice() -> Result<()> {
    let config = config().with_env(STANDALONE, "RPC_TIMEOUT", "10s");
    let story = interrupt(config, async |story| story.process.stop().await).await?;
    story.check_books(&Books::default()).await
}

/// A price for each label in this version, and which label is which product, as files.
fn files(folder: &Path, version: u64) -> Result<(String, String)> {
    let (bindings, prices) = (folder.join("bindings.csv"), folder.join(format!("prices-{version}.csv")));
    let lines = labels(LABELS).into_iter().map(|label| format!("{label},p-{label},sp-014\n"));
    std::fs::write(&bindings, "label,sku,store\n".to_owned() + &lines.collect::<String>())?;
    let lines = labels(LABELS).into_iter().map(|label| format!("p-{label},Serra,{version}.90,BRL,{version}\n"));
    std::fs::write(&prices, "sku,name,price,currency,version\n".to_owned() + &lines.collect::<String>())?;
    Ok((path(&bindings)?, path(&prices)?))
}

fn esl(url: &str, args: &[&str]) -> Result<Command> {
    let mut esl = Command::new(binary("esl")?);
    esl.args(args).args(["--json", "--api", url]).kill_on_drop(true);
    esl.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Ok(esl)
}

#[tokio::test]
async fn whoever_enqueues_over_http_outlasts_a_killed_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut story = StandaloneStory::begin(config()).await?;
    story.process.start().await?;
    let url = story.process.api_url();
    let mut writes = 0;
    for version in 1..=3 {
        let (bindings, prices) = files(folder.path(), version)?;
        let bound = esl(&url, &["bind", &bindings])?.output().await?;
        ensure!(bound.status.success(), "{bound:?}");
        let following = esl(&url, &["enqueue", &prices, "--store", "sp-014", "--watch"])?.spawn()?;
        // The process is killed as soon as the first labels have changed, whatever of the request is confirmed by then.
        story.reach(writes + 1, LIMIT).await?;
        story.process.kill()?;
        story.process.start().await?;
        let answer = tokio::time::timeout(LIMIT, following.wait_with_output()).await??;
        ensure!(answer.status.success(), "version {version}: {answer:?}");
        let report: Value = serde_json::from_slice(&answer.stdout)?;
        assert_eq!(report["balance"]["shown"], LABELS, "{report}");
        let shown = story.shown().await?;
        ensure!(shown.values().all(|shown| shown.is_some_and(|shown| shown.get() == version)), "{shown:?}");
        writes = story.writes().await?;
    }
    story.process.stop().await
}

#[tokio::test]
async fn emulated_gateways_are_part_of_the_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = path(&folder.path().join("data"))?;
    let args = [
        "--data",
        &data,
        "--mqtt-listen",
        "127.0.0.1:0",
        "--api-addr",
        "127.0.0.1:0",
        "--emulate",
        "4x100",
        "--",
        "--write-time",
        "0",
    ];
    let mut role = Role::start(STANDALONE, &args.map(str::to_owned), &[], folder.path())?;
    role.wait_ready(READY_LIMIT).await?;
    let labels = role.json("/labels").await?;
    assert_eq!(labels.as_array().map(Vec::len), Some(100));
    for counted in ["standalone_store_commits_total", "bck_router_reports_total", "gateway_emulator_reports_total"] {
        ensure!(role.metric(counted).await? > 0.0, "nothing in {counted}");
    }
    let in_use = run(STANDALONE, &args, &[]).await?;
    let said = one_sentence(STANDALONE, &in_use)?;
    ensure!(said.contains("in use by another process") && said.contains(&data), "it says: {said}");
    let status = role.stop().await?;
    ensure!(status.success(), "it ended with {status}:\n{}", role.log_tail());
    Ok(())
}

#[tokio::test]
async fn the_command_line_needs_nothing_but_its_api() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = path(&folder.path().join("data"))?;
    let api = format!("127.0.0.1:{}", testbed::free_port()?);
    let args = ["--data", &data, "--mqtt-listen", "127.0.0.1:0", "--api-addr", &api, "--emulate", "4x100"];
    let args = args.iter().chain(&["--", "--write-time", "0"]).map(ToString::to_string).collect::<Vec<_>>();
    let mut role = Role::start(STANDALONE, &args, &[], folder.path())?;
    role.wait_ready(READY_LIMIT).await?;

    let (bindings, prices) = (folder.path().join("bindings.csv"), folder.path().join("prices.csv"));
    let lines =
        labels(100).into_iter().enumerate().map(|(number, label)| format!("{label},p-{},sp-014\n", number % 50));
    std::fs::write(&bindings, "label,sku,store\n".to_owned() + &lines.collect::<String>())?;
    let lines = (0..50).map(|number| format!("p-{number},Serra,{number}.90,BRL\n"));
    std::fs::write(&prices, "sku,name,price,currency\n".to_owned() + &lines.collect::<String>())?;
    let url = format!("http://{api}");
    let esl = async |args: &[&str]| -> Result<Value> {
        let args: Vec<_> = args.iter().chain(&["--json", "--api", &url]).copied().collect();
        let mut esl = Command::new(binary("esl")?);
        let answer = tokio::time::timeout(LIMIT, esl.args(&args).kill_on_drop(true).output()).await??;
        ensure!(answer.status.success(), "{args:?}: {answer:?}");
        Ok(serde_json::from_slice(&answer.stdout)?)
    };
    assert_eq!(esl(&["bind", &path(&bindings)?]).await?["new"], 100);
    let report = esl(&["enqueue", &path(&prices)?, "--store", "sp-014", "--watch"]).await?;
    assert_eq!((&report["confirmed"], &report["balance"]["shown"]), (&json!(50), &json!(100)), "{report}");
    let label = esl(&["label", &labels(1)[0].to_string()]).await?;
    assert_eq!(
        (&label["shown"]["fields"]["price"], &label["history"][0]["outcome"]),
        (&json!("0.90"), &json!("shown"))
    );
    ensure!(label["battery_mv"].as_u64().is_some_and(|mv| (2600..=3000).contains(&mv)), "{label}");
    assert_eq!(esl(&["gateways"]).await?.as_array().map(Vec::len), Some(4));
    assert_eq!(esl(&["dead"]).await?["dead_letters"], 0);
    let status = role.stop().await?;
    ensure!(status.success(), "it ended with {status}:\n{}", role.log_tail());
    Ok(())
}

#[tokio::test]
async fn a_data_folder_that_is_not_ours_is_one_sentence() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("esl.db");
    std::fs::write(&file, "a shopping list")?;
    let output = run(STANDALONE, &["--data", &path(folder.path())?, "--mqtt-listen", "127.0.0.1:0"], &[]).await?;
    let said = one_sentence(STANDALONE, &output)?;
    ensure!(said.contains("damaged"), "it says: {said}");
    assert_eq!(std::fs::read_to_string(file)?, "a shopping list");
    Ok(())
}

#[tokio::test]
async fn bad_configuration_is_one_sentence() -> Result<()> {
    for (args, expected) in [
        (&["--emulate", "20,50000"][..], "--emulate"),
        (&["--mqtt-tls-listen", "127.0.0.1:0"], "--mqtt-certificate"),
        (&["--mqtt-listen", "1883"], "--mqtt-listen"),
        (&["--emulate", "1x1", "--", "--seed", "often"], "--seed"),
        (&["--rpc-timeout", "15"], "RPC_TIMEOUT"),
    ] {
        let args: Vec<_> = ["--data", "/nonexistent/by/design"].iter().chain(args).copied().collect();
        let said = one_sentence(STANDALONE, &run(STANDALONE, &args, &[]).await?)?;
        ensure!(said.contains(expected), "with {args:?} it says: {said}");
    }
    Ok(())
}

fn path(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("the folder's name is not UTF-8")
}
