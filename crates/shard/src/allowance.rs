//! What a read may still ask of the bucket, and until when: looked at before each request for bytes of segments and tails.
//!
//! The allowance is that of the task which reads. Bytes that are kept here cost nothing, and bytes that will be kept are paid
//! once. What other work has asked for already is paid as if this read asked for it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lodestone_store::cut_short;
use lodestone_types::{AtLimit, Error, ErrorKind, Limit, Limits, Result};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

tokio::task_local! {
    static OF_TASK: Option<Arc<Allowance>>;
}

/// What one read may ask.
#[derive(Debug)]
pub struct Allowance {
    limits: Limits,
    begun: Instant,
    first_trip: OnceLock<Duration>,
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    bytes: u64,
    /// Ranges that are kept once they are here.
    kept: HashSet<(String, Range<u64>)>,
    refused: Vec<Refused>,
    reached: Vec<Limit>,
}

/// Bytes that could not be read within the limits.
#[derive(Debug, Clone)]
pub struct Refused {
    pub(crate) object: String,
    pub(crate) at: u64,
    /// Which limit kept them away.
    pub limit: Limit,
}

/// Does `work` within `limits`. If it is answered, but not with all there is, the account of the task is told.
pub async fn limited<T>(limits: Limits, work: impl Future<Output = Result<T>>) -> Result<T> {
    let bounded = limits.max_bytes.is_some() || limits.max_time.is_some();
    let allowance = bounded.then(|| Arc::new(Allowance::new(limits)));
    let done = OF_TASK.scope(allowance.clone(), work).await;
    if let (Some(allowance), Ok(_)) = (allowance, &done) {
        allowance.spent.lock().reached.iter().for_each(|limit| cut_short(*limit));
    }
    done
}

/// Waits for something that every answer needs, as long as the read may take.
pub async fn in_time<T, E: Into<Error>>(work: impl Future<Output = Result<T, E>>) -> Result<T> {
    let allowance = Allowance::current();
    match allowance.as_ref().and_then(|allowance| Some((allowance, allowance.deadline()?))) {
        None => work.await.map_err(E::into),
        Some((allowance, deadline)) => match timeout_at(deadline, work).await {
            Ok(done) => done.map_err(E::into),
            Err(_) => Err(allowance.late()),
        },
    }
}

impl Allowance {
    fn new(limits: Limits) -> Self {
        Self { limits, begun: Instant::now(), first_trip: OnceLock::new(), spent: Mutex::default() }
    }

    /// That of the read which this task does; `None` if it has no limits.
    pub fn current() -> Option<Arc<Self>> {
        OF_TASK.try_with(Clone::clone).ok().flatten()
    }

    /// Whether an answer may lack what cannot be read within the limits.
    pub fn takes_parts(&self) -> bool {
        self.limits.at_limit == AtLimit::Partial
    }

    /// Whether it bounds bytes.
    pub fn bounds_bytes(&self) -> bool {
        self.limits.max_bytes.is_some()
    }

    /// Whether something was left out so far.
    pub fn is_reached(&self) -> bool {
        !self.spent.lock().reached.is_empty()
    }

    /// Nothing is left out yet: the answer is made from the beginning. What was spent stays spent.
    pub fn begin_anew(&self) {
        let mut spent = self.spent.lock();
        spent.refused.clear();
        spent.reached.clear();
    }

    /// Notes that the answer lacks something because of this limit.
    pub fn reach(&self, limit: Limit) {
        let mut spent = self.spent.lock();
        if !spent.reached.contains(&limit) {
            spent.reached.push(limit);
        }
    }

    /// What was refused since this was asked last.
    pub fn take_refused(&self) -> Vec<Refused> {
        std::mem::take(&mut self.spent.lock().refused)
    }

    /// The limit because of which something failed, if the answer may do without it.
    pub(crate) fn excuses(&self, error: &Error) -> Option<Limit> {
        let late = || self.deadline().is_some_and(|deadline| Instant::now() >= deadline);
        match error.kind {
            _ if !self.takes_parts() => None,
            ErrorKind::LimitReached => Some(Limit::Bytes),
            ErrorKind::Timeout if late() => Some(Limit::Time),
            _ => None,
        }
    }

    /// Bytes that may still be asked for.
    pub(crate) fn left(&self) -> Option<u64> {
        Some(self.limits.max_bytes?.saturating_sub(self.spent.lock().bytes))
    }

    /// Refuses what will need at least so many more bytes, before anything of it is asked for.
    pub(crate) fn require(&self, bytes: u64) -> Result<()> {
        match self.left() {
            Some(left) if bytes > left => Err(self.too_much(bytes)),
            _ => Ok(()),
        }
    }

    /// When to stop waiting for codes, so that there is as much time left for rows as the first trip took, and a third of what is
    /// left in any case: its bytes may have been here. Called when that has just ended; of several searches of one read the
    /// first one's counts.
    pub(crate) fn codes_until(&self) -> Option<Instant> {
        let deadline = self.deadline()?;
        let trip = *self.first_trip.get_or_init(|| self.begun.elapsed());
        let third = deadline.saturating_duration_since(Instant::now()) / 3;
        Some(deadline.checked_sub(trip.max(third)).unwrap_or(self.begun))
    }

    /// After this an answer is made of what is here. Where that is not wanted, the read as a whole is stopped.
    fn deadline(&self) -> Option<Instant> {
        self.takes_parts().then_some(self.begun + self.limits.max_time?)
    }

    /// Pays for a request before it is made.
    fn pay(&self, object: &str, range: &Range<u64>, is_kept: bool) -> Result<()> {
        if self.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(self.refuse(object, range, Limit::Time));
        }
        let Some(most) = self.limits.max_bytes else { return Ok(()) };
        let mut spent = self.spent.lock();
        if is_kept && spent.kept.contains(&(object.to_owned(), range.clone())) {
            return Ok(());
        }
        let sum = spent.bytes.saturating_add(range.end.saturating_sub(range.start));
        if sum > most {
            drop(spent);
            return Err(self.refuse(object, range, Limit::Bytes));
        }
        spent.bytes = sum;
        if is_kept {
            spent.kept.insert((object.to_owned(), range.clone()));
        }
        Ok(())
    }

    fn refuse(&self, object: &str, range: &Range<u64>, limit: Limit) -> Error {
        let refused = Refused { object: object.to_owned(), at: range.start, limit };
        self.spent.lock().refused.push(refused);
        match limit {
            Limit::Bytes => self.too_much(range.end.saturating_sub(range.start)),
            Limit::Time => self.late(),
        }
    }

    fn too_much(&self, bytes: u64) -> Error {
        let needed = self.spent.lock().bytes.saturating_add(bytes);
        let most = self.limits.max_bytes.unwrap_or(u64::MAX);
        Error::limit_reached(format!(
            "Limit reached: this read has to ask the bucket for at least {needed} bytes, and `x-lodestone-max-bytes` \
             allows {most}; allow more, ask for less, or take what can be found (`x-lodestone-at-limit: partial`)"
        ))
    }

    fn late(&self) -> Error {
        let most = self.limits.max_time.unwrap_or_default().as_millis();
        Error::timeout(format!(
            "Limit reached: nothing was found within the {most} ms that `x-lodestone-max-ms` allows; allow more"
        ))
    }
}

/// Asks the bucket for a range, if the read may, and waits for it as long as it may.
pub(crate) async fn paid<T, E: Into<Error>>(
    object: &str,
    range: Range<u64>,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    let Some(allowance) = Allowance::current() else { return request.await.map_err(E::into) };
    allowance.pay(object, &range, false)?;
    allowance.wait(object, &range, request).await
}

/// As [`paid`], of a range that is kept once it is here; `is_here`: it is already.
pub(crate) async fn paid_once<T, E: Into<Error>>(
    object: &str,
    range: Range<u64>,
    is_here: impl FnOnce() -> bool,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    let Some(allowance) = Allowance::current() else { return request.await.map_err(E::into) };
    if !is_here() {
        allowance.pay(object, &range, true)?;
    }
    allowance.wait(object, &range, request).await
}

impl Allowance {
    async fn wait<T, E: Into<Error>>(
        &self,
        object: &str,
        range: &Range<u64>,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T> {
        match self.deadline() {
            None => request.await.map_err(E::into),
            Some(deadline) => match timeout_at(deadline, request).await {
                Ok(reply) => reply.map_err(E::into),
                Err(_) => Err(self.refuse(object, range, Limit::Time)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_bytes: Option<u64>, max_ms: Option<u64>, at_limit: AtLimit) -> Limits {
        Limits { max_bytes, max_time: max_ms.map(Duration::from_millis), at_limit }
    }

    async fn read(object: &str, range: Range<u64>, millis: u64) -> Result<()> {
        let request = async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok::<(), Error>(())
        };
        paid(object, range, request).await
    }

    async fn read_once(object: &str, range: Range<u64>, is_here: bool) -> Result<()> {
        paid_once(object, range, || is_here, async { Ok::<(), Error>(()) }).await
    }

    #[tokio::test]
    async fn no_more_bytes_are_asked_for_than_allowed() {
        let work = async {
            read("a", 0..60, 0).await?;
            read_once("b", 0..30, false).await?;
            read_once("b", 0..30, false).await?;
            read_once("c", 0..1000, true).await?;
            let allowance = Allowance::current().unwrap();
            assert_eq!(allowance.left(), Some(10));
            assert!(allowance.require(10).is_ok() && allowance.require(11).is_err());
            let error = read("d", 5..16, 0).await.unwrap_err();
            assert!(error.message.contains("at least 101 bytes"), "{error}");
            assert!(error.message.contains("allows 100"), "{error}");
            assert_eq!(allowance.excuses(&error), None);
            let refused = allowance.take_refused();
            assert_eq!((&*refused[0].object, refused[0].at, refused[0].limit), ("d", 5, Limit::Bytes));
            assert!(allowance.take_refused().is_empty());
            read("d", 5..15, 0).await
        };
        limited(limits(Some(100), None, AtLimit::Error), work).await.unwrap();
        // Where nothing is limited, nothing is refused.
        assert!(limited(Limits::default(), read("a", 0..u64::MAX, 0)).await.is_ok());
        assert!(read("a", 0..u64::MAX, 0).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_deadline_nothing_is_asked_for() {
        let work = async {
            let allowance = Allowance::current().unwrap();
            read("a", 0..9, 30).await?;
            let codes_until = allowance.codes_until().unwrap();
            assert_eq!(codes_until - Instant::now(), Duration::from_millis(40));
            let late = read("a", 0..9, 80).await.unwrap_err();
            assert_eq!(allowance.excuses(&late), Some(Limit::Time));
            assert_eq!(allowance.begun.elapsed(), Duration::from_millis(100));
            assert!(read("a", 0..9, 0).await.is_err());
            assert!(read_once("b", 0..9, true).await.is_ok(), "what is here is there");
            assert_eq!(allowance.take_refused().len(), 2);
            assert!(in_time(async { std::future::pending::<Result<()>>().await }).await.is_err());
            Ok(())
        };
        limited(limits(None, Some(100), AtLimit::Partial), work).await.unwrap();
    }

    #[tokio::test]
    async fn who_pays_is_told_what_is_missing() {
        use lodestone_store::{Account, charged};
        for (fails, expected) in [(false, vec![Limit::Bytes, Limit::Time]), (true, vec![])] {
            let account = Arc::new(Account::default());
            let work = async {
                let allowance = Allowance::current().unwrap();
                for limit in [Limit::Time, Limit::Bytes, Limit::Time] {
                    allowance.reach(limit);
                }
                if fails { Err(Error::internal("")) } else { Ok(()) }
            };
            let done = charged(account.clone(), limited(limits(Some(1), None, AtLimit::Partial), work)).await;
            assert_eq!(done.is_err(), fails);
            assert_eq!(account.cut_short(), expected);
        }
    }
}
