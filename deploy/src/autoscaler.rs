//! What Kubernetes' horizontal autoscaler does with a metric, as its documentation and its source (`pkg/controller/
//! podautoscaler`) say: the tolerance, the windows over which recommendations are stabilised, and the policies that bound
//! a change. So that what the manifests say can be tried out against a load.

use crate::{list, text};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::VecDeque;

/// How far a metric may be from its target without anything being done.
const TOLERANCE: f64 = 0.1;
/// How often the controller looks, in seconds.
pub const SYNC_SECONDS: u64 = 15;

/// One autoscaler with its memory. Times are seconds from any start.
#[derive(Debug)]
pub struct Autoscaler {
    least: u32,
    most: u32,
    up: Rules,
    down: Rules,
    recommendations: VecDeque<(u64, u32)>,
    changes: VecDeque<(u64, i64)>,
}

#[derive(Debug)]
struct Rules {
    window: u64,
    policies: Vec<Policy>,
    /// The policy that allows the largest change counts, else the one that allows the smallest.
    largest: bool,
}

#[derive(Debug)]
struct Policy {
    percent: bool,
    value: f64,
    period: u64,
}

/// How many replicas bring a total to its target per replica (`AverageValue`), before anything holds that back.
pub fn replicas_for(total: f64, target: f64, current: u32) -> u32 {
    let ratio = total / (target * f64::from(current.max(1)));
    if (1.0 - ratio).abs() <= TOLERANCE { current } else { (total / target).ceil() as u32 }
}

impl Autoscaler {
    /// As a `HorizontalPodAutoscaler` says.
    ///
    /// # Errors
    /// When it has no behaviour or no bounds.
    pub fn of(object: &Value) -> Result<Self> {
        let bound = |name| object["spec"][name].as_u64().and_then(|bound| u32::try_from(bound).ok()).context(name);
        let behaviour = &object["spec"]["behavior"];
        Ok(Self {
            least: bound("minReplicas")?,
            most: bound("maxReplicas")?,
            up: Rules::of(&behaviour["scaleUp"]).context("reading scaleUp")?,
            down: Rules::of(&behaviour["scaleDown"]).context("reading scaleDown")?,
            recommendations: VecDeque::new(),
            changes: VecDeque::new(),
        })
    }

    /// The number of replicas from now on, where `wanted` is what the metrics ask for.
    pub fn next(&mut self, now: u64, current: u32, wanted: u32) -> u32 {
        let stable = self.stabilised(now, current, wanted.clamp(self.least, self.most));
        let next = match stable {
            more if more > current => more.min(self.limit(now, current, true).max(current)),
            fewer if fewer < current => fewer.max(self.limit(now, current, false).min(current)),
            same => same,
        };
        if next != current {
            self.changes.push_back((now, i64::from(next) - i64::from(current)));
        }
        next
    }

    /// Up only as far as all recommendations of the window for it wanted, down only as far as all of the other.
    fn stabilised(&mut self, now: u64, current: u32, wanted: u32) -> u32 {
        self.recommendations.push_back((now, wanted));
        let longest = self.up.window.max(self.down.window);
        self.recommendations.retain(|(at, _)| at + longest >= now);
        let within = |window: u64| {
            let recent = self.recommendations.iter().filter(move |(at, _)| at + window > now || *at == now);
            recent.map(|(_, replicas)| *replicas)
        };
        let up = within(self.up.window).min().unwrap_or(wanted);
        let down = within(self.down.window).max().unwrap_or(wanted);
        current.max(up).min(down.max(up))
    }

    fn limit(&self, now: u64, current: u32, up: bool) -> u32 {
        let rules = if up { &self.up } else { &self.down };
        let proposals = rules.policies.iter().map(|policy| {
            let recent = self.changes.iter().filter(|(at, _)| at + policy.period > now);
            let began = (i64::from(current) - recent.map(|(_, change)| change).sum::<i64>()).max(0) as f64;
            match (policy.percent, up) {
                (true, true) => (began * (1.0 + policy.value / 100.0)).ceil(),
                (true, false) => (began * (1.0 - policy.value / 100.0)).floor(),
                (false, true) => began + policy.value,
                (false, false) => began - policy.value,
            }
            .max(0.0) as u32
        });
        let highest = up == rules.largest;
        if highest { proposals.max() } else { proposals.min() }.unwrap_or(current)
    }
}

impl Rules {
    fn of(rules: &Value) -> Result<Self> {
        let policies = list(rules, "/policies").iter().map(|policy| {
            let value = policy["value"].as_f64().context("a policy has no value")?;
            let period = policy["periodSeconds"].as_u64().context("a policy has no period")?;
            Ok(Policy { percent: text(policy, "/type") == "Percent", value, period })
        });
        let policies: Vec<_> = policies.collect::<Result<_>>()?;
        ensure!(!policies.is_empty(), "there are no policies");
        let window = rules["stabilizationWindowSeconds"].as_u64().context("there is no stabilisation window")?;
        Ok(Self { window, policies, largest: text(rules, "/selectPolicy") != "Min" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The example of the documentation: down by at most 10 % or 4 a minute, whichever is more; up by 100 % or 4.
    fn documented(select: &str) -> Autoscaler {
        let policies = |percent, seconds| {
            json!([{ "type": "Percent", "value": percent, "periodSeconds": seconds },
                   { "type": "Pods", "value": 4, "periodSeconds": seconds }])
        };
        Autoscaler::of(&json!({ "spec": { "minReplicas": 1, "maxReplicas": 100, "behavior": {
            "scaleUp": { "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": policies(100, 15) },
            "scaleDown": { "stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": policies(10, 60) },
        } } }))
        .unwrap()
    }

    #[test]
    fn within_the_tolerance_nothing_is_done() {
        assert_eq!([replicas_for(1090.0, 100.0, 10), replicas_for(910.0, 100.0, 10)], [10, 10]);
        assert_eq!([replicas_for(1110.0, 100.0, 10), replicas_for(0.0, 100.0, 10)], [12, 0]);
    }

    #[test]
    fn scaling_down_goes_as_the_documentation_counts_it() {
        // 80 replicas: 8 are 10 %, more than 4; from 40 on it is 4 each minute.
        let mut scaler = documented("Max");
        let (mut replicas, mut seen) = (80, Vec::new());
        for minute in 0..13 {
            replicas = scaler.next(minute * 60, replicas, 10);
            seen.push(replicas);
        }
        assert_eq!(seen, [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12]);
        assert_eq!(documented("Min").next(0, 80, 10), 76);
    }

    #[test]
    fn a_change_counts_for_its_whole_period() {
        let mut scaler = documented("Max");
        assert_eq!(scaler.next(0, 3, 50), 7, "four more are more than twofold");
        assert_eq!(scaler.next(10, 7, 50), 7, "the period is not over");
        assert_eq!(scaler.next(15, 7, 50), 14);
    }

    #[test]
    fn the_window_takes_the_highest_on_the_way_down() {
        let mut scaler = documented("Max");
        scaler.down.window = 300;
        let wanted = [10, 2, 2, 9, 2, 2];
        let mut replicas = 10;
        for (at, wanted) in wanted.into_iter().enumerate() {
            replicas = scaler.next(at as u64 * 100, replicas, wanted);
        }
        assert_eq!(replicas, 9);
    }
}
