//! Files that pyarrow wrote (`tests/parquet/make.py`), whole, in parts, and damaged.

use std::path::PathBuf;

use serde_json::Value;
use uuid::Uuid;

use super::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/parquet/{name}.parquet"))
}

struct All {
    vectors: Vec<f32>,
    ids: Vec<PointId>,
    payloads: Vec<Value>,
}

/// All rows from one on, so many at once.
fn read(path: &Path, columns: &Columns, from: u64, at_once: usize) -> Result<All> {
    let layout = Layout::look(path, columns)?;
    let mut reader = Reader::open(path, &layout, from)?;
    let mut all = All { vectors: Vec::new(), ids: Vec::new(), payloads: Vec::new() };
    loop {
        let rows = reader.read(at_once, usize::MAX)?;
        if rows.vectors.is_empty() {
            return Ok(all);
        }
        all.vectors.extend(rows.vectors.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        all.ids.extend(rows.ids.unwrap_or_default());
        let lines = rows.payloads.unwrap_or_default();
        all.payloads.extend(
            lines
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .map(|l| serde_json::from_slice::<Value>(l).unwrap()),
        );
    }
}

fn read_all(name: &str, columns: &Columns) -> Result<All> {
    read(&file(name), columns, 0, 1000)
}

#[test]
fn columns_are_vectors_ids_and_payloads_wherever_reading_begins() {
    let columns = Columns::default();
    for (from, at_once) in [(0, 1000), (0, 1), (0, 130), (1, 64), (109, 2), (110, 500), (299, 9), (300, 9)] {
        let all = read(&file("books"), &columns, from, at_once).unwrap();
        let rows: Vec<u64> = (from..300).collect();
        let vector = |i: &u64| [*i as f32, *i as f32 + 0.5, -(*i as f32), 1.0];
        assert_eq!(all.vectors, rows.iter().flat_map(vector).collect::<Vec<_>>());
        assert_eq!(all.ids, rows.iter().map(|i| PointId::Num(1000 + i)).collect::<Vec<_>>());
        assert_eq!(all.payloads.len(), rows.len());
        for (i, payload) in rows.iter().zip(&all.payloads) {
            assert_eq!(payload["title"], format!("book {i}"));
            assert_eq!(payload.get("year").is_none(), i % 7 == 0);
            assert_eq!(payload["tags"].as_array().unwrap().len() as u64, i % 3);
            assert_eq!(payload["info"], serde_json::json!({"a": i, "b": i % 2 == 0}));
            assert_eq!(payload["price"], *i as f64 / 4.0);
        }
        if from == 0 {
            assert_eq!(all.payloads[1]["at"], "2024-02-29T13:30:00Z");
            assert_eq!(all.payloads[1]["day"], "2024-03-01T00:00:00Z");
        }
    }
}

#[test]
fn types_and_compressions_of_other_files() {
    let doubles = read_all("doubles", &Columns::default()).unwrap();
    assert_eq!(
        doubles.vectors,
        (0..40).flat_map(|i| [(f64::from(i) / 3.0) as f32, -(i as f32)]).collect::<Vec<_>>()
    );
    assert!(doubles.ids.is_empty() && doubles.payloads.is_empty());
    let halves = read_all("halves", &Columns::default()).unwrap();
    assert_eq!(halves.vectors, (0..40).flat_map(|i| [i as f32 / 8.0, 2.0]).collect::<Vec<_>>());
    assert_eq!(halves.ids[3], PointId::Uuid(Uuid::from_u128(3 << 64 | 5)));
    let columns = Columns { id: Some("key".into()), vector: None };
    let bytes = read_all("bytes", &columns).unwrap();
    assert_eq!(bytes.vectors[3..6], [1.0, 254.0, 0.0]);
    assert_eq!(bytes.ids[1], PointId::Num(u64::MAX - 1));
}

#[test]
fn what_does_not_fit_says_where_and_why() {
    let columns = Columns::default();
    for (name, part) in [
        ("bad-ragged", "row 1 has 3 numbers, row 0 has 2"),
        ("bad-none", "row 1 has no vector"),
        ("bad-null", "row 1 has a vector with a null"),
        ("bad-two", "`a`, `b`; --vector-column"),
        ("bad-text", "no column is a list"),
        ("bad-id", "row 1 has the id -2"),
        ("bad-time", "`t` has times in nanoseconds"),
        ("bad-map", "`m` has maps"),
        ("bad-nan", "row 1, column `x`"),
    ] {
        let error = read_all(name, &columns).err().unwrap().message;
        assert!(error.contains(part), "{name}: {error}");
    }
    let with = |vector: Option<&str>, id: Option<&str>| Columns {
        vector: vector.map(str::to_owned),
        id: id.map(str::to_owned),
    };
    let named = read_all("bad-two", &with(Some("b"), None)).unwrap();
    assert_eq!(
        (named.vectors, &named.payloads[1]),
        (vec![1.0, 2.0, 3.0, 4.0], &serde_json::json!({"a": [3.0, 4.0]}))
    );
    for (columns, part) in [
        (with(Some("title"), None), "`title` is no list"),
        (with(None, Some("none")), "no column `none`"),
        (with(None, Some("price")), "`price` cannot be ids"),
        (with(None, Some("tags")), "`tags` cannot be ids"),
    ] {
        let error = read_all("books", &columns).err().unwrap().message;
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn damage_is_an_error_or_unseen_and_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let whole = std::fs::read(file("bad-id")).unwrap();
    let look = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        read(&path, &Columns::default(), 0, 10).err()
    };
    for end in (0..whole.len()).step_by(7) {
        assert!(look(&whole[..end]).is_some(), "cut at {end}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let _ = look(&bytes);
    }
}
