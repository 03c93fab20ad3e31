//! Every overlay against the schemas of the Kubernetes versions in support, strictly: no field that they don't know.

use crate::overlays;
use anyhow::{Result, ensure};
use deploy::output;
use std::io::Write;
use testbed::Tool;

const VERSIONS: [&str; 3] = ["1.35", "1.36", "1.37"];
/// Kinds that Kubernetes learns from others; their schemas are not at hand.
const FOREIGN: [&str; 5] = ["Certificate", "ExternalSecret", "PodMonitor", "ScaledObject", "TriggerAuthentication"];

#[tokio::test]
async fn every_overlay_is_as_the_schemas_want() -> Result<()> {
    let (mut files, mut own) = (Vec::new(), 0);
    for (_, cluster) in overlays::all().await? {
        let mut file = tempfile::NamedTempFile::with_suffix(".yaml")?;
        file.write_all(cluster.manifest.as_bytes())?;
        files.push(file);
        own += cluster.objects.iter().filter(|object| !FOREIGN.iter().any(|kind| object["kind"] == **kind)).count();
    }
    for version in VERSIONS {
        let mut validate = Tool::KubernetesValidate.command().await?;
        validate.args(["--strict", "-k", version]).args(files.iter().map(tempfile::NamedTempFile::path));
        let said = output(&mut validate).await?;
        let passed = said.lines().filter(|line| line.starts_with("INFO") && line.contains(" passed ")).count();
        ensure!(passed == own, "Kubernetes {version}: {passed} of {own} objects pass\n{}", complaints(&said));
    }
    Ok(())
}

fn complaints(said: &str) -> String {
    let foreign = |line: &str| FOREIGN.iter().any(|kind| line.contains(&format!("kind {kind} ")));
    let lines = said.lines().filter(|line| !line.starts_with("INFO") && !foreign(line));
    lines.collect::<Vec<_>>().join("\n")
}
