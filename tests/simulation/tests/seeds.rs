//! With all rules on no seed shows a violation, and a seed repeats exactly.

use std::sync::atomic::{AtomicU64, Ordering};

use lodestone_meta::Rules;
use lodestone_simulation::{Profile, Verdict, run};

/// How many seeds a plain test runs; `SEEDS` says otherwise.
const SEEDS: u64 = 300;

fn one(seed: u64) -> Verdict {
    run(seed, Profile::of(seed), Rules::default(), false)
}

#[test]
fn no_seed_shows_a_violation() {
    let seeds = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SEEDS);
    let (next, indexes) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let search = || {
        let mut bad = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return bad;
            }
            let verdict = one(seed);
            indexes.fetch_add(verdict.indexes, Ordering::Relaxed);
            if verdict.violation.is_some() {
                bad.push(verdict);
            }
        }
    };
    let bad: Vec<Verdict> = std::thread::scope(|scope| {
        let searches: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        searches.into_iter().flat_map(|search| search.join().unwrap()).collect()
    });
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(indexes.into_inner() > 0, "no index has landed");
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in 0..12 {
        let (first, second) = (one(seed), one(seed));
        assert_eq!((first.digest, &first.counts), (second.digest, &second.counts), "seed {seed}");
    }
    assert_ne!(one(1).digest, one(2).digest);
}
