//! Payload values: protobuf's `Value` to JSON and back.
//!
//! Both know whole numbers and fractions apart. What JSON cannot say (NaN, infinities) is refused on the way
//! in; a whole number above `i64::MAX`, which only REST can write, leaves as the nearest double, as in Qdrant.
//! Depth needs no limit here: the protobuf decoder stops at 100 levels of messages, and what is allowed
//! ([`MAX_PAYLOAD_DEPTH`](lodestone_types::limits::MAX_PAYLOAD_DEPTH)) stays below that in every answer.

use std::collections::HashMap;

use lodestone_types::{Error, Payload, Result};
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{ListValue, Struct, Value};
use serde_json::{Map, Number, Value as Json};

/// A JSON object from the fields of a message.
pub(super) fn object(fields: HashMap<String, Value>) -> Result<Map<String, Json>> {
    fields.into_iter().map(|(key, value)| Ok((key, json(value)?))).collect()
}

/// A payload from the fields of a message.
pub(super) fn payload(fields: HashMap<String, Value>) -> Result<Payload> {
    object(fields).map(Payload)
}

fn json(value: Value) -> Result<Json> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(b)) => Json::Bool(b),
        Some(Kind::IntegerValue(n)) => Json::Number(n.into()),
        Some(Kind::DoubleValue(n)) => Json::Number(finite(n)?),
        Some(Kind::StringValue(s)) => Json::String(s),
        Some(Kind::StructValue(s)) => Json::Object(object(s.fields)?),
        Some(Kind::ListValue(l)) => Json::Array(l.values.into_iter().map(json).collect::<Result<_>>()?),
    })
}

fn finite(n: f64) -> Result<Number> {
    Number::from_f64(n).ok_or_else(|| Error::bad_request(format!("a payload cannot hold the number {n}")))
}

/// The fields of a message from a JSON object.
pub(super) fn fields(object: Map<String, Json>) -> HashMap<String, Value> {
    object.into_iter().map(|(key, json)| (key, value(json))).collect()
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(b) => Kind::BoolValue(b),
        Json::Number(n) => match n.as_i64() {
            Some(n) => Kind::IntegerValue(n),
            // Every JSON number has a nearest double.
            None => Kind::DoubleValue(n.as_f64().unwrap_or(f64::MAX)),
        },
        Json::String(s) => Kind::StringValue(s),
        Json::Array(a) => Kind::ListValue(ListValue { values: a.into_iter().map(value).collect() }),
        Json::Object(o) => Kind::StructValue(Struct { fields: fields(o) }),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Json::from),
            ".{0,12}".prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|m| Json::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(tree in prop::collection::btree_map(".{0,6}", any_json(), 0..6)) {
            let object_in: Map<String, Json> = tree.into_iter().collect();
            prop_assert_eq!(object(fields(object_in.clone())).unwrap(), object_in);
        }
    }

    #[test]
    fn refuses_what_json_cannot_say() {
        for n in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let deep = value(Json::Null);
            let list = ListValue { values: vec![deep, Value { kind: Some(Kind::DoubleValue(n)) }] };
            let fields = HashMap::from([("a".to_owned(), Value { kind: Some(Kind::ListValue(list)) })]);
            assert!(payload(fields).is_err());
        }
    }

    #[test]
    fn clients_can_decode_the_deepest_payload() {
        use lodestone_types::limits::MAX_PAYLOAD_DEPTH;
        use prost::Message;
        use qdrant_client::qdrant as proto;

        let deepest = (1..MAX_PAYLOAD_DEPTH).fold(Json::Null, |inner, _| serde_json::json!({"k": inner}));
        let payload = fields(Map::from_iter([("k".to_owned(), deepest)]));
        let point = proto::ScoredPoint { payload, ..Default::default() };
        let result = vec![proto::BatchResult { result: vec![point] }];
        let answer = proto::QueryBatchResponse { result, ..Default::default() };
        let bytes = answer.encode_to_vec();
        assert_eq!(proto::QueryBatchResponse::decode(&*bytes), Ok(answer));
    }

    #[test]
    fn a_value_without_kind_is_null() {
        let fields = HashMap::from([("a".to_owned(), Value { kind: None })]);
        assert_eq!(payload(fields).unwrap().0["a"], Json::Null);
    }

    #[test]
    fn a_number_beyond_i64_leaves_as_a_double() {
        let out = value(Json::from(u64::MAX));
        assert_eq!(out.kind, Some(Kind::DoubleValue(u64::MAX as f64)));
    }
}
