//! What all actors of a run share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lodestone_manifest::{Slot, State, check};
use lodestone_meta::Rules;
use lodestone_store::{Clock as StoreClock, MemoryStore, Store, Unsynced};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::contents::Contents;
use crate::model::Model;
use crate::node::Node;
use crate::profile::Profile;
use crate::watched::Watched;

/// Prints a line of the trace, if one is wanted.
macro_rules! say {
    ($world:expr, $($what:tt)*) => {
        if $world.tracing {
            $world.say(format_args!($($what)*));
        }
    };
}
pub(crate) use say;

/// Everything one run consists of.
pub struct World {
    pub profile: Profile,
    pub rules: Rules,
    pub tracing: bool,
    start: Instant,
    /// What everybody's network leads to.
    pub bucket: Arc<dyn Store>,
    /// The same as a directory, if it is one.
    pub directory: Option<Arc<Unsynced>>,
    pub contents: Contents,
    pub model: Mutex<Model>,
    pub nodes: Mutex<Vec<Arc<Node>>>,
    history: Mutex<BTreeMap<Slot, State>>,
    violation: Mutex<Option<String>>,
    calm: AtomicBool,
    over: AtomicBool,
    seeds: Mutex<SmallRng>,
    // Everything that ever changed the bucket, as one number.
    digest: Mutex<u64>,
    pub counts: Counts,
}

/// What happened, to see that something does.
#[derive(Debug, Default)]
pub struct Counts {
    pub acked: AtomicU64,
    pub unknown: AtomicU64,
    pub failed: AtomicU64,
    pub reads: AtomicU64,
    pub leaderless: AtomicU64,
    pub claims: AtomicU64,
    pub folds: AtomicU64,
    pub indexes: AtomicU64,
    pub deletes: AtomicU64,
}

impl Counts {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    pub fn new(seed: u64, profile: Profile, rules: Rules, tracing: bool) -> Arc<Self> {
        let start = Instant::now();
        let clock: StoreClock = Arc::new(move || start.elapsed().as_millis() as i64);
        let directory = profile
            .directory
            .then(|| Arc::new(Unsynced::new(Duration::from_millis(2), clock.clone(), seed ^ 0xd15c)));
        let raw: Arc<dyn Store> = match &directory {
            Some(directory) => directory.clone(),
            None => Arc::new(MemoryStore::with_clock(clock)),
        };
        Arc::new_cyclic(|world| Self {
            bucket: Arc::new(Watched::new(raw.clone(), world.clone())),
            contents: Contents::new(raw),
            model: Mutex::default(),
            nodes: Mutex::default(),
            history: Mutex::default(),
            violation: Mutex::default(),
            calm: AtomicBool::new(false),
            over: AtomicBool::new(false),
            seeds: Mutex::new(SmallRng::seed_from_u64(seed)),
            digest: Mutex::new(0xcbf2_9ce4_8422_2325),
            counts: Counts::default(),
            directory,
            profile,
            rules,
            tracing,
            start,
        })
    }

    /// A seed for one more part of the run.
    pub fn seed(&self) -> u64 {
        self.seeds.lock().random()
    }

    /// A source of chance for one more part of the run.
    pub fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seed())
    }

    pub fn say(&self, what: std::fmt::Arguments<'_>) {
        println!("{:9.3} {what}", self.start.elapsed().as_secs_f64());
    }

    /// Something happened that must not. The first counts.
    pub fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        say!(self, "VIOLATION {what}");
        self.violation.lock().get_or_insert(what);
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn violation(&self) -> Option<String> {
        self.violation.lock().clone()
    }

    /// No more misfortunes.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Clients and director stop.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whoever computed a state: it keeps the invariants, and is the one state of its slot.
    pub fn witness(&self, who: &str, state: &State) {
        if let Err(violation) = check(state) {
            self.violated(format!("{who}: {violation}"));
        }
        let mut history = self.history.lock();
        if self.rules != Rules::default() {
            // Without a rule, that has to show in what a client or a reader sees.
            drop(history.insert(state.slot, state.clone()));
            return;
        }
        match history.get(&state.slot) {
            Some(known) if known == state => {}
            Some(known) => {
                let what = difference(known, state);
                drop(history);
                self.violated(format!(
                    "two histories: {who} has another state of slot {}: {what}",
                    state.slot
                ));
            }
            None => drop(history.insert(state.slot, state.clone())),
        }
    }

    /// The bucket changes: what, and when.
    pub fn note(&self, key: &str, bytes: usize) {
        let mut digest = self.digest.lock();
        let now = self.start.elapsed().as_nanos() as u64;
        let words = [now, bytes as u64].into_iter().chain(key.bytes().map(u64::from));
        *digest = words.fold(*digest, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3));
    }

    pub fn digest(&self) -> u64 {
        *self.digest.lock()
    }

    /// The newest state that anybody has computed.
    pub fn newest_state(&self) -> Option<State> {
        self.history.lock().last_key_value().map(|(_, state)| state.clone())
    }

    /// Takes apart what refers to itself.
    pub fn dissolve(&self) {
        for node in self.nodes.lock().drain(..) {
            node.dissolve();
        }
    }
}

fn difference(a: &State, b: &State) -> String {
    if a.epoch != b.epoch {
        return format!("epoch {} and {}", a.epoch, b.epoch);
    }
    if a.kept != b.kept {
        return format!("kept {:?} and {:?}", a.kept, b.kept);
    }
    if a.tail != b.tail {
        return format!("tail {:?} and {:?}", a.tail, b.tail);
    }
    "in some shard".to_owned()
}
