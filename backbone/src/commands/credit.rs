//! Places in gateways' windows that are taken without asking first.
//!
//! Asking costs a round trip to Redis before each command. A gateway that was seen to have many places left takes some
//! more unasked; they are counted soon after, those of one gateway together. A part of what is left, so that a few
//! replicas that do the same leave each other room, and for a short time, since others use the gateway, too.

use crate::registry::{Acquire, Ask, Claim, Registry, WindowPolicy};
use protocol::GatewayMac;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// One in so many of the places left may be taken unasked before they are counted.
const PART: u32 = 4;
/// What was seen holds for so long.
const FRESH: Duration = Duration::from_secs(1);
/// How long commands are collected before they are counted.
const LINGER: Duration = Duration::from_millis(20);
/// So many that are not counted yet are held at most; what comes then asks first.
const MOST: usize = 4096;

/// What is known of gateways' windows. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Credit {
    gateways: Arc<Mutex<HashMap<GatewayMac, Known>>>,
    sent: mpsc::Sender<(GatewayMac, Ask)>,
}

#[derive(Debug)]
struct Known {
    /// How many places it had left.
    left: u32,
    /// How many of them were taken and are not counted yet.
    uncounted: u32,
    until: Instant,
}

impl Credit {
    /// The second part must be given to [`count`].
    pub(super) fn new() -> (Self, mpsc::Receiver<(GatewayMac, Ask)>) {
        let (sent, uncounted) = mpsc::channel(MOST);
        (Self { gateways: Arc::default(), sent }, uncounted)
    }

    /// Takes a place unasked, if the gateway has many left.
    pub(super) fn take(&self, gateway: GatewayMac, ask: impl FnOnce() -> Ask) -> bool {
        let mut gateways = self.lock();
        let Some(known) = gateways.get_mut(&gateway).filter(|known| Instant::now() < known.until) else { return false };
        if known.uncounted >= known.left / PART {
            return false;
        }
        let Ok(room) = self.sent.try_reserve() else { return false };
        known.uncounted += 1;
        room.send((gateway, Ask { claim: Claim::Sent, ..ask() }));
        true
    }

    /// A gateway was seen to have so many places left.
    pub(super) fn learn(&self, gateway: GatewayMac, left: u32) {
        let until = Instant::now() + FRESH;
        let mut gateways = self.lock();
        let known = gateways.entry(gateway).or_insert(Known { left, uncounted: 0, until });
        (known.left, known.until) = (left, until);
    }

    fn counted(&self, gateway: GatewayMac, places: usize) {
        if let Some(known) = self.lock().get_mut(&gateway) {
            known.uncounted = known.uncounted.saturating_sub(u32::try_from(places).unwrap_or(u32::MAX));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GatewayMac, Known>> {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts what was sent unasked, until closed and all is counted.
pub(super) async fn count(
    credit: Credit,
    mut uncounted: mpsc::Receiver<(GatewayMac, Ask)>,
    registry: Registry,
    policy: WindowPolicy,
    closed: CancellationToken,
) {
    loop {
        let mut sent = Vec::new();
        tokio::select! {
            many = uncounted.recv_many(&mut sent, MOST) => if many == 0 {
                break;
            },
            () = closed.cancelled(), if !uncounted.is_closed() => {
                uncounted.close();
                continue;
            }
        }
        tokio::time::sleep(LINGER).await;
        while let Ok(more) = uncounted.try_recv() {
            sent.push(more);
        }
        let mut by_gateway: BTreeMap<GatewayMac, Vec<Ask>> = BTreeMap::new();
        for (gateway, ask) in sent {
            by_gateway.entry(gateway).or_default().push(ask);
        }
        let asks: Vec<_> = by_gateway.into_iter().map(|(gateway, rpcs)| Acquire { gateway, rpcs }).collect();
        let acquired = registry.acquire(&asks, &policy).await;
        asks.iter().for_each(|asked| credit.counted(asked.gateway, asked.rpcs.len()));
        match acquired {
            Ok(acquired) => {
                let known = asks.iter().zip(acquired);
                known.for_each(|(asked, acquired)| credit.learn(asked.gateway, acquired.left));
            }
            // Redis is a cache: what it can't count was sent all the same.
            Err(error) => tracing::debug!("not counted in gateways' windows: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::MemoryRegistry;
    use protocol::{CorrelationId, Turn};

    const GATEWAY: GatewayMac = GatewayMac::from_octets([0, 0, 0, 0, 0, 1]);

    fn ask(number: usize) -> Ask {
        let id: CorrelationId = format!("id-{number}").parse().unwrap();
        Ask { id, claim: Claim::Asks(Turn::Newcomer), time_left: Duration::from_secs(15) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_what_is_left_is_taken_unasked_and_counted() {
        let registry = Registry::connect(&MemoryRegistry::new().into()).unwrap();
        let policy = WindowPolicy { initial: 17, ..WindowPolicy::default() };
        let (credit, uncounted) = Credit::new();
        assert!(!credit.take(GATEWAY, || ask(0)), "nothing is known");
        credit.learn(GATEWAY, 16);
        let taken = (0..16).filter(|&number| credit.take(GATEWAY, || ask(number))).count();
        assert_eq!(taken, 4);
        let closed = CancellationToken::new();
        closed.cancel();
        count(credit.clone(), uncounted, registry.clone(), policy.clone(), closed).await;
        let window = registry.windows(&[GATEWAY], &policy).await.unwrap().remove(0).unwrap();
        assert_eq!(window.in_flight, 4);
        assert!(!credit.take(GATEWAY, || ask(20)), "nobody would count it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_is_soon_too_old() {
        let (credit, _uncounted) = Credit::new();
        credit.learn(GATEWAY, 100);
        assert!(credit.take(GATEWAY, || ask(0)));
        tokio::time::advance(FRESH).await;
        assert!(!credit.take(GATEWAY, || ask(1)));
    }
}
