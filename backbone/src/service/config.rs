//! Configuration: every flag is also an environment variable, and a bad one is one sentence.

use super::{TlsArgs, health};
use clap::{ArgMatches, Args, Parser, error::ContextKind, error::ErrorKind};
use std::{ffi::OsString, net::SocketAddr, process::ExitCode, time::Duration};

/// What every role can be told.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// Address of the admin port, which serves /live, /ready and /metrics; port 0 picks a free one
    #[arg(long, env = "ADMIN_ADDR", default_value = "127.0.0.1:0")]
    pub admin_addr: SocketAddr,

    /// How long a stop waits for what is in flight, such as 25s
    #[arg(long, env = "DRAIN_GRACE", default_value = "25s", value_parser = parse_duration)]
    pub drain_grace: Duration,

    /// What to log: a level (error, warn, info, debug, trace), or per module as module=level,...
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub rust_log: String,

    /// How to log: text for people, json for machines
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,

    /// Whom to trust
    #[command(flatten)]
    pub tls: TlsArgs,

    /// Ask the process that serves ADMIN_ADDR whether it lives, and exit with 0 if it does, else with 1
    #[arg(long)]
    pub health: bool,
}

/// Reads a duration with its unit, such as `500ms`, `15s` or `2m`.
///
/// # Errors
/// Says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a duration with its unit, more than zero, such as 500ms, 15s or 2m".to_owned()),
    }
}

/// Reads flags and environment. Bad configuration is one sentence on standard error and exit code 2. Told `--health`, it
/// asks the process that is configured so, which is all that this one does: ports and folders belong to the other.
///
/// # Errors
/// With the exit code: 0 after `--help` and `--version`, that of `--health`, else 2.
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    parse_from(std::env::args_os())
}

/// The same with flags from elsewhere, of which the first is the program's name: for a process that has several roles.
///
/// # Errors
/// With the exit code: 0 after `--help` and `--version`, that of `--health`, else 2.
pub fn parse_from<C: Parser>(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<C, ExitCode> {
    let matches = C::command().try_get_matches_from(args).map_err(|error| refuse(&error))?;
    if let Some(addr) = asked_for_health(&matches) {
        return Err(health::probe(addr));
    }
    C::from_arg_matches(&matches).map_err(|error| refuse(&error.format(&mut C::command())))
}

/// The admin port to ask, if this is what the process is for; `None` also of a program without an admin port.
fn asked_for_health(matches: &ArgMatches) -> Option<SocketAddr> {
    let asked = *matches.try_get_one::<bool>("health").ok()??;
    asked.then(|| matches.get_one("admin_addr").copied()).flatten()
}

fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(u8::from(error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) * 2)
        }
        _ => {
            eprintln!("{}", sentence(error));
            ExitCode::from(2)
        }
    }
}

/// One sentence that names the variable, and the value unless it may hold a password.
fn sentence(error: &clap::Error) -> String {
    use std::error::Error;
    let context = |kind| error.get(kind).map(ToString::to_string).filter(|text| !text.is_empty());
    match (error.kind(), context(ContextKind::InvalidArg), error.source()) {
        (ErrorKind::ValueValidation, Some(name), Some(source)) => match context(ContextKind::InvalidValue) {
            Some(value) if !name.contains("URL") => format!("{name} is {value:?}: {source}"),
            _ => format!("{name}: {source}"),
        },
        _ => {
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
            let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
            lines.join(" ").trim_start_matches("error: ").to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::SecretUrl;

    #[derive(Debug, Parser)]
    struct Config {
        #[arg(long, value_parser = |text: &str| SecretUrl::parse(text, &["amqp"]))]
        amqp_url: SecretUrl,
        #[arg(long, default_value = "15s", value_parser = parse_duration)]
        rpc_timeout: Duration,
    }

    fn message(args: &[&str]) -> String {
        sentence(&Config::try_parse_from(args).unwrap_err())
    }

    #[test]
    fn bad_configuration_is_one_sentence_that_names_the_variable() {
        let error = message(&["x", "--amqp-url", "amqp://h", "--rpc-timeout", "15"]);
        assert!(
            error.starts_with("--rpc-timeout <RPC_TIMEOUT> is \"15\": expected a duration with its unit"),
            "{error}"
        );
        let error = message(&["x"]);
        assert_eq!(error, "the following required arguments were not provided: --amqp-url <AMQP_URL>");
        assert_eq!(Config::parse_from(["x", "--amqp-url", "amqp://h"]).rpc_timeout, Duration::from_secs(15));
    }

    #[test]
    fn only_a_program_with_an_admin_port_can_be_asked_for_health() {
        #[derive(Debug, Parser)]
        struct Role {
            #[command(flatten)]
            service: ServiceArgs,
        }
        let asked = |args: &[&str]| asked_for_health(&<Role as clap::CommandFactory>::command().get_matches_from(args));
        assert_eq!(asked(&["x", "--health", "--admin-addr", "127.0.0.1:9"]), Some("127.0.0.1:9".parse().unwrap()));
        assert_eq!(asked(&["x"]), None);
        assert!(!Role::parse_from(["x"]).service.health);
        let matches = <Config as clap::CommandFactory>::command().get_matches_from(["x", "--amqp-url", "amqp://h"]);
        assert_eq!(asked_for_health(&matches), None);
    }

    #[test]
    fn a_bad_url_is_not_repeated() {
        let error = message(&["x", "--amqp-url", "http://u:hunter2@h"]);
        assert_eq!(error, "--amqp-url <AMQP_URL>: scheme \"http\": expected one of amqp");
    }
}
