//! The store API as a process.

use backbone::service;
use std::process::ExitCode;
use store_api::Config;

fn main() -> ExitCode {
    match service::parse::<Config>() {
        Ok(config) => {
            let args = config.service.clone();
            service::main("store-api", &args, |service| store_api::run(config, service))
        }
        Err(code) => code,
    }
}
