//! Writing the state down (rule 10): changed pages first, the root last.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use lodestone_manifest::checkpoint::{self as format, PageRef};
use lodestone_manifest::{State, check};
use lodestone_store::Store;
use lodestone_wal::keys;

use crate::bucket::{self, Created};
use crate::recover::Base;
use crate::{Job, MetaError, Result, Rules};

/// A checkpoint with all its bytes. A reply that was lost may still mean that the root is there or will be, so what
/// was begun is written again with the same bytes until it is surely there, and only then another is begun; until
/// then its job keeps its pages from being collected.
#[derive(Debug)]
pub struct Draft {
    base: Base,
    pages: Vec<(String, Bytes)>,
    root: Bytes,
    _job: Job,
}

impl Draft {
    /// Of `state`, reusing the pages of `base` that have not changed since; an only page of up to `inline_page` bytes lies in
    /// the root. Only for a leader whose claim took effect,
    /// and only of slots that it decided.
    pub fn new(base: Option<&Base>, state: Arc<State>, job: Job, inline_page: usize) -> Result<Self> {
        check(&state)?;
        let before = base.map_or(0, |b| b.pages.len());
        let count = format::page_count(state.collections.len(), before);
        let (mut references, dirty) = match base {
            Some(base) if before == count => {
                (base.pages.clone(), format::dirty_pages(&base.state, &state, count))
            }
            _ => (vec![None; count], (0..count).collect::<BTreeSet<usize>>()),
        };
        // An only page may lie in the root, and is in every root that it lies in.
        let wanted = if count == 1 { BTreeSet::from([0]) } else { dirty.clone() };
        let (mut pages, mut inline) = (Vec::new(), None);
        for (index, bytes) in format::encode_pages(&state, &wanted, count) {
            match bytes {
                Some(bytes) if count == 1 && bytes.len() <= inline_page => {
                    references[index] = None;
                    inline = Some(Bytes::from(bytes));
                }
                _ if references[index].is_some() && !dirty.contains(&index) => {}
                bytes => {
                    references[index] = bytes.map(|bytes| {
                        let object = keys::part(job.epoch, job.id, "page", index as u32);
                        let page = PageRef { object, len: bytes.len() as u64, crc: crc32c::crc32c(&bytes) };
                        pages.push((page.object.clone(), Bytes::from(bytes)));
                        page
                    });
                }
            }
        }
        let root = bucket::seal_root(&format::encode_root(&state, references.clone(), inline));
        Ok(Self { base: Base { state, pages: references }, pages, root, _job: job })
    }

    /// What the next checkpoint builds on once this one is there.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Puts it into the bucket; to be called again after an error.
    pub async fn write(&self, store: &dyn Store, rules: Rules) -> Result<()> {
        if rules.parts_first() {
            self.write_pages(store).await?;
            self.write_root(store).await
        } else {
            self.write_root(store).await?;
            self.write_pages(store).await
        }
    }

    /// The bytes of its root's object.
    pub fn root(&self) -> &Bytes {
        &self.root
    }

    async fn write_pages(&self, store: &dyn Store) -> Result<()> {
        for (key, bytes) in &self.pages {
            if let Created::Taken(_) = bucket::create(store, key, bytes).await? {
                return Err(MetaError::Damaged(format!("`{key}` was written by somebody else")));
            }
        }
        Ok(())
    }

    async fn write_root(&self, store: &dyn Store) -> Result<()> {
        let key = keys::checkpoint(self.base.state.slot);
        match bucket::create(store, &key, &self.root).await? {
            Created::Yes => Ok(()),
            Created::Taken(_) => Err(MetaError::Damaged(format!(
                "`{key}` holds another state of the same slot; two histories exist"
            ))),
        }
    }
}
