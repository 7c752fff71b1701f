//! Which rows match? Bytes and payloads in, rows out; nothing here reads a file, a clock or a network.
//!
//! - [`filter`] decides one point exactly, from its payload.
//! - [`payload_index`] builds and reads the index of one payload field over the rows of one segment.
//! - [`dense`] finds the rows that are near to a vector.
//! - [`plan`] puts the two together: bitmaps of the indexes first, payloads only of the rows still undecided.
//!
//! An index never changes an answer, it only finds it faster, with two exceptions that the user asks for by
//! creating it: a text index says how text is cut into tokens, and a UUID index compares texts as UUIDs. The
//! evaluator knows both from the [`IndexSchema`], so that rows with and without an index agree.

mod codec;
pub mod dense;
pub mod filter;
mod fold;
mod geo;
mod matches;
mod params;
pub mod payload_index;
pub mod plan;
mod schema;
mod text;

pub use filter::{Evaluator, RowView};
pub use matches::Matches;
pub use params::{check_params, is_principal};
pub use payload_index::{FieldIndexBuilder, FieldIndexReader, RareValues};
pub use plan::{FilterPlan, RowSource};
pub use schema::IndexSchema;
