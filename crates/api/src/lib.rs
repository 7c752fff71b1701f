//! Qdrant's interfaces: the only place that knows HTTP, gRPC and Qdrant's wire forms.

mod engine;

pub use engine::Engine;
