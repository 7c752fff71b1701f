//! Counts and durations of requests, by route, method and status, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

/// Upper bounds of the buckets of durations, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    endpoint: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Default, Clone)]
struct Durations {
    /// Per bound, those within it and above the one before.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

/// Counts requests. The routes are templates, so their number is bounded.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    requests: Mutex<BTreeMap<Label, Durations>>,
}

impl RequestMetrics {
    /// Counts one request.
    pub fn record(&self, method: &str, endpoint: &str, status: u16, took: Duration) {
        let label = Label { endpoint: endpoint.to_owned(), method: known_method(method), status };
        let seconds = took.as_secs_f64();
        let mut requests = self.requests.lock();
        let durations = requests.entry(label).or_default();
        durations.count += 1;
        durations.seconds += seconds;
        if let Some(i) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            durations.buckets[i] += 1;
        }
    }

    /// Everything counted so far, in Prometheus' text format.
    pub fn render(&self) -> String {
        let requests = self.requests.lock().clone();
        let mut out = String::new();
        out.push_str(
            "# HELP rest_responses_total number of responses\n# TYPE rest_responses_total counter\n",
        );
        for (label, durations) in &requests {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "rest_responses_total{{{}}} {}", labels(label), durations.count);
        }
        out.push_str("# HELP rest_responses_duration_seconds response duration\n");
        out.push_str("# TYPE rest_responses_duration_seconds histogram\n");
        for (label, durations) in &requests {
            write_histogram(&mut out, &labels(label), durations);
        }
        out
    }
}

fn write_histogram(out: &mut String, labels: &str, durations: &Durations) {
    const NAME: &str = "rest_responses_duration_seconds";
    let mut within = 0;
    for (bound, count) in BOUNDS.iter().zip(durations.buckets) {
        within += count;
        let _ = writeln!(out, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {within}");
    }
    let _ = writeln!(out, "{NAME}_bucket{{{labels},le=\"+Inf\"}} {}", durations.count);
    let _ = writeln!(out, "{NAME}_sum{{{labels}}} {}", durations.seconds);
    let _ = writeln!(out, "{NAME}_count{{{labels}}} {}", durations.count);
}

fn labels(label: &Label) -> String {
    format!("method=\"{}\",endpoint=\"{}\",status=\"{}\"", label.method, label.endpoint, label.status)
}

/// Methods are free text on the wire; others than these share a label.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_label_and_bucket() {
        let metrics = RequestMetrics::default();
        metrics.record("GET", "/a", 200, Duration::from_micros(500));
        metrics.record("GET", "/a", 200, Duration::from_secs(60));
        metrics.record("BREW", "/a", 405, Duration::ZERO);
        let text = metrics.render();
        assert!(text.contains("rest_responses_total{method=\"GET\",endpoint=\"/a\",status=\"200\"} 2\n"));
        assert!(text.contains("method=\"OTHER\",endpoint=\"/a\",status=\"405\"} 1\n"));
        assert!(text.contains("_bucket{method=\"GET\",endpoint=\"/a\",status=\"200\",le=\"0.001\"} 1\n"));
        assert!(text.contains("_bucket{method=\"GET\",endpoint=\"/a\",status=\"200\",le=\"10\"} 1\n"));
        assert!(text.contains("_bucket{method=\"GET\",endpoint=\"/a\",status=\"200\",le=\"+Inf\"} 2\n"));
    }
}
