use bytes::Bytes;
use lodestone_meta::bucket;
use lodestone_store::Store;
use lodestone_types::{Error, Result};
use tokio::sync::mpsc;

/// Takes the objects that a job makes. One waits while another is written, so a job of any size needs memory for few.
#[derive(Debug)]
pub struct Objects(mpsc::Sender<(String, Bytes)>);

impl Objects {
    /// Hands over one object. Blocks while others are written.
    pub fn put(&self, key: String, bytes: Bytes) -> Result<()> {
        self.0.blocking_send((key, bytes)).map_err(|_| Error::unavailable("an object could not be written"))
    }
}

/// Runs `work` away from the threads that wait for I/O, and writes what it hands over. When this returns, every object
/// that it handed over is in the store.
pub(crate) async fn write<T: Send + 'static>(
    store: &dyn Store,
    work: impl FnOnce(&Objects) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (objects, mut made) = mpsc::channel::<(String, Bytes)>(1);
    let writing = async move {
        while let Some((key, bytes)) = made.recv().await {
            if let bucket::Created::Taken(_) = bucket::create(store, &key, &bytes).await? {
                return Err(Error::internal(format!("`{key}` was written by somebody else")));
            }
        }
        Ok(())
    };
    let (written, made) = tokio::join!(writing, in_background(move || work(&Objects(objects))));
    written?;
    made
}

/// Runs something that takes a processor for a while.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal(format!("a job was broken off: {e}")))?
}
