//! What the project's programs say about themselves.

use crate::output;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use testbed::role::binary;
use tokio::process::Command;

/// The environment variables that a program reads, by its `--help`.
///
/// # Errors
/// When it can't be run or names none.
pub async fn variables(name: &str) -> Result<BTreeSet<String>> {
    let help = output(Command::new(binary(name)?).arg("--help")).await?;
    let named = help.split("[env: ").skip(1);
    let variables: BTreeSet<_> =
        named.filter_map(|rest| Some(rest[..rest.find(['=', ']'])?].trim().to_owned())).collect();
    ensure!(!variables.is_empty(), "{name} --help names no variable");
    Ok(variables)
}
