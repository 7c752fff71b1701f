//! From the threads on which jobs run to the store: objects are handed over as they are made, piece by piece where they are large.

use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryFutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use lodestone_meta::bucket;
use lodestone_segment::{ObjectWriter, Sink};
use lodestone_store::{Store, UPLOAD_PIECE, Upload};
use lodestone_types::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

/// Larger objects are sent in pieces while they are made; to send others whole is one request instead of four or more.
const WHOLE: usize = 4 * UPLOAD_PIECE as usize;

/// Pieces that are sent side by side.
const PIECES_AT_ONCE: usize = 2;

/// Takes the objects that a job makes. One waits while another is written, so a job of any size needs memory for few.
#[derive(Debug)]
pub struct Objects(mpsc::Sender<Made>);

/// What there is of an object since the last time.
#[derive(Debug)]
struct Made {
    key: Arc<str>,
    bytes: Bytes,
    is_end: bool,
}

impl Objects {
    /// Begins an object. Nothing of it stays unless its [`Pieces::end`] comes, and no other may be handed over before.
    pub fn begin(&self, key: String) -> ObjectWriter<Pieces> {
        let (to, bytes) = (self.0.clone(), BytesMut::new());
        let pieces = Pieces { to, key: key.as_str().into(), at_once: WHOLE, bytes };
        ObjectWriter::to(key, pieces)
    }

    /// Hands over one object. Blocks while others are written.
    pub fn put(&self, key: String, bytes: Bytes) -> Result<()> {
        send(&self.0, Made { key: key.into(), bytes, is_end: true })
    }
}

fn send(to: &mpsc::Sender<Made>, made: Made) -> Result<()> {
    to.blocking_send(made).map_err(|_| Error::unavailable("an object could not be written"))
}

/// An object that is handed over as it is made. Blocks while what was handed over before is written.
#[derive(Debug)]
pub struct Pieces {
    to: mpsc::Sender<Made>,
    key: Arc<str>,
    /// How much is gathered until it is handed over.
    at_once: usize,
    bytes: BytesMut,
}

impl Pieces {
    /// The object is whole.
    pub fn end(self) -> Result<()> {
        send(&self.to, Made { key: self.key, bytes: self.bytes.freeze(), is_end: true })
    }
}

impl Sink for Pieces {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.bytes.len() + bytes.len() > self.at_once {
            let (now, rest) = bytes.split_at(self.at_once - self.bytes.len());
            self.bytes.extend_from_slice(now);
            bytes = rest;
            // It is large, so there is nothing to be gained by waiting for its end.
            self.at_once = UPLOAD_PIECE as usize;
            let next = BytesMut::with_capacity(self.at_once);
            let full = mem::replace(&mut self.bytes, next).freeze();
            send(&self.to, Made { key: self.key.clone(), bytes: full, is_end: false })?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Runs `work` away from the threads that wait for I/O, and writes what it hands over. When this returns, every object
/// that it handed over is in the store.
pub(crate) async fn write<T: Send + 'static>(
    store: &dyn Store,
    work: impl FnOnce(&Objects) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (objects, made) = mpsc::channel(1);
    let working = in_background(move || work(&Objects(objects)));
    let (written, made) = tokio::join!(write_made(store, made), working);
    match (written, made) {
        // A job that fails leaves an object without its end. One whose objects cannot be written says that they are unavailable.
        (Err(_), Err(cause)) if cause.kind != ErrorKind::Unavailable => Err(cause),
        (written, made) => written.and(made),
    }
}

async fn write_made(store: &dyn Store, mut made: mpsc::Receiver<Made>) -> Result<()> {
    while let Some(next) = made.recv().await {
        if next.is_end {
            create(store, &next.key, &next.bytes).await?;
        } else {
            let key = next.key.clone();
            let upload = store.begin_upload(&key).await?;
            let sent = send_pieces(upload.as_ref(), next, &mut made).await;
            if let Err(error) = sent {
                if let Err(left) = upload.abort().await {
                    tracing::debug!(%key, error = %left, "an upload that failed may have left something");
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

async fn create(store: &dyn Store, key: &str, bytes: &Bytes) -> Result<()> {
    match bucket::create(store, key, bytes).await? {
        bucket::Created::Yes => Ok(()),
        bucket::Created::Taken(_) => Err(Error::internal(format!("`{key}` was written by somebody else"))),
    }
}

/// Sends an object, of which `first` has come, as far as its end, and completes it.
async fn send_pieces(upload: &dyn Upload, first: Made, made: &mut mpsc::Receiver<Made>) -> Result<()> {
    let pieces = stream::try_unfold((first, made), next_piece).boxed();
    let numbered = pieces.zip(stream::iter(0..)).map(|(piece, number)| Ok::<_, Error>((number, piece?)));
    let send = |(number, piece)| upload.send(number, piece).map_err(Error::from);
    numbered.try_for_each_concurrent(PIECES_AT_ONCE, send).await?;
    Ok(upload.complete().await?)
}

/// The next piece of the object that `now` is a part of, of which only the last may be shorter than the others.
async fn next_piece(
    (mut now, made): (Made, &mut mpsc::Receiver<Made>),
) -> Result<Option<(Bytes, (Made, &mut mpsc::Receiver<Made>))>> {
    while now.bytes.is_empty() {
        if now.is_end {
            return Ok(None);
        }
        let next =
            made.recv().await.ok_or_else(|| Error::unavailable("a job ended before its object did"))?;
        if next.key != now.key {
            return Err(Error::internal(format!("`{}` was made before `{}` was done", next.key, now.key)));
        }
        now = next;
    }
    let length = now.bytes.len().min(UPLOAD_PIECE as usize);
    Ok(Some((now.bytes.split_to(length), (now, made))))
}

/// Runs something that takes a processor for a while.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal(format!("a job was broken off: {e}")))?
}

#[cfg(test)]
mod tests {
    use lodestone_store::{MemoryStore, Metered, Metrics, list_all};

    use super::*;

    const LARGE: usize = WHOLE + 3 * UPLOAD_PIECE as usize + 17;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8 ^ (i >> 16) as u8).collect()
    }

    fn make(objects: &Objects, key: &str, length: usize, at_once: usize) -> Result<()> {
        let mut pieces = objects.begin(key.to_owned()).into_sink();
        bytes(length).chunks(at_once).try_for_each(|bytes| pieces.write(bytes))?;
        pieces.end()
    }

    #[tokio::test]
    async fn large_objects_are_sent_in_pieces_and_others_whole() {
        let metrics = Arc::new(Metrics::default());
        let store = Metered::new(Arc::new(MemoryStore::new()), metrics.clone());
        let lengths = [0, 5, WHOLE, WHOLE + 1, LARGE, WHOLE + UPLOAD_PIECE as usize];
        let work = move |objects: &Objects| {
            objects.put("whole".into(), Bytes::from_static(b"1"))?;
            for (number, length) in lengths.iter().enumerate() {
                make(objects, &format!("k{number}"), *length, 1_000_003)?;
            }
            make(objects, "at once", LARGE, LARGE)
        };
        write(&store, work).await.unwrap();
        for (number, length) in lengths.iter().enumerate() {
            assert!(store.get(&format!("k{number}")).await.unwrap() == bytes(*length), "{length}");
        }
        assert!(store.get("at once").await.unwrap() == bytes(LARGE));
        assert_eq!(store.get("whole").await.unwrap(), "1");
        let counted = metrics.snapshot();
        // One to begin, one to complete, and the pieces.
        assert_eq!((counted.creates, counted.puts), (4, (2 + 5) + (2 + 8) + (2 + 5) + (2 + 8)));
    }

    #[tokio::test]
    async fn nothing_is_left_of_an_object_whose_job_fails() {
        let store = MemoryStore::new();
        let fails = |objects: &Objects| {
            let mut pieces = objects.begin("large".into()).into_sink();
            pieces.write(&bytes(LARGE))?;
            Err::<(), _>(Error::internal("on purpose"))
        };
        assert_eq!(write(&store, fails).await.unwrap_err().message, "on purpose");
        let mixed = |objects: &Objects| {
            let mut pieces = objects.begin("large".into()).into_sink();
            pieces.write(&bytes(LARGE))?;
            objects.put("another".into(), Bytes::new())
        };
        assert!(write(&store, mixed).await.unwrap_err().message.contains("before `large` was done"));
        assert!(list_all(&store, "").await.unwrap().is_empty());
    }
}
