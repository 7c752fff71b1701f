//! Which rows are near a vector? Clustered lists of quantized rows.
//!
//! A [`Model`] says how vectors of one shard are seen: their mean, a random rotation, and centroids. Over it a
//! [`VectorIndex`] holds the rows of one segment: each in the list of its nearest centroid and in that of one more, as
//! sign codes that are scanned ([`lodestone_kernels::SignQuery`]), and once as a finer code that ranks what the scan
//! found ([`lodestone_kernels::LevelQuery`]). What comes out is a short list of candidates; the original vectors, which
//! are not here, decide.
//!
//! ```text
//! query ─ rotate ─▶ nearest lists ─ sign codes ─▶ some hundred rows ─ level codes ─▶ some dozen candidates
//! ```

mod assign;
mod bounded;
mod build;
mod calibration;
mod centroids;
mod code;
mod coded;
mod cold;
mod kmeans;
mod layout;
mod lists;
mod model;
mod order;
mod promise;
mod reads;
mod rotation;
mod rows;
mod search;
mod shortlist;
mod vector_index;

pub use bounded::{BoundedCodes, BoundedQuery};
pub use build::{BuildOptions, GONE, MergeInput, build, merge};
pub use calibration::{Calibration, HeldOut, Measured};
pub use centroids::CentroidCodes;
pub use cold::{ColdQuery, Outline};
pub use model::{Distance, Model, ModelHeader, TrainOptions};
pub use reads::{ListPlaces, ReadBudget, plan_reads};
pub use rotation::Rotation;
pub use rows::Rows;
pub use search::{Candidate, Effort, Filter, Searcher, Target};
pub use vector_index::{IndexSections, IndexShape, VectorIndex};
