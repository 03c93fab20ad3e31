//! The fault run in short: some faults of one seed, on real servers.
#![allow(clippy::unwrap_used, reason = "a run that can't go on has failed")]

use clap::Parser;
use faults::{Config, run};

#[tokio::test]
async fn a_short_run_has_no_violations() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let load = ["--labels", "300", "--gateways", "6", "--rate", "100"];
    let plan = ["--seed", "4", "--minutes", "0.4", "--faults", "3", "--only", "killed"];
    let args = ["faults", "--out", out].into_iter().chain(load).chain(plan);
    let config = Config::parse_from(args);
    let report = run(&config).await.unwrap();
    assert!(report.is_clean(), "{}", report.markdown());
    assert!(report.faults() > 0 && report.updates > 200 && report.commands > 200, "{}", report.markdown());
    report.write(&config).unwrap();
}
