//! Names of objects in the bucket.
//!
//! | prefix | holds |
//! | --- | --- |
//! | `wal/` | one object per slot |
//! | `claims/` | one object per epoch |
//! | `checkpoints/` | roots, the newest first in a LIST |
//! | `newest` | a copy of the newest root, or of one before it |
//! | `parts/` | everything else, by epoch and job: segments, side objects, pages of checkpoints |

use lodestone_manifest::{Epoch, JobId, Slot};

/// Prefix of slots.
pub const WAL: &str = "wal/";
/// Prefix of claims.
pub const CLAIMS: &str = "claims/";
/// Prefix of roots.
pub const CHECKPOINTS: &str = "checkpoints/";
/// The copy of a root.
pub const NEWEST: &str = "newest";
/// Prefix of parts.
pub const PARTS: &str = "parts/";

/// The object of a slot.
pub fn wal(slot: Slot) -> String {
    format!("{WAL}{:016x}", slot.0)
}

/// The object of a claim.
pub fn claim(epoch: Epoch) -> String {
    format!("{CLAIMS}{:016x}", epoch.0)
}

/// The root object of the checkpoint at `slot`.
pub fn checkpoint(slot: Slot) -> String {
    format!("{CHECKPOINTS}{:016x}", !slot.0)
}

/// The `index`-th object that `job` of `epoch` writes. `what` is for people: `seg`, `side`, `page`.
pub fn part(epoch: Epoch, job: JobId, what: &str, index: u32) -> String {
    format!("{PARTS}{:08x}-{:010x}-{what}-{index}", epoch.0, job.0)
}

fn number(key: &str, prefix: &str) -> Option<u64> {
    let digits = key.strip_prefix(prefix)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// The slot whose object `key` is.
pub fn parse_wal(key: &str) -> Option<Slot> {
    number(key, WAL).map(Slot)
}

/// The epoch whose claim `key` is.
pub fn parse_claim(key: &str) -> Option<Epoch> {
    number(key, CLAIMS).map(Epoch)
}

/// The slot whose root `key` is.
pub fn parse_checkpoint(key: &str) -> Option<Slot> {
    number(key, CHECKPOINTS).map(|n| Slot(!n))
}

/// The epoch and job that wrote the part `key`.
pub fn parse_part(key: &str) -> Option<(Epoch, JobId)> {
    let mut fields = key.strip_prefix(PARTS)?.split('-');
    let epoch = u64::from_str_radix(fields.next()?, 16).ok()?;
    let job = u64::from_str_radix(fields.next()?, 16).ok()?;
    fields.next().map(|_| (Epoch(epoch), JobId(job)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!(parse_wal(&wal(Slot(77))), Some(Slot(77)));
        assert_eq!(parse_claim(&claim(Epoch(3))), Some(Epoch(3)));
        assert_eq!(parse_checkpoint(&checkpoint(Slot(9))), Some(Slot(9)));
        assert_eq!(parse_part(&part(Epoch(2), JobId(5), "seg", 0)), Some((Epoch(2), JobId(5))));
        assert_eq!(parse_wal("wal/x"), None);
    }

    #[test]
    fn newer_checkpoints_sort_first() {
        assert!(checkpoint(Slot(10)) < checkpoint(Slot(9)));
        assert!(wal(Slot(9)) < wal(Slot(10)));
    }
}
