//! Views follow the manifest, and go when nobody asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lodestone_manifest::{
    Batch, Claim, Epoch, InstanceId, JobId, Nonce, Record, Rewrite, SegmentId, ShardId, Slot, State, SystemOp,
};
use lodestone_segment::{PartKind, Row as SegmentRow, SegmentReader, SegmentWriter, Vectors};
use lodestone_shard::{Needs, ShardView, VectorMemory, Views, wanted_parts};
use lodestone_store::{MemoryStore, Metered, Metrics, PartCache, Store};
use lodestone_types::{
    CollectionConfig, CollectionParams, Distance, ErrorKind, PointId, VectorParams, WarmRequest,
};
use lodestone_wal::{IdSet, ObjectBuilder, Op, Row, SlotCache, encode_slice, keys};

const EPOCH: Epoch = Epoch(1);
const DIM: usize = 512;

/// A log and its state, and the views of it.
struct Log {
    store: Arc<dyn Store>,
    requests: Arc<Metrics>,
    slots: Arc<SlotCache>,
    state: State,
    views: Views,
}

impl Log {
    async fn new() -> Self {
        let requests = Arc::new(Metrics::default());
        let store: Arc<dyn Store> = Arc::new(Metered::new(Arc::new(MemoryStore::new()), requests.clone()));
        let slots = Arc::new(SlotCache::new(1 << 20));
        let views = Views::new(
            store.clone(),
            Arc::new(PartCache::open(None, 1 << 20)),
            slots.clone(),
            Arc::new(VectorMemory::new(1 << 20)),
        );
        let mut log = Self { store, requests, slots, state: State::default(), views };
        let claim = Claim { epoch: EPOCH, instance: InstanceId(1), address: String::new() };
        log.state.apply(&Record::Claim(claim));
        log
    }

    async fn write(&mut self, fill: impl FnOnce(&mut ObjectBuilder)) {
        let mut builder = ObjectBuilder::default();
        fill(&mut builder);
        let (bytes, batch): (Bytes, Batch) = builder.finish(EPOCH, Nonce(1));
        self.store.put_new(&keys::wal(self.state.slot.next()), bytes).await.unwrap();
        self.state.apply(&Record::Batch(batch));
    }

    async fn create(&mut self, name: &str) -> ShardId {
        self.create_with(name, BTreeMap::new()).await
    }

    async fn create_with(&mut self, name: &str, vectors: BTreeMap<String, VectorParams>) -> ShardId {
        let params = CollectionParams {
            vectors,
            shard_number: 1,
            replication_factor: 1,
            write_consistency_factor: 1,
            on_disk_payload: true,
        };
        let config = CollectionConfig {
            params,
            hnsw: Default::default(),
            optimizers: Default::default(),
            quantization: None,
            metadata: None,
            strict_mode: None,
        };
        let op = SystemOp::CreateCollection { name: name.to_owned(), config };
        self.write(|builder| builder.push_system(op)).await;
        ShardId::new(self.state.collection(name).unwrap().id, 0)
    }

    async fn put(&mut self, shard: ShardId, id: u64) {
        let row = Row { id: PointId::Num(id), vectors: Vec::new(), payload: Bytes::new() };
        let slice = encode_slice(&[Op::Put(vec![row])]);
        self.write(|builder| builder.push_slice(shard, 1, &slice)).await;
    }

    /// Shards of three collections, with a segment of one row each.
    async fn three_folded(&mut self) -> [ShardId; 3] {
        let mut shards = Vec::new();
        for name in ["a", "b", "c"] {
            let shard = self.create(name).await;
            self.put(shard, 1).await;
            self.fold(shard, 1..2, shard.0).await;
            shards.push(shard);
        }
        shards.try_into().unwrap()
    }

    /// Two collections with a segment of forty rows each, vectors among them; views of both with room for what else they
    /// load and the vectors of one and a half; and what one loads beside vectors.
    async fn two_with_vectors(&mut self) -> ([ShardId; 2], tempfile::TempDir, u64) {
        let mut shards = Vec::new();
        for name in ["a", "b"] {
            let vectors = BTreeMap::from([(String::new(), VectorParams::new(DIM as u64, Distance::Dot))]);
            let shard = self.create_with(name, vectors).await;
            self.put(shard, 1).await;
            self.fold(shard, 0..40, shard.0).await;
            shards.push(shard);
        }
        let shards: [ShardId; 2] = shards.try_into().unwrap();
        let _dir = self.limit_memory(1 << 20);
        self.warm(shards[0]).await;
        let vectors = self.views.vectors().in_memory;
        let staying = self.views.size().1 - vectors;
        assert!(staying > 0 && vectors > 4 * staying, "{vectors} bytes of vectors, and {staying}");
        (shards, self.limit_memory(2 * staying + vectors * 3 / 2), staying)
    }

    async fn warm(&self, shard: ShardId) {
        self.view(shard).await.warm(&WarmRequest::ALL).await.unwrap();
    }

    /// Everything up to now becomes a segment with these rows.
    async fn fold(&mut self, shard: ShardId, ids: std::ops::Range<u64>, job: u64) {
        let snapshot = self.views.snapshot(&self.state, shard).await.unwrap();
        let mut writer = SegmentWriter::new(snapshot.view.schema().segment()).unwrap();
        let names = snapshot.collection.config.params.vectors.keys();
        let vectors: Vec<(&str, &[u8])> = names.map(|name| (name.as_str(), &[0; 4 * DIM][..])).collect();
        for id in ids {
            let row = SegmentRow { id: PointId::Num(id), lsn: 1, vectors: &vectors, payload_json: b"{}" };
            writer.push(row).unwrap();
        }
        let key = keys::part(EPOCH, JobId(job), "seg", 0);
        let (bytes, meta) = writer.finish(&key, SegmentId::new(EPOCH, JobId(job), 0)).unwrap();
        self.store.put_new(&key, bytes).await.unwrap();
        let rewrite = Rewrite {
            epoch: EPOCH,
            shard,
            read: Vec::new(),
            remove: Vec::new(),
            put: vec![meta.to_entry(0).unwrap()],
            fold: Some((snapshot.manifest.folded, snapshot.manifest.lsn)),
        };
        self.write(|builder| builder.push_system(SystemOp::Rewrite(rewrite))).await;
    }

    /// Views anew, with room for so much in memory, and with files.
    fn limit_memory(&mut self, bytes: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let parts = Arc::new(PartCache::open(Some(dir.path().into()), 1 << 20));
        let memory = Arc::new(VectorMemory::new(bytes));
        self.views = Views::new(self.store.clone(), parts, self.slots.clone(), memory);
        dir
    }

    async fn view(&self, shard: ShardId) -> ShardView {
        self.views.snapshot(&self.state, shard).await.unwrap().view
    }

    async fn has(&self, shard: ShardId, ids: &[u64]) {
        let view = self.view(shard).await;
        view.load_masks().await.unwrap();
        for id in 0..50 {
            let found = view.find(PointId::Num(id)).unwrap().is_some();
            assert_eq!(found, ids.contains(&id), "{id}");
        }
    }

    fn gets(&self) -> u64 {
        self.requests.snapshot().gets
    }
}

#[tokio::test]
async fn a_view_reads_each_slot_once_and_keeps_what_it_has() {
    let mut log = Log::new().await;
    let shard = log.create("c").await;
    for id in 0..5 {
        log.put(shard, id).await;
    }
    log.has(shard, &[0, 1, 2, 3, 4]).await;
    assert_eq!(log.gets(), 5);
    log.put(shard, 5).await;
    log.has(shard, &[0, 1, 2, 3, 4, 5]).await;
    log.has(shard, &[0, 1, 2, 3, 4, 5]).await;
    assert_eq!(log.gets(), 6);
    log.fold(shard, 0..6, 1).await;
    log.put(shard, 9).await;
    log.has(shard, &[0, 1, 2, 3, 4, 5, 9]).await;
    assert!(log.gets() > 7, "the slot, and parts of the segment");
    let before = log.gets();
    let other = log.create("d").await;
    log.put(other, 1).await;
    log.has(shard, &[0, 1, 2, 3, 4, 5, 9]).await;
    assert_eq!(log.gets(), before, "nothing of this shard has changed");
}

#[tokio::test]
async fn a_view_can_be_had_as_it_was() {
    let mut log = Log::new().await;
    let shard = log.create("c").await;
    log.put(shard, 0).await;
    log.fold(shard, 0..1, 1).await;
    log.put(shard, 1).await;
    let then = log.state.slot;
    log.put(shard, 2).await;
    let snapshot = log.views.snapshot(&log.state, shard).await.unwrap();
    for (slot, points) in [(then, 2), (log.state.slot, 3), (Slot(then.0 - 1), 1)] {
        let view = snapshot.view_at(slot).unwrap();
        view.load_masks().await.unwrap();
        let found = (0..3).filter(|id| view.find(PointId::Num(*id)).unwrap().is_some()).count();
        assert_eq!(found, points, "{slot}");
    }
}

#[tokio::test]
async fn idle_views_go_and_come_back() {
    let mut log = Log::new().await;
    let (used, idle) = (log.create("used").await, log.create("idle").await);
    for shard in [used, idle] {
        log.put(shard, 1).await;
        log.fold(shard, 1..2, shard.0).await;
        log.put(shard, 2).await;
        log.has(shard, &[1, 2]).await;
    }
    let (views, both) = log.views.size();
    assert!(views == 2 && both > 0);
    for _ in 0..4 {
        log.has(used, &[1, 2]).await;
        log.views.sweep(&log.state, 3);
    }
    assert_eq!(log.views.size(), (1, both / 2), "the other is forgotten");
    log.has(idle, &[1, 2]).await;
    assert_eq!(log.views.size(), (2, both));
}

#[tokio::test]
async fn who_was_not_read_for_longest_lets_go_of_memory_and_one_more_must_be_worth_it() {
    let mut log = Log::new().await;
    let [a, b, c] = log.three_folded().await;
    log.has(a, &[1]).await;
    let one = log.views.size().1;
    // Room for two.
    let _dir = log.limit_memory(2 * one + one / 2);
    log.has(a, &[1]).await;
    assert_eq!(log.views.size().1, one);
    log.has(b, &[1]).await;
    log.has(a, &[1]).await;
    assert_eq!(log.views.size().1, 2 * one);
    log.has(c, &[1]).await;
    assert_eq!(log.views.size().1, 2 * one, "b had to go");
    log.has(c, &[1]).await;
    let takes = log.view(b).await.needs("");
    assert!(!log.views.admit(b, takes), "a and c were read no less");
    log.has(a, &[1]).await;
    assert_eq!(log.views.size().1, 2 * one, "a is here");
    for _ in 0..3 {
        log.view(b).await;
    }
    assert!(log.views.admit(b, takes));
    assert_eq!(log.views.size().1, one, "c made room");
    assert!(!log.views.admit(b, Needs { memory: 4 * one, disk: 1 }), "there will never be so much");
}

#[tokio::test]
async fn pinned_shards_stay_and_their_room_is_not_given_away() {
    let mut log = Log::new().await;
    let [a, b, c] = log.three_folded().await;
    log.has(a, &[1]).await;
    let one = log.views.size().1;
    let _dir = log.limit_memory(2 * one + one / 2);
    let pin = |log: &Log, pinned: &[ShardId]| {
        let parts = |shard| wanted_parts(&log.state.shards[shard], &WarmRequest::ALL).unwrap();
        log.views.pin(&pinned.iter().map(|shard| (*shard, parts(shard))).collect());
    };
    pin(&log, &[a]);
    let takes = log.view(b).await.needs("");
    assert!(log.views.admit(b, takes), "there is room beside what is to come of a");
    assert!(!log.views.admit(b, Needs { memory: 2 * one, disk: 1 }), "but not for two");
    log.views.follow(&log.state, a).await.unwrap().view.warm(&WarmRequest::ALL).await.unwrap();
    for _ in 0..3 {
        log.has(b, &[1]).await;
        log.has(c, &[1]).await;
    }
    let is_here = async |shard| {
        let view = log.views.follow(&log.state, shard).await.unwrap().view;
        view.segments().any(|reader| reader.loaded_bytes() > 0)
    };
    assert!(is_here(a).await && is_here(c).await && !is_here(b).await, "a is read least, and stays");
    log.views.make_room_for(&[(b, takes)]).unwrap();
    let error = log.views.make_room_for(&[(b, Needs { memory: 2 * one, disk: 1 })]).unwrap_err();
    assert!(error.message.contains("pinned"), "{error}");
    for _ in 0..3 {
        log.views.sweep(&log.state, 1);
    }
    assert_eq!(log.views.size().0, 1, "only what is pinned is not forgotten");
    pin(&log, &[]);
    log.has(b, &[1]).await;
    log.has(c, &[1]).await;
    assert!(!is_here(a).await);
}

#[tokio::test]
async fn vectors_leave_memory_before_anything_else_does() {
    for (pinned, is_last) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut log = Log::new().await;
        let ([a, b], _dir, staying) = log.two_with_vectors().await;
        if pinned {
            let parts = wanted_parts(&log.state.shards[&a], &WarmRequest::ALL).unwrap();
            log.views.pin(&[(a, parts)].into());
        }
        log.warm(a).await;
        let vectors = log.views.vectors().in_memory;
        assert_eq!(log.views.size().1, staying + vectors);
        let view = log.view(b).await;
        if is_last {
            log.view(a).await;
        }
        view.warm(&WarmRequest::ALL).await.unwrap();
        let loaded = async |shard, of: fn(&SegmentReader) -> u64| {
            let view = log.views.follow(&log.state, shard).await.unwrap().view;
            view.segments().map(of).sum::<u64>()
        };
        let why = format!("pinned: {pinned}, read last: {is_last}");
        assert_eq!(loaded(a, SegmentReader::loaded_bytes).await, staying, "its vectors make room; {why}");
        assert_eq!(loaded(b, SegmentReader::loaded_bytes).await, staying + vectors, "{why}");
        let takes = log.view(b).await.needs("");
        for shard in [a, b, a, b, b, a] {
            assert!(log.views.admit(shard, takes), "{why}");
            log.warm(shard).await;
            for here in [a, b] {
                assert_eq!(
                    loaded(here, SegmentReader::staying_bytes).await,
                    staying,
                    "nobody is pushed out; {why}"
                );
            }
        }
    }
}

#[tokio::test]
async fn vectors_in_memory_make_no_room_twice() {
    let mut log = Log::new().await;
    let ([a, b], _dir, staying) = log.two_with_vectors().await;
    let limit = log.views.room().memory;
    log.warm(a).await;
    assert!(log.views.vectors().in_memory > 2 * staying);
    for _ in 0..9 {
        log.view(b).await;
    }
    let needs = |memory| Needs { memory, disk: 1 };
    assert!(!log.views.admit(b, needs(limit + 1)), "more than there will ever be");
    assert!(!log.views.admit(a, needs(limit + 1)), "though it has vectors there itself");
    assert_eq!(log.views.size().1, staying + log.views.vectors().in_memory, "so nobody went");
    assert!(log.views.admit(b, needs(limit)), "all that a has loaded goes");
    assert_eq!(log.views.size().1, 0);
}

#[tokio::test]
async fn views_of_deleted_collections_go() {
    let mut log = Log::new().await;
    let shard = log.create("c").await;
    log.put(shard, 1).await;
    log.has(shard, &[1]).await;
    let before = log.state.clone();
    let collection = shard.collection();
    log.write(|builder| builder.push_system(SystemOp::DeleteCollection { collection })).await;
    assert!(log.views.snapshot(&log.state, shard).await.is_err());
    // One that still reads an older state brings it back for as long as a round.
    assert!(log.views.snapshot(&before, shard).await.is_ok());
    assert_eq!(log.views.size().0, 1);
    log.views.sweep(&log.state, 1000);
    assert_eq!(log.views.size().0, 0);
}

#[tokio::test]
async fn a_small_slice_of_a_remembered_object_does_not_hold_all_of_it() {
    let mut log = Log::new().await;
    let shard = log.create("c").await;
    log.put(shard, 1).await;
    let slot = log.state.slot;
    let mut object = log.store.get(&keys::wal(slot)).await.unwrap().to_vec();
    // As if other collections had written much in the same window.
    object.resize(1 << 16, 0);
    let object = Bytes::from(object);
    log.slots.insert(slot, object.clone());
    log.has(shard, &[1]).await;
    log.slots.forget_before(Slot(slot.0 + 1));
    assert!(object.is_unique(), "the tail holds on to the object");
}

#[tokio::test]
async fn writes_of_one_slot_are_read_together_and_in_their_order() {
    let mut log = Log::new().await;
    let (shard, other) = (log.create("a").await, log.create("b").await);
    let put = |id| {
        let row = Row { id: PointId::Num(id), vectors: Vec::new(), payload: Bytes::new() };
        encode_slice(&[Op::Put(vec![row])])
    };
    let delete = |id| encode_slice(&[Op::Delete(IdSet::from_iter([PointId::Num(id)]))]);
    log.write(|builder| {
        let slices =
            [(shard, put(1)), (other, put(9)), (shard, put(2)), (shard, delete(1)), (shard, delete(3))];
        slices.iter().for_each(|(shard, slice)| builder.push_slice(*shard, 1, slice));
        builder.push_slice(shard, 1, &put(3));
    })
    .await;
    let before = log.gets();
    log.has(shard, &[2, 3]).await;
    assert_eq!(log.gets() - before, 1);
    log.has(other, &[9]).await;
}

/// Loads, and says how much of parts was in memory meanwhile.
async fn load_watched(reader: &SegmentReader, kind: &PartKind, parts: &PartCache) -> u64 {
    let (mut load, mut most) = (Box::pin(reader.load(std::slice::from_ref(kind))), 0);
    loop {
        tokio::select! {
            loaded = &mut load => break loaded.unwrap(),
            () = tokio::task::yield_now() => most = most.max(parts.in_memory()),
        }
    }
    most
}

#[tokio::test]
async fn large_vectors_come_to_disk_without_being_in_memory() {
    let mut log = Log::new().await;
    let vectors = BTreeMap::from([(String::new(), VectorParams::new(DIM as u64, Distance::Dot))]);
    let shard = log.create_with("a", vectors).await;
    log.put(shard, 1).await;
    log.fold(shard, 0..33_000, 1).await;
    let dir = tempfile::tempdir().unwrap();
    let parts = Arc::new(PartCache::open(Some(dir.path().into()), 1 << 30));
    let memory = Arc::new(VectorMemory::new(1 << 20));
    log.views = Views::new(log.store.clone(), parts.clone(), log.slots.clone(), memory);
    let (reader, kind) =
        (log.view(shard).await.segments().next().unwrap().clone(), PartKind::Vector(String::new()));
    let read = || {
        let Vectors::Disk(disk) = reader.vector("")?.unwrap().vectors(true)? else { panic!("in memory") };
        let mut out = Vec::new();
        disk.read(&[0, 32_999], &mut out).map(|()| out)
    };
    for time in 0..2 {
        let before = log.gets();
        assert_eq!(load_watched(&reader, &kind, &parts).await, 0);
        assert_eq!((log.gets() - before, parts.stats().parts), (5, 1));
        assert_eq!(read().unwrap(), vec![0; 2 * 4 * DIM]);
        for file in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_len(9).unwrap();
        }
        assert_eq!((read().unwrap_err().kind, reader.has_lost()), (ErrorKind::LostCopy, true), "{time}");
    }
}
