//! The command-line tool as a process.

use backbone::service;
use esl::Cli;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match service::parse::<Cli>() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    // What is lost and found again, or not trusted, the commands say themselves, beside their progress bars.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,lapin=off,rustls_platform_verifier=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    esl::run(&cli)
}
