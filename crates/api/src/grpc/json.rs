//! Small tools to write settings from messages as Qdrant's REST JSON, and to read them back.
//!
//! [`crate::settings`] checks that JSON and brings it into the one stored form, so that what was set over one
//! interface is reported over the other.

use lodestone_types::{Error, Result};
use serde_json::{Map, Number, Value};

/// A JSON object in the making; absent values leave no trace.
#[derive(Default)]
pub(super) struct Writer(Map<String, Value>);

impl Writer {
    /// Sets `key`, if there is a value.
    pub(super) fn with(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Sets `key` to the name of an enumeration's number, if there is one.
    pub(super) fn with_name(self, key: &str, number: Option<i32>, names: Names) -> Result<Self> {
        let name = number.map(|n| names.name(n)).transpose()?;
        Ok(self.with(key, name))
    }

    /// The object.
    pub(super) fn object(self) -> Value {
        Value::Object(self.0)
    }
}

/// A stored JSON object; a value of another kind than asked for reads as absent.
pub(super) struct Reader<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Reader<'a> {
    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }

    pub(super) fn u64(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    pub(super) fn u32(&self, key: &str) -> Option<u32> {
        self.u64(key)?.try_into().ok()
    }

    pub(super) fn f32(&self, key: &str) -> Option<f32> {
        Some(self.0.get(key)?.as_f64()? as f32)
    }

    pub(super) fn str(&self, key: &str) -> Option<&'a str> {
        self.0.get(key)?.as_str()
    }

    pub(super) fn object(&self, key: &str) -> Option<Reader<'a>> {
        self.0.get(key)?.as_object().map(Reader)
    }

    pub(super) fn number(&self, key: &str, names: Names) -> Option<i32> {
        names.number(self.str(key)?)
    }
}

/// The names in JSON of an enumeration's numbers.
#[derive(Clone, Copy)]
pub(super) struct Names {
    /// What it is, for messages.
    pub(super) of: &'static str,
    /// By number.
    pub(super) pairs: &'static [(i32, &'static str)],
}

impl Names {
    /// The name of `number`.
    pub(super) fn name(&self, number: i32) -> Result<&'static str> {
        let found = self.pairs.iter().find(|(n, _)| *n == number);
        found.map(|(_, name)| *name).ok_or_else(|| Error::bad_request(format!("{number} is no {}", self.of)))
    }

    fn number(&self, name: &str) -> Option<i32> {
        self.pairs.iter().find(|(_, n)| *n == name).map(|(number, _)| *number)
    }
}

/// Where a component's data is to be held.
pub(super) const MEMORY: Names =
    Names { of: "memory placement", pairs: &[(1, "cold"), (2, "cached"), (3, "pinned")] };

/// A short decimal for a single-precision number: 0.99, not 0.9900000095367432.
pub(super) fn short(number: f32) -> Result<Value> {
    let shortest = number.to_string().parse().ok().and_then(Number::from_f64);
    shortest.map(Value::Number).ok_or_else(|| Error::bad_request("a setting is not a finite number"))
}

/// A stored JSON object.
pub(super) fn stored(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).map_err(|e| Error::internal(format!("stored settings cannot be read: {e}")))
}
