use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::*;
use crate::direct::{page_cache_has, tests::watched_folder};
use crate::memory::MemoryStore;
use crate::metered::{Metered, Metrics};
use crate::simulated::{Faults, Latency, Simulated};

const KEY: &str = "parts/1";

fn content() -> Bytes {
    (0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into()
}

/// A store with one object, and the count of what is asked of it.
async fn store() -> (Arc<dyn Store>, Arc<Metrics>) {
    let memory = MemoryStore::new();
    memory.put(KEY, content()).await.unwrap();
    let metrics = Arc::new(Metrics::default());
    (Arc::new(Metered::new(Arc::new(memory), metrics.clone())), metrics)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

async fn check(cache: &PartCache, store: &Arc<dyn Store>, range: Range<u64>) {
    let expected = content().slice(range.start as usize..range.end as usize);
    let crc = crc32c::crc32c(&expected);
    assert_eq!(cache.get(store, KEY, range, Some(crc)).await.unwrap(), expected);
}

#[tokio::test]
async fn a_range_is_fetched_once_in_memory_and_in_files_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for place in [None, Some(dir.path().join("a/b"))] {
        let (store, metrics) = store().await;
        let cache = PartCache::open(place.clone(), 1 << 20);
        for _ in 0..3 {
            check(&cache, &store, 10..70_000).await;
        }
        assert_eq!(metrics.snapshot().gets, 1);
        assert!(cache.get(&store, KEY, 5..5, None).await.unwrap().is_empty());
        if place.is_some() {
            let again = PartCache::open(place, 1 << 20);
            check(&again, &store, 10..70_000).await;
            assert_eq!((metrics.snapshot().gets, again.stats().hits, again.stats().damaged), (1, 1, 0));
        }
    }
}

#[tokio::test]
async fn a_flipped_cut_emptied_removed_or_foreign_file_is_fetched_again() {
    type Harm = fn(&Path);
    let harms: [Harm; 6] = [
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[1234] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| {
            let mut bytes = fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| fs::write(path, &fs::read(path).unwrap()[1..]).unwrap(),
        |path| fs::write(path, b"").unwrap(),
        |path| fs::remove_file(path).unwrap(),
        |path| {
            let id = PartId { key: "parts/2".into(), start: 0, end: 50_000 };
            let bytes = vec![7; 50_000];
            file::write(path.parent().unwrap(), &id, &bytes, 0).unwrap();
            fs::rename(path.parent().unwrap().join(id.slot().file_name()), path).unwrap();
        },
    ];
    for (number, harm) in harms.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let (store, metrics) = store().await;
        check(&PartCache::open(Some(dir.path().into()), 1 << 20), &store, 0..50_000).await;
        let path = files(dir.path()).pop().unwrap();
        let cache = PartCache::open(Some(dir.path().into()), 1 << 20);
        harm(&path);
        check(&cache, &store, 0..50_000).await;
        assert_eq!((metrics.snapshot().gets, cache.stats().damaged), (2, 1), "harm {number}");
        check(&PartCache::open(Some(dir.path().into()), 1 << 20), &store, 0..50_000).await;
        assert_eq!(metrics.snapshot().gets, 2, "harm {number}: kept again");
    }
}

#[tokio::test]
async fn what_another_store_left_is_fetched_again_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let other: Arc<dyn Store> = Arc::new(MemoryStore::new());
    other.put(KEY, vec![7; 100_000].into()).await.unwrap();
    let range = 0..50_000;
    let cache = PartCache::open(Some(dir.path().into()), 1 << 20);
    cache.get(&other, KEY, range.clone(), None).await.unwrap();
    let cache = PartCache::open(Some(dir.path().into()), 1 << 20);
    let (store, metrics) = store().await;
    assert_eq!(cache.get(&store, KEY, range.clone(), None).await.unwrap(), vec![7; 50_000]);
    let expected = content().slice(..50_000);
    assert_eq!(cache.get_again(&store, KEY, range.clone()).await.unwrap(), expected);
    assert_eq!(cache.get(&store, KEY, range.clone(), None).await.unwrap(), expected);
    let cache = PartCache::open(Some(dir.path().into()), 1 << 20);
    assert_eq!(cache.get(&store, KEY, range, None).await.unwrap(), expected);
    assert_eq!((metrics.snapshot().gets, cache.stats().damaged), (1, 0), "it is kept");
}

#[tokio::test]
async fn what_it_holds_stays_within_the_limit_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    for place in [None, Some(dir.path().to_path_buf())] {
        let (store, metrics) = store().await;
        let cache = PartCache::open(place.clone(), 100_000);
        for start in [0, 30_000, 60_000] {
            check(&cache, &store, start..start + 30_000).await;
        }
        check(&cache, &store, 0..30_000).await;
        check(&cache, &store, 90_000..120_000).await;
        assert_eq!((cache.stats().evictions, cache.stats().bytes), (1, 90_000));
        check(&cache, &store, 0..30_000).await;
        assert_eq!(metrics.snapshot().gets, 4);
        check(&cache, &store, 30_000..60_000).await;
        assert_eq!(metrics.snapshot().gets, 5);
        check(&cache, &store, 0..200_000).await;
        assert_eq!(cache.stats().bytes, 90_000, "too large to keep");
        if let Some(dir) = place {
            assert_eq!(files(&dir).len(), 3);
            let smaller = PartCache::open(Some(dir.clone()), 40_000);
            assert_eq!((smaller.stats().parts, files(&dir).len()), (1, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_at_once_share_one_fetch_even_if_the_first_gives_up() {
    let (store, metrics) = store().await;
    let slow: Arc<dyn Store> = Arc::new(Simulated::latency_only(store, 1));
    let cache = PartCache::open(None, 1 << 20);
    let first = tokio::time::timeout(std::time::Duration::from_millis(1), cache.get(&slow, KEY, 0..9, None));
    let others = futures::future::join_all((0..20).map(|_| cache.get(&slow, KEY, 0..9, None)));
    let (first, others) = tokio::join!(first, others);
    assert!(first.is_err());
    assert!(others.into_iter().all(|bytes| bytes.unwrap() == content()[..9]));
    assert_eq!(metrics.snapshot().gets, 1);
    assert!(cache.state.loads.is_empty());

    let given_up =
        tokio::time::timeout(std::time::Duration::from_millis(1), cache.get(&slow, KEY, 9..19, None));
    assert!(given_up.await.is_err());
    assert!(cache.state.loads.is_empty());
}

#[tokio::test]
async fn errors_reach_everybody_and_are_not_kept() {
    let (store, _) = store().await;
    let faults = Faults { error_before: 1.0, ..Faults::none() };
    let failing = Arc::new(Simulated::new(store, Latency::none(), faults, 1));
    let failing_store: Arc<dyn Store> = failing.clone();
    let cache = PartCache::open(None, 1 << 20);
    let both =
        tokio::join!(cache.get(&failing_store, KEY, 0..9, None), cache.get(&failing_store, KEY, 0..9, None));
    assert!(both.0.is_err() && both.1.is_err());
    failing.set_faults(Faults::none());
    check(&cache, &failing_store, 0..9).await;
}

#[tokio::test]
async fn bytes_that_do_not_have_the_expected_checksum_are_an_error_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    for place in [None, Some(dir.path().to_path_buf())] {
        let (store, metrics) = store().await;
        let cache = PartCache::open(place, 1 << 20);
        let error = cache.get(&store, KEY, 0..9, Some(1)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Damaged);
        assert_eq!(metrics.snapshot().gets, 2);
        assert_eq!(cache.stats().parts, 0);
        check(&cache, &store, 0..9).await;
        // What is kept is right, and yet not what this caller wants.
        assert!(cache.get(&store, KEY, 0..9, Some(1)).await.is_err());
        check(&cache, &store, 0..9).await;
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_costs_memory_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    let (store, metrics) = store().await;
    let never = PartCache::open(Some(file.join("cache")), 1 << 20);
    let removed = dir.path().join("removed");
    let no_more = PartCache::open(Some(removed.clone()), 1 << 20);
    fs::remove_dir(&removed).unwrap();
    for (number, cache) in [never, no_more].iter().enumerate() {
        check(cache, &store, 0..9).await;
        check(cache, &store, 0..9).await;
        assert_eq!(metrics.snapshot().gets, number as u64 + 1);
        assert!(cache.state.warned.load(Relaxed));
    }
}

#[tokio::test]
async fn a_kept_range_can_be_read_here_and_there_even_after_it_had_to_go() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store().await;
    let cache = PartCache::open(Some(dir.path().into()), 100_000);
    assert!(cache.open_kept(KEY, 1_000..90_000).is_none(), "nothing is kept yet");
    check(&cache, &store, 1_000..90_000).await;
    let cache = PartCache::open(Some(dir.path().into()), 100_000);
    assert!(cache.has(KEY, 1_000..90_000) && !cache.has(KEY, 1_000..80_000));
    let kept = cache.open_kept(KEY, 1_000..90_000).unwrap();
    assert!(cache.open_kept(KEY, 1_000..80_000).is_none(), "another range");
    let mut out = Vec::new();
    kept.read_many(&[0..10, 50_000..51_536, 88_999..89_000], &mut out).unwrap();
    let whole = content();
    assert_eq!(out, [&whole[1_000..1_010], &whole[51_000..52_536], &whole[89_999..90_000]].concat());
    let past = kept.read_many(&[0..1, 88_999..89_001], &mut Vec::new());
    assert_eq!(past.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "the label is none of its bytes");
    assert_eq!(cache.in_memory(), 0);
    let all = cache.get_kept(KEY, 1_000..90_000).unwrap();
    assert_eq!((&all[..], cache.in_memory()), (&whole[1_000..90_000], 89_000));
    drop(all);
    assert_eq!(cache.in_memory(), 0);
    for length in [7, 100_000] {
        let held = cache.hold(length, &mut |place| place.fill(3)).unwrap();
        assert_eq!((&held[..], cache.in_memory()), (&vec![3; length][..], length as u64));
        drop(held);
        assert_eq!(cache.in_memory(), 0, "what is kept in another form counts as long as anybody has it");
    }
    check(&cache, &store, 90_000..190_000).await;
    assert!(cache.open_kept(KEY, 1_000..90_000).is_none(), "it had to go");
    assert!(kept.is_gone());
    out.clear();
    kept.read_many(&[0..1, 88_999..89_000], &mut out).unwrap();
    assert_eq!(out, [whole[1_000], whole[89_999]]);
    check(&cache, &store, 1_000..90_000).await;
    assert!(cache.open_kept(KEY, 1_000..90_000).is_some());
}

#[tokio::test]
async fn harm_to_an_open_file_is_found_where_it_is_read_and_mended() {
    type Harm = fn(&File);
    let harms: [Harm; 3] = [
        |file| file.write_at(&[77], 40_000).map(drop).unwrap(),
        |file| file.set_len(43_000).unwrap(),
        |file| file.set_len(0).unwrap(),
    ];
    for (number, harm) in harms.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let (store, metrics) = store().await;
        let cache = PartCache::open(Some(dir.path().into()), 1 << 20);
        check(&cache, &store, 0..50_000).await;
        let kept = cache.open_kept(KEY, 0..50_000).unwrap();
        let path = files(dir.path()).pop().unwrap();
        harm(&File::options().write(true).open(path).unwrap());
        let mut out = vec![1];
        kept.read_many(&[39_000..39_100, 40_900..44_000], &mut out).unwrap_err();
        assert_eq!(out, [1], "harm {number}");
        assert!(!cache.has(KEY, 0..50_000) && cache.get_kept(KEY, 0..50_000).is_none());
        check(&cache, &store, 0..50_000).await;
        let kept = cache.open_kept(KEY, 0..50_000).unwrap();
        kept.read_many(&[39_999..40_002, 7..7], &mut out).unwrap();
        assert_eq!(out[1..], content()[39_999..40_002]);
        assert_eq!((metrics.snapshot().gets, cache.stats().damaged), (2, 1));
    }
}

#[tokio::test]
async fn a_foreign_file_is_not_read_here_and_there_and_nothing_is_without_files() {
    let harms: [fn(&mut Vec<u8>); 3] = [
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes.truncate(50_010),
        |bytes| bytes[50_000_usize.next_multiple_of(4096)] ^= 1,
    ];
    for change in harms {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = store().await;
        let cache = PartCache::open(Some(dir.path().into()), 1 << 20);
        check(&cache, &store, 0..50_000).await;
        let path = files(dir.path()).pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        assert!(cache.open_kept(KEY, 0..50_000).is_none());
        assert!(!cache.has(KEY, 0..50_000));
    }
    let (store, _) = store().await;
    let in_memory = PartCache::open(None, 1 << 20);
    check(&in_memory, &store, 0..50_000).await;
    assert!(in_memory.open_kept(KEY, 0..50_000).is_none());
    assert_eq!(in_memory.get_kept(KEY, 0..50_000).unwrap(), content()[..50_000]);
}

#[tokio::test]
async fn a_large_range_comes_in_pieces() {
    let whole: Vec<u8> = (0..2 * PIECE as usize + 5_000).map(|i| (i % 253) as u8).collect();
    let memory = MemoryStore::new();
    memory.put(KEY, whole.clone().into()).await.unwrap();
    let metrics = Arc::new(Metrics::default());
    let store: Arc<dyn Store> = Arc::new(Metered::new(Arc::new(memory), metrics.clone()));
    let dir = tempfile::tempdir().unwrap();
    let cache = PartCache::open(Some(dir.path().into()), 1 << 30);
    let range = 100..whole.len() as u64;
    let crc = crc32c::crc32c(&whole[100..]);
    assert!(cache.get(&store, KEY, range.clone(), Some(crc)).await.unwrap() == whole[100..]);
    assert_eq!(metrics.snapshot().gets, 3);
    let cache = PartCache::open(Some(dir.path().into()), 1 << 30);
    assert!(cache.get(&store, KEY, range, Some(crc)).await.unwrap() == whole[100..]);
    assert_eq!(metrics.snapshot().gets, 3);
    assert!(cache.get(&store, KEY, 0..whole.len() as u64 + 1, None).await.is_err(), "it has no such end");
}

/// A store that knows how many bytes of what it gave are in memory. One of its reads fails, or does not end.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Store>,
    reads: AtomicU64,
    fails: Option<u64>,
    hangs: Option<u64>,
    bytes: Arc<AtomicU64>,
    most: AtomicU64,
}

/// Bytes that [`Watched`] gave.
struct Given(Bytes, Arc<AtomicU64>);

impl AsRef<[u8]> for Given {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len() as u64, Relaxed);
    }
}

impl Watched {
    async fn new(content: &Bytes) -> Self {
        let memory = MemoryStore::new();
        memory.put(KEY, content.clone()).await.unwrap();
        let (bytes, inner) = (Arc::default(), Arc::new(memory));
        Self { inner, reads: AtomicU64::new(0), fails: None, hangs: None, bytes, most: AtomicU64::new(0) }
    }
}

#[async_trait::async_trait]
impl Store for Watched {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.inner.put_new(key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.inner.put(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let number = self.reads.fetch_add(1, Relaxed);
        if self.fails == Some(number) {
            return Err(StoreError::new(Op::GetRange, StoreErrorKind::Transient, key, "no answer"));
        }
        if self.hangs == Some(number) {
            std::future::pending::<()>().await;
        }
        let bytes = self.inner.get_range(key, range).await?;
        let length = bytes.len() as u64;
        self.most.fetch_max(self.bytes.fetch_add(length, Relaxed) + length, Relaxed);
        Ok(Bytes::from_owner(Given(bytes, self.bytes.clone())))
    }

    async fn head(&self, key: &str) -> Result<crate::port::ObjectMeta> {
        self.inner.head(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<crate::port::ObjectInfo>> {
        self.inner.list(prefix, start_after, limit).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key).await
    }
}

/// Finds every file right.
fn any() -> CheckFile {
    Arc::new(|_, _| Ok(()))
}

/// So many pieces and a little more.
fn large(pieces: u64) -> Bytes {
    (0..pieces * PIECE + 5_000).map(|i| (i % 253) as u8).collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn a_range_is_brought_to_disk_once_and_is_never_in_memory_whole() {
    for is_read_whole in [false, true] {
        let (whole, dir) = (large(8), tempfile::tempdir().unwrap());
        let watched = Arc::new(Watched::new(&whole).await);
        let store: Arc<dyn Store> = watched.clone();
        let cache = PartCache::open(Some(dir.path().into()), 1 << 30);
        let range = 100..whole.len() as u64;
        let brought = (0..3).map(|_| cache.bring(&store, KEY, range.clone(), is_read_whole, any()));
        assert_eq!(
            futures::future::join_all(brought).await.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            [true; 3]
        );
        let most = watched.most.load(Relaxed);
        assert!((PIECE..=PartCache::MOST_UNDER_WAY).contains(&most), "{most} bytes at once");
        let stats = cache.stats();
        assert_eq!((watched.reads.load(Relaxed), watched.bytes.load(Relaxed)), (9, 0));
        assert_eq!((stats.hits, stats.misses, stats.in_memory), (2, 1, 0));
        assert_eq!((stats.parts, stats.bytes, files(dir.path()).len()), (1, whole.len() as u64 - 100, 1));
        assert!(cache.bring(&store, KEY, range.clone(), is_read_whole, any()).await.unwrap());
        let kept = cache.open_kept(KEY, range.clone()).unwrap();
        let mut read = Vec::new();
        kept.read_many(std::slice::from_ref(&(0..range.end - range.start)), &mut read).unwrap();
        assert!(read == whole[100..]);
        for cache in [cache, PartCache::open(Some(dir.path().into()), 1 << 30)] {
            let crc = crc32c::crc32c(&whole[100..]);
            assert!(cache.get(&store, KEY, range.clone(), Some(crc)).await.unwrap() == whole[100..]);
        }
        assert_eq!(watched.reads.load(Relaxed), 9);
    }
}

#[tokio::test]
async fn what_is_read_whole_does_not_stay_in_the_page_cache() {
    let (whole, range) = (large(1), 0..PIECE + 5_000);
    let store: Arc<dyn Store> = Arc::new(Watched::new(&whole).await);
    for is_read_whole in [false, true] {
        let Some(dir) = watched_folder() else { return eprintln!("skipped: the kernel cannot tell") };
        let cache = PartCache::open(Some(dir.path().into()), 1 << 30);
        assert!(cache.bring(&store, KEY, range.clone(), is_read_whole, any()).await.unwrap());
        let file = File::open(&files(dir.path())[0]).unwrap();
        assert_eq!(page_cache_has(&file, 0, PIECE as usize), Some(!is_read_whole));
        assert!(cache.get_kept(KEY, range.clone()).unwrap() == whole);
    }
}

#[tokio::test]
async fn what_is_broken_off_leaves_nothing_and_comes_when_asked_again() {
    let whole = large(2);
    let range = 0..whole.len() as u64;
    for (fails, hangs, is_read_whole) in
        [(Some(2), None, false), (None, Some(2), false), (None, Some(2), true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Watched { fails, hangs, ..Watched::new(&whole).await });
        let cache = PartCache::open(Some(dir.path().into()), 1 << 30);
        let mut bring = Box::pin(cache.bring(&store, KEY, range.clone(), is_read_whole, any()));
        let broken_off = tokio::time::timeout(std::time::Duration::from_millis(300), &mut bring).await;
        assert_eq!(files(dir.path()).len(), usize::from(hangs.is_some()), "it is written aside");
        assert!(broken_off.is_err() || broken_off.unwrap().is_err());
        drop(bring);
        assert_eq!((files(dir.path()).len(), cache.stats().parts), (0, 0));
        assert!(cache.state.brings.is_empty());
        assert!(cache.bring(&store, KEY, range.clone(), is_read_whole, any()).await.unwrap());
        assert!(cache.get_kept(KEY, range.clone()).unwrap() == whole);
        cache.distrust(KEY, range.clone());
        assert_eq!((files(dir.path()).len(), cache.stats().damaged), (0, 1));
        assert!(cache.bring(&store, KEY, range.clone(), is_read_whole, any()).await.unwrap());
        assert_eq!((files(dir.path()).len(), cache.stats().misses), (1, 3));
    }
}

#[tokio::test]
async fn nobody_finds_what_was_brought_before_it_is_found_right() {
    for is_read_whole in [false, true] {
        let whole = large(2);
        let (range, dir) = (0..whole.len() as u64, tempfile::tempdir().unwrap());
        let watched = Arc::new(Watched::new(&whole).await);
        let store: Arc<dyn Store> = watched.clone();
        let cache = PartCache::open(Some(dir.path().into()), 1 << 30);
        let looks = Arc::new(AtomicU64::new(0));
        let check = |wrong: u64| -> CheckFile {
            let (looks, cache, range, whole) = (looks.clone(), cache.clone(), range.clone(), whole.clone());
            looks.store(0, Relaxed);
            Arc::new(move |read, length| {
                assert_eq!(length, whole.len() as u64);
                assert!(!cache.has(KEY, range.clone()) && cache.get_kept(KEY, range.clone()).is_none());
                let mut bytes = vec![0; whole.len()];
                read(&mut bytes, 0)?;
                assert!(bytes == whole);
                match looks.fetch_add(1, Relaxed) < wrong {
                    true => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not what it should be")),
                    false => Ok(()),
                }
            })
        };
        let error = cache.bring(&store, KEY, range.clone(), is_read_whole, check(9)).await.unwrap_err();
        assert_eq!((error.kind, looks.load(Relaxed), cache.stats().damaged), (StoreErrorKind::Damaged, 2, 2));
        assert_eq!((files(dir.path()).len(), cache.stats().parts), (0, 0));
        // A process that starts now finds nothing either.
        assert_eq!(PartCache::open(Some(dir.path().into()), 1 << 30).stats().parts, 0);
        let reads = watched.reads.load(Relaxed);
        assert!(cache.bring(&store, KEY, range.clone(), is_read_whole, check(1)).await.unwrap());
        assert_eq!((looks.load(Relaxed), watched.reads.load(Relaxed) - reads), (2, 6), "fetched once more");
        assert!(cache.get_kept(KEY, range.clone()).unwrap() == whole);

        // A disk that cannot be read is no damage.
        let failing: CheckFile = Arc::new(|_, _| Err(io::Error::other("no disk")));
        cache.remove(KEY, range.clone());
        assert!(!cache.bring(&store, KEY, range.clone(), is_read_whole, failing).await.unwrap());
        assert_eq!((files(dir.path()).len(), cache.stats().damaged), (0, 3));
    }
}

#[tokio::test]
async fn what_cannot_be_a_file_is_not_brought() {
    let dir = tempfile::tempdir().unwrap();
    let (store, metrics) = store().await;
    let removed = dir.path().join("removed");
    let no_more = PartCache::open(Some(removed.clone()), 1 << 20);
    fs::remove_dir(&removed).unwrap();
    let too_small = PartCache::open(Some(dir.path().join("small")), 49_999);
    for cache in [&PartCache::open(None, 1 << 20), &too_small, &no_more] {
        assert!(!cache.bring(&store, KEY, 0..50_000, false, any()).await.unwrap());
        assert!(!cache.bring(&store, KEY, 5..5, false, any()).await.unwrap());
        assert_eq!((metrics.snapshot().gets, cache.stats().parts), (0, 0));
    }
    assert!(no_more.state.warned.load(Relaxed));

    // One that is in memory only, for want of a directory, becomes a file when there is one.
    check(&no_more, &store, 0..50_000).await;
    fs::create_dir(&removed).unwrap();
    assert!(no_more.bring(&store, KEY, 0..50_000, false, any()).await.unwrap());
    assert!(no_more.open_kept(KEY, 0..50_000).is_some());
    assert_eq!((no_more.stats().bytes, no_more.in_memory()), (50_000, 0));
}
