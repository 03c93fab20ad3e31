//! A whole backbone as one process.

use backbone::service;
use standalone::{Config, open};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Config::read().and_then(open) {
        Ok(store) => {
            let args = store.config.flags.service.clone();
            service::main("standalone", &args, |service| standalone::run(store, service))
        }
        Err(code) => code,
    }
}
