//! The batches of the tasks in hand, and whether they are paused or cancelled.
//!
//! Asked for each task and before each command, so it must cost next to nothing: the state of a batch is read when the
//! first task of it is taken up, with whatever other batches are asked for at that moment, and from then on all batches
//! in hand are read again together, twice a second, until some seconds after their last task. While no task with a batch
//! comes, nothing is read at all.

use super::{BatchKey, Ledger, LedgerError, writer::LedgerWriter};
use protocol::BatchState;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the batches in hand are read again: a pause takes effect so soon.
const LOOK: Duration = Duration::from_millis(500);
/// A batch of which no task is in hand is read so many times more: the next one may come.
const KEEP_LOOKS: u8 = 10;
/// Of more batches, only those are kept that tasks in hand belong to.
const MOST_KEPT: usize = 1_000;

/// The batches that tasks in hand belong to. A clone watches the same.
#[derive(Debug, Clone)]
pub struct BatchWatch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    writer: LedgerWriter,
    in_hand: Mutex<HashMap<BatchKey, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    state: Arc<AtomicU8>,
    /// How often it was read while no task of it was in hand.
    unused: u8,
}

/// A batch in hand: watched as long as this or a clone lives.
#[derive(Debug, Clone)]
pub struct Watched(Arc<AtomicU8>);

impl Watched {
    /// Whether its tasks are carried out, as was known half a second ago.
    pub fn state(&self) -> BatchState {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        BatchState::ALL.get(number).copied().unwrap_or_default()
    }
}

impl BatchWatch {
    /// Begins to watch; the second part is the task that does it, until `stop`.
    pub fn start(
        writer: &LedgerWriter,
        ledger: Ledger,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let watch = Self(Arc::new(Shared { writer: writer.clone(), in_hand: Mutex::default() }));
        let shared = Arc::clone(&watch.0);
        let task = async move {
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = looks.tick() => shared.look_again(&ledger).await,
                    () = stop.cancelled() => return,
                }
            }
        };
        (watch, task)
    }

    /// A batch, with its state of this moment or half a second ago.
    ///
    /// # Errors
    /// When the ledger can't be asked any more; while it is away, this waits.
    pub async fn of(&self, key: BatchKey) -> Result<Watched, LedgerError> {
        if let Some(known) = self.0.in_hand().get(&key) {
            return Ok(Watched(Arc::clone(&known.state)));
        }
        let state = self.0.writer.batch_states(vec![key.clone()]).await?.pop().unwrap_or_default();
        let mut in_hand = self.0.in_hand();
        // Another task may have asked meanwhile.
        let known = &in_hand.entry(key).or_default().state;
        known.store(state as u8, Ordering::Relaxed);
        Ok(Watched(Arc::clone(known)))
    }
}

impl Shared {
    fn in_hand(&self) -> MutexGuard<'_, HashMap<BatchKey, Entry>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those that nothing in hand has belonged to for long, and reads the others again. While the ledger is away, what was
    /// known last is the best that there is.
    async fn look_again(&self, ledger: &Ledger) {
        let keys: Vec<BatchKey> = {
            let mut in_hand = self.in_hand();
            let too_many = in_hand.len() > MOST_KEPT;
            in_hand.retain(|_, known| known.is_kept(too_many));
            in_hand.keys().cloned().collect()
        };
        let Ok(controls) = ledger.controls_of(&keys).await else { return };
        let in_hand = self.in_hand();
        for key in &keys {
            if let Some(known) = in_hand.get(key) {
                let state = controls.get(key).map(|control| control.state).unwrap_or_default();
                known.state.store(state as u8, Ordering::Relaxed);
            }
        }
    }
}

impl Entry {
    fn is_kept(&mut self, too_many: bool) -> bool {
        let in_hand = Arc::strong_count(&self.state) > 1;
        self.unused = if in_hand { 0 } else { self.unused.saturating_add(1) };
        in_hand || !too_many && self.unused <= KEEP_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_kept_and_the_rest_for_a_while() {
        let mut entry = Entry::default();
        let watched = Watched(Arc::clone(&entry.state));
        assert!((0..100).all(|_| entry.is_kept(true)));
        drop(watched);
        assert!((0..KEEP_LOOKS).all(|_| entry.is_kept(false)));
        assert!(!entry.is_kept(false));
        assert!(!Entry::default().is_kept(true), "there are too many");
    }
}
