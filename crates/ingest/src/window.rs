//! Many writes, one object: the mean gap between the starts of PUTs is bounded below, so that requests to the bucket
//! do not grow with the number of clients or collections. An idle ingest writes at once; windows overlap.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_manifest::{
    Applied, CatalogError, Epoch, OpOutcome, Refused, ShardId, SliceHeader, SliceRequest, Slot, SystemOp,
};
use lodestone_meta::{Job, MetaError, Result, SystemLog};
use lodestone_types::Error;
use lodestone_wal::{ObjectBuilder, keys};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::pace::Pace;
use crate::{LogWriter, Stage};

/// How ingest gathers writes.
#[derive(Debug, Clone, Copy)]
pub struct IngestOptions {
    /// The least mean gap between the starts of PUTs; after a pause, a few need not keep it.
    pub window: Duration,
    /// Bytes of slices in one slot object; a larger slice goes to a side object.
    pub max_object: usize,
    /// PUTs under way at once.
    pub max_in_flight: usize,
    /// Bytes accepted and not yet decided; more have to wait.
    pub max_queued: usize,
    /// How long a write may wait for its place in the queue.
    pub max_wait: Duration,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            window: Duration::from_millis(2),
            max_object: 16 << 20,
            max_in_flight: 16,
            max_queued: 256 << 20,
            max_wait: Duration::from_secs(30),
        }
    }
}

/// One write, to be applied whole or not at all.
#[derive(Debug, Default)]
pub struct Write {
    /// Operations per shard.
    pub slices: Vec<ShardWrite>,
    /// Changes of the catalog or of segments.
    pub system: Vec<SystemOp>,
    /// For what was computed from a read: the shards that were read, and up to which slot. Refused if another node has
    /// written to one of them since.
    pub read: Vec<(ShardId, Slot)>,
}

/// The encoded operations of a write on one shard.
#[derive(Debug)]
pub struct ShardWrite {
    /// Which.
    pub shard: ShardId,
    /// Rows it puts, deletes or patches.
    pub rows: u64,
    /// See `lodestone_wal::encode_slice`.
    pub slice: Bytes,
}

/// What became of a [`Write`].
#[derive(Debug)]
pub struct Written {
    /// Its slot.
    pub slot: Slot,
    /// Per slice: whether its collection was still there.
    pub slices: Vec<bool>,
    /// Per system operation.
    pub system: Vec<Result<OpOutcome, CatalogError>>,
}

struct Queued {
    write: Write,
    sides: Sides,
    since: Instant,
    reply: oneshot::Sender<Result<Written>>,
    _room: OwnedSemaphorePermit,
}

/// Slices that were too large for a slot object, already written beside it.
#[derive(Default)]
struct Sides {
    headers: Vec<Option<SliceHeader>>,
    job: Option<Job>,
}

impl Sides {
    /// The leader's epoch under which they are safe from collection.
    fn epoch(&self) -> Option<Epoch> {
        self.job.as_ref().map(|job| job.epoch)
    }
}

/// Gathers writes into windows.
#[derive(Debug)]
pub struct Ingest {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    writer: Arc<LogWriter>,
    options: IngestOptions,
}

/// A byte budget in units that fit a semaphore.
const ROOM_UNIT: usize = 1024;

impl Ingest {
    /// Starts gathering; ends when the last handle is dropped.
    pub fn start(writer: Arc<LogWriter>, options: IngestOptions) -> Arc<Self> {
        let (queue, receiver) = mpsc::channel(4096);
        tokio::spawn(gather(receiver, writer.clone(), options));
        let room = Arc::new(Semaphore::new(options.max_queued.div_ceil(ROOM_UNIT)));
        Arc::new(Self { queue, room, writer, options })
    }

    /// The writer below.
    pub fn writer(&self) -> &Arc<LogWriter> {
        &self.writer
    }

    /// Writes in the next window and waits until it is decided.
    pub async fn write(&self, write: Write) -> Result<Written> {
        let room = self.writer.stages().wait(Stage::Room, 1, self.reserve_room(&write)).await?;
        let sides = self.write_sides(&write).await?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued { write, sides, since: Instant::now(), reply, _room: room };
        self.queue.send(queued).await.map_err(|_| MetaError::Stopping)?;
        answer.await.map_err(|_| MetaError::Abandoned)?
    }

    async fn reserve_room(&self, write: &Write) -> Result<OwnedSemaphorePermit> {
        let bytes: usize = write.slices.iter().map(|s| s.slice.len()).sum();
        let units = bytes.div_ceil(ROOM_UNIT).clamp(1, self.options.max_queued.div_ceil(ROOM_UNIT)) as u32;
        let acquired =
            tokio::time::timeout(self.options.max_wait, self.room.clone().acquire_many_owned(units)).await;
        match acquired {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(MetaError::Resolve(Error::busy(
                "too many writes are waiting for the bucket; send this one again later",
                Duration::from_secs(1),
            ))),
        }
    }

    /// Puts slices that do not fit a slot object into objects of their own, before any slot names them.
    async fn write_sides(&self, write: &Write) -> Result<Sides> {
        if write.slices.iter().all(|s| s.slice.len() <= self.options.max_object) {
            return Ok(Sides::default());
        }
        self.writer.stages().wait(Stage::Put, 1, self.put_sides(write)).await
    }

    async fn put_sides(&self, write: &Write) -> Result<Sides> {
        let job = self.writer.meta().begin_job().await?;
        let mut headers = Vec::with_capacity(write.slices.len());
        for (i, slice) in write.slices.iter().enumerate() {
            if slice.slice.len() <= self.options.max_object {
                headers.push(None);
                continue;
            }
            let key = keys::part(job.epoch, job.id, "side", i as u32);
            lodestone_meta::bucket::create(self.writer.store().as_ref(), &key, &slice.slice).await?;
            headers.push(Some(SliceHeader {
                shard: slice.shard,
                side: Some(key),
                offset: 0,
                len: slice.slice.len() as u64,
                crc: crc32c::crc32c(&slice.slice),
                rows: slice.rows,
            }));
        }
        Ok(Sides { headers, job: Some(job) })
    }
}

#[async_trait]
impl SystemLog for Ingest {
    async fn propose(&self, system: Vec<SystemOp>) -> Result<Vec<Result<OpOutcome, CatalogError>>> {
        Ok(self.write(Write { system, ..Write::default() }).await?.system)
    }
}

async fn gather(mut receiver: mpsc::Receiver<Queued>, writer: Arc<LogWriter>, options: IngestOptions) {
    let in_flight = Arc::new(Semaphore::new(options.max_in_flight));
    let mut pace = Pace::new(options.window);
    let mut held: Option<Queued> = None;
    loop {
        let first = match held.take() {
            Some(first) => first,
            None => match receiver.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let wait = pace.wait(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
        let mut bytes = inline_bytes(&first);
        let mut window = vec![first];
        while let Ok(next) = receiver.try_recv() {
            bytes += inline_bytes(&next);
            if bytes > options.max_object {
                held = Some(next);
                break;
            }
            window.push(next);
        }
        let now = Instant::now();
        pace.started(now);
        for queued in &window {
            writer.stages().add(Stage::Window, 1, now - queued.since);
        }
        let writer = writer.clone();
        tokio::spawn(async move {
            flush(&writer, window).await;
            drop(permit);
        });
    }
}

fn inline_bytes(queued: &Queued) -> usize {
    let side = |i: usize| queued.sides.headers.get(i).is_some_and(Option::is_some);
    let slices = queued.write.slices.iter().enumerate();
    slices.filter(|(i, _)| !side(*i)).map(|(_, s)| s.slice.len()).sum()
}

async fn flush(writer: &LogWriter, mut window: Vec<Queued>) {
    while !window.is_empty() {
        let requests: Vec<SliceRequest> = window.iter().flat_map(requests).collect();
        let parts = window.iter().find_map(|q| q.sides.epoch());
        let fill = |builder: &mut ObjectBuilder| window.iter().for_each(|queued| fill(builder, queued));
        match writer.write(&requests, parts, window.len() as u64, fill).await {
            Ok((slot, applied)) => return answer(window, slot, applied),
            Err(MetaError::Deposed(now)) if parts.is_some() => {
                let other = |q: &Queued| q.sides.epoch().is_some_and(|epoch| epoch != now);
                let (stale, rest): (Vec<_>, Vec<_>) = window.into_iter().partition(other);
                if stale.is_empty() {
                    return fail(rest, &MetaError::Deposed(now));
                }
                fail(stale, &MetaError::Deposed(now));
                window = rest;
            }
            Err(MetaError::Refused(Refused::Contended(shard))) => {
                let (contended, rest): (Vec<_>, Vec<_>) =
                    window.into_iter().partition(|q| depends_on(q, shard));
                fail(contended, &MetaError::Refused(Refused::Contended(shard)));
                window = rest;
            }
            Err(e) => return fail(window, &e),
        }
    }
}

fn depends_on(queued: &Queued, shard: ShardId) -> bool {
    queued.write.read.iter().any(|(read, _)| *read == shard)
}

fn requests(queued: &Queued) -> impl Iterator<Item = SliceRequest> {
    let read = queued.write.read.iter().map(|(shard, slot)| (*shard, Some(*slot)));
    let written = queued.write.slices.iter().map(|slice| (slice.shard, None));
    read.chain(written).map(|(shard, since)| SliceRequest { shard, unless_reserved_since: since })
}

fn fill(builder: &mut ObjectBuilder, queued: &Queued) {
    for (i, slice) in queued.write.slices.iter().enumerate() {
        match queued.sides.headers.get(i).cloned().flatten() {
            Some(side) => builder.push_side(side),
            None => builder.push_slice(slice.shard, slice.rows, &slice.slice),
        }
    }
    queued.write.system.iter().for_each(|op| builder.push_system(op.clone()));
}

fn fail(window: Vec<Queued>, error: &MetaError) {
    for queued in window {
        // A client that went away needs no answer.
        let _ = queued.reply.send(Err(error.clone()));
    }
}

fn answer(window: Vec<Queued>, slot: Slot, applied: Applied) {
    let Applied::Committed { slices, system } = applied else {
        return fail(window, &MetaError::Unknown(slot));
    };
    let (mut slices, mut system) = (slices.into_iter(), system.into_iter());
    for queued in window {
        let written = Written {
            slot,
            slices: slices.by_ref().take(queued.write.slices.len()).collect(),
            system: system.by_ref().take(queued.write.system.len()).collect(),
        };
        let _ = queued.reply.send(Ok(written));
    }
}
