//! Shares of CPU time, held by control groups: version 1 (cpu.cfs_quota_us) or 2 (cpu.max).

use anyhow::{Context, Result, anyhow};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

/// The kernel hands out a group's time per period, as Kubernetes does.
const PERIOD_US: u64 = 100_000;
const ADVICE: &str = "holding a process to a share of CPU time needs a control group that can be written: run as root, \
    or under `systemd-run --user --scope -p Delegate=yes`; or measure without a limit, by --cpu none";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A group whose processes together get no more than so much. It is removed when this is dropped; its processes must
/// have ended by then.
#[derive(Debug)]
pub(crate) struct CpuLimit {
    folder: PathBuf,
}

impl CpuLimit {
    /// A new group inside ours.
    ///
    /// # Errors
    /// One sentence that says what to do, where control groups can't be written.
    pub(crate) fn new(millicores: u32) -> Result<Self> {
        let (version, ours) = ours().with_context(|| ADVICE)?;
        let folder = ours.join(format!("esl-bench-{}", Uuid::new_v4().simple()));
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display())).context(ADVICE)?;
        let limit = Self { folder };
        let quota_us = u64::from(millicores) * PERIOD_US / 1000;
        match version {
            Version::One => {
                limit.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                limit.write("cpu.cfs_quota_us", &quota_us.to_string())?;
            }
            Version::Two => limit.write("cpu.max", &format!("{quota_us} {PERIOD_US}"))?,
        }
        Ok(limit)
    }

    /// Takes a process in, with all of its threads.
    pub(crate) fn hold(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// For how long its processes were kept from running, in all.
    pub(crate) fn throttled(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.folder.join("cpu.stat")).context("reading a control group's cpu.stat")?;
        Ok(parse_throttled(&text))
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.join(file);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display())).context(ADVICE)
    }
}

impl Drop for CpuLimit {
    fn drop(&mut self) {
        // Nothing can be done about an error here: an empty group costs nothing.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Where groups with a limit of CPU time can be made.
fn ours() -> Result<(Version, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    let own = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    let (version, mount, path) = find(&mounts, &own).context("no control groups are mounted")?;
    let ours = mount.join(path.trim_start_matches('/'));
    // In a container the path may be that of the host.
    let ours = if ours.is_dir() { ours } else { mount.clone() };
    match version {
        Version::One => Ok((version, ours)),
        Version::Two => Ok((version, delegating(&ours, &mount)?)),
    }
}

/// The mount of the hierarchy that limits CPU time, and our place in it.
fn find(mounts: &str, own: &str) -> Option<(Version, PathBuf, String)> {
    let mounted = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let [_, at, found, options, ..] = words[..] else { return None };
            let has = option.is_empty() || options.split(',').any(|known| known == option);
            (found == kind && has).then(|| PathBuf::from(at))
        })
    };
    let place = |is_ours: &dyn Fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            is_ours(controllers).then(|| path.to_owned())
        })
    };
    if let Some(mount) = mounted("cgroup", "cpu") {
        let path = place(&|controllers| controllers.split(',').any(|known| known == "cpu"))?;
        return Some((Version::One, mount, path));
    }
    Some((Version::Two, mounted("cgroup2", "")?, place(&str::is_empty)?))
}

/// The group itself or one above it whose children can be limited: one that has processes of its own can't pass the
/// controller on, unless it is the root.
fn delegating(ours: &Path, mount: &Path) -> Result<PathBuf> {
    let mut refused = anyhow!("{} has no controller of CPU time", mount.display());
    for group in ours.ancestors().take_while(|group| group.starts_with(mount)) {
        let passed_on = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
        if passed_on.split_whitespace().any(|controller| controller == "cpu") {
            return Ok(group.to_owned());
        }
        match fs::write(group.join("cgroup.subtree_control"), "+cpu") {
            Ok(()) => return Ok(group.to_owned()),
            Err(error) => refused = anyhow!("{}: {error}", group.join("cgroup.subtree_control").display()),
        }
    }
    Err(refused)
}

fn parse_throttled(stat: &str) -> Duration {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let nanos = value("throttled_time").map(Duration::from_nanos);
    nanos.or(value("throttled_usec").map(Duration::from_micros)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn both_versions_are_found() {
        let v1 = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                  cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let own = "4:cpu,cpuacct:/user\n1:name=systemd:/x\n0::/y:z\n";
        let found = find(v1, own).unwrap();
        assert_eq!(found, (Version::One, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"), "/user".to_owned()));
        let found = find("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n", "0::/y:z\n").unwrap();
        assert_eq!(found, (Version::Two, PathBuf::from("/sys/fs/cgroup"), "/y:z".to_owned()));
        assert_eq!(find("proc /proc proc rw 0 0\n", own), None);
    }

    #[test]
    fn throttling_is_read_of_both_versions() {
        let v1 = "nr_periods 5\nnr_throttled 2\nthrottled_time 1500000\n";
        assert_eq!(parse_throttled(v1), Duration::from_micros(1500));
        assert_eq!(parse_throttled("usage_usec 7\nthrottled_usec 1500\n"), Duration::from_micros(1500));
    }

    /// Where this machine lets us; else the error says what to do.
    #[test]
    fn a_process_gets_no_more_than_its_share() {
        let limit = match CpuLimit::new(200) {
            Ok(limit) => limit,
            Err(error) => return assert!(format!("{error:#}").contains("--cpu none"), "{error:#}"),
        };
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        limit.hold(busy.id()).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while limit.throttled().unwrap().is_zero() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        let throttled = limit.throttled().unwrap();
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(!throttled.is_zero(), "a busy process was never kept from running");
        let folder = limit.folder.clone();
        drop(limit);
        assert!(!folder.exists());
    }
}
