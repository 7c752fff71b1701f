//! Every store and every decorator behaves alike.

use std::sync::Arc;
use std::time::Duration;

use lodestone_store::{
    Accounted, Clock, Faults, Latency, LocalStore, MemoryStore, Metered, Metrics, OpenOptions, RetryPolicy,
    Retrying, Simulated, Store, Unsynced, open, probe, system_clock, testing::suite,
};

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[tokio::test]
async fn memory_store() {
    suite(memory()).await;
}

#[tokio::test]
async fn local_store() {
    let dir = tempfile::tempdir().unwrap();
    suite(Arc::new(LocalStore::open(dir.path()).unwrap())).await;
}

#[tokio::test]
async fn opened_by_location() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/new/dir", dir.path().display());
    suite(open(&url, &OpenOptions::default()).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn unsynced_store() {
    suite(Arc::new(Unsynced::new(Duration::from_millis(2), system_clock(), 1))).await;
}

#[tokio::test]
async fn metered_and_accounted() {
    suite(Arc::new(Metered::new(memory(), Arc::new(Metrics::default())))).await;
    suite(Arc::new(Accounted::new(memory()))).await;
}

#[tokio::test(start_paused = true)]
async fn retrying() {
    suite(Arc::new(Retrying::new(memory(), RetryPolicy::default(), 1))).await;
}

#[tokio::test(start_paused = true)]
async fn simulated_latency() {
    suite(Arc::new(Simulated::latency_only(memory(), 1))).await;
}

/// Read faults only: a lost reply to a write changes answers, and so may not be hidden.
#[tokio::test(start_paused = true)]
async fn retrying_over_faulty_reads() {
    let faults = Faults { slow: 0.1, short_read: 0.3, ..Faults::none() };
    let faulty = Arc::new(Simulated::new(memory(), Latency::s3(), faults, 1));
    let policy = RetryPolicy { attempts: 40, ..RetryPolicy::default() };
    suite(Arc::new(Retrying::new(faulty, policy, 1))).await;
}

#[tokio::test]
async fn all_decorators_over_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let local = Arc::new(LocalStore::open(dir.path()).unwrap());
    let simulated = Arc::new(Simulated::new(local, Latency::none(), Faults::none(), 1));
    let retrying = Arc::new(Retrying::new(simulated, RetryPolicy::default(), 2));
    let metered = Arc::new(Metered::new(retrying, Arc::new(Metrics::default())));
    suite(Arc::new(Accounted::new(metered))).await;
}

/// Needs a started S3 service: `LODESTONE_TEST_S3_ENDPOINT`, `LODESTONE_TEST_S3_BUCKET` (an existing bucket) and
/// the usual `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
#[tokio::test]
async fn s3_store() {
    let (Ok(endpoint), Ok(bucket)) =
        (std::env::var("LODESTONE_TEST_S3_ENDPOINT"), std::env::var("LODESTONE_TEST_S3_BUCKET"))
    else {
        eprintln!("skipped: LODESTONE_TEST_S3_ENDPOINT and LODESTONE_TEST_S3_BUCKET are not set");
        return;
    };
    let options = OpenOptions { s3_endpoint: Some(endpoint), ..OpenOptions::default() };
    let at = |prefix: &str| open(&format!("s3://{bucket}{prefix}"), &options).unwrap();
    suite(at("")).await;
    suite(at("/a/prefix")).await;
    let retrying = Arc::new(Retrying::new(at("/retried"), RetryPolicy::default(), 1));
    suite(Arc::new(Metered::new(retrying, Arc::new(Metrics::default())))).await;

    let clock: Clock = system_clock();
    let report = probe(at("/probed").as_ref(), &clock, 7).await.unwrap();
    assert_eq!(report.rivals, 64);
    assert!(report.clock_ahead_ms.abs() < 60_000, "{report:?}");

    let error = open("s3://no-such-bucket-at-all", &options).unwrap().put("a", "x".into()).await.unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
}
