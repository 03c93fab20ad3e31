//! The one process for a store at its edges: gateways with TLS and passwords, and data folders that it can't use.

use crate::bad_config::{one_sentence, run};
use anyhow::{Context, Result, ensure};
use backbone::{
    mqtt::{IdentityArgs, MqttUrl, MqttUrls},
    service::{Authorities, TlsArgs},
};
use integration::{Stranger, gateway_mac, labels};
use protocol::names::mqtt::{Channel, topic};
use serde_json::json;
use std::{path::Path, time::Duration};
use testbed::{Certificates, GATEWAY_EMULATOR, Role, STANDALONE, free_port, role::binary};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "secret";
/// Of `secret`, by `argon2 saltsaltsalt -id -e -m 4 -t 1 -p 1`: as little work as a test may have.
const HASH: &str = "$argon2id$v=19$m=16,t=1,p=1$c2FsdHNhbHRzYWx0$6w2bIY2E3XHuq+PQacQOJzbUKK1cbBEv6qHPn5US8Ns";

#[tokio::test]
async fn gateways_come_over_tls_with_passwords_and_are_nobody_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::new()?;
    let files = certificates.server("IP:127.0.0.1")?;
    let credentials = folder.path().join("gateways");
    let lines: String = (1..=3).map(|number| format!("{}:{HASH}\n", gateway_mac(number))).collect();
    std::fs::write(&credentials, lines)?;
    let (mqtt, api) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
    let args = [
        ("--data", text(&folder.path().join("data"))?),
        ("--mqtt-tls-listen", mqtt.clone()),
        ("--mqtt-certificate", text(&files.certificate)?),
        ("--mqtt-key", text(&files.key)?),
        ("--mqtt-credentials", text(&credentials)?),
        ("--api-addr", api.clone()),
    ];
    let args: Vec<_> = args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    let mut backbone = Role::start(STANDALONE, &args, &[], folder.path())?;
    let args = ["--gateways", "2", "--labels", "20", "--write-time", "0", "--report-interval", "500ms"];
    let args = args.iter().chain(&["--protocol", "mixed"]).map(ToString::to_string).collect::<Vec<_>>();
    let authority = text(&certificates.authority())?;
    // Each emulated gateway signs in as itself.
    let url = format!("mqtts://{{mac}}:{PASSWORD}@{mqtt}");
    let env = [("MQTT_URL", url), ("TLS_CA_FILE", authority.clone())];
    let mut emulator = Role::start(GATEWAY_EMULATOR, &args, &env, folder.path())?;
    backbone.wait_ready(LIMIT).await?;
    emulator.wait_ready(LIMIT).await?;

    let fields = json!({"name": "Furadeira", "price": "10.90", "currency": "BRL"});
    let tasks = json!({ "tasks": [{"labels": labels(20), "version": 1, "fields": fields}] });
    let enqueued = testbed::http_builder().build()?.post(format!("http://{api}/v1/stores/sp-014/tasks")).json(&tasks);
    let answer = enqueued.send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    let shown = async || {
        let labels = emulator.json("/labels").await?;
        let labels = labels.as_array().context("no labels")?.clone();
        Ok(labels.iter().filter(|label| label["shown"]["version"] == 1).count() == 20)
    };
    until("all labels show their price", shown).await?;
    a_gateway_is_nobody_else(&mqtt, &authority).await?;
    ensure!(emulator.stop().await?.success(), "{}", emulator.log_tail());
    ensure!(backbone.stop().await?.success(), "{}", backbone.log_tail());
    Ok(())
}

async fn a_gateway_is_nobody_else(mqtt: &str, authority: &str) -> Result<()> {
    let own = gateway_mac(3);
    let tls = TlsArgs { tls_ca_file: Some(Authorities::read(authority).map_err(anyhow::Error::msg)?) };
    let urls: MqttUrls = format!("mqtts://{own}:{PASSWORD}@{mqtt}").parse()?;
    let url: MqttUrl = urls.trusting(&tls, &IdentityArgs::default()).iter().next().cloned().context("no URL")?;
    let gateway = Stranger::called(&format!("gw-{own}"), url, None).await?;
    for channel in [Channel::Action, Channel::Response, Channel::Status] {
        let forged = gateway.say(&topic(gateway_mac(1), channel), b"{}", "id").await;
        ensure!(forged.is_err(), "a gateway may speak as another: {channel:?}");
    }
    gateway.say(&topic(own, Channel::Status), br#"{"online":true}"#, "id").await?;
    gateway.leave().await;
    Ok(())
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written_is_one_sentence() -> Result<()> {
    // Not by permissions, which mean nothing to root: no file can be made there by anybody.
    let kernels = ["/sys/kernel", "/proc/self/task"].into_iter().find(|path| Path::new(path).is_dir());
    let kernels = kernels.context("a system without /sys and /proc")?;
    let output = run(STANDALONE, &["--data", kernels, "--mqtt-listen", "127.0.0.1:0"], &[]).await?;
    let said = one_sentence(STANDALONE, &output)?;
    ensure!(said.starts_with(&format!("the data folder {kernels} can't be ")), "it says: {said}");
    Ok(())
}

/// Runs a command on a full disk, after it has run there once if its first argument is not `new`; says if that changes
/// the data folder's file, or leaves anything beside it. By what the machine allows: on a disk of its own that is gone
/// with the command, as root or in a user namespace; else no file may grow.
struct FullDisk {
    namespace: &'static [&'static str],
    fill: &'static str,
}

impl FullDisk {
    const NAMESPACES: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--user", "--map-root-user", "--mount"]];

    async fn find() -> Self {
        for namespace in Self::NAMESPACES {
            let mount = ["mount", "-t", "tmpfs", "none", "/tmp"];
            let tried = Command::new(namespace[0]).args(&namespace[1..]).args(mount).output().await;
            if tried.is_ok_and(|tried| tried.status.success()) {
                return Self { namespace, fill: r#"cat /dev/zero >"$0/filler" 2>/dev/null"# };
            }
        }
        Self { namespace: &["env"], fill: "trap '' XFSZ; ulimit -f 0" }
    }

    async fn run(&self, disk: &Path, first: &str, args: &[String]) -> Result<std::process::Output> {
        let mount = if self.namespace[0] == "env" { ":" } else { r#"mount -t tmpfs -o size=3m none "$0""# };
        let script = format!(
            r#"first=$1; shift; {mount} || exit; [ $first = new ] || "$@" >/dev/null 2>&1; {}
            before=$(cksum "$0"/data/esl.db* 2>&1); "$@"; ended=$?; after=$(cksum "$0"/data/esl.db* 2>&1)
            [ "$before" = "$after" ] || echo "before: $before, after: $after" >&2; exit $ended"#,
            self.fill
        );
        let mut command = Command::new(self.namespace[0]);
        command.args(&self.namespace[1..]).args(["sh", "-c", &script]).arg(disk).arg(first);
        let running = command.arg(binary(STANDALONE)?).args(args).kill_on_drop(true).output();
        Ok(tokio::time::timeout(LIMIT, running).await??)
    }
}

#[tokio::test]
async fn a_full_disk_is_one_sentence_and_nothing_is_touched() -> Result<()> {
    let full = FullDisk::find().await;
    // The first time there is room, and it ends because it can't listen.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    for first in ["new", "ours"] {
        let disk = tempfile::tempdir()?;
        let data = text(&disk.path().join("data"))?;
        let args = ["--data", &data, "--mqtt-listen", &taken.local_addr()?.to_string()].map(str::to_owned);
        let said = one_sentence(STANDALONE, &full.run(disk.path(), first, &args).await?)?;
        ensure!(said == format!("the disk of the data folder {data} is full"), "{first}: it says: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_data_folder_of_a_newer_version_is_one_sentence_and_stays_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The first time it makes the folder, and ends because it can't listen.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let args = ["--data", &text(folder.path())?, "--mqtt-listen", &taken.local_addr()?.to_string()];
    run(STANDALONE, &args, &[]).await?;
    let file = folder.path().join("esl.db");
    let mut bytes = std::fs::read(&file)?;
    // The version of what is in it (https://sqlite.org/fileformat2.html#user_version_number).
    bytes[60..64].copy_from_slice(&1_000_000_u32.to_be_bytes());
    std::fs::write(&file, &bytes)?;
    let said = one_sentence(STANDALONE, &run(STANDALONE, &args, &[]).await?)?;
    ensure!(said.contains("newer"), "it says: {said}");
    ensure!(std::fs::read(&file)? == bytes, "the file has changed");
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path is not UTF-8")
}

async fn until(what: &str, condition: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let end = std::time::Instant::now() + LIMIT;
    while !condition().await? {
        ensure!(std::time::Instant::now() < end, "still not after {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
