//! Runs of rows of far segments: read side by side, and checked as they come.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, try_join};
use futures::stream::{self, Stream, StreamExt};
use lodestone_segment::{RowBlocks, RowChecks, RowRun, SegmentReader};
use lodestone_types::{Limit, Result};

use crate::allowance::Allowance;
use crate::far::{AT_ONCE, under_way};

/// Runs of rows of a far segment, in blocks that have checksums.
pub(crate) struct Runs {
    pub reader: SegmentReader,
    pub blocks: RowBlocks,
    pub runs: Vec<RowRun>,
}

impl Runs {
    /// Bytes of the runs alone.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(RowRun::len).sum()
    }

    /// Requests for the runs and what they are checked by.
    pub fn requests(&self) -> usize {
        self.runs.len() + 1
    }

    /// What the rows are checked by. One request.
    pub async fn checks(&self) -> Result<Arc<RowChecks>> {
        self.reader.row_checks(&self.blocks).await.map(Arc::new)
    }
}

/// A run, with the number of its segment.
pub(crate) type NumberedRun<'r> = (usize, &'r RowRun);

/// All runs of these segments, or as many of them as the read's [`Allowance`] has room for beside `others`, which are read with them, and what comes
/// `after`; an error if it must be all. In bytes.
pub(crate) fn within<'r>(
    allowance: Option<&Allowance>,
    segments: impl Iterator<Item = &'r Runs>,
    others: u64,
    after: u64,
    shares: u64,
) -> Result<Vec<NumberedRun<'r>>> {
    let of_segment = |(number, segment): (usize, &'r Runs)| segment.runs.iter().map(move |run| (number, run));
    let mut runs: Vec<NumberedRun> = segments.enumerate().flat_map(of_segment).collect();
    let Some((allowance, left)) = allowance.and_then(|allowance| Some((allowance, allowance.left()?))) else {
        return Ok(runs);
    };
    let all = others + runs.iter().map(|(_, run)| run.len()).sum::<u64>();
    if !allowance.takes_parts() {
        allowance.require(all)?;
        return Ok(runs);
    }
    let left = left / shares.max(1);
    if all.saturating_add(after) <= left {
        return Ok(runs);
    }
    let left = left.saturating_sub(others);
    let mut room = left.saturating_sub(after).max(left / 2);
    runs.retain(|(_, run)| {
        let fits = run.len() <= room;
        match fits {
            true => room -= run.len(),
            false => allowance.reach(Limit::Bytes),
        }
        fits
    });
    Ok(runs)
}

/// What `make` makes of each run and its bytes, in the order in which they come. `checks`: of each segment what the rows are checked by.
pub(crate) fn read<'r, T: 'r>(
    runs: Vec<NumberedRun<'r>>,
    segments: Vec<&'r Runs>,
    checks: Vec<BoxFuture<'r, Result<Arc<RowChecks>>>>,
    make: impl Fn(usize, &RowRun, &RowChecks, &Bytes) -> Result<T> + Copy + 'r,
) -> impl Stream<Item = Result<T>> + Unpin + 'r {
    let checks: Vec<_> = checks.into_iter().map(FutureExt::shared).collect();
    let reads = runs.into_iter().map(move |(number, run)| {
        let (segment, checks) = (segments[number], checks[number].clone());
        async move {
            let _permit = under_way(run.len()).await?;
            let (checks, bytes) = try_join(checks, segment.reader.far_run(&segment.blocks, run)).await?;
            make(number, run, &checks, &bytes)
        }
    });
    stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE)
}
