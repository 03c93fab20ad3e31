//! Which faults there are, and in which order they come.

use crate::stage::{Kind, cast};
use std::{fmt, time::Duration};
use testbed::{FWD_ROUTER, GATEWAY_EMULATOR, Mode};

const SLOW: Duration = Duration::from_millis(150);
/// A fault lasts so long, in milliseconds.
const LASTS_MS: std::ops::Range<u64> = 500..5_000;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) target: Target,
    pub(crate) harm: Harm,
}

/// What is hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A process, by its place among the replicas.
    Replica(usize),
    /// A server, or all lines to it.
    Server(Kind),
    /// The line of a process to a server.
    Line(usize, Kind),
    /// An emulated gateway, by its number from 1.
    Gateway(u32),
}

/// How it is hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// SIGKILL, and started again.
    Kill,
    /// SIGTERM, and started again.
    Restart,
    /// SIGSTOP, and SIGCONT.
    Freeze,
    /// Its lines.
    Network(Mode),
    /// FLUSHALL.
    Flush,
    /// A gateway's connection is lost.
    Offline,
    /// A gateway is connected and does nothing.
    Hang,
    /// A gateway carries commands out long after they have expired.
    Late,
    /// A gateway refuses for now.
    Refuse,
}

/// Faults that come at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Blow {
    pub(crate) faults: Vec<Fault>,
    pub(crate) lasts: Duration,
}

/// Every fault once, in an order by the seed, unless there are to be only pairs; and then pairs for ever.
pub(crate) fn plan(seed: u64, gateways: u32, only: Option<&str>, pairs: bool) -> impl Iterator<Item = Blow> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut faults = all(&mut random, gateways);
    if let Some(only) = only {
        faults.retain(|fault| fault.to_string().contains(only));
    }
    random.shuffle(&mut faults);
    let mut at = if pairs { faults.len() } else { 0 };
    std::iter::from_fn(move || {
        let lasts = Duration::from_millis(random.u64(LASTS_MS));
        let single = faults.get(at).cloned();
        at += 1;
        if let Some(fault) = single {
            return Some(Blow { faults: vec![fault], lasts });
        }
        let first = random.choice(&faults)?.clone();
        let others: Vec<_> = faults.iter().filter(|other| !other.concerns_same(&first)).cloned().collect();
        Some(Blow { faults: [first].into_iter().chain(random.choice(others)).collect(), lasts })
    })
}

fn all(random: &mut fastrand::Rng, gateways: u32) -> Vec<Fault> {
    let network = [Mode::Cut, Mode::BlackHole, Mode::HalfOpen, Mode::Mute, Mode::Delay(SLOW)].map(Harm::Network);
    let processes = [Harm::Kill, Harm::Restart, Harm::Freeze];
    let mut faults = Vec::new();
    let mut add = |target, harms: &[Harm]| faults.extend(harms.iter().map(|&harm| Fault { target, harm }));
    for kind in Kind::ALL {
        add(Target::Server(kind), &processes);
        add(Target::Server(kind), &network);
    }
    add(Target::Server(Kind::Redis), &[Harm::Flush]);
    for (at, (role, number)) in cast().into_iter().enumerate() {
        if role == GATEWAY_EMULATOR {
            // What labels have seen is in its memory: it can't be killed.
            add(Target::Replica(at), &[Harm::Freeze]);
        } else {
            add(Target::Replica(at), &processes);
        }
        // All routers share a line to Mosquitto: the first has it in its name.
        let own =
            |kind: &&Kind| **kind != Kind::Mosquitto || matches!(role, FWD_ROUTER | GATEWAY_EMULATOR) && number == 1;
        for &kind in Kind::of(role).iter().filter(own) {
            add(Target::Line(at, kind), &[*random.choice(&network).unwrap_or(&network[0])]);
        }
    }
    for harm in [Harm::Offline, Harm::Hang, Harm::Late, Harm::Refuse] {
        add(Target::Gateway(random.u32(1..=gateways)), &[harm]);
    }
    faults
}

impl Fault {
    /// Both hurt the same process or server, so one would undo the other.
    fn concerns_same(&self, other: &Self) -> bool {
        let parts = |target| match target {
            Target::Replica(at) => (Some(at), None, None),
            Target::Server(kind) => (None, Some(kind), None),
            Target::Line(at, kind) => (Some(at), Some(kind), None),
            Target::Gateway(number) => (None, None, Some(number)),
        };
        let ((a, b, c), (d, e, f)) = (parts(self.target), parts(other.target));
        a.is_some() && a == d || b.is_some() && b == e || c.is_some() && c == f
    }

    /// Redis loses what it knew.
    pub(crate) fn forgets(&self) -> bool {
        self.target == Target::Server(Kind::Redis) && matches!(self.harm, Harm::Kill | Harm::Restart | Harm::Flush)
    }

    /// Commands stand still on their way behind the point at which their expiry is counted: in a frozen forward router,
    /// on the lines to Mosquitto and from it to the gateways, or in the gateways themselves.
    pub(crate) fn holds_commands(&self) -> bool {
        let stands_still = match self.harm {
            Harm::Freeze | Harm::Hang | Harm::Late => true,
            Harm::Network(mode) => mode != Mode::Cut,
            _ => false,
        };
        let on_the_way = match self.target {
            Target::Replica(at) => matches!(cast()[at].0, FWD_ROUTER | GATEWAY_EMULATOR),
            Target::Server(kind) | Target::Line(_, kind) => kind == Kind::Mosquitto,
            Target::Gateway(_) => true,
        };
        stands_still && on_the_way
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replica = |at: usize| cast().get(at).map_or(String::new(), |(role, number)| format!("{role} {number}"));
        match self.target {
            Target::Replica(at) => write!(f, "{}", replica(at))?,
            Target::Server(kind) => write!(f, "{}", kind.name())?,
            Target::Line(at, Kind::Mosquitto) if cast()[at].0 == FWD_ROUTER => f.write_str("routers to Mosquitto")?,
            Target::Line(at, kind) => write!(f, "{} to {}", replica(at), kind.name())?,
            Target::Gateway(number) => write!(f, "gateway {number}")?,
        }
        f.write_str(match self.harm {
            Harm::Kill => " killed",
            Harm::Restart => " restarted",
            Harm::Freeze => " frozen",
            Harm::Network(Mode::Cut) => " cut off",
            Harm::Network(Mode::BlackHole) => " unheard",
            Harm::Network(Mode::HalfOpen) => " half open",
            Harm::Network(Mode::Mute) => " mute",
            Harm::Network(Mode::Delay(_) | Mode::Pass) => " slow",
            Harm::Flush => " flushed",
            Harm::Offline => " offline",
            Harm::Hang => " hanging",
            Harm::Late => " late",
            Harm::Refuse => " refusing",
        })
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(ToString::to_string).collect();
        f.write_str(&faults.join(" + "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_is_hurt_and_then_pairs_of_them() {
        let mut random = fastrand::Rng::with_seed(1);
        let count = all(&mut random, 10).len();
        let blows: Vec<_> = plan(1, 10, None, false).take(count + 100).collect();
        for (role, number) in cast() {
            let name = format!("{role} {number}");
            assert!(blows.iter().take(count).any(|blow| blow.to_string().starts_with(&name)), "{name}");
        }
        assert!(blows.iter().take(count).all(|blow| blow.faults.len() == 1));
        let pairs = &blows[count..];
        assert!(pairs.iter().all(|blow| blow.faults.len() == 2 && !blow.faults[0].concerns_same(&blow.faults[1])));
    }

    #[test]
    fn a_seed_is_a_plan() {
        let names = |seed| plan(seed, 10, None, false).take(200).map(|blow| blow.to_string()).collect::<Vec<_>>();
        assert_eq!(names(3), names(3));
        assert_ne!(names(3), names(4));
        let only: Vec<_> = plan(3, 10, Some("Redis"), false).take(50).map(|blow| blow.to_string()).collect();
        assert!(only.iter().all(|name| name.contains("Redis")), "{only:?}");
        assert_eq!(plan(3, 10, Some("Nobody"), false).count(), 0);
        assert!(plan(3, 10, None, true).take(50).all(|blow| blow.faults.len() == 2));
    }
}
