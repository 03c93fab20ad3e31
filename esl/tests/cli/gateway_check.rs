//! `esl gateway-check` against emulated gateways: one that is as it should be, and one with each of its faults.

use crate::fixture::*;
use serde_json::{Value, json};
use std::{collections::BTreeMap, process::Stdio};
use tempfile::TempDir;
use testbed::{GATEWAY_EMULATOR, Mosquitto, MosquittoOptions, Role, STANDALONE, free_port};
use tokio::process::Command;

/// A broker, gateways, and nothing of the backbone.
struct Lab {
    emulator: Role,
    url: String,
    // Dropped after whoever uses it.
    _broker: Option<Mosquitto>,
    folder: TempDir,
}

impl Lab {
    async fn open(gateways: u32, args: &[&str]) -> Self {
        let broker = Mosquitto::start(MosquittoOptions::default()).await.unwrap();
        let url = broker.url();
        Self::with(Some(broker), url.clone(), url, gateways, args)
    }

    /// With gateways that connect to `gateways_url` instead of the broker.
    fn with(broker: Option<Mosquitto>, url: String, gateways_url: String, gateways: u32, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gateways = gateways.to_string();
        let usual = ["--gateways", &gateways, "--labels", "60", "--report-interval", "300ms", "--write-spread", "0"];
        let args: Vec<_> = usual.iter().chain(args).map(ToString::to_string).collect();
        let emulator = Role::start(GATEWAY_EMULATOR, &args, &[("MQTT_URL", gateways_url)], folder.path()).unwrap();
        Self { emulator, url, _broker: broker, folder }
    }

    fn check(&self, gateway: u32, args: &[&str]) -> Running {
        let mac = format!("00:FA:7E:00:00:{gateway:02x}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_esl"));
        command.args(["gateway-check", "--mqtt", &self.url, "--mac", &mac, "--json"]).args(args);
        if !args.contains(&"--timeout") {
            command.args(["--timeout", "2s"]);
        }
        command.env_remove("RUST_LOG").env_remove("MQTT_URL").current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Running::of(command)
    }

    async fn set_faults(&self, gateway: u32, faults: Value) {
        self.put(&format!("/gateways/00fa7e0000{gateway:02x}/faults"), faults).await;
    }

    async fn put(&self, path: &str, body: Value) {
        let client = testbed::http_builder().build().unwrap();
        let answer = client.put(format!("{}{path}", self.emulator.admin_url())).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    }

    async fn post(&self, path: &str) {
        let client = testbed::http_builder().build().unwrap();
        let answer = client.post(format!("{}{path}", self.emulator.admin_url())).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    }
}

/// The verdict and the findings of each check.
fn checks(report: &Value) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    let findings =
        |check: &Value| check["findings"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join("; ");
    checks.map(|check| (text(&check["name"]), (text(&check["verdict"]), findings(check)))).collect()
}

#[track_caller]
fn assert_finds(report: &Value, name: &str, verdict: &str, finding: &str) {
    let (was, findings) = &checks(report)[name];
    assert!(was == verdict && findings.contains(finding), "{name}: {was} {findings}, expected {verdict} {finding}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_gateway_passes_all_checks_through_a_tap() {
    for (version, echo) in [("v5", "property"), ("v311", "body")] {
        let broker = Mosquitto::start(MosquittoOptions::default()).await.unwrap();
        let tap = format!("127.0.0.1:{}", free_port().unwrap());
        let (url, through) = (broker.url(), format!("mqtt://{tap}"));
        let args = ["--protocol", version, "--echo", echo, "--write-time", "100ms", "--connections", "8"];
        let lab = Lab::with(Some(broker), url, through, 1, &args);
        let report = lab.check(1, &["--tap", &tap, "--timeout", "5s"]).end().await.json(0);
        let bad: Vec<_> = checks(&report).into_iter().filter(|(_, (verdict, _))| verdict != "pass").collect();
        // An emulated gateway takes no notice of a command's expiry, and what it does late it says.
        assert_eq!(bad.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["expiry"], "{bad:?}");
        match version {
            "v5" => assert_finds(&report, "expiry", "warning", "after it had expired"),
            _ => assert_finds(&report, "expiry", "skipped", "MQTT 3.1.1 does not tell"),
        }
        assert_eq!((&report["echo"], &report["interrupted"]), (&json!(echo), &json!(false)));
        assert_finds(&report, "connection", "pass", if version == "v5" { "MQTT 5" } else { "MQTT 3.1.1" });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_gateway_is_found() {
    let faults = [
        (json!({"nack_rate": 1, "nack_error": "retry"}), "answers", "refused with \"retry\""),
        (json!({"nack_rate": 1, "nack_error": "kaputt"}), "errors", "\"kaputt\" is no error"),
        (json!({"silence_rate": 1}), "answers", "was not answered"),
        (json!({"lost_answer_rate": 1}), "once", "commands were not answered"),
        (json!({"duplicate_answer_rate": 1}), "once", "answered more often"),
        (json!({"late_rate": 1, "late_by": "3s"}), "in_time", "answers came after more than 2.00 s"),
        (json!({"late_answer_rate": 1, "late_answer_by": "3s"}), "in_time", "answers came after more than 2.00 s"),
        (json!({"late_rate": 0.5, "late_by": "400ms"}), "order", "another order"),
        (json!({"rogue_rssi": true}), "strength", "RSSI outside -127 to 20 dBm"),
        (json!({"forged_answers": 3}), "unasked", "made up"),
        (json!({"unheard_error": "who_is_that"}), "errors", "\"who_is_that\" is no error"),
    ];
    let mut lab = Lab::open(faults.len() as u32 + 1, &["--write-time", "20ms", "--connections", "16"]).await;
    soon(lab.emulator.wait_ready(SOON)).await.unwrap();
    for (gateway, (fault, ..)) in (1..).zip(&faults) {
        lab.set_faults(gateway, fault.clone()).await;
    }
    let hung = faults.len() as u32 + 1;
    lab.post(&format!("/gateways/00fa7e0000{hung:02x}/hang")).await;
    // A label that no gateway hears, for the gateway that says something strange of such labels.
    let unheard = "001a2b00003c";
    lab.put(&format!("/labels/{unheard}/place"), json!({"nowhere": true})).await;
    let start = |gateway: u32| {
        let args = match faults.get(gateway as usize - 1).map(|(_, check, _)| *check) {
            // In time, whatever else this machine does: the draws of the fault decide.
            Some("order") => &["--timeout", "5s"][..],
            Some("errors") if gateway + 1 == hung => &["--label", unheard],
            _ => &["--report-wait", "3s"],
        };
        lab.check(gateway, args)
    };
    let running: Vec<_> = (1..=hung).map(start).collect();
    let mut reports = Vec::new();
    for running in running {
        reports.push(running.end().await);
    }
    for ((fault, check, finding), answer) in faults.iter().zip(&reports) {
        // Names that nobody knows and refusals are no failure by themselves.
        let (verdict, code) = if *check == "errors" { ("warning", None) } else { ("fail", Some(1)) };
        assert!(code.is_none() || answer.code == code, "{fault}: {answer:?}");
        let report: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        assert_finds(&report, check, verdict, finding);
    }
    assert_finds(&reports.last().unwrap().json(1), "reports", "fail", "no report of any label came");
}

/// Where whoever has no other broker tries his gateway: the backbone is there, and hears it, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_are_checked_on_the_broker_inside_standalone() {
    let folder = tempfile::tempdir().unwrap();
    let mqtt = format!("127.0.0.1:{}", free_port().unwrap());
    let data = folder.path().join("data").to_str().unwrap().to_owned();
    let args = ["--data", &data, "--mqtt-listen", &mqtt, "--api-addr", "127.0.0.1:0"].map(str::to_owned);
    let mut standalone = Role::start(STANDALONE, &args, &[], folder.path()).unwrap();
    soon(standalone.wait_ready(SOON)).await.unwrap();
    let gateways = format!("mqtt://{mqtt}");
    let inspector = format!("mqtt://inspector@{mqtt}");
    let mut lab = Lab::with(None, inspector, gateways, 3, &["--write-time", "20ms", "--connections", "8"]);
    soon(lab.emulator.wait_ready(SOON)).await.unwrap();
    lab.set_faults(2, json!({"duplicate_answer_rate": 1})).await;
    lab.set_faults(3, json!({"nack_rate": 1, "nack_error": "retry"})).await;
    let running = [lab.check(1, &["--timeout", "5s"]), lab.check(2, &[]), lab.check(3, &[])];
    let [good, twice, refusing] = running.map(Running::end);
    let report = good.await.json(0);
    let bad: Vec<_> = checks(&report).into_iter().filter(|(_, (verdict, _))| verdict == "fail").collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_finds(&report, "answers", "pass", "a price is acknowledged");
    assert_finds(&report, "reports", "pass", "labels");
    assert_finds(&twice.await.json(1), "once", "fail", "answered more often");
    assert_finds(&refusing.await.json(1), "answers", "fail", "refused with \"retry\"");
    assert!(soon(standalone.stop()).await.unwrap().success(), "{}", standalone.log_tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_slow_or_says_little_is_warned_of() {
    let args =
        ["--echo", "none", "--single-reports", "--write-time", "300ms", "--connections", "1", "--write-queue", "2"];
    let mut lab = Lab::open(1, &args).await;
    soon(lab.emulator.wait_ready(SOON)).await.unwrap();
    let report = lab.check(1, &["--timeout", "5s"]).end().await.json(0);
    assert_finds(&report, "echo", "warning", "name only the label");
    assert_finds(&report, "reports", "warning", "batch them");
    assert_finds(&report, "window", "pass", "were too much");
    assert_eq!(lab.check(1, &["--strict", "--timeout", "5s"]).end().await.json(1)["verdict"], "warning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_when_it_is_interrupted_and_says_what_it_found() {
    let mut lab = Lab::open(1, &["--write-time", "100ms"]).await;
    soon(lab.emulator.wait_ready(SOON)).await.unwrap();
    lab.set_faults(1, json!({"silence_rate": 1})).await;
    let before = lab.emulator.metric("gateway_emulator_commands_total").await.unwrap();
    let running = lab.check(1, &["--timeout", "10min"]);
    soon(async {
        while lab.emulator.metric("gateway_emulator_commands_total").await.unwrap() <= before {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    running.interrupt();
    let report = running.end().await.json(130);
    assert_eq!(report["interrupted"], true);
    assert_finds(&report, "reports", "pass", "60 labels");
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_one_sentence() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_esl"));
    command.args(["gateway-check", "--mqtt", "mqtt://user:hunter2@127.0.0.1:1", "--mac", "00fa7e000001"]);
    command
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let answer = Running::of(command).end().await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.starts_with("esl: MQTT broker at mqtt://127.0.0.1:1: no connection"), "{answer:?}");
    assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
}
