//! Plays a store of gateways and labels.

use gateway_emulator::{Config, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    match backbone::service::parse::<Config>() {
        Ok(config) => {
            let service = config.service.clone();
            backbone::service::main("gateway-emulator", &service, |service| run(config, service))
        }
        Err(code) => code,
    }
}
