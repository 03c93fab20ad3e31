//! Stories across all roles, each on real servers of its own with two of each role, each ending with the books.
#![allow(clippy::unwrap_used, reason = "a story that can't go on has failed")]

mod happy_path;
