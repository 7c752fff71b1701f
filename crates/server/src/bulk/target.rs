//! Where points go and come from: a running server, reached over gRPC. Every call waits out what passes by itself.

use std::time::{Duration, Instant};

use lodestone_api::grpc::client::Client;
use lodestone_types::{Error, ErrorKind, Point, PointId, Record, Result, ScrollPage};
use tokio::time::sleep;

use super::digest::Schema;
use crate::cli::TargetArgs;

/// How long a server may be away, or too busy, before the work is given up; what is acknowledged is kept.
const PATIENCE: Duration = Duration::from_secs(120);
/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A collection of a server.
#[derive(Clone)]
pub struct Target {
    client: Client,
    /// Its name.
    pub collection: String,
    /// What was connected to, for people.
    pub url: String,
}

impl Target {
    /// Connects; whether the collection is there is not asked yet.
    pub async fn connect(args: &TargetArgs) -> Result<Self> {
        let key = match std::env::var(&args.api_key_env) {
            Ok(key) if !key.is_empty() => Some(key),
            _ => None,
        };
        let client = Client::connect(&args.url, key.as_deref()).await.map_err(|e| {
            let hint = "; --url is where gRPC answers, port 6334 unless it was set";
            Error::new(e.kind, format!("{e}{}", if e.kind == ErrorKind::Unavailable { hint } else { "" }))
        })?;
        Ok(Self { client, collection: args.collection.clone(), url: args.url.clone() })
    }

    /// Its vectors, if it exists.
    pub async fn find(&self) -> Result<Option<Schema>> {
        self.client.vectors(&self.collection).await
    }

    /// Its vectors; that it does not exist is an error.
    pub async fn schema(&self) -> Result<Schema> {
        self.find().await?.ok_or_else(|| Error::no_collection(&self.collection))
    }

    /// Creates it.
    pub async fn create(&self, schema: &Schema) -> Result<()> {
        self.client.create(&self.collection, schema).await
    }

    /// Writes points; they are in the bucket when it returns.
    pub async fn upsert(&self, points: Vec<Point>) -> Result<()> {
        patiently(|| self.client.upsert(&self.collection, points.clone())).await
    }

    /// Points by id, whole; those that are not there are left out.
    pub async fn retrieve(&self, ids: &[PointId]) -> Result<Vec<Record>> {
        patiently(|| self.client.retrieve(&self.collection, ids)).await
    }

    /// Points in the order of ids.
    pub async fn scroll(&self, from: Option<PointId>, limit: u32) -> Result<ScrollPage> {
        patiently(|| self.client.scroll(&self.collection, from, limit)).await
    }

    /// How many points there are.
    pub async fn count(&self) -> Result<u64> {
        patiently(|| self.client.count(&self.collection)).await
    }
}

/// Calls until it succeeds, fails for good, or it has been long enough. Writing points again is harmless, so an unknown outcome is
/// tried again too.
async fn patiently<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    let (begun, mut pause) = (Instant::now(), PAUSES.0);
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let passes = error.is_retryable() || error.kind == ErrorKind::OutcomeUnknown;
        if !passes || begun.elapsed() > PATIENCE {
            return Err(error);
        }
        sleep(error.retry_after.unwrap_or(pause).min(PAUSES.1)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
