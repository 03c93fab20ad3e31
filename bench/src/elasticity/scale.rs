//! The autoscalers of `k8s/components/hpa`, on the metrics that they ask for: queues as RabbitMQ's plugin for Prometheus
//! exports them, answers as back routers do, CPU time as the kernel counts it.

use super::fleet::{Counts, Fleet};
use anyhow::{Context, Result, bail};
use deploy::{
    autoscaler::{Autoscaler, SYNC_SECONDS, replicas_for},
    list, root, text, yaml,
};
use serde_json::Value;
use std::time::Duration;
use testbed::{BCK_ROUTER, FWD_ROUTER, TASK_WORKER, http_builder, sum_samples};

const FOLDER: &str = "k8s/components/hpa";
/// What the adapter's configuration takes rates over.
const RATE_SECONDS: u64 = 60;
const QUEUE_FAMILY: &str = "metrics/detailed?family=queue_coarse_metrics";
const COUNTER: &str = "bck_router_answers_total";
/// Those that the load is for; what reports need does not change with it.
const ROLES: [&str; 3] = [TASK_WORKER, FWD_ROUTER, BCK_ROUTER];

/// What waits or is in hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlogs {
    pub(super) tasks: f64,
    pub(super) rpcs: f64,
}

/// All autoscalers, their clock so many times as fast as ours.
#[derive(Debug)]
pub(super) struct Scalers {
    all: Vec<Scaler>,
    prometheus: String,
    client: reqwest::Client,
    speed: u32,
    synced: Option<Duration>,
}

#[derive(Debug)]
struct Scaler {
    role: &'static str,
    least: u32,
    autoscaler: Autoscaler,
    metric: Metric,
    /// Of the metric, per replica.
    target: f64,
    /// Of CPU time in thousandths of a core, per replica.
    cpu_target: f64,
}

#[derive(Debug, Clone, Copy)]
enum Metric {
    Tasks,
    Rpcs,
    Answers,
}

impl Scalers {
    /// As the manifests say, for replicas that request so much.
    pub(super) fn of_manifests(prometheus: u16, millicores: u32, speed: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = root().join(FOLDER).join(file);
            yaml(&std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?)
        };
        let behaviour = read("behaviour.yaml")?.into_iter().next().context("behaviour.yaml is empty")?;
        let mut all = Vec::new();
        for mut object in read("autoscalers.yaml")? {
            let name = text(&object, "/metadata/name").to_owned();
            let Some(role) = ROLES.into_iter().find(|role| *role == name) else { continue };
            // What kustomize does with it.
            object["spec"]["behavior"] = behaviour["spec"]["behavior"].clone();
            all.push(Scaler::of(role, &object, millicores).with_context(|| format!("the autoscaler of {role}"))?);
        }
        if all.len() < ROLES.len() {
            bail!("there are {} autoscalers for {ROLES:?} in {FOLDER}", all.len());
        }
        let client = http_builder().timeout(Duration::from_secs(10)).build().context("building the HTTP client")?;
        let prometheus = format!("http://127.0.0.1:{prometheus}/{QUEUE_FAMILY}");
        Ok(Self { all, prometheus, client, speed, synced: None })
    }

    /// The least that they leave of each role.
    pub(super) fn least(&self) -> Counts {
        self.all.iter().map(|scaler| (scaler.role, scaler.least)).collect()
    }

    /// How often they look, on our clock.
    pub(super) fn sync(&self) -> Duration {
        Duration::from_secs(SYNC_SECONDS) / self.speed
    }

    /// Reads the backlogs and, where it is time, has each autoscaler look.
    pub(super) async fn look(&mut self, since: Duration, fleet: &mut Fleet<'_>) -> Result<Backlogs> {
        let backlogs = self.backlogs().await?;
        let Some(synced) = self.synced else {
            // What was used before the load is not for it.
            self.all.iter().try_for_each(|scaler| fleet.millicores(scaler.role).map(drop))?;
            self.synced = Some(since);
            return Ok(backlogs);
        };
        if since >= synced + self.sync() {
            self.synced = Some(since);
            let now = (since * self.speed).as_secs();
            let counts = fleet.counts();
            for scaler in &mut self.all {
                let current = counts.get(scaler.role).copied().unwrap_or_default();
                let total = match scaler.metric {
                    Metric::Tasks => backlogs.tasks,
                    Metric::Rpcs => backlogs.rpcs,
                    Metric::Answers => {
                        let over = Duration::from_secs(RATE_SECONDS) / self.speed;
                        fleet.rate(scaler.role, COUNTER, over).await
                    }
                };
                let millicores = fleet.millicores(scaler.role)?;
                // The metric that asks for the most replicas counts.
                let wanted = replicas_for(total, scaler.target, current);
                let wanted = wanted.max(replicas_for(millicores, scaler.cpu_target, current));
                fleet.scale(scaler.role, scaler.autoscaler.next(now, current, wanted))?;
            }
        }
        Ok(backlogs)
    }

    async fn backlogs(&self) -> Result<Backlogs> {
        let answer = self.client.get(&self.prometheus).send().await.context("asking RabbitMQ for its metrics")?;
        let metrics = answer.error_for_status()?.text().await.context("reading RabbitMQ's metrics")?;
        let queue =
            |name: &str| sum_samples(&metrics, &format!("rabbitmq_detailed_queue_messages{{queue=\"{name}\"}}"));
        Ok(Backlogs { tasks: queue("esl.tasks"), rpcs: queue("esl.rpc") + queue("esl.rpc.lines") })
    }
}

impl Scaler {
    fn of(role: &'static str, object: &Value, millicores: u32) -> Result<Self> {
        let metrics = list(object, "/spec/metrics");
        let named = |metric: &Value| {
            let kind = ["/external", "/pods"].into_iter().find_map(|kind| metric.pointer(kind))?;
            Some((text(kind, "/metric/name").to_owned(), text(kind, "/target/averageValue").parse::<f64>().ok()?))
        };
        let (name, target) = metrics.iter().find_map(named).context("it has no metric with a target")?;
        let metric = match name.as_str() {
            "esl_tasks_backlog" => Metric::Tasks,
            "esl_rpc_backlog" => Metric::Rpcs,
            "bck_router_answers_per_second" => Metric::Answers,
            _ => bail!("{name} is read by nobody here"),
        };
        let utilization = metrics.iter().find_map(|metric| metric.pointer("/resource/target/averageUtilization"));
        let utilization = utilization.and_then(Value::as_f64).context("it has no guard")?;
        let least = object["spec"]["minReplicas"].as_u64().and_then(|least| u32::try_from(least).ok());
        Ok(Self {
            role,
            least: least.context("it has no minReplicas")?,
            autoscaler: Autoscaler::of(object)?,
            metric,
            target,
            cpu_target: f64::from(millicores) * utilization / 100.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_are_read() {
        let scalers = Scalers::of_manifests(1, 100, 5).unwrap();
        assert_eq!(scalers.least(), ROLES.into_iter().map(|role| (role, 2)).collect());
        assert_eq!(scalers.sync(), Duration::from_secs(3));
        assert!(scalers.all.iter().all(|scaler| scaler.cpu_target == 80.0 && scaler.target >= 100.0));
    }
}
