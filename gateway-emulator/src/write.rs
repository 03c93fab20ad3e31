//! How a gateway writes: to a few labels at a time, to each label in the order in which it was asked.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// Things that are due at some time, in the order of their times, and where these are equal in that of their coming.
#[derive(Debug)]
pub struct Timeline<T> {
    heap: BinaryHeap<Reverse<Due<T>>>,
    next: u64,
    capacity: usize,
}

#[derive(Debug)]
struct Due<T> {
    at: Instant,
    order: u64,
    what: T,
}

impl<T> Timeline<T> {
    /// For at most so many things.
    pub fn new(capacity: usize) -> Self {
        Self { heap: BinaryHeap::new(), next: 0, capacity }
    }

    /// Adds something.
    ///
    /// # Errors
    /// Gives it back when there is too much already.
    pub fn push(&mut self, at: Instant, what: T) -> Result<(), T> {
        if self.heap.len() >= self.capacity {
            return Err(what);
        }
        self.next += 1;
        self.heap.push(Reverse(Due { at, order: self.next, what }));
        Ok(())
    }

    /// When the first is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|due| due.0.at)
    }

    /// The first, if it is due by now.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        self.next_due().filter(|at| *at <= now)?;
        self.heap.pop().map(|due| due.0.what)
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<T> Eq for Due<T> {}
impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A gateway's connections to labels, and the jobs that wait for one.
#[derive(Debug)]
pub struct Writes<J> {
    connections: usize,
    queue: usize,
    under_way: Timeline<(usize, J)>,
    busy: HashSet<usize>,
    waiting: VecDeque<(usize, J)>,
}

impl<J> Writes<J> {
    /// With so many connections, and room for so many jobs that wait.
    pub fn new(connections: usize, queue: usize) -> Self {
        let (busy, waiting) = (HashSet::new(), VecDeque::new());
        Self { connections, queue, under_way: Timeline::new(connections), busy, waiting }
    }

    /// Takes a job for a label; [`start`](Self::start) begins it.
    ///
    /// # Errors
    /// Gives it back when the queue is full.
    pub fn offer(&mut self, label: usize, job: J) -> Result<(), J> {
        let free = self.connections - self.busy.len();
        if self.waiting.len() >= self.queue + free {
            return Err(job);
        }
        self.waiting.push_back((label, job));
        Ok(())
    }

    /// Begins what can begin now, each for as long as `time` says.
    pub fn start(&mut self, now: Instant, mut time: impl FnMut() -> Duration) {
        let mut at = 0;
        while self.busy.len() < self.connections && at < self.waiting.len() {
            if self.busy.contains(&self.waiting[at].0) {
                at += 1;
            } else if let Some(job) = self.waiting.remove(at) {
                self.busy.insert(job.0);
                // Cannot be full: it holds as many as there are connections.
                let _ = self.under_way.push(now + time(), job);
            }
        }
    }

    /// When the next job ends.
    pub fn next_due(&self) -> Option<Instant> {
        self.under_way.next_due()
    }

    /// A job that has ended by now, and its label.
    pub fn finish(&mut self, now: Instant) -> Option<(usize, J)> {
        let done = self.under_way.pop_due(now)?;
        self.busy.remove(&done.0);
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn drain(writes: &mut Writes<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| writes.finish(now)).map(|(_, job)| job).collect()
    }

    #[test]
    fn jobs_beyond_connections_and_queue_are_given_back() {
        let (mut writes, now) = (Writes::new(2, 1), Instant::now());
        for label in 0..3 {
            assert_eq!(writes.offer(label, label as u32), Ok(()));
        }
        writes.start(now, || MS);
        assert_eq!(writes.offer(3, 3), Err(3));
        assert!(drain(&mut writes, now).is_empty());
        assert_eq!(drain(&mut writes, now + MS), [0, 1]);
        assert_eq!(writes.next_due(), None);
        writes.start(now + MS, || MS);
        assert_eq!(drain(&mut writes, now + MS * 2), [2]);
    }

    #[test]
    fn one_label_is_written_in_order_while_others_overtake() {
        let (mut writes, now) = (Writes::new(4, 10), Instant::now());
        for (label, job) in [(7, 1), (7, 2), (8, 3), (7, 4)] {
            writes.offer(label, job).unwrap();
        }
        let mut order = Vec::new();
        for step in 0..4 {
            writes.start(now + MS * step, || MS);
            order.extend(drain(&mut writes, now + MS * (step + 1)));
        }
        assert_eq!(order, [1, 3, 2, 4]);
    }

    #[test]
    fn an_instant_write_ends_when_it_begins() {
        let (mut writes, now) = (Writes::new(1, 10), Instant::now());
        writes.offer(1, 1).unwrap();
        writes.offer(1, 2).unwrap();
        for job in [1, 2] {
            writes.start(now, || Duration::ZERO);
            assert_eq!(drain(&mut writes, now), [job]);
        }
    }

    #[test]
    fn a_timeline_is_bounded() {
        let (mut line, now) = (Timeline::new(1), Instant::now());
        assert_eq!(line.push(now, 1), Ok(()));
        assert_eq!(line.push(now, 2), Err(2));
        assert_eq!((line.pop_due(now), line.pop_due(now)), (Some(1), None));
    }
}
