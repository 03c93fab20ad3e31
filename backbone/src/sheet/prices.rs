//! Price files: one product per line.

use super::{
    SheetError, Table,
    table::{self, Columns, Line},
};
use protocol::{Currency, Fields, Price, Sku, Version};
use std::collections::HashMap;

const COLUMNS: Columns = Columns { required: &["sku", "name", "price", "currency"], optional: &["version"] };
/// As `protocol` takes it in a task's fields.
const MAX_NAME_BYTES: usize = 1024;

/// A product's new price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceChange {
    /// The product.
    pub sku: Sku,
    /// The version of this change, where the file has one.
    pub version: Option<Version>,
    /// Name, price and currency.
    pub fields: Fields,
}

/// Reads a price file: columns sku, name, price, currency, and perhaps version. `file` is what it is called in what is
/// said about it.
///
/// # Errors
/// When the file as a whole can't be used.
pub fn read_prices(file: &str, bytes: &[u8]) -> Result<Table<PriceChange>, SheetError> {
    let mut first_lines = HashMap::new();
    table::read(file, bytes, COLUMNS, |line| change(line, &mut first_lines))
}

/// Looks at every cell, also where one before it is bad already.
fn change(line: &mut Line<'_>, first_lines: &mut HashMap<Sku, u64>) -> Option<PriceChange> {
    let sku = line.parse::<Sku>("sku").and_then(|sku| once(line, "sku", sku, first_lines));
    let name = name(line);
    let price = price(line);
    let currency = line.parse::<Currency>("currency");
    let version = match line.text("version") {
        None => Some(None),
        Some(_) => line.parse("version").map(Some),
    };
    let fields = Fields { name: Some(name?), price: Some(price?), currency: Some(currency?), ..Fields::default() };
    Some(PriceChange { sku: sku?, version: version?, fields })
}

/// Refuses what an earlier line has already: nobody knows which of the two is meant.
pub(super) fn once<K: std::hash::Hash + Eq + Clone>(
    line: &mut Line<'_>,
    column: &'static str,
    key: K,
    first_lines: &mut HashMap<K, u64>,
) -> Option<K> {
    let first = *first_lines.entry(key.clone()).or_insert(line.number);
    if first == line.number {
        return Some(key);
    }
    line.refuse(column, &format!("each {column} once in a file; line {first} has it already"));
    None
}

fn name(line: &mut Line<'_>) -> Option<String> {
    let name = line.text("name")?.to_owned();
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Some(name);
    }
    line.refuse("name", &format!("1 to {MAX_NAME_BYTES} bytes of text without control characters"));
    None
}

fn price(line: &mut Line<'_>) -> Option<Price> {
    let text = line.text("price")?.to_owned();
    let with_point = text.replace('.', "").replace(',', ".");
    if text.matches(',').count() == 1 && text.parse::<Price>().is_err() && with_point.parse::<Price>().is_ok() {
        line.refuse("price", &format!("a decimal point, not a comma, and no thousands separator: {with_point}"));
        return None;
    }
    line.parse("price")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Table<PriceChange>, SheetError> {
        read_prices("prices.csv", text.as_bytes())
    }

    fn bad(text: &str) -> Vec<(u64, Option<&'static str>, String, String)> {
        let bad = read_text(text).unwrap().bad;
        bad.into_iter().map(|cell| (cell.line, cell.column, cell.value, cell.expected)).collect()
    }

    #[test]
    fn a_line_is_a_price_change() {
        let table =
            read_text("sku,name,price,currency,version\n7891000100103,\"Trena 5m, aço\",29.90,BRL,7\n").unwrap();
        let [change] = &table.rows[..] else { panic!("{table:?}") };
        assert_eq!((change.sku.as_str(), change.version.map(Version::get)), ("7891000100103", Some(7)));
        assert_eq!(
            serde_json::to_string(&change.fields).unwrap(),
            r#"{"name":"Trena 5m, aço","price":"29.90","currency":"BRL"}"#
        );
        let table = read_text("price;currency;sku;name\n1;BRL;not an EAN;x\n").unwrap();
        assert_eq!((table.rows[0].version, table.bad.len()), (None, 0), "a sku is any text");
    }

    #[test]
    fn a_decimal_comma_is_named_with_what_to_write_instead() {
        let (_, column, value, expected) = bad("sku;name;price;currency\na;x;12,90;BRL\n").remove(0);
        assert_eq!((column, value.as_str()), (Some("price"), "12,90"));
        assert_eq!(expected, "a decimal point, not a comma, and no thousands separator: 12.90");
        let (.., expected) = bad("sku;name;price;currency\na;x;1.299,90;BRL\n").remove(0);
        assert!(expected.ends_with(": 1299.90"), "{expected}");
        let (.., value, expected) = bad("sku,name,price,currency\na,x,R$ 12,BRL\n").remove(0);
        assert_eq!(value, "R$ 12");
        assert!(expected.starts_with("a decimal string such as \"299.90\""), "{expected}");
    }

    #[test]
    fn a_decimal_comma_between_commas_is_a_cell_too_many() {
        let (_, column, value, expected) = bad("sku,name,price,currency\na,x,12,90,BRL\n").remove(0);
        assert_eq!((column, value.as_str()), (None, "a,x,12,90,BRL"));
        assert!(expected.starts_with("4 cells, not 5"), "{expected}");
    }

    #[test]
    fn all_cells_of_a_line_are_looked_at() {
        let bad = bad("sku,name,price,currency,version\n,,-1,reais,1.5\n");
        let columns: Vec<_> = bad.into_iter().filter_map(|(_, column, ..)| column).collect();
        assert_eq!(columns, ["sku", "name", "price", "currency", "version"]);
    }

    #[test]
    fn a_product_named_twice_names_its_first_line() {
        let (line, column, value, expected) =
            bad("sku,name,price,currency\na,x,1,BRL\nb,x,1,BRL\na,x,2,BRL\n").remove(0);
        assert_eq!((line, column, value.as_str()), (4, Some("sku"), "a"));
        assert_eq!(expected, "each sku once in a file; line 2 has it already");
    }
}
