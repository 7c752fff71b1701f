//! Writing the state down (rule 10): changed pages first, the root last.

use std::collections::BTreeSet;

use bytes::Bytes;
use lodestone_manifest::checkpoint::{self as format, PageRef};
use lodestone_manifest::{State, check};
use lodestone_store::Store;
use lodestone_wal::keys;
use std::sync::Arc;

use crate::bucket::{self, Created};
use crate::recover::Base;
use crate::{Job, MetaError, Result, Rules};

/// Writes a checkpoint of `state`, reusing what has not changed since `base`. Only for a leader whose claim took
/// effect, and only of slots that it decided.
pub async fn write(
    store: &dyn Store,
    base: Option<&Base>,
    state: Arc<State>,
    job: &Job,
    rules: Rules,
) -> Result<Base> {
    check(&state)?;
    let before = base.map_or(0, |b| b.pages.len());
    let count = format::page_count(state.collections.len(), before);
    let (mut pages, dirty) = match base {
        Some(base) if before == count => {
            (base.pages.clone(), format::dirty_pages(&base.state, &state, count))
        }
        _ => (vec![None; count], (0..count).collect::<BTreeSet<usize>>()),
    };
    let mut contents = Vec::new();
    for (index, bytes) in format::encode_pages(&state, &dirty, count) {
        pages[index] = bytes.map(|bytes| {
            let object = keys::part(job.epoch, job.id, "page", index as u32);
            let page = PageRef { object, len: bytes.len() as u64, crc: crc32c::crc32c(&bytes) };
            contents.push((page.object.clone(), Bytes::from(bytes)));
            page
        });
    }
    let key = keys::checkpoint(state.slot);
    let root = bucket::seal_root(&format::encode_root(&state, pages.clone()));
    if rules.parts_first() {
        write_pages(store, contents).await?;
        write_root(store, &key, &root).await?;
    } else {
        write_root(store, &key, &root).await?;
        write_pages(store, contents).await?;
    }
    Ok(Base { state, pages })
}

async fn write_pages(store: &dyn Store, pages: Vec<(String, Bytes)>) -> Result<()> {
    for (key, bytes) in pages {
        if let Created::Taken(_) = bucket::create(store, &key, &bytes).await? {
            return Err(MetaError::Damaged(format!("`{key}` was written by somebody else")));
        }
    }
    Ok(())
}

async fn write_root(store: &dyn Store, key: &str, root: &Bytes) -> Result<()> {
    match bucket::create(store, key, root).await? {
        Created::Yes => Ok(()),
        Created::Taken(_) => {
            Err(MetaError::Damaged(format!("`{key}` holds another state of the same slot; two histories exist")))
        }
    }
}
