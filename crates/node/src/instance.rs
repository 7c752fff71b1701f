//! Is the process that holds the bucket still running?
//!
//! Two processes started on one bucket by accident would take it from each other in turn. So a claim names its process
//! and where it can be asked, and one that starts asks first. Safety does not rest on this: the claim alone fences.

use std::time::Duration;

use lodestone_manifest::{Claim, Epoch, InstanceId};
use lodestone_meta::bucket;
use lodestone_store::Store;
use lodestone_types::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where a process answers with its [`InstanceId`] in 32 hex digits.
pub const PATH: &str = "/lodestone/instance";

const PATIENCE: Duration = Duration::from_secs(1);
const MAX_ANSWER: u64 = 4096;

/// An error if the process that made the newest claim, that of `epoch`, still answers.
pub(crate) async fn refuse_if_held(store: &dyn Store, epoch: Epoch) -> Result<()> {
    let claim = bucket::read_claim(store, epoch).await?;
    if !answers(&claim).await {
        return Ok(());
    }
    Err(Error::unavailable(format!(
        "the store is held by another process, which answers at {}; stop it first, or start with --take-over to end its \
         service",
        claim.address
    )))
}

async fn answers(claim: &Claim) -> bool {
    matches!(tokio::time::timeout(PATIENCE, ask(&claim.address)).await, Ok(Ok(found)) if found == claim.instance)
}

/// One HTTP/1.0 request: the answer ends with the connection, so nothing has to be parsed but its last line.
async fn ask(address: &str) -> std::io::Result<InstanceId> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {PATH} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let last = answer.trim_end().rsplit('\n').next().unwrap_or_default().trim();
    u128::from_str_radix(last, 16)
        .map(InstanceId)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "no instance in the answer"))
}
