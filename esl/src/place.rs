//! Where what is asked is asked: the API, or the servers themselves.

use crate::api::{ApiUrl, Token};
use backbone::{
    ledger::LedgerUrl,
    queue::AmqpUrl,
    registry::RedisUrl,
    service::{Authorities, TlsArgs, parse_duration},
};
use clap::{ArgMatches, Args, Command, FromArgMatches, error::ErrorKind, parser::ValueSource};
use std::{path::PathBuf, time::Duration};

/// Whom to ask.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The HTTP API.
    Api {
        url: ApiUrl,
        token: Option<Token>,
        token_file: Option<PathBuf>,
        wait: Duration,
        authorities: Option<Authorities>,
    },
    /// RabbitMQ, MongoDB and Redis, each when it is needed.
    Servers { amqp: AmqpUrl, mongodb: LedgerUrl, redis: RedisUrl },
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Whom to ask")]
struct Flags {
    /// The HTTP API of store-api or standalone
    #[arg(long, env = "ESL_API", value_name = "URL", default_value = "http://127.0.0.1:8080", global = true)]
    api: ApiUrl,

    /// File with the API's token, instead of ESL_TOKEN
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,

    // Only for the variable: on a command line, others of the machine would see it.
    #[arg(long, env = "ESL_TOKEN", hide = true, hide_env_values = true, global = true)]
    token: Option<Token>,

    /// How long a command that changes something waits for an API that is away
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, global = true)]
    wait: Duration,

    /// Ask the servers themselves, not the API
    #[arg(long, global = true)]
    direct: bool,

    /// The same; RabbitMQ: amqp://user:password@host:port/vhost, or amqps://
    #[arg(long, alias = "amqp-url", env = "AMQP_URL", default_value = "amqp://127.0.0.1:5672/%2f")]
    #[arg(value_name = "URL", hide_env_values = true, global = true)]
    amqp: AmqpUrl,

    /// The same; MongoDB: mongodb://host:port/database
    #[arg(long, alias = "mongodb-url", env = "MONGODB_URL", default_value = "mongodb://127.0.0.1:27017/esl")]
    #[arg(value_name = "URL", hide_env_values = true, global = true)]
    mongodb: LedgerUrl,

    /// The same; Redis: redis://user:password@host:port/db, or rediss://
    #[arg(long, alias = "redis-url", env = "REDIS_URL", default_value = "redis://127.0.0.1:6379")]
    #[arg(value_name = "URL", hide_env_values = true, global = true)]
    redis: RedisUrl,

    #[command(flatten)]
    tls: TlsArgs,
}

impl FromArgMatches for Place {
    /// What is said on the command line chooses: the servers' variables may be set for other programs.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let said = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let server = ["direct", "amqp", "mongodb", "redis"].iter().find(|id| said(id));
        let of_api = ["api", "token_file"].iter().find(|id| said(id)).map(|id| id.replace('_', "-"));
        let Flags { api, token_file, token, wait, direct: _, amqp, mongodb, redis, tls } =
            Flags::from_arg_matches(matches)?;
        match (server, of_api) {
            (None, _) => Ok(Self::Api { url: api, token, token_file, wait, authorities: tls.tls_ca_file }),
            (Some(_), None) => Ok(Self::Servers {
                amqp: amqp.trusting(&tls),
                mongodb: mongodb.trusting(&tls),
                redis: redis.trusting(&tls),
            }),
            (Some(server), Some(of_api)) => {
                let text =
                    format!("--{server} asks the servers themselves, --{of_api} is for the API: give one of them");
                Err(clap::Error::raw(ErrorKind::ArgumentConflict, text))
            }
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Place {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::Parser;

    fn place(args: &[&str]) -> Result<Place, String> {
        let parsed = Cli::try_parse_from(["esl"].iter().chain(args));
        parsed.map(|cli| cli.place).map_err(|error| error.to_string())
    }

    #[test]
    fn the_api_is_asked_unless_a_server_is_named() {
        let url = |place| match place {
            Ok(Place::Api { url, .. }) => url.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(url(place(&["gateways", "--api", "https://h:1/esl/"])), "https://h:1/esl");
        assert_eq!(url(place(&["--api", "http://h", "dead"])), "http://h");
        for args in [&["gateways", "--direct"][..], &["dead", "replay", "--all", "--amqp", "amqp://h"]] {
            assert!(matches!(place(args), Ok(Place::Servers { .. })), "{args:?}");
        }
        let both = place(&["gateways", "--api", "http://h", "--redis-url", "redis://h"]).unwrap_err();
        assert!(both.contains("--redis asks the servers themselves, --api is for the API"), "{both}");
        let secret = place(&["gateways", "--api", "http://user:hunter2@h"]).unwrap_err();
        assert!(secret.contains("give a token in ESL_TOKEN"), "{secret}");
    }
}
