//! What is refused, in one sentence that names the folder, and with nothing touched.

use crate::fixture::*;
use backbone::{embedded::OpenError, queue::EmbeddedQueues};
use std::{collections::BTreeMap, fs, path::Path};

/// Every file but the lock, and SQLite's index of the log, which is made anew from it; with what is in it.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()));
    named.filter(|(name, _)| name != "esl.lock" && name != "esl.db-shm").collect()
}

/// A folder that was used and closed.
async fn used() -> tempfile::TempDir {
    let path = tempfile::tempdir().unwrap();
    let folder = open(path.path()).unwrap();
    let broker = session(&folder).await;
    publish(&broker.publisher().await.unwrap(), b"kept").await.unwrap();
    folder.close().await;
    path
}

fn refused(path: &Path, expected: &str) -> OpenError {
    let before = contents(path);
    let error = open(path).unwrap_err();
    assert_eq!(error.to_string(), expected.replace("{}", &path.display().to_string()));
    assert_eq!(contents(path), before);
    error
}

/// Overwrites the file from this place on.
fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    let mut file = fs::read(path.join("esl.db")).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path.join("esl.db"), file).unwrap();
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let path = tempfile::tempdir().unwrap();
    let folder = open(&path.path().join("made/by/us")).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert_eq!(error.to_string(), format!("the data folder {} is in use by another process", folder.path().display()));
    folder.close().await;
    let again = open(folder.path()).unwrap();
    again.close().await;
}

#[tokio::test]
async fn a_folder_is_closed_with_its_last_handle() {
    let path = tempfile::tempdir().unwrap();
    let folder = open(path.path()).unwrap();
    let broker = session(&folder).await;
    drop((folder, broker));
    soon(async {
        while open(path.path()).is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn queues_are_opened_once() {
    let path = tempfile::tempdir().unwrap();
    let folder = open(path.path()).unwrap();
    let queues = EmbeddedQueues::open(&folder).await.unwrap();
    assert!(EmbeddedQueues::open(&folder).await.is_err());
    assert_eq!(queues.to_string(), format!("embedded in {}", path.path().display()));
}

#[tokio::test]
async fn a_newer_version_is_refused() {
    let path = used().await;
    overwrite(path.path(), 60, &7_u32.to_be_bytes());
    let sentence = "the data folder {} was made by a newer version of this program (schema 7, this one knows up to 2): run that one";
    assert!(matches!(refused(path.path(), sentence), OpenError::Newer { found: 7, known: 2, .. }));
}

/// Its owner was killed before anything of its log was moved into the file.
#[tokio::test]
async fn a_newer_version_that_only_the_log_tells_is_refused() {
    let path = used().await;
    let newer = rusqlite::Connection::open(path.path().join("esl.db")).unwrap();
    newer.execute_batch("PRAGMA user_version = 7").unwrap();
    let killed = tempfile::tempdir().unwrap();
    for file in ["esl.db", "esl.db-wal"] {
        fs::copy(path.path().join(file), killed.path().join(file)).unwrap();
    }
    assert!(!contents(killed.path())["esl.db-wal"].is_empty());
    let sentence = "the data folder {} was made by a newer version of this program (schema 7, this one knows up to 2): run that one";
    refused(killed.path(), sentence);
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let damaged = "the file esl.db in the data folder {} is damaged or no file of this program";
    let path = used().await;
    overwrite(path.path(), 3 * 4096, &[0xA5; 8192]);
    refused(path.path(), damaged);
    let path = used().await;
    let file = fs::OpenOptions::new().write(true).open(path.path().join("esl.db")).unwrap();
    file.set_len(3 * 4096).unwrap();
    refused(path.path(), damaged);
    for content in [b"price,label\n".repeat(100), b"x".to_vec()] {
        fs::write(path.path().join("esl.db"), content).unwrap();
        refused(path.path(), damaged);
    }
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let path = used().await;
    overwrite(path.path(), 68, &[0; 4]);
    refused(path.path(), "the file esl.db in the data folder {} is damaged or no file of this program");
}

/// Not by permissions, which mean nothing to root: no file can be made in these folders by anybody.
#[test]
fn a_folder_that_can_not_be_written_is_refused() {
    let folder = ["/sys/kernel", "/proc/self/task"].map(Path::new).into_iter().find(|path| path.is_dir());
    let Some(folder) = folder else { return };
    let error = open(folder).unwrap_err();
    assert!(error.to_string().starts_with(&format!("the data folder {} can't be ", folder.display())), "{error}");
}

#[tokio::test]
async fn what_is_kept_is_there_after_all_refusals() {
    let path = used().await;
    overwrite(path.path(), 60, &7_u32.to_be_bytes());
    open(path.path()).unwrap_err();
    overwrite(path.path(), 60, &2_u32.to_be_bytes());
    let folder = open(path.path()).unwrap();
    assert_eq!(take(&mut tasks(&session(&folder).await, 1).await).await.body, b"kept");
}

#[tokio::test]
async fn a_crash_while_the_file_was_made_leaves_nothing_that_is_in_the_way() {
    let path = tempfile::tempdir().unwrap();
    for rest in ["esl.db.new", "esl.db.new-journal"] {
        fs::write(path.path().join(rest), b"half").unwrap();
    }
    fs::write(path.path().join("esl.db"), b"").unwrap();
    let folder = open(path.path()).unwrap();
    publish(&session(&folder).await.publisher().await.unwrap(), b"kept").await.unwrap();
    folder.close().await;
    assert_eq!(contents(path.path()).into_keys().collect::<Vec<_>>(), ["esl.db"]);
}
