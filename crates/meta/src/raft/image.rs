//! The state as bytes: the root and the pages of a checkpoint, without their objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use lodestone_manifest::checkpoint::{self as format, DecodeError, PageRef};
use lodestone_manifest::{State, check};
use serde::{Deserialize, Serialize};

/// What a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// The state.
    pub image: Image,
    /// A state of which not all pages have come yet.
    pub begun: Option<Pieces>,
}

/// A state that is shared within a process and becomes bytes only on the wire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Pieces", try_from = "Pieces")]
pub struct Image(pub Arc<State>);

/// A state in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pieces {
    /// See [`format::encode_root`].
    pub root: Bytes,
    /// Those that the root names, in its order.
    pub pages: Vec<Bytes>,
}

impl Pieces {
    /// The bytes of `state`.
    pub fn of(state: &State) -> Self {
        let count = format::page_count(state.collections.len(), 0);
        let every: BTreeSet<usize> = (0..count).collect();
        let mut refs = vec![None; count];
        let mut pages = Vec::new();
        for (index, bytes) in format::encode_pages(state, &every, count) {
            let Some(bytes) = bytes else { continue };
            let crc = crc32c::crc32c(&bytes);
            refs[index] = Some(PageRef { object: String::new(), len: bytes.len() as u64, crc });
            pages.push(Bytes::from(bytes));
        }
        Self { root: format::encode_root(state, refs, None).into(), pages }
    }

    /// The state, if the bytes are one and it breaks no invariant.
    pub fn state(&self) -> Result<State, DecodeError> {
        let damaged = |what: String| DecodeError::Damaged(what);
        let root = format::decode_root(&self.root)?;
        let refs: Vec<&PageRef> = root.pages.iter().flatten().collect();
        if refs.len() != self.pages.len() {
            return Err(damaged(format!("{} pages instead of {}", self.pages.len(), refs.len())));
        }
        let mut pages = Vec::with_capacity(refs.len());
        for (page, bytes) in refs.into_iter().zip(&self.pages) {
            if page.len != bytes.len() as u64 || page.crc != crc32c::crc32c(bytes) {
                return Err(damaged("a page is not the one that the root names".into()));
            }
            pages.push(format::decode_page(bytes)?);
        }
        let state = format::assemble(&root, pages);
        check(&state).map_err(|violation| damaged(violation.to_string()))?;
        Ok(state)
    }
}

impl From<Image> for Pieces {
    fn from(image: Image) -> Self {
        Self::of(&image.0)
    }
}

impl TryFrom<Pieces> for Image {
    type Error = DecodeError;

    fn try_from(pieces: Pieces) -> Result<Self, DecodeError> {
        pieces.state().map(|state| Self(Arc::new(state)))
    }
}
