//! The state machine: the manifest's state, and snapshots of it that share what has not changed.

use std::sync::Arc;

use lodestone_manifest::{State, check};
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::image::{Contents, Image, Pieces};
use super::{Answer, Command, Group, VoterId};

type Result<T> = std::result::Result<T, StorageError<VoterId>>;
type Membership = StoredMembership<VoterId, openraft::BasicNode>;
type NewestSnapshot = Arc<Mutex<Option<Snapshot<Group>>>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Machine {
    last: Option<LogId<VoterId>>,
    membership: Membership,
    state: watch::Sender<Arc<State>>,
    begun: Option<Pieces>,
    newest: NewestSnapshot,
}

impl Machine {
    pub(super) fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    /// Carries `command` out on `state`. What it answers depends on nothing else.
    fn run(&mut self, state: &mut Arc<State>, command: Command) -> Answer {
        match command {
            Command::Decided { first, .. } if first != state.slot.next() => Answer::OutOfOrder(state.slot),
            Command::Decided { records, .. } => {
                let state = Arc::make_mut(state);
                Answer::Applied(records.iter().map(|record| state.apply(record)).collect())
            }
            Command::Install(image) => {
                self.begun = None;
                *state = image.0;
                Answer::Done
            }
            Command::InstallRoot(root) => {
                self.begun = Some(Pieces { root, pages: Vec::new() });
                Answer::Done
            }
            Command::InstallPage(page) => match &mut self.begun {
                Some(begun) => {
                    begun.pages.push(page);
                    Answer::Done
                }
                None => Answer::Refused("a page without a root".into()),
            },
            Command::InstallEnd => match self.begun.take().map(|begun| begun.state()) {
                Some(Ok(installed)) => {
                    *state = Arc::new(installed);
                    Answer::Done
                }
                Some(Err(error)) => Answer::Refused(error.to_string()),
                None => Answer::Refused("an end without a root".into()),
            },
        }
    }

    fn publish(&self, state: Arc<State>) {
        self.state.send_if_modified(|current| {
            let changed = !Arc::ptr_eq(current, &state);
            *current = state;
            changed
        });
    }
}

impl RaftStateMachine<Group> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId<VoterId>>, Membership)> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>>
    where
        I: IntoIterator<Item = Entry<Group>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state.borrow().clone();
        let mut answers = Vec::new();
        for entry in entries {
            answers.push(match entry.payload {
                EntryPayload::Blank => Answer::Done,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Answer::Done
                }
                EntryPayload::Normal(command) => self.run(&mut state, command),
            });
            self.last = Some(entry.log_id);
            if cfg!(test) {
                check(&state).map_err(|e| StorageIOError::apply(entry.log_id, AnyError::new(&e)))?;
            }
        }
        self.publish(state);
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            snapshot: Snapshot {
                meta: SnapshotMeta {
                    last_log_id: self.last,
                    last_membership: self.membership.clone(),
                    // Two snapshots of one place in the log are the same.
                    snapshot_id: self.last.map_or_else(String::new, |last| last.to_string()),
                },
                snapshot: Box::new(Contents {
                    image: Image(self.state.borrow().clone()),
                    begun: self.begun.clone(),
                }),
            },
            newest: self.newest.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Contents>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<VoterId, openraft::BasicNode>,
        snapshot: Box<Contents>,
    ) -> Result<()> {
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.begun = snapshot.begun.clone();
        self.publish(snapshot.image.0.clone());
        keep_if_newer(&self.newest, Snapshot { meta: meta.clone(), snapshot });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Group>>> {
        Ok(self.newest.lock().clone())
    }
}

/// Holds the state of one moment; keeps it as the newest snapshot when asked to build.
#[derive(Debug)]
pub(super) struct Builder {
    snapshot: Snapshot<Group>,
    newest: NewestSnapshot,
}

impl RaftSnapshotBuilder<Group> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Group>> {
        keep_if_newer(&self.newest, self.snapshot.clone());
        Ok(self.snapshot.clone())
    }
}

/// A snapshot may be installed while an older one is being built.
fn keep_if_newer(newest: &NewestSnapshot, snapshot: Snapshot<Group>) {
    let mut newest = newest.lock();
    if newest.as_ref().is_none_or(|kept| kept.meta.last_log_id <= snapshot.meta.last_log_id) {
        *newest = Some(snapshot);
    }
}
