//! Reading a CSV file in which every line must be right.
//!
//! A file is taken as spreadsheets write it: with or without a byte order mark, lines ended either way, columns in any
//! order and separated by commas, semicolons or tabs (whichever the header has most of), more columns than are needed.

use super::{BadCell, SheetError};
use std::{fmt::Display, str::FromStr};

const SEPARATORS: [u8; 3] = *b",;\t";
const VALUE_CHARS: usize = 80;

/// Which columns a file has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    /// These must be there.
    pub(super) required: &'static [&'static str],
    /// These may be.
    pub(super) optional: &'static [&'static str],
}

/// What a file holds.
#[derive(Debug)]
pub struct Table<T> {
    /// From each good line.
    pub rows: Vec<T>,
    /// What is wrong in the others.
    pub bad: Vec<BadCell>,
    /// Columns that nobody asked for.
    pub ignored: Vec<String>,
}

/// One line of a file.
pub(super) struct Line<'a> {
    /// Its number, from 1; the header is the first line that is not empty.
    pub(super) number: u64,
    file: &'a str,
    header: &'a Header,
    record: &'a csv::StringRecord,
    bad: &'a mut Vec<BadCell>,
}

impl Line<'_> {
    /// A cell as text; `None` where the file does not have the column.
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        self.header.place(column).and_then(|at| self.record.get(at))
    }

    /// A cell as what it must be; `None` where it is not that, which is then on record.
    pub(super) fn parse<V: FromStr<Err: Display>>(&mut self, column: &'static str) -> Option<V> {
        match self.text(column)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(column, &expectation(&error));
                None
            }
        }
    }

    /// Puts on record that a cell can't be used.
    pub(super) fn refuse(&mut self, column: &'static str, expected: &str) {
        let value = self.text(column).unwrap_or_default().to_owned();
        self.refuse_value(Some(column), &value, expected);
    }

    fn refuse_value(&mut self, column: Option<&'static str>, value: &str, expected: &str) {
        self.bad.push(BadCell {
            file: self.file.to_owned(),
            line: self.number,
            column,
            value: shortened(value, VALUE_CHARS),
            expected: expected.to_owned(),
        });
    }

    fn has_all_cells(&mut self) -> bool {
        let (found, wanted) = (self.record.len(), self.header.0.len());
        if found != wanted {
            let line = self.record.iter().collect::<Vec<_>>().join(&char::from(self.header.1).to_string());
            let expected = format!("{wanted} cells, not {found}; a cell with a separator in it needs \"quotes\"");
            self.refuse_value(None, &line, &expected);
        }
        found == wanted
    }
}

/// What an error of `protocol` says was expected.
fn expectation(error: &impl Display) -> String {
    let text = error.to_string();
    text.split_once("expected ").map_or_else(|| text.clone(), |(_, expected)| expected.to_owned())
}

/// The first `most` characters, with a mark where there are more.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The names of the columns, and what separates them.
struct Header(Vec<String>, u8);

impl Header {
    fn place(&self, column: &str) -> Option<usize> {
        self.0.iter().position(|name| name == column)
    }
}

/// Reads a sheet; `file` is what it is called in what is said about it, and `row` makes of a line what it stands for, or
/// puts on record what is wrong with it.
pub(super) fn read<T>(
    file: &str,
    bytes: &[u8],
    columns: Columns,
    row: impl FnMut(&mut Line<'_>) -> Option<T>,
) -> Result<Table<T>, SheetError> {
    parse(file, bytes, columns, row).map_err(SheetError)
}

fn parse<T>(
    file: &str,
    bytes: &[u8],
    columns: Columns,
    mut row: impl FnMut(&mut Line<'_>) -> Option<T>,
) -> Result<Table<T>, String> {
    let text = decode(file, bytes)?;
    let Some(first) = text.lines().find(|line| !line.trim().is_empty()) else {
        return Err(format!("{file} is empty: expected a first line with the columns {}", said(columns)));
    };
    let count = |separator: u8| first.bytes().filter(|byte| *byte == separator).count();
    // The first of those that are equally frequent, so the comma where there is none at all.
    let separator = SEPARATORS.into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(b',');
    let mut reader =
        csv::ReaderBuilder::new().delimiter(separator).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let names = reader.headers().map_err(|error| format!("{file}: {error}"))?;
    let header = header(file, names, separator, columns)?;
    let known =
        |name: &&String| !columns.required.contains(&name.as_str()) && !columns.optional.contains(&name.as_str());
    let ignored = header.0.iter().filter(known).cloned().collect();
    let mut table = Table { rows: Vec::new(), bad: Vec::new(), ignored };
    let mut lines = LineNumbers { text, at: 0, number: 1 };
    for record in reader.records() {
        let record = record.map_err(|error| format!("{file}: {error}"))?;
        let number = lines.of(record.position().map_or(0, csv::Position::byte) as usize);
        if record.iter().any(|cell| cell.contains(['\n', '\r'])) {
            // What follows was taken for one cell, so it can't be told which lines are good.
            return Err(format!("{file}:{number}: a line break inside a cell: a quotation mark is opened, not closed"));
        }
        let mut line = Line { number, file, header: &header, record: &record, bad: &mut table.bad };
        if line.has_all_cells() {
            table.rows.extend(row(&mut line));
        }
    }
    if table.rows.is_empty() && table.bad.is_empty() {
        return Err(format!("{file} has no line after its header"));
    }
    Ok(table)
}

fn decode<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, String> {
    let advice = "expected UTF-8; in a spreadsheet, save as \"CSV UTF-8\"";
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(format!("{file} is in UTF-16: {advice}"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("{file}:{line}: not in UTF-8: {advice}")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn header(file: &str, names: &csv::StringRecord, separator: u8, columns: Columns) -> Result<Header, String> {
    let names: Vec<String> = names.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    let missing: Vec<_> = columns.required.iter().filter(|name| !names.iter().any(|found| found == *name)).collect();
    if !missing.is_empty() {
        let missing = missing.into_iter().copied().collect::<Vec<_>>().join(", ");
        let found = shortened(&names.join(", "), VALUE_CHARS);
        return Err(format!(
            "{file}: no column {missing}: its first line has the columns {found}; expected {}, separated by ',' or ';'",
            said(columns)
        ));
    }
    let known = columns.required.iter().chain(columns.optional);
    let twice = known.copied().find(|name| names.iter().filter(|found| found == name).count() > 1);
    match twice {
        Some(name) => Err(format!("{file}: two columns named {name}: expected one")),
        None => Ok(Header(names, separator)),
    }
}

fn said(columns: Columns) -> String {
    let required = columns.required.join(", ");
    if columns.optional.is_empty() { required } else { format!("{required} (and {})", columns.optional.join(", ")) }
}

/// Line numbers of ascending places in a text. Those of the CSV reader are off after empty lines.
struct LineNumbers<'a> {
    text: &'a str,
    at: usize,
    number: u64,
}

impl LineNumbers<'_> {
    /// The line of the first character from `byte` on that ends no line.
    fn of(&mut self, byte: usize) -> u64 {
        let bytes = self.text.as_bytes();
        let ends = bytes.iter().skip(byte).take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let place = (byte + ends).clamp(self.at, bytes.len());
        self.number += bytes[self.at..place].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = place;
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheet::lines_in;

    const COLUMNS: Columns = Columns { required: &["sku", "count"], optional: &["note"] };

    fn read(bytes: &[u8]) -> Result<Table<(u64, String, u32)>, String> {
        parse("f.csv", bytes, COLUMNS, |line| {
            let sku = line.text("sku")?.to_owned();
            Some((line.number, sku, line.parse("count")?))
        })
    }

    fn rows(text: &str) -> Vec<(u64, String, u32)> {
        read(text.as_bytes()).unwrap().rows
    }

    #[test]
    fn files_are_taken_as_spreadsheets_write_them() {
        let expected = [(2, "a".to_owned(), 1), (3, "b, c".to_owned(), 2)];
        for text in [
            "sku,count\na,1\n\"b, c\",2\n",
            "\u{feff}SKU, Count\r\na,1\r\n\"b, c\", 2",
            "count;sku\n1;a\n2;b, c\n",
            "sku\tcount\tother\na\t1\tx\nb, c\t2\ty\n",
        ] {
            assert_eq!(rows(text), expected, "{text:?}");
        }
    }

    #[test]
    fn line_numbers_are_those_of_an_editor() {
        let numbers = |text: &str| rows(text).into_iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(numbers("\n\nsku,count\n\na,1\n\n\nb,2\n"), [5, 8]);
        assert_eq!(numbers("sku,count\r\na,1\r\n\r\nb,2\r\nc,3"), [2, 4, 5]);
    }

    #[test]
    fn every_bad_line_is_named() {
        let table = read(b"sku,count\na,x\nb,1,2\nc,3\n\"d,\",-1\n").unwrap();
        let bad: Vec<_> = table.bad.iter().map(ToString::to_string).collect();
        assert_eq!(bad[0], "f.csv:2: count is \"x\", expected invalid digit found in string");
        assert!(bad[1].starts_with("f.csv:3: the line is \"b,1,2\", expected 2 cells, not 3"), "{}", bad[1]);
        assert!(bad[2].starts_with("f.csv:5: count is \"-1\""), "{}", bad[2]);
        assert_eq!((table.rows.len(), lines_in(&table.bad)), (1, 3));
    }

    #[test]
    fn a_file_that_can_not_be_used_says_why() {
        for (bytes, why) in [
            (&b""[..], "f.csv is empty: expected a first line with the columns sku, count (and note)"),
            (b"\xef\xbb\xbf\r\n", "f.csv is empty"),
            (b"sku,count\n", "f.csv has no line after its header"),
            (b"sku,price\na,1\n", "no column count: its first line has the columns sku, price"),
            (b"sku|count\na|1\n", "separated by ',' or ';'"),
            (b"sku,count,sku\na,1,b\n", "two columns named sku"),
            (b"sku,count\n\xe7,1\n", "f.csv:2: not in UTF-8"),
            (b"\xff\xfes\0k\0", "f.csv is in UTF-16"),
            (b"sku,count\n\"a,1\nb,2\n", "f.csv:2: a line break inside a cell"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn columns_that_nobody_asked_for_are_named() {
        assert_eq!((shortened("ação", 2), shortened("ação", 4)), ("aç…".to_owned(), "ação".to_owned()));
        assert_eq!(read(b"sku,count,verson\na,1,2\n").unwrap().ignored, ["verson"]);
    }
}
