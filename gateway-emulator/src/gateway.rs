//! A gateway at work: takes commands, writes to labels, answers.

use crate::{
    config::Echo,
    faults::{Fate, INVALID_PARAMETERS},
    label::Taken,
    metrics::{Answered, Fared},
    store::{Gateway, Store},
    write::{Timeline, Writes},
};
use backbone::{mqtt::gateway::GatewayCommand, service::now};
use protocol::{Answer, Command, CommandHead, LabelMac, Refusal, Timestamp};
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
    /// For fates alone: how long writes take must not change what is drawn here.
    random: StdRng,
    write_time: WriteTime,
    writes: Writes<Job>,
    late: Timeline<Late>,
    held: VecDeque<(GatewayCommand, Timestamp)>,
}

struct WriteTime {
    /// None at all takes no time.
    distribution: Option<LogNormal<f64>>,
    random: StdRng,
}

struct Job {
    taken: Taken,
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
                if hangs { player.hold(command) } else { player.take(command, now()) }
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

impl Player {
    fn new(store: Arc<Store>, index: usize) -> Self {
        let config = &store.config;
        let mut seeds = StdRng::seed_from_u64(config.seed.wrapping_add((index as u64 + 1) << 32));
        Self {
            index,
            random: StdRng::from_rng(&mut seeds),
            write_time: WriteTime::new(config.write_time, config.write_spread, StdRng::from_rng(&mut seeds)),
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
        while let Some((command, came)) = self.held.pop_front() {
            self.take(command, came);
        }
        let now = Instant::now();
        while let Some(late) = self.late.pop_due(now) {
            match late {
                Late::Command(label, job) => self.queue(label, job),
                Late::Answer(reply) => self.send(reply),
            }
        }
        loop {
            self.writes.start(now, || self.write_time.draw());
            let Some((label, job)) = self.writes.finish(now) else { return };
            self.carry_out(label, job);
        }
    }

    fn hold(&mut self, command: GatewayCommand) {
        if self.held.len() < MAX_HELD {
            self.held.push_back((command, now()));
        } else {
            self.lose(Fared::Dropped);
        }
    }

    fn lose(&self, fared: Fared) {
        self.gateway().dropped.fetch_add(1, Ordering::Relaxed);
        self.store.metrics.command(fared);
    }

    fn take(&mut self, incoming: GatewayCommand, came: Timestamp) {
        let GatewayCommand { payload, correlation, retained, .. } = incoming;
        if retained {
            self.store.metrics.retained_commands.inc();
        }
        let command: Command = match serde_json::from_slice(&payload) {
            Ok(command) => command,
            Err(error) => {
                tracing::warn!(gateway.mac = %self.gateway().mac, "a command that can't be read: {error}");
                return self.refuse_unread(&payload, correlation);
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
        let job = Job { taken: Taken { command, came, retained }, correlation, fate };
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

    /// What can't be read, but says for which label it is, such as an action that this gateway does not know.
    fn refuse_unread(&mut self, payload: &[u8], correlation: Option<Vec<u8>>) {
        let Ok(CommandHead { id, label, .. }) = serde_json::from_slice(payload) else {
            return self.lose(Fared::Malformed);
        };
        self.store.metrics.command(Fared::Malformed);
        self.gateway().nacks.fetch_add(1, Ordering::Relaxed);
        self.answer(label, id, correlation, Fate::default(), Err(Refusal::new("invalid_opcode")));
    }

    fn queue(&mut self, label: usize, job: Job) {
        if let Err(job) = self.writes.offer(label, job) {
            self.refuse(job, "queue_full");
        }
    }

    fn carry_out(&mut self, label: usize, job: Job) {
        let Command { id, label: mac, action, .. } = job.taken.command.clone();
        let gateway = self.gateway().mac;
        self.store.labels.memory(label).carry_out(job.taken, gateway, now());
        self.store.metrics.write(action);
        self.gateway().acks.fetch_add(1, Ordering::Relaxed);
        self.answer(mac, id, job.correlation, job.fate, Ok(()));
    }

    fn refuse(&mut self, job: Job, error: &str) {
        let Command { id, label, .. } = job.taken.command;
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

impl WriteTime {
    fn new(median: Duration, spread: f64, random: StdRng) -> Self {
        let median = median.as_secs_f64();
        // The median of a log-normal distribution is e^mu, and zero has no logarithm.
        let distribution = (median > 0.0).then(|| LogNormal::new(median.ln(), spread).ok()).flatten();
        Self { distribution, random }
    }

    fn draw(&mut self) -> Duration {
        let random = &mut self.random;
        self.distribution.map_or(Duration::ZERO, |time| Duration::from_secs_f64(time.sample(random)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, metrics::Metrics};
    use clap::Parser;
    use tokio_util::task::TaskTracker;

    /// One gateway that hears all labels, and no broker.
    fn player(args: &[&str]) -> Player {
        let args = ["x", "--gateways", "1", "--labels", "10", "--mqtt-url", "mqtt://127.0.0.1:1"].iter().chain(args);
        let (store, _) = Store::open(Config::parse_from(args), Metrics::default(), &TaskTracker::new());
        Player::new(Arc::new(store), 0)
    }

    fn command(label: u8, version: u32) -> GatewayCommand {
        let body = format!(
            r#"{{"id":"i-{version}","deviceMac":"001a2b0000{label:02x}","type":"price_update","version":{version}}}"#
        );
        let (correlation, response_topic, expiry) = (None, None, None);
        GatewayCommand { payload: body.into_bytes(), correlation, response_topic, expiry, retained: false }
    }

    fn shown(player: &Player, label: usize) -> Option<u64> {
        player.store.labels.memory(label).shown.as_ref()?.version.map(|version| version.get())
    }

    fn counts(player: &Player) -> [u64; 3] {
        let gateway = player.gateway();
        [&gateway.acks, &gateway.nacks, &gateway.dropped].map(|count| count.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_command_is_carried_out_and_acknowledged() {
        let mut player = player(&["--write-time", "0"]);
        player.take(command(1, 5), now());
        player.catch_up();
        assert_eq!((shown(&player, 0), counts(&player)), (Some(5), [1, 0, 0]));
    }

    #[tokio::test]
    async fn what_is_not_heard_or_does_not_fit_is_refused() {
        let mut player = player(&["--connections", "1", "--write-queue", "1"]);
        player.take(command(99, 1), now());
        assert_eq!(counts(&player), [0, 1, 0]);
        for version in 2..5 {
            player.take(command(1, version), now());
        }
        assert_eq!(counts(&player), [0, 2, 0]);
        player.store.floor_mut().put(4, crate::floor::Place::Nowhere);
        player.take(command(5, 1), now());
        assert_eq!(counts(&player), [0, 3, 0]);
        player.take(GatewayCommand { payload: b"nonsense".to_vec(), ..command(1, 1) }, now());
        assert_eq!(counts(&player), [0, 3, 1]);
        let unknown = br#"{"id":"i","deviceMac":"001a2b000001","type":"dance"}"#.to_vec();
        player.take(GatewayCommand { payload: unknown, ..command(1, 1) }, now());
        assert_eq!(counts(&player), [0, 4, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_command_overtakes_back_to_an_older_version() {
        let mut player = player(&["--write-time", "0", "--late-rate", "1", "--late-by", "3s"]);
        player.take(command(1, 1), now());
        player.store.set_faults(crate::faults::Faults::default());
        player.take(command(1, 2), now());
        player.catch_up();
        assert_eq!(shown(&player, 0), Some(2));
        tokio::time::advance(Duration::from_secs(3)).await;
        player.catch_up();
        assert_eq!((shown(&player, 0), counts(&player)), (Some(1), [2, 0, 0]));
    }

    #[test]
    fn half_of_the_writes_take_longer_than_the_median() {
        let median = Duration::from_millis(590);
        let mut time = WriteTime::new(median, 0.25, StdRng::seed_from_u64(1));
        let longer = (0..1000).filter(|_| time.draw() > median).count();
        assert!((450..550).contains(&longer), "{longer}");
        let mut constant = WriteTime::new(median, 0.0, StdRng::seed_from_u64(1));
        assert!(constant.draw().abs_diff(median) < Duration::from_micros(1));
        assert_eq!(WriteTime::new(Duration::ZERO, 0.25, StdRng::seed_from_u64(1)).draw(), Duration::ZERO);
    }
}
