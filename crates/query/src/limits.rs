//! Answers of what can be read within the limits of a request, where it takes a part of the answer for it.

use lodestone_shard::Allowance;
use lodestone_types::{ErrorKind, Result};

use crate::scope::Scope;

/// Does `work` on `scope`. If that fails because segments cannot be read within the limits, and the answer may lack them,
/// does it again without them: what was read of the others before is here by then.
pub(crate) async fn as_far<T, F>(mut scope: Scope, work: impl Fn(Scope) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let Some(allowance) = Allowance::current().filter(|allowance| allowance.takes_parts()) else {
        return work(scope).await;
    };
    loop {
        match work(scope.clone()).await {
            Err(error) if matches!(error.kind, ErrorKind::LimitReached | ErrorKind::Timeout) => {
                scope = without_refused(&scope, &allowance).ok_or(error)?;
            }
            done => return done,
        }
    }
}

/// What is left of `scope` without the segments that were refused; `None` if it was not they that were.
fn without_refused(scope: &Scope, allowance: &Allowance) -> Option<Scope> {
    let refused = allowance.take_refused();
    let segments: Vec<Vec<usize>> = scope.views.iter().map(|view| view.segments_of(&refused)).collect();
    if segments.iter().all(Vec::is_empty) {
        return None;
    }
    refused.iter().for_each(|refused| allowance.reach(refused.limit));
    Some(scope.without(&segments))
}
