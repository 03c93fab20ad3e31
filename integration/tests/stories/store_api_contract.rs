//! Every answer of the store API is as its OpenAPI document says, whatever is asked.

use anyhow::{Result, ensure};
use integration::{Story, quick};
use std::io::Write;
use testbed::StackConfig;
use tokio::process::Command;

const TOKEN: &str = "token-of-the-contract-check";
const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../store-api/contract/check");

#[tokio::test]
async fn every_answer_is_as_the_document_says() -> Result<()> {
    let mut tokens = tempfile::NamedTempFile::new()?;
    writeln!(tokens, "check {TOKEN} *")?;
    let config = StackConfig { store_apis: 1, ..quick(1, 5) }
        .with_env(testbed::STORE_API, "API_TOKENS", tokens.path().display().to_string())
        .with_env(testbed::STORE_API, "API_FOLLOW_FOR", "500ms");
    let story = Story::start(config).await?;
    let checked = Command::new(CHECK).args([&story.stack.api_urls[0], TOKEN]).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    ensure!(checked.status.success(), "{said}");
    story.stack.stop().await
}
