//! `testbed check`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::prices::{SETTLE, Sheets, say_wrong};

/// Checks every label of an emulator that runs elsewhere.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    sheets: Sheets,
    /// The emulator's admin port, such as http://127.0.0.1:9100
    #[arg(long)]
    emulator_url: String,
}

impl Check {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let all_right = say_wrong(&self.emulator_url, &self.sheets.wanted()?, SETTLE).await?;
        Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
