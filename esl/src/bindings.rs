//! Binding files: one label per line.

use crate::{
    failure::Failure,
    prices::once,
    table::{self, Columns, Line, Table},
};
use backbone::ledger::Binding;
use protocol::{LabelMac, Sku, Store};
use std::{collections::HashMap, path::Path};

const COLUMNS: Columns = Columns { required: &["label", "sku", "store"], optional: &[] };

/// Reads a binding file.
///
/// # Errors
/// When the file as a whole can't be used.
pub(crate) fn read(path: &Path) -> Result<Table<Binding>, Failure> {
    let mut first_lines = HashMap::new();
    table::read(path, COLUMNS, |line| binding(line, &mut first_lines))
}

fn binding(line: &mut Line<'_>, first_lines: &mut HashMap<LabelMac, u64>) -> Option<Binding> {
    let label = line.parse::<LabelMac>("label").and_then(|label| once(line, "label", label, first_lines));
    let (sku, store) = (line.parse::<Sku>("sku"), line.parse::<Store>("store"));
    Some(Binding { label: label?, sku: sku?, store: store? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_one_product_however_its_mac_is_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "store,sku,label\nsp-014,a,00:1A:2B:00:00:01\nsp-014,b,001a2b000001\nsp.014,,001a2b00000\n";
        std::fs::write(file.path(), text).unwrap();
        let table = read(file.path()).unwrap();
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0].label, "001a2b000001".parse().unwrap());
        let bad: Vec<_> = table.bad.iter().map(|cell| (cell.line, cell.column.unwrap())).collect();
        assert_eq!(bad, [(3, "label"), (4, "label"), (4, "sku"), (4, "store")]);
        assert!(table.bad[0].expected.ends_with("line 2 has it already"));
    }
}
