//! Selectors choose pods, ports have the names by which they are called, and programs read the variables that they get.

use crate::overlays;
use anyhow::{Context, Result, ensure};
use deploy::{
    Cluster,
    cluster::{container, has_port, matches, name_of, value_of},
    list, program, seconds, text,
};
use serde_json::{Value, json};

#[tokio::test]
async fn selectors_choose_pods() -> Result<()> {
    for (overlay, cluster) in overlays::all().await? {
        for workload in cluster.workloads() {
            let own = matches(&workload["spec"]["selector"], &workload["spec"]["template"]["metadata"]["labels"]);
            ensure!(own, "{overlay}: {} does not select its own pods", name_of(workload));
            for spread in list(workload, "/spec/template/spec/topologySpreadConstraints") {
                let spread = cluster.selected(&spread["labelSelector"]);
                ensure!(spread == [workload], "{overlay}: {} spreads others than itself", name_of(workload));
            }
        }
        for (kind, pointer) in [("Service", "/spec/selector"), ("PodDisruptionBudget", "/spec/selector")] {
            for object in cluster.of_kind(kind) {
                let chosen = cluster.selected(object.pointer(pointer).context("reading a selector")?);
                ensure!(chosen.len() == 1, "{overlay}: {} chooses {} workloads", name_of(object), chosen.len());
            }
        }
        for workload in cluster.of_kind("Deployment").filter(|workload| workload["spec"]["replicas"] != json!(1)) {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            let kept =
                cluster.of_kind("PodDisruptionBudget").any(|budget| matches(&budget["spec"]["selector"], labels));
            ensure!(kept, "{overlay}: nothing keeps a replica of {} while nodes are drained", name_of(workload));
        }
    }
    Ok(())
}

#[tokio::test]
async fn ports_are_called_by_their_names() -> Result<()> {
    for (overlay, cluster) in overlays::all().await? {
        for service in cluster.of_kind("Service") {
            for workload in cluster.selected(&service["spec"]["selector"]) {
                for port in list(service, "/spec/ports") {
                    let there = has_port(workload, &port["targetPort"]);
                    ensure!(there, "{overlay}: {} leads to no port: {port}", name_of(service));
                }
            }
        }
        for workload in cluster.workloads() {
            let container = container(workload).context("reading a container")?;
            for probe in ["livenessProbe", "readinessProbe"] {
                for way in ["httpGet", "tcpSocket"] {
                    if let Some(port) = container.pointer(&format!("/{probe}/{way}/port")) {
                        ensure!(has_port(workload, port), "{overlay}: {} probes no port: {port}", name_of(workload));
                    }
                }
            }
        }
        for monitor in cluster.of_kind("PodMonitor") {
            let chosen = cluster.selected(&monitor["spec"]["selector"]);
            ensure!(!chosen.is_empty(), "{overlay}: {} finds nobody", name_of(monitor));
            for endpoint in list(monitor, "/spec/podMetricsEndpoints") {
                let there = chosen.iter().all(|workload| has_port(workload, &endpoint["port"]));
                ensure!(there, "{overlay}: {} asks a port that is not there", name_of(monitor));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn policies_allow_what_there_is() -> Result<()> {
    for (overlay, cluster) in overlays::all().await? {
        for policy in cluster.of_kind("NetworkPolicy") {
            let chosen = cluster.selected(&policy["spec"]["podSelector"]);
            ensure!(!chosen.is_empty(), "{overlay}: {} is about nobody", name_of(policy));
            for rule in list(policy, "/spec/ingress") {
                let own = |port: &Value| chosen.iter().any(|workload| has_port(workload, &port["port"]));
                check_rule(overlay, policy, &cluster, list(rule, "/from"), &own, list(rule, "/ports"))?;
            }
            for rule in list(policy, "/spec/egress") {
                let peers: Vec<_> = list(rule, "/to").iter().filter_map(|peer| peer.get("podSelector")).collect();
                let theirs = |port: &Value| {
                    let all = || peers.iter().flat_map(|peer| cluster.selected(peer));
                    peers.is_empty() || all().any(|workload| has_port(workload, &port["port"]))
                };
                // Of a server's ports with and without TLS an overlay has one.
                let ports = list(rule, "/ports");
                let one = ports.iter().find(|port| theirs(port)).map_or(ports, std::slice::from_ref);
                check_rule(overlay, policy, &cluster, list(rule, "/to"), &theirs, one)?;
            }
        }
    }
    Ok(())
}

fn check_rule(
    overlay: &str,
    policy: &Value,
    cluster: &Cluster,
    peers: &[Value],
    there: &dyn Fn(&Value) -> bool,
    ports: &[Value],
) -> Result<()> {
    for selector in peers.iter().filter_map(|peer| peer.get("podSelector")) {
        ensure!(!cluster.selected(selector).is_empty(), "{overlay}: {} names nobody: {selector}", name_of(policy));
    }
    for port in ports {
        ensure!(there(port), "{overlay}: {} opens a port that nobody has: {port}", name_of(policy));
    }
    Ok(())
}

#[tokio::test]
async fn roles_can_reach_the_servers_that_they_are_told() -> Result<()> {
    for (overlay, cluster) in overlays::all().await? {
        for (deployment, _) in cluster.roles() {
            let container = container(deployment).context("reading a container")?;
            for variable in list(container, "/env") {
                let server = match text(variable, "/name") {
                    "AMQP_URL" => "rabbitmq",
                    "REDIS_URL" => "redis",
                    "MQTT_URL" => "mosquitto",
                    "MONGODB_URL" => "mongodb",
                    _ => continue,
                };
                let labels = &deployment["spec"]["template"]["metadata"]["labels"];
                let peer = json!({ "app.kubernetes.io/name": server });
                let leads = |policy: &&Value| {
                    let to = |rule: &Value| list(rule, "/to").iter().any(|to| matches(&to["podSelector"], &peer));
                    matches(&policy["spec"]["podSelector"], labels) && list(policy, "/spec/egress").iter().any(to)
                };
                let open = cluster.of_kind("NetworkPolicy").any(|policy| leads(&policy));
                ensure!(open, "{overlay}: no policy lets {} speak with {server}", name_of(deployment));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn programs_read_the_variables_that_they_get() -> Result<()> {
    for (overlay, cluster) in overlays::all().await? {
        for (deployment, program) in cluster.roles() {
            let known = program::variables(program).await?;
            let container = container(deployment).context("reading a container")?;
            for variable in list(container, "/env") {
                let name = text(variable, "/name");
                // Read by the TLS library.
                let read = known.contains(name) || name == "SSL_CERT_FILE";
                ensure!(read, "{overlay}: {program} does not read {name}");
                value_of(&cluster, variable)?;
                let secret = variable.pointer("/valueFrom/secretKeyRef/name").and_then(Value::as_str);
                let made =
                    |name| cluster.named("Secret", name).or_else(|| cluster.named("ExternalSecret", name)).is_some();
                ensure!(secret.is_none_or(made), "{overlay}: {} needs a Secret that nobody makes", name_of(deployment));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn roles_have_time_to_drain() -> Result<()> {
    for (overlay, cluster) in overlays::all().await? {
        for (deployment, program) in cluster.roles() {
            let container = container(deployment).context("reading a container")?;
            let grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
            let before = container.pointer("/lifecycle/preStop/sleep/seconds").and_then(Value::as_u64).unwrap_or(0);
            let told = list(container, "/env").iter().find(|variable| text(variable, "/name") == "DRAIN_GRACE");
            let drain = told.map_or(Ok("25s"), |variable| value_of(&cluster, variable))?;
            let needed = before + seconds(drain)?;
            ensure!(grace > needed, "{overlay}: {program} is killed after {grace} s and may need {needed} s");
        }
    }
    Ok(())
}

#[tokio::test]
async fn roles_may_do_nothing_that_they_need_not() -> Result<()> {
    for (overlay, cluster) in overlays::all().await? {
        for (deployment, program) in cluster.roles() {
            let pod = &deployment["spec"]["template"]["spec"];
            let container = container(deployment).context("reading a container")?;
            let own = &container["securityContext"];
            let held = pod["securityContext"]["runAsNonRoot"] == json!(true)
                && pod["automountServiceAccountToken"] == json!(false)
                && own["readOnlyRootFilesystem"] == json!(true)
                && own["allowPrivilegeEscalation"] == json!(false)
                && own["capabilities"]["drop"] == json!(["ALL"]);
            ensure!(held, "{overlay}: {program} may do more than it needs");
            let bounded = container.pointer("/resources/limits/memory").is_some()
                && container.pointer("/resources/requests/cpu").is_some();
            ensure!(bounded, "{overlay}: {program} has no memory limit or asks for no CPU");
        }
    }
    Ok(())
}
