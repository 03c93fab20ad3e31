//! The operator's page in a browser: every view, every action, live, in both languages, and without anything that keeps
//! somebody out.

use anyhow::{Result, ensure};
use testbed::STANDALONE;
use tokio::process::Command;

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../store-api/page/test/run");

#[tokio::test]
async fn an_operator_finds_and_does_everything_in_a_browser() -> Result<()> {
    let standalone = testbed::role::binary(STANDALONE)?;
    let checked = Command::new(RUN).arg("check.mjs").arg(standalone).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    ensure!(checked.status.success(), "{said}");
    Ok(())
}
