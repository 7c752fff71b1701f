//! Qdrant's interfaces: the only place that knows HTTP, gRPC and Qdrant's wire forms.

pub mod auth;
pub mod check;
mod engine;
pub mod settings;

pub use engine::Engine;
