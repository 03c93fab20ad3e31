//! The operator's page in a browser: every view, every action, live, in both languages, and without anything that keeps
//! somebody out. On a process without servers in all its breadth, on real servers in a short form.

use anyhow::{Result, ensure};
use integration::{Story, quick};
use std::io::Write;
use testbed::{STANDALONE, STORE_API, StackConfig};
use tokio::process::Command;

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../store-api/page/test/run");
/// As the browser's script knows it.
const TOKEN: &str = "token-of-ana-for-every-store";
const LABELS: usize = 120;

async fn check(script: &str, arguments: &[&str]) -> Result<()> {
    let checked = Command::new(RUN).arg(script).args(arguments).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    ensure!(checked.status.success(), "{said}");
    Ok(())
}

async fn check_on_standalone(script: &str) -> Result<()> {
    let standalone = testbed::role::binary(STANDALONE)?;
    check(script, &[&standalone.to_string_lossy()]).await
}

#[tokio::test]
async fn an_operator_sees_every_view_in_a_browser() -> Result<()> {
    check_on_standalone("views.mjs").await
}

#[tokio::test]
async fn an_operator_does_everything_in_a_browser() -> Result<()> {
    check_on_standalone("actions.mjs").await
}

#[tokio::test]
async fn an_operator_sees_at_once_what_happens_in_a_browser() -> Result<()> {
    check_on_standalone("live.mjs").await
}

#[tokio::test]
async fn the_page_works_on_servers_too() -> Result<()> {
    let mut tokens = tempfile::NamedTempFile::new()?;
    writeln!(tokens, "ana {TOKEN} *")?;
    let config = StackConfig { store_apis: 1, ..quick(4, LABELS) };
    let config = config.with_env(STORE_API, "API_TOKENS", tokens.path().display().to_string());
    let story = Story::start(config).await?;
    let emulator = story.stack.emulator.admin_url();
    check("servers.mjs", &[&story.stack.api_urls[0], &emulator, &LABELS.to_string()]).await?;
    story.end().await
}
