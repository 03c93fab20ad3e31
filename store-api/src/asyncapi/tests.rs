//! The document is the committed one, AsyncAPI's tools find nothing wrong with it, and its schemas judge as the types do.

use super::document;
use protocol::{
    Action, Answer, BatchId, Command, CorrelationId, Currency, LabelMac, Outcome, Price, Priority, Reply, Report,
    ResultMessage, Sku, Store, Task, TaskId, Timestamp, Version, Wait,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::Path;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/asyncapi.json");
const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/asyncapi/check");

#[test]
fn the_committed_document_is_what_the_code_says() {
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("WRITE_ASYNCAPI").is_some() {
        std::fs::write(COMMITTED, &text).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == text,
        "docs/asyncapi.json is not what the code says: run `make asyncapi`, and read the difference"
    );
}

#[test]
fn examples_are_read_by_their_types() {
    let document = document();
    let examples = |message: &str| {
        let examples = document["components"]["messages"][message]["examples"].as_array().unwrap().clone();
        examples.into_iter().map(|example| example["payload"].to_string().into_bytes())
    };
    assert!(examples("task").all(|body| Task::parse(&body).is_ok()));
    assert!(examples("deadTask").all(|body| Task::parse(&body).is_err()));
    assert!(examples("answer").all(|body| Answer::parse(&body).is_ok()));
    assert!(examples("report").all(|body| Report::parse(&body).is_ok_and(|report| report.nonsense == 0)));
    assert!(examples("command").all(|body| serde_json::from_slice::<Command>(&body).is_ok()));
    assert!(examples("rpcReply").all(|body| serde_json::from_slice::<Reply>(&body).is_ok()));
    assert!(examples("result").all(|body| serde_json::from_slice::<ResultMessage>(&body).is_ok()));
    let lines = document["components"]["messages"]["rpcReplyLines"]["examples"][0]["payload"].clone();
    let replies: Vec<Reply> = lines.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(replies.len() == 2 && replies.iter().all(|reply| reply.id.is_some()));
}

#[test]
fn every_name_of_the_contract_is_an_address() {
    let document = document();
    let channels = document["channels"].as_object().unwrap();
    let addresses: Vec<_> = channels.values().map(|channel| channel["address"].as_str().unwrap()).collect();
    for expected in [
        "esl.tasks",
        "esl.tasks.urgent",
        "esl.tasks.dead",
        "esl.tasks.wait.64",
        "esl.tasks.urgent.wait.1",
        "esl.rpc",
        "esl.rpc.lines",
        "esl.reply.{session}.lines",
        "{store}.{outcome}",
        "/gw/{gatewayMac}/action",
        "/gw/{gatewayMac}/response",
        "/gw/{gatewayMac}/status",
    ] {
        assert!(addresses.contains(&expected), "{expected} is missing in {addresses:?}");
    }
}

#[test]
fn asyncapis_tools_find_nothing_wrong_and_schemas_judge_as_the_types_do() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    };
    let (document, samples) = (write("asyncapi.json", &document()), write("samples.json", &json!(samples())));
    let paths: [&Path; 2] = [&document, &samples];
    let checked = std::process::Command::new(CHECK).args(paths).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}

/// Values at the borders of what the types take, and what they say to them.
fn samples() -> Vec<Value> {
    [identifiers(), words(), messages(), orders()].concat()
}

fn texts<S: AsRef<str>>(schema: &str, texts: &[S], takes: fn(&str) -> bool) -> Vec<Value> {
    let judged = |text: &S| json!({ "schema": schema, "value": text.as_ref(), "valid": takes(text.as_ref()) });
    texts.iter().map(judged).collect()
}

fn values(schema: &str, values: &[Value], takes: fn(&[u8]) -> bool) -> Vec<Value> {
    let judged =
        |value: &Value| json!({ "schema": schema, "value": value, "valid": takes(value.to_string().as_bytes()) });
    values.iter().map(judged).collect()
}

fn identifiers() -> Vec<Value> {
    let lengths = [0, 1, 64, 65, 128, 129].map(|length| "x".repeat(length));
    let others = ["a.b", "a-b_C9", "a b", "ção", "a\u{7f}", "a\n"].map(str::to_owned);
    let names = [&lengths[..], &others, &["ç".repeat(64)]].concat();
    [
        texts("Store", &names, |text| text.parse::<Store>().is_ok()),
        texts("Sku", &names, |text| text.parse::<Sku>().is_ok()),
        texts("TaskId", &names, |text| text.parse::<TaskId>().is_ok()),
        texts("BatchId", &names, |text| text.parse::<BatchId>().is_ok()),
        texts("CorrelationId", &names, |text| text.parse::<CorrelationId>().is_ok()),
    ]
    .concat()
}

fn words() -> Vec<Value> {
    let prices = ["0", "00", "1.", ".5", "-1", "1,5", "299.90", "1.23456", "1.2345", "1e3", "0.99"];
    let long_prices = ["123456789012", "1234567890123"];
    let macs = ["001a2b3c4d5e", "001a2b3c4d5", "001a2b3c4d5g", ""];
    let words = ["price_update", "repair", "dance", "normal", "urgent", "shown", "unreachable", ""];
    [
        texts("Price", &[&prices[..], &long_prices].concat(), |text| text.parse::<Price>().is_ok()),
        texts("Currency", &["BRL", "brl", "BR", "BRLL", "B R"], |text| text.parse::<Currency>().is_ok()),
        texts("LabelMac", &macs, |text| text.parse::<LabelMac>().is_ok()),
        texts("Timestamp", &["2026-11-21T09:00:00.123Z", "2026-11-21", "soon"], |text| {
            text.parse::<Timestamp>().is_ok()
        }),
        texts("Action", &words, |text| text.parse::<Action>().is_ok()),
        texts("Priority", &words, |text| text.parse::<Priority>().is_ok()),
        texts("Outcome", &words, |text| text.parse::<Outcome>().is_ok()),
    ]
    .concat()
}

/// What gateways and store backends say.
fn messages() -> Vec<Value> {
    let readable: fn(&[u8]) -> bool = |body| Report::parse(body).is_ok_and(|report| report.nonsense == 0);
    let ack = json!({"deviceMac": "001a2b3c4d5e", "ack": true});
    let task = json!({"task_id": "t", "store": "s", "action": "blink", "sku": "k",
        "fields": {"name": "n", "price": "1", "x": true}});
    let report = json!({"labels": [{"mac": "001a2b3c4d5e", "rssi": -61}], "online": true});
    let strange = json!({"labels": [{"mac": "001a2b3c4d5e", "rssi": 50}]});
    let max = Version::MAX.get();
    let versions = [json!(0), json!(max), json!(max + 1), json!(-1), json!(1.5), json!("1")];
    [
        values("Version", &versions, is::<Version>),
        values("Answer", &variants(&ack, &["deviceMac", "ack"]), |body| Answer::parse(body).is_ok()),
        values("Task", &variants(&task, &["task_id", "store", "action"]), |body| Task::parse(body).is_ok()),
        values("Report", &[report, strange], readable),
    ]
    .concat()
}

/// What the backbone says.
fn orders() -> Vec<Value> {
    let command = json!({"id": "a", "deviceMac": "001a2b3c4d5e", "type": "ping", "unknown": [1]});
    let result = json!({"task_id": "t", "store": "s", "label": "001a2b3c4d5e", "outcome": "shown", "attempts": 1,
        "latency_ms": 3, "at": "2026-11-21T09:00:00Z"});
    let needed = ["task_id", "store", "label", "outcome", "attempts", "latency_ms", "at"];
    let reply = json!({"deviceMac": "001a2b3c4d5e", "outcome": "no_route"});
    let wait = json!({"for": "next_attempt", "since_ms": 1, "due_ms": 2, "waited_ms": 3, "first_delivery_ms": 4,
        "attempts": 5});
    let times = ["for", "since_ms", "due_ms", "waited_ms", "first_delivery_ms", "attempts"];
    [
        values("Command", &variants(&command, &["id", "deviceMac", "type"]), is::<Command>),
        values("ResultMessage", &variants(&result, &needed), is::<ResultMessage>),
        values("Reply", &variants(&reply, &["deviceMac", "outcome"]), is::<Reply>),
        values("Wait", &variants(&wait, &times), is::<Wait>),
    ]
    .concat()
}

/// The message as it is, without each of what it needs, and with each of that of another kind.
fn variants(message: &Value, needed: &[&str]) -> Vec<Value> {
    let without = |name: &str| {
        let mut message = message.clone();
        message.as_object_mut().unwrap().remove(name);
        message
    };
    let with_another = |name: &str| {
        let mut message = message.clone();
        message[name] = json!({});
        message
    };
    let changed = needed.iter().flat_map(|name| [without(name), with_another(name)]);
    std::iter::once(message.clone()).chain(changed).collect()
}

fn is<T: DeserializeOwned>(body: &[u8]) -> bool {
    serde_json::from_slice::<T>(body).is_ok()
}
