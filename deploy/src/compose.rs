//! docker-compose.yml as docker-compose reads it, with the variables of `.env.example`.

use crate::{output, root};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;
use testbed::Tool;
use tokio::process::Command;

/// The lines of `.env.example` that must be set, each set to something.
///
/// # Errors
/// When the file can't be read.
pub fn settings() -> Result<Vec<String>> {
    let example = std::fs::read_to_string(root().join(".env.example")).context("reading .env.example")?;
    let empty = example.lines().filter(|line| line.ends_with('=') && !line.starts_with('#'));
    Ok(empty.map(|line| format!("{line}./secret1")).collect())
}

/// docker-compose on docker-compose.yml, with these settings, in a file that must outlive it, and nothing else.
///
/// # Errors
/// When it can't be installed.
pub async fn command(settings: &Path) -> Result<Command> {
    let mut command = Tool::DockerCompose.command().await?;
    command.env_clear().arg("--env-file").arg(settings).args(["--profile", "*", "config"]).current_dir(root());
    Ok(command)
}

/// The whole of it, all profiles included.
///
/// # Errors
/// When docker-compose refuses it, or has a warning.
pub async fn read(settings: &Path) -> Result<Value> {
    let text = output(command(settings).await?.args(["--format", "json"])).await?;
    serde_json::from_str(&text).context("reading docker-compose's JSON")
}
