//! A backbone in miniature: two workers, a ledger, a registry, and two gateways that are not to be relied on, one step
//! after the other in a time of its own. It is as simple as can be with the rules of docs/ARCHITECTURE.md in it, so that
//! each can be left out.

use crate::{
    gateway::{Gateway, MUTE, Sent},
    rules::{Rule, Rules},
    wire::{Agenda, RPC_TIMEOUT_MS, TASK_TIMEOUT_MS, gateway_mac, label_mac, rpc_id, task_id, time},
};
use faults::history::{Asked, Credit, FaultSpan, History, LabelEnd};
use protocol::{Outcome, ResultMessage, Version};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

const LABELS: usize = 8;
const TASKS: usize = 240;
/// Tasks come in this time, and all has ended in that.
const BUSY_MS: u64 = 60_000;
const END_MS: u64 = 150_000;
const RETRY_MS: u64 = 300;
const BUSY_RETRY_MS: u64 = 150;
/// Between recording, publishing and acknowledging.
const PAUSE_MS: u64 = 120;
/// How many RPCs are in flight where one pool of permits serves all.
const SHARED_PERMITS: usize = 1;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Enqueue(usize),
    Deliver(usize),
    Attempt(usize, u32),
    Ping(usize),
    Request(usize),
    Timeout(usize),
    Arrive(usize),
    Write(usize, bool),
    Answer(usize),
    Forge,
    Publish(usize, u32),
    Acknowledge(usize, u32),
    Crash(usize),
    Forget,
    Leave(usize),
    Return(usize),
}

/// What a worker does for: a task, a repair of its own, or an asker who has no task.
#[derive(Debug)]
struct Job {
    label: usize,
    /// None: a ping.
    version: Option<u64>,
    repair: bool,
    began: Option<u64>,
    attempts: u32,
    worker: usize,
    /// Goes up with each crash that it was in hand at.
    delivery: u32,
    acknowledged: bool,
}

pub(crate) struct Rpc {
    job: usize,
    delivery: u32,
    pub(crate) label: usize,
    pub(crate) version: Option<u64>,
    pub(crate) gateway: usize,
    pub(crate) began: u64,
    waits: bool,
    ended: bool,
}

struct Lease {
    rpc: usize,
    deadline: u64,
    held: u64,
}

#[derive(Default)]
struct Label {
    desired: u64,
    shown: u64,
    lease: Option<Lease>,
    fence: u64,
    latest: Option<usize>,
}

pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) random: fastrand::Rng,
    pub(crate) agenda: Agenda<Step>,
    pub(crate) history: History,
    pub(crate) rpcs: Vec<Rpc>,
    pub(crate) gateways: [Gateway; 2],
    jobs: Vec<Job>,
    labels: Vec<Label>,
    outcomes: HashMap<usize, ResultMessage>,
    in_flight: usize,
    line: VecDeque<(usize, u32)>,
    /// Gateways lose and delay nothing until then.
    pub(crate) kind_until: u64,
    /// Redis forgets in this world; in others, a gateway can't echo and requests are delivered again.
    forgetful: bool,
}

impl Model {
    pub(crate) fn new(rules: Rules, seed: u64) -> Self {
        let forgetful = seed.is_multiple_of(2);
        let mut model = Self {
            rules,
            random: fastrand::Rng::with_seed(seed),
            agenda: Agenda::new(),
            history: History::default(),
            rpcs: Vec::new(),
            gateways: [Gateway::new(true), Gateway::new(forgetful)],
            jobs: Vec::new(),
            labels: (0..LABELS).map(|_| Label::default()).collect(),
            outcomes: HashMap::new(),
            in_flight: 0,
            line: VecDeque::new(),
            kind_until: 0,
            forgetful,
        };
        model.plan();
        model
    }

    /// Which gateways hear a label.
    pub(crate) fn hears(label: usize, gateway: usize) -> bool {
        label >= 6 || label % 2 == gateway
    }

    fn plan(&mut self) {
        for task in 0..TASKS {
            let label = self.random.usize(..LABELS);
            // They grow, but are not always asked for in their order.
            let version = (task as u64 + self.random.u64(..6)) * 1_000 + task as u64 + 1;
            self.add_job(label, Some(version), false);
            let at = task as u64 * BUSY_MS / TASKS as u64 + self.random.u64(..2_000);
            self.agenda.later(at, Step::Enqueue(task));
        }
        for second in 0..BUSY_MS / 1_000 {
            let label = self.random.usize(..LABELS);
            self.agenda.later(second * 1_000 + 37, Step::Ping(label));
            self.agenda.later(second * 1_000 + self.random.u64(..1_000), Step::Forge);
        }
        for fault in 0..BUSY_MS / 12_000 {
            let at = fault * 12_000 + self.random.u64(..1_000);
            self.agenda.later(at, Step::Crash((fault % 2) as usize));
            self.agenda.later(at + 2_000, Step::Leave((fault % 2) as usize));
            self.agenda.later(at + 6_000, Step::Return((fault % 2) as usize));
            if self.forgetful {
                self.agenda.later(at + 11_000, Step::Forget);
            }
        }
    }

    fn add_job(&mut self, label: usize, version: Option<u64>, repair: bool) -> usize {
        let (began, attempts, worker, delivery, acknowledged) = (None, 0, 0, 0, false);
        self.jobs.push(Job { label, version, repair, began, attempts, worker, delivery, acknowledged });
        self.jobs.len() - 1
    }

    /// Lets it all happen, and tells what did.
    pub(crate) fn run(mut self) -> History {
        while let Some(step) = self.agenda.next(END_MS) {
            self.step(step);
        }
        let version = |version: u64| Version::try_from(version).ok().filter(|version| version.get() > 0);
        for (number, label) in self.labels.iter().enumerate() {
            let mac = label_mac(number);
            let last = self.history.commands.iter().rfind(|write| write.label == mac && write.version.is_some());
            let shown = last.and_then(|write| write.version);
            let (desired, recorded) = (version(label.desired), version(label.shown));
            self.history.labels.push(LabelEnd { label: mac, desired, recorded, shown });
        }
        self.history
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enqueue(task) => self.enqueue(task),
            Step::Deliver(job) => self.deliver(job),
            Step::Attempt(job, delivery) if self.jobs[job].delivery == delivery => self.attempt(job),
            Step::Ping(label) => {
                let job = self.add_job(label, None, false);
                self.attempt(job);
            }
            Step::Request(rpc) => self.request(rpc),
            Step::Timeout(rpc) => self.time_out(rpc),
            Step::Arrive(rpc) => self.arrive(rpc),
            Step::Write(rpc, retained) => self.write(rpc, retained),
            Step::Answer(rpc) => self.answer(self.rpcs[rpc].gateway, self.rpcs[rpc].label, Some(rpc)),
            Step::Forge => {
                let (gateway, label) = (self.random.usize(..2), self.random.usize(..LABELS));
                // What it hears it may be asked about, and then no one can tell.
                if !Self::hears(label, gateway) {
                    self.answer(gateway, label, None);
                }
            }
            Step::Publish(job, delivery) if self.jobs[job].delivery == delivery => {
                self.history.published.extend(self.outcomes.get(&job).cloned());
            }
            Step::Acknowledge(job, delivery) if self.jobs[job].delivery == delivery => {
                self.jobs[job].acknowledged = true;
            }
            Step::Attempt(..) | Step::Publish(..) | Step::Acknowledge(..) => {} // the worker is dead
            Step::Crash(worker) => self.crash(worker),
            Step::Forget => self.forget(),
            Step::Leave(gateway) => self.leave(gateway),
            Step::Return(gateway) => self.come_back(gateway),
        }
    }

    fn enqueue(&mut self, task: usize) {
        let Job { label, version, .. } = self.jobs[task];
        let asked = Asked {
            task: task_id(task),
            label: label_mac(label),
            version: Version::try_from(version.unwrap()).unwrap(),
            confirmed: Some(time(self.agenda.now)),
        };
        self.history.asked.push(asked);
        self.agenda.later(1, Step::Deliver(task));
    }

    fn deliver(&mut self, job: usize) {
        let now = self.agenda.now;
        self.jobs[job].worker = self.random.usize(..2);
        self.jobs[job].began.get_or_insert(now);
        self.jobs[job].acknowledged = !self.rules.hold(Rule::AcknowledgeLast);
        if self.rules.hold(Rule::OneOutcome) && self.outcomes.contains_key(&job) {
            if self.rules.hold(Rule::PublishAgain) {
                self.agenda.later(1, Step::Publish(job, self.jobs[job].delivery));
            }
            self.agenda.later(2, Step::Acknowledge(job, self.jobs[job].delivery));
            return;
        }
        let Job { label, version, repair, .. } = self.jobs[job];
        let (version, label) = (version.unwrap(), &mut self.labels[label]);
        if self.rules.hold(Rule::CompareVersions) && !repair {
            label.desired = label.desired.max(version);
            if label.desired > version {
                return self.settle(job, Outcome::Superseded, None);
            }
            if label.shown == version {
                return self.settle(job, Outcome::Shown, None);
            }
        }
        label.desired = label.desired.max(version);
        self.attempt(job);
    }

    fn attempt(&mut self, job: usize) {
        let now = self.agenda.now;
        let Job { label, version, began, repair, delivery, .. } = self.jobs[job];
        if let (Some(version), Some(began)) = (version, began) {
            if self.rules.hold(Rule::Deadline) && now > began + TASK_TIMEOUT_MS {
                return self.settle(job, Outcome::Unreachable, None);
            }
            let newer = self.labels[label].desired > version && self.rules.hold(Rule::CompareVersions);
            if newer {
                return if repair {
                    self.jobs[job].acknowledged = true
                } else {
                    self.settle(job, Outcome::Superseded, None)
                };
            }
        }
        if !self.rules.hold(Rule::NobodyHoldsUp) {
            if self.in_flight >= SHARED_PERMITS {
                return self.line.push_back((job, delivery));
            }
            self.in_flight += 1;
        }
        self.jobs[job].attempts += 1;
        let hearing: Vec<_> = (0..2).filter(|gateway| Self::hears(label, *gateway)).collect();
        let gateway = hearing[self.random.usize(..hearing.len())];
        self.rpcs.push(Rpc { job, delivery, label, version, gateway, began: now, waits: true, ended: false });
        let rpc = self.rpcs.len() - 1;
        self.labels[label].latest = Some(rpc);
        let (delay, again) = (1 + self.random.u64(..5), 20 + self.random.u64(..300));
        self.agenda.later(delay, Step::Request(rpc));
        // A gateway that names only the label would answer twice, and nobody could tell the second from the next RPC's.
        if !self.forgetful && self.gateways[gateway].echoes && self.random.u8(..10) == 0 {
            self.agenda.later(again, Step::Request(rpc));
        }
        self.agenda.later(RPC_TIMEOUT_MS, Step::Timeout(rpc));
    }

    /// The forward router.
    fn request(&mut self, rpc: usize) {
        let now = self.agenda.now;
        let Rpc { label, version, gateway, began, ended, .. } = self.rpcs[rpc];
        let state = &mut self.labels[label];
        if let Some(version) = version.filter(|_| self.rules.hold(Rule::CompareVersions)) {
            if version < state.fence {
                return self.refuse(rpc, true);
            }
            state.fence = state.fence.max(version);
        }
        if self.rules.hold(Rule::Lease) {
            let taken = state.lease.as_ref().is_some_and(|lease| lease.rpc != rpc && now < lease.held);
            if taken {
                return self.refuse(rpc, !self.rules.hold(Rule::SupersededByNewer));
            }
            if ended || now > began + RPC_TIMEOUT_MS {
                return;
            }
            let deadline = began + RPC_TIMEOUT_MS;
            let quarantine = !self.gateways[gateway].echoes && self.rules.hold(Rule::Quarantine);
            let held = if quarantine { deadline + RPC_TIMEOUT_MS } else { deadline };
            state.lease = Some(Lease { rpc, deadline, held });
        }
        self.send(rpc);
    }

    /// The label is busy, or has a newer version.
    fn refuse(&mut self, rpc: usize, superseded: bool) {
        let Rpc { job, delivery, version, .. } = self.rpcs[rpc];
        if !self.take(rpc) {
            return;
        }
        if self.jobs[job].repair && superseded {
            self.jobs[job].acknowledged = true;
        } else if superseded && version.is_some() {
            self.settle(job, Outcome::Superseded, None);
        } else if version.is_some() {
            self.jobs[job].attempts -= 1;
            self.agenda.later(BUSY_RETRY_MS, Step::Attempt(job, delivery));
        }
    }

    /// Whether somebody waits for this RPC; from now on nobody does.
    fn take(&mut self, rpc: usize) -> bool {
        let Rpc { job, delivery, waits, .. } = self.rpcs[rpc];
        self.rpcs[rpc].waits = false;
        if waits && !self.rules.hold(Rule::NobodyHoldsUp) {
            self.in_flight -= 1;
            if let Some((job, delivery)) = self.line.pop_front() {
                self.agenda.later(0, Step::Attempt(job, delivery));
            }
        }
        waits && self.jobs[job].delivery == delivery
    }

    fn time_out(&mut self, rpc: usize) {
        let Rpc { job, delivery, version, .. } = self.rpcs[rpc];
        if self.take(rpc) && version.is_some() {
            self.agenda.later(RETRY_MS, Step::Attempt(job, delivery));
        }
    }

    /// The back router. An answer without an RPC is made up, by a gateway that names only the label.
    fn answer(&mut self, gateway: usize, label: usize, rpc: Option<usize>) {
        let id = rpc.filter(|_| self.gateways[gateway].echoes);
        if !self.rules.hold(Rule::Lease) {
            return self.credit(self.labels[label].latest, gateway);
        }
        let Some(lease) = &self.labels[label].lease else { return self.late(rpc) };
        let (holder, in_time) = (lease.rpc, self.agenda.now <= lease.deadline);
        let right_gateway = self.rpcs[holder].gateway == gateway || !self.rules.hold(Rule::TopicSaysWho);
        if !right_gateway || id.is_some_and(|id| id != holder) {
            return self.late(rpc);
        }
        self.labels[label].lease = None;
        self.rpcs[holder].ended = true;
        if in_time { self.credit(Some(holder), gateway) } else { self.late(Some(holder)) }
    }

    fn credit(&mut self, rpc: Option<usize>, gateway: usize) {
        let Some(rpc) = rpc else { return };
        if !self.take(rpc) {
            return;
        }
        let Rpc { job, label, version, began, .. } = self.rpcs[rpc];
        if version.is_some() {
            return self.settle(job, Outcome::Shown, Some(gateway));
        }
        let credit = Credit { rpc: rpc_id(rpc, began), label: label_mac(label), at: time(self.agenda.now) };
        self.history.credits.push(credit);
    }

    /// An answer that is credited to nobody: if it is that of an older version, the label may have gone back.
    fn late(&mut self, rpc: Option<usize>) {
        let Some(Rpc { label, version: Some(version), waits: false, .. }) = rpc.map(|rpc| &self.rpcs[rpc]) else {
            return;
        };
        if *version < self.labels[*label].desired {
            self.repair(*label);
        }
    }

    fn repair(&mut self, label: usize) {
        if self.rules.hold(Rule::Repair) {
            let desired = self.labels[label].desired;
            let job = self.add_job(label, Some(desired), true);
            self.agenda.later(5, Step::Deliver(job));
        }
    }

    fn settle(&mut self, job: usize, outcome: Outcome, gateway: Option<usize>) {
        let Job { label, version, repair, began, attempts, delivery, .. } = self.jobs[job];
        let version = version.unwrap();
        if outcome == Outcome::Shown {
            if version < self.labels[label].shown {
                self.repair(label);
            }
            self.labels[label].shown = self.labels[label].shown.max(version);
        }
        if repair {
            self.jobs[job].acknowledged = true;
            return;
        }
        let result = ResultMessage {
            task_id: task_id(job),
            store: "sp-014".parse().unwrap(),
            sku: None,
            label: label_mac(label),
            version: Version::try_from(version).ok(),
            outcome,
            reason: None,
            gateway: gateway.map(gateway_mac),
            attempts: if gateway.is_some() || outcome == Outcome::Unreachable { attempts } else { 0 },
            latency_ms: self.agenda.now - began.unwrap_or(self.agenda.now),
            at: time(self.agenda.now),
            batch: None,
        };
        self.history.recorded.push(result.clone());
        self.outcomes.insert(job, result);
        self.agenda.later(PAUSE_MS, Step::Publish(job, delivery));
        self.agenda.later(2 * PAUSE_MS, Step::Acknowledge(job, delivery));
    }

    /// A worker is killed: what it had not acknowledged is delivered again.
    fn crash(&mut self, worker: usize) {
        self.fault("a worker is killed", 0, false, None);
        for job in 0..self.jobs.len() {
            let Job { worker: holder, began, acknowledged, version, .. } = self.jobs[job];
            if holder == worker && began.is_some() && version.is_some() {
                self.jobs[job].delivery += 1;
                if !acknowledged {
                    self.agenda.later(30, Step::Deliver(job));
                }
            }
        }
    }

    fn forget(&mut self) {
        self.fault("Redis loses everything", 0, true, None);
        for label in &mut self.labels {
            (label.lease, label.fence) = (None, 0);
        }
    }

    fn leave(&mut self, gateway: usize) {
        self.gateways[gateway].online = false;
        // Somebody must go on undisturbed, or nobody could tell that he is held up.
        self.kind_until = self.agenda.now + 8_000;
        let spared = (0..LABELS).filter(|label| !Self::hears(*label, gateway) && *label != MUTE).map(label_mac);
        self.fault("a gateway is away", 4_000, false, Some(spared.collect()));
    }

    fn fault(&mut self, name: &str, lasts: u64, forgets: bool, spares: Option<BTreeSet<protocol::LabelMac>>) {
        let (begin, end) = (time(self.agenda.now), time(self.agenda.now + lasts));
        let spares = spares.map(Arc::new);
        let fault = FaultSpan { name: name.to_owned(), begin, end, forgets, holds_commands: false, spares };
        self.history.faults.push(fault);
    }

    fn come_back(&mut self, gateway: usize) {
        self.gateways[gateway].online = true;
        for rpc in std::mem::take(&mut self.gateways[gateway].waiting) {
            self.agenda.later(1, Step::Arrive(rpc));
        }
        if let Some(Sent(rpc)) = self.gateways[gateway].retained {
            self.agenda.later(2, Step::Write(rpc, true));
        }
    }
}
