//! Turns what was written into what is read: folds the tail into segments, merges segments, builds indexes.
//!
//! - [`plan`]: what is due for a shard, decided from its manifest alone
//! - [`fold`], [`merge`], [`reindex`], [`vector_index`]: the jobs, from loaded views to objects ([`Objects`]) and the rewrite that names them
//! - [`Compactor`]: watches the state and runs what is due; [`Compactor::load`] brings rows that were in no log
//!
//! A job never changes an object. It writes new parts under its own name and proposes a rewrite, which the state
//! refuses if anything the job read has changed; then the parts are garbage, and the job is planned again.

mod builders;
mod bulk;
mod column_rows;
pub mod fold;
mod folded_index;
pub mod merge;
mod merged_index;
mod output;
pub mod plan;
pub mod reindex;
mod resting;
pub mod vector_index;
mod worker;

pub use output::Objects;
pub use plan::{CompactOptions, IndexTask, Task};
pub use worker::{Compactor, Counters};
