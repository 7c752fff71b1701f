//! The behaviour that every store and every decorator must have. Panics where one has not.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use crate::error::StoreErrorKind;
use crate::port::{Store, list_all};
use crate::upload::UPLOAD_PIECE;

/// Runs every check under a prefix of its own, and leaves nothing.
pub async fn suite(store: Arc<dyn Store>) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let base = format!("suite/{:016x}/", now.as_nanos());
    let checks = Checks { store: store.as_ref(), base: base.clone() };
    checks.writes_are_read_back().await;
    checks.one_of_many_creates().await;
    checks.ranges_have_exactly_the_length_asked_for().await;
    checks.lists_are_sorted_filtered_and_paged().await;
    checks.what_is_absent().await;
    checks.strange_keys_work_and_bad_ones_are_refused().await;
    checks.a_large_object_survives().await;
    checks.uploads_are_whole_or_not_there().await;
    for object in list_all(store.as_ref(), &base).await.unwrap() {
        store.delete(&object.key).await.unwrap();
    }
    assert!(list_all(store.as_ref(), &base).await.unwrap().is_empty());
}

struct Checks<'a> {
    store: &'a dyn Store,
    base: String,
}

impl Checks<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    async fn uploads_are_whole_or_not_there(&self) {
        let key = self.key("uploads/a");
        let first: Bytes = (0..UPLOAD_PIECE).map(|i| (i % 251) as u8).collect::<Vec<u8>>().into();
        let upload = self.store.begin_upload(&key).await.unwrap();
        // In any order, and again.
        upload.send(1, Bytes::from_static(b"not what it will be")).await.unwrap();
        upload.send(1, Bytes::from_static(b"the end of it, which is longer")).await.unwrap();
        upload.send(0, first.clone()).await.unwrap();
        assert!(self.store.get(&key).await.unwrap_err().is_not_found());
        assert!(self.store.head(&key).await.unwrap_err().is_not_found());
        assert!(self.store.list(&key, None, 9).await.unwrap().is_empty());
        upload.complete().await.unwrap();
        assert_eq!(self.store.head(&key).await.unwrap().size, UPLOAD_PIECE + 30);
        assert_eq!(self.store.get_range(&key, 0..UPLOAD_PIECE).await.unwrap(), first);
        let end = self.store.get_range(&key, UPLOAD_PIECE..UPLOAD_PIECE + 30).await.unwrap();
        assert_eq!(end, "the end of it, which is longer");
        // As if the reply had been lost.
        upload.complete().await.unwrap();

        let upload = self.store.begin_upload(&key).await.unwrap();
        upload.send(0, Bytes::from_static(b"another")).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(self.store.get(&key).await.unwrap(), "another");
        let upload = self.store.begin_upload(&key).await.unwrap();
        upload.send(0, Bytes::from_static(b"never")).await.unwrap();
        upload.abort().await.unwrap();
        upload.abort().await.unwrap();
        assert_eq!(self.store.get(&key).await.unwrap(), "another");
        assert!(self.store.begin_upload("a//b").await.is_err());
    }

    async fn writes_are_read_back(&self) {
        let key = self.key("writes/a");
        for bytes in [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"another")] {
            self.store.put(&key, bytes.clone()).await.unwrap();
            assert_eq!(self.store.get(&key).await.unwrap(), bytes);
            let meta = self.store.head(&key).await.unwrap();
            assert_eq!(meta.size, bytes.len() as u64);
            assert!(meta.last_modified > 0);
        }
        let created = self.key("writes/b");
        self.store.put_new(&created, Bytes::from_static(b"1")).await.unwrap();
        let again = self.store.put_new(&created, Bytes::from_static(b"2")).await.unwrap_err();
        assert_eq!(again.kind, StoreErrorKind::AlreadyExists);
        assert!(!again.outcome_unknown());
        let after_put = self.store.put_new(&key, Bytes::from_static(b"2")).await.unwrap_err();
        assert_eq!(after_put.kind, StoreErrorKind::AlreadyExists);
        assert_eq!(self.store.get(&created).await.unwrap(), "1");
        self.store.delete(&created).await.unwrap();
        self.store.put_new(&created, Bytes::from_static(b"3")).await.unwrap();
        assert_eq!(self.store.get(&created).await.unwrap(), "3");
    }

    async fn one_of_many_creates(&self) {
        for round in 0..4 {
            let key = self.key(&format!("race/{round}/x"));
            let bytes = |rival: usize| Bytes::from(format!("rival {rival}"));
            let answers = join_all((0..64).map(|rival| self.store.put_new(&key, bytes(rival)))).await;
            let winners: Vec<usize> = (0..64).filter(|rival| answers[*rival].is_ok()).collect();
            assert_eq!(winners.len(), 1, "winners {winners:?}");
            for answer in answers.iter().filter_map(|answer| answer.as_ref().err()) {
                // A store may answer a loser that it met another; then nothing is said about the outcome.
                assert!(answer.is_already_exists() || answer.outcome_unknown(), "{answer}");
            }
            assert_eq!(self.store.get(&key).await.unwrap(), bytes(winners[0]));
        }
    }

    async fn ranges_have_exactly_the_length_asked_for(&self) {
        let key = self.key("ranges");
        let bytes: Bytes = (0..=255).collect::<Vec<u8>>().into();
        self.store.put(&key, bytes.clone()).await.unwrap();
        for (start, end) in [(0, 256), (0, 1), (255, 256), (17, 200), (0, 0), (256, 256), (9, 9)] {
            let range = self.store.get_range(&key, start..end).await.unwrap();
            assert_eq!(range, bytes[start as usize..end as usize], "{start}..{end}");
        }
        let backwards = std::ops::Range { start: 5, end: 4 };
        for wrong in [0..257, 255..257, 256..257, 300..400, 0..u64::MAX, backwards] {
            let error = self.store.get_range(&key, wrong.clone()).await.unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Invalid, "{wrong:?}: {error}");
        }
        let none = self.store.get_range(&self.key("no ranges"), 0..1).await.unwrap_err();
        assert!(none.is_not_found(), "{none}");
    }

    async fn lists_are_sorted_filtered_and_paged(&self) {
        let mut names: Vec<String> = (0..20).map(|i| format!("list/n{:03}", i * 7 % 20)).collect();
        // A slash sorts after some characters and before others.
        names.extend(
            ["list/n-x", "list/n/x", "list/n/y/z", "list/n0", "list/Z", "list/é", "list/n/x-"]
                .map(String::from),
        );
        for name in &names {
            self.store.put(&self.key(name), Bytes::from(name.clone())).await.unwrap();
        }
        self.store.put(&self.key("listing"), Bytes::new()).await.unwrap();
        let mut keys: Vec<String> = names.iter().map(|name| self.key(name)).collect();
        keys.sort_unstable();

        for limit in [1, 2, 7, 26, 27, 28, 5000] {
            let mut all: Vec<String> = Vec::new();
            loop {
                let after = all.last().cloned();
                let page = self.store.list(&self.key("list/"), after.as_deref(), limit).await.unwrap();
                let full = page.len() == limit;
                assert!(page.len() <= limit);
                for object in page {
                    assert_eq!(object.size, (object.key.len() - self.base.len()) as u64);
                    assert!(object.last_modified > 0);
                    all.push(object.key);
                }
                if !full {
                    break;
                }
            }
            assert_eq!(all, keys, "pages of {limit}");
        }
        assert!(self.store.list(&self.key("list/"), None, 0).await.unwrap().is_empty());
        for prefix in ["list/n0", "list/n/", "list/n", "list", "list/n/x", "none", "list/none/", "list/n000/"]
        {
            let listed = self.keys(&self.key(prefix), None).await;
            let mut expected: Vec<String> =
                keys.iter().filter(|k| k.starts_with(&self.key(prefix))).cloned().collect();
            if prefix == "list" {
                expected.push(self.key("listing"));
            }
            assert_eq!(listed, expected, "prefix {prefix}");
        }
        for after in ["list/", "list/n", "list/n/", "list/n/x!", "list/n0000", "list/zz", "zz"] {
            let listed = self.keys(&self.key("list/"), Some(&self.key(after))).await;
            let expected: Vec<&String> = keys.iter().filter(|k| **k > self.key(after)).collect();
            assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "after {after}");
        }
        let from_the_start = self.keys(&self.key("list/"), Some("a")).await;
        assert_eq!(from_the_start, keys);
    }

    async fn keys(&self, prefix: &str, after: Option<&str>) -> Vec<String> {
        self.store.list(prefix, after, 1000).await.unwrap().into_iter().map(|object| object.key).collect()
    }

    async fn what_is_absent(&self) {
        let key = self.key("absent/x");
        assert!(self.store.get(&key).await.unwrap_err().is_not_found());
        assert!(self.store.head(&key).await.unwrap_err().is_not_found());
        self.store.delete(&key).await.unwrap();
        self.store.put(&key, Bytes::from_static(b"x")).await.unwrap();
        self.store.delete(&key).await.unwrap();
        self.store.delete(&key).await.unwrap();
        assert!(self.store.get(&key).await.unwrap_err().is_not_found());
        assert!(self.keys(&self.key("absent/"), None).await.is_empty());
    }

    async fn strange_keys_work_and_bad_ones_are_refused(&self) {
        let long = "l".repeat(255);
        let strange = [
            "strange/with space",
            "strange/ümläut/日本",
            "strange/a%2Fb%20",
            "strange/a+b=c&d?e",
            "strange/q#12",
            "strange/'\"<>[]{}|^`~*\\",
            "strange/.hidden",
            "strange/...",
            "strange/a:b;c,@$!()",
            &long,
        ];
        for name in strange {
            let key = self.key(name);
            self.store.put_new(&key, Bytes::from(key.clone())).await.unwrap();
            assert_eq!(self.store.get(&key).await.unwrap(), key);
            assert_eq!(self.store.get_range(&key, 0..5).await.unwrap(), "suite");
            assert_eq!(self.keys(&key, None).await, [key.as_str()]);
            let again = self.store.put_new(&key, Bytes::new()).await.unwrap_err();
            assert!(again.is_already_exists(), "{again}");
            self.store.delete(&key).await.unwrap();
            assert!(self.store.head(&key).await.unwrap_err().is_not_found());
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\nb", "a\0b", ".staging/x"] {
            let bytes = Bytes::from_static(b"x");
            let answers = [
                self.store.put_new(bad, bytes.clone()).await,
                self.store.put(bad, bytes).await,
                self.store.get(bad).await.map(drop),
                self.store.get_range(bad, 0..1).await.map(drop),
                self.store.head(bad).await.map(drop),
                self.store.delete(bad).await,
            ];
            for answer in answers {
                assert_eq!(answer.unwrap_err().kind, StoreErrorKind::Invalid, "{bad:?}");
            }
            let _ = self.store.list(bad, None, 1).await.unwrap();
        }
        assert!(self.keys("../", None).await.is_empty());
    }

    async fn a_large_object_survives(&self) {
        const SIZE: usize = 20 << 20;
        let key = self.key("large");
        let bytes: Bytes =
            (0..SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().into();
        self.store.put_new(&key, bytes.clone()).await.unwrap();
        assert!(self.store.get(&key).await.unwrap() == bytes);
        let (start, end) = (SIZE / 2 + 1, SIZE - 3);
        assert!(self.store.get_range(&key, start as u64..end as u64).await.unwrap() == bytes[start..end]);
        assert_eq!(self.store.head(&key).await.unwrap().size, SIZE as u64);
        self.store.delete(&key).await.unwrap();
    }
}
