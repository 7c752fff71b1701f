use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// One step of a [`JsonPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PathSegment {
    /// `.key`, or `."a key"` where the key has special characters.
    Key(String),
    /// `[3]`
    Index(usize),
    /// `[]`: every element.
    Wildcard,
}

/// A path into a payload, such as `country.cities[].name`: never empty, the first segment is a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonPath(pub Vec<PathSegment>);

// A path travels as the text a user would write, in every format.
impl Serialize for JsonPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JsonPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for JsonPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::bad_request(format!("Invalid json path: '{text}'")))
    }
}

fn parse(text: &str) -> Option<JsonPath> {
    let mut segments = Vec::new();
    let mut rest = text;
    let mut wants_key = true;
    while wants_key || !rest.is_empty() {
        if wants_key {
            let (key, after) = parse_key(rest)?;
            segments.push(PathSegment::Key(key));
            rest = after;
            wants_key = false;
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            wants_key = true;
        } else {
            let (inner, after) = rest.strip_prefix('[')?.split_once(']')?;
            segments.push(if inner.is_empty() {
                PathSegment::Wildcard
            } else {
                PathSegment::Index(inner.parse().ok()?)
            });
            rest = after;
        }
    }
    Some(JsonPath(segments))
}

fn parse_key(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (key, rest) = quoted.split_once('"')?;
        return (!key.is_empty()).then(|| (key.to_owned(), rest));
    }
    let end = text.find(|c| !is_bare(c)).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Key(key) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    if key.chars().all(is_bare) { f.write_str(key)? } else { write!(f, "\"{key}\"")? }
                }
                PathSegment::Index(n) => write!(f, "[{n}]")?,
                PathSegment::Wildcard => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

impl JsonPath {
    /// A path of one key, whatever characters it has.
    pub fn key(key: impl Into<String>) -> Self {
        Self(vec![PathSegment::Key(key.into())])
    }

    /// Every value the path reaches in `payload`, in order. An array at the end is one value; callers
    /// that look into arrays do so themselves.
    pub fn values<'a>(&self, payload: &'a Map<String, Value>) -> Vec<&'a Value> {
        let Some((PathSegment::Key(first), rest)) = self.0.split_first() else { return Vec::new() };
        let mut found: Vec<&Value> = payload.get(first).into_iter().collect();
        for segment in rest {
            found = match segment {
                PathSegment::Key(key) => found.iter().filter_map(|v| v.as_object()?.get(key)).collect(),
                PathSegment::Index(i) => found.iter().filter_map(|v| v.as_array()?.get(*i)).collect(),
                PathSegment::Wildcard => found.iter().filter_map(|v| v.as_array()).flatten().collect(),
            };
        }
        found
    }

    /// This path followed by `tail`, through every element of the array that this one reaches.
    pub fn through_array(&self, tail: &JsonPath) -> JsonPath {
        let mut segments = self.0.clone();
        if segments.last() != Some(&PathSegment::Wildcard) {
            segments.push(PathSegment::Wildcard);
        }
        segments.extend(tail.0.iter().cloned());
        JsonPath(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parsed() {
        for text in ["a", "a.b", "a[].b", "a[0].b[].c", "\"a b\".c", "a-b_c", "größe.x"] {
            assert_eq!(text.parse::<JsonPath>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_path() {
        for text in ["", ".", "a.", ".a", "a[", "a[x]", "a b", "\"a", "[]", "a..b"] {
            assert!(text.parse::<JsonPath>().is_err(), "{text}");
        }
    }

    #[test]
    fn reaches_through_arrays_and_objects() {
        let payload = serde_json::json!({"a": [{"b": 1}, {"b": [2, 3]}, {"c": 4}]});
        let payload = payload.as_object().unwrap();
        let at =
            |p: &str| p.parse::<JsonPath>().unwrap().values(payload).into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(at("a[].b"), vec![serde_json::json!(1), serde_json::json!([2, 3])]);
        assert_eq!(at("a[1].b[0]"), vec![serde_json::json!(2)]);
        assert!(at("a.b").is_empty());
    }
}
