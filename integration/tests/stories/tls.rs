//! TLS by a private authority, certificates of clients, and users who may do no more than they must, on every server.

use crate::bad_config::{one_sentence, run};
use anyhow::{Context, Result, ensure};
use backbone::{
    ledger::{ActionTaken, Ledger, LedgerUrl},
    mqtt::{IdentityArgs, MqttUrl, MqttUrls, PemFile},
    queue::{AmqpUrl, Broker, Prefetch, enqueue},
    registry::{RedisUrl, Registry, RouteEntry},
    service::{Authorities, TlsArgs, now},
};
use integration::{Story, Stranger, gateway_mac, label_mac, labels, price_update, quick};
use protocol::{
    Priority, Rssi,
    names::{
        amqp,
        mqtt::{Channel, topic},
    },
};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio, time::Duration};
use testbed::{
    BCK_ROUTER, Certificates, FWD_ROUTER, Role, STORE_API, Servers, ServersConfig, Stack, StackConfig, TASK_WORKER,
    role::binary,
};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);
const LABELS: u32 = 20;
/// A store backend, which is no role.
const BACKEND: &str = "backend";
/// A gateway that is not emulated.
const STRANGER: u32 = 3;

fn config() -> StackConfig {
    // Two gateways of MQTT 5 and 3.1.1; one label more than the story's tasks are for.
    let quick = quick(2, LABELS as usize + 1);
    let mut config = StackConfig { workers: 1, fwd_routers: 1, bck_routers: 1, store_apis: 1, ..quick };
    config.servers.tls = true;
    config.emulator_args.extend(["--protocol", "mixed"].map(str::to_owned));
    config
}

#[tokio::test]
async fn prices_change_over_tls_and_nobody_may_do_more_than_he_must() -> Result<()> {
    let config = config();
    let servers = Servers::start(&config.servers).await?;
    let gateways: Vec<_> = (1..=STRANGER).map(|number| gateway_mac(number).to_string()).collect();
    certificates(&servers)?.clients(gateways.iter().map(String::as_str))?;
    let story = Story::on(Stack::on(servers, config).await?).await?;

    let mut eavesdropper = eavesdropper(&story).await?;
    for version in [1, 2] {
        let tasks: Vec<_> = labels(LABELS).chunks(2).map(|pair| price_update(pair, version)).collect();
        story.backend.enqueue_all(&tasks).await?;
        story.all_settled(LIMIT).await?;
    }
    ensure!(eavesdropper.heard().is_none(), "a gateway has heard another's commands");
    eavesdropper.leave().await;
    a_gateway_is_nobody_else(&story).await?;
    the_command_line_asks_the_servers(&story).await?;
    a_store_backend_enqueues_and_hears(&story).await?;
    rabbitmq_refuses(&story).await?;
    redis_refuses(&story).await?;
    mongodb_refuses(&story).await?;
    whom_not_to_trust_is_one_sentence(&story).await?;
    story.check_books().await?;
    story.end().await
}

fn certificates(servers: &Servers) -> Result<&Certificates> {
    servers.certificates.as_ref().context("the servers speak no TLS")
}

/// What a role is told, and here a test in its place.
fn told(story: &Story, role: &str, name: &str) -> Result<String> {
    let env = story.stack.servers.env_of(role);
    env.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value).with_context(|| format!("no {name}"))
}

fn tls(story: &Story) -> Result<TlsArgs> {
    let path = certificates(&story.stack.servers)?.authority();
    let read = Authorities::read(path.to_str().context("a path is not UTF-8")?).map_err(anyhow::Error::msg)?;
    Ok(TlsArgs { tls_ca_file: Some(read) })
}

async fn broker_as(story: &Story, role: &str) -> Result<Broker> {
    let url: AmqpUrl = told(story, role, "AMQP_URL")?.parse()?;
    Ok(Broker::connect(&url.trusting(&tls(story)?), "intruder").await?)
}

async fn rabbitmq_refuses(story: &Story) -> Result<()> {
    for (role, queue) in [
        (TASK_WORKER, amqp::RPC),
        (TASK_WORKER, amqp::DEAD_TASKS),
        (FWD_ROUTER, amqp::TASKS),
        (FWD_ROUTER, amqp::DEAD_TASKS),
        (BCK_ROUTER, amqp::RPC),
        (BCK_ROUTER, amqp::TASKS),
        (STORE_API, amqp::RPC),
        (BACKEND, amqp::TASKS),
        (BACKEND, "observed-results"),
    ] {
        let broker = broker_as(story, role).await?;
        let error = broker.consume(queue, Prefetch::Together(1)).await.err();
        let error = error.with_context(|| format!("{role} may read {queue}"))?;
        let text = format!("{:#}", anyhow::Error::from(error));
        ensure!(text.contains("ACCESS_REFUSED") || text.contains("access"), "{role} at {queue}: {text}");
        broker.close().await;
    }
    for role in [FWD_ROUTER, BCK_ROUTER, STORE_API, BACKEND] {
        let broker = broker_as(story, role).await?;
        ensure!(broker.declare().await.is_err(), "{role} may declare everything");
        broker.close().await;
    }
    Ok(())
}

async fn a_store_backend_enqueues_and_hears(story: &Story) -> Result<()> {
    let broker = broker_as(story, BACKEND).await?;
    let mut results = broker.consume_results("backend.results", "#", 10).await?;
    let task = price_update(&[label_mac(LABELS + 1)], 1);
    enqueue(&broker.publisher().await?, Priority::Normal, &serde_json::to_vec(&task)?).await?;
    let chunk = tokio::time::timeout(LIMIT, results.next_chunk(1)).await.context("no result came")??;
    let result: Value = serde_json::from_slice(&chunk[0].body)?;
    ensure!(result["task_id"] == json!(task.task_id) && result["outcome"] == "shown", "{result}");
    broker.close().await;
    Ok(())
}

fn registry_as(story: &Story, role: &str) -> Result<Registry> {
    let url: RedisUrl = told(story, role, "REDIS_URL")?.parse()?;
    Ok(Registry::connect(&url.trusting(&tls(story)?))?)
}

async fn redis_refuses(story: &Story) -> Result<()> {
    let label = label_mac(1);
    let rssi = Rssi::try_from(-1)?;
    let entry = RouteEntry { label, gateway: gateway_mac(STRANGER), rssi, at: now(), battery_mv: None };
    for role in [TASK_WORKER, STORE_API] {
        let registry = registry_as(story, role)?;
        ensure!(!registry.routes(label).await?.is_empty(), "{role} sees who hears a label");
        let written = registry.write_routes(std::slice::from_ref(&entry), LIMIT).await;
        ensure!(written.is_err(), "{role} may write routes");
    }
    let repairs = registry_as(story, STORE_API)?.claim_repairs(&[label], LIMIT).await;
    ensure!(repairs.is_err(), "store-api may claim repairs");
    for role in [FWD_ROUTER, BCK_ROUTER] {
        let repairs = registry_as(story, role)?.claim_repairs(&[label], LIMIT).await;
        ensure!(repairs.is_err(), "{role} may claim repairs");
    }
    ensure!(registry_as(story, FWD_ROUTER)?.epoch("forged").await.is_err(), "fwd-router may make others forget");
    Ok(())
}

async fn ledger_as(story: &Story, role: &str) -> Result<Ledger> {
    let url: LedgerUrl = told(story, role, "MONGODB_URL")?.parse()?;
    Ok(Ledger::connect(&url.trusting(&tls(story)?)).await?)
}

async fn mongodb_refuses(story: &Story) -> Result<()> {
    let action = ActionTaken {
        at: now(),
        who: "nobody".to_owned(),
        store: None,
        what: "forged".to_owned(),
        target: "all".to_owned(),
        detail: String::new(),
    };
    let worker = ledger_as(story, TASK_WORKER).await?;
    let refused = worker.record_action(&action).await.err().context("task-worker may write down actions")?;
    let text = format!("{:#}", anyhow::Error::from(refused));
    ensure!(text.contains("not authorized"), "{text}");
    ensure!(worker.actions(None, 1).await.is_err(), "task-worker may read actions");
    let api = ledger_as(story, STORE_API).await?;
    api.record_action(&action).await?;
    let settlement = story.results.seen().into_values().flatten().next().context("no result")?;
    let task_id = "forged".parse()?;
    let result = protocol::ResultMessage { task_id, ..settlement };
    let settled = api.settle(&[backbone::ledger::Settlement { result, shown: None }]).await;
    ensure!(settled.is_err(), "store-api may record outcomes");
    Ok(())
}

/// The gateways' port, to whoever has this gateway's certificate.
fn as_gateway(story: &Story, number: u32) -> Result<MqttUrl> {
    let certificates = certificates(&story.stack.servers)?;
    let file = |kind: &str| certificates.path(&format!("{}.{kind}", gateway_mac(number))).display().to_string();
    let identity = IdentityArgs {
        mqtt_client_cert: Some(PemFile::certificate(&file("pem")).map_err(anyhow::Error::msg)?),
        mqtt_client_key: Some(PemFile::key(&file("key")).map_err(anyhow::Error::msg)?),
    };
    let urls: MqttUrls = story.stack.servers.mosquittos[0].gateways_url().parse()?;
    urls.trusting(&tls(story)?, &identity).iter().next().cloned().context("no URL")
}

/// A gateway that calls itself like the first one, and wants to hear its commands.
async fn eavesdropper(story: &Story) -> Result<Stranger> {
    let filter = "/gw/00fa7e000001/action";
    ensure!(filter == topic(gateway_mac(1), Channel::Action), "the first gateway has another MAC");
    let subscription = backbone::mqtt::Subscription { filter, manual_acks: false };
    Stranger::called("gw-00fa7e000001", as_gateway(story, STRANGER)?, Some(subscription)).await
}

async fn a_gateway_is_nobody_else(story: &Story) -> Result<()> {
    let gateway = Stranger::at(as_gateway(story, STRANGER)?, None).await?;
    for channel in [Channel::Action, Channel::Response, Channel::Status] {
        let forged = gateway.say(&topic(gateway_mac(1), channel), b"{}", "id").await;
        ensure!(forged.is_err(), "a gateway may speak as another: {channel:?}");
    }
    ensure!(gateway.say(&topic(gateway_mac(STRANGER), Channel::Action), b"{}", "id").await.is_err(), "commands itself");
    gateway.say(&topic(gateway_mac(STRANGER), Channel::Status), br#"{"online":true}"#, "id").await?;
    gateway.leave().await;
    Ok(())
}

async fn the_command_line_asks_the_servers(story: &Story) -> Result<()> {
    let mut esl = Command::new(binary("esl")?);
    esl.args(["label", &label_mac(1).to_string(), "--json", "--direct"]).envs(story.stack.servers.env_of(STORE_API));
    let answer = tokio::time::timeout(LIMIT, esl.kill_on_drop(true).stdin(Stdio::null()).output()).await??;
    ensure!(answer.status.success(), "{answer:?}");
    let label: Value = serde_json::from_slice(&answer.stdout)?;
    ensure!(label["shown"]["version"] == 2 && !label["routes"].as_array().context("no routes")?.is_empty(), "{label}");
    Ok(())
}

/// A role that is told otherwise than the others says what is wrong, and waits as for a server that is away.
async fn whom_not_to_trust_is_one_sentence(story: &Story) -> Result<()> {
    let foreign = Certificates::new()?;
    let foreign = ("TLS_CA_FILE", foreign.authority().display().to_string());
    let not_trusted = "the server's certificate is not from an authority that is trusted here: TLS_CA_FILE";
    let amqp_url = told(story, TASK_WORKER, "AMQP_URL")?.replace("127.0.0.1", "localhost");
    let cases = [
        (TASK_WORKER, foreign.clone(), format!("no TLS with MongoDB: {not_trusted}")),
        (FWD_ROUTER, foreign.clone(), format!("no TLS with Redis: {not_trusted}")),
        (BCK_ROUTER, foreign, "no TLS with amqps://127.0.0.1:".to_owned()),
        (TASK_WORKER, ("AMQP_URL", amqp_url), "certificate is for another name than the URL has".to_owned()),
    ];
    let mut misled = Vec::new();
    for (role, told, said) in cases {
        let mut env = story.stack.servers.env_of(role);
        env.push(told);
        misled.push((Role::start(role, &[], &env, story.stack.log_dir())?, said));
    }
    let mut anonymous = story.stack.servers.env_of(BCK_ROUTER);
    anonymous.retain(|(name, _)| !name.starts_with("MQTT_CLIENT"));
    let role = Role::start(BCK_ROUTER, &[], &anonymous, story.stack.log_dir())?;
    misled.push((role, "the server wants a client certificate".to_owned()));
    for (role, said) in &misled {
        let what = format!("{} says: {said}", role.name());
        let heard = async |_: &Story| Ok(std::fs::read_to_string(role.log())?.contains(said.as_str()));
        story.until(&what, LIMIT, heard).await.with_context(|| role.log_tail())?;
        ensure!(!role.is_ready().await, "{} is ready", role.name());
    }
    for (mut role, _) in misled {
        ensure!(role.stop().await?.success(), "{} does not stop in order: {}", role.name(), role.log_tail());
    }
    Ok(())
}

#[tokio::test]
async fn files_that_cannot_be_used_are_one_sentence() -> Result<()> {
    let empty = Path::new("/dev/null").display().to_string();
    for role in [TASK_WORKER, FWD_ROUTER, BCK_ROUTER, STORE_API] {
        for file in ["/nonexistent/by/design", &empty] {
            let said = one_sentence(role, &run(role, &[], &[("TLS_CA_FILE", file)]).await?)?;
            ensure!(said.contains("--tls-ca-file") && said.contains(file), "it says: {said}");
        }
    }
    let said = one_sentence(FWD_ROUTER, &run(FWD_ROUTER, &[], &[("MQTT_CLIENT_CERT", &empty)]).await?)?;
    ensure!(said.contains("no certificate in it"), "it says: {said}");
    let key_only = run(FWD_ROUTER, &["--mqtt-client-key", "{mac}.key"], &[]).await?;
    let said = one_sentence(FWD_ROUTER, &key_only)?;
    ensure!(said.contains("--mqtt-client-cert"), "it says: {said}");
    Ok(())
}

/// The page's commands, as they stand.
#[tokio::test]
async fn the_pages_commands_issue_certificates_and_make_users() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("finding the repository")?;
    let page = std::fs::read_to_string(root.join("docs/SECURITY.md"))?;
    let commands = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).context("no commands")?;
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(root.join("security"), folder.path().join("security"))?;
    let issued = Command::new("sh").args(["-euc", commands]).current_dir(folder.path()).output().await?;
    ensure!(issued.status.success(), "{issued:?}");
    ensure!(String::from_utf8_lossy(&issued.stdout).matches(": OK").count() == 6, "{issued:?}");

    let servers = Servers::start(&ServersConfig::default()).await?;
    let management = servers.management().url().replacen("://", "://guest:guest@", 1);
    let users = Command::new("python3")
        .arg(root.join("security/rabbitmq.py"))
        .args([&management, servers.name()])
        .envs([("FWD_ROUTER_PASSWORD", "testbed"), ("BACKEND_PASSWORD", "testbed")])
        .output()
        .await?;
    ensure!(users.status.success(), "{users:?}");
    let url: AmqpUrl = servers.env_of(FWD_ROUTER).swap_remove(0).1.parse()?;
    let broker = Broker::connect(&url, "test").await?;
    broker.declare_requests().await?;
    ensure!(broker.declare_tasks().await.is_err(), "fwd-router may declare queues of tasks");
    servers.release().await
}
