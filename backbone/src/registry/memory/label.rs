//! What is known of one label, and the steps of an RPC over it: the rules of `start.lua`, `finish.lua` and `abort.lua`
//! as functions of the state and the time. The conformance suite holds the two together.

use super::rpc::RpcState;
use crate::registry::{Finish, Finished, NotSent, RpcPolicy, Start, Started};
use protocol::{CorrelationId, GatewayMac, Rssi};

/// Milliseconds since the Unix epoch.
pub(in crate::registry) type Millis = i64;

/// One gateway hears the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) gateway: GatewayMac,
    pub(super) rssi: Rssi,
    pub(super) at: Millis,
}

/// A label's routes and RPCs. Small: there are 50,000 in a store.
#[derive(Debug, Default)]
pub(super) struct Label {
    /// In the order in which the gateways first heard it, which decides between equals.
    routes: Vec<Route>,
    routes_until: Millis,
    /// In millivolts, as a gateway reported it last; 0: none did.
    battery_mv: u16,
    rpc: Option<Box<RpcState>>,
}

impl Label {
    /// Writes a route, and the battery where it is known; all of the label's are then kept until `until`.
    pub(super) fn write_route(&mut self, route: Route, battery_mv: Option<u16>, until: Millis, now: Millis) {
        self.forget(now);
        self.battery_mv = battery_mv.filter(|mv| *mv > 0).unwrap_or(self.battery_mv);
        match self.routes.iter_mut().find(|known| known.gateway == route.gateway) {
            Some(known) => *known = route,
            None => {
                // Few gateways hear a label: no room for four, as a push would make.
                self.routes.reserve_exact(1);
                self.routes.push(route);
            }
        }
        self.routes_until = until;
    }

    pub(super) fn routes(&self, now: Millis) -> &[Route] {
        if now < self.routes_until { &self.routes } else { &[] }
    }

    pub(super) fn battery_mv(&self) -> Option<u16> {
        Some(self.battery_mv).filter(|mv| *mv > 0)
    }

    pub(super) fn start(
        &mut self,
        request: &Start,
        policy: &RpcPolicy,
        offline: &[GatewayMac],
        now: Millis,
    ) -> Started {
        self.forget(now);
        let id = (&request.id).into();
        if let Some(refusal) = self.rpc.as_ref().and_then(|rpc| rpc.refuses(&id, request, now)) {
            return refusal;
        }
        let Some(gateway) = self.best_gateway(policy, offline, now) else { return Started::NoRoute };
        self.rpc.get_or_insert_default().take_lease(id, gateway, request, policy, now);
        Started::Send(gateway)
    }

    pub(super) fn finish(&mut self, answer: &Finish, now: Millis) -> Finished {
        self.forget(now);
        self.rpc.as_mut().map_or(Finished::Unknown, |rpc| rpc.finish(answer, now))
    }

    pub(super) fn abort(&mut self, id: &CorrelationId, why: NotSent, now: Millis) {
        self.forget(now);
        if let Some(rpc) = &mut self.rpc {
            rpc.abort(&id.into(), why, now);
        }
    }

    /// The gateway that an RPC was sent to, where it is in flight or among the latest.
    pub(super) fn asked(&self, id: &CorrelationId) -> Option<GatewayMac> {
        self.rpc.as_ref()?.asked(&id.into())
    }

    /// Drops what was kept long enough; whether anything is left.
    pub(super) fn forget(&mut self, now: Millis) -> bool {
        if now >= self.routes_until {
            self.routes = Vec::new();
            self.battery_mv = 0;
        }
        if self.rpc.as_ref().is_some_and(|rpc| now >= rpc.until) {
            self.rpc = None;
        }
        !self.routes.is_empty() || self.battery_mv > 0 || self.rpc.is_some()
    }

    /// The strongest fresh gateway among those that failed the label least; forgets those not heard from for long.
    fn best_gateway(&mut self, policy: &RpcPolicy, offline: &[GatewayMac], now: Millis) -> Option<GatewayMac> {
        let stale_after = millis(policy.stale_after);
        self.routes.retain(|route| now - route.at <= stale_after.saturating_mul(10));
        let rpc = self.rpc.as_deref();
        let mut best = None;
        for route in &self.routes {
            if now - route.at > stale_after || offline.contains(&route.gateway) {
                continue;
            }
            let advantage =
                if rpc.is_some_and(|rpc| rpc.answered_last(route.gateway)) { policy.hysteresis_db } else { 0 };
            let rssi = i32::from(route.rssi.dbm()) + i32::from(advantage);
            let failures = rpc.map_or(0, |rpc| rpc.failures(route.gateway, millis(policy.avoid_for), now));
            // The first of equals stays.
            if best.is_none_or(|(fewest, strongest, _)| failures < fewest || failures == fewest && rssi > strongest) {
                best = Some((failures, rssi, route.gateway));
            }
        }
        best.map(|(_, _, gateway)| gateway)
    }
}

pub(in crate::registry) fn millis(duration: std::time::Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NEAR: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);
    const FAR: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 2]);
    const NOW: Millis = 1_000_000_000;
    const SECOND: Millis = 1000;

    fn policy() -> RpcPolicy {
        RpcPolicy { keep: Duration::from_secs(100), ..RpcPolicy::default() }
    }

    fn heard() -> Label {
        let mut label = Label::default();
        for (gateway, dbm) in [(NEAR, -50), (FAR, -70)] {
            hear(&mut label, gateway, dbm, NOW);
        }
        label
    }

    fn hear(label: &mut Label, gateway: GatewayMac, dbm: i64, at: Millis) {
        let route = Route { gateway, rssi: Rssi::try_from(dbm).unwrap(), at };
        label.write_route(route, None, NOW + 3600 * SECOND, NOW);
    }

    fn start(label: &mut Label, id: &str, version: u64, now: Millis) -> Started {
        let request = Start {
            id: id.parse().unwrap(),
            label: protocol::LabelMac::from_octets([0; 6]),
            version: version.try_into().ok(),
            reply_to: "to".to_owned(),
            time_left: Duration::from_secs(10),
            again: true,
        };
        label.start(&request, &policy(), &[], now)
    }

    fn answer(label: &mut Label, gateway: GatewayMac, id: Option<&str>, now: Millis) -> Finished {
        let id = id.map(|id| id.parse().unwrap());
        let label_mac = protocol::LabelMac::from_octets([0; 6]);
        let finish = Finish { gateway, label: label_mac, id, carried_out: true, refused_for_now: false };
        label.finish(&finish, now)
    }

    fn reply(id: &str) -> Finished {
        Finished::Reply { id: id.parse().unwrap(), reply_to: "to".to_owned() }
    }

    #[test]
    fn an_answer_counts_up_to_its_deadline_and_not_after() {
        for (at, expected) in [(10 * SECOND, reply("a")), (10 * SECOND + 1, Finished::Late { gone_back: false })] {
            let mut label = heard();
            assert_eq!(start(&mut label, "a", 1, NOW), Started::Send(NEAR));
            assert_eq!(answer(&mut label, NEAR, Some("a"), NOW + at), expected);
            assert_eq!(answer(&mut label, NEAR, Some("a"), NOW + at), Finished::Duplicate);
        }
    }

    #[test]
    fn a_quarantine_holds_the_label_where_the_gateway_never_echoed() {
        let mut label = heard();
        start(&mut label, "a", 1, NOW);
        assert_eq!(start(&mut label, "b", 2, NOW + 25 * SECOND - 1), Started::Busy, "10 s and 15 s more");
        assert_eq!(start(&mut label, "b", 2, NOW + 25 * SECOND), Started::Send(FAR), "NEAR has failed");
        answer(&mut label, FAR, Some("b"), NOW + 26 * SECOND);
        start(&mut label, "c", 3, NOW + 27 * SECOND);
        assert_eq!(start(&mut label, "d", 3, NOW + 37 * SECOND), Started::Send(NEAR), "FAR has echoed");
        assert_eq!(answer(&mut label, FAR, None, NOW + 38 * SECOND), Finished::Late { gone_back: false });
        assert_eq!(answer(&mut label, NEAR, Some("a"), NOW + 38 * SECOND), Finished::Late { gone_back: true });
    }

    #[test]
    fn a_start_that_came_to_nothing_may_be_made_anew() {
        let mut label = heard();
        let id: CorrelationId = "a".parse().unwrap();
        assert_eq!(start(&mut label, "a", 1, NOW), Started::Send(NEAR));
        label.abort(&id, NotSent::NoPlace, NOW);
        assert_eq!(start(&mut label, "a", 1, NOW), Started::Done, "a request that was delivered again");
        let request = Start {
            id,
            label: protocol::LabelMac::from_octets([0; 6]),
            version: 1_u64.try_into().ok(),
            reply_to: "to".to_owned(),
            time_left: Duration::from_secs(10),
            again: false,
        };
        assert_eq!(label.start(&request, &policy(), &[NEAR], NOW), Started::Send(FAR), "by another gateway");
        label.abort(&request.id, NotSent::NoPlace, NOW);
        assert_eq!(label.start(&request, &policy(), &[NEAR, FAR], NOW), Started::NoRoute);
    }

    #[test]
    fn failures_and_routes_grow_old() {
        let mut label = heard();
        start(&mut label, "a", 1, NOW);
        label.abort(&"a".parse().unwrap(), NotSent::Failed, NOW);
        assert_eq!(start(&mut label, "b", 1, NOW + 59 * SECOND), Started::Send(FAR));
        label.abort(&"b".parse().unwrap(), NotSent::Failed, NOW + 59 * SECOND);
        assert_eq!(start(&mut label, "c", 1, NOW + 60 * SECOND), Started::Send(NEAR), "long ago");
        label.abort(&"c".parse().unwrap(), NotSent::Failed, NOW + 60 * SECOND);
        assert_eq!(start(&mut label, "d", 1, NOW + 60 * SECOND + 1), Started::NoRoute, "stale");
        assert_eq!(label.routes(NOW + 61 * SECOND).len(), 2);
        start(&mut label, "d", 1, NOW + 600 * SECOND + 1);
        assert_eq!(label.routes(NOW + 601 * SECOND), []);
    }

    #[test]
    fn what_was_kept_long_enough_is_forgotten() {
        let mut label = heard();
        start(&mut label, "a", 5, NOW);
        assert_eq!(start(&mut label, "b", 4, NOW + 99 * SECOND), Started::Superseded);
        hear(&mut label, NEAR, -50, NOW + 100 * SECOND);
        assert_eq!(start(&mut label, "c", 4, NOW + 100 * SECOND), Started::Send(NEAR), "the fence is forgotten");
        assert!(label.forget(NOW + 300 * SECOND), "the routes are still kept");
        assert!(!label.forget(NOW + 3600 * SECOND));
    }
}
