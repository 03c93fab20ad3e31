//! `testbed cluster-demo`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use testbed::{Stack, role};
use tokio::process::Command;

use crate::prices::{SETTLE, Sheets, say_wrong};
use crate::signals::Signals;
use crate::up::{self, Size};

/// Runs everything, binds labels to products, changes the prices, and checks every label.
#[derive(Args)]
pub(crate) struct ClusterDemo {
    #[command(flatten)]
    size: Size,
    #[command(flatten)]
    sheets: Sheets,
    /// The longest that each of the two commands may take, in seconds.
    #[arg(long, default_value_t = 300)]
    limit_seconds: u64,
}

impl ClusterDemo {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut signals = Signals::listen()?;
        let wanted = self.sheets.wanted()?;
        let mut stack = tokio::select! {
            _ = signals.next() => return Ok(ExitCode::FAILURE),
            started = up::start(&self.size) => started?,
        };
        let all_right = tokio::select! {
            _ = signals.next() => bail!("interrupted"),
            outcome = self.change_and_check(&stack, &wanted) => outcome?,
        };
        if let Some((role, status)) = stack.ended_role() {
            bail!("{} ended with {status}; its log ends:\n{}", role.name(), role.log_tail());
        }
        up::stop(stack).await?;
        Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn change_and_check(&self, stack: &Stack, wanted: &BTreeMap<String, String>) -> Result<bool> {
        let (bindings, prices) = (path_text(&self.sheets.bindings)?, path_text(&self.sheets.prices)?);
        self.esl(stack, &["bind", bindings]).await?;
        let enqueue = ["enqueue", prices, "--store", &self.sheets.store, "--batch", "demo", "--watch"];
        self.esl(stack, &enqueue).await?;
        say_wrong(&stack.emulator.admin_url(), wanted, SETTLE).await
    }

    /// Runs the project's command line tool, which speaks to the terminal by itself.
    async fn esl(&self, stack: &Stack, args: &[&str]) -> Result<()> {
        println!("esl {}", args.join(" "));
        let mut child = Command::new(role::binary("esl")?)
            .args(args)
            .env("ESL_API", stack.api_urls.first().context("no store-api runs")?)
            .kill_on_drop(true)
            .spawn()
            .context("starting esl")?;
        let limit = Duration::from_secs(self.limit_seconds);
        let status = tokio::time::timeout(limit, child.wait())
            .await
            .with_context(|| format!("esl {} has not ended within {limit:?}", args[0]))?
            .context("waiting for esl")?;
        if !status.success() {
            bail!("esl {} ended with {status}", args[0]);
        }
        Ok(())
    }
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
