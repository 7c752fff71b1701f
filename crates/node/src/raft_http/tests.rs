use std::collections::BTreeMap;

use lodestone_ingest::{Ingest, IngestOptions, LogWriter};
use lodestone_manifest::{InstanceId, NodeId, State as Manifest, SystemOp, check};
use lodestone_meta::raft::{GroupOptions, MemoryLog, VoterId};
use lodestone_meta::{BootClock, Leader, LeaderOptions, Replica, Rules, SystemLog};
use lodestone_store::{MemoryStore, Store};
use lodestone_types::CollectionConfig;
use lodestone_wal::SlotCache;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Voter {
    replica: Arc<RaftReplica>,
    server: JoinHandle<()>,
}

async fn serve(listener: TcpListener, router: Router) {
    axum::serve(listener, router).await.unwrap();
}

/// Three voters, each behind a listener of its own.
async fn three() -> Vec<Voter> {
    let secret = Some(Secret::new("between-us").unwrap());
    let mut listeners = Vec::new();
    let mut addresses = BTreeMap::new();
    for id in 1..=3u64 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.insert(id as VoterId, listener.local_addr().unwrap().to_string());
        listeners.push((id, listener));
    }
    let mut voters = Vec::new();
    for (id, listener) in listeners {
        let options = GroupOptions {
            heartbeat: Duration::from_millis(300),
            ..GroupOptions::new(id, addresses.clone())
        };
        let transport = Arc::new(HttpTransport::new(secret.clone()));
        let replica = Arc::new(RaftReplica::group(MemoryLog::default(), transport, options).await.unwrap());
        let server = tokio::spawn(serve(listener, router(replica.clone(), secret.clone())));
        voters.push(Voter { replica, server });
    }
    voters
}

async fn elected(voters: &[Voter]) -> usize {
    let leading = voters.iter().map(|v| Box::pin(v.replica.until_leading()));
    let (led, at, _) = tokio::time::timeout(PATIENCE, futures::future::select_all(leading))
        .await
        .expect("nobody is elected");
    led.unwrap();
    at
}

async fn reaches(voter: &Voter, expected: &Manifest) {
    let mut watch = voter.replica.watch();
    let reached = watch.wait_for(|state| **state == *expected);
    tokio::time::timeout(PATIENCE, reached).await.expect("the voter does not follow").unwrap();
}

async fn lead(store: &Arc<dyn Store>, replica: &Arc<RaftReplica>) -> (Arc<Leader>, Arc<Ingest>) {
    let options = LeaderOptions {
        lease: Duration::from_millis(50),
        lease_margin: Duration::from_millis(5),
        ..LeaderOptions::default()
    };
    let (clock, instance) = (Arc::new(BootClock), InstanceId(1));
    let leader = Leader::start(store.clone(), clock, replica.clone(), instance, "", options).await.unwrap();
    let slots = Arc::new(SlotCache::new(1 << 20));
    let random = Box::new(StdRng::seed_from_u64(leader.epoch().0));
    let writer = LogWriter::new(leader.clone(), store.clone(), NodeId(1), slots, random, Rules::default());
    (leader, Ingest::start(writer, IngestOptions::default()))
}

async fn create(ingest: &Ingest, name: String) {
    let config = CollectionConfig::new(BTreeMap::default());
    let done = ingest.propose(vec![SystemOp::CreateCollection { name, config }]).await.unwrap();
    assert!(done[0].is_ok(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_over_http_outlive_their_leader() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut voters = three().await;

    let old = voters.remove(elected(&voters).await);
    let (_leader, ingest) = lead(&store, &old.replica).await;
    for n in 0..10 {
        create(&ingest, format!("before-{n}")).await;
    }
    let before = Manifest::clone(&old.replica.watch().borrow());
    assert_eq!(before.collections.len(), 10);
    for voter in &voters {
        reaches(voter, &before).await;
    }

    old.server.abort();
    old.replica.stop().await;
    let at = elected(&voters).await;
    let (leader, ingest) = lead(&store, &voters[at].replica).await;
    for n in 0..10 {
        create(&ingest, format!("after-{n}")).await;
    }
    let after = Manifest::clone(&voters[at].replica.watch().borrow());
    assert_eq!(after.collections.len(), 20);
    reaches(&voters[1 - at], &after).await;
    check(&after).unwrap();
    leader.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn strangers_and_nonsense_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let replica = Arc::new(RaftReplica::single(1).await.unwrap());
    tokio::spawn(serve(listener, router(replica, Some(Secret::new("right").unwrap()))));

    let ask = async |secret: Option<&str>, body: &'static [u8]| {
        let transport = HttpTransport::new(secret.map(|s| Secret::new(s).unwrap()));
        let answer = transport.call(&address, Rpc::Vote, Bytes::from_static(body), PATIENCE).await;
        answer.unwrap_err().to_string()
    };
    for secret in [None, Some("wrong"), Some("righ"), Some("rightt")] {
        let refused = ask(secret, b"vote for me").await;
        assert!(refused.contains("401") && refused.contains("secret"), "{refused}");
    }
    let refused = ask(Some("right"), b"vote for me").await;
    assert!(refused.contains("503"), "{refused}");
    assert!(Secret::new("").is_err() && Secret::new("two words").is_err() && Secret::new("a\r\nb").is_err());
}

#[tokio::test]
async fn a_transport_waits_no_longer_than_it_may_and_connects_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let transport = HttpTransport::new(None);
    let limit = Duration::from_millis(100);
    // Nobody accepts.
    let late = transport.call(&address, Rpc::Append, Bytes::new(), limit).await.unwrap_err();
    assert!(late.to_string().contains("did not answer"), "{late}");

    let replica = Arc::new(RaftReplica::single(1).await.unwrap());
    let server = tokio::spawn(serve(listener, router(replica.clone(), None)));
    let refused = transport.call(&address, Rpc::Append, Bytes::new(), PATIENCE).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    assert_eq!(transport.idle.lock()[&address].len(), 1);
    server.abort();
    let _ = server.await;
    let listener = TcpListener::bind(&address).await.unwrap();
    tokio::spawn(serve(listener, router(replica, None)));
    let refused = transport.call(&address, Rpc::Append, Bytes::new(), PATIENCE).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
}
