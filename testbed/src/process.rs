//! A child process: its log, its signals, and its certain end.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const POLL: Duration = Duration::from_millis(10);
const TAIL_BYTES: usize = 3_000;

/// A child process that writes to a log file, and that is killed and reaped when this value is dropped.
///
/// It stays in our process group: whoever kills the group (nextest does, on a timeout) takes it along.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with no input, and with output and errors appended to the file `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {name}'s log {}", log.display()))?;
        let errors = output.try_clone().context("cloning the log's handle")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The process ID. It names this process for as long as [`Self::is_running`] has not said no.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file to which output and errors go.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of the log, for an error message.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    /// Whether the process has not ended. A paused one is running.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// How the process ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until the process has ended by itself. Fails after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("{} has not ended within {limit:?}", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks the process to end (SIGTERM), and doesn't wait for it. Ask once: to many processes a second
    /// signal means "at once, in whatever state".
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.signal(Signal::SIGCONT) // a paused process would never see the first
    }

    /// Asks the process to end and waits; after `grace` kills it and fails, with the end of its log.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.terminate()?;
        self.wait_or_kill(grace).await
    }

    /// Waits for a process that was asked to end; after `grace` kills it and fails, with the end of its log.
    pub async fn wait_or_kill(&mut self, grace: Duration) -> Result<ExitStatus> {
        match self.wait(grace).await {
            Ok(status) => Ok(status),
            Err(late) => {
                self.kill()?;
                let tail = self.log_tail();
                Err(late.context(format!("stopping {}, killed; its log ends:\n{tail}", self.name)))
            }
        }
    }

    /// Kills the process (SIGKILL) and reaps it: it is gone when this returns.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("reaping {}", self.name))?;
        Ok(())
    }

    /// Stops the process from running (SIGSTOP): its sockets stay open and nothing answers.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a paused process run on (SIGCONT).
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends a signal, unless the process has ended: then its pid may be someone else's by now.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid()).context("reading the pid")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("sending {signal} to {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about an error here, and an ended process is no error.
        let _ = self.kill();
    }
}
