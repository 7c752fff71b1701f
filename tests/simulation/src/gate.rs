//! What lies between a node and the bucket: the place where a node stands still, dies, or meets a trap.
//!
//! Every request passes here before it sets out and before its answer is heard. A paused node waits here; a dead
//! one waits for ever, whatever it had sent still travelling.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_manifest::Record;
use lodestone_store::{ObjectInfo, ObjectMeta, Op, Store, StoreError, StoreErrorKind};
use lodestone_wal::{decode_object, keys};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::profile::Millis;
use crate::world::{World, say};

type Result<T> = lodestone_store::Result<T>;

/// Which request of the protocol this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// PUT of a slot with writes.
    Batch,
    /// PUT of an empty slot.
    Void,
    /// PUT of a claim's record into the log.
    ClaimRecord,
    /// PUT of a release record.
    Release,
    /// PUT of a claim.
    Claim,
    /// PUT of a root.
    Root,
    /// PUT of a checkpoint's page.
    Page,
    /// PUT of a side object or a segment.
    Part,
    /// GET of a slot.
    ReadSlot,
    /// GET of a root.
    ReadRoot,
    /// GET of a page.
    ReadPage,
    /// HEAD of a claim: a proof.
    Proof,
    /// LIST of roots.
    ListRoots,
    /// LIST of claims.
    ListClaims,
    /// LIST for the collector.
    ListAll,
    /// DELETE.
    Delete,
    /// GET of anything else.
    ReadOther,
}

/// On the way there or on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the request takes effect.
    Before,
    /// After it took effect and before its answer is heard.
    After,
}

/// What a trap does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// This request alone takes longer.
    Hold(Millis),
    /// The whole node stands still.
    Pause(Millis),
    /// The node dies.
    Kill,
    /// A PUT is answered with a time-out and takes effect so much later.
    Late(Millis),
    /// The answer is lost.
    LoseReply,
    /// A create-only PUT takes effect, and its answer says that the object exists.
    OwnExists,
    /// A PUT is refused for good: no space.
    Refuse,
}

impl Action {
    /// Whether it changes what becomes of the request, and not only when.
    fn is_twist(&self) -> bool {
        !matches!(self, Action::Hold(_) | Action::Pause(_) | Action::Kill)
    }
}

/// A misfortune that waits for a class of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Trap {
    /// For which.
    pub class: Class,
    /// When.
    pub phase: Phase,
    /// What.
    pub action: Action,
    /// How probable it is.
    pub chance: f64,
}

impl Trap {
    /// Any trap.
    pub fn draw(rng: &mut SmallRng) -> Self {
        use Class::*;
        const CLASSES: [Class; 16] = [
            Batch,
            Void,
            ClaimRecord,
            Release,
            Claim,
            Root,
            Page,
            Part,
            ReadSlot,
            ReadRoot,
            ReadPage,
            Proof,
            ListRoots,
            ListClaims,
            ListAll,
            Delete,
        ];
        let class = CLASSES[rng.random_range(0..CLASSES.len())];
        let long = rng.random_range(500..15_000);
        let mut action = match rng.random_range(0..7) {
            0 => Action::Hold(long / 4..long),
            1 => Action::Pause(long / 4..long),
            2 => Action::Kill,
            3 => Action::Late(long / 4..long),
            4 => Action::LoseReply,
            5 => Action::OwnExists,
            _ => Action::Refuse,
        };
        if !class.is_put() && action.is_twist() && action != Action::LoseReply {
            action = Action::Hold(long / 4..long);
        }
        let phase = if rng.random() { Phase::Before } else { Phase::After };
        let rare = matches!(class, Batch | ReadSlot | Proof | Delete) || action == Action::Kill;
        let chance = rng.random_range(0.02..if rare { 0.1 } else { 0.5 });
        Self { class, phase, action, chance }
    }
}

impl Class {
    fn is_put(self) -> bool {
        use Class::*;
        matches!(self, Batch | Void | ClaimRecord | Release | Claim | Root | Page | Part)
    }

    fn of_put(key: &str, bytes: &Bytes) -> Self {
        if key.starts_with(keys::WAL) {
            return match decode_object(bytes) {
                Ok(Record::Void) => Class::Void,
                Ok(Record::Claim(_)) => Class::ClaimRecord,
                Ok(Record::Release { .. }) => Class::Release,
                _ => Class::Batch,
            };
        }
        if key.starts_with(keys::CLAIMS) {
            Class::Claim
        } else if key.starts_with(keys::CHECKPOINTS) {
            Class::Root
        } else if key.contains("-page-") {
            Class::Page
        } else {
            Class::Part
        }
    }

    fn of_get(key: &str) -> Self {
        if key.starts_with(keys::WAL) {
            Class::ReadSlot
        } else if key.starts_with(keys::CHECKPOINTS) {
            Class::ReadRoot
        } else if key.contains("-page-") {
            Class::ReadPage
        } else {
            Class::ReadOther
        }
    }

    fn of_list(prefix: &str, limit: usize) -> Self {
        match prefix {
            keys::CLAIMS => Class::ListClaims,
            keys::CHECKPOINTS if limit == 1 => Class::ListRoots,
            _ => Class::ListAll,
        }
    }
}

/// One process's way to the bucket.
pub struct Gate {
    name: String,
    world: Arc<World>,
    /// Latency and faults, then the bucket.
    network: Arc<dyn Store>,
    timeout: Duration,
    paused_until: Mutex<Instant>,
    dead: watch::Sender<bool>,
    rng: Mutex<SmallRng>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a trap wants done with the answer.
#[derive(PartialEq)]
enum Twist {
    None,
    Late(Duration),
    LoseReply,
    OwnExists,
    Refuse,
}

impl Gate {
    pub fn new(name: String, world: Arc<World>, network: Arc<dyn Store>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            network,
            timeout: world.profile.timeout,
            world,
            paused_until: Mutex::new(Instant::now()),
            dead: watch::Sender::new(false),
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
        })
    }

    /// Whoever comes now waits until the node is awake; for ever if it is dead.
    pub async fn pass(&self) {
        loop {
            if self.is_dead() {
                std::future::pending::<()>().await;
            }
            let until = *self.paused_until.lock();
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Stands still for `time`.
    pub fn pause(&self, time: Duration) {
        say!(self.world, "{} paused for {time:?}", self.name);
        let mut until = self.paused_until.lock();
        *until = (*until).max(Instant::now() + time);
    }

    /// How much longer it stands still.
    pub fn paused_for(&self) -> Duration {
        self.paused_until.lock().saturating_duration_since(Instant::now())
    }

    /// Ends the process.
    pub fn kill(&self) {
        if !self.dead.send_replace(true) {
            say!(self.world, "{} killed", self.name);
        }
    }

    pub fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Returns when the process has ended.
    pub async fn death(&self) {
        let mut dead = self.dead.subscribe();
        // The sender lives as long as `self`.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    fn draw(&self, range: &Range<u64>) -> Duration {
        Duration::from_millis(self.rng.lock().random_range(range.clone()))
    }

    async fn spring(&self, class: Class, phase: Phase, key: &str) -> Twist {
        let mut twist = Twist::None;
        if self.world.is_calm() {
            return twist;
        }
        for trap in &self.world.profile.traps {
            let now = if trap.action.is_twist() { phase == Phase::Before } else { trap.phase == phase };
            if trap.class != class || !now || !self.rng.lock().random_bool(trap.chance) {
                continue;
            }
            say!(self.world, "{} trap {phase:?} {:?} on {class:?} {key}", self.name, trap.action);
            match &trap.action {
                Action::Hold(range) => sleep(self.draw(range)).await,
                Action::Pause(range) => self.pause(self.draw(range)),
                Action::Kill => self.kill(),
                Action::Late(range) => twist = Twist::Late(self.draw(range)),
                Action::LoseReply => twist = Twist::LoseReply,
                Action::OwnExists => twist = Twist::OwnExists,
                Action::Refuse => twist = Twist::Refuse,
            }
        }
        twist
    }

    async fn through<T: fmt::Debug>(
        &self,
        op: Op,
        class: Class,
        key: &str,
        late: Option<(bool, Bytes)>,
        request: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.pass().await;
        let twist = self.spring(class, Phase::Before, key).await;
        self.pass().await;
        let lost = |what: &str| StoreError::new(op, StoreErrorKind::Timeout, key, what);
        let answer = match (twist, late) {
            (Twist::Late(after), Some((create, bytes))) => {
                let (bucket, key) = (self.world.bucket.clone(), key.to_owned());
                let world = self.world.clone();
                tokio::spawn(async move {
                    sleep(after).await;
                    say!(world, "late copy of {key} arrives");
                    // Nobody waits for this answer any more.
                    let _ = if create {
                        bucket.put_new(&key, bytes).await
                    } else {
                        bucket.put(&key, bytes).await
                    };
                });
                sleep(self.timeout).await;
                Err(lost("trapped: on its way"))
            }
            (Twist::LoseReply, _) => {
                let _ = request.await;
                Err(lost("trapped: the answer was lost"))
            }
            (Twist::Refuse, _) => Err(StoreError::new(op, StoreErrorKind::Full, key, "trapped: no space")),
            (Twist::OwnExists, Some((true, _))) => match request.await {
                Ok(_) => Err(StoreError::new(op, StoreErrorKind::AlreadyExists, key, "trapped: its own")),
                other => other,
            },
            _ => request.await,
        };
        self.spring(class, Phase::After, key).await;
        self.pass().await;
        if self.world.tracing && class != Class::Proof {
            match &answer {
                Ok(_) => say!(self.world, "{} {class:?} {key} ok", self.name),
                Err(e) => say!(self.world, "{} {class:?} {key} {:?} {}", self.name, e.kind, e.detail),
            }
        }
        answer
    }
}

#[async_trait]
impl Store for Gate {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        let class = Class::of_put(key, &bytes);
        let request = self.network.put_new(key, bytes.clone());
        self.through(Op::PutNew, class, key, Some((true, bytes)), request).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let class = Class::of_put(key, &bytes);
        let request = self.network.put(key, bytes.clone());
        self.through(Op::Put, class, key, Some((false, bytes)), request).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.through(Op::Get, Class::of_get(key), key, None, self.network.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.through(Op::GetRange, Class::of_get(key), key, None, self.network.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.through(Op::Head, Class::Proof, key, None, self.network.head(key)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        let request = self.network.list(prefix, start_after, limit);
        self.through(Op::List, Class::of_list(prefix, limit), prefix, None, request).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.through(Op::Delete, Class::Delete, key, None, self.network.delete(key)).await
    }
}
