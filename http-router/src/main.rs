//! The HTTP router as a process.

use backbone::service;
use http_router::Config;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match service::parse::<Config>() {
        Ok(config) => {
            let args = config.service.clone();
            service::main("http-router", &args, |service| http_router::run(config, service))
        }
        Err(code) => code,
    }
}
