//! Price and binding files on disk.

use crate::failure::Failure;
use backbone::sheet::{SheetError, Table};
use std::path::Path;

/// Reads a file; `read` is told what it is called, and its bytes.
///
/// # Errors
/// When the file as a whole can't be used.
pub(crate) fn read<T>(
    path: &Path,
    read: impl FnOnce(&str, &[u8]) -> Result<Table<T>, SheetError>,
) -> Result<Table<T>, Failure> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::Input(format!("{file}: {error}")))?;
    read(&file, &bytes).map_err(|error| Failure::Input(error.to_string()))
}

/// The good lines: all of them, or, if that is wanted, those that are good.
///
/// # Errors
/// When there are bad ones and that is not wanted, or none is good.
pub(crate) fn demand<T>(table: Table<T>, file: &Path, skip_bad: bool) -> Result<Table<T>, Failure> {
    if table.bad.is_empty() || (skip_bad && !table.rows.is_empty()) {
        return Ok(table);
    }
    Err(Failure::BadLines { file: file.display().to_string(), bad: table.bad })
}

#[cfg(test)]
mod tests {
    use super::*;
    use backbone::sheet::read_prices;

    #[test]
    fn a_missing_or_unreadable_file_is_named() {
        let error = read(Path::new("no/such.csv"), read_prices).unwrap_err().to_string();
        assert!(error.starts_with("no/such.csv: No such file"), "{error}");
        assert!(read(Path::new("."), read_prices).unwrap_err().to_string().starts_with(".: "));
    }
}
