//! The data folder: opened once, passed on as a handle, closed in order.

use super::{
    Durability, Job, Jobs, OpenError, StoreError,
    check::{self, Found},
    reader::{READERS, Readers},
    schema,
    writer::{Counters, Writer},
};
use crate::service::now;
use prometheus_client::registry::Registry;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::sync::{oneshot, watch};

const FILE: &str = "esl.db";
/// What was written and is not in the file yet; SQLite names it.
const LOG: &str = "esl.db-wal";
const LOCK: &str = "esl.lock";
/// The file while its tables are made.
const UNFINISHED: &str = "esl.db.new";
/// A file up to this size is read through when it is opened, to find damage before it does harm. Takes less than a second, which is
/// how long a start may take.
const CHECKED_BYTES: u64 = 128 << 20;
/// Only a checkpoint of our own can be in the way, and not for long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const PAGE_BYTES: u64 = 4096;

/// Which folder, and how much it may hold.
#[derive(Debug, Clone)]
pub struct FolderOptions {
    /// The folder; made if it is not there.
    pub path: PathBuf,
    /// Its file grows to about so many bytes at most, the log beside it not counted; `None`: as the disk lets it.
    pub max_bytes: Option<u64>,
}

/// The data folder of a process, open. A clone is cheap.
///
/// When the last handle is dropped, what was asked is still written, and then the folder is closed; [`close`] waits
/// for that.
///
/// [`close`]: Self::close
#[derive(Clone)]
pub struct DataFolder(Arc<Inner>);

struct Inner {
    path: PathBuf,
    jobs: Arc<Jobs>,
    readers: Readers,
    counters: Counters,
    ended: watch::Receiver<bool>,
    has_queues: AtomicBool,
}

impl DataFolder {
    /// Opens a folder, with its tables made where there are none. Blocks, usually for milliseconds.
    ///
    /// # Errors
    /// When another process has it open, or it can't be read, written or understood. What is in it is as it was.
    pub fn open(options: &FolderOptions) -> Result<Self, OpenError> {
        let (folder, file) = (options.path.as_path(), options.path.join(FILE));
        let failed = |error| OpenError::of_sqlite(folder.to_owned(), error);
        let lock = lock(folder)?;
        check::room(folder)?;
        let found = check::look(folder, &file)?;
        if found == Found::Nothing {
            make(folder, &file)?;
        }
        let has_log = fs::metadata(folder.join(LOG)).is_ok_and(|log| log.len() > 0);
        let connection = connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        keep_log(&connection, has_log).map_err(failed)?;
        if connection.is_readonly("main").map_err(failed)? {
            return Err(OpenError::ReadOnly { folder: folder.to_owned() });
        }
        if let Found::Ours(bytes) = found {
            inspect(folder, &connection, bytes)?;
            schema::upgrade(&connection).map_err(failed)?;
        }
        prepare(&connection, options.max_bytes).map_err(failed)?;
        keep_log(&connection, false).map_err(failed)?;
        let readers = (0..READERS).map(|_| connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY));
        let readers = readers.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Self::start(folder, connection, lock, Readers::new(readers))
    }

    fn start(folder: &Path, connection: Connection, lock: File, readers: Readers) -> Result<Self, OpenError> {
        let (jobs, counters) = (Arc::new(Jobs::new()), Counters::default());
        let (sender, ended) = watch::channel(false);
        let writer = Writer {
            connection: Some(connection),
            lock: Some(lock),
            jobs: Arc::clone(&jobs),
            durability: Durability::Power,
            counters: counters.clone(),
            ended: sender,
        };
        let thread = std::thread::Builder::new().name("esl-db".to_owned());
        thread.spawn(|| writer.run()).map_err(|error| OpenError::of_io(folder.to_owned(), error))?;
        let has_queues = AtomicBool::new(false);
        Ok(Self(Arc::new(Inner { path: folder.to_owned(), jobs, readers, counters, ended, has_queues })))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How many transactions were committed since it was opened.
    pub fn commits(&self) -> u64 {
        self.0.counters.commits.get()
    }

    /// Registers `store_commits_total`, `store_full_syncs_total`, `store_jobs_total` and `store_failures_total`.
    pub fn register(&self, registry: &mut Registry) {
        let Counters { commits, full_syncs, jobs, failures } = self.0.counters.clone();
        registry.register("store_commits", "Transactions of the data folder", commits);
        registry.register("store_full_syncs", "Transactions that waited for the disk", full_syncs);
        registry.register("store_jobs", "Writes that went into transactions", jobs);
        registry.register("store_failures", "Writes that failed", failures);
    }

    /// Writes what was asked, and closes the folder: another process can open it when this returns.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.jobs.close();
        self.closed().await;
    }

    /// Resolves when it is closed, by us or because its writer has failed.
    pub async fn closed(&self) {
        // An error means that the writer is gone, which is the same.
        let _ = self.0.ended.clone().wait_for(|ended| *ended).await;
    }

    pub(crate) fn jobs(&self) -> &Arc<Jobs> {
        &self.0.jobs
    }

    /// Whether the queues were opened before; from now on they were.
    pub(crate) fn take_queues(&self) -> bool {
        self.0.has_queues.swap(true, Ordering::Relaxed)
    }

    /// Writes, together with what others write, and answers after the commit. `bytes` is about how much it holds.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        bytes: usize,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { work, answer: None, reply };
        self.0.jobs.ask(Box::new(call), durability, bytes).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Reads, beside whatever is written.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.readers.read(work).await
    }
}

/// Handles of the same opening are equal.
impl PartialEq for DataFolder {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for DataFolder {}

impl fmt::Debug for DataFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataFolder").field(&self.0.path).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs.close();
    }
}

/// A write that somebody waits for.
struct Call<W, T> {
    work: W,
    answer: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<W: FnMut(&Connection) -> rusqlite::Result<T> + Send, T: Send> Job for Call<W, T> {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.answer = Some((self.work)(connection)?);
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { answer, reply, .. } = *self;
        // Whoever no longer waits is passed over.
        let _ = reply.send(outcome.and_then(|()| answer.ok_or(StoreError::Closed)));
    }
}

/// The lock goes with the process, however that ends.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::of_io(folder.to_owned(), error);
    fs::create_dir_all(folder).map_err(failed)?;
    let options = OpenOptions::new().create(true).write(true).truncate(false).open(folder.join(LOCK));
    let lock = options.map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn connect(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Whether closing leaves the log where it is: what is refused stays as it was, though its last owner was killed.
fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Makes the file with its tables, whole or not at all: a crash leaves no file that the next opening would refuse.
fn make(folder: &Path, file: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::of_io(folder.to_owned(), error);
    let unfinished = folder.join(UNFINISHED);
    for rest in [unfinished.clone(), folder.join(format!("{UNFINISHED}-journal"))] {
        match fs::remove_file(rest) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    let made = connect(&unfinished, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
        .and_then(|connection| schema::create(&connection));
    if let Err(error) = made {
        // Of no use to anybody; where it stays, the next opening removes it.
        let _ = fs::remove_file(&unfinished);
        return Err(OpenError::of_sqlite(folder.to_owned(), error));
    }
    fs::rename(&unfinished, file).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Whether a file that says it is ours is whole.
fn inspect(folder: &Path, connection: &Connection, bytes: u64) -> Result<(), OpenError> {
    let failed = |error| OpenError::of_sqlite(folder.to_owned(), error);
    // Again, because the header may be older than the log.
    check::known(folder, schema::version(connection).map_err(failed)?)?;
    if bytes <= CHECKED_BYTES {
        let whole: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if whole != "ok" {
            return Err(OpenError::Damaged { folder: folder.to_owned() });
        }
    }
    Ok(())
}

fn prepare(connection: &Connection, max_bytes: Option<u64>) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -8192;
         PRAGMA temp_store = MEMORY;",
    )?;
    schema::add(connection)?;
    if let Some(bytes) = max_bytes {
        connection.execute_batch(&format!("PRAGMA max_page_count = {}", (bytes / PAGE_BYTES).max(1)))?;
    }
    let opened = "INSERT INTO opened VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = ?1";
    connection.execute(opened, [now().unix_millis()])?;
    Ok(())
}
