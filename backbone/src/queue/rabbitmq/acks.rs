//! Acknowledging several deliveries with one frame.

use crate::queue::{QueueError, Ticket, error::Doing};
use lapin::{Channel, options::BasicAckOptions};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

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
    waiting: usize,
    patience: usize,
}

impl AckWindow {
    const fn new(patience: usize) -> Self {
        Self { next: 1, behind_gap: BTreeMap::new(), waiting: 0, patience }
    }

    fn settle(&mut self, tickets: &[Ticket]) -> Vec<Ack> {
        for ticket in tickets {
            self.behind_gap.insert(ticket.0, false);
            self.waiting += 1;
        }
        // The broker refuses a tag that was acknowledged before, so the frame names the highest that was not.
        let mut run = None;
        while let Some(acknowledged) = self.behind_gap.remove(&self.next) {
            if !acknowledged {
                run = Some(self.next);
                self.waiting -= 1;
            }
            self.next += 1;
        }
        let mut acks: Vec<_> = run.map(|tag| Ack { tag, multiple: true }).into_iter().collect();
        if self.waiting > self.patience {
            acks.extend(self.flush());
        }
        acks
    }

    /// Everything that is settled and was not acknowledged yet.
    fn flush(&mut self) -> Vec<Ack> {
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

/// Acknowledges deliveries of one channel.
#[derive(Debug)]
pub(super) struct Acks {
    channel: Channel,
    window: Mutex<AckWindow>,
}

impl Acks {
    pub(super) fn new(channel: Channel, patience: usize) -> Self {
        Self { channel, window: Mutex::new(AckWindow::new(patience)) }
    }

    pub(super) async fn settle(&self, tickets: &[Ticket]) -> Result<(), QueueError> {
        let acks = self.window.lock().unwrap_or_else(PoisonError::into_inner).settle(tickets);
        self.send(acks).await
    }

    pub(super) async fn flush(&self) -> Result<(), QueueError> {
        let acks = self.window.lock().unwrap_or_else(PoisonError::into_inner).flush();
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

    fn settle(window: &mut AckWindow, tags: &[u64]) -> Vec<(u64, bool)> {
        let tickets: Vec<_> = tags.iter().copied().map(Ticket).collect();
        window.settle(&tickets).into_iter().map(|ack| (ack.tag, ack.multiple)).collect()
    }

    #[test]
    fn an_unbroken_run_takes_one_frame() {
        let mut window = AckWindow::new(2);
        assert_eq!(settle(&mut window, &[1, 2, 3]), [(3, true)]);
        assert_eq!(settle(&mut window, &[5]), []);
        assert_eq!(settle(&mut window, &[4]), [(5, true)]);
    }

    #[test]
    fn a_long_message_does_not_hold_up_the_window() {
        let mut window = AckWindow::new(2);
        assert_eq!(settle(&mut window, &[2, 3]), []);
        assert_eq!(settle(&mut window, &[5]), [(2, false), (3, false), (5, false)]);
        assert_eq!(settle(&mut window, &[6]), []);
        assert_eq!(settle(&mut window, &[1]), [(1, true)], "2 and 3 are not acknowledged twice");
        assert_eq!(settle(&mut window, &[4]), [(6, true)]);
        assert!(window.flush().is_empty());
    }

    #[test]
    fn a_flush_leaves_nothing() {
        let mut window = AckWindow::new(100);
        assert_eq!(settle(&mut window, &[1, 3, 4]), [(1, true)]);
        let flushed: Vec<_> = window.flush().into_iter().map(|ack| ack.tag).collect();
        assert_eq!(flushed, [3, 4]);
        assert_eq!(settle(&mut window, &[2]), [(2, true)]);
        assert_eq!(settle(&mut window, &[5]), [(5, true)]);
    }
}
