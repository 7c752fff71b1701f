use std::time::Duration;

use rand::Rng;

use crate::error::Op;

/// How often each thing goes wrong, as probabilities per request, and how badly.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// An error, and the request was not carried out.
    pub error_before: f64,
    /// An error although the request was carried out: the reply was lost.
    pub error_after: f64,
    /// A time-out, and the request was not carried out.
    pub timeout_before: f64,
    /// A time-out although the request was carried out.
    pub timeout_after: f64,
    /// A write is answered with an error or a time-out, and carried out later.
    pub late_put: f64,
    /// A write is carried out and answered, and a copy of it is carried out again later.
    pub double_put: f64,
    /// The bytes come 20 times slower.
    pub slow: f64,
    /// A read ends too early.
    pub short_read: f64,
    /// How long a time-out takes.
    pub timeout: Duration,
    /// The latest that a late or second copy of a write arrives.
    pub latest: Duration,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Clean,
    ErrorBefore,
    ErrorAfter,
    TimeoutBefore,
    TimeoutAfter,
    LateError,
    LateTimeout,
    Double,
    Slow,
    Short,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self {
            error_before: 0.0,
            error_after: 0.0,
            timeout_before: 0.0,
            timeout_after: 0.0,
            late_put: 0.0,
            double_put: 0.0,
            slow: 0.0,
            short_read: 0.0,
            timeout: Duration::from_secs(5),
            latest: Duration::from_secs(30),
        }
    }

    /// About `rate` of the requests go wrong, in every way a request of their sort can.
    pub fn evenly(rate: f64) -> Self {
        let sixth = rate / 6.0;
        Self {
            error_before: sixth,
            error_after: sixth,
            timeout_before: sixth,
            timeout_after: sixth,
            late_put: sixth,
            double_put: sixth,
            short_read: rate / 3.0,
            slow: rate / 10.0,
            ..Self::none()
        }
    }

    pub(super) fn draw(&self, op: Op, rng: &mut impl Rng) -> Fate {
        let is_put = matches!(op, Op::PutNew | Op::Put);
        let is_get = matches!(op, Op::Get | Op::GetRange);
        let late = if rng.random() { Fate::LateError } else { Fate::LateTimeout };
        let chances = [
            (self.error_before, Fate::ErrorBefore, true),
            (self.error_after, Fate::ErrorAfter, true),
            (self.timeout_before, Fate::TimeoutBefore, true),
            (self.timeout_after, Fate::TimeoutAfter, true),
            (self.late_put, late, is_put),
            (self.double_put, Fate::Double, is_put),
            (self.slow, Fate::Slow, true),
            (self.short_read, Fate::Short, is_get),
        ];
        let mut left = rng.random::<f64>();
        for (chance, fate, possible) in chances {
            if possible && left < chance {
                return fate;
            }
            if possible {
                left -= chance;
            }
        }
        Fate::Clean
    }
}
