//! Qdrant's interfaces: the only place that knows HTTP, gRPC and Qdrant's wire forms.

#[cfg(test)]
mod arbitrary;
pub mod auth;
pub mod check;
mod engine;
pub mod grpc;
mod limits;
pub mod lines;
pub mod rest;
pub mod settings;
mod usage;
mod version;

pub use engine::Engine;
pub use usage::Costs;
pub use version::{QDRANT_VERSION, TITLE};
