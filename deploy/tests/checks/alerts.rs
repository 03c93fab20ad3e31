//! Alert rules do what they shall, and each tells its reader what to do.

use anyhow::{Context, Result, ensure};
use deploy::{list, output, root, text, yaml_file};
use std::collections::BTreeSet;
use testbed::Tool;

#[tokio::test]
async fn alerts_fire_when_they_must_and_only_then() -> Result<()> {
    let said = output(Tool::Promtool.command().await?.args(["test", "rules", "monitoring/alerts.test.yml"])).await?;
    ensure!(said.contains("SUCCESS"), "{said}");
    Ok(())
}

/// A rule without a test would pass for tested.
#[test]
fn every_alert_is_tested_and_has_a_runbook() -> Result<()> {
    let rules = yaml_file("monitoring/alerts.yml")?;
    let tests = yaml_file("monitoring/alerts.test.yml")?;
    let operations = std::fs::read_to_string(root().join("docs/OPERATIONS.md")).context("reading OPERATIONS.md")?;
    let checks = || list(&tests, "/tests").iter().flat_map(|test| list(test, "/alert_rule_test"));
    let tested = |fires: bool| -> BTreeSet<&str> {
        let of_kind = checks().filter(|check| list(check, "/exp_alerts").is_empty() != fires);
        of_kind.map(|check| text(check, "/alertname")).collect()
    };
    let (fires, rests) = (tested(true), tested(false));
    let groups = list(&rules, "/groups").iter().flat_map(|group| list(group, "/rules"));
    for rule in groups {
        let name = text(rule, "/alert");
        ensure!(fires.contains(name), "no test in which {name} fires");
        ensure!(rests.contains(name), "no test in which {name} does not fire");
        let (file, anchor) = text(rule, "/annotations/runbook_url").split_once('#').context("reading runbook_url")?;
        ensure!(file == "docs/OPERATIONS.md" && anchor == name.to_lowercase(), "{name}: runbook {file}#{anchor}");
        ensure!(operations.contains(&format!("\n#### {name}\n")), "OPERATIONS.md has no runbook for {name}");
        ensure!(["warning", "critical"].contains(&text(rule, "/labels/severity")), "{name} has no severity");
    }
    Ok(())
}
