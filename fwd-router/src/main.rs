//! The forward router as a process.

use backbone::service;
use fwd_router::Config;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match service::parse::<Config>() {
        Ok(config) => {
            let args = config.service.clone();
            service::main("fwd-router", &args, |service| fwd_router::run(config, service))
        }
        Err(code) => code,
    }
}
