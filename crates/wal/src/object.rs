//! The object of a slot: the slices of one commit window, and the record that the manifest needs.
//!
//! ```text
//! 0   magic "LWAL" · version u16 · 0 u16 · record offset u64 · record length u32 · record CRC-32C u32
//! 24  slices, each with its own checksum in the record
//! …   the record, postcard
//! ```
//! All numbers are little endian. The record comes last so that slices have their final offsets when it is
//! written. An object of no bytes is a void slot.

use bytes::{Buf, Bytes};
use lodestone_manifest::{Batch, Epoch, Nonce, Record, ShardId, SliceHeader, SystemOp};

use crate::DecodeError;

const MAGIC: &[u8; 4] = b"LWAL";
const VERSION: u16 = 1;
const PROLOGUE: usize = 24;

/// Gathers the slices of one commit window.
#[derive(Debug)]
pub struct ObjectBuilder {
    bytes: Vec<u8>,
    slices: Vec<SliceHeader>,
    system: Vec<SystemOp>,
}

impl Default for ObjectBuilder {
    fn default() -> Self {
        Self { bytes: vec![0; PROLOGUE], slices: Vec::new(), system: Vec::new() }
    }
}

impl ObjectBuilder {
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty() && self.system.is_empty()
    }

    /// Adds the operations of one write to one shard.
    pub fn push_slice(&mut self, shard: ShardId, rows: u64, slice: &[u8]) {
        let header = SliceHeader {
            shard,
            side: None,
            offset: self.bytes.len() as u64,
            len: slice.len() as u64,
            crc: crc32c::crc32c(slice),
            rows,
        };
        self.bytes.extend_from_slice(slice);
        self.slices.push(header);
    }

    /// Adds a slice that lies in a side object.
    pub fn push_side(&mut self, header: SliceHeader) {
        self.slices.push(header);
    }

    /// Adds a change of the catalog or of segments.
    pub fn push_system(&mut self, op: SystemOp) {
        self.system.push(op);
    }

    /// The object and its record.
    pub fn finish(self, epoch: Epoch, nonce: Nonce) -> (Bytes, Batch) {
        let batch = Batch { epoch, nonce, slices: self.slices, system: self.system };
        (seal(self.bytes, &Record::Batch(batch.clone())), batch)
    }
}

/// The object of a record without slices: a claim or a release. A void is no bytes.
pub fn encode_record(record: &Record) -> Bytes {
    if *record == Record::Void { Bytes::new() } else { seal(vec![0; PROLOGUE], record) }
}

fn seal(mut bytes: Vec<u8>, record: &Record) -> Bytes {
    let offset = bytes.len() as u64;
    // Plain data: postcard cannot fail on it except for want of memory.
    let record = postcard::to_stdvec(record).expect("a record always encodes");
    bytes.extend_from_slice(&record);
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    bytes[16..20].copy_from_slice(&(record.len() as u32).to_le_bytes());
    bytes[20..24].copy_from_slice(&crc32c::crc32c(&record).to_le_bytes());
    bytes.into()
}

/// Reads the record of an object. Slices are checked by [`slice`].
pub fn decode_object(object: &Bytes) -> Result<Record, DecodeError> {
    if object.is_empty() {
        return Ok(Record::Void);
    }
    let mut prologue = object.get(..PROLOGUE).ok_or(DecodeError::Damaged("cut short"))?;
    if prologue.copy_to_bytes(4) != MAGIC[..] {
        return Err(DecodeError::Damaged("no log object"));
    }
    let version = prologue.get_u16_le();
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    prologue.advance(2);
    let (offset, len, crc) = (prologue.get_u64_le(), prologue.get_u32_le(), prologue.get_u32_le());
    let record = usize::try_from(offset)
        .ok()
        .and_then(|start| object.get(start..start.checked_add(len as usize)?))
        .ok_or(DecodeError::Damaged("cut short"))?;
    if crc32c::crc32c(record) != crc {
        return Err(DecodeError::Damaged("the record's checksum is wrong"));
    }
    postcard::from_bytes(record).map_err(|_| DecodeError::Damaged("the record does not parse"))
}

/// The bytes of a slice within its object, checked.
pub fn slice(object: &Bytes, header: &SliceHeader) -> Result<Bytes, DecodeError> {
    let start = usize::try_from(header.offset).map_err(|_| DecodeError::Damaged("cut short"))?;
    let end = start.checked_add(header.len as usize).filter(|end| *end <= object.len());
    let bytes = object.slice(start..end.ok_or(DecodeError::Damaged("cut short"))?);
    check_slice(bytes, header)
}

/// The bytes of a slice that were read by themselves, checked.
pub fn check_slice(bytes: Bytes, header: &SliceHeader) -> Result<Bytes, DecodeError> {
    let sound = bytes.len() as u64 == header.len && crc32c::crc32c(&bytes) == header.crc;
    if sound { Ok(bytes) } else { Err(DecodeError::Damaged("a slice's checksum is wrong")) }
}
