//! The probe accepts what keeps the promises, and says clearly what does not.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_store::{
    Clock, Faults, Latency, LocalStore, MemoryStore, ObjectInfo, ObjectMeta, Op, ProbeError, Result,
    Simulated, Store, StoreError, StoreErrorKind, list_all, probe, system_clock,
};
use lodestone_types::ErrorKind;

/// A store that breaks one promise or forbids one request.
#[derive(Debug)]
struct Odd {
    inner: MemoryStore,
    odd: Oddity,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Oddity {
    IgnoresConditions,
    ConditionsForgetTheObject,
    ListsLate,
    ListsBackwards,
    ShiftsRanges,
    KeepsDeleted,
    Forbids(Op),
}

impl Odd {
    fn over(odd: Oddity) -> Self {
        Self { inner: MemoryStore::new(), odd }
    }

    fn allow(&self, op: Op, key: &str) -> Result<()> {
        match self.odd == Oddity::Forbids(op) {
            true => Err(StoreError::new(op, StoreErrorKind::Denied, key, "403")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Odd {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.allow(Op::PutNew, key)?;
        match self.odd {
            Oddity::IgnoresConditions => self.inner.put(key, bytes).await,
            Oddity::ConditionsForgetTheObject => {
                let answer = self.inner.put_new(key, bytes.clone()).await;
                self.inner.put(key, bytes).await?;
                answer
            }
            _ => self.inner.put_new(key, bytes).await,
        }
    }
    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.allow(Op::Put, key)?;
        self.inner.put(key, bytes).await
    }
    async fn get(&self, key: &str) -> Result<Bytes> {
        self.allow(Op::Get, key)?;
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let by = u64::from(self.odd == Oddity::ShiftsRanges);
        self.inner.get_range(key, range.start + by..range.end + by).await
    }
    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }
    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        self.allow(Op::List, prefix)?;
        let mut page = self.inner.list(prefix, start_after, limit).await?;
        match self.odd {
            Oddity::ListsLate if prefix.contains("list") => page.truncate(1),
            Oddity::ListsBackwards => page.reverse(),
            _ => {}
        }
        Ok(page)
    }
    async fn delete(&self, key: &str) -> Result<()> {
        self.allow(Op::Delete, key)?;
        if self.odd == Oddity::KeepsDeleted { Ok(()) } else { self.inner.delete(key).await }
    }
}

#[tokio::test]
async fn good_stores_pass_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let local: Arc<dyn Store> = Arc::new(LocalStore::open(dir.path()).unwrap());
    for store in [Arc::new(MemoryStore::new()), local] {
        let report = probe(store.as_ref(), &system_clock(), 1).await.unwrap();
        assert_eq!(report.rivals, 64);
        assert!(report.clock_ahead_ms.abs() < 10_000, "{report:?}");
        assert!(list_all(store.as_ref(), "").await.unwrap().is_empty());
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".staging"]);
}

#[tokio::test]
async fn the_difference_of_the_clocks_is_reported() {
    let ours = Arc::new(AtomicI64::new(1_000_000));
    let theirs = ours.clone();
    let store = MemoryStore::with_clock(Arc::new(move || theirs.load(Ordering::Relaxed) + 90_000));
    let clock: Clock = Arc::new(move || ours.load(Ordering::Relaxed));
    assert_eq!(probe(&store, &clock, 1).await.unwrap().clock_ahead_ms, 90_000);
}

#[tokio::test]
async fn broken_promises_are_refused_by_name() {
    for (odd, words) in [
        (Oddity::IgnoresConditions, "64 of 64 won"),
        (Oddity::ConditionsForgetTheObject, "bytes of a loser"),
        (Oddity::ListsLate, "a list after a write"),
        (Oddity::ListsBackwards, "in the order of keys"),
        (Oddity::ShiftsRanges, "a range must hold"),
        (Oddity::KeepsDeleted, "must be gone"),
    ] {
        let error = probe(&Odd::over(odd), &system_clock(), 1).await.unwrap_err();
        assert!(matches!(error, ProbeError::Broken { .. }), "{odd:?}: {error}");
        assert!(error.to_string().contains(words), "{odd:?}: {error}");
        assert_eq!(lodestone_types::Error::from(error).kind, ErrorKind::BadRequest);
    }
}

#[tokio::test]
async fn missing_permissions_are_named() {
    for (op, words) in [
        (Op::List, "cannot list objects"),
        (Op::PutNew, "though it can be listed"),
        (Op::Put, "cannot write an object"),
        (Op::Get, "cannot read an object"),
        (Op::Delete, "cannot delete an object, though it can be written"),
    ] {
        let error = probe(&Odd::over(Oddity::Forbids(op)), &system_clock(), 1).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("permissions"), "{op:?}: {text}");
        assert_eq!(lodestone_types::Error::from(error).kind, ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_directory_that_can_only_be_read_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let writable = fs::write(dir.path().join("x"), b"").is_ok();
    if writable {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    let store = LocalStore::open(dir.path()).unwrap();
    let error = probe(&store, &system_clock(), 1).await.unwrap_err();
    assert!(error.to_string().contains("permissions"), "{error}");
}

/// Lost replies leave the race open; it is run again, and a store that never answers is not called broken.
#[tokio::test(start_paused = true)]
async fn lost_replies_are_not_taken_for_broken_promises() {
    let mut passed = 0;
    for seed in 0..40 {
        let faults = Faults {
            error_before: 0.005,
            error_after: 0.005,
            timeout: Duration::from_secs(1),
            ..Faults::none()
        };
        let store = Simulated::new(Arc::new(MemoryStore::new()), Latency::s3(), faults, seed);
        match probe(&store, &system_clock(), seed).await {
            Ok(_) => passed += 1,
            Err(error) => assert!(matches!(error, ProbeError::Failed { .. }), "seed {seed}: {error}"),
        }
    }
    assert!(passed > 20, "{passed} of 40");
}
