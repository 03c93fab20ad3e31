//! A power loss at any instant: of what a process has written, a disk has all that it was told to keep, and any part of
//! the rest. `strace` tells what the child of [`crate::crash`] writes and when it waits for the disk; from that, the file
//! is made as it may be found, and what was confirmed by then must be in it.

use crate::{
    crash::{FOLDER, said},
    fixture::*,
};
use fastrand::Rng;
use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

const CONFIRMED: usize = 3_000;
const POWER_LOSSES: u64 = 30;
const SECTOR: usize = 512;
const CALLS: &str = "trace=openat,pwrite64,write,fdatasync,fsync,ftruncate,rename,unlink";

/// What a process has done to files, in its order.
enum Done {
    Write { file: String, at: usize, bytes: Vec<u8> },
    Cut { file: String, length: usize },
    Synced(String),
    Renamed { from: String, to: String },
    Removed(String),
    Confirmed(String),
}

/// Whether this machine lets us trace.
fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// Lets the child publish until enough is confirmed; what it did.
fn traced(folder: &Path, log: &Path) -> Vec<Done> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-a", "1", "-s", "1000000", "-xx", "-e", CALLS, "-o"]).arg(log);
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["--ignored", "--exact", "crash::child_that_publishes", "--nocapture", "--test-threads", "1"]);
    let child = strace.env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let confirmed = lines.filter(|line| said(line.as_ref().unwrap()).is_some()).take(CONFIRMED).count();
    assert_eq!(confirmed, CONFIRMED, "the child ended by itself");
    // It ends because nobody reads any more what it says.
    child.wait().unwrap();
    read(&fs::read_to_string(log).unwrap())
}

fn read(log: &str) -> Vec<Done> {
    let (mut begun, mut files, mut done) = (HashMap::new(), HashMap::new(), Vec::new());
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(half) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, half.trim_end());
        } else if let Some((_, rest)) = call.split_once(" resumed>").filter(|_| call.starts_with("<... ")) {
            let whole = format!("{}{rest}", begun.remove(thread).unwrap_or_default());
            take_in(&whole, &mut files, &mut done);
        } else {
            take_in(call, &mut files, &mut done);
        }
    }
    done
}

/// Takes one call in, such as `pwrite64(5, "\x2f\x61", 2, 4096) = 2`.
fn take_in(call: &str, files: &mut HashMap<String, String>, done: &mut Vec<Done>) {
    let Some((call, result)) = call.rsplit_once(") = ") else { return };
    let Some((name, given)) = call.split_once('(') else { return };
    // Refused; or a question mark: the process ended in the midst of it, and nothing comes after.
    if result.starts_with(['-', '?']) {
        return;
    }
    let given: Vec<&str> = given.split(", ").collect();
    let file = || files.get(given[0]).filter(|file| file.contains("esl.db")).cloned();
    match name {
        "openat" => drop(files.insert(result.to_owned(), text(given[1]))),
        "pwrite64" => done.extend(file().map(|file| {
            let bytes = octets(given[1]);
            assert_eq!((bytes.len().to_string(), given[2]), (result.to_owned(), result), "half a write");
            Done::Write { file, at: given[3].parse().unwrap(), bytes }
        })),
        "ftruncate" => done.extend(file().map(|file| Done::Cut { file, length: given[1].parse().unwrap() })),
        "fdatasync" | "fsync" => done.extend(file().map(Done::Synced)),
        "rename" => {
            let (from, to) = (text(given[0]), text(given[1]));
            files.values_mut().filter(|file| **file == from).for_each(|file| file.clone_from(&to));
            done.push(Done::Renamed { from, to });
        }
        "unlink" => done.push(Done::Removed(text(given[0]))),
        "write" if given[0] == "1" => done.extend(text(given[1]).lines().filter_map(said).map(Done::Confirmed)),
        _ => {}
    }
}

fn octets(quoted: &str) -> Vec<u8> {
    let octets = quoted.trim_matches('"').split("\\x").skip(1);
    octets.map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
}

fn text(quoted: &str) -> String {
    String::from_utf8(octets(quoted)).unwrap()
}

/// Files as a disk has them.
#[derive(Default)]
struct Disk<'a> {
    files: HashMap<&'a str, Vec<u8>>,
    /// What it was given and not told to keep.
    later: HashMap<&'a str, Vec<&'a Done>>,
    confirmed: HashSet<&'a str>,
}

impl<'a> Disk<'a> {
    fn after(all: &'a [Done]) -> Self {
        let mut disk = Self::default();
        for done in all {
            match done {
                Done::Write { file, .. } | Done::Cut { file, .. } => disk.later.entry(file).or_default().push(done),
                Done::Synced(file) => {
                    let content = disk.files.entry(file).or_default();
                    disk.later.remove(file.as_str()).into_iter().flatten().for_each(|done| carry_out(content, done));
                }
                Done::Renamed { from, to } => {
                    let content = disk.files.remove(from.as_str()).unwrap_or_default();
                    disk.files.insert(to, content);
                    let later = disk.later.remove(from.as_str()).unwrap_or_default();
                    disk.later.insert(to, later);
                }
                Done::Removed(file) => {
                    disk.files.remove(file.as_str());
                    disk.later.remove(file.as_str());
                }
                Done::Confirmed(name) => drop(disk.confirmed.insert(name)),
            }
        }
        disk
    }

    /// Of the rest, nothing, or any part: whole writes, or sectors.
    fn lose_power(&mut self, random: &mut Rng) {
        let (some, torn) = (random.bool(), random.bool());
        for (file, later) in std::mem::take(&mut self.later) {
            let content = self.files.entry(file).or_default();
            for done in later {
                match done {
                    _ if !(some && random.bool()) => {}
                    Done::Write { at, bytes, .. } if torn => {
                        let sectors = bytes.chunks(SECTOR).enumerate();
                        let kept: Vec<_> = sectors.filter(|_| random.bool()).collect();
                        kept.into_iter().for_each(|(number, sector)| put(content, at + number * SECTOR, sector));
                    }
                    done => carry_out(content, done),
                }
            }
        }
    }
}

fn carry_out(content: &mut Vec<u8>, done: &Done) {
    match done {
        Done::Write { at, bytes, .. } => put(content, *at, bytes),
        Done::Cut { length, .. } => content.resize(*length, 0),
        _ => {}
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

#[tokio::test]
async fn what_was_confirmed_survives_a_power_loss() {
    if !can_trace() {
        return eprintln!("not tested: strace is not installed, or may not trace here");
    }
    let path = tempfile::tempdir().unwrap();
    let done = traced(&path.path().join("data"), &path.path().join("log"));
    let made = done.iter().position(|done| matches!(done, Done::Renamed { .. })).unwrap() + 1;
    for seed in 0..POWER_LOSSES {
        let mut random = Rng::with_seed(seed);
        let mut disk = Disk::after(&done[..random.usize(made..=done.len())]);
        disk.lose_power(&mut random);
        let found = tempfile::tempdir().unwrap();
        for (file, content) in &disk.files {
            fs::write(found.path().join(Path::new(file).file_name().unwrap()), content).unwrap();
        }
        let folder = open(found.path()).unwrap();
        folder.close().await;
        let file = rusqlite::Connection::open(found.path().join("esl.db")).unwrap();
        let mut bodies = file.prepare("SELECT CAST(body AS TEXT) FROM message").unwrap();
        let kept: HashSet<String> = bodies.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let lost = disk.confirmed.iter().filter(|name| !kept.contains(**name)).count();
        assert_eq!(lost, 0, "power loss {seed}: of {} that were confirmed", disk.confirmed.len());
    }
}
