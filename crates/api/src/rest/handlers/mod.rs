//! One function for each path: call the engine, answer in Qdrant's words.

pub mod collections;
pub mod points;
pub mod search;
pub mod service;
pub mod warm;

use super::reply::{Failure, Reply};

/// What a handler gives.
type Answer = Result<Reply, Failure>;
