//! A gateway at work: takes commands, writes to labels, answers.

use crate::{
    config::Echo,
    faults::{Fate, INVALID_PARAMETERS},
    metrics::{Answered, Fared},
    store::{Gateway, Store},
    write::{Timeline, Writes},
};
use backbone::mqtt::gateway::GatewayCommand;
use protocol::{Answer, Command, LabelMac, Refusal};
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, LogNormal};
use std::{collections::VecDeque, sync::Arc, sync::atomic::Ordering, time::Duration};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Commands that a hanging gateway still takes; what comes beyond is lost.
const MAX_HELD: usize = 10_000;
/// Commands and answers that a fault delays.
const MAX_LATE: usize = 10_000;

struct Player {
    store: Arc<Store>,
    index: usize,
    random: StdRng,
    write_time: Option<LogNormal<f64>>,
    writes: Writes<Job>,
    late: Timeline<Late>,
    held: VecDeque<GatewayCommand>,
}

struct Job {
    command: Command,
    correlation: Option<Vec<u8>>,
    fate: Fate,
}

enum Late {
    Command(usize, Job),
    Answer(Reply),
}

struct Reply {
    body: Vec<u8>,
    correlation: Option<Vec<u8>>,
    twice: bool,
}

/// Plays the gateway at this index until `stop`. What it has not carried out by then is lost, as with a gateway that is
/// switched off.
pub(crate) async fn play(
    store: Arc<Store>,
    index: usize,
    mut commands: mpsc::Receiver<GatewayCommand>,
    stop: CancellationToken,
) {
    let mut hanging = store.gateways[index].hanging.subscribe();
    let mut player = Player::new(store, index);
    loop {
        let hangs = *hanging.borrow_and_update();
        if !hangs {
            player.catch_up();
        }
        let due = if hangs { None } else { player.next_due() };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = hanging.changed() => {}
            Some(command) = commands.recv() => {
                player.gateway().commands.fetch_add(1, Ordering::Relaxed);
                if hangs { player.hold(command) } else { player.take(command) }
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

impl Player {
    fn new(store: Arc<Store>, index: usize) -> Self {
        let config = &store.config;
        let median = config.write_time.as_secs_f64();
        Self {
            index,
            random: StdRng::seed_from_u64(config.seed.wrapping_mul(0x9e37_79b9).wrapping_add(index as u64)),
            // The median of a log-normal distribution is e^mu; zero has no logarithm and needs no draw.
            write_time: (median > 0.0).then(|| LogNormal::new(median.ln(), config.write_spread).ok()).flatten(),
            writes: Writes::new(config.connections as usize, config.write_queue as usize),
            late: Timeline::new(MAX_LATE),
            held: VecDeque::new(),
            store,
        }
    }

    fn gateway(&self) -> &Gateway {
        &self.store.gateways[self.index]
    }

    fn next_due(&self) -> Option<Instant> {
        self.writes.next_due().into_iter().chain(self.late.next_due()).min()
    }

    /// Does all that is due by now.
    fn catch_up(&mut self) {
        while let Some(command) = self.held.pop_front() {
            self.take(command);
        }
        let now = Instant::now();
        while let Some(late) = self.late.pop_due(now) {
            match late {
                Late::Command(label, job) => self.queue(label, job),
                Late::Answer(reply) => self.send(reply),
            }
        }
        loop {
            let (random, distribution) = (&mut self.random, &self.write_time);
            let time = || distribution.map_or(Duration::ZERO, |time| Duration::from_secs_f64(time.sample(random)));
            self.writes.start(now, time);
            let Some((label, job)) = self.writes.finish(now) else { return };
            self.carry_out(label, job);
        }
    }

    fn hold(&mut self, command: GatewayCommand) {
        if self.held.len() < MAX_HELD {
            self.held.push_back(command);
        } else {
            self.lose(Fared::Dropped);
        }
    }

    fn lose(&self, fared: Fared) {
        self.gateway().dropped.fetch_add(1, Ordering::Relaxed);
        self.store.metrics.command(fared);
    }

    fn take(&mut self, incoming: GatewayCommand) {
        let GatewayCommand { payload, correlation, retained, .. } = incoming;
        if retained {
            self.store.metrics.retained_commands.inc();
        }
        let command: Command = match serde_json::from_slice(&payload) {
            Ok(command) => command,
            Err(error) => {
                tracing::warn!(gateway.mac = %self.gateway().mac, "a command that can't be read: {error}");
                return self.lose(Fared::Malformed);
            }
        };
        tracing::debug!(gateway.mac = %self.gateway().mac, rpc.id = %command.id, device.mac = %command.label, "command");
        let faults = self.gateway().faults();
        let fate = faults.draw(&mut self.random);
        let known = self.store.labels.index(command.label);
        let label_faults = known.map(|label| self.store.labels.memory(label).faults.clone()).unwrap_or_default();
        if fate.silent || label_faults.silent {
            return self.lose(Fared::Silenced);
        }
        self.store.metrics.command(Fared::Taken);
        let job = Job { command, correlation, fate };
        let Some(label) = known else { return self.refuse(job, INVALID_PARAMETERS) };
        if !self.store.floor().heard_by(label).iter().any(|hearer| hearer.gateway == self.index) {
            return self.refuse(job, faults.unheard_error());
        }
        match (label_faults.nack, fate.nack, fate.late_by) {
            (Some(error), ..) => self.refuse(job, &error),
            (None, true, _) => self.refuse(job, faults.nack_error()),
            (None, false, Some(by)) => {
                if self.late.push(Instant::now() + by, Late::Command(label, job)).is_err() {
                    self.lose(Fared::Dropped);
                }
            }
            (None, false, None) => self.queue(label, job),
        }
    }

    fn queue(&mut self, label: usize, job: Job) {
        if let Err(job) = self.writes.offer(label, job) {
            self.refuse(job, "queue_full");
        }
    }

    fn carry_out(&mut self, label: usize, job: Job) {
        let (id, mac, action) = (job.command.id.clone(), job.command.label, job.command.action);
        let gateway = self.gateway().mac;
        self.store.labels.memory(label).carry_out(job.command, gateway, backbone::service::now());
        self.store.metrics.write(action);
        self.gateway().acks.fetch_add(1, Ordering::Relaxed);
        self.answer(mac, id, job.correlation, job.fate, Ok(()));
    }

    fn refuse(&mut self, job: Job, error: &str) {
        let Command { id, label, .. } = job.command;
        self.gateway().nacks.fetch_add(1, Ordering::Relaxed);
        self.answer(label, id, job.correlation, job.fate, Err(Refusal::new(error)));
    }

    fn answer(
        &mut self,
        label: LabelMac,
        id: protocol::CorrelationId,
        correlation: Option<Vec<u8>>,
        fate: Fate,
        result: Result<(), Refusal>,
    ) {
        self.store.metrics.answer(if result.is_ok() { Answered::Ack } else { Answered::Nack });
        if fate.lose_answer {
            self.store.metrics.answer(Answered::Lost);
            return;
        }
        let (id, correlation) = match self.gateway().echo {
            Echo::Body | Echo::Mixed => (Some(id), None),
            Echo::Property => (None, Some(correlation.unwrap_or_else(|| id.as_str().into()))),
            Echo::None => (None, None),
        };
        let body = Answer { label, id, result }.to_json();
        let reply = Reply { body, correlation, twice: fate.duplicate_answer };
        match fate.late_answer_by {
            None => self.send(reply),
            Some(by) => {
                if self.late.push(Instant::now() + by, Late::Answer(reply)).is_err() {
                    self.drop_answer();
                }
            }
        }
    }

    fn send(&self, reply: Reply) {
        let Reply { body, correlation, twice } = reply;
        if twice {
            self.store.metrics.answer(Answered::Duplicate);
            if self.gateway().connection.answer(body.clone(), correlation.clone()).is_err() {
                self.drop_answer();
            }
        }
        if self.gateway().connection.answer(body, correlation).is_err() {
            self.drop_answer();
        }
    }

    fn drop_answer(&self) {
        self.gateway().dropped.fetch_add(1, Ordering::Relaxed);
        self.store.metrics.answer(Answered::Dropped);
    }
}
