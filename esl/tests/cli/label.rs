//! What is known of a label, and of the gateways.

use crate::fixture::*;
use backbone::{
    registry::{GatewayState, Registry, RouteEntry},
    service::now,
};
use protocol::{Outcome, Rssi};
use serde_json::json;
use std::time::Duration;

in_both_forms! {
    a_label_is_described_from_ledger_and_routes,
    a_label_that_shows_what_it_should_is_well_and_one_that_nobody_knows_is_not,
    gateways_are_listed,
}

async fn hear(office: &Office) -> Registry {
    let registry = Registry::connect(&id(&office.servers.redis_url)).unwrap();
    let entry = |gateway: &str, rssi| RouteEntry {
        label: label(1),
        gateway: id(gateway),
        rssi: Rssi::try_from(rssi).unwrap(),
        at: now(),
        battery_mv: Some(2_950),
    };
    let entries = [entry("00fa7e000001", -70), entry("00fa7e000002", -55)];
    registry.write_routes(&entries, Duration::from_secs(600)).await.unwrap();
    let state = |online| GatewayState { online, broker: "one:1883".into(), at: now() };
    registry.write_gateways(&[(id("00fa7e000001"), state(true)), (id("00fa7e000002"), state(false))]).await.unwrap();
    registry
}

async fn a_label_is_described_from_ledger_and_routes(form: Form) {
    let mut office = Office::open(form).await;
    let (bound, file) = (office.file("bindings.csv", &bindings(2, 2)), office.file("prices.csv", &prices(2)));
    assert_eq!(office.esl(&["bind", &bound]).await.code, Some(0));
    hear(&office).await;
    let ledger = office.ledger().await;
    let mut versions = Vec::new();
    for outcome in [Outcome::Shown, Outcome::Unreachable] {
        assert_eq!(office.esl(&["enqueue", &file, "--store", "sp-014"]).await.code, Some(0));
        for task in office.tasks(2).await {
            work(&ledger, &task, |_| outcome).await;
            versions.extend(task.task_id.unix_millis().filter(|_| task.sku == Some(id("p-1"))));
        }
    }
    let report = office.esl(&["label", "00:1A:00:00:00:01", "--json"]).await.json(1);
    assert_eq!((&report["sku"], &report["store"], &report["agrees"]), (&json!("p-1"), &json!("sp-014"), &json!(false)));
    assert_eq!(
        (&report["shown"]["version"], &report["desired"]["version"]),
        (&json!(versions[0]), &json!(versions[1]))
    );
    assert_eq!((&report["shown"]["fields"]["price"], &report["battery_mv"]), (&json!("1.90"), &json!(2_950)));
    let routes: Vec<_> =
        report["routes"].as_array().unwrap().iter().map(|r| (r["rssi_dbm"].as_i64(), r["online"].as_bool())).collect();
    assert_eq!(routes, [(Some(-55), Some(false)), (Some(-70), Some(true))]);
    let outcomes: Vec<_> = report["history"].as_array().unwrap().iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(outcomes, ["unreachable", "shown"]);

    let text = office.esl(&["label", "001a00000001"]).await.stdout;
    println!("{text}");
    for part in [
        "it does NOT show what it should",
        "battery  2950 mV",
        "00fa7e000002  -55",
        "one:1883",
        "BRL 1.90  Produto 1",
        "unreachable",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    office.servers.redis.kill().unwrap();
    let answer = office.esl(&["label", "001a00000001"]).await;
    let why = match form {
        Form::Http => format!("routes unknown: the API at {}: its registry does not answer", office.api_url),
        Form::Direct => "routes unknown: Redis at redis://".to_owned(),
    };
    assert!(answer.code == Some(1) && answer.stdout.contains(&why), "{answer:?}");
    office.close().await;
}

async fn a_label_that_shows_what_it_should_is_well_and_one_that_nobody_knows_is_not(form: Form) {
    let office = Office::open(form).await;
    let bound = office.file("bindings.csv", &bindings(2, 2));
    assert_eq!(office.esl(&["bind", &bound]).await.code, Some(0));
    let answer = office.esl(&["label", "001a00000001"]).await;
    assert!(answer.code == Some(0) && answer.stdout.contains("nothing was ever asked of it"), "{answer:?}");
    assert!(answer.stdout.contains("no gateway hears it"), "{answer:?}");
    let answer = office.esl(&["label", "0000deadbeef"]).await;
    assert!(answer.code == Some(1) && answer.stdout.contains("unknown"), "{answer:?}");
    office.close().await;
}

async fn gateways_are_listed(form: Form) {
    let office = Office::open(form).await;
    assert_eq!(office.esl(&["gateways"]).await.stdout, "0 gateways, 0 online\n");
    hear(&office).await;
    let report = office.esl(&["gateways", "--json"]).await.json(0);
    assert_eq!((&report[0]["gateway"], &report[0]["online"]), (&json!("00fa7e000001"), &json!(true)));
    let text = office.esl(&["gateways"]).await.stdout;
    println!("{text}");
    assert!(text.contains("00fa7e000002  offline  one:1883") && text.ends_with("2 gateways, 1 online\n"), "{text}");
    office.close().await;
}
