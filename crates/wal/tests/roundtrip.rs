//! What is written is read back, and damage is noticed.

use std::sync::Arc;

use bytes::Bytes;
use lodestone_manifest::{Epoch, Nonce, Record, ShardId};
use lodestone_types::PointId;
use lodestone_wal::{
    Delta, IdSet, ObjectBuilder, Op, Row, VectorRow, decode_object, decode_slice, encode_slice, object,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = PointId> {
    prop_oneof![
        (0..50u64).prop_map(PointId::Num),
        any::<u64>().prop_map(PointId::Num),
        any::<u128>().prop_map(|n| PointId::Uuid(uuid::Uuid::from_u128(n))),
    ]
}

fn ids() -> impl Strategy<Value = IdSet> {
    vec(id(), 0..20).prop_map(|ids| ids.into_iter().collect())
}

fn vectors() -> impl Strategy<Value = Vec<(Arc<str>, Bytes)>> {
    let name = prop_oneof![Just(""), Just("a"), Just("größe")];
    vec((name.prop_map(Arc::from), vec(any::<u8>(), 0..16).prop_map(Bytes::from)), 0..3)
}

fn op() -> impl Strategy<Value = Op> {
    let row = (id(), vectors(), "[a-z{}\":é]{0,12}").prop_map(|(id, vectors, payload)| Row {
        id,
        vectors,
        payload: payload.into(),
    });
    let path = "[a-c](\\.[a-c]|\\[\\])?".prop_map(|p: String| p.parse().unwrap());
    let delta = prop_oneof![
        ("[a-z]{0,9}", proptest::option::of(path.clone()))
            .prop_map(|(p, key)| Delta::SetPayload { payload: p.into(), key }),
        "[a-z]{0,9}".prop_map(|p| Delta::OverwritePayload(p.into())),
        vec(path, 0..3).prop_map(Delta::DeletePayload),
        Just(Delta::ClearPayload),
        Just(Delta::RemoveVectors(vec!["a".into(), "".into()])),
    ];
    prop_oneof![
        vec(row, 0..8).prop_map(Op::Put),
        ids().prop_map(Op::Delete),
        (ids(), delta).prop_map(|(ids, delta)| Op::Patch { ids, delta }),
        vec((id(), vectors()).prop_map(|(id, vectors)| VectorRow { id, vectors }), 0..5)
            .prop_map(Op::PutVectors),
    ]
}

proptest! {
    #[test]
    fn slices(ops in vec(op(), 0..6)) {
        prop_assert_eq!(decode_slice(encode_slice(&ops).into()).unwrap(), ops);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode_slice(bytes.clone().into());
        let _ = decode_object(&bytes.into());
    }

    #[test]
    fn a_flipped_bit_is_noticed(ops in vec(op(), 1..4), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut builder = ObjectBuilder::default();
        builder.push_slice(ShardId(1), 1, &encode_slice(&ops));
        let (sound, batch) = builder.finish(Epoch(1), Nonce(2));
        let mut bytes = sound.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let damaged = Bytes::from(bytes);
        let record = decode_object(&damaged);
        let slice = object::slice(&damaged, &batch.slices[0]);
        // Bytes 6 and 7 of the prologue are unused.
        let unused = (6..8).contains(&at);
        prop_assert!(unused || record != Ok(Record::Batch(batch.clone())) || slice.is_err());
    }
}

#[test]
fn objects() {
    let ops = vec![Op::Delete([PointId::Num(3)].into_iter().collect())];
    let mut builder = ObjectBuilder::default();
    builder.push_slice(ShardId(9), 1, &encode_slice(&ops));
    let (bytes, batch) = builder.finish(Epoch(4), Nonce(5));
    assert_eq!(decode_object(&bytes).unwrap(), Record::Batch(batch.clone()));
    assert_eq!(decode_slice(object::slice(&bytes, &batch.slices[0]).unwrap()).unwrap(), ops);
    assert_eq!(decode_object(&Bytes::new()).unwrap(), Record::Void);
}

#[test]
fn a_hundred_thousand_neighbours_take_a_tenth_of_a_megabyte() {
    let ids: IdSet = (1_000_000..1_100_000).map(PointId::Num).collect();
    let delta = Delta::SetPayload { payload: Bytes::from_static(b"{\"a\":1}"), key: None };
    assert!(encode_slice(&[Op::Patch { ids, delta }]).len() < 101_000);
}
