//! Price and binding files, as spreadsheets write them: read to their end, with everything in them that can't be used.
//!
//! Here rather than in one of those who read them, since the command line and the HTTP API must say the same of a file.

mod bad_cell;
mod bindings;
mod prices;
mod table;

pub use bad_cell::{BadCell, lines_in};
pub use bindings::{read_bindings, read_bindings_of};
pub use prices::{PriceChange, read_prices};
pub use table::Table;

/// Why a file as a whole can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SheetError(String);
