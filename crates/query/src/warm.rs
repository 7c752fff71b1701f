//! Brings collections here before they are searched, and keeps those that are pinned.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lodestone_manifest::{CollectionId, ShardId, Slot, State};
use lodestone_meta::Consistency;
use lodestone_segment::PartMeta;
use lodestone_shard::{Needs, kept, wanted_parts};
use lodestone_types::{Error, ErrorKind, Pin, ReadOptions, Result, WarmRequest, Warmth};

use crate::Query;
use crate::scope::Scope;

/// What is pinned, as far as this process knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// Collections that stay here.
    pub kept: BTreeSet<CollectionId>,
    /// Those that there is no room for.
    pub no_room: BTreeSet<CollectionId>,
    /// Bytes of segments of the first.
    pub bytes: u64,
}

/// What was made of the pins of a state.
#[derive(Default)]
pub(crate) struct Noted {
    slot: Option<Slot>,
    pins: Pins,
    /// Of the collections that stay.
    shards: Arc<HashSet<ShardId>>,
}

/// The parts of the shards of a pinned collection.
type Parts = Vec<(ShardId, Vec<PartMeta>)>;

impl Query {
    /// Brings what is wanted of a collection here, and says how much that is. Goes on with it when the time is up.
    pub async fn warm(&self, collection: &str, request: WarmRequest, options: ReadOptions) -> Result<Warmth> {
        let warmed = self.read(collection, options, |scope, _| {
            let request = request.clone();
            async move { self.bring(scope, request).await }
        });
        let is_late = match warmed.await {
            Ok(()) => false,
            Err(error) if error.kind == ErrorKind::Timeout => true,
            Err(error) => return Err(error),
        };
        let warmth = self.warmth(collection, &request).await?;
        if is_late {
            return Err(Error::timeout(format!(
                "{} of {} bytes of the collection are here by now; the others go on coming: ask again to wait for them",
                warmth.here, warmth.bytes
            )));
        }
        Ok(warmth)
    }

    async fn bring(&self, scope: Scope, request: WarmRequest) -> Result<()> {
        for name in request.vectors.iter().flatten() {
            scope.schema()?.vector(name)?;
        }
        let coming = scope.shards.iter().zip(scope.views.iter());
        let coming: Vec<_> = coming.map(|(shard, view)| (*shard, view.warm_needs(&request))).collect();
        self.views.make_room_for(&coming)?;
        let brought = tokio::spawn(async move {
            for view in scope.views.iter() {
                view.warm(&request).await?;
            }
            Ok(())
        });
        brought.await.map_err(|_| Error::internal("a warm-up was broken off"))?
    }

    /// How much of what is wanted of a collection is here, at the state that this process knows.
    pub async fn warmth(&self, collection: &str, wanted: &WarmRequest) -> Result<Warmth> {
        let state = self.meta.read(Consistency::Eventual).await?;
        let known = state.collection(collection).ok_or_else(|| Error::no_collection(collection))?;
        let pin = match state.pinned.contains(&known.id) {
            true if self.pins.lock().pins.no_room.contains(&known.id) => Pin::NoRoom,
            true => Pin::Kept,
            false => Pin::None,
        };
        let mut warmth = Warmth { pin, bytes: 0, here: 0, in_memory: 0 };
        for shard in known.shards() {
            let view = self.views.follow(&state, shard).await?.view;
            let (bytes, here) = view.warmth(wanted);
            warmth.bytes += bytes;
            warmth.here += here;
            warmth.in_memory += view.segments().map(|reader| reader.loaded_bytes()).sum::<u64>();
        }
        Ok(warmth)
    }

    /// Whether there is room here for a collection beside those that are pinned; an error says what is missing.
    pub fn check_pin(&self, state: &State, collection: CollectionId) -> Result<()> {
        let coming = needs(&parts(state, collection)?);
        let others = state.pinned.iter().filter(|id| **id != collection);
        let mut pinned = Needs::default();
        for id in others {
            pinned = pinned.plus(needs(&parts(state, *id)?));
        }
        self.views.check_room(coming, pinned)
    }

    /// What is pinned.
    pub fn pins(&self) -> Pins {
        self.pins.lock().pins.clone()
    }

    /// Has the collections that are pinned stay here, as far as there is room, and brings what is missing of them, unless nothing is
    /// to be brought in the background. To be called again and again: segments come and go.
    pub async fn keep_pins(&self) {
        let known = self.meta.watch().borrow().clone();
        let shards = self.note_pins(&known);
        if !self.options.hydrate {
            return;
        }
        for shard in shards.iter().copied() {
            // Bringing the one before it may have taken long.
            let state = self.meta.watch().borrow().clone();
            if !self.note_pins(&state).contains(&shard) {
                continue;
            }
            if let Err(error) = self.keep(&state, shard).await {
                tracing::debug!(%shard, %error, "a pinned shard is not all here");
            }
        }
    }

    /// Has the collections that are pinned now stay here, as far as there is room, and those that no longer are go when others want
    /// their room. Returns the shards of the first. A state that is no newer than one before changes nothing.
    pub fn note_pins(&self, state: &State) -> Arc<HashSet<ShardId>> {
        let mut noted = self.pins.lock();
        if noted.slot >= Some(state.slot) {
            return noted.shards.clone();
        }
        noted.slot = Some(state.slot);
        if state.pinned.is_empty() && noted.pins == Pins::default() {
            return noted.shards.clone();
        }
        let mut found: Vec<(CollectionId, Parts)> = Vec::new();
        for collection in &state.pinned {
            match parts(state, *collection) {
                Ok(parts) => found.push((*collection, parts)),
                Err(error) => tracing::warn!(%collection, %error, "a pinned collection cannot be kept"),
            }
        }
        let stays = kept(found.iter().map(|(_, parts)| needs(parts)), self.views.room());
        let mut pins = Pins::default();
        let mut all: HashMap<ShardId, Vec<PartMeta>> = HashMap::new();
        for ((collection, parts), stays) in found.into_iter().zip(stays) {
            if stays {
                pins.bytes += needs(&parts).disk;
                pins.kept.insert(collection);
                all.extend(parts);
            } else {
                pins.no_room.insert(collection);
            }
        }
        self.views.pin(&all);
        for collection in pins.no_room.difference(&noted.pins.no_room) {
            let name = state.collections.get(collection).map(|collection| &collection.name);
            tracing::warn!(
                collection = name,
                "`cache.memory` or `cache.disk` has no room for a pinned collection"
            );
        }
        noted.pins = pins;
        noted.shards = Arc::new(all.into_keys().collect());
        noted.shards.clone()
    }

    /// Brings what is missing of a shard, in turn with what else is brought in the background.
    async fn keep(&self, state: &State, shard: ShardId) -> Result<()> {
        let view = self.views.follow(state, shard).await?.view;
        if view.is_warm(&WarmRequest::ALL) {
            return Ok(());
        }
        let _turn = self.hydration.turn().await;
        self.views.make_room_for(&[(shard, view.warm_needs(&WarmRequest::ALL))])?;
        view.warm(&WarmRequest::ALL).await
    }
}

fn parts(state: &State, collection: CollectionId) -> Result<Parts> {
    let shards = state.collections.get(&collection).into_iter().flat_map(|collection| collection.shards());
    let known = shards.filter_map(|shard| Some((shard, state.shards.get(&shard)?)));
    known.map(|(shard, manifest)| Ok((shard, wanted_parts(manifest, &WarmRequest::ALL)?))).collect()
}

fn needs(parts: &Parts) -> Needs {
    Needs::of(parts.iter().flat_map(|(_, parts)| parts))
}
