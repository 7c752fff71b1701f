//! Reading and writing the objects of the protocol: slots, claims, roots.

use std::time::Duration;

use bytes::Bytes;
use lodestone_manifest::checkpoint::{self, PageRef, Root};
use lodestone_manifest::{Claim, Epoch, Record, Slot, State};
use lodestone_store::{Store, StoreError, list_all};
use lodestone_wal::{SlotCache, keys, object};
use tokio::time::timeout;

use crate::{MetaError, Result};

/// What a create-only write found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The object is the one written.
    Yes,
    /// Another object is there.
    Taken(Bytes),
}

/// Writes `bytes` under a free `key`, and finds out what a lost reply meant: an object with the same bytes counts
/// as written, an absent one is written again. The bytes must be ones that nobody else writes.
pub async fn create(store: &dyn Store, key: &str, bytes: &Bytes) -> Result<Created> {
    const ATTEMPTS: usize = 20;
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        match store.put_new(key, bytes.clone()).await {
            Ok(()) => return Ok(Created::Yes),
            Err(e) if e.is_already_exists() || e.outcome_unknown() => last = Some(e),
            Err(e) => return Err(e.into()),
        }
        match store.get(key).await {
            Ok(found) if found == *bytes => return Ok(Created::Yes),
            Ok(found) => return Ok(Created::Taken(found)),
            Err(e) if e.is_not_found() || e.is_retryable() => pause(attempt).await,
            Err(e) => return Err(e.into()),
        }
    }
    Err(last.map_or_else(|| MetaError::Damaged(format!("`{key}` cannot be created")), MetaError::Store))
}

async fn pause(attempt: usize) {
    tokio::time::sleep(Duration::from_millis(10 << attempt.min(7))).await;
}

/// The record of a slot, or `None` where the object is absent. Its bytes are left in `slots`: whoever reads a tail later
/// looks there first, and asks only for slots whose object the tail needs and which therefore is the one that was read.
pub(crate) async fn read_slot(
    store: &dyn Store,
    slots: Option<&SlotCache>,
    slot: Slot,
) -> Result<Option<Record>> {
    match store.get(&keys::wal(slot)).await {
        Ok(bytes) => {
            let record = decode_slot(slot, &bytes)?;
            if let (Some(slots), Record::Batch(_)) = (slots, &record) {
                slots.insert(slot, bytes);
            }
            Ok(Some(record))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The record in the bytes of a slot's object.
pub fn decode_slot(slot: Slot, bytes: &Bytes) -> Result<Record> {
    object::decode_object(bytes).map_err(|e| MetaError::Damaged(format!("`{}`: {e}", keys::wal(slot))))
}

/// The highest claim, if there is one.
pub async fn highest_claim(store: &dyn Store) -> Result<Option<Epoch>> {
    let claims = list_all(store, keys::CLAIMS).await?;
    Ok(claims.iter().filter_map(|o| keys::parse_claim(&o.key)).max())
}

/// Reads a claim.
pub async fn read_claim(store: &dyn Store, epoch: Epoch) -> Result<Claim> {
    let key = keys::claim(epoch);
    match object::decode_object(&store.get(&key).await?) {
        Ok(Record::Claim(claim)) => Ok(claim),
        Ok(_) => Err(MetaError::Damaged(format!("`{key}` is no claim"))),
        Err(e) => Err(MetaError::Damaged(format!("`{key}`: {e}"))),
    }
}

/// The slot of the newest checkpoint, if there is one.
pub async fn newest_checkpoint(store: &dyn Store) -> Result<Option<Slot>> {
    let newest = store.list(keys::CHECKPOINTS, None, 1).await?;
    Ok(newest.first().and_then(|o| keys::parse_checkpoint(&o.key)))
}

/// Reads a checkpoint's root and pages.
pub async fn read_checkpoint(store: &dyn Store, slot: Slot) -> Result<(Root, State)> {
    let key = keys::checkpoint(slot);
    let root = open_root(&key, &store.get(&key).await?)?;
    read_pages(store, &key, root).await
}

/// How long the copy of a root is waited for. Nothing depends on it.
const COPY_PATIENCE: Duration = Duration::from_secs(1);

/// Puts a root, which is in the bucket already, where who starts finds it without a listing first. What is copied counts only where a
/// listing shows no newer root, so nothing is lost if this fails.
pub(crate) async fn copy_root(store: &dyn Store, root: &Bytes) {
    let copied = timeout(COPY_PATIENCE, store.put(keys::NEWEST, root.clone())).await;
    if !matches!(copied, Ok(Ok(()))) {
        tracing::debug!(?copied, "the newest root was not copied; starts take a trip more");
    }
}

/// The root that was copied last, if it can be read. Whether it is the newest, a listing says.
pub(crate) async fn copied_root(store: &dyn Store) -> Option<Root> {
    let copy = timeout(COPY_PATIENCE, store.get(keys::NEWEST)).await.ok()?.ok()?;
    open_root(keys::NEWEST, &copy).ok()
}

/// Reads the pages of the root that was stored as `key`.
pub(crate) async fn read_pages(store: &dyn Store, key: &str, root: Root) -> Result<(Root, State)> {
    const PARALLEL: usize = 64;
    use futures::{StreamExt, TryStreamExt};
    let references: Vec<PageRef> = root.pages.iter().flatten().cloned().collect();
    let mut pages: Vec<checkpoint::Page> = futures::stream::iter(references)
        .map(|page| async move {
            let bytes = store.get(&page.object).await?;
            if crc32c::crc32c(&bytes) != page.crc {
                return Err(MetaError::Damaged(format!("`{}` has a wrong checksum", page.object)));
            }
            checkpoint::decode_page(&bytes).map_err(|e| unreadable(&page.object, e))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    if let Some(inline) = &root.inline {
        pages.push(checkpoint::decode_page(inline).map_err(|e| unreadable(key, e))?);
    }
    let state = checkpoint::assemble(&root, pages);
    Ok((root, state))
}

/// The root in the bytes of its object.
fn open_root(key: &str, bytes: &[u8]) -> Result<Root> {
    let (crc, body) =
        bytes.split_first_chunk::<4>().ok_or_else(|| MetaError::Damaged(format!("`{key}` is cut short")))?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(body) {
        return Err(MetaError::Damaged(format!("`{key}` has a wrong checksum")));
    }
    checkpoint::decode_root(body).map_err(|e| unreadable(key, e))
}

fn unreadable(key: &str, error: checkpoint::DecodeError) -> MetaError {
    MetaError::Damaged(format!("`{key}`: {error}"))
}

/// The bytes of a root's object: a checksum, and the root.
pub fn seal_root(root: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(root.len() + 4);
    bytes.extend_from_slice(&crc32c::crc32c(root).to_le_bytes());
    bytes.extend_from_slice(root);
    bytes.into()
}

/// Whether an error says that the object is absent.
pub(crate) fn is_absent(error: &MetaError) -> bool {
    matches!(error, MetaError::Store(StoreError { kind: lodestone_store::StoreErrorKind::NotFound, .. }))
}
