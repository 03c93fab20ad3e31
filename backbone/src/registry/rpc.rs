//! RPCs in flight.

use super::{Registry, RegistryError, connection::Backend};
use crate::service::parse_duration;
use protocol::{
    CorrelationId, GatewayMac, LabelMac, Version,
    names::redis::{LabelKey, label_key},
};
use redis::Cmd;
use std::time::Duration;

/// Times and margins of RPCs.
#[derive(Debug, Clone)]
pub struct RpcPolicy {
    /// How long a label's lease is kept after a timeout, where the gateway has not been seen to echo correlation
    /// IDs: a late answer to the old RPC must not be credited to the next.
    pub quarantine: Duration,
    /// How old a sighting may be for the gateway to count as hearing the label.
    pub stale_after: Duration,
    /// How much stronger, in dB, another gateway must be to take over from the one that answered last.
    pub hysteresis_db: u8,
    /// How long a gateway that failed a label comes after the others that hear it.
    pub avoid_for: Duration,
    /// How long a label's fence, and what its latest RPCs were about, are kept.
    pub keep: Duration,
}

impl Default for RpcPolicy {
    fn default() -> Self {
        Self {
            quarantine: Duration::from_secs(15),
            stale_after: Duration::from_secs(60),
            hysteresis_db: 6,
            avoid_for: Duration::from_secs(60),
            keep: Duration::from_secs(24 * 3600),
        }
    }
}

/// Which gateway a command goes to, as every router is told.
#[derive(Debug, Clone, clap::Args)]
pub struct RouteArgs {
    /// How old a gateway's report of a label may be for the gateway to count as hearing it
    #[arg(long, env = "ROUTE_STALE_AFTER", default_value = "60s", value_parser = parse_duration)]
    pub route_stale_after: Duration,

    /// How much stronger, in dB, another gateway must hear a label to take over from the last that answered
    #[arg(long, env = "ROUTE_HYSTERESIS_DB", default_value_t = 6)]
    pub route_hysteresis_db: u8,
}

impl RouteArgs {
    /// The times and margins that follow; a silent gateway's label is kept free for as long as an RPC may take.
    pub fn policy(&self, rpc_timeout: Duration) -> RpcPolicy {
        RpcPolicy {
            quarantine: rpc_timeout,
            stale_after: self.route_stale_after,
            hysteresis_db: self.route_hysteresis_db,
            ..RpcPolicy::default()
        }
    }
}

/// An RPC to start.
#[derive(Debug, Clone)]
pub struct Start {
    /// The RPC.
    pub id: CorrelationId,
    /// The label.
    pub label: LabelMac,
    /// The version that the label would show.
    pub version: Option<Version>,
    /// The queue of whoever asks.
    pub reply_to: String,
    /// How long whoever asks still waits.
    pub time_left: Duration,
    /// It may have been started before: its request was delivered again, or an earlier call failed.
    pub again: bool,
}

/// What became of a [`Start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// Send the command through this gateway. The label's lease is taken.
    Send(GatewayMac),
    /// No gateway that is online hears the label.
    NoRoute,
    /// Another RPC holds the label's lease.
    Busy,
    /// A newer version was started before.
    Superseded,
    /// This very RPC was started before, and its time has run out.
    Expired,
    /// This very RPC was started before, and has ended.
    Done,
}

/// A gateway's answer.
#[derive(Debug, Clone)]
pub struct Finish {
    /// The gateway that spoke, by its topic.
    pub gateway: GatewayMac,
    /// The label that it spoke of.
    pub label: LabelMac,
    /// The RPC, where the gateway echoed it.
    pub id: Option<CorrelationId>,
    /// The command was carried out.
    pub carried_out: bool,
    /// The gateway refused for a reason that may pass.
    pub refused_for_now: bool,
}

/// Why a command was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// Its gateway could not be reached: another one comes first next time.
    Failed,
    /// Its gateway had no place for it, which is no failure.
    NoPlace,
}

/// Which RPC an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// This one, which waits for it here. It is taken: nobody else gets it.
    Reply {
        /// The RPC.
        id: CorrelationId,
        /// The queue of whoever asked.
        reply_to: String,
    },
    /// One that was given up on.
    Late {
        /// It wrote a version older than the newest started: the label has gone back.
        gone_back: bool,
    },
    /// One that was answered before.
    Duplicate,
    /// One that another gateway was asked.
    WrongGateway,
    /// None that is remembered.
    Unknown,
}

impl Registry {
    /// Starts RPCs: fence, lease and route of each label, all in one round trip. Gateways in `offline` are passed
    /// over. Results are in the order of the requests.
    ///
    /// # Errors
    /// When Redis does not answer. Repeating a start is safe: it finds its own lease.
    pub async fn start(
        &self,
        requests: &[Start],
        policy: &RpcPolicy,
        offline: &[GatewayMac],
    ) -> Result<Vec<Started>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.start(requests, policy, offline)),
            Backend::Redis(redis) => redis,
        };
        let offline = offline.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let script = &redis.scripts.start;
        let calls = requests.iter().map(|request| start_call(script.get_hash(), request, policy, &offline));
        let answers: Vec<String> = redis.run_script(script, calls, "starting RPCs").await?;
        answers.iter().map(|answer| read_started(answer)).collect()
    }

    /// Takes the RPCs that these answers belong to, all in one round trip, in the order of the answers.
    ///
    /// # Errors
    /// When Redis does not answer. An RPC may have been taken then, and a repeat finds a duplicate: the RPC's own
    /// retry makes up for it.
    pub async fn finish(&self, answers: &[Finish]) -> Result<Vec<Finished>, RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => return Ok(memory.finish(answers)),
            Backend::Redis(redis) => redis,
        };
        let script = &redis.scripts.finish;
        let calls = answers.iter().map(|answer| finish_call(script.get_hash(), answer));
        let results: Vec<String> = redis.run_script(script, calls, "finishing RPCs").await?;
        results.iter().map(|result| read_finished(result)).collect()
    }

    /// Gives the leases of RPCs back, whose commands certainly reached no gateway, all in one round trip.
    ///
    /// # Errors
    /// When Redis does not answer; the leases then end by themselves.
    pub async fn abort(&self, rpcs: &[(LabelMac, CorrelationId)], why: NotSent) -> Result<(), RegistryError> {
        let redis = match &self.0 {
            Backend::Memory(memory) => {
                rpcs.iter().for_each(|(label, id)| memory.abort(*label, id, why));
                return Ok(());
            }
            Backend::Redis(redis) => redis,
        };
        let script = &redis.scripts.abort;
        let calls = rpcs.iter().map(|(label, id)| {
            let mut call = redis::cmd("EVALSHA");
            call.arg(script.get_hash()).arg(1).arg(label_key(LabelKey::Rpc, *label)).arg(id.as_str());
            call.arg(u8::from(why == NotSent::Failed));
            call
        });
        let _: Vec<String> = redis.run_script(script, calls, "giving leases back").await?;
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn start_call(script: &str, request: &Start, policy: &RpcPolicy, offline: &str) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(script).arg(2).arg(label_key(LabelKey::Route, request.label)).arg(label_key(LabelKey::Rpc, request.label));
    call.arg(request.id.as_str());
    match request.version {
        Some(version) => call.arg(version.get()),
        None => call.arg(""),
    };
    call.arg(&request.reply_to).arg(millis(request.time_left)).arg(u8::from(request.again));
    call.arg(millis(policy.quarantine)).arg(millis(policy.stale_after)).arg(millis(policy.keep));
    call.arg(policy.hysteresis_db).arg(millis(policy.avoid_for)).arg(offline);
    call
}

fn finish_call(script: &str, answer: &Finish) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(script).arg(1).arg(label_key(LabelKey::Rpc, answer.label)).arg(answer.gateway.to_string());
    call.arg(answer.id.as_ref().map_or("", CorrelationId::as_str));
    call.arg(if answer.refused_for_now { "n" } else { "d" }).arg(if answer.carried_out { "1" } else { "0" });
    call
}

fn read_started(answer: &str) -> Result<Started, RegistryError> {
    let started = match answer.split_once(' ') {
        Some(("send", gateway)) => gateway.parse().ok().map(Started::Send),
        Some(_) => None,
        None => match answer {
            "no_route" => Some(Started::NoRoute),
            "busy" => Some(Started::Busy),
            "superseded" => Some(Started::Superseded),
            "expired" => Some(Started::Expired),
            "done" => Some(Started::Done),
            _ => None,
        },
    };
    started.ok_or_else(|| RegistryError::Answer(answer.to_owned()))
}

fn read_finished(answer: &str) -> Result<Finished, RegistryError> {
    let finished = match answer.split_once(' ') {
        Some(("reply", rpc)) => rpc
            .split_once(',')
            .and_then(|(id, reply_to)| Some(Finished::Reply { id: id.parse().ok()?, reply_to: reply_to.to_owned() })),
        Some(_) => None,
        None => match answer {
            "late" => Some(Finished::Late { gone_back: false }),
            "gone_back" => Some(Finished::Late { gone_back: true }),
            "duplicate" => Some(Finished::Duplicate),
            "wrong_gateway" => Some(Finished::WrongGateway),
            "unknown" => Some(Finished::Unknown),
            _ => None,
        },
    };
    finished.ok_or_else(|| RegistryError::Answer(answer.to_owned()))
}
