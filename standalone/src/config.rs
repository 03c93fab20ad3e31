//! What a standalone backbone can be told.

use backbone::{
    registry::WindowArgs,
    service::{ServiceArgs, parse, parse_duration, parse_from},
};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode, str::FromStr, time::Duration};
use store_api::Tokens;

/// Serves one store from one process, without any server: all roles, their queues, their ledger, and an MQTT broker for
/// the gateways. What else the roles can be told, their variables in the environment tell them here too.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "standalone", version, about)]
pub struct Flags {
    /// Folder for everything that must outlive the process; made if it is not there
    #[arg(long, env = "DATA_DIR", value_name = "DIR")]
    pub data: PathBuf,

    /// How large the file in the folder may grow, in bytes; without it, as the disk lets it
    #[arg(long, env = "DATA_MAX_BYTES", value_name = "BYTES")]
    pub data_max_bytes: Option<u64>,

    /// Where gateways connect, and how they show who they are
    #[command(flatten, next_help_heading = "Gateways")]
    pub mqtt: MqttPort,

    /// Emulate so many gateways and labels in this process, such as 20x50000; what follows -- goes to the emulator, such
    /// as -- --write-time 0
    #[arg(long, env = "EMULATE", value_name = "GATEWAYSxLABELS", conflicts_with = "credentials")]
    pub emulate: Option<Size>,

    /// What the emulator is told
    #[arg(last = true, requires = "emulate", hide = true)]
    pub emulator: Vec<String>,

    /// How long one attempt waits for the gateway's answer, at most until the task's deadline
    #[arg(long, env = "RPC_TIMEOUT", default_value = "15s", value_parser = parse_duration)]
    pub rpc_timeout: Duration,

    /// How many tasks are worked on at the same time
    #[arg(long, env = "TASK_CONCURRENCY", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    pub task_concurrency: u16,

    /// How many RPCs are in flight at the same time, of all tasks together
    #[arg(long, env = "RPC_CONCURRENCY", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..))]
    pub rpc_concurrency: u16,

    /// How old a gateway's report of a label may be for the gateway to count as hearing it
    #[arg(long, env = "ROUTE_STALE_AFTER", default_value = "60s", value_parser = parse_duration)]
    pub route_stale_after: Duration,

    /// What gateways can take
    #[command(flatten)]
    pub window: WindowArgs,

    /// Address of the HTTP API for the store backend; port 0 picks a free one. Other than loopback only with tokens
    #[arg(long, env = "API_ADDR", default_value = "127.0.0.1:8080")]
    pub api_addr: SocketAddr,

    /// File with one line per token: name, token (or sha256: and its digest), and stores separated by commas (or *)
    #[arg(long, env = "API_TOKENS", value_name = "FILE", value_parser = Tokens::read)]
    pub tokens: Option<Tokens>,

    /// What every role can be told
    #[command(flatten, next_help_heading = "Process")]
    pub service: ServiceArgs,
}

/// The MQTT broker for gateways.
#[derive(Debug, Clone, clap::Args)]
pub struct MqttPort {
    /// Address for MQTT without TLS, port 0 for any that is free; without it 127.0.0.1:1883, or none if there is one for
    /// TLS
    #[arg(long = "mqtt-listen", env = "MQTT_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Address for MQTT over TLS
    #[arg(long = "mqtt-tls-listen", env = "MQTT_TLS_LISTEN", value_name = "ADDR", requires_all = ["certificate", "key"])]
    pub tls_listen: Option<SocketAddr>,

    /// PEM file with the certificate, and those between it and its root
    #[arg(long = "mqtt-certificate", env = "MQTT_CERTIFICATE", value_name = "FILE", requires = "tls_listen")]
    pub certificate: Option<PathBuf>,

    /// PEM file with the certificate's private key
    #[arg(long = "mqtt-key", env = "MQTT_KEY", value_name = "FILE", requires = "tls_listen")]
    pub key: Option<PathBuf>,

    /// File with a line MAC:HASH (Argon2) for each gateway, and inspector:HASH for esl gateway-check; without it, whoever
    /// reaches the port can be any gateway
    #[arg(long = "mqtt-credentials", env = "MQTT_CREDENTIALS", value_name = "FILE")]
    pub credentials: Option<PathBuf>,

    /// How many connections there may be at a time
    #[arg(long = "mqtt-connections", env = "MQTT_CONNECTIONS", default_value_t = 1000)]
    pub max_connections: usize,
}

/// How large the emulated store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    gateways: u32,
    labels: u32,
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once('x').and_then(|(gateways, labels)| {
            Some(Self { gateways: gateways.parse().ok()?, labels: labels.parse().ok()? })
        });
        numbers.ok_or("expected the number of gateways, an x, and the number of labels, such as 20x50000")
    }
}

/// What the process is told, and with it each of its roles.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the process is told.
    pub flags: Flags,
    pub(crate) api: store_api::Config,
    pub(crate) worker: task_worker::Config,
    pub(crate) fwd_router: fwd_router::Config,
    pub(crate) bck_router: bck_router::Config,
    pub(crate) emulator: Option<gateway_emulator::Config>,
}

impl Config {
    /// Reads flags and environment. Bad configuration is one sentence on standard error.
    ///
    /// # Errors
    /// With the exit code: 0 after `--help` and `--version`, else 2.
    pub fn read() -> Result<Self, ExitCode> {
        Self::of(parse()?)
    }

    fn of(flags: Flags) -> Result<Self, ExitCode> {
        let Flags { rpc_timeout, route_stale_after, task_concurrency, rpc_concurrency, .. } = flags;
        let (api_addr, tokens, window) = (flags.api_addr, flags.tokens.clone(), flags.window.clone());
        let api = parse_from(["store-api"])?;
        let worker = parse_from(["task-worker"])?;
        let mut fwd_router: fwd_router::Config = parse_from(["fwd-router"])?;
        fwd_router.route.route_stale_after = route_stale_after;
        let bck_router = parse_from(["bck-router", "--consume", "both"])?;
        let emulator = flags.emulate.map(|size| parse_from(emulator_args(size, &flags.emulator))).transpose()?;
        Ok(Self {
            api: store_api::Config { api_addr, tokens, route_stale_after, window: window.clone(), ..api },
            worker: task_worker::Config {
                rpc: task_worker::RpcBy::Queue,
                rpc_timeout,
                route_stale_after,
                task_concurrency,
                rpc_concurrency,
                ..worker
            },
            fwd_router: fwd_router::Config { rpc_timeout, window: window.clone(), ..fwd_router },
            bck_router: bck_router::Config { rpc_timeout, route_stale_after, window, ..bck_router },
            emulator,
            flags,
        })
    }
}

fn emulator_args(size: Size, more: &[String]) -> Vec<String> {
    let args = ["gateway-emulator", "--gateways", &size.gateways.to_string(), "--labels", &size.labels.to_string()];
    args.iter().map(ToString::to_string).chain(more.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn read(args: &[&str]) -> Result<Config, ExitCode> {
        Config::of(Flags::try_parse_from(["standalone", "--data", "d"].iter().chain(args)).unwrap())
    }

    #[test]
    fn roles_are_told_the_same() {
        let config = read(&["--rpc-timeout", "3s", "--route-stale-after", "9s"]).unwrap();
        let three = Duration::from_secs(3);
        assert_eq!(
            [config.worker.rpc_timeout, config.fwd_router.rpc_timeout, config.bck_router.rpc_timeout],
            [three; 3]
        );
        let nine = Duration::from_secs(9);
        assert_eq!(
            [
                config.worker.route_stale_after,
                config.fwd_router.route.route_stale_after,
                config.bck_router.route_stale_after,
                config.api.route_stale_after,
            ],
            [nine; 4]
        );
        let config = read(&["--gateway-window", "3", "--gateway-breaker-after", "2"]).unwrap();
        let windows = [config.fwd_router.window, config.bck_router.window, config.api.window];
        assert!(windows.iter().all(|window| window.gateway_window == 3 && window.gateway_breaker_after == 2));
        assert!(config.emulator.is_none());
    }

    #[test]
    fn what_follows_two_dashes_goes_to_the_emulator() {
        let config = read(&["--emulate", "20x500", "--", "--write-time", "0", "--seed", "7"]).unwrap();
        let emulator = config.emulator.unwrap();
        assert_eq!((emulator.gateways, emulator.labels, emulator.seed), (20, 500, 7));
        assert!(read(&["--emulate", "20x500", "--", "--seed", "often"]).is_err());
        assert!(Flags::try_parse_from(["standalone", "--data", "d", "--", "--seed", "7"]).is_err());
        assert!("20,500".parse::<Size>().is_err() && "x".parse::<Size>().is_err());
    }

    #[test]
    fn half_of_tls_is_refused() {
        for args in [&["--mqtt-tls-listen", "127.0.0.1:0"][..], &["--mqtt-key", "k", "--mqtt-certificate", "c"]] {
            assert!(Flags::try_parse_from(["standalone", "--data", "d"].iter().chain(args)).is_err(), "{args:?}");
        }
    }
}
