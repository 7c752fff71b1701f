//! Bitmaps of rows as sections, in roaring's portable form.

use lodestone_types::{Error, Result};
use roaring::RoaringBitmap;

use crate::part::Section;

/// The stored form.
pub(crate) fn encode(bitmap: &RoaringBitmap) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap
        .serialize_into(&mut bytes)
        .map_err(|e| Error::internal(format!("a bitmap has no stored form: {e}")))?;
    Ok(bytes)
}

/// A bitmap of `entries` rows out of `rows`.
pub(crate) fn decode(section: &Section, entries: u64, rows: u32) -> Result<RoaringBitmap> {
    let bitmap = RoaringBitmap::deserialize_from(section.bytes.as_ref())
        .map_err(|e| section.damaged(format!("it is no bitmap: {e}")))?;
    if bitmap.serialized_size() != section.bytes.len() || bitmap.len() != entries {
        return Err(section.damaged("it is not as large as it should be"));
    }
    if bitmap.max().is_some_and(|row| row >= rows) {
        return Err(section.damaged(format!("it names rows past the {rows} of the segment")));
    }
    Ok(bitmap)
}
