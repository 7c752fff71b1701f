//! What was written, in which order? The physical operations of a write, the object that holds the writes of
//! one commit window, and the names of objects in the bucket.
//!
//! - [`ops`]: operations whose replay needs no reading and no clock
//! - [`cache`]: slot objects that were written or read lately
//! - [`codec`]: a slice of operations to and from bytes
//! - [`object`]: the object of a slot: slices, and the record that the manifest needs
//! - [`keys`]: names of objects

pub mod cache;
pub mod codec;
pub mod keys;
pub mod object;
pub mod ops;

pub use cache::SlotCache;
pub use codec::{decode_slice, encode_slice};
pub use object::{ObjectBuilder, decode_object};
pub use ops::{Delta, IdSet, Op, Row, RowVectors, VectorRow};

/// Why bytes are no log object or slice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They are damaged or cut short.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// A later version of the program wrote them.
    #[error("written in format {0}, which this version does not know; use a newer one")]
    Version(u16),
}
