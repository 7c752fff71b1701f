//! Opens the store for commands that look at it from outside.

use std::sync::Arc;

use lodestone_node::{StoreLocation, open_store};
use lodestone_store::{Metrics, OpenOptions, Store, open};
use lodestone_types::{Error, Result};

use crate::config::{self, Config};

/// The store as it is; a directory that does not exist is an error here, where `serve` would make it.
pub fn open_existing(config: &Config) -> Result<Arc<dyn Store>> {
    if let StoreLocation::Directory(dir) = &config.store
        && !dir.is_dir()
    {
        return Err(Error::not_found(format!("there is no directory {}", dir.display())));
    }
    let options = OpenOptions {
        s3_endpoint: config.s3.endpoint.clone(),
        s3_region: config.s3.region.clone(),
        ..OpenOptions::default()
    };
    Ok(open(&config.store.to_string(), &options)?)
}

/// The store as `serve` sees it, what failed for now tried again.
pub fn open_retrying(config: &Config) -> Result<Arc<dyn Store>> {
    let options = config.node_options(String::new(), &config::cache_root(&crate::environment()));
    open_store(&options, Arc::new(Metrics::default()))
}
