//! The task worker as a process.

use backbone::service;
use std::process::ExitCode;
use task_worker::Config;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match service::parse::<Config>() {
        Ok(config) => {
            let args = config.service.clone();
            service::main("task-worker", &args, |service| task_worker::run(config, service))
        }
        Err(code) => code,
    }
}
