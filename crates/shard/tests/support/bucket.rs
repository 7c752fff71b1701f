//! Objects in memory, and the folds and merges that write them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_segment::{
    DiskPart, Fetch, MergeInput, ObjectWriter, PartKind, Row, SegmentId, SegmentMeta, SegmentReader,
    SegmentWriter, delete_bitmap_part, merge,
};
use lodestone_shard::{Cancel, ShardView};
use lodestone_types::{Error, Result};
use roaring::RoaringBitmap;

#[derive(Default)]
struct Objects(Mutex<HashMap<String, Bytes>>);

#[async_trait]
impl Fetch for Objects {
    async fn fetch(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        let objects = self.0.lock().unwrap();
        let bytes = objects.get(object).ok_or_else(|| Error::damaged(format!("no object {object}")))?;
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }

    fn disk(&self, object: &str, range: Range<u64>, _: &PartKind) -> Option<Box<dyn DiskPart>> {
        let bytes = self.0.lock().unwrap()[object].slice(range.start as usize..range.end as usize);
        Some(Box::new(Restless { bytes, times: AtomicUsize::new(0) }))
    }
}

/// A part that is now on disk and now in memory, which must make no difference.
#[derive(Debug)]
struct Restless {
    bytes: Bytes,
    times: AtomicUsize,
}

impl DiskPart for Restless {
    fn is_lost(&self) -> bool {
        false
    }

    fn renew(&self, _: Option<Bytes>) {}

    fn memory(&self, _: bool) -> Result<Option<Bytes>> {
        let is_there = self.times.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        Ok(is_there.then(|| self.bytes.clone()))
    }

    fn settle(&self, _: bool) -> Result<()> {
        Ok(())
    }

    fn leave_memory(&self) -> bool {
        false
    }

    fn peek(&self) -> Option<Bytes> {
        self.times.fetch_add(1, Ordering::Relaxed).is_multiple_of(3).then(|| self.bytes.clone())
    }

    fn read_all(&self) -> Result<Bytes> {
        Ok(self.bytes.clone())
    }

    fn read_many(&self, ranges: &[Range<u64>], out: &mut Vec<u8>) -> Result<()> {
        ranges.iter().for_each(|r| out.extend_from_slice(&self.bytes[r.start as usize..r.end as usize]));
        Ok(())
    }
}

#[derive(Default)]
pub struct Bucket {
    objects: Arc<Objects>,
    written: u64,
}

impl Bucket {
    /// The segments after a fold of the tail of `view`.
    pub async fn fold(&mut self, view: &ShardView) -> Vec<SegmentReader> {
        view.load_for_fold().await.unwrap();
        let fold = view.fold(&Cancel::default()).unwrap();
        assert_eq!(fold.lsn, view.lsn());
        let mut segments: Vec<SegmentReader> = Vec::new();
        for reader in view.segments() {
            match fold.deletes.iter().find(|(id, _)| *id == reader.meta().id) {
                None => segments.push(reader.clone()),
                Some((_, rows)) => {
                    let key = self.key("deletes");
                    let (object, part) = delete_bitmap_part(&key, rows).unwrap();
                    self.put(key, object);
                    segments.push(reader.with_meta(Arc::new(reader.meta().with_part(part))));
                }
            }
        }
        if !fold.rows.is_empty() {
            let mut writer = SegmentWriter::new(view.schema().segment()).unwrap();
            for row in &fold.rows {
                let vectors: Vec<(&str, &[u8])> = row.vectors.iter().map(|(n, v)| (&**n, &**v)).collect();
                writer
                    .push(Row { id: row.id, lsn: row.lsn, vectors: &vectors, payload_json: &row.payload })
                    .unwrap();
            }
            segments.push(self.segment(writer));
        }
        segments
    }

    /// One segment in the place of all.
    pub async fn merge(&mut self, view: &ShardView) -> Vec<SegmentReader> {
        view.load_all().await.unwrap();
        let nothing = RoaringBitmap::new();
        let inputs: Vec<MergeInput> =
            view.segments().map(|reader| MergeInput { reader, drop: &nothing }).collect();
        let key = self.key("segment");
        let mut object = ObjectWriter::new(key.clone());
        let id = SegmentId(self.written);
        let merged = merge(&inputs, view.schema().segment(), &mut object, id).unwrap();
        vec![self.opened(key, object.finish(), merged.segment)]
    }

    fn segment(&mut self, writer: SegmentWriter) -> SegmentReader {
        let key = self.key("segment");
        let (object, meta) = writer.finish(key.clone(), SegmentId(self.written)).unwrap();
        self.opened(key, object, meta)
    }

    fn opened(&mut self, key: String, object: Bytes, meta: SegmentMeta) -> SegmentReader {
        self.put(key, object);
        SegmentReader::open(Arc::new(self.without_some_indexes(meta)), self.objects.clone())
    }

    /// An index made on live data is missing in segments that have not built it yet; answers must not depend on it.
    fn without_some_indexes(&self, meta: SegmentMeta) -> SegmentMeta {
        if !self.written.is_multiple_of(3) {
            return meta;
        }
        let indexes: Vec<PartKind> = meta
            .parts
            .iter()
            .map(|p| p.kind.clone())
            .filter(|k| matches!(k, PartKind::FieldIndex { .. }))
            .collect();
        indexes.iter().fold(meta, |meta, kind| meta.without_part(kind))
    }

    fn key(&mut self, kind: &str) -> String {
        self.written += 1;
        format!("{kind}/{}", self.written)
    }

    fn put(&self, key: String, object: Bytes) {
        self.objects.0.lock().unwrap().insert(key, object);
    }
}
