//! The replica: one voter of the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_manifest::{Applied, Record, Slot, State, Violation};
use openraft::error::{ClientWriteError, InitializeError, RaftError};
use openraft::metrics::WaitError;
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, Config, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use tokio::sync::watch;

use super::image::{Image, Pieces};
use super::machine::Machine;
use super::wire::{self, Peers};
use super::{Answer, Command, Group, MemoryLog, RaftTransport, Rpc, TransportError, VoterId};
use crate::{MetaError, Replica, Result};

/// Entries after which the log is cut at a snapshot.
const SNAPSHOT_ENTRIES: u64 = 512;
/// Entries before a snapshot that are kept for voters a little behind; the others get the snapshot.
const KEPT_ENTRIES: u64 = 1024;
/// How long one voter may take to receive a snapshot.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(60);
/// A group of one has nobody to hear from: its timers are set to what never comes, and do not tick.
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// After how many heartbeats that it has not heard, at least and at most, a voter stands for election.
const MIN_SILENT_HEARTBEATS: u32 = 3;
const MAX_SILENT_HEARTBEATS: u32 = 6;
const START_LIMIT: Duration = Duration::from_secs(5);

/// A group of several voters.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// This voter.
    pub id: VoterId,
    /// The address of every voter, this one too. The same everywhere.
    pub voters: BTreeMap<VoterId, String>,
    /// How often the leader shows that it is alive. The others elect a new one after three to six times that.
    pub heartbeat: Duration,
    /// How long a leader waits for a majority before it gives up leading.
    pub patience: Duration,
}

impl GroupOptions {
    /// Options for voters in one region.
    pub fn new(id: VoterId, voters: BTreeMap<VoterId, String>) -> Self {
        Self { id, voters, heartbeat: Duration::from_millis(250), patience: Duration::from_secs(10) }
    }
}

/// A copy of the state that is kept by Raft.
pub struct RaftReplica {
    id: VoterId,
    sole: bool,
    patience: Duration,
    raft: Raft<Group>,
    state: watch::Receiver<Arc<State>>,
}

impl std::fmt::Debug for RaftReplica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftReplica").field("id", &self.id).field("sole", &self.sole).finish_non_exhaustive()
    }
}

impl RaftReplica {
    /// A group of one with its log in memory; it leads when this returns. It does nothing while nothing is asked.
    pub async fn single(id: VoterId) -> Result<Self> {
        let options =
            GroupOptions { heartbeat: NEVER, ..GroupOptions::new(id, BTreeMap::from([(id, String::new())])) };
        let replica = Self::group(MemoryLog::default(), Arc::new(Nobody), options).await?;
        tokio::time::timeout(START_LIMIT, replica.until_leading())
            .await
            .map_err(|_| broken("a group of one elects itself", "it did not"))??;
        Ok(replica)
    }

    /// One voter of a group, with its `log`. It leads once it was elected; see [`Self::until_leading`].
    pub async fn group<L: RaftLogStorage<Group>>(
        log: L,
        transport: Arc<dyn RaftTransport>,
        options: GroupOptions,
    ) -> Result<Self> {
        let sole = options.voters.len() == 1;
        let machine = Machine::default();
        let state = machine.watch();
        let config = Arc::new(config(options.heartbeat, sole)?);
        let raft = Raft::new(options.id, config, Peers(transport), log, machine)
            .await
            .map_err(|e| broken("raft starts", e))?;
        let rank = options.voters.keys().take_while(|id| **id < options.id).count() as u32;
        let members: BTreeMap<VoterId, BasicNode> =
            options.voters.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
        if rank == 0 {
            initialize(&raft, members).await?;
        } else {
            let raft = raft.clone();
            let turn = options.heartbeat * MAX_SILENT_HEARTBEATS * rank;
            tokio::spawn(async move { initialize_in_turn(&raft, members, turn).await });
        }
        Ok(Self { id: options.id, sole, patience: options.patience, raft, state })
    }

    /// Answers a request that came from another voter.
    pub async fn answer(&self, rpc: Rpc, body: &[u8]) -> Result<Bytes, TransportError> {
        wire::answer(&self.raft, self.id, rpc, body).await
    }

    /// Returns once this voter was elected: time to claim the bucket.
    pub async fn until_leading(&self) -> Result<()> {
        self.until(leads).await
    }

    /// Returns once this voter was not elected or is no more: what it leads has to end.
    pub async fn until_not_leading(&self) -> Result<()> {
        self.until(|m| !leads(m)).await
    }

    /// The voter that leads, as far as this one knows.
    pub fn leader(&self) -> Option<VoterId> {
        self.raft.metrics().borrow().current_leader
    }

    /// Takes this voter out of service.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "a voter did not stop in order");
        }
    }

    async fn until(&self, holds: impl Fn(&RaftMetrics<VoterId, BasicNode>) -> bool) -> Result<()> {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let now = metrics.borrow_and_update();
                if now.running_state.is_err() {
                    return Err(MetaError::Stopping);
                }
                if holds(&now) {
                    return Ok(());
                }
            }
            metrics.changed().await.map_err(|_| MetaError::Stopping)?;
        }
    }

    /// Puts `command` into the log and says what became of it.
    pub(super) async fn write(&self, command: Command) -> Result<Answer> {
        let Ok(written) = tokio::time::timeout(self.patience, self.raft.client_write(command)).await else {
            return Err(MetaError::Held("no majority of the meta group answers".into()));
        };
        match written {
            Ok(response) => Ok(response.data),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                let who = to.leader_id.map_or_else(|| "no voter".into(), |id| format!("voter {id}"));
                Err(MetaError::Held(format!("{who} leads the meta group now, and this is voter {}", self.id)))
            }
            Err(RaftError::Fatal(openraft::error::Fatal::Stopped)) => Err(MetaError::Stopping),
            Err(e) => Err(broken("raft runs", e)),
        }
    }
}

async fn initialize(raft: &Raft<Group>, members: BTreeMap<VoterId, BasicNode>) -> Result<()> {
    match raft.initialize(members).await {
        // A voter with a log has its members from there.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(e) => Err(broken("raft starts", e)),
    }
}

/// A voter that names the members also stands for election. The first does so at once; if all did, several would be
/// elected one after the other, and each would claim the bucket. The others wait for their turn, and whether they hear
/// of the group before.
async fn initialize_in_turn(raft: &Raft<Group>, members: BTreeMap<VoterId, BasicNode>, turn: Duration) {
    let heard = raft.wait(Some(turn)).metrics(|m| m.last_log_index.is_some(), "to hear of the group").await;
    if matches!(heard, Err(WaitError::Timeout(..)))
        && let Err(error) = initialize(raft, members).await
    {
        tracing::warn!(%error, "a voter could not start the group");
    }
}

fn leads(metrics: &RaftMetrics<VoterId, BasicNode>) -> bool {
    metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id)
}

fn broken(name: &'static str, detail: impl ToString) -> MetaError {
    MetaError::Violation(Violation { name, detail: detail.to_string() })
}

fn config(heartbeat: Duration, sole: bool) -> Result<Config> {
    let heartbeat = heartbeat.as_millis() as u64;
    let config = Config {
        cluster_name: "meta".into(),
        heartbeat_interval: heartbeat,
        election_timeout_min: heartbeat * u64::from(MIN_SILENT_HEARTBEATS),
        election_timeout_max: heartbeat * u64::from(MAX_SILENT_HEARTBEATS),
        install_snapshot_timeout: SNAPSHOT_LIMIT.as_millis() as u64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
        max_in_snapshot_log_to_keep: if sole { 0 } else { KEPT_ENTRIES },
        enable_tick: !sole,
        ..Config::default()
    };
    config.validate().map_err(|e| broken("raft is configured", e))
}

#[async_trait]
impl Replica for RaftReplica {
    async fn install(&self, state: State) -> Result<()> {
        let commands = if self.sole {
            vec![Command::Install(Image(Arc::new(state)))]
        } else {
            let pieces = Pieces::of(&state);
            let pages = pieces.pages.into_iter().map(Command::InstallPage);
            [Command::InstallRoot(pieces.root)]
                .into_iter()
                .chain(pages)
                .chain([Command::InstallEnd])
                .collect()
        };
        for command in commands {
            match self.write(command).await? {
                Answer::Done => {}
                other => return Err(broken("a recovered state can be installed", format!("{other:?}"))),
            }
        }
        // What was installed is in the log too, until a snapshot replaces it.
        self.raft.trigger().snapshot().await.map_err(|_| MetaError::Stopping)
    }

    async fn apply(&self, first: Slot, records: Vec<Record>) -> Result<Vec<Applied>> {
        match self.write(Command::Decided { first, records: Arc::new(records) }).await? {
            Answer::Applied(applied) => Ok(applied),
            Answer::OutOfOrder(at) => Err(MetaError::Held(format!(
                "slot {first} does not follow slot {at}: a newer leader of this process has started over"
            ))),
            other => Err(broken("decided slots are applied", format!("{other:?}"))),
        }
    }

    fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }
}

/// The transport of a group of one.
#[derive(Debug)]
pub(super) struct Nobody;

#[async_trait]
impl RaftTransport for Nobody {
    async fn call(&self, _: &str, rpc: Rpc, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError(format!("nobody to ask to {}", rpc.name())))
    }
}
