//! A segment in memory: points, and indexes of some of their fields.
#![allow(dead_code)] // Not every test that shares this module needs all of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lodestone_index::{
    Evaluator, FieldIndexBuilder, FieldIndexReader, IndexSchema, RowSource, RowView, plan,
};
use lodestone_types::{FieldIndex, Filter, JsonPath, Payload, Point, PointId};
use roaring::RoaringBitmap;

/// Points by row, with indexes built over all of them.
pub struct Rows {
    pub points: Vec<Point>,
    pub schema: IndexSchema,
    readers: BTreeMap<JsonPath, FieldIndexReader>,
    knows_ids: bool,
}

impl Rows {
    pub fn new(points: Vec<Point>, indexes: Vec<(JsonPath, FieldIndex)>) -> Self {
        let schema = IndexSchema::new(indexes.iter().map(|(path, index)| (path, index))).unwrap();
        let build = |(path, index): &(JsonPath, FieldIndex)| {
            let bytes = index_bytes(index, path, points.iter().map(|p| &p.payload));
            (path.clone(), FieldIndexReader::open(bytes).unwrap())
        };
        let readers = indexes.iter().map(build).collect();
        Self { points, schema, readers, knows_ids: true }
    }

    /// Forgets the index of a path, as a segment that has not built it yet, and which rows have which ids.
    pub fn forget(&mut self, path: &JsonPath) {
        self.readers.remove(path);
        self.knows_ids = false;
    }

    pub fn all(&self) -> RoaringBitmap {
        (0..self.points.len() as u32).collect()
    }
}

/// The bytes of one index over payloads in the order of rows.
pub fn index_bytes<'a>(
    index: &FieldIndex,
    path: &JsonPath,
    payloads: impl Iterator<Item = &'a Payload>,
) -> Bytes {
    let mut builder = FieldIndexBuilder::new(index).unwrap();
    for (row, payload) in (0..).zip(payloads) {
        builder.add(row, &payload.0, path);
    }
    builder.finish().into()
}

impl RowSource for Rows {
    fn index(&self, path: &JsonPath) -> Option<&FieldIndexReader> {
        self.readers.get(path)
    }

    fn rows_with_ids(&self, ids: &BTreeSet<PointId>) -> Option<RoaringBitmap> {
        let rows = (0..).zip(&self.points).filter(|(_, p)| ids.contains(&p.id)).map(|(row, _)| row);
        self.knows_ids.then(|| rows.collect())
    }

    fn rows_with_vector(&self, name: &str) -> Option<RoaringBitmap> {
        let rows = (0..).zip(&self.points).filter(|(_, p)| p.has_vector(name)).map(|(row, _)| row);
        self.knows_ids.then(|| rows.collect())
    }
}

/// The matching rows by the plan. Checks on the way that what is certain is true, that nothing true is
/// impossible, and that payloads were asked for only where the indexes left a doubt.
pub fn exact_rows(rows: &Rows, filter: &Filter) -> RoaringBitmap {
    let plan = plan::plan(filter, &rows.schema);
    let narrowed = plan.narrow(rows, &rows.all()).unwrap();
    let mut asked = RoaringBitmap::new();
    let point = |row: u32| {
        asked.insert(row);
        Ok(&rows.points[row as usize])
    };
    let found = plan.execute(rows, &rows.all(), point).unwrap();
    assert_eq!(asked, narrowed.undecided());
    assert!(narrowed.certain.is_subset(&found), "certain but false: {filter:?}");
    assert!(found.is_subset(&narrowed.possible), "true but impossible: {filter:?}");

    let evaluator = Evaluator::new(filter, &rows.schema);
    let by_row: RoaringBitmap =
        (0..).zip(&rows.points).filter(|(_, p)| evaluator.matches(*p)).map(|(row, _)| row).collect();
    assert_eq!(found, by_row, "plan and evaluator differ: {filter:?}");
    plan.estimate(rows, rows.points.len() as u64).unwrap();
    found
}
