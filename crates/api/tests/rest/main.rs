//! The REST interface as clients see it, over an engine in memory.

mod bad_input;
mod client;
mod collections;
#[path = "../common/mod.rs"]
mod common;
mod points;
mod protection;
mod search;
