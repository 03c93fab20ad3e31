//! The import rules of docs/ARCHITECTURE.md, checked against `cargo metadata`.
#![allow(clippy::unwrap_used, reason = "without metadata there is nothing to check")]

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Crates that talk to servers: only `backbone` may name them.
const CLIENTS: [&str; 7] = ["lapin", "rumqttc-v5-next", "rumqttc-v4-next", "mqtt5", "redis", "mongodb", "rusqlite"];
/// Crates that are async or do I/O: `protocol` has none.
const ASYNC: [&str; 5] = ["tokio", "tokio-util", "futures", "axum", "reqwest"];
const ROLES: [&str; 6] = ["task-worker", "fwd-router", "bck-router", "http-router", "gateway-emulator", "store-api"];

/// Each workspace crate's dependencies, those of its tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path", manifest])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let normal = all.filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

#[test]
fn protocol_is_pure() {
    let dependencies = dependencies();
    let forbidden = dependencies.keys().map(String::as_str).chain(CLIENTS).chain(ASYNC);
    let found: Vec<_> = forbidden.filter(|name| dependencies["protocol"].contains(*name)).collect();
    assert!(found.is_empty(), "protocol imports {found:?}");
}

#[test]
fn only_backbone_names_the_client_libraries() {
    for (name, dependencies) in dependencies() {
        let found: Vec<_> = CLIENTS.into_iter().filter(|client| dependencies.contains(*client)).collect();
        // MongoDB's users can only be made by a client.
        let users_only = name == "testbed" && found == ["mongodb"];
        assert!(name == "backbone" || users_only || found.is_empty(), "{name} imports {found:?}");
    }
}

#[test]
fn roles_never_import_roles() {
    let dependencies = dependencies();
    for role in ROLES {
        let found: Vec<_> = ROLES.into_iter().filter(|other| dependencies[role].contains(*other)).collect();
        assert!(found.is_empty(), "{role} imports {found:?}");
        assert!(!dependencies[role].contains("testbed"), "{role} imports testbed");
    }
    let found: Vec<_> = ROLES.into_iter().filter(|role| dependencies["backbone"].contains(*role)).collect();
    assert!(found.is_empty(), "backbone imports {found:?}");
}

#[test]
fn only_standalone_imports_several_roles() {
    for (name, dependencies) in dependencies() {
        let roles = ROLES.into_iter().filter(|role| dependencies.contains(*role)).count();
        assert!(name == "standalone" || roles <= 1, "{name} imports {roles} roles");
        assert!(!dependencies.contains("standalone"), "{name} imports standalone");
    }
}
