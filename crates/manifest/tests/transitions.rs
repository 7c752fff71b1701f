//! Random records never break an invariant, and every state survives a checkpoint.

use std::collections::BTreeSet;

use lodestone_manifest::checkpoint::{self, PageRef};
use lodestone_manifest::{
    Applied, Batch, Claim, CollectionId, Epoch, InstanceId, Nonce, Record, Rewrite, SegmentEntry, SegmentId,
    ShardId, SliceHeader, Slot, State, SystemOp, check,
};
use lodestone_types::{AliasAction, CollectionConfig, CollectionPatch, FieldIndex, FieldIndexKind};
use proptest::prelude::*;

fn config(shards: u32) -> CollectionConfig {
    let mut config = CollectionConfig::new(Default::default());
    config.params.shard_number = shards;
    config
}

fn slice(shard: ShardId, rows: u64) -> SliceHeader {
    SliceHeader { shard, side: None, offset: 64, len: rows * 10, crc: 1, rows }
}

fn segment(id: u64, revision: u32) -> SegmentEntry {
    SegmentEntry {
        id: SegmentId(id),
        revision,
        rows: 10,
        deleted: 0,
        bytes: 100,
        objects: vec![format!("parts/{id}-{revision}")],
        meta: bytes::Bytes::from_static(b"meta"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8, u32),
    Delete(u8),
    Alias(u8, u8),
    Index(u8),
    Pin(u8, bool),
    Write(u8, u16, u64),
    Fold(u8, u16, u64),
    Claim,
    Late,
    Void,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..4u8, 1..3u32).prop_map(|(n, s)| Step::Create(n, s)),
        1 => (0..4u8).prop_map(Step::Delete),
        1 => (0..4u8, 0..3u8).prop_map(|(c, a)| Step::Alias(c, a)),
        1 => (0..4u8).prop_map(Step::Index),
        1 => (0..4u8, any::<bool>()).prop_map(|(c, pinned)| Step::Pin(c, pinned)),
        8 => (0..6u8, 0..2u16, 1..9u64).prop_map(|(c, s, r)| Step::Write(c, s, r)),
        4 => (0..6u8, 0..2u16, 0..9u64).prop_map(|(c, s, b)| Step::Fold(c, s, b)),
        1 => Just(Step::Claim),
        1 => Just(Step::Late),
        1 => Just(Step::Void),
    ];
    proptest::collection::vec(step, 1..80)
}

fn batch(epoch: Epoch, slices: Vec<SliceHeader>, system: Vec<SystemOp>) -> Record {
    Record::Batch(Batch { epoch, nonce: Nonce(1), slices, system })
}

fn record(state: &State, step: &Step, serial: u64) -> Record {
    let epoch = state.epoch;
    let system = |op| batch(epoch, vec![], vec![op]);
    match step {
        Step::Create(n, shards) => {
            system(SystemOp::CreateCollection { name: format!("c{n}"), config: config(*shards) })
        }
        Step::Delete(n) => system(SystemOp::DeleteCollection { collection: CollectionId(u64::from(*n)) }),
        Step::Alias(c, a) => system(SystemOp::Aliases(vec![AliasAction::Create {
            collection: format!("c{c}"),
            alias: format!("a{a}"),
        }])),
        Step::Index(n) => system(SystemOp::CreateFieldIndex {
            collection: CollectionId(u64::from(*n)),
            field: "f".parse().unwrap(),
            index: FieldIndex { kind: FieldIndexKind::Keyword, params: None },
        }),
        Step::Pin(n, pinned) => {
            system(SystemOp::Pin { collection: CollectionId(u64::from(*n)), pinned: *pinned })
        }
        Step::Write(c, s, rows) => {
            let shard = ShardId::new(CollectionId(u64::from(*c)), *s);
            batch(epoch, vec![slice(shard, *rows), slice(shard, 1)], vec![])
        }
        Step::Fold(c, s, back) => {
            let shard = ShardId::new(CollectionId(u64::from(*c)), *s);
            let Some(now) = state.shards.get(&shard) else { return Record::Void };
            let to = Slot(state.slot.0.saturating_sub(*back)).max(now.folded);
            system(SystemOp::Rewrite(Rewrite {
                epoch,
                shard,
                read: now.segments.iter().map(|s| (s.id, s.revision)).collect(),
                remove: now.segments.first().map(|s| s.id).into_iter().collect(),
                put: vec![segment(serial, 0)],
                fold: Some((now.folded, to)),
            }))
        }
        Step::Claim => {
            Record::Claim(Claim { epoch: epoch.next(), instance: InstanceId(1), address: "a".into() })
        }
        Step::Late => batch(Epoch(epoch.0.saturating_sub(1)), vec![], vec![]),
        Step::Void => Record::Void,
    }
}

fn checkpointed(state: &State) -> State {
    let pages = checkpoint::page_count(state.collections.len(), 4);
    let all: BTreeSet<usize> = (0..pages).collect();
    let encoded = checkpoint::encode_pages(state, &all, pages);
    let refs = encoded
        .iter()
        .map(|(n, bytes)| {
            bytes.as_ref().map(|b| PageRef { object: format!("p{n}"), len: b.len() as u64, crc: 0 })
        })
        .collect();
    let root = checkpoint::decode_root(&checkpoint::encode_root(state, refs, None)).unwrap();
    let pages =
        encoded.iter().filter_map(|(_, b)| Some(checkpoint::decode_page(b.as_ref()?).unwrap())).collect();
    checkpoint::assemble(&root, pages)
}

proptest! {
    #[test]
    fn hold_and_survive(steps in steps()) {
        let mut state = State::default();
        state.apply(&Record::Claim(Claim { epoch: Epoch(1), instance: InstanceId(1), address: "a".into() }));
        for (serial, step) in steps.iter().enumerate() {
            let before = state.clone();
            let record = record(&state, step, serial as u64);
            let applied = state.apply(&record);
            prop_assert_eq!(check(&state), Ok(()));
            if matches!(step, Step::Late) {
                prop_assert_eq!(applied, Applied::Void);
            }
            // A page that is not dirty is the same in both states.
            let dirty = checkpoint::dirty_pages(&before, &state, 4);
            let clean: BTreeSet<usize> = (0..4).filter(|p| !dirty.contains(p)).collect();
            prop_assert_eq!(
                checkpoint::encode_pages(&before, &clean, 4),
                checkpoint::encode_pages(&state, &clean, 4)
            );
            prop_assert_eq!(checkpointed(&state), state.clone());
        }
    }

    #[test]
    fn damaged_checkpoints_are_refused_not_believed(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = checkpoint::decode_root(&bytes);
        let _ = checkpoint::decode_page(&bytes);
    }
}

#[test]
fn a_pin_lasts_as_long_as_its_collection() {
    let mut state = State::default();
    let system = |op| batch(Epoch(0), vec![], vec![op]);
    state.apply(&system(SystemOp::CreateCollection { name: "c".to_owned(), config: config(1) }));
    let collection = state.collection("c").unwrap().id;
    state.apply(&system(SystemOp::Pin { collection, pinned: true }));
    assert!(state.pinned.contains(&collection));
    assert_eq!(checkpointed(&state).pinned, state.pinned);
    state.apply(&system(SystemOp::DeleteCollection { collection }));
    assert!(state.pinned.is_empty());
    let gone = state.apply(&system(SystemOp::Pin { collection, pinned: true }));
    assert!(matches!(gone, Applied::Committed { system, .. } if system[0].is_err()));
    assert!(state.pinned.is_empty());
}

#[test]
fn a_root_from_before_there_were_pins_is_read() {
    let root = checkpoint::encode_root(&State::default(), vec![None], None);
    let (before, pins) = root.split_at(root.len() - 1);
    assert_eq!((before[0], pins), (3, &[0][..]));
    let before = [&[2], &before[1..]].concat();
    let read = checkpoint::assemble(&checkpoint::decode_root(&before).unwrap(), Vec::new());
    assert_eq!(read, State::default());
}

#[test]
fn a_later_format_is_named() {
    let bytes = postcard::to_stdvec(&9u16).unwrap();
    assert_eq!(checkpoint::decode_root(&bytes), Err(checkpoint::DecodeError::Version(9)));
}

#[test]
fn a_patch_merges_the_keys_of_json_settings() {
    let mut state = State::default();
    let with_metadata = |text: &str| CollectionConfig { metadata: Some(text.to_owned()), ..config(1) };
    let create = SystemOp::CreateCollection {
        name: "c".into(),
        config: with_metadata(r#"{"a":1,"b":{"x":1},"c":3}"#),
    };
    state.apply(&batch(state.epoch, vec![], vec![create]));
    let id = state.collection("c").unwrap().id;
    let mut patch = |metadata: Option<&str>, strict_mode: Option<&str>| {
        let patch = CollectionPatch {
            metadata: metadata.map(str::to_owned),
            strict_mode: strict_mode.map(str::to_owned),
            ..CollectionPatch::default()
        };
        let op = SystemOp::UpdateCollection { collection: id, patch };
        state.apply(&batch(state.epoch, vec![], vec![op]));
        let config = &state.collection("c").unwrap().config;
        (config.metadata.clone().unwrap(), config.strict_mode.clone())
    };
    let merged = r#"{"a":1,"b":{"y":2},"d":4}"#;
    assert_eq!(patch(Some(r#"{"b":{"y":2},"c":null,"d":4}"#), None), (merged.into(), None));
    assert_eq!(patch(None, Some(r#"{"enabled":true}"#)), (merged.into(), Some(r#"{"enabled":true}"#.into())));
    let (_, strict) = patch(Some("{}"), Some(r#"{"max_timeout":5}"#));
    assert_eq!(strict.unwrap(), r#"{"enabled":true,"max_timeout":5}"#);
}
