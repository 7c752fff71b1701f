//! Which slices of the tail are read from the log by one request: each write has one, and a slot has those of all that came within a window.

use lodestone_manifest::SliceHeader;

/// Bytes that one request asks for at most, unless one slice has more.
const MOST_TOGETHER: u64 = 4 << 20;

/// Slices of one slot, in their order, by which are read together.
pub(super) fn together(slices: impl Iterator<Item = SliceHeader>) -> Vec<Vec<SliceHeader>> {
    let mut groups: Vec<Vec<SliceHeader>> = Vec::new();
    for slice in slices {
        let fits = |group: &&mut Vec<SliceHeader>| {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { return false };
            let end = slice.offset.saturating_add(slice.len);
            slice.follows(last) && end.saturating_sub(first.offset) <= MOST_TOGETHER
        };
        match groups.last_mut().filter(fits) {
            Some(group) => group.push(slice),
            None => groups.push(vec![slice]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use lodestone_manifest::ShardId;

    use super::*;

    fn slice(offset: u64, len: u64, side: Option<&str>) -> SliceHeader {
        SliceHeader { shard: ShardId(1), side: side.map(str::to_owned), offset, len, crc: 0, rows: 1 }
    }

    #[test]
    fn what_lies_near_each_other_is_read_together() {
        let groups = |slices: &[(u64, u64, Option<&str>)]| -> Vec<usize> {
            let slices = slices.iter().map(|(offset, len, side)| slice(*offset, *len, *side));
            together(slices).iter().map(Vec::len).collect()
        };
        assert!(groups(&[]).is_empty());
        assert_eq!(groups(&[(50, 10, None), (60, 5, None), (70, 5, None)]), [3]);
        assert_eq!(groups(&[(0, 10, None), (8_202, 5, None), (80 << 20, 1, None)]), [2, 1]);
        assert_eq!(groups(&[(0, 10, None), (8_203, 5, None)]), [1, 1], "too much between them");
        assert_eq!(groups(&[(60, 5, None), (50, 10, None)]), [1, 1], "only as they lie");
        assert_eq!(groups(&[(0, MOST_TOGETHER, None), (MOST_TOGETHER, 1, None)]), [1, 1]);
        assert_eq!(
            groups(&[(0, 9, Some("a")), (9, 9, Some("a")), (18, 9, None), (27, 9, Some("b"))]),
            [1; 4]
        );
        assert_eq!(groups(&[(u64::MAX, 9, None), (u64::MAX, 9, None)]), [2], "damage is found later");
    }
}
