//! Takes writes: checks them against their collection, turns them into physical operations, gathers them into
//! windows, and puts each window into the log.
//!
//! ```text
//! UpdateOp ─▶ validate ─▶ encode / resolve ─▶ window ─▶ reserve ─▶ PUT wal/<slot> ─▶ commit ─▶ answer
//!                              ▲
//!                              └ what depends on other data is read first, under the shard's gate
//! ```
//!
//! - [`validate`]: is the write right for this collection?
//! - [`encode`]: points to rows in their storage types, and their shards
//! - [`updater`]: one user operation from start to end
//! - [`window`]: many writes, one object; `pace`: how often
//! - [`log_writer`]: one object into one slot, whatever the bucket answers
//! - [`stages`]: where the time goes

pub mod encode;
mod gate;
pub mod log_writer;
mod pace;
pub mod stages;
pub mod updater;
pub mod validate;
mod window;

pub use log_writer::LogWriter;
pub use stages::{Stage, Stages};
pub use updater::{Reader, Updater};
pub use window::{Ingest, IngestOptions, ShardWrite, Write, Written};
