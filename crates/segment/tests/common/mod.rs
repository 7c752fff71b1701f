//! Rows to write and a bucket in memory to read them from.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_index::dense::{self, BuildOptions, Distance, TrainOptions, build};
use lodestone_kernels::LevelBits;
use lodestone_segment::{
    DiskPart, Fetch, ObjectWriter, PartKind, PartMeta, Row, RowTags, SegmentId, SegmentMeta, SegmentReader,
    SegmentSchema, SegmentWriter, VectorSpec,
};
use lodestone_types::{Datatype, Error, PointId, Result};
use proptest::prelude::*;
use uuid::Uuid;

/// Objects by key.
#[derive(Default)]
pub struct Bucket {
    objects: Mutex<HashMap<String, Bytes>>,
    pub fetches: AtomicUsize,
    /// Bytes of the largest of them.
    pub largest: AtomicUsize,
    /// Whether parts are kept as files.
    pub on_disk: AtomicBool,
}

impl Bucket {
    pub fn put(&self, key: &str, object: Bytes) {
        self.objects.lock().unwrap().insert(key.into(), object);
    }
}

#[async_trait]
impl Fetch for Bucket {
    async fn fetch(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let objects = self.objects.lock().unwrap();
        let bytes = objects.get(object).ok_or_else(|| Error::damaged(format!("no object '{object}'")))?;
        let end = bytes.len().min(range.end as usize);
        self.largest.fetch_max(end.saturating_sub(range.start as usize), Ordering::Relaxed);
        Ok(bytes.slice((range.start as usize).min(end)..end))
    }

    fn disk(&self, object: &str, range: Range<u64>, _: &PartKind) -> Option<Box<dyn DiskPart>> {
        if !self.on_disk.load(Ordering::Relaxed) {
            return None;
        }
        let object = self.objects.lock().unwrap()[object].clone();
        let part = object.slice(range.start as usize..range.end as usize);
        Some(Box::new(PartInBucket::new(part)))
    }
}

/// A part as it lies in the bucket. It is lost when it was read past its end.
#[derive(Debug)]
pub struct PartInBucket {
    part: Bytes,
    pub lost: Arc<AtomicBool>,
}

impl PartInBucket {
    pub fn new(part: Bytes) -> Self {
        Self { part, lost: Arc::default() }
    }
}

impl DiskPart for PartInBucket {
    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn renew(&self, bytes: Option<Bytes>) {
        assert!(bytes.is_none_or(|bytes| bytes == self.part));
        self.lost.store(false, Ordering::Relaxed);
    }

    fn memory(&self, on_disk: bool) -> Result<Option<Bytes>> {
        Ok((!on_disk).then(|| self.part.clone()))
    }

    fn settle(&self, _: bool) -> Result<()> {
        Ok(())
    }

    fn leave_memory(&self) -> bool {
        false
    }

    fn peek(&self) -> Option<Bytes> {
        None
    }

    fn read_all(&self) -> Result<Bytes> {
        Ok(self.part.clone())
    }

    fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> Result<()> {
        for range in ranges {
            let Some(bytes) = self.part.get(range.start as usize..range.end as usize) else {
                self.lost.store(true, Ordering::Relaxed);
                return Err(Error::lost_copy("past the end"));
            };
            out.extend_from_slice(bytes);
        }
        Ok(())
    }
}

/// What a row should be when read.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRow {
    pub lsn: u64,
    pub vectors: BTreeMap<String, Vec<u8>>,
    pub payload: serde_json::Value,
}

pub type Model = BTreeMap<PointId, ModelRow>;

pub fn schema() -> SegmentSchema {
    let spec = |dim, datatype| VectorSpec { dim, datatype };
    let vectors = BTreeMap::from([
        (String::new(), spec(3, Datatype::Float32)),
        ("half".to_owned(), spec(5, Datatype::Float16)),
        ("bytes".to_owned(), spec(7, Datatype::Uint8)),
    ]);
    SegmentSchema { vectors, fields: BTreeMap::new() }
}

pub fn write(model: &Model, schema: &SegmentSchema, key: &str, id: u64) -> (Bytes, SegmentMeta) {
    let mut writer = SegmentWriter::new(schema).unwrap();
    for (id, row) in model {
        let payload = row.payload.to_string();
        let vectors: Vec<_> = row.vectors.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        writer
            .push(Row { id: *id, lsn: row.lsn, vectors: &vectors, payload_json: payload.as_bytes() })
            .unwrap();
    }
    writer.finish(key, SegmentId(id)).unwrap()
}

pub fn open(bucket: &Arc<Bucket>, meta: &SegmentMeta) -> SegmentReader {
    let reader = SegmentReader::open(Arc::new(meta.clone()), bucket.clone());
    block_on(reader.load_all()).unwrap();
    reader
}

pub fn open_one(key: &str, object: &Bytes, meta: &SegmentMeta) -> SegmentReader {
    let bucket = Arc::new(Bucket::default());
    bucket.put(key, object.clone());
    open(&bucket, meta)
}

/// An object with a model and an index of the unnamed vectors.
pub fn vector_index(reader: &SegmentReader, key: &str) -> (Bytes, Vec<PartMeta>) {
    vector_index_by(reader, key, false)
}

/// The same for searches by signs alone, if asked.
pub fn vector_index_by(reader: &SegmentReader, key: &str, signs_alone: bool) -> (Bytes, Vec<PartMeta>) {
    let column = reader.vector("").unwrap().unwrap();
    let dim = column.spec().dim as usize;
    let size = column.spec().row_bytes();
    let vectors = column.all().unwrap();
    let row = |slot: usize, out: &mut [f32]| {
        let bytes = vectors[slot * size..(slot + 1) * size].as_chunks().0;
        out.iter_mut().zip(bytes).for_each(|(x, bytes)| *x = f32::from_le_bytes(*bytes));
    };
    let options = TrainOptions {
        distance: Distance::Euclid,
        list_rows: 50,
        sample_rows: 10_000,
        level_bits: LevelBits::Four,
        seed: 1,
    };
    let mut model = dense::Model::train(dim, column.len(), &row, options);
    model.note_signs_alone(signs_alone);
    let number = |slot| column.slot_to_row(slot).unwrap();
    let index = build(&model, column.len(), &row, &number, BuildOptions { spill: true });
    let mut object = ObjectWriter::new(key);
    let model = object.add_model("", &model).unwrap();
    let index =
        object.add_vector_index("", index, &model, &RowTags::of(&[(reader, None)], "").unwrap()).unwrap();
    (object.finish(), [vec![model], index].concat())
}

pub fn write_and_open(model: &Model, id: u64) -> SegmentReader {
    write_and_open_in(Arc::default(), model, id)
}

pub fn write_and_open_in(bucket: Arc<Bucket>, model: &Model, id: u64) -> SegmentReader {
    let (object, meta) = write(model, &schema(), "segment", id);
    bucket.put("segment", object);
    open(&bucket, &meta)
}

pub fn read(reader: &SegmentReader) -> Model {
    let row = |row: u32| ModelRow {
        lsn: reader.lsn(row).unwrap(),
        vectors: schema()
            .vectors
            .keys()
            .filter_map(|name| {
                let column = reader.vector(name).unwrap()?;
                Some((name.clone(), column.reader().row(row).unwrap()?.to_vec()))
            })
            .collect(),
        payload: serde_json::Value::Object(reader.payload(row).unwrap().0),
    };
    (0..reader.rows()).map(|r| (reader.id(r).unwrap(), row(r))).collect()
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub fn any_id() -> impl Strategy<Value = PointId> {
    prop_oneof![
        4 => (0u64..400).prop_map(PointId::Num),
        1 => any::<u64>().prop_map(PointId::Num),
        2 => (0u128..100).prop_map(|n| PointId::Uuid(Uuid::from_u128(n << 90))),
        1 => any::<u128>().prop_map(|n| PointId::Uuid(Uuid::from_u128(n))),
    ]
}

fn any_payload() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        3 => Just(serde_json::json!({})),
        6 => (any::<i64>(), "[a-zé ]{0,30}", any::<bool>())
            .prop_map(|(n, s, b)| serde_json::json!({"n": n, "s": s, "nested": {"b": [b, null]}})),
        1 => (0usize..60_000).prop_map(|n| serde_json::json!({"long": "x".repeat(n)})),
    ]
}

fn any_row() -> impl Strategy<Value = ModelRow> {
    let vector = |bytes: usize| prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), bytes));
    let vectors = (vector(12), vector(10), vector(7)).prop_map(|(a, b, c)| {
        let named = [("", a), ("half", b), ("bytes", c)];
        named.into_iter().filter_map(|(n, v)| Some((n.to_owned(), v?))).collect()
    });
    (prop_oneof![0u64..50, any::<u64>()], vectors, any_payload())
        .prop_map(|(lsn, vectors, payload)| ModelRow { lsn, vectors, payload })
}

pub fn any_model(rows: usize) -> impl Strategy<Value = Model> {
    prop::collection::btree_map(any_id(), any_row(), 0..rows)
}
