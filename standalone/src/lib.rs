//! # standalone
//!
//! Every role in one process, on queues, registry, ledger and MQTT broker of its own: one binary for a store. Wiring
//! only: the roles don't know, and what they do is in their own folders.
//!
//! - [`open`] opens the data folder, before anything else is touched;
//! - [`ground`] is what takes the servers' place;
//! - [`stages`] keeps the roles running, and stops them in order.

mod config;
mod ground;
mod roles;
mod stages;

pub use config::{Config, Flags, MqttPort, Size};

use anyhow::{Result, bail};
use backbone::{
    embedded::{DataFolder, FolderOptions},
    service::{Readiness, Service},
};
use ground::Ground;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// A store whose data folder is open.
#[derive(Debug)]
pub struct Store {
    /// What it is told.
    pub config: Config,
    folder: DataFolder,
    began: Instant,
}

/// Opens the data folder. What is wrong with it is one sentence on standard error, and it stays as it was.
///
/// # Errors
/// With the exit code.
pub fn open(config: Config) -> Result<Store, ExitCode> {
    let began = Instant::now();
    let options = FolderOptions { path: config.flags.data.clone(), max_bytes: config.flags.data_max_bytes };
    match DataFolder::open(&options) {
        Ok(folder) => Ok(Store { config, folder, began }),
        Err(error) => {
            eprintln!("{:#}", anyhow::Error::from(error));
            Err(ExitCode::FAILURE)
        }
    }
}

/// Runs all roles until `service.stop`, then drains them.
///
/// # Errors
/// When the ground can't be laid, such as a port in use, when a role fails or ends by itself, or when the data folder
/// can no longer be written.
pub async fn run(store: Store, mut service: Service) -> Result<()> {
    let Store { config, folder, began } = store;
    let ground = Ground::lay(&config.flags, folder).await?;
    ground.folder.register(&mut service.metrics);
    let (mut stages, readiness) = roles::start(config, &ground, &service)?;
    service.open_admin_port(axum::Router::new());
    service.readiness.set(true);
    tokio::select! {
        error = stages.failed() => return Err(error),
        () = ground.folder.closed() => bail!("the data folder can no longer be written"),
        () = tell_ready(&ground, &readiness, began) => {}
        () = service.stop.cancelled() => {}
    }
    stages.stop().await?;
    ground.leave().await;
    Ok(())
}

/// Says once when all is ready, and waits on.
async fn tell_ready(ground: &Ground, roles: &[Readiness], began: Instant) {
    while !roles.iter().all(Readiness::is_ready) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let broker = &ground.broker;
    let port = |address: Option<std::net::SocketAddr>| address.map(tracing::field::display);
    tracing::info!(
        ready.ms = began.elapsed().as_millis() as u64,
        data.dir = %ground.folder.path().display(),
        mqtt.addr = port(broker.address()),
        mqtt.tls_addr = port(broker.tls_address()),
        "ready"
    );
    std::future::pending().await
}
