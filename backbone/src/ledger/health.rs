//! Whether the ledger answers: logged once per outage, watched by readiness.

use super::{Ledger, LedgerError};
use crate::service::Backoff;
use std::{error::Error, sync::Arc, time::Duration, time::Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// An idle writer asks so often whether the server is there.
const PING_EVERY: Duration = Duration::from_secs(5);

/// What is known of the server, shared by all that talk to it.
#[derive(Debug, Clone)]
pub(super) struct Health(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nobody has asked yet.
    Unknown,
    Up,
    DownSince(Instant),
}

impl Health {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::Unknown)))
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.0.borrow(), State::Up)
    }

    /// Waits until it is up, or until it is not.
    pub(super) async fn wait_until(&self, up: bool) {
        let mut states = self.0.subscribe();
        // The sender is ours, so it is not gone.
        let _ = states.wait_for(|state| matches!(state, State::Up) == up).await;
    }

    pub(super) fn works(&self) {
        self.0.send_if_modified(|state| match std::mem::replace(state, State::Up) {
            State::Up => false,
            State::Unknown => true,
            State::DownSince(since) => {
                tracing::info!(outage.seconds = since.elapsed().as_secs_f64(), "the ledger answers again");
                true
            }
        });
    }

    pub(super) fn fails(&self, error: &LedgerError) {
        self.0.send_if_modified(|state| {
            if matches!(state, State::DownSince(_)) {
                return false;
            }
            tracing::warn!(error = chain(error), "the ledger is down: what needs it waits");
            *state = State::DownSince(Instant::now());
            true
        });
    }

    /// Prepares the ledger as soon as that works, then keeps asking whether it is there, until `stop`.
    pub(super) async fn watch(self, ledger: Ledger, stop: CancellationToken) {
        let mut backoff = retry_backoff();
        let mut prepared = false;
        let keep_asking = async {
            loop {
                let answer = if prepared { ledger.ping().await } else { ledger.prepare().await };
                let delay = match answer {
                    Ok(()) => {
                        prepared = true;
                        self.works();
                        backoff.reset();
                        PING_EVERY
                    }
                    Err(error) => {
                        self.fails(&error);
                        backoff.next_delay()
                    }
                };
                tokio::time::sleep(delay).await;
            }
        };
        let _ = stop.run_until_cancelled(keep_asking).await;
    }
}

/// Between attempts; waiting for the server to come back is part of each attempt.
pub(super) const fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(1))
}

/// An error with all its causes, in one line.
pub(super) fn chain(error: &LedgerError) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
