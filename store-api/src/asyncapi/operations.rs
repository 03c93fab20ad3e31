//! What the backbone sends and receives.

use super::reference;
use protocol::names::mqtt::{SHARED_RESPONSES, SHARED_STATUS};
use serde_json::{Value, json};

pub(super) fn operations() -> Value {
    let reply =
        json!({ "address": { "location": "$message.header#/reply_to" }, "channel": reference("channels/replies") });
    let answer = json!({ "address": { "location": "$message.header#/responseTopic" }, "channel": reference("channels/answers") });
    json!({
        "receiveTask": operation("receive", "tasks", "Drive the task's labels to their outcomes", amqp(false)),
        "receiveUrgentTask": operation("receive", "urgentTasks", "The same, before what is not urgent", amqp(false)),
        "buryTask": operation("send", "deadTasks", "Give up on a task, and say why", amqp(true)),
        "sendResult": operation("send", "results", "Say how a label ended: at least once, each time the same", amqp(true)),
        "askForRpc": with_reply(operation("send", "rpc", "Ask a forward router for one attempt at one label", amqp(false)), &reply),
        "askForRpcs": with_reply(operation("send", "rpcLines", "The same for several labels at once", amqp(false)), &reply),
        "sendCommand": with_reply(operation("send", "commands", "Have a gateway do something with a label", mqtt()), &answer),
        "receiveAnswer": operation("receive", "answers", &format!("Subscribed to as {SHARED_RESPONSES}"), mqtt()),
        "receiveReport": operation("receive", "reports", &format!("Subscribed to as {SHARED_STATUS}"), mqtt()),
    })
}

fn operation(action: &str, channel: &str, summary: &str, bindings: Value) -> Value {
    json!({ "action": action, "channel": reference(&format!("channels/{channel}")), "summary": summary, "bindings": bindings })
}

fn with_reply(mut operation: Value, reply: &Value) -> Value {
    operation["reply"] = reply.clone();
    operation
}

/// Persistent, and confirmed by the broker, or gone with it.
fn amqp(persistent: bool) -> Value {
    json!({ "amqp": { "deliveryMode": if persistent { 2 } else { 1 }, "ack": true, "bindingVersion": "0.3.0" } })
}

fn mqtt() -> Value {
    json!({ "mqtt": { "qos": 1, "retain": false, "bindingVersion": "0.2.0" } })
}
