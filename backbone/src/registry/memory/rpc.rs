//! The RPCs of one label: the one in flight, and what its latest were about.

use super::{
    id::RpcId,
    label::{Millis, millis},
};
use crate::registry::{Finish, Finished, NotSent, RpcPolicy, Start, Started};
use protocol::{GatewayMac, Version};

/// How many ended RPCs are remembered.
const REMEMBERED: usize = 8;

#[derive(Debug, Default)]
pub(super) struct RpcState {
    /// When all of this is forgotten.
    pub(super) until: Millis,
    /// The RPC in flight, or in quarantine after it.
    lease: Option<Box<Lease>>,
    /// The newest version started.
    fence: Option<Version>,
    /// The latest RPCs, newest first.
    ended: Vec<Ended>,
    /// Recent failures of gateways, newest first.
    failed: Vec<Failure>,
    /// The gateway that answered last.
    via: Option<GatewayMac>,
    /// Those that have echoed a correlation ID for this label.
    echo: Vec<GatewayMac>,
}

#[derive(Debug)]
struct Lease {
    id: RpcId,
    gateway: GatewayMac,
    version: Option<Version>,
    reply_to: Box<str>,
    deadline: Millis,
    held: Millis,
}

#[derive(Debug)]
struct Ended {
    id: RpcId,
    gateway: GatewayMac,
    version: Option<Version>,
    status: Status,
    at: Millis,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    gateway: GatewayMac,
    at: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Done,
    /// For a passing reason.
    Refused,
    TimedOut,
    NotSent,
    AnsweredLate,
}

impl Lease {
    fn end(self, status: Status, at: Millis) -> Ended {
        Ended { id: self.id, gateway: self.gateway, version: self.version, status, at }
    }
}

impl RpcState {
    /// Why this RPC can't be started, if it can't.
    pub(super) fn refuses(&self, id: &RpcId, request: &Start, now: Millis) -> Option<Started> {
        let superseded = is_older(request.version, self.fence);
        if let Some(lease) = &self.lease {
            if lease.id == *id {
                // A redelivered request: the same command again, while there is time.
                return Some(if now > lease.deadline { Started::Expired } else { Started::Send(lease.gateway) });
            }
            if now < lease.held {
                return Some(if superseded { Started::Superseded } else { Started::Busy });
            }
        }
        // A lease that nobody holds any longer counts among those remembered.
        let mut ended = self.ended.iter().take(REMEMBERED - self.lease.iter().len());
        if request.again && ended.any(|ended| ended.id == *id) {
            return Some(Started::Done);
        }
        superseded.then_some(Started::Superseded)
    }

    pub(super) fn asked(&self, id: &RpcId) -> Option<GatewayMac> {
        let in_flight = self.lease.iter().map(|lease| (&lease.id, lease.gateway));
        let sent = self.ended.iter().filter(|ended| ended.status != Status::NotSent);
        let mut rpcs = in_flight.chain(sent.map(|ended| (&ended.id, ended.gateway)));
        rpcs.find(|(known, _)| *known == id).map(|(_, gateway)| gateway)
    }

    pub(super) fn answered_last(&self, gateway: GatewayMac) -> bool {
        self.via == Some(gateway)
    }

    /// How often the gateway failed the label within `avoid_for` ms; a lease that nobody holds any longer timed out.
    pub(super) fn failures(&self, gateway: GatewayMac, avoid_for: Millis, now: Millis) -> usize {
        let timed_out = self.lease.iter().map(|lease| Failure { gateway: lease.gateway, at: lease.deadline });
        let recent = timed_out.chain(self.failed.iter().copied()).filter(|failure| now - failure.at < avoid_for);
        recent.take(REMEMBERED).filter(|failure| failure.gateway == gateway).count()
    }

    pub(super) fn take_lease(
        &mut self,
        id: RpcId,
        gateway: GatewayMac,
        request: &Start,
        policy: &RpcPolicy,
        now: Millis,
    ) {
        if let Some(over) = self.lease.take() {
            let at = over.deadline;
            self.remember(over.end(Status::TimedOut, at));
        }
        let avoid_for = millis(policy.avoid_for);
        self.failed.retain(|failure| now - failure.at < avoid_for);
        self.failed.truncate(REMEMBERED);
        let deadline = now.saturating_add(millis(request.time_left));
        let quarantine = if self.echo.contains(&gateway) { 0 } else { millis(policy.quarantine) };
        let held = deadline.saturating_add(quarantine);
        let (version, reply_to) = (request.version, request.reply_to.as_str().into());
        self.lease = Some(Box::new(Lease { id, gateway, version, reply_to, deadline, held }));
        self.fence = version.or(self.fence);
        self.until = now.saturating_add(millis(policy.keep));
    }

    pub(super) fn finish(&mut self, answer: &Finish, now: Millis) -> Finished {
        let id = answer.id.as_ref().map(RpcId::from);
        let in_flight = self.lease.take_if(|lease| is_meant(id.as_ref(), answer.gateway, &lease.id, lease.gateway));
        let Some(lease) = in_flight else { return self.finish_ended(id.as_ref(), answer) };
        if lease.gateway != answer.gateway {
            self.lease = Some(lease);
            return Finished::WrongGateway;
        }
        self.via = Some(answer.gateway);
        if id.is_some() && !self.echo.contains(&answer.gateway) {
            self.echo.reserve_exact(1);
            self.echo.push(answer.gateway);
        }
        let (rpc, reply_to, version) = (lease.id.clone(), lease.reply_to.clone(), lease.version);
        if now > lease.deadline {
            self.remember(lease.end(Status::AnsweredLate, now));
            return self.late(version, answer);
        }
        let status = if answer.refused_for_now { Status::Refused } else { Status::Done };
        self.remember(lease.end(status, now));
        Finished::Reply { id: rpc.into(), reply_to: reply_to.into() }
    }

    /// An answer to none that is in flight.
    fn finish_ended(&mut self, id: Option<&RpcId>, answer: &Finish) -> Finished {
        let (mut seen, mut elsewhere) = (false, false);
        for at in 0..self.ended.len() {
            let ended = &mut self.ended[at];
            if !is_meant(id, answer.gateway, &ended.id, ended.gateway) {
                continue;
            }
            if ended.gateway != answer.gateway {
                elsewhere = true;
            } else if matches!(ended.status, Status::TimedOut | Status::NotSent) {
                ended.status = Status::AnsweredLate;
                let version = ended.version;
                return self.late(version, answer);
            } else {
                seen = true;
            }
        }
        match seen {
            true => Finished::Duplicate,
            false if elsewhere || id.is_none() && self.lease.is_some() => Finished::WrongGateway,
            false => Finished::Unknown,
        }
    }

    pub(super) fn abort(&mut self, id: &RpcId, why: NotSent, now: Millis) {
        if let Some(lease) = self.lease.take_if(|lease| lease.id == *id) {
            let ended = lease.end(Status::NotSent, now);
            match why {
                NotSent::Failed => self.remember(ended),
                NotSent::NoPlace => self.remember_end(ended),
            }
        }
    }

    fn late(&self, version: Option<Version>, answer: &Finish) -> Finished {
        Finished::Late { gone_back: answer.carried_out && is_older(version, self.fence) }
    }

    fn remember(&mut self, ended: Ended) {
        if ended.status != Status::Done {
            self.failed.insert(0, Failure { gateway: ended.gateway, at: ended.at });
        }
        self.remember_end(ended);
    }

    fn remember_end(&mut self, ended: Ended) {
        self.ended.truncate(REMEMBERED - 1);
        // Most labels have one: an insertion would make room for four.
        self.ended.reserve_exact(1);
        self.ended.insert(0, ended);
    }
}

/// Whether an answer is about an RPC: by its ID, or, where it names none, by who was asked.
fn is_meant(id: Option<&RpcId>, gateway: GatewayMac, rpc: &RpcId, asked: GatewayMac) -> bool {
    id.map_or(asked == gateway, |id| rpc == id)
}

fn is_older(version: Option<Version>, fence: Option<Version>) -> bool {
    version.zip(fence).is_some_and(|(version, fence)| version < fence)
}
