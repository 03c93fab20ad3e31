//! Roles that run until they are told to stop, one stage after the other.

use anyhow::{Context, Error, Result, anyhow};
use backbone::service::Service;
use futures::future::select_all;
use std::future::Future;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

type Ended = (&'static str, Result<()>);

/// What runs, in the order in which it stops. When this is dropped, all of it ends at once.
#[derive(Default)]
pub(crate) struct Stages(Vec<Stage>);

/// Roles that stop together; one at least.
#[derive(Default)]
pub(crate) struct Stage {
    stops: Vec<CancellationToken>,
    roles: JoinSet<Ended>,
}

impl Stages {
    /// One more, which stops after those before.
    pub(crate) fn add(&mut self) -> &mut Stage {
        self.0.push(Stage::default());
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Resolves when a role has ended though nobody asked it to.
    pub(crate) async fn failed(&mut self) -> Error {
        let ends = self.0.iter_mut().map(|stage| Box::pin(stage.roles.join_next()));
        let (ended, ..) = select_all(ends).await;
        match ended.map(result) {
            Some(Ok(name)) => anyhow!("{name} ended without being told to"),
            Some(Err(error)) => error,
            None => anyhow!("a stage has no roles"),
        }
    }

    /// Stops one stage after the other, each when those before it have drained.
    ///
    /// # Errors
    /// When a role fails.
    pub(crate) async fn stop(self) -> Result<()> {
        for Stage { stops, mut roles } in self.0 {
            stops.iter().for_each(CancellationToken::cancel);
            while let Some(ended) = roles.join_next().await {
                tracing::debug!("{} has drained", result(ended)?);
            }
        }
        Ok(())
    }
}

impl Stage {
    /// Runs a role until it is its stage's turn to stop.
    pub(crate) fn start<F>(&mut self, service: Service, run: impl FnOnce(Service) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let name = service.name;
        self.stops.push(service.stop.clone());
        let role = run(service);
        self.roles.spawn(async move { (name, role.await) });
    }
}

fn result(ended: Result<Ended, JoinError>) -> Result<&'static str> {
    let (name, result) = ended.context("a role panicked")?;
    result.context(name).map(|()| name)
}
