//! Ctrl-C, for the commands that take their time.

use crate::failure::Failure;
use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears every Ctrl-C from its making on, also one that comes between two waits.
pub(crate) struct Interrupts(Signal);

impl Interrupts {
    /// Begins to listen; Ctrl-C no longer ends the process by itself.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self(signal(SignalKind::interrupt()).context("listening for Ctrl-C")?))
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        // The stream of a signal does not end.
        let _ = self.0.recv().await;
    }
}
