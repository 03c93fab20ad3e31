//! What Kubernetes is told, and the questions that it would ask itself.

use crate::{list, output, text, yaml};
use anyhow::{Context, Result};
use serde_json::Value;
use testbed::Tool;

/// The objects of an overlay.
pub struct Cluster {
    /// What is applied, as text.
    pub manifest: String,
    /// The same, as objects.
    pub objects: Vec<Value>,
}

impl Cluster {
    /// What `kubectl kustomize` makes of a folder, named from the root.
    ///
    /// # Errors
    /// When kustomize refuses it.
    pub async fn of(folder: &str) -> Result<Self> {
        let manifest = output(Tool::Kubectl.command().await?.args(["kustomize", folder])).await?;
        let objects = yaml(&manifest)?;
        Ok(Self { manifest, objects })
    }

    /// All objects of a kind.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object of this kind and name.
    pub fn named(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind).find(|object| text(object, "/metadata/name") == name)
    }

    /// Deployments and StatefulSets.
    pub fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.of_kind("Deployment").chain(self.of_kind("StatefulSet"))
    }

    /// Deployments of the project's own programs, and the program of each.
    pub fn roles(&self) -> impl Iterator<Item = (&Value, &str)> {
        self.of_kind("Deployment").filter_map(|deployment| {
            let image = text(container(deployment)?, "/image");
            let (name, _) = image.split_once("esl/")?.1.split_once(':').unwrap_or((image.split_once("esl/")?.1, ""));
            Some((deployment, name))
        })
    }

    /// The workloads whose pods a selector chooses.
    pub fn selected(&self, selector: &Value) -> Vec<&Value> {
        self.workloads()
            .filter(|workload| matches(selector, &workload["spec"]["template"]["metadata"]["labels"]))
            .collect()
    }
}

/// `Deployment task-worker`, for messages.
pub fn name_of(object: &Value) -> String {
    format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// A workload's only container.
pub fn container(workload: &Value) -> Option<&Value> {
    list(workload, "/spec/template/spec/containers").first()
}

/// Whether a pod of this workload has a port of this name or number.
pub fn has_port(workload: &Value, port: &Value) -> bool {
    let containers = list(workload, "/spec/template/spec/containers");
    let mut ports = containers.iter().flat_map(|container| list(container, "/ports"));
    ports.any(|own| own["name"] == *port || own["containerPort"] == *port)
}

/// Whether a label selector chooses these labels: `matchLabels` and `matchExpressions`, or a Service's bare labels.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    if selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none() {
        return all_equal(selector, labels);
    }
    let equal = selector.get("matchLabels").is_none_or(|wanted| all_equal(wanted, labels));
    equal
        && list(selector, "/matchExpressions").iter().all(|expression| {
            let value = labels.get(text(expression, "/key"));
            match text(expression, "/operator") {
                "In" => value.is_some_and(|value| list(expression, "/values").contains(value)),
                "NotIn" => value.is_none_or(|value| !list(expression, "/values").contains(value)),
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

fn all_equal(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// The value of a container's variable as it is in the end: written there, or in a ConfigMap that is applied with it.
///
/// # Errors
/// When it names a ConfigMap or a key that isn't there.
pub fn value_of<'a>(cluster: &'a Cluster, variable: &'a Value) -> Result<&'a str> {
    let Some(reference) = variable.pointer("/valueFrom/configMapKeyRef") else {
        return Ok(text(variable, "/value"));
    };
    let (name, key) = (text(reference, "/name"), text(reference, "/key"));
    let map = cluster.named("ConfigMap", name).with_context(|| format!("there is no ConfigMap {name}"))?;
    map["data"][key].as_str().with_context(|| format!("ConfigMap {name} has no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_choose_as_kubernetes_does() {
        let labels = json!({"name": "fwd-router", "part": "esl"});
        assert!(matches(&json!({}), &labels) && matches(&json!({"name": "fwd-router"}), &labels));
        assert!(!matches(&json!({"name": "bck-router"}), &labels));
        assert!(matches(&json!({"matchLabels": {"part": "esl"}}), &labels));
        let within = |values: Value| json!({"matchExpressions": [{"key": "name", "operator": "In", "values": values}]});
        assert!(matches(&within(json!(["fwd-router"])), &labels) && !matches(&within(json!(["x"])), &labels));
    }
}
