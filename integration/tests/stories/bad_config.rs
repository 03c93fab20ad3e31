//! Bad configuration is one sentence on standard error and a failure exit; passwords are not in it.

use anyhow::{Context, Result, ensure};
use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Output, Stdio},
    time::Duration,
};
use testbed::{BCK_ROUTER, FWD_ROUTER, GATEWAY_EMULATOR, HTTP_ROUTER, TASK_WORKER, role::binary};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

const LIMIT: Duration = Duration::from_secs(20);

/// What each role can be told, besides what all can.
const VARIABLES: [(&str, &[&str]); 5] = [
    (TASK_WORKER, &["AMQP_URL", "MONGODB_URL", "RPC_TIMEOUT", "RPC", "HTTP_RPC_URL"]),
    (FWD_ROUTER, &["AMQP_URL", "REDIS_URL", "MQTT_URL", "RPC_TIMEOUT"]),
    (BCK_ROUTER, &["AMQP_URL", "REDIS_URL", "MQTT_URL", "RPC_TIMEOUT"]),
    (HTTP_ROUTER, &["HTTP_ADDR", "REDIS_URL", "MQTT_URL", "RPC_TIMEOUT"]),
    (GATEWAY_EMULATOR, &["MQTT_URL"]),
];
const OF_ALL: [&str; 4] = ["ADMIN_ADDR", "DRAIN_GRACE", "RUST_LOG", "LOG_FORMAT"];

/// Values that can't be used, by variable.
const BAD: [(&str, &[&str]); 11] = [
    ("AMQP_URL", &["http://u:hunter2@h", "amqp://u:hunter2@h:port", "amqp://u:hunter2@h/v?heartbeat=often", "h"]),
    ("REDIS_URL", &["amqp://u:hunter2@h", "redis://u:hunter2@h/zero", "redis://u:hunter2@", ""]),
    ("MQTT_URL", &["http://u:hunter2@h", "mqtt://u:hunter2@h,", "mqtt://u:hunter2@a,b", "mqtt://u:hunter2@h:x"]),
    ("MONGODB_URL", &["http://u:hunter2@h", "mongodb://u:hunter2@h/esl?retryWrites=perhaps", "mongodb://u:hunter2@"]),
    ("RPC_TIMEOUT", &["15", "0s", "-1s", "soon", ""]),
    ("RPC", &["soap"]),
    ("HTTP_RPC_URL", &["amqp://u:hunter2@h", "http://u:hunter2@h:port", "h"]),
    ("HTTP_ADDR", &["8081", "nowhere:80"]),
    ("ADMIN_ADDR", &["9090", "nowhere:80", "127.0.0.1:99999"]),
    ("RUST_LOG", &["esl=loud,,=", "task_worker=chatty"]),
    ("LOG_FORMAT", &["xml"]),
];

#[tokio::test]
async fn a_bad_value_is_one_sentence_that_names_its_variable() -> Result<()> {
    for (role, own) in VARIABLES {
        for (variable, values) in BAD {
            if !own.contains(&variable) && !OF_ALL.contains(&variable) {
                continue;
            }
            for value in values {
                refuses(role, variable, value).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_admin_port_in_use_is_one_sentence() -> Result<()> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    for (role, _) in VARIABLES {
        refuses(role, "ADMIN_ADDR", &taken.local_addr()?.to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn help_lists_every_variable_with_its_default_and_no_password() -> Result<()> {
    for (role, own) in VARIABLES {
        let secret = own.iter().filter(|name| name.ends_with("URL")).map(|&name| (name, "x://u:hunter2@h"));
        let output = run(role, &["--help"], &secret.collect::<Vec<_>>()).await?;
        ensure!(output.status.success(), "{role} --help ended with {}", output.status);
        let help = String::from_utf8(output.stdout)?;
        ensure!(!help.contains("hunter2"), "{role} --help prints a password:\n{help}");
        for variable in own.iter().copied().chain(OF_ALL) {
            let entry = help
                .split("\n\n")
                .flat_map(|part| part.split("\n  -"))
                .find(|entry| entry.contains(&format!("[env: {variable}")));
            let entry = entry.with_context(|| format!("{role} --help doesn't list {variable}:\n{help}"))?;
            ensure!(entry.contains("[default: "), "{role} --help gives no default of {variable}: {entry}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_back_router_refuses_a_broker_without_shared_subscriptions() -> Result<()> {
    let broker = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("mqtt://u:hunter2@{}", broker.local_addr()?);
    let refuse = tokio::spawn(offer_no_shared_subscriptions(broker));
    let output = run(BCK_ROUTER, &[], &[("MQTT_URL", &url), ("RUST_LOG", "error")]).await?;
    refuse.abort();
    let sentence = one_sentence(BCK_ROUTER, &output)?;
    ensure!(sentence.contains("shared subscriptions") && sentence.contains("127.0.0.1"), "it says: {sentence}");
    Ok(())
}

/// An MQTT 5 broker that answers each CONNECT with a CONNACK of success that says `Shared Subscription Available: 0`
/// (MQTT 5.0, sections 3.2 and 3.2.2.3.13), and then nothing more.
async fn offer_no_shared_subscriptions(broker: tokio::net::TcpListener) -> Result<()> {
    const CONNACK: [u8; 7] = [0x20, 5, 0, 0, 2, 0x2A, 0];
    let mut connections = Vec::new();
    loop {
        let (mut connection, _) = broker.accept().await?;
        let mut connect = [0; 1024];
        let length = connection.read(&mut connect).await?;
        ensure!(length > 0 && connect[0] == 0x10, "not a CONNECT: {:?}", &connect[..length]);
        connection.write_all(&CONNACK).await?;
        connections.push(connection);
    }
}

async fn refuses(role: &str, variable: &str, value: &str) -> Result<()> {
    let output = run(role, &[], &[(variable, value)]).await?;
    let said = one_sentence(role, &output).with_context(|| format!("{role} with {variable}={value:?}"))?;
    ensure!(said.contains(variable), "{role} with {variable}={value:?} doesn't name the variable: {said}");
    Ok(())
}

/// What a role that refuses to start says.
pub(crate) fn one_sentence(role: &str, output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(!output.status.success(), "{role} ended with success and said: {said}");
    ensure!(output.stdout.is_empty(), "{role} writes to standard output");
    ensure!(!said.contains("hunter2"), "{role} prints the password: {said}");
    ensure!(!said.is_empty() && said.lines().count() == 1, "{role} doesn't say one sentence: {said}");
    Ok(said)
}

/// Runs a role until it ends by itself.
pub(crate) async fn run(role: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(binary(role)?);
    command.args(args).env_clear().envs(env.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.spawn()?.wait_with_output()).await;
    Ok(output.with_context(|| format!("{role} with {env:?} has not ended within {LIMIT:?}"))??)
}
