//! The rows of a segment in the order of a field's values.

use lodestone_types::Result;

use crate::codec::damaged;

/// Takes rows as they come, and keeps of each the first time.
pub(super) struct ValueOrder {
    came: Vec<bool>,
    rows: Vec<u32>,
}

impl ValueOrder {
    /// Of so many rows.
    pub(super) fn new(rows: u32) -> Self {
        Self { came: vec![false; rows as usize], rows: Vec::with_capacity(rows as usize) }
    }

    /// The next row. Refuses one that there is not.
    pub(super) fn push(&mut self, row: u32) -> Result<()> {
        let came =
            self.came.get_mut(row as usize).ok_or_else(|| damaged("it has rows beyond its segment"))?;
        if !std::mem::replace(came, true) {
            self.rows.push(row);
        }
        Ok(())
    }

    /// All rows, those last that did not come.
    pub(super) fn finish(mut self) -> Vec<u32> {
        let others = (0..).zip(&self.came).filter(|(_, came)| !**came);
        self.rows.extend(others.map(|(row, _)| row));
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use lodestone_types::{FieldIndex, FieldIndexKind};
    use serde_json::json;

    use crate::{FieldIndexBuilder, FieldIndexReader};

    fn order(kind: FieldIndexKind, values: &[serde_json::Value], rows: u32) -> Option<Vec<u32>> {
        let mut builder = FieldIndexBuilder::new(&FieldIndex { kind, params: None }).unwrap();
        for (row, value) in (0..).zip(values) {
            let payload = json!({ "a": value });
            builder.add(row, payload.as_object().unwrap(), &"a".parse().unwrap());
        }
        FieldIndexReader::open(builder.finish().into()).unwrap().rows_by_value(rows).unwrap()
    }

    #[test]
    fn rows_lie_by_their_least_value_and_last_those_without_one() {
        let numbers = [json!(3), json!([9, -1]), json!("x"), json!(3), json!(null), json!([])];
        assert_eq!(order(FieldIndexKind::Integer, &numbers, 6).unwrap(), [1, 0, 3, 2, 4, 5]);
        let texts = [json!("b"), json!(["c", "a"]), json!(7), json!("b"), json!("a"), json!({})];
        assert_eq!(order(FieldIndexKind::Keyword, &texts, 7).unwrap(), [1, 4, 0, 3, 2, 5, 6]);
        let many: Vec<_> = (0..500).map(|n| json!(format!("{:03}", 499 - n))).collect();
        assert_eq!(order(FieldIndexKind::Keyword, &many, 500).unwrap(), (0..500).rev().collect::<Vec<_>>());
        assert_eq!(order(FieldIndexKind::Bool, &[json!(true), json!(false)], 2).unwrap(), [1, 0]);
    }

    #[test]
    fn all_kinds_but_texts_and_places_have_an_order() {
        use FieldIndexKind::*;
        for kind in [Keyword, Integer, Float, Bool, Datetime, Uuid, Geo, Text] {
            assert_eq!(order(kind, &[json!(1)], 1).is_some(), kind.has_order(), "{kind:?}");
        }
    }

    #[test]
    fn an_index_of_more_rows_is_refused() {
        let mut builder =
            FieldIndexBuilder::new(&FieldIndex { kind: FieldIndexKind::Integer, params: None }).unwrap();
        builder.add(9, json!({"a": 1}).as_object().unwrap(), &"a".parse().unwrap());
        let reader = FieldIndexReader::open(builder.finish().into()).unwrap();
        assert!(reader.rows_by_value(10).is_ok());
        assert!(reader.rows_by_value(9).unwrap_err().message.contains("beyond its segment"));
    }
}
