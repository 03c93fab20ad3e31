//! From an RPC that was started to one that has its place in a gateway's window.

use super::{Dispatcher, Request, RoundTrip};
use crate::registry::{Acquire, Admission, Ask, Claim, NotSent, Start, Started};
use protocol::{GatewayMac, LabelMac};
use std::{collections::BTreeMap, time::Duration};

/// What an RPC comes to, once its label has a route or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It has its place: the command goes to this gateway.
    Send(GatewayMac),
    /// The gateway's window is full; the label should come back after so long.
    Full(Duration),
    /// Each gateway that hears the label keeps failing; the first of them may be probed after so long.
    Failing(Duration),
    /// It was not to be sent in the first place.
    Not(Started),
}

impl Dispatcher {
    /// Takes places in the windows of the gateways that the labels' routes lead to: unasked where many are left, else
    /// by one more round trip, since labels and gateways lie in different hash slots. The leases of those that get none
    /// are given back. The round trip ends when what is the same for all is asked.
    pub(super) async fn admit(&self, requests: &[Request], started: Vec<Started>, trip: RoundTrip) -> Vec<Admitted> {
        let mut by_gateway: BTreeMap<GatewayMac, Vec<usize>> = BTreeMap::new();
        let mut admitted = Vec::with_capacity(started.len());
        for (index, started) in started.into_iter().enumerate() {
            admitted.push(match started {
                Started::Send(gateway) if self.credit.take(gateway, || ask(&requests[index])) => {
                    Admitted::Send(gateway)
                }
                started => {
                    if let Started::Send(gateway) = started {
                        by_gateway.entry(gateway).or_default().push(index);
                    }
                    Admitted::Not(started)
                }
            });
        }
        if by_gateway.is_empty() {
            return admitted;
        }
        let asks = by_gateway.iter().map(|(&gateway, indexes)| Acquire {
            gateway,
            rpcs: indexes.iter().map(|&index| ask(&requests[index])).collect(),
        });
        let admissions: Vec<_> = match self.registry.acquire(&asks.collect::<Vec<_>>(), &self.window).await {
            Ok(acquired) => {
                by_gateway.keys().zip(&acquired).for_each(|(gateway, got)| self.credit.learn(*gateway, got.left));
                acquired.into_iter().map(|acquired| acquired.admissions).collect()
            }
            Err(error) => {
                // Redis is a cache: what it can't count is sent all the same.
                self.counters.registry_errors.inc();
                tracing::debug!("sending without places in gateways' windows: {error}");
                by_gateway.values().map(|indexes| vec![Admission::Admitted; indexes.len()]).collect()
            }
        };
        drop(trip);
        for ((gateway, indexes), admissions) in by_gateway.into_iter().zip(admissions) {
            for (index, admission) in indexes.into_iter().zip(admissions) {
                admitted[index] = match admission {
                    Admission::Admitted => Admitted::Send(gateway),
                    Admission::Full { retry_after } => Admitted::Full(retry_after),
                    Admission::Failing { retry_after } => self.by_another(&requests[index], gateway, retry_after).await,
                };
            }
        }
        self.put_back(requests, &admitted).await;
        admitted
    }

    /// Tries the other gateways that hear the label, the best first.
    async fn by_another(&self, request: &Request, failing: GatewayMac, retry_after: Duration) -> Admitted {
        let mut passed_over = self.offline();
        passed_over.push(failing);
        let mut soonest = retry_after;
        loop {
            let Some(start) = again(request) else { return Admitted::Not(Started::Expired) };
            self.give_back(&[(start.label, start.id.clone())]).await;
            let started = self.registry.start(std::slice::from_ref(&start), &self.policy, &passed_over).await;
            let gateway = match started.ok().and_then(|started| started.into_iter().next()) {
                Some(Started::Send(gateway)) => gateway,
                Some(Started::NoRoute) | None => return Admitted::Failing(soonest),
                Some(other) => return Admitted::Not(other),
            };
            let asked = [Acquire { gateway, rpcs: vec![ask(request)] }];
            let acquired = self.registry.acquire(&asked, &self.window).await;
            let admission = acquired.ok().and_then(|mut all| all.pop()?.admissions.pop());
            match admission {
                Some(Admission::Admitted) | None => return Admitted::Send(gateway),
                Some(Admission::Full { retry_after }) => return Admitted::Full(retry_after),
                Some(Admission::Failing { retry_after }) => {
                    soonest = soonest.min(retry_after);
                    passed_over.push(gateway);
                }
            }
        }
    }

    /// Frees the labels of those that found no place: another RPC, or the same label's next one, may start.
    async fn put_back(&self, requests: &[Request], admitted: &[Admitted]) {
        let placeless = requests.iter().zip(admitted);
        let placeless = placeless.filter(|(_, admitted)| matches!(admitted, Admitted::Full(_) | Admitted::Failing(_)));
        let labels: Vec<_> = placeless.map(|(request, _)| (request.head.label, request.head.id.clone())).collect();
        if !labels.is_empty() {
            self.give_back(&labels).await;
        }
    }

    async fn give_back(&self, labels: &[(LabelMac, protocol::CorrelationId)]) {
        if let Err(error) = self.registry.abort(labels, NotSent::NoPlace).await {
            tracing::debug!("the leases end by themselves: {error}");
        }
    }
}

fn ask(request: &Request) -> Ask {
    let time_left = request.time_left().unwrap_or_default();
    Ask { id: request.head.id.clone(), claim: Claim::Asks(request.turn), time_left }
}

/// Its first start has ended without a command: this one counts as new.
fn again(request: &Request) -> Option<Start> {
    Some(Start {
        id: request.head.id.clone(),
        label: request.head.label,
        version: request.head.version,
        reply_to: request.reply_to.clone(),
        time_left: request.time_left()?,
        again: false,
    })
}
