//! What deploys the backbone, as data, for the tests that hold it together with the programs that it deploys:
//! [`Cluster`] is what Kubernetes is told and [`autoscaler`] what it makes of that, [`compose`] what Docker is told,
//! [`program`] what a program says about itself.
//!
//! A typing error in a selector, a port's name, a variable or a metric breaks no schema: it breaks at night. So every
//! name that is written in two places is looked up in both.

pub mod autoscaler;
pub mod cluster;
pub mod compose;
pub mod program;

pub use cluster::Cluster;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The folder with `docker-compose.yml`, `k8s/` and `monitoring/`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is in a folder of the workspace").to_owned()
}

/// The documents of a YAML text.
///
/// # Errors
/// When it is no YAML.
pub fn yaml(text: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).context("reading YAML")
}

/// The one document of a YAML file, by its path from the root.
///
/// # Errors
/// When it can't be read.
pub fn yaml_file(path: &str) -> Result<Value> {
    let text = std::fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"))?;
    yaml(&text)?.into_iter().next().with_context(|| format!("{path} is empty"))
}

/// Runs a command to its end, and gives back what it said on standard output.
///
/// # Errors
/// With all that it said, if it fails.
pub async fn output(command: &mut Command) -> Result<String> {
    let output = command.current_dir(root()).kill_on_drop(true).output().await.context("starting a tool")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{:?} ended with {}:\n{}{}", command.as_std(), output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// The text at a path of keys; empty if there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a path of keys; empty if there is none.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Seconds of a duration such as `25s` or `1m`, as the roles read them.
///
/// # Errors
/// When it is none.
pub fn seconds(duration: &str) -> Result<u64> {
    let (number, unit) = duration.split_at(duration.find(|c: char| !c.is_ascii_digit()).unwrap_or(duration.len()));
    let number: u64 = number.parse().with_context(|| format!("{duration:?} is no duration"))?;
    match unit {
        "s" => Ok(number),
        "m" => Ok(number * 60),
        _ => bail!("{duration:?} is no duration in s or m"),
    }
}
