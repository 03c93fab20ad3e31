//! Numbers, times and tables as people read them.

use backbone::service::now;
use protocol::Timestamp;
use std::time::Duration;

/// `1 line`, `1,234 lines`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long ago, in its largest unit: `0.4 s`, `3 min`, `5 h`, `12 days`.
pub(crate) fn ago(at: Timestamp) -> String {
    let seconds = (now().unix_millis() - at.unix_millis()).max(0) as f64 / 1000.0;
    match seconds {
        ..10.0 => format!("{seconds:.1} s ago"),
        10.0..120.0 => format!("{seconds:.0} s ago"),
        120.0..7_200.0 => format!("{:.0} min ago", seconds / 60.0),
        7_200.0..172_800.0 => format!("{:.0} h ago", seconds / 3_600.0),
        _ => format!("{:.0} days ago", seconds / 86_400.0),
    }
}

/// `0.4 s`, `83.2 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// An error with its causes as one sentence. A cause that the one before it repeats is left out, and of the MongoDB
/// client's report on its servers (`Kind: .. Topology: { .. Error: Kind: .., labels: ..`) only the innermost error stays.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let innermost = cause.rsplit_once("Kind: ").map_or(&*cause, |(_, inner)| inner);
        let plain = innermost.split(", labels: ").next().unwrap_or(innermost).trim_end_matches('.');
        if !causes.last().is_some_and(|before| before.contains(plain)) {
            causes.push(plain.to_owned());
        }
    }
    causes.join(": ")
}

/// Rows with their columns aligned, two spaces between them.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((count(1, "line"), count(2_000, "line")), ("1 line".into(), "2,000 lines".into()));
    }

    #[test]
    fn ages_are_said_in_their_largest_unit() {
        let age = |ms| ago(Timestamp::from_unix_millis(now().unix_millis() - ms));
        assert_eq!(age(30_000), "30 s ago");
        assert_eq!(age(600_000), "10 min ago");
        assert_eq!(age(3 * 86_400_000), "3 days ago");
    }

    #[test]
    fn an_error_is_one_sentence() {
        let report = "Kind: Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ { Address: \
                      h:1, Error: Kind: I/O error: Connection refused, labels: {}, source: None } ] }, labels: {}";
        let error = anyhow::anyhow!("{report}").context("binding labels").context("MongoDB at mongodb://h:1/esl");
        assert_eq!(chain(&error), "MongoDB at mongodb://h:1/esl: binding labels: I/O error: Connection refused");
        let error = anyhow::anyhow!("refused").context("IO error: refused").context("connecting");
        assert_eq!(chain(&error), "connecting: IO error: refused");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["façade".to_owned(), String::new()]];
        assert_eq!(table(&rows), "a       b\nfaçade\n");
    }
}
