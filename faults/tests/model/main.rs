//! The checker, put to a backbone in miniature that keeps all promises, and to the same with one rule broken.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod backbone;
mod gateway;
mod rules;
mod wire;

use backbone::Model;
use faults::history::{Findings, Kind, Limits, check};
use rules::{Rule, Rules};
use std::time::Duration;

const SEEDS: u64 = 60;

fn limits() -> Limits {
    Limits {
        rpc_timeout: Duration::from_millis(wire::RPC_TIMEOUT_MS),
        expiry_slack: Duration::from_millis(500),
        commands_per_version: 30,
        attempts: 25,
        spared_within: Duration::from_secs(5),
        ..Limits::default()
    }
}

fn run(rules: Rules, seed: u64) -> Findings {
    check(&Model::new(rules, seed).run(), &limits())
}

/// Each kind that was found in any of the seeds, with its shortest story.
fn found(rules: Rules) -> Vec<(Kind, String)> {
    let mut found: Vec<(Kind, String)> = Vec::new();
    for seed in 0..SEEDS {
        for (violation, _) in run(rules, seed).shortest() {
            if !found.iter().any(|(kind, _)| *kind == violation.kind) {
                found.push((violation.kind, violation.to_string()));
            }
        }
    }
    found
}

#[test]
fn a_backbone_that_keeps_its_promises_is_not_accused() {
    let mut put_right = 0;
    for seed in 0..SEEDS {
        let findings = run(Rules::all(), seed);
        let stories: Vec<_> = findings.shortest().iter().map(|(violation, _)| violation.to_string()).collect();
        assert!(stories.is_empty(), "seed {seed}:\n{}", stories.join("\n"));
        put_right += findings.put_right.len();
    }
    assert!(put_right > 0, "nothing ever went back: the model is too kind for what this test is to show");
}

#[test]
fn every_broken_variant_is_caught() {
    for (rule, kind) in Rule::EACH {
        let found = found(Rules::all().without(rule));
        let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
        assert!(kinds.contains(&kind), "without {rule:?}: expected {kind:?}, found {kinds:?}");
        let (_, story) = found.into_iter().find(|(found, _)| *found == kind).unwrap();
        println!("without {rule:?}: {story}");
        assert!(story.lines().count() > 1, "{story}: no story");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let tell = |seed| format!("{:?}", Model::new(Rules::all(), seed).run());
    assert_eq!(tell(7), tell(7));
    assert_ne!(tell(7), tell(8));
}
