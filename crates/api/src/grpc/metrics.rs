//! Counts and durations of calls, by method and code, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

#[derive(Debug, Default, Clone, Copy)]
struct Calls {
    count: u64,
    seconds: f64,
}

/// Counts calls. Methods that do not exist share a label, so the number of labels is bounded.
#[derive(Debug, Default)]
pub struct GrpcMetrics {
    calls: Mutex<BTreeMap<(String, i32), Calls>>,
}

impl GrpcMetrics {
    /// Counts one call of `method` (its path) that was answered with `code`.
    pub(super) fn record(&self, method: &str, code: i32, took: Duration) {
        let mut calls = self.calls.lock();
        let entry = calls.entry((method.to_owned(), code)).or_default();
        entry.count += 1;
        entry.seconds += took.as_secs_f64();
    }

    /// Everything counted so far, in Prometheus' text format.
    pub fn render(&self) -> String {
        let calls = self.calls.lock().clone();
        let mut out = String::new();
        let mut series = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Calls) -> String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((method, code), calls) in &calls {
                let _ = writeln!(out, "{name}{{endpoint=\"{method}\",status=\"{code}\"}} {}", value(calls));
            }
        };
        series("grpc_responses_total", "counter", "number of responses", &|c| c.count.to_string());
        series("grpc_responses_duration_seconds_total", "counter", "time spent on responses", &|c| {
            c.seconds.to_string()
        });
        out
    }
}
