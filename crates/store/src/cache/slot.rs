use std::sync::Arc;

/// Which bytes of which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PartId {
    pub(super) key: Arc<str>,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Where a part is kept. Two keys may share one, since it holds only a hash of the key; the file itself says
/// whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot {
    key_hash: u64,
    start: u64,
    end: u64,
}

impl PartId {
    pub(super) fn slot(&self) -> Slot {
        Slot { key_hash: fnv1a(self.key.as_bytes()), start: self.start, end: self.end }
    }
}

impl Slot {
    pub(super) fn file_name(&self) -> String {
        format!("{:016x}-{:x}-{:x}", self.key_hash, self.start, self.end)
    }

    pub(super) fn from_file_name(name: &str) -> Option<Self> {
        let mut fields = name.split('-').map(|field| u64::from_str_radix(field, 16).ok());
        let slot = Self { key_hash: fields.next()??, start: fields.next()??, end: fields.next()?? };
        (slot.file_name() == name).then_some(slot)
    }
}

/// FNV-1a: stable over releases, which the standard hasher does not promise, and names files.
fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_lead_back_and_nothing_else_is_one() {
        let slot = PartId { key: "parts/a".into(), start: 0, end: 1 << 40 }.slot();
        assert_eq!(Slot::from_file_name(&slot.file_name()), Some(slot));
        for other in ["", "a", "0-0-0", "x-1-2", &(slot.file_name() + "-1"), &(slot.file_name() + ".tmp")] {
            assert_eq!(Slot::from_file_name(other), None, "{other}");
        }
    }
}
