//! Every way in which the roles can be deployed to Kubernetes.

use anyhow::{Context, Result};
use deploy::{Cluster, root};
use std::path::Path;

const PRODUCTION: &str = "k8s/overlays/production";

/// The overlays, and production with the autoscaler's alternative.
pub(crate) async fn all() -> Result<Vec<(&'static str, Cluster)>> {
    Ok(vec![
        ("dev", Cluster::of("k8s/overlays/dev").await?),
        ("production", production().await?),
        ("production with KEDA", with_keda().await?),
    ])
}

pub(crate) async fn production() -> Result<Cluster> {
    Cluster::of(PRODUCTION).await
}

/// Production with the component `keda` in place of `hpa`, as its kustomization says.
pub(crate) async fn with_keda() -> Result<Cluster> {
    let copy = tempfile::tempdir_in(root().join("k8s/overlays")).context("making a folder beside the overlays")?;
    for file in std::fs::read_dir(root().join(PRODUCTION))? {
        let file = file?;
        std::fs::copy(file.path(), copy.path().join(file.file_name()))?;
    }
    let kustomization = copy.path().join("kustomization.yaml");
    let text = std::fs::read_to_string(&kustomization)?;
    std::fs::write(&kustomization, text.replace("components/hpa", "components/keda"))?;
    let folder = Path::new("k8s/overlays").join(copy.path().file_name().context("naming the folder")?);
    Cluster::of(folder.to_str().context("naming the folder")?).await
}
