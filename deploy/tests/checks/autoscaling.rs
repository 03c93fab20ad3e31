//! The autoscalers' metrics are made by somebody, from series that there are; that those are really exported is seen in
//! `watching`.

use crate::overlays;
use anyhow::{Context, Result, ensure};
use deploy::{
    Cluster,
    autoscaler::{Autoscaler, SYNC_SECONDS, replicas_for},
    cluster::{container, name_of},
    list, text, yaml,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The rules of prometheus-adapter's configuration under this key.
pub(crate) fn adapter_rules(cluster: &Cluster, key: &str) -> Result<Vec<Value>> {
    let map = cluster.named("ConfigMap", "prometheus-adapter-esl").context("finding the adapter's configuration")?;
    let config = yaml(text(map, "/data/config.yaml"))?.into_iter().next().context("it is empty")?;
    Ok(list(&config, &format!("/{key}")).to_vec())
}

#[tokio::test]
async fn every_metric_is_made_by_the_adapter() -> Result<()> {
    let cluster = overlays::production().await?;
    let names = |key| -> Result<BTreeSet<String>> {
        Ok(adapter_rules(&cluster, key)?.iter().map(|rule| text(rule, "/name/as").to_owned()).collect())
    };
    let (mut custom, mut external) = (names("rules")?, names("externalRules")?);
    let (made_custom, made_external) = (custom.clone(), external.clone());
    for scaler in cluster.of_kind("HorizontalPodAutoscaler") {
        for metric in list(scaler, "/spec/metrics") {
            let (name, made) = match text(metric, "/type") {
                "Pods" => (text(metric, "/pods/metric/name"), &made_custom),
                "External" => (text(metric, "/external/metric/name"), &made_external),
                _ => continue,
            };
            ensure!(made.contains(name), "{}: nobody makes {name}", name_of(scaler));
            custom.remove(name);
            external.remove(name);
        }
    }
    ensure!(custom.is_empty() && external.is_empty(), "made and not used: {custom:?} {external:?}");
    Ok(())
}

#[tokio::test]
async fn every_role_is_scaled_by_one_scaler() -> Result<()> {
    for (cluster, kind) in
        [(overlays::production().await?, "HorizontalPodAutoscaler"), (overlays::with_keda().await?, "ScaledObject")]
    {
        for (deployment, _) in cluster.roles() {
            let name = text(deployment, "/metadata/name");
            let scalers = cluster.of_kind(kind).filter(|scaler| text(scaler, "/spec/scaleTargetRef/name") == name);
            ensure!(scalers.count() == 1, "{kind} of {name}");
            ensure!(deployment["spec"].get("replicas").is_none(), "{name}: an update would reset its replicas");
            let cpu = container(deployment).and_then(|container| container.pointer("/resources/requests/cpu"));
            ensure!(cpu.is_some(), "{name} asks for no CPU, of which its scaler needs the share that is used");
        }
        let other = if kind == "ScaledObject" { "HorizontalPodAutoscaler" } else { "ScaledObject" };
        ensure!(cluster.of_kind(other).next().is_none(), "{kind} and {other} would work against each other");
    }
    Ok(())
}

#[tokio::test]
async fn both_scalers_count_the_same_queues() -> Result<()> {
    let queries: Vec<_> = adapter_rules(&overlays::production().await?, "externalRules")?
        .iter()
        .map(|rule| text(rule, "/metricsQuery").to_owned())
        .collect();
    let keda = overlays::with_keda().await?;
    let triggers = keda.of_kind("ScaledObject").flat_map(|scaler| list(scaler, "/spec/triggers"));
    let queues = triggers.filter(|trigger| trigger["type"] == "rabbitmq").map(|trigger| {
        let name = text(trigger, "/metadata/queueName");
        match name.strip_prefix('^').and_then(|name| name.strip_suffix('$')) {
            Some(pattern) if text(trigger, "/metadata/useRegex") == "true" => format!("queue=~\"{pattern}\""),
            _ => format!("queue=\"{name}\""),
        }
    });
    let queues: Vec<_> = queues.collect();
    ensure!(queues.len() == queries.len(), "{queues:?} beside {queries:?}");
    for queue in queues {
        ensure!(queries.iter().any(|query| query.contains(&queue)), "the adapter does not count {queue}");
    }
    Ok(())
}

#[tokio::test]
async fn scaling_down_does_not_flap() -> Result<()> {
    let (hpa, keda) = (overlays::production().await?, overlays::with_keda().await?);
    let behaviours: Vec<_> = (hpa.of_kind("HorizontalPodAutoscaler").map(|scaler| (scaler, "/spec/behavior")))
        .chain(keda.of_kind("ScaledObject").map(|s| (s, "/spec/advanced/horizontalPodAutoscalerConfig/behavior")))
        .collect();
    ensure!(behaviours.len() == 10, "{} scalers", behaviours.len());
    for (scaler, pointer) in behaviours {
        let behaviour = scaler.pointer(pointer).with_context(|| format!("{} has no behaviour", name_of(scaler)))?;
        let window = behaviour.pointer("/scaleDown/stabilizationWindowSeconds").and_then(Value::as_u64);
        ensure!(window >= Some(300), "{} scales down at once", name_of(scaler));
        ensure!(behaviour["scaleDown"]["selectPolicy"] == json!("Min"), "{} scales down fast", name_of(scaler));
        ensure!(behaviour["scaleUp"]["stabilizationWindowSeconds"] == json!(0), "{} waits", name_of(scaler));
        let least = scaler.pointer("/spec/minReplicas").or(scaler.pointer("/spec/minReplicaCount"));
        ensure!(least.and_then(Value::as_u64) >= Some(2), "{} may end with one replica", name_of(scaler));
    }
    Ok(())
}

/// Load over time, in what the metric counts, and how many replicas the autoscaler has at each look.
fn replicas_under(scaler: &Value, load: impl Fn(u64) -> f64, seconds: u64) -> Result<Vec<u32>> {
    let metrics = list(scaler, "/spec/metrics").iter();
    let target = metrics
        .filter_map(|metric| metric.pointer("/external/target").or(metric.pointer("/pods/target")))
        .find_map(|target| target["averageValue"].as_str()?.parse::<f64>().ok())
        .context("finding the target")?;
    let mut autoscaler = Autoscaler::of(scaler)?;
    let mut replicas = 2;
    Ok((0..seconds)
        .step_by(SYNC_SECONDS as usize)
        .map(|now| {
            let wanted = replicas_for(load(now) * target, target, replicas);
            replicas = autoscaler.next(now, replicas, wanted);
            replicas
        })
        .collect())
}

#[tokio::test]
async fn the_manifests_follow_a_step_and_do_not_follow_waves() -> Result<()> {
    let cluster = overlays::production().await?;
    let scalers =
        cluster.of_kind("HorizontalPodAutoscaler").filter(|scaler| text(scaler, "/metadata/name") != "store-api");
    let mut tried = 0;
    for scaler in scalers {
        let name = name_of(scaler);
        // From one replica's load to ten times as much, and back after ten minutes.
        let step = replicas_under(scaler, |now| if (60..660).contains(&now) { 10.0 } else { 1.0 }, 3600)?;
        let at = |seconds: u64| step[(seconds / SYNC_SECONDS) as usize];
        ensure!(at(45) == 2 && at(120) == 10, "{name}: {} a minute after the step", at(120));
        ensure!(at(660 + 270) == 10, "{name}: scaled down before five minutes were over: {}", at(660 + 270));
        ensure!(at(3585) == 2, "{name}: {} in the end", at(3585));
        ensure!(changes_of_direction(&step) == 1, "{name} goes up and down: {step:?}");
        // A promotion's waves: what is due every two minutes must not be switched off in between.
        let waves = replicas_under(scaler, |now| if now % 120 < 60 { 8.0 } else { 1.0 }, 3600)?;
        ensure!(changes_of_direction(&waves) == 0, "{name} flaps: {waves:?}");
        tried += 1;
    }
    ensure!(tried == 4, "{tried} autoscalers tried");
    Ok(())
}

fn changes_of_direction(replicas: &[u32]) -> usize {
    let moves: Vec<_> = replicas.windows(2).filter(|pair| pair[0] != pair[1]).map(|pair| pair[0] < pair[1]).collect();
    moves.windows(2).filter(|pair| pair[0] != pair[1]).count()
}
