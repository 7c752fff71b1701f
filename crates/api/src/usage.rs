//! What answers cost: a request with the header [`HEADER`] gets one back that says what its work asked of the bucket and where its time
//! went, and the sums of all requests are among the metrics. Requests that other work had begun already, or that go on after the answer, are not counted.
//! Answers that [`limits`] cut short are marked.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use lodestone_store::{Account, Stage, Usage, charged};
use lodestone_types::Prices;

use crate::limits;

/// Asks for the figures, with any value, and brings them. The same over gRPC.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-lodestone-usage");

/// What requests cost: at which prices, and all of them so far. Shared by all interfaces.
#[derive(Debug, Default)]
pub struct Costs {
    prices: Prices,
    /// Requests that asked something of the bucket.
    asking: AtomicU64,
    trips: AtomicU64,
    gets: AtomicU64,
    bytes: AtomicU64,
    hits: AtomicU64,
    /// Microseconds, in the order of [`Stage::ALL`].
    stages: [AtomicU64; Stage::ALL.len()],
}

impl Costs {
    /// At these prices; nothing so far.
    pub fn new(prices: Prices) -> Self {
        Self { prices, ..Self::default() }
    }

    /// Does `work`, and counts what it costs. With it come the headers for the answer, if `request` asks for some.
    pub(crate) async fn counted<T>(
        &self,
        request: &HeaderMap,
        work: impl Future<Output = T>,
    ) -> (T, HeaderMap) {
        let charge = Charge { account: Arc::default(), costs: self };
        let done = charged(charge.account.clone(), work).await;
        let account = &charge.account;
        let mut told = HeaderMap::new();
        if limits::may_cut_short(request) {
            told.extend(limits::partial(&account.cut_short()).map(|by| (limits::PARTIAL, by)));
        }
        if request.contains_key(&HEADER) {
            let usage = HeaderValue::from_str(&shown(account, self.prices));
            told.extend(usage.ok().map(|usage| (HEADER, usage)));
        }
        (done, told)
    }

    fn add(&self, account: &Account) {
        let Usage { trips, gets, heads, lists, puts, bytes, hits, .. } = account.usage();
        let asking = u64::from(gets + heads + lists + puts > 0);
        let counted = [&self.asking, &self.trips, &self.gets, &self.bytes, &self.hits];
        let counted = counted.into_iter().zip([asking, trips, gets, bytes, hits]);
        let spent = Stage::ALL.map(|stage| account.spent(stage).as_micros() as u64);
        // Most searches ask nobody.
        for (counter, more) in counted.chain(self.stages.iter().zip(spent)).filter(|(_, more)| *more > 0) {
            counter.fetch_add(more, Relaxed);
        }
    }

    /// Everything counted so far, in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let counters = [
            (
                "asking",
                "Requests of clients that asked something of the bucket before they were answered.",
                &self.asking,
            ),
            (
                "trips",
                "Of each of these the longest chain of requests to the bucket that waited for each other, summed.",
                &self.trips,
            ),
            ("gets", "Reads of the bucket that they waited for.", &self.gets),
            ("read_bytes", "Bytes of these.", &self.bytes),
            ("cache_hits", "Parts of segments that were read from local files for them.", &self.hits),
        ];
        // Writing to a string cannot fail.
        for (name, help, counter) in counters {
            let name = format!("lodestone_requests_{name}_total");
            let _ = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}",
                counter.load(Relaxed)
            );
        }
        let name = "lodestone_requests_stage_seconds_total";
        let help = "Time of requests by stage, each from its first beginning to its last end; stages run side by side.";
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (counter, stage) in self.stages.iter().zip(Stage::ALL) {
            let seconds = counter.load(Relaxed) as f64 / 1e6;
            let _ = writeln!(out, "{name}{{stage=\"{}\"}} {seconds}", stage.name());
        }
        out
    }
}

/// The account of a request, which is added to all when the request has been answered, or given up.
struct Charge<'c> {
    account: Arc<Account>,
    costs: &'c Costs,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.costs.add(&self.account);
    }
}

fn shown(account: &Account, prices: Prices) -> String {
    let Usage { trips, gets, heads, lists, puts, deletes, bytes, hits } = account.usage();
    let price = decimal(prices.of(gets + heads, puts + lists, bytes));
    let mut shown = format!(
        "trips={trips}, gets={gets}, heads={heads}, lists={lists}, puts={puts}, deletes={deletes}, \
         bytes={bytes}, hits={hits}, price={price}, ms={}",
        milliseconds(account.elapsed())
    );
    for stage in Stage::ALL {
        // Writing to a string cannot fail.
        let _ = write!(shown, ", {}_ms={}", stage.name(), milliseconds(account.spent(stage)));
    }
    shown
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// To ten places, without zeros at the end.
fn decimal(price: f64) -> String {
    format!("{price:.10}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lodestone_store::{Accounted, MemoryStore, Store, stage};

    use super::*;

    #[tokio::test]
    async fn those_who_ask_are_told() {
        let store = Accounted::new(Arc::new(MemoryStore::new()));
        store.put("a", Bytes::from_static(b"abc")).await.unwrap();
        let prices = Prices { gib_read: (1u64 << 30) as f64, ..Prices::default() };
        let mut headers = HeaderMap::new();
        let costs = Costs::new(prices);
        let (read, told) = costs.counted(&headers, store.get("a")).await;
        assert_eq!((read.unwrap().len(), told), (3, HeaderMap::new()));
        headers.insert(HEADER, HeaderValue::from_static("yes"));
        let work = stage(Stage::Rows, async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            store.get("a").await
        });
        let (_, told) = costs.counted(&headers, work).await;
        let (counts, times) = told[HEADER].to_str().unwrap().split_once(", ms=").unwrap();
        let expected =
            "trips=1, gets=1, heads=0, lists=0, puts=0, deletes=0, bytes=3, hits=0, price=3.0000004";
        assert_eq!(counts, expected);
        let times: Vec<(&str, f64)> = times
            .split(", ")
            .skip(1)
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, time)| (name, time.parse().unwrap()))
            .collect();
        let names: Vec<&str> = times.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["state_ms", "outline_ms", "codes_ms", "rows_ms", "load_ms", "search_ms"]);
        assert!(times.iter().all(|(name, time)| (*time >= 20.0) == (*name == "rows_ms")), "{times:?}");
        // Whoever asks, all are counted.
        let all = costs.render();
        for line in [
            "lodestone_requests_asking_total 2\n",
            "lodestone_requests_trips_total 2\n",
            "lodestone_requests_read_bytes_total 6\n",
            "lodestone_requests_cache_hits_total 0\n",
            "lodestone_requests_stage_seconds_total{stage=\"codes\"} 0\n",
        ] {
            assert!(all.contains(line), "{line} in {all}");
        }
        let rows = all
            .lines()
            .find_map(|line| line.strip_prefix("lodestone_requests_stage_seconds_total{stage=\"rows\"} "));
        assert!(rows.unwrap().parse::<f64>().unwrap() >= 0.02, "{all}");
        // Those too who do not wait for the answer.
        let given_up = async {
            store.get("a").await.unwrap();
            std::future::pending::<()>().await;
        };
        let given_up =
            tokio::time::timeout(Duration::from_millis(5), costs.counted(&headers, given_up)).await;
        assert!(given_up.is_err() && costs.render().contains("lodestone_requests_gets_total 3\n"));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_all_is_marked() {
        use lodestone_store::cut_short;
        use lodestone_types::Limit;
        let mut headers = HeaderMap::new();
        headers.insert("x-lodestone-at-limit", HeaderValue::from_static("partial"));
        let ((), told) = Costs::default().counted(&headers, async {}).await;
        assert!(told.is_empty());
        let work = async {
            [Limit::Time, Limit::Bytes, Limit::Time].into_iter().for_each(cut_short);
        };
        let ((), told) = Costs::default().counted(&headers, work).await;
        assert_eq!((told.len(), &told[limits::PARTIAL]), (1, &HeaderValue::from_static("bytes, ms")));
    }

    #[test]
    fn prices_are_plain_decimals() {
        let default = Prices::default();
        assert_eq!(decimal(default.of(57, 0, 1 << 22)), "0.0000228");
        assert_eq!(decimal(default.of(0, 0, 1 << 22)), "0");
        assert_eq!(decimal(Prices { million_reads: 1e6, ..default }.of(100, 0, 0)), "100");
    }
}
