//! docker-compose.yml and Dockerfile, without an engine; `make compose-test` is with one.

use anyhow::{Context, Result, ensure};
use deploy::{compose, list, output, program, root, seconds, text};
use serde_json::Value;
use std::{collections::BTreeSet, io::Write};
use tempfile::NamedTempFile;
use testbed::Tool;

fn file_of(settings: &[String]) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    writeln!(file, "{}", settings.join("\n"))?;
    Ok(file)
}

async fn services() -> Result<Vec<(String, Value)>> {
    let config = compose::read(file_of(&compose::settings()?)?.path()).await?;
    let services = config["services"].as_object().context("reading the services")?;
    Ok(services.iter().map(|(name, service)| (name.clone(), service.clone())).collect())
}

#[tokio::test]
async fn dockerfiles_are_as_hadolint_wants() -> Result<()> {
    for dockerfile in ["Dockerfile", "compose/stand-ins/Dockerfile"] {
        let said = output(Tool::Hadolint.command().await?.arg(dockerfile)).await?;
        ensure!(said.is_empty(), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_compose_file_is_clean() -> Result<()> {
    let settings = file_of(&compose::settings()?)?;
    let read = compose::command(settings.path()).await?.arg("--quiet").output().await?;
    let said = String::from_utf8_lossy(&read.stderr);
    ensure!(read.status.success() && said.is_empty(), "docker-compose says {said}");
    Ok(())
}

#[tokio::test]
async fn a_setting_that_is_missing_is_named() -> Result<()> {
    let settings = compose::settings()?;
    ensure!(settings.len() == 7, "{settings:?}");
    for missing in &settings {
        let name = missing.split('=').next().unwrap_or_default();
        let others: Vec<_> = settings.iter().filter(|setting| *setting != missing).cloned().collect();
        let file = file_of(&others)?;
        let refused = compose::command(file.path()).await?.arg("--quiet").output().await?;
        let said = String::from_utf8_lossy(&refused.stderr);
        let wanted = format!("set {name} in .env, as .env.example shows");
        ensure!(!refused.status.success() && said.contains(&wanted), "without {name}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn programs_read_the_variables_that_they_get() -> Result<()> {
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile"))?;
    let mut programs = 0;
    for (name, service) in services().await? {
        let Some(target) = service.pointer("/build/target").and_then(Value::as_str) else { continue };
        ensure!(
            dockerfile.contains(&format!("\nFROM runtime AS {target}\n")),
            "{name}: the Dockerfile has no {target}"
        );
        // The command line has them by command, and gets the addresses only.
        let known = if target == "esl" { BTreeSet::new() } else { program::variables(target).await? };
        let given = service["environment"].as_object().context("reading the environment")?;
        // A setting that all must agree on is given to all, whether they use it or not.
        let shared = ["RPC_TIMEOUT", "ROUTE_STALE_AFTER", "MONGODB_URL", "MQTT_URL", "REDIS_URL", "AMQP_URL"];
        for variable in given.keys().filter(|variable| !shared.contains(&variable.as_str())) {
            ensure!(known.contains(variable), "{name}: {target} does not read {variable}");
        }
        programs += 1;
    }
    ensure!(programs == 7, "{programs} programs");
    Ok(())
}

#[tokio::test]
async fn roles_can_be_scaled_and_drained() -> Result<()> {
    for role in ["task-worker", "fwd-router", "bck-router", "bck-router-reports"] {
        let services = services().await?;
        let (_, service) = services.iter().find(|(name, _)| name == role).context("finding a role")?;
        ensure!(list(service, "/ports").is_empty(), "{role}: two replicas can't have the same port of the host");
        ensure!(service.get("container_name").is_none(), "{role}: two replicas can't have the same name");
        let cpus = service.pointer("/deploy/resources/limits/cpus");
        ensure!(cpus.is_some(), "{role} has no CPU cap");
        let (stop, drain) = (text(service, "/stop_grace_period"), text(service, "/environment/DRAIN_GRACE"));
        ensure!(seconds(stop)? > seconds(drain)?, "{role} is killed after {stop} and may need {drain}");
    }
    Ok(())
}

#[tokio::test]
async fn servers_are_pinned_kept_and_asked_for_their_health() -> Result<()> {
    for (name, service) in services().await? {
        if service.get("build").is_some() {
            continue;
        }
        let (_, tag) = text(&service, "/image").split_once(':').with_context(|| format!("{name} has no version"))?;
        ensure!(tag.starts_with(|c: char| c.is_ascii_digit() || c == 'v') && tag.contains('.'), "{name}:{tag}");
        ensure!(service.pointer("/healthcheck/test").is_some(), "{name} has no health check");
        let kept = list(&service, "/volumes").iter().any(|volume| volume["type"] == "volume");
        ensure!(kept, "{name} loses its data with its container");
    }
    Ok(())
}
