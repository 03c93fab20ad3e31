//! The contract over RabbitMQ and MQTT as an AsyncAPI 3 document: `GET /v1/asyncapi.json`, and docs/asyncapi.json.
//!
//! Names come from `protocol::names`, schemas from its types, and examples are written by its types, so that none of
//! them can say what the programs don't do. Prose is docs/PROTOCOL.md.

mod channels;
mod messages;
mod operations;

use serde_json::{Value, json};

/// The whole document.
pub(crate) fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "ESL backbone",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What store backends, gateways and the backbone's own roles say to each other. The application of \
                            this document is the backbone: it receives tasks, answers and reports, and sends commands and \
                            results.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": servers(),
        "channels": channels::channels(),
        "operations": operations::operations(),
        "components": { "messages": messages::messages(), "schemas": protocol::schema::schemas() },
    })
}

fn servers() -> Value {
    let will =
        json!({ "topic": "/gw/{gatewayMac}/status", "qos": 1, "message": r#"{"online":false}"#, "retain": false });
    json!({
        "rabbitmq": {
            "host": "localhost:5672",
            "protocol": "amqp",
            "protocolVersion": "0.9.1",
            "description": "AMQP_URL. Tasks and results; between the roles, RPC requests and replies.",
        },
        "mqtt": {
            "host": "localhost:1883",
            "protocol": "mqtt",
            "protocolVersion": "5.0",
            "description": "MQTT_URL. One of several independent brokers; a gateway is on any of them, in MQTT 5 or 3.1.1. \
                            The binding says how a gateway connects.",
            "bindings": { "mqtt": { "cleanSession": false, "lastWill": will, "bindingVersion": "0.2.0" } },
        },
    })
}

fn reference(to: &str) -> Value {
    json!({ "$ref": format!("#/{to}") })
}

#[cfg(test)]
mod tests;
