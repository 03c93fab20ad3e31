//! What is left of a server once it is gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use testbed::Server;

/// All processes and the folder that belong to a server.
pub(crate) struct Footprint {
    pids: Vec<u32>,
    folder: PathBuf,
}

impl Footprint {
    pub(crate) fn of(server: &Server) -> Self {
        let mut pids = vec![server.pid()];
        let mut next = 0;
        while next < pids.len() {
            pids.extend(children(pids[next]));
            next += 1;
        }
        Self { pids, folder: server.folder().to_owned() }
    }

    pub(crate) fn with_process(mut self, pid: u32) -> Self {
        self.pids.push(pid);
        self
    }

    /// Helpers of a killed server see its end by themselves, a moment later.
    pub(crate) async fn assert_gone(&self) {
        assert!(!self.folder.exists(), "{} is left", self.folder.display());
        self.assert_processes_gone().await;
    }

    pub(crate) async fn assert_processes_gone(&self) {
        assert!(!exists(self.pids[0]), "the server is left");
        let end = Instant::now() + Duration::from_secs(5);
        while self.pids.iter().any(|pid| exists(*pid)) {
            assert!(Instant::now() < end, "one of the processes {:?} is left", self.pids);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn exists(pid: u32) -> bool {
    // A zombie's state is Z: whoever is to reap it (init, for helpers) may take its time.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}
