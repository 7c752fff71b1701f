use tokio::time::Instant;

use super::*;
use crate::memory::MemoryStore;

fn over(faults: Faults) -> (Arc<MemoryStore>, Simulated) {
    let memory = Arc::new(MemoryStore::new());
    (memory.clone(), Simulated::new(memory, Latency::s3(), faults, 11))
}

const DATA: Bytes = Bytes::from_static(b"0123456789");

#[tokio::test(start_paused = true)]
async fn each_write_fault_has_the_effect_and_the_answer_it_is_named_for() {
    let none = Faults::none();
    let cases = [
        (Faults { error_before: 1.0, ..none.clone() }, StoreErrorKind::Transient, false, false),
        (Faults { error_after: 1.0, ..none.clone() }, StoreErrorKind::Transient, true, true),
        (Faults { timeout_before: 1.0, ..none.clone() }, StoreErrorKind::Timeout, false, false),
        (Faults { timeout_after: 1.0, ..none.clone() }, StoreErrorKind::Timeout, true, true),
    ];
    for (faults, kind, there_at_once, there_at_last) in cases {
        let (memory, store) = over(faults);
        let error = store.put_new("a", DATA).await.unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(error.outcome_unknown());
        assert_eq!(memory.head("a").await.is_ok(), there_at_once);
        store.settle().await;
        assert_eq!(memory.head("a").await.is_ok(), there_at_last);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_write_lands_after_its_error() {
    let (memory, store) = over(Faults { late_put: 1.0, ..Faults::none() });
    assert!(store.put_new("a", DATA).await.unwrap_err().outcome_unknown());
    assert!(memory.head("a").await.unwrap_err().is_not_found());
    store.settle().await;
    assert_eq!(memory.get("a").await.unwrap(), DATA);
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_of_a_create_lands_only_where_the_key_is_free_by_then() {
    let (memory, store) = over(Faults { double_put: 1.0, ..Faults::none() });
    store.put_new("deleted", DATA).await.unwrap();
    store.put_new("replaced", DATA).await.unwrap();
    memory.delete("deleted").await.unwrap();
    memory.put("replaced", Bytes::from_static(b"new")).await.unwrap();
    store.settle().await;
    assert_eq!(memory.get("deleted").await.unwrap(), DATA);
    assert_eq!(memory.get("replaced").await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_of_a_plain_write_takes_a_newer_one_back() {
    let (memory, store) = over(Faults { double_put: 1.0, ..Faults::none() });
    store.put("a", DATA).await.unwrap();
    memory.put("a", Bytes::from_static(b"new")).await.unwrap();
    store.settle().await;
    assert_eq!(memory.get("a").await.unwrap(), DATA);
}

#[tokio::test(start_paused = true)]
async fn a_short_read_is_an_error_and_never_short_bytes() {
    let (memory, store) = over(Faults { short_read: 1.0, ..Faults::none() });
    memory.put("a", DATA).await.unwrap();
    assert_eq!(store.get("a").await.unwrap_err().kind, StoreErrorKind::Transient);
    assert_eq!(store.get_range("a", 2..9).await.unwrap_err().kind, StoreErrorKind::Transient);
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_is_twenty_times_slower() {
    let (memory, store) = over(Faults::none());
    memory.put("a", Bytes::from(vec![0; 80_000_000])).await.unwrap();
    let clock = Instant::now();
    store.get("a").await.unwrap();
    let usual = clock.elapsed();
    assert!(usual > Duration::from_millis(1000) && usual < Duration::from_millis(1500), "{usual:?}");
    store.set_faults(Faults { slow: 1.0, ..Faults::none() });
    let clock = Instant::now();
    store.get("a").await.unwrap();
    assert!(clock.elapsed() > Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn new_connections_cost_and_warm_ones_do_not_until_they_go_stale() {
    let fixed = Quantiles {
        p50: Duration::from_millis(60),
        p99: Duration::from_millis(60),
        p999: Duration::from_millis(60),
    };
    let latency = Latency { get: fixed, ..Latency::s3() };
    let store = Simulated::new(Arc::new(MemoryStore::new()), latency, Faults::none(), 1);
    let timed = async || {
        let clock = Instant::now();
        let _ = futures::future::join_all((0..4).map(|_| store.head("a"))).await;
        clock.elapsed()
    };
    let (cold, warm) = (timed().await, timed().await);
    assert!(cold >= Duration::from_millis(90) && warm < Duration::from_millis(65), "{cold:?} {warm:?}");
    sleep(Duration::from_secs(60)).await;
    assert!(timed().await >= Duration::from_millis(90));
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_exactly_and_the_rate_is_kept() {
    let run = async |seed| {
        let store = Simulated::faulty(Arc::new(MemoryStore::new()), seed, 0.2);
        let clock = Instant::now();
        let mut answers = Vec::new();
        for i in 0..500 {
            answers.push(store.put_new(&format!("{i}"), DATA).await.map_err(|e| e.kind));
        }
        (answers, clock.elapsed())
    };
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
    let failed = first.0.iter().filter(|a| a.is_err()).count();
    assert!((50..150).contains(&failed), "{failed} of 500");
}
