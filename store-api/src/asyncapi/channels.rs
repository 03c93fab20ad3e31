//! Every queue, exchange and topic.

use super::reference;
use protocol::{
    Priority,
    names::{amqp, mqtt::Channel},
};
use serde_json::{Map, Value, json};

pub(super) fn channels() -> Value {
    let mut channels = Map::new();
    let mut add = |name: &str, channel: Value| channels.insert(name.to_owned(), channel);
    for (name, priority, about) in [
        ("tasks", Priority::Normal, "Tasks. Publish to the default exchange, persistent, and wait for the confirm."),
        ("urgentTasks", Priority::Urgent, "Urgent tasks, which those in esl.tasks can't hold up."),
    ] {
        add(name, queue(amqp::task_queue(priority), &["task"], about));
    }
    add(
        "deadTasks",
        queue(amqp::DEAD_TASKS, &["deadTask"], "Tasks that could not be used, each with the header x-reason."),
    );
    add("results", results());
    for (priority, seconds) in amqp::waiting_queues() {
        let address = amqp::waiting_queue(priority, seconds);
        let prefix = if priority == Priority::Urgent { "urgentTasksThatWait" } else { "tasksThatWait" };
        let about =
            format!("Tasks whose labels wait: RabbitMQ moves each back to its queue after {seconds} s. Internal.");
        add(&format!("{prefix}{seconds}s"), queue(&address, &["waitingTask"], &about));
    }
    add("rpc", queue(amqp::RPC, &["rpcRequest"], "RPC requests, from workers to forward routers. Internal."));
    let lines = "Several RPC requests to a message, a line each; used while a forward router consumes it. Internal.";
    add("rpcLines", queue(amqp::RPC_LINES, &["rpcRequestLines"], lines));
    add("replies", replies());
    add(
        "commands",
        topic(Channel::Action, "command", "What a gateway is to do. Never retained; expires with its RPC."),
    );
    add(
        "answers",
        topic(Channel::Response, "answer", "A gateway's answers. It counts only from the gateway that was asked."),
    );
    add(
        "reports",
        topic(Channel::Status, "report", "Which labels a gateway hears, and whether it is there. Not retained."),
    );
    Value::Object(channels)
}

fn queue(address: &str, messages: &[&str], about: &str) -> Value {
    // Requests are not worth a disk.
    let durable = !address.starts_with(amqp::RPC);
    let binding = json!({ "is": "queue", "queue": { "name": address, "durable": durable, "exclusive": false, "autoDelete": false } });
    channel("rabbitmq", address, messages, about, "amqp", binding)
}

fn results() -> Value {
    let exchange = json!({ "name": amqp::RESULTS, "type": "topic", "durable": true, "autoDelete": false });
    let about = "How each label of each task ended. Bind a durable queue of your own; the address is the routing key.";
    let binding = json!({ "is": "routingKey", "exchange": exchange });
    let mut channel = channel("rabbitmq", "{store}.{outcome}", &["result"], about, "amqp", binding);
    channel["parameters"] = json!({
        "store": { "description": "The store.", "examples": ["sp-014"] },
        "outcome": { "description": "How the label ended.", "enum": protocol::Outcome::ALL },
    });
    channel
}

fn replies() -> Value {
    let address = amqp::reply_queue(uuid::Uuid::nil()).replace(&uuid::Uuid::nil().to_string(), "{session}");
    let about = "Replies to the RPCs of one session of a worker: an exclusive, auto-delete queue. As its name ends in .lines, \
                 several replies may come in one message. Another asker's queue may have any name. Internal.";
    let queue = json!({ "name": address, "durable": false, "exclusive": true, "autoDelete": true });
    let binding = json!({ "is": "queue", "queue": queue });
    let mut channel = channel("rabbitmq", &address, &["rpcReply", "rpcReplyLines"], about, "amqp", binding);
    channel["parameters"] = json!({ "session": { "description": "A UUID." } });
    channel
}

fn topic(channel_of: Channel, message: &str, about: &str) -> Value {
    let example = "00fa7e000001";
    let gateway = protocol::GatewayMac::from_octets([0x00, 0xfa, 0x7e, 0, 0, 1]);
    let address = protocol::names::mqtt::topic(gateway, channel_of).replace(example, "{gatewayMac}");
    let parameter =
        json!({ "description": "The gateway's MAC, 12 lowercase hexadecimal digits.", "examples": [example] });
    json!({
        "address": address,
        "description": about,
        "servers": [reference("servers/mqtt")],
        "parameters": { "gatewayMac": parameter },
        "messages": { message: reference(&format!("components/messages/{message}")) },
    })
}

fn channel(server: &str, address: &str, messages: &[&str], about: &str, protocol: &str, mut binding: Value) -> Value {
    binding["bindingVersion"] = json!("0.3.0");
    let messages = messages.iter().map(|name| ((*name).to_owned(), reference(&format!("components/messages/{name}"))));
    json!({
        "address": address,
        "description": about,
        "servers": [reference(&format!("servers/{server}"))],
        "messages": Value::Object(messages.collect()),
        "bindings": { protocol: binding },
    })
}
