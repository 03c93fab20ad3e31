//! Tables for people: columns of numbers, aligned on the right.

use std::fmt;

/// A table.
#[derive(Debug, Clone)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with these headings and no rows.
    pub(crate) fn new(headings: Vec<String>) -> Self {
        Self(vec![headings])
    }

    /// Adds a row with as many cells as there are headings.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.0.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = Vec::new();
        for row in &self.0 {
            widths.resize(widths.len().max(row.len()), 0);
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
        }
        for row in &self.0 {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            writeln!(f, "{}", cells.join("  "))?;
        }
        Ok(())
    }
}

/// A number with so many places, and with commas between thousands.
pub(crate) fn number(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    let (whole, rest) = text.find('.').map_or((text.as_str(), ""), |point| text.split_at(point));
    let digits = whole.trim_start_matches('-').len();
    let mut grouped = String::with_capacity(text.len() + digits / 3);
    for (at, digit) in whole.chars().enumerate() {
        let behind = whole.len() - at;
        if digit != '-' && behind < digits && behind.is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_on_the_right() {
        let mut table = Table::new(vec!["in flight".to_owned(), "µs".to_owned()]);
        table.push(vec!["1".to_owned(), "12.5".to_owned()]);
        assert_eq!(table.to_string(), "in flight    µs\n        1  12.5\n");
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(number(1_234_567.891, 1), "1,234,567.9");
        assert_eq!(number(-123_456.0, 0), "-123,456");
        assert_eq!(number(999.0, 0), "999");
        assert_eq!(number(0.123, 2), "0.12");
    }
}
