//! Turns what was written into what is read: folds the tail into segments, merges segments, builds indexes.
//!
//! - [`plan`]: what is due for a shard, decided from its manifest alone
//! - [`fold`], [`merge`], [`reindex`], [`vector_index`], `ordered_codes`: the jobs, from loaded views to objects ([`Objects`]) and the rewrite that names them
//! - [`Compactor`]: watches the state and runs what is due; [`Compactor::load`] brings rows that were in no log
//!
//! A job never changes an object. It writes new parts under its own name and proposes a rewrite, which the state
//! refuses if anything that it names has changed. A fold is planned again then, and its parts are garbage. What takes longer is
//! proposed for the shard as it is now: the rows of a segment never change, and what was deleted of them meanwhile is carried over.

mod builders;
mod bulk;
mod column_rows;
mod failures;
pub mod fold;
mod folded_index;
mod indexing;
mod jobs;
mod landing;
pub mod merge;
mod merged_index;
mod ordered_codes;
mod output;
pub mod plan;
mod progress;
pub mod reindex;
mod resting;
pub mod vector_index;
mod worker;

pub use output::Objects;
pub use plan::{CompactOptions, IndexTask, Task};
pub use progress::Progress;
pub use worker::{Compactor, Counters};
