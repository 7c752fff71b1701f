//! The JSON forms of requests and answers, read straight into our own types.
//!
//! Requests are typed structures that refuse unknown fields, because a misspelt field must not silently
//! change an answer. Vectors go from bytes into `Vec<f32>` without a tree of values between.

pub mod collection;
mod condition;
pub mod filter;
pub mod info;
pub mod list;
pub mod points;
pub mod query;
pub mod read;
pub mod select;
pub mod vector;
pub mod warm;
pub mod write;

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, Visitor};

/// How the message of an error begins that is answered with "not implemented" instead of "bad request".
pub const UNSUPPORTED: &str = "not supported yet: ";

/// An error for a known feature of Qdrant that is still to come.
pub fn unsupported<E: de::Error>(what: impl fmt::Display) -> E {
    E::custom(format_args!("{UNSUPPORTED}{what}"))
}

/// Takes the place of a field that must be absent or `null`: sharding by key is still to come.
#[derive(Debug)]
pub struct NoShardKey;

impl<'de> Deserialize<'de> for NoShardKey {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(unsupported("shard keys"))
    }
}

/// Takes the place of `prefetch`, which may be empty.
#[derive(Debug)]
pub struct NoPrefetch;

impl<'de> Deserialize<'de> for NoPrefetch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Empty;
        impl<'de> Visitor<'de> for Empty {
            type Value = NoPrefetch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of prefetches")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<NoPrefetch, A::Error> {
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(NoPrefetch),
                    Some(_) => Err(unsupported("prefetch")),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, _: A) -> Result<NoPrefetch, A::Error> {
                Err(unsupported("prefetch"))
            }
        }
        deserializer.deserialize_any(Empty)
    }
}
