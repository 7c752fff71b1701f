//! What does this shard hold at LSN n? The rows of its segments, and over them the tail of the log.
//!
//! | question | where |
//! | --- | --- |
//! | what was written since the last fold? | [`Memtable`], [`TailEntry`] |
//! | what does one operation do to a row? | [`Change`], [`apply_payload_delta`] |
//! | which row does a point have? | [`ShardView`] |
//! | which rows match a filter? | [`Selection`], and on it: nearest, count, pages, samples |
//! | what is in a row? | [`RowReader`], [`ShardView::records`] |
//! | how are segments searched that are in the bucket only? | [`ShardView::nearest_far`] |
//! | how are few rows of theirs shown? | [`ShardView::load_records`] |
//! | how do several shards answer as one? | [`merge`] |
//! | which view is current? | [`Views`] |
//! | what may a read ask of the bucket? | [`Allowance`] |
//! | which vectors are in memory? | [`VectorMemory`] |
//! | who has to go where there is not room for all? | `room` |
//! | what is brought here before it is searched? | [`ShardView::warm`] |
//! | what does a fold write? | [`ShardView::fold`] |
//!
//! Reads are exact and deterministic: equal scores are ordered by id. They are pure: what they read is loaded before,
//! by the `load` methods, the only `async` ones. They use rayon's threads, so call them there ([`on_pool`] does) or
//! on a thread that may block, never on one that drives I/O; [`Selection::nearest_alone`] is for searches that are too quick
//! for that.

mod allowance;
mod best;
mod cancel;
mod change;
mod far;
mod far_compare;
mod far_few;
mod far_lists;
mod far_ordered;
mod far_plan;
mod far_rows;
mod far_runs;
mod fold;
mod indexed;
mod loading;
mod memtable;
mod merge;
mod nearest;
mod order;
mod overlay;
mod pages;
mod residence;
mod room;
mod rows;
mod schema;
mod select;
mod selection;
mod tail;
mod tail_vectors;
mod vector_memory;
mod view;
mod views;
mod warm;

pub use allowance::{Allowance, Refused, in_time, limited};
pub use best::{Best, Scored};
pub use cancel::Cancel;
pub use change::{Change, PayloadDelta, apply_payload_delta, parse_payload, payload_text};
pub use far::FarScope;
pub use far_compare::FarHit;
pub use far_plan::FarBudget;
pub use far_rows::FarRows;
pub use fold::{Fold, FoldedRow};
pub use indexed::search_effort;
pub use loading::on_pool;
pub use memtable::{Memtable, TailBatch, TailOptions};
pub use merge::{ScoredId, merge, merge_pages, nearest_first};
pub use nearest::{Hit, Method, Nearest};
pub use order::{Ordered, ValueOrder};
pub use pages::{FoundAt, Sampled};
pub use room::{Needs, kept};
pub use rows::RowReader;
pub use schema::{ShardSchema, VectorShape, element_of, metric_of};
pub use select::PayloadPicker;
pub use selection::Selection;
pub use tail::{Patches, TailEntry, TailRow};
pub use vector_memory::{VectorMemory, VectorUsage};
pub use view::{Found, ShardView};
pub use views::{Snapshot, Views};
pub use warm::wanted_parts;
