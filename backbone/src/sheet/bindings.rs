//! Binding files: one label per line.

use super::{
    SheetError, Table,
    prices::once,
    table::{self, Columns, Line},
};
use crate::ledger::Binding;
use protocol::{LabelMac, Sku, Store};
use std::collections::HashMap;

const COLUMNS: Columns = Columns { required: &["label", "sku", "store"], optional: &[] };
const COLUMNS_OF_A_STORE: Columns = Columns { required: &["label", "sku"], optional: &["store"] };

/// Reads a binding file: columns label, sku, store. `file` is what it is called in what is said about it.
///
/// # Errors
/// When the file as a whole can't be used.
pub fn read_bindings(file: &str, bytes: &[u8]) -> Result<Table<Binding>, SheetError> {
    let mut first_lines = HashMap::new();
    table::read(file, bytes, COLUMNS, |line| {
        let (label, sku) = label_and_sku(line, &mut first_lines);
        let store = line.parse::<Store>("store");
        Some(Binding { label: label?, sku: sku?, store: store? })
    })
}

/// Reads a binding file of one store, in which the column store may be missing and must else name that store.
///
/// # Errors
/// When the file as a whole can't be used.
pub fn read_bindings_of(store: &Store, file: &str, bytes: &[u8]) -> Result<Table<Binding>, SheetError> {
    let mut first_lines = HashMap::new();
    table::read(file, bytes, COLUMNS_OF_A_STORE, |line| {
        let (label, sku) = label_and_sku(line, &mut first_lines);
        if line.text("store").is_some_and(|named| named != store.as_str()) {
            line.refuse("store", &format!("{store}, or no such column"));
            return None;
        }
        Some(Binding { label: label?, sku: sku?, store: store.clone() })
    })
}

fn label_and_sku(line: &mut Line<'_>, first_lines: &mut HashMap<LabelMac, u64>) -> (Option<LabelMac>, Option<Sku>) {
    let label = line.parse::<LabelMac>("label").and_then(|label| once(line, "label", label, first_lines));
    (label, line.parse::<Sku>("sku"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_one_product_however_its_mac_is_written() {
        let text = "store,sku,label\nsp-014,a,00:1A:2B:00:00:01\nsp-014,b,001a2b000001\nsp.014,,001a2b00000\n";
        let table = read_bindings("bindings.csv", text.as_bytes()).unwrap();
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0].label, "001a2b000001".parse().unwrap());
        let bad: Vec<_> = table.bad.iter().map(|cell| (cell.line, cell.column.unwrap())).collect();
        assert_eq!(bad, [(3, "label"), (4, "label"), (4, "sku"), (4, "store")]);
        assert!(table.bad[0].expected.ends_with("line 2 has it already"));
    }

    #[test]
    fn a_store_is_not_given_the_bindings_of_another() {
        let store = "sp-014".parse().unwrap();
        let table =
            read_bindings_of(&store, "b.csv", b"label,sku,store\n001a2b000001,a,sp-014\n001a2b000002,a,x\n").unwrap();
        assert_eq!((table.rows.len(), table.bad[0].line), (1, 3));
        let table = read_bindings_of(&store, "b.csv", b"label,sku\n001a2b000001,a\n").unwrap();
        assert_eq!(table.rows[0].store, store);
    }
}
