//! The rows of a segment in the order of a field's values.

use lodestone_types::Result;
use serde::{Deserialize, Serialize};

use crate::codec::damaged;

/// Values that neither few nor many rows have, the rarest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RareValues {
    /// Rows that such a value has at least,
    pub least: u32,
    /// and at most.
    pub most: u32,
    /// Rows of all that are taken, at most; a row counts once for each of its values. The rarest are taken first.
    pub rows: u32,
}

impl RareValues {
    /// Whether so many rows make a value rare.
    pub(super) fn admits(&self, count: u64) -> bool {
        (u64::from(self.least)..=u64::from(self.most)).contains(&count)
    }

    /// The rows of those that are taken, each once: those of the rarest value first. `values`, ascending, come with how many rows have them;
    /// `rows` of the segment.
    pub(super) fn rows_of<V, R: IntoIterator<Item = u32>>(
        &self,
        mut values: Vec<(u64, V)>,
        rows: u32,
        rows_of: impl Fn(V) -> Result<R>,
    ) -> Result<Vec<u32>> {
        values.sort_by_key(|(count, _)| *count);
        let (mut order, mut taken) = (ValueOrder::new(rows), 0);
        for (count, value) in values {
            taken += count;
            if taken > u64::from(self.rows) {
                break;
            }
            rows_of(value)?.into_iter().try_for_each(|row| order.push(row))?;
        }
        Ok(order.rows)
    }
}

/// Takes rows as they come, and keeps of each the first time.
pub(super) struct ValueOrder {
    came: Vec<bool>,
    rows: Vec<u32>,
}

impl ValueOrder {
    /// Of so many rows.
    pub(super) fn new(rows: u32) -> Self {
        Self { came: vec![false; rows as usize], rows: Vec::new() }
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

    use super::RareValues;
    use crate::{FieldIndexBuilder, FieldIndexReader};

    fn order(kind: FieldIndexKind, values: &[serde_json::Value], rows: u32) -> Option<Vec<u32>> {
        index(kind, values).rows_by_value(rows).unwrap()
    }

    fn index(kind: FieldIndexKind, values: &[serde_json::Value]) -> FieldIndexReader {
        let mut builder = FieldIndexBuilder::new(&FieldIndex { kind, params: None }).unwrap();
        for (row, value) in (0..).zip(values) {
            let payload = json!({ "a": value });
            builder.add(row, payload.as_object().unwrap(), &"a".parse().unwrap());
        }
        FieldIndexReader::open(builder.finish().into()).unwrap()
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
    fn rows_of_rare_values_lie_by_how_rare_these_are() {
        let letters = ["a", "b", "c", "b", "a", "a", "d", "c", "d", "a", "e"].map(|letter| json!(letter));
        let digits = [1, 2, 3, 2, 1, 1, 4, 3, 4, 1, 5].map(|digit| json!(digit));
        for (kind, values) in [(FieldIndexKind::Keyword, letters), (FieldIndexKind::Integer, digits)] {
            let index = index(kind, &values);
            let rare = |least, most, rows| {
                index.rows_of_rare(11, RareValues { least, most, rows }).unwrap().unwrap()
            };
            let counts = index.rare_counts(RareValues { least: 2, most: 4, rows: 0 }).unwrap().unwrap();
            assert_eq!(counts, [2, 2, 2, 4], "taken or not");
            assert_eq!(rare(1, 4, 11), [10, 1, 3, 2, 7, 6, 8, 0, 4, 5, 9]);
            assert_eq!(rare(2, 3, 11), [1, 3, 2, 7, 6, 8]);
            assert_eq!(rare(2, 4, 9), [1, 3, 2, 7, 6, 8], "not a part of a value");
            assert_eq!(rare(2, 4, 5), [1, 3, 2, 7]);
            assert!(rare(5, 9, 11).is_empty() && rare(2, 4, 1).is_empty());
        }
        let lists = index(FieldIndexKind::Keyword, &[json!(["a", "b"]), json!("a"), json!("b"), json!("b")]);
        let rare = RareValues { least: 2, most: 3, rows: 9 };
        assert_eq!(lists.rows_of_rare(4, rare).unwrap().unwrap(), [0, 1, 2, 3], "each once");
        let fewer = RareValues { rows: 4, ..rare };
        assert_eq!(lists.rows_of_rare(4, fewer).unwrap().unwrap(), [0, 1], "for each of its values");
        assert!(lists.rows_of_rare(3, rare).is_err(), "an index of more rows");
        for values in [&[][..], &[json!(7), json!(7)]] {
            let rows = self::index(FieldIndexKind::Integer, values).rows_of_rare(2, rare).unwrap();
            assert_eq!(rows.unwrap().len(), values.len());
        }
        let places = index(FieldIndexKind::Geo, &[json!({"lon": 1, "lat": 2})]);
        assert!(places.rows_of_rare(1, rare).unwrap().is_none());
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
