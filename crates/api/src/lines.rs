//! Points as lines of JSON: the form that REST takes and gives, one point a line.

use lodestone_types::{Error, Payload, Point, Record, Result};

use crate::check;
use crate::rest::wire::points::RecordOut;
use crate::rest::wire::write::WirePoint;

/// A point to write: `{"id": 1, "vector": [..] or {"name": [..]}, "payload": {..}}`, `payload` optional.
pub fn point(line: &[u8]) -> Result<Point> {
    let point: WirePoint = serde_json::from_slice(line).map_err(|e| wrong(&e))?;
    let point = point.into_point();
    check::point(&point)?;
    Ok(point)
}

/// A payload: one object.
pub fn payload(line: &[u8]) -> Result<Payload> {
    let payload = serde_json::from_slice(line).map_err(|e| wrong(&e))?;
    check::payload(&payload, None)?;
    Ok(payload)
}

/// Appends a stored point as a line that [`point`] reads.
pub fn append(record: &Record, text: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(&mut *text, &RecordOut(record))
        .map_err(|e| Error::internal(format!("point {} cannot be written as JSON: {e}", record.id)))?;
    text.push(b'\n');
    Ok(())
}

/// The line is the caller's; of serde's place only the column tells something.
fn wrong(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    Error::bad_request(format!("column {}: {what}", error.column()))
}

#[cfg(test)]
mod tests {
    use lodestone_types::{NamedVectors, PointId};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_appended_is_read_again() {
        let named = |names: &[&str]| {
            NamedVectors(names.iter().map(|n| ((*n).to_owned(), vec![0.1_f32, -1.0e-30, 3.4e38])).collect())
        };
        let id: PointId = "8f1e7c5a-6a43-4d5e-9d0e-1f0e2d3c4b5a".parse().unwrap();
        for vectors in [named(&[""]), named(&["a", "b"]), named(&[])] {
            let payload = json!({"k": [1, 2.5, null, "\n"]}).as_object().cloned().map(Payload);
            let record = Record { id, payload, vectors: Some(vectors.clone()), order_value: None };
            let mut text = Vec::new();
            append(&record, &mut text).unwrap();
            let (last, line) = text.split_last().unwrap();
            assert!(*last == b'\n' && !line.contains(&b'\n'));
            let point = point(line).unwrap();
            assert_eq!((point.id, point.vectors), (record.id, vectors));
            assert_eq!(Some(point.payload), record.payload);
        }
    }

    #[test]
    fn errors_name_the_column_and_what_is_wrong() {
        for (line, part) in [
            (&b"{\"id\": 1, \"vector\": [1, \"x\"]}"[..], "a number"),
            (b"{\"id\": -1, \"vector\": [1]}", "column 9"),
            (b"{\"id\": 1, \"vector\": [1]", "EOF"),
            (b"{\"id\": 1, \"vector\": [1], \"pay\": {}}", "unknown field `pay`"),
            (b"{\"id\": 1, \"vector\": []}", "at least one component"),
            (b"\xff", "column"),
        ] {
            let error = point(line).unwrap_err().message;
            assert!(error.contains(part), "{error}");
        }
        assert!(payload(b"[1]").is_err());
    }
}
