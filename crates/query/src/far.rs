//! The nearest points of segments that are still in the bucket, without waiting until they are here.

use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use futures::stream::{self, StreamExt, TryStreamExt};
use lodestone_shard::{
    Allowance, Cancel, FarBudget, FarHit, FarScope, Nearest, PayloadPicker, Selection, ShardSchema,
    ShardView, VectorShape, merge, nearest_first,
};
use lodestone_types::{
    NamedVectors, QueryRequest, QueryTarget, ReadOptions, Result, ScoredPoint, VectorSelector,
};

use crate::Query;
use crate::limits::as_far;
use crate::scope::Scope;
use crate::search::{self, check_finite};

/// Points that are asked for at most. For more than these, the nearest lists might not have enough.
const MOST_POINTS: usize = 100;

/// Answers a request by reading of far segments only what it takes, and begins to bring them here; `None` where everything
/// that is needed is here, or where reading a little would not do.
pub(crate) async fn search(
    query: &Query,
    scope: &Scope,
    request: &QueryRequest,
    options: ReadOptions,
    cancel: &Cancel,
) -> Result<Option<Vec<ScoredPoint>>> {
    if !may_be_far(request, scope.schema()?) {
        return Ok(None);
    }
    let picker = Arc::new(PayloadPicker::new(&request.with_payload));
    let with_payload = !picker.is_nothing();
    let far: Vec<Vec<usize>> =
        scope.views.iter().map(|view| view.far_segments(&request.using, with_payload)).collect();
    if far.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    let (vector, except) = match &request.target {
        QueryTarget::Vector(vector) => (vector.clone(), None),
        QueryTarget::Point(id) => {
            (search::vector_of(query, scope, request, *id, options).await?, search::except(request, *id))
        }
        _ => return Ok(None),
    };
    check_finite(&vector)?;
    let shape = *scope.schema()?.vector(&request.using)?;
    let window = request.limit.saturating_add(request.offset);
    let wanted = Nearest {
        vector: &vector,
        using: &request.using,
        score_threshold: request.score_threshold,
        except,
        limit: window,
        method: search::method(request, scope),
    };
    let Some(scopes) = scopes(scope, &far, request, with_payload).await? else { return Ok(None) };
    let near = as_far(scope.without(&far), |scope| {
        let (request, vector) = (&request, &vector);
        async move {
            let loading = scope.views.iter().map(|view| view.load_for_search(&request.using, with_payload));
            try_join_all(loading).await?;
            let request = QueryRequest { offset: 0, limit: window, ..(*request).clone() };
            let selections = scope.select(request.filter.as_ref()).await?;
            search::nearest_points(&scope, &selections, &request, vector.clone(), except, cancel).await
        }
    });
    let shards = scope.views.len();
    // Who may read so many bytes only reads one thing after the other, so that each knows what the others leave.
    let in_turn = Allowance::current().is_some_and(|allowance| allowance.bounds_bytes());
    let reads = scope.views.iter().zip(&scopes).enumerate().map(|(number, (view, far))| {
        let budget = FarBudget { shares: (shards - number) as u64, ..query.options.far };
        view.nearest_far(far, &wanted, with_payload, budget)
    });
    let reads = stream::iter(reads.collect::<Vec<_>>()).buffered(if in_turn { 1 } else { shards.max(1) });
    let reads = reads.try_collect::<Vec<_>>();
    let (near, found) = if in_turn { (near.await?, reads.await?) } else { try_join(near, reads).await? };
    if query.options.hydrate {
        // Only one is on its way at a time, so none may take the turn that needs nothing.
        let shards = scope.shards.iter().zip(scope.views.iter()).zip(&far);
        for ((shard, view), _) in shards.filter(|(_, far)| !far.is_empty()) {
            let using = request.using.clone();
            let bring = |view: ShardView| async move { view.hydrate(&using, with_payload).await };
            query.hydration.begin((*shard, Some(request.using.clone())), view, bring);
        }
    }
    let show = |hit: FarHit| shown(hit, &picker, request, &shape);
    let mut parts: Vec<Vec<ScoredPoint>> =
        found.into_iter().map(|hits| hits.into_iter().map(show).collect()).collect();
    parts.push(near);
    let order = nearest_first(shape.metric.greater_is_nearer());
    let merged = merge(parts, order, request.offset, request.limit);
    Ok(Some(merged.into_iter().map(|(_, point)| point).collect()))
}

/// What is searched of far segments; `None` where the filter asks for more than its indexes. What will be read next is
/// fetched meanwhile.
async fn scopes(
    scope: &Scope,
    far: &[Vec<usize>],
    request: &QueryRequest,
    with_payload: bool,
) -> Result<Option<Vec<FarScope>>> {
    let scopes = scope.views.iter().zip(far).map(|(view, far)| async move {
        let selection = Selection::new(view, request.filter.as_ref());
        if request.filter.is_none() {
            return selection.far_scope(far.clone()).await;
        }
        let prepared = view.prepare_far(&request.using, with_payload);
        Ok(try_join(selection.far_scope(far.clone()), prepared).await?.0)
    });
    Ok(try_join_all(scopes).await?.into_iter().collect())
}

/// Has what such a search reads first of a collection fetched while its tail is read, if nothing of the collection is here.
pub(crate) async fn prepare(query: &Query, collection: &str, requests: &[QueryRequest]) {
    let Some(request) = requests.first().filter(|request| asks_for_few(request)) else { return };
    let state = query.meta.watch().borrow().clone();
    let Some(collection) = state.collection(collection) else { return };
    let with_payload = !PayloadPicker::new(&request.with_payload).is_nothing();
    let ahead = collection.shards().filter_map(|shard| query.views.ahead(&state, shard).ok().flatten());
    let ahead = ahead.filter(|view| may_be_far(request, view.schema()));
    let prepared = ahead.map(|view| async move {
        Selection::new(&view, request.filter.as_ref()).prepare_far(&request.using, with_payload).await
    });
    // The search meets the same error.
    let _ = try_join_all(prepared).await;
}

/// Whether a request can be answered by reading a little.
fn may_be_far(request: &QueryRequest, schema: &ShardSchema) -> bool {
    asks_for_few(request) && shows_only(&request.with_vectors, &request.using, schema)
}

/// Whether a request asks for few of the nearest points.
fn asks_for_few(request: &QueryRequest) -> bool {
    matches!(request.target, QueryTarget::Vector(_) | QueryTarget::Point(_))
        && !request.exact
        && request.limit.saturating_add(request.offset) <= MOST_POINTS
}

/// Whether no other vectors are shown than those that are searched.
fn shows_only(selector: &VectorSelector, using: &str, schema: &ShardSchema) -> bool {
    match selector {
        VectorSelector::None => true,
        VectorSelector::All => schema.vectors().keys().all(|name| name == using),
        VectorSelector::Names(names) => names.iter().all(|name| name == using),
    }
}

fn shown(hit: FarHit, picker: &PayloadPicker, request: &QueryRequest, shape: &VectorShape) -> ScoredPoint {
    let vectors = match &request.with_vectors {
        VectorSelector::None => None,
        VectorSelector::Names(names) if names.is_empty() => Some(NamedVectors(Vec::new())),
        _ => Some(NamedVectors(vec![(request.using.clone(), shape.decode(&hit.vector))])),
    };
    ScoredPoint {
        id: hit.id,
        score: hit.score,
        version: hit.version,
        payload: hit.payload.and_then(|payload| picker.pick(payload)),
        vectors,
        order_value: None,
    }
}
