//! The experiments in short, on real servers: each design runs, and what it brings is rendered and compared.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use serde_json::Value;
use std::{
    path::Path,
    process::{Command, Output},
};

fn bench(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(args).output().unwrap();
    assert!(output.status.success(), "bench {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn run_of(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name).join("001.json")).unwrap()).unwrap()
}

#[test]
fn the_experiments_run_and_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    bench(&["experiments", "--smoke", "--out", out]);
    let names = ["http-1000-tasks-1", "http-1000-tasks-2", "queue-1000-tasks-2"];
    for name in names {
        let run = run_of(folder.path(), name);
        let ended: u64 = run["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!((ended, &run["errors"]), (40, &serde_json::json!({})), "{name}: {run}");
        let (rpcs, measured) = (run["rpcs"].as_u64().unwrap(), run["communication"]["count"].as_u64().unwrap());
        assert!(rpcs >= 40 && rpcs == measured, "{name}: {rpcs} RPCs, {measured} measured");
        assert!(run["timeouts"].as_u64().unwrap() >= run["misroutes"].as_u64().unwrap(), "{name}: {run}");
        assert_eq!(&std::fs::read(folder.path().join(format!("{name}-rpc.png"))).unwrap()[1..4], b"PNG");
        assert!(std::fs::read_to_string(folder.path().join(format!("{name}-rpc.svg"))).unwrap().contains("</svg>"));
    }
    assert_eq!(run_of(folder.path(), names[0])["misroutes"], 0);
    let page = std::fs::read_to_string(folder.path().join("README.md")).unwrap();
    assert!(page.contains("41.9 / 85.9") && page.contains("http-1000-tasks-1-rpc.svg"), "{page}");
    let of = |name| folder.path().join(name).to_str().unwrap().to_owned();
    let compared = bench(&["compare", &of(names[0]), &of(names[0])]).stdout;
    assert!(String::from_utf8(compared).unwrap().contains("1.00"));
}

/// In short, with the autoscalers' clock thirty times as fast. Workers and routers of any build on any machine need more
/// than two replicas request for the step, and less for what is before and after it.
#[test]
fn replicas_follow_a_step_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let load =
        ["--rate", "4", "--step", "25", "--before", "4s", "--during", "10s", "--after", "26s", "--labels", "4000"];
    let scaling = ["--request", "30m", "--unlimited", "--speed", "30", "--out", folder.path().to_str().unwrap()];
    bench(&[&["elasticity"], &load[..], &scaling[..]].concat());
    let record = std::fs::read(folder.path().join("elasticity.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let samples = record["samples"].as_array().unwrap();
    let all = |sample: &Value| sample["replicas"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
    let most = samples.iter().map(all).max().unwrap();
    assert!(most > all(&samples[0]), "never more than {most} replicas");
    let ended: u64 = record["outcomes"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert!(ended >= 2 * (4 * 30 + 100 * 10), "{ended} labels have ended");
    assert_eq!(record["errors"], serde_json::json!({}));
    assert_eq!(&std::fs::read(folder.path().join("elasticity.png")).unwrap()[1..4], b"PNG");
}
