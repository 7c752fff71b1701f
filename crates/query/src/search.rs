//! The nearest points.

use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use futures::stream::{self, StreamExt, TryStreamExt};
use lodestone_shard::{
    Allowance, Cancel, Found, Hit, Method, Nearest, PayloadPicker, RowReader, Selection, merge,
    nearest_first, on_pool,
};
use lodestone_store::{Stage, stage};
use lodestone_types::{
    Error, Filter, OrderValue, PayloadSelector, PointId, QueryRequest, QueryTarget, ReadOptions, Result,
    ScoredPoint, VectorSelector,
};

use crate::limits::as_far;
use crate::scope::Scope;
use crate::{Query, far, pages};

/// Requests that are answered from the bucket side by side.
const FAR_AT_ONCE: usize = 8;

/// Answers requests: those that read a little of the bucket side by side, so that none waits for the trips of another, and then
/// the others one after the other. Those with the same filter share what it selects.
pub(crate) async fn search(
    query: &Query,
    scope: &Scope,
    requests: &[QueryRequest],
    options: ReadOptions,
    seed: u64,
    cancel: &Cancel,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let allowance = Allowance::current();
    if allowance.as_ref().is_some_and(|allowance| allowance.takes_parts()) {
        return each_alone(query, scope, requests, options, seed, cancel).await;
    }
    // What one may still read is known when those before it have read.
    let in_turn = allowance.is_some_and(|allowance| allowance.bounds_bytes());
    let searches = requests.iter().map(|request| far::search(query, scope, request, options, cancel));
    let searches = stream::iter(searches.collect::<Vec<_>>());
    let found = searches.buffered(if in_turn { 1 } else { FAR_AT_ONCE }).try_collect::<Vec<_>>().await?;
    let mut selected = Selected::new();
    let mut answers = Vec::with_capacity(requests.len());
    for (request, points) in requests.iter().zip(found) {
        answers.push(match points {
            Some(points) => points,
            None => {
                give_way(&answers).await;
                near(query, scope, &mut selected, request, options, seed, cancel).await?
            }
        });
    }
    Ok(answers)
}

/// Between answers: some are found at once, and others who wait for this thread take turns with them.
async fn give_way(answers: &[Vec<ScoredPoint>]) {
    if !answers.is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Answers requests one after the other, each leaving out what it cannot have, so that what one selects is of no use to another.
async fn each_alone(
    query: &Query,
    scope: &Scope,
    requests: &[QueryRequest],
    options: ReadOptions,
    seed: u64,
    cancel: &Cancel,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        give_way(&answers).await;
        let alone = |scope: Scope| async move {
            match far::search(query, &scope, request, options, cancel).await? {
                Some(points) => Ok(points),
                None => near(query, &scope, &mut Selected::new(), request, options, seed, cancel).await,
            }
        };
        answers.push(as_far(scope.clone(), alone).await?);
    }
    Ok(answers)
}

/// What filters select.
type Selected = Vec<(Option<Filter>, Vec<Selection>)>;

/// Answers a request after bringing here what it needs.
async fn near(
    query: &Query,
    scope: &Scope,
    selected: &mut Selected,
    request: &QueryRequest,
    options: ReadOptions,
    seed: u64,
    cancel: &Cancel,
) -> Result<Vec<ScoredPoint>> {
    let known = selected.iter().position(|(filter, _)| *filter == request.filter);
    let at = match known {
        Some(at) => at,
        None => {
            selected.push((request.filter.clone(), scope.select(request.filter.as_ref()).await?));
            selected.len() - 1
        }
    };
    answer(query, scope, &selected[at].1, request, options, seed, cancel).await
}

pub(crate) async fn answer(
    query: &Query,
    scope: &Scope,
    selections: &[Selection],
    request: &QueryRequest,
    options: ReadOptions,
    seed: u64,
    cancel: &Cancel,
) -> Result<Vec<ScoredPoint>> {
    let window = request.limit.saturating_add(request.offset);
    let (vector, except) = match &request.target {
        QueryTarget::Vector(vector) => (vector.clone(), None),
        QueryTarget::Point(id) => {
            (vector_of(query, scope, request, *id, options).await?, except(request, *id))
        }
        QueryTarget::Nothing => {
            let (page, _) = pages::page(selections, None, window, cancel).await?;
            let found = page.into_iter().skip(request.offset).map(|(part, f)| (part, f, 0.0, None)).collect();
            return points(scope, found, request).await;
        }
        QueryTarget::OrderBy(order) => {
            let page = pages::page_by_value(scope, selections, order, window, cancel).await?;
            let found =
                page.into_iter().skip(request.offset).map(|(part, f, v)| (part, f, 0.0, Some(v))).collect();
            return points(scope, found, request).await;
        }
        QueryTarget::Sample => {
            let page = pages::sample(selections, window, seed, cancel).await?;
            let found = page.into_iter().skip(request.offset).map(|(part, f)| (part, f, 0.0, None)).collect();
            return points(scope, found, request).await;
        }
    };
    nearest_points(scope, selections, request, vector, except, cancel).await
}

/// The points nearest to `vector`, but `except`.
pub(crate) async fn nearest_points(
    scope: &Scope,
    selections: &[Selection],
    request: &QueryRequest,
    vector: Vec<f32>,
    except: Option<PointId>,
    cancel: &Cancel,
) -> Result<Vec<ScoredPoint>> {
    check_finite(&vector)?;
    let hits = nearest(scope, selections, request, vector, except, cancel).await?;
    let found = hits.into_iter().map(|(part, hit)| (part, hit.found, hit.score, None)).collect();
    points(scope, found, request).await
}

pub(crate) fn check_finite(vector: &[f32]) -> Result<()> {
    match vector.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::bad_request(format!(
            "Wrong input: component {at} of the query vector is {}; every component must be a finite number",
            vector[at]
        ))),
    }
}

async fn nearest(
    scope: &Scope,
    selections: &[Selection],
    request: &QueryRequest,
    vector: Vec<f32>,
    except: Option<PointId>,
    cancel: &Cancel,
) -> Result<Vec<(usize, Hit)>> {
    let window = request.limit.saturating_add(request.offset);
    let greater_is_nearer = scope.schema()?.vector(&request.using)?.metric.greater_is_nearer();
    let method = method(request, scope);
    try_join_all(scope.views.iter().map(|view| view.load_nearest(&request.using, method.exact))).await?;
    let vector = Arc::new(vector);
    let is_quick = Selection::are_quick(selections, &request.using, window, &method);
    let parts = selections.iter().map(|selection| {
        let (selection, vector, cancel) = (selection.clone(), vector.clone(), cancel.clone());
        let (using, score_threshold) = (request.using.clone(), request.score_threshold);
        let work = move || {
            let wanted =
                Nearest { vector: &vector, using: &using, score_threshold, except, limit: window, method };
            if is_quick {
                selection.nearest_alone(&wanted, &cancel)
            } else {
                selection.nearest(&wanted, &cancel)
            }
        };
        async move {
            // Handing it over, and back, would take longer, most of all where all processors are at work.
            if is_quick { stage(Stage::Search, async { work() }).await } else { on_pool(work).await? }
        }
    });
    Ok(merge(try_join_all(parts).await?, nearest_first(greater_is_nearer), request.offset, request.limit))
}

/// How the nearest points are to be searched.
pub(crate) fn method(request: &QueryRequest, scope: &Scope) -> Method {
    let window = request.limit.saturating_add(request.offset) as f64;
    Method {
        exact: request.exact,
        hnsw_ef: request.hnsw_ef.map(|ef| ef as usize),
        unindexed_bytes: request.indexed_only.then_some(scope.unindexed_bytes),
        ignore_codes: request.quantization.ignore,
        estimates: request.quantization.rescore == Some(false),
        candidates: request.quantization.oversampling.map(|factor| (factor * window).ceil() as usize),
    }
}

/// A point that is asked about is no answer, unless it is one of another collection.
pub(crate) fn except(request: &QueryRequest, id: PointId) -> Option<PointId> {
    request.lookup_from.is_none().then_some(id)
}

/// The vector of the point that is asked about, here or in another collection.
pub(crate) async fn vector_of(
    query: &Query,
    scope: &Scope,
    request: &QueryRequest,
    id: PointId,
    options: ReadOptions,
) -> Result<Vec<f32>> {
    let other;
    let (scope, name) = match &request.lookup_from {
        None => (scope, request.using.clone()),
        Some((collection, vector)) => {
            other = query.scope(collection, options).await?;
            (&other, vector.clone().unwrap_or_else(|| request.using.clone()))
        }
    };
    let shape = *scope.schema()?.vector(&name)?;
    let (nothing, vectors) =
        (PayloadPicker::new(&PayloadSelector::None), VectorSelector::Names(vec![name.clone()]));
    let loading = scope.views.iter().map(|view| {
        let prepared = view.prepare_records(1, &nothing, &vectors);
        try_join(view.load_masks(), prepared)
    });
    try_join_all(loading).await?;
    for view in scope.views.iter() {
        let Some(found) = view.find(id)? else { continue };
        let far = view.load_records(&[found], &nothing, &vectors).await?;
        let mut reader = RowReader::with_far(view, &far);
        let vector = reader.vector(found, &name)?;
        return vector.map(|bytes| shape.decode(&bytes)).ok_or_else(|| {
            Error::bad_request(format!("Wrong input: point {id} has no vector `{name}` to search with"))
        });
    }
    if Allowance::current().is_some_and(|allowance| allowance.is_reached()) {
        return Err(Error::limit_reached(format!(
            "Limit reached: whether there is a point {id}, whose vector is searched, cannot be read within the limits"
        )));
    }
    Err(Error::not_found(format!("Not found: No point with id {id} found")))
}

/// Points of which only ids are shown are looked up in place if they are so few.
const QUICK: usize = 100;

/// A row, with the shard it is of, its score and the value it is ordered by.
type Scored = (usize, Found, f32, Option<OrderValue>);

/// The rows as answers show them, in the order given.
async fn points(scope: &Scope, found: Vec<Scored>, request: &QueryRequest) -> Result<Vec<ScoredPoint>> {
    let picker = Arc::new(PayloadPicker::new(&request.with_payload));
    let rows = found.iter().map(|(part, row, _, _)| (*part, *row));
    let far = scope.load_records(rows, &picker, &request.with_vectors).await?;
    let views = scope.views.clone();
    let with_vectors = request.with_vectors.clone();
    let ids_only = picker.is_nothing() && with_vectors == VectorSelector::None;
    let is_quick = ids_only && found.len() <= QUICK;
    let show = move || {
        let readers = views.iter().zip(&far).map(|(view, far)| RowReader::with_far(view, far));
        let mut readers: Vec<RowReader> = readers.collect();
        let shown = found.into_iter().map(|(part, row, score, order_value)| {
            let reader = &mut readers[part];
            let record = reader.record(row, &picker, &with_vectors, order_value)?;
            Ok(ScoredPoint {
                id: record.id,
                score,
                version: reader.version(row)?,
                payload: record.payload,
                vectors: record.vectors,
                order_value: record.order_value,
            })
        });
        shown.collect()
    };
    // Handing it over, and back, takes longer than this does.
    if is_quick { show() } else { on_pool(show).await? }
}
