//! One of the project's own binaries as a process.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::free_port;
use crate::process::Process;
use crate::server::{check_progress, http_client};

const POLL: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(40);
const LOGS_PER_ROLE: usize = 10_000;

/// A role of the backbone (or the emulator) as a real process with an admin port of its own.
pub struct Role {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    admin: SocketAddr,
    client: reqwest::Client,
    process: Process,
}

impl Role {
    /// Starts the binary `name` found beside our own, with `ADMIN_ADDR` on a free port. Its output goes
    /// to `<name>-<n>.log` in `log_dir`. Doesn't wait: see [`Self::wait_ready`].
    pub fn start(name: &str, args: &[String], env: &[(&str, String)], log_dir: &Path) -> Result<Self> {
        let program = binary(name)?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        env.push(("ADMIN_ADDR".to_owned(), admin.to_string()));
        let log = new_log(name, log_dir)?;
        let process = spawn(name, &program, args, &env, &log)?;
        let client = http_client()?;
        Ok(Self { name: name.to_owned(), program, args: args.to_owned(), env, admin, client, process })
    }

    /// Starts a role that has ended once more, on the same port and with the same settings, as Kubernetes
    /// would. Its log goes on in the same file.
    pub fn start_again(&mut self) -> Result<()> {
        if self.is_running() {
            bail!("starting {} again: it is still running", self.name);
        }
        let log = self.process.log().to_owned();
        self.process = spawn(&self.name, &self.program, &self.args, &self.env, &log)?;
        Ok(())
    }

    /// The binary's name, such as `fwd-router`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `http://127.0.0.1:PORT` of the admin port.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The process ID (for measuring CPU time, say).
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The file with the role's output.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// The last lines of the log, for an error message.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Waits until `GET /ready` answers 200. The error has the end of the log.
    pub async fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        self.wait_for("/ready", limit).await
    }

    /// Waits until `GET /live` answers 200: the process runs, whether it can work or not.
    pub async fn wait_live(&mut self, limit: Duration) -> Result<()> {
        self.wait_for("/live", limit).await
    }

    async fn wait_for(&mut self, path: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            if self.lost_its_port() {
                self.take_another_port()?;
            }
            check_progress(&mut self.process, &self.name, end)?;
            if self.get(path).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Another process of this machine was faster to listen on the port that was free.
    fn lost_its_port(&mut self) -> bool {
        let lost = format!("{}: Address already in use", self.admin);
        !self.is_running() && self.log_tail().contains(&lost)
    }

    fn take_another_port(&mut self) -> Result<()> {
        self.admin.set_port(free_port()?);
        self.env.push(("ADMIN_ADDR".to_owned(), self.admin.to_string()));
        self.start_again()
    }

    /// Whether `GET /ready` answers 200 now.
    pub async fn is_ready(&self) -> bool {
        self.get("/ready").await.is_ok()
    }

    /// The sum of the samples called `sample` (as `/metrics` spells it, with suffixes such as `_total`),
    /// or of those that have all labels given as in `esl_rpcs_total{outcome="ack",store="sp-014"}`.
    /// Zero if there are none, since a labelled metric appears with its first use.
    pub async fn metric(&self, sample: &str) -> Result<f64> {
        let text = self.get("/metrics").await?.text().await;
        let text = text.with_context(|| format!("reading {}'s metrics", self.name))?;
        Ok(sum_samples(&text, sample))
    }

    /// The JSON that the admin port answers to `GET path`, such as the emulator's `/labels`.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path).await?.json().await;
        answer.with_context(|| format!("reading {path} of {}", self.name))
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        let answer = self.client.get(format!("{}{path}", self.admin_url())).send().await;
        answer.and_then(reqwest::Response::error_for_status).with_context(|| format!("asking {} for {path}", self.name))
    }

    /// Asks the role to end (SIGTERM), and doesn't wait: see [`Self::wait`]. Ask once: a second signal
    /// means "at once".
    pub fn terminate(&mut self) -> Result<()> {
        self.process.terminate()
    }

    /// Asks the role to end (SIGTERM) and waits for it; kills it and fails if it takes too long.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop(GRACE).await
    }

    /// Waits for a role that was asked to end; kills it and fails if it takes too long.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait_or_kill(GRACE).await
    }

    /// Kills the role (SIGKILL): it is gone when this returns.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Freezes the role (SIGSTOP): its connections stay open, and nothing happens.
    pub fn pause(&mut self) -> Result<()> {
        self.process.pause()
    }

    /// Lets a frozen role run on (SIGCONT).
    pub fn resume(&mut self) -> Result<()> {
        self.process.resume()
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// How the process ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.exit_status()
    }
}

/// The project's binary `name`, built in the same profile as the running executable.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding our own executable")?;
    // A test's or bench's executable is in `deps`, one below the binaries.
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("finding {name} beside {}: build it by `cargo build --workspace`", own.display()))
}

fn spawn(name: &str, program: &Path, args: &[String], env: &[(String, String)], log: &Path) -> Result<Process> {
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().cloned());
    Process::spawn(name, command, log)
}

/// Makes the first of `<name>-1.log`, `<name>-2.log`, … that there is not.
fn new_log(name: &str, log_dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(log_dir).with_context(|| format!("making {}", log_dir.display()))?;
    for number in 1..LOGS_PER_ROLE {
        let path = log_dir.join(format!("{name}-{number}.log"));
        match OpenOptions::new().create_new(true).append(true).open(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making {}", path.display())),
        }
    }
    bail!("too many logs of {name} in {}", log_dir.display())
}

/// The sum of the samples in an exposition of metrics that are called `sample`, or have all labels given with it: see
/// [`Role::metric`].
pub fn sum_samples(text: &str, sample: &str) -> f64 {
    let (name, wanted) = split_labels(sample);
    let wanted: Vec<_> = wanted.split(',').filter(|pair| !pair.is_empty()).collect();
    let values = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let end = line.rfind('}').map_or_else(|| line.find(' '), |brace| Some(brace + 1))?;
        let (found, labels) = split_labels(&line[..end]);
        let labels = format!(",{labels},");
        let matches = found == name && wanted.iter().all(|pair| labels.contains(&format!(",{pair},")));
        // Behind the value there may be a timestamp.
        if matches { line[end..].split_whitespace().next()?.parse::<f64>().ok() } else { None }
    });
    values.sum()
}

fn split_labels(sample: &str) -> (&str, &str) {
    let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
    (name.trim(), labels.trim_end().trim_end_matches('}'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
mod tests {
    use super::*;

    const METRICS: &str = "# TYPE rpcs counter\n\
        rpcs_total 7\n\
        rpcs_total{outcome=\"ack\",store=\"a\"} 5\n\
        rpcs_total{outcome=\"ack\",store=\"b\"} 6 1712000000\n\
        rpcs_total{outcome=\"nack\",store=\"b\"} 0.5\n\
        rpcs_total_created 1e9\n\
        # EOF\n";

    #[test]
    fn sums_all_samples_of_a_name() {
        assert_eq!(sum_samples(METRICS, "rpcs_total"), 18.5);
    }

    #[test]
    fn sums_only_samples_with_all_given_labels() {
        assert_eq!(sum_samples(METRICS, "rpcs_total{outcome=\"ack\"}"), 11.0);
        assert_eq!(sum_samples(METRICS, "rpcs_total{store=\"b\",outcome=\"ack\"}"), 6.0);
    }

    #[test]
    fn what_is_not_there_is_zero() {
        assert_eq!(sum_samples(METRICS, "rpcs"), 0.0);
        assert_eq!(sum_samples(METRICS, "rpcs_total{outcome=\"a\"}"), 0.0);
    }

    #[test]
    fn logs_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let first = new_log("x", folder.path()).unwrap();
        let second = new_log("x", folder.path()).unwrap();
        assert!(first.ends_with("x-1.log") && second.ends_with("x-2.log"));
    }
}
