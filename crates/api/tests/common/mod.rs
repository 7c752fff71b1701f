//! An engine in memory, small enough to be plainly right, for tests of the interfaces: what a client sends
//! arrives here, and what is answered here reaches the client.

#![allow(dead_code, reason = "each test binary uses its part")]

mod matching;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use lodestone_api::Engine;
use lodestone_types::{
    AliasAction, CollectionConfig, CollectionInfo, CollectionPatch, CollectionStatus, CountRequest, Distance,
    Error, FieldIndex, Filter, JsonPath, NamedVectors, OrderDirection, OrderValue, Payload, PayloadSelector,
    Pin, Point, PointId, PointSelector, QueryRequest, QueryTarget, ReadOptions, Record, Result,
    RetrieveRequest, ScoredPoint, ScrollPage, ScrollRequest, UpdateMode, UpdateOp, UpdateResult,
    UpdateStatus, VectorSelector, WarmRequest, Warmth, WriteOptions,
};
use parking_lot::Mutex;

use matching::matches;

/// See the module.
#[derive(Default)]
pub struct MemoryEngine {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    collections: BTreeMap<String, Collection>,
    aliases: BTreeMap<String, String>,
    operations: u64,
    trouble: Option<Trouble>,
    last_query: Option<(QueryRequest, ReadOptions)>,
    last_write: Option<WriteOptions>,
}

struct Collection {
    config: CollectionConfig,
    points: BTreeMap<PointId, Point>,
    indexes: BTreeMap<JsonPath, FieldIndex>,
    pinned: bool,
}

/// What the next count shall do instead of counting.
#[derive(Clone)]
pub enum Trouble {
    /// Fail.
    Error(Error),
    /// Panic.
    Panic,
}

impl State {
    fn collection(&mut self, name: &str) -> Result<&mut Collection> {
        let name = self.aliases.get(name).map_or(name, String::as_str).to_owned();
        self.collections.get_mut(&name).ok_or_else(|| Error::no_collection(&name))
    }

    fn written(&mut self, options: WriteOptions) -> UpdateResult {
        self.operations += 1;
        self.last_write = Some(options);
        let status = if options.wait { UpdateStatus::Completed } else { UpdateStatus::Acknowledged };
        UpdateResult { operation_id: self.operations, status }
    }
}

impl MemoryEngine {
    /// Makes the next count go wrong.
    pub fn trouble_ahead(&self, trouble: Trouble) {
        self.state.lock().trouble = Some(trouble);
    }

    /// The last query as it arrived.
    pub fn last_query(&self) -> Option<(QueryRequest, ReadOptions)> {
        self.state.lock().last_query.clone()
    }

    /// How the last write was to be acknowledged.
    pub fn last_write(&self) -> Option<WriteOptions> {
        self.state.lock().last_write
    }
}

impl Collection {
    fn select(&self, selector: &PointSelector) -> Result<Vec<PointId>> {
        match selector {
            PointSelector::Ids(ids) => {
                Ok(ids.iter().filter(|id| self.points.contains_key(id)).copied().collect())
            }
            PointSelector::Filter(filter) => Ok(self.filtered(Some(filter))?.map(|p| p.id).collect()),
        }
    }

    fn filtered(&self, filter: Option<&Filter>) -> Result<impl Iterator<Item = &Point>> {
        let mut found = Vec::new();
        for point in self.points.values() {
            if filter.map_or(Ok(true), |f| matches(f, point))? {
                found.push(point);
            }
        }
        Ok(found.into_iter())
    }

    fn check(&self, vectors: &NamedVectors) -> Result<()> {
        for (name, vector) in &vectors.0 {
            let params = self.config.params.vectors.get(name);
            let params = params.ok_or_else(|| no_vector(name))?;
            if params.size != vector.len() as u64 {
                return Err(Error::bad_request(format!(
                    "Wrong input: Vector dimension error: expected dim: {}, got {}",
                    params.size,
                    vector.len()
                )));
            }
        }
        Ok(())
    }

    fn apply(&mut self, operation: UpdateOp) -> Result<()> {
        match operation {
            UpdateOp::Upsert { points, condition, mode } => self.upsert(points, condition, mode),
            UpdateOp::Delete(selector) => {
                for id in self.select(&selector)? {
                    self.points.remove(&id);
                }
                Ok(())
            }
            UpdateOp::SetPayload { payload, key, points } => self.on_payloads(&points, |old| {
                let target = match &key {
                    None => Some(old),
                    Some(key) => {
                        old.entry(key.to_string()).or_insert_with(|| serde_json::json!({})).as_object_mut()
                    }
                };
                target.into_iter().for_each(|t| t.extend(payload.0.clone()));
            }),
            UpdateOp::OverwritePayload { payload, points } => {
                self.on_payloads(&points, |old| *old = payload.0.clone())
            }
            UpdateOp::DeletePayload { keys, points } => self.on_payloads(&points, |old| {
                keys.iter().for_each(|key| {
                    old.remove(&key.to_string());
                });
            }),
            UpdateOp::ClearPayload(points) => self.on_payloads(&points, serde_json::Map::clear),
            UpdateOp::UpdateVectors { points, .. } => {
                for update in points {
                    self.check(&update.vectors)?;
                    if let Some(point) = self.points.get_mut(&update.id) {
                        update.vectors.0.into_iter().for_each(|(name, v)| point.vectors.set(&name, v));
                    }
                }
                Ok(())
            }
            UpdateOp::DeleteVectors { names, points } => {
                for id in self.select(&points)? {
                    if let Some(point) = self.points.get_mut(&id) {
                        names.iter().for_each(|name| point.vectors.remove(name));
                    }
                }
                Ok(())
            }
        }
    }

    fn upsert(&mut self, points: Vec<Point>, condition: Option<Filter>, mode: UpdateMode) -> Result<()> {
        for point in points {
            self.check(&point.vectors)?;
            let old = self.points.get(&point.id);
            let allowed = match (mode, old) {
                (UpdateMode::InsertOnly, Some(_)) | (UpdateMode::UpdateOnly, None) => false,
                (_, Some(old)) => condition.as_ref().map_or(Ok(true), |c| matches(c, old))?,
                (_, None) => true,
            };
            if allowed {
                self.points.insert(point.id, point);
            }
        }
        Ok(())
    }

    fn on_payloads(
        &mut self,
        selector: &PointSelector,
        change: impl Fn(&mut serde_json::Map<String, serde_json::Value>),
    ) -> Result<()> {
        for id in self.select(selector)? {
            if let Some(point) = self.points.get_mut(&id) {
                change(&mut point.payload.0);
            }
        }
        Ok(())
    }

    fn query(&self, request: &QueryRequest) -> Result<Vec<ScoredPoint>> {
        let mut hits = Vec::new();
        let target = match &request.target {
            QueryTarget::Vector(v) => Some(v.clone()),
            QueryTarget::Point(id) => {
                let point = self.points.get(id).ok_or_else(|| Error::not_found("no such point"))?;
                Some(point.vectors.get(&request.using).ok_or_else(|| no_vector(&request.using))?.to_vec())
            }
            QueryTarget::Nothing | QueryTarget::OrderBy(_) | QueryTarget::Sample => None,
        };
        let params = self.config.params.vectors.get(&request.using);
        for point in self.filtered(request.filter.as_ref())? {
            if matches!(request.target, QueryTarget::Point(id) if id == point.id) {
                continue;
            }
            let score = match &target {
                None => 0.0,
                Some(target) => {
                    let params = params.ok_or_else(|| no_vector(&request.using))?;
                    let Some(vector) = point.vectors.get(&request.using) else { continue };
                    score(params.distance, target, vector)
                }
            };
            hits.push((score, point));
        }
        if let Some(params) = params.filter(|_| target.is_some()) {
            hits.sort_by(|a, b| a.0.total_cmp(&b.0));
            if params.distance.greater_is_nearer() {
                hits.reverse();
            }
            hits.retain(|(score, _)| match request.score_threshold {
                Some(t) if params.distance.greater_is_nearer() => *score >= t,
                Some(t) => *score <= t,
                None => true,
            });
        }
        let page = hits.into_iter().skip(request.offset).take(request.limit);
        Ok(page
            .map(|(score, point)| ScoredPoint {
                id: point.id,
                score,
                version: 1,
                payload: payload(point, &request.with_payload),
                vectors: vectors(point, &request.with_vectors),
                order_value: None,
            })
            .collect())
    }

    fn scroll(&self, request: &ScrollRequest) -> Result<ScrollPage> {
        let mut points: Vec<(Option<OrderValue>, &Point)> =
            self.filtered(request.filter.as_ref())?.map(|p| (None, p)).collect();
        if let Some(order) = &request.order_by {
            for (value, point) in &mut points {
                *value =
                    order.key.values(&point.payload.0).first().and_then(|v| v.as_i64()).map(OrderValue::Int);
            }
            let key = |v: &Option<OrderValue>| match v {
                Some(OrderValue::Int(n)) => *n,
                _ => 0,
            };
            points.retain(|(value, _)| {
                let start = order.start_from.is_some().then(|| key(&order.start_from));
                value.is_some()
                    && start.is_none_or(|s| match order.direction {
                        OrderDirection::Asc => key(value) >= s,
                        OrderDirection::Desc => key(value) <= s,
                    })
            });
            points.sort_by_key(|(value, _)| key(value));
            if order.direction == OrderDirection::Desc {
                points.reverse();
            }
        }
        points.retain(|(_, p)| request.offset.is_none_or(|offset| p.id >= offset));
        let next = points.get(request.limit).map(|(_, p)| p.id).filter(|_| request.order_by.is_none());
        let record = |(order_value, point): (Option<OrderValue>, &Point)| Record {
            id: point.id,
            payload: payload(point, &request.with_payload),
            vectors: vectors(point, &request.with_vectors),
            order_value,
        };
        Ok(ScrollPage { points: points.into_iter().take(request.limit).map(record).collect(), next })
    }
}

fn no_vector(name: &str) -> Error {
    Error::bad_request(format!("Wrong input: Not existing vector name error: {name}"))
}

fn score(distance: Distance, a: &[f32], b: &[f32]) -> f32 {
    let sum = |f: fn(f32, f32) -> f32| a.iter().zip(b).map(|(x, y)| f(*x, *y)).sum::<f32>();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    match distance {
        Distance::Dot => dot(a, b),
        Distance::Cosine => dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()),
        Distance::Euclid => sum(|x, y| (x - y) * (x - y)).sqrt(),
        Distance::Manhattan => sum(|x, y| (x - y).abs()),
    }
}

fn payload(point: &Point, selector: &PayloadSelector) -> Option<Payload> {
    let named = |paths: &[JsonPath], key: &String| paths.iter().any(|p| p.to_string() == *key);
    let pick = |keep: &dyn Fn(&String) -> bool| {
        let kept = point.payload.0.iter().filter(|(key, _)| keep(key));
        Payload(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    match selector {
        PayloadSelector::None => None,
        PayloadSelector::All => Some(point.payload.clone()),
        PayloadSelector::Include(paths) => Some(pick(&|key| named(paths, key))),
        PayloadSelector::Exclude(paths) => Some(pick(&|key| !named(paths, key))),
    }
}

fn vectors(point: &Point, selector: &VectorSelector) -> Option<NamedVectors> {
    match selector {
        VectorSelector::None => None,
        VectorSelector::All => Some(point.vectors.clone()),
        VectorSelector::Names(names) => {
            let kept = point.vectors.0.iter().filter(|(name, _)| names.contains(name));
            Some(NamedVectors(kept.cloned().collect()))
        }
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn create_collection(
        &self,
        name: &str,
        config: CollectionConfig,
        _timeout: Option<Duration>,
    ) -> Result<()> {
        let mut state = self.state.lock();
        if state.collections.contains_key(name) || state.aliases.contains_key(name) {
            return Err(Error::conflict(format!("Wrong input: Collection `{name}` already exists!")));
        }
        let collection =
            Collection { config, points: BTreeMap::new(), indexes: BTreeMap::new(), pinned: false };
        state.collections.insert(name.to_owned(), collection);
        Ok(())
    }

    async fn update_collection(
        &self,
        collection: &str,
        patch: CollectionPatch,
        _timeout: Option<Duration>,
    ) -> Result<()> {
        let mut state = self.state.lock();
        let config = &mut state.collection(collection)?.config;
        if let Some(hnsw) = patch.hnsw {
            config.hnsw.m = hnsw.m.or(config.hnsw.m);
        }
        if let Some(optimizers) = patch.optimizers {
            let threshold = optimizers.indexing_threshold;
            config.optimizers.indexing_threshold = threshold.or(config.optimizers.indexing_threshold);
        }
        config.metadata = patch.metadata.or(config.metadata.take());
        Ok(())
    }

    async fn delete_collection(&self, name: &str, _timeout: Option<Duration>) -> Result<bool> {
        let mut state = self.state.lock();
        state.aliases.retain(|_, target| target != name);
        Ok(state.collections.remove(name).is_some())
    }

    async fn collections(&self) -> Result<Vec<String>> {
        Ok(self.state.lock().collections.keys().cloned().collect())
    }

    async fn collection(&self, collection: &str) -> Result<CollectionInfo> {
        let mut state = self.state.lock();
        let found = state.collection(collection)?;
        let points = found.points.len() as u64;
        let schema = found.indexes.iter().map(|(path, index)| (path.clone(), (index.clone(), points)));
        Ok(CollectionInfo {
            status: CollectionStatus::Green,
            config: found.config.clone(),
            payload_schema: schema.collect(),
            points_count: points,
            indexed_vectors_count: 0,
            segments_count: 1,
        })
    }

    async fn collection_exists(&self, collection: &str) -> Result<bool> {
        Ok(self.state.lock().collection(collection).is_ok())
    }

    async fn update_aliases(&self, actions: Vec<AliasAction>, _timeout: Option<Duration>) -> Result<()> {
        let mut state = self.state.lock();
        for action in actions {
            match action {
                AliasAction::Create { collection, alias } => {
                    state.collection(&collection)?;
                    state.aliases.insert(alias, collection);
                }
                AliasAction::Delete { alias } => {
                    state.aliases.remove(&alias);
                }
                AliasAction::Rename { old, new } => {
                    let target = state.aliases.remove(&old);
                    let target = target.ok_or_else(|| Error::not_found("Not found: no such alias"))?;
                    state.aliases.insert(new, target);
                }
            }
        }
        Ok(())
    }

    async fn aliases(&self, collection: Option<&str>) -> Result<Vec<(String, String)>> {
        let state = self.state.lock();
        let wanted = state.aliases.iter().filter(|(_, target)| collection.is_none_or(|c| c == *target));
        Ok(wanted.map(|(alias, target)| (alias.clone(), target.clone())).collect())
    }

    async fn create_field_index(
        &self,
        collection: &str,
        field: JsonPath,
        index: FieldIndex,
        options: WriteOptions,
    ) -> Result<UpdateResult> {
        let mut state = self.state.lock();
        state.collection(collection)?.indexes.insert(field, index);
        Ok(state.written(options))
    }

    async fn delete_field_index(
        &self,
        collection: &str,
        field: JsonPath,
        options: WriteOptions,
    ) -> Result<UpdateResult> {
        let mut state = self.state.lock();
        state.collection(collection)?.indexes.remove(&field);
        Ok(state.written(options))
    }

    async fn update(
        &self,
        collection: &str,
        operations: Vec<UpdateOp>,
        options: WriteOptions,
    ) -> Result<Vec<UpdateResult>> {
        let mut state = self.state.lock();
        let mut results = Vec::new();
        for operation in operations {
            state.collection(collection)?.apply(operation)?;
            results.push(state.written(options));
        }
        Ok(results)
    }

    async fn query(
        &self,
        collection: &str,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>> {
        let mut state = self.state.lock();
        state.last_query = requests.last().cloned().map(|request| (request, options));
        let collection = state.collection(collection)?;
        requests.iter().map(|request| collection.query(request)).collect()
    }

    async fn scroll(
        &self,
        collection: &str,
        request: ScrollRequest,
        _options: ReadOptions,
    ) -> Result<ScrollPage> {
        self.state.lock().collection(collection)?.scroll(&request)
    }

    async fn count(&self, collection: &str, request: CountRequest, _options: ReadOptions) -> Result<u64> {
        let trouble = self.state.lock().trouble.take();
        match trouble {
            Some(Trouble::Error(error)) => return Err(error),
            Some(Trouble::Panic) => panic!("trouble that a test asked for"),
            None => {}
        }
        let mut state = self.state.lock();
        Ok(state.collection(collection)?.filtered(request.filter.as_ref())?.count() as u64)
    }

    async fn retrieve(
        &self,
        collection: &str,
        request: RetrieveRequest,
        _options: ReadOptions,
    ) -> Result<Vec<Record>> {
        let mut state = self.state.lock();
        let collection = state.collection(collection)?;
        let found = request.ids.iter().filter_map(|id| collection.points.get(id));
        Ok(found
            .map(|point| Record {
                id: point.id,
                payload: payload(point, &request.with_payload),
                vectors: vectors(point, &request.with_vectors),
                order_value: None,
            })
            .collect())
    }

    /// There is no room for what is called `large`. Half of all is here, and nothing is ever brought.
    async fn warm(&self, collection: &str, request: WarmRequest, _options: ReadOptions) -> Result<Warmth> {
        let warmth = self.warmth(collection).await?;
        let known = self.state.lock().collection(collection)?.config.params.vectors.clone();
        if request.vectors.iter().flatten().any(|name| !known.contains_key(name)) {
            return Err(Error::bad_request("Wrong input: Not existing vector name error"));
        }
        if collection == "large" {
            return Err(Error::limit_reached("Limit reached: no room"));
        }
        Ok(Warmth { bytes: if request.payloads { 8 } else { 6 }, ..warmth })
    }

    async fn warmth(&self, collection: &str) -> Result<Warmth> {
        let mut state = self.state.lock();
        let pin = if state.collection(collection)?.pinned { Pin::Kept } else { Pin::None };
        Ok(Warmth { pin, bytes: 8, here: 4, in_memory: 2 })
    }

    async fn pin(&self, collection: &str, pinned: bool, _timeout: Option<Duration>) -> Result<()> {
        self.state.lock().collection(collection)?.pinned = pinned;
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    fn metrics(&self) -> String {
        format!("operations_total {}\n", self.state.lock().operations)
    }
}
