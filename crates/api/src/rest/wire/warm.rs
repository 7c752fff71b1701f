//! Warm-ups: not of Qdrant's interface.

use lodestone_types::{Pin, WarmRequest, Warmth};
use serde::{Deserialize, Serialize};

/// `POST warm`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warm {
    vectors: Option<Vec<String>>,
    with_payload: Option<bool>,
}

impl Warm {
    /// The request in our words. Everything by default.
    pub fn into_request(self) -> WarmRequest {
        WarmRequest { vectors: self.vectors, payloads: self.with_payload.unwrap_or(true) }
    }
}

/// How much is near.
#[derive(Debug, Serialize)]
pub struct WarmthOut {
    pin: &'static str,
    bytes: u64,
    here: u64,
    in_memory: u64,
}

impl From<Warmth> for WarmthOut {
    fn from(Warmth { pin, bytes, here, in_memory }: Warmth) -> Self {
        let pin = match pin {
            Pin::None => "none",
            Pin::Kept => "kept",
            Pin::NoRoom => "no_room",
        };
        Self { pin, bytes, here, in_memory }
    }
}
