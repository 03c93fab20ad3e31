//! Every message, with examples that its type writes.

use super::reference;
use protocol::{
    Action, Answer, Command, CorrelationId, FieldValue, Fields, GatewayMac, LabelMac, Outcome, Priority, Refusal,
    Reply, ReplyOutcome, Report, ResultMessage, Rssi, Sighting, Task, TaskId, Timestamp, Version, Wait, WaitFor,
    names::amqp,
};
use serde_json::{Value, json};

const LABELS: [LabelMac; 2] = [
    LabelMac::from_octets([0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e]),
    LabelMac::from_octets([0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5f]),
];
const GATEWAY: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);
const LINES: &str = "application/x-ndjson";

pub(super) fn messages() -> Value {
    let reason = json!({ (amqp::REASON): { "type": "string", "description": "Why it can't be used." } });
    let wait = json!({ (amqp::WAIT): {
        "type": "string", "contentMediaType": "application/json", "contentSchema": reference("components/schemas/Wait"),
        "description": "What its labels wait for, and how long, as JSON.",
    } });
    json!({
        "task": message("Task", "A change of what labels show, or something else to be done with them", &tasks(), None),
        "deadTask": dead_task(reason),
        "waitingTask": with_example_header(
            message("Task", "A task narrowed to labels that wait", &tasks()[..1], Some(wait)),
            json!({ (amqp::WAIT): waiting().to_json() }),
        ),
        "result": message("ResultMessage", "How one label of one task ended", &results(), None),
        "rpcRequest": correlated(message("Command", "One attempt at one label", &commands()[..1], Some(request_properties()))),
        "rpcRequestLines": lines("One attempt at each of several labels: a Command on each line", &commands(), Some(line_properties())),
        "rpcReply": correlated(message("Reply", "How an RPC ended", &replies()[..3], Some(reply_properties()))),
        "rpcReplyLines": lines("How several RPCs ended: a Reply with its id on each line", &replies()[3..], None),
        "command": echoed(message("Command", "What a gateway is to do with a label", &commands(), Some(command_properties()))),
        "answer": echoed(message("Answer", "What became of a command", &answers(), Some(answer_properties()))),
        "report": message("Report", "Which labels a gateway hears, or that it comes or goes", &reports(), None),
    })
}

fn message(schema: &str, title: &str, examples: &[(&str, Value)], headers: Option<Value>) -> Value {
    let example = |(name, payload): &(&str, Value)| json!({ "name": name, "payload": payload });
    let mut message = json!({ "title": title, "contentType": "application/json" });
    message["payload"] = reference(&format!("components/schemas/{schema}"));
    message["examples"] = examples.iter().map(example).collect();
    with_headers(message, headers)
}

/// Anything may be published as a task.
fn dead_task(headers: Value) -> Value {
    let body = json!({ "task_id": "t-1", "store": "sp-014", "action": "price_update" });
    let reason = Task::parse(body.to_string().as_bytes()).err().map(|error| error.to_string());
    let mut message =
        message("", "A task, or what was published as one, as it came", &[("no label", body)], Some(headers));
    message["payload"] = json!({ "description": "As it was published." });
    with_example_header(message, json!({ (amqp::REASON): reason }))
}

fn with_example_header(mut message: Value, headers: Value) -> Value {
    message["examples"][0]["headers"] = headers;
    message
}

/// Several in one message.
fn lines(title: &str, examples: &[(&str, Value)], headers: Option<Value>) -> Value {
    let text: String = examples.iter().map(|(_, payload)| format!("{payload}\n")).collect();
    let message = json!({
        "title": title,
        "contentType": LINES,
        "payload": { "type": "string" },
        "examples": [{ "name": "several", "payload": text.trim_end() }],
    });
    with_headers(message, headers)
}

fn with_headers(mut message: Value, headers: Option<Value>) -> Value {
    if let Some(properties) = headers {
        message["headers"] = json!({ "type": "object", "properties": properties });
    }
    message
}

fn correlated(mut message: Value) -> Value {
    message["correlationId"] =
        json!({ "location": "$message.header#/correlation_id", "description": "The AMQP property correlation_id." });
    message
}

/// A gateway may name the command in the body or by the property, or name only the label.
fn echoed(mut message: Value) -> Value {
    message["correlationId"] = json!({
        "location": "$message.payload#/id",
        "description": "Also the MQTT 5 correlation data. An answer without either belongs to its label's command.",
    });
    message
}

fn request_properties() -> Value {
    let turns = "0 or absent: a newcomer; 1: it was told gateway_full and comes back; 2: of an urgent task.";
    json!({
        "correlation_id": reference("components/schemas/CorrelationId"),
        "reply_to": { "type": "string", "description": "The asker's reply queue." },
        "expiration": { "type": "string", "pattern": "^[0-9]+$", "description": "How many milliseconds are left." },
        "priority": { "type": "integer", "enum": protocol::Turn::ALL.map(amqp::priority), "description": turns },
    })
}

fn line_properties() -> Value {
    let mut properties = request_properties();
    properties.as_object_mut().map(|properties| properties.remove("correlation_id"));
    properties
}

fn reply_properties() -> Value {
    json!({ "correlation_id": reference("components/schemas/CorrelationId") })
}

fn command_properties() -> Value {
    json!({
        "responseTopic": { "type": "string", "description": "MQTT 5 response topic: the gateway's own." },
        "correlationData": reference("components/schemas/CorrelationId"),
        "messageExpiryInterval": { "type": "integer", "minimum": 0, "description": "For how many seconds somebody waits for the answer." },
    })
}

fn answer_properties() -> Value {
    json!({ "correlationData": reference("components/schemas/CorrelationId") })
}

fn id<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn fields() -> Fields {
    let name = Some("Furadeira 650W".to_owned());
    Fields { name, price: id("299.90"), currency: id("BRL"), ..Fields::default() }
}

fn tasks() -> Vec<(&'static str, Value)> {
    let task = |task_id: &str, action| {
        let (task_id, store) = (id::<TaskId>(task_id)?, id("sp-014")?);
        let (fields, priority) = (Fields::default(), Priority::Normal);
        Some(Task {
            task_id,
            store,
            action,
            sku: None,
            labels: None,
            version: None,
            fields,
            batch: None,
            timeout_ms: None,
            priority,
        })
    };
    let price = task("0198c0de-1234-7000-8000-000000000000", Action::PriceUpdate).map(|task| Task {
        sku: id("7891000100103"),
        labels: Some(LABELS.to_vec()),
        version: Version::try_from(42).ok(),
        fields: fields(),
        batch: id("promo-2026-11"),
        timeout_ms: Some(180_000),
        ..task
    });
    let product = price.clone().map(|task| Task { labels: None, version: None, batch: None, timeout_ms: None, ..task });
    let blink = task("blink-7", Action::Blink).map(|task| Task {
        labels: Some(LABELS[..1].to_vec()),
        fields: Fields { extra: [("seconds".to_owned(), FieldValue::Integer(30))].into(), ..Fields::default() },
        priority: Priority::Urgent,
        ..task
    });
    vec![("price of two labels", json!(price)), ("price of a product", json!(product)), ("urgent blink", json!(blink))]
}

fn results() -> Vec<(&'static str, Value)> {
    let Some((task_id, store)) = id::<TaskId>("0198c0de-1234-7000-8000-000000000000").zip(id("sp-014")) else {
        return Vec::new();
    };
    let shown = ResultMessage {
        task_id,
        store,
        sku: id("7891000100103"),
        label: LABELS[0],
        version: Version::try_from(42).ok(),
        outcome: Outcome::Shown,
        reason: None,
        gateway: Some(GATEWAY),
        attempts: 1,
        latency_ms: 12,
        at: Timestamp::from_unix_millis(1_795_251_600_123),
        batch: id("promo-2026-11"),
    };
    let rejected = ResultMessage {
        outcome: Outcome::Rejected,
        reason: Some("insufficient_battery".to_owned()),
        attempts: 2,
        latency_ms: 840,
        ..shown.clone()
    };
    vec![("shown", json!(shown)), ("rejected", json!(rejected))]
}

fn correlation() -> Option<CorrelationId> {
    id("01a1fd96-523c-71c9-88f6-755fd1d43d1a")
}

fn commands() -> Vec<(&'static str, Value)> {
    let command = |action, version: Option<u64>, fields| {
        let version = version.and_then(|version| Version::try_from(version).ok());
        correlation().map(|id| Command { id, label: LABELS[0], action, version, fields })
    };
    vec![
        ("price", json!(command(Action::PriceUpdate, Some(42), fields()))),
        ("ping", json!(command(Action::Ping, None, Fields::default()))),
    ]
}

fn answers() -> Vec<(&'static str, Value)> {
    let answer = |id, result| read(&Answer { label: LABELS[0], id, result }.to_json());
    vec![
        ("done", answer(correlation(), Ok(()))),
        ("refused", answer(correlation(), Err(Refusal::new("queue_full")))),
        ("done, by a gateway that can't echo", answer(None, Ok(()))),
    ]
}

fn reports() -> Vec<(&'static str, Value)> {
    let sighting = Rssi::try_from(-61).ok().map(|rssi| Sighting { label: LABELS[0], rssi, battery_mv: Some(2950) });
    let batch = Report { sightings: sighting.into_iter().collect(), ..Report::default() };
    let online = |online| read(&Report { online: Some(online), ..Report::default() }.to_json());
    vec![
        ("labels that it hears", read(&batch.to_json())),
        ("one label", json!({ "deviceMac": LABELS[0], "rssi": -61 })),
        ("connected", online(true)),
        ("last will", online(false)),
    ]
}

fn replies() -> Vec<(&'static str, Value)> {
    let reply =
        |outcome| Reply { id: None, label: LABELS[0], outcome, error: None, gateway: None, retry_after_ms: None };
    let acked = Reply { gateway: Some(GATEWAY), ..reply(ReplyOutcome::Ack) };
    let busy = Reply {
        error: Some(WaitFor::GatewayFull.to_string()),
        gateway: Some(GATEWAY),
        retry_after_ms: Some(1500),
        ..reply(ReplyOutcome::Busy)
    };
    let line = |reply: &Reply| json!(Reply { id: correlation(), ..reply.clone() });
    vec![
        ("done", json!(acked)),
        ("no route", json!(reply(ReplyOutcome::NoRoute))),
        ("to come back", json!(busy)),
        ("line", line(&acked)),
        ("line", line(&busy)),
    ]
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn waiting() -> Wait {
    Wait {
        what: WaitFor::GatewayFull,
        since_ms: 1_795_251_600_123,
        due_ms: 1_795_251_604_123,
        waited_ms: 0,
        paused_ms: 0,
        first_delivery_ms: 1_795_251_600_000,
        attempts: 1,
        reason: None,
    }
}
