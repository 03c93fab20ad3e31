//! Acknowledging several deliveries with one frame.

use crate::queue::{QueueError, Ticket, error::Doing};
use lapin::{Channel, options::BasicAckOptions};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// One acknowledgement frame: up to and including a tag, or just the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ack {
    tag: u64,
    multiple: bool,
}

/// Which deliveries are settled, so that an unbroken run of them takes one frame.
///
/// What is settled behind a gap waits for the gap to close, but only up to `patience` deliveries: the rest of the
/// prefetch window must stay open while one message takes long.
#[derive(Debug)]
struct AckWindow {
    /// The lowest tag that is not settled.
    next: u64,
    /// Settled tags above `next`, and whether each was acknowledged already.
    behind_gap: BTreeMap<u64, bool>,
    /// The end of the unbroken run that is not acknowledged yet.
    run: Option<u64>,
    waiting: usize,
    patience: usize,
    /// When the run is to be acknowledged; `None`: there is none.
    due: Option<Instant>,
}

impl AckWindow {
    const fn new(patience: usize) -> Self {
        Self { next: 1, behind_gap: BTreeMap::new(), run: None, waiting: 0, patience, due: None }
    }

    fn settle(&mut self, tickets: &[Ticket]) {
        for ticket in tickets {
            self.behind_gap.insert(ticket.0, false);
            self.waiting += 1;
        }
        // The broker refuses a tag that was acknowledged before, so the frame names the highest that was not.
        while let Some(acknowledged) = self.behind_gap.remove(&self.next) {
            if !acknowledged {
                self.run = Some(self.next);
            }
            self.next += 1;
        }
    }

    /// So many are settled and not acknowledged that the broker would soon hold back.
    fn is_urgent(&self) -> bool {
        self.waiting > self.patience
    }

    /// Sets when the run is to be acknowledged; whether that is news.
    fn linger(&mut self) -> bool {
        let news = self.run.is_some() && self.due.is_none();
        if news {
            self.due = Some(Instant::now() + LINGER);
        }
        news
    }

    /// What is to be acknowledged now.
    fn take(&mut self) -> Vec<Ack> {
        self.due = None;
        let mut acks: Vec<_> = self.run.take().map(|tag| Ack { tag, multiple: true }).into_iter().collect();
        self.waiting = self.behind_gap.values().filter(|acknowledged| !**acknowledged).count();
        if self.is_urgent() {
            acks.extend(self.take_behind_gap());
        }
        acks
    }

    /// Everything that is settled and was not acknowledged yet.
    fn take_all(&mut self) -> Vec<Ack> {
        let mut acks = self.take();
        acks.extend(self.take_behind_gap());
        acks
    }

    fn take_behind_gap(&mut self) -> Vec<Ack> {
        self.waiting = 0;
        let waiting = self.behind_gap.iter_mut().filter(|(_, acknowledged)| !**acknowledged);
        waiting
            .map(|(&tag, acknowledged)| {
                *acknowledged = true;
                Ack { tag, multiple: false }
            })
            .collect()
    }
}

/// When settled deliveries are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// At once.
    Each,
    /// With whatever else is settled within [`LINGER`], unless so many are settled that the broker would hold back.
    Together {
        /// How many may wait.
        patience: usize,
    },
}

/// Each frame that is sent wakes the client library's own thread, which costs more than the rest of a request.
const LINGER: Duration = Duration::from_millis(10);

/// Acknowledges deliveries of one channel.
#[derive(Debug)]
pub(super) struct Acks {
    channel: Channel,
    when: When,
    window: Mutex<AckWindow>,
    /// Something begins to wait.
    waiting: Notify,
}

impl Acks {
    pub(super) fn new(channel: Channel, when: When) -> Self {
        let patience = if let When::Together { patience } = when { patience } else { 0 };
        let window = Mutex::new(AckWindow::new(patience));
        Self { channel, when, window, waiting: Notify::new() }
    }

    fn window(&self) -> MutexGuard<'_, AckWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn settle(&self, tickets: &[Ticket]) -> Result<(), QueueError> {
        let acks = {
            let mut window = self.window();
            window.settle(tickets);
            match self.when {
                When::Each => window.take(),
                When::Together { .. } if window.is_urgent() => window.take(),
                When::Together { .. } => {
                    if window.linger() {
                        self.waiting.notify_one();
                    }
                    Vec::new()
                }
            }
        };
        self.send(acks).await
    }

    /// Resolves when something has waited long enough to be acknowledged. Cancel-safe.
    pub(super) async fn lingered(&self) {
        loop {
            let due = self.window().due;
            match due {
                Some(due) => return tokio::time::sleep_until(due).await,
                None => self.waiting.notified().await,
            }
        }
    }

    /// Acknowledges what has waited long enough.
    pub(super) async fn send_due(&self) -> Result<(), QueueError> {
        let acks = self.window().take();
        self.send(acks).await
    }

    pub(super) async fn flush(&self) -> Result<(), QueueError> {
        let acks = self.window().take_all();
        self.send(acks).await
    }

    async fn send(&self, acks: Vec<Ack>) -> Result<(), QueueError> {
        for Ack { tag, multiple } in acks {
            let options = BasicAckOptions { multiple };
            self.channel.basic_ack(tag, options).await.doing("acknowledging messages")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(acks: Vec<Ack>) -> Vec<(u64, bool)> {
        acks.into_iter().map(|ack| (ack.tag, ack.multiple)).collect()
    }

    fn settle(window: &mut AckWindow, tags: &[u64]) -> Vec<(u64, bool)> {
        let tickets: Vec<_> = tags.iter().copied().map(Ticket).collect();
        window.settle(&tickets);
        frames(window.take())
    }

    #[test]
    fn an_unbroken_run_takes_one_frame() {
        let mut window = AckWindow::new(2);
        assert_eq!(settle(&mut window, &[1, 2, 3]), [(3, true)]);
        assert_eq!(settle(&mut window, &[5]), []);
        assert_eq!(settle(&mut window, &[4]), [(5, true)]);
    }

    #[test]
    fn what_is_settled_meanwhile_goes_with_it() {
        let mut window = AckWindow::new(10);
        window.settle(&[Ticket(1)]);
        window.settle(&[Ticket(3)]);
        window.settle(&[Ticket(2)]);
        assert_eq!(frames(window.take()), [(3, true)]);
        assert_eq!(frames(window.take()), []);
    }

    #[test]
    fn a_long_message_does_not_hold_up_the_window() {
        let mut window = AckWindow::new(2);
        assert_eq!(settle(&mut window, &[2, 3]), []);
        assert_eq!(settle(&mut window, &[5]), [(2, false), (3, false), (5, false)]);
        assert_eq!(settle(&mut window, &[6]), []);
        assert_eq!(settle(&mut window, &[1]), [(1, true)], "2 and 3 are not acknowledged twice");
        assert_eq!(settle(&mut window, &[4]), [(6, true)]);
        assert!(window.take_all().is_empty());
    }

    #[test]
    fn a_flush_leaves_nothing() {
        let mut window = AckWindow::new(100);
        window.settle(&[Ticket(1), Ticket(3), Ticket(4)]);
        assert_eq!(frames(window.take_all()), [(1, true), (3, false), (4, false)]);
        assert_eq!(settle(&mut window, &[2]), [(2, true)]);
        assert_eq!(settle(&mut window, &[5]), [(5, true)]);
    }
}
