//! A Redis with two replicas, watched by three Sentinels.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::server::{Launch, Ready};
use crate::{Redis, RedisOptions, Server};

const NAME: &str = "esl";
/// A master that does not answer for so long is taken for dead: 30 s where nobody says otherwise.
const DOWN_AFTER_MS: u32 = 1_000;
const SENTINELS: usize = 3;
const AGREE_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// A master, two replicas and three Sentinels on 127.0.0.1.
pub struct RedisSentinels {
    /// The Redises, of which the first is the master at first.
    pub redises: Vec<Redis>,
    sentinels: Vec<Server>,
}

impl RedisSentinels {
    /// Starts all of them, and waits until the Sentinels know each other and both replicas (some 3 s).
    pub async fn start() -> Result<Self> {
        let master = Redis::start(RedisOptions::default()).await?;
        let port = master.port();
        let (one, two) = tokio::try_join!(replica_of(port), replica_of(port))?;
        let mut started = Self { redises: vec![master, one, two], sentinels: Vec::new() };
        // A Sentinel finds the replicas when it asks the master for the first time; the next time is 10 s later.
        started.wait_for(port, "INFO replication", "connected_slaves:2").await?;
        for _ in 0..SENTINELS {
            started.sentinels.push(sentinel(port).await?);
        }
        for sentinel in &started.sentinels {
            let quorum = format!("SENTINEL CKQUORUM {NAME}");
            started.wait_for(sentinel.port(), &quorum, "+OK 3 usable").await?;
            started.wait_for(sentinel.port(), &format!("SENTINEL MASTER {NAME}"), "num-slaves $1 2").await?;
        }
        Ok(started)
    }

    /// `redis+sentinel://127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT/esl`
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/{NAME}", hosts.join(","))
    }

    /// Which of the Redises is the master, as the first Sentinel says.
    pub async fn master(&self) -> Result<usize> {
        let answer = ask(self.sentinels[0].port(), &format!("SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}")).await?;
        let is_named = |redis: &Redis| answer.split(' ').any(|word| word == redis.port().to_string());
        self.redises.iter().position(is_named).with_context(|| format!("finding the master in {answer:?}"))
    }

    async fn wait_for(&self, port: u16, command: &str, expected: &str) -> Result<()> {
        let end = Instant::now() + AGREE_LIMIT;
        loop {
            let answer = ask(port, command).await.unwrap_or_default();
            if answer.contains(expected) {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!("{command:?} answers {answer:?}, and not {expected:?}, for {AGREE_LIMIT:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn replica_of(port: u16) -> Result<Redis> {
    let port = port.to_string();
    let args = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"].map(str::to_owned);
    Redis::start(RedisOptions { extra_args: args.to_vec(), ..RedisOptions::default() }).await
}

async fn sentinel(master: u16) -> Result<Server> {
    Server::start("redis-sentinel", |port, folder| {
        let file = folder.join("sentinel.conf"); // which it writes anew with what it finds out
        let mut config = format!("port {port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {master} 2\n");
        writeln!(config, "sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}")?;
        writeln!(config, "sentinel failover-timeout {NAME} 5000")?;
        std::fs::write(&file, config).context("writing sentinel.conf")?;
        Ok(Launch {
            name: "redis-sentinel",
            program: "redis-server".into(),
            args: vec![file.display().to_string(), "--sentinel".to_owned()],
            env: Vec::new(),
            ready: Ready::Port,
            patience: Duration::from_secs(20),
            grace: Duration::from_secs(10),
        })
    })
    .await
}

/// What a Redis or a Sentinel answers, its lines with a space between them.
async fn ask(port: u16, command: &str) -> Result<String> {
    let ask = async {
        let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
        stream.write_all(format!("{command}\r\nPING\r\n").as_bytes()).await?;
        let (mut answer, mut line) = (String::new(), String::new());
        while stream.read_line(&mut line).await? > 0 && line.trim_end() != "+PONG" {
            answer = answer + line.trim_end() + " ";
            line.clear();
        }
        anyhow::Ok(answer)
    };
    tokio::time::timeout(ANSWER_LIMIT, ask).await.with_context(|| format!("asking {command:?}"))?
}
