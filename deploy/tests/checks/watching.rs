//! A real Prometheus, configured as monitoring/prometheus.yml says, scrapes a running backbone; then everything that is
//! asked of it, by the dashboard, the alerts and the autoscalers, has an answer.

use crate::{autoscaling::adapter_rules, overlays};
use anyhow::{Context, Result, ensure};
use deploy::{list, root, text, yaml_file};
use integration::{Story, Stranger, gateway_mac, labels, price_update, quick};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use testbed::{Process, RabbitMqOptions, ServersConfig, StackConfig, Tool, free_port};

const PATIENCE: Duration = Duration::from_secs(60);

struct Prometheus {
    url: String,
    client: reqwest::Client,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    async fn start(story: &Story, rabbitmq: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        // JSON is YAML.
        std::fs::write(&config, config_for(story, rabbitmq)?.to_string())?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let mut command = std::process::Command::new(Tool::Prometheus.path().await?);
        command.arg("--config.file").arg(&config).arg("--storage.tsdb.path").arg(folder.path().join("data"));
        command.arg("--web.listen-address").arg(&listen);
        let process = Process::spawn("prometheus", command, &folder.path().join("log"))?;
        let client = reqwest::Client::new();
        Ok(Self { url: format!("http://{listen}"), client, _process: process, _folder: folder })
    }

    /// What a query is answered: a list of series.
    async fn query(&self, query: &str) -> Result<Vec<Value>> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", query)])?;
        let answer = self.client.get(url).send().await.context("asking Prometheus")?;
        let answer: Value = answer.json().await.context("reading Prometheus' answer")?;
        ensure!(answer["status"] == "success", "{query}: {}", text(&answer, "/error"));
        Ok(list(&answer, "/data/result").to_vec())
    }

    /// Waits until a query has an answer.
    async fn until(&self, query: &str) -> Result<Vec<Value>> {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.query(query).await;
            match answer {
                Ok(series) if !series.is_empty() => return Ok(series),
                _ if Instant::now() < end => tokio::time::sleep(Duration::from_millis(200)).await,
                answer => return answer.and_then(|_| anyhow::bail!("no answer after {PATIENCE:?} to {query}")),
            }
        }
    }
}

/// The repository's configuration, where names that Docker resolves are addresses of this machine.
fn config_for(story: &Story, rabbitmq: u16) -> Result<Value> {
    let mut config = yaml_file("monitoring/prometheus.yml")?;
    config["global"] = json!({ "scrape_interval": "1s", "evaluation_interval": "1s" });
    config["rule_files"] = json!([root().join("monitoring/alerts.yml")]);
    let replicas = [
        ("task-worker", &story.stack.workers),
        ("fwd-router", &story.stack.fwd_routers),
        ("bck-router", &story.stack.bck_routers),
        ("store-api", &story.stack.store_apis),
    ];
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let of_role = replicas.map(|(role, replicas)| {
        let targets: Vec<_> = replicas.iter().map(|replica| address(&replica.admin_url())).collect();
        json!({ "targets": targets, "labels": { "role": role, "namespace": "esl", "pod": role } })
    });
    for job in config["scrape_configs"].as_array_mut().context("reading the jobs")? {
        let job = job.as_object_mut().context("reading a job")?;
        job.remove("dns_sd_configs");
        job.remove("relabel_configs");
        let rabbitmq = json!([{ "targets": [format!("127.0.0.1:{rabbitmq}")], "labels": { "namespace": "esl" } }]);
        let targets = if job["job_name"] == "rabbitmq" { rabbitmq } else { json!(of_role) };
        job.insert("static_configs".to_owned(), targets);
    }
    Ok(config)
}

/// Prices change, a gateway misbehaves, somebody uses the API: every metric has something to count.
async fn make_something_happen(story: &Story) -> Result<()> {
    story.backend.enqueue(&price_update(&labels(20), 1)).await?;
    story.all_settled(PATIENCE).await?;
    let stranger = Stranger::connect(story).await?;
    let gateway = gateway_mac(1);
    stranger.say(&format!("/gw/{gateway}/response"), b"not an answer", "").await?;
    let nonsense = br#"{"deviceMac":"001a2b000001","rssi":50}"#;
    stranger.say(&format!("/gw/{gateway}/status"), nonsense, "").await?;
    stranger.leave().await;
    reqwest::get(format!("{}/v1/labels/001a2b000001", story.stack.api_urls[0])).await?.error_for_status()?;
    Ok(())
}

/// A dashboard's queries as Prometheus takes them.
fn queries_of(dashboard: &Path) -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(dashboard)?)?;
    let targets = list(&dashboard, "/panels").iter().flat_map(|panel| list(panel, "/targets"));
    Ok(targets.map(|target| text(target, "/expr").replace("$__rate_interval", "1m")).collect())
}

/// The queries by which the adapter answers the autoscalers, as it would ask them for this namespace.
async fn queries_of_autoscalers() -> Result<Vec<String>> {
    let cluster = overlays::production().await?;
    let mut queries = Vec::new();
    for (key, grouped_by) in [("rules", "pod"), ("externalRules", "namespace")] {
        for rule in adapter_rules(&cluster, key)? {
            let series = text(&rule, "/seriesQuery");
            queries.push(series.to_owned());
            let name = series.split('{').next().unwrap_or_default();
            let query = text(&rule, "/metricsQuery").replace("<<.Series>>", name);
            let query = query.replace("<<.LabelMatchers>>", "namespace=\"esl\"").replace("<<.GroupBy>>", grouped_by);
            queries.push(query);
        }
    }
    for scaler in overlays::with_keda().await?.of_kind("ScaledObject") {
        let of_prometheus = list(scaler, "/spec/triggers").iter().filter(|trigger| trigger["type"] == "prometheus");
        queries.extend(of_prometheus.map(|trigger| text(trigger, "/metadata/query").to_owned()));
    }
    Ok(queries)
}

/// The names of the series in an alert's expression. What an alert asks is normally not so, but what it asks about must
/// be there.
fn series_of(expression: &str) -> BTreeSet<String> {
    let mut without_labels = String::new();
    for part in expression.split('}') {
        without_labels += part.split('{').next().unwrap_or_default();
        without_labels.push(' ');
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = without_labels.split(|c: char| !is_name(c)).filter(|word| word.contains('_') || *word == "up");
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).map(str::to_owned).collect()
}

#[tokio::test]
async fn everything_that_is_asked_has_an_answer() -> Result<()> {
    let rabbitmq = free_port()?;
    let servers = ServersConfig {
        own_rabbitmq: true,
        rabbitmq: RabbitMqOptions { prometheus: Some(rabbitmq), ..RabbitMqOptions::default() },
        ..ServersConfig::default()
    };
    let config = StackConfig { servers, workers: 1, fwd_routers: 1, bck_routers: 1, store_apis: 1, ..quick(2, 20) };
    let story = Story::start(config).await?;
    let prometheus = Prometheus::start(&story, rabbitmq).await?;
    make_something_happen(&story).await?;

    let mut queries = queries_of(&root().join("monitoring/dashboards/esl.json"))?;
    ensure!(queries.len() > 30, "{} queries in the dashboard", queries.len());
    queries.extend(queries_of_autoscalers().await?);
    for query in &queries {
        prometheus.until(query).await?;
    }
    let rules = yaml_file("monitoring/alerts.yml")?;
    for rule in list(&rules, "/groups").iter().flat_map(|group| list(group, "/rules")) {
        for series in series_of(text(rule, "/expr")) {
            prometheus.until(&series).await.with_context(|| format!("alert {}", text(rule, "/alert")))?;
        }
    }
    // Pending ones, too.
    let alerts = prometheus.query("ALERTS").await?;
    ensure!(alerts.is_empty(), "alerts about a backbone that is well: {alerts:?}");
    check_labels(&prometheus).await?;
    story.end().await
}

/// A label whose values are without bound would fill Prometheus: a device, a gateway, an ID, a session's queue.
async fn check_labels(prometheus: &Prometheus) -> Result<()> {
    let own = "{__name__=~\"(task_worker|fwd_router|bck_router|store_api|rabbitmq)_.*\"}";
    let known = [
        "__name__",
        "instance",
        "job",
        "role",
        "namespace",
        "pod",
        "le",
        "queue",
        "vhost",
        "outcome",
        "end",
        "reason",
        "status",
        "operation",
    ];
    for series in prometheus.until(own).await? {
        let labels = series["metric"].as_object().context("reading a series")?;
        let stray: Vec<_> = labels.keys().filter(|label| !known.contains(&label.as_str())).collect();
        ensure!(stray.is_empty(), "labels that nobody thought about: {stray:?} in {labels:?}");
        let queue = text(&series, "/metric/queue");
        ensure!(!queue.contains("reply"), "a queue that comes and goes: {labels:?}");
    }
    Ok(())
}
