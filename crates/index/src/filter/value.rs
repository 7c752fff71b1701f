//! What the values at a path are: how they are counted, and which texts are the same.

use std::borrow::Cow;

use serde_json::Value;
use uuid::Uuid;

/// The values that a predicate looks at: an array at the end of a path is looked into, one level deep.
pub(crate) fn each_value<'a>(reached: &[&'a Value]) -> impl Iterator<Item = &'a Value> {
    reached.iter().flat_map(|value| match value {
        Value::Array(elements) => elements.iter(),
        single => std::slice::from_ref(*single).iter(),
    })
}

/// How many values each thing at the path holds. A path that reaches nothing holds none, once.
pub(crate) fn counts(reached: &[&Value]) -> Vec<u64> {
    if reached.is_empty() {
        return vec![0];
    }
    reached.iter().map(|v| count(v)).collect()
}

fn count(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Array(elements) => elements.len() as u64,
        _ => 1,
    }
}

/// Whether there is nothing at the path but nulls and empty arrays.
pub(crate) fn is_empty(reached: &[&Value]) -> bool {
    reached.iter().all(|v| count(v) == 0)
}

/// Whether there is a null at the path, or in an array there.
pub(crate) fn is_null(reached: &[&Value]) -> bool {
    reached.iter().any(|v| v.is_null() || v.as_array().is_some_and(|a| a.iter().any(Value::is_null)))
}

/// The text that stands for all texts equal to `text`: under a UUID index every way to write a UUID is the same.
pub(crate) fn same_text(text: &str, as_uuid: bool) -> Cow<'_, str> {
    if as_uuid && let Ok(uuid) = Uuid::try_parse(text) {
        return Cow::Owned(uuid.hyphenated().to_string());
    }
    Cow::Borrowed(text)
}
