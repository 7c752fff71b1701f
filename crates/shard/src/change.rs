//! What one operation of the log does to one existing row: a pure function, the same for a row of the tail and
//! for a row of a segment, when it is read and when it is folded.

use std::sync::Arc;

use bytes::Bytes;
use lodestone_types::{Error, JsonPath, PathSegment, Payload, Result};
use lodestone_wal::{Delta, RowVectors};
use serde_json::{Map, Value};

/// A change of the payload.
#[derive(Debug, Clone, PartialEq)]
pub enum PayloadDelta {
    /// Merges keys into the payload, or into the object at `key`. A `null` removes its key.
    Set {
        /// The keys.
        values: Map<String, Value>,
        /// Where; `None` is the top.
        key: Option<JsonPath>,
    },
    /// Replaces the payload.
    Overwrite(Map<String, Value>),
    /// Removes what the paths reach.
    Delete(Vec<JsonPath>),
    /// Removes everything.
    Clear,
}

/// A change of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Of its payload.
    Payload(PayloadDelta),
    /// Sets vectors, in their stored form; others stay.
    SetVectors(RowVectors),
    /// Removes vectors by name.
    RemoveVectors(Vec<Arc<str>>),
}

impl Change {
    /// What a delta of the log means. Its JSON is parsed once here, not once per row.
    pub fn of(delta: &Delta) -> Result<Self> {
        Ok(match delta {
            Delta::SetPayload { payload, key } => {
                Change::Payload(PayloadDelta::Set { values: parse_payload(payload)?.0, key: key.clone() })
            }
            Delta::OverwritePayload(payload) => {
                Change::Payload(PayloadDelta::Overwrite(parse_payload(payload)?.0))
            }
            Delta::DeletePayload(keys) => Change::Payload(PayloadDelta::Delete(keys.clone())),
            Delta::ClearPayload => Change::Payload(PayloadDelta::Clear),
            Delta::RemoveVectors(names) => Change::RemoveVectors(names.clone()),
        })
    }

    /// Whether it touches payloads.
    pub fn is_of_payload(&self) -> bool {
        matches!(self, Change::Payload(_))
    }

    /// Whether nothing is left of the payload that was there before.
    pub fn replaces_payload(&self) -> bool {
        matches!(self, Change::Payload(PayloadDelta::Overwrite(_) | PayloadDelta::Clear))
    }

    /// One change that does what this one and then `next` do, where that is simple to say.
    pub fn then(&self, next: &Change) -> Option<Change> {
        match (self, next) {
            (
                Change::Payload(PayloadDelta::Set { values, key }),
                Change::Payload(PayloadDelta::Set { values: later, key: same }),
            ) if key == same => {
                // A `null` stays in, for it still has to remove its key.
                let mut values = values.clone();
                values.extend(later.iter().map(|(key, value)| (key.clone(), value.clone())));
                Some(Change::Payload(PayloadDelta::Set { values, key: key.clone() }))
            }
            (Change::SetVectors(vectors), Change::SetVectors(_)) => {
                let mut vectors = vectors.clone();
                next.apply_to_vectors(&mut vectors);
                Some(Change::SetVectors(vectors))
            }
            _ => None,
        }
    }

    /// Applies it to the vectors of a row.
    pub fn apply_to_vectors(&self, vectors: &mut RowVectors) {
        match self {
            Change::Payload(_) => {}
            Change::SetVectors(new) => {
                for (name, bytes) in new {
                    match vectors.iter_mut().find(|(known, _)| known == name) {
                        Some((_, old)) => *old = bytes.clone(),
                        None => vectors.push((name.clone(), bytes.clone())),
                    }
                }
            }
            Change::RemoveVectors(names) => vectors.retain(|(name, _)| !names.contains(name)),
        }
    }
}

/// The payload of a JSON text; no text is an empty payload.
pub fn parse_payload(text: &[u8]) -> Result<Payload> {
    if text.is_empty() {
        return Ok(Payload::default());
    }
    serde_json::from_slice(text)
        .map_err(|e| Error::damaged(format!("a stored payload is no JSON object: {e}")))
}

/// The JSON text of a payload; an empty one is no text.
pub fn payload_text(payload: &Payload) -> Result<Bytes> {
    if payload.0.is_empty() {
        return Ok(Bytes::new());
    }
    let text =
        serde_json::to_vec(payload).map_err(|e| Error::internal(format!("a payload has no JSON: {e}")))?;
    Ok(text.into())
}

/// Applies `delta` to `payload`.
pub fn apply_payload_delta(payload: &mut Payload, delta: &PayloadDelta) {
    match delta {
        PayloadDelta::Set { values, key: None } => merge(&mut payload.0, values),
        PayloadDelta::Set { values, key: Some(key) } => {
            if let Some((PathSegment::Key(first), rest)) = key.0.split_first() {
                set_key(&mut payload.0, first, rest, values);
            }
        }
        PayloadDelta::Overwrite(values) => payload.0 = values.clone(),
        PayloadDelta::Delete(keys) => {
            for key in keys {
                if let Some((PathSegment::Key(first), rest)) = key.0.split_first() {
                    remove_key(&mut payload.0, first, rest);
                }
            }
        }
        PayloadDelta::Clear => payload.0.clear(),
    }
}

fn merge(into: &mut Map<String, Value>, values: &Map<String, Value>) {
    for (key, value) in values {
        if value.is_null() {
            into.remove(key);
        } else {
            into.insert(key.clone(), value.clone());
        }
    }
}

fn set_key(object: &mut Map<String, Value>, key: &str, rest: &[PathSegment], values: &Map<String, Value>) {
    set(object.entry(key).or_insert(Value::Null), rest, values);
}

/// Sets `values` in the object that `path` reaches from `at`. What is in the way and of another kind than the
/// path wants is replaced: by an object where it wants a key, by an empty array where it wants elements.
fn set(at: &mut Value, path: &[PathSegment], values: &Map<String, Value>) {
    let Some((segment, rest)) = path.split_first() else {
        return merge(object_at(at), values);
    };
    match segment {
        PathSegment::Key(key) => set_key(object_at(at), key, rest, values),
        PathSegment::Index(index) => {
            if let Some(element) = array_at(at).get_mut(*index) {
                set(element, rest, values);
            }
        }
        PathSegment::Wildcard => array_at(at).iter_mut().for_each(|element| set(element, rest, values)),
    }
}

fn object_at(at: &mut Value) -> &mut Map<String, Value> {
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    match at {
        Value::Object(object) => object,
        _ => unreachable!("it was made an object"),
    }
}

fn array_at(at: &mut Value) -> &mut Vec<Value> {
    if !at.is_array() {
        *at = Value::Array(Vec::new());
    }
    match at {
        Value::Array(array) => array,
        _ => unreachable!("it was made an array"),
    }
}

fn remove_key(object: &mut Map<String, Value>, key: &str, rest: &[PathSegment]) {
    if rest.is_empty() {
        object.remove(key);
    } else if let Some(value) = object.get_mut(key) {
        remove(value, rest);
    }
}

/// Removes what `path` reaches from `at`. A path that ends in `[]` empties the array; one that ends in an index
/// does nothing, since doing it twice would remove two elements.
fn remove(at: &mut Value, path: &[PathSegment]) {
    match (at, path) {
        (Value::Object(object), [PathSegment::Key(key), rest @ ..]) => remove_key(object, key, rest),
        (Value::Array(array), [PathSegment::Wildcard]) => array.clear(),
        (Value::Array(array), [PathSegment::Wildcard, rest @ ..]) => {
            array.iter_mut().for_each(|element| remove(element, rest));
        }
        (Value::Array(array), [PathSegment::Index(index), rest @ ..]) if !rest.is_empty() => {
            if let Some(element) = array.get_mut(*index) {
                remove(element, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload(value: Value) -> Payload {
        serde_json::from_value(value).unwrap()
    }

    fn after(before: Value, delta: &PayloadDelta) -> Value {
        let mut payload = payload(before);
        apply_payload_delta(&mut payload, delta);
        Value::Object(payload.0)
    }

    fn set_at(before: Value, key: &str, values: Value) -> Value {
        let key = (!key.is_empty()).then(|| key.parse().unwrap());
        after(before, &PayloadDelta::Set { values: payload(values).0, key })
    }

    fn deleted(before: Value, keys: &[&str]) -> Value {
        after(before, &PayloadDelta::Delete(keys.iter().map(|k| k.parse().unwrap()).collect()))
    }

    #[test]
    fn set_merges_at_the_top() {
        assert_eq!(
            set_at(json!({"a": 1, "b": {"c": 2}, "d": 3}), "", json!({"b": {"x": 1}, "d": null})),
            json!({"a": 1, "b": {"x": 1}})
        );
    }

    #[test]
    fn set_reaches_along_a_path() {
        for (before, key, expected) in [
            (json!({}), "a.b", json!({"a": {"b": {"x": 1}}})),
            (json!({"a": {"b": {"y": 2}}}), "a.b", json!({"a": {"b": {"x": 1, "y": 2}}})),
            (json!({"a": 7}), "a.b", json!({"a": {"b": {"x": 1}}})),
            (json!({"a": 7}), "a", json!({"a": {"x": 1}})),
            (json!({"a": [{}, 1]}), "a[]", json!({"a": [{"x": 1}, {"x": 1}]})),
            (json!({"a": [{}, 1]}), "a[1].b", json!({"a": [{}, {"b": {"x": 1}}]})),
            (json!({"a": [{}]}), "a[3].b", json!({"a": [{}]})),
            (json!({"a": 7}), "a[]", json!({"a": []})),
            (json!({}), "a[0]", json!({"a": []})),
        ] {
            assert_eq!(set_at(before.clone(), key, json!({"x": 1, "n": null})), expected, "{before} {key}");
        }
    }

    #[test]
    fn delete_reaches_along_a_path() {
        let before = json!({"a": {"b": 1, "c": 2}, "l": [{"b": 1, "c": 2}, {"b": 3}, 4], "x": 5});
        for (keys, expected) in [
            (&["a.b"][..], json!({"a": {"c": 2}, "l": [{"b": 1, "c": 2}, {"b": 3}, 4], "x": 5})),
            (&["l[].b", "x"], json!({"a": {"b": 1, "c": 2}, "l": [{"c": 2}, {}, 4]})),
            (&["l[0].b", "a"], json!({"l": [{"c": 2}, {"b": 3}, 4], "x": 5})),
            (&["l[]", "a"], json!({"l": [], "x": 5})),
            (&["l[0]", "l.b", "x.y", "none.at.all", "a[]"], before.clone()),
        ] {
            assert_eq!(deleted(before.clone(), keys), expected, "{keys:?}");
        }
    }

    #[test]
    fn overwrite_keeps_nulls_and_clear_clears() {
        let values = payload(json!({"n": null})).0;
        assert_eq!(after(json!({"a": 1}), &PayloadDelta::Overwrite(values)), json!({"n": null}));
        assert_eq!(after(json!({"a": 1}), &PayloadDelta::Clear), json!({}));
    }

    #[test]
    fn two_changes_become_one() {
        let set = |key: &str, values: Value| {
            let key = (!key.is_empty()).then(|| key.parse().unwrap());
            Change::Payload(PayloadDelta::Set { values: payload(values).0, key })
        };
        let applied = |before: &Value, changes: &[&Change]| {
            let mut payload = payload(before.clone());
            for change in changes {
                let Change::Payload(delta) = change else { panic!("a change of payloads") };
                apply_payload_delta(&mut payload, delta);
            }
            payload
        };
        let values =
            [json!({"x": 1, "y": null}), json!({"x": null, "y": 2}), json!({"z": {"w": 1}}), json!({})];
        for before in
            [json!({}), json!({"x": 5, "o": {"y": 7}}), json!({"o": [{"x": 1}, 2]}), json!({"y": 0})]
        {
            for key in ["", "o", "o.p", "o[]", "o[0].q"] {
                for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
                    let (a, b) = (set(key, a.clone()), set(key, b.clone()));
                    let both = a.then(&b).unwrap();
                    assert_eq!(applied(&before, &[&a, &b]), applied(&before, &[&both]), "{before} {key}");
                }
            }
        }
        assert_eq!(set("", json!({})).then(&set("o", json!({}))), None);
        assert_eq!(set("", json!({})).then(&Change::Payload(PayloadDelta::Clear)), None);
    }

    #[test]
    fn vectors_are_set_and_removed_by_name() {
        let vector = |name: &str, byte: u8| (Arc::<str>::from(name), Bytes::from(vec![byte]));
        let mut vectors = vec![vector("a", 1), vector("b", 2)];
        Change::SetVectors(vec![vector("b", 3), vector("c", 4)]).apply_to_vectors(&mut vectors);
        Change::RemoveVectors(vec!["a".into(), "z".into()]).apply_to_vectors(&mut vectors);
        assert_eq!(vectors, [vector("b", 3), vector("c", 4)]);
    }
}
