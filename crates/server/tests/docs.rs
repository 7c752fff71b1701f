//! The pages that repeat what the code says say the same.

use lodestone_types::limits::*;

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| str::from_utf8(g).expect("digits")).collect();
    groups.join(",")
}

#[test]
fn the_page_on_limits_has_every_limit() {
    let limits: &[(&str, u64)] = &[
        ("MAX_BODY_BYTES", MAX_BODY_BYTES as u64),
        ("MAX_POINTS_PER_WRITE", MAX_POINTS_PER_WRITE as u64),
        ("MAX_OPS_PER_BATCH", MAX_OPS_PER_BATCH as u64),
        ("MAX_IDS", MAX_IDS as u64),
        ("MAX_WINDOW", MAX_WINDOW as u64),
        ("MAX_SEARCHES_PER_BATCH", MAX_SEARCHES_PER_BATCH as u64),
        ("MAX_FILTER_DEPTH", MAX_FILTER_DEPTH as u64),
        ("MAX_FILTER_CONDITIONS", MAX_FILTER_CONDITIONS as u64),
        ("MAX_PAYLOAD_BYTES", MAX_PAYLOAD_BYTES as u64),
        ("MAX_PAYLOAD_DEPTH", MAX_PAYLOAD_DEPTH as u64),
        ("MAX_DIMENSIONS", MAX_DIMENSIONS),
        ("MAX_VECTORS_PER_COLLECTION", MAX_VECTORS_PER_COLLECTION as u64),
        ("MAX_NAME_BYTES", MAX_NAME_BYTES as u64),
        ("MAX_SHARDS", u64::from(MAX_SHARDS)),
        ("MAX_FIELD_INDEXES", MAX_FIELD_INDEXES as u64),
        ("MAX_COLLECTIONS", MAX_COLLECTIONS as u64),
    ];
    let page = include_str!("../../../docs/limits.md");
    let source = include_str!("../../types/src/limits.rs");
    assert_eq!(source.matches("pub const ").count(), limits.len(), "a limit is missing here and on the page");
    for (name, value) in limits {
        let size = match *value {
            bytes if name.ends_with("_BYTES") && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
            bytes if name.ends_with("_BYTES") => format!("{} bytes", grouped(bytes)),
            number => grouped(number),
        };
        assert!(page.contains(&format!("| {size} | `{name}` |")), "{name} is {size}");
    }
}
