//! Where points go and come from: a running server, reached over gRPC, or a store that this process uses by itself.

use std::time::{Duration, Instant};

use lodestone_api::grpc::client::Client;
use lodestone_node::{Roles, StoreLocation};
use lodestone_types::limits::MAX_POINTS_PER_WRITE;
use lodestone_types::{Error, ErrorKind, Point, PointId, Record, Result, ScrollPage};
use tokio::time::sleep;

use super::digest::Schema;
use super::own::Own;
use super::source::Size;
use crate::cli::TargetArgs;
use crate::config::Config;

/// Where a server is looked for.
const URL: &str = "http://127.0.0.1:6334";
/// How long a server may be away, or too busy, before the work is given up; what is acknowledged is kept.
const PATIENCE: Duration = Duration::from_secs(120);
/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Points and bytes of a request, and of what is read back at once.
pub const REQUEST: Size = Size { points: 1000, bytes: 4 << 20 };
/// Points and bytes of what becomes a segment.
const SEGMENT: Size = Size { points: MAX_POINTS_PER_WRITE as u64, bytes: 64 << 20 };

/// A collection.
#[derive(Clone)]
pub struct Target {
    place: Place,
    /// Its name.
    pub collection: String,
    /// What it is of, for people.
    pub of: String,
}

#[derive(Clone)]
enum Place {
    Server(Box<Client>),
    Own(Own),
}

impl Target {
    /// Connects to the server, or starts `roles` on the store of `config`; whether the collection is there is not asked yet.
    pub async fn open(args: &TargetArgs, config: Option<Config>, roles: Roles) -> Result<Self> {
        let collection = args.collection.clone();
        if let Some(config) = config {
            let of = match (&config.store, &config.s3.endpoint) {
                (StoreLocation::Directory(path), _) => {
                    std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
                }
                (bucket, Some(endpoint)) => format!("{bucket} at {endpoint}"),
                (bucket, None) => bucket.to_string(),
            };
            return Ok(Self { place: Place::Own(Own::start(config, roles).await?), collection, of });
        }
        let url = args.url.clone().unwrap_or_else(|| URL.to_owned());
        let key = match std::env::var(&args.api_key_env) {
            Ok(key) if !key.is_empty() => Some(key),
            _ => None,
        };
        let client = Client::connect(&url, key.as_deref()).await.map_err(|e| {
            let hint = "; --url is where gRPC answers, port 6334 unless it was set";
            Error::new(e.kind, format!("{e}{}", if e.kind == ErrorKind::Unavailable { hint } else { "" }))
        })?;
        Ok(Self { place: Place::Server(Box::new(client)), collection, of: url })
    }

    /// How much is written at once, and how many times beside each other.
    pub fn portion(&self) -> (Size, u32) {
        match &self.place {
            Place::Server(_) => (REQUEST, 4),
            Place::Own(_) => (SEGMENT, 2),
        }
    }

    /// Its vectors, if it exists.
    pub async fn find(&self) -> Result<Option<Schema>> {
        match &self.place {
            Place::Server(client) => client.vectors(&self.collection).await,
            Place::Own(own) => own.vectors(&self.collection).await,
        }
    }

    /// Its vectors; that it does not exist is an error.
    pub async fn schema(&self) -> Result<Schema> {
        self.find().await?.ok_or_else(|| Error::no_collection(&self.collection))
    }

    /// Creates it.
    pub async fn create(&self, schema: &Schema) -> Result<()> {
        match &self.place {
            Place::Server(client) => client.create(&self.collection, schema).await,
            Place::Own(own) => own.create(&self.collection, schema).await,
        }
    }

    /// Writes points; they are in the bucket when it returns.
    pub async fn write(&self, points: Vec<Point>) -> Result<()> {
        match &self.place {
            Place::Server(client) => patiently(|| client.upsert(&self.collection, points.clone())).await,
            Place::Own(own) => own.load(&self.collection, points).await,
        }
    }

    /// Points by id, whole; those that are not there are left out.
    pub async fn retrieve(&self, ids: &[PointId]) -> Result<Vec<Record>> {
        match &self.place {
            Place::Server(client) => patiently(|| client.retrieve(&self.collection, ids)).await,
            Place::Own(own) => own.retrieve(&self.collection, ids).await,
        }
    }

    /// Points in the order of ids.
    pub async fn scroll(&self, from: Option<PointId>, limit: u32) -> Result<ScrollPage> {
        match &self.place {
            Place::Server(client) => patiently(|| client.scroll(&self.collection, from, limit)).await,
            Place::Own(own) => own.scroll(&self.collection, from, limit).await,
        }
    }

    /// How many points there are.
    pub async fn count(&self) -> Result<u64> {
        match &self.place {
            Place::Server(client) => patiently(|| client.count(&self.collection)).await,
            Place::Own(own) => own.count(&self.collection).await,
        }
    }

    /// Waits until what was written is indexed, where nobody else would do it.
    pub async fn settle(&self) -> Result<()> {
        match &self.place {
            Place::Server(_) => Ok(()),
            Place::Own(own) => own.settle(&self.collection).await,
        }
    }

    /// Lets go of the store.
    pub async fn end(self) {
        if let Place::Own(own) = self.place {
            own.end().await;
        }
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
