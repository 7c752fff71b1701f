//! Whether a store keeps the promises that the write protocol rests on.
//!
//! Some stores ignore conditions in some states, and directories without hard links cannot create exactly once.
//! Such a store would lose writes one day, silently; so a bucket is asked when it is first used.

use std::fmt;

use bytes::Bytes;
use futures::future::join_all;
use lodestone_types::{Error, ErrorKind};

use crate::error::{StoreError, StoreErrorKind};
use crate::key::PROBE;
use crate::port::{Clock, Store, list_all};

/// How many create the same object at once.
const RIVALS: usize = 64;
/// How often the race is run again after lost replies.
const ROUNDS: usize = 4;

/// What the probe saw on a store that is fit for use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReport {
    /// How many created the same object at once, of whom one won.
    pub rivals: usize,
    /// How far the store's clock is ahead of ours, in milliseconds; stores that count in seconds are up to a
    /// second off.
    pub clock_ahead_ms: i64,
}

/// Why a store is not fit for use.
#[derive(Debug, Clone)]
pub enum ProbeError {
    /// A request failed.
    Failed {
        /// What was tried, as "cannot ..." goes on.
        trying: &'static str,
        /// Its error.
        source: StoreError,
    },
    /// Every request was answered, and the answers break a promise.
    Broken {
        /// The promise that does not hold.
        promise: &'static str,
        /// What was seen instead.
        seen: String,
    },
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Failed { trying, source } => {
                write!(f, "the store is not usable: cannot {trying}: {source}")
            }
            ProbeError::Broken { promise, seen } => write!(
                f,
                "this store would lose writes and is refused: {promise}, but {seen}; update it or use another"
            ),
        }
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ProbeError::Failed { source, .. } => Some(source),
            ProbeError::Broken { .. } => None,
        }
    }
}

impl From<ProbeError> for Error {
    fn from(error: ProbeError) -> Self {
        let message = error.to_string();
        let kind = match error {
            ProbeError::Broken { .. } => ErrorKind::BadRequest,
            // The probe's own objects do not matter, so no outcome of theirs is left in doubt.
            ProbeError::Failed { source, .. } => match source.kind {
                StoreErrorKind::Invalid => ErrorKind::BadRequest,
                StoreErrorKind::Other | StoreErrorKind::Damaged => ErrorKind::Internal,
                _ => ErrorKind::Unavailable,
            },
        };
        Error::new(kind, message)
    }
}

/// Tries `store` under `probe/<nonce>/` and removes what it put there. `nonce` must be random.
pub async fn probe(store: &dyn Store, clock: &Clock, nonce: u64) -> Result<ProbeReport, ProbeError> {
    let probe = Probe { store, base: format!("{PROBE}/{nonce:016x}/") };
    let report = probe.run(clock).await;
    let cleaned = probe.clean_up().await;
    let report = report?;
    cleaned?;
    Ok(report)
}

struct Probe<'a> {
    store: &'a dyn Store,
    base: String,
}

impl Probe<'_> {
    async fn run(&self, clock: &Clock) -> Result<ProbeReport, ProbeError> {
        // A list first: what fails here is the address or the credentials, not a permission to write.
        self.store.list(&self.base, None, 1).await.map_err(failed("list objects"))?;
        self.race().await?;
        let clock_ahead_ms = self.read_after_write(clock).await?;
        self.list_after_write().await?;
        self.delete().await?;
        Ok(ProbeReport { rivals: RIVALS, clock_ahead_ms })
    }

    /// Many create one object; exactly one must win, and its bytes must stay.
    async fn race(&self) -> Result<(), ProbeError> {
        const PROMISE: &str = "of many who create one object at once exactly one must win";
        for round in 0..ROUNDS {
            let key = format!("{}race-{round}", self.base);
            let bytes = |rival: usize| Bytes::from(format!("rival {rival} of round {round}"));
            let answers = join_all((0..RIVALS).map(|rival| self.store.put_new(&key, bytes(rival)))).await;
            let mut winners = Vec::new();
            let mut unclear = None;
            for (rival, answer) in answers.into_iter().enumerate() {
                match answer {
                    Ok(()) => winners.push(rival),
                    Err(e) if e.is_already_exists() => {}
                    Err(e) if e.is_retryable() => unclear = Some(e),
                    Err(e) => return Err(failed("create an object, though it can be listed")(e)),
                }
            }
            match (winners.as_slice(), unclear) {
                ([winner], _) => return self.stays(&key, bytes(*winner), PROMISE).await,
                // The winner's reply may be among the lost ones.
                ([], Some(error)) if round + 1 == ROUNDS => return Err(failed("create an object")(error)),
                ([], Some(_)) => {}
                ([], None) => return Err(broken(PROMISE, "all were told that the object exists")),
                (many, _) => return Err(broken(PROMISE, format!("{} of {RIVALS} won", many.len()))),
            }
        }
        Ok(())
    }

    async fn stays(&self, key: &str, bytes: Bytes, promise: &'static str) -> Result<(), ProbeError> {
        let read = "read an object that was just written";
        if self.store.get(key).await.map_err(failed(read))? != bytes {
            return Err(broken(promise, "the object holds the bytes of a loser"));
        }
        match self.store.put_new(key, Bytes::from_static(b"late")).await {
            Err(e) if e.is_already_exists() => {}
            Err(e) if e.is_retryable() => {}
            Err(e) => return Err(failed("create an object")(e)),
            Ok(()) => return Err(broken(promise, "it was created again")),
        }
        match self.store.get(key).await.map_err(failed(read))? == bytes {
            true => Ok(()),
            false => Err(broken(promise, "a later create replaced it")),
        }
    }

    /// Reads, ranges and sizes right after a write and after a replacement; returns the clocks' difference.
    async fn read_after_write(&self, clock: &Clock) -> Result<i64, ProbeError> {
        const PROMISE: &str = "a read after a write must see it";
        let key = format!("{}object", self.base);
        let mut ahead = 0;
        for bytes in [Bytes::from_static(b"first"), Bytes::from_static(b"the second")] {
            let before = clock();
            self.store.put(&key, bytes.clone()).await.map_err(failed("write an object"))?;
            let after = clock();
            let meta =
                self.store.head(&key).await.map_err(failed("look up an object that was just written"))?;
            if meta.size != bytes.len() as u64 {
                return Err(broken(PROMISE, format!("a size of {} was {}", bytes.len(), meta.size)));
            }
            if self.store.get(&key).await.map_err(failed("read an object that was just written"))? != bytes {
                return Err(broken(PROMISE, "other bytes came"));
            }
            let range =
                self.store.get_range(&key, 1..4).await.map_err(failed("read a range of an object"))?;
            if range != bytes[1..4] {
                return Err(broken("a range must hold the bytes that were asked for", "other bytes came"));
            }
            ahead = meta.last_modified - (before + (after - before) / 2);
        }
        Ok(ahead)
    }

    async fn list_after_write(&self) -> Result<(), ProbeError> {
        const PROMISE: &str = "a list after a write must hold it, in the order of keys";
        let names: Vec<String> =
            ["list/a", "list/b", "list/c"].map(|name| format!("{}{name}", self.base)).into();
        for name in names.iter().rev() {
            self.store.put(name, Bytes::from_static(b"x")).await.map_err(failed("write an object"))?;
        }
        let prefix = format!("{}list/", self.base);
        for after in [None, Some(0)] {
            let start_after = after.map(|at: usize| names[at].as_str());
            let page = self.store.list(&prefix, start_after, 10).await.map_err(failed("list objects"))?;
            let listed: Vec<&str> = page.iter().map(|object| object.key.as_str()).collect();
            if listed != names[after.map_or(0, |at| at + 1)..] {
                return Err(broken(PROMISE, format!("the list was {listed:?}")));
            }
        }
        Ok(())
    }

    async fn delete(&self) -> Result<(), ProbeError> {
        let key = format!("{}object", self.base);
        for _ in 0..2 {
            self.store.delete(&key).await.map_err(failed("delete an object, though it can be written"))?;
        }
        match self.store.head(&key).await {
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(failed("look up an object that was just deleted")(e)),
            Ok(_) => Err(broken("what was deleted must be gone", "it was still there")),
        }
    }

    async fn clean_up(&self) -> Result<(), ProbeError> {
        let left = list_all(self.store, &self.base).await.map_err(failed("list objects"))?;
        let deletions = left.iter().map(|object| self.store.delete(&object.key));
        join_all(deletions)
            .await
            .into_iter()
            .try_for_each(|deleted| deleted.map_err(failed("delete an object, though it can be written")))
    }
}

fn failed(trying: &'static str) -> impl Fn(StoreError) -> ProbeError {
    move |source| ProbeError::Failed { trying, source }
}

fn broken(promise: &'static str, seen: impl Into<String>) -> ProbeError {
    ProbeError::Broken { promise, seen: seen.into() }
}
