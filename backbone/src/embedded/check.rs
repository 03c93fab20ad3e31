//! What can be told before SQLite, which would write beside the file, gets to see it: that there is room, and by its first
//! bytes what it is.

use super::{OpenError, schema};
use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

/// Written, and removed at once.
const PROBE: &str = "esl.room";
/// What SQLite needs beside the file to open it: its index of the log, and a few pages of that.
const ROOM: usize = 64 * 1024;

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A file of ours, of so many bytes, in a version that is known.
    Ours(u64),
}

/// Whether there is room to open the folder's file: on a full disk SQLite would leave things half made beside it.
pub(super) fn room(folder: &Path) -> Result<(), OpenError> {
    let probe = folder.join(PROBE);
    let written = fs::write(&probe, vec![0; ROOM]);
    let removed = fs::remove_file(&probe);
    written.and(removed).map_err(|error| OpenError::of_io(folder.to_owned(), error))
}

/// Reads the header (<https://sqlite.org/fileformat2.html#the_database_header>) and changes nothing.
pub(super) fn look(folder: &Path, file: &Path) -> Result<Found, OpenError> {
    let failed = |error| OpenError::of_io(folder.to_owned(), error);
    let mut file = match File::open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed(error)),
    };
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes == 0 {
        return Ok(Found::Nothing);
    }
    let damaged = || OpenError::Damaged { folder: folder.to_owned() };
    let mut header = [0; 100];
    file.read_exact(&mut header).map_err(|_| damaged())?;
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if !header.starts_with(b"SQLite format 3\0") || number(68) != schema::APPLICATION_ID {
        return Err(damaged());
    }
    known(folder, number(60))?;
    Ok(Found::Ours(bytes))
}

/// Refuses the schema of a newer program.
pub(super) fn known(folder: &Path, found: u32) -> Result<(), OpenError> {
    if found > schema::VERSION {
        return Err(OpenError::Newer { folder: folder.to_owned(), found, known: schema::VERSION });
    }
    Ok(())
}
