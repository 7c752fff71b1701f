//! Bytes that are not those that were written are an error that says where; never a panic, never a wrong row.

mod common;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use common::*;
use lodestone_segment::{
    CheckFile, DiskPart, Fetch, PartKind, PartMeta, SectionKind, SegmentMeta, SegmentReader, SegmentSchema,
    VectorSpec, delete_bitmap_part, list_parts,
};
use lodestone_types::{Datatype, Error, ErrorKind, FieldIndex, FieldIndexKind, PointId};
use proptest::prelude::*;
use serde_json::json;

type Written = (Vec<(&'static str, Bytes)>, SegmentMeta);

/// A segment with every kind of part that has rows in their own order, and two blocks of checksums in one section; its objects by key.
fn written() -> Written {
    static WRITTEN: LazyLock<Written> = LazyLock::new(|| write_one(true));
    WRITTEN.clone()
}

/// `signs_alone`: whether level codes are a part of their own.
fn write_one(signs_alone: bool) -> Written {
    let row = |n: u64| ModelRow {
        lsn: 1000 + n * n,
        vectors: [("".to_owned(), vec![n as u8; 12]), ("half".to_owned(), vec![7; 10])]
            .into_iter()
            .chain((n.is_multiple_of(2)).then(|| ("bytes".to_owned(), vec![n as u8; 7])))
            .collect(),
        payload: json!({"n": n, "text": format!("row {n}").repeat(3), "even": n.is_multiple_of(2)}),
    };
    let ids = (0..6000)
        .map(|n| PointId::Num(n * n))
        .chain((0..50).map(|n| PointId::Uuid(uuid::Uuid::from_u128(n))));
    let model: Model = ids.zip(0..).map(|(id, n)| (id, row(n))).collect();
    let fields = [("text", FieldIndexKind::Text), ("n", FieldIndexKind::Integer)]
        .map(|(path, kind)| (path.parse().unwrap(), FieldIndex { kind, params: None }));
    let schema = SegmentSchema { fields: fields.into(), ..schema() };
    let (object, meta) = write(&model, &schema, "segment", 1);
    let (deletes, part) = delete_bitmap_part("deletes", &[1, 5, 4000].into_iter().collect()).unwrap();
    let (vectors, parts) = vector_index_by(&open_one("segment", &object, &meta), "vectors", signs_alone);
    let meta = parts.into_iter().fold(meta.with_part(part), |meta, part| meta.with_part(part));
    (vec![("segment", object), ("deletes", deletes), ("vectors", vectors)], meta)
}

fn bucket(objects: &[(&str, Bytes)]) -> Bucket {
    let bucket = Bucket::default();
    objects.iter().for_each(|(key, object)| bucket.put(key, object.clone()));
    bucket
}

/// Loads a part into memory, and from a file, and checks it without loading it, which all find the same.
fn load(objects: &[(&str, Bytes)], meta: &SegmentMeta, kind: &PartKind) -> Result<(), Error> {
    let kinds = std::slice::from_ref(kind);
    let loaded = block_on(SegmentReader::open(Arc::new(meta.clone()), Arc::new(bucket(objects))).load(kinds));
    let files = Arc::new(Files::new(objects));
    let brought = block_on(SegmentReader::open(Arc::new(meta.clone()), files.clone()).load(kinds));
    let mut alone = meta.clone();
    alone.parts.retain(|part| part.kind == *kind);
    let checked = block_on(SegmentReader::open(Arc::new(alone), Arc::new(bucket(objects))).check());
    let message = |found: &Result<(), Error>| found.as_ref().err().map(|error| error.message.clone());
    assert_eq!(message(&brought), message(&loaded));
    assert_eq!(checked.is_err(), loaded.is_err(), "{checked:?}, {loaded:?}");
    assert!(loaded.is_ok() || files.kept.lock().unwrap().is_empty(), "a damaged file was kept");
    loaded.and(checked)
}

/// A cache that brings vectors and payloads to files. The byte at `at` is flipped in the first few that it brings.
struct Files {
    bucket: Bucket,
    kept: Mutex<HashMap<(String, Range<u64>), Bytes>>,
    brings: AtomicUsize,
    flips: usize,
    at: usize,
    lost: Mutex<Arc<AtomicBool>>,
    /// Whether what was brought last will be read whole.
    is_read_whole: AtomicBool,
}

impl Files {
    fn new(objects: &[(&str, Bytes)]) -> Self {
        let (kept, brings, lost) = (Mutex::default(), AtomicUsize::new(0), Mutex::default());
        let is_read_whole = AtomicBool::new(false);
        Self { bucket: bucket(objects), kept, brings, flips: 0, at: 0, lost, is_read_whole }
    }

    /// How often it brought something, and was asked for all of something.
    fn counts(&self) -> (usize, usize) {
        (self.brings.load(Relaxed), self.bucket.fetches.load(Relaxed))
    }
}

#[async_trait]
impl Fetch for Files {
    async fn fetch(&self, object: &str, range: Range<u64>) -> Result<Bytes, Error> {
        self.bucket.fetch(object, range).await
    }

    async fn bring(
        &self,
        object: &str,
        range: Range<u64>,
        is_read_whole: bool,
        check: CheckFile,
    ) -> Result<bool, Error> {
        self.is_read_whole.store(is_read_whole, Relaxed);
        let mut damage = String::new();
        for _ in 0..2 {
            let mut bytes = self.bucket.fetch(object, range.clone()).await?.to_vec();
            self.bucket.fetches.fetch_sub(1, Relaxed);
            if self.brings.fetch_add(1, Relaxed) < self.flips {
                bytes[self.at] ^= 1;
            }
            let read = |out: &mut [u8], at: u64| {
                let found = bytes.get(at as usize..at as usize + out.len());
                found.map(|found| out.copy_from_slice(found)).ok_or(io::ErrorKind::UnexpectedEof.into())
            };
            match check(&read, bytes.len() as u64) {
                Ok(()) => {
                    self.kept.lock().unwrap().insert((object.to_owned(), range), bytes.into());
                    return Ok(true);
                }
                Err(error) => damage = error.to_string(),
            }
        }
        Err(Error::damaged(damage))
    }

    fn distrust(&self, object: &str, range: Range<u64>) {
        self.kept.lock().unwrap().remove(&(object.to_owned(), range));
    }

    fn disk(&self, object: &str, range: Range<u64>, _: &PartKind) -> Option<Box<dyn DiskPart>> {
        let part = PartInBucket::new(self.kept.lock().unwrap().get(&(object.to_owned(), range))?.clone());
        *self.lost.lock().unwrap() = part.lost.clone();
        Some(Box::new(part))
    }
}

#[test]
fn what_is_brought_is_checked_before_it_is_read_and_brought_once_more_if_it_is_damaged() {
    let (objects, meta) = written();
    for kind in [PartKind::Vector("half".to_owned()), PartKind::Payload] {
        let kinds = std::slice::from_ref(&kind);
        let part = meta.part(&kind).unwrap();
        for (flips, brings) in [(0, 1), (1, 2)] {
            let files = Arc::new(Files { flips, at: 5_000, ..Files::new(&objects) });
            let reader = SegmentReader::open(Arc::new(meta.clone()), files.clone());
            block_on(reader.load(kinds)).unwrap();
            assert_eq!((files.counts(), reader.loaded_bytes()), ((brings, 0), 0));
            // Others read the file that is there.
            block_on(reader.unloaded().load(kinds)).unwrap();
            assert_eq!(files.counts(), (brings, 0));
            block_on(reader.load(kinds)).unwrap();
            for (is_kept, brings) in [(true, brings), (false, brings + 1)] {
                let reader = reader.unloaded();
                block_on(reader.load(kinds)).unwrap();
                let lost = files.lost.lock().unwrap().clone();
                lost.store(true, Relaxed);
                if !is_kept {
                    files.kept.lock().unwrap().clear();
                }
                block_on(reader.load(kinds)).unwrap();
                assert!(!lost.load(Relaxed), "it is renewed");
                assert_eq!(files.counts(), (brings, 0));
            }
        }
        let files = Arc::new(Files { flips: usize::MAX, at: 5_000, ..Files::new(&objects) });
        let reader = SegmentReader::open(Arc::new(meta.clone()), files.clone());
        for brings in [2, 4] {
            let error = block_on(reader.load(kinds)).unwrap_err();
            assert_names(&error, part, Some(part.sections[0].kind));
            assert_eq!((files.counts(), files.kept.lock().unwrap().len()), ((brings, 0), 0));
        }
    }
}

#[test]
fn who_brings_a_part_is_told_whether_it_is_read_whole_or_here_and_there() {
    let (objects, meta) = written();
    let half = PartKind::Vector("half".to_owned());
    let on_disk = Arc::new(BTreeSet::from(["half".to_owned()]));
    for (kind, on_disk, expected) in [
        (&half, Arc::default(), true),
        (&half, on_disk.clone(), false),
        (&PartKind::Payload, Arc::default(), false),
    ] {
        let files = Arc::new(Files::new(&objects));
        let reader = SegmentReader::open(Arc::new(meta.clone()), files.clone()).with_vectors_on_disk(on_disk);
        for reader in [reader.clone(), reader.with_meta(Arc::new(meta.clone())), reader.unloaded()] {
            files.is_read_whole.store(!expected, Relaxed);
            block_on(reader.unloaded().load(std::slice::from_ref(kind))).unwrap();
            assert_eq!(files.is_read_whole.load(Relaxed), expected, "{kind:?}");
            files.kept.lock().unwrap().clear();
        }
    }
}

#[test]
fn large_parts_are_checked_in_pieces() {
    let spec = VectorSpec { dim: 1 << 14, datatype: Datatype::Float32 };
    let schema = SegmentSchema { vectors: [(String::new(), spec)].into(), ..schema() };
    let row = |n: u64| ModelRow {
        lsn: n,
        vectors: [(String::new(), vec![n as u8; spec.row_bytes()])].into(),
        payload: json!({}),
    };
    let model: Model = (0..300).map(|n| (PointId::Num(n), row(n))).collect();
    let (object, meta) = write(&model, &schema, "segment", 1);
    let check = |object: Bytes| {
        let bucket = Arc::new(bucket(&[("segment", object)]));
        let checked = block_on(SegmentReader::open(Arc::new(meta.clone()), bucket.clone()).check());
        (checked, bucket.largest.load(Relaxed))
    };
    let (checked, largest) = check(object.clone());
    checked.unwrap();
    assert!(object.len() > 19_000_000 && largest <= 8 << 20, "{largest} bytes at once");
    let mut flipped = object.to_vec();
    flipped[19_000_000] ^= 1;
    let part = meta.part(&PartKind::Vector(String::new())).unwrap();
    assert_names(&check(flipped.into()).0.unwrap_err(), part, Some(SectionKind::RAW));
}

/// A cache that keeps something else than the bucket has.
struct Stale {
    kept: Bucket,
    bucket: Bucket,
}

#[async_trait]
impl Fetch for Stale {
    async fn fetch(&self, object: &str, range: Range<u64>) -> Result<Bytes, Error> {
        self.kept.fetch(object, range).await
    }

    async fn fetch_again(&self, object: &str, range: Range<u64>) -> Result<Bytes, Error> {
        self.bucket.fetch(object, range).await
    }
}

#[test]
fn what_a_cache_has_wrong_comes_from_the_bucket() {
    let (objects, meta) = written();
    let source = Stale { kept: Bucket::default(), bucket: Bucket::default() };
    for (key, object) in &objects {
        source.kept.put(key, vec![7; object.len()].into());
        source.bucket.put(key, object.clone());
    }
    let reader = SegmentReader::open(Arc::new(meta), Arc::new(source));
    block_on(reader.load_all()).unwrap();
    assert_eq!(reader.id(3).unwrap(), PointId::Num(9));
}

/// Loads with one byte of one part changed.
fn load_flipped(
    objects: &[(&'static str, Bytes)],
    meta: &SegmentMeta,
    part: &PartMeta,
    at: u64,
    flip: u8,
) -> Error {
    let changed: Vec<_> = objects
        .iter()
        .map(|(key, object)| {
            let mut bytes = object.to_vec();
            if *key == part.object {
                bytes[(part.offset + at) as usize] ^= flip;
            }
            (*key, Bytes::from(bytes))
        })
        .collect();
    load(&changed, meta, &part.kind).expect_err("a changed byte went unseen")
}

fn assert_names(error: &Error, part: &PartMeta, section: Option<SectionKind>) {
    assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
    assert!(error.message.contains(&format!("'{}'", part.object)), "{error}");
    assert!(error.message.contains(&format!("part {}", part.kind)), "{error}");
    if let Some(kind) = section {
        assert!(error.message.contains(&format!("section {kind}")), "{error}");
    }
}

#[test]
fn undamaged_it_loads() {
    let (objects, meta) = written();
    for part in &meta.parts {
        load(&objects, &meta, &part.kind).unwrap();
    }
    let raw = |p: &PartMeta| p.sections.iter().map(|s| s.length).max().unwrap_or(0);
    assert!(meta.parts.iter().map(raw).max().unwrap() > 64 << 10, "no section has two blocks");
}

#[test]
fn the_first_and_last_byte_of_every_section_are_guarded() {
    for (objects, meta) in [written(), write_one(false)] {
        for part in &meta.parts {
            for section in part.sections.iter().filter(|s| s.length > 0) {
                for at in [section.offset, section.offset + section.length - 1] {
                    let error = load_flipped(&objects, &meta, part, at, 0x40);
                    assert_names(&error, part, Some(section.kind));
                }
            }
            let error = load_flipped(&objects, &meta, part, part.length - 1, 1);
            assert_names(&error, part, None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_byte_is_guarded(part in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let (objects, meta) = written();
        let part = part.get(&meta.parts);
        let at = at.index(part.length as usize) as u64;
        // Zeros that fill up belong to the section before them.
        let section = part.sections.iter().rfind(|s| s.offset <= at).filter(|s| s.kind != SectionKind::CHECKSUMS);
        let error = load_flipped(&objects, &meta, part, at, flip);
        assert_names(&error, part, section.map(|s| s.kind));
    }

    #[test]
    fn truncated_objects_are_damage(part in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let (objects, meta) = written();
        let part = part.get(&meta.parts);
        let keep = cut.index((part.offset + part.length) as usize);
        let cut: Vec<_> = objects
            .iter()
            .map(|(key, object)| (*key, if *key == part.object { object.slice(..keep) } else { object.clone() }))
            .collect();
        let error = load(&cut, &meta, &part.kind).unwrap_err();
        assert_names(&error, part, None);
    }

    /// The manifest is guarded by its own checksums; whatever it says all the same, nothing panics.
    #[test]
    fn no_manifest_makes_it_panic(
        which in any::<prop::sample::Index>(),
        what in 0usize..10,
        number in prop_oneof![any::<u64>(), 0u64..20_000, Just(u64::MAX - 4095)],
        detail in prop::collection::vec(any::<u8>(), 0..12),
        section in any::<prop::sample::Index>(),
    ) {
        let (objects, mut meta) = written();
        let which = which.index(meta.parts.len());
        let part = &mut meta.parts[which];
        let section = section.index(part.sections.len());
        match what {
            0 => part.offset = number,
            1 => part.length = number,
            2 => part.entries = number,
            3 => part.detail = detail,
            4 => part.sections[section].offset = number,
            5 => part.sections[section].length = number,
            6 => part.sections[section].kind = SectionKind(number as u16),
            7 => drop(part.sections.remove(section)),
            8 => part.sections.clear(),
            _ => part.version = number as u16,
        }
        let changed = part.clone();
        if changed != written().1.parts[which] {
            let error = load(&objects, &meta, &changed.kind).unwrap_err();
            prop_assert_eq!(error.kind, ErrorKind::Damaged);
        }
    }

    #[test]
    fn any_bytes_have_parts_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300), number in any::<u64>()) {
        let mut bytes = bytes;
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(b"1234LODEPART");
        prop_assert!(list_parts("k", &bytes).is_err());
    }
}

#[test]
fn newer_versions_and_kinds_are_refused_by_name() {
    let (objects, mut meta) = written();
    let at = |kind: PartKind| meta.parts.iter().position(|part| part.kind == kind).unwrap();
    let (ids, payload) = (at(PartKind::Ids), at(PartKind::Payload));
    meta.parts[ids].version = 2;
    let error = load(&objects, &meta, &PartKind::Ids).unwrap_err();
    assert_names(&error, &meta.parts[ids], None);
    assert!(error.message.contains("version 2"), "{error}");

    let kind = PartKind::Unknown { code: 9, name: "sparse".into(), extra: vec![] };
    let (objects, mut meta) = written();
    meta.parts[payload].kind = kind.clone();
    assert_names(&load(&objects, &meta, &kind).unwrap_err(), &meta.parts[payload], None);
    load(&objects, &meta, &PartKind::Ids).unwrap();
}

#[test]
fn a_part_of_another_segment_is_noticed() {
    let (mut objects, meta) = written();
    let (other, _) = delete_bitmap_part("deletes", &[1, 5, 4001].into_iter().collect()).unwrap();
    objects[1].1 = other;
    let error = load(&objects, &meta, &PartKind::Deletes).unwrap_err();
    assert_names(&error, meta.part(&PartKind::Deletes).unwrap(), Some(SectionKind::CHECKSUMS));
}
