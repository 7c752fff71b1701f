//! The immutable file: write, open, read, merge.
//!
//! A segment is a fixed set of rows, numbered from 0 in ascending order of their point ids, stored as parts:
//! ids, payload, one per named vector and one for its index, one per payload index, and a bitmap of deleted rows. Each part is a
//! byte range of an object in the bucket, so one part can be added or replaced while the others stay where
//! they are. `docs/0002-segment-format.md` describes the bytes.
//!
//! | question | where |
//! | --- | --- |
//! | what does the manifest hold about a segment? | [`SegmentMeta`], [`PartMeta`] |
//! | how do rows become an object? | [`SegmentWriter`], [`ObjectWriter`], [`Sink`] |
//! | how are rows read back? | [`SegmentReader`] and its columns |
//! | how is a segment searched that is far away? | [`FarIndex`], [`FarPayloads`] |
//! | how are few of its rows read? | [`RowBlocks`], [`FarPayloads`] |
//! | what lies in the order of a field? | [`RowOrder`], [`OrderedRows`], [`StoredCodes`] |
//! | how do several segments become one? | [`merge`] |
//!
//! This crate does no I/O of its own: bytes come through [`Fetch`] and go out as a buffer. Bytes that are
//! not what was written give [`lodestone_types::ErrorKind::Damaged`], with the object, part and section.

mod bitmap;
mod check;
mod far;
mod far_rows;
mod fields;
#[cfg(test)]
mod hostile;
mod ids;
mod merge;
mod meta;
mod ordered_codes;
mod packed;
mod part;
mod payload;
mod reader;
mod row_tag;
mod schema;
mod vector_index;
mod vectors;
mod writer;

pub use far::{FarCandidate, FarIndex, FarPayloads, VectorPlaces};
pub use far_rows::{RowBlocks, RowChecks, RowRun};
pub use fields::build_field_index_part;
pub use ids::IdColumn;
pub use lodestone_manifest::SegmentId;
pub use merge::{MergeInput, Merged, merge};
pub use meta::{PartKind, PartMeta, SectionKind, SectionMeta, SegmentMeta};
pub use ordered_codes::{CodesByRow, OrderedRows, RowOrder, StoredCodes};
pub use part::{BLOCK_BYTES, ObjectWriter, SECTION_ALIGN, Sink, list_parts};
pub use payload::{PayloadBlock, PayloadColumn};
pub use reader::{CheckFile, Fetch, ReadAt, SegmentReader};
pub use row_tag::{RowTag, RowTags, TagLayout};
pub use schema::{SegmentSchema, VectorSpec};
pub use vectors::{ColumnOnDisk, DiskPart, VectorColumn, VectorReader, Vectors};
pub use writer::{Row, SegmentWriter, delete_bitmap_part};
