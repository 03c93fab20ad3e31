//! The signals that ask us to end.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};

/// SIGINT and SIGTERM. From its making on they no longer end this process by themselves.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| unix::signal(kind).context("listening for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The next one. Nothing is lost if this is dropped before it returns.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
        }
    }
}

/// Whether a signal has reached our children already: Ctrl-C goes to all processes on the terminal.
pub(crate) fn reaches_children(signal: Signal) -> bool {
    signal == Signal::SIGINT && std::io::stdin().is_terminal()
}
