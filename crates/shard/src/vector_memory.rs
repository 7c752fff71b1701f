//! How much memory may vectors take, and who brings large parts there? One thread, one after the other, so that no search waits for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use lodestone_store::Backend;

/// How many bytes of vectors are where, and may be.
#[derive(Debug)]
pub struct VectorMemory {
    limit: u64,
    /// Taken, and not in memory yet.
    coming: AtomicU64,
    pub(crate) in_memory: AtomicU64,
    pub(crate) on_disk: AtomicU64,
    reads_by_io_uring: AtomicU64,
    reads_by_pread: AtomicU64,
    /// To the thread that brings parts into memory, once there is one.
    moves: OnceLock<Sender<Move>>,
}

/// Brings a part into memory.
type Move = Box<dyn FnOnce() + Send>;

/// What is where, as far as it was searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VectorUsage {
    /// Bytes that may be in memory, of vectors and all else.
    pub limit: u64,
    /// Bytes of vectors that are.
    pub in_memory: u64,
    /// Bytes that are read from disk when needed.
    pub on_disk: u64,
    /// Reads of vectors from disk by io_uring, each of one or of some in a row.
    pub reads_by_io_uring: u64,
    /// The same by `pread`.
    pub reads_by_pread: u64,
}

/// Room for what is on its way into memory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    memory: Arc<VectorMemory>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.coming.fetch_sub(self.bytes, Release);
    }
}

impl VectorMemory {
    /// Room for `limit` bytes of vectors and of all else that is in memory because it is used.
    pub fn new(limit: u64) -> Self {
        let zero = AtomicU64::default;
        Self {
            limit,
            coming: zero(),
            in_memory: zero(),
            on_disk: zero(),
            reads_by_io_uring: zero(),
            reads_by_pread: zero(),
            moves: OnceLock::new(),
        }
    }

    /// What is where.
    pub fn usage(&self) -> VectorUsage {
        VectorUsage {
            limit: self.limit,
            in_memory: self.in_memory.load(Relaxed),
            on_disk: self.on_disk.load(Relaxed),
            reads_by_io_uring: self.reads_by_io_uring.load(Relaxed),
            reads_by_pread: self.reads_by_pread.load(Relaxed),
        }
    }

    /// Takes room for `bytes` beside what is `in_memory`, if there is some.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: u64, in_memory: impl Fn() -> u64) -> Option<Room> {
        let grown = |coming: u64| {
            let sum = coming.checked_add(bytes)?;
            // What came just now is looked for afterwards, or it might be seen at neither place.
            (in_memory().checked_add(sum)? <= self.limit).then_some(sum)
        };
        self.coming.fetch_update(AcqRel, Acquire, grown).ok()?;
        Some(Room { memory: self.clone(), bytes })
    }

    /// Notes that so many bytes are on their way, whether there is room or not.
    pub(crate) fn expect(self: &Arc<Self>, bytes: u64) -> Room {
        self.coming.fetch_add(bytes, Relaxed);
        Room { memory: self.clone(), bytes }
    }

    /// Bytes that are on their way into memory.
    pub(crate) fn coming(&self) -> u64 {
        self.coming.load(Relaxed)
    }

    /// Bytes that may be in memory.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Has a part brought into memory when those before it are there.
    pub(crate) fn move_in_turn(&self, next: Move) {
        let moves = self.moves.get_or_init(|| {
            let (sender, moves) = channel::<Move>();
            // Where there can be no thread nobody receives.
            let each = |next: Move| drop(catch_unwind(AssertUnwindSafe(next)));
            let started = thread::Builder::new().name("vectors".into());
            started.spawn(move || moves.into_iter().for_each(each)).ok();
            sender
        });
        if let Err(unsent) = moves.send(next) {
            unsent.0();
        }
    }

    pub(crate) fn count(&self, reads: usize, backend: Backend) {
        let counter = match backend {
            Backend::IoUring => &self.reads_by_io_uring,
            Backend::Pread => &self.reads_by_pread,
        };
        counter.fetch_add(reads as u64, Relaxed);
    }
}
