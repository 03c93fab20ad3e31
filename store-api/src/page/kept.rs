//! What takes long to find out is found out once for all who look, by a task of its own, so that nobody who leaves stops
//! it for the others. Whoever looks meanwhile is told what was found before.

use crate::{api::Api, problem::Problem};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// While it is found out anew, what was found before is told for so many times as long as it was as good as new.
const MEANWHILE: u32 = 2;
const STOPS: &str = "the server stops";

/// How often something is found out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// What was found is as good as new for so long,
    pub(crate) keep: Duration,
    /// and for so many times what it took.
    pub(crate) share: u32,
}

/// What was found, by what it is about.
pub(crate) struct Kept<K, V> {
    pace: fn(&V) -> Pace,
    slots: Mutex<HashMap<K, Slot<V>>>,
}

type Slot<V> = Arc<watch::Sender<Known<V>>>;

struct Known<V> {
    found: Option<Arc<V>>,
    /// It is as good as new until then,
    until: Instant,
    /// and is told until then where it is being found out anew.
    told_until: Instant,
    /// Why nothing was found.
    trouble: Option<Problem>,
    is_sought: bool,
}

impl<K: Eq + Hash + Clone, V: Send + Sync + 'static> Kept<K, V> {
    pub(crate) fn new(pace: fn(&V) -> Pace) -> Self {
        Self { pace, slots: Mutex::default() }
    }

    /// What is known about it; `seek` finds it out where that is nothing, or no longer as good as new.
    pub(crate) async fn of<F>(&self, api: &Api, about: &K, seek: impl FnOnce(Api) -> F) -> Result<Arc<V>, Problem>
    where
        F: Future<Output = Result<V, Problem>> + Send + 'static,
    {
        let slot = self.slot(about);
        let mut known = slot.subscribe();
        if let Some(seeking) = Seeking::begin(&slot, self.pace) {
            let (seek, stop) = (seek(api.clone()), api.stop.clone());
            api.background.spawn(async move {
                tokio::select! {
                    found = seek => seeking.end(found),
                    () = stop.cancelled() => drop(seeking),
                }
            });
        }
        let told = known.wait_for(|known| !known.is_sought || known.does_meanwhile()).await;
        let told = told.map_err(|_| Problem::unavailable(STOPS))?;
        match (&told.found, &told.trouble) {
            (Some(found), None) => Ok(Arc::clone(found)),
            (_, trouble) => Err(trouble.clone().unwrap_or_else(|| Problem::unavailable(STOPS))),
        }
    }

    fn slot(&self, about: &K) -> Slot<V> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(about) {
            return Arc::clone(slot);
        }
        // Whatever names are asked for: what nobody looks at goes.
        slots.retain(|_, slot| {
            let known = slot.borrow();
            known.is_sought || known.is_recent()
        });
        let now = Instant::now();
        let nothing = Known { found: None, until: now, told_until: now, trouble: None, is_sought: false };
        Arc::clone(slots.entry(about.clone()).or_insert(Arc::new(watch::Sender::new(nothing))))
    }
}

impl<V> Known<V> {
    /// What was found before is told while it is sought; after trouble one waits.
    fn does_meanwhile(&self) -> bool {
        self.is_recent() && self.found.is_some() && self.trouble.is_none()
    }

    fn is_recent(&self) -> bool {
        Instant::now() < self.told_until
    }
}

/// One at a time finds it out; dropped, it has found nothing.
struct Seeking<V> {
    slot: Slot<V>,
    pace: fn(&V) -> Pace,
    began: Instant,
    found: Option<Result<V, Problem>>,
}

impl<V> Seeking<V> {
    fn begin(slot: &Slot<V>, pace: fn(&V) -> Pace) -> Option<Self> {
        let began = Instant::now();
        let mut is_mine = false;
        slot.send_if_modified(|known| {
            is_mine = !known.is_sought && known.until <= began;
            known.is_sought |= is_mine;
            false
        });
        is_mine.then(|| Self { slot: Arc::clone(slot), pace, began, found: None })
    }

    fn end(mut self, found: Result<V, Problem>) {
        self.found = Some(found);
    }
}

impl<V> Drop for Seeking<V> {
    fn drop(&mut self) {
        let (now, took) = (Instant::now(), self.began.elapsed());
        let found = self.found.take().unwrap_or_else(|| Err(Problem::unavailable(STOPS)));
        self.slot.send_modify(|known| {
            known.is_sought = false;
            match found {
                Ok(found) => {
                    let Pace { keep, share } = (self.pace)(&found);
                    let good = keep.max(took * share);
                    (known.until, known.told_until) = (now + good, now + good * (1 + MEANWHILE));
                    (known.found, known.trouble) = (Some(Arc::new(found)), None);
                }
                Err(trouble) => known.trouble = Some(trouble),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: fn(&u8) -> Pace = |_| Pace { keep: Duration::from_secs(5), share: 20 };

    fn slot() -> (Kept<u8, u8>, Slot<u8>) {
        let kept = Kept::new(PACE);
        let slot = kept.slot(&1);
        (kept, slot)
    }

    #[tokio::test(start_paused = true)]
    async fn one_seeks_at_a_time_and_again_when_it_is_no_longer_as_good_as_new() {
        let (_kept, slot) = slot();
        let seeking = Seeking::begin(&slot, PACE).unwrap();
        assert!(Seeking::begin(&slot, PACE).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        seeking.end(Ok(7));
        tokio::time::advance(Duration::from_secs(19)).await;
        assert!(Seeking::begin(&slot, PACE).is_none(), "it took a second, and is good for twenty");
        tokio::time::advance(Duration::from_secs(1)).await;
        let again = Seeking::begin(&slot, PACE).unwrap();
        assert!(slot.borrow().does_meanwhile());
        drop(again);
        assert!(!slot.borrow().does_meanwhile(), "after trouble");
        assert!(Seeking::begin(&slot, PACE).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_looks_at_goes() {
        let (kept, slot) = slot();
        Seeking::begin(&slot, PACE).unwrap().end(Ok(7));
        kept.slot(&2);
        assert_eq!(kept.slots.lock().unwrap().len(), 2);
        tokio::time::advance(Duration::from_secs(15)).await;
        kept.slot(&3);
        assert_eq!(kept.slots.lock().unwrap().keys().copied().collect::<Vec<_>>(), [3]);
    }
}
