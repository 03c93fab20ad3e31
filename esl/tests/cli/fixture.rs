//! Servers, files, the tool, and short ways to say what the tests ask of them.

use backbone::{
    ledger::{Ledger, Opening, Settlement, What},
    queue::{Broker, Delivery, Message, Prefetch, Publisher},
    service::now,
};
use nix::{sys::signal, unistd::Pid};
use protocol::{LabelMac, Outcome, ResultMessage, Task, Version, names::amqp};
use serde_json::Value;
use std::{future::Future, path::PathBuf, process::Stdio, str::FromStr, sync::Arc, time::Duration};
use tempfile::TempDir;
use testbed::{Role, STORE_API, Servers, ServersConfig, free_port};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

/// Runs each of these in both forms.
macro_rules! in_both_forms {
    ($($test:ident),+ $(,)?) => {
        mod over_http {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Form::Http).await;
            })+
        }
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Form::Direct).await;
            })+
        }
    };
}
pub(crate) use in_both_forms;

/// Whom the tool asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A store-api on the servers, and nothing else.
    Http,
    /// The servers.
    Direct,
}

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// What the tool did.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The tool while it runs.
pub(crate) struct Running {
    child: Child,
    stderr: String,
}

impl Running {
    pub(crate) fn of(mut command: Command) -> Self {
        Self { child: command.spawn().unwrap(), stderr: String::new() }
    }

    pub(crate) async fn end(mut self) -> Answer {
        let (mut out, mut err) = (self.child.stdout.take().unwrap(), self.child.stderr.take().unwrap());
        let mut stdout = String::new();
        let ended = async {
            let read = (out.read_to_string(&mut stdout), err.read_to_string(&mut self.stderr));
            tokio::try_join!(read.0, read.1, self.child.wait()).unwrap().2
        };
        let code = soon(ended).await.code();
        Answer { code, stdout, stderr: self.stderr }
    }

    /// Waits until it has said this on standard error.
    pub(crate) async fn said(&mut self, text: &str) {
        let stderr = self.child.stderr.as_mut().unwrap();
        soon(async {
            while !self.stderr.contains(text) {
                let mut bytes = [0; 1_000];
                let count = stderr.read(&mut bytes).await.unwrap();
                assert!(count > 0, "it ended without saying {text}: {}", self.stderr);
                self.stderr.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        })
        .await;
    }

    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed());
        signal::kill(pid, signal::Signal::SIGINT).unwrap();
    }
}

/// A store's back office: the tool, and the servers that it talks to.
pub(crate) struct Office {
    // Dropped before the servers that it uses.
    pub(crate) api: Option<Role>,
    pub(crate) api_url: String,
    pub(crate) servers: Servers,
    pub(crate) folder: TempDir,
    form: Form,
}

impl Office {
    pub(crate) async fn open(form: Form) -> Self {
        Self::with(form, ServersConfig::default()).await
    }

    pub(crate) async fn with(form: Form, config: ServersConfig) -> Self {
        Self::with_api(form, config, &[]).await
    }

    /// With a store-api that has these arguments, in the form that needs one.
    pub(crate) async fn with_api(form: Form, config: ServersConfig, args: &[&str]) -> Self {
        let servers = Servers::start(&ServersConfig { mosquittos: 0, ..config }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let addr = format!("127.0.0.1:{}", free_port().unwrap());
        let args: Vec<_> = ["--api-addr", &addr].iter().chain(args).map(ToString::to_string).collect();
        let start = || Role::start(STORE_API, &args, &servers.env(), folder.path()).unwrap();
        let api = (form == Form::Http).then(start);
        let mut office = Self { api, api_url: format!("http://{addr}"), servers, folder, form };
        office.api_is_ready().await;
        office
    }

    pub(crate) async fn api_is_ready(&mut self) {
        if let Some(api) = &mut self.api {
            api.wait_ready(SOON).await.unwrap();
        }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_esl"));
        command.args(args).env_remove("RUST_LOG").env_remove("ESL_TOKEN");
        match self.form {
            Form::Http => command.env("ESL_API", &self.api_url),
            Form::Direct => command.arg("--direct").env("ESL_API", "http://127.0.0.1:1").envs(self.servers.env()),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Running::of(command)
    }

    pub(crate) async fn esl(&self, args: &[&str]) -> Answer {
        self.start(args).end().await
    }

    pub(crate) async fn ledger(&self) -> Ledger {
        Ledger::connect(&id(&self.servers.mongodb_url)).await.unwrap()
    }

    pub(crate) async fn broker(&self) -> Broker {
        let broker = Broker::connect(&id(&self.servers.amqp_url), "test").await.unwrap();
        broker.declare().await.unwrap();
        broker
    }

    /// Takes so many messages from a queue.
    pub(crate) async fn take(&self, queue: &str, count: usize) -> Vec<Delivery> {
        let broker = self.broker().await;
        let mut consumer = broker.consume(queue, Prefetch::Each(1_000)).await.unwrap();
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let chunk = soon(consumer.next_chunk(500)).await.unwrap();
            let tickets: Vec<_> = chunk.iter().map(|delivery| delivery.ticket).collect();
            consumer.settler().settle(&tickets).await.unwrap();
            taken.extend(chunk);
        }
        broker.close().await;
        taken
    }

    pub(crate) async fn tasks(&self, count: usize) -> Vec<Task> {
        let taken = self.take(amqp::TASKS, count).await;
        taken.iter().map(|delivery| Task::parse(&delivery.body).unwrap()).collect()
    }

    pub(crate) async fn backlog(&self, queue: &str) -> u32 {
        self.broker().await.backlog(queue).await.unwrap()
    }

    /// Gives back what is shared.
    pub(crate) async fn close(mut self) {
        if let Some(mut api) = self.api.take() {
            assert!(api.stop().await.unwrap().success(), "{}", api.log_tail());
        }
        self.servers.release().await.unwrap();
    }
}

pub(crate) async fn publish(publisher: &Publisher, queue: &str, body: &[u8], reason: &str) {
    let headers = [(amqp::REASON, reason)];
    let message = Message { routing_key: queue, body, persistent: true, headers: &headers, ..Message::default() };
    publisher.publish(message).await.unwrap();
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it takes too long")
}

pub(crate) fn id<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// A binding file: labels 1 to `labels` on products `p-0` to `p-(products - 1)`, in turn.
pub(crate) fn bindings(labels: u32, products: u32) -> String {
    let line = |number| format!("{},p-{},sp-014\n", label(number), number % products);
    "label,sku,store\n".to_owned() + &(0..labels).map(line).collect::<String>()
}

/// A price file for products `p-0` to `p-(products - 1)`.
pub(crate) fn prices(products: u32) -> String {
    let line = |number| format!("p-{number},Produto {number},{number}.90,BRL\n");
    "sku,name,price,currency\n".to_owned() + &(0..products).map(line).collect::<String>()
}

pub(crate) fn label(number: u32) -> LabelMac {
    let [a, b, c, d] = number.to_be_bytes();
    LabelMac::from_octets([0, 0x1a, a, b, c, d])
}

/// A worker's part: brings every label of a task to an outcome.
pub(crate) async fn work(ledger: &Ledger, task: &Task, outcome: impl Fn(LabelMac) -> Outcome) {
    let version = task.version.unwrap_or_else(|| Version::try_from(task.task_id.unix_millis().unwrap()).unwrap());
    let fields = Arc::new(task.fields.clone());
    let labels = ledger.labels_of(&task.store, task.sku.as_ref().unwrap()).await.unwrap();
    let what = What::Desire { version, fields: Arc::clone(&fields) };
    let opening = |&label: &LabelMac| Opening {
        label,
        task_id: task.task_id.clone(),
        store: task.store.clone(),
        batch: task.batch.clone(),
        what: what.clone(),
    };
    ledger.open(&labels.iter().map(opening).collect::<Vec<_>>()).await.unwrap();
    let settlement = |&label: &LabelMac| Settlement {
        result: ResultMessage {
            task_id: task.task_id.clone(),
            store: task.store.clone(),
            sku: task.sku.clone(),
            label,
            version: Some(version),
            outcome: outcome(label),
            reason: None,
            gateway: Some(id("00fa7e000001")),
            attempts: 1,
            latency_ms: 12,
            at: now(),
            batch: task.batch.clone(),
        },
        shown: (outcome(label) == Outcome::Shown).then(|| Arc::clone(&fields)),
    };
    ledger.settle(&labels.iter().map(settlement).collect::<Vec<_>>()).await.unwrap();
}
