//! A process that is killed. The child is this test binary again, with one of its ignored tests.

use crate::fixture::*;
use backbone::queue::{Later, Prefetch};
use protocol::{Priority, Wait, WaitFor, names::amqp};
use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

pub(crate) const FOLDER: &str = "ESL_TEST_FOLDER";
/// A child says this before what the test shall read; the rest is the test runner's.
const MARK: &str = "@";

fn folder_of_child() -> PathBuf {
    std::env::var(FOLDER).expect("started by another test").into()
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{text}").unwrap();
    out.flush().unwrap();
}

fn start_child(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub(crate) fn said(line: &str) -> Option<String> {
    // What the test runner writes before it may be on the same line.
    line.split_once(MARK).map(|(_, text)| text.trim_end().to_owned())
}

/// Publishes from many tasks until it is killed, and says what was confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of another test"]
async fn child_that_publishes() {
    let folder = open(&folder_of_child()).unwrap();
    let broker = session(&folder).await;
    let publishers = (0..50).map(|task| {
        let broker = &broker;
        async move {
            let publisher = broker.publisher().await.unwrap();
            for number in 0.. {
                let name = format!("{task}-{number}");
                publish(&publisher, name.as_bytes()).await.unwrap();
                say(&name);
            }
        }
    });
    futures::future::join_all(publishers).await;
}

#[tokio::test]
async fn what_was_confirmed_survives_kill_9() {
    let path = tempfile::tempdir().unwrap();
    let mut confirmed = HashSet::new();
    for round in 1..=3 {
        let mut child = start_child("crash::child_that_publishes", path.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let mut heard = 0;
        while heard < 700 * round {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child ended by itself");
            heard += usize::from(said(&line).is_some_and(|name| confirmed.insert(format!("{round}-{name}"))));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        // The last line may be cut off.
        let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
        confirmed.extend(whole.lines().filter_map(said).map(|name| format!("{round}-{name}")));

        let folder = open(path.path()).unwrap();
        let broker = session(&folder).await;
        let waiting = broker.backlog(amqp::TASKS).await.unwrap();
        let mut consumer = broker.consume(amqp::TASKS, Prefetch::Together(100)).await.unwrap();
        for _ in 0..waiting {
            let delivery = take(&mut consumer).await;
            let name = format!("{round}-{}", String::from_utf8(delivery.body).unwrap());
            confirmed.remove(&name);
            consumer.settler().settle(&[delivery.ticket]).await.unwrap();
        }
        assert!(confirmed.is_empty(), "round {round}, of {waiting}: lost {confirmed:?}");
        folder.close().await;
    }
}

const WAIT: Wait = Wait {
    what: WaitFor::GatewayFull,
    since_ms: 0,
    due_ms: 0,
    waited_ms: 0,
    paused_ms: 0,
    first_delivery_ms: 0,
    attempts: 0,
    reason: None,
};

/// Puts tasks off, for a moment or for a day, until it is killed, and says what was confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of another test"]
async fn child_that_puts_off() {
    let folder = open(&folder_of_child()).unwrap();
    let broker = session(&folder).await;
    let publishers = (0..20).map(|task| {
        let broker = &broker;
        async move {
            let publisher = broker.publisher().await.unwrap();
            for number in 0_u32.. {
                let name = format!("{task}-{number}");
                let delay = Duration::from_millis(if task == 0 { 86_400_000 } else { u64::from(number % 700) });
                let later = Later { priority: Priority::Normal, delay, body: name.as_bytes(), wait: &WAIT };
                publisher.publish_later(later).await.unwrap();
                say(&name);
            }
        }
    });
    futures::future::join_all(publishers).await;
}

#[tokio::test]
async fn what_waits_survives_kill_9() {
    let path = tempfile::tempdir().unwrap();
    let mut child = start_child("crash::child_that_puts_off", path.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut confirmed) = (String::new(), HashSet::new());
    while confirmed.len() < 1_000 {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child ended by itself");
        confirmed.extend(said(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (for_a_day, mut for_a_moment): (HashSet<_>, HashSet<_>) =
        confirmed.into_iter().partition(|name| name.starts_with("0-"));

    let folder = open(path.path()).unwrap();
    let broker = session(&folder).await;
    let mut consumer = tasks(&broker, 100).await;
    while !for_a_moment.is_empty() {
        let delivery = take(&mut consumer).await;
        assert_eq!(delivery.wait, Some(WAIT));
        let name = String::from_utf8(delivery.body).unwrap();
        assert!(!name.starts_with("0-"), "{name} is not due");
        for_a_moment.remove(&name);
        consumer.settler().settle(&[delivery.ticket]).await.unwrap();
    }
    assert!(broker.waiting().await.unwrap() as usize >= for_a_day.len());
    folder.close().await;
}

/// Takes a task, and dies of it.
#[tokio::test]
#[ignore = "the child of another test"]
async fn child_that_dies_of_a_task() {
    let folder = open(&folder_of_child()).unwrap();
    let broker = session(&folder).await;
    let mut consumer = tasks(&broker, 1).await;
    match tokio::time::timeout(Duration::from_secs(1), consumer.next()).await {
        Ok(delivery) if delivery.as_ref().unwrap().body == b"deadly" => std::process::abort(),
        Ok(delivery) => say(&String::from_utf8(delivery.unwrap().body).unwrap()),
        Err(_) => say("nothing"),
    }
}

#[tokio::test]
async fn a_task_that_kills_the_process_becomes_a_dead_letter() {
    let path = tempfile::tempdir().unwrap();
    {
        let folder = open(path.path()).unwrap();
        let broker = session(&folder).await;
        let publisher = broker.publisher().await.unwrap();
        publish(&publisher, b"deadly").await.unwrap();
        publish(&publisher, b"harmless").await.unwrap();
        folder.close().await;
    }
    let mut deaths = 0;
    let survivor = loop {
        let output = start_child("crash::child_that_dies_of_a_task", path.path()).wait_with_output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        match output.lines().find_map(said) {
            Some(text) => break text,
            None => deaths += 1,
        }
        assert!(deaths < 50);
    };
    assert_eq!((deaths, survivor.as_str()), (21, "harmless"));
    let folder = open(path.path()).unwrap();
    let broker = session(&folder).await;
    let letter = take(&mut broker.consume(amqp::DEAD_TASKS, Prefetch::Each(1)).await.unwrap()).await;
    assert_eq!((letter.body.as_slice(), letter.reason.as_deref()), (b"deadly".as_slice(), Some("delivery_limit")));
}
