//! The whole engine against a naive map of points.
//!
//! - [`world`]: a store, and nodes that are started, stopped and killed on it
//! - [`model`]: what everything should be
//! - [`random`]: what to do next, from a seed
//! - [`check`]: whether the engine agrees with the model
//! - [`sequences`]: one thing after the other, with restarts and kills in between
//! - [`concurrent`]: many at once
//!
//! A longer run: `LODESTONE_SEEDS=1000..2000 LODESTONE_STEPS=300 cargo test -p lodestone-node --test engine`.

mod check;
mod concurrent;
mod model;
mod random;
mod sequences;
mod world;
