use bytes::Bytes;
use lodestone_manifest::{CatalogError, Rewrite};
use lodestone_meta::{SystemLog, bucket};
use lodestone_store::Store;
use lodestone_types::{Error, Result};

/// What a job made: objects to be written first, and the rewrite that names them.
#[derive(Debug)]
pub struct Output {
    /// Keys and contents.
    pub objects: Vec<(String, Bytes)>,
    /// The change of the manifest.
    pub rewrite: Rewrite,
}

/// What became of an [`Output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landed {
    /// The manifest names the new parts.
    Yes,
    /// Something the job read has changed; it has to be planned again.
    Stale,
}

impl Output {
    pub(crate) async fn land(self, store: &dyn Store, log: &dyn SystemLog) -> Result<Landed> {
        for (key, bytes) in &self.objects {
            if let bucket::Created::Taken(_) = bucket::create(store, key, bytes).await? {
                return Err(Error::internal(format!("`{key}` was written by somebody else")));
            }
        }
        let mut outcomes = log.propose(vec![lodestone_manifest::SystemOp::Rewrite(self.rewrite)]).await?;
        match outcomes.pop() {
            Some(Ok(_)) => Ok(Landed::Yes),
            Some(Err(CatalogError::Stale(_) | CatalogError::NoCollection)) => Ok(Landed::Stale),
            Some(Err(e)) => Err(Error::internal(format!("a rewrite was refused: {e}"))),
            None => Err(Error::internal("a rewrite was not answered")),
        }
    }
}
